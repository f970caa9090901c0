/* SPDX-License-Identifier: Apache-2.0 */
/* preemption.c - the node where the fewest and least important pods have to go. */
#include "scheduler/preemption.h"

struct candidate {
    struct node_info *node;
    const struct pod_info **victims; /* most important first */
    size_t victims_n;
    size_t violations; /* victims that a disruption budget protects */
};

/* More important: higher priority, then older. */
static int compare_importance(const void *a, const void *b)
{
    const struct pod_info *x = *(const struct pod_info *const *)a,
                          *y = *(const struct pod_info *const *)b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return x->created_ns < y->created_ns ? -1 : x->created_ns > y->created_ns;
}

static bool fits(struct snapshot *s, const struct pod_info *pod, const struct node_info *trial,
                 struct arena *arena, struct reasons *reasons)
{
    struct cycle c;
    unsigned ignored = 0;
    cycle_begin(&c, s, pod, trial, arena);
    bool does = run_filters(&c, trial, reasons, &ignored) == NODE_FITS;
    cycle_end(&c);
    return does;
}

/* Would PODS[i] going break a disruption budget, given that all before it go?  Upstream counts so
 * too. */
static bool *protected_pods(struct snapshot *s, const struct pod_info *const *pods, size_t n,
                            struct arena *arena)
{
    bool *out = arena_zalloc(arena, n * sizeof(out[0]) + 1);
    hashmap_each (&s->budgets, e) {
        const struct budget *b = e->value;
        int64_t allowed = b->allowed;
        for (size_t i = 0; i < n; i++) {
            const struct object *pod = pods[i]->pod;
            bool is_counted =
                b->selector && str_equal(b->object->key.ns, pod->key.ns) &&
                selector_matches(b->selector, pods[i]->labels) &&
                !json_get(json_at(b->object->doc, "status.disruptedPods"), pod->key.name);
            if (is_counted && --allowed < 0)
                out[i] = true;
        }
    }
    return out;
}

/* Puts back as many of the pods, which are off the trial, as there is room for: those that a budget
 * protects first, the more important before the less.  The others are the victims. */
static void reprieve(struct snapshot *s, const struct pod_info *pod, struct node_info *trial,
                     const struct pod_info **pods, size_t n, struct arena *arena,
                     struct candidate *out)
{
    const bool *is_protected = protected_pods(s, pods, n, arena);
    bool *is_victim = arena_zalloc(arena, n * sizeof(is_victim[0]) + 1);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < n; i++) {
            struct reasons ignored = { .n = 0 };
            if (is_protected[i] != (round == 0))
                continue;
            node_info_add(trial, pods[i]);
            if (fits(s, pod, trial, arena, &ignored))
                continue;
            node_info_remove(trial, pods[i]);
            is_victim[i] = true;
            out->violations += is_protected[i];
        }
    }
    for (size_t i = 0; i < n; i++)
        if (is_victim[i])
            out->victims[out->victims_n++] = pods[i];
}

/* Takes every less important pod off the node; if that helps, finds out who may stay after all. */
static bool try_node(struct snapshot *s, const struct pod_info *pod, struct node_info *node,
                     struct arena *arena, struct candidate *out, struct reasons *reasons)
{
    struct node_info *trial = node_info_copy(node);
    const struct pod_info **lower = arena_alloc(arena, node->pods_n * sizeof(lower[0]) + 1);
    size_t n = 0;
    *out = (struct candidate){ .node = node };
    out->victims = arena_alloc(arena, node->pods_n * sizeof(out->victims[0]) + 1);
    for (size_t i = 0; i < node->pods_n; i++)
        if (node->pods[i]->priority < pod->priority)
            lower[n++] = node->pods[i];
    for (size_t i = 0; i < n; i++)
        node_info_remove(trial, lower[i]);
    bool helps = n && fits(s, pod, trial, arena, reasons);
    if (!n)
        reasons_add(reasons, "No preemption victims found for incoming pod");
    qsort(lower, n, sizeof(lower[0]), compare_importance);
    if (helps)
        reprieve(s, pod, trial, lower, n, arena, out);
    node_info_free(trial);
    return helps;
}

static int64_t priority_sum(const struct candidate *c)
{
    int64_t sum = 0;
    for (size_t i = 0; i < c->victims_n; i++)
        sum +=
            c->victims[i]->priority + INT32_MAX + INT64_C(1); /* so that fewer victims are less */
    return sum;
}

/* Upstream's order: the fewest broken budgets, the least important first victim, the smallest sum,
 * the fewest, the youngest.
 */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->violations != b->violations)
        return a->violations < b->violations;
    int64_t first_a = a->victims_n ? a->victims[0]->priority : INT64_MIN;
    int64_t first_b = b->victims_n ? b->victims[0]->priority : INT64_MIN;
    if (first_a != first_b)
        return first_a < first_b;
    if (priority_sum(a) != priority_sum(b))
        return priority_sum(a) < priority_sum(b);
    if (a->victims_n != b->victims_n)
        return a->victims_n < b->victims_n;
    return a->victims_n && a->victims[0]->created_ns > b->victims[0]->created_ns;
}

/* Others may end as well, for their own reasons and as slowly as they like. */
static bool is_ending_victim(const struct pod_info *pod)
{
    const struct json *k = object_condition(pod->pod, "DisruptionTarget");
    return object_is_deleting(pod->pod) && str_equal(json_str(k, "status", ""), "True") &&
           str_equal(json_str(k, "reason", ""), "PreemptionByScheduler");
}

/* It had victims on its node before: while they end, nobody else has to go.  Unless the node would
 * not do even without them. */
static bool waits_for_victims(struct snapshot *s, const struct pod_info *pod,
                              const enum verdict *verdicts)
{
    const struct node_info *n = snapshot_node(s, pod->nominated_node);
    if (!n || !n->node || verdicts[n->index] == NODE_UNRESOLVABLE)
        return false;
    for (size_t i = 0; i < n->pods_n; i++)
        if (n->pods[i]->priority < pod->priority && is_ending_victim(n->pods[i]))
            return true;
    return false;
}

static bool is_eligible(struct snapshot *s, const struct pod_info *pod,
                        const enum verdict *verdicts, struct preemption *out)
{
    if (!pod->may_preempt)
        buffer_add_str(&out->message, "not eligible due to preemptionPolicy=Never.");
    else if (waits_for_victims(s, pod, verdicts))
        buffer_add_str(&out->message,
                       "not eligible due to a terminating pod on the nominated node.");
    else
        return true;
    return false;
}

void preemption_find(struct snapshot *s, const struct pod_info *pod, const enum verdict *verdicts,
                     struct arena *arena, struct preemption *out)
{
    *out = (struct preemption){ 0 };
    if (!is_eligible(s, pod, verdicts, out))
        return;
    struct reason_counts counts = { 0 };
    struct candidate best = { 0 };
    for (size_t i = 0; i < s->nodes_n; i++) {
        struct reasons reasons = { .n = 0 };
        struct candidate c;
        if (verdicts[i] != NODE_UNSCHEDULABLE)
            reasons_add(&reasons, "Preemption is not helpful for scheduling");
        else if (try_node(s, pod, s->nodes[i], arena, &c, &reasons) &&
                 (!best.node || is_better(&c, &best)))
            best = c;
        reason_counts_add(&counts, &reasons, arena);
    }
    if (!best.node)
        reason_counts_print(&counts, s->nodes_n, &out->message);
    reason_counts_deinit(&counts);
    out->is_hopeless = !best.node;
    out->node = best.node;
    out->victims = best.victims;
    out->victims_n = best.victims_n;
}
