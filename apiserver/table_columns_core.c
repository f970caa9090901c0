/* SPDX-License-Identifier: Apache-2.0 */
/* table_columns_core.c - printed columns of the core group's kinds. */
#include <ctype.h>

#include "api/selector.h"
#include "apiserver/table_cells.h"
#include "apiserver/table_columns_pod.h"

#define SHOWN_MAX 3 /* of a list of endpoints */

/* ---- pods ---- */

static void pod_ready(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    pod_print_ready(c->object->doc, out);
}

static void pod_status(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    pod_print_status(c->object->doc, out);
}

static void pod_restarts(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    pod_print_restarts(c->object->doc, c->now_ns, out);
}

static void pod_ip(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *ips = cell_at(c, "status.podIPs");
    const char *ip = ips && ips->len ? json_str(&ips->items[0], "ip", "") : "";
    buffer_add_str(out, *ip ? ip : "<none>");
}

static void pod_gates(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    pod_print_gates(c->object->doc, out);
}

static const struct cell pod_cells[] = {
    NAME,
    MADE_BY(pod_ready),
    MADE_BY(pod_status),
    MADE_BY(pod_restarts),
    AGE,
    MADE_BY(pod_ip),
    TEXT("spec.nodeName", "<none>"),
    TEXT("status.nominatedNodeName", "<none>"),
    MADE_BY(pod_gates),
};

/* ---- nodes ---- */

static void node_status(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *ready = object_condition(c->object, "Ready");
    if (!ready)
        buffer_add_str(out, "Unknown");
    else
        buffer_add_str(out, object_condition_is_true(c->object, "Ready") ? "Ready" : "NotReady");
    if (json_bool(c->object->doc, "spec.unschedulable", false))
        buffer_add_str(out, ",SchedulingDisabled");
}

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void node_roles(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    static const char prefix[] = "node-role.kubernetes.io/";
    const char *roles[64] = { 0 };
    size_t n = 0;
    json_each_member (cell_at(c, "metadata.labels"), m) {
        const char *role = "";
        if (str_has_prefix(m->name, prefix))
            role = m->name + sizeof(prefix) - 1;
        else if (strcmp(m->name, "kubernetes.io/role") == 0)
            role = json_text(&m->value) ? json_text(&m->value) : "";
        if (*role && n < ARRAY_LEN(roles))
            roles[n++] = role;
    }
    qsort(roles, n, sizeof(roles[0]), by_text);
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(roles[i], roles[i - 1]) != 0)
            print_joined(out, ",", roles[i]);
    if (!n)
        buffer_add_str(out, "<none>");
}

static void node_address(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    json_each_item (cell_at(c, "status.addresses"), address) {
        if (!out->len && str_equal(json_str(address, "type", ""), cell->path))
            buffer_add_str(out, json_str(address, "address", ""));
    }
    if (!out->len)
        buffer_add_str(out, "<none>");
}

static void node_kernel(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const char *kernel = json_str(c->object->doc, "status.nodeInfo.kernelVersion", "");
    const char *architecture = json_str(c->object->doc, "status.nodeInfo.architecture", "");
    buffer_add_str(out, *kernel ? kernel : "<unknown>");
    if (*kernel && *architecture)
        buffer_printf(out, " (%s)", architecture);
}

static const struct cell node_cells[] = {
    NAME,
    MADE_BY(node_status),
    MADE_BY(node_roles),
    AGE,
    TEXT("status.nodeInfo.kubeletVersion", ""),
    CELL(node_address, "InternalIP", NULL),
    CELL(node_address, "ExternalIP", NULL),
    TEXT("status.nodeInfo.osImage", "<unknown>"),
    MADE_BY(node_kernel),
    TEXT("status.nodeInfo.containerRuntimeVersion", "<unknown>"),
};

/* ---- services and endpoints ---- */

static void service_ip(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *ips = cell_at(c, "spec.clusterIPs");
    const char *ip = ips && ips->len ? json_text(&ips->items[0]) : NULL;
    buffer_add_str(out, str_empty(ip) ? "<none>" : ip);
}

