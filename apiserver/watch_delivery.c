/* SPDX-License-Identifier: Apache-2.0 */
/* watch_delivery.c - changes meet watchers on a thread of their own. */
#include "apiserver/watch_delivery.h"

#include <pthread.h>

#include "apiserver/event_ring.h"
#include "apiserver/server.h"
#include "base/cond.h"
#include "base/hashmap.h"

/* Upstream's pace of bookmarks. */
#define BOOKMARK_EVERY_NS (60 * NS_PER_S)
#define BUCKET_KEY_BYTES  (KEY_TEXT_BYTES_MAX + 32)
/* Changes that came together are told to every watcher before the first one's go out: a watcher
 * gets them in one write.  No more than so many, so that the first one does not wait for long. */
#define CHANGES_PER_FLUSH 64

/* The watchers that one key of the index leads to. */
struct watch_bucket {
    struct watcher **items;
    size_t n, capacity;
    struct bytes key;
    char text[];
};

enum command_type { COMMAND_ADD, COMMAND_REMOVE, COMMAND_END_ALL, COMMAND_EXPIRE_ALL };
struct command {
    enum command_type type;
    struct watcher *watcher;
    bool *done; /* set under the lock when it has happened; NULL: nobody waits */
};

struct batch {
    struct cache_event **events;
    size_t events_n, events_capacity;
    struct command *commands;
    size_t commands_n, commands_capacity;
    int64_t revision;
};

struct watch_delivery {
    struct apiserver *server;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows, to the blank line */
    pthread_cond_t wake, done;
    struct batch incoming;
    bool is_stopping;

    /* The thread's own. */
    struct hashmap buckets;
    struct due_heap due;   /* of all watchers */
    struct watcher **told; /* since the last flush */
    size_t told_n, told_capacity;
    int64_t revision;  /* delivered */
    int64_t expire_ns; /* when the past is looked through; INT64_MAX: nothing has happened */
};

/* ---- what is due when ---- */

static struct watcher *watcher_of(const struct due_node *due)
{
    return (struct watcher *)((char *)due - offsetof(struct watcher, due));
}

static int64_t next_due_ns(const struct watcher *w)
{
    int64_t due_ns = w->deadline_ns ? w->deadline_ns : INT64_MAX;
    return w->with_bookmarks && w->bookmark_ns < due_ns ? w->bookmark_ns : due_ns;
}

/* ---- the index ---- */

static struct bytes bucket_key(char buf[BUCKET_KEY_BYTES], int resource, char what, const char *a,
                               const char *b)
{
    int n = snprintf(buf, BUCKET_KEY_BYTES, "%d%c%s/%s", resource, what, a, b);
    return (struct bytes){ buf, n < BUCKET_KEY_BYTES ? (size_t)n : BUCKET_KEY_BYTES - 1 };
}

/* The narrowest key that every object for W has. */
static struct bytes bucket_key_of(const struct watcher *w, char buf[BUCKET_KEY_BYTES])
{
    const struct resource *r = watch_cache_resource(w->cache);
    if (*w->name && (*w->ns || !r->namespaced))
        return bucket_key(buf, r->id, 'o', w->ns, w->name);
    if (*w->node)
        return bucket_key(buf, r->id, 'f', w->node, "");
    if (*w->ns)
        return bucket_key(buf, r->id, 'n', w->ns, "");
    return bucket_key(buf, r->id, '*', "", "");
}

static void bucket_add(struct watch_delivery *d, struct watcher *w)
{
    char buf[BUCKET_KEY_BYTES];
    struct bytes key = bucket_key_of(w, buf);
    struct watch_bucket *b = hashmap_get(&d->buckets, key);
    if (!b) {
        b = xcalloc(1, sizeof(*b) + key.len);
        memcpy(b->text, key.data, key.len);
        b->key = (struct bytes){ b->text, key.len };
        hashmap_put(&d->buckets, b->key, b);
    }
    b->items = xgrow(b->items, b->n, &b->capacity, sizeof(b->items[0]));
    w->bucket = b;
    w->bucket_index = b->n;
    b->items[b->n++] = w;
}

