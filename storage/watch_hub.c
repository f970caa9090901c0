/* SPDX-License-Identifier: Apache-2.0 */
/* watch_hub.c - the ring, the watches, and the thread that brings late ones up. */
#include "storage/watch_hub.h"

#include <pthread.h>

#include "base/failpoint.h"
#include "storage/storage_ops.h"

#define RING_BYTES_MAX   ((size_t)2 << 20) /* of what the database has already */
#define RING_BATCHES_MAX 16384
#define CATCH_UP_BATCHES 256  /* taken from the ring under one lock */
#define CATCH_UP_EVENTS  1000 /* read from the database at once */
#define WATCHES_MAX      100000

/* The writes of one revision. */
struct batch {
    atomic_uint refs;
    size_t bytes;
    int64_t revision;
    size_t n;
    struct version *versions[];
};

struct hub_watch {
    struct storage_watch watch;
    struct storage_watch_config config; /* key and end are copies, after the struct */
    int64_t next_revision;              /* the first that it has not been given */
    bool is_synced, is_closed, has_failed;
    bool is_held; /* the hub's thread works on it */
    bool is_busy; /* a callback runs, on BUSY_THREAD */
    pthread_t busy_thread;
};

struct watch_hub {
    struct watch_hub_source source;
    pthread_t thread;
    bool is_started;

    pthread_mutex_t lock; /* guards the rest; no callback runs under it */
    pthread_cond_t work;  /* for the thread: a late watch, or stop */
    pthread_cond_t idle;  /* for watch_hub_close: a callback has returned */
    bool is_stopping;

    struct batch **ring; /* a circle: revisions first ... first + n - 1 */
    size_t ring_capacity, ring_head, ring_n, ring_bytes;
    int64_t published, flushed;

    struct hub_watch **watches; /* NULL where one left while the list was being walked */
    size_t watches_n, watches_capacity;
    int walkers;
};

/* ---- batches and the ring ---- */

static struct batch *batch_new(struct version *const *versions, size_t n, int64_t revision)
{
    struct batch *b = xmalloc(sizeof(*b) + n * sizeof(b->versions[0]));
    atomic_init(&b->refs, 1);
    b->revision = revision;
    b->n = n;
    b->bytes = sizeof(*b);
    for (size_t i = 0; i < n; i++) {
        b->versions[i] = version_ref(versions[i]);
        b->bytes += sizeof(struct version) + versions[i]->r.key.len + versions[i]->r.value.len;
    }
    return b;
}

static void batch_unref(struct batch *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < b->n; i++)
        version_unref(b->versions[i]);
    free(b);
}

static struct batch *ring_at(struct watch_hub *h, size_t i)
{
    return h->ring[(h->ring_head + i) % h->ring_capacity];
}

static void ring_trim(struct watch_hub *h)
{
    while (h->ring_n && (h->ring_bytes > RING_BYTES_MAX || h->ring_n > RING_BATCHES_MAX)) {
        struct batch *oldest = ring_at(h, 0);
        if (oldest->revision > h->flushed)
            break; /* it is nowhere else in revision order; the index holds its bytes anyway */
        h->ring_head = (h->ring_head + 1) % h->ring_capacity;
        h->ring_n--;
        h->ring_bytes -= oldest->bytes;
        batch_unref(oldest);
    }
}

static void ring_add_take(struct watch_hub *h, struct batch *b)
{
    if (h->ring_n == h->ring_capacity) {
        size_t capacity = h->ring_capacity ? 2 * h->ring_capacity : 1024;
        struct batch **ring = xmalloc(capacity * sizeof(ring[0]));
        for (size_t i = 0; i < h->ring_n; i++)
            ring[i] = ring_at(h, i);
        free(h->ring);
        h->ring = ring;
        h->ring_capacity = capacity;
        h->ring_head = 0;
    }
    h->ring[(h->ring_head + h->ring_n++) % h->ring_capacity] = b;
    h->ring_bytes += b->bytes;
    ring_trim(h);
}

/* ---- the list of watches ---- */

static void compact_list(struct watch_hub *h)
{
    size_t kept = 0;
    for (size_t i = 0; i < h->watches_n; i++)
        if (h->watches[i])
            h->watches[kept++] = h->watches[i];
    h->watches_n = kept;
}

