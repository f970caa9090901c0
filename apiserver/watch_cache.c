/* SPDX-License-Identifier: Apache-2.0 */
/* watch_cache.c - objects in memory, in order, and the ring of what happened to them. */
#include "apiserver/watch_cache.h"

#include "apiserver/store_access.h"
#include "apiserver/watch_cache_internal.h"
#include "apiserver/watch_delivery.h"
#include "base/cond.h"
#include "base/heap.h"
#include "base/log.h"

#define LOAD_PAGE       1000
#define EXPIRE_EVERY_NS (RING_KEPT_NS / 2)
#define GIVE_BACK_BYTES ((size_t)2 << 20) /* of the past: who churns less has it used again */

/* ---- events ---- */

static struct cache_event *event_new(struct watch_cache *c, enum watch_type type,
                                     const struct object *object, struct object *previous_take)
{
    struct cache_event *e = xcalloc(1, sizeof(*e));
    atomic_init(&e->refs, 1);
    e->type = type;
    e->revision = object->resource_version;
    e->at_ns = clock_monotonic_ns(c->all->server->clock);
    e->cache = c;
    e->object = object_ref(object);
    e->previous = previous_take;
    return e;
}

/* ---- changes, on the store's publishing thread ---- */

struct bytes watch_cache_key_text(const struct watch_cache *c, struct bytes storage_key)
{
    return (struct bytes){ storage_key.data + c->prefix.len, storage_key.len - c->prefix.len };
}

/* Puts O in place of what is under KEY and returns that (NULL: nothing was). */
static struct object *insert_object_take(struct watch_cache *c, struct bytes key, struct object *o)
{
    struct cache_entry *entry = hashmap_get(&c->by_key, key);
    if (entry) {
        struct object *old = entry->object;
        entry->object = o;
        entry->labels = json_get(object_metadata(o), "labels");
        return old;
    }
    entry = xmalloc(sizeof(*entry) + key.len + 1);
    memcpy(entry->text, key.data, key.len);
    entry->text[key.len] = '\0';
    entry->key = (struct bytes){ entry->text, key.len };
    entry->object = o;
    entry->labels = json_get(object_metadata(o), "labels");
    hashmap_put(&c->by_key, entry->key, entry);
    ordered_map_put(&c->objects, entry->key, entry);
    return NULL;
}

static struct object *remove_object(struct watch_cache *c, struct bytes key)
{
    struct cache_entry *entry = hashmap_remove(&c->by_key, key);
    if (!entry)
        return NULL;
    ordered_map_remove(&c->objects, key);
    struct object *old = entry->object;
    free(entry);
    return old;
}

static void observe(struct watch_cache *c, const struct object *old, const struct object *new)
{
    for (size_t i = 0; i < c->observers_n; i++)
        c->observers[i].fn(old, new, c->observers[i].arg);
}

/* Adds E to the past; what had to go for it is the caller's to release outside the lock. */
static struct cache_event *commit_event(struct watch_cache *c, struct cache_event *e)
{
    c->changed_revision = e->revision;
    return event_ring_add(&c->ring, e);
}

static void release(struct watch_cache *c, struct cache_event *gone)
{
    if (gone)
        atomic_fetch_add(&c->all->released_bytes, cache_events_release(gone));
}

/* What was there before stays for watchers: a deletion would be a lie that garbage collectors act
 * on. */
static void note_unreadable(struct watch_cache *c, struct bytes key, const struct error *reason)
{
    pthread_rwlock_wrlock(&c->lock);
    unreadable_note(&c->unreadable, key, reason);
    pthread_rwlock_unlock(&c->lock);
}

static void forget_unreadable(struct watch_cache *c, struct bytes key)
{
    pthread_rwlock_wrlock(&c->lock);
    unreadable_forget(&c->unreadable, key);
    pthread_rwlock_unlock(&c->lock);
}

static struct cache_event *apply_put(struct watch_cache *c, const struct storage_event *event)
{
    struct error err = { 0 };
    struct object *new = store_write_object(event->attachment, event->kv.mod_revision);
    if (!new)
        new = store_parse(c->all->server, c->resource, &event->kv, &err);
    struct bytes key = watch_cache_key_text(c, event->kv.key);
    if (!new) {
        log_error("apiserver", "%s", err.message);
        note_unreadable(c, key, &err);
        return NULL;
    }

    pthread_rwlock_wrlock(&c->lock);
    unreadable_forget(&c->unreadable, key);
    struct object *old = insert_object_take(c, key, new);
    struct cache_event *e = event_new(c, old ? WATCH_MODIFIED : WATCH_ADDED, new, old);
    struct cache_event *gone = commit_event(c, e);
    pthread_rwlock_unlock(&c->lock);

    release(c, gone);
    return e;
}

static struct cache_event *apply_delete(struct watch_cache *c, const struct storage_event *event)
{
    struct bytes key = watch_cache_key_text(c, event->kv.key);
    struct cache_entry *entry = hashmap_get(&c->by_key, key); /* only this thread ever changes it */
    if (!entry) {
        forget_unreadable(c, key);
        return NULL;
    }
    struct object *last = object_at_revision(entry->object, event->kv.mod_revision);

