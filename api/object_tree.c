/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_tree.c - trees at rest.
 *
 * Packing walks a tree three times, in the same order: measure() notes hash and size of every
 * array and object that is not empty, plan() decides which of them are parts, write_value() copies
 * what is left to a block of the exact size.
 *
 *     { "a": [ 1, [2] ], "b": [3] }      containers:   0: {...}   1: a   2: [2]   3: b
 *                                        AFTER:        4          3      3        4
 */
#include "api/object_tree.h"

#include <pthread.h>

#include "api/schema.h"
#include "base/clock.h"

#define PART_BYTES_MIN   96 /* a part costs 56 bytes, and 8 in each block that points into it */
#define SHARDS           16 /* of the table of parts: writers rarely meet at a lock */
#define SEEN             512 /* hashes that a shard remembers: the subtrees of about 200 objects in all */
#define BUCKETS_FIRST    16
#define CONTAINERS_FIRST 160 /* noted on the C stack: a pod has about 100 */

struct tree_part {
    atomic_uint refs; /* becomes 0 under the shard's lock only */
    uint32_t parts_n;
    uint64_t hash;
    struct tree_part *next; /* in its bucket */
    struct json value;
    struct tree_part *parts[]; /* then nodes, then text */
};

/* ---- parts that exist ---- */

static struct shard {
    pthread_mutex_t lock;
    struct tree_part **buckets;
    size_t n, buckets_n;
    uint64_t seen[SEEN];
} shards[SHARDS] = { [0 ... SHARDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER } };

static struct shard *shard_of(uint64_t hash)
{
    return &shards[hash % SHARDS];
}

static struct tree_part **bucket_of(const struct shard *s, uint64_t hash)
{
    return &s->buckets[hash / SHARDS & (s->buckets_n - 1)];
}

static void resize_locked(struct shard *s, size_t buckets_n)
{
    struct shard old = *s;
    s->buckets_n = buckets_n;
    s->buckets = xcalloc(buckets_n, sizeof(struct tree_part *));
    for (size_t i = 0; i < old.buckets_n; i++) {
        for (struct tree_part *p = old.buckets[i], *next; p; p = next) {
            next = p->next;
            struct tree_part **bucket = bucket_of(s, p->hash);
            p->next = *bucket;
            *bucket = p;
        }
    }
    free(old.buckets);
}

static void insert_locked(struct shard *s, struct tree_part *p)
{
    if (s->n >= s->buckets_n)
        resize_locked(s, s->buckets_n ? 2 * s->buckets_n : BUCKETS_FIRST);
    struct tree_part **bucket = bucket_of(s, p->hash);
    p->next = *bucket;
    *bucket = p;
    s->n++;
}

static void remove_locked(struct shard *s, struct tree_part *p)
{
    struct tree_part **at = bucket_of(s, p->hash);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    s->n--;
    if (s->buckets_n > BUCKETS_FIRST && s->n < s->buckets_n / 8)
        resize_locked(s, s->buckets_n / 2);
}

