/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.c - the client side: one connection and one I/O thread per channel, callers wait.
 *
 *     caller --pending, flags--> channel->dirty --> I/O thread --> nghttp2 --> socket
 *     caller <--received, done-- condition      <-- I/O thread <--
 */
#include "base/grpc.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/due_heap.h"
#include "base/grpc_wire.h"
#include "base/socket.h"

#define CONNECT_TIMEOUT_MS    10000
#define STREAM_WINDOW_BYTES   (4 * 1024 * 1024)
#define LINK_WINDOW_BYTES     (64 * 1024 * 1024)
#define RECEIVED_BYTES_MAX    (8 * 1024 * 1024) /* more waits in the peer, by flow control */
#define UNSENT_BYTES_MAX      (GRPC_MESSAGE_BYTES_MAX + 1024) /* more makes the sender wait */
#define METADATA_MAX          32
#define GRPC_MESSAGE_TEXT_MAX 8192
#define OWES_NS               (900 * NS_PER_MS) /* that a peer may be silent while it owes an answer */

struct grpc_channel {
    char *target, *host;
    struct tls *tls;
    int connect_timeout_ms;
    size_t message_bytes_max;
    int64_t ping_after_ns, ping_timeout_ns; /* 0: never */
    int wake_fd;                            /* something is dirty */
    int stop_fd;                            /* ends a dial that hangs */
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows and the upper half of each stream */
    struct grpc_stream *dirty, *dirty_tail;
    bool stopping;

    /* the I/O thread's */
    struct grpc_link link; /* session NULL: not connected */
    bool draining;         /* the peer takes no new calls on this connection */
    struct grpc_stream *live;
    struct due_heap deadlines; /* of calls for which nobody waits */
    int64_t heard_ns;          /* when the peer last sent anything; monotonic */
    int64_t owes_since_ns;     /* when DEADLINES ceased to be empty */
    int64_t asked_ns;          /* when the peer was last asked whether it is there */
    bool is_pinged;            /* and has not answered yet */
};

struct received {
    struct received *next;
    size_t len;
    char data[];
};

struct grpc_stream {
    struct grpc_channel *channel;
    struct arena *arena; /* the request's headers */
    const char *method, *timeout;
    struct grpc_metadata metadata[METADATA_MAX];
    size_t metadata_n;
    int64_t deadline_ns;       /* 0: none; monotonic */
    struct grpc_events events; /* end NULL: a caller waits */

    /* guarded by channel->lock */
    int refs; /* the caller's, the I/O thread's until the call is over, the dirty list's */
    pthread_cond_t changed;
    struct grpc_outbox pending;
    size_t unsent_bytes;
    bool end_of_send, canceled, expired, done, is_dirty;
    struct grpc_stream *next_dirty;
    struct received *received, *received_tail;
    size_t received_bytes;
    enum grpc_status status;
    char *message;

    /* the I/O thread's */
    int32_t id; /* 0: not submitted yet */
    struct grpc_outbox sending;
    bool sending_end;
    struct grpc_deframer deframer;
    size_t unconsumed; /* bytes whose window the peer has not got back */
    int http_status;
    bool has_status;
    enum grpc_status peer_status;
    char *peer_message;
    struct grpc_stream *prev, *next; /* channel->live */
    struct due_node deadline;        /* channel->deadlines */
    bool was_submitted, was_refused, was_lost;
    uint64_t begins_at; /* no byte of it is among so many first ones of the connection */
};

const char *grpc_status_name(enum grpc_status status)
{
    static const char *const names[] = {
        "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated"
    };
    return names[status < ARRAY_LEN(names) ? status : GRPC_UNKNOWN];
}

static enum error_code error_code_of(enum grpc_status status)
{
    switch (status) {
    case GRPC_CANCELLED:
        return ERR_CANCELED;
    case GRPC_INVALID_ARGUMENT:
    case GRPC_OUT_OF_RANGE:
        return ERR_BAD_REQUEST;
    case GRPC_DEADLINE_EXCEEDED:
        return ERR_TIMEOUT;
    case GRPC_NOT_FOUND:
        return ERR_NOT_FOUND;
    case GRPC_ALREADY_EXISTS:
        return ERR_ALREADY_EXISTS;
    case GRPC_PERMISSION_DENIED:
        return ERR_FORBIDDEN;
    case GRPC_UNAUTHENTICATED:
        return ERR_UNAUTHORIZED;
    case GRPC_RESOURCE_EXHAUSTED:
        return ERR_TOO_MANY_REQUESTS;
    case GRPC_FAILED_PRECONDITION:
    case GRPC_ABORTED:
        return ERR_CONFLICT;
    case GRPC_UNIMPLEMENTED:
        return ERR_METHOD_NOT_ALLOWED;
    case GRPC_UNAVAILABLE:
        return ERR_UNAVAILABLE;
    default:
        return ERR_INTERNAL;
    }
}

