/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.c - libh2o behind base/http_server.h.
 *
 * Everything that touches libh2o runs on the loop thread that owns the connection.  Other threads
 * leave a letter in the loop's mailbox:
 *
 *     worker --struct mail--> server_loop.mailbox --> loop thread --> h2o_req_t
 *
 * A handle (request, stream, socket) outlives its h2o_req_t: libh2o disposes of that one when the
 * client leaves, and the handle's h2o pointer becomes NULL then.
 */
#include "base/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#define H2O_USE_LIBUV 0 /* its headers do not know for which loop the library was built */
#include <h2o.h>
#include <h2o/http1.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/tls_internal.h"

#define LOOPS_MAX            64
#define CONNECTIONS_MAX      16384
#define ACCEPTS_PER_TURN     16
#define ACCEPT_PAUSE_MS      100 /* after running out of descriptors */
#define IDLE_TIMEOUT_MS      90000
#define HANDSHAKE_TIMEOUT_MS 10000
#define STOP_SWEEP_MS        50
#define RESPONSE_BATCH_BYTES                                                                       \
    (256 * 1024) /* of a body that libh2o gets, encrypts and holds at once */
#define STREAM_BATCH_CHUNKS  128
#define UPGRADED_SOCKETS_MAX 1024
#define SOCKET_BUFFER_BYTES  (256 * 1024)
/* libh2o resets an HTTP/2 stream whose body passes its own limit, which clients take for a fault
 * and try again.  It gets twice our limit, so that what is a little too large is answered with 413.
 */
#define ENTITY_BYTES_MAX (2 * (size_t)REQUEST_BODY_BYTES_MAX)

/* HTTP/2 rapid reset: a connection may give up this many requests before they are answered, earns
 * one more with each answer and with time, and is closed when it has none left. */
#define EARLY_ENDS_MAX        200
#define EARLY_ENDS_PER_SECOND 20
/* libh2o has at most 100 open streams a connection; requests whose client has left but on which a
 * worker is still busy come on top. */
#define REQUESTS_OPEN_MAX 256

struct mail {
    h2o_multithread_message_t link; /* first: libh2o hands it back */
    void (*run)(struct mail *m);
};

struct list {
    struct list *prev, *next;
};

struct server_loop {
    struct http_server *server;
    pthread_t thread;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;
    struct tls *tls;
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t mailbox;
    pthread_mutex_t post_lock; /* held while posting, so that the loop does not go away under it */

    h2o_socket_t *listener; /* the first loop's */
    h2o_timeout_t accept_pause;
    h2o_timeout_entry_t accept_pause_entry;

    struct list connections, streams, sockets;
    size_t handles; /* requests, streams and sockets that somebody still holds */
    bool stopping, stopped;
    uint64_t stop_deadline;
    h2o_timeout_t sweep;
    h2o_timeout_entry_t sweep_entry;
    struct mail start_mail, stop_mail;
};

struct http_server {
    struct http_server_config config;
    int listen_fd, port;
    int grace_ms;
    sem_t started;
    h2o_globalconf_t globalconf;
    int loops_n;
    struct server_loop loops[LOOPS_MAX];
    int next_loop;
    atomic_int connections;
    atomic_int upgraded;
    pthread_mutex_t lock; /* guards what follows */
    struct tls *tls;      /* for new connections */
};

struct connection {
    struct list link;
    atomic_uint refs; /* the socket's, and one for each request */
    struct server_loop *loop;
    h2o_socket_t *sock; /* NULL once closed */
    struct arena *arena;
    struct tls_peer peer;
    char remote_ip[INET6_ADDRSTRLEN];
    size_t open_requests;
    int early_ends_left;
    uint64_t refilled_at_ms;
    bool idle_at_sweep, is_expelled;
};

struct header {
    struct bytes name, value;
};

enum request_state {
    REQUEST_OPEN,      /* the handler or a worker has it */
    REQUEST_ANSWERED,  /* http_respond() was called: libh2o ends it */
    REQUEST_STREAMING, /* a stream owns it */
    REQUEST_UPGRADED,  /* a socket owns it */
};

struct http_request {
    struct mail mail;
    h2o_generator_t generator; /* see request_of_generator() */
    struct server_loop *loop;
    struct connection *connection;
    h2o_req_t *h2o; /* the loop's; NULL once the client has left */
    struct arena *arena;
    struct bytes method, path, query, body;
    struct header *headers;
    size_t headers_n;
    void *context;
    bool is_upgrade, is_detached, is_complete;
    enum request_state state;
    struct http_response response; /* its arrays are in the arena */

    /* what is still to be sent of a response */
    h2o_iovec_t *parts;
    size_t parts_n, part;
    struct http_stream *stream;
};

static _Thread_local struct server_loop *current_loop;

