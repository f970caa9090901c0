/* SPDX-License-Identifier: Apache-2.0 */
/* pod_info.c - parses what a pod asks of its node. */
#include "scheduler/pod_info.h"

#include "api/quantity.h"

#define POD_BYTES 320 /* what most pods need besides: key, images, tolerations, a port */

/* What a container that requests nothing is taken to use, in scores only: upstream's figures. */
#define NONZERO_MILLI_CPU 100
#define NONZERO_MEMORY    (INT64_C(200) * 1024 * 1024)

#define INTS_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- resources ---- */

static int64_t *extended_slot(struct pod_resources *r, const char *name, struct arena *a)
{
    for (size_t i = 0; i < r->extended_n; i++)
        if (str_equal(r->extended[i].name, name))
            return &r->extended[i].amount;
    size_t n = r->extended_n++;
    struct extended_resource *grown = arena_alloc(a, (n + 1) * sizeof(grown[0]));
    if (n)
        memcpy(grown, r->extended, n * sizeof(grown[0]));
    grown[n] = (struct extended_resource){ arena_strdup(a, name), 0 };
    r->extended = grown;
    return &grown[n].amount;
}

int64_t resources_extended(const struct pod_resources *r, const char *name)
{
    for (size_t i = 0; i < r->extended_n; i++)
        if (str_equal(r->extended[i].name, name))
            return r->extended[i].amount;
    return 0;
}

/* The place of a resource in R; NULL for "pods", which is counted apart. */
static int64_t *resource_slot(struct pod_resources *r, const char *name, struct arena *a)
{
    if (str_equal(name, "cpu"))
        return &r->milli_cpu;
    if (str_equal(name, "memory"))
        return &r->memory;
    if (str_equal(name, "ephemeral-storage"))
        return &r->ephemeral_storage;
    return str_equal(name, "pods") ? NULL : extended_slot(r, name, a);
}

int64_t resource_amount(const char *name, const struct json *quantity)
{
    struct quantity q;
    char digits[32];
    const char *text = json_text(quantity);
    if (json_is(quantity, JSON_INT)) {
        snprintf(digits, sizeof(digits), "%lld", (long long)quantity->integer);
        text = digits;
    }
    if (!text || quantity_parse(text, &q) < 0)
        return 0; /* the API server has refused what is not a quantity */
    return str_equal(name, "cpu") ? quantity_milli_value(&q) : quantity_value(&q);
}

void resources_add_json(struct pod_resources *out, const struct json *requests, struct arena *a)
{
    json_each_member (requests, m) {
        int64_t *slot = resource_slot(out, m->name, a);
        if (slot)
            *slot += resource_amount(m->name, &m->value);
    }
}

static void add(struct pod_resources *out, const struct pod_resources *more, struct arena *a)
{
    out->milli_cpu += more->milli_cpu;
    out->memory += more->memory;
    out->ephemeral_storage += more->ephemeral_storage;
    for (size_t i = 0; i < more->extended_n; i++)
        *extended_slot(out, more->extended[i].name, a) += more->extended[i].amount;
}

static void raise_to(struct pod_resources *out, const struct pod_resources *other, struct arena *a)
{
    out->milli_cpu = INTS_MAX(out->milli_cpu, other->milli_cpu);
    out->memory = INTS_MAX(out->memory, other->memory);
    out->ephemeral_storage = INTS_MAX(out->ephemeral_storage, other->ephemeral_storage);
    for (size_t i = 0; i < other->extended_n; i++) {
        int64_t *slot = extended_slot(out, other->extended[i].name, a);
        *slot = INTS_MAX(*slot, other->extended[i].amount);
    }
}

static struct pod_resources copy(const struct pod_resources *r, struct arena *a)
{
    struct pod_resources out = { 0 };
    add(&out, r, a);
    return out;
}

/* With scores' defaults: the named container amounts, or what a container is taken to use. */
static struct pod_resources container_requests(const struct json *container, bool nonzero,
                                               struct arena *a)
{
    const struct json *requests = json_at(container, "resources.requests");
    struct pod_resources r = { 0 };
    resources_add_json(&r, requests, a);
    if (nonzero && !json_get(requests, "cpu"))
        r.milli_cpu = NONZERO_MILLI_CPU;
    if (nonzero && !json_get(requests, "memory"))
        r.memory = NONZERO_MEMORY;
    return r;
}

static bool is_sidecar(const struct json *init_container)
{
    return str_equal(json_str(init_container, "restartPolicy", ""), "Always");
}

/*
 * Containers and sidecars run together; an init container runs with the sidecars before it only:
 *
 *     max( containers + all sidecars,  for each init: init + the sidecars before it )  + overhead
 */
