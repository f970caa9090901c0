/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex.h - regular expressions from users (schema patterns), over PCRE2 with limits on the work of
 * a match.
 *
 * Go's reading where the two differ: "$" is the end of the text alone, and patterns are UTF-8.  A
 * match may begin anywhere.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/error.h"

#define REGEX_PATTERN_BYTES_MAX 4096
#define REGEX_STEPS_MAX         1000000 /* of one match; more is an error, not a hang */

struct regex;

/* ERR_BAD_REQUEST for what is not a pattern. */
must_check struct regex *regex_new(const char *pattern, struct error *err);
void regex_free(struct regex *r);
/* 1: matches; 0: does not; -1: the limit was reached or the text is not UTF-8. */
must_check int regex_matches(const struct regex *r, struct bytes text, struct error *err);
DEFINE_SCOPED(regex, struct regex *, regex_free)