#ifdef __SANITIZE_ADDRESS__
/* libh2o keeps memory for reuse in each thread and does not give it back when the thread ends. */
const char *__lsan_default_suppressions(void);
__attribute__((weak, visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libh2o-evloop\n";
}
#endif

static void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static void list_add(struct list *head, struct list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* ---- the mailbox ---- */

static void post(struct server_loop *loop, struct mail *m, void (*run)(struct mail *m))
{
    m->run = run;
    m->link.link = (h2o_linklist_t){ NULL, NULL };
    pthread_mutex_lock(&loop->post_lock);
    h2o_multithread_send_message(&loop->mailbox, &m->link);
    pthread_mutex_unlock(&loop->post_lock);
}

static void on_mail(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        struct mail *m = container_of(messages->next, struct mail, link.link);
        h2o_linklist_unlink(&m->link.link);
        m->run(m);
    }
}

/* ---- connections ---- */

static void connection_unref(struct connection *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_free(c->arena);
    free(c);
}

static void on_connection_close(void *data)
{
    struct connection *c = data;
    c->sock = NULL;
    list_remove(&c->link);
    atomic_fetch_sub(&c->loop->server->connections, 1);
    connection_unref(c);
}

/* libh2o owns the socket; with its descriptor shut it finds the end by itself. */
static void connection_shut(struct connection *c)
{
    if (c->sock)
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

static void on_tls_peer(void *bio_data, const struct tls_peer *peer)
{
    h2o_socket_t *sock = bio_data;
    struct connection *c = sock->on_close.data;
    tls_peer_copy(c->arena, peer, &c->peer);
}

static void remote_ip(int fd, char out[INET6_ADDRSTRLEN])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } sa;
    socklen_t len = sizeof(sa);
    out[0] = 0;
    if (getpeername(fd, &sa.any, &len) < 0)
        return;
    if (sa.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &sa.v4.sin_addr, out, INET6_ADDRSTRLEN);
    else if (sa.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&sa.v6.sin6_addr))
        inet_ntop(AF_INET, sa.v6.sin6_addr.s6_addr + 12, out, INET6_ADDRSTRLEN);
    else if (sa.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &sa.v6.sin6_addr, out, INET6_ADDRSTRLEN);
}

