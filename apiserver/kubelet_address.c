/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_address.c - from a pod, node or Service to the address and path that answer for it. */
#include "api/status.h"
#include "apiserver/formats.h"
#include "apiserver/kubelet_proxy.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/server.h"

#define KUBELET_PORT 10250

static const char *host_port(const char *host, int64_t port, struct arena *a)
{
    bool is_v6 = strchr(host, ':') != NULL;
    return arena_printf(a, is_v6 ? "[%s]:%lld" : "%s:%lld", host, (long long)port);
}

/* ---- the node ---- */

static int not_found(const struct resource *r, const char *name, struct kubelet_target *out,
                     struct error *err)
{
    out->missing = (struct status_details){ .resource = r, .name = name };
    return status_not_found(err, r, name);
}

static int find_node(struct request *r, const char *name, struct kubelet_target *out,
                     struct error *err)
{
    const struct resource *nodes = &resources[RESOURCE_NODES];
    struct object_key key = { "", name };
    scoped(object) struct object *node = watch_cache_get(watch_cache_of(r->server, nodes), &key);
    if (!node)
        return not_found(nodes, name, out, err);
    out->is_kubelet = true;
    int64_t port = json_int(node->doc, "status.daemonEndpoints.kubeletEndpoint.Port", KUBELET_PORT);
    json_each_item (json_at(node->doc, "status.addresses"), address) {
        if (!str_equal(json_str(address, "type", ""), "InternalIP"))
            continue;
        out->address = host_port(json_str(address, "address", ""), port, r->arena);
        return 0;
    }
    return error_set(err, ERR_UNAVAILABLE, "no preferred addresses found; known addresses: []");
}

/* ---- the pod's kubelet ---- */

static const char *const container_lists[] = { "spec.containers", "spec.initContainers",
                                               "spec.ephemeralContainers" };

static bool has_container(const struct object *pod, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(container_lists); i++)
        json_each_item (json_at(pod->doc, container_lists[i]), c) {
            if (str_equal(json_str(c, "name", ""), name))
                return true;
        }
    return false;
}

static void list_names(const struct object *pod, const char *path, struct buffer *out)
{
    json_each_item (json_at(pod->doc, path), c)
        buffer_printf(out, "%s%s", out->len ? " " : "", json_str(c, "name", ""));
}

/* The container that is meant: the one named, or the only one. */
static const char *container_of(struct request *r, const struct object *pod, struct error *err)
{
    const char *name = query_get(r->query, "container", 0, r->arena);
    if (!str_empty(name)) {
        if (has_container(pod, name))
            return name;
        error_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", name,
                  pod->key.name);
        return NULL;
    }
    const struct json *containers = json_at(pod->doc, "spec.containers");
    if (containers && containers->len == 1)
        return arena_strdup(r->arena, json_str(&containers->items[0], "name", ""));
    const char *preferred = object_annotation(pod, "kubectl.kubernetes.io/default-container");
    if (preferred && has_container(pod, preferred))
        return arena_strdup(r->arena, preferred);
    struct buffer names = { 0 };
    list_names(pod, "spec.containers", &names);
    error_set(err, ERR_BAD_REQUEST,
              "a container name must be specified for pod %s, choose one of: [%s]", pod->key.name,
              names.len ? names.data : "");
    buffer_free(&names);
    return NULL;
}

