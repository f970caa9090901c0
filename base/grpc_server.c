/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_server.c - the server side: one loop thread over epoll owns every connection.
 *
 *     any thread --grpc_call.c--> server->dirty --> loop thread --> nghttp2 --> socket
 *
 * A call has two holders, its user until grpc_call_finish() and its stream until that is closed; it
 * is freed on the loop thread when both are through.
 */
#include "base/grpc_server_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/socket.h"

#define CONNECTIONS_MAX         16384
#define STREAMS_PER_CONNECTION  4096
#define STREAM_WINDOW_BYTES     (1024 * 1024)
#define CONNECTION_WINDOW_BYTES (16 * 1024 * 1024)
#define METADATA_BYTES_MAX      (32 * 1024)
#define METADATA_MAX            64
#define EVENTS_PER_TURN         256
#define ACCEPTS_PER_TURN        64
#define ACCEPT_RETRY_MS         1000 /* descriptors may be short for others' sake */
#define HTTP1_BYTES_MAX         8192
#define FRAME_HEADER_BYTES      9    /* of HTTP/2 */
#define CALL_BYTES              3584 /* a call with a small request and its answer */

/* What epoll says about the two descriptors that are no connection. */
static char listener_tag, wake_tag;

/* ---- calls ---- */

static void call_free(struct grpc_server_call *call)
{
    if (call->is_open && call->handler->release)
        call->handler->release(call->state);
    grpc_outbox_deinit(&call->pending);
    grpc_outbox_deinit(&call->sending);
    grpc_deframer_deinit(&call->deframer);
    pthread_mutex_destroy(&call->lock);
    struct grpc_server *s = call->server;
    struct arena *arena = call->arena; /* CALL lies in it */
    s->calls_n--;
    if (s->spare_n == SPARE_ARENAS) {
        arena_free(arena);
        return;
    }
    arena_reset(arena);
    s->spare[s->spare_n++] = arena;
}

/* Lets the loop write to the connection at the end of its turn. */
static void touch(struct connection *c)
{
    if (c->is_touched)
        return;
    c->is_touched = true;
    c->next_touched = c->server->touched;
    c->server->touched = c;
}

static struct grpc_server_call *call_new(struct connection *c, int32_t id)
{
    struct grpc_server *s = c->server;
    struct arena *arena = s->spare_n ? s->spare[--s->spare_n] : arena_new_sized(CALL_BYTES);
    struct grpc_server_call *call = arena_zalloc(arena, sizeof(*call));
    call->server = s;
    call->arena = arena;
    pthread_mutex_init(&call->lock, NULL);
    call->connection = c;
    call->id = id;
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    s->calls_n++;
    return call;
}

/* Who waits for room, if anybody does, need not wait on. */
static void wake_waiter(struct grpc_server_call *call, bool is_gone)
{
    pthread_mutex_lock(&call->server->lock);
    call->is_gone |= is_gone;
    atomic_store(&call->room_below, 0);
    if (call->room)
        pthread_cond_signal(call->room);
    pthread_mutex_unlock(&call->server->lock);
}

/* The stream is over, in whatever way. */
static void call_detach(struct grpc_server_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else
        call->connection->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->connection = NULL;
    wake_waiter(call, true);
    pthread_mutex_lock(&call->lock);
    bool finished = call->is_finished, is_dirty = call->is_dirty;
    pthread_mutex_unlock(&call->lock);
    if (!call->is_open) {
        call_free(call); /* it never reached a handler */
        return;
    }
    if (!finished && call->handler->close)
        call->handler->close(call, call->state);
    else if (finished && !is_dirty)
        call_free(call);
}

static ssize_t read_outbox(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data);

static void send_head(struct grpc_server_call *call)
{
    if (call->has_head)
        return;
    call->has_head = true;
    nghttp2_nv headers[] = { grpc_header(":status", "200"),
                             grpc_header("content-type", "application/grpc") };
    nghttp2_data_provider body = { .read_callback = read_outbox };
    nghttp2_submit_response(call->connection->link.session, call->id, headers, ARRAY_LEN(headers),
                            &body);
}

