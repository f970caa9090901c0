/* SPDX-License-Identifier: Apache-2.0 */
/* filter_node.c - what the node itself says: unschedulable, its name, taints, labels. */
#include "scheduler/plugins.h"

#define TAINT_UNSCHEDULABLE "node.kubernetes.io/unschedulable"

static enum verdict unschedulable(const struct cycle *c, const struct node_info *n,
                                  struct reasons *out)
{
    static const struct taint taint = { TAINT_UNSCHEDULABLE, "", "NoSchedule" };
    if (!n->is_unschedulable)
        return NODE_FITS;
    for (size_t i = 0; i < c->pod->tolerations_n; i++)
        if (tolerates(&c->pod->tolerations[i], &taint))
            return NODE_FITS;
    reasons_add(out, "node(s) were unschedulable");
    return NODE_UNRESOLVABLE;
}

static enum verdict node_name(const struct cycle *c, const struct node_info *n, struct reasons *out)
{
    if (str_empty(c->pod->node_name) || str_equal(c->pod->node_name, n->name))
        return NODE_FITS;
    reasons_add(out, "node(s) didn't match the requested node name");
    return NODE_UNRESOLVABLE;
}

static enum verdict taints(const struct cycle *c, const struct node_info *n, struct reasons *out)
{
    if (!untolerated_taint(c->pod, n))
        return NODE_FITS;
    reasons_add(out, "node(s) had untolerated taint(s)");
    return NODE_UNRESOLVABLE;
}

static enum verdict node_affinity(const struct cycle *c, const struct node_info *n,
                                  struct reasons *out)
{
    if (node_affinity_matches(c->pod, n))
        return NODE_FITS;
    reasons_add(out, "node(s) didn't match Pod's node affinity/selector");
    return NODE_UNRESOLVABLE;
}

const struct filter_plugin filter_unschedulable = {
    .name = "NodeUnschedulable",
    .events = EVENT_NODE_ADDED | EVENT_NODE_TAINTS,
    .filter = unschedulable,
};
const struct filter_plugin filter_node_name = {
    .name = "NodeName",
    .events = EVENT_NODE_ADDED,
    .filter = node_name,
};
const struct filter_plugin filter_taints = {
    .name = "TaintToleration",
    .events = EVENT_NODE_ADDED | EVENT_NODE_TAINTS,
    .filter = taints,
};
const struct filter_plugin filter_node_affinity = {
    .name = "NodeAffinity",
    .events = EVENT_NODE_ADDED | EVENT_NODE_LABELS,
    .filter = node_affinity,
};
