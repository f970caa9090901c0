/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_tunnel.c - exec, attach, port-forward and proxied upgrades: the client's request is asked
 * again of the kubelet or backend; after its 101 the bytes go both ways unread.
 */
#include <strings.h>

#include "apiserver/kubelet_proxy.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"
#include "base/http_relay.h"

#define DIAL_TIMEOUT_MS 10000

/* ---- which protocols ---- */

/* The runtime's streaming server speaks these over WebSocket. */
static bool offers_known_protocol(struct bytes offered)
{
    static const char *const known[] = { "v4.channel.k8s.io", "v4.base64.channel.k8s.io",
                                         "channel.k8s.io", "base64.channel.k8s.io" };
    while (offered.len > 0) {
        const char *comma = memchr(offered.data, ',', offered.len);
        size_t n = comma ? (size_t)(comma - offered.data) : offered.len;
        struct bytes one = { offered.data, n };
        while (one.len > 0 && *one.data == ' ')
            one = (struct bytes){ one.data + 1, one.len - 1 };
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            if (bytes_equal_str(one, known[i]))
                return true;
        size_t used = comma ? n + 1 : n;
        offered = (struct bytes){ offered.data + used, offered.len - used };
    }
    return false;
}

bool kubelet_tunnel_is_supported(struct request *r)
{
    if (!http_request_is_websocket(r->http))
        return true;
    struct bytes offered;
    for (size_t i = 0;
         (offered = http_request_header_nth(r->http, "sec-websocket-protocol", i)).data; i++)
        if (offers_known_protocol(offered))
            return true;
    return false;
}

/* ---- the tunnel ---- */

static struct stream *dial(const struct exchange *x, struct error *err)
{
    if (!x->tls)
        return stream_dial(x->target.address, NULL, DIAL_TIMEOUT_MS, err);
    scoped(tls) struct tls *tls = tls_client_new(x->tls, err);
    return tls ? stream_dial(x->target.address, tls, DIAL_TIMEOUT_MS, err) : NULL;
}

static void add_header(const char *name, const char *value, void *head)
{
    buffer_printf(head, "%s: %s\r\n", name, value);
}

static bool is_proxy(const struct request *r)
{
    return str_equal(r->info.subresource, "proxy");
}

static int ask(const struct exchange *x, struct stream *backend, struct http_relay_answer *out,
               struct error *err)
{
    scoped(buffer) struct buffer head = { 0 };
    struct request *r = x->request;
    struct bytes method = http_request_method(r->http);
    struct bytes upgrade = http_request_header(r->http, "upgrade");
    buffer_printf(&head, "%.*s %s HTTP/1.1\r\n", (int)method.len, method.data, x->target.path);
    if (is_proxy(r)) {
        proxy_http_each_header(r, add_header, &head);
        buffer_printf(&head, "connection: Upgrade\r\nupgrade: %.*s\r\n\r\n", (int)upgrade.len,
                      upgrade.data);
    } else {
        buffer_printf(&head, "host: %s\r\n", x->target.address);
        http_relay_add_headers(r->http, &head);
    }
    return http_relay_ask(backend, buffer_bytes(&head), r->arena, out, err);
}

/* Of a backend nothing is known: what it says goes through as it is. */
static void pass_answer(struct request *r, const struct http_relay_answer *answer)
{
    size_t n;
    struct http_header *own = respond_headers(r, NULL, &n);
    struct http_header *all = arena_alloc(r->arena, (n + answer->headers_n) * sizeof(*all));
    memcpy(all, own, n * sizeof(*all));
    memcpy(all + n, answer->headers, answer->headers_n * sizeof(*all));
    respond_count(r, answer->status);
    http_respond(r->http, &(struct http_response){ .status = answer->status,
                                                   .headers = all,
                                                   .headers_n = n + answer->headers_n,
                                                   .parts = &answer->body,
                                                   .parts_n = 1 });
}

static void pass_refusal(struct request *r, const struct http_relay_answer *answer)
{
    struct error err = { 0 };
    if (is_proxy(r) && answer->status >= 400) {
        pass_answer(r, answer);
        return;
    }
    if (is_proxy(r))
        error_set(&err, ERR_UNKNOWN, "invalid upgrade response: status code %d", answer->status);
    else
        error_set(&err, error_from_http(answer->status, NULL), "%.*s", (int)answer->body.len,
                  answer->body.data);
    respond_error(r, &err, NULL);
}

void kubelet_tunnel_run(struct exchange *x)
{
    struct error err = { 0 };
    struct request *r = x->request;
    struct http_relay_answer answer;
    scoped(stream) struct stream *backend = dial(x, &err);
    if (!backend || ask(x, backend, &answer, &err) < 0) {
        const char *why = arena_strdup(r->arena, err.message);
        error_set(&err, ERR_INTERNAL, "error dialing backend: %s", why);
        respond_error(r, &err, NULL);
    } else if (answer.status == 101) {
        respond_count(r, 101);
        http_relay_start(r->http, &answer, take_ptr(&backend));
    } else {
        pass_refusal(r, &answer);
    }
}
