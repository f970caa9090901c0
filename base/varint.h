/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varint.h - numbers as protobuf writes them: seven bits a byte, the lowest first.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define VARINT_BYTES_MAX 10

/* Takes one off the front; false: the bytes end within it, or it is too long for a number. */
static inline bool varint_read(struct bytes *in, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && in->len; shift += 7) {
        uint8_t byte = (uint8_t)*in->data;
        *in = (struct bytes){ in->data + 1, in->len - 1 };
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static inline size_t varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

/* Returns where it ends; at most VARINT_BYTES_MAX behind OUT. */
static inline char *varint_put(char *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *out++ = (char)(v | 0x80);
    *out++ = (char)v;
    return out;
}

static inline void varint_add(struct buffer *out, uint64_t v)
{
    char bytes[VARINT_BYTES_MAX];
    buffer_add(out, bytes, (size_t)(varint_put(bytes, v) - bytes));
}
