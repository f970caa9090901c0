/* SPDX-License-Identifier: Apache-2.0 */
/* watch_cache_reload.c - the caches after a gap in the store's history: compared with what is
 * stored, key by key, and the clients told to list again. */
#include "apiserver/store_access.h"
#include "apiserver/watch_cache_internal.h"
#include "apiserver/watch_delivery.h"
#include "base/cond.h"
#include "base/log.h"

#define RELOAD_PAGE 1000
#define RETRY_S     1

struct watch_reloader {
    struct watch_caches *all;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool is_wanted, is_stopping;
};

/* One cache: what is stored and what is cached, side by side in key order. */
struct reload {
    struct watch_cache *cache;
    struct ordered_map_cursor cursor;
    struct cache_entry *entry; /* the next that was not met in the store yet */
    int64_t revision;
    struct arena *gone; /* of KEYS: deletions wait until the cursor is done */
    struct bytes *keys;
    size_t keys_n, keys_capacity;
};

static void note_gone(struct reload *l)
{
    l->keys = arena_grow(l->gone, l->keys, l->keys_n, &l->keys_capacity, sizeof(*l->keys));
    l->keys[l->keys_n++] =
        bytes_of(arena_printf(l->gone, "%.*s%.*s", (int)l->cache->prefix.len, l->cache->prefix.data,
                              (int)l->entry->key.len, l->entry->key.data));
    l->entry = ordered_map_next(&l->cursor, BYTES(""));
}

static bool is_known(struct reload *l, const struct storage_kv *kv)
{
    struct bytes key = watch_cache_key_text(l->cache, kv->key);
    while (l->entry && bytes_compare(l->entry->key, key) < 0)
        note_gone(l);
    if (!l->entry || !bytes_equal(l->entry->key, key))
        return false;
    bool is_same = l->entry->object->resource_version == kv->mod_revision;
    l->entry = ordered_map_next(&l->cursor, BYTES(""));
    return is_same;
}

static int compare_revisions(const void *a, const void *b)
{
    const struct storage_kv *x = a, *y = b;
    return x->mod_revision < y->mod_revision ? -1 : x->mod_revision > y->mod_revision;
}

/* The ring ascends, so the changes are put in order first. */
static int reload_changes(struct reload *l, struct arena *a, struct storage_kv **changed, size_t *n,
                          struct error *err)
{
    scoped(arena) struct arena *page_arena = arena_new();
    struct bytes from = l->cache->prefix, end = store_prefix_end(from, a);
    struct storage_range_result page = { .more = true };
    size_t capacity = 0;
    while (page.more) {
        struct storage_range range = {
            .key = from, .end = end, .revision = l->revision, .limit = RELOAD_PAGE
        };
        arena_reset(page_arena);
        if (storage_range(l->cache->all->server->storage, &range, page_arena, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.n; i++) {
            if (is_known(l, &page.kvs[i]))
                continue;
            struct storage_kv *kv = &page.kvs[i];
            *changed = arena_grow(a, *changed, *n, &capacity, sizeof(**changed));
            (*changed)[*n] = *kv;
            (*changed)[*n].key = arena_bytes(a, kv->key);
            (*changed)[(*n)++].value = arena_bytes(a, kv->value);
        }
        if (page.n == 0)
            break;
        struct bytes last = page.kvs[page.n - 1].key;
        from =
            (struct bytes){ arena_bytes(a, last).data, last.len + 1 }; /* with the NUL after it */
    }
    while (l->entry)
        note_gone(l);
    if (*n)
        qsort(*changed, *n, sizeof(**changed), compare_revisions);
    return 0;
}

static int reload_cache(struct watch_cache *c, int64_t revision, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct reload l = { .cache = c, .revision = revision, .gone = a };
    struct storage_kv *changed = NULL;
    size_t n = 0;
    l.cursor = ordered_map_seek(&c->objects, BYTES(""));
    l.entry = ordered_map_next(&l.cursor, BYTES(""));
    if (reload_changes(&l, a, &changed, &n, err) < 0)
        return -1;
    pthread_rwlock_wrlock(&c->lock);
    unreadable_sweep_begin(&c->unreadable);
    pthread_rwlock_unlock(&c->lock);
    for (size_t i = 0; i < n; i++)
        watch_cache_correct(c, &(struct storage_event){ .kv = changed[i] });
    pthread_rwlock_wrlock(&c->lock);
    unreadable_sweep_end(&c->unreadable);
    pthread_rwlock_unlock(&c->lock);
    for (size_t i = 0; i < l.keys_n; i++)
        watch_cache_correct(
            c, &(struct storage_event){ .is_delete = true,
                                        .kv = { .key = l.keys[i], .mod_revision = revision } });
    return 0;
}

/* From here on a watch begins at REVISION or later. */
static void forget_history(struct watch_cache *c, int64_t revision)
{
    pthread_rwlock_wrlock(&c->lock);
    struct cache_event *gone = event_ring_clear(&c->ring, revision);
    c->changed_revision = revision;
    pthread_rwlock_unlock(&c->lock);
    cache_events_release(gone);
}

static int reload(struct watch_caches *all, struct error *err)
{
    int64_t revision;
    if (storage_read_revision(all->server->storage, &revision, err) < 0)
        return -1;
    for (int id = 0; id < RESOURCES; id++) {
        struct watch_cache *c = all->by_id[id];
        if (c && reload_cache(c, revision, err) < 0)
            return -1;
        if (c)
            forget_history(c, revision);
    }
    watch_caches_moved(all, revision);
    watch_delivery_expire_all(all->delivery);
    log_info("apiserver", "watch caches filled anew at revision %lld", (long long)revision);
    return watch_caches_follow(all, revision, err);
}

static void drop_watch(struct watch_caches *all)
{
    pthread_rwlock_wrlock(&all->watch_lock);
    struct storage_watch *watch = all->watch;
    all->watch = NULL;
    pthread_rwlock_unlock(&all->watch_lock);
    storage_watch_close(watch);
}

static void sleep_for(struct watch_reloader *r, int seconds)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + seconds * NS_PER_S;
    while (!r->is_stopping && cond_wait_until(&r->changed, &r->lock, until_ns))
        ;
}

static void *run(void *arg)
{
    struct watch_reloader *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->is_stopping) {
        if (!r->is_wanted) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        r->is_wanted = false;
        pthread_mutex_unlock(&r->lock);
        struct error err = { 0 };
        drop_watch(r->all);
        int rc = reload(r->all, &err);
        if (rc < 0)
            log_warn("apiserver", "fill the watch caches anew: %s", err.message);
        pthread_mutex_lock(&r->lock);
        if (rc < 0) {
            r->is_wanted = true;
            sleep_for(r, RETRY_S);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct watch_reloader *watch_reloader_new(struct watch_caches *all)
{
    struct watch_reloader *r = xcalloc(1, sizeof(*r));
    r->all = all;
    pthread_mutex_init(&r->lock, NULL);
    cond_init(&r->changed);
    ensure(pthread_create(&r->thread, NULL, run, r) == 0);
    return r;
}

void watch_reloader_wake(struct watch_reloader *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_wanted = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void watch_reloader_stop(struct watch_reloader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
}

void watch_reloader_free(struct watch_reloader *r)
{
    if (!r)
        return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
