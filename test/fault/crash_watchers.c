/* SPDX-License-Identifier: Apache-2.0 */
/* crash_watchers.c - opening, reading and judging the watches. */
#include "test/fault/crash_watchers.h"

static const struct {
    const char *key, *end;
    uint32_t first_key, keys_n;
    bool has_deletes, has_before, has_progress;
    int stream;
} table[WATCHES] = {
    [WATCH_ALL] = { "k/", "n", 0, KEYS, true, true, false, 0 },
    [WATCH_PREFIX] = { "k/", "k0", 0, REGISTERS, true, true, false, 0 },
    [WATCH_KEY] = { "k/3", "", 3, 1, true, false, false, 0 },
    [WATCH_PUTS] = { "m/", "m0", FIRST_GROUPED, GROUPED, false, false, true, 1 },
    [WATCH_REPLAY] = { "k/", "n", 0, KEYS, true, true, false, 1 },
    [WATCH_TOO_LATE] = { "k/", "n", 0, KEYS, true, true, false, 1 },
};

void crash_watchers_init(struct crash_watchers *w, _Atomic int64_t *watched)
{
    memset(w, 0, sizeof(*w));
    w->watched = watched;
    for (int i = 0; i < WATCHES; i++)
        w->watchers[i] = (struct watcher){
            .first_key = table[i].first_key,
            .keys_n = table[i].keys_n,
            .has_puts = true,
            .has_deletes = table[i].has_deletes,
            .has_before = table[i].has_before,
            .next = i < WATCHES_RESUMED ? TIMELINE_FIRST_REVISION : 0,
        };
}

/* ---- reading ---- */

static int keep_event(const Etcd__Event *e, struct watched_event *out, struct error *err)
{
    out->before.revision = 0;
    if (change_of(e->kv, e->type == ETCD__EVENT__TYPE__DELETE, &out->now, err) < 0)
        return -1;
    return e->prev_kv ? change_of(e->prev_kv, false, &out->before, err) : 0;
}

static int keep(struct watch_stream *s, const Etcd__WatchResponse *r, struct error *err)
{
    if (r->created || r->n_events > SIZE_MAX / sizeof(struct watched_event))
        return 0;
    struct watched_event *events = arena_alloc(s->arena, r->n_events * sizeof(events[0]) + 1);
    for (size_t i = 0; i < r->n_events; i++)
        if (keep_event(r->events[i], &events[i], err) < 0)
            return -1;
    s->messages = xgrow(s->messages, s->n, &s->capacity, sizeof(s->messages[0]));
    s->messages[s->n++] = (struct watch_message){
        .id = r->watch_id < 0 ? WATCHES : (int)r->watch_id - 1,
        .is_canceled = r->canceled,
        .compacted = r->compact_revision,
        .told = { r->header->revision, events, r->n_events },
    };
    if (r->watch_id == WATCH_ALL + 1 && r->n_events)
        atomic_store(s->watched, events[r->n_events - 1].now.revision);
    if (r->watch_id < 0)
        atomic_store(&s->progress, r->header->revision);
    return 0;
}

static void *stream_main(void *arg)
{
    struct watch_stream *s = arg;
    struct arena *arena = arena_new();
    struct error end = { 0 };
    struct bytes data;
    while (!s->err.code && grpc_stream_receive(s->stream, arena, &data, &end) == 1) {
        Etcd__WatchResponse *r = etcd_unpack(&etcd__watch_response__descriptor, data, arena);
        if (!r)
            error_set(&s->err, ERR_IO, "a watch's message cannot be read");
        else if (keep(s, r, &s->err) < 0)
            break;
        arena_reset(arena);
    }
    arena_free(arena);
    return NULL;
}

/* ---- opening ---- */

static void send(struct watch_stream *s, Etcd__WatchRequest *request)
{
    scoped(arena) struct arena *arena = arena_new();
    struct error gone = { 0 }; /* the reader meets it too */
    if (s->stream)
        (void)!grpc_stream_send(s->stream, etcd_pack(request, arena), &gone);
}

static void open_watch(struct crash_watchers *w, int i)
{
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    Etcd__WatchCreateRequest__Filter no_deletes = ETCD__WATCH_CREATE_REQUEST__FILTER__NODELETE;
    create.key = etcd_text(table[i].key);
    create.range_end = etcd_text(table[i].end);
    create.start_revision = w->watchers[i].next;
    create.prev_kv = table[i].has_before;
    create.progress_notify = table[i].has_progress;
    create.watch_id = i + 1;
    create.n_filters = !table[i].has_deletes;
    create.filters = &no_deletes;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    send(&w->streams[table[i].stream], &request);
}

