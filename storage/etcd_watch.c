/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_watch.c - the Watch stream: many watches on one call.
 *
 *     loop:            messages -> stream's inbox      worker: inbox -> watches opened and closed
 *     storage's threads:  events -> grpc_call_send     ticks:  progress -> inbox
 *
 * A stream is in at most one worker at a time, so its list of watches needs no lock.  The call is
 * finished by that worker once every watch is closed; the loop frees the stream after that.
 */
#include <pthread.h>

#include "base/cond.h"
#include "base/failpoint.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "storage/etcd_encode.h"

#define WORKERS_MAX          4
#define WATCH_QUEUED_MAX     ((size_t)64 << 20) /* bytes a client may be behind; then it resumes */
#define WATCHES_PER_STREAM   100000
#define INBOX_MAX            10000
#define FRAGMENT_BYTES_MAX   ETCD_REQUEST_BYTES_MAX
#define PROGRESS_INTERVAL_MS (INT64_C(10) * 60 * 1000)
#define BROADCAST            (-1) /* the watch id of what concerns every watch of a stream */

enum note_type { NOTE_REQUEST, NOTE_TICK, NOTE_FAILED };

struct note {
    enum note_type type;
    Etcd__WatchRequest *request;
    uint64_t serial; /* of the watch that failed */
    struct note *next;
};

struct watch {
    struct watch_stream *stream;
    int64_t id;
    uint64_t serial;             /* ids and addresses are used again */
    struct storage_watch *watch; /* NULL: it could not be opened */
    bool has_filter[2];          /* by type of event */
    bool is_fragmented, has_progress;
    atomic_bool is_quiet; /* nothing was sent since the last tick */
};

struct watch_stream {
    struct etcd_server *server;
    struct grpc_server_call *call;
    atomic_bool is_ending;
    bool is_refused; /* finished before it began */

    /* the worker's */
    struct hashmap watches; /* id -> struct watch */
    int64_t next_id;
    uint64_t last_serial;
    bool is_listed;

    pthread_mutex_t lock; /* guards the rest */
    struct note *inbox, **inbox_last;
    size_t inbox_n;
    bool is_scheduled;
    enum grpc_status status; /* to finish with */
    const char *text;

    struct watch_stream *prev, *next; /* streams->listed, under its lock */
};

/* The last event that was sent: as a rule many watches are given it one after the other. */
struct encoded_event {
    int64_t revision, version, prev_revision;
    bool is_delete;
    struct buffer key; /* and these are what an event is known by */
    struct shared_bytes *bytes;
};

struct etcd_streams {
    struct worker_pool *workers;
    int64_t interval_ms;
    pthread_mutex_t lock;        /* guards the rest; before a stream's */
    struct watch_stream *listed; /* those with a watch that wants progress */
    pthread_cond_t changed;
    pthread_t thread; /* of the ticks; not before a stream is listed */
    bool has_thread, is_stopping;
    pthread_mutex_t last_lock; /* innermost */
    struct encoded_event last;
};

/* ---- a stream's inbox ---- */

static void work(void *arg);

/* Under the stream's lock. */
static void schedule(struct watch_stream *s)
{
    struct error err = { 0 };
    if (s->is_scheduled)
        return;
    s->is_scheduled = true;
    /* One job a stream, and streams are limited: the queue is as large as they are many. */
    ensure(worker_pool_submit(s->server->streams->workers, work, s, &err) == 0);
}

static void end(struct watch_stream *s, enum grpc_status status, const char *text)
{
    pthread_mutex_lock(&s->lock);
    if (!atomic_exchange(&s->is_ending, true)) {
        s->status = status;
        s->text = text;
        schedule(s);
    }
    pthread_mutex_unlock(&s->lock);
}

static void note_free(struct note *n)
{
    if (n->request)
        etcd__watch_request__free_unpacked(n->request, NULL);
    free(n);
}

