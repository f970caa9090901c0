/* SPDX-License-Identifier: Apache-2.0 */
/* scoped.c - allocation that cannot fail, and the end of a broken invariant. */
#include "base/scoped.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define GROW_FIRST_ITEMS 8

_Noreturn void ensure_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "%s:%d: %s: broken invariant: %s\n", file, line, func, cond);
    abort();
}

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "out of memory: %zu bytes\n", bytes);
    abort();
}

void *xmalloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *xcalloc(size_t n, size_t bytes)
{
    void *p = calloc(n ? n : 1, bytes ? bytes : 1);
    if (!p)
        out_of_memory(n * bytes);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q)
        out_of_memory(bytes);
    return q;
}

void *xgrow(void *items, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n < *capacity)
        return items;
    size_t larger = *capacity ? 2 * *capacity : GROW_FIRST_ITEMS;
    ensure(larger <= PTRDIFF_MAX / item_bytes);
    *capacity = larger;
    return xrealloc(items, larger * item_bytes);
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

char *xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        out_of_memory(0);
    return text;
}

void fd_scoped(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
