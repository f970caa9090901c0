/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ordered_map.h - byte-string keys in order, to pointers: look-up, and scans from any key.
 *
 * Sorted chunks of at most ORDERED_MAP_CHUNK entries, themselves in order:
 *
 *     [ a/1 a/2 b/1 ] [ b/2 c/7 c/9 ] [ d/1 ]      find: chunk by its first key, then within it
 *
 * A scan walks arrays, an insert moves at most one chunk's pointers.
 *
 * Keys are borrowed: each must live as long as its entry, usually inside the value.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "base/bytes.h"

#define ORDERED_MAP_CHUNK 128

struct ordered_map_chunk;

struct ordered_map { /* zero-initialised is empty and ready */
    struct ordered_map_chunk **chunks;
    size_t chunks_n, chunks_capacity;
    size_t n;
};

void ordered_map_deinit(struct ordered_map *m);                       /* values stay the caller's */
void *ordered_map_get(const struct ordered_map *m, struct bytes key); /* NULL: none */
/* Returns the value that was there, or NULL.  The stored key becomes KEY in both cases. */
void *ordered_map_put(struct ordered_map *m, struct bytes key, void *value);
void *ordered_map_remove(struct ordered_map *m, struct bytes key); /* the value, or NULL */

/* A position; any put or remove ends it. */
struct ordered_map_cursor {
    const struct ordered_map *map;
    size_t chunk, entry;
};
/* The first entry whose key is not below KEY. */
struct ordered_map_cursor ordered_map_seek(const struct ordered_map *m, struct bytes key);
/* The entry at the cursor, which moves on; NULL at the end or at the first key without PREFIX. */
void *ordered_map_next(struct ordered_map_cursor *c, struct bytes prefix);
/* How many entries lie between C and the first key without PREFIX (the keys with PREFIX are
 * together). */
size_t ordered_map_count(struct ordered_map_cursor c, struct bytes prefix);
