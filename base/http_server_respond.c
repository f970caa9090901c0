/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server_respond.c - answers and streams: what goes back to the client, in batches.
 */
#include "base/http_server.h"

#include <pthread.h>

#include "base/http_server_internal.h"

#define RESPONSE_BATCH_BYTES                                                                       \
    (256 * 1024) /* of a body that libh2o gets, encrypts and holds at once */

/* ---- responses ---- */

const char *http_server_reason_phrase(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 203, "Non-Authoritative Information" },
        { 204, "No Content" },
        { 205, "Reset Content" },
        { 206, "Partial Content" },
        { 300, "Multiple Choices" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 303, "See Other" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 402, "Payment Required" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Request Entity Too Large" },
        { 414, "Request URI Too Long" },
        { 415, "Unsupported Media Type" },
        { 416, "Requested Range Not Satisfiable" },
        { 417, "Expectation Failed" },
        { 418, "I'm a teapot" },
        { 421, "Misdirected Request" },
        { 422, "Unprocessable Entity" },
        { 423, "Locked" },
        { 424, "Failed Dependency" },
        { 425, "Too Early" },
        { 426, "Upgrade Required" },
        { 428, "Precondition Required" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 451, "Unavailable For Legal Reasons" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
        { 507, "Insufficient Storage" },
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "Unknown";
}

static bool has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* Framing is libh2o's. */
static bool is_framing_header(const char *name)
{
    return str_equal(name, "content-length") || str_equal(name, "connection") ||
           str_equal(name, "transfer-encoding");
}

void http_server_set_head(h2o_req_t *req, const struct http_response *response)
{
    req->res.status = response->status;
    req->res.reason = http_server_reason_phrase(response->status);
    for (size_t i = 0; i < response->headers_n; i++) {
        const struct http_header *h = &response->headers[i];
        if (is_framing_header(h->name))
            continue;
        h2o_iovec_t name = h2o_strdup(&req->pool, h->name, SIZE_MAX);
        h2o_iovec_t value = h2o_strdup(&req->pool, h->value, SIZE_MAX);
        h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 1, NULL,
                              value.base, value.len);
    }
}

/* Gives libh2o the next part of the body.  It asks for more through the generator when that is
 * sent. */
