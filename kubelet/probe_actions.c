/* SPDX-License-Identifier: Apache-2.0 */
/* probe_actions.c - one probe, once: exec, httpGet, tcpSocket, grpc. */
#include <inttypes.h>

#include "base/grpc.h"
#include "base/http_client.h"
#include "kubelet/probe.h"

#define OUTPUT_BYTES_MAX 10240 /* what an event or a log needs of an answer */
#define BODY_BYTES_MAX   (1024 * 1024)
#define HEADERS_MAX      32

int probe_port(const struct json *container, const struct json *port)
{
    if (json_is(port, JSON_INT))
        return (int)port->integer;
    const char *name = json_text(port);
    if (!name)
        return -1;
    json_each_item (json_get(container, "ports"), p)
        if (str_equal(json_str(p, "name", ""), name))
            return (int)json_int(p, "containerPort", -1);
    char *end;
    long number = strtol(name, &end, 10);
    return *name && !*end && number > 0 && number < 65536 ? (int)number : -1;
}

static const char *bracketed(const char *host, struct arena *a)
{
    return strchr(host, ':') ? arena_printf(a, "[%s]", host) : host;
}

static const char *joined(const struct cri_strings *words, struct arena *a)
{
    const char *text = words->n ? words->items[0] : "";
    for (size_t i = 1; i < words->n; i++)
        text = arena_printf(a, "%s %s", text, words->items[i]);
    return text;
}

static enum probe_result run_exec(const struct probe_target *t, const struct json *exec,
                                  int64_t timeout_s, struct arena *a, const char **output)
{
    struct cri_strings command = { 0 };
    struct cri_exec_result result;
    struct error err = { 0 };
    json_each_item (json_get(exec, "command"), word)
        cri_strings_add(&command, a, json_text(word) ? json_text(word) : "");
    if (cri_exec_sync(t->k->cri, t->container_id, &command, timeout_s, a, &result, &err) < 0) {
        bool is_late = err.code == ERR_TIMEOUT || strstr(err.message, "deadline exceeded") ||
                       strstr(err.message, "timed out");
        *output = is_late
                      ? arena_printf(a, "command timed out: \"%s\" timed out after %" PRId64 "s",
                                     joined(&command, a), timeout_s)
                      : arena_strdup(a, err.message);
        return is_late ? PROBE_FAILURE : PROBE_ERROR;
    }
    size_t len = result.output.len < OUTPUT_BYTES_MAX ? result.output.len : OUTPUT_BYTES_MAX;
    *output = arena_strndup(a, result.output.data, len);
    return result.exit_code == 0 ? PROBE_SUCCESS : PROBE_FAILURE;
}

static enum probe_result run_http(const struct probe_target *t, const struct json *get,
                                  int64_t timeout_s, struct arena *a, const char **output)
{
    int port = probe_port(t->container, json_get(get, "port"));
    const char *host = json_str(get, "host", "");
    const char *path = json_str(get, "path", "/");
    if (port < 0) {
        *output = "couldn't find the probe's port";
        return PROBE_ERROR;
    }
    const char *scheme = str_equal(json_str(get, "scheme", "HTTP"), "HTTPS") ? "https" : "http";
    const char *url =
        arena_printf(a, "%s://%s:%d%s%s", scheme, bracketed(str_empty(host) ? t->pod_ip : host, a),
                     port, path[0] == '/' ? "" : "/", path);
    struct http_header headers[HEADERS_MAX] = { { "user-agent", "kube-probe/1.36" },
                                                { "accept", "*/*" } };
    size_t headers_n = 2;
    json_each_item (json_get(get, "httpHeaders"), h)
        if (headers_n < HEADERS_MAX)
            headers[headers_n++] =
                (struct http_header){ json_str(h, "name", ""), json_str(h, "value", "") };

    struct http_client_request request = {
        .method = "GET",
        .url = url,
        .headers = headers,
        .headers_n = headers_n,
        .timeout_ms = (int)(timeout_s * 1000),
        .body_bytes_max = BODY_BYTES_MAX,
    };
    struct http_client_response response;
    struct error err = { 0 };
    if (http_client_do(t->k->http, &request, NULL, NULL, a, &response, &err) < 0) {
        if (err.code == ERR_TOO_LARGE)
            return PROBE_SUCCESS; /* it answers, and at length */
        *output = arena_strdup(a, err.message);
        return PROBE_FAILURE;
    }
    *output = arena_printf(a, "HTTP probe failed with statuscode: %d", response.status);
    return response.status >= 200 && response.status < 400 ? PROBE_SUCCESS : PROBE_FAILURE;
}

