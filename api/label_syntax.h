/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label_syntax.h - what label keys and values may look like, with upstream's words for what is
 * wrong.
 *
 * Threads: any.
 */
#pragma once

#include "base/bytes.h"

/* True if it is one; else why not is added to WHY (which may be NULL), joined with "; ". */
bool label_key_is_valid(const char *key, struct buffer *why); /* a qualified name: [prefix/]name */
bool label_value_is_valid(const char *value, struct buffer *why);
