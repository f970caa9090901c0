/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip.h - texts packed for the way to a client, fast rather than small.
 *
 * Threads: any.
 */
#pragma once

#include "base/bytes.h"

/* Adds to OUT one gzip stream of PARTS, one after the other. */
void gzip_pack(const struct bytes *parts, size_t n, struct buffer *out);
