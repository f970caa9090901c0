/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_server.c - the kubelet's own API: routes, who may use them, and the answers that are not
 * streams. */
#include "kubelet/kubelet_server.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/http_server.h"
#include "base/log.h"
#include "base/metrics.h"
#include "kubelet/container_log.h"
#include "kubelet/downward.h"
#include "kubelet/exec_stream.h"
#include "kubelet/kubelet_stats.h"
#include "kubelet/pod_labels.h"

#define FORWARD_PORTS_MAX  64
#define SERVER_LOOPS       1
#define SERVER_THREADS_MAX 64
#define SERVER_QUEUED_MAX  256
#define LOG_READERS_MAX    512 /* each holds a thread for as long as it reads or follows */
#define STOP_GRACE_MS      1000
#define LOG_CHUNKS_MAX     32 /* pieces of a log that wait for a slow reader */

struct kubelet_server {
    struct kubelet_server_config config;
    struct http_server *http;
    struct worker_pool *pool, *log_pool;
    struct log_watch *log_watch;
    atomic_int log_readers;
    atomic_bool is_stopping;
};

struct call { /* one request on a worker; lives in the request's arena */
    struct kubelet_server *server;
    struct http_request *req;
    struct arena *a;
    const char *parts[6]; /* of the path, decoded */
    size_t parts_n;
    void (*run)(struct call *c);
};

static void run_call(void *arg);

/* ---- answers ---- */

static void respond(struct http_request *req, int status, const char *content_type,
                    struct bytes body)
{
    struct arena *a = http_request_arena(req);
    struct bytes *part = arena_memdup(a, &body, sizeof(body));
    struct http_header header = { "content-type", content_type };
    http_respond(
        req,
        &(struct http_response){
            .status = status, .headers = &header, .headers_n = 1, .parts = part, .parts_n = 1 });
}

static void respond_text(struct http_request *req, int status, const char *text)
{
    struct arena *a = http_request_arena(req);
    respond(req, status, "text/plain; charset=utf-8", bytes_of(arena_printf(a, "%s\n", text)));
}

static void respond_failure(struct call *c, const struct error *err)
{
    respond_text(c->req, error_http_status(err->code), err->message);
}

static void respond_buffer(struct call *c, const char *content_type, struct buffer *b)
{
    struct bytes body = arena_bytes(c->a, buffer_bytes(b));
    buffer_free(b);
    respond(c->req, 200, content_type, body);
}

/* ---- finding what a path names ---- */

/* NS/POD[/UID][/CONTAINER]: the pod, and the container's name if NEEDS_CONTAINER. */
static struct object *find_pod(struct call *c, struct error *err)
{
    if (c->parts_n < 3) {
        error_set(err, ERR_NOT_FOUND, "404 page not found");
        return NULL;
    }
    struct object *pod = pod_worker_find(c->server->config.worker, c->parts[1], c->parts[2]);
    if (!pod)
        error_set(err, ERR_NOT_FOUND, "pod \"%s\" not found", c->parts[2]);
    return pod;
}

/* The containers of that name that the runtime has, newest first. */
static int find_containers(struct call *c, const struct object *pod, const char *name,
                           struct cri_container **newest, struct cri_container **before,
                           struct error *err)
{
    struct cri_container *all;
    size_t n;
    *newest = *before = NULL;
    if (cri_list_containers(c->server->config.k->cri, pod->uid, c->a, &all, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!str_equal(all[i].name, name))
            continue;
        if (!*newest || all[i].created_ns > (*newest)->created_ns) {
            *before = *newest;
            *newest = &all[i];
        } else if (!*before || all[i].created_ns > (*before)->created_ns) {
            *before = &all[i];
        }
    }
    return 0;
}

static bool is_asked(struct call *c, const char *name)
{
    return query_is_true(http_request_query(c->req), name, c->a);
}

/* ---- logs ---- */

struct log_call {
    struct call *call;
    struct http_stream *stream;
    const char *container_id;
    int cancel_fd;
};

static void on_log_closed(void *arg)
{
    struct log_call *l = arg;
    uint64_t one = 1;
    if (write(l->cancel_fd, &one, sizeof(one)) < 0)
        log_debug("kubelet", "end a log: %m");
}

