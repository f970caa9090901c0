/* SPDX-License-Identifier: Apache-2.0 */
/* filter_pod_affinity.c - near some pods, away from others; required and preferred. */
#include "scheduler/plugins.h"
#include "scheduler/topology.h"

/* Counts by domain, made once per pod.  Pods without such rules walk only those that have them. */
struct pod_affinity_state {
    struct domain_counts existing_anti; /* pods whose anti-affinity is against this pod */
    struct domain_counts affinity;      /* pods that all required terms of this pod select */
    struct domain_counts anti_affinity; /* pods that a required anti-affinity term of it selects */
    struct domain_counts preferred;     /* weights for and against, from both sides */
};

static bool matches_all(const struct cycle *c, const struct affinity_terms *terms,
                        const struct pod_info *pod)
{
    for (size_t i = 0; i < terms->n; i++)
        if (!affinity_term_matches(c->snapshot, &terms->items[i], pod))
            return false;
    return terms->n > 0;
}

/* For each term that selects POD: its weight (or N) to the domain of the node. */
static void add_matches(struct cycle *c, struct domain_counts *d,
                        const struct affinity_terms *terms, const struct pod_info *pod,
                        const struct node_info *node, int64_t n)
{
    for (size_t i = 0; i < terms->n; i++) {
        const struct affinity_term *t = &terms->items[i];
        if (affinity_term_matches(c->snapshot, t, pod))
            domain_add(d, c->arena, node, t->topology_key, t->weight ? n * t->weight : n);
    }
}

/* What rules of pods that run say about this pod. */
static void look_at_rules_of_others(struct cycle *c, struct pod_affinity_state *s)
{
    for (size_t i = 0; i < c->snapshot->with_affinity_n; i++) {
        const struct pod_info *other = c->snapshot->with_affinity[i];
        const struct placed_pod *placed = snapshot_pod(c->snapshot, other->key);
        if (!placed || !cycle_has(c, placed))
            continue;
        add_matches(c, &s->existing_anti, &other->required_anti_affinity, c->pod, placed->node, 1);
        add_matches(c, &s->preferred, &other->required_affinity, c->pod, placed->node, 1);
        add_matches(c, &s->preferred, &other->preferred_affinity, c->pod, placed->node, 1);
        add_matches(c, &s->preferred, &other->preferred_anti_affinity, c->pod, placed->node, -1);
    }
}

/* What this pod's rules say about pods that run. */
static void look_at_others(struct cycle *c, struct pod_affinity_state *s)
{
    const struct pod_info *pod = c->pod;
    for (size_t i = 0; i < c->snapshot->nodes_n; i++) {
        const struct node_info *node = cycle_node(c, i);
        for (size_t k = 0; k < node->pods_n; k++) {
            const struct pod_info *other = node->pods[k];
            if (matches_all(c, &pod->required_affinity, other))
                for (size_t t = 0; t < pod->required_affinity.n; t++)
                    domain_add(&s->affinity, c->arena, node,
                               pod->required_affinity.items[t].topology_key, 1);
            add_matches(c, &s->anti_affinity, &pod->required_anti_affinity, other, node, 1);
            add_matches(c, &s->preferred, &pod->preferred_affinity, other, node, 1);
            add_matches(c, &s->preferred, &pod->preferred_anti_affinity, other, node, -1);
        }
    }
}

static void prepare(struct cycle *c)
{
    const struct pod_info *p = c->pod;
    bool has_rules = p->required_affinity.n || p->required_anti_affinity.n ||
                     p->preferred_affinity.n || p->preferred_anti_affinity.n;
    if (!has_rules && !c->snapshot->with_affinity_n)
        return;
    c->affinity = arena_zalloc(c->arena, sizeof(*c->affinity));
    look_at_rules_of_others(c, c->affinity);
    if (has_rules)
        look_at_others(c, c->affinity);
}

static void finish(struct cycle *c)
{
    struct pod_affinity_state *s = c->affinity;
    if (!s)
        return;
    domain_counts_deinit(&s->existing_anti);
    domain_counts_deinit(&s->affinity);
    domain_counts_deinit(&s->anti_affinity);
    domain_counts_deinit(&s->preferred);
    c->affinity = NULL;
}

static bool satisfies_affinity(const struct cycle *c, const struct node_info *n)
{
    const struct affinity_terms *terms = &c->pod->required_affinity;
    bool is_met = true;
    for (size_t i = 0; i < terms->n; i++) {
        if (!node_label(n, terms->items[i].topology_key))
            return false;
        is_met &= domain_count(&c->affinity->affinity, n, terms->items[i].topology_key) > 0;
    }
    /* The first pod of a group that wants to be near itself has nobody to be near to. */
    return is_met || (!c->affinity->affinity.counts.n && matches_all(c, terms, c->pod));
}

static bool satisfies_anti_affinity(const struct cycle *c, const struct node_info *n)
{
    const struct affinity_terms *terms = &c->pod->required_anti_affinity;
    for (size_t i = 0; i < terms->n; i++)
        if (domain_count(&c->affinity->anti_affinity, n, terms->items[i].topology_key) > 0)
            return false;
    return true;
}

/* Does any label of the node make a domain that a running pod keeps for itself? */
static bool satisfies_existing(const struct cycle *c, const struct node_info *n)
{
    if (!c->affinity->existing_anti.counts.n)
        return true;
    json_each_member (n->labels, m) {
        if (domain_count(&c->affinity->existing_anti, n, m->name) > 0)
            return false;
    }
    return true;
}

static enum verdict pod_affinity(const struct cycle *c, const struct node_info *n,
                                 struct reasons *out)
{
    if (!c->affinity)
        return NODE_FITS;
    if (!satisfies_affinity(c, n)) {
        reasons_add(out, "node(s) didn't match pod affinity rules");
        return NODE_UNRESOLVABLE;
    }
    if (!satisfies_anti_affinity(c, n)) {
        reasons_add(out, "node(s) didn't match pod anti-affinity rules");
        return NODE_UNSCHEDULABLE;
    }
    if (!satisfies_existing(c, n)) {
        reasons_add(out, "node(s) didn't satisfy existing pods anti-affinity rules");
        return NODE_UNSCHEDULABLE;
    }
    return NODE_FITS;
}

/* ---- score ---- */

static bool has_preferences(const struct cycle *c)
{
    return c->affinity && c->affinity->preferred.counts.n;
}

static int64_t preference(const struct cycle *c, const struct node_info *n)
{
    int64_t sum = 0;
    json_each_member (n->labels, m)
        sum += domain_count(&c->affinity->preferred, n, m->name);
    return sum;
}

static void normalize(const struct cycle *c, struct node_info *const *nodes, int64_t *scores,
                      size_t n)
{
    (void)c;
    (void)nodes;
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        low = scores[i] < low ? scores[i] : low;
        high = scores[i] > high ? scores[i] : high;
    }
    for (size_t i = 0; i < n; i++)
        scores[i] = high > low ? SCORE_MAX * (scores[i] - low) / (high - low) : 0;
}

const struct filter_plugin filter_pod_affinity = {
    .name = "InterPodAffinity",
    .events = EVENT_NODE_ADDED | EVENT_NODE_LABELS | EVENT_POD_GONE | EVENT_POD_PLACED,
    .prepare = prepare,
    .filter = pod_affinity,
    .finish = finish,
};
const struct score_plugin score_pod_affinity = {
    .name = "InterPodAffinity",
    .weight = 2,
    .normalize = NORMALIZE_OWN,
    .applies = has_preferences,
    .score = preference,
    .normalize_own = normalize,
};