static void post(struct watch_stream *s, enum note_type type, Etcd__WatchRequest *request,
                 uint64_t serial)
{
    struct note *n = xcalloc(1, sizeof(*n));
    *n = (struct note){ type, request, serial, NULL };
    pthread_mutex_lock(&s->lock);
    *s->inbox_last = n;
    s->inbox_last = &n->next;
    s->inbox_n++;
    if (!atomic_load(&s->is_ending))
        schedule(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- what is sent ---- */

static void send_response(struct watch_stream *s, Etcd__WatchResponse *response, int64_t revision)
{
    Etcd__ResponseHeader header;
    etcd_header(s->server, revision, &header);
    response->header = &header;
    etcd_send(s->call, &response->base);
    response->header = NULL;
}

static void send_canceled(struct watch_stream *s, int64_t id, const char *reason)
{
    Etcd__WatchResponse response = ETCD__WATCH_RESPONSE__INIT;
    response.watch_id = id;
    response.canceled = true;
    response.cancel_reason = (char *)(uintptr_t)reason;
    send_response(s, &response, storage_revision(s->server->storage));
}

/* etcd says nothing in words here, and not at which revision it is. */
static void send_compacted(struct watch_stream *s, int64_t id, int64_t compacted)
{
    Etcd__WatchResponse response = ETCD__WATCH_RESPONSE__INIT;
    response.watch_id = id;
    response.canceled = true;
    response.compact_revision = compacted;
    send_response(s, &response, 0);
}

static void send_progress(struct watch_stream *s, int64_t id, int64_t revision)
{
    (void)failpoint("storage.watch.before_progress");
    Etcd__WatchResponse response = ETCD__WATCH_RESPONSE__INIT;
    response.watch_id = id;
    send_response(s, &response, revision);
}

/* ---- from the storage, on its threads ---- */

static bool is_it(const struct encoded_event *last, const struct storage_event *e, int64_t revision)
{
    return last->bytes && last->revision == revision && last->is_delete == e->is_delete &&
           last->version == e->kv.version && last->prev_revision == e->prev.mod_revision &&
           bytes_equal(e->kv.key, buffer_bytes(&last->key));
}

static struct shared_bytes *encode(struct etcd_streams *streams,
                                   const struct storage_event *const *events, size_t n,
                                   int64_t revision)
{
    if (n != 1)
        return etcd_encode_events(events, n);
    const struct storage_event *e = events[0];
    struct encoded_event *last = &streams->last;
    pthread_mutex_lock(&streams->last_lock);
    if (!is_it(last, e, revision)) {
        last->revision = revision;
        last->is_delete = e->is_delete;
        last->version = e->kv.version;
        last->prev_revision = e->prev.mod_revision;
        buffer_clear(&last->key);
        buffer_add_bytes(&last->key, e->kv.key);
        shared_bytes_unref(last->bytes);
        last->bytes = etcd_encode_events(events, n);
    }
    struct shared_bytes *bytes = shared_bytes_ref(last->bytes);
    pthread_mutex_unlock(&streams->last_lock);
    return bytes;
}

/* How many of EVENTS go into one message. */
static size_t fragment(const struct watch *w, const struct storage_event *const *events, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; w->is_fragmented && i < n; i++) {
        bytes += etcd_event_size(events[i]);
        if (bytes > FRAGMENT_BYTES_MAX && i > 0)
            return i;
    }
    return n;
}

/* All events of a revision, in one message unless the client takes fragments. */
static void send_events(struct watch *w, const struct storage_event *const *events, size_t n,
                        int64_t revision)
{
    struct etcd_server *server = w->stream->server;
    while (n) {
        size_t part = fragment(w, events, n);
        char start[ETCD_WATCH_START_BYTES];
        scoped(shared_bytes) struct shared_bytes *bytes =
            encode(server->streams, events, part, revision);
        grpc_call_send_shared(w->stream->call,
                              etcd_encode_watch_start(server, revision, w->id, part < n, start),
                              bytes);
        events += part;
        n -= part;
    }
}

static void on_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    struct watch *w = arg;
    const struct storage_event *few[4];
    if (atomic_load(&w->stream->is_ending))
        return;
    scoped(mem) void *many = n > ARRAY_LEN(few) ? xmalloc(n * sizeof(few[0])) : NULL;
    const struct storage_event **kept = many ? many : few;
    size_t kept_n = 0;
    for (size_t i = 0; i < n; i++)
        if (!w->has_filter[events[i].is_delete])
            kept[kept_n++] = &events[i];
    if (!kept_n)
        return;
    atomic_store_explicit(&w->is_quiet, false, memory_order_relaxed);
    send_events(w, kept, kept_n, revision);
    /* A status after which clients resume where they were. */
    if (grpc_call_queued_bytes(w->stream->call) > WATCH_QUEUED_MAX)
        end(w->stream, GRPC_UNAVAILABLE, "etcdserver: the watch is read too slowly");
}

