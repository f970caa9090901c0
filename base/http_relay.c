/* SPDX-License-Identifier: Apache-2.0 */
/* http_relay.c - asking a backend for an upgrade, and the bytes after it. */
#include "base/http_relay.h"

#include <ctype.h>
#include <pthread.h>
#include <strings.h>

#define HEAD_BYTES_MAX (16 * 1024)
#define RELAY_BYTES    (32 * 1024)

struct relay {
    struct stream *backend;
    struct http_socket *client;
    struct buffer early; /* what the backend sent right behind its head */
};

/* ---- asking ---- */

static void pass_header(struct bytes name, struct bytes value, void *arg)
{
    static const char *const passed[] = { "x-stream-protocol-version", "sec-websocket-key",
                                          "sec-websocket-version",     "sec-websocket-protocol",
                                          "sec-websocket-extensions",  "origin" };
    for (size_t i = 0; i < ARRAY_LEN(passed); i++)
        if (bytes_equal_str(name, passed[i]))
            buffer_printf(arg, "%s: %.*s\r\n", passed[i], (int)value.len, value.data);
}

void http_relay_add_headers(const struct http_request *req, struct buffer *head)
{
    struct bytes upgrade = http_request_header(req, "upgrade");
    buffer_printf(head, "connection: Upgrade\r\nupgrade: %.*s\r\n", (int)upgrade.len, upgrade.data);
    http_request_each_header(req, pass_header, head);
    buffer_add_str(head, "content-length: 0\r\n\r\n");
}

static bool is_about_framing(const char *name)
{
    return str_equal(name, "content-length") || str_equal(name, "transfer-encoding") ||
           str_equal(name, "date");
}

/* Returns the body's length as announced; 0 if it is not. */
static size_t parse_head(char *head, struct http_relay_answer *out)
{
    char *rest = head;
    const char *line = strsep(&rest, "\n");
    const char *space = strchr(line, ' ');
    out->status = space ? atoi(space + 1) : 0;
    size_t body_len = 0;
    for (char *name; (name = strsep(&rest, "\n")) && out->headers_n < RELAY_HEADERS_MAX;) {
        char *colon = strchr(name, ':');
        if (!colon)
            continue;
        *colon = '\0';
        for (char *c = name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        char *value = colon + 1 + strspn(colon + 1, " ");
        value[strcspn(value, "\r")] = '\0';
        if (str_equal(name, "content-length"))
            body_len = strtoul(value, NULL, 10);
        if (!is_about_framing(name))
            out->headers[out->headers_n++] = (struct http_header){ name, value };
    }
    return body_len;
}

static int read_refusal(struct stream *backend, size_t len, struct buffer *body, struct error *err)
{
    char piece[2048];
    if (len > RELAY_REFUSAL_BYTES)
        len = RELAY_REFUSAL_BYTES;
    while (body->len < len) {
        ssize_t n = stream_read(backend, piece, sizeof(piece), err);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        buffer_add(body, piece, (size_t)n);
    }
    return 0;
}

int http_relay_ask(struct stream *backend, struct bytes head, struct arena *a,
                   struct http_relay_answer *out, struct error *err)
{
    scoped(buffer) struct buffer answer = { 0 }, body = { 0 };
    size_t head_len = 0;
    *out = (struct http_relay_answer){ 0 };
    if (stream_write(backend, head.data, head.len, err) < 0 ||
        stream_read_head(backend, HEAD_BYTES_MAX, &answer, &head_len, err) < 0)
        return -1;
    size_t body_len = parse_head(arena_strndup(a, answer.data, head_len), out);
    buffer_add(&body, answer.data + head_len, answer.len - head_len);
    if (out->status != 101 && read_refusal(backend, body_len, &body, err) < 0)
        return -1;
    out->body = arena_bytes(a, buffer_bytes(&body));
    return 0;
}

/* ---- relaying ---- */

static void relay_free(struct relay *r)
{
    stream_close(r->backend);
    buffer_free(&r->early);
    free(r);
}

static void *backend_to_client(void *arg)
{
    struct relay *r = arg;
    struct error err = { 0 };
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n = 0;
    int rc = r->early.len ? http_socket_write(r->client, r->early.data, r->early.len, &err) : 0;
    while (rc == 0 && (n = stream_read(r->backend, buf, RELAY_BYTES, &err)) > 0)
        rc = http_socket_write(r->client, buf, (size_t)n, &err);
    free(buf);
    http_socket_shutdown(r->client);
    stream_shutdown(r->backend);
    return NULL;
}

static void relay(struct http_socket *client, void *arg)
{
    struct relay *r = arg;
    struct error err = { 0 };
    pthread_t back;
    r->client = client;
    if (!client || pthread_create(&back, NULL, backend_to_client, r) != 0) {
        relay_free(r);
        return;
    }
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n;
    while ((n = http_socket_read(client, buf, RELAY_BYTES, &err)) > 0)
        if (stream_write(r->backend, buf, (size_t)n, &err) < 0)
            break;
    free(buf);
    /* Who stops sending ends the session: SPDY and WebSocket say goodbye inside. */
    stream_shutdown(r->backend);
    pthread_join(back, NULL);
    relay_free(r);
}

void http_relay_start(struct http_request *req, const struct http_relay_answer *answer,
                      struct stream *backend_take)
{
    struct relay *r = xcalloc(1, sizeof(*r));
    r->backend = backend_take;
    buffer_add_bytes(&r->early, answer->body);
    http_upgrade(req,
                 &(struct http_response){
                     .status = 101, .headers = answer->headers, .headers_n = answer->headers_n },
                 relay, r);
}
