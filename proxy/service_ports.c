/* SPDX-License-Identifier: Apache-2.0 */
/* service_ports.c - Services and EndpointSlices to ports with endpoints. */

#include "proxy/service_ports.h"

#include <ctype.h>

#define AFFINITY_DEFAULT_S 10800

static const char *lower(struct arena *a, const char *text)
{
    char *copy = arena_strdup(a, text);
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

static bool is_ipv4(const char *ip)
{
    return !str_empty(ip) && !strchr(ip, ':');
}

/* Room for every address in every slice; fewer are used. */
static size_t addresses_in(const struct object_list *slices)
{
    size_t n = 0;
    object_list_each (slices, slice) {
        json_each_item (json_get(slice->doc, "endpoints"), endpoint) {
            n += json_len(endpoint, "addresses");
        }
    }
    return n;
}

/* The number that the port called NAME has in a slice; 0 if it has none. */
static int slice_port(const struct object *slice, const char *name, const char *protocol)
{
    json_each_item (json_get(slice->doc, "ports"), port) {
        if (str_equal(json_str(port, "name", ""), name) &&
            strcasecmp(json_str(port, "protocol", "TCP"), protocol) == 0)
            return (int)json_int(port, "port", 0);
    }
    return 0;
}

enum which_endpoints { ENDPOINTS_READY, ENDPOINTS_SERVING_TERMINATING };

static bool is_wanted(const struct json *endpoint, enum which_endpoints which)
{
    bool is_ready = json_bool(endpoint, "conditions.ready", true);
    if (which == ENDPOINTS_READY)
        return is_ready;
    return json_bool(endpoint, "conditions.serving", is_ready) &&
           json_bool(endpoint, "conditions.terminating", false);
}

/* A pod that moves between slices is in both for a moment: its address counts once. */
static bool is_listed(const struct service_port *sp, const char *ip, int port)
{
    for (size_t i = 0; i < sp->endpoints_n; i++) {
        if (sp->endpoints[i].port == port && str_equal(sp->endpoints[i].ip, ip))
            return true;
    }
    return false;
}

static void add_endpoints(struct service_port *sp, struct proxy_endpoint *room,
                          const struct object_list *slices, const char *node_name,
                          enum which_endpoints which, struct arena *a)
{
    sp->endpoints = room;
    object_list_each (slices, slice) {
        int port = slice_port(slice, sp->name, sp->protocol);
        if (port == 0 || !str_equal(json_str(slice->doc, "addressType", ""), "IPv4"))
            continue;
        json_each_item (json_get(slice->doc, "endpoints"), endpoint) {
            const char *ip = json_text(json_items_begin(json_get(endpoint, "addresses")));
            if (!is_ipv4(ip) || !is_wanted(endpoint, which) || is_listed(sp, ip, port))
                continue;
            room[sp->endpoints_n++] = (struct proxy_endpoint){
                .ip = arena_strdup(a, ip),
                .port = port,
                .is_local = str_equal(json_str(endpoint, "nodeName", ""), node_name),
            };
        }
    }
}

static const char **copy_ips(const struct json *list, const char *field, struct arena *a, size_t *n)
{
    const char **out = arena_alloc(a, (json_len(list, "") + 1) * sizeof(*out));
    *n = 0;
    json_each_item (list, item) {
        const char *ip = field ? json_str(item, field, NULL) : json_text(item);
        bool is_proxied = field && str_equal(json_str(item, "ipMode", "VIP"), "Proxy");
        if (is_ipv4(ip) && !is_proxied)
            out[(*n)++] = arena_strdup(a, ip);
    }
    return out;
}

static bool has_cluster_ip(const struct object *service)
{
    const char *type = json_str(service->doc, "spec.type", "ClusterIP");
    const char *ip = json_str(service->doc, "spec.clusterIP", "");
    return !str_equal(type, "ExternalName") && is_ipv4(ip) && !str_equal(ip, "None");
}

size_t service_ports(const struct object *service, const struct object_list *slices,
                     const char *node_name, struct arena *a, struct service_port **out)
{
    *out = NULL;
    if (!service || !has_cluster_ip(service))
        return 0;
    const struct json *spec = json_get(service->doc, "spec");
    size_t n = 0, addresses = addresses_in(slices);
    *out = arena_zalloc(a, (json_len(spec, "ports") + 1) * sizeof(**out));

    struct service_port common = {
        .ns = arena_strdup(a, service->key.ns),
        .service = arena_strdup(a, service->key.name),
        .cluster_ip = arena_strdup(a, json_str(spec, "clusterIP", "")),
        .external_is_local = str_equal(json_str(spec, "externalTrafficPolicy", ""), "Local"),
        .internal_is_local = str_equal(json_str(spec, "internalTrafficPolicy", ""), "Local"),
    };
    common.external_ips = copy_ips(json_get(spec, "externalIPs"), NULL, a, &common.external_ips_n);
    common.load_balancer_ips = copy_ips(json_at(service->doc, "status.loadBalancer.ingress"), "ip",
                                        a, &common.load_balancer_ips_n);
    if (str_equal(json_str(spec, "sessionAffinity", "None"), "ClientIP"))
        common.affinity_s = (int)json_int(spec, "sessionAffinityConfig.clientIP.timeoutSeconds",
                                          AFFINITY_DEFAULT_S);

    json_each_item (json_get(spec, "ports"), port) {
        struct service_port *sp = &(*out)[n++];
        *sp = common;
        sp->name = arena_strdup(a, json_str(port, "name", ""));
        sp->protocol = lower(a, json_str(port, "protocol", "TCP"));
        sp->port = (int)json_int(port, "port", 0);
        sp->node_port = (int)json_int(port, "nodePort", 0);
        struct proxy_endpoint *room = arena_alloc(a, (addresses + 1) * sizeof(*room));
        add_endpoints(sp, room, slices, node_name, ENDPOINTS_READY, a);
        if (sp->endpoints_n == 0)
            add_endpoints(sp, room, slices, node_name, ENDPOINTS_SERVING_TERMINATING, a);
    }
    return n;
}
