/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints - the Endpoints object of each Service with a selector: the form before EndpointSlices.
 */
#include "controllers/service_endpoints.h"

#define ADDRESSES_MAX    1000
#define LABEL_MANAGED_BY "endpoints.kubernetes.io/managed-by"
#define MANAGED_BY       "endpoint-controller"
#define ANNOTATION_CUT   "endpoints.kubernetes.io/over-capacity"

static struct json address_of(struct controller *c, const struct object *service,
                              const struct object *pod)
{
    struct arena *a = c->arena;
    struct json *v = json_new(a, JSON_OBJECT);
    const char *hostname = service_hostname(service, pod);
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    json_put_str(a, v, "ip", json_str(pod->doc, "status.podIP", ""));
    if (hostname)
        json_put_str(a, v, "hostname", hostname);
    if (*node)
        json_put_str(a, v, "nodeName", node);
    json_put(a, v, "targetRef", *pod_reference(pod, a));
    return *v;
}

/* This form's ports leave an empty name out. */
static struct json port_list(const struct json *ports, struct arena *a)
{
    struct json list = json_clone_value(ports, a);
    for (uint32_t i = 0; i < list.len; i++) {
        if (str_empty(json_str(&list.items[i], "name", "")))
            json_remove(&list.items[i], "name");
    }
    return list;
}

/* One subset per group of pods with the same ports.  Counts in *LEFT how many addresses still fit.
 */
static void add_subset(struct controller *c, const struct object *service,
                       const struct endpoint_group *g, struct json *subsets, int *left)
{
    struct arena *a = c->arena;
    struct json *ready = json_new(a, JSON_ARRAY), *not_ready = json_new(a, JSON_ARRAY);
    bool any = service_publishes_not_ready(service);
    for (size_t i = 0; i<g->n && * left> 0; i++) {
        const struct object *pod = g->pods[i];
        if (object_is_deleting(pod) && !any)
            continue;
        json_append(a, any || pod_is_ready(pod) ? ready : not_ready, address_of(c, service, pod));
        (*left)--;
    }
    if (ready->len + not_ready->len == 0)
        return;
    struct json *subset = json_new(a, JSON_OBJECT);
    if (ready->len)
        json_put(a, subset, "addresses", *ready);
    if (not_ready->len)
        json_put(a, subset, "notReadyAddresses", *not_ready);
    if (g->ports->len)
        json_put(a, subset, "ports", port_list(g->ports, a));
    json_append(a, subsets, *subset);
}

static struct json *subsets_of(struct controller *c, const struct object *service,
                               const struct object_list *pods, bool *cut)
{
    int left = ADDRESSES_MAX;
    struct endpoint_groups groups = { 0 };
    struct json *subsets = json_new(c->arena, JSON_ARRAY);
    service_group_pods(c, service, pods, &groups);
    for (size_t i = 0; i < groups.n; i++)
        add_subset(c, service, &groups.items[i], subsets, &left);
    *cut = left == 0 && pods->n > ADDRESSES_MAX;
    return subsets;
}

static void fill(const struct object *service, const struct json *subsets, bool cut,
                 struct draft *d)
{
    put_service_labels(service, d);
    struct json *labels = json_find(d->doc, "metadata.labels");
    json_set(d->arena, labels, LABEL_MANAGED_BY, json_string_value(d->arena, MANAGED_BY));
    json_drop(d->doc, "subsets");
    if (subsets->len)
        json_put(d->arena, d->doc, "subsets", json_clone_value(subsets, d->arena));
    struct json *annotations = json_find(d->doc, "metadata.annotations");
    if (cut)
        json_set(d->arena, json_make_object(d->arena, d->doc, "metadata.annotations"),
                 ANNOTATION_CUT, json_string_value(d->arena, "truncated"));
    else if (annotations)
        json_remove(annotations, ANNOTATION_CUT);
}

static int write(struct controller *c, const struct object *service, const struct object *old,
                 struct draft *d, struct error *err)
{
    struct error failure = { 0 };
    int rc = old ? update_object(c, d, NULL, &failure) : create_object(c, d, NULL, &failure);
    if (rc == 0 || (!old && is_namespace_terminating(&failure)))
        return 0;
    if (failure.code != ERR_CONFLICT)
        event_record(c->events, old ? old : service, "Warning",
                     old ? "FailedToUpdateEndpoint" : "FailedToCreateEndpoint",
                     "Failed to %s endpoint %s/%s: %s", old ? "update" : "create", service->key.ns,
                     service->key.name, failure.message);
    return error_set(err, failure.code, "%s", failure.message);
}

static int sync_service(struct controller *c, const struct object *service, struct error *err)
{
    scoped(object_list) struct object_list pods = { 0 };
    service_pods(c, service, &pods);
    bool cut;
    struct json *subsets = subsets_of(c, service, &pods, &cut);

    scoped(object) struct object *old = cache_get(c, RESOURCE_ENDPOINTS, &service->key);
    scoped(draft) struct draft *d =
        old ? object_edit(old) : draft_new(&resources[RESOURCE_ENDPOINTS]);
    json_put_str(d->arena, d->doc, "metadata.namespace", service->key.ns);
    json_put_str(d->arena, d->doc, "metadata.name", service->key.name);
    fill(service, subsets, cut, d);
    if (old && json_equal(old->doc, d->doc))
        return 0;
    return write(c, service, old, d, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *service = cache_get(c, RESOURCE_SERVICES, key);
    if (service)
        return service_has_selector(service) ? sync_service(c, service, err) : 0;
    scoped(object) struct object *left = cache_get(c, RESOURCE_ENDPOINTS, key);
    return left ? delete_object(c, left, PROPAGATION_DEFAULT, err) : 0;
}

/* Endpoints that a user makes before the Service, or without one, are theirs. */
static void enqueue_deleted(struct controller *c, const struct informer_event *e)
{
    if (!e->new)
        enqueue_self(c, e);
}

const struct controller_spec endpoints_controller = {
    .name = "endpoints",
    .account = "endpoint-controller",
    .source = "endpoint-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_SERVICES,  enqueue_self },
        { RESOURCE_ENDPOINTS, enqueue_deleted },
        { RESOURCE_PODS,      enqueue_services_of_pod },
    },
    .indexes = {
        { RESOURCE_SERVICES, "namespace", informer_index_namespace },
        { RESOURCE_PODS,     "namespace", informer_index_namespace },
    },
    .reconcile = reconcile,
};
