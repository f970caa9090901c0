/* SPDX-License-Identifier: Apache-2.0 */
/* filter_topology_spread.c - pods spread evenly over zones, nodes or other domains. */
#include <math.h>

#include "scheduler/plugins.h"
#include "scheduler/topology.h"

struct constraint_state {
    struct domain_counts pods; /* matching pods per domain of eligible nodes */
    int64_t least;             /* in the emptiest domain */
    bool matches_itself;
};
struct spread_state {
    struct constraint_state *constraints; /* as in the pod */
};

/* Is the node one that this pod could be spread over? */
static bool is_eligible(const struct cycle *c, const struct spread_constraint *s,
                        const struct node_info *n)
{
    if (s->honors_affinity && !node_affinity_matches(c->pod, n))
        return false;
    return !s->honors_taints || !untolerated_taint(c->pod, n);
}

static bool has_all_keys(const struct cycle *c, const struct node_info *n, bool is_required)
{
    for (size_t i = 0; i < c->pod->spread_n; i++) {
        const struct spread_constraint *s = &c->pod->spread[i];
        if (s->is_required == is_required && !node_label(n, s->topology_key))
            return false;
    }
    return true;
}

static int64_t count_pods(const struct cycle *c, const struct spread_constraint *s,
                          const struct node_info *n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n->pods_n; i++) {
        const struct pod_info *p = n->pods[i];
        if (str_equal(p->pod->key.ns, c->pod->pod->key.ns) && !object_is_deleting(p->pod) &&
            selector_matches(s->selector, p->labels))
            count++;
    }
    return count;
}

static void count_domains(struct cycle *c, const struct spread_constraint *s,
                          struct constraint_state *state)
{
    for (size_t i = 0; i < c->snapshot->nodes_n; i++) {
        const struct node_info *n = cycle_node(c, i);
        if (has_all_keys(c, n, s->is_required) && is_eligible(c, s, n))
            domain_add(&state->pods, c->arena, n, s->topology_key, count_pods(c, s, n));
    }
    int64_t least = INT64_MAX;
    hashmap_each (&state->pods.counts, e) {
        int64_t count = *(int64_t *)e->value;
        least = count < least ? count : least;
    }
    bool has_few = (int64_t)state->pods.counts.n < s->min_domains;
    state->least = has_few || least == INT64_MAX ? 0 : least;
    state->matches_itself = selector_matches(s->selector, c->pod->labels);
}

static void prepare(struct cycle *c)
{
    if (!c->pod->spread_n)
        return;
    c->spread = arena_zalloc(c->arena, sizeof(*c->spread));
    c->spread->constraints =
        arena_zalloc(c->arena, c->pod->spread_n * sizeof(c->spread->constraints[0]));
    for (size_t i = 0; i < c->pod->spread_n; i++)
        count_domains(c, &c->pod->spread[i], &c->spread->constraints[i]);
}

static void finish(struct cycle *c)
{
    for (size_t i = 0; c->spread && i < c->pod->spread_n; i++)
        domain_counts_deinit(&c->spread->constraints[i].pods);
    c->spread = NULL;
}

static enum verdict spread(const struct cycle *c, const struct node_info *n, struct reasons *out)
{
    for (size_t i = 0; c->spread && i < c->pod->spread_n; i++) {
        const struct spread_constraint *s = &c->pod->spread[i];
        const struct constraint_state *state = &c->spread->constraints[i];
        if (!s->is_required)
            continue;
        if (!node_label(n, s->topology_key)) {
            reasons_add(
                out,
                "node(s) didn't match pod topology spread constraints (missing required label)");
            return NODE_UNRESOLVABLE;
        }
        int64_t skew =
            domain_count(&state->pods, n, s->topology_key) + state->matches_itself - state->least;
        if (skew > s->max_skew) {
            reasons_add(out, "node(s) didn't match pod topology spread constraints");
            return NODE_UNSCHEDULABLE;
        }
    }
    return NODE_FITS;
}

/* ---- score ---- */

#define SCORE_IGNORED (-1) /* a node without the labels: the worst */

static bool has_soft_constraints(const struct cycle *c)
{
    for (size_t i = 0; c->spread && i < c->pod->spread_n; i++)
        if (!c->pod->spread[i].is_required)
            return true;
    return false;
}

/* Pods in the node's domains; the more domains there are, the more a pod weighs. */
static int64_t crowding(const struct cycle *c, const struct node_info *n)
{
    double sum = 0;
    if (!has_all_keys(c, n, false))
        return SCORE_IGNORED;
    for (size_t i = 0; i < c->pod->spread_n; i++) {
        const struct spread_constraint *s = &c->pod->spread[i];
        const struct constraint_state *state = &c->spread->constraints[i];
        if (s->is_required)
            continue;
        double weight = log((double)state->pods.counts.n + 2);
        sum += (double)domain_count(&state->pods, n, s->topology_key) * weight +
               (double)(s->max_skew - 1);
    }
    return llround(sum);
}

static void normalize(const struct cycle *c, struct node_info *const *nodes, int64_t *scores,
                      size_t n)
{
    (void)c;
    (void)nodes;
    int64_t low = INT64_MAX, high = 0;
    for (size_t i = 0; i < n; i++) {
        if (scores[i] == SCORE_IGNORED)
            continue;
        low = scores[i] < low ? scores[i] : low;
        high = scores[i] > high ? scores[i] : high;
    }
    for (size_t i = 0; i < n; i++) {
        if (scores[i] == SCORE_IGNORED)
            scores[i] = 0;
        else
            scores[i] = high ? SCORE_MAX * (high + low - scores[i]) / high : SCORE_MAX;
    }
}

const struct filter_plugin filter_topology_spread = {
    .name = "PodTopologySpread",
    .events = EVENT_NODE_ADDED | EVENT_NODE_LABELS | EVENT_NODE_TAINTS | EVENT_POD_GONE |
              EVENT_POD_PLACED | EVENT_NODE_GONE, /* the emptiest domain may have been its */
    .prepare = prepare,
    .filter = spread,
    .finish = finish,
};
const struct score_plugin score_topology_spread = {
    .name = "PodTopologySpread",
    .weight = 2,
    .normalize = NORMALIZE_OWN,
    .applies = has_soft_constraints,
    .score = crowding,
    .normalize_own = normalize,
};
