/* SPDX-License-Identifier: Apache-2.0 */
/* linearizability.c - the search, one key at a time. */
#include "test/fault/linearizability.h"

#include "base/arena.h"

#define NONE UINT32_MAX

/* A start or an end of a call, in a list by time.  Calls that have been given their place in the
 * order are taken out, and put back when the search retreats. */
struct entry {
    uint32_t prev, next; /* entry 0 is the list's head */
    uint32_t op;
    uint32_t end; /* of a start: the entry of its end, NONE for a call that is unknown */
    bool is_start;
    int64_t at_ns;
};

struct placed {
    uint32_t start;        /* entry */
    uint64_t value_before; /* the register's */
};

/* A configuration: which calls have a place, and what the key holds after them. */
struct cache {
    struct arena *arena;
    uint64_t **slots; /* a power of two; each: value, then the set's words */
    size_t capacity, n;
};

struct search {
    const struct lin_op **ops; /* of one key */
    uint32_t n;
    struct entry *entries;
    uint64_t *set;
    size_t set_words;
    struct placed *stack;
    uint32_t stack_n;
    uint32_t ends_left;
    struct cache cache;
};

/* ---- the register ---- */

/* Could OP have happened to a key that holds *VALUE?  Then *VALUE is what it holds after it. */
static bool step(const struct lin_op *op, uint64_t *value)
{
    bool would_apply;
    switch (op->type) {
    case LIN_READ:
        return op->value == *value;
    case LIN_WRITE:
        *value = op->value;
        return true;
    case LIN_DELETE:
        would_apply = *value != LIN_NOTHING;
        break;
    case LIN_SWAP:
        would_apply = *value == op->expected;
        break;
    default:
        return false;
    }
    if (!op->is_unknown && op->applied != would_apply)
        return false;
    if (would_apply)
        *value = op->type == LIN_SWAP ? op->value : LIN_NOTHING;
    return true;
}

/* ---- the cache ---- */

static uint64_t hash_words(const uint64_t *words, size_t n)
{
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0xbf58476d1ce4e5b9);
        hash ^= hash >> 29;
    }
    return hash;
}

static uint64_t **cache_find(struct cache *c, const uint64_t *words, size_t n)
{
    size_t i = hash_words(words, n) & (c->capacity - 1);
    while (c->slots[i] && memcmp(c->slots[i], words, n * sizeof(words[0])) != 0)
        i = (i + 1) & (c->capacity - 1);
    return &c->slots[i];
}

static void cache_grow(struct cache *c, size_t words_n)
{
    struct cache old = *c;
    c->capacity = old.capacity ? 2 * old.capacity : 1024;
    c->slots = xcalloc(c->capacity, sizeof(c->slots[0]));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i])
            *cache_find(c, old.slots[i], words_n) = old.slots[i];
    free(old.slots);
}

/* False: this configuration was there before. */
static bool cache_add(struct search *s, uint64_t value)
{
    struct cache *c = &s->cache;
    size_t words_n = s->set_words + 1;
    if (2 * c->n >= c->capacity)
        cache_grow(c, words_n);
    uint64_t *words = arena_alloc(c->arena, words_n * sizeof(words[0]));
    words[0] = value;
    memcpy(words + 1, s->set, s->set_words * sizeof(words[0]));
    uint64_t **slot = cache_find(c, words, words_n);
    if (*slot)
        return false;
    *slot = words;
    c->n++;
    return true;
}

/* ---- the list ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return (int)y->is_start - (int)x->is_start; /* what touches overlaps */
}

static void make_list(struct search *s)
{
    uint32_t n = 1;
    s->entries = xcalloc(2 * (size_t)s->n + 1, sizeof(s->entries[0]));
    for (uint32_t i = 0; i < s->n; i++) {
        const struct lin_op *op = s->ops[i];
        s->entries[n++] = (struct entry){ .op = i, .is_start = true, .at_ns = op->start_ns };
        if (!op->is_unknown)
            s->entries[n++] = (struct entry){ .op = i, .at_ns = op->end_ns };
    }
    qsort(s->entries + 1, n - 1, sizeof(s->entries[0]), compare_entries);
    scoped(mem) void *starts_mem = xmalloc((s->n + 1) * sizeof(uint32_t));
    uint32_t *starts = starts_mem;
    for (uint32_t i = 1; i < n; i++) {
        struct entry *e = &s->entries[i];
        e->prev = i - 1;
        s->entries[i - 1].next = i;
        e->end = NONE;
        if (e->is_start) {
            starts[e->op] = i;
        } else {
            s->entries[starts[e->op]].end = i;
            s->ends_left++;
        }
    }
    s->entries[n - 1].next = NONE;
}

