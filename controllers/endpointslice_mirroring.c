/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpointslice_mirroring - EndpointSlices for Endpoints that users write themselves: those of
 * Services without a selector.  Each subset becomes a slice per address family.
 */
#include "controllers/service_endpoints.h"

#define LABEL_SERVICE     "kubernetes.io/service-name"
#define LABEL_MANAGED_BY  "endpointslice.kubernetes.io/managed-by"
#define LABEL_SKIP        "endpointslice.kubernetes.io/skip-mirror"
#define MANAGED_BY        "endpointslicemirroring-controller.k8s.io"
#define ANNOTATION_LEADER "control-plane.alpha.kubernetes.io/leader"
#define ADDRESSES_MAX     1000 /* of a subset; the rest is left out */

struct sync {
    struct controller *c;
    const struct object *endpoints;
    struct object_list slices;
    bool *is_used; /* per slice */
};

static void sync_scoped(struct sync *s)
{
    object_list_deinit(&s->slices);
}

/* ---- one slice ---- */

static void add_addresses(struct sync *s, const struct json *addresses, bool ready, bool is_v6,
                          struct json *out)
{
    struct arena *a = s->c->arena;
    static const char *const copied[] = { "hostname", "nodeName", "targetRef" };
    json_each_item (addresses, address) {
        const char *ip = json_str(address, "ip", "");
        if ((strchr(ip, ':') != NULL) != is_v6 || out->len >= ADDRESSES_MAX)
            continue;
        struct json *list = json_new(a, JSON_ARRAY), *v = json_new(a, JSON_OBJECT);
        json_append(a, list, json_string_value(a, ip));
        json_put(a, v, "addresses", *list);
        json_put_bool(a, v, "conditions.ready", ready);
        for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
            const struct json *field = json_get(address, copied[i]);
            if (field)
                json_put(a, v, copied[i], json_clone_value(field, a));
        }
        json_append(a, out, *v);
    }
}

static void fill(struct sync *s, struct draft *d, const struct json *subset, bool is_v6,
                 const struct json *endpoints)
{
    struct arena *a = d->arena;
    struct json *labels = json_new(a, JSON_OBJECT);
    json_each_member (json_at(s->endpoints->doc, "metadata.labels"), m)
        json_set(a, labels, m->name, json_clone_value(&m->value, a));
    json_set(a, labels, LABEL_SERVICE, json_string_value(a, s->endpoints->key.name));
    json_set(a, labels, LABEL_MANAGED_BY, json_string_value(a, MANAGED_BY));
    json_put(a, d->doc, "metadata.labels", *labels);
    json_put_str(a, d->doc, "addressType", is_v6 ? "IPv6" : "IPv4");
    json_put(a, d->doc, "endpoints", json_clone_value(endpoints, a));

    struct json *ports = json_new(a, JSON_ARRAY);
    json_each_item (json_get(subset, "ports"), p) {
        struct json port = json_clone_value(p, a);
        if (!json_get(&port, "name"))
            json_put_str(a, &port, "name", "");
        json_append(a, ports, port);
    }
    json_put(a, d->doc, "ports", *ports);
}

static bool has_ports_of(const struct object *slice, const struct draft *d)
{
    return str_equal(json_str(slice->doc, "addressType", ""),
                     json_str(d->doc, "addressType", "")) &&
           json_equal(json_at(slice->doc, "ports"), json_at(d->doc, "ports"));
}

static int create_slice(struct sync *s, struct draft *d, struct error *err)
{
    json_put_str(d->arena, d->doc, "metadata.namespace", s->endpoints->key.ns);
    json_put_str(d->arena, d->doc, "metadata.generateName",
                 arena_printf(d->arena, "%s-", s->endpoints->key.name));
    draft_add_controller(d, s->endpoints);
    struct error failure = { 0 };
    if (create_object(s->c, d, NULL, &failure) < 0 && !is_namespace_terminating(&failure))
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

static int write_slice(struct sync *s, const struct json *subset, bool is_v6, struct error *err)
{
    struct json *endpoints = json_new(s->c->arena, JSON_ARRAY);
    add_addresses(s, json_get(subset, "addresses"), true, is_v6, endpoints);
    add_addresses(s, json_get(subset, "notReadyAddresses"), false, is_v6, endpoints);
    if (endpoints->len == 0)
        return 0;
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_ENDPOINTSLICES]);
    fill(s, d, subset, is_v6, endpoints);
    for (size_t i = 0; i < s->slices.n; i++) {
        if (s->is_used[i] || !has_ports_of(s->slices.items[i], d))
            continue;
        s->is_used[i] = true;
        scoped(draft) struct draft *update = object_edit(s->slices.items[i]);
        fill(s, update, subset, is_v6, endpoints);
        bool is_right = json_equal(update->doc, s->slices.items[i]->doc);
        return is_right ? 0 : update_object(s->c, update, NULL, err);
    }
    return create_slice(s, d, err);
}

/* ---- the whole ---- */

static bool is_mirrored(struct controller *c, const struct object *endpoints)
{
    if (str_equal(object_label(endpoints, LABEL_SKIP), "true") ||
        object_annotation(endpoints, ANNOTATION_LEADER))
        return false;
    scoped(object) struct object *service = cache_get(c, RESOURCE_SERVICES, &endpoints->key);
    return service && !service_has_selector(service);
}

static void list_slices(struct sync *s, const char *ns, const char *name)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key key = { ns, name };
    informer_list_by(cache_of(s->c, RESOURCE_ENDPOINTSLICES), "mirror", object_key_text(&key, text),
                     &s->slices);
    s->is_used = arena_zalloc(s->c->arena, s->slices.n + 1);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *endpoints = cache_get(c, RESOURCE_ENDPOINTS, key);
    scoped(sync) struct sync s = { .c = c, .endpoints = endpoints };
    list_slices(&s, key->ns, key->name);
    if (endpoints && is_mirrored(c, endpoints)) {
        json_each_item (json_at(endpoints->doc, "subsets"), subset) {
            if (write_slice(&s, subset, false, err) < 0 || write_slice(&s, subset, true, err) < 0)
                return -1;
        }
    }
    for (size_t i = 0; i < s.slices.n; i++) {
        if (!s.is_used[i] && delete_object(c, s.slices.items[i], PROPAGATION_DEFAULT, err) < 0)
            return -1;
    }
    return 0;
}

static void index_mirror(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                         void *ctx)
{
    char text[KEY_TEXT_BYTES_MAX];
    const char *name = object_label(o, LABEL_SERVICE);
    struct object_key key = { o->key.ns, name };
    if (name && str_equal(object_label(o, LABEL_MANAGED_BY), MANAGED_BY))
        emit(object_key_text(&key, text), ctx);
}

static void enqueue_mirrored(struct controller *c, const struct informer_event *e)
{
    const struct object *slice = e->new ? e->new : e->old;
    const char *name = object_label(slice, LABEL_SERVICE);
    if (name && str_equal(object_label(slice, LABEL_MANAGED_BY), MANAGED_BY))
        enqueue_key(c, &(struct object_key){ slice->key.ns, name });
}

const struct controller_spec endpointslice_mirroring_controller = {
    .name = "endpointslice-mirroring",
    .account = "endpointslicemirroring-controller",
    .source = "endpoint-slice-mirroring-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_ENDPOINTS,      enqueue_self },
        { RESOURCE_SERVICES,       enqueue_self },
        { RESOURCE_ENDPOINTSLICES, enqueue_mirrored },
    },
    .indexes = {
        { RESOURCE_ENDPOINTSLICES, "mirror", index_mirror },
    },
    .reconcile = reconcile,
};