static void connection_start(struct server_loop *loop, int fd)
{
    struct connection *c = xcalloc(1, sizeof(*c));
    atomic_init(&c->refs, 1);
    c->loop = loop;
    c->arena = arena_new_sized(256);
    c->early_ends_left = EARLY_ENDS_MAX;
    c->refilled_at_ms = h2o_now(loop->ctx.loop);
    remote_ip(fd, c->remote_ip);
    socket_tune(fd);
    list_add(&loop->connections, &c->link);
    c->sock = h2o_evloop_socket_create(loop->ctx.loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    c->sock->on_close.cb = on_connection_close;
    c->sock->on_close.data = c;
    h2o_accept(&loop->accept, c->sock);
}

static void on_listener(h2o_socket_t *listener, const char *h2o_err);

/* The first letter of the first loop, once all of them are there to take connections. */
static void on_listen_mail(struct mail *m)
{
    struct server_loop *loop = container_of(m, struct server_loop, start_mail);
    h2o_socket_read_start(loop->listener, on_listener);
}

struct accept_mail {
    struct mail mail;
    struct server_loop *loop;
    int fd;
};

static void on_accept_mail(struct mail *m)
{
    struct accept_mail *a = container_of(m, struct accept_mail, mail);
    if (a->loop->stopping) {
        close(a->fd);
        atomic_fetch_sub(&a->loop->server->connections, 1);
    } else {
        connection_start(a->loop, a->fd);
    }
    free(a);
}

static void on_accept_pause_over(h2o_timeout_entry_t *entry)
{
    struct server_loop *loop = container_of(entry, struct server_loop, accept_pause_entry);
    if (loop->listener)
        h2o_socket_read_start(loop->listener, on_listener);
}

/* The first loop accepts for all of them, in turn: a shared listener would give most connections
 * to whoever wakes first. */
static void on_listener(h2o_socket_t *listener, const char *h2o_err)
{
    struct server_loop *loop = listener->data;
    struct http_server *s = loop->server;
    for (int i = 0; i < ACCEPTS_PER_TURN && !h2o_err; i++) {
        int fd = accept4(h2o_socket_get_fd(listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            log_warn("http", "accept: %s", strerror(errno));
            h2o_socket_read_stop(listener);
            h2o_timeout_link(loop->ctx.loop, &loop->accept_pause, &loop->accept_pause_entry);
            return;
        }
        if (fd < 0)
            return;
        if (atomic_fetch_add(&s->connections, 1) >= CONNECTIONS_MAX) {
            atomic_fetch_sub(&s->connections, 1);
            close(fd);
            continue;
        }
        struct server_loop *target = &s->loops[s->next_loop++ % s->loops_n];
        s->next_loop %= s->loops_n;
        if (target == loop) {
            connection_start(loop, fd);
            continue;
        }
        struct accept_mail *a = xcalloc(1, sizeof(*a));
        *a = (struct accept_mail){ .loop = target, .fd = fd };
        post(target, &a->mail, on_accept_mail);
    }
}

/* ---- requests ---- */

static void request_free(struct http_request *r)
{
    if (r->response.release)
        r->response.release(r->response.arg);
    r->connection->open_requests--;
    r->loop->handles--;
    connection_unref(r->connection);
    arena_free(r->arena);
    free(r);
}

static void stream_lost(struct http_stream *s);

/* A client that resets requests as fast as it sends them makes us work for nothing. */
static void count_end(struct http_request *r)
{
    struct connection *c = r->connection;
    uint64_t now = h2o_now(r->loop->ctx.loop);
    uint64_t earned = (now - c->refilled_at_ms) * EARLY_ENDS_PER_SECOND / 1000;
    if (earned > 0) {
        c->early_ends_left += earned > EARLY_ENDS_MAX ? EARLY_ENDS_MAX : (int)earned;
        c->refilled_at_ms = now;
    }
    c->early_ends_left += r->is_complete ? 1 : -1;
    if (c->early_ends_left > EARLY_ENDS_MAX)
        c->early_ends_left = EARLY_ENDS_MAX;
    if (c->early_ends_left >= 0 || !c->sock || c->is_expelled)
        return;
    c->is_expelled = true;
    log_warn("http", "%s resets too many requests: connection closed", c->remote_ip);
    connection_shut(c);
}

/* libh2o is done with the request, answered or not. */
static void on_dispose(void *slot)
{
    struct http_request *r = *(struct http_request **)slot;
    r->h2o = NULL;
    if (r->state != REQUEST_UPGRADED)
        count_end(r);
    if (r->state == REQUEST_ANSWERED)
        request_free(r);
    else if (r->state == REQUEST_STREAMING)
        stream_lost(r->stream);
}

static struct bytes bytes_of_iovec(h2o_iovec_t v)
{
    return (struct bytes){ v.base, v.len };
}

/* libh2o keeps Host and Upgrade apart from the other headers; callers see them as headers. */
static size_t collect_headers(struct http_request *r, h2o_req_t *req)
{
    r->headers = h2o_mem_alloc_pool(&req->pool, (req->headers.size + 2) * sizeof(*r->headers));
    size_t total = req->input.path.len;
    if (req->input.authority.len > 0)
        r->headers[r->headers_n++] =
            (struct header){ BYTES("host"), bytes_of_iovec(req->input.authority) };
    if (req->upgrade.base)
        r->headers[r->headers_n++] =
            (struct header){ BYTES("upgrade"), bytes_of_iovec(req->upgrade) };
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *h = &req->headers.entries[i];
        r->headers[r->headers_n++] =
            (struct header){ bytes_of_iovec(*h->name), bytes_of_iovec(h->value) };
        total += h->name->len + h->value.len;
    }
    return total;
}

static struct http_request *request_new(h2o_req_t *req)
{
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    struct http_request *r = xcalloc(1, sizeof(*r));
    r->loop = current_loop;
    r->connection = sock->on_close.data;
    atomic_fetch_add_explicit(&r->connection->refs, 1, memory_order_relaxed);
    r->connection->open_requests++;
    r->loop->handles++;
    r->h2o = req;
    r->method = bytes_of_iovec(req->input.method);
    r->path = bytes_of_iovec(req->input.path);
    r->body = bytes_of_iovec(req->entity);
    r->is_upgrade = req->upgrade.base && req->version < 0x200;
    const char *mark = memchr(r->path.data, '?', r->path.len);
    if (mark) {
        r->query = (struct bytes){ mark + 1, r->path.len - (size_t)(mark - r->path.data) - 1 };
        r->path.len = (size_t)(mark - r->path.data);
    }
    struct http_request **slot = h2o_mem_alloc_shared(&req->pool, sizeof(*slot), on_dispose);
    *slot = r;
    return r;
}

static void respond_text(struct http_request *r, int status, const char *content_type,
                         const char *text)
{
    struct http_header header = { "content-type", content_type };
    struct bytes part = bytes_of(text);
    http_respond(
        r,
        &(struct http_response){
            .status = status, .headers = &header, .headers_n = 1, .parts = &part, .parts_n = 1 });
}

struct handler {
    h2o_handler_t super;
    struct http_server *server;
};

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct http_server *s = container_of(self, struct handler, super)->server;
    struct http_request *r = request_new(req);
    if (collect_headers(r, req) > REQUEST_HEADER_BYTES_MAX)
        respond_text(r, 431, "text/plain", "request headers are too large\n");
    else if (r->connection->open_requests > REQUESTS_OPEN_MAX)
        respond_text(r, 429, "text/plain", "too many requests on this connection\n");
    else if (r->body.len > REQUEST_BODY_BYTES_MAX && s->config.too_large_json)
        respond_text(r, 413, "application/json", s->config.too_large_json);
    else if (r->body.len > REQUEST_BODY_BYTES_MAX)
        respond_text(r, 413, "text/plain", "request body is too large\n");
    else
        s->config.handle(r, s->config.arg);
    return 0;
}

struct arena *http_request_arena(struct http_request *req)
{
    if (!req->arena)
        req->arena = arena_new();
    return req->arena;
}

struct bytes http_request_method(const struct http_request *req)
{
    return req->method;
}

struct bytes http_request_path(const struct http_request *req)
{
    return req->path;
}

