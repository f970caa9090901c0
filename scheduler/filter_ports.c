/* SPDX-License-Identifier: Apache-2.0 */
/* filter_ports.c - host ports: one pod each. */
#include "scheduler/plugins.h"

static bool conflict(const struct host_port *a, const struct host_port *b)
{
    if (a->port != b->port || !str_equal(a->protocol, b->protocol))
        return false;
    return str_equal(a->ip, b->ip) || str_equal(a->ip, "0.0.0.0") || str_equal(b->ip, "0.0.0.0");
}

static bool conflicts_with(const struct pod_info *pod, const struct pod_info *other)
{
    for (size_t i = 0; i < pod->ports_n; i++)
        for (size_t k = 0; k < other->ports_n; k++)
            if (conflict(&pod->ports[i], &other->ports[k]))
                return true;
    return false;
}

static enum verdict ports(const struct cycle *c, const struct node_info *n, struct reasons *out)
{
    if (!c->pod->ports_n || !n->ports_n)
        return NODE_FITS;
    for (size_t i = 0; i < n->pods_n; i++) {
        if (conflicts_with(c->pod, n->pods[i])) {
            reasons_add(out, "node(s) didn't have free ports for the requested pod ports");
            return NODE_UNSCHEDULABLE;
        }
    }
    return NODE_FITS;
}

const struct filter_plugin filter_ports = {
    .name = "NodePorts",
    .events = EVENT_NODE_ADDED | EVENT_POD_GONE,
    .filter = ports,
};
