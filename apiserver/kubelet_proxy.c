/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_proxy.c - what is asked of others, and their logs: one HTTP exchange, streamed through.
 */
#include "apiserver/kubelet_proxy.h"

#include "apiserver/pki.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"
#include "base/http_client.h"
#include "base/log.h"

/* A client that reads slower than the kubelet writes: the reader waits while so many pieces are
 * queued. */
#define LOG_PIECES_QUEUED 64
#define REFUSAL_BYTES_MAX (64 * 1024)

const char *exchange_url(const struct exchange *x)
{
    const struct kubelet_target *t = &x->target;
    return arena_printf(x->request->arena, "%s://%s%s", t->scheme, t->address, t->path);
}

/* ---- logs ---- */

struct log {
    struct exchange *exchange;
    struct http_stream *stream; /* once the kubelet has said that it has the log */
    int refused_with;           /* a status, otherwise, and why */
    struct buffer why;
};

/* As soon as the kubelet has the log: a reader who leaves before its first line is noticed. */
static void on_log_head(const struct http_client_head *answer, void *arg)
{
    struct log *l = arg;
    struct request *r = l->exchange->request;
    if (answer->status < 200 || answer->status >= 300) {
        l->refused_with = answer->status;
        return;
    }
    struct http_response head = { .status = 200 };
    head.headers = respond_headers(r, "text/plain", &head.headers_n);
    respond_count(r, 200);
    l->stream = http_stream_start(r->http, &head, NULL, NULL);
}

static int on_log_piece(struct bytes piece, void *arg)
{
    struct log *l = arg;
    if (!l->stream) {
        if (l->why.len + piece.len > REFUSAL_BYTES_MAX)
            return -1;
        buffer_add_bytes(&l->why, piece);
        return 0;
    }
    if (!http_stream_wait(l->stream, LOG_PIECES_QUEUED))
        return -1;
    scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(piece);
    http_stream_write(l->stream, chunk);
    return 0;
}

static void refuse_log(struct log *l, struct error *err)
{
    if (l->refused_with)
        error_set(err, error_from_http(l->refused_with, NULL), "%.*s", (int)l->why.len,
                  l->why.data ? l->why.data : "");
    else
        err->code = ERR_UNKNOWN;
    respond_error(l->exchange->request, err, NULL);
}

static void run_log(struct exchange *x, struct http_client *client)
{
    struct error err = { 0 };
    struct log l = { .exchange = x };
    scoped(arena) struct arena *arena = arena_new();
    struct http_client_response answer = { 0 };
    struct http_client_request ask = {
        .method = "GET", .url = exchange_url(x), .cancel_fd = x->left_fd, .on_head = on_log_head
    };
    if (http_client_do(client, &ask, on_log_piece, &l, arena, &answer, &err) < 0 && l.stream)
        log_debug("apiserver", "log: %s", err.message); /* the reader sees an end */
    if (l.stream)
        http_stream_end(l.stream);
    else
        refuse_log(&l, &err);
    buffer_free(&l.why);
}

/* ---- the way in ---- */

static bool is_tunnel(const struct request *r)
{
    const char *s = r->info.subresource;
    return str_equal(s, "exec") || str_equal(s, "attach") || str_equal(s, "portforward");
}

static bool is_proxy(const struct request *r)
{
    return str_equal(r->info.subresource, "proxy");
}

/* A kubelet has to show a certificate of the cluster, and is shown one; others are what they are.
 */
static void choose_tls(struct exchange *x, struct tls_client_config *tls)
{
    *tls = (struct tls_client_config){ .insecure_skip_verify = true };
    if (x->target.is_kubelet)
        pki_kubelet_client(x->request->server->pki, x->request->arena, tls);
    x->tls = str_equal(x->target.scheme, "https") ? tls : NULL;
}

static void run_exchange(void *arg)
{
    struct exchange *x = arg;
    struct error err = { 0 };
    struct request *r = x->request;
    struct tls_client_config tls;
    choose_tls(x, &tls);
    if (is_tunnel(r) || (is_proxy(r) && http_request_is_upgrade(r->http))) {
        kubelet_tunnel_run(x);
        return;
    }
    struct http_client *client = http_client_new(&tls, &err);
    if (!client)
        respond_error(r, &err, NULL);
    else if (is_proxy(r))
        proxy_http_run(x, client);
    else
        run_log(x, client);
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
    if (is_proxy(r) && proxy_http_redirect(x))
        return;
    x->left_fd = http_request_left_fd(r->http);
    http_request_detach(r->http);
    if (worker_pool_submit(r->server->streams, run_exchange, x, &err) < 0)
        respond_error(r, &err, NULL);
}
