/* SPDX-License-Identifier: Apache-2.0 */
/* exec_stream.c - exec, attach and port-forward to the runtime's streaming server. */
#include "kubelet/exec_stream.h"

#include "base/http_relay.h"

#define DIAL_TIMEOUT_MS 10000

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

static struct stream *dial(const char *address, struct error *err)
{
    return stream_dial(address, NULL, DIAL_TIMEOUT_MS, err);
}

static struct bytes request_head(struct http_request *req, const char *address, const char *path,
                                 struct bytes query, struct arena *a)
{
    scoped(buffer) struct buffer head = { 0 };
    struct bytes method = http_request_method(req);
    buffer_printf(&head, "%.*s %s%s%.*s HTTP/1.1\r\nhost: %s\r\n", (int)method.len, method.data,
                  path, query.len ? "?" : "", (int)query.len, query.data ? query.data : "",
                  address);
    http_relay_add_headers(req, &head);
    return arena_bytes(a, buffer_bytes(&head));
}

static void respond_error(struct http_request *req, int status, struct bytes message)
{
    struct arena *a = http_request_arena(req);
    struct bytes *body = arena_alloc(a, sizeof(*body));
    *body = bytes_of(arena_printf(a, "%.*s\n", (int)message.len, message.data));
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
    struct http_relay_answer answer;
    scoped(stream) struct stream *runtime = NULL;
    if (split_url(url, a, &address, &path, &err) < 0 || !(runtime = dial(address, &err)) ||
        http_relay_ask(runtime, request_head(req, address, path, query, a), a, &answer, &err) < 0)
        respond_error(req, 500, bytes_of(err.message));
    else if (answer.status == 101)
        http_relay_start(req, &answer, take_ptr(&runtime));
    else
        respond_error(req, answer.status >= 400 ? answer.status : 500,
                      answer.body.len ? answer.body : BYTES("the runtime refused the stream"));
}