static void walk_end(struct watch_hub *h)
{
    if (--h->walkers == 0)
        compact_list(h);
}

static void forget(struct watch_hub *h, struct hub_watch *w)
{
    for (size_t i = 0; i < h->watches_n; i++)
        if (h->watches[i] == w)
            h->watches[i] = NULL;
    if (h->walkers == 0)
        compact_list(h);
    free(w);
}

static void callback_begin(struct watch_hub *h, struct hub_watch *w)
{
    w->is_busy = true;
    w->busy_thread = pthread_self();
    pthread_mutex_unlock(&h->lock);
}

static void callback_end(struct watch_hub *h, struct hub_watch *w)
{
    pthread_mutex_lock(&h->lock);
    w->is_busy = false;
    if (w->is_closed)
        pthread_cond_broadcast(&h->idle);
}

/* ---- delivery: called with the lock, which is released around the callback ---- */

static bool is_watched(const struct storage_watch_config *c, struct bytes key)
{
    if (c->end.len == 0)
        return bytes_equal(key, c->key);
    if (bytes_compare(key, c->key) < 0)
        return false;
    return (c->end.len == 1 && c->end.data[0] == '\0') || bytes_compare(key, c->end) < 0;
}

static bool is_any_watched(const struct hub_watch *w, struct version *const *versions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_watched(&w->config, versions[i]->r.key))
            return true;
    return false;
}

static struct storage_event to_event(struct watch_hub *h, const struct hub_watch *w,
                                     const struct record *r, struct arena *arena)
{
    struct storage_event e = { .is_delete = r->is_delete, .kv = record_kv(r) };
    if (r->is_delete)
        e.kv = (struct storage_kv){ .key = r->key, .mod_revision = r->mod_revision };
    bool had_none = !r->is_delete && r->version == 1;
    if (!w->config.prev_kv || had_none)
        return e;
    struct error ignored = { 0 }; /* a previous value that is compacted is left out, as etcd does */
    if (h->source.find(r->key, r->mod_revision - 1, arena, &e.prev, h->source.arg, &ignored) != 1)
        e.prev = (struct storage_kv){ 0 };
    return e;
}

/* An array for N events that needs no heap in the usual case of one. */
struct event_space {
    struct storage_event small[4];
    struct storage_event *events;
    struct arena *arena; /* made when previous values are asked for, or there are many events */
};

static void event_space_init(struct event_space *s, const struct hub_watch *w, size_t n)
{
    s->arena = w->config.prev_kv || n > ARRAY_LEN(s->small) ? arena_new() : NULL;
    s->events =
        n > ARRAY_LEN(s->small) ? arena_alloc(s->arena, n * sizeof(s->events[0])) : s->small;
}

static void deliver(struct watch_hub *h, struct hub_watch *w, struct version *const *versions,
                    size_t n, int64_t revision, void *const *attachments)
{
    callback_begin(h, w);
    struct event_space space;
    event_space_init(&space, w, n);
    size_t events_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_watched(&w->config, versions[i]->r.key))
            continue;
        struct storage_event *e = &space.events[events_n++];
        *e = to_event(h, w, &versions[i]->r, space.arena);
        e->attachment = attachments ? attachments[i] : NULL;
    }
    (void)failpoint("storage.watch.before_send");
    w->config.events(space.events, events_n, revision, w->config.arg);
    (void)failpoint("storage.watch.after_send");
    arena_free(space.arena);
    callback_end(h, w);
}

void watch_hub_publish(struct watch_hub *h, struct version *const *versions, size_t n,
                       int64_t revision, void *const *attachments)
{
    struct batch *b = batch_new(versions, n, revision);
    pthread_mutex_lock(&h->lock);
    ensure(revision == h->published + 1);
    ring_add_take(h, b);
    h->published = revision;
    h->walkers++;
    for (size_t i = 0; i < h->watches_n; i++) {
        struct hub_watch *w = h->watches[i];
        if (!w || !w->is_synced || w->is_closed || w->next_revision > revision)
            continue;
        if (is_any_watched(w, versions, n))
            deliver(h, w, versions, n, revision, attachments);
        w->next_revision = revision + 1;
    }
    walk_end(h);
    pthread_mutex_unlock(&h->lock);
}

