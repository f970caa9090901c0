/* SPDX-License-Identifier: Apache-2.0 */
/* clusterrole_aggregation - fills ClusterRoles that are made of others (admin, edit, view). */
#include "controllers/pod_control.h"

static int by_name(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    return strcmp(x->key.name, y->key.name);
}

static bool has_rule(const struct json *rules, const struct json *rule)
{
    json_each_item (rules, r) {
        if (json_equal(r, rule))
            return true;
    }
    return false;
}

static void add_rules(struct arena *a, const struct object *from, struct json *rules)
{
    json_each_item (json_at(from->doc, "rules"), rule) {
        if (!has_rule(rules, rule))
            json_append(a, rules, json_clone_value(rule, a));
    }
}

/* Roles are taken selector by selector, in the order of their names: the result is always the same.
 */
static int collect_rules(struct controller *c, const struct object *role, struct json *rules,
                         struct error *err)
{
    scoped(object_list) struct object_list all = { 0 };
    cache_list(c, RESOURCE_CLUSTERROLES, &all);
    qsort(all.items, all.n, sizeof(*all.items), by_name);
    json_each_item (json_at(role->doc, "aggregationRule.clusterRoleSelectors"), text) {
        const struct selector *s = selector_from_json(text, c->arena, err);
        if (!s)
            return -1;
        object_list_each (&all, other) {
            if (!str_equal(other->key.name, role->key.name) &&
                selector_matches(s, json_at(other->doc, "metadata.labels")))
                add_rules(c->arena, other, rules);
        }
    }
    return 0;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *role = cache_get(c, RESOURCE_CLUSTERROLES, key);
    if (!role || !json_at(role->doc, "aggregationRule"))
        return 0;
    struct json *rules = json_new(c->arena, JSON_ARRAY);
    if (collect_rules(c, role, rules, err) < 0)
        return -1;
    const struct json *there = json_at(role->doc, "rules");
    bool is_right = there && there->type == JSON_ARRAY ? json_equal(there, rules) : rules->len == 0;
    if (is_right)
        return 0;
    scoped(draft) struct draft *d = object_edit(role);
    json_put(d->arena, d->doc, "rules", json_clone_value(rules, d->arena));
    return update_object(c, d, NULL, err);
}

static void enqueue_aggregated(struct controller *c, const struct informer_event *e)
{
    (void)e;
    scoped(object_list) struct object_list all = { 0 };
    cache_list(c, RESOURCE_CLUSTERROLES, &all);
    object_list_each (&all, role) {
        if (json_at(role->doc, "aggregationRule"))
            enqueue_key(c, &role->key);
    }
}

const struct controller_spec clusterrole_aggregation_controller = {
    .name = "clusterrole-aggregation",
    .account = "clusterrole-aggregation-controller",
    .source = "clusterrole-aggregation-controller",
    .workers = 1,
    .watches = {
        { RESOURCE_CLUSTERROLES, enqueue_aggregated },
    },
    .reconcile = reconcile,
};