struct bytes http_request_query(const struct http_request *req)
{
    return req->query;
}

struct bytes http_request_header(const struct http_request *req, const char *lower_case_name)
{
    return http_request_header_nth(req, lower_case_name, 0);
}

struct bytes http_request_header_nth(const struct http_request *req, const char *lower_case_name,
                                     size_t index)
{
    struct bytes name = bytes_of(lower_case_name);
    for (size_t i = 0; i < req->headers_n; i++) {
        if (bytes_equal(req->headers[i].name, name) && index-- == 0)
            return req->headers[i].value;
    }
    return (struct bytes){ 0 };
}

void http_request_each_header(const struct http_request *req,
                              void (*fn)(struct bytes name, struct bytes value, void *arg),
                              void *arg)
{
    for (size_t i = 0; i < req->headers_n; i++)
        fn(req->headers[i].name, req->headers[i].value, arg);
}

struct bytes http_request_body(const struct http_request *req)
{
    return req->body;
}

const struct tls_peer *http_request_peer(const struct http_request *req)
{
    return &req->connection->peer;
}

const char *http_request_remote_ip(const struct http_request *req)
{
    return req->connection->remote_ip;
}

bool http_request_is_upgrade(const struct http_request *req)
{
    return req->is_upgrade;
}

/* libh2o's memory goes when the client leaves, so what a worker may read is copied. */
void http_request_detach(struct http_request *req)
{
    if (req->is_detached)
        return;
    req->is_detached = true;
    struct arena *a = http_request_arena(req);
    req->method = arena_bytes(a, req->method);
    req->path = arena_bytes(a, req->path);
    req->query = arena_bytes(a, req->query);
    req->body = arena_bytes(a, req->body);
    struct header *headers = arena_alloc(a, (req->headers_n + 1) * sizeof(*headers));
    for (size_t i = 0; i < req->headers_n; i++)
        headers[i] = (struct header){ arena_bytes(a, req->headers[i].name),
                                      arena_bytes(a, req->headers[i].value) };
    req->headers = headers;
}

void http_request_set_context(struct http_request *req, void *context)
{
    req->context = context;
}

void *http_request_context(const struct http_request *req)
{
    return req->context;
}