void watch_hub_set_base(struct watch_hub *h, int64_t revision)
{
    pthread_mutex_lock(&h->lock);
    h->published = h->flushed = revision;
    pthread_mutex_unlock(&h->lock);
}

void watch_hub_set_flushed(struct watch_hub *h, int64_t revision)
{
    pthread_mutex_lock(&h->lock);
    h->flushed = revision;
    ring_trim(h);
    pthread_mutex_unlock(&h->lock);
}

/* ---- catching up ---- */

static void fail_watch(struct watch_hub *h, struct hub_watch *w, const struct error *err)
{
    w->has_failed = true;
    callback_begin(h, w);
    (void)failpoint("storage.watch.before_fail");
    w->config.failed(err, h->source.compacted(h->source.arg), w->config.arg);
    callback_end(h, w);
}

static void catch_up_from_ring(struct watch_hub *h, struct hub_watch *w)
{
    struct batch *taken[CATCH_UP_BATCHES];
    size_t n = 0;
    size_t i = (size_t)(w->next_revision - ring_at(h, 0)->revision);
    for (; i < h->ring_n && n < CATCH_UP_BATCHES; i++) {
        taken[n++] = ring_at(h, i);
        atomic_fetch_add_explicit(&taken[n - 1]->refs, 1, memory_order_relaxed);
    }
    for (size_t k = 0; k < n; k++) {
        struct batch *b = taken[k];
        if (!w->is_closed) {
            if (is_any_watched(w, b->versions, b->n))
                deliver(h, w, b->versions, b->n, b->revision, NULL);
            w->next_revision = b->revision + 1;
        }
    }
    pthread_mutex_unlock(&h->lock);
    for (size_t k = 0; k < n; k++)
        batch_unref(taken[k]);
    pthread_mutex_lock(&h->lock);
}

/* Hands RECORDS on, a revision at a time.  Without the lock. */
static void deliver_history(struct watch_hub *h, struct hub_watch *w, const struct record *records,
                            size_t n, struct arena *arena)
{
    struct storage_event *events = arena_alloc(arena, n * sizeof(events[0]) + 1);
    for (size_t i = 0; i < n;) {
        int64_t revision = records[i].mod_revision;
        size_t events_n = 0;
        for (; i < n && records[i].mod_revision == revision; i++)
            if (is_watched(&w->config, records[i].key))
                events[events_n++] = to_event(h, w, &records[i], arena);
        (void)failpoint("storage.watch.send_history");
        if (events_n)
            w->config.events(events, events_n, revision, w->config.arg);
    }
}

static void catch_up_from_history(struct watch_hub *h, struct hub_watch *w)
{
    int64_t from = w->next_revision, through = from - 1;
    struct record *records = NULL;
    size_t n = 0;
    struct error err = { 0 };
    scoped(arena) struct arena *arena = arena_new();
    callback_begin(h, w);
    (void)failpoint("storage.watch.from_history");
    int rc = h->source.history(from, CATCH_UP_EVENTS, arena, &records, &n, &through, h->source.arg,
                               &err);
    if (rc == 0)
        deliver_history(h, w, records, n, arena);
    callback_end(h, w);
    if (rc < 0 && !w->is_closed)
        fail_watch(h, w, &err);
    else
        w->next_revision = through + 1;
}

/* Brings W one step on. */
static void catch_up(struct watch_hub *h, struct hub_watch *w)
{
    int64_t compacted = h->source.compacted(h->source.arg);
    if (w->next_revision < compacted) {
        struct error err = { 0 };
        error_set(&err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                  (long long)w->next_revision, (long long)compacted);
        fail_watch(h, w, &err);
    } else if (w->next_revision > h->published) {
        w->is_synced = true;
    } else if (h->ring_n && ring_at(h, 0)->revision <= w->next_revision) {
        catch_up_from_ring(h, w);
    } else {
        catch_up_from_history(h, w);
    }
}

