/* SPDX-License-Identifier: Apache-2.0 */
/*
 * defaults.c - the defaults that depend on something: one function per type that names it in
 * api/schema/ (`type Container defaults=container`).
 *
 * An object has its unconditional defaults already when its function is called.
 */
#include <ctype.h>

#include "api/quantity.h"
#include "api/schema.h"
#include "base/clock.h"

schema_defaults_fn schema_defaults_autoscaler_spec, schema_defaults_container,
    schema_defaults_custom_resource_definition, schema_defaults_daemon_set_strategy,
    schema_defaults_deployment_strategy, schema_defaults_device_request,
    schema_defaults_device_taint, schema_defaults_job, schema_defaults_limit_range_item,
    schema_defaults_namespace, schema_defaults_network_policy_spec, schema_defaults_node_status,
    schema_defaults_persistent_volume, schema_defaults_pod, schema_defaults_pod_spec,
    schema_defaults_replication_controller, schema_defaults_service,
    schema_defaults_stateful_set_spec, schema_defaults_subject, schema_defaults_volume;

/* ---- helpers: literals live forever, so nothing is copied ---- */

static struct json text_value(const char *literal)
{
    return (
        struct json){ .type = JSON_STRING, .len = (uint32_t)strlen(literal), .string = literal };
}

static struct json empty_object(void)
{
    return (struct json){ .type = JSON_OBJECT };
}

static bool is_set(const struct json *object, const char *path)
{
    const struct json *v = json_at(object, path);
    return v && v->type != JSON_NULL;
}

static bool is_text(const struct json *object, const char *path, const char *text)
{
    return strcmp(json_str(object, path, ""), text) == 0;
}

static void set_if_unset(struct arena *a, struct json *object, const char *name, struct json value)
{
    if (!is_set(object, name))
        json_set_static(a, object, name, value);
}

static void set_if_empty(struct arena *a, struct json *object, const char *name,
                         const char *literal)
{
    if (is_text(object, name, ""))
        json_set_static(a, object, name, text_value(literal));
}

/* The object under that name, made if it is not there. */
static struct json *need_object(struct arena *a, struct json *parent, const char *name)
{
    struct json *v = json_find(parent, name);
    if (v && v->type == JSON_OBJECT)
        return v;
    return json_set_static(a, parent, name, empty_object());
}