/* ---- both threads ---- */

/* Under the lock: lets the I/O thread look at S. */
static void mark_dirty(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    if (s->is_dirty || s->done)
        return;
    s->is_dirty = true;
    s->refs++; /* the list's */
    s->next_dirty = NULL;
    if (c->dirty_tail)
        c->dirty_tail->next_dirty = s;
    else
        c->dirty = s;
    c->dirty_tail = s;
    if (c->dirty == s)
        eventfd_write(c->wake_fd, 1);
}

static void stream_free(struct grpc_stream *s)
{
    while (s->received) {
        struct received *next = s->received->next;
        free(s->received);
        s->received = next;
    }
    grpc_outbox_deinit(&s->pending);
    grpc_outbox_deinit(&s->sending);
    grpc_deframer_deinit(&s->deframer);
    pthread_cond_destroy(&s->changed);
    free(s->message);
    free(s->peer_message);
    arena_free(s->arena);
    free(s);
}

static void stream_unref(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    pthread_mutex_lock(&c->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (last)
        stream_free(s);
}

/* ---- the I/O thread ---- */

static void tell_end(struct grpc_stream *s)
{
    struct error err = { 0 };
    if (s->status != GRPC_OK)
        error_set(&err, error_code_of(s->status), "%s", s->message);
    bool not_sent = !s->was_submitted || s->was_refused ||
                    (s->was_lost && s->channel->link.written <= s->begins_at);
    s->events.end(s->status, not_sent, &err, s->events.arg);
}

/* The call is over: tells the caller and lets go. */
static void stream_finish(struct grpc_stream *s, enum grpc_status status, const char *message)
{
    struct grpc_channel *c = s->channel;
    if (s->id > 0) {
        if (c->link.session)
            nghttp2_session_set_stream_user_data(c->link.session, s->id, NULL);
        if (s->prev)
            s->prev->next = s->next;
        else
            c->live = s->next;
        if (s->next)
            s->next->prev = s->prev;
    }
    due_heap_remove(&c->deadlines, &s->deadline);
    pthread_mutex_lock(&c->lock);
    s->done = true;
    s->status = s->expired ? GRPC_DEADLINE_EXCEEDED : status;
    s->message = xstrdup(message);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&c->lock);
    if (s->events.end)
        tell_end(s);
    stream_unref(s);
}

static void link_close(struct grpc_channel *c, const char *why)
{
    while (c->live) {
        c->live->was_lost = true;
        stream_finish(c->live, GRPC_UNAVAILABLE, why);
    }
    grpc_link_deinit(&c->link);
    c->draining = false;
}

static void on_message(struct bytes message, void *arg)
{
    struct grpc_stream *s = arg;
    if (s->events.end) {
        s->events.message(message, s->events.arg);
        return;
    }
    struct received *r = xmalloc(sizeof(*r) + message.len);
    *r = (struct received){ .len = message.len };
    if (message.len > 0)
        memcpy(r->data, message.data, message.len);
    pthread_mutex_lock(&s->channel->lock);
    if (s->received_tail)
        s->received_tail->next = r;
    else
        s->received = r;
    s->received_tail = r;
    s->received_bytes += r->len;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->channel->lock);
}