/* A reference to the part of that hash; NULL: none. */
static struct tree_part *find_locked(const struct shard *s, uint64_t hash)
{
    struct tree_part *p = s->buckets_n ? *bucket_of(s, hash) : NULL;
    while (p && p->hash != hash)
        p = p->next;
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

/* Whether that hash was seen a short while ago; it has been from now on. */
static bool seen_locked(struct shard *s, uint64_t hash)
{
    uint64_t *slot = &s->seen[hash / SHARDS % SEEN];
    bool is_again = *slot == hash;
    *slot = hash;
    return is_again;
}

static void part_unref(struct tree_part *p)
{
    unsigned refs = atomic_load_explicit(&p->refs, memory_order_relaxed);
    while (refs > 1)
        if (atomic_compare_exchange_weak_explicit(&p->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    /* Perhaps the last: who looks for it holds the lock. */
    struct shard *s = shard_of(p->hash);
    pthread_mutex_lock(&s->lock);
    bool is_last = atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1;
    if (is_last)
        remove_locked(s, p);
    pthread_mutex_unlock(&s->lock);
    if (!is_last)
        return;
    tree_parts_release(p->parts, p->parts_n);
    free(p);
}

void tree_parts_release(struct tree_part *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        part_unref(parts[i]);
}

size_t tree_parts_n(void)
{
    size_t n = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        n += shards[i].n;
        pthread_mutex_unlock(&shards[i].lock);
    }
    return n;
}

/* ---- the first walk: hashes and sizes ---- */

struct container {
    uint64_t hash;
    struct tree_part *part; /* NULL: it lies in its parent's block */
    uint32_t bytes;         /* of its content in one piece */
    uint32_t after;         /* index of the first container that is not within it */
};

struct packing {
    const struct json *metadata; /* never in a part */
    const struct json *revision; /* metadata.resourceVersion */
    bool is_in_part;             /* a new part points into older ones, and is whole otherwise */
    struct container *containers;
    size_t n, capacity;
    struct container first[CONTAINERS_FIRST];
};

/* Equality decides what is the same; a key that nobody can know keeps who chooses texts from making
 * the chains of the table long. */
static uint64_t hash_key[2];

__attribute__((constructor)) static void hash_key_init(void)
{
    hash_key[0] = rng_next(system_rng);
    hash_key[1] = rng_next(system_rng);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)(a ^ hash_key[0]) * (b ^ hash_key[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t text_hash(const char *text, size_t len)
{
    uint64_t sum = len, word = 0;
    for (; len > 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        sum = mix(sum, word);
    }
    word = 0;
    memcpy(&word, text, len);
    return mix(sum, word);
}

static bool is_container(const struct json *v)
{
    return v->type >= JSON_ARRAY && v->len > 0;
}

/* The name as a tree at rest has it: the tables' own string where they know it. */
static const char *name_at_rest(const char *name)
{
    return json_name_is_shared(name) ? name : schema_name_find(bytes_of(name));
}

static size_t name_bytes(const char *name)
{
    return name_at_rest(name) ? 0 : strlen(name) + 1;
}

static uint64_t name_hash(const char *name)
{
    const char *shared = name_at_rest(name);
    return shared ? (uintptr_t)shared : text_hash(name, strlen(name));
}

static size_t note_container(struct packing *p)
{
    if (p->n == p->capacity) {
        struct container *small = p->containers == p->first ? NULL : p->containers;
        p->capacity *= 4;
        p->containers = xrealloc(small, p->capacity * sizeof(*p->containers));
        if (!small)
            memcpy(p->containers, p->first, sizeof(p->first));
    }
    return p->n++;
}

/* The hash of V; its content is added to *BYTES. */
static uint64_t measure(struct packing *p, const struct json *v, size_t *bytes);

static uint64_t measure_container(struct packing *p, const struct json *v, size_t *bytes)
{
    size_t at = note_container(p);
    size_t content = v->len * (v->type == JSON_OBJECT ? sizeof(*v->members) : sizeof(*v->items));
    uint64_t sum = mix(v->type, v->len);
    json_each_item (v, i)
        sum = mix(sum, measure(p, i, &content));
    json_each_member (v, m) {
        content += name_bytes(m->name);
        sum = mix(mix(sum, name_hash(m->name)), measure(p, &m->value, &content));
    }
    p->containers[at] = (struct container){
        .hash = sum,
        .bytes = content < UINT32_MAX ? (uint32_t)content : UINT32_MAX,
        .after = (uint32_t)p->n,
    };
    *bytes += content;
    return sum;
}

static uint64_t measure(struct packing *p, const struct json *v, size_t *bytes)
{
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        return mix(v->type, v->boolean);
    case JSON_INT:
    case JSON_DOUBLE:
        return mix(v->type, (uint64_t)v->integer);
    case JSON_STRING:
        *bytes += v->len + 1;
        return text_hash(v->string, v->len);
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (is_container(v))
            return measure_container(p, v, bytes);
    }
    return v->type;
}

/* ---- the second walk: what is a part ---- */

/* What a block of its own must have room for. */
struct need {
    size_t parts_n, bytes;
};

/* Equal in everything that a reader can see, the order of members too. */
static bool is_same(const struct json *a, const struct json *b);

static bool is_same_member(const struct json_member *a, const struct json_member *b)
{
    return (a->name == b->name || strcmp(a->name, b->name) == 0) && is_same(&a->value, &b->value);
}

static bool is_same(const struct json *a, const struct json *b)
{
    if (a->type != b->type)
        return false;
    switch ((enum json_type)a->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_INT:
    case JSON_DOUBLE:
        return a->integer == b->integer;
    case JSON_STRING:
        return a->len == b->len && memcmp(a->string, b->string, a->len) == 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    bool same = a->len == b->len;
    for (size_t i = 0; same && i < a->len; i++)
        same = a->type == JSON_ARRAY ? is_same(&a->items[i], &b->items[i])
                                     : is_same_member(&a->members[i], &b->members[i]);
    return same;
}

static struct tree_part *part_of(struct packing *p, const struct json *v, size_t at);

static size_t text_room(const struct packing *p, const struct json *v)
{
    return v == p->revision && v->len < TREE_REVISION_BYTES ? TREE_REVISION_BYTES : v->len;
}

/* Adds what V's content takes of its owner's block; *AT is the next container. */
static void plan(struct packing *p, const struct json *v, size_t *at, struct need *need);

static void plan_content(struct packing *p, const struct json *v, size_t *at, struct need *need)
{
    ++*at;
    need->bytes += v->len * (v->type == JSON_OBJECT ? sizeof(*v->members) : sizeof(*v->items));
    json_each_item (v, i)
        plan(p, i, at, need);
    json_each_member (v, m) {
        need->bytes += name_bytes(m->name);
        plan(p, &m->value, at, need);
    }
}

static void plan(struct packing *p, const struct json *v, size_t *at, struct need *need)
{
    if (v->type == JSON_STRING)
        need->bytes += text_room(p, v) + 1;
    if (!is_container(v))
        return;
    struct container *c = &p->containers[*at];
    if (c->bytes >= PART_BYTES_MIN && v != p->metadata)
        c->part = part_of(p, v, *at);
    if (!c->part) {
        plan_content(p, v, at, need);
        return;
    }
    *at = c->after;
    need->parts_n++;
    need->bytes += sizeof(struct tree_part *);
}

/* ---- the third walk: copying ---- */

struct writer {
    struct packing *packing;
    struct tree_part **parts; /* the next */
    char *front, *back;       /* nodes grow up, text grows down */
    size_t at;
};

static const char *write_text(struct writer *w, const char *text, size_t len, size_t room)
{
    w->back -= room + 1;
    memcpy(w->back, text, len);
    w->back[len] = '\0';
    return w->back;
}

static const char *write_name(struct writer *w, const char *name)
{
    const char *shared = name_at_rest(name);
    size_t len = shared ? 0 : strlen(name);
    return shared ? shared : write_text(w, name, len, len);
}

static struct json write_value(struct writer *w, const struct json *v);

static struct json write_content(struct writer *w, const struct json *v)
{
    struct json out = { .type = v->type, .len = v->len, .items = (struct json *)w->front };
    w->at++;
    if (v->type == JSON_ARRAY) {
        w->front += v->len * sizeof(*out.items);
        for (size_t i = 0; i < v->len; i++)
            out.items[i] = write_value(w, &v->items[i]);
        return out;
    }
    w->front += v->len * sizeof(*out.members);
    for (size_t i = 0; i < v->len; i++)
        out.members[i] = (struct json_member){ write_name(w, v->members[i].name),
                                               write_value(w, &v->members[i].value) };
    return out;
}

static struct json write_value(struct writer *w, const struct json *v)
{
    struct json out = *v;
    out.room = 0;
    if (v->type == JSON_STRING)
        out.string = write_text(w, v->string, v->len, text_room(w->packing, v));
    if (!is_container(v))
        return out;
    const struct container *c = &w->packing->containers[w->at];
    if (!c->part)
        return write_content(w, v);
    *w->parts++ = c->part;
    w->at = c->after;
    return c->part->value;
}

/* ---- making parts ---- */

static struct tree_part *part_new(struct packing *p, const struct json *v, size_t at)
{
    struct need need = { 0 };
    size_t next = at;
    p->is_in_part = true;
    plan_content(p, v, &next, &need);
    p->is_in_part = false;
    struct tree_part *part = xmalloc(sizeof(*part) + need.bytes);
    atomic_init(&part->refs, 1);
    part->parts_n = (uint32_t)need.parts_n;
    part->hash = p->containers[at].hash;
    struct writer w = {
        .packing = p,
        .parts = part->parts,
        .front = (char *)(part->parts + need.parts_n),
        .back = (char *)part->parts + need.bytes,
        .at = at,
    };
    part->value = write_content(&w, v);
    ensure(w.front == w.back);
    return part;
}

/* A reference to the part that is equal to V; NULL: V is no part (yet). */
static struct tree_part *part_of(struct packing *p, const struct json *v, size_t at)
{
    uint64_t hash = p->containers[at].hash;
    struct shard *s = shard_of(hash);
    pthread_mutex_lock(&s->lock);
    struct tree_part *part = find_locked(s, hash);
    bool is_wanted = !part && !p->is_in_part && seen_locked(s, hash);
    pthread_mutex_unlock(&s->lock);

    if (is_wanted) {
        struct tree_part *mine = part_new(p, v, at);
        pthread_mutex_lock(&s->lock);
        part = find_locked(s, hash);
        if (!part)
            insert_locked(s, mine);
        pthread_mutex_unlock(&s->lock);
        if (!part)
            return mine;
        tree_parts_release(mine->parts, mine->parts_n); /* another thread was faster */
        free(mine);
    }
    if (part && !is_same(&part->value, v)) { /* the hash of something else */
        part_unref(part);
        part = NULL;
    }
    return part;
}

/* ---- packing ---- */

struct tree_block tree_pack(const struct json *doc, size_t head_bytes)
{
    struct packing p; /* not cleared: most of it is room */
    p.metadata = json_get(doc, "metadata");
    p.revision = json_get(p.metadata, "resourceVersion");
    p.is_in_part = false;
    p.containers = p.first;
    p.n = 0;
    p.capacity = CONTAINERS_FIRST;

    size_t total = 0, at = 0;
    measure(&p, doc, &total);
    struct need need = { .bytes = (head_bytes + 7) & ~(size_t)7 };
    size_t head = need.bytes;
    need.bytes += sizeof(*doc);
    if (is_container(doc))
        plan_content(&p, doc, &at, &need);

    struct tree_block b = { .head = xmalloc(need.bytes), .parts_n = need.parts_n };
    b.bytes = need.bytes;
    b.doc = (struct json *)((char *)b.head + head);
    b.parts = (struct tree_part **)(b.doc + 1);
    struct writer w = {
        .packing = &p,
        .parts = b.parts,
        .front = (char *)(b.parts + b.parts_n),
        .back = (char *)b.head + b.bytes,
    };
    *b.doc = is_container(doc) ? write_content(&w, doc) : *doc;
    ensure(w.front == w.back);
    if (p.containers != p.first)
        free(p.containers);
    return b;
}
