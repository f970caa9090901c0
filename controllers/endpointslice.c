/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpointslice - the pods behind each Service, in slices of at most 100.
 *
 * A slice has one address family and one set of ports.  Endpoints stay in the slice they are in, so
 * that a change of one pod changes one slice and watchers read little:
 *
 *     web-x7k2p  [a b c d ...]  b changes -> rewritten in place, e is new -> goes where there is
 * room web-9qk4d  [f g]          f, g are gone -> the slice is deleted
 */
#include "controllers/service_endpoints.h"

#include "base/hashmap.h"

#define SLICE_ENDPOINTS_MAX 100
#define LABEL_SERVICE       "kubernetes.io/service-name"
#define LABEL_MANAGED_BY    "endpointslice.kubernetes.io/managed-by"
#define MANAGED_BY          "endpointslice-controller.k8s.io"
#define LABEL_ZONE          "topology.kubernetes.io/zone"

enum family { IPV4, IPV6 };
static const char *const family_names[] = { "IPv4", "IPv6" };

struct sync {
    struct controller *c;
    const struct object *service;
    struct object_list slices; /* ours, of this Service */
    bool *is_used;             /* per slice: it stays */
    int kept;                  /* how many there are after the sync, of this family */
    struct endpoint_groups groups;
};

/* An endpoint that is to be in some slice. */
struct wanted {
    struct json value;
    const char *uid;
    bool is_placed;
};

/* ---- one endpoint ---- */

static enum family family_of(const char *address)
{
    return strchr(address, ':') ? IPV6 : IPV4;
}

static struct json *addresses_of(const struct object *pod, enum family family, struct arena *a)
{
    struct json *list = json_new(a, JSON_ARRAY);
    json_each_item (json_at(pod->doc, "status.podIPs"), entry) {
        const char *ip = json_str(entry, "ip", "");
        if (*ip && family_of(ip) == family)
            json_append(a, list, json_string_value(a, ip));
    }
    const char *only = json_str(pod->doc, "status.podIP", "");
    if (json_len(pod->doc, "status.podIPs") == 0 && *only && family_of(only) == family)
        json_append(a, list, json_string_value(a, only));
    return list;
}

static const char *zone_of(struct controller *c, const char *node_name)
{
    struct object_key key = { "", node_name };
    scoped(object) struct object *node = cache_get(c, RESOURCE_NODES, &key);
    const char *zone = node ? object_label(node, LABEL_ZONE) : NULL;
    return zone ? arena_strdup(c->arena, zone) : NULL;
}

static struct json endpoint_of(struct sync *s, const struct object *pod,
                               const struct json *addresses)
{
    struct arena *a = s->c->arena;
    bool serving = pod_is_ready(pod), terminating = object_is_deleting(pod);
    bool ready = service_publishes_not_ready(s->service) || (serving && !terminating);
    const char *hostname = service_hostname(s->service, pod);
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    struct json *v = json_new(a, JSON_OBJECT);
    json_put(a, v, "addresses", *addresses);
    json_put_bool(a, v, "conditions.ready", ready);
    json_put_bool(a, v, "conditions.serving", serving);
    json_put_bool(a, v, "conditions.terminating", terminating);
    if (hostname)
        json_put_str(a, v, "hostname", hostname);
    json_put(a, v, "targetRef", *pod_reference(pod, a));
    if (*node) {
        const char *zone = zone_of(s->c, node);
        json_put_str(a, v, "nodeName", node);
        if (zone)
            json_put_str(a, v, "zone", zone);
    }
    return *v;
}

/* ---- slices ---- */

static void fill_labels(const struct sync *s, struct draft *d)
{
    put_service_labels(s->service, d);
    struct json *labels = json_find(d->doc, "metadata.labels");
    json_set(d->arena, labels, LABEL_SERVICE, json_string_value(d->arena, s->service->key.name));
    json_set(d->arena, labels, LABEL_MANAGED_BY, json_string_value(d->arena, MANAGED_BY));
}

static int create_slice(struct sync *s, enum family family, const struct json *ports,
                        const struct json *endpoints, struct error *err)
{
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_ENDPOINTSLICES]);
    struct arena *a = d->arena;
    json_put_str(a, d->doc, "metadata.namespace", s->service->key.ns);
    json_put_str(a, d->doc, "metadata.generateName", arena_printf(a, "%s-", s->service->key.name));
    draft_add_controller(d, s->service);
    fill_labels(s, d);
    json_put_str(a, d->doc, "addressType", family_names[family]);
    json_put(a, d->doc, "endpoints", json_clone_value(endpoints, a));
    json_put(a, d->doc, "ports", json_clone_value(ports, a));
    struct error failure = { 0 };
    if (create_object(s->c, d, NULL, &failure) < 0 && !is_namespace_terminating(&failure))
        return error_set(err, failure.code, "create EndpointSlice for Service %s/%s: %s",
                         s->service->key.ns, s->service->key.name, failure.message);
    return 0;
}

