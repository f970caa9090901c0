/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - the few things that text code needs to know about UTF-8. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* The bytes of the valid sequence at P (1 to 4; overlong forms and surrogates are not valid); 0 if
 * there is none. */
static inline size_t utf8_sequence(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    if (left == 0)
        return 0;
    if (u[0] < 0x80)
        return 1;
    if (left < 2 || u[0] < 0xc2 || (u[1] & 0xc0) != 0x80)
        return 0;
    if (u[0] < 0xe0)
        return 2;
    if (left < 3 || (u[2] & 0xc0) != 0x80)
        return 0;
    if (u[0] < 0xf0)
        return (u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ? 0 : 3;
    if (left < 4 || (u[3] & 0xc0) != 0x80 || u[0] > 0xf4)
        return 0;
    return (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f) ? 0 : 4;
}

bool utf8_is_valid(struct bytes text);

/* Writes CODE (a valid one) to OUT, which has room for 4, and returns how many bytes it took. */
static inline size_t utf8_encode(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}
