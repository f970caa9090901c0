/* SPDX-License-Identifier: Apache-2.0 */
/*
 * documents.h - answers that are made once and shared: discovery, OpenAPI.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/discovery.h"

#define ETAG_BYTES 72 /* a SHA-256 in hexadecimal, its quotes, a NUL */

void documents_start(struct apiserver *a);
void documents_stop(struct apiserver *a);

/* What was kept under NAME, or NULL: a reference.  ETAG is filled then. */
struct shared_bytes *documents_find(struct apiserver *a, const char *name, char etag[ETAG_BYTES]);
/* Keeps BODY under NAME unless another thread was first; returns what is kept: a reference. */
struct shared_bytes *documents_keep(struct apiserver *a, const char *name, struct bytes body,
                                    char etag[ETAG_BYTES]);

/* `"0A1B..."` of BODY. */
void etag_of(struct bytes body, char etag[ETAG_BYTES]);
/* Whether an If-None-Match header names ETAG. */
bool etag_matches(struct bytes if_none_match, const char *etag);