/* Go through a list that is about to be changed; nothing if it is not there. */
#define each_item_to_change(parent, path, it)                                                      \
    for (struct json *it##_list = json_find((parent), (path)),                                     \
                     *it = json_is(it##_list, JSON_ARRAY) ? it##_list->items : NULL;               \
         it && it < it##_list->items + it##_list->len; it++)

static void labels_from_template(struct json *object, struct arena *a)
{
    const struct json *labels = json_at(object, "spec.template.metadata.labels");
    if (!json_len(labels, "") || json_len(object, "metadata.labels"))
        return;
    struct json *metadata = need_object(a, object, "metadata");
    json_set_static(a, metadata, "labels", json_clone_value(labels, a));
}

/* ---- pods ---- */

/* A tag of "latest", or neither tag nor digest, means that the image may change under its name. */
static bool image_may_change(const char *image)
{
    if (strchr(image, '@'))
        return false;
    const char *slash = strrchr(image, '/');
    const char *colon = strrchr(slash ? slash : image, ':');
    return !colon || strcmp(colon, ":latest") == 0;
}

static void set_pull_policy(struct json *object, const char *name, const char *image,
                            struct arena *a)
{
    set_if_empty(a, object, name, image_may_change(image) ? "Always" : "IfNotPresent");
}

void schema_defaults_container(struct json *container, struct arena *a)
{
    set_pull_policy(container, "imagePullPolicy", json_str(container, "image", ""), a);
}

void schema_defaults_volume(struct json *volume, struct arena *a)
{
    bool has_source = false;
    json_each_member (volume, m)
        has_source |= strcmp(m->name, "name") != 0 && m->value.type != JSON_NULL;
    if (!has_source)
        json_set_static(a, volume, "emptyDir", empty_object());
    struct json *image = json_find(volume, "image");
    if (json_is(image, JSON_OBJECT))
        set_pull_policy(image, "pullPolicy", json_str(image, "reference", ""), a);
}

void schema_defaults_pod_spec(struct json *spec, struct arena *a)
{
    /* serviceAccount is the old name of serviceAccountName, and mirrors it. */
    const char *name = json_str(spec, "serviceAccountName", "");
    if (!*name)
        name = json_str(spec, "serviceAccount", "");
    if (!*name)
        return;
    json_set_static(a, spec, "serviceAccountName", text_value(name));
    json_set_static(a, spec, "serviceAccount", text_value(name));
}

static void container_requests(struct json *pod_spec, const char *list, struct arena *a)
{
    each_item_to_change(pod_spec, list, c)
    {
        const struct json *limits = json_at(c, "resources.limits");
        if (!json_len(limits, ""))
            continue;
        struct json *requests = need_object(a, json_find(c, "resources"), "requests");
        json_each_member (limits, m)
            if (!json_get(requests, m->name))
                json_set_static(a, requests, m->name, m->value);
    }
}

static void host_ports(struct json *pod_spec, const char *list, struct arena *a)
{
    each_item_to_change(pod_spec, list, c) each_item_to_change(c, "ports", port)
    {
        int64_t number = json_int(port, "containerPort", 0);
        if (number && !json_int(port, "hostPort", 0))
            json_set_static(a, port, "hostPort", json_int_value(number));
    }
}

static struct quantity container_quantity(const struct json *container, const char *kind,
                                          const char *name)
{
    struct quantity q = { 0 };
    const char *text = json_text(json_get(json_at(json_at(container, "resources"), kind), name));
    if (text && quantity_parse(text, &q) < 0)
        q = (struct quantity){ 0 };
    return q;
}

/* What the containers need of one resource at the worst moment; false if none says anything. */
static bool pod_quantity(const struct json *spec, const char *kind, const char *name,
                         struct quantity *total)
{
    struct quantity sidecars = { 0 }, init_most = { 0 };
    *total = (struct quantity){ 0 };
    json_each_item (json_at(spec, "initContainers"), c) {
        struct quantity need = container_quantity(c, kind, name);
        bool is_sidecar = is_text(c, "restartPolicy", "Always");
        need.nano += sidecars.nano;
        if (is_sidecar)
            sidecars = need;
        if (need.nano > init_most.nano)
            init_most = need;
    }
    json_each_item (json_at(spec, "containers"), c) {
        struct quantity need = container_quantity(c, kind, name);
        if (!total->nano)
            total->format = need.format;
        quantity_add(total, &need);
    }
    quantity_add(total, &sidecars);
    if (init_most.nano > total->nano)
        *total = init_most;
    return total->nano != 0;
}

static void set_pod_quantity(const struct json *spec, struct json *into, const char *kind,
                             const char *name, struct arena *a)
{
    struct quantity total;
    if (!pod_quantity(spec, kind, name, &total))
        return;
    json_set(a, into, name, text_value(quantity_print(&total, a)));
}

/* Huge pages have no overcommit: what the containers may use, the pod must say. */
static void pod_huge_pages(struct json *spec, struct arena *a)
{
    if (!json_len(spec, "resources.limits") && !json_len(spec, "resources.requests"))
        return;
    json_each_item (json_at(spec, "containers"), c)
        json_each_member (json_at(c, "resources.limits"), m) {
            if (!str_has_prefix(m->name, "hugepages-") ||
                json_get(json_at(spec, "resources.limits"), m->name) ||
                json_get(json_at(spec, "resources.requests"), m->name))
                continue;
            struct json *limits = need_object(a, json_find(spec, "resources"), "limits");
            set_pod_quantity(spec, limits, "limits", m->name, a);
        }
}

static void pod_requests(struct json *spec, struct arena *a)
{
    static const char *const aggregated[] = { "cpu", "memory" };
    pod_huge_pages(spec, a);
    if (!json_len(spec, "resources.limits"))
        return;
    struct json *requests = need_object(a, json_find(spec, "resources"), "requests");
    for (size_t i = 0; i < sizeof(aggregated) / sizeof(aggregated[0]); i++)
        if (!json_get(requests, aggregated[i]))
            set_pod_quantity(spec, requests, "requests", aggregated[i], a);
    json_each_member (json_at(spec, "resources.limits"), m)
        if (!json_get(requests, m->name))
            json_set_static(a, requests, m->name, m->value);
}

void schema_defaults_pod(struct json *pod, struct arena *a)
{
    struct json *spec = need_object(a, pod, "spec");
    set_if_unset(a, spec, "enableServiceLinks", json_bool_value(true));
    container_requests(spec, "containers", a);
    container_requests(spec, "initContainers", a);
    if (is_set(spec, "resources"))
        pod_requests(spec, a);
    if (json_bool(spec, "hostNetwork", false)) {
        host_ports(spec, "containers", a);
        host_ports(spec, "initContainers", a);
    }
}

/* ---- other kinds of core ---- */

void schema_defaults_replication_controller(struct json *rc, struct arena *a)
{
    const struct json *labels = json_at(rc, "spec.template.metadata.labels");
    if (json_len(labels, "") && !json_len(rc, "spec.selector"))
        json_set_static(a, json_find(rc, "spec"), "selector", json_clone_value(labels, a));
    labels_from_template(rc, a);
}

static void service_affinity(struct json *spec, struct arena *a)
{
    const char *affinity = json_str(spec, "sessionAffinity", "None");
    if (strcmp(affinity, "None") == 0)
        json_remove(spec, "sessionAffinityConfig");
    if (strcmp(affinity, "ClientIP") != 0)
        return;
    struct json *config = need_object(a, spec, "sessionAffinityConfig");
    set_if_unset(a, need_object(a, config, "clientIP"), "timeoutSeconds", json_int_value(10800));
}

void schema_defaults_service(struct json *service, struct arena *a)
{
    struct json *spec = need_object(a, service, "spec");
    set_if_empty(a, spec, "type", "ClusterIP");
    service_affinity(spec, a);
    each_item_to_change(spec, "ports", port)
    {
        const struct json *target = json_get(port, "targetPort");
        if (!target || (target->type == JSON_INT ? target->integer == 0 : target->len == 0))
            json_set_static(a, port, "targetPort", json_int_value(json_int(port, "port", 0)));
    }

    bool is_cluster_ip = is_text(spec, "type", "ClusterIP");
    bool is_balancer = is_text(spec, "type", "LoadBalancer");
    bool is_outside = is_balancer || is_text(spec, "type", "NodePort");
    if (is_outside || (is_cluster_ip && json_len(spec, "externalIPs")))
        set_if_empty(a, spec, "externalTrafficPolicy", "Cluster");
    if (is_outside || is_cluster_ip)
        set_if_unset(a, spec, "internalTrafficPolicy", text_value("Cluster"));
    if (!is_balancer)
        return;
    set_if_unset(a, spec, "allocateLoadBalancerNodePorts", json_bool_value(true));
    each_item_to_change(service, "status.loadBalancer.ingress",
                        ingress) if (!is_text(ingress, "ip", ""))
        set_if_unset(a, ingress, "ipMode", text_value("VIP"));
}

void schema_defaults_namespace(struct json *ns, struct arena *a)
{
    const char *name = json_str(ns, "metadata.name", "");
    if (!*name)
        return;
    struct json *labels = need_object(a, json_find(ns, "metadata"), "labels");
    json_set_static(a, labels, "kubernetes.io/metadata.name", text_value(name));
}

void schema_defaults_node_status(struct json *status, struct arena *a)
{
    const struct json *capacity = json_get(status, "capacity");
    if (json_len(capacity, "") && !is_set(status, "allocatable"))
        json_set_static(a, status, "allocatable", json_clone_value(capacity, a));
}

void schema_defaults_persistent_volume(struct json *volume, struct arena *a)
{
    struct json *spec = need_object(a, volume, "spec");
    set_if_empty(a, spec, "persistentVolumeReclaimPolicy", "Retain");
    set_if_unset(a, spec, "volumeMode", text_value("Filesystem"));
}

static void copy_missing(struct json *item, const char *to, const char *from, struct arena *a)
{
    if (!json_len(item, from))
        return;
    struct json *into = need_object(a, item, to);
    json_each_member (json_get(item, from), m)
        if (!json_get(into, m->name))
            json_set_static(a, into, m->name, m->value);
}

void schema_defaults_limit_range_item(struct json *item, struct arena *a)
{
    if (!is_text(item, "type", "Container"))
        return;
    copy_missing(item, "default", "max", a);
    copy_missing(item, "defaultRequest", "default", a);
    copy_missing(item, "defaultRequest", "min", a);
}

/* ---- apps ---- */

static void rolling_update(struct json *strategy, struct arena *a)
{
    if (is_text(strategy, "type", "RollingUpdate"))
        set_if_unset(a, strategy, "rollingUpdate", empty_object());
}

void schema_defaults_deployment_strategy(struct json *strategy, struct arena *a)
{
    rolling_update(strategy, a);
}

void schema_defaults_daemon_set_strategy(struct json *strategy, struct arena *a)
{
    rolling_update(strategy, a);
}

void schema_defaults_stateful_set_spec(struct json *spec, struct arena *a)
{
    struct json *strategy = need_object(a, spec, "updateStrategy");
    if (is_text(strategy, "type", "")) {
        json_set_static(a, strategy, "type", text_value("RollingUpdate"));
        set_if_unset(a, strategy, "rollingUpdate", empty_object());
    }
    struct json *rolling = json_find(strategy, "rollingUpdate");
    if (is_text(strategy, "type", "RollingUpdate") && json_is(rolling, JSON_OBJECT))
        set_if_unset(a, rolling, "partition", json_int_value(0));
    set_if_unset(a, spec, "persistentVolumeClaimRetentionPolicy", empty_object());
    each_item_to_change(spec, "volumeClaimTemplates", claim)
    {
        set_if_empty(a, claim, "apiVersion", "v1");
        set_if_empty(a, claim, "kind", "PersistentVolumeClaim");
    }
}

/* ---- batch, autoscaling ---- */

void schema_defaults_job(struct json *job, struct arena *a)
{
    struct json *spec = need_object(a, job, "spec");
    if (!is_set(spec, "parallelism"))
        set_if_unset(a, spec, "completions", json_int_value(1));
    set_if_unset(a, spec, "parallelism", json_int_value(1));
    /* With a limit per index, the limit of the whole is as good as none. */
    set_if_unset(a, spec, "backoffLimit",
                 json_int_value(is_set(spec, "backoffLimitPerIndex") ? INT32_MAX : 6));
    set_if_unset(a, spec, "completionMode", text_value("NonIndexed"));
    set_if_unset(a, spec, "suspend", json_bool_value(false));
    set_if_unset(a, spec, "podReplacementPolicy",
                 text_value(is_set(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed"));
    set_if_unset(a, spec, "manualSelector", json_bool_value(false));
    labels_from_template(job, a);
}

static const char default_metrics[] =
    "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":"
    "{\"type\":\"Utilization\",\"averageUtilization\":80}}}]";
static const char default_scale_up[] =
    "{\"stabilizationWindowSeconds\":0,\"selectPolicy\":\"Max\",\"policies\":["
    "{\"type\":\"Pods\",\"value\":4,\"periodSeconds\":15},"
    "{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}";
static const char default_scale_down[] =
    "{\"selectPolicy\":\"Max\",\"policies\":["
    "{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}";

static struct json own_tree(const char *text, struct arena *a)
{
    struct error err;
    struct json *tree = json_parse(bytes_of(text), a, NULL, &err);
    ensure(tree);
    return *tree;
}

static void scaling_rules(struct json *behavior, const char *name, const char *text,
                          struct arena *a)
{
    struct json *rules = need_object(a, behavior, name);
    struct json defaults = own_tree(text, a);
    json_each_member (&defaults, m)
        set_if_unset(a, rules, m->name, m->value);
}

void schema_defaults_autoscaler_spec(struct json *spec, struct arena *a)
{
    if (!json_len(spec, "metrics"))
        json_set_static(a, spec, "metrics", own_tree(default_metrics, a));
    struct json *behavior = json_find(spec, "behavior");
    if (!json_is(behavior, JSON_OBJECT))
        return;
    scaling_rules(behavior, "scaleUp", default_scale_up, a);
    scaling_rules(behavior, "scaleDown", default_scale_down, a);
}

/* ---- the other groups ---- */

void schema_defaults_network_policy_spec(struct json *spec, struct arena *a)
{
    if (json_len(spec, "policyTypes"))
        return;
    struct json types = { .type = JSON_ARRAY };
    json_append(a, &types, text_value("Ingress"));
    if (json_len(spec, "egress"))
        json_append(a, &types, text_value("Egress"));
    json_set_static(a, spec, "policyTypes", types);
}

void schema_defaults_subject(struct json *subject, struct arena *a)
{
    if (is_text(subject, "kind", "User") || is_text(subject, "kind", "Group"))
        set_if_empty(a, subject, "apiGroup", "rbac.authorization.k8s.io");
}

void schema_defaults_device_request(struct json *request, struct arena *a)
{
    if (is_text(request, "allocationMode", "ExactCount") && !json_int(request, "count", 0))
        json_set_static(a, request, "count", json_int_value(1));
}

void schema_defaults_device_taint(struct json *taint, struct arena *a)
{
    char now[TIME_TEXT_BYTES];
    if (is_set(taint, "timeAdded"))
        return;
    time_format(clock_wall_ns(&system_clock), now);
    json_set_static(a, taint, "timeAdded", json_string_value(a, now));
}

static void stored_versions(struct json *definition, struct arena *a)
{
    if (json_len(definition, "status.storedVersions"))
        return;
    json_each_item (json_at(definition, "spec.versions"), version) {
        if (!json_bool(version, "storage", false))
            continue;
        struct json versions = { .type = JSON_ARRAY };
        json_append(a, &versions, text_value(json_str(version, "name", "")));
        json_set_static(a, need_object(a, definition, "status"), "storedVersions", versions);
        return;
    }
}

void schema_defaults_custom_resource_definition(struct json *definition, struct arena *a)
{
    struct json *names = json_find(definition, "spec.names");
    const char *kind = json_str(names, "kind", "");
    if (*kind) {
        char *singular = arena_strdup(a, kind);
        for (char *c = singular; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        set_if_empty(a, names, "singular", singular);
        set_if_empty(a, names, "listKind", arena_printf(a, "%sList", kind));
    }
    stored_versions(definition, a);
}
