/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_watch.c - every watch of a store on one stream of etcd's Watch.
 *
 *     storage_watch() --create--> stream --created, events, progress--> callbacks
 *                                   |
 *                                   +-- broken: another stream, at another member, after a backoff;
 *                                       each watch goes on at its next revision
 *
 * The next revision is moved on with each one delivered and what lies before it is dropped, so
 * nothing comes twice and nothing is left out.  Streams do not overlap: one begins when the last
 * word of the one before has been heard, so callbacks of a watch never run side by side.
 */
#include "base/cond.h"
#include "base/log.h"
#include "storage/remote.h"

#define METHOD_WATCH       "/etcdserverpb.Watch/Watch"
#define METHOD_STATUS      "/etcdserverpb.Maintenance/Status"
#define STATUS_TIMEOUT_MS  5000
#define EVERY_WATCH        (-1) /* the id of an answer that concerns all of a stream */
#define SYNC_TIMEOUT_MS    3000
#define SYNC_GRACE_MS      10 /* for events that are on their way already */
#define SYNC_ASK_AGAIN_MS  500
#define REVISION_BYTES_MAX ((size_t)512 << 20) /* events of one revision */

enum watch_state {
    WATCH_ABSENT,  /* to be created on the next stream */
    WATCH_PENDING, /* asked for */
    WATCH_LIVE,
    WATCH_OVER, /* ended by itself */
};

struct watch {
    struct storage_watch watch; /* first */
    struct remote_watches *all;
    struct storage_watch_config config; /* key and end copied */
    int64_t id;
    struct watch *prev, *next;

    /* guarded by all->lock */
    enum watch_state state;
    int64_t next_revision; /* the first that was not delivered */
    int64_t asked_ns;      /* when progress was last asked for */
    bool is_closed, is_busy;

    /* the stream's thread: events of one revision that came in several messages */
    struct arena *held_arena;
    struct storage_event *held;
    size_t held_n, held_capacity;
    int64_t held_revision;
};

struct remote_watches {
    struct remote_task task; /* first: the wait before another stream */
    struct remote *remote;

    pthread_mutex_t lock; /* guards what follows; no callback runs under it */
    pthread_cond_t changed;
    struct watch *first;
    int64_t last_id;
    bool is_stopping, is_waiting; /* for the task */
    struct grpc_stream *stream;   /* NULL: none */
    struct remote_endpoint *endpoint;
    unsigned failures;
    bool marker_is_on_its_way;
};

static void send_request(struct remote_watches *all, const Etcd__WatchRequest *request)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    if (grpc_stream_send(all->stream, remote_pack(&request->base, a), &err) < 0)
        grpc_stream_cancel(all->stream); /* its end is on the way, or must be */
}

/* Under the lock. */
static void send_create(struct watch *w)
{
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    create.key = remote_binary(w->config.key);
    create.range_end = remote_binary(w->config.end);
    create.start_revision = w->next_revision;
    create.prev_kv = w->config.prev_kv;
    create.progress_notify = w->config.progress != NULL;
    create.watch_id = w->id;
    create.fragment = true;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    w->state = WATCH_PENDING;
    send_request(w->all, &request);
}

/* ---- delivery, on the stream's thread ---- */

static struct watch *find(struct remote_watches *all, int64_t id)
{
    for (struct watch *w = all->first; w; w = w->next)
        if (w->id == id)
            return w;
    return NULL;
}

static bool enter(struct watch *w)
{
    if (w->is_closed || w->state == WATCH_OVER)
        return false;
    w->is_busy = true;
    return true;
}

static void leave(struct watch *w)
{
    w->is_busy = false;
    pthread_cond_broadcast(&w->all->changed);
}

static void drop_held(struct watch *w)
{
    arena_free(w->held_arena);
    w->held_arena = NULL;
    w->held = NULL;
    w->held_n = w->held_capacity = 0;
    w->held_revision = 0;
}

