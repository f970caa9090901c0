/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_proxy.c - logs and proxied requests: one HTTP exchange, streamed through. */
#include "apiserver/kubelet_proxy.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "apiserver/pki.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"
#include "base/http_client.h"

#define PROXY_TIMEOUT_MS  60000
#define PROXY_HEADERS_MAX 64
/* A client that reads slower than the kubelet writes: the reader waits while so many pieces are
 * queued. */
#define LOG_PIECES_QUEUED 64

struct exchange {
    struct request *request;
    struct kubelet_target target;
    struct http_client *client;
    struct http_stream *stream; /* of a log, once the kubelet has said that it has it */
    int client_left_fd;         /* readable once it has */
};

static struct http_client *client_for(struct request *r, const struct kubelet_target *target,
                                      struct error *err)
{
    struct tls_client_config tls = { .insecure_skip_verify = true };
    if (target->is_kubelet)
        pki_kubelet_client(r->server->pki, r->arena, &tls);
    return http_client_new(&tls, err);
}

static const char *url_of(struct request *r, const struct kubelet_target *t)
{
    return arena_printf(r->arena, "%s://%s%s", t->scheme, t->address, t->path);
}

/* ---- logs ---- */

static void on_client_left(void *arg)
{
    struct exchange *x = arg;
    eventfd_write(x->client_left_fd, 1);
}

/* As soon as the kubelet has the log: a reader who leaves before its first line is noticed. */
static void start_stream(void *arg)
{
    struct exchange *x = arg;
    struct http_response head = { .status = 200 };
    head.headers = respond_headers(x->request, "text/plain", &head.headers_n);
    respond_count(x->request, 200);
    x->stream = http_stream_start(x->request->http, &head, on_client_left, x);
}

static int on_log_piece(struct bytes piece, void *arg)
{
    struct exchange *x = arg;
    if (!http_stream_wait(x->stream, LOG_PIECES_QUEUED))
        return -1;
    scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(piece);
    http_stream_write(x->stream, chunk);
    return 0;
}

/* X lies in the request, and that goes with the stream: not to be touched from then on. */
static void end_stream(struct exchange *x)
{
    eventfd_t ignored;
    int client_left_fd = x->client_left_fd;
    http_stream_end(x->stream);
    eventfd_read(client_left_fd, &ignored); /* on_client_left() has run, or will */
}

static void answer_without_stream(struct request *r, const struct http_client_response *answer,
                                  int rc, struct error *err)
{
    if (rc < 0) {
        err->code = ERR_UNKNOWN;
        respond_error(r, err, NULL);
    } else {
        error_set(err, error_from_http(answer->status, NULL), "%.*s", (int)answer->body.len,
                  answer->body.data ? answer->body.data : "");
        respond_error(r, err, NULL);
    }
}

static void run_log(struct exchange *x)
{
    struct request *r = x->request;
    struct error err = { 0 };
    int client_left_fd = x->client_left_fd = eventfd(0, EFD_CLOEXEC);
    if (client_left_fd < 0) {
        error_errno(&err, "follow a log");
        respond_error(r, &err, NULL);
        return;
    }
    scoped(arena) struct arena *arena = arena_new();
    struct http_client_response answer = { 0 };
    struct http_client_request ask = { .method = "GET",
                                       .url = url_of(r, &x->target),
                                       .cancel_fd = client_left_fd,
                                       .on_success = start_stream };
    int rc = http_client_do(x->client, &ask, on_log_piece, x, arena, &answer, &err);
    if (x->stream)
        end_stream(x);
    else
        answer_without_stream(r, &answer, rc, &err);
    close(client_left_fd);
}

/* ---- proxy ---- */

struct header_list {
    struct arena *arena;
    struct http_header items[PROXY_HEADERS_MAX];
    size_t n;
};

static void take_header(struct bytes name, struct bytes value, void *arg)
{
    /* What concerns this connection, and who the client is to us, stays here. */
    static const char *const own[] = {
        "host",          "connection", "content-length", "transfer-encoding", "upgrade",
        "authorization", "te",         "accept-encoding"
    };
    struct header_list *list = arg;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (bytes_equal_str(name, own[i]))
            return;
    if (list->n < PROXY_HEADERS_MAX && name.len > 0 && name.data[0] != ':')
        list->items[list->n++] =
            (struct http_header){ arena_strndup(list->arena, name.data, name.len),
                                  arena_strndup(list->arena, value.data, value.len) };
}

static void run_proxy(struct exchange *x)
{
    struct request *r = x->request;
    struct error err = { 0 };
    struct http_client_response answer = { 0 };
    struct header_list headers = { .arena = r->arena };
    struct bytes method = http_request_method(r->http);
    http_request_each_header(r->http, take_header, &headers);
    struct http_client_request ask = { .method = arena_strndup(r->arena, method.data, method.len),
                                       .url = url_of(r, &x->target),
                                       .headers = headers.items,
                                       .headers_n = headers.n,
                                       .body = http_request_body(r->http),
                                       .timeout_ms = PROXY_TIMEOUT_MS };
    if (http_client_round_trip(x->client, &ask, NULL, NULL, r->arena, &answer, &err) < 0) {
        const char *why = arena_strdup(r->arena, err.message);
        error_set(&err, ERR_UNAVAILABLE, "error trying to reach service: %s", why);
        respond_error(r, &err, NULL);
        return;
    }
    const char *type = answer.content_type.len ? arena_strndup(r->arena, answer.content_type.data,
                                                               answer.content_type.len)
                                               : "application/octet-stream";
    respond_text(r, answer.status, type, answer.body);
}

/* ---- the way in ---- */

static bool is_tunnel(const struct request *r)
{
    const char *s = r->info.subresource;
    return str_equal(s, "exec") || str_equal(s, "attach") || str_equal(s, "portforward");
}

static void run_exchange(void *arg)
{
    struct exchange *x = arg;
    struct error err = { 0 };
    struct request *r = x->request;
    if (is_tunnel(r)) {
        kubelet_tunnel_run(r, &x->target);
        return;
    }
    struct http_client *client = x->client = client_for(r, &x->target, &err);
    if (!client) {
        respond_error(r, &err, NULL);
        return;
    }
    if (str_equal(r->info.subresource, "log"))
        run_log(x);
    else
        run_proxy(x);
    http_client_free(client);
}

static int check_upgrade(struct request *r, struct error *err)
{
    if (!is_tunnel(r))
        return 0;
    if (!http_request_is_upgrade(r->http))
        return error_set(err, ERR_BAD_REQUEST, "Upgrade request required");
    if (!kubelet_tunnel_is_supported(r))
        return error_set(err, ERR_BAD_REQUEST,
                         "unable to upgrade: the WebSocket protocols offered are not supported");
    return 0;
}

void kubelet_proxy_http(struct request *r)
{
    struct error err = { 0 };
    struct exchange *x = arena_zalloc(r->arena, sizeof(*x));
    x->request = r;
    if (check_upgrade(r, &err) < 0 || kubelet_target_find(r, &x->target, &err) < 0) {
        struct outcome about = { .details = x->target.missing };
        respond_error(r, &err, &about);
        return;
    }
    http_request_detach(r->http);
    if (worker_pool_submit(r->server->streams, run_exchange, x, &err) < 0)
        respond_error(r, &err, NULL);
}