/* ---- responses ---- */

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 413, "Request Entity Too Large" },
        { 415, "Unsupported Media Type" },
        { 422, "Unprocessable Entity" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
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

static void set_head(h2o_req_t *req, const struct http_response *response)
{
    req->res.status = response->status;
    req->res.reason = reason_phrase(response->status);
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
        request_free(r);
        return;
    }
    set_head(r->h2o, response);
    if (has_body(response->status)) {
        size_t total = 0;
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

/* RESPONSE's arrays are the caller's: keeps copies of them for the loop thread. */
static void keep_response(struct http_request *r, const struct http_response *response)
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
    if (current_loop == req->loop) {
        respond_on_loop(req, response);
        return;
    }
    ensure(req->is_detached);
    keep_response(req, response);
    post(req->loop, &req->mail, on_respond_mail);
}

/* ---- streams ---- */

struct http_stream {
    struct mail mail;
    struct list link; /* server_loop.streams while the client is there */
    struct http_request *request;
    void (*on_close)(void *arg);
    void *arg;
    atomic_size_t queued;

    pthread_mutex_t lock;    /* guards what follows; before server_loop.post_lock */
    pthread_cond_t advanced; /* chunks were written, or the client has left */
    struct shared_bytes **pending;
    size_t pending_first, pending_n, pending_capacity;
    bool is_posted, is_ended, is_aborted, is_closed;

    /* the loop's */
    struct shared_bytes *flight[STREAM_BATCH_CHUNKS];
    size_t flight_n;
    bool is_sending, sent_final;
};

static void stream_free(struct http_stream *s)
{
    for (size_t i = 0; i < s->pending_n; i++)
        shared_bytes_unref(s->pending[s->pending_first + i]);
    free(s->pending);
    pthread_cond_destroy(&s->advanced);
    pthread_mutex_destroy(&s->lock);
    request_free(s->request);
    free(s);
}

static void stream_landed(struct http_stream *s)
{
    for (size_t i = 0; i < s->flight_n; i++)
        shared_bytes_unref(s->flight[i]);
    pthread_mutex_lock(&s->lock);
    atomic_fetch_sub(&s->queued, s->flight_n);
    pthread_cond_broadcast(&s->advanced);
    pthread_mutex_unlock(&s->lock);
    s->flight_n = 0;
    s->is_sending = false;
}

/* Gives libh2o what has gathered since the last turn. */
static void stream_flush(struct http_stream *s)
{
    if (s->is_sending || s->sent_final)
        return;
    h2o_iovec_t bufs[STREAM_BATCH_CHUNKS];
    pthread_mutex_lock(&s->lock);
    while (s->flight_n < STREAM_BATCH_CHUNKS && s->pending_n > 0) {
        struct shared_bytes *chunk = s->pending[s->pending_first++];
        s->pending_n--;
        bufs[s->flight_n] = h2o_iovec_init(chunk->data, chunk->len);
        s->flight[s->flight_n++] = chunk;
    }
    bool is_final = s->pending_n == 0 && (s->is_ended || s->request->loop->stopping);
    bool is_aborted = s->is_aborted;
    pthread_mutex_unlock(&s->lock);
    if (s->flight_n == 0 && !is_final && !is_aborted)
        return;
    s->is_sending = true;
    s->sent_final = is_final || is_aborted;
    s->request->is_complete = is_final;
    if (is_aborted)
        h2o_send(s->request->h2o, NULL, 0, H2O_SEND_STATE_ERROR);
    else
        h2o_send(s->request->h2o, bufs, s->flight_n,
                 is_final ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void on_stream_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    struct http_stream *s = container_of(generator, struct http_request, generator)->stream;
    stream_landed(s);
    stream_flush(s);
}

/* The client has left, or all was sent: libh2o's side of the stream is over. */
static void stream_lost(struct http_stream *s)
{
    stream_landed(s);
    list_remove(&s->link);
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
    bool is_ended = s->is_ended;
    pthread_mutex_unlock(&s->lock);
    if (s->request->h2o)
        stream_flush(s);
    else if (is_ended)
        stream_free(s);
}

/* Under the stream's lock. */
static void stream_post(struct http_stream *s)
{
    if (s->is_posted)
        return;
    s->is_posted = true;
    post(s->request->loop, &s->mail, on_stream_mail);
}

static void stream_start_on_loop(struct http_stream *s, const struct http_response *head)
{
    struct http_request *r = s->request;
    list_add(&r->loop->streams, &s->link);
    r->state = REQUEST_STREAMING;
    if (!r->h2o) {
        stream_lost(s);
        return;
    }
    set_head(r->h2o, head);
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
    s->request = req;
    s->on_close = on_close;
    s->arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->advanced, NULL);
    req->stream = s;
    if (current_loop == req->loop && req->h2o) {
        req->response.release = head->release;
        req->response.arg = head->arg;
        stream_start_on_loop(s, head);
        return s;
    }
    ensure(req->is_detached);
    keep_response(req, head);
    post(req->loop, &req->mail, on_stream_start_mail);
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
    s->pending_capacity = s->pending_capacity ? 2 * s->pending_capacity : 16;
    s->pending = xrealloc(s->pending, s->pending_capacity * sizeof(*s->pending));
}

void http_stream_write(struct http_stream *s, struct shared_bytes *chunk)
{
    if (chunk->len == 0)
        return;
    pthread_mutex_lock(&s->lock);
    if (!s->is_closed) {
        stream_reserve(s);
        s->pending[s->pending_first + s->pending_n++] = shared_bytes_ref(chunk);
        atomic_fetch_add(&s->queued, 1);
        stream_post(s);
    }
    pthread_mutex_unlock(&s->lock);
}

size_t http_stream_queued(struct http_stream *s)
{
    return atomic_load(&s->queued);
}

bool http_stream_wait(struct http_stream *s, size_t queued_max)
{
    ensure(!current_loop);
    pthread_mutex_lock(&s->lock);
    while (!s->is_closed && atomic_load(&s->queued) > queued_max)
        pthread_cond_wait(&s->advanced, &s->lock);
    bool is_closed = s->is_closed;
    pthread_mutex_unlock(&s->lock);
    return !is_closed;
}

bool http_stream_is_closed(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool is_closed = s->is_closed;
    pthread_mutex_unlock(&s->lock);
    return is_closed;
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
    stream_post(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- upgraded connections ---- */

struct http_socket {
    struct mail mail;
    struct list link; /* server_loop.sockets */
    struct http_request *request;
    void (*on_socket)(struct http_socket *s, void *arg);
    void *arg;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows; before server_loop.post_lock */
    pthread_cond_t changed;
    struct buffer in, out;
    size_t in_at;
    bool is_posted, is_shut, is_returned;
    bool input_ended, output_failed;

    /* the loop's */
    h2o_socket_t *sock;
    struct buffer flight;
    bool is_writing;
};

static void socket_free(struct http_socket *s)
{
    buffer_free(&s->in);
    buffer_free(&s->out);
    buffer_free(&s->flight);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    request_free(s->request);
    free(s);
}

static void on_socket_mail(struct mail *m);

/* Under the socket's lock. */
static void socket_post(struct http_socket *s)
{
    if (s->is_posted)
        return;
    s->is_posted = true;
    post(s->request->loop, &s->mail, on_socket_mail);
}

/* Under the socket's lock. */
static size_t socket_unread(const struct http_socket *s)
{
    return s->in.len - s->in_at;
}

/* Moves what libh2o has read to where the worker reads.  A worker that lags stops the reading. */
static void socket_take_input(struct http_socket *s)
{
    h2o_socket_t *sock = s->sock;
    pthread_mutex_lock(&s->lock);
    if (s->in_at > 0 && s->in_at == s->in.len) {
        buffer_clear(&s->in);
        s->in_at = 0;
    }
    buffer_add(&s->in, sock->input->bytes, sock->input->size);
    bool is_full = socket_unread(s) >= SOCKET_BUFFER_BYTES;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    h2o_buffer_consume(&sock->input, sock->input->size);
    if (is_full)
        h2o_socket_read_stop(sock);
}

static void on_socket_read(h2o_socket_t *sock, const char *h2o_err)
{
    struct http_socket *s = sock->data;
    socket_take_input(s);
    if (!h2o_err)
        return;
    h2o_socket_read_stop(sock);
    pthread_mutex_lock(&s->lock);
    s->input_ended = true; /* the peer may still read what we write */
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void socket_attend(struct http_socket *s);

static void on_socket_written(h2o_socket_t *sock, const char *h2o_err)
{
    struct http_socket *s = sock->data;
    s->is_writing = false;
    pthread_mutex_lock(&s->lock);
    if (h2o_err) {
        s->output_failed = true;
        s->input_ended = true;
        buffer_clear(&s->out);
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    socket_attend(s);
}

static void socket_write_next(struct http_socket *s)
{
    struct buffer emptied = s->flight;
    pthread_mutex_lock(&s->lock);
    s->flight = s->out;
    buffer_clear(&emptied);
    s->out = emptied;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    h2o_iovec_t buf = h2o_iovec_init(s->flight.data, s->flight.len);
    s->is_writing = true;
    h2o_socket_write(s->sock, &buf, 1, on_socket_written);
}

/* Writes what waits, reads on when there is room again, and closes once the worker is through. */
static void socket_attend(struct http_socket *s)
{
    pthread_mutex_lock(&s->lock);
    bool has_output = s->out.len > 0 && !s->output_failed;
    bool may_read = !s->input_ended && socket_unread(s) < SOCKET_BUFFER_BYTES;
    bool is_returned = s->is_returned && !s->is_posted;
    bool is_shut = s->is_shut;
    pthread_mutex_unlock(&s->lock);

    if (s->is_writing && is_shut && is_returned)
        shutdown(h2o_socket_get_fd(s->sock),
                 SHUT_RDWR); /* a peer that reads nothing would hold us up */
    if (has_output && !s->is_writing)
        socket_write_next(s);
    if (may_read && !h2o_socket_is_reading(s->sock))
        h2o_socket_read_start(s->sock, on_socket_read);
    if (!is_returned || s->is_writing)
        return;
    pthread_join(s->thread, NULL);
    list_remove(&s->link);
    atomic_fetch_sub(&s->request->loop->server->upgraded, 1);
    h2o_socket_close(s->sock);
    socket_free(s);
}

static void on_socket_mail(struct mail *m)
{
    struct http_socket *s = container_of(m, struct http_socket, mail);
    pthread_mutex_lock(&s->lock);
    s->is_posted = false;
    pthread_mutex_unlock(&s->lock);
    socket_attend(s);
}

static void *socket_thread(void *arg)
{
    struct http_socket *s = arg;
    s->on_socket(s, s->arg);
    pthread_mutex_lock(&s->lock);
    s->is_returned = true;
    socket_post(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void on_upgraded(void *data, h2o_socket_t *sock, size_t request_bytes)
{
    struct http_socket *s = data;
    if (!sock) { /* the client left before the 101 was written */
        atomic_fetch_sub(&s->request->loop->server->upgraded, 1);
        socket_free(s);
        return;
    }
    s->sock = sock;
    sock->data = s;
    list_add(&s->request->loop->sockets, &s->link);
    /* Behind the request there may be the first bytes of the new protocol. */
    h2o_buffer_consume(&sock->input, request_bytes);
    socket_take_input(s);
    ensure(pthread_create(&s->thread, NULL, socket_thread, s) == 0);
    socket_attend(s);
}

static void upgrade_on_loop(struct http_socket *s, const struct http_response *head)
{
    struct http_request *r = s->request;
    r->state = REQUEST_UPGRADED;
    if (!r->h2o) {
        atomic_fetch_sub(&r->loop->server->upgraded, 1);
        socket_free(s);
        return;
    }
    set_head(r->h2o, head);
    r->h2o->res.status = 101;
    r->h2o->res.reason = reason_phrase(101);
    h2o_http1_upgrade(r->h2o, NULL, 0, on_upgraded, s);
}

static void on_upgrade_mail(struct mail *m)
{
    struct http_socket *s = container_of(m, struct http_socket, mail);
    upgrade_on_loop(s, &s->request->response);
}

void http_upgrade(struct http_request *req, const struct http_response *head,
                  void (*on_socket)(struct http_socket *s, void *arg), void *arg)
{
    ensure(req->state == REQUEST_OPEN && req->is_upgrade);
    struct http_server *server = req->loop->server;
    if (atomic_fetch_add(&server->upgraded, 1) >= UPGRADED_SOCKETS_MAX) {
        atomic_fetch_sub(&server->upgraded, 1);
        respond_text(req, 503, "text/plain", "too many upgraded connections\n");
        return;
    }
    struct http_socket *s = xcalloc(1, sizeof(*s));
    list_init(&s->link);
    s->request = req;
    s->on_socket = on_socket;
    s->arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    http_request_detach(req); /* the function may look at the request for as long as it runs */
    if (current_loop == req->loop) {
        req->response.release = head->release;
        req->response.arg = head->arg;
        upgrade_on_loop(s, head);
        return;
    }
    keep_response(req, head);
    post(req->loop, &s->mail, on_upgrade_mail);
}

ssize_t http_socket_read(struct http_socket *s, void *buf, size_t n, struct error *err)
{
    ssize_t rc = 0;
    pthread_mutex_lock(&s->lock);
    while (socket_unread(s) == 0 && !s->input_ended && !s->is_shut)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->is_shut) {
        rc = error_set(err, ERR_CANCELED, "socket was shut down");
    } else if (socket_unread(s) > 0) {
        bool was_full = socket_unread(s) >= SOCKET_BUFFER_BYTES;
        size_t len = n < socket_unread(s) ? n : socket_unread(s);
        memcpy(buf, s->in.data + s->in_at, len);
        s->in_at += len;
        rc = (ssize_t)len;
        if (was_full && socket_unread(s) < SOCKET_BUFFER_BYTES)
            socket_post(s);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int http_socket_write(struct http_socket *s, const void *buf, size_t n, struct error *err)
{
    const char *p = buf;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (n > 0 && rc == 0) {
        if (s->is_shut) {
            rc = error_set(err, ERR_CANCELED, "socket was shut down");
        } else if (s->output_failed) {
            rc = error_set(err, ERR_UNAVAILABLE, "connection closed by the peer");
        } else if (s->out.len >= SOCKET_BUFFER_BYTES) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else {
            size_t room = SOCKET_BUFFER_BYTES - s->out.len;
            size_t len = n < room ? n : room;
            buffer_add(&s->out, p, len);
            p += len;
            n -= len;
            socket_post(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void http_socket_shutdown(struct http_socket *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_shut = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- start and stop ---- */

static void loop_use_tls(struct server_loop *loop)
{
    struct http_server *s = loop->server;
    pthread_mutex_lock(&s->lock);
    struct tls *tls = tls_ref(s->tls);
    pthread_mutex_unlock(&s->lock);
    loop->accept.ssl_ctx = tls ? tls_server_ctx(tls, on_tls_peer) : NULL;
    tls_unref(loop->tls); /* connections hold the old context themselves */
    loop->tls = tls;
}

struct tls_mail {
    struct mail mail;
    struct server_loop *loop;
};

static void on_tls_mail(struct mail *m)
{
    struct tls_mail *t = container_of(m, struct tls_mail, mail);
    loop_use_tls(t->loop);
    free(t);
}

void http_server_set_tls(struct http_server *s, struct tls *tls)
{
    pthread_mutex_lock(&s->lock);
    struct tls *old = s->tls;
    s->tls = tls_ref(tls);
    pthread_mutex_unlock(&s->lock);
    tls_unref(old);
    for (int i = 0; i < s->loops_n; i++) {
        struct tls_mail *t = xcalloc(1, sizeof(*t));
        t->loop = &s->loops[i];
        post(t->loop, &t->mail, on_tls_mail);
    }
}

/* Closes connections on which nothing has been going on since the last sweep, all of them once the
 * grace is over, and ends the loop when there are none. */
static void on_sweep(h2o_timeout_entry_t *entry)
{
    struct server_loop *loop = container_of(entry, struct server_loop, sweep_entry);
    bool is_late = h2o_now(loop->ctx.loop) >= loop->stop_deadline;
    for (struct list *l = loop->connections.next; l != &loop->connections; l = l->next) {
        struct connection *c = container_of(l, struct connection, link);
        if (is_late || (c->open_requests == 0 && c->idle_at_sweep))
            connection_shut(c);
        c->idle_at_sweep = c->open_requests == 0;
    }
    for (struct list *l = loop->sockets.next; is_late && l != &loop->sockets; l = l->next)
        http_socket_shutdown(container_of(l, struct http_socket, link));
    if (loop->connections.next == &loop->connections && loop->handles == 0)
        loop->stopped = true;
    else
        h2o_timeout_link(loop->ctx.loop, &loop->sweep, &loop->sweep_entry);
}

static void on_stop_mail(struct mail *m)
{
    struct server_loop *loop = container_of(m, struct server_loop, stop_mail);
    loop->stopping = true;
    loop->stop_deadline = h2o_now(loop->ctx.loop) + (uint64_t)loop->server->grace_ms;
    if (loop->listener)
        h2o_socket_close(loop->listener);
    loop->listener = NULL;
    h2o_context_request_shutdown(&loop->ctx);
    for (struct list *l = loop->streams.next, *next; l != &loop->streams; l = next) {
        next = l->next; /* sending the end may remove it */
        stream_flush(container_of(l, struct http_stream, link));
    }
    h2o_timeout_link(loop->ctx.loop, &loop->sweep, &loop->sweep_entry);
    /* The others end after the listener, so that no accepted connection is on its way to them. */
    struct http_server *s = loop->server;
    for (int i = 1; loop == &s->loops[0] && i < s->loops_n; i++)
        post(&s->loops[i], &s->loops[i].stop_mail, on_stop_mail);
}

static void loop_init(struct server_loop *loop)
{
    struct http_server *s = loop->server;
    list_init(&loop->connections);
    list_init(&loop->streams);
    list_init(&loop->sockets);
    pthread_mutex_init(&loop->post_lock, NULL);
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &s->globalconf);
    loop->accept = (h2o_accept_ctx_t){ .ctx = &loop->ctx, .hosts = s->globalconf.hosts };
    loop->queue = h2o_multithread_create_queue(loop->ctx.loop);
    h2o_multithread_register_receiver(loop->queue, &loop->mailbox, on_mail);
    h2o_timeout_init(loop->ctx.loop, &loop->sweep, STOP_SWEEP_MS);
    h2o_timeout_init(loop->ctx.loop, &loop->accept_pause, ACCEPT_PAUSE_MS);
    loop->sweep_entry.cb = on_sweep;
    loop->accept_pause_entry.cb = on_accept_pause_over;
    loop_use_tls(loop);
    if (loop != &s->loops[0])
        return;
    loop->listener =
        h2o_evloop_socket_create(loop->ctx.loop, s->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
    loop->listener->data = loop;
}

static void loop_deinit(struct server_loop *loop)
{
    /* Whoever posted last may still be inside post(). */
    pthread_mutex_lock(&loop->post_lock);
    pthread_mutex_unlock(&loop->post_lock);
    h2o_timeout_unlink(&loop->accept_pause_entry);
    /* libh2o would send its second GOAWAY a second later; there is nobody left. */
    h2o_timeout_unlink(&loop->ctx.http2._graceful_shutdown_timeout);
    h2o_timeout_dispose(loop->ctx.loop, &loop->accept_pause);
    h2o_timeout_dispose(loop->ctx.loop, &loop->sweep);
    h2o_multithread_unregister_receiver(loop->queue, &loop->mailbox);
    h2o_multithread_destroy_queue(loop->queue);
    h2o_loop_t *h2o = loop->ctx.loop;
    h2o_context_dispose(&loop->ctx);
    h2o_evloop_destroy(h2o);
    pthread_mutex_destroy(&loop->post_lock);
    tls_unref(loop->tls);
}

/* libh2o keeps free lists in thread-local storage and its sockets remember whose, so that whatever
 * a loop uses has to be made by its own thread. */
static void *loop_thread(void *arg)
{
    struct server_loop *loop = arg;
    struct http_server *s = loop->server;
    current_loop = loop;
    loop_init(loop);
    sem_post(&s->started);
    while (!loop->stopped)
        h2o_evloop_run(loop->ctx.loop, INT32_MAX);
    loop_deinit(loop);
    return NULL;
}

static void configure(struct http_server *s)
{
    h2o_globalconf_t *g = &s->globalconf;
    h2o_config_init(g);
    g->server_name = h2o_iovec_init(H2O_STRLIT("coracle"));
    g->max_request_entity_size = ENTITY_BYTES_MAX;
    g->handshake_timeout = HANDSHAKE_TIMEOUT_MS;
    g->http1.req_timeout = IDLE_TIMEOUT_MS;
    g->http1.upgrade_to_http2 = 0; /* Upgrade is for exec, attach and port-forward */
    g->http2.idle_timeout = IDLE_TIMEOUT_MS;
    h2o_hostconf_t *host =
        h2o_config_register_host(g, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->server = s;
}

struct http_server *http_server_start(const struct http_server_config *config, struct error *err)
{
    ignore_sigpipe();
    int port = config->port;
    int fd = socket_listen(config->bind_address, &port, err);
    if (fd < 0)
        return NULL;
    struct http_server *s = xcalloc(1, sizeof(*s));
    s->config = *config;
    s->listen_fd = fd;
    s->port = port;
    s->tls = tls_ref(config->tls);
    s->loops_n = config->loops < 1 ? 1 : config->loops > LOOPS_MAX ? LOOPS_MAX : config->loops;
    pthread_mutex_init(&s->lock, NULL);
    configure(s);
    sem_init(&s->started, 0, 0);
    for (int i = 0; i < s->loops_n; i++) {
        s->loops[i].server = s;
        ensure(pthread_create(&s->loops[i].thread, NULL, loop_thread, &s->loops[i]) == 0);
    }
    for (int i = 0; i < s->loops_n; i++)
        while (sem_wait(&s->started) < 0)
            ensure(errno == EINTR);
    post(&s->loops[0], &s->loops[0].start_mail, on_listen_mail);
    return s;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_stop(struct http_server *s, int grace_ms)
{
    if (!s)
        return;
    s->grace_ms = grace_ms;
    post(&s->loops[0], &s->loops[0].stop_mail, on_stop_mail);
    for (int i = 0; i < s->loops_n; i++)
        pthread_join(s->loops[i].thread, NULL);
    sem_destroy(&s->started);
    h2o_config_dispose(&s->globalconf);
    pthread_mutex_destroy(&s->lock);
    tls_unref(s->tls);
    free(s);
}
