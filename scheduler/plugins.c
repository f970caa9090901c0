/* SPDX-License-Identifier: Apache-2.0 */
/* plugins.c - the table of rules, in upstream's order. */
#include "scheduler/plugins.h"

const struct filter_plugin *const filter_plugins[] = {
    &filter_unschedulable, &filter_node_name,       &filter_taints,
    &filter_node_affinity, &filter_ports,           &filter_resources,
    &filter_volumes,       &filter_topology_spread, &filter_pod_affinity,
};
const size_t filter_plugins_n = ARRAY_LEN(filter_plugins);

const struct score_plugin *const score_plugins[] = {
    &score_taints,       &score_node_affinity,       &score_least_allocated, &score_topology_spread,
    &score_pod_affinity, &score_balanced_allocation, &score_image_locality,
};
const size_t score_plugins_n = ARRAY_LEN(score_plugins);

void reasons_add(struct reasons *r, const char *text)
{
    if (r->n < NODE_REASONS_MAX)
        r->text[r->n++] = text;
}

const struct node_info *cycle_node(const struct cycle *c, size_t index)
{
    return c->trial && c->trial->index == index ? c->trial : c->snapshot->nodes[index];
}

bool cycle_has(const struct cycle *c, const struct placed_pod *pod)
{
    if (!pod->node->node)
        return false;
    if (!c->trial || c->trial->index != pod->node->index)
        return true;
    for (size_t i = 0; i < c->trial->pods_n; i++)
        if (c->trial->pods[i] == pod->info)
            return true;
    return false;
}
