/* SPDX-License-Identifier: Apache-2.0 */
/* ordered_map.c - sorted chunks of entries. */
#include "apiserver/ordered_map.h"

struct entry {
    struct bytes key;
    void *value;
};

struct ordered_map_chunk {
    size_t n;
    struct entry entries[ORDERED_MAP_CHUNK];
};

void ordered_map_deinit(struct ordered_map *m)
{
    for (size_t i = 0; i < m->chunks_n; i++)
        free(m->chunks[i]);
    free(m->chunks);
    *m = (struct ordered_map){ 0 };
}

/* The last chunk whose first key is not above KEY; 0 if there is none. */
static size_t chunk_for(const struct ordered_map *m, struct bytes key)
{
    size_t low = 0, high = m->chunks_n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(m->chunks[middle]->entries[0].key, key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The first entry of C that is not below KEY; *FOUND tells whether it is KEY's. */
static size_t entry_for(const struct ordered_map_chunk *c, struct bytes key, bool *found)
{
    size_t low = 0, high = c->n;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(c->entries[middle].key, key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *ordered_map_get(const struct ordered_map *m, struct bytes key)
{
    if (m->n == 0)
        return NULL;
    const struct ordered_map_chunk *c = m->chunks[chunk_for(m, key)];
    bool found;
    size_t i = entry_for(c, key, &found);
    return found ? c->entries[i].value : NULL;
}

static struct ordered_map_chunk *insert_chunk(struct ordered_map *m, size_t at)
{
    m->chunks = xgrow(m->chunks, m->chunks_n, &m->chunks_capacity, sizeof(m->chunks[0]));
    memmove(m->chunks + at + 1, m->chunks + at, (m->chunks_n - at) * sizeof(*m->chunks));
    m->chunks_n++;
    m->chunks[at] = xmalloc(sizeof(struct ordered_map_chunk));
    m->chunks[at]->n = 0;
    return m->chunks[at];
}

/* Moves the upper half of a full chunk to a new one after it.  Keys that only ever grow
 * (time-ordered names) would leave every chunk half empty, so the last chunk just gets an empty
 * neighbour. */
static void split_chunk(struct ordered_map *m, size_t at, bool append)
{
    struct ordered_map_chunk *full = m->chunks[at];
    struct ordered_map_chunk *upper = insert_chunk(m, at + 1);
    size_t keep = append ? full->n - 1 : full->n / 2;
    upper->n = full->n - keep;
    memcpy(upper->entries, full->entries + keep, upper->n * sizeof(full->entries[0]));
    full->n = keep;
}

void *ordered_map_put(struct ordered_map *m, struct bytes key, void *value)
{
    if (m->chunks_n == 0)
        insert_chunk(m, 0);
    size_t at = chunk_for(m, key);
    bool found;
    size_t i = entry_for(m->chunks[at], key, &found);
    if (found) {
        struct entry *e = &m->chunks[at]->entries[i];
        void *old = e->value;
        *e = (struct entry){ key, value };
        return old;
    }
    if (m->chunks[at]->n == ORDERED_MAP_CHUNK) {
        split_chunk(m, at, at + 1 == m->chunks_n && i == ORDERED_MAP_CHUNK);
        at = chunk_for(m, key);
        i = entry_for(m->chunks[at], key, &found);
    }
    struct ordered_map_chunk *c = m->chunks[at];
    memmove(c->entries + i + 1, c->entries + i, (c->n - i) * sizeof(c->entries[0]));
    c->entries[i] = (struct entry){ key, value };
    c->n++;
    m->n++;
    return NULL;
}

void *ordered_map_remove(struct ordered_map *m, struct bytes key)
{
    if (m->n == 0)
        return NULL;
    size_t at = chunk_for(m, key);
    struct ordered_map_chunk *c = m->chunks[at];
    bool found;
    size_t i = entry_for(c, key, &found);
    if (!found)
        return NULL;
    void *old = c->entries[i].value;
    c->n--;
    m->n--;
    memmove(c->entries + i, c->entries + i + 1, (c->n - i) * sizeof(c->entries[0]));
    if (c->n == 0) {
        free(c);
        m->chunks_n--;
        memmove(m->chunks + at, m->chunks + at + 1, (m->chunks_n - at) * sizeof(*m->chunks));
    }
    return old;
}

struct ordered_map_cursor ordered_map_seek(const struct ordered_map *m, struct bytes key)
{
    struct ordered_map_cursor c = { .map = m };
    if (m->n == 0)
        return c;
    bool found;
    c.chunk = chunk_for(m, key);
    c.entry = entry_for(m->chunks[c.chunk], key, &found);
    return c;
}

/* Steps over the end of a chunk; false at the end of the map. */
static bool settle(struct ordered_map_cursor *c)
{
    const struct ordered_map *m = c->map;
    while (c->chunk < m->chunks_n && c->entry >= m->chunks[c->chunk]->n) {
        c->chunk++;
        c->entry = 0;
    }
    return c->chunk < m->chunks_n;
}

void *ordered_map_next(struct ordered_map_cursor *c, struct bytes prefix)
{
    if (!settle(c))
        return NULL;
    const struct entry *e = &c->map->chunks[c->chunk]->entries[c->entry];
    if (!bytes_has_prefix(e->key, prefix))
        return NULL;
    c->entry++;
    return e->value;
}

size_t ordered_map_count(struct ordered_map_cursor c, struct bytes prefix)
{
    size_t n = 0;
    while (settle(&c)) {
        const struct ordered_map_chunk *chunk = c.map->chunks[c.chunk];
        bool whole = bytes_has_prefix(chunk->entries[chunk->n - 1].key, prefix);
        if (whole && bytes_has_prefix(chunk->entries[c.entry].key, prefix)) {
            n += chunk->n - c.entry;
            c.entry = chunk->n;
            continue;
        }
        while (c.entry < chunk->n && bytes_has_prefix(chunk->entries[c.entry].key, prefix)) {
            n++;
            c.entry++;
        }
        break;
    }
    return n;
}