static void take_out(struct search *s, uint32_t i)
{
    struct entry *e = &s->entries[i];
    s->entries[e->prev].next = e->next;
    if (e->next != NONE)
        s->entries[e->next].prev = e->prev;
}

static void put_back(struct search *s, uint32_t i)
{
    struct entry *e = &s->entries[i];
    s->entries[e->prev].next = i;
    if (e->next != NONE)
        s->entries[e->next].prev = i;
}

/* ---- the search ---- */

static void place(struct search *s, uint32_t start, uint64_t value_before)
{
    s->stack[s->stack_n++] = (struct placed){ start, value_before };
    take_out(s, start);
    if (s->entries[start].end != NONE) {
        take_out(s, s->entries[start].end);
        s->ends_left--;
    }
}

/* The other way round, so that neighbours that were taken out together find each other. */
static uint32_t retreat(struct search *s, uint64_t *value)
{
    struct placed p = s->stack[--s->stack_n];
    struct entry *e = &s->entries[p.start];
    if (e->end != NONE) {
        put_back(s, e->end);
        s->ends_left++;
    }
    put_back(s, p.start);
    s->set[e->op / 64] &= ~(UINT64_C(1) << e->op % 64);
    *value = p.value_before;
    return e->next;
}

static enum lin_verdict run(struct search *s, uint64_t value)
{
    uint32_t at = s->entries[0].next;
    while (s->ends_left) {
        /* A call that ended before all that is left began has to come first, and cannot. */
        if (!s->entries[at].is_start) {
            if (!s->stack_n)
                return LIN_NO;
            at = retreat(s, &value);
            continue;
        }
        uint32_t op = s->entries[at].op;
        uint64_t after = value;
        bool is_new = false;
        if (step(s->ops[op], &after)) {
            s->set[op / 64] |= UINT64_C(1) << op % 64;
            is_new = cache_add(s, after);
            if (!is_new)
                s->set[op / 64] &= ~(UINT64_C(1) << op % 64);
        }
        if (s->cache.n * s->set_words * sizeof(s->set[0]) > LIN_CACHE_BYTES_MAX)
            return LIN_TOO_HARD;
        if (is_new) {
            place(s, at, value);
            value = after;
            at = s->entries[0].next;
        } else {
            at = s->entries[at].next;
        }
    }
    return LIN_YES;
}

static enum lin_verdict check_key(const struct lin_op **ops, uint32_t n, uint64_t initial)
{
    struct search s = { .ops = ops, .n = n, .set_words = (n + 63) / 64 };
    s.set = xcalloc(s.set_words + 1, sizeof(s.set[0]));
    s.stack = xcalloc((size_t)n + 1, sizeof(s.stack[0]));
    s.cache.arena = arena_new();
    make_list(&s);
    enum lin_verdict verdict = run(&s, initial);
    arena_free(s.cache.arena);
    free(s.cache.slots);
    free(s.entries);
    free(s.stack);
    free(s.set);
    return verdict;
}

enum lin_verdict lin_check(const struct lin_op *ops, size_t n, const uint64_t *initial,
                           uint32_t keys_n, uint32_t *key)
{
    enum lin_verdict verdict = LIN_YES;
    const struct lin_op **of_key = xcalloc(n + 1, sizeof(of_key[0]));
    for (uint32_t k = 0; k < keys_n && verdict == LIN_YES; k++) {
        uint32_t found = 0;
        for (size_t i = 0; i < n; i++)
            if (ops[i].key == k && !(ops[i].is_unknown && ops[i].type == LIN_READ))
                of_key[found++] = &ops[i];
        verdict = check_key(of_key, found, initial[k]);
        *key = k;
    }
    free(of_key);
    return verdict;
}
