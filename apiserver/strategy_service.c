/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strategy_service.c - cluster addresses, node ports and the fields that go with a Service's type.
 *
 * allocate() reserves, release_failed() gives back what only the failed write had; what stands in
 * the cache is marked and released by service_strategy_observe().
 */

#include <arpa/inet.h>

#include "apiserver/server.h"
#include "apiserver/service_allocator.h"
#include "apiserver/strategies.h"
#include "apiserver/strategy_service.h"
#include "apiserver/validate_kinds.h"

static const char *type_of(const struct json *doc)
{
    return json_str(doc, "spec.type", "ClusterIP");
}

static bool has_type(const struct json *doc, const char *type)
{
    return str_equal(type_of(doc), type);
}

static bool is_headless(const struct json *doc)
{
    return str_equal(json_str(doc, "spec.clusterIP", ""), "None");
}

static bool needs_cluster_ip(const struct json *doc)
{
    return !has_type(doc, "ExternalName") && !is_headless(doc);
}

static bool needs_node_ports(const struct json *doc)
{
    return has_type(doc, "NodePort") ||
           (has_type(doc, "LoadBalancer") &&
            json_bool(doc, "spec.allocateLoadBalancerNodePorts", true));
}

static bool needs_health_port(const struct json *doc)
{
    return has_type(doc, "LoadBalancer") &&
           str_equal(json_str(doc, "spec.externalTrafficPolicy", ""), "Local");
}

/* ---- fields ---- */

/* clusterIP and clusterIPs[0] say the same; who writes one means both. */
static void join_cluster_ips(struct draft *d)
{
    const char *ip = json_str(d->doc, "spec.clusterIP", "");
    const struct json *ips = json_at(d->doc, "spec.clusterIPs");
    if (*ip && json_len(ips, "") == 0) {
        struct json list = { .type = JSON_ARRAY };
        json_append(d->arena, &list, json_string_value(d->arena, ip));
        json_put(d->arena, d->doc, "spec.clusterIPs", list);
    } else if (!*ip && json_len(ips, "") > 0) {
        json_put_str(d->arena, d->doc, "spec.clusterIP", json_text(json_items_begin(ips)));
    }
}

static void fill_families(struct draft *d)
{
    if (has_type(d->doc, "ExternalName"))
        return;
    if (!json_at(d->doc, "spec.ipFamilyPolicy"))
        json_put_str(d->arena, d->doc, "spec.ipFamilyPolicy", "SingleStack");
    if (json_len(d->doc, "spec.ipFamilies") == 0) {
        struct json list = { .type = JSON_ARRAY };
        json_append(d->arena, &list, json_string_value(d->arena, "IPv4"));
        json_put(d->arena, d->doc, "spec.ipFamilies", list);
    }
}

static int prepare_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    join_cluster_ips(new);
    fill_families(new);
    return 0;
}

static void keep_if_absent(struct draft *new, const struct object *old, const char *path)
{
    const struct json *had = json_at(old->doc, path);
    if (had && !json_at(new->doc, path))
        json_put(new->arena, new->doc, path, json_clone_value(had, new->arena));
}

static void drop_if_same(struct draft *new, const struct object *old, const char *path)
{
    const struct json *had = json_at(old->doc, path), *has = json_at(new->doc, path);
    if (had && has && json_equal(had, has))
        json_drop(new->doc, path);
}

/* A port keeps its number when the update leaves it out: matched by name, else by port and
 * protocol. */
static void keep_node_ports(struct draft *new, const struct object *old)
{
    struct json *ports = json_find(new->doc, "spec.ports");
    for (uint32_t i = 0; ports && ports->type == JSON_ARRAY && i < ports->len; i++) {
        struct json *port = &ports->items[i];
        if (json_int(port, "nodePort", 0))
            continue;
        json_each_item (json_at(old->doc, "spec.ports"), before) {
            int64_t number = json_int(before, "nodePort", 0);
            if (number && json_int(before, "port", 0) == json_int(port, "port", 0) &&
                str_equal(json_str(before, "protocol", "TCP"), json_str(port, "protocol", "TCP")))
                json_put_int(new->arena, port, "nodePort", number);
        }
    }
}

static void drop_same_node_ports(struct draft *new, const struct object *old)
{
    struct json *ports = json_find(new->doc, "spec.ports");
    for (uint32_t i = 0; ports && ports->type == JSON_ARRAY && i < ports->len; i++) {
        int64_t number = json_int(&ports->items[i], "nodePort", 0);
        json_each_item (json_at(old->doc, "spec.ports"), before) {
            if (number && json_int(before, "nodePort", 0) == number)
                json_drop(&ports->items[i], "nodePort");
        }
    }
}

