/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hashmap.h - bytes to pointer, open addressing, keyed hashing.
 *
 * Keys are borrowed: each must live as long as its entry, usually inside the value.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "base/bytes.h"

struct hashmap_entry {
    struct bytes key; /* data == NULL: free */
    uint64_t hash;
    void *value;
};

struct hashmap { /* zero-initialised is empty and ready */
    struct hashmap_entry *entries;
    size_t n;
    size_t capacity;
};

void hashmap_deinit(struct hashmap *m);                       /* values stay the caller's */
void *hashmap_get(const struct hashmap *m, struct bytes key); /* NULL: none */
/* Returns the value that was there, or NULL.  The stored key becomes KEY in both cases. */
void *hashmap_put(struct hashmap *m, struct bytes key, void *value);
void *hashmap_remove(struct hashmap *m, struct bytes key); /* the value, or NULL */

/* hashmap_each(&m, e) use(e->key, e->value);   no put or remove inside the loop */
struct hashmap_entry *hashmap_next(const struct hashmap *m, struct hashmap_entry *after);
#define hashmap_each(m, e)                                                                         \
    for (struct hashmap_entry *e = hashmap_next(m, NULL); e; e = hashmap_next(m, e))
