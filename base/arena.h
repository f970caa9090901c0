/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory that is freed as a whole: one per request, per reconcile, per object.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/bytes.h"

struct arena;

struct arena *arena_new(void);
struct arena *arena_new_sized(size_t first_block_bytes); /* for objects whose size is known */
void arena_free(struct arena *a);                        /* NULL is fine */
void arena_reset(struct arena *a);                       /* keeps one block for reuse */
size_t arena_size_bytes(const struct arena *a);          /* what it holds from the heap */

void *arena_alloc(struct arena *a, size_t bytes);  /* aligned, not cleared */
void *arena_zalloc(struct arena *a, size_t bytes); /* cleared */
void *arena_memdup(struct arena *a, const void *data, size_t bytes);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) printf_like(2, 3);
struct bytes arena_bytes(struct arena *a, struct bytes v); /* a copy, NUL after it */

/* Arrays that grow in an arena: when *CAPACITY is reached, ITEMS moves to twice the room. */
void *arena_grow(struct arena *a, void *items, size_t n, size_t *capacity, size_t item_bytes);

DEFINE_SCOPED(arena, struct arena *, arena_free)