/* Gives the peer its window back unless the caller lags too far behind. */
static void consume(struct grpc_stream *s)
{
    pthread_mutex_lock(&s->channel->lock);
    bool lags = s->received_bytes > RECEIVED_BYTES_MAX;
    pthread_mutex_unlock(&s->channel->lock);
    if (lags || s->unconsumed == 0)
        return;
    nghttp2_session_consume_stream(s->channel->link.session, s->id, s->unconsumed);
    s->unconsumed = 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user_data)
{
    (void)flags, (void)user_data;
    nghttp2_session_consume_connection(session, len);
    struct grpc_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s) {
        nghttp2_session_consume_stream(session, id, len);
        return 0;
    }
    struct error err = { 0 };
    s->unconsumed += len;
    if (grpc_deframe(&s->deframer, (struct bytes){ (const char *)data, len }, on_message, s, &err) <
        0) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        stream_finish(s, err.code == ERR_TOO_LARGE ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
                      err.message);
        return 0;
    }
    consume(s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)flags, (void)user_data;
    struct grpc_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    struct bytes n = { (const char *)name, name_len }, v = { (const char *)value, value_len };
    if (bytes_equal(n, BYTES(":status"))) {
        s->http_status = atoi(v.data); /* nghttp2 ends values with NUL and has checked the digits */
    } else if (bytes_equal(n, BYTES("grpc-status"))) {
        int status = atoi(v.data);
        s->has_status = true;
        s->peer_status =
            status >= GRPC_OK && status <= GRPC_UNAUTHENTICATED ? status : GRPC_UNKNOWN;
    } else if (bytes_equal(n, BYTES("grpc-message")) && !s->peer_message) {
        v.len = v.len > GRPC_MESSAGE_TEXT_MAX ? GRPC_MESSAGE_TEXT_MAX : v.len;
        s->peer_message = grpc_message_decode(v);
    }
    return 0;
}

static enum grpc_status status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

/* The peer has said its last word, in trailers or by closing the stream. */
static void finish_by_peer(struct grpc_stream *s, uint32_t http2_error)
{
    if (s->has_status) {
        stream_finish(s, s->peer_status, s->peer_message ? s->peer_message : "");
    } else if (http2_error == NGHTTP2_REFUSED_STREAM) {
        s->was_refused = true;
        stream_finish(s, GRPC_UNAVAILABLE, "the peer refused the call");
    } else if (http2_error != NGHTTP2_NO_ERROR) {
        stream_finish(s, http2_error == NGHTTP2_CANCEL ? GRPC_CANCELLED : GRPC_INTERNAL,
                      nghttp2_http2_strerror(http2_error));
    } else {
        char text[64];
        snprintf(text, sizeof(text), "answer without grpc-status, http status %d", s->http_status);
        stream_finish(s, status_of_http(s->http_status), text);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct grpc_channel *c = user_data;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->draining = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    /* We may still be sending: nobody listens any more. */
    if (!s->sending_end || s->sending.head)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    finish_by_peer(s, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code,
                           void *user_data)
{
    (void)user_data;
    struct grpc_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s)
        finish_by_peer(s, error_code);
    return 0;
}

static ssize_t read_outbox(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    (void)source, (void)user_data;
    struct grpc_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t got = grpc_outbox_read(&s->sending, (char *)buf, n);
    if (got > 0) {
        pthread_mutex_lock(&s->channel->lock);
        s->unsent_bytes -= got;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->channel->lock);
    }
    if (!s->sending.head && s->sending_end)
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (got == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)got;
}

static nghttp2_session *session_new(struct grpc_channel *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    ensure(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session *session;
    ensure(nghttp2_session_client_new2(&session, callbacks, c, option) == 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);

    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
    };
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, LINK_WINDOW_BYTES);
    return session;
}

static int link_open(struct grpc_channel *c, struct error *err)
{
    if (c->link.session && c->draining)
        link_close(c, "the peer is going away");
    if (c->link.session)
        return 0;
    int fd = socket_dial(c->target, c->connect_timeout_ms, c->stop_fd, err);
    if (fd < 0)
        return -1;
    c->link.transport = transport_client_take(fd, c->tls, c->host, TRANSPORT_H2, err);
    if (!c->link.transport)
        return -1;
    c->link.session = session_new(c);
    c->heard_ns = clock_monotonic_ns(&system_clock);
    c->asked_ns = c->heard_ns - c->ping_after_ns;
    c->is_pinged = false;
    return 0;
}

