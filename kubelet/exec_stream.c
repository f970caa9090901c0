/* SPDX-License-Identifier: Apache-2.0 */
/* exec_stream.c - exec, attach and port-forward to the runtime's streaming server. */
#include "kubelet/exec_stream.h"

#include <pthread.h>
#include <strings.h>

#include "base/log.h"
#include "base/tls.h"

#define DIAL_TIMEOUT_MS 10000
#define HEAD_BYTES_MAX  (16 * 1024)
#define RELAY_BYTES     (32 * 1024)
#define HEADERS_MAX     16

struct session {
    struct stream *runtime;
    struct http_socket *client;
    struct buffer early; /* what the runtime sent right behind its head */
};

static void session_free(struct session *s)
{
    stream_close(s->runtime);
    buffer_free(&s->early);
    free(s);
}

/* ---- asking the runtime ---- */

static void pass_header(struct bytes name, struct bytes value, void *arg)
{
    static const char *const passed[] = { "x-stream-protocol-version", "sec-websocket-key",
                                          "sec-websocket-version",     "sec-websocket-protocol",
                                          "sec-websocket-extensions",  "origin" };
    for (size_t i = 0; i < ARRAY_LEN(passed); i++)
        if (bytes_equal_str(name, passed[i]))
            buffer_printf(arg, "%s: %.*s\r\n", passed[i], (int)value.len, value.data);
}

/* "http://127.0.0.1:40001/exec/TOKEN": the address and the rest. */
static int split_url(const char *url, struct arena *a, const char **address, const char **path,
                     struct error *err)
{
    static const char scheme[] = "http://";
    if (!str_has_prefix(url, scheme))
        return error_set(err, ERR_INTERNAL, "the runtime's streaming address is %s", url);
    const char *host = url + strlen(scheme);
    size_t len = strcspn(host, "/");
    *address = arena_strndup(a, host, len);
    *path = host[len] ? host + len : "/";
    return 0;
}

static int send_request(struct http_request *req, const char *address, const char *path,
                        struct bytes query, struct stream *s, struct error *err)
{
    __attribute__((cleanup(buffer_scoped))) struct buffer b = { 0 };
    struct bytes method = http_request_method(req);
    struct bytes upgrade = http_request_header(req, "upgrade");
    buffer_printf(&b, "%.*s %s%s%.*s HTTP/1.1\r\nhost: %s\r\nconnection: Upgrade\r\n",
                  (int)method.len, method.data, path, query.len ? "?" : "", (int)query.len,
                  query.data ? query.data : "", address);
    buffer_printf(&b, "upgrade: %.*s\r\n", (int)upgrade.len, upgrade.data);
    http_request_each_header(req, pass_header, &b);
    buffer_add_str(&b, "content-length: 0\r\n\r\n");
    return stream_write(s, b.data, b.len, err);
}

/* The answer's status and the headers that a client needs of it. */
static int parse_head(char *head, struct arena *a, struct http_header *headers, size_t *n)
{
    char *rest = head;
    const char *line = strsep(&rest, "\n");
    const char *space = strchr(line, ' ');
    int status = space ? atoi(space + 1) : 0;
    for (char *l; (l = strsep(&rest, "\n")) && *n < HEADERS_MAX;) {
        char *colon = strchr(l, ':');
        if (!colon)
            continue;
        *colon = '\0';
        char *value = colon + 1 + strspn(colon + 1, " ");
        value[strcspn(value, "\r")] = '\0';
        char *name = arena_strdup(a, l);
        for (char *p = name; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        if (str_equal(name, "content-length") || str_equal(name, "transfer-encoding") ||
            str_equal(name, "date"))
            continue;
        headers[(*n)++] = (struct http_header){ name, arena_strdup(a, value) };
    }
    return status;
}

/* ---- relaying ---- */

static void *runtime_to_client(void *arg)
{
    struct session *s = arg;
    struct error err = { 0 };
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n = 0;
    int rc = s->early.len ? http_socket_write(s->client, s->early.data, s->early.len, &err) : 0;
    while (rc == 0 && (n = stream_read(s->runtime, buf, RELAY_BYTES, &err)) > 0)
        rc = http_socket_write(s->client, buf, (size_t)n, &err);
    free(buf);
    http_socket_shutdown(s->client);
    stream_shutdown(s->runtime);
    return NULL;
}

static void relay(struct http_socket *client, void *arg)
{
    struct session *s = arg;
    struct error err = { 0 };
    s->client = client;
    pthread_t back;
    ensure(pthread_create(&back, NULL, runtime_to_client, s) == 0);
    char *buf = xmalloc(RELAY_BYTES);
    ssize_t n;
    while ((n = http_socket_read(client, buf, RELAY_BYTES, &err)) > 0)
        if (stream_write(s->runtime, buf, (size_t)n, &err) < 0)
            break;
    free(buf);
    /* The client's end of sending is the end of its session: SPDY and WebSocket say goodbye inside.
     */
    stream_shutdown(s->runtime);
    pthread_join(back, NULL);
    session_free(s);
}

/* ---- the whole ---- */

static void respond_error(struct http_request *req, int status, const char *message)
{
    struct arena *a = http_request_arena(req);
    struct bytes *body = arena_alloc(a, sizeof(*body));
    *body = bytes_of(arena_printf(a, "%s\n", message));
    static const struct http_header header = { "content-type", "text/plain; charset=utf-8" };
    http_respond(
        req,
        &(struct http_response){
            .status = status, .headers = &header, .headers_n = 1, .parts = body, .parts_n = 1 });
}

void exec_stream_serve(struct http_request *req, const char *url, struct bytes query)
{
    struct arena *a = http_request_arena(req);
    struct error err = { 0 };
    const char *address = NULL, *path = NULL;
    struct session *s = xcalloc(1, sizeof(*s));
    struct buffer answer = { 0 };
    size_t head_len = 0, headers_n = 0;
    struct http_header headers[HEADERS_MAX];
    if (split_url(url, a, &address, &path, &err) < 0 ||
        !(s->runtime = stream_dial(address, NULL, DIAL_TIMEOUT_MS, &err)) ||
        send_request(req, address, path, query, s->runtime, &err) < 0 ||
        stream_read_head(s->runtime, HEAD_BYTES_MAX, &answer, &head_len, &err) < 0) {
        respond_error(req, 500, err.message);
        goto fail;
    }
    buffer_add(&s->early, answer.data + head_len, answer.len - head_len);
    char *head = arena_strndup(a, answer.data, head_len);
    int status = parse_head(head, a, headers, &headers_n);
    if (status != 101) {
        respond_error(req, status >= 400 ? status : 500,
                      s->early.len ? arena_strndup(a, s->early.data, s->early.len)
                                   : "the runtime refused the stream");
        goto fail;
    }
    buffer_free(&answer);
    http_upgrade(
        req, &(struct http_response){ .status = 101, .headers = headers, .headers_n = headers_n },
        relay, s);
    return;
fail:
    buffer_free(&answer);
    session_free(s);
}
