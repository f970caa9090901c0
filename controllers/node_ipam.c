/* SPDX-License-Identifier: Apache-2.0 */
/* node_ipam - gives each node a /24 of the cluster's pod range: spec.podCIDR. */
#include <arpa/inet.h>

#include "controllers/pod_control.h"

#define NODE_PREFIX 24

struct pool {
    uint32_t base; /* host order */
    uint32_t ranges;
    uint64_t *used; /* one bit each; of this reconcile */
};

/* "10.42.0.0/16": the first of what --cluster-cidr lists; the other families are not handed out
 * yet. */
static int parse_pool(const char *text, struct pool *out)
{
    char address[INET_ADDRSTRLEN];
    int bits;
    char end;
    struct in_addr in;
    if (sscanf(text, "%15[0-9.]/%d%c", address, &bits, &end) < 2 || bits < 8 ||
        bits > NODE_PREFIX || inet_pton(AF_INET, address, &in) != 1)
        return -1;
    out->ranges = 1u << (NODE_PREFIX - bits);
    out->base = ntohl(in.s_addr) & ~((1u << (32 - bits)) - 1);
    return 0;
}

static int check_config(struct controller *c, struct error *err)
{
    struct pool pool;
    const char *cidr = c->config->cluster_cidr;
    if (str_empty(cidr) || parse_pool(cidr, &pool) == 0)
        return 0;
    return error_set(err, ERR_BAD_REQUEST,
                     "cluster CIDR \"%s\" is no IPv4 range of at least one /%d per node", cidr,
                     NODE_PREFIX);
}

static void mark_used(struct pool *p, const char *cidr)
{
    char address[INET_ADDRSTRLEN];
    int bits;
    struct in_addr in;
    if (sscanf(cidr, "%15[0-9.]/%d", address, &bits) != 2 || inet_pton(AF_INET, address, &in) != 1)
        return;
    uint32_t i = (ntohl(in.s_addr) - p->base) >> (32 - NODE_PREFIX);
    if (ntohl(in.s_addr) >= p->base && i < p->ranges)
        p->used[i / 64] |= UINT64_C(1) << (i % 64);
}

static uint32_t first_free(const struct pool *p)
{
    uint32_t i = 0;
    while (i < p->ranges && (p->used[i / 64] >> (i % 64) & 1))
        i++;
    return i;
}

static int assign(struct controller *c, const struct object *node, uint32_t base, struct error *err)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr in = { .s_addr = htonl(base) };
    inet_ntop(AF_INET, &in, text, sizeof(text));
    const char *cidr = arena_printf(c->arena, "%s/%d", text, NODE_PREFIX);
    struct json *list = json_new(c->arena, JSON_ARRAY);
    json_append(c->arena, list, json_string_value(c->arena, cidr));
    struct json *patch = json_new(c->arena, JSON_OBJECT);
    json_put_str(c->arena, patch, "metadata.resourceVersion",
                 json_str(node->doc, "metadata.resourceVersion", ""));
    json_put_str(c->arena, patch, "spec.podCIDR", cidr);
    json_put(c->arena, patch, "spec.podCIDRs", *list);
    return patch_object(c, node, NULL, PATCH_MERGE, patch, err);
}

/* One worker, which waits until its own writes are in the cache: so what the cache says is taken,
 * is. */
static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    struct pool pool;
    scoped(object) struct object *node = cache_get(c, RESOURCE_NODES, key);
    if (!node || object_is_deleting(node) || str_empty(c->config->cluster_cidr) ||
        !str_empty(json_str(node->doc, "spec.podCIDR", "")) ||
        parse_pool(c->config->cluster_cidr, &pool) < 0)
        return 0;
    pool.used = arena_zalloc(c->arena, (pool.ranges / 64 + 1) * sizeof(*pool.used));
    scoped(object_list) struct object_list nodes = { 0 };
    cache_list(c, RESOURCE_NODES, &nodes);
    object_list_each (&nodes, other)
        mark_used(&pool, json_str(other->doc, "spec.podCIDR", ""));
    uint32_t i = first_free(&pool);
    if (i == pool.ranges) {
        event_record(c->events, node, "Normal", "CIDRNotAvailable",
                     "Node %s status is now: CIDRNotAvailable", key->name);
        return error_set(err, ERR_NO_SPACE, "no pod range is left for node %s", key->name);
    }
    return assign(c, node, pool.base + (i << (32 - NODE_PREFIX)), err);
}

const struct controller_spec node_ipam_controller = {
    .name = "node-ipam-controller",
    .account = "node-controller",
    .source = "cidrAllocator",
    .workers = 1,
    .watches = {
        { RESOURCE_NODES, enqueue_self },
    },
    .init = check_config,
    .reconcile = reconcile,
};