/* The trailers' two fields; TEXT has room for the number. */
static size_t trailer_fields(struct grpc_server_call *call, char text[8], nghttp2_nv out[2])
{
    snprintf(text, 8, "%d", call->status);
    size_t n = 0;
    out[n++] = grpc_header("grpc-status", text);
    if (!str_empty(call->message))
        out[n++] = grpc_header("grpc-message", grpc_message_encode(call->message, call->arena));
    return n;
}

/* An end without any message before it is one header block. */
static void send_end_alone(struct grpc_server_call *call)
{
    call->has_head = true;
    char text[8];
    nghttp2_nv headers[4] = { grpc_header(":status", "200"),
                              grpc_header("content-type", "application/grpc") };
    size_t n = 2 + trailer_fields(call, text, headers + 2);
    nghttp2_submit_response(call->connection->link.session, call->id, headers, n, NULL);
}

/* Says how much there is to send; send_data() takes it. */
static ssize_t read_outbox(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    (void)buf, (void)source, (void)user_data;
    struct grpc_server_call *call = nghttp2_session_get_stream_user_data(session, id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t there = grpc_outbox_peek(&call->sending, n + 1);
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (there <= n && call->is_ending) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        char text[8];
        nghttp2_nv trailers[2];
        size_t trailers_n = trailer_fields(call, text, trailers);
        nghttp2_submit_trailer(session, id, trailers, trailers_n);
    } else if (there == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)(there < n ? there : n);
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *user_data)
{
    (void)source;
    struct connection *c = user_data;
    struct grpc_server_call *call =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct buffer *out = &c->link.out;
    if (grpc_link_is_full(&c->link))
        return NGHTTP2_ERR_WOULDBLOCK;
    buffer_add(out, framehd, FRAME_HEADER_BYTES);
    buffer_reserve(out, length);
    size_t got = grpc_outbox_read(&call->sending, out->data + out->len, length);
    ensure(got == length);
    out->len += got;
    size_t queued = atomic_fetch_sub(&call->queued_bytes, got) - got;
    if (queued < atomic_load(&call->room_below))
        wake_waiter(call, false);
    return 0;
}

/* Carries out what has been asked for CALL since the last look. */
static void attend(struct grpc_server_call *call)
{
    if (!call->connection) {
        if (call->is_ending)
            call_free(call);
        return;
    }
    touch(call->connection);
    if (call->is_ending && !call->has_head && !call->sending.head) {
        send_end_alone(call);
        return;
    }
    if (!call->has_head)
        send_head(call);
    else
        nghttp2_session_resume_data(call->connection->link.session, call->id);
}

/* Takes over what other threads have left in CALL; returns the next in the list. */
static struct grpc_server_call *take_over(struct grpc_server_call *call)
{
    pthread_mutex_lock(&call->lock);
    struct grpc_server_call *next = call->next_dirty;
    call->is_dirty = false;
    grpc_outbox_move(&call->sending, &call->pending);
    call->is_ending = grpc_call_is_finished(call);
    pthread_mutex_unlock(&call->lock);
    return next;
}

static void attend_all(struct grpc_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct grpc_server_call *call = s->dirty;
    s->dirty = NULL;
    s->dirty_last = &s->dirty;
    s->dirty_n = 0;
    s->is_woken = false;
    pthread_mutex_unlock(&s->lock);
    while (call) {
        struct grpc_server_call *next = take_over(call);
        attend(call);
        call = next;
    }
}

