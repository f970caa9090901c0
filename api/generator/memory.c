/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - memory that the generator keeps until it ends, and how it fails. */
#include "api/generator/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kept {
    struct kept *next;
    max_align_t data[];
} * kept; /* reachable to the end, so that a leak checker finds nothing */

void *keep_alloc(size_t bytes)
{
    struct kept *k = calloc(1, sizeof(*k) + bytes);
    if (!k) {
        fputs("api_generator: out of memory\n", stderr);
        exit(1);
    }
    k->next = kept;
    kept = k;
    return k->data;
}

char *keep_copy(const char *s, size_t len)
{
    char *copy = keep_alloc(len + 1);
    memcpy(copy, s, len);
    return copy;
}

char *keep_format(const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return keep_copy(text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

void *keep_grow(void *items, size_t n, size_t item_bytes)
{
    if (n & (n - 1) || (n && n < 4)) /* room is 4, then always a power of two */
        return items;
    void *bigger = keep_alloc((n ? 2 * n : 4) * item_bytes);
    if (n)
        memcpy(bigger, items, n * item_bytes);
    return bigger;
}

void fail(struct place at, const char *fmt, ...)
{
    fprintf(stderr, "%s:%d: ", at.file, at.line);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}
