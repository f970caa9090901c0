/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - what libFuzzer calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a text that ends in NUL. */
static inline char *fuzz_text(struct arena *a, const uint8_t *data, size_t size)
{
    return arena_strndup(a, (const char *)data, size);
}

/* Splits the input at its first NUL; the second part is empty if there is none. */
static inline void fuzz_split(const uint8_t *data, size_t size, struct bytes *first,
                              struct bytes *second)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    *first = (struct bytes){ (const char *)data, n };
    *second = nul ? (struct bytes){ (const char *)nul + 1, size - n - 1 } : BYTES("");
}