void crash_watchers_open(struct crash_watchers *w, const char *target, int64_t replay_from,
                         int64_t too_late_from)
{
    struct grpc_call_options options = { 0 };
    struct error gone = { 0 };
    w->watchers[WATCH_REPLAY].next = replay_from;
    w->watchers[WATCH_TOO_LATE].next = too_late_from;
    w->channel = grpc_channel_new(target, NULL, &gone);
    ensure(w->channel);
    for (size_t i = 0; i < ARRAY_LEN(w->streams); i++) {
        struct watch_stream *s = &w->streams[i];
        memset(s, 0, sizeof(*s));
        s->arena = arena_new();
        s->watched = w->watched;
        s->stream = grpc_stream_open(w->channel, "/etcdserverpb.Watch/Watch", &options, &gone);
        if (s->stream)
            ensure(pthread_create(&s->thread, NULL, stream_main, s) == 0);
    }
    for (int i = 0; i < WATCHES; i++)
        if (w->watchers[i].next)
            open_watch(w, i);
}

void crash_watchers_ask_progress(struct crash_watchers *w)
{
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    Etcd__WatchProgressRequest progress = ETCD__WATCH_PROGRESS_REQUEST__INIT;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &progress;
    for (size_t i = 0; i < ARRAY_LEN(w->streams); i++)
        send(&w->streams[i], &request);
}

int64_t crash_watchers_progress(struct crash_watchers *w)
{
    int64_t progress = INT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(w->streams); i++) {
        int64_t at = atomic_load(&w->streams[i].progress);
        progress = at < progress ? at : progress;
    }
    return progress;
}

void crash_watchers_join(struct crash_watchers *w)
{
    for (size_t i = 0; i < ARRAY_LEN(w->streams); i++) {
        struct watch_stream *s = &w->streams[i];
        if (!s->stream)
            continue;
        grpc_stream_cancel(s->stream);
        pthread_join(s->thread, NULL);
        grpc_stream_close(s->stream);
        s->stream = NULL;
    }
    grpc_channel_free(w->channel);
    w->channel = NULL;
}

/* ---- judging ---- */

/* The events of one revision; the watch of all keys is told all of them. */
static int note_message(int id, const struct watched_message *m, struct timeline *t,
                        struct error *err)
{
    for (size_t i = 0; i < m->n;) {
        struct change changes[KEYS];
        size_t n = 0;
        int64_t revision = m->events[i].now.revision;
        for (; i < m->n && m->events[i].now.revision == revision; i++) {
            if (n == KEYS)
                return error_set(err, ERR_CONFLICT, "revision %lld has too many events",
                                 (long long)revision);
            changes[n++] = m->events[i].now;
        }
        if (timeline_note(t, revision, changes, n, id == WATCH_ALL ? TIMELINE_WHOLE : TIMELINE_PART,
                          err) < 0)
            return -1;
    }
    return 0;
}

int crash_watchers_note(struct crash_watchers *w, struct timeline *t, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(w->streams); i++) {
        struct watch_stream *s = &w->streams[i];
        if (s->err.code) {
            *err = s->err;
            return -1;
        }
        for (size_t k = 0; k < s->n; k++)
            if (note_message(s->messages[k].id, &s->messages[k].told, t, err) < 0)
                return error_wrap(err, "watch %d", s->messages[k].id);
    }
    return 0;
}

/* Nothing below what is compacted can be told: an etcd client goes on from there. */
static int judge_cancel(struct watcher *w, const struct watch_message *m, int64_t compacted,
                        struct error *err)
{
    if (!m->compacted || m->compacted > compacted || w->next >= m->compacted)
        return error_set(err, ERR_CONFLICT,
                         "it was canceled at revision %lld because of a compaction to %lld",
                         (long long)w->next, (long long)m->compacted);
    w->next = m->compacted;
    return 0;
}

static int judge_message(struct crash_watchers *w, int stream, const struct watch_message *m,
                         const struct timeline *t, int64_t compacted, struct error *err)
{
    for (int i = 0; i < WATCHES; i++) {
        struct watcher *watcher = &w->watchers[i];
        bool is_meant = m->id == i || (m->id == WATCHES && table[i].stream == stream);
        if (!is_meant || !watcher->next || w->is_canceled[i])
            continue;
        int rc = m->is_canceled ? judge_cancel(watcher, m, compacted, err)
                                : watcher_take(watcher, t, &m->told, compacted, err);
        if (rc < 0)
            return error_wrap(err, "watch %d", i);
        w->is_canceled[i] = m->is_canceled;
    }
    return 0;
}

int crash_watchers_judge(struct crash_watchers *w, const struct timeline *t, int64_t compacted,
                         struct error *err)
{
    memset(w->is_canceled, 0, sizeof(w->is_canceled));
    for (int i = 0; i < (int)ARRAY_LEN(w->streams); i++) {
        struct watch_stream *s = &w->streams[i];
        for (size_t k = 0; k < s->n; k++)
            if (judge_message(w, i, &s->messages[k], t, compacted, err) < 0)
                return -1;
        free(s->messages);
        arena_free(s->arena);
        memset(s, 0, sizeof(*s));
    }
    return 0;
}