static void print_external_ips(const struct cell_context *c, struct buffer *out)
{
    json_each_item (cell_at(c, "spec.externalIPs"), ip) {
        if (json_text(ip))
            print_joined(out, ",", json_text(ip));
    }
}

static void service_external(const struct cell_context *c, const struct cell *cell,
                             struct buffer *out)
{
    (void)cell;
    const char *type = json_str(c->object->doc, "spec.type", "");
    if (strcmp(type, "LoadBalancer") == 0) {
        print_load_balancer(cell_at(c, "status.loadBalancer"), out);
        print_external_ips(c, out);
        if (!out->len)
            buffer_add_str(out, "<pending>");
    } else if (strcmp(type, "ClusterIP") == 0 || strcmp(type, "NodePort") == 0) {
        print_external_ips(c, out);
        if (!out->len)
            buffer_add_str(out, "<none>");
    } else if (strcmp(type, "ExternalName") == 0) {
        buffer_add_str(out, json_str(c->object->doc, "spec.externalName", ""));
    } else {
        buffer_add_str(out, "<unknown>");
    }
}

static void service_ports(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    json_each_item (cell_at(c, "spec.ports"), port) {
        int64_t node_port = json_int(port, "nodePort", 0);
        buffer_printf(out, "%s%lld", out->len ? "," : "", (long long)json_int(port, "port", 0));
        if (node_port > 0)
            buffer_printf(out, ":%lld", (long long)node_port);
        buffer_printf(out, "/%s", json_str(port, "protocol", ""));
    }
    if (!out->len)
        buffer_add_str(out, "<none>");
}

static const struct cell service_cells[] = {
    NAME,
    TEXT("spec.type", ""),
    MADE_BY(service_ip),
    MADE_BY(service_external),
    MADE_BY(service_ports),
    AGE,
    LABELS("spec.selector"),
};

static void print_endpoint(const char *ip, const struct json *port, struct buffer *out)
{
    bool is_v6 = strchr(ip, ':') != NULL;
    if (out->len)
        buffer_add_char(out, ',');
    if (port)
        buffer_printf(out, "%s%s%s:%lld", is_v6 ? "[" : "", ip, is_v6 ? "]" : "",
                      (long long)json_int(port, "port", 0));
    else
        buffer_add_str(out, ip);
}

static void endpoints(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    size_t n = 0;
    json_each_item (cell_at(c, "subsets"), subset) {
        const struct json *ports = json_get(subset, "ports");
        json_each_item (json_get(subset, "addresses"), address) {
            size_t of_address = ports && ports->len ? ports->len : 1;
            for (size_t i = 0; i < of_address; i++)
                if (n++ < SHOWN_MAX)
                    print_endpoint(json_str(address, "ip", ""),
                                   ports && ports->len ? &ports->items[i] : NULL, out);
        }
    }
    if (!json_len(c->object->doc, "subsets"))
        buffer_add_str(out, "<none>");
    if (n > SHOWN_MAX)
        buffer_printf(out, " + %zu more...", n - SHOWN_MAX);
}

static const struct cell endpoints_cells[] = { NAME, MADE_BY(endpoints), AGE };

/* ---- events: both groups have the same objects under different names ---- */

static const char *first_of(const struct cell_context *c, const char *const *paths)
{
    for (; *paths; paths++) {
        const char *text = json_str(c->object->doc, *paths, "");
        if (*text)
            return text;
    }
    return "";
}

static void event_first_seen(const struct cell_context *c, const struct cell *cell,
                             struct buffer *out)
{
    (void)cell;
    static const char *const paths[] = { "firstTimestamp", "deprecatedFirstTimestamp", "eventTime",
                                         NULL };
    print_age(c, first_of(c, paths), out);
}

static void event_last_seen(const struct cell_context *c, const struct cell *cell,
                            struct buffer *out)
{
    static const char *const paths[] = { "series.lastObservedTime", "lastTimestamp",
                                         "deprecatedLastTimestamp", NULL };
    const char *last = first_of(c, paths);
    if (*last)
        print_age(c, last, out);
    else
        event_first_seen(c, cell, out);
}

