/* SPDX-License-Identifier: Apache-2.0 */
/* key_index.c - a skip list with one writer and lock-free readers. */
#include "storage/key_index.h"

#define HEIGHT_MAX      14  /* 4^14 versions: far more than an index ever holds */
#define PLACE_KEY_BYTES 256 /* longer ones are looked for each time */

/* The links that lead to the first version of a key, or to where that would be. */
struct place {
    _Atomic(struct version *) *before[HEIGHT_MAX];
    char key[PLACE_KEY_BYTES];
    size_t key_len; /* 0: none is remembered */
};

struct key_index {
    atomic_uint refs;
    atomic_size_t size_bytes;
    _Atomic(struct version *) head[HEIGHT_MAX];
    struct place place; /* the inserting thread's */
};

/* ---- versions ---- */

/* The height must not depend on what clients choose, or they could build a plain list. */
static uint8_t next_height(void)
{
    static _Thread_local uint64_t x = 0x9e3779b97f4a7c15u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    uint8_t height = 1;
    for (uint64_t bits = x; height < HEIGHT_MAX && (bits & 3) == 0; bits >>= 2)
        height++;
    return height;
}

static size_t version_bytes(const struct version *v)
{
    return sizeof(*v) + v->height * sizeof(v->next[0]) + v->r.key.len + v->r.value.len;
}

struct version *version_new(const struct record *r)
{
    uint8_t height = next_height();
    size_t tower = height * sizeof(_Atomic(struct version *));
    struct version *v = xmalloc(sizeof(*v) + tower + r->key.len + r->value.len);
    v->r = *r;
    char *data = (char *)v + sizeof(*v) + tower;
    if (r->key.len)
        memcpy(data, r->key.data, r->key.len);
    if (r->value.len)
        memcpy(data + r->key.len, r->value.data, r->value.len);
    v->r.key.data = data;
    v->r.value.data = data + r->key.len;
    v->height = height;
    atomic_init(&v->refs, 1);
    atomic_init(&v->is_dead, false);
    for (int i = 0; i < height; i++)
        atomic_init(&v->next[i], NULL);
    return v;
}