static void bucket_remove(struct watch_delivery *d, struct watcher *w)
{
    struct watch_bucket *b = w->bucket;
    struct watcher *last = b->items[--b->n];
    b->items[w->bucket_index] = last;
    last->bucket_index = w->bucket_index;
    w->bucket = NULL;
    if (b->n > 0)
        return;
    hashmap_remove(&d->buckets, b->key);
    free(b->items);
    free(b);
}

/* ---- one watcher ---- */

static void leave_index(struct watch_delivery *d, struct watcher *w)
{
    bucket_remove(d, w);
    due_heap_remove(&d->due, &w->due);
    w->is_ended = true;
}

static void end_watcher(struct watch_delivery *d, struct watcher *w, const struct error *err)
{
    leave_index(d, w);
    w->ops->ended(w, err);
}

static bool is_selected(const struct watcher *w, const struct object *o, const struct json *labels)
{
    if (*w->ns && strcmp(w->ns, o->key.ns) != 0)
        return false;
    if (*w->name && strcmp(w->name, o->key.name) != 0)
        return false;
    if (w->labels && !selector_matches(w->labels, labels))
        return false;
    return !w->fields || field_selector_matches(w->fields, o);
}

static bool is_wanted(const struct watcher *w, const struct object *o)
{
    return is_selected(w, o, w->labels ? json_get(object_metadata(o), "labels") : NULL);
}

static void frames_deinit(struct watch_frames *f)
{
    object_unref(f->left);
    for (int type = 0; type < WATCH_BOOKMARK; type++)
        for (int encoding = 0; encoding < WATCH_ENCODINGS; encoding++)
            shared_bytes_unref(f->frames[type][encoding]);
}

/* What leaves a selection is told as deleted: its last state that matched, at the change's
 * revision. */
static void tell_left(struct watcher *w, const struct cache_event *e, struct watch_frames *frames)
{
    if (!frames->left)
        frames->left = object_at_revision(e->previous, e->revision);
    w->ops->event(w, WATCH_DELETED, frames->left, frames);
}

/* False: it does not concern W. */
static bool tell_event(struct watcher *w, const struct cache_event *e, struct watch_frames *frames)
{
    bool was = e->previous && is_wanted(w, e->previous);
    bool is = e->type != WATCH_DELETED && is_wanted(w, e->object);
    w->told_revision = e->revision;
    if (is)
        w->ops->event(w, was ? WATCH_MODIFIED : WATCH_ADDED, e->object, frames);
    else if (was && e->type == WATCH_DELETED)
        w->ops->event(w, WATCH_DELETED, e->object, frames);
    else if (was)
        tell_left(w, e, frames);
    return is || was;
}

static int tell_history(struct watcher *w, struct error *err)
{
    struct cache_event **events;
    size_t n;
    int64_t upto;
    watch_caches_hold(w->cache);
    int rc = watch_cache_events_since(w->cache, w->resource_version, &events, &n, &upto, err);
    watch_caches_release(w->cache);
    if (rc < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct watch_frames frames = { 0 };
        tell_event(w, events[i], &frames);
        frames_deinit(&frames);
        cache_event_unref(events[i]);
    }
    free(events);
    w->since = upto > w->resource_version ? upto : w->resource_version;
    return 0;
}

static bool matches_arg(const struct object *o, const struct json *labels, void *arg)
{
    return is_selected(arg, o, labels);
}

static int tell_existing(struct watcher *w, struct error *err)
{
    scoped(object_list) struct object_list list = { 0 };
    struct watch_cache_page page = { .ns = w->ns, .matches = matches_arg, .arg = w };
    int64_t remaining;
    bool more;
    watch_caches_hold(w->cache);
    int rc = watch_cache_check_whole(w->cache, w->ns, w->name, err);
    watch_cache_read_page(w->cache, &page, &list, &w->since, &remaining, &more);
    watch_caches_release(w->cache);
    if (rc < 0)
        return -1;
    object_list_each (&list, o)
        w->ops->event(w, WATCH_ADDED, o, NULL);
    return 0;
}

