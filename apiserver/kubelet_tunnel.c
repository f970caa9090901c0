/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_tunnel.c - exec, attach and port-forward: the client's upgrade request is asked again of
 * the kubelet; after its 101 the bytes go both ways unread.
 */
#include <pthread.h>

#include "apiserver/kubelet_proxy.h"
#include "apiserver/pki.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"

#define DIAL_TIMEOUT_MS    10000
#define ANSWER_BYTES_MAX   (16 * 1024)
#define RELAY_BYTES        (32 * 1024)
#define ANSWER_HEADERS_MAX 16

struct tunnel {
    struct stream *kubelet;
    struct http_socket *client;
    struct buffer early; /* what the kubelet sent right after its answer's head */
};

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

/* ---- asking the kubelet ---- */

static void add_header(struct bytes name, struct bytes value, void *arg)
{
    static const char *const passed[] = { "connection",
                                          "upgrade",
                                          "x-stream-protocol-version",
                                          "sec-websocket-key",
                                          "sec-websocket-version",
                                          "sec-websocket-protocol",
                                          "sec-websocket-extensions",
                                          "origin" };
    for (size_t i = 0; i < ARRAY_LEN(passed); i++)
        if (bytes_equal_str(name, passed[i]))
            buffer_printf(arg, "%.*s: %.*s\r\n", (int)name.len, name.data, (int)value.len,
                          value.data);
}

static int send_request(struct request *r, const struct kubelet_target *target, struct stream *s,
                        struct error *err)
{
    struct buffer b = { 0 };
    struct bytes method = http_request_method(r->http);
    buffer_printf(&b, "%.*s %s HTTP/1.1\r\nhost: %s\r\n", (int)method.len, method.data,
                  target->path, target->address);
    http_request_each_header(r->http, add_header, &b);
    /* libh2o takes connection and upgrade for itself and does not list them. */
    if (!memmem(b.data, b.len, "\r\nupgrade:", strlen("\r\nupgrade:"))) {
        struct bytes upgrade = http_request_header(r->http, "upgrade");
        buffer_printf(&b, "connection: Upgrade\r\nupgrade: %.*s\r\n", (int)upgrade.len,
                      upgrade.data);
    }
    buffer_add_str(&b, "content-length: 0\r\n\r\n");
    int rc = stream_write(s, b.data, b.len, err);
    buffer_free(&b);
    return rc;
}

/* ---- relaying ---- */

static void *kubelet_to_client(void *arg)
{
    struct tunnel *t = arg;
    struct error err = { 0 };
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n = 0;
    int rc = t->early.len ? http_socket_write(t->client, t->early.data, t->early.len, &err) : 0;
    while (rc == 0 && (n = stream_read(t->kubelet, buf, RELAY_BYTES, &err)) > 0)
        rc = http_socket_write(t->client, buf, (size_t)n, &err);
    free(buf);
    http_socket_shutdown(t->client);
    stream_shutdown(t->kubelet);
    return NULL;
}

static void tunnel_free(struct tunnel *t)
{
    stream_close(t->kubelet);
    buffer_free(&t->early);
    free(t);
}

static void client_to_kubelet(struct http_socket *client, void *arg)
{
    struct tunnel *t = arg;
    struct error err = { 0 };
    pthread_t back;
    t->client = client;
    if (pthread_create(&back, NULL, kubelet_to_client, t) != 0) {
        tunnel_free(t);
        return;
    }
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n;
    while ((n = http_socket_read(client, buf, RELAY_BYTES, &err)) > 0)
        if (stream_write(t->kubelet, buf, (size_t)n, &err) < 0)
            break;
    free(buf);
    stream_shutdown(t->kubelet);
    pthread_join(back, NULL);
    tunnel_free(t);
}

/* ---- the answer ---- */

/* The headers of a 101 that matter to the client: which protocol was chosen. */
static size_t answer_headers(struct request *r, struct bytes head, struct http_header *out)
{
    size_t n = 0;
    const char *line = memmem(head.data, head.len, "\r\n", 2);
    while (line && n < ANSWER_HEADERS_MAX) {
        line += 2;
        size_t left = head.len - (size_t)(line - head.data);
        const char *end = memmem(line, left, "\r\n", 2);
        const char *colon = end ? memchr(line, ':', (size_t)(end - line)) : NULL;
        if (!colon)
            break;
        char *name = arena_strndup(r->arena, line, (size_t)(colon - line));
        for (char *c = name; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c - 'A' + 'a');
        const char *value = colon + 1;
        while (*value == ' ')
            value++;
        if (strcmp(name, "content-length") != 0 && strcmp(name, "transfer-encoding") != 0)
            out[n++] =
                (struct http_header){ name, arena_strndup(r->arena, value, (size_t)(end - value)) };
        line = end;
    }
    return n;
}

static void pass_refusal(struct request *r, int status, const struct buffer *answer,
                         size_t head_len)
{
    struct error err = { 0 };
    error_set(&err, error_from_http(status, NULL), "%.*s", (int)(answer->len - head_len),
              answer->data + head_len);
    respond_error(r, &err, NULL);
}

void kubelet_tunnel_run(struct request *r, const struct kubelet_target *target)
{
    struct error err = { 0 };
    struct tls_client_config config = { 0 };
    struct buffer answer = { 0 };
    size_t head_len = 0;
    pki_kubelet_client(r->server->pki, &config);
    scoped(tls) struct tls *tls = tls_client_new(&config, &err);
    scoped(stream) struct stream *s =
        tls ? stream_dial(target->address, tls, DIAL_TIMEOUT_MS, &err) : NULL;
    if (!s || send_request(r, target, s, &err) < 0 ||
        stream_read_head(s, ANSWER_BYTES_MAX, &answer, &head_len, &err) < 0) {
        const char *why = arena_strdup(r->arena, err.message);
        error_set(&err, ERR_INTERNAL, "error dialing backend: %s", why);
        respond_error(r, &err, NULL);
        buffer_free(&answer);
        return;
    }
    int status = answer.len > 12 ? atoi(answer.data + 9) : 500; /* after "HTTP/1.1 " */
    if (status != 101) {
        pass_refusal(r, status, &answer, head_len);
        buffer_free(&answer);
        return;
    }
    struct tunnel *t = xcalloc(1, sizeof(*t));
    t->kubelet = take_ptr(&s);
    buffer_add(&t->early, answer.data + head_len, answer.len - head_len);
    struct http_header *headers = arena_alloc(r->arena, ANSWER_HEADERS_MAX * sizeof(*headers));
    struct bytes head = { answer.data, head_len };
    struct http_response response = { .status = 101, .headers = headers };
    response.headers_n = answer_headers(r, head, headers);
    respond_count(r, 101);
    http_upgrade(r->http, &response, client_to_kubelet, t);
    buffer_free(&answer);
}
