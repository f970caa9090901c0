/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_index.h - the newest versions by key, in memory, until they are in the database.
 *
 * A skip list in the order (key ascending, revision descending), into which one writer inserts
 * while any number of readers walk it without a lock.  Nothing is ever taken out: the whole index
 * is dropped once it has been flushed and its last reader has left.
 *
 *     a@7  a@3  b@5 (deleted)  c@6        find(a, 5) = a@3
 *
 * A version is shared with the ring of recent events, so it is counted.
 *
 * Threads: insertions from one thread at a time; the rest: any.
 */
#pragma once

#include <stdatomic.h>

#include "storage/record.h"

struct version {
    struct record r; /* key and value follow the tower, in the same block */
    atomic_uint refs;
    atomic_bool is_dead; /* its group never became durable: as if it were not here */
    uint8_t height;
    _Atomic(struct version *) next[];
};

/* Copies R's key and value. */
struct version *version_new(const struct record *r);
struct version *version_ref(struct version *v);
void version_unref(struct version *v);

struct key_index;

struct key_index *key_index_new(void);
struct key_index *key_index_ref(struct key_index *k);
void key_index_unref(struct key_index *k); /* NULL is fine */

void key_index_insert(struct key_index *k, struct version *v); /* takes a reference of its own */
size_t key_index_size_bytes(const struct key_index *k);

/* The newest version of KEY, for the thread that inserts: it remembers the place, where as a rule
 * the next insertion is. */
struct version *key_index_find_newest(struct key_index *k, struct bytes key);

/* The newest version of KEY that is not younger than REVISION, NULL if there is none here. */
struct version *key_index_find(struct key_index *k, struct bytes key, int64_t revision);

/* Walking keys as of REVISION: the first version of the first key >= KEY, then of each next key. */
struct version *key_index_seek(struct key_index *k, struct bytes key, int64_t revision);
struct version *key_index_next_key(struct version *v, int64_t revision);

/* Walking all versions that count, newest first within a key. */
struct version *key_index_first(struct key_index *k);
struct version *key_index_next(struct version *v);