/* ---- what nghttp2 tells ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct connection *c = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_server_call *call = call_new(c, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

static void add_metadata(struct grpc_server_call *call, const char *name, const char *value)
{
    call->metadata = arena_grow(call->arena, call->metadata, call->metadata_n,
                                &call->metadata_capacity, sizeof(call->metadata[0]));
    call->metadata[call->metadata_n++] = (struct grpc_metadata){ name, value };
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)flags, (void)user_data;
    struct grpc_server_call *call =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call || call->is_open)
        return 0; /* trailers of a request mean nothing here */
    call->metadata_bytes += name_len + value_len;
    if (call->metadata_bytes > METADATA_BYTES_MAX || call->metadata_n == METADATA_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    const char *n = arena_strndup(call->arena, (const char *)name, name_len);
    const char *v = arena_strndup(call->arena, (const char *)value, value_len);
    if (str_equal(n, ":path"))
        call->method = v;
    else if (str_equal(n, "content-type"))
        call->content_type = v;
    else if (n[0] != ':')
        add_metadata(call, n, v);
    return 0;
}

static void identify(struct connection *c)
{
    if (!c->knows_peer)
        transport_peer(c->link.transport, c->arena, &c->peer);
    c->knows_peer = true;
}

static void refuse_http(struct grpc_server_call *call, const char *status)
{
    nghttp2_nv header = grpc_header(":status", status);
    nghttp2_submit_response(call->connection->link.session, call->id, &header, 1, NULL);
}

/* In the words of Go's servers. */
static const char *what_is_unknown(struct grpc_server *s, struct grpc_server_call *call)
{
    const char *path = call->method ? call->method : "";
    const char *service = path + (path[0] == '/'), *method = strrchr(service, '/');
    if (!method)
        return arena_printf(call->arena, "malformed method name: \"%s\"", path);
    struct bytes prefix = { path, (size_t)(method + 1 - path) };
    hashmap_each (&s->handlers, e)
        if (bytes_has_prefix(e->key, prefix))
            return arena_printf(call->arena, "unknown method %s for service %.*s", method + 1,
                                (int)(method - service), service);
    return arena_printf(call->arena, "unknown service %.*s", (int)(method - service), service);
}

/* All headers of a request are there: finds its handler. */
static void call_open(struct grpc_server_call *call)
{
    struct connection *c = call->connection;
    struct grpc_server *s = c->server;
    if (!call->content_type || !str_has_prefix(call->content_type, "application/grpc")) {
        refuse_http(call, "415");
        return;
    }
    call->handler = hashmap_get(&s->handlers, bytes_of(call->method));
    if (!call->handler) {
        call->status = GRPC_UNIMPLEMENTED;
        call->message = what_is_unknown(s, call);
        send_end_alone(call);
        return;
    }
    identify(c);
    tls_peer_copy(call->arena, &c->peer, &call->peer); /* a call may outlive its connection */
    call->is_open = true;
    call->state = call->handler->open(call, s->arg);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_server_call *call =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        call_open(call);
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || call->has_half_closed)
        return 0;
    call->has_half_closed = true;
    if (call->is_open && call->handler->half_close && !grpc_call_is_finished(call))
        call->handler->half_close(call, call->state);
    return 0;
}

static void on_message(struct bytes message, void *arg)
{
    struct grpc_server_call *call = arg;
    if (call->handler->message && !grpc_call_is_finished(call))
        call->handler->message(call, message, call->state);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user_data)
{
    (void)flags, (void)user_data;
    struct grpc_server_call *call = nghttp2_session_get_stream_user_data(session, id);
    struct error err = { 0 };
    if (!call || !call->is_open ||
        grpc_deframe(&call->deframer, (struct bytes){ (const char *)data, len }, on_message, call,
                     &err) == 0)
        return 0;
    log_debug("grpc", "%s: %s", call->method, err.message);
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
                              err.code == ERR_TOO_LARGE ? NGHTTP2_ENHANCE_YOUR_CALM
                                                        : NGHTTP2_PROTOCOL_ERROR);
    return 0;
}

/* A client that is still sending when we have answered shall stop. */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct grpc_server_call *call =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call && !call->has_half_closed)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code,
                           void *user_data)
{
    (void)error_code, (void)user_data;
    struct grpc_server_call *call = nghttp2_session_get_stream_user_data(session, id);
    if (call)
        call_detach(call);
    return 0;
}