static int update_slice(struct sync *s, const struct object *slice, const struct json *ports,
                        const struct json *endpoints, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(slice);
    fill_labels(s, d);
    json_put(d->arena, d->doc, "ports", json_clone_value(ports, d->arena));
    json_put(d->arena, d->doc, "endpoints", json_clone_value(endpoints, d->arena));
    if (json_equal(slice->doc, d->doc))
        return 0;
    return update_object(s->c, d, NULL, err);
}

static bool has_ports(const struct object *slice, const struct json *ports)
{
    const struct json *there = json_at(slice->doc, "ports");
    if (!there || there->type != JSON_ARRAY)
        return ports->len == 0;
    return json_equal(there, ports);
}

static bool is_of_family(const struct object *slice, enum family family)
{
    return str_equal(json_str(slice->doc, "addressType", ""), family_names[family]);
}

/* A slice that would be deleted and can be rewritten instead: its ports are nobody's.  -1: none. */
static int find_spare(const struct sync *s, enum family family)
{
    for (size_t i = 0; i < s->slices.n; i++) {
        bool is_spare = !s->is_used[i] && is_of_family(s->slices.items[i], family);
        for (size_t g = 0; g < s->groups.n && is_spare; g++)
            is_spare = !has_ports(s->slices.items[i], s->groups.items[g].ports);
        if (is_spare)
            return (int)i;
    }
    return -1;
}

/* The endpoints of SLICE that are still wanted, as they are now. */
static struct json *keep_wanted(struct sync *s, const struct object *slice, struct hashmap *wanted)
{
    struct json *kept = json_new(s->c->arena, JSON_ARRAY);
    json_each_item (json_at(slice->doc, "endpoints"), e) {
        const char *uid = json_str(e, "targetRef.uid", "");
        struct wanted *w = hashmap_get(wanted, bytes_of(uid));
        if (!w || w->is_placed)
            continue;
        w->is_placed = true;
        json_append(s->c->arena, kept, w->value);
    }
    return kept;
}

/* Moves endpoints that have no place yet into LIST until it is full. */
static void fill_up(struct sync *s, struct json *list, struct wanted *all, size_t n, size_t *next)
{
    while (*next < n && list->len < SLICE_ENDPOINTS_MAX) {
        struct wanted *w = &all[(*next)++];
        if (!w->is_placed)
            json_append(s->c->arena, list, w->value);
        w->is_placed = true;
    }
}

static size_t count_unplaced(const struct wanted *all, size_t n)
{
    size_t unplaced = 0;
    for (size_t i = 0; i < n; i++)
        unplaced += !all[i].is_placed;
    return unplaced;
}

static int write_group(struct sync *s, enum family family, const struct json *ports,
                       struct wanted *all, size_t n, struct error *err)
{
    struct hashmap by_uid = { 0 };
    for (size_t i = 0; i < n; i++)
        hashmap_put(&by_uid, bytes_of(all[i].uid), &all[i]);
    struct json **kept = arena_zalloc(s->c->arena, (s->slices.n + 1) * sizeof(*kept));
    for (size_t i = 0; i < s->slices.n; i++) {
        const struct object *slice = s->slices.items[i];
        if (!s->is_used[i] && is_of_family(slice, family) && has_ports(slice, ports))
            kept[i] = keep_wanted(s, slice, &by_uid);
    }
    hashmap_deinit(&by_uid);

    size_t next = 0;
    int rc = 0;
    for (size_t i = 0; i < s->slices.n && rc == 0; i++) {
        if (!kept[i])
            continue;
        if (count_unplaced(all, n) > 0)
            fill_up(s, kept[i], all, n, &next);
        if (kept[i]->len == 0)
            continue;
        s->is_used[i] = true;
        s->kept++;
        rc = update_slice(s, s->slices.items[i], ports, kept[i], err);
    }
    while (rc == 0 && count_unplaced(all, n) > 0) {
        struct json *list = json_new(s->c->arena, JSON_ARRAY);
        fill_up(s, list, all, n, &next);
        s->kept++;
        int spare = find_spare(s, family);
        if (spare >= 0)
            s->is_used[spare] = true;
        rc = spare >= 0 ? update_slice(s, s->slices.items[spare], ports, list, err)
                        : create_slice(s, family, ports, list, err);
    }
    return rc;
}