static enum probe_result run_tcp(const struct probe_target *t, const struct json *tcp,
                                 int64_t timeout_s, struct arena *a, const char **output)
{
    int port = probe_port(t->container, json_get(tcp, "port"));
    const char *host = json_str(tcp, "host", "");
    if (port < 0) {
        *output = "couldn't find the probe's port";
        return PROBE_ERROR;
    }
    struct error err = { 0 };
    const char *address =
        arena_printf(a, "%s:%d", bracketed(str_empty(host) ? t->pod_ip : host, a), port);
    scoped(stream) struct stream *s = stream_dial(address, NULL, (int)(timeout_s * 1000), &err);
    if (s)
        return PROBE_SUCCESS;
    *output = arena_strdup(a, err.message);
    return PROBE_FAILURE;
}

static const char *grpc_failure(const char *target, enum grpc_status status, int64_t timeout_s,
                                const struct error *err, struct arena *a)
{
    /* Upstream dials until its time is over, and tells nothing but that. */
    if (status == GRPC_UNAVAILABLE && str_has_prefix(err->message, "dial "))
        return arena_printf(a,
                            "timeout: failed to connect service \"%s\" within %" PRId64
                            "s: context deadline exceeded",
                            target, timeout_s);
    if (status == GRPC_UNIMPLEMENTED)
        return arena_printf(a,
                            "error: this server does not implement the grpc health protocol "
                            "(grpc.health.v1.Health): %s",
                            err->message);
    if (status == GRPC_DEADLINE_EXCEEDED)
        return arena_printf(a, "timeout: health rpc did not complete within %" PRId64 "s",
                            timeout_s);
    return arena_printf(a, "error: health rpc probe failed: rpc error: code = %s desc = %s",
                        grpc_status_name(status), err->message);
}

/* grpc.health.v1.Health: a request is {1: service}, an answer {1: status}, of which 1 is SERVING.
 */
static enum probe_result run_grpc(const struct probe_target *t, const struct json *grpc,
                                  int64_t timeout_s, struct arena *a, const char **output)
{
    static const char *const names[] = { "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" };
    const char *service = json_str(grpc, "service", "");
    size_t len = strnlen(service, 127); /* one byte of length is enough for a service's name */
    char *text = arena_alloc(a, len + 2);
    text[0] = 0x0a;
    text[1] = (char)len;
    memcpy(text + 2, service, len);
    struct bytes request = { text, len ? len + 2 : 0 }, answer;

    struct error err = { 0 };
    enum grpc_status status = GRPC_OK;
    int timeout_ms = (int)(timeout_s * 1000);
    struct grpc_call_options options = { .timeout_ms = timeout_ms };
    const char *target =
        arena_printf(a, "%s:%" PRId64, bracketed(t->pod_ip, a), json_int(grpc, "port", 0));
    /* Who does not even take the connection is told from who does not answer. */
    struct grpc_channel_config config = { .target = target,
                                          .connect_timeout_ms = timeout_ms - timeout_ms / 10 };
    struct grpc_channel *channel = grpc_channel_open(&config, &err);
    int rc = channel ? grpc_unary(channel, "/grpc.health.v1.Health/Check", request, &options, a,
                                  &answer, &status, &err)
                     : -1;
    grpc_channel_free(channel);
    if (rc < 0) {
        *output = grpc_failure(target, status, timeout_s, &err, a);
        return PROBE_FAILURE;
    }
    unsigned value = answer.len >= 2 && answer.data[0] == 0x08 ? (unsigned char)answer.data[1] : 0;
    *output = arena_printf(a, "service unhealthy (responded with \"%s\")",
                           names[value < ARRAY_LEN(names) ? value : 0]);
    return value == 1 ? PROBE_SUCCESS : PROBE_FAILURE;
}

enum probe_result probe_run(const struct probe_target *t, const struct json *action,
                            int64_t timeout_s, struct arena *a, const char **output)
{
    static const struct {
        const char *field;
        enum probe_result (*run)(const struct probe_target *t, const struct json *spec,
                                 int64_t timeout_s, struct arena *a, const char **output);
    } kinds[] = {
        { "exec", run_exec },
        { "httpGet", run_http },
        { "tcpSocket", run_tcp },
        { "grpc", run_grpc },
    };
    *output = "";
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *spec = json_get(action, kinds[i].field);
        if (spec)
            return kinds[i].run(t, spec, timeout_s, a, output);
    }
    *output = "missing probe handler";
    return PROBE_ERROR;
}