/* What the new type has no use for goes, if the author only carried it over. */
static void drop_unused(struct draft *new, const struct object *old)
{
    if (has_type(new->doc, "ExternalName") && !has_type(old->doc, "ExternalName")) {
        static const char *const paths[] = { "spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies",
                                             "spec.ipFamilyPolicy", "spec.internalTrafficPolicy" };
        for (size_t i = 0; i < ARRAY_LEN(paths); i++)
            drop_if_same(new, old, paths[i]);
    }
    if (needs_node_ports(old->doc) && !needs_node_ports(new->doc))
        drop_same_node_ports(new, old);
    if (needs_health_port(old->doc) && !needs_health_port(new->doc))
        drop_if_same(new, old, "spec.healthCheckNodePort");
    if (has_type(old->doc, "LoadBalancer") && !has_type(new->doc, "LoadBalancer")) {
        drop_if_same(new, old, "spec.allocateLoadBalancerNodePorts");
        drop_if_same(new, old, "spec.loadBalancerClass");
        json_drop(new->doc, "status.loadBalancer");
        json_put(new->arena, new->doc, "status.loadBalancer", (struct json){ .type = JSON_OBJECT });
    }
    if (!has_type(new->doc, "NodePort") && !has_type(new->doc, "LoadBalancer") &&
        json_len(new->doc, "spec.externalIPs") == 0)
        drop_if_same(new, old, "spec.externalTrafficPolicy");
}

/* A client that knows clusterIP alone changes that one: clusterIPs follows. */
static void follow_cluster_ip(struct draft *new, const struct object *old)
{
    const struct json *ip = json_at(new->doc, "spec.clusterIP");
    const struct json *had = json_at(old->doc, "spec.clusterIPs");
    struct json *has = json_find(new->doc, "spec.clusterIPs");
    if (ip && had && json_len(has, "") > 0 && json_equal(had, has) &&
        !json_equal(ip, json_at(old->doc, "spec.clusterIP")))
        has->items[0] = *ip;
}

static int prepare_update(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)err;
    if (!has_type(new->doc, "ExternalName")) {
        if (str_empty(json_str(new->doc, "spec.clusterIP", "")))
            json_drop(new->doc, "spec.clusterIP");
        keep_if_absent(new, old, "spec.clusterIP");
        keep_if_absent(new, old, "spec.clusterIPs");
        keep_if_absent(new, old, "spec.ipFamilies");
        keep_if_absent(new, old, "spec.ipFamilyPolicy");
        follow_cluster_ip(new, old);
    }
    drop_unused(new, old);
    if (needs_node_ports(new->doc))
        keep_node_ports(new, old);
    if (needs_health_port(new->doc))
        keep_if_absent(new, old, "spec.healthCheckNodePort");
    join_cluster_ips(new);
    fill_families(new);
    return 0;
}

/* ---- allocation ---- */

/* What one call of allocate() has reserved so far: given back if it fails half way. */
struct taken {
    struct service_allocator *allocator;
    struct arena *arena;
    const char *address; /* NULL: none */
    int *ports;
    size_t ports_n, ports_capacity;
};

static void taken_port(struct taken *t, int port)
{
    t->ports = arena_grow(t->arena, t->ports, t->ports_n, &t->ports_capacity, sizeof(*t->ports));
    t->ports[t->ports_n++] = port;
}

static void taken_release(const struct taken *t)
{
    if (t->address)
        service_allocator_release_address(t->allocator, t->address);
    for (size_t i = 0; i < t->ports_n; i++)
        service_allocator_release_port(t->allocator, t->ports[i]);
}

static bool old_has_port(const struct json *old, int64_t port)
{
    if (old && json_int(old, "spec.healthCheckNodePort", 0) == port)
        return true;
    json_each_item (json_at(old, "spec.ports"), p) {
        if (json_int(p, "nodePort", 0) == port)
            return true;
    }
    return false;
}

static int invalid_at(struct error *err, const struct draft *d, const char *path, const char *value)
{
    char why[ERROR_MESSAGE_BYTES];
    snprintf(why, sizeof(why), "%s", err->message);
    return error_set(err, ERR_INVALID, "%s \"%s\" is invalid: %s: Invalid value: %s: %s",
                     d->resource->kind, json_str(d->doc, "metadata.name", ""), path, value, why);
}

static int allocate_address(struct taken *t, const struct json *old, struct draft *new,
                            struct error *err)
{
    const char *wanted = json_str(new->doc, "spec.clusterIP", "");
    char address[INET_ADDRSTRLEN];
    if (!needs_cluster_ip(new->doc) ||
        (*wanted && old && str_equal(json_str(old, "spec.clusterIP", ""), wanted)))
        return 0;
    if (service_allocator_take_address(t->allocator, *wanted ? wanted : NULL, address, err) < 0)
        return invalid_at(err, new, "spec.clusterIPs", arena_printf(t->arena, "[\"%s\"]", wanted));
    t->address = arena_strdup(t->arena, address);
    struct json list = { .type = JSON_ARRAY };
    json_append(new->arena, &list, json_string_value(new->arena, address));
    json_put_str(new->arena, new->doc, "spec.clusterIP", address);
    json_put(new->arena, new->doc, "spec.clusterIPs", list);
    return 0;
}