static const struct json *event_object(const struct cell_context *c)
{
    const struct json *involved = cell_at(c, "involvedObject");
    return involved ? involved : cell_at(c, "regarding");
}

static void event_about(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *about = event_object(c);
    for (const char *k = json_str(about, "kind", ""); *k; k++)
        buffer_add_char(out, (char)tolower((unsigned char)*k));
    if (*json_str(about, "name", ""))
        buffer_printf(out, "/%s", json_str(about, "name", ""));
}

static void event_field(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, json_str(event_object(c), "fieldPath", ""));
}

static void event_source(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    static const char *const components[] = { "source.component", "deprecatedSource.component",
                                              "reportingComponent", "reportingController", NULL };
    static const char *const hosts[] = { "source.host", "deprecatedSource.host",
                                         "reportingInstance", NULL };
    buffer_add_str(out, first_of(c, components));
    const char *host = first_of(c, hosts);
    if (*host)
        buffer_printf(out, ", %s", host);
}

static void event_message(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    static const char *const paths[] = { "message", "note", NULL };
    const char *text = first_of(c, paths);
    size_t n = strlen(text);
    while (n && isspace((unsigned char)*text))
        text++, n--;
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    buffer_add(out, text, n);
}

static void event_count(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    int64_t count =
        json_int(c->object->doc, "count", json_int(c->object->doc, "deprecatedCount", 0));
    count = json_int(c->object->doc, "series.count", count);
    buffer_add_int(out, count ? count : 1);
}

static const struct cell event_cells[] = {
    MADE_BY(event_last_seen),
    TEXT("type", ""),
    TEXT("reason", ""),
    MADE_BY(event_about),
    MADE_BY(event_field),
    MADE_BY(event_source),
    MADE_BY(event_message),
    MADE_BY(event_first_seen),
    { .print = event_count, .is_raw = true },
    NAME,
};

/* ---- volumes ---- */

static void terminating_or_phase(const struct cell_context *c, const struct cell *cell,
                                 struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, object_is_deleting(c->object)
                            ? "Terminating"
                            : json_str(c->object->doc, "status.phase", ""));
}

static void volume_modes(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    print_access_modes(cell_at(c, cell->path), out);
}

static void volume_claim(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *claim = cell_at(c, "spec.claimRef");
    if (claim)
        buffer_printf(out, "%s/%s", json_str(claim, "namespace", ""), json_str(claim, "name", ""));
}

static void storage_class(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const char *old = object_annotation(c->object, "volume.beta.kubernetes.io/storage-class");
    buffer_add_str(out, old ? old : json_str(c->object->doc, "spec.storageClassName", ""));
}

static void claim_capacity(const struct cell_context *c, const struct cell *cell,
                           struct buffer *out)
{
    (void)cell;
    if (*json_str(c->object->doc, "spec.volumeName", ""))
        buffer_add_str(out, json_str(c->object->doc, "status.capacity.storage", ""));
}

static void claim_modes(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    if (*json_str(c->object->doc, "spec.volumeName", ""))
        print_access_modes(cell_at(c, "status.accessModes"), out);
}

static const struct cell volume_cells[] = {
    NAME,
    TEXT("spec.capacity.storage", ""),
    CELL(volume_modes, "spec.accessModes", NULL),
    TEXT("spec.persistentVolumeReclaimPolicy", ""),
    MADE_BY(terminating_or_phase),
    MADE_BY(volume_claim),
    MADE_BY(storage_class),
    TEXT("spec.volumeAttributesClassName", "<unset>"),
    TEXT("status.reason", ""),
    AGE,
    TEXT("spec.volumeMode", "<unset>"),
};

static const struct cell claim_cells[] = {
    NAME,
    MADE_BY(terminating_or_phase),
    TEXT("spec.volumeName", ""),
    MADE_BY(claim_capacity),
    MADE_BY(claim_modes),
    MADE_BY(storage_class),
    TEXT("spec.volumeAttributesClassName", "<unset>"),
    AGE,
    TEXT("spec.volumeMode", "<unset>"),
};

/* ---- the others ---- */

