/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoped.h - release on every way out, and the few other things only a macro can do.
 *
 *     scoped(object) struct object *o = NULL;     released by object_scoped()
 *     return take_ptr(&o);                        hands it on; the scope releases nothing
 */
#pragma once

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define must_check             __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a)           (sizeof(a) / sizeof((a)[0]))

#define scoped(x) __attribute__((cleanup(x##_scoped)))

/* Declares x_scoped() for a pointer type whose release function accepts NULL. */
#define DEFINE_SCOPED(x, pointer_type, release)                                                    \
    static inline void x##_scoped(pointer_type *p)                                                 \
    {                                                                                              \
        release(*p);                                                                               \
    }

#define take_ptr(p)                                                                                \
    __extension__({                                                                                \
        __auto_type taken = *(p);                                                                  \
        *(p) = NULL;                                                                               \
        taken;                                                                                     \
    })

/* For our own bugs only: nothing a peer sends may reach one.  Always compiled in. */
#define ensure(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            ensure_failed(#cond, __FILE__, __LINE__, __func__);                                    \
    } while (0)

_Noreturn void ensure_failed(const char *cond, const char *file, int line, const char *func);

/* malloc and friends that abort when memory is exhausted: check outside sizes against limits.h
 * first. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t bytes);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) printf_like(1, 2);

/* Room for one more item behind N: ITEMS, which may have moved, with twice the *CAPACITY when that
 * is used up.  arena_grow() does the same in an arena. */
void *xgrow(void *items, size_t n, size_t *capacity, size_t item_bytes);

DEFINE_SCOPED(mem, void *, free) /* scoped(mem) void *p */

static inline void str_scoped(char **p)
{
    free(*p);
}

static inline void file_scoped(FILE **f)
{
    if (*f)
        fclose(*f);
}

void fd_scoped(int *fd); /* scoped(fd) int fd = -1 */
