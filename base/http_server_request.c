/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server_request.c - a request from libh2o to the handler: headers, limits, detaching.
 */
#include "base/http_server.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/http_server_internal.h"
#include "base/limits.h"
#include "base/log.h"

/* libh2o has at most 100 open streams a connection; requests whose client has left but on which a
 * worker is still busy come on top. */
#define REQUESTS_OPEN_MAX 256

void http_server_request_free(struct http_request *r)
{
    if (r->response.release)
        r->response.release(r->response.arg);
    if (r->left_fd >= 0)
        close(r->left_fd);
    r->connection->open_requests--;
    r->loop->handles--;
    http_server_connection_unref(r->connection);
    arena_free(r->arena);
    free(r);
}

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
    http_server_connection_shut(c);
}

/* libh2o is done with the request, answered or not. */
static void on_dispose(void *slot)
{
    struct http_request *r = *(struct http_request **)slot;
    r->h2o = NULL;
    if (r->connection->waiting == r)
        r->connection->waiting = NULL;
    if (r->left_fd >= 0)
        eventfd_write(r->left_fd, 1);
    if (r->state != REQUEST_UPGRADED)
        count_end(r);
    if (r->state == REQUEST_ANSWERED)
        http_server_request_free(r);
    else if (r->state == REQUEST_STREAMING)
        http_server_stream_lost(r->stream);
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

/* HPACK makes 40 MB of headers of 400 kB that are sent, and libh2o keeps them for as long as the
 * answer is not read: who does that loses the connection, and with it all of them. */
static bool is_bomb(const h2o_req_t *req)
{
    return req->headers.size > REQUEST_HEADERS_MAX;
}

static void expel_bomber(struct http_request *r)
{
    struct connection *c = r->connection;
    if (!c->is_expelled)
        log_warn("http", "%s sends %zu headers in a request: connection closed", c->remote_ip,
                 r->h2o->headers.size);
    c->is_expelled = true;
    http_server_connection_shut(c);
    http_server_respond_text(r, 431, "text/plain", "request headers are too many\n");
}

static struct http_request *request_new(h2o_req_t *req)
{
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    struct http_request *r = xcalloc(1, sizeof(*r));
    r->loop = http_server_current_loop;
    r->connection = sock->on_close.data;
    atomic_fetch_add_explicit(&r->connection->refs, 1, memory_order_relaxed);
    r->connection->open_requests++;
    r->loop->handles++;
    r->h2o = req;
    r->left_fd = -1;
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

int http_server_on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct http_server *s = container_of(self, struct handler, super)->server;
    struct http_request *r = request_new(req);
    if (is_bomb(req))
        expel_bomber(r);
    else if (collect_headers(r, req) > REQUEST_HEADER_BYTES_MAX)
        http_server_respond_text(r, 431, "text/plain", "request headers are too large\n");
    else if (r->connection->open_requests > REQUESTS_OPEN_MAX)
        http_server_respond_text(r, 429, "text/plain", "too many requests on this connection\n");
    else if (r->body.len > REQUEST_BODY_BYTES_MAX && s->config.too_large_json)
        http_server_respond_text(r, 413, "application/json", s->config.too_large_json);
    else if (r->body.len > REQUEST_BODY_BYTES_MAX)
        http_server_respond_text(r, 413, "text/plain", "request body is too large\n");
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

int http_request_left_fd(struct http_request *req)
{
    if (req->left_fd < 0)
        req->left_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http_server_hangup_watch(req);
    return req->left_fd;
}

bool http_request_is_upgrade(const struct http_request *req)
{
    return req->is_upgrade;
}

bool http_request_is_websocket(const struct http_request *req)
{
    struct bytes upgrade = http_request_header(req, "upgrade");
    return req->is_upgrade && upgrade.len == strlen("websocket") &&
           strncasecmp(upgrade.data, "websocket", upgrade.len) == 0;
}

bool http_request_is_detached(const struct http_request *req)
{
    return req->is_detached;
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