static void on_failed(const struct error *err, int64_t compacted, void *arg)
{
    struct watch *w = arg;
    struct grpc_failure failure;
    etcd_failure(err, &failure);
    if (atomic_load(&w->stream->is_ending))
        return;
    if (err->code == ERR_COMPACTED)
        send_compacted(w->stream, w->id, compacted);
    else
        send_canceled(w->stream, w->id, failure.text);
    post(w->stream, NOTE_FAILED, NULL, w->serial);
}

/* ---- the list of streams that want progress ---- */

static void *tell_progress(void *arg)
{
    struct etcd_streams *streams = arg;
    int64_t due_ns = INT64_MAX;
    pthread_setname_np(pthread_self(), "etcd-progress");
    pthread_mutex_lock(&streams->lock);
    while (!streams->is_stopping) {
        if (!streams->listed)
            due_ns = INT64_MAX;
        else if (due_ns == INT64_MAX)
            due_ns = clock_monotonic_ns(&system_clock) + streams->interval_ms * NS_PER_MS;
        if (cond_wait_until(&streams->changed, &streams->lock, due_ns))
            continue;
        for (struct watch_stream *s = streams->listed; s; s = s->next)
            post(s, NOTE_TICK, NULL, 0);
        due_ns = INT64_MAX;
    }
    pthread_mutex_unlock(&streams->lock);
    return NULL;
}

/* Under the lock. */
static void begin_ticking(struct etcd_streams *streams)
{
    if (!streams->has_thread)
        streams->has_thread = pthread_create(&streams->thread, NULL, tell_progress, streams) == 0;
    if (!streams->has_thread) /* the next stream tries again */
        log_warn("etcd", "watches are not told of progress: no thread for it");
    pthread_cond_signal(&streams->changed);
}

static void stop_ticking(struct etcd_streams *streams)
{
    pthread_mutex_lock(&streams->lock);
    streams->is_stopping = true;
    pthread_cond_signal(&streams->changed);
    pthread_mutex_unlock(&streams->lock);
    if (streams->has_thread)
        pthread_join(streams->thread, NULL);
}

static void list_stream(struct watch_stream *s)
{
    struct etcd_streams *streams = s->server->streams;
    if (s->is_listed)
        return;
    s->is_listed = true;
    pthread_mutex_lock(&streams->lock);
    s->next = streams->listed;
    if (s->next)
        s->next->prev = s;
    streams->listed = s;
    begin_ticking(streams);
    pthread_mutex_unlock(&streams->lock);
}

static void unlist_stream(struct watch_stream *s)
{
    struct etcd_streams *streams = s->server->streams;
    if (!s->is_listed)
        return;
    pthread_mutex_lock(&streams->lock);
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        streams->listed = s->next;
    pthread_mutex_unlock(&streams->lock);
}

/* ---- requests, on a worker ---- */

static struct bytes id_key(const int64_t *id)
{
    return (struct bytes){ (const char *)id, sizeof(*id) };
}

static struct watch *find(struct watch_stream *s, int64_t id)
{
    return hashmap_get(&s->watches, id_key(&id));
}

/* No event of W is sent after that. */
static void remove_watch(struct watch_stream *s, struct watch *w)
{
    hashmap_remove(&s->watches, id_key(&w->id));
    storage_watch_close(w->watch);
    free(w);
}

static void refuse(struct watch_stream *s, int64_t id, const char *reason)
{
    Etcd__WatchResponse response = ETCD__WATCH_RESPONSE__INIT;
    response.watch_id = id;
    response.created = true;
    response.canceled = true;
    response.cancel_reason = (char *)(uintptr_t)reason;
    send_response(s, &response, storage_revision(s->server->storage));
}

/* etcd's first key is "\0", and its open end is too. */
static const char *to_config(const Etcd__WatchCreateRequest *r, struct storage_watch_config *out)
{
    out->key = r->key.len ? etcd_bytes(r->key) : BYTES("\0");
    out->end = etcd_bytes(r->range_end);
    out->prev_kv = r->prev_kv;
    out->start_revision = r->start_revision;
    bool is_open = out->end.len == 1 && !out->end.data[0];
    if (out->end.len && !is_open && bytes_compare(out->key, out->end) >= 0)
        return "mvcc: watcher range is empty";
    return NULL;
}