static void component_condition(const struct cell_context *c, const struct cell *cell,
                                struct buffer *out)
{
    json_each_item (cell_at(c, "conditions"), condition) {
        if (!str_equal(json_str(condition, "type", ""), "Healthy"))
            continue;
        if (strcmp(cell->path, "status") == 0)
            buffer_add_str(out, str_equal(json_str(condition, "status", ""), "True") ? "Healthy"
                                                                                     : "Unhealthy");
        else
            buffer_add_str(out, json_str(condition, cell->path, ""));
        return;
    }
    buffer_add_str(out, cell->fallback);
}

/* "cpu: 1/2, pods: 3/10": the hard limits that are (or are not) limits of limits. */
static void quota(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    bool wants_limits = strcmp(cell->path, "limits") == 0;
    const struct json_member *sorted[64];
    size_t n = 0;
    json_each_member (cell_at(c, "status.hard"), m) {
        if (str_has_prefix(m->name, "limits.") == wants_limits && n < ARRAY_LEN(sorted))
            sorted[n++] = m;
    }
    for (size_t i = 1; i < n; i++) /* few, and nearly sorted */
        for (size_t j = i; j && strcmp(sorted[j]->name, sorted[j - 1]->name) < 0; j--) {
            const struct json_member *swap = sorted[j];
            sorted[j] = sorted[j - 1];
            sorted[j - 1] = swap;
        }
    const struct json *used = cell_at(c, "status.used");
    for (size_t i = 0; i < n; i++) {
        const struct json *of_used = used ? json_get(used, sorted[i]->name) : NULL;
        const char *hard = json_text(&sorted[i]->value);
        buffer_printf(out, "%s%s: %s/%s", i ? ", " : "", sorted[i]->name,
                      json_text(of_used) ? json_text(of_used) : "0", hard ? hard : "");
    }
}

static const struct cell component_cells[] = {
    NAME,
    CELL(component_condition, "status", "Unknown"),
    CELL(component_condition, "message", ""),
    CELL(component_condition, "error", ""),
};
static const struct cell config_map_cells[] = { NAME, COUNT("data binaryData"), AGE };
static const struct cell secret_cells[] = { NAME, TEXT("type", ""), COUNT("data"), AGE };
static const struct cell namespace_cells[] = { NAME, TEXT("status.phase", ""), AGE };
static const struct cell service_account_cells[] = { NAME, AGE };
static const struct cell quota_cells[] = { NAME, CELL(quota, "", NULL), CELL(quota, "limits", NULL),
                                           AGE };
static const struct cell pod_template_cells[] = {
    NAME,
    CELL(cell_containers, "template.spec.containers", NULL),
    CELL(cell_images, "template.spec.containers", NULL),
    LABELS("template.metadata.labels"),
};
static const struct cell controller_cells[] = {
    NAME,
    NUMBER("spec.replicas"),
    NUMBER("status.replicas"),
    NUMBER("status.readyReplicas"),
    AGE,
    CELL(cell_containers, "spec.template.spec.containers", NULL),
    CELL(cell_images, "spec.template.spec.containers", NULL),
    LABELS("spec.selector"),
};

const struct cell_row core_rows[] = {
    ROW(PODS, pod_cells),
    ROW(EVENTS, event_cells),
    ROW(EVENTS_EVENTS_V1, event_cells),
    ROW(NODES, node_cells),
    ROW(SERVICES, service_cells),
    ROW(ENDPOINTS, endpoints_cells),
    ROW(CONFIGMAPS, config_map_cells),
    ROW(SECRETS, secret_cells),
    ROW(NAMESPACES, namespace_cells),
    ROW(SERVICEACCOUNTS, service_account_cells),
    ROW(PERSISTENTVOLUMES, volume_cells),
    ROW(PERSISTENTVOLUMECLAIMS, claim_cells),
    ROW(RESOURCEQUOTAS, quota_cells),
    ROW(PODTEMPLATES, pod_template_cells),
    ROW(REPLICATIONCONTROLLERS, controller_cells),
    ROW(COMPONENTSTATUSES, component_cells),
};
const size_t core_rows_n = ARRAY_LEN(core_rows);