static void start_watcher(struct watch_delivery *d, struct watcher *w)
{
    struct error err = { 0 };
    int rc = 0;
    int64_t now = clock_monotonic_ns(d->server->clock);
    w->deadline_ns = w->timeout_ns ? now + w->timeout_ns : 0;
    w->bookmark_ns = now + BOOKMARK_EVERY_NS;
    bucket_add(d, w);
    due_heap_add(&d->due, &w->due, next_due_ns(w));
    if (w->with_initial_events)
        rc = tell_existing(w, &err);
    else
        rc = tell_history(w, &err);
    if (w->ops->initial_done)
        w->ops->initial_done(w);
    if (rc < 0)
        end_watcher(d, w, &err);
    else if (w->with_initial_events && w->with_initial_end)
        w->ops->bookmark(w, w->since, true);
}

static void remove_watcher(struct watch_delivery *d, struct watcher *w)
{
    if (!w->is_ended)
        leave_index(d, w);
    w->ops->free(w);
}

/* ---- the thread ---- */

static void mark_told(struct watch_delivery *d, struct watcher *w)
{
    if (w->is_told)
        return;
    d->told = xgrow(d->told, d->told_n, &d->told_capacity, sizeof(d->told[0]));
    w->is_told = true;
    d->told[d->told_n++] = w;
}

static void flush_told(struct watch_delivery *d)
{
    for (size_t i = 0; i < d->told_n; i++) {
        struct watcher *w = d->told[i];
        w->is_told = false;
        if (w->ops->flush)
            w->ops->flush(w);
        if (!w->ops->is_slow(w))
            continue;
        struct error err = { 0 };
        error_set(&err, ERR_UNAVAILABLE, "watch of %s is too slow: closed", w->resource->plural);
        end_watcher(d, w, &err);
    }
    d->told_n = 0;
}

static void deliver_to_bucket(struct watch_delivery *d, const struct cache_event *e,
                              struct bytes key, struct watch_frames *frames)
{
    struct watch_bucket *b = hashmap_get(&d->buckets, key);
    for (size_t i = 0; b && i < b->n; i++) {
        struct watcher *w = b->items[i];
        if (w->since < e->revision && tell_event(w, e, frames))
            mark_told(d, w);
    }
}

static const char *node_of(const struct object *o)
{
    return o ? json_str(o->doc, "spec.nodeName", "") : "";
}

static void deliver(struct watch_delivery *d, const struct cache_event *e)
{
    struct watch_frames frames = { 0 };
    char buf[BUCKET_KEY_BYTES];
    const struct resource *r = watch_cache_resource(e->cache);
    const struct object *o = e->object;

    deliver_to_bucket(d, e, bucket_key(buf, r->id, '*', "", ""), &frames);
    deliver_to_bucket(d, e, bucket_key(buf, r->id, 'o', o->key.ns, o->key.name), &frames);
    if (*o->key.ns)
        deliver_to_bucket(d, e, bucket_key(buf, r->id, 'n', o->key.ns, ""), &frames);
    if (r->id == RESOURCE_PODS) {
        /* The old node's watcher comes second and finds that it has been told, if it is the same.
         */
        deliver_to_bucket(d, e, bucket_key(buf, r->id, 'f', node_of(o), ""), &frames);
        if (e->previous && strcmp(node_of(e->previous), node_of(o)) != 0)
            deliver_to_bucket(d, e, bucket_key(buf, r->id, 'f', node_of(e->previous), ""), &frames);
    }
    frames_deinit(&frames);
}

static int64_t bookmark_revision(const struct watch_delivery *d, const struct watcher *w)
{
    return d->revision > w->since ? d->revision : w->since;
}

