/* SPDX-License-Identifier: Apache-2.0 */
/* service_endpoints - which pods stand behind a Service, and on which ports. */
#include "controllers/service_endpoints.h"

#define LABEL_HEADLESS "service.kubernetes.io/headless"

/* ---- the Service ---- */

bool service_has_selector(const struct object *service)
{
    return json_len(service->doc, "spec.selector") > 0;
}

bool service_is_headless(const struct object *service)
{
    return str_equal(json_str(service->doc, "spec.clusterIP", ""), "None");
}

bool service_publishes_not_ready(const struct object *service)
{
    return json_bool(service->doc, "spec.publishNotReadyAddresses", false);
}

const char *service_hostname(const struct object *service, const struct object *pod)
{
    const char *name = json_str(pod->doc, "spec.hostname", NULL);
    bool is_here = str_equal(json_str(pod->doc, "spec.subdomain", ""), service->key.name);
    return is_here && !str_empty(name) ? name : NULL;
}

static bool is_reserved_label(const char *name)
{
    static const char *const reserved[] = { LABEL_HEADLESS, "kubernetes.io/service-name",
                                            "endpointslice.kubernetes.io/managed-by",
                                            "endpoints.kubernetes.io/managed-by" };
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (str_equal(name, reserved[i]))
            return true;
    }
    return false;
}

void put_service_labels(const struct object *service, struct draft *d)
{
    struct json *labels = json_new(d->arena, JSON_OBJECT);
    json_each_member (json_at(service->doc, "metadata.labels"), m) {
        if (!is_reserved_label(m->name))
            json_set(d->arena, labels, m->name, json_clone_value(&m->value, d->arena));
    }
    if (service_is_headless(service))
        json_set(d->arena, labels, LABEL_HEADLESS, json_string_value(d->arena, ""));
    json_put(d->arena, d->doc, "metadata.labels", *labels);
}

/* ---- its pods ---- */

static int by_name(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    return strcmp(x->key.name, y->key.name);
}

void service_pods(struct controller *c, const struct object *service, struct object_list *out)
{
    const struct selector *s = selector_from_map(json_at(service->doc, "spec.selector"), c->arena);
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_namespace(c, RESOURCE_PODS, service->key.ns, &pods);
    object_list_each (&pods, pod) {
        bool has_address = json_len(pod->doc, "status.podIPs") > 0 ||
                           !str_empty(json_str(pod->doc, "status.podIP", ""));
        if (has_address && !pod_is_finished(pod) &&
            selector_matches(s, json_at(pod->doc, "metadata.labels")))
            object_list_add(out, pod);
    }
    if (out->n > 1)
        qsort(out->items, out->n, sizeof(*out->items), by_name);
}

struct json *pod_reference(const struct object *pod, struct arena *a)
{
    struct json *ref = json_new(a, JSON_OBJECT);
    json_put_str(a, ref, "kind", "Pod");
    json_put_str(a, ref, "namespace", pod->key.ns);
    json_put_str(a, ref, "name", pod->key.name);
    json_put_str(a, ref, "uid", pod->uid);
    return ref;
}

/* ---- ports ---- */

static int64_t find_named(const struct json *containers, const char *name, const char *protocol)
{
    json_each_item (containers, container) {
        json_each_item (json_get(container, "ports"), port) {
            if (str_equal(json_str(port, "name", ""), name) &&
                str_equal(json_str(port, "protocol", "TCP"), protocol))
                return json_int(port, "containerPort", 0);
        }
    }
    return 0;
}

/* The number of the port in the pod; 0: the pod has none of that name. */
static int64_t find_port(const struct object *pod, const struct json *service_port)
{
    const struct json *target = json_get(service_port, "targetPort");
    const char *protocol = json_str(service_port, "protocol", "TCP");
    if (json_is(target, JSON_INT) && target->integer > 0)
        return target->integer;
    if (!json_is(target, JSON_STRING))
        return json_int(service_port, "port", 0);
    int64_t n = find_named(json_at(pod->doc, "spec.containers"), target->string, protocol);
    if (n)
        return n;
    json_each_item (json_at(pod->doc, "spec.initContainers"), init) {
        /* one that runs beside the others: a sidecar */
        if (!str_equal(json_str(init, "restartPolicy", ""), "Always"))
            continue;
        struct json alone = { .type = JSON_ARRAY, .len = 1, .items = (struct json *)init };
        if ((n = find_named(&alone, target->string, protocol)))
            return n;
    }
    return 0;
}

static struct json *ports_of(struct controller *c, const struct object *service,
                             const struct object *pod)
{
    struct arena *a = c->arena;
    struct json *ports = json_new(a, JSON_ARRAY);
    json_each_item (json_at(service->doc, "spec.ports"), p) {
        int64_t n = find_port(pod, p);
        if (n == 0)
            continue;
        struct json *port = json_new(a, JSON_OBJECT);
        json_put_str(a, port, "name", json_str(p, "name", ""));
        json_put_int(a, port, "port", n);
        json_put_str(a, port, "protocol", json_str(p, "protocol", "TCP"));
        const char *app = json_str(p, "appProtocol", NULL);
        if (app)
            json_put_str(a, port, "appProtocol", app);
        json_append(a, ports, *port);
    }
    return ports;
}

void service_group_pods(struct controller *c, const struct object *service,
                        const struct object_list *pods, struct endpoint_groups *out)
{
    object_list_each (pods, pod) {
        struct json *ports = ports_of(c, service, pod);
        if (ports->len == 0 && !service_is_headless(service))
            continue; /* it listens on none of the Service's ports */
        size_t i = 0;
        while (i < out->n && !json_equal(out->items[i].ports, ports))
            i++;
        if (i == out->n) {
            out->items =
                arena_grow(c->arena, out->items, out->n, &out->capacity, sizeof(*out->items));
            out->items[out->n++] = (struct endpoint_group){ .ports = ports };
        }
        struct endpoint_group *g = &out->items[i];
        g->pods = arena_grow(c->arena, g->pods, g->n, &g->capacity, sizeof(*g->pods));
        g->pods[g->n++] = pod;
    }
}

/* ---- what a change of a pod means to Services ---- */

static bool matters(const struct object *old, const struct object *new)
{
    static const char *const fields[] = { "metadata.labels", "status.podIPs", "status.podIP",
                                          "spec.nodeName",   "spec.hostname", "spec.subdomain" };
    if (!old || !new)
        return true;
    if (pod_is_ready(old) != pod_is_ready(new) || pod_is_finished(old) != pod_is_finished(new) ||
        object_is_deleting(old) != object_is_deleting(new))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *was = json_at(old->doc, fields[i]), *is = json_at(new->doc, fields[i]);
        if ((was || is) && (!was || !is || !json_equal(was, is)))
            return true;
    }
    return false;
}

void enqueue_services_of_pod(struct controller *c, const struct informer_event *e)
{
    if (!matters(e->old, e->new))
        return;
    scoped(arena) struct arena *a = arena_new();
    scoped(object_list) struct object_list services = { 0 };
    const struct object *pod = e->new ? e->new : e->old;
    cache_list_namespace(c, RESOURCE_SERVICES, pod->key.ns, &services);
    object_list_each (&services, service) {
        if (!service_has_selector(service))
            continue;
        const struct selector *s = selector_from_map(json_at(service->doc, "spec.selector"), a);
        if ((e->new &&selector_matches(s, json_at(e->new->doc, "metadata.labels"))) ||
            (e->old && selector_matches(s, json_at(e->old->doc, "metadata.labels"))))
            enqueue_key(c, &service->key);
    }
}