/* The kubelet's names for PodExecOptions and PodAttachOptions. */
static void add_stream_query(struct request *r, struct buffer *out)
{
    static const struct {
        const char *ours, *kubelets;
    } flags[] = {
        { "stdin", "input" }, { "stdout", "output" }, { "stderr", "error" }, { "tty", "tty" }
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (query_is_true(r->query, flags[i].ours, r->arena))
            buffer_printf(out, "%s=1&", flags[i].kubelets);
    const char *command;
    for (size_t i = 0; (command = query_get(r->query, "command", i, r->arena)); i++)
        buffer_printf(out, "command=%s&", url_encode(bytes_of(command), r->arena));
}

static void add_ports_query(struct request *r, struct buffer *out)
{
    const char *port;
    for (size_t i = 0; (port = query_get(r->query, "ports", i, r->arena)); i++)
        buffer_printf(out, "port=%s&", url_encode(bytes_of(port), r->arena));
}

static void add_log_query(struct request *r, struct buffer *out)
{
    static const char *const names[] = { "follow",    "previous",  "timestamps", "sinceSeconds",
                                         "sinceTime", "tailLines", "limitBytes", "stream" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *v = query_get(r->query, names[i], 0, r->arena);
        if (!str_empty(v))
            buffer_printf(out, "%s=%s&", names[i], url_encode(bytes_of(v), r->arena));
    }
}

static int invalid_log_options(struct request *r, const char *why, struct error *err)
{
    return error_set(err, ERR_INVALID, "PodLogOptions \"%s\" is invalid: %s", r->info.name, why);
}

static int check_log_options(struct request *r, struct error *err)
{
    static const struct {
        const char *name;
        int64_t min;
        const char *rule;
    } numbers[] = { { "tailLines", 0, "must be greater than or equal to 0" },
                    { "limitBytes", 1, "must be greater than 0" },
                    { "sinceSeconds", 1, "must be greater than 0" } };
    const char *stream = query_get(r->query, "stream", 0, r->arena);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t n = numbers[i].min;
        if (query_int(r->query, numbers[i].name, r->arena, &n, err) < 0)
            return -1;
        if (n < numbers[i].min)
            return invalid_log_options(r,
                                       arena_printf(r->arena, "%s: Invalid value: %lld: %s",
                                                    numbers[i].name, (long long)n, numbers[i].rule),
                                       err);
    }
    if (stream && !str_equal(stream, "All") && !str_equal(stream, "Stdout") &&
        !str_equal(stream, "Stderr"))
        return invalid_log_options(
            r,
            arena_printf(r->arena,
                         "stream: Unsupported value: \"%s\": supported values: \"All\", "
                         "\"Stderr\", \"Stdout\"",
                         stream),
            err);
    return 0;
}

static const struct {
    const char *subresource, *path;
    bool needs_container;
    void (*add_query)(struct request *r, struct buffer *out);
} pod_paths[] = {
    { "log", "containerLogs", true, add_log_query },
    { "exec", "exec", true, add_stream_query },
    { "attach", "attach", true, add_stream_query },
    { "portforward", "portForward", false, add_ports_query },
};

static int pod_path(struct request *r, const struct object *pod, struct kubelet_target *out,
                    struct error *err)
{
    struct buffer b = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(pod_paths); i++) {
        if (!str_equal(r->info.subresource, pod_paths[i].subresource))
            continue;
        buffer_printf(&b, "/%s/%s/%s", pod_paths[i].path, pod->key.ns, pod->key.name);
        const char *container = pod_paths[i].needs_container ? container_of(r, pod, err) : "";
        if (!container) {
            buffer_free(&b);
            return -1;
        }
        if (*container)
            buffer_printf(&b, "/%s", container);
        buffer_add_char(&b, '?');
        pod_paths[i].add_query(r, &b);
        b.data[b.len - 1] = '\0'; /* the last separator */
    }
    out->path = arena_strdup(r->arena, b.data);
    buffer_free(&b);
    return 0;
}

static struct object *pod_named(struct request *r, const char *name, struct kubelet_target *out,
                                struct error *err)
{
    struct object *pod = pod_of_request(r, name, err);
    if (!pod)
        out->missing =
            (struct status_details){ .resource = &resources[RESOURCE_PODS], .name = name };
    return pod;
}

