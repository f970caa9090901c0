/* SPDX-License-Identifier: Apache-2.0 */
/* filter_resources.c - does what the pod requests fit into what is left of the node? */
#include "scheduler/plugins.h"

struct need {
    const char *reason;
    int64_t request, allocatable, used;
};

/* Adds the reason if it does not fit; what the empty node could not hold either is unresolvable. */
static enum verdict check(const struct need *need, enum verdict so_far, struct reasons *out)
{
    if (need->request <= 0 || need->request <= need->allocatable - need->used)
        return so_far;
    reasons_add(out, need->reason);
    if (need->request > need->allocatable)
        return NODE_UNRESOLVABLE;
    return so_far == NODE_UNRESOLVABLE ? so_far : NODE_UNSCHEDULABLE;
}

static enum verdict check_extended(const struct cycle *c, const struct node_info *n, enum verdict v,
                                   struct reasons *out)
{
    const struct pod_resources *r = &c->pod->requests;
    for (size_t i = 0; i < r->extended_n; i++) {
        struct need need = {
            .request = r->extended[i].amount,
            .allocatable = resources_extended(&n->allocatable, r->extended[i].name),
            .used = resources_extended(&n->used, r->extended[i].name),
        };
        if (need.request <= need.allocatable - need.used)
            continue;
        need.reason = arena_printf(c->arena, "Insufficient %s", r->extended[i].name);
        v = check(&need, v, out);
    }
    return v;
}

static enum verdict resources_fit(const struct cycle *c, const struct node_info *n,
                                  struct reasons *out)
{
    const struct pod_resources *r = &c->pod->requests;
    enum verdict v = NODE_FITS;
    if ((int64_t)n->pods_n + 1 > n->allocatable_pods) {
        reasons_add(out, "Too many pods");
        v = NODE_UNSCHEDULABLE;
    }
    const struct need needs[] = {
        { "Insufficient cpu", r->milli_cpu, n->allocatable.milli_cpu, n->used.milli_cpu },
        { "Insufficient memory", r->memory, n->allocatable.memory, n->used.memory },
        { "Insufficient ephemeral-storage", r->ephemeral_storage, n->allocatable.ephemeral_storage,
          n->used.ephemeral_storage },
    };
    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        v = check(&needs[i], v, out);
    return r->extended_n ? check_extended(c, n, v, out) : v;
}

const struct filter_plugin filter_resources = {
    .name = "NodeResourcesFit",
    .events = EVENT_NODE_ADDED | EVENT_NODE_GREW | EVENT_POD_GONE,
    .filter = resources_fit,
};