    pthread_rwlock_wrlock(&c->lock);
    unreadable_forget(&c->unreadable, key);
    struct object *old = remove_object(c, key);
    struct cache_event *e = event_new(c, WATCH_DELETED, last, old);
    struct cache_event *gone = commit_event(c, e);
    pthread_rwlock_unlock(&c->lock);

    object_unref(last);
    release(c, gone);
    return e;
}

/* The cache whose prefix KEY has: /registry/GROUP/PLURAL/ ends at the fourth slash. */
static struct watch_cache *cache_for_key(struct watch_caches *all, struct bytes key)
{
    size_t slashes = 0;
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] == '/' && ++slashes == 4)
            return hashmap_get(&all->by_prefix, (struct bytes){ key.data, i + 1 });
    }
    return NULL;
}

void watch_caches_moved(struct watch_caches *all, int64_t revision)
{
    atomic_store(&all->revision, revision);
    if (atomic_load(&all->waiters) > 0) {
        pthread_mutex_lock(&all->wait_lock);
        pthread_cond_broadcast(&all->moved);
        pthread_mutex_unlock(&all->wait_lock);
    }
}

static void on_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    struct watch_caches *all = arg;
    pthread_mutex_lock(&all->change_lock);
    for (size_t i = 0; i < n; i++) {
        struct watch_cache *c = cache_for_key(all, events[i].kv.key);
        if (!c)
            continue;
        struct cache_event *e =
            events[i].is_delete ? apply_delete(c, &events[i]) : apply_put(c, &events[i]);
        if (!e)
            continue;
        observe(c, e->previous, e->type == WATCH_DELETED ? NULL : e->object);
        watch_delivery_push_take(all->delivery, e);
    }
    pthread_mutex_unlock(&all->change_lock);
    watch_caches_moved(all, revision);
    watch_delivery_advance(all->delivery, revision);
}

static void on_progress(int64_t revision, void *arg)
{
    struct watch_caches *all = arg;
    watch_caches_moved(all, revision);
    watch_delivery_advance(all->delivery, revision);
}

static void on_watch_failed(const struct error *err, int64_t compacted_revision, void *arg)
{
    struct watch_caches *all = arg;
    log_warn("apiserver", "watch of the store ended (compacted at %lld): %s",
             (long long)compacted_revision, err->message);
    watch_reloader_wake(all->reloader);
}

/* A gap: what lies before it cannot be resumed from. */
void watch_cache_correct(struct watch_cache *c, const struct storage_event *event)
{
    pthread_mutex_lock(&c->all->change_lock);
    struct cache_event *e = event->is_delete ? apply_delete(c, event) : apply_put(c, event);
    if (e)
        observe(c, e->previous, e->type == WATCH_DELETED ? NULL : e->object);
    pthread_mutex_unlock(&c->all->change_lock);
    cache_event_unref(e);
}

int watch_caches_follow(struct watch_caches *all, int64_t revision, struct error *err)
{
    struct storage_watch_config config = {
        .key = BYTES(STORE_ROOT),
        .end = store_prefix_end(BYTES(STORE_ROOT), all->arena),
        .start_revision = revision + 1,
        .events = on_events,
        .failed = on_watch_failed,
        .progress = on_progress,
        .arg = all,
    };
    struct storage_watch *watch = storage_watch(all->server->storage, &config, err);
    pthread_rwlock_wrlock(&all->watch_lock);
    all->watch = watch;
    pthread_rwlock_unlock(&all->watch_lock);
    return watch ? 0 : -1;
}

/* ---- the past ---- */

/* Texts that nobody has asked for since the last time. */
static size_t age_texts(struct watch_cache *c)
{
    scoped(object_list) struct object_list list = { 0 };
    size_t bytes = 0;
    watch_cache_list(c, NULL, &list);
    object_list_each (&list, o)
        bytes += object_age_json(o);
    return bytes;
}

int64_t watch_caches_expire(struct watch_caches *all)
{
    int64_t now = clock_monotonic_ns(all->server->clock), next = INT64_MAX;
    for (int id = 0; id < RESOURCES; id++) {
        struct watch_cache *c = all->by_id[id];
        if (!c)
            continue;
        pthread_rwlock_wrlock(&c->lock);
        struct cache_event *gone = event_ring_expire(&c->ring, now);
        if (c->ring.n > RING_EVENTS_MIN)
            next = now + EXPIRE_EVERY_NS;
        pthread_rwlock_unlock(&c->lock);
        release(c, gone);
        atomic_fetch_add(&all->released_bytes, age_texts(c));
    }
    if (atomic_load(&all->released_bytes) >= GIVE_BACK_BYTES) {
        atomic_store(&all->released_bytes, 0);
        heap_trim();
    }
    return next;
}

/* ---- start and stop ---- */