static void send_batch(struct http_request *r)
{
    size_t first = r->part, bytes = 0;
    while (r->part < r->parts_n && bytes < RESPONSE_BATCH_BYTES)
        bytes += r->parts[r->part++].len;
    r->is_complete = r->part == r->parts_n;
    h2o_send(r->h2o, r->parts + first, r->part - first,
             r->is_complete ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void on_response_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    send_batch(container_of(generator, struct http_request, generator));
}

/* A part may be larger than a batch; it is cut, still without a copy. */
static void cut_parts(struct http_request *r, const struct http_response *response)
{
    size_t n = 0;
    for (size_t i = 0; i < response->parts_n; i++)
        n += response->parts[i].len / RESPONSE_BATCH_BYTES + 1;
    r->parts = h2o_mem_alloc_pool(&r->h2o->pool, (n + 1) * sizeof(*r->parts));
    for (size_t i = 0; i < response->parts_n; i++) {
        struct bytes rest = response->parts[i];
        while (rest.len > 0) {
            size_t len = rest.len > RESPONSE_BATCH_BYTES ? RESPONSE_BATCH_BYTES : rest.len;
            r->parts[r->parts_n++] = h2o_iovec_init(rest.data, len);
            rest.data += len;
            rest.len -= len;
        }
    }
}

static void respond_on_loop(struct http_request *r, const struct http_response *response)
{
    r->response.release = response->release;
    r->response.arg = response->arg;
    r->state = REQUEST_ANSWERED;
    if (!r->h2o) {
        http_server_request_free(r);
        return;
    }
    http_server_set_head(r->h2o, response);
    if (has_body(response->status)) {
        size_t total = response->body_bytes;
        for (size_t i = 0; i < response->parts_n; i++)
            total += response->parts[i].len;
        r->h2o->res.content_length = total;
        if (!bytes_equal(bytes_of_iovec(r->h2o->input.method), BYTES("HEAD")))
            cut_parts(r, response);
    }
    r->generator.proceed = on_response_proceed;
    h2o_start_response(r->h2o, &r->generator);
    send_batch(r);
}

static void on_respond_mail(struct mail *m)
{
    struct http_request *r = container_of(m, struct http_request, mail);
    respond_on_loop(r, &r->response);
}

void http_server_keep_response(struct http_request *r, const struct http_response *response)
{
    struct arena *a = http_request_arena(r);
    struct http_header *headers = arena_alloc(a, (response->headers_n + 1) * sizeof(*headers));
    for (size_t i = 0; i < response->headers_n; i++)
        headers[i] = (struct http_header){ arena_strdup(a, response->headers[i].name),
                                           arena_strdup(a, response->headers[i].value) };
    r->response = *response;
    r->response.headers = headers;
    r->response.parts =
        arena_memdup(a, response->parts ? response->parts : &(struct bytes){ 0 },
                     (response->parts_n > 0 ? response->parts_n : 1) * sizeof(struct bytes));
}

void http_respond(struct http_request *req, const struct http_response *response)
{
    ensure(req->state == REQUEST_OPEN);
    if (http_server_current_loop == req->loop) {
        respond_on_loop(req, response);
        return;
    }
    ensure(req->is_detached);
    http_server_keep_response(req, response);
    http_server_post(req->loop, &req->mail, on_respond_mail);
}

void http_server_respond_text(struct http_request *r, int status, const char *content_type,
                              const char *text)
{
    struct http_header header = { "content-type", content_type };
    struct bytes part = bytes_of(text);
    http_respond(
        r,
        &(struct http_response){
            .status = status, .headers = &header, .headers_n = 1, .parts = &part, .parts_n = 1 });
}

/* ---- streams ---- */

/* A turn of the loop serves so many streams.  Requests are read between turns, and what arrives for
 * a stream while it is in line goes out in the same write. */
#define STREAMS_PER_TURN 64

/* Under the stream's lock, or when nobody else has it any more. */
static void drop_pending(struct http_stream *s)
{
    for (size_t i = 0; i < s->pending_n; i++) {
        struct shared_bytes *chunk = s->pending[s->pending_first + i];
        atomic_fetch_sub(&s->queued_bytes, chunk->len);
        shared_bytes_unref(chunk);
    }
    atomic_fetch_sub(&s->queued, s->pending_n);
    s->pending_n = 0;
}

static void stream_free(struct http_stream *s)
{
    drop_pending(s);
    free(s->pending);
    pthread_cond_destroy(&s->advanced);
    pthread_mutex_destroy(&s->lock);
    http_server_request_free(s->request);
    free(s);
}

static void stream_landed(struct http_stream *s)
{
    for (size_t i = 0; i < s->flight_n; i++)
        shared_bytes_unref(s->flight[i]);
    free(take_ptr(&s->gathered));
    pthread_mutex_lock(&s->lock);
    atomic_fetch_sub(&s->queued, s->flight_n);
    atomic_fetch_sub(&s->queued_bytes, s->flight_bytes);
    pthread_cond_broadcast(&s->advanced);
    pthread_mutex_unlock(&s->lock);
    s->flight_n = s->flight_bytes = 0;
    s->is_sending = false;
}

/* Over HTTP/1.1 libh2o makes a TLS record of each piece that it is given. */
static bool is_better_in_one_piece(const struct http_stream *s)
{
    return s->flight_n > 1 && s->request->loop->server->config.tls &&
           s->request->h2o->version < 0x200;
}

/* The chunks of the flight as libh2o takes them; returns how many pieces. */
static size_t flight_pieces(struct http_stream *s, h2o_iovec_t pieces[STREAM_BATCH_CHUNKS])
{
    size_t at = 0;
    for (size_t i = 0; i < s->flight_n; i++)
        pieces[i] = h2o_iovec_init(s->flight[i]->data, s->flight[i]->len);
    if (!is_better_in_one_piece(s))
        return s->flight_n;
    s->gathered = xmalloc(s->flight_bytes);
    for (size_t i = 0; i < s->flight_n; i++) {
        memcpy(s->gathered + at, pieces[i].base, pieces[i].len);
        at += pieces[i].len;
    }
    pieces[0] = h2o_iovec_init(s->gathered, s->flight_bytes);
    return 1;
}

bool http_server_stream_send(struct http_stream *s)
{
    if (s->is_sending || s->sent_final)
        return false;
    pthread_mutex_lock(&s->lock);
    while (s->flight_n < STREAM_BATCH_CHUNKS && s->flight_bytes < STREAM_BATCH_BYTES &&
           s->pending_n > 0) {
        struct shared_bytes *chunk = s->pending[s->pending_first++];
        s->pending_n--;
        s->flight_bytes += chunk->len;
        s->flight[s->flight_n++] = chunk;
    }
    bool is_final = s->pending_n == 0 && (s->is_ended || s->request->loop->stopping);
    bool is_aborted = s->is_aborted;
    pthread_mutex_unlock(&s->lock);
    if (s->flight_n == 0 && !is_final && !is_aborted)
        return false;
    s->is_sending = true;
    s->sent_final = is_final || is_aborted;
    s->request->is_complete = is_final;
    if (is_aborted) {
        h2o_send(s->request->h2o, NULL, 0, H2O_SEND_STATE_ERROR);
        return true;
    }
    h2o_iovec_t pieces[STREAM_BATCH_CHUNKS];
    size_t n = flight_pieces(s, pieces);
    h2o_send(s->request->h2o, pieces, n,
             is_final ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
    return true;
}

void http_server_stream_hang_up(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_aborted = true;
    pthread_mutex_unlock(&s->lock);
    if (s->is_sending) /* libh2o may wait for room, which will not come; then it asks for more */
        http_server_connection_shut(s->request->connection);
    else
        http_server_stream_send(s);
}

static void on_ready_mail(struct mail *m)
{
    container_of(m, struct server_loop, ready_mail)->is_ready_posted = false;
}

void http_server_send_ready(struct server_loop *loop)
{
    for (int served = 0; served < STREAMS_PER_TURN && !list_is_empty(&loop->ready);) {
        struct http_stream *s = container_of(loop->ready.next, struct http_stream, ready);
        list_remove(&s->ready);
        served += http_server_stream_send(s);
    }
    if (list_is_empty(&loop->ready) || loop->is_ready_posted)
        return;
    loop->is_ready_posted = true;
    http_server_post(loop, &loop->ready_mail, on_ready_mail);
}

static void get_in_line(struct http_stream *s)
{
    if (list_is_empty(&s->ready)) /* else it is in line */
        list_add(&s->request->loop->ready, &s->ready);
}

static void on_stream_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    struct http_stream *s = container_of(generator, struct http_request, generator)->stream;
    stream_landed(s);
    if (list_is_empty(&s->request->loop->ready))
        http_server_stream_send(s);
    else
        get_in_line(s);
}

void http_server_stream_lost(struct http_stream *s)
{
    stream_landed(s);
    list_remove(&s->link);
    list_remove(&s->ready);
    pthread_mutex_lock(&s->lock);
    s->is_closed = true;
    pthread_cond_broadcast(&s->advanced);
    pthread_mutex_unlock(&s->lock);
    if (s->on_close)
        s->on_close(s->arg);
    /* A letter that is on its way frees the stream when it arrives. */
    pthread_mutex_lock(&s->lock);
    bool is_last = s->is_ended && !s->is_posted;
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        stream_free(s);
}

static void on_stream_mail(struct mail *m)
{
    struct http_stream *s = container_of(m, struct http_stream, mail);
    pthread_mutex_lock(&s->lock);
    s->is_posted = false;
    bool is_ended = s->is_ended, is_aborted = s->is_aborted;
    pthread_mutex_unlock(&s->lock);
    /* A client that does not read would keep its connection until it is taken for dead.  HTTP/2
     * has more on it than this stream. */
    if (s->request->h2o && is_aborted && s->is_sending && s->request->h2o->version < 0x200)
        http_server_connection_shut(s->request->connection);
    else if (s->request->h2o)
        get_in_line(s);
    else if (is_ended)
        stream_free(s);
}

/* Under the stream's lock. */
static void stream_post(struct http_stream *s)
{
    if (s->is_posted)
        return;
    s->is_posted = true;
    http_server_post(s->request->loop, &s->mail, on_stream_mail);
}

static void stream_start_on_loop(struct http_stream *s, const struct http_response *head)
{
    struct http_request *r = s->request;
    list_add(&r->loop->streams, &s->link);
    r->state = REQUEST_STREAMING;
    if (!r->h2o) {
        http_server_stream_lost(s);
        return;
    }
    http_server_set_head(r->h2o, head);
    if (head->body_bytes > 0)
        r->h2o->res.content_length = head->body_bytes;
    http_server_hangup_watch(r);
    r->generator.proceed = on_stream_proceed;
    h2o_start_response(r->h2o, &r->generator);
    s->is_sending = true;
    /* A watch without events has its head at once.  libh2o's filters hold back what has no bytes,
     * so the order to send goes straight to the protocol. */
    h2o_ostream_t *protocol = r->h2o->_ostr_top;
    while (protocol->next)
        protocol = protocol->next;
    protocol->do_send(protocol, r->h2o, NULL, 0, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_stream_start_mail(struct mail *m)
{
    struct http_request *r = container_of(m, struct http_request, mail);
    stream_start_on_loop(r->stream, &r->response);
}

struct http_stream *http_stream_start(struct http_request *req, const struct http_response *head,
                                      void (*on_close)(void *arg), void *arg)
{
    ensure(req->state == REQUEST_OPEN);
    struct http_stream *s = xcalloc(1, sizeof(*s));
    list_init(&s->link);
    list_init(&s->ready);
    s->request = req;
    s->on_close = on_close;
    s->arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->advanced, NULL);
    req->stream = s;
    if (http_server_current_loop == req->loop && req->h2o) {
        req->response.release = head->release;
        req->response.arg = head->arg;
        stream_start_on_loop(s, head);
        return s;
    }
    ensure(req->is_detached);
    http_server_keep_response(req, head);
    http_server_post(req->loop, &req->mail, on_stream_start_mail);
    return s;
}

/* Under the stream's lock: room for one more at the end. */
static void stream_reserve(struct http_stream *s)
{
    if (s->pending_first + s->pending_n < s->pending_capacity)
        return;
    if (s->pending_first > s->pending_n) {
        memmove(s->pending, s->pending + s->pending_first, s->pending_n * sizeof(*s->pending));
        s->pending_first = 0;
        return;
    }
    s->pending = xgrow(s->pending, s->pending_first + s->pending_n, &s->pending_capacity,
                       sizeof(s->pending[0]));
}

/* Under the stream's lock. */
static void stream_add(struct http_stream *s, struct shared_bytes *chunk)
{
    if (chunk->len == 0 || s->is_closed)
        return;
    stream_reserve(s);
    s->pending[s->pending_first + s->pending_n++] = shared_bytes_ref(chunk);
    atomic_fetch_add(&s->queued, 1);
    atomic_fetch_add(&s->queued_bytes, chunk->len);
}

static void stream_flush(struct http_stream *s)
{
    if (s->pending_n > 0 && !s->is_closed)
        stream_post(s);
}

void http_stream_write(struct http_stream *s, struct shared_bytes *chunk)
{
    pthread_mutex_lock(&s->lock);
    stream_add(s, chunk);
    stream_flush(s);
    pthread_mutex_unlock(&s->lock);
}

void http_stream_add(struct http_stream *s, struct shared_bytes *chunk)
{
    pthread_mutex_lock(&s->lock);
    stream_add(s, chunk);
    pthread_mutex_unlock(&s->lock);
}

void http_stream_flush(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    stream_flush(s);
    pthread_mutex_unlock(&s->lock);
}

size_t http_stream_queued(struct http_stream *s)
{
    return atomic_load(&s->queued);
}

size_t http_stream_queued_bytes(struct http_stream *s)
{
    return atomic_load(&s->queued_bytes);
}

bool http_stream_wait(struct http_stream *s, size_t queued_max)
{
    ensure(!http_server_current_loop);
    pthread_mutex_lock(&s->lock);
    while (!s->is_closed && atomic_load(&s->queued) > queued_max)
        pthread_cond_wait(&s->advanced, &s->lock);
    bool is_closed = s->is_closed;
    pthread_mutex_unlock(&s->lock);
    return !is_closed;
}

void http_stream_end(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_ended = true;
    stream_post(s);
    pthread_mutex_unlock(&s->lock);
}

void http_stream_abort(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_ended = s->is_aborted = true;
    drop_pending(s);
    stream_post(s);
    pthread_mutex_unlock(&s->lock);
}