static void submit(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    struct error err = { 0 };
    if (link_open(c, &err) < 0) {
        stream_finish(s, GRPC_UNAVAILABLE, err.message);
        return;
    }
    nghttp2_nv headers[METADATA_MAX + 8];
    size_t n = 0;
    headers[n++] = grpc_header(":method", "POST");
    headers[n++] = grpc_header(":scheme", c->tls ? "https" : "http");
    headers[n++] = grpc_header(":path", s->method);
    headers[n++] = grpc_header(":authority", c->host);
    headers[n++] = grpc_header("content-type", "application/grpc");
    headers[n++] = grpc_header("te", "trailers");
    headers[n++] = grpc_header("user-agent", "coracle/" CORACLE_VERSION);
    if (s->timeout)
        headers[n++] = grpc_header("grpc-timeout", s->timeout);
    for (size_t i = 0; i < s->metadata_n; i++)
        headers[n++] = grpc_header(s->metadata[i].name, s->metadata[i].value);

    nghttp2_data_provider body = { .read_callback = read_outbox };
    int32_t id = nghttp2_submit_request(c->link.session, NULL, headers, n, &body, s);
    if (id < 0) { /* the stream numbers of this connection are used up */
        c->draining = true;
        stream_finish(s, GRPC_UNAVAILABLE, nghttp2_strerror(id));
        return;
    }
    s->was_submitted = true;
    s->begins_at = c->link.gathered;
    s->id = id;
    s->next = c->live;
    if (c->live)
        c->live->prev = s;
    c->live = s;
}