static struct watch_cache *cache_new(struct watch_caches *all, const struct resource *r)
{
    struct watch_cache *c = xcalloc(1, sizeof(*c));
    c->resource = r;
    c->all = all;
    c->prefix = bytes_of(store_prefix(r, all->arena));
    /* Readers come without end under load; a writer that waited for a gap would never publish. */
    pthread_rwlockattr_t prefer_writers;
    pthread_rwlockattr_init(&prefer_writers);
    pthread_rwlockattr_setkind_np(&prefer_writers, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c->lock, &prefer_writers);
    pthread_rwlockattr_destroy(&prefer_writers);
    all->by_id[r->id] = c;
    hashmap_put(&all->by_prefix, c->prefix, c);
    return c;
}

static void cache_free(struct watch_cache *c)
{
    struct ordered_map_cursor cursor = ordered_map_seek(&c->objects, BYTES(""));
    struct cache_entry *entry;
    while ((entry = ordered_map_next(&cursor, BYTES("")))) {
        object_unref(entry->object);
        free(entry);
    }
    ordered_map_deinit(&c->objects);
    hashmap_deinit(&c->by_key);
    unreadable_deinit(&c->unreadable);
    event_ring_deinit(&c->ring);
    pthread_rwlock_destroy(&c->lock);
    free(c);
}

static void load_value(struct watch_cache *c, const struct storage_kv *kv)
{
    struct error err = { 0 };
    struct bytes key = watch_cache_key_text(c, kv->key);
    struct object *o = store_parse(c->all->server, c->resource, kv, &err);
    if (o)
        object_unref(insert_object_take(c, key, o));
    else
        unreadable_note(&c->unreadable, key, &err);
}

/* One line, however many there are: after a restore without its keys, none can be read. */
static void tell_unreadable(const struct watch_cache *c)
{
    struct error first = { 0 };
    if (unreadable_check_prefix(&c->unreadable, BYTES(""), &first) < 0)
        log_error("apiserver", "%zu of %s cannot be read: %s", unreadable_count(&c->unreadable),
                  c->resource->plural, first.message);
}

/* Reads what is stored as of REVISION, a page at a time so that no copy of everything is made. */
static int cache_load(struct watch_cache *c, int64_t revision, struct error *err)
{
    struct storage *storage = c->all->server->storage;
    scoped(arena) struct arena *arena = arena_new();
    struct buffer next = { 0 };
    buffer_add_bytes(&next, c->prefix);
    int rc = 0;
    bool more = true;

    while (more && rc == 0) {
        struct storage_range range = { .key = arena_bytes(arena, buffer_bytes(&next)),
                                       .end = store_prefix_end(c->prefix, arena),
                                       .revision = revision,
                                       .limit = LOAD_PAGE };
        struct storage_range_result page;
        rc = storage_range(storage, &range, arena, &page, err);
        more = rc == 0 && page.more && page.n > 0;
        for (size_t i = 0; rc == 0 && i < page.n; i++)
            load_value(c, &page.kvs[i]);
        if (more) {
            buffer_clear(&next);
            buffer_add_bytes(&next, page.kvs[page.n - 1].key);
            buffer_add_char(&next, '\0');
        }
        arena_reset(arena);
    }
    buffer_free(&next);
    tell_unreadable(c);
    c->changed_revision = c->ring.since = revision;
    return rc;
}

struct watch_caches *watch_caches_start(struct apiserver *a, struct error *err)
{
    struct watch_caches *all = xcalloc(1, sizeof(*all));
    all->server = a;
    all->arena = arena_new();
    pthread_mutex_init(&all->wait_lock, NULL);
    cond_init(&all->moved);
    a->caches = all;

    pthread_rwlock_init(&all->watch_lock, NULL);
    pthread_mutex_init(&all->change_lock, NULL);
    int64_t revision;
    if (storage_read_revision(a->storage, &revision, err) < 0)
        goto failed;
    atomic_store(&all->revision, revision);
    for (int id = 0; id < RESOURCES; id++) {
        const struct resource *r = &resources[id];
        if (r->storage != r || !r->is_stored)
            continue;
        if (cache_load(cache_new(all, r), revision, err) < 0)
            goto failed;
    }
    all->delivery = watch_delivery_start(a, revision, err);
    if (!all->delivery)
        goto failed;
    all->reloader = watch_reloader_new(all);
    if (watch_caches_follow(all, revision, err) == 0)
        return all;
failed:
    watch_caches_stop(all);
    return NULL;
}

void watch_caches_stop(struct watch_caches *all)
{
    if (!all)
        return;
    watch_reloader_stop(all->reloader); /* it may be opening a watch */
    storage_watch_close(all->watch);    /* which may be waking it */
    watch_reloader_free(all->reloader);
    if (all->delivery)
        watch_delivery_stop(all->delivery);
    for (int id = 0; id < RESOURCES; id++)
        if (all->by_id[id])
            cache_free(all->by_id[id]);
    hashmap_deinit(&all->by_prefix);
    pthread_mutex_destroy(&all->change_lock);
    pthread_rwlock_destroy(&all->watch_lock);
    pthread_cond_destroy(&all->moved);
    pthread_mutex_destroy(&all->wait_lock);
    all->server->caches = NULL;
    arena_free(all->arena);
    free(all);
}