static nghttp2_session *session_new(struct connection *c)
{
    nghttp2_session_callbacks *callbacks;
    ensure(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    /* Go's clients of a unix socket send its path as :authority, which nghttp2 would refuse. */
    nghttp2_option *option;
    ensure(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_session *session;
    ensure(nghttp2_session_server_new2(&session, callbacks, c, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, METADATA_BYTES_MAX },
    };
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES);
    return session;
}

/* ---- connections ---- */

static void connection_watch(struct connection *c)
{
    short events = transport_events(c->link.transport, grpc_link_wants_write(&c->link));
    uint32_t wanted = EPOLLIN | (events & POLLOUT ? EPOLLOUT : 0);
    if (wanted == c->events)
        return;
    struct epoll_event e = { .events = wanted, .data.ptr = c };
    int op = c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    c->events = wanted;
    if (epoll_ctl(c->server->epoll_fd, op, transport_fd(c->link.transport), &e) < 0)
        c->is_doomed = true;
}

static void connection_new(struct grpc_server *s, int fd)
{
    struct connection *c = xcalloc(1, sizeof(*c));
    socket_tune(fd);
    c->server = s;
    c->arena = arena_new_sized(256);
    c->link.transport = transport_server_take(fd, s->tls);
    c->link.session = session_new(c);
    if (s->http_get)
        c->link.speech = GRPC_LINK_UNKNOWN;
    c->next = s->connections;
    if (s->connections)
        s->connections->prev = c;
    s->connections = c;
    s->connections_n++;
    touch(c);
}

static void connection_free(struct connection *c)
{
    struct grpc_server *s = c->server;
    while (c->calls) {
        nghttp2_session_set_stream_user_data(c->link.session, c->calls->id, NULL);
        call_detach(c->calls);
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->connections_n--;
    grpc_link_deinit(&c->link);
    arena_free(c->arena);
    free(c);
}

/* One GET, one answer, and the connection ends. */
static void answer_http1(struct connection *c)
{
    struct grpc_link *l = &c->link;
    const char *text = l->text.data;
    if (c->has_answered || !strstr(text, "\r\n\r\n")) {
        c->is_doomed |= l->text.len > HTTP1_BYTES_MAX;
        return;
    }
    c->has_answered = true;
    const char *type = NULL, *status = "405 Method Not Allowed";
    scoped(buffer) struct buffer body = { 0 };
    if (str_has_prefix(text, "GET ")) {
        const char *path = text + strlen("GET ");
        scoped(str) char *name = xasprintf("%.*s", (int)strcspn(path, "? \r\n"), path);
        identify(c);
        type = c->server->http_get(name, &c->peer, &body, c->server->arg);
        status = type ? "200 OK" : "404 Not Found";
    }
    buffer_printf(&l->out,
                  "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n",
                  status, type ? type : "text/plain", type ? body.len : 0);
    if (type)
        buffer_add_bytes(&l->out, buffer_bytes(&body));
}

static void connection_read(struct connection *c)
{
    struct error err = { 0 };
    if (grpc_link_read(&c->link, &err) < 0)
        c->is_doomed = true;
    if (c->link.speech == GRPC_LINK_HTTP1)
        answer_http1(c);
    touch(c);
}

/* The end of a turn: each connection that has something to say says it in one go. */
static void flush_touched(struct grpc_server *s)
{
    while (s->touched) {
        struct connection *c = s->touched;
        s->touched = c->next_touched;
        c->is_touched = false;
        struct error err = { 0 };
        if (!c->is_doomed && grpc_link_write(&c->link, &err) < 0)
            c->is_doomed = true;
        c->is_doomed |= c->has_answered && !grpc_link_wants_write(&c->link);
        if (!c->is_doomed)
            connection_watch(c);
        if (c->is_doomed && !c->is_touched)
            connection_free(c);
    }
}

static void accept_some(struct grpc_server *s)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
            /* Out of descriptors: stop listening until a connection has gone, or for a while. */
            log_warn("grpc", "accept: %s", strerror(errno));
            epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->listen_fd, NULL);
            s->is_accepting = false;
        }
        if (fd < 0)
            return;
        if (s->connections_n >= CONNECTIONS_MAX)
            close(fd);
        else
            connection_new(s, fd);
    }
}