static struct pod_resources pod_requests(const struct json *spec, bool nonzero, struct arena *a)
{
    struct pod_resources sum = { 0 }, sidecars = { 0 }, peak = { 0 };
    json_each_item (json_get(spec, "containers"), c) {
        struct pod_resources r = container_requests(c, nonzero, a);
        add(&sum, &r, a);
    }
    json_each_item (json_get(spec, "initContainers"), c) {
        struct pod_resources r = container_requests(c, nonzero, a);
        if (is_sidecar(c)) {
            add(&sum, &r, a);
            add(&sidecars, &r, a);
            raise_to(&peak, &sidecars, a);
        } else {
            struct pod_resources with = copy(&sidecars, a);
            add(&with, &r, a);
            raise_to(&peak, &with, a);
        }
    }
    raise_to(&sum, &peak, a);
    /* Requests of the pod as a whole replace what its containers add up to. */
    json_each_member (json_at(spec, "resources.requests"), m) {
        int64_t *slot = resource_slot(&sum, m->name, a);
        if (slot)
            *slot = resource_amount(m->name, &m->value);
    }
    resources_add_json(&sum, json_get(spec, "overhead"), a);
    return sum;
}

/* ---- the rest of the spec ---- */

static void add_ports(struct pod_info *p, const struct json *container)
{
    json_each_item (json_get(container, "ports"), port) {
        int number = (int)json_int(port, "hostPort", 0);
        if (number <= 0)
            continue;
        const char *ip = json_str(port, "hostIP", "");
        p->ports[p->ports_n++] = (struct host_port){
            .ip = str_empty(ip) ? "0.0.0.0" : ip,
            .protocol = json_str(port, "protocol", "TCP"),
            .port = number,
        };
    }
}

static void parse_ports(struct pod_info *p)
{
    size_t n = 0;
    json_each_item (json_get(p->spec, "containers"), c)
        n += json_len(c, "ports");
    json_each_item (json_get(p->spec, "initContainers"), c)
        n += json_len(c, "ports");
    p->ports = arena_alloc(p->arena, n * sizeof(p->ports[0]) + 1);
    json_each_item (json_get(p->spec, "containers"), c)
        add_ports(p, c);
    json_each_item (json_get(p->spec, "initContainers"), c) {
        if (is_sidecar(c))
            add_ports(p, c);
    }
}

/* An image without tag or digest means ":latest", as nodes report it. */
static const char *normalized_image(const char *image, struct arena *a)
{
    const char *slash = strrchr(image, '/');
    return strchr(slash ? slash : image, ':') || strchr(image, '@')
               ? image
               : arena_printf(a, "%s:latest", image);
}

static void parse_images(struct pod_info *p)
{
    size_t n = json_len(p->spec, "containers") + json_len(p->spec, "initContainers");
    p->images = arena_alloc(p->arena, n * sizeof(p->images[0]) + 1);
    p->containers_n = n;
    json_each_item (json_get(p->spec, "initContainers"), c)
        p->images[p->images_n++] = normalized_image(json_str(c, "image", ""), p->arena);
    json_each_item (json_get(p->spec, "containers"), c)
        p->images[p->images_n++] = normalized_image(json_str(c, "image", ""), p->arena);
}

static void parse_claims(struct pod_info *p)
{
    p->claims = arena_alloc(p->arena, json_len(p->spec, "volumes") * sizeof(p->claims[0]) + 1);
    json_each_item (json_get(p->spec, "volumes"), v) {
        const char *name = json_str(v, "persistentVolumeClaim.claimName", NULL);
        bool is_ephemeral = json_get(v, "ephemeral");
        if (is_ephemeral)
            name = arena_printf(p->arena, "%s-%s", p->pod->key.name, json_str(v, "name", ""));
        if (!name)
            continue;
        char *key = arena_printf(p->arena, "%s/%s", p->pod->key.ns, name);
        p->claims[p->claims_n++] = (struct pod_claim){ bytes_of(key), name, is_ephemeral };
    }
}

static void parse_tolerations(struct pod_info *p)
{
    size_t n = json_len(p->spec, "tolerations");
    p->tolerations = arena_alloc(p->arena, n * sizeof(p->tolerations[0]) + 1);
    json_each_item (json_get(p->spec, "tolerations"), t)
        p->tolerations[p->tolerations_n++] = (struct toleration){
            .key = json_str(t, "key", ""),
            .operator= json_str(t, "operator", "Equal"),
            .value = json_str(t, "value", ""),
            .effect = json_str(t, "effect", ""),
        };
}

/* A selector that cannot be parsed matches nothing: the API server has refused it before. */
static const struct selector *parse_selector(const struct json *v, struct arena *a)
{
    struct error err = { 0 };
    const struct selector *s = selector_from_json(v, a, &err);
    return s ? s : selector_from_json(NULL, a, &err);
}

