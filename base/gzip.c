/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.c - zlib's deflate in gzip's frame, at its fastest level. */
#include "base/gzip.h"

#include <limits.h>

#include <zlib.h>

#define LEVEL       1
#define GZIP_FRAME  16 /* added to the window's bits */
#define PIECE_BYTES (64 * 1024)

static void pack(z_stream *z, struct bytes text, int flush, struct buffer *out)
{
    char piece[PIECE_BYTES];
    z->next_in = (z_const Bytef *)text.data;
    z->avail_in = (uInt)text.len;
    do {
        z->next_out = (Bytef *)piece;
        z->avail_out = sizeof(piece);
        ensure(deflate(z, flush) != Z_STREAM_ERROR);
        buffer_add(out, piece, sizeof(piece) - z->avail_out);
    } while (z->avail_out == 0);
}

void gzip_pack(const struct bytes *parts, size_t n, struct buffer *out)
{
    z_stream z = { 0 };
    ensure(deflateInit2(&z, LEVEL, Z_DEFLATED, MAX_WBITS + GZIP_FRAME, 8, Z_DEFAULT_STRATEGY) ==
           Z_OK);
    for (size_t i = 0; i < n; i++) {
        ensure(parts[i].len <= UINT_MAX);
        pack(&z, parts[i], Z_NO_FLUSH, out);
    }
    pack(&z, (struct bytes){ 0 }, Z_FINISH, out);
    deflateEnd(&z);
}

bool gzip_unpack(struct bytes packed, size_t bytes_max, struct buffer *out)
{
    z_stream z = { .next_in = (z_const Bytef *)packed.data, .avail_in = (uInt)packed.len };
    char piece[PIECE_BYTES];
    ensure(packed.len <= UINT_MAX && inflateInit2(&z, MAX_WBITS + GZIP_FRAME) == Z_OK);
    int rc = Z_OK;
    while (rc == Z_OK && out->len <= bytes_max) {
        z.next_out = (Bytef *)piece;
        z.avail_out = sizeof(piece);
        rc = inflate(&z, Z_NO_FLUSH);
        if (rc == Z_OK || rc == Z_STREAM_END)
            buffer_add(out, piece, sizeof(piece) - z.avail_out);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END && out->len <= bytes_max;
}