static void moved_to(struct watch *w, int64_t revision)
{
    struct remote_watches *all = w->all;
    pthread_mutex_lock(&all->lock);
    w->next_revision = revision + 1;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

static void deliver(struct watch *w, const struct storage_event *events, size_t n, int64_t revision)
{
    if (n == 0 || revision < w->next_revision)
        return;
    w->config.events(events, n, revision, w->config.arg);
    remote_saw_revision(w->all->remote, revision);
    moved_to(w, revision);
}

static struct storage_event to_event(const Etcd__Event *m)
{
    struct storage_event e = { .is_delete = m->type == ETCD__EVENT__TYPE__DELETE };
    e.kv = remote_kv(m->kv);
    if (m->prev_kv)
        e.prev = remote_kv(m->prev_kv);
    return e;
}

static struct storage_kv copy_kv(struct arena *a, struct storage_kv kv)
{
    kv.key = arena_bytes(a, kv.key);
    kv.value = arena_bytes(a, kv.value);
    return kv;
}

static int hold(struct watch *w, const struct storage_event *events, size_t n, int64_t revision)
{
    if (!w->held_arena)
        w->held_arena = arena_new();
    w->held_revision = revision;
    for (size_t i = 0; i < n; i++) {
        struct storage_event *e = w->held =
            arena_grow(w->held_arena, w->held, w->held_n, &w->held_capacity, sizeof(*w->held));
        e += w->held_n++;
        *e = events[i];
        e->kv = copy_kv(w->held_arena, e->kv);
        e->prev = copy_kv(w->held_arena, e->prev);
    }
    return arena_size_bytes(w->held_arena) <= REVISION_BYTES_MAX ? 0 : -1;
}

static void deliver_held(struct watch *w)
{
    deliver(w, w->held, w->held_n, w->held_revision);
    drop_held(w);
}

/* All events of a revision in one call.  The last revision of a message that has a fragment after
 * it may go on there: it is kept until then.  -1: nonsense, which a new stream may cure. */
static int take_events(struct watch *w, const Etcd__WatchResponse *m, struct arena *arena)
{
    struct storage_event *events = arena_alloc(arena, m->n_events * sizeof(*events) + 1);
    int64_t revision = 0;
    for (size_t i = 0; i < m->n_events; i++) {
        if (!m->events[i]->kv || m->events[i]->kv->mod_revision < revision)
            return -1;
        events[i] = to_event(m->events[i]);
        revision = events[i].kv.mod_revision;
    }
    for (size_t from = 0, to; from < m->n_events; from = to) {
        revision = events[from].kv.mod_revision;
        for (to = from; to < m->n_events && events[to].kv.mod_revision == revision;)
            to++;
        if (w->held_n > 0 && w->held_revision != revision)
            deliver_held(w);
        bool may_go_on = m->fragment && to == m->n_events;
        if (w->held_n == 0 && !may_go_on)
            deliver(w, events + from, to - from, revision);
        else if (hold(w, events + from, to - from, revision) < 0)
            return -1;
    }
    if (!m->fragment && w->held_n > 0)
        deliver_held(w);
    return 0;
}

static void take_progress(struct watch *w, int64_t revision)
{
    if (w->held_n > 0 || revision < w->next_revision)
        return;
    if (w->config.progress)
        w->config.progress(revision, w->config.arg);
    moved_to(w, revision);
}

static void take_failure(struct watch *w, const Etcd__WatchResponse *m)
{
    struct error err = { 0 };
    struct remote *r = w->all->remote;
    if (m->compact_revision > atomic_load(&r->compacted_revision))
        atomic_store(&r->compacted_revision, m->compact_revision);
    error_set(&err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
              (long long)w->next_revision, (long long)m->compact_revision);
    w->config.failed(&err, m->compact_revision, w->config.arg);
    pthread_mutex_lock(&w->all->lock);
    w->state = WATCH_OVER;
    pthread_mutex_unlock(&w->all->lock);
}

static bool tells_progress(const Etcd__WatchResponse *m)
{
    return !m->created && !m->canceled && m->n_events == 0 && !m->fragment && m->header;
}

/* W is entered. */
static int take_message(struct watch *w, const Etcd__WatchResponse *m, bool is_exact,
                        struct arena *arena)
{
    if (m->created) {
        remote_endpoint_answered(w->all->endpoint);
        pthread_mutex_lock(&w->all->lock);
        w->state = WATCH_LIVE;
        w->all->failures = 0;
        pthread_cond_broadcast(&w->all->changed);
        pthread_mutex_unlock(&w->all->lock);
    }
    if (m->canceled && m->compact_revision > 0)
        take_failure(w, m);
    else if (m->canceled)
        return -1;
    else if (tells_progress(m) && is_exact)
        take_progress(w, m->header->revision);
    return take_events(w, m, arena);
}

/* Progress that concerns every watch of the stream. */
static void take_broadcast(struct remote_watches *all, const Etcd__WatchResponse *m, bool is_exact)
{
    if (!tells_progress(m) || !is_exact)
        return;
    pthread_mutex_lock(&all->lock);
    for (struct watch *w = all->first; w;) {
        if (w->state != WATCH_LIVE || !enter(w)) {
            w = w->next;
            continue;
        }
        pthread_mutex_unlock(&all->lock);
        take_progress(w, m->header->revision);
        pthread_mutex_lock(&all->lock);
        struct watch *next = w->next; /* W is linked as long as it is busy */
        leave(w);
        w = next;
    }
    pthread_mutex_unlock(&all->lock);
}

static void on_message(struct bytes message, void *arg)
{
    struct remote_watches *all = arg;
    scoped(arena) struct arena *arena = arena_new();
    const Etcd__WatchResponse *m = remote_unpack(&etcd__watch_response__descriptor, message, arena);
    bool is_exact = atomic_load(&all->endpoint->progress) == PROGRESS_EXACT;
    if (m && m->watch_id == EVERY_WATCH && !m->canceled) {
        take_broadcast(all, m, is_exact);
        return;
    }
    /* A watch that is refused is not named: the stream goes, and they are all asked for again. */
    int rc = m && m->watch_id != EVERY_WATCH ? 0 : -1;
    pthread_mutex_lock(&all->lock);
    struct watch *w = m ? find(all, m->watch_id) : NULL;
    bool is_ours = w && enter(w);
    pthread_mutex_unlock(&all->lock);
    if (is_ours) {
        rc = take_message(w, m, is_exact, arena);
        pthread_mutex_lock(&all->lock);
        leave(w);
        pthread_mutex_unlock(&all->lock);
    }
    pthread_mutex_lock(&all->lock);
    if (rc < 0 && all->stream) {
        log_warn("storage", "watch of etcd at %s: %s", all->endpoint->url,
                 m && m->cancel_reason ? m->cancel_reason : "an answer makes no sense");
        grpc_stream_cancel(all->stream);
    }
    pthread_mutex_unlock(&all->lock);
}

/* ---- the stream ---- */

static void stream_begin(struct remote_watches *all);

static void begin_later(struct remote_task *t)
{
    struct remote_watches *all = (struct remote_watches *)t;
    pthread_mutex_lock(&all->lock);
    all->is_waiting = false;
    stream_begin(all);
    pthread_mutex_unlock(&all->lock);
}

static void on_end(enum grpc_status status, bool not_sent, const struct error *err, void *arg)
{
    struct remote_watches *all = arg;
    (void)status, (void)not_sent;
    pthread_mutex_lock(&all->lock);
    struct grpc_stream *stream = all->stream;
    all->stream = NULL;
    for (struct watch *w = all->first; w; w = w->next) {
        drop_held(w);
        if (w->state != WATCH_OVER)
            w->state = WATCH_ABSENT;
    }
    bool goes_on = all->is_waiting = !all->is_stopping;
    unsigned failures = all->failures++;
    pthread_mutex_unlock(&all->lock);
    grpc_stream_close(stream);
    if (!goes_on)
        return;
    remote_endpoint_failed(all->remote, all->endpoint,
                           err->code ? err->message : "the watch stream ended");
    remote_schedule(all->remote, &all->task, failures ? remote_backoff_ns(failures) : 0);
}

void remote_watches_leave(struct remote_watches *all, const struct remote_endpoint *e)
{
    pthread_mutex_lock(&all->lock);
    if (all->stream && all->endpoint == e)
        grpc_stream_cancel(all->stream);
    pthread_mutex_unlock(&all->lock);
}

/* "3.5.21" -> may a progress notification be believed?  Before 3.4.25 and 3.5.8 it could overtake
 * events. */
static bool is_exact(const char *version)
{
    int major = 0, minor = 0, patch = 0;
    if (sscanf(version, "%d.%d.%d", &major, &minor, &patch) != 3)
        return false;
    if (major != 3 || minor >= 6)
        return major >= 3;
    return (minor == 5 && patch >= 8) || (minor == 4 && patch >= 25);
}

static void on_status(struct bytes message, void *arg)
{
    struct remote_endpoint *e = arg;
    scoped(arena) struct arena *a = arena_new();
    const Etcd__StatusResponse *m = remote_unpack(&etcd__status_response__descriptor, message, a);
    if (m && m->version)
        atomic_store(&e->progress, is_exact(m->version) ? PROGRESS_EXACT : PROGRESS_ABSENT);
}

static void on_status_end(enum grpc_status status, bool not_sent, const struct error *err,
                          void *arg)
{
    (void)status, (void)not_sent, (void)err, (void)arg;
}

/* Members are upgraded one by one: each says for itself, and again after it was away. */
static void ask_version(struct remote_endpoint *e)
{
    scoped(arena) struct arena *a = arena_new();
    Etcd__StatusRequest request = ETCD__STATUS_REQUEST__INIT;
    struct grpc_call_options options = { .timeout_ms = STATUS_TIMEOUT_MS };
    struct grpc_events events = { on_status, on_status_end, e };
    atomic_store(&e->progress, PROGRESS_UNKNOWN);
    grpc_unary_start(e->channel, METHOD_STATUS, remote_pack(&request.base, a), &options, &events);
}

/* Under the lock. */
static void stream_begin(struct remote_watches *all)
{
    if (all->stream || all->is_stopping || all->is_waiting || !all->first)
        return;
    struct grpc_call_options options = { .metadata = remote_metadata,
                                         .metadata_n = ARRAY_LEN(remote_metadata) };
    struct grpc_events events = { on_message, on_end, all };
    all->endpoint = remote_endpoint(all->remote);
    ask_version(all->endpoint);
    all->stream = grpc_stream_start(all->endpoint->channel, METHOD_WATCH, &options, &events);
    for (struct watch *w = all->first; w; w = w->next)
        if (w->state == WATCH_ABSENT && !w->is_closed)
            send_create(w);
}

struct remote_watches *remote_watches_new(struct remote *r)
{
    struct remote_watches *all = xcalloc(1, sizeof(*all));
    all->task.run = begin_later;
    all->remote = r;
    pthread_mutex_init(&all->lock, NULL);
    cond_init(&all->changed);
    return all;
}

void remote_watches_stop(struct remote_watches *all)
{
    pthread_mutex_lock(&all->lock);
    all->is_stopping = true;
    pthread_mutex_unlock(&all->lock);
}

void remote_watches_free(struct remote_watches *all)
{
    if (!all)
        return;
    ensure(!all->first && !all->stream);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

/* ---- watches ---- */

struct storage_watch *remote_watch(struct storage *s, const struct storage_watch_config *config,
                                   struct error *err)
{
    struct remote_watches *all = remote_of(s)->watches;
    int64_t start = config->start_revision;
    if (start == 0) {
        if (remote_read_revision(s, &start, err) < 0)
            return NULL;
        start++;
    }
    struct watch *w = xcalloc(1, sizeof(*w) + config->key.len + config->end.len);
    char *copy = (char *)(w + 1);
    memcpy(copy, config->key.data, config->key.len);
    if (config->end.len)
        memcpy(copy + config->key.len, config->end.data, config->end.len);
    w->watch.storage = s;
    w->all = all;
    w->config = *config;
    w->config.key.data = copy;
    w->config.end.data = copy + config->key.len;
    w->next_revision = start;
    pthread_mutex_lock(&all->lock);
    w->id = ++all->last_id;
    w->next = all->first;
    if (all->first)
        all->first->prev = w;
    all->first = w;
    if (all->stream)
        send_create(w);
    else
        stream_begin(all);
    pthread_mutex_unlock(&all->lock);
    return &w->watch;
}

/* Under the lock. */
static void send_cancel(struct watch *w)
{
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchCancelRequest cancel = ETCD__WATCH_CANCEL_REQUEST__INIT;
    cancel.watch_id = w->id;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel;
    send_request(w->all, &request);
}

void remote_watch_close(struct storage *s, struct storage_watch *watch)
{
    struct remote_watches *all = remote_of(s)->watches;
    struct watch *w = (struct watch *)watch;
    pthread_mutex_lock(&all->lock);
    w->is_closed = true;
    while (w->is_busy)
        pthread_cond_wait(&all->changed, &all->lock);
    if (w->prev)
        w->prev->next = w->next;
    else
        all->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    if (all->stream && (w->state == WATCH_PENDING || w->state == WATCH_LIVE))
        send_cancel(w);
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
    drop_held(w);
    free(w);
}

int64_t remote_watch_revision(struct storage *s, struct storage_watch *watch)
{
    struct remote_watches *all = remote_of(s)->watches;
    pthread_mutex_lock(&all->lock);
    int64_t revision = ((struct watch *)watch)->next_revision - 1;
    pthread_mutex_unlock(&all->lock);
    return revision;
}

/* ---- how far a watch is ---- */

static void marker_done(struct bytes response, const struct error *err, void *arg)
{
    struct remote_watches *all = arg;
    (void)response, (void)err;
    pthread_mutex_lock(&all->lock);
    all->marker_is_on_its_way = false;
    pthread_mutex_unlock(&all->lock);
}

static bool contains(const struct storage_watch_config *c, struct bytes key)
{
    if (c->end.len == 0)
        return bytes_equal(c->key, key);
    bool is_open = c->end.len == 1 && c->end.data[0] == '\0';
    return bytes_compare(c->key, key) <= 0 && (is_open || bytes_compare(key, c->end) < 0);
}

/* Under the lock, which is given up for a moment: a write that W sees, after all that came before.
 */
static void write_marker(struct watch *w)
{
    struct remote_watches *all = w->all;
    const char *key = all->remote->marker_key;
    if (!key || all->marker_is_on_its_way || !contains(&w->config, bytes_of(key)))
        return;
    Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
    put.key = remote_binary(bytes_of(key));
    all->marker_is_on_its_way = true;
    pthread_mutex_unlock(&all->lock);
    remote_start(all->remote, "/etcdserverpb.KV/Put", REMOTE_READ, &put.base, marker_done, all);
    pthread_mutex_lock(&all->lock);
}

static void ask_progress(struct watch *w)
{
    struct remote_watches *all = w->all;
    if (!all->stream || w->state != WATCH_LIVE)
        return;
    enum remote_progress progress = atomic_load(&all->endpoint->progress);
    if (progress != PROGRESS_EXACT) {
        write_marker(w);
        return;
    }
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchProgressRequest ask = ETCD__WATCH_PROGRESS_REQUEST__INIT;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &ask;
    send_request(all, &request);
}

static int sync_locked(struct watch *w, int64_t revision, struct error *err)
{
    int64_t now_ns = clock_monotonic_ns(&system_clock);
    int64_t end_ns = now_ns + SYNC_TIMEOUT_MS * NS_PER_MS;
    int64_t ask_ns = now_ns + SYNC_GRACE_MS * NS_PER_MS;
    while (w->next_revision <= revision) {
        if (w->state == WATCH_OVER)
            return error_set(err, ERR_UNAVAILABLE, "the watch of etcd has ended");
        if (now_ns >= end_ns)
            return error_set(err, ERR_TIMEOUT,
                             "the watch of etcd is at revision %lld, %lld was not reached in time",
                             (long long)w->next_revision - 1, (long long)revision);
        if (now_ns >= ask_ns) {
            ask_ns = now_ns + SYNC_ASK_AGAIN_MS * NS_PER_MS;
            ask_progress(w);
        }
        if (w->next_revision <= revision)
            cond_wait_until(&w->all->changed, &w->all->lock, ask_ns < end_ns ? ask_ns : end_ns);
        now_ns = clock_monotonic_ns(&system_clock);
    }
    return 0;
}

int remote_watch_sync(struct storage *s, struct storage_watch *watch, int64_t revision,
                      struct error *err)
{
    struct remote_watches *all = remote_of(s)->watches;
    if (revision == 0 && remote_read_revision(s, &revision, err) < 0)
        return -1;
    pthread_mutex_lock(&all->lock);
    int rc = sync_locked((struct watch *)watch, revision, err);
    pthread_mutex_unlock(&all->lock);
    return rc;
}
