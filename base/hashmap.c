/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hashmap.c - linear probing; a removal moves later entries back instead of leaving a tombstone.
 */
#include "base/hashmap.h"

#define FIRST_CAPACITY 8

void hashmap_deinit(struct hashmap *m)
{
    free(m->entries);
    *m = (struct hashmap){ 0 };
}

static struct bytes present(struct bytes key)
{
    return key.data ? key : (struct bytes){ "", 0 }; /* data == NULL means a free entry */
}

/* The entry of KEY, or the free one where it belongs. */
static struct hashmap_entry *slot(const struct hashmap *m, struct bytes key, uint64_t hash)
{
    size_t mask = m->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct hashmap_entry *e = &m->entries[i];
        if (!e->key.data || (e->hash == hash && bytes_equal(e->key, key)))
            return e;
    }
}

static void grow(struct hashmap *m)
{
    struct hashmap old = *m;
    m->capacity = old.capacity ? old.capacity * 2 : FIRST_CAPACITY;
    m->entries = xcalloc(m->capacity, sizeof(*m->entries));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].key.data)
            *slot(m, old.entries[i].key, old.entries[i].hash) = old.entries[i];
    free(old.entries);
}

void *hashmap_get(const struct hashmap *m, struct bytes key)
{
    if (m->n == 0)
        return NULL;
    return slot(m, present(key), bytes_hash(key))->value;
}

void *hashmap_put(struct hashmap *m, struct bytes key, void *value)
{
    if (m->n + 1 > m->capacity / 4 * 3)
        grow(m);
    key = present(key);
    uint64_t hash = bytes_hash(key);
    struct hashmap_entry *e = slot(m, key, hash);
    void *before = e->value;
    if (!e->key.data)
        m->n++;
    *e = (struct hashmap_entry){ .key = key, .hash = hash, .value = value };
    return before;
}

void *hashmap_remove(struct hashmap *m, struct bytes key)
{
    if (m->n == 0)
        return NULL;
    struct hashmap_entry *e = slot(m, present(key), bytes_hash(key));
    if (!e->key.data)
        return NULL;
    void *value = e->value;
    size_t mask = m->capacity - 1;
    size_t hole = (size_t)(e - m->entries);
    for (size_t i = (hole + 1) & mask; m->entries[i].key.data; i = (i + 1) & mask) {
        /* An entry may fill the hole unless its home lies behind the hole. */
        size_t home = m->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->entries[hole] = m->entries[i];
            hole = i;
        }
    }
    m->entries[hole] = (struct hashmap_entry){ 0 };
    m->n--;
    return value;
}

struct hashmap_entry *hashmap_next(const struct hashmap *m, struct hashmap_entry *after)
{
    for (size_t i = after ? (size_t)(after - m->entries) + 1 : 0; i < m->capacity; i++)
        if (m->entries[i].key.data)
            return &m->entries[i];
    return NULL;
}