static int find_pod_kubelet(struct request *r, struct kubelet_target *out, struct error *err)
{
    if (str_equal(r->info.subresource, "log") && check_log_options(r, err) < 0)
        return -1;
    scoped(object) struct object *pod = pod_named(r, r->info.name, out, err);
    if (!pod || pod_path(r, pod, out, err) < 0)
        return -1;
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    if (!*node)
        return error_set(err, ERR_BAD_REQUEST, "pod %s does not have a host assigned",
                         pod->key.name);
    return find_node(r, arena_strdup(r->arena, node), out, err);
}

/* ---- proxy ---- */

struct proxy_name {
    const char *scheme; /* "http" unless given */
    const char *name;
    const char *port; /* "" if not given */
};

/* "web", "web:8080", "https:web:8443".  Nothing but a scheme may come before the address: it is put
 * into a URL. */
static int split_name(struct request *r, struct proxy_name *out, struct error *err)
{
    *out = (struct proxy_name){ "http", "", "" };
    char *rest = arena_strdup(r->arena, r->info.name);
    const char *parts[3] = { "", "", "" };
    size_t n = 0;
    while (rest && n < ARRAY_LEN(parts))
        parts[n++] = strsep(&rest, ":");
    if (n == 3 && *parts[0])
        out->scheme = parts[0];
    out->name = parts[n == 3];
    if (n > 1)
        out->port = parts[n - 1];
    bool is_scheme = str_equal(out->scheme, "http") || str_equal(out->scheme, "https");
    if (rest || !is_scheme || !*out->name)
        return error_set(err, ERR_BAD_REQUEST, "invalid %.*s request \"%s\"",
                         (int)strlen(r->info.plural) - 1, r->info.plural, r->info.name);
    return 0;
}

/* The path behind .../proxy, which was decoded with the rest, and the query as it came. */
static const char *proxy_path(struct request *r)
{
    scoped(buffer) struct buffer path = { 0 };
    char *rest = arena_strdup(r->arena, *r->info.subpath ? r->info.subpath + 1 : "");
    for (char *part; (part = strsep(&rest, "/"));)
        buffer_printf(&path, "/%s", url_encode(bytes_of(part), r->arena));
    if (r->query.len > 0)
        buffer_printf(&path, "?%.*s", (int)r->query.len, r->query.data);
    return arena_strdup(r->arena, path.data);
}

static const char *first_port_of(const struct object *pod, struct arena *a)
{
    json_each_item (json_at(pod->doc, "spec.containers"), c) {
        const struct json *ports = json_get(c, "ports");
        if (ports && ports->len > 0)
            return arena_printf(a, "%lld",
                                (long long)json_int(&ports->items[0], "containerPort", 80));
    }
    return "80";
}

static int find_pod_proxy(struct request *r, struct kubelet_target *out, struct error *err)
{
    struct proxy_name p;
    if (split_name(r, &p, err) < 0)
        return -1;
    scoped(object) struct object *pod = pod_named(r, p.name, out, err);
    if (!pod)
        return -1;
    int64_t port = strtoll(*p.port ? p.port : first_port_of(pod, r->arena), NULL, 10);
    const char *ip = json_str(pod->doc, "status.podIP", "");
    if (endpoint_ip_fault(ip) || port_number_fault(port)) /* what listens to this machine alone */
        return error_set(err, ERR_BAD_REQUEST, "address not allowed");
    out->scheme = p.scheme;
    out->address = host_port(ip, port, r->arena);
    return 0;
}

static bool port_matches(const struct json *service_port, const char *wanted)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)json_int(service_port, "port", 0));
    return !*wanted || str_equal(json_str(service_port, "name", ""), wanted) ||
           str_equal(number, wanted);
}

/* Who writes slices may write any address into them: only a pod's own is asked. */
static bool is_of_pod(struct request *r, const struct json *endpoint, const char *address)
{
    const struct resource *pods = &resources[RESOURCE_PODS];
    struct object_key key = { r->info.ns, json_str(endpoint, "targetRef.name", "") };
    if (!str_equal(json_str(endpoint, "targetRef.kind", ""), "Pod"))
        return false;
    scoped(object) struct object *pod = watch_cache_get(watch_cache_of(r->server, pods), &key);
    return pod && str_equal(json_str(pod->doc, "status.podIP", ""), address);
}