/* TCP and UDP of one service may share a number: the second one found in this service is not taken
 * again. */
static bool is_earlier(const struct json *ports, uint32_t upto, int64_t number,
                       const char *protocol)
{
    for (uint32_t i = 0; i < upto; i++) {
        if (json_int(&ports->items[i], "nodePort", 0) == number &&
            !str_equal(json_str(&ports->items[i], "protocol", "TCP"), protocol))
            return true;
    }
    return false;
}

static int allocate_ports(struct taken *t, const struct json *old, struct draft *new,
                          struct error *err)
{
    struct json *ports = json_find(new->doc, "spec.ports");
    for (uint32_t i = 0; ports && ports->type == JSON_ARRAY && i < ports->len; i++) {
        struct json *port = &ports->items[i];
        int64_t wanted = json_int(port, "nodePort", 0);
        int number;
        if (wanted && (old_has_port(old, wanted) ||
                       is_earlier(ports, i, wanted, json_str(port, "protocol", "TCP"))))
            continue;
        if (service_allocator_take_port(t->allocator, (int)wanted, &number, err) < 0)
            return invalid_at(err, new, arena_printf(t->arena, "spec.ports[%u].nodePort", i),
                              arena_printf(t->arena, "%lld", (long long)wanted));
        taken_port(t, number);
        json_put_int(new->arena, port, "nodePort", number);
    }
    return 0;
}

static int allocate_health_port(struct taken *t, const struct json *old, struct draft *new,
                                struct error *err)
{
    int64_t wanted = json_int(new->doc, "spec.healthCheckNodePort", 0);
    int number;
    if (wanted && old_has_port(old, wanted))
        return 0;
    if (service_allocator_take_port(t->allocator, (int)wanted, &number, err) < 0)
        return invalid_at(err, new, "spec.healthCheckNodePort",
                          arena_printf(t->arena, "%lld", (long long)wanted));
    taken_port(t, number);
    json_put_int(new->arena, new->doc, "spec.healthCheckNodePort", number);
    return 0;
}

/* Gives back what DOC holds and KEPT (NULL: nothing) does not. */
static void release(struct service_allocator *s, const struct json *doc, const struct json *kept)
{
    const char *ip = json_str(doc, "spec.clusterIP", "");
    if (*ip && !str_equal(ip, "None") && !str_equal(ip, json_str(kept, "spec.clusterIP", "")))
        service_allocator_release_address(s, ip);
    json_each_item (json_at(doc, "spec.ports"), port) {
        int64_t number = json_int(port, "nodePort", 0);
        if (number && !old_has_port(kept, number))
            service_allocator_release_port(s, (int)number);
    }
    int64_t health = json_int(doc, "spec.healthCheckNodePort", 0);
    if (health && !old_has_port(kept, health))
        service_allocator_release_port(s, (int)health);
}

/* A dry run shows what it would get; as after a failed write, the caller has it released. */
static int allocate(struct strategy_call *c, const struct object *old, struct draft *new,
                    struct error *err)
{
    struct taken t = { .allocator = c->server->service_allocator, .arena = c->arena };
    const struct json *had = old ? old->doc : NULL;
    if (allocate_address(&t, had, new, err) == 0 &&
        (!needs_node_ports(new->doc) || allocate_ports(&t, had, new, err) == 0) &&
        (!needs_health_port(new->doc) || allocate_health_port(&t, had, new, err) == 0))
        return 0;
    taken_release(&t);
    return -1;
}

static void release_failed(struct strategy_call *c, const struct object *old,
                           const struct json *doc)
{
    release(c->server->service_allocator, doc, old ? old->doc : NULL);
}

const struct strategy service_strategy = {
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .validate = validate_service,
    .validate_update = validate_service_update,
    .allocate = allocate,
    .release_failed = release_failed,
};

/* ---- what stands in the cache ---- */

static void mark(struct service_allocator *s, const struct json *doc)
{
    service_allocator_mark_address(s, json_str(doc, "spec.clusterIP", ""));
    json_each_item (json_at(doc, "spec.ports"), port) {
        service_allocator_mark_port(s, (int)json_int(port, "nodePort", 0));
    }
    service_allocator_mark_port(s, (int)json_int(doc, "spec.healthCheckNodePort", 0));
}

static void on_change(const struct object *old, const struct object *new, void *arg)
{
    struct service_allocator *s = arg;
    if (old)
        release(s, old->doc, new ? new->doc : NULL);
    if (new)
        mark(s, new->doc);
}

int service_strategy_start(struct apiserver *a, struct error *err)
{
    a->service_allocator =
        service_allocator_new(a->config.service_cidr, a->config.node_port_range, a->rng, err);
    if (!a->service_allocator)
        return -1;
    watch_cache_observe(watch_cache_of(a, &resources[RESOURCE_SERVICES]), on_change,
                        a->service_allocator);
    return 0;
}
