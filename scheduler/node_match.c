/* SPDX-License-Identifier: Apache-2.0 */
/* node_match.c - what pods ask of nodes: tolerations against taints, selectors against labels. */
#include "scheduler/plugins.h"

/* ---- taints ---- */

bool tolerates(const struct toleration *t, const struct taint *taint)
{
    if (!str_empty(t->effect) && !str_equal(t->effect, taint->effect))
        return false;
    if (!str_empty(t->key) && !str_equal(t->key, taint->key))
        return false;
    if (str_equal(t->operator, "Exists"))
        return true;
    return !str_empty(t->key) && str_equal(t->value, taint->value);
}

static bool is_tolerated(const struct pod_info *pod, const struct taint *taint)
{
    for (size_t i = 0; i < pod->tolerations_n; i++)
        if (tolerates(&pod->tolerations[i], taint))
            return true;
    return false;
}

const struct taint *untolerated_taint(const struct pod_info *pod, const struct node_info *n)
{
    for (size_t i = 0; i < n->taints_n; i++) {
        const struct taint *taint = &n->taints[i];
        bool blocks =
            str_equal(taint->effect, "NoSchedule") || str_equal(taint->effect, "NoExecute");
        if (blocks && !is_tolerated(pod, taint))
            return taint;
    }
    return NULL;
}

/* ---- labels ---- */

bool node_affinity_matches(const struct pod_info *pod, const struct node_info *n)
{
    return node_selector_matches(pod->node_selector, pod->required_node_terms, n->labels, n->name);
}
