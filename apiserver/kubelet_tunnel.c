/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_tunnel.c - exec, attach and port-forward: the client's upgrade request is asked again of
 * the kubelet; after its 101 the bytes go both ways unread.
 */
#include <strings.h>

#include "apiserver/kubelet_proxy.h"
#include "apiserver/pki.h"
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

static struct stream *dial(struct request *r, const struct kubelet_target *target,
                           struct error *err)
{
    struct tls_client_config config = { 0 };
    pki_kubelet_client(r->server->pki, r->arena, &config);
    scoped(tls) struct tls *tls = tls_client_new(&config, err);
    return tls ? stream_dial(target->address, tls, DIAL_TIMEOUT_MS, err) : NULL;
}

static int ask(struct request *r, const struct kubelet_target *target, struct stream *kubelet,
               struct http_relay_answer *out, struct error *err)
{
    scoped(buffer) struct buffer head = { 0 };
    struct bytes method = http_request_method(r->http);
    buffer_printf(&head, "%.*s %s HTTP/1.1\r\nhost: %s\r\n", (int)method.len, method.data,
                  target->path, target->address);
    http_relay_add_headers(r->http, &head);
    return http_relay_ask(kubelet, buffer_bytes(&head), r->arena, out, err);
}

static void pass_refusal(struct request *r, const struct http_relay_answer *answer)
{
    struct error err = { 0 };
    error_set(&err, error_from_http(answer->status, NULL), "%.*s", (int)answer->body.len,
              answer->body.data);
    respond_error(r, &err, NULL);
}

void kubelet_tunnel_run(struct request *r, const struct kubelet_target *target)
{
    struct error err = { 0 };
    struct http_relay_answer answer;
    scoped(stream) struct stream *kubelet = dial(r, target, &err);
    if (!kubelet || ask(r, target, kubelet, &answer, &err) < 0) {
        const char *why = arena_strdup(r->arena, err.message);
        error_set(&err, ERR_INTERNAL, "error dialing backend: %s", why);
        respond_error(r, &err, NULL);
    } else if (answer.status == 101) {
        respond_count(r, 101);
        http_relay_start(r->http, &answer, take_ptr(&kubelet));
    } else {
        pass_refusal(r, &answer);
    }
}