static void run_due(struct watch_delivery *d)
{
    int64_t now = clock_monotonic_ns(d->server->clock);
    for (struct due_node *due; (due = due_heap_first(&d->due)) && due->due_ns <= now;) {
        struct watcher *w = watcher_of(due);
        bool is_over = w->deadline_ns && w->deadline_ns <= now;
        if (w->with_bookmarks && bookmark_revision(d, w) >= w->told_revision)
            w->ops->bookmark(w, bookmark_revision(d, w), false);
        if (is_over) {
            end_watcher(d, w, NULL);
            continue;
        }
        w->bookmark_ns = now + BOOKMARK_EVERY_NS;
        due_heap_remove(&d->due, due);
        due_heap_add(&d->due, due, next_due_ns(w));
    }
}

/* What has happened is let go of when it is old. */
static void expire_past(struct watch_delivery *d, bool has_events)
{
    int64_t now = clock_monotonic_ns(d->server->clock);
    if (d->expire_ns <= now)
        d->expire_ns = watch_caches_expire(d->server->caches);
    else if (has_events && d->expire_ns == INT64_MAX)
        d->expire_ns = now + RING_KEPT_NS;
}

/* Over sockets all watchers have a timeout; those of loopback clients are closed by their owners,
 * unless ERR says why they have to end. */
static void end_all(struct watch_delivery *d, const struct error *err)
{
    size_t n = d->due.n;
    struct watcher **those = xmalloc((n + 1) * sizeof(struct watcher *));
    for (size_t i = 0; i < n; i++)
        those[i] = watcher_of(d->due.nodes[i]); /* a copy: ending one reorders the heap */
    for (size_t i = 0; i < n; i++)
        if (those[i]->timeout_ns || err)
            end_watcher(d, those[i], err);
    free(those);
}

static void expire_all(struct watch_delivery *d)
{
    struct error err = { 0 };
    error_set(&err, ERR_COMPACTED, "too old resource version: the store's history has a gap");
    end_all(d, &err);
}

static void run_command(struct watch_delivery *d, const struct command *c)
{
    switch (c->type) {
    case COMMAND_ADD:
        start_watcher(d, c->watcher);
        break;
    case COMMAND_REMOVE:
        remove_watcher(d, c->watcher);
        break;
    case COMMAND_END_ALL:
        end_all(d, NULL);
        break;
    case COMMAND_EXPIRE_ALL:
        expire_all(d);
        break;
    }
    if (c->done) {
        pthread_mutex_lock(&d->lock);
        *c->done = true;
        pthread_cond_broadcast(&d->done);
        pthread_mutex_unlock(&d->lock);
    }
}

static void run_batch(struct watch_delivery *d, struct batch *b)
{
    for (size_t i = 0; i < b->events_n; i++) {
        deliver(d, b->events[i]);
        cache_event_unref(b->events[i]);
        if ((i + 1) % CHANGES_PER_FLUSH == 0)
            flush_told(d);
    }
    flush_told(d);
    if (b->revision > d->revision)
        d->revision = b->revision;
    for (size_t i = 0; i < b->commands_n; i++)
        run_command(d, &b->commands[i]);
    b->events_n = b->commands_n = 0;
}

static bool has_work(const struct batch *b)
{
    return b->events_n > 0 || b->commands_n > 0;
}

/* Sleeps until there is work or a watcher is due; false when stopping and nothing is left. */
static bool next_batch(struct watch_delivery *d, struct batch *out)
{
    pthread_mutex_lock(&d->lock);
    while (!has_work(&d->incoming) && !d->is_stopping) {
        const struct due_node *due = due_heap_first(&d->due);
        int64_t due_ns = due && due->due_ns < d->expire_ns ? due->due_ns : d->expire_ns;
        if (!cond_wait_until(&d->wake, &d->lock, due_ns))
            break;
    }
    bool goes_on = has_work(&d->incoming) || !d->is_stopping;
    struct batch empty = *out; /* its arrays are used again */
    *out = d->incoming;
    empty.revision = out->revision;
    d->incoming = empty;
    pthread_mutex_unlock(&d->lock);
    return goes_on;
}