static int write_pods(struct sync *s, enum family family, const struct endpoint_group *g,
                      struct error *err)
{
    struct wanted *all = arena_zalloc(s->c->arena, (g->n + 1) * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        struct json *addresses = addresses_of(g->pods[i], family, s->c->arena);
        if (addresses->len)
            all[n++] = (struct wanted){ .value = endpoint_of(s, g->pods[i], addresses),
                                        .uid = g->pods[i]->uid };
    }
    return n ? write_group(s, family, g->ports, all, n, err) : 0;
}

/* A Service without endpoints has one empty slice, so that readers can tell "none" from "not yet".
 */
static int keep_placeholder(struct sync *s, enum family family, struct error *err)
{
    struct json *nothing = json_new(s->c->arena, JSON_ARRAY);
    for (size_t i = 0; i < s->slices.n; i++) {
        if (!s->is_used[i] && is_of_family(s->slices.items[i], family) &&
            has_ports(s->slices.items[i], nothing)) {
            s->is_used[i] = true;
            return update_slice(s, s->slices.items[i], nothing, nothing, err);
        }
    }
    return create_slice(s, family, nothing, nothing, err);
}

static int sync_family(struct sync *s, enum family family, struct error *err)
{
    s->kept = 0;
    for (size_t i = 0; i < s->groups.n; i++) {
        if (write_pods(s, family, &s->groups.items[i], err) < 0)
            return -1;
    }
    return s->kept ? 0 : keep_placeholder(s, family, err);
}

static int sync_families(struct sync *s, struct error *err)
{
    const struct json *families = json_at(s->service->doc, "spec.ipFamilies");
    if (!json_is(families, JSON_ARRAY) || families->len == 0)
        return sync_family(s, IPV4, err);
    json_each_item (families, f) {
        if (sync_family(s, str_equal(json_text(f), "IPv6") ? IPV6 : IPV4, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the whole ---- */

static void list_slices(struct sync *s)
{
    scoped(object_list) struct object_list all = { 0 };
    struct controller *c = s->c;
    cache_list_by(c, RESOURCE_ENDPOINTSLICES, "controller", s->service->uid, &all);
    object_list_each (&all, slice) {
        if (str_equal(object_label(slice, LABEL_MANAGED_BY), MANAGED_BY) &&
            !object_is_deleting(slice))
            object_list_add(&s->slices, slice);
    }
    s->is_used = arena_zalloc(c->arena, s->slices.n + 1);
}

static int delete_unused(struct sync *s, struct error *err)
{
    for (size_t i = 0; i < s->slices.n; i++) {
        if (!s->is_used[i] && delete_object(s->c, s->slices.items[i], PROPAGATION_DEFAULT, err) < 0)
            return -1;
    }
    return 0;
}

static void sync_scoped(struct sync *s)
{
    object_list_deinit(&s->slices);
}

static int sync_service(struct controller *c, const struct object *service, struct error *err)
{
    scoped(sync) struct sync s = { .c = c, .service = service };
    scoped(object_list) struct object_list pods = { 0 };
    service_pods(c, service, &pods);
    service_group_pods(c, service, &pods, &s.groups);
    list_slices(&s);
    if (sync_families(&s, err) < 0)
        return -1;
    return delete_unused(&s, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *service = cache_get(c, RESOURCE_SERVICES, key);
    if (!service || !service_has_selector(service) || object_is_deleting(service) ||
        str_equal(json_str(service->doc, "spec.type", ""), "ExternalName"))
        return 0; /* a deleted one's slices go to the garbage collector */
    struct error failure = { 0 };
    if (sync_service(c, service, &failure) == 0)
        return 0;
    if (failure.code != ERR_CONFLICT)
        event_record(c->events, service, "Warning", "FailedToUpdateEndpointSlices",
                     "Error updating Endpoint Slices for Service %s/%s: %s", key->ns, key->name,
                     failure.message);
    return error_set(err, failure.code, "%s", failure.message);
}

static void enqueue_service(struct controller *c, const struct informer_event *e)
{
    const struct object *slice = e->new ? e->new : e->old;
    const char *name = object_label(slice, LABEL_SERVICE);
    if (name && str_equal(object_label(slice, LABEL_MANAGED_BY), MANAGED_BY))
        enqueue_key(c, &(struct object_key){ slice->key.ns, name });
}

const struct controller_spec endpointslice_controller = {
    .name = "endpointslice",
    .account = "endpointslice-controller",
    .source = "endpoint-slice-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_SERVICES,       enqueue_self },
        { RESOURCE_ENDPOINTSLICES, enqueue_service },
        { RESOURCE_PODS,           enqueue_services_of_pod },
        { RESOURCE_NODES,          NULL },
    },
    .indexes = {
        { RESOURCE_SERVICES,       "namespace",  informer_index_namespace },
        { RESOURCE_PODS,           "namespace",  informer_index_namespace },
        { RESOURCE_ENDPOINTSLICES, "controller", informer_index_controller },
    },
    .reconcile = reconcile,
};
