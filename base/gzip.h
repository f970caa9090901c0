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

/* Adds to OUT what is in PACKED.  False if that is not gzip's, or comes to more than BYTES_MAX. */
must_check bool gzip_unpack(struct bytes packed, size_t bytes_max, struct buffer *out);
