/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label_syntax.h - what DNS names, label keys and label values may look like, with upstream's words
 * for what is wrong.
 *
 * Threads: any.
 */
#pragma once

#include "base/bytes.h"

#define LABEL_BYTES_MAX     63
#define SUBDOMAIN_BYTES_MAX 253

#define DNS_SUBDOMAIN_FAULT                                                                        \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "   \
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "  \
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

/* The form only: no limit of length.  Not ctype.h's classes, which follow a locale. */
bool is_dns_label(struct bytes s);
bool is_dns_subdomain(struct bytes s);

/* How many things are wrong; FAULTS gets the texts. */
#define LABEL_FAULTS_MAX 4
size_t label_key_faults(const char *key, const char *faults[LABEL_FAULTS_MAX]); /* [prefix/]name */
size_t label_value_faults(const char *value, const char *faults[LABEL_FAULTS_MAX]);

/* True if it is one; else the faults are added to WHY, joined with "; ". */
bool label_key_is_valid(const char *key, struct buffer *why);
bool label_value_is_valid(const char *value, struct buffer *why);