struct version *version_ref(struct version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void version_unref(struct version *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        free(v);
}

/* ---- the index ---- */

struct key_index *key_index_new(void)
{
    struct key_index *k = xcalloc(1, sizeof(*k));
    atomic_init(&k->refs, 1);
    return k;
}

struct key_index *key_index_ref(struct key_index *k)
{
    if (k)
        atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void key_index_unref(struct key_index *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct version *v = atomic_load_explicit(&k->head[0], memory_order_relaxed);
    while (v) {
        struct version *next = atomic_load_explicit(&v->next[0], memory_order_relaxed);
        version_unref(v);
        v = next;
    }
    free(k);
}

size_t key_index_size_bytes(const struct key_index *k)
{
    return atomic_load_explicit(&k->size_bytes, memory_order_relaxed);
}

/* Does V lie before the place of (KEY, REVISION, SUB)? */
static bool is_before(const struct version *v, struct bytes key, int64_t revision, uint32_t sub)
{
    int order = bytes_compare(v->r.key, key);
    if (order)
        return order < 0;
    if (v->r.mod_revision != revision)
        return v->r.mod_revision > revision;
    return v->r.sub > sub;
}

static void prefetch(const struct version *v)
{
    __builtin_prefetch(v);
    __builtin_prefetch((const char *)v + sizeof(*v)); /* its links and its key */
}

/* The first version that is not before the place; BEFORE (if not NULL) gets the links that lead to
 * it. */
static struct version *descend(struct key_index *k, struct bytes key, int64_t revision,
                               uint32_t sub, _Atomic(struct version *) *before[HEIGHT_MAX])
{
    _Atomic(struct version *) *links = k->head;
    struct version *at = NULL, *not_before = NULL; /* the last that was compared in vain */
    for (int level = HEIGHT_MAX - 1; level >= 0; level--) {
        for (;;) {
            at = atomic_load_explicit(&links[level], memory_order_acquire);
            if (!at || at == not_before)
                break;
            /* Where this goes on if AT is too far: versions lie all over the memory, and waiting
             * for two at once takes as long as for one. */
            if (level)
                prefetch(atomic_load_explicit(&links[level - 1], memory_order_relaxed));
            if (!is_before(at, key, revision, sub)) {
                not_before = at;
                break;
            }
            links = at->next;
        }
        if (before)
            before[level] = &links[level];
    }
    return at;
}

static bool counts(const struct version *v, int64_t revision)
{
    return v->r.mod_revision <= revision &&
           !atomic_load_explicit(&v->is_dead, memory_order_acquire);
}

static struct version *following(const struct version *v)
{
    return atomic_load_explicit(&v->next[0], memory_order_acquire);
}

/* The first from V on that counts, if it is KEY's. */
static struct version *first_of(struct version *v, struct bytes key, int64_t revision)
{
    while (v && bytes_equal(v->r.key, key) && !counts(v, revision))
        v = following(v);
    return v && bytes_equal(v->r.key, key) ? v : NULL;
}

static bool is_place_of(const struct place *p, struct bytes key)
{
    return p->key_len && bytes_equal(key, (struct bytes){ p->key, p->key_len });
}

/* Does V come before what stands at P? */
static bool is_first(const struct place *p, const struct version *v)
{
    const struct version *at = atomic_load_explicit(p->before[0], memory_order_relaxed);
    return !at || !is_before(at, v->r.key, v->r.mod_revision, v->r.sub);
}

struct version *key_index_find_newest(struct key_index *k, struct bytes key)
{
    struct place *p = &k->place;
    if (!is_place_of(p, key)) {
        descend(k, key, INT64_MAX, UINT32_MAX, p->before);
        p->key_len = key.len <= PLACE_KEY_BYTES ? key.len : 0;
        memcpy(p->key, key.data, p->key_len);
    }
    struct version *v = atomic_load_explicit(p->before[0], memory_order_relaxed);
    return first_of(v, key, INT64_MAX);
}

void key_index_insert(struct key_index *k, struct version *v)
{
    struct place *place = &k->place;
    bool is_there = is_place_of(place, v->r.key) && is_first(place, v);
    if (!is_there)
        descend(k, v->r.key, v->r.mod_revision, v->r.sub, place->before);
    place->key_len = 0; /* one of the links changes */
    _Atomic(struct version *) **before = place->before;
    version_ref(v);
    for (int i = 0; i < v->height; i++) {
        struct version *after = atomic_load_explicit(before[i], memory_order_relaxed);
        atomic_store_explicit(&v->next[i], after, memory_order_relaxed);
        atomic_store_explicit(before[i], v, memory_order_release);
    }
    atomic_fetch_add_explicit(&k->size_bytes, version_bytes(v), memory_order_relaxed);
}

struct version *key_index_find(struct key_index *k, struct bytes key, int64_t revision)
{
    return first_of(descend(k, key, revision, UINT32_MAX, NULL), key, revision);
}

struct version *key_index_seek(struct key_index *k, struct bytes key, int64_t revision)
{
    struct version *v = descend(k, key, INT64_MAX, UINT32_MAX, NULL);
    while (v && !counts(v, revision))
        v = following(v);
    return v;
}

struct version *key_index_next_key(struct version *v, int64_t revision)
{
    struct bytes key = v->r.key;
    do
        v = following(v);
    while (v && (bytes_equal(v->r.key, key) || !counts(v, revision)));
    return v;
}

struct version *key_index_first(struct key_index *k)
{
    return key_index_seek(k, (struct bytes){ "", 0 }, INT64_MAX);
}

struct version *key_index_next(struct version *v)
{
    do
        v = following(v);
    while (v && !counts(v, INT64_MAX));
    return v;
}