static int write_log(void *arg, struct bytes piece)
{
    struct log_call *l = arg;
    if (!http_stream_wait(l->stream, LOG_CHUNKS_MAX) || atomic_load(&l->call->server->is_stopping))
        return -1;
    struct shared_bytes *chunk = shared_bytes_new(piece);
    http_stream_write(l->stream, chunk);
    shared_bytes_unref(chunk);
    return 0;
}

static bool is_log_running(void *arg)
{
    struct log_call *l = arg;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct cri_container c;
    struct cri_client *cri = l->call->server->config.k->cri;
    return !atomic_load(&l->call->server->is_stopping) &&
           cri_container_status(cri, l->container_id, a, &c, &err) == 0 &&
           c.state == CRI_CONTAINER_RUNNING;
}

static int parse_log_options(struct call *c, struct container_log_options *o, struct error *err)
{
    struct bytes query = http_request_query(c->req);
    int64_t since_s = -1, now = clock_wall_ns(c->server->config.k->clock);
    const char *since_time = query_get(query, "sinceTime", 0, c->a);
    const char *stream = query_get(query, "stream", 0, c->a);
    *o = (struct container_log_options){
        .tail_lines = -1,
        .limit_bytes = -1,
        .timestamps = is_asked(c, "timestamps"),
        .follow = is_asked(c, "follow"),
        .streams = str_equal(stream, "Stdout")   ? LOG_STREAM_STDOUT
                   : str_equal(stream, "Stderr") ? LOG_STREAM_STDERR
                                                 : LOG_STREAM_ALL,
        .is_running = is_log_running,
        .write = write_log,
    };
    if (query_int(query, "tailLines", c->a, &o->tail_lines, err) < 0 ||
        query_int(query, "limitBytes", c->a, &o->limit_bytes, err) < 0 ||
        query_int(query, "sinceSeconds", c->a, &since_s, err) < 0)
        return -1;
    if (since_s >= 0)
        o->since_ns = since_s < now / NS_PER_S ? now - since_s * NS_PER_S : 0;
    else if (!str_empty(since_time) && time_parse(since_time, &o->since_ns) < 0)
        return error_set(err, ERR_BAD_REQUEST, "unable to decode the request: sinceTime \"%s\"",
                         since_time);
    return 0;
}

/* Why a container waits, from what the API has of the pod or its mirror; NULL: it does not. */
static const char *waiting_reason(struct call *c, const struct object *pod, const char *name)
{
    scoped(object) struct object *seen = informer_get(c->server->config.k->pods, &pod->key);
    static const char *const lists[] = { "status.containerStatuses", "status.initContainerStatuses",
                                         "status.ephemeralContainerStatuses" };
    for (size_t i = 0; seen && i < ARRAY_LEN(lists); i++) {
        json_each_item (json_at(seen->doc, lists[i]), s) {
            const char *reason = json_str(s, "state.waiting.reason", NULL);
            if (str_equal(json_str(s, "name", ""), name))
                return reason ? arena_strdup(c->a, reason) : NULL;
        }
    }
    return NULL;
}

/* Why there is no log, from what the status says. */
static int no_log(struct call *c, const struct object *pod, const char *name, bool is_previous,
                  struct error *err)
{
    if (!pod_container(pod, name))
        return error_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", name,
                         pod->key.name);
    if (is_previous)
        return error_set(err, ERR_BAD_REQUEST,
                         "previous terminated container \"%s\" in pod \"%s\" not found", name,
                         pod->key.name);
    const char *reason = waiting_reason(c, pod, name);
    if (!reason)
        reason = "ContainerCreating";
    if (str_equal(reason, "ErrImagePull"))
        reason = "image can't be pulled";
    else if (str_equal(reason, "ImagePullBackOff"))
        reason = "trying and failing to pull image";
    return error_set(err, ERR_BAD_REQUEST, "container \"%s\" in pod \"%s\" is waiting to start: %s",
                     name, pod->key.name, reason);
}

/* The container whose log is wanted, with its full status; -1 with the reason. */
static int find_log(struct call *c, struct cri_container *out, struct error *err)
{
    scoped(object) struct object *pod = find_pod(c, err);
    if (!pod)
        return -1;
    const char *name = c->parts[c->parts_n - 1];
    bool is_previous = is_asked(c, "previous");
    struct cri_container *newest, *before;
    if (find_containers(c, pod, name, &newest, &before, err) < 0)
        return -1;
    /* One that ended and waits for its next start is what was before. */
    bool is_past = newest && newest->state == CRI_CONTAINER_EXITED && waiting_reason(c, pod, name);
    struct cri_container *wanted = is_previous && !is_past ? before : newest;
    if (!wanted || !pod_container(pod, name))
        return no_log(c, pod, name, is_previous, err);
    if (cri_container_status(c->server->config.k->cri, wanted->id, c->a, out, err) < 0)
        return -1;
    return str_empty(out->log_path) ? no_log(c, pod, name, is_previous, err) : 0;
}