static const char **parse_namespaces(const struct json *term, const char *own, struct arena *a)
{
    size_t n = json_len(term, "namespaces"), i = 0;
    const char **out = arena_alloc(a, (n + 2) * sizeof(out[0]));
    json_each_item (json_get(term, "namespaces"), ns) {
        if (json_text(ns))
            out[i++] = json_text(ns);
    }
    if (!i && !json_get(term, "namespaceSelector"))
        out[i++] = own;
    out[i] = NULL;
    return out;
}

static struct affinity_terms parse_terms(struct pod_info *p, const char *path, bool is_weighted)
{
    const struct json *list = json_at(p->spec, path);
    struct affinity_terms out = { 0 };
    size_t n = json_len(p->spec, path);
    out.items = n ? arena_zalloc(p->arena, n * sizeof(out.items[0])) : NULL;
    json_each_item (list, item) {
        const struct json *t = is_weighted ? json_get(item, "podAffinityTerm") : item;
        const struct json *namespaces = json_get(t, "namespaceSelector");
        out.items[out.n++] = (struct affinity_term){
            .selector = parse_selector(json_get(t, "labelSelector"), p->arena),
            .namespace_selector = namespaces ? parse_selector(namespaces, p->arena) : NULL,
            .namespaces = parse_namespaces(t, p->pod->key.ns, p->arena),
            .topology_key = json_str(t, "topologyKey", ""),
            .weight = is_weighted ? json_int(item, "weight", 0) : 0,
        };
    }
    return out;
}

static void parse_affinity(struct pod_info *p)
{
    p->node_selector = json_get(p->spec, "nodeSelector");
    p->required_node_terms =
        json_at(p->spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    p->preferred_node_terms =
        json_at(p->spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    p->required_affinity = parse_terms(
        p, "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution", false);
    p->required_anti_affinity = parse_terms(
        p, "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution", false);
    p->preferred_affinity = parse_terms(
        p, "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution", true);
    p->preferred_anti_affinity = parse_terms(
        p, "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution", true);
}

static void parse_spread(struct pod_info *p)
{
    size_t n = json_len(p->spec, "topologySpreadConstraints");
    p->spread = n ? arena_zalloc(p->arena, n * sizeof(p->spread[0])) : NULL;
    json_each_item (json_get(p->spec, "topologySpreadConstraints"), c)
        p->spread[p->spread_n++] = (struct spread_constraint){
            .selector = parse_selector(json_get(c, "labelSelector"), p->arena),
            .topology_key = json_str(c, "topologyKey", ""),
            .max_skew = json_int(c, "maxSkew", 1),
            .min_domains = json_int(c, "minDomains", 1),
            .is_required = str_equal(json_str(c, "whenUnsatisfiable", ""), "DoNotSchedule"),
            .honors_affinity = !str_equal(json_str(c, "nodeAffinityPolicy", ""), "Ignore"),
            .honors_taints = str_equal(json_str(c, "nodeTaintsPolicy", ""), "Honor"),
        };
}

struct pod_info *pod_info_new(const struct object *pod)
{
    struct arena *a = arena_new_sized(sizeof(struct pod_info) + POD_BYTES);
    struct pod_info *p = arena_zalloc(a, sizeof(*p));
    char key[KEY_TEXT_BYTES_MAX];
    const char *phase = json_str(pod->doc, "status.phase", "");
    atomic_init(&p->refs, 1);
    p->arena = a;
    p->pod = object_ref(pod);
    p->spec = json_get(pod->doc, "spec");
    p->labels = json_at(pod->doc, "metadata.labels");
    p->key = arena_bytes(a, object_key_text(&pod->key, key));
    p->node_name = json_str(p->spec, "nodeName", "");
    p->nominated_node = json_str(pod->doc, "status.nominatedNodeName", "");
    p->priority = json_int(p->spec, "priority", 0);
    p->created_ns = object_created_ns(pod);
    p->is_finished = str_equal(phase, "Succeeded") || str_equal(phase, "Failed");
    p->is_gated = json_len(p->spec, "schedulingGates") > 0;
    p->may_preempt = !str_equal(json_str(p->spec, "preemptionPolicy", ""), "Never");

    p->requests = pod_requests(p->spec, false, a);
    struct pod_resources nonzero = pod_requests(p->spec, true, a);
    p->nonzero_milli_cpu = nonzero.milli_cpu;
    p->nonzero_memory = nonzero.memory;
    parse_ports(p);
    parse_claims(p);
    parse_images(p);
    parse_tolerations(p);
    parse_affinity(p);
    parse_spread(p);
    return p;
}

struct pod_info *pod_info_ref(const struct pod_info *p)
{
    struct pod_info *mine = (struct pod_info *)(uintptr_t)p; /* the count is all that changes */
    atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
    return mine;
}

void pod_info_unref(struct pod_info *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    object_unref(p->pod);
    arena_free(p->arena);
}
