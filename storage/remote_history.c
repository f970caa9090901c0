/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_history.c - all that an etcd cluster still knows, in the order it was written.
 *
 *     what was current at the last compaction: the keys sorted by revision, then their values
 *     what came after it: a watch from there to where the walk ends
 */
#include <stdlib.h>

#include "storage/remote.h"

/* Everything of one walk. */
struct walk {
    struct remote *remote;
    int64_t through; /* revision */
    int (*fn)(const struct storage_version *v, void *arg, struct error *err);
    void *arg;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct walk_batch *first, **last; /* revisions that the watch has delivered */
    size_t queued_bytes;
    bool has_overflowed; /* what follows the queue was dropped */
    int64_t compacted_revision;
    struct error failure;
};
struct walk_batch {
    struct walk_batch *next;
    struct arena *arena;
    size_t bytes, n;
    int64_t revision;
    struct storage_event *events;
};

/* When so much waits for the reader, what follows is dropped and asked for again later: the thread
 * that it comes on serves others too. */
#define WALK_QUEUED_BYTES_MAX ((size_t)64 << 20)
#define WALK_PAGE             1000
#define WALK_BATCH            64

static void walk_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    struct walk *w = arg;
    pthread_mutex_lock(&w->lock);
    w->has_overflowed |= w->queued_bytes > WALK_QUEUED_BYTES_MAX;
    bool takes = !w->has_overflowed && revision <= w->through;
    pthread_mutex_unlock(&w->lock);
    if (!takes)
        return;
    struct arena *a = arena_new();
    struct walk_batch *b = arena_zalloc(a, sizeof(*b));
    b->arena = a;
    b->n = n;
    b->revision = revision;
    b->events = arena_memdup(a, events, n * sizeof(*events));
    for (size_t i = 0; i < n; i++) {
        b->events[i].kv.key = arena_bytes(a, events[i].kv.key);
        b->events[i].kv.value = arena_bytes(a, events[i].kv.value);
    }
    b->bytes = arena_size_bytes(a);
    pthread_mutex_lock(&w->lock);
    *w->last = b;
    w->last = &b->next;
    w->queued_bytes += b->bytes;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void walk_failed(const struct error *err, int64_t compacted_revision, void *arg)
{
    struct walk *w = arg;
    pthread_mutex_lock(&w->lock);
    w->failure = *err;
    w->compacted_revision = compacted_revision;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static struct storage_watch *walk_watch(struct walk *w, int64_t from, struct error *err)
{
    struct storage_watch_config config = { .key = BYTES("\0"),
                                           .end = BYTES("\0"),
                                           .start_revision = from,
                                           .events = walk_events,
                                           .failed = walk_failed,
                                           .arg = w };
    return remote_watch(&w->remote->storage, &config, err);
}

static void walk_drop(struct walk *w)
{
    while (w->first) {
        struct walk_batch *b = w->first;
        w->first = b->next;
        arena_free(b->arena);
    }
    w->last = &w->first;
}

/* The next revision's events; NULL: nothing comes any more from this watch. */
static struct walk_batch *walk_next(struct walk *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->has_overflowed && !w->failure.code)
        pthread_cond_wait(&w->changed, &w->lock);
    struct walk_batch *b = w->first;
    if (b) {
        w->first = b->next;
        if (!w->first)
            w->last = &w->first;
        w->queued_bytes -= b->bytes;
    }
    pthread_mutex_unlock(&w->lock);
    return b;
}

static int walk_batch(struct walk *w, const struct walk_batch *b, struct error *err)
{
    for (size_t i = 0; i < b->n; i++) {
        struct storage_version v = { .kv = b->events[i].kv,
                                     .sub = (uint32_t)i,
                                     .is_delete = b->events[i].is_delete };
        if (w->fn(&v, w->arg, err) < 0)
            return -1;
    }
    return 0;
}

/* Hands on what one watch from *AT + 1 delivers. */
static int walk_from(struct walk *w, int64_t *at, struct error *err)
{
    w->has_overflowed = false;
    struct storage_watch *watch = walk_watch(w, *at + 1, err);
    if (!watch)
        return -1;
    struct walk_batch *b;
    int rc = 0;
    while (rc == 0 && *at < w->through && (b = walk_next(w))) {
        rc = walk_batch(w, b, err);
        *at = b->revision;
        arena_free(b->arena);
    }
    storage_watch_close(watch);
    walk_drop(w);
    if (rc == 0 && w->failure.code && *at < w->through) {
        *err = w->failure;
        rc = -1;
    }
    return rc;
}

/* The last compaction is known only to who asks for what was before it. */
static int find_compaction(struct walk *w, int64_t *compacted, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct storage_range any = { .key = BYTES("\0"), .count_only = true, .revision = 1 };
    struct storage_range_result result;
    struct error failure = { 0 };
    *compacted = 0;
    if (remote_range(&w->remote->storage, &any, a, &result, &failure) == 0)
        return 0;
    if (failure.code != ERR_COMPACTED) {
        *err = failure;
        return -1;
    }
    struct storage_watch *watch = walk_watch(w, 1, err);
    if (!watch)
        return -1;
    pthread_mutex_lock(&w->lock);
    while (!w->failure.code)
        pthread_cond_wait(&w->changed, &w->lock);
    failure = w->failure;
    *compacted = w->compacted_revision;
    w->failure = (struct error){ 0 };
    pthread_mutex_unlock(&w->lock);
    storage_watch_close(watch);
    if (failure.code == ERR_COMPACTED && *compacted > 0)
        return 0;
    *err = failure;
    return -1;
}