static void run_logs(struct call *c)
{
    struct error err = { 0 };
    struct cri_container container;
    struct container_log_options options;
    if (c->parts_n < 4)
        error_set(&err, ERR_NOT_FOUND, "404 page not found");
    if (err.code || find_log(c, &container, &err) < 0 || parse_log_options(c, &options, &err) < 0) {
        respond_failure(c, &err);
        return;
    }
    if (access(container.log_path, R_OK) < 0) {
        error_set(&err, ERR_NOT_FOUND, "failed to try resolving symlinks in path \"%s\": %m",
                  container.log_path);
        respond_failure(c, &err);
        return;
    }
    struct log_call l = { .call = c,
                          .container_id = container.id,
                          .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (l.cancel_fd < 0) {
        error_errno(&err, "follow the log of container %s", container.id);
        respond_failure(c, &err);
        return;
    }
    static const struct http_header header = { "content-type", "text/plain" };
    struct http_response head = { .status = 200, .headers = &header, .headers_n = 1 };
    l.stream = http_stream_start(c->req, &head, on_log_closed, &l);
    options.arg = &l;
    options.cancel_fd = l.cancel_fd;
    options.watch = c->server->log_watch;
    if (container_log_read(container.log_path, &options, &err) < 0 && err.code != ERR_CANCELED)
        log_warn("kubelet", "log of container %s: %s", container.id, err.message);
    http_stream_end(l.stream);
    struct pollfd closed = { .fd = l.cancel_fd, .events = POLLIN };
    uint64_t count;
    do { /* on_log_closed() runs exactly once, and needs L until it has written */
        poll(&closed, 1, -1);
    } while (read(l.cancel_fd, &count, sizeof(count)) < 0);
    close(l.cancel_fd);
}

static void run_log_reader(void *arg)
{
    struct call *c = arg;
    struct kubelet_server *s = c->server;
    run_call(c);
    atomic_fetch_sub(&s->log_readers, 1);
}

/* A pool apart: who follows logs keeps nobody from anything else. */
static int submit_log_reader(struct call *c, struct error *err)
{
    struct kubelet_server *s = c->server;
    if (atomic_fetch_add(&s->log_readers, 1) < LOG_READERS_MAX &&
        worker_pool_submit(s->log_pool, run_log_reader, c, err) == 0)
        return 0;
    atomic_fetch_sub(&s->log_readers, 1);
    return error_set(err, ERR_TOO_MANY_REQUESTS, "%d readers of logs are at work on this node",
                     LOG_READERS_MAX);
}

/* ---- exec, attach, port-forward ---- */

static int running_container(struct call *c, const char **id, struct error *err)
{
    scoped(object) struct object *pod = find_pod(c, err);
    if (!pod)
        return -1;
    const char *name = c->parts[c->parts_n - 1];
    struct cri_container *newest, *before;
    if (find_containers(c, pod, name, &newest, &before, err) < 0)
        return -1;
    if (!newest || newest->state != CRI_CONTAINER_RUNNING)
        return error_set(err, ERR_NOT_FOUND, "container not found (\"%s\")", name);
    *id = newest->id;
    return 0;
}

static void run_exec_or_attach(struct call *c, bool is_exec)
{
    struct error err = { 0 };
    struct cri_stream_request r = {
        .has_stdin = is_asked(c, "input"),
        .has_stdout = is_asked(c, "output"),
        .has_stderr = is_asked(c, "error"),
        .tty = is_asked(c, "tty"),
    };
    if (r.tty)
        r.has_stderr = false; /* a terminal has one output */
    /* containerd takes a WebSocket without input for one whose input has ended, and hangs up a
     * terminal whose input has ended before its output is out. */
    if (r.tty && http_request_is_websocket(c->req))
        r.has_stdin = true;
    const char *word, *url;
    struct bytes query = http_request_query(c->req);
    for (size_t i = 0; (word = query_get(query, "command", i, c->a)); i++)
        cri_strings_add(&r.command, c->a, word);
    struct cri_client *cri = c->server->config.k->cri;
    if (c->parts_n < 4)
        error_set(&err, ERR_NOT_FOUND, "404 page not found");
    else if (!http_request_is_upgrade(c->req))
        error_set(&err, ERR_BAD_REQUEST, "unable to upgrade: missing upgrade headers in request");
    else if (running_container(c, &r.container_id, &err) == 0 &&
             (is_exec ? cri_exec_url : cri_attach_url)(cri, &r, c->a, &url, &err) == 0) {
        exec_stream_serve(c->req, url, (struct bytes){ 0 });
        return;
    }
    respond_failure(c, &err);
}

static void run_exec(struct call *c)
{
    run_exec_or_attach(c, true);
}

static void run_attach(struct call *c)
{
    run_exec_or_attach(c, false);
}

/* "port=8080&port=8081,8082" */
static int read_ports(struct call *c, int32_t ports[FORWARD_PORTS_MAX], size_t *n,
                      struct error *err)
{
    const char *value;
    for (size_t i = 0; (value = query_get(http_request_query(c->req), "port", i, c->a)); i++) {
        char *rest = arena_strdup(c->a, value), *word, *end;
        while ((word = strsep(&rest, ","))) {
            long port = strtol(word, &end, 10);
            if (end == word || *end || port <= 0 || port > 65535)
                return error_set(err, ERR_BAD_REQUEST, "unable to parse \"%s\" as a port", word);
            if (*n == FORWARD_PORTS_MAX)
                return error_set(err, ERR_BAD_REQUEST, "more than %d ports", FORWARD_PORTS_MAX);
            ports[(*n)++] = (int32_t)port;
        }
    }
    return 0;
}

static void run_port_forward(struct call *c)
{
    struct error err = { 0 };
    int32_t ports[FORWARD_PORTS_MAX];
    size_t ports_n = 0;
    scoped(object) struct object *pod = find_pod(c, &err);
    struct cri_client *cri = c->server->config.k->cri;
    struct cri_sandbox *sandboxes;
    size_t n;
    const char *url;
    if (pod && !http_request_is_upgrade(c->req))
        error_set(&err, ERR_BAD_REQUEST, "unable to upgrade: missing upgrade headers in request");
    if (!err.code && read_ports(c, ports, &ports_n, &err) == 0 &&
        cri_list_sandboxes(cri, pod->uid, c->a, &sandboxes, &n, &err) == 0) {
        const char *id = NULL;
        for (size_t i = 0; i < n && !id; i++)
            if (sandboxes[i].is_ready)
                id = sandboxes[i].id;
        if (!id)
            error_set(&err, ERR_NOT_FOUND, "pod \"%s\" has no running sandbox", pod->key.name);
        else if (cri_port_forward_url(cri, id, ports, ports_n, c->a, &url, &err) == 0) {
            exec_stream_serve(c->req, url, http_request_query(c->req));
            return;
        }
    }
    respond_failure(c, &err);
}

/* ---- the rest ---- */

static void run_pods(struct call *c)
{
    scoped(object_list) struct object_list pods = { 0 };
    pod_worker_list(c->server->config.worker, &pods);
    struct buffer out = { 0 };
    buffer_add_str(&out, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < pods.n; i++) {
        if (i)
            buffer_add_char(&out, ',');
        scoped(shared_bytes) struct shared_bytes *text = object_json(pods.items[i]);
        buffer_add_bytes(&out, shared_bytes_view(text));
    }
    buffer_add_str(&out, "]}\n");
    respond_buffer(c, "application/json", &out);
}

static void run_stats(struct call *c)
{
    struct error err = { 0 };
    struct buffer out = { 0 };
    if (kubelet_stats_summary(c->server->config.k, &out, &err) < 0) {
        buffer_free(&out);
        respond_failure(c, &err);
        return;
    }
    respond_buffer(c, "application/json", &out);
}

static void run_resource_metrics(struct call *c)
{
    struct error err = { 0 };
    struct buffer out = { 0 };
    if (kubelet_stats_metrics(c->server->config.k, &out, &err) < 0) {
        buffer_free(&out);
        respond_failure(c, &err);
        return;
    }
    respond_buffer(c, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static void run_metrics(struct call *c)
{
    struct buffer out = { 0 };
    metrics_print(&out);
    respond_buffer(c, "text/plain; version=0.0.4; charset=utf-8", &out);
}

/* ---- routes ---- */

static const struct route {
    const char *first, *second; /* of the path's parts; SECOND NULL: any */
    void (*run)(struct call *c);
} routes[] = {
    { "containerLogs", NULL, run_logs }, { "exec", NULL, run_exec },
    { "attach", NULL, run_attach },      { "portForward", NULL, run_port_forward },
    { "pods", NULL, run_pods },          { "runningpods", NULL, run_pods },
    { "stats", "summary", run_stats },   { "metrics", "resource", run_resource_metrics },
    { "metrics", NULL, run_metrics },
};

static bool is_allowed(const struct tls_peer *peer)
{
    if (!peer->common_name)
        return false;
    if (str_equal(peer->common_name, "system:kube-apiserver"))
        return true;
    for (size_t i = 0; i < peer->organizations_n; i++)
        if (str_equal(peer->organizations[i], "system:masters"))
            return true;
    return false;
}

static int split_path(struct call *c)
{
    struct bytes path = http_request_path(c->req);
    const char *p = path.data, *end = path.data + path.len;
    while (p < end && c->parts_n < ARRAY_LEN(c->parts)) {
        while (p < end && *p == '/')
            p++;
        const char *from = p;
        while (p < end && *p != '/')
            p++;
        struct bytes part;
        if (p == from)
            break;
        if (url_decode((struct bytes){ from, (size_t)(p - from) }, false, c->a, &part) < 0)
            return -1;
        c->parts[c->parts_n++] = arena_strndup(c->a, part.data, part.len);
    }
    return 0;
}

static void run_call(void *arg)
{
    struct call *c = arg;
    if (c->server->config.k->cri)
        c->run(c);
    else
        respond_text(c->req, 503, "the container runtime is not up yet");
}

static void handle(struct http_request *req, void *arg)
{
    struct kubelet_server *s = arg;
    struct arena *a = http_request_arena(req);
    struct call *c = arena_zalloc(a, sizeof(*c));
    *c = (struct call){ .server = s, .req = req, .a = a };
    if (split_path(c) < 0) {
        respond_text(req, 400, "malformed path");
        return;
    }
    if (c->parts_n && str_equal(c->parts[0], "healthz")) {
        respond_text(req, 200, "ok");
        return;
    }
    const struct tls_peer *peer = http_request_peer(req);
    if (!is_allowed(peer)) {
        respond_text(req, peer->common_name ? 403 : 401,
                     peer->common_name ? "Forbidden" : "Unauthorized");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes) && c->parts_n; i++) {
        if (!str_equal(c->parts[0], routes[i].first) ||
            (routes[i].second && (c->parts_n < 2 || !str_equal(c->parts[1], routes[i].second))))
            continue;
        struct error err = { 0 };
        c->run = routes[i].run;
        http_request_detach(req);
        int rc = c->run == run_logs ? submit_log_reader(c, &err)
                                    : worker_pool_submit(s->pool, run_call, c, &err);
        if (rc < 0)
            respond_text(req, 429, err.message);
        return;
    }
    respond_text(req, 404, "404 page not found");
}

static void server_free(struct kubelet_server *s)
{
    worker_pool_free(s->pool);
    worker_pool_free(s->log_pool);
    log_watch_free(s->log_watch);
    free(s);
}

struct kubelet_server *kubelet_server_start(const struct kubelet_server_config *config,
                                            struct error *err)
{
    struct kubelet_server *s = xcalloc(1, sizeof(*s));
    s->config = *config;
    s->pool = worker_pool_new("kubelet-api", SERVER_THREADS_MAX, SERVER_QUEUED_MAX, err);
    s->log_pool = worker_pool_new("kubelet-logs", LOG_READERS_MAX, LOG_READERS_MAX, err);
    struct http_server_config http = {
        .bind_address = "0.0.0.0",
        .port = config->port,
        .tls = config->tls,
        .loops = SERVER_LOOPS,
        .handle = handle,
        .arg = s,
    };
    s->log_watch = s->pool && s->log_pool ? log_watch_new(err) : NULL;
    s->http = s->log_watch ? http_server_start(&http, err) : NULL;
    if (s->http)
        return s;
    server_free(s);
    return NULL;
}

int kubelet_server_port(const struct kubelet_server *s)
{
    return http_server_port(s->http);
}

void kubelet_server_stop(struct kubelet_server *s)
{
    if (!s)
        return;
    atomic_store(&s->is_stopping, true);
    http_server_stop(s->http, STOP_GRACE_MS);
    server_free(s);
}
