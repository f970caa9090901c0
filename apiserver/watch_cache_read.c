/* SPDX-License-Identifier: Apache-2.0 */
/* watch_cache_read.c - looking into the caches: as they are, and as they were a moment ago. */

#include "apiserver/watch_cache_internal.h"
#include "base/cond.h"

/* A page of an older state undoes at most so many changes; beyond that the store answers. */
#define PAST_EVENTS_MAX 2048

int64_t watch_caches_revision(struct watch_caches *c)
{
    return atomic_load(&c->revision);
}

bool watch_caches_wait(struct watch_caches *c, int64_t revision, int64_t timeout_ms)
{
    if (atomic_load(&c->revision) >= revision)
        return true;
    int64_t until_ns = clock_monotonic_ns(&system_clock) + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&c->wait_lock);
    atomic_fetch_add(&c->waiters, 1);
    while (atomic_load(&c->revision) < revision &&
           cond_wait_until(&c->moved, &c->wait_lock, until_ns))
        ;
    atomic_fetch_sub(&c->waiters, 1);
    pthread_mutex_unlock(&c->wait_lock);
    return atomic_load(&c->revision) >= revision;
}

int watch_caches_catch_up(struct watch_caches *c, int64_t revision, struct error *err)
{
    if (!storage_is_shared(c->server->storage))
        return 0;
    pthread_rwlock_rdlock(&c->watch_lock);
    int rc = c->watch ? storage_watch_sync(c->watch, revision, err)
                      : error_set(err, ERR_UNAVAILABLE, "the watch caches are being filled anew");
    pthread_rwlock_unlock(&c->watch_lock);
    return rc;
}

struct watch_delivery *watch_caches_delivery(struct watch_caches *c)
{
    return c->delivery;
}

void watch_caches_hold(struct watch_cache *c)
{
    pthread_mutex_lock(&c->all->change_lock);
}

void watch_caches_release(struct watch_cache *c)
{
    pthread_mutex_unlock(&c->all->change_lock);
}

/* ---- reading ---- */

struct watch_cache *watch_cache_of(struct apiserver *a, const struct resource *r)
{
    const struct resource *stored = r->storage ? r->storage : r;
    ensure(stored->id < RESOURCES && a->caches->by_id[stored->id]);
    return a->caches->by_id[stored->id];
}

const struct resource *watch_cache_resource(const struct watch_cache *c)
{
    return c->resource;
}

struct object *watch_cache_get(struct watch_cache *c, const struct object_key *key)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes k = object_key_text(key, text);
    pthread_rwlock_rdlock(&c->lock);
    struct cache_entry *entry = hashmap_get(&c->by_key, k);
    struct object *o = entry ? object_ref(entry->object) : NULL;
    pthread_rwlock_unlock(&c->lock);
    return o;
}

int watch_cache_find(struct watch_cache *c, const struct object_key *key, struct object **out,
                     struct error *err)
{
    char text[KEY_TEXT_BYTES_MAX];
    pthread_rwlock_rdlock(&c->lock);
    int rc = unreadable_check(&c->unreadable, object_key_text(key, text), err);
    pthread_rwlock_unlock(&c->lock);
    *out = rc == 0 ? watch_cache_get(c, key) : NULL;
    return rc;
}

/* A list may show a change before the shared revision has moved to it, so it is at least as new as
 * the last change of this resource. */
static int64_t revision_locked(struct watch_cache *c)
{
    int64_t all = atomic_load(&c->all->revision);
    return all > c->changed_revision ? all : c->changed_revision;
}

static struct bytes ns_prefix(const char *ns, char buf[KEY_TEXT_BYTES_MAX])
{
    if (str_empty(ns))
        return BYTES("");
    int n = snprintf(buf, KEY_TEXT_BYTES_MAX, "%s/", ns);
    return (struct bytes){ buf, n < KEY_TEXT_BYTES_MAX ? (size_t)n : KEY_TEXT_BYTES_MAX - 1 };
}

int watch_cache_check_whole(struct watch_cache *c, const char *ns, const char *name,
                            struct error *err)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key key = { ns, name };
    bool is_one = !str_empty(name) && str_empty(ns) != c->resource->namespaced;
    pthread_rwlock_rdlock(&c->lock);
    int rc = is_one ? unreadable_check(&c->unreadable, object_key_text(&key, text), err)
                    : unreadable_check_prefix(&c->unreadable, ns_prefix(ns, text), err);
    pthread_rwlock_unlock(&c->lock);
    return rc;
}

int64_t watch_cache_list(struct watch_cache *c, const char *ns, struct object_list *out)
{
    struct watch_cache_page page = { .ns = ns };
    int64_t revision, remaining;
    bool more;
    watch_cache_read_page(c, &page, out, &revision, &remaining, &more);
    return revision;
}

/* ---- pages ---- */

/*
 * What was under the keys that have changed since a revision: the events after it, undone.
 *
 *     ring:  5 put a   7 put b   8 delete a   9 put c        as of 6:   a: its state of 5
 *                                                                      b: as before 7
 *                                                                      c: nothing
 */
struct past_entry {
    const struct object *object; /* NULL: there was nothing */
    struct bytes key;
};

static void past_note(struct ordered_map *past, const struct cache_event *e, struct arena *a)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes key = object_key_text(&e->object->key, text);
    struct past_entry *entry = ordered_map_get(past, key);
    if (!entry) {
        entry = arena_alloc(a, sizeof(*entry));
        entry->key = arena_bytes(a, key);
        ordered_map_put(past, entry->key, entry);
    }
    entry->object = e->previous;
}

