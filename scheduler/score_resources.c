/* SPDX-License-Identifier: Apache-2.0 */
/* score_resources.c - room: the node with most left, and with cpu and memory used alike. */
#include <math.h>

#include "scheduler/plugins.h"

static int64_t share_left(int64_t used, int64_t allocatable)
{
    return used > allocatable ? 0 : (allocatable - used) * SCORE_MAX / allocatable;
}

/* A node that has none of a resource is not judged by it. */
static int64_t least_allocated(const struct cycle *c, const struct node_info *n)
{
    int64_t sum = 0, weights = 0;
    if (n->allocatable.milli_cpu > 0) {
        sum +=
            share_left(n->nonzero_milli_cpu + c->pod->nonzero_milli_cpu, n->allocatable.milli_cpu);
        weights++;
    }
    if (n->allocatable.memory > 0) {
        sum += share_left(n->nonzero_memory + c->pod->nonzero_memory, n->allocatable.memory);
        weights++;
    }
    return weights ? sum / weights : 0;
}

static double fraction(int64_t used, int64_t allocatable)
{
    double f = (double)used / (double)allocatable;
    return f > 1 ? 1 : f;
}

static bool requests_anything(const struct cycle *c)
{
    return c->pod->requests.milli_cpu || c->pod->requests.memory;
}

static int64_t balanced_allocation(const struct cycle *c, const struct node_info *n)
{
    const struct pod_resources *r = &c->pod->requests;
    if (n->allocatable.milli_cpu <= 0 || n->allocatable.memory <= 0)
        return SCORE_MAX;
    double cpu = fraction(n->used.milli_cpu + r->milli_cpu, n->allocatable.milli_cpu);
    double memory = fraction(n->used.memory + r->memory, n->allocatable.memory);
    double deviation = fabs(cpu - memory) / 2; /* the standard deviation of two */
    return (int64_t)((1 - deviation) * SCORE_MAX);
}

const struct score_plugin score_least_allocated = {
    .name = "NodeResourcesFit",
    .weight = 1,
    .score = least_allocated,
};
const struct score_plugin score_balanced_allocation = {
    .name = "NodeResourcesBalancedAllocation",
    .weight = 1,
    .applies = requests_anything,
    .score = balanced_allocation,
};