/* The first ready endpoint in SLICE for the Service's port of that name. */
static bool endpoint_in(struct request *r, const struct object *slice, const char *port_name,
                        struct kubelet_target *out)
{
    json_each_item (json_get(slice->doc, "ports"), port) {
        if (strcmp(json_str(port, "name", ""), port_name) != 0)
            continue;
        json_each_item (json_get(slice->doc, "endpoints"), endpoint) {
            const struct json *addresses = json_get(endpoint, "addresses");
            if (!json_bool(endpoint, "conditions.ready", true) ||
                json_len(endpoint, "addresses") == 0 ||
                !is_of_pod(r, endpoint, json_text(&addresses->items[0])))
                continue;
            out->address =
                host_port(json_text(&addresses->items[0]), json_int(port, "port", 0), r->arena);
            return true;
        }
    }
    return false;
}

static int find_service_proxy(struct request *r, struct kubelet_target *out, struct error *err)
{
    struct proxy_name p;
    if (split_name(r, &p, err) < 0)
        return -1;
    const struct resource *services = &resources[RESOURCE_SERVICES];
    struct object_key key = { r->info.ns, p.name };
    scoped(object) struct object *service =
        watch_cache_get(watch_cache_of(r->server, services), &key);
    if (!service)
        return not_found(services, p.name, out, err);
    const char *port_name = NULL;
    json_each_item (json_at(service->doc, "spec.ports"), port) {
        if (!port_name && port_matches(port, p.port))
            port_name = json_str(port, "name", "");
    }
    scoped(object_list) struct object_list slices = { 0 };
    watch_cache_list(watch_cache_of(r->server, &resources[RESOURCE_ENDPOINTSLICES]), r->info.ns,
                     &slices);
    out->scheme = p.scheme;
    object_list_each (&slices, slice) {
        if (port_name && str_equal(object_label(slice, "kubernetes.io/service-name"), p.name) &&
            endpoint_in(r, slice, port_name, out))
            return 0;
    }
    return error_set(err, ERR_UNAVAILABLE, "no endpoints available for service \"%s\"",
                     r->info.name);
}

static int find_node_proxy(struct request *r, struct kubelet_target *out, struct error *err)
{
    struct proxy_name p;
    if (split_name(r, &p, err) < 0 || find_node(r, p.name, out, err) < 0)
        return -1;
    const char *own_port = strrchr(out->address, ':') + 1;
    if (!*p.port || str_equal(p.port, own_port))
        return 0;
    /* Any other port is not the kubelet's, and gets no certificate of ours. */
    const char *ip = arena_strndup(r->arena, out->address, (size_t)(own_port - 1 - out->address));
    int64_t port = strtoll(p.port, NULL, 10);
    if (*ip == '[')
        ip = arena_strndup(r->arena, ip + 1, strlen(ip) - 2);
    if (endpoint_ip_fault(ip) || port_number_fault(port))
        return error_set(err, ERR_BAD_REQUEST, "address not allowed");
    *out = (struct kubelet_target){ .scheme = p.scheme, .path = out->path };
    out->address = host_port(ip, port, r->arena);
    return 0;
}

int kubelet_target_find(struct request *r, struct kubelet_target *out, struct error *err)
{
    *out = (struct kubelet_target){ .scheme = "https" };
    if (strcmp(r->info.subresource, "proxy") != 0)
        return find_pod_kubelet(r, out, err);
    out->path = proxy_path(r);
    if (str_equal(r->info.plural, "pods"))
        return find_pod_proxy(r, out, err);
    if (str_equal(r->info.plural, "services"))
        return find_service_proxy(r, out, err);
    return find_node_proxy(r, out, err);
}