static struct watch *watch_new(struct watch_stream *s, const Etcd__WatchCreateRequest *r)
{
    struct watch *w = xcalloc(1, sizeof(*w));
    w->stream = s;
    w->id = r->watch_id;
    w->serial = ++s->last_serial;
    if (!w->id) {
        while (find(s, s->next_id))
            s->next_id++;
        w->id = s->next_id++;
    }
    for (size_t i = 0; i < r->n_filters; i++)
        if ((unsigned)r->filters[i] <= ETCD__WATCH_CREATE_REQUEST__FILTER__NODELETE)
            w->has_filter[r->filters[i] == ETCD__WATCH_CREATE_REQUEST__FILTER__NODELETE] = true;
    w->is_fragmented = r->fragment;
    w->has_progress = r->progress_notify;
    atomic_init(&w->is_quiet, true);
    hashmap_put(&s->watches, id_key(&w->id), w);
    return w;
}

/* Before the first compaction it is -1 to etcd, and nothing is older than that. */
static int64_t oldest_revision(struct storage *storage)
{
    int64_t compacted = storage_compacted_revision(storage);
    return compacted ? compacted : -1;
}

static void start(struct watch_stream *s, struct watch *w,
                  const struct storage_watch_config *config)
{
    struct error err = { 0 };
    w->watch = storage_watch(s->server->storage, config, &err);
    if (!w->watch) {
        struct grpc_failure failure;
        etcd_failure(&err, &failure);
        send_canceled(s, w->id, failure.text);
        remove_watch(s, w);
    } else if (w->has_progress) {
        list_stream(s);
    }
}

static void create(struct watch_stream *s, const Etcd__WatchCreateRequest *r)
{
    struct storage_watch_config config = { .events = on_events, .failed = on_failed };
    const char *problem = to_config(r, &config);
    if (!problem && r->watch_id && find(s, r->watch_id))
        problem = "mvcc: duplicate watch ID provided on the WatchStream";
    if (!problem && s->watches.n >= WATCHES_PER_STREAM)
        problem = "etcdserver: too many watches on the stream";
    if (problem) {
        refuse(s, BROADCAST, problem);
        return;
    }
    struct watch *w = watch_new(s, r);
    config.arg = w;
    int64_t revision = storage_revision(s->server->storage);
    Etcd__WatchResponse response = ETCD__WATCH_RESPONSE__INIT;
    response.watch_id = w->id;
    response.created = true;
    send_response(s, &response, revision); /* before the first event can be */
    int64_t oldest = oldest_revision(s->server->storage);
    if (config.start_revision < 0 && config.start_revision < oldest) {
        send_compacted(s, w->id, oldest);
        remove_watch(s, w);
        return;
    }
    if (config.start_revision <= 0)
        config.start_revision = revision + 1;
    start(s, w, &config);
}

static void cancel(struct watch_stream *s, int64_t id)
{
    struct watch *w = find(s, id);
    if (!w)
        return;
    remove_watch(s, w);
    send_canceled(s, id, NULL);
}

/* How far every watch of the stream has got: what they were given is in the call's queue already.
 */
static void report_progress(struct watch_stream *s)
{
    int64_t revision = INT64_MAX;
    hashmap_each (&s->watches, e) {
        int64_t at = storage_watch_revision(((struct watch *)e->value)->watch);
        revision = at < revision ? at : revision;
    }
    if (!s->watches.n)
        revision = storage_revision(s->server->storage);
    send_progress(s, BROADCAST, revision);
}

static void report_quiet(struct watch_stream *s)
{
    hashmap_each (&s->watches, e) {
        struct watch *w = e->value;
        if (w->has_progress && atomic_exchange(&w->is_quiet, true))
            send_progress(s, w->id, storage_watch_revision(w->watch));
    }
}

/* It may have been canceled by its client since. */
static void forget_failed(struct watch_stream *s, uint64_t serial)
{
    hashmap_each (&s->watches, e) {
        struct watch *w = e->value;
        if (w->serial == serial) {
            remove_watch(s, w);
            return;
        }
    }
}