/* False if the ring does not go back to REVISION, or if that would be too much under the lock. */
static bool past_build(struct watch_cache *c, int64_t revision, struct ordered_map *past,
                       struct arena *a)
{
    if (revision < c->ring.since)
        return false;
    for (size_t i = c->ring.n; i-- > 0;) {
        const struct cache_event *e = event_ring_at(&c->ring, i);
        if (e->revision <= revision)
            return true;
        if (c->ring.n - i > PAST_EVENTS_MAX)
            return false;
        past_note(past, e, a); /* the oldest comes last and stays */
    }
    return true;
}

/* Walks what is and what was side by side, in key order. */
struct walk {
    struct bytes prefix;
    struct ordered_map_cursor now, past;
    struct cache_entry *now_entry; /* the next of each */
    struct past_entry *past_entry;
};

static void walk_begin(struct walk *w, const struct watch_cache *c, const struct ordered_map *past,
                       struct bytes start)
{
    w->now = ordered_map_seek(&c->objects, start);
    w->past = ordered_map_seek(past, start);
    w->now_entry = ordered_map_next(&w->now, w->prefix);
    w->past_entry = ordered_map_next(&w->past, w->prefix);
}

static const struct object *walk_next(struct walk *w, const struct json **labels)
{
    while (w->now_entry || w->past_entry) {
        const struct cache_entry *now = w->now_entry;
        const struct past_entry *was = w->past_entry;
        int order = !was ? -1 : !now ? 1 : bytes_compare(now->key, was->key);
        if (order <= 0)
            w->now_entry = ordered_map_next(&w->now, w->prefix);
        if (order < 0) {
            *labels = now->labels;
            return now->object;
        }
        w->past_entry = ordered_map_next(&w->past, w->prefix);
        if (was->object) {
            *labels = json_get(object_metadata(was->object), "labels");
            return was->object;
        }
    }
    return NULL;
}

static int64_t walk_count(struct walk *w)
{
    const struct json *labels;
    int64_t n = 0;
    if (!w->past_entry)
        return (w->now_entry ? 1 : 0) + (int64_t)ordered_map_count(w->now, w->prefix);
    while (walk_next(w, &labels))
        n++;
    return n;
}

static void read_walk(struct walk *w, const struct watch_cache_page *page, struct object_list *out,
                      int64_t *remaining, bool *more)
{
    const struct object *o;
    const struct json *labels;
    int64_t taken = 0;
    while ((o = walk_next(w, &labels))) {
        if (page->matches && !page->matches(o, labels, page->arg))
            continue;
        if (page->limit > 0 && taken == page->limit) {
            *more = true;
            *remaining = page->matches ? -1 : 1 + walk_count(w);
            return;
        }
        object_list_add(out, o);
        taken++;
    }
}

bool watch_cache_read_page(struct watch_cache *c, const struct watch_cache_page *page,
                           struct object_list *out, int64_t *revision, int64_t *remaining,
                           bool *more)
{
    char buf[KEY_TEXT_BYTES_MAX];
    struct walk w = { .prefix = ns_prefix(page->ns, buf) };
    struct ordered_map past = { 0 };
    scoped(arena) struct arena *arena = NULL; /* of PAST */
    *more = false;
    *remaining = page->matches ? -1 : 0;

    pthread_rwlock_rdlock(&c->lock);
    bool can_tell = true;
    if (page->exact_revision > 0 && c->changed_revision > page->exact_revision) {
        arena = arena_new();
        can_tell = past_build(c, page->exact_revision, &past, arena);
    }
    if (can_tell) {
        *revision = page->exact_revision > 0 ? page->exact_revision : revision_locked(c);
        walk_begin(&w, c, &past, page->start.len > 0 ? page->start : w.prefix);
        read_walk(&w, page, out, remaining, more);
    }
    pthread_rwlock_unlock(&c->lock);
    ordered_map_deinit(&past);
    return can_tell;
}

void watch_cache_observe(struct watch_cache *c,
                         void (*fn)(const struct object *old, const struct object *new, void *arg),
                         void *arg)
{
    pthread_mutex_lock(&c->all->change_lock); /* other servers may be writing */
    ensure(c->observers_n < WATCH_CACHE_OBSERVERS_MAX);
    scoped(object_list) struct object_list list = { 0 };
    pthread_rwlock_wrlock(&c->lock);
    struct ordered_map_cursor cursor = ordered_map_seek(&c->objects, BYTES(""));
    struct cache_entry *entry;
    while ((entry = ordered_map_next(&cursor, BYTES(""))))
        object_list_add(&list, entry->object);
    c->observers[c->observers_n++] = (struct observer){ fn, arg };
    pthread_rwlock_unlock(&c->lock);
    object_list_each (&list, o)
        fn(NULL, o, arg);
    pthread_mutex_unlock(&c->all->change_lock);
}

int watch_cache_events_since(struct watch_cache *c, int64_t revision, struct cache_event ***events,
                             size_t *n, int64_t *upto, struct error *err)
{
    pthread_rwlock_rdlock(&c->lock);
    *upto = revision_locked(c);
    if (revision < c->ring.since) {
        int64_t oldest = c->ring.since;
        pthread_rwlock_unlock(&c->lock);
        return error_set(err, ERR_COMPACTED, "too old resource version: %lld (%lld)",
                         (long long)revision, (long long)oldest);
    }
    size_t first = event_ring_after(&c->ring, revision);
    *n = c->ring.n - first;
    *events = xmalloc((*n + 1) * sizeof(**events));
    for (size_t i = 0; i < *n; i++)
        (*events)[i] = cache_event_ref(event_ring_at(&c->ring, first + i));
    pthread_rwlock_unlock(&c->lock);
    return 0;
}
