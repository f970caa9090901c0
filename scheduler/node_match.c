/* SPDX-License-Identifier: Apache-2.0 */
/* node_match.c - tolerations against taints, node selector terms against nodes. */
#include <errno.h>

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

/* ---- node selector terms ---- */

static bool is_listed(const struct json *values, const char *value)
{
    json_each_item (values, v) {
        if (str_equal(json_text(v), value))
            return true;
    }
    return false;
}

static bool parse_number(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno;
}

static bool is_greater(const char *a, const char *b)
{
    long long x, y;
    return a && b && parse_number(a, &x) && parse_number(b, &y) && x > y;
}

/* VALUE is NULL where the node has no such label. */
static bool requirement_holds(const struct json *requirement, const char *value)
{
    const char *operator= json_str(requirement, "operator", "");
    const struct json *values = json_get(requirement, "values");
    const char *first =
        json_is(values, JSON_ARRAY) && values->len ? json_text(values->items) : NULL;
    if (str_equal(operator, "In"))
        return value && is_listed(values, value);
    if (str_equal(operator, "NotIn"))
        return !value || !is_listed(values, value);
    if (str_equal(operator, "Exists"))
        return value;
    if (str_equal(operator, "DoesNotExist"))
        return !value;
    if (str_equal(operator, "Gt"))
        return is_greater(value, first);
    return str_equal(operator, "Lt") && is_greater(first, value);
}

bool node_term_matches(const struct json *term, const struct node_info *n)
{
    const struct json *expressions = json_get(term, "matchExpressions");
    const struct json *fields = json_get(term, "matchFields");
    if (!json_len(term, "matchExpressions") && !json_len(term, "matchFields"))
        return false; /* an empty term selects nothing */
    json_each_item (expressions, e) {
        if (!requirement_holds(e, node_label(n, json_str(e, "key", ""))))
            return false;
    }
    json_each_item (fields, f) {
        bool is_name = str_equal(json_str(f, "key", ""), "metadata.name");
        if (!is_name || !requirement_holds(f, n->name))
            return false;
    }
    return true;
}

bool node_affinity_matches(const struct pod_info *pod, const struct node_info *n)
{
    json_each_member (pod->node_selector, m) {
        if (!str_equal(json_text(&m->value), node_label(n, m->name)) || !node_label(n, m->name))
            return false;
    }
    if (!pod->required_node_terms)
        return true;
    json_each_item (json_get(pod->required_node_terms, "nodeSelectorTerms"), term) {
        if (node_term_matches(term, n))
            return true;
    }
    return false;
}