static void handle(struct watch_stream *s, const struct note *n)
{
    if (n->type == NOTE_TICK) {
        report_quiet(s);
        return;
    }
    if (n->type == NOTE_FAILED) {
        forget_failed(s, n->serial);
        return;
    }
    switch (n->request->request_union_case) {
    case ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(s, n->request->create_request);
        break;
    case ETCD__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(s, n->request->cancel_request->watch_id);
        break;
    case ETCD__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        report_progress(s);
        break;
    default:
        break; /* a request of a later version: etcd passes over it too */
    }
}

static void close_all(struct watch_stream *s)
{
    unlist_stream(s);
    hashmap_each (&s->watches, e) {
        struct watch *w = e->value;
        storage_watch_close(w->watch);
        free(w);
    }
    hashmap_deinit(&s->watches);
    grpc_call_finish(s->call, s->status, s->text); /* S may be gone from here on */
}

static void work(void *arg)
{
    struct watch_stream *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct note *n = s->inbox;
        if (n) {
            s->inbox = n->next;
            s->inbox_n--;
            if (!s->inbox)
                s->inbox_last = &s->inbox;
        }
        bool is_ending = atomic_load(&s->is_ending);
        if (!n && !is_ending)
            s->is_scheduled = false;
        pthread_mutex_unlock(&s->lock);
        if (n && !is_ending)
            handle(s, n);
        if (n)
            note_free(n);
        if (is_ending)
            break;
        if (!n)
            return;
    }
    close_all(s);
}

/* ---- from the client, on the loop ---- */

static void *watch_stream_open(struct grpc_server_call *call, void *arg)
{
    struct watch_stream *s = xcalloc(1, sizeof(*s));
    s->server = arg;
    s->call = call;
    s->inbox_last = &s->inbox;
    pthread_mutex_init(&s->lock, NULL);
    s->is_refused = !etcd_admit(s->server, call);
    return s;
}

static void watch_stream_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    (void)call;
    struct watch_stream *s = state;
    if (s->is_refused || atomic_load(&s->is_ending))
        return;
    Etcd__WatchRequest *request =
        etcd__watch_request__unpack(NULL, message.len, (const uint8_t *)message.data);
    pthread_mutex_lock(&s->lock);
    bool is_full = s->inbox_n >= INBOX_MAX;
    pthread_mutex_unlock(&s->lock);
    if (request && !is_full) {
        post(s, NOTE_REQUEST, request, 0);
        return;
    }
    if (request)
        etcd__watch_request__free_unpacked(request, NULL);
    end(s, is_full ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
        is_full ? "etcdserver: too many requests" : ETCD_STREAM_GARBAGE);
}

static void watch_stream_close(struct grpc_server_call *call, void *state)
{
    (void)call;
    struct watch_stream *s = state;
    if (!s->is_refused)
        end(s, GRPC_CANCELLED, NULL);
}

static void watch_stream_release(void *state)
{
    struct watch_stream *s = state;
    while (s->inbox) {
        struct note *n = s->inbox;
        s->inbox = n->next;
        note_free(n);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct grpc_server_handler etcd_watch_handler = {
    .method = "/etcdserverpb.Watch/Watch",
    .open = watch_stream_open,
    .message = watch_stream_message,
    /* No half_close: who says no more is told of events nevertheless. */
    .close = watch_stream_close,
    .release = watch_stream_release,
};

/* ---- all streams ---- */

struct etcd_streams *etcd_streams_new(int64_t progress_interval_ms, struct error *err)
{
    struct etcd_streams *streams = xcalloc(1, sizeof(*streams));
    pthread_mutex_init(&streams->lock, NULL);
    cond_init(&streams->changed);
    pthread_mutex_init(&streams->last_lock, NULL);
    streams->interval_ms = progress_interval_ms ? progress_interval_ms : PROGRESS_INTERVAL_MS;
    streams->workers = worker_pool_new("etcd-watch", WORKERS_MAX, SIZE_MAX, err);
    if (streams->workers)
        return streams;
    etcd_streams_free(streams);
    return NULL;
}

void etcd_streams_free(struct etcd_streams *streams)
{
    if (!streams)
        return;
    stop_ticking(streams);
    if (streams->workers)
        worker_pool_free(streams->workers);
    shared_bytes_unref(streams->last.bytes);
    buffer_free(&streams->last.key);
    pthread_mutex_destroy(&streams->last_lock);
    pthread_cond_destroy(&streams->changed);
    pthread_mutex_destroy(&streams->lock);
    free(streams);
}