struct found {
    struct bytes key;
    int64_t mod_revision;
    bool is_replaced; /* not there any more where the walk ends */
};

static int compare_found(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->mod_revision != y->mod_revision)
        return x->mod_revision < y->mod_revision ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

/* The keys alone, so that sorting what may be gigabytes of values costs megabytes. */
static int find_keys(struct storage *s, int64_t revision, struct arena *keys, struct found **out,
                     size_t *n, struct error *err)
{
    scoped(arena) struct arena *page_arena = arena_new();
    struct bytes from = BYTES("\0");
    size_t capacity = 0;
    struct storage_range_result page = { .more = true };
    while (page.more) {
        arena_reset(page_arena);
        struct storage_range range = { .key = from,
                                       .end = BYTES("\0"),
                                       .revision = revision,
                                       .limit = WALK_PAGE,
                                       .keys_only = true };
        if (remote_range(s, &range, page_arena, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.n; i++) {
            *out = arena_grow(keys, *out, *n, &capacity, sizeof(**out));
            (*out)[(*n)++] = (struct found){ .key = arena_bytes(keys, page.kvs[i].key),
                                             page.kvs[i].mod_revision };
        }
        if (page.n == 0)
            break;
        /* The key after the last one: arena_bytes() puts a NUL there. */
        from = (struct bytes){ (*out)[*n - 1].key.data, (*out)[*n - 1].key.len + 1 };
    }
    qsort(*out, *n, sizeof(**out), compare_found);
    return 0;
}

static int deliver_values(struct walk *w, const struct found *keys, size_t n, int64_t revision,
                          uint32_t *sub, int64_t *last_revision, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct storage_range ranges[WALK_BATCH];
    struct storage_op ops[WALK_BATCH];
    for (size_t i = 0; i < n; i++) {
        ranges[i] = (struct storage_range){ .key = keys[i].key, .revision = revision };
        ops[i] = (struct storage_op){ .type = STORAGE_RANGE, .range = &ranges[i] };
    }
    struct storage_txn txn = { .success = ops, .success_n = n };
    struct storage_txn_result result;
    if (remote_txn(&w->remote->storage, &txn, a, &result, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (result.results[i].range.n != 1)
            return error_set(err, ERR_IO, "etcd: a key of revision %lld is gone",
                             (long long)revision);
        struct storage_version v = { .kv = result.results[i].range.kvs[0] };
        *sub = v.kv.mod_revision == *last_revision ? *sub + 1 : 0;
        *last_revision = v.kv.mod_revision;
        v.sub = *sub;
        v.is_replaced = keys[i].is_replaced;
        if (w->fn(&v, w->arg, err) < 0)
            return -1;
    }
    return 0;
}

/* Which of KEYS are not there any more, as they are, where the walk ends.  Both lists ascend. */
static int find_replaced(struct walk *w, struct found *keys, size_t n, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct found *later = NULL;
    size_t later_n = 0, at = 0;
    if (find_keys(&w->remote->storage, w->through, arena, &later, &later_n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        while (at < later_n && compare_found(&later[at], &keys[i]) < 0)
            at++;
        keys[i].is_replaced = at == later_n || compare_found(&later[at], &keys[i]) != 0;
    }
    return 0;
}

/* What was current at REVISION, in the order it was written. */
static int walk_base(struct walk *w, int64_t revision, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct found *keys = NULL;
    size_t n = 0;
    uint32_t sub = 0;
    int64_t last_revision = 0;
    if (find_keys(&w->remote->storage, revision, arena, &keys, &n, err) < 0 ||
        find_replaced(w, keys, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i += WALK_BATCH) {
        size_t batch = n - i < WALK_BATCH ? n - i : WALK_BATCH;
        if (deliver_values(w, keys + i, batch, revision, &sub, &last_revision, err) < 0)
            return -1;
    }
    return 0;
}

/* Every revision has an event, so the last one's is waited for. */
static int walk_history(struct walk *w, int64_t compacted, struct error *err)
{
    int rc = 0;
    for (int64_t at = compacted; rc == 0 && at < w->through;)
        rc = walk_from(w, &at, err);
    return rc;
}

int remote_each_version(struct storage *s, int64_t revision, struct storage_history *out,
                        int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                        void *arg, struct error *err)
{
    int64_t newest, compacted;
    struct walk w = { .remote = remote_of(s), .fn = fn, .arg = arg };
    w.last = &w.first;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.changed, NULL);
    int rc = remote_read_revision(s, &newest, err);
    if (rc == 0)
        rc = find_compaction(&w, &compacted, err);
    if (rc == 0 && revision > newest)
        rc = error_set(err, ERR_FUTURE_REVISION, "revision %lld is in the future",
                       (long long)revision);
    if (rc == 0 && revision && revision < compacted)
        rc = error_set(err, ERR_COMPACTED, "revision %lld has been compacted", (long long)revision);
    if (rc == 0) {
        w.through = revision ? revision : newest;
        *out = (struct storage_history){ .revision = w.through, .compacted_revision = compacted };
        if (compacted > 0)
            rc = walk_base(&w, compacted, err);
    }
    if (rc == 0)
        rc = walk_history(&w, compacted, err);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    return rc;
}