/* Carries out what the caller has asked for since the last look. */
static void attend(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    pthread_mutex_lock(&c->lock);
    grpc_outbox_move(&s->sending, &s->pending);
    s->sending_end = s->end_of_send;
    bool canceled = s->canceled, done = s->done;
    pthread_mutex_unlock(&c->lock);
    if (done)
        return;
    if (canceled) {
        if (s->id > 0)
            nghttp2_submit_rst_stream(c->link.session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        stream_finish(s, GRPC_CANCELLED, "the call was canceled");
        return;
    }
    if (s->id == 0) {
        if (s->events.end && s->deadline_ns && !due_heap_first(&c->deadlines))
            c->owes_since_ns = clock_monotonic_ns(&system_clock);
        if (s->events.end && s->deadline_ns)
            due_heap_add(&c->deadlines, &s->deadline, s->deadline_ns);
        submit(s);
        return;
    }
    nghttp2_session_resume_data(c->link.session, s->id);
    consume(s);
}

/* Takes the dirty list one by one, since finishing one may drop others.  False: time to stop. */
static bool attend_all(struct grpc_channel *c)
{
    for (;;) {
        pthread_mutex_lock(&c->lock);
        bool stopping = c->stopping;
        struct grpc_stream *s = c->dirty;
        if (s) {
            c->dirty = s->next_dirty;
            if (!c->dirty)
                c->dirty_tail = NULL;
            s->is_dirty = false;
        }
        pthread_mutex_unlock(&c->lock);
        if (!s)
            return !stopping;
        attend(s);
        stream_unref(s);
    }
}

/* Drops the calls whose time is up and for which nobody waits. */
static void expire_due(struct grpc_channel *c, int64_t now_ns)
{
    struct due_node *first;
    while ((first = due_heap_first(&c->deadlines)) && first->due_ns <= now_ns) {
        struct grpc_stream *s =
            (struct grpc_stream *)((char *)first - offsetof(struct grpc_stream, deadline));
        if (s->id > 0)
            nghttp2_submit_rst_stream(c->link.session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        stream_finish(s, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
    }
}

/* When a peer that says nothing is asked whether it is there.  If it owes an answer that is soon,
 * but not again right after it was asked: it would take that for an attack. */
static int64_t ask_at_ns(const struct grpc_channel *c)
{
    int64_t usual_ns = c->heard_ns + c->ping_after_ns;
    if (!due_heap_first(&c->deadlines))
        return usual_ns;
    int64_t since_ns = c->heard_ns > c->owes_since_ns ? c->heard_ns : c->owes_since_ns;
    int64_t soon_ns = since_ns + OWES_NS, again_ns = c->asked_ns + c->ping_after_ns;
    if (soon_ns < again_ns)
        soon_ns = again_ns;
    return soon_ns < usual_ns ? soon_ns : usual_ns;
}

/* A peer that is stopped or cut off keeps its connections: only a question tells. */
static void check_peer(struct grpc_channel *c, int64_t now_ns)
{
    if (!c->link.session || !c->live || c->ping_after_ns == 0)
        return;
    if (c->is_pinged && now_ns >= c->asked_ns + c->ping_timeout_ns) {
        link_close(c, "the peer does not answer");
    } else if (!c->is_pinged && now_ns >= ask_at_ns(c)) {
        c->asked_ns = now_ns;
        c->is_pinged = true;
        nghttp2_submit_ping(c->link.session, NGHTTP2_FLAG_NONE, NULL);
    }
}

/* For poll(): until the first thing that is due. */
static int wait_ms(const struct grpc_channel *c)
{
    const struct due_node *first = due_heap_first(&c->deadlines);
    int64_t due_ns = first ? first->due_ns : INT64_MAX;
    if (c->link.session && c->live && c->ping_after_ns > 0) {
        int64_t ping_ns = c->is_pinged ? c->asked_ns + c->ping_timeout_ns : ask_at_ns(c);
        due_ns = ping_ns < due_ns ? ping_ns : due_ns;
    }
    if (due_ns == INT64_MAX)
        return -1;
    int64_t ms = (due_ns - clock_monotonic_ns(&system_clock)) / NS_PER_MS + 1;
    return ms < 0 ? 0 : ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static void heard(struct grpc_channel *c)
{
    c->heard_ns = clock_monotonic_ns(&system_clock);
    c->is_pinged = false;
}

static void link_read(struct grpc_channel *c)
{
    struct error err = { 0 };
    heard(c);
    if (grpc_link_read(&c->link, &err) < 0)
        link_close(c, err.message);
}

static void link_write(struct grpc_channel *c)
{
    struct error err = { 0 };
    if (grpc_link_write(&c->link, &err) < 0)
        link_close(c, err.message);
}

/* What the peer has to say comes first: a call made after it went away goes to a new connection. */
static void wait_for_news(struct grpc_channel *c)
{
    struct pollfd fds[] = { { .fd = c->wake_fd, .events = POLLIN }, { .fd = -1 } };
    if (c->link.session) {
        fds[1].fd = transport_fd(c->link.transport);
        fds[1].events = transport_events(c->link.transport, grpc_link_wants_write(&c->link));
    }
    int ready = poll(fds, 2, wait_ms(c));
    ensure(ready >= 0 || errno == EINTR);
    eventfd_t ignored;
    if (ready > 0 && fds[0].revents)
        eventfd_read(c->wake_fd, &ignored);
    if (ready > 0 && fds[1].revents & (POLLIN | POLLHUP | POLLERR))
        link_read(c);
}

static void *io_thread(void *arg)
{
    struct grpc_channel *c = arg;
    while (attend_all(c)) {
        int64_t now_ns = clock_monotonic_ns(&system_clock);
        expire_due(c, now_ns);
        check_peer(c, now_ns);
        if (c->link.session)
            link_write(c);
        wait_for_news(c);
    }
    link_close(c, "the channel was closed");
    attend_all(c); /* what was begun in the meantime ends too: nothing can be dialled any more */
    link_close(c, "the channel was closed");
    return NULL;
}

/* ---- callers ---- */

struct grpc_channel *grpc_channel_new(const char *target, struct tls *tls, struct error *err)
{
    return grpc_channel_open(&(struct grpc_channel_config){ .target = target, .tls = tls }, err);
}

struct grpc_channel *grpc_channel_open(const struct grpc_channel_config *config, struct error *err)
{
    const char *target = config->target;
    if (!str_has_prefix(target, "unix:") && !strrchr(target, ':')) {
        error_set(err, ERR_BAD_REQUEST, "grpc target %s is neither unix:/path nor host:port",
                  target);
        return NULL;
    }
    struct grpc_channel *c = xcalloc(1, sizeof(*c));
    c->target = xstrdup(target);
    c->host = socket_address_host(target);
    c->tls = tls_ref(config->tls);
    c->connect_timeout_ms =
        config->connect_timeout_ms ? config->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    c->message_bytes_max =
        config->message_bytes_max ? config->message_bytes_max : GRPC_MESSAGE_BYTES_MAX;
    c->ping_after_ns = config->ping_after_ms * NS_PER_MS;
    c->ping_timeout_ns = config->ping_timeout_ms * NS_PER_MS;
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&c->lock, NULL);
    ensure(c->wake_fd >= 0 && c->stop_fd >= 0 &&
           pthread_create(&c->thread, NULL, io_thread, c) == 0);
    return c;
}

void grpc_channel_free(struct grpc_channel *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    eventfd_write(c->stop_fd, 1);
    eventfd_write(c->wake_fd, 1);
    pthread_join(c->thread, NULL);
    due_heap_deinit(&c->deadlines);
    close(c->wake_fd);
    close(c->stop_fd);
    pthread_mutex_destroy(&c->lock);
    tls_unref(c->tls);
    free(c->target);
    free(c->host);
    free(c);
}

/* The protocol allows eight digits. */
static const char *timeout_text(struct arena *a, int timeout_ms)
{
    return timeout_ms < 100000000 ? arena_printf(a, "%dm", timeout_ms)
                                  : arena_printf(a, "%dS", timeout_ms / 1000);
}

static struct grpc_stream *stream_new(struct grpc_channel *c, const char *method,
                                      const struct grpc_call_options *options)
{
    struct grpc_stream *s = xcalloc(1, sizeof(*s));
    s->channel = c;
    s->arena = arena_new();
    s->method = arena_strdup(s->arena, method);
    s->deframer.message_bytes_max = c->message_bytes_max;
    s->refs = 2;
    cond_init(&s->changed);
    if (options && options->timeout_ms > 0) {
        s->timeout = timeout_text(s->arena, options->timeout_ms);
        s->deadline_ns = clock_monotonic_ns(&system_clock) + options->timeout_ms * NS_PER_MS;
    }
    for (size_t i = 0; options && i < options->metadata_n; i++)
        s->metadata[s->metadata_n++] =
            (struct grpc_metadata){ arena_strdup(s->arena, options->metadata[i].name),
                                    arena_strdup(s->arena, options->metadata[i].value) };
    return s;
}

static void stream_begin(struct grpc_stream *s)
{
    pthread_mutex_lock(&s->channel->lock);
    mark_dirty(s);
    pthread_mutex_unlock(&s->channel->lock);
}

struct grpc_stream *grpc_stream_open(struct grpc_channel *c, const char *method,
                                     const struct grpc_call_options *options, struct error *err)
{
    if (options && options->metadata_n > METADATA_MAX) {
        error_set(err, ERR_BAD_REQUEST, "%s: more than %d metadata", method, METADATA_MAX);
        return NULL;
    }
    struct grpc_stream *s = stream_new(c, method, options);
    stream_begin(s);
    return s;
}

struct grpc_stream *grpc_stream_start(struct grpc_channel *c, const char *method,
                                      const struct grpc_call_options *options,
                                      const struct grpc_events *events)
{
    ensure(!options || options->metadata_n <= METADATA_MAX);
    struct grpc_stream *s = stream_new(c, method, options);
    s->events = *events;
    stream_begin(s);
    return s;
}

void grpc_unary_start(struct grpc_channel *c, const char *method, struct bytes request,
                      const struct grpc_call_options *options, const struct grpc_events *events)
{
    struct grpc_stream *s = stream_new(c, method, options);
    s->events = *events;
    grpc_outbox_add(&s->pending, request);
    s->unsent_bytes = request.len + GRPC_FRAME_HEADER_BYTES;
    s->end_of_send = true;
    stream_begin(s);
    stream_unref(s);
}

/* Under the lock: sleeps until something changes.  False once the deadline has passed. */
static bool wait_for_change(struct grpc_stream *s)
{
    return cond_wait_until(&s->changed, &s->channel->lock,
                           s->deadline_ns ? s->deadline_ns : INT64_MAX);
}

/* Under the lock: the deadline has passed, so the I/O thread shall drop the call. */
static int expire(struct grpc_stream *s, struct error *err)
{
    s->canceled = s->expired = true;
    s->status = GRPC_DEADLINE_EXCEEDED;
    mark_dirty(s);
    return error_set(err, ERR_TIMEOUT, "%s: context deadline exceeded", s->method);
}

/* Under the lock: the outcome as a value. */
static int outcome(const struct grpc_stream *s, struct error *err)
{
    if (!s->done) /* canceled; the I/O thread has not got to it yet */
        return error_set(err, ERR_CANCELED, "%s: the call was canceled", s->method);
    if (s->status == GRPC_OK)
        return 0;
    return error_set(err, error_code_of(s->status), "%s", s->message);
}

int grpc_stream_send(struct grpc_stream *s, struct bytes message, struct error *err)
{
    if (message.len > GRPC_MESSAGE_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "%s: message of %zu bytes, limit is %d", s->method,
                         message.len, GRPC_MESSAGE_BYTES_MAX);
    size_t framed = message.len + GRPC_FRAME_HEADER_BYTES;
    int rc = 0;
    pthread_mutex_lock(&s->channel->lock);
    while (rc == 0 && !s->done && !s->canceled && s->unsent_bytes + framed > UNSENT_BYTES_MAX) {
        if (s->events.end)
            rc = error_set(err, ERR_TOO_MANY_REQUESTS, "%s: the peer takes nothing", s->method);
        else if (!wait_for_change(s))
            rc = expire(s, err);
    }
    if (rc == 0 && (s->done || s->canceled)) {
        rc = outcome(s, err);
        if (rc == 0)
            rc = error_set(err, ERR_UNAVAILABLE, "%s: the peer has ended the call", s->method);
    } else if (rc == 0) {
        grpc_outbox_add(&s->pending, message);
        s->unsent_bytes += framed;
        mark_dirty(s);
    }
    pthread_mutex_unlock(&s->channel->lock);
    return rc;
}

void grpc_stream_end_send(struct grpc_stream *s)
{
    pthread_mutex_lock(&s->channel->lock);
    s->end_of_send = true;
    mark_dirty(s);
    pthread_mutex_unlock(&s->channel->lock);
}

int grpc_stream_receive(struct grpc_stream *s, struct arena *arena, struct bytes *out,
                        struct error *err)
{
    int rc = 0;
    pthread_mutex_lock(&s->channel->lock);
    while (rc == 0 && !s->received && !s->done && !s->canceled) {
        if (!wait_for_change(s))
            rc = expire(s, err);
    }
    struct received *r = rc == 0 ? s->received : NULL;
    if (r) {
        s->received = r->next;
        if (!s->received)
            s->received_tail = NULL;
        bool lagged = s->received_bytes > RECEIVED_BYTES_MAX;
        s->received_bytes -= r->len;
        if (lagged && s->received_bytes <= RECEIVED_BYTES_MAX)
            mark_dirty(s);
        rc = 1;
    } else if (rc == 0) {
        rc = outcome(s, err);
    }
    pthread_mutex_unlock(&s->channel->lock);
    if (r)
        *out = arena_bytes(arena, (struct bytes){ r->data, r->len });
    free(r);
    return rc;
}

void grpc_stream_cancel(struct grpc_stream *s)
{
    pthread_mutex_lock(&s->channel->lock);
    s->canceled = true;
    mark_dirty(s);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->channel->lock);
}

enum grpc_status grpc_stream_status(struct grpc_stream *s)
{
    pthread_mutex_lock(&s->channel->lock);
    enum grpc_status status = s->status;
    pthread_mutex_unlock(&s->channel->lock);
    return status;
}

void grpc_stream_close(struct grpc_stream *s)
{
    if (!s)
        return;
    grpc_stream_cancel(s);
    stream_unref(s);
}

static int unary_exchange(struct grpc_stream *s, struct bytes request, struct arena *arena,
                          struct bytes *response, struct error *err)
{
    if (grpc_stream_send(s, request, err) < 0)
        return -1;
    grpc_stream_end_send(s);
    int n = grpc_stream_receive(s, arena, response, err);
    if (n < 0)
        return -1;
    if (n == 0)
        return error_set(err, ERR_INTERNAL, "%s: answer without a message", s->method);
    struct bytes extra;
    n = grpc_stream_receive(s, arena, &extra, err); /* the status */
    return n <= 0 ? n : error_set(err, ERR_INTERNAL, "%s: more than one answer", s->method);
}

int grpc_unary(struct grpc_channel *c, const char *method, struct bytes request,
               const struct grpc_call_options *options, struct arena *arena, struct bytes *response,
               enum grpc_status *status, struct error *err)
{
    struct grpc_stream *s = grpc_stream_open(c, method, options, err);
    if (!s)
        return -1;
    int rc = unary_exchange(s, request, arena, response, err);
    if (status)
        *status = rc == 0 ? GRPC_OK : grpc_stream_status(s);
    grpc_stream_close(s);
    return rc;
}