/* ---- the loop ---- */

static void listen_again(struct grpc_server *s)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = &listener_tag };
    s->is_accepting = epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &e) == 0;
}

static void turn(struct grpc_server *s)
{
    struct epoll_event events[EVENTS_PER_TURN];
    size_t before = s->connections_n;
    bool is_deaf = !s->is_accepting && s->listen_fd >= 0;
    int n = epoll_wait(s->epoll_fd, events, EVENTS_PER_TURN, is_deaf ? ACCEPT_RETRY_MS : -1);
    grpc_held = s; /* it looks below at what its own callbacks leave */
    for (int i = 0; i < n; i++) {
        void *tag = events[i].data.ptr;
        eventfd_t ignored;
        if (tag == &listener_tag)
            accept_some(s);
        else if (tag == &wake_tag)
            eventfd_read(s->wake_fd, &ignored);
        else if (events[i].events & ~(uint32_t)EPOLLOUT)
            connection_read(tag);
        else
            touch(tag);
    }
    if (s->turn_end)
        s->turn_end(s->arg);
    grpc_held = NULL;
    attend_all(s);
    flush_touched(s);
    if (is_deaf && (n == 0 || s->connections_n < before))
        listen_again(s);
}

static bool is_stopping(struct grpc_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopping = s->is_stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

/* Closes every connection and waits for the users of calls that are still out. */
static void drain(struct grpc_server *s)
{
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->listen_fd, NULL);
    socket_listen_end(s->listen_fd);
    s->listen_fd = -1;
    for (struct connection *c = s->connections; c; c = c->next) {
        nghttp2_session_terminate_session(c->link.session, NGHTTP2_NO_ERROR);
        touch(c);
    }
    flush_touched(s);
    for (struct connection *c = s->connections; c; c = c->next) {
        c->is_doomed = true;
        touch(c);
    }
    flush_touched(s);
    while (s->calls_n > 0)
        turn(s);
}

static void *loop_thread(void *arg)
{
    struct grpc_server *s = arg;
    while (!is_stopping(s))
        turn(s);
    drain(s);
    return NULL;
}

struct grpc_server *grpc_server_start(const struct grpc_server_config *config, struct error *err)
{
    int port = config->port;
    int fd = socket_listen(config->bind_address, &port, err);
    if (fd < 0)
        return NULL;
    ignore_sigpipe();
    struct grpc_server *s = xcalloc(1, sizeof(*s));
    s->port = port;
    s->listen_fd = fd;
    s->arg = config->arg;
    s->http_get = config->http_get;
    s->turn_end = config->turn_end;
    s->dirty_last = &s->dirty;
    s->tls = tls_ref(config->tls);
    s->handler_list = xcalloc(config->handlers_n + 1, sizeof(*s->handler_list));
    for (size_t i = 0; i < config->handlers_n; i++) {
        s->handler_list[i] = config->handlers[i];
        hashmap_put(&s->handlers, bytes_of(config->handlers[i].method), &s->handler_list[i]);
    }
    pthread_mutex_init(&s->lock, NULL);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure(s->epoll_fd >= 0 && s->wake_fd >= 0);
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = &wake_tag };
    ensure(epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->wake_fd, &e) == 0);
    listen_again(s);
    ensure(s->is_accepting && pthread_create(&s->thread, NULL, loop_thread, s) == 0);
    return s;
}

int grpc_server_port(const struct grpc_server *s)
{
    return s->port;
}

void grpc_server_stop(struct grpc_server *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    eventfd_write(s->wake_fd, 1);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    while (s->spare_n)
        arena_free(s->spare[--s->spare_n]);
    hashmap_deinit(&s->handlers);
    free(s->handler_list);
    tls_unref(s->tls);
    close(s->epoll_fd);
    close(s->wake_fd);
    free(s);
}