static void *delivery_thread(void *arg)
{
    struct watch_delivery *d = arg;
    struct batch batch = { 0 };
    while (next_batch(d, &batch)) {
        bool has_events = batch.events_n > 0;
        run_batch(d, &batch);
        run_due(d);
        expire_past(d, has_events);
    }
    free(batch.events);
    free(batch.commands);
    return NULL;
}

struct watch_delivery *watch_delivery_start(struct apiserver *a, int64_t revision,
                                            struct error *err)
{
    struct watch_delivery *d = xcalloc(1, sizeof(*d));
    d->server = a;
    d->revision = revision;
    d->incoming.revision = revision;
    d->expire_ns = INT64_MAX;
    pthread_mutex_init(&d->lock, NULL);
    cond_init(&d->wake);
    pthread_cond_init(&d->done, NULL);
    if (pthread_create(&d->thread, NULL, delivery_thread, d) == 0) {
        pthread_setname_np(d->thread, "watch-delivery");
        return d;
    }
    error_set(err, ERR_INTERNAL, "start the watch delivery thread");
    pthread_cond_destroy(&d->wake);
    pthread_cond_destroy(&d->done);
    pthread_mutex_destroy(&d->lock);
    free(d);
    return NULL;
}

void watch_delivery_stop(struct watch_delivery *d)
{
    pthread_mutex_lock(&d->lock);
    d->is_stopping = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    for (struct due_node *due; (due = due_heap_first(&d->due));)
        remove_watcher(d, watcher_of(due));
    hashmap_deinit(&d->buckets);
    due_heap_deinit(&d->due);
    free(d->told);
    free(d->incoming.events);
    free(d->incoming.commands);
    pthread_cond_destroy(&d->wake);
    pthread_cond_destroy(&d->done);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void watch_delivery_push_take(struct watch_delivery *d, struct cache_event *e)
{
    pthread_mutex_lock(&d->lock);
    struct batch *b = &d->incoming;
    b->events = xgrow(b->events, b->events_n, &b->events_capacity, sizeof(b->events[0]));
    b->events[b->events_n++] = e;
    pthread_mutex_unlock(&d->lock);
}

void watch_delivery_advance(struct watch_delivery *d, int64_t revision)
{
    pthread_mutex_lock(&d->lock);
    d->incoming.revision = revision;
    bool has_events = d->incoming.events_n > 0;
    pthread_mutex_unlock(&d->lock);
    /* Not under the lock: the publisher would wait for the one whom it wakes. */
    if (has_events)
        pthread_cond_signal(&d->wake);
}

static void command_add_locked(struct watch_delivery *d, struct command c)
{
    struct batch *b = &d->incoming;
    b->commands = xgrow(b->commands, b->commands_n, &b->commands_capacity, sizeof(b->commands[0]));
    b->commands[b->commands_n++] = c;
    pthread_cond_signal(&d->wake);
}

static void command_add(struct watch_delivery *d, struct command c)
{
    pthread_mutex_lock(&d->lock);
    command_add_locked(d, c);
    pthread_mutex_unlock(&d->lock);
}

void watch_delivery_add(struct watch_delivery *d, struct watcher *w)
{
    command_add(d, (struct command){ COMMAND_ADD, w, NULL });
}

void watch_delivery_remove(struct watch_delivery *d, struct watcher *w)
{
    command_add(d, (struct command){ COMMAND_REMOVE, w, NULL });
}

void watch_delivery_remove_wait(struct watch_delivery *d, struct watcher *w)
{
    bool done = false;
    pthread_mutex_lock(&d->lock);
    command_add_locked(d, (struct command){ COMMAND_REMOVE, w, &done });
    while (!done)
        pthread_cond_wait(&d->done, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

void watch_delivery_end_all(struct watch_delivery *d)
{
    command_add(d, (struct command){ COMMAND_END_ALL, NULL, NULL });
}

void watch_delivery_expire_all(struct watch_delivery *d)
{
    command_add(d, (struct command){ COMMAND_EXPIRE_ALL, NULL, NULL });
}