static struct hub_watch *next_late(struct watch_hub *h)
{
    for (size_t i = 0; i < h->watches_n; i++) {
        struct hub_watch *w = h->watches[i];
        if (w && !w->is_synced && !w->is_closed && !w->has_failed)
            return w;
    }
    return NULL;
}

static void *hub_main(void *arg)
{
    struct watch_hub *h = arg;
    pthread_setname_np(pthread_self(), "storage-watch");
    pthread_mutex_lock(&h->lock);
    while (!h->is_stopping) {
        struct hub_watch *w = next_late(h);
        if (w) {
            /* Between its callbacks W belongs to this walk as well: closing waits for its end. */
            w->is_held = true;
            catch_up(h, w);
            w->is_held = false;
            if (w->is_closed)
                pthread_cond_broadcast(&h->idle);
        } else {
            pthread_cond_wait(&h->work, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- opening and closing ---- */

struct watch_hub *watch_hub_new(const struct watch_hub_source *source)
{
    struct watch_hub *h = xcalloc(1, sizeof(*h));
    h->source = *source;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    pthread_cond_init(&h->idle, NULL);
    return h;
}

int watch_hub_start(struct watch_hub *h, struct error *err)
{
    int rc = pthread_create(&h->thread, NULL, hub_main, h);
    if (rc)
        return error_set(err, ERR_INTERNAL, "start the watch thread: %s", strerror(rc));
    h->is_started = true;
    return 0;
}

void watch_hub_free(struct watch_hub *h)
{
    if (!h)
        return;
    ensure(h->watches_n == 0);
    pthread_mutex_lock(&h->lock);
    h->is_stopping = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    if (h->is_started)
        pthread_join(h->thread, NULL);
    for (size_t i = 0; i < h->ring_n; i++)
        batch_unref(ring_at(h, i));
    free(h->ring);
    free(h->watches);
    pthread_cond_destroy(&h->idle);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct hub_watch *watch_new(const struct storage_watch_config *config)
{
    struct hub_watch *w = xcalloc(1, sizeof(*w) + config->key.len + config->end.len);
    char *data = (char *)(w + 1);
    w->config = *config;
    if (config->key.len)
        memcpy(data, config->key.data, config->key.len);
    if (config->end.len)
        memcpy(data + config->key.len, config->end.data, config->end.len);
    w->config.key.data = data;
    w->config.end.data = data + config->key.len;
    return w;
}

struct storage_watch *watch_hub_watch(struct watch_hub *h, struct storage *s,
                                      const struct storage_watch_config *config, struct error *err)
{
    struct hub_watch *w = watch_new(config);
    w->watch.storage = s;
    pthread_mutex_lock(&h->lock);
    if (h->watches_n >= WATCHES_MAX) {
        pthread_mutex_unlock(&h->lock);
        free(w);
        error_set(err, ERR_UNAVAILABLE, "%d watches are open already", WATCHES_MAX);
        return NULL;
    }
    h->watches = xgrow(h->watches, h->watches_n, &h->watches_capacity, sizeof(h->watches[0]));
    h->watches[h->watches_n++] = w;
    w->next_revision = config->start_revision > 0 ? config->start_revision : h->published + 1;
    w->is_synced = w->next_revision > h->published;
    if (!w->is_synced)
        pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    return &w->watch;
}

void watch_hub_close(struct watch_hub *h, struct storage_watch *watch)
{
    struct hub_watch *w = (struct hub_watch *)watch;
    pthread_mutex_lock(&h->lock);
    /* From within its own callback it would wait for itself. */
    ensure(!w->is_busy || !pthread_equal(w->busy_thread, pthread_self()));
    w->is_closed = true;
    while (w->is_busy || w->is_held)
        pthread_cond_wait(&h->idle, &h->lock);
    forget(h, w);
    pthread_mutex_unlock(&h->lock);
}

int64_t watch_hub_revision(struct watch_hub *h, struct storage_watch *watch)
{
    struct hub_watch *w = (struct hub_watch *)watch;
    pthread_mutex_lock(&h->lock);
    /* One that starts in the future has been given all there is. */
    int64_t revision = w->next_revision > h->published ? h->published : w->next_revision - 1;
    pthread_mutex_unlock(&h->lock);
    return revision;
}
