/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission_pod_defaults.c - Priority, DefaultTolerationSeconds and TaintNodesByCondition: what
 * pods and nodes get that their authors rarely write.
 */

#include "apiserver/admission.h"
#include "apiserver/server.h"

#define DEFAULT_TOLERATION_S 300

/* ---- Priority ---- */

static struct object *find_class(struct strategy_call *c, const char *name)
{
    struct object_key key = { "", name };
    return watch_cache_get(watch_cache_of(c->server, &resources[RESOURCE_PRIORITYCLASSES]), &key);
}

/* The class that is marked as the global default; of several, the one with the lowest value. */
static struct object *find_default_class(struct strategy_call *c)
{
    scoped(object_list) struct object_list all = { 0 };
    struct object *best = NULL;
    watch_cache_list(watch_cache_of(c->server, &resources[RESOURCE_PRIORITYCLASSES]), NULL, &all);
    object_list_each (&all, class) {
        if (!json_bool(class->doc, "globalDefault", false))
            continue;
        if (!best || json_int(class->doc, "value", 0) < json_int(best->doc, "value", 0))
            best = class;
    }
    return best ? object_ref(best) : NULL;
}

static int set_priority(struct strategy_call *c, const struct admission_attributes *a,
                        struct draft *pod, struct error *err)
{
    const char *name = json_str(pod->doc, "spec.priorityClassName", "");
    scoped(object) struct object *class = *name ? find_class(c, name) : find_default_class(c);
    if (*name && !class)
        return admission_forbid(err, a, "no PriorityClass with name %s was found", name);
    if (class && !*name)
        json_put_str(pod->arena, pod->doc, "spec.priorityClassName", class->key.name);
    int64_t value = class ? json_int(class->doc, "value", 0) : 0;
    const struct json *given = json_at(pod->doc, "spec.priority");
    if (given && given->integer != value)
        return admission_forbid(
            err, a,
            "the integer value of priority (%lld) must not be provided in pod spec; "
            "priority admission controller computed %lld from the given PriorityClass name",
            (long long)given->integer, (long long)value);
    json_put_int(pod->arena, pod->doc, "spec.priority", value);

    const char *policy = class ? json_str(class->doc, "preemptionPolicy", "PreemptLowerPriority")
                               : "PreemptLowerPriority";
    const char *given_policy = json_str(pod->doc, "spec.preemptionPolicy", policy);
    if (!str_equal(given_policy, policy))
        return admission_forbid(
            err, a,
            "the string value of PreemptionPolicy (%s) must not be provided in pod spec; "
            "priority admission controller computed %s from the given PriorityClass name",
            given_policy, policy);
    json_put_str(pod->arena, pod->doc, "spec.preemptionPolicy", policy);
    return 0;
}

static int admit_priority(struct strategy_call *c, const struct admission_attributes *a,
                          struct draft *new, struct error *err)
{
    if (a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    if (a->resource->id == RESOURCE_PODS)
        return set_priority(c, a, new, err);
    if (a->resource->id != RESOURCE_PRIORITYCLASSES || !json_bool(new->doc, "globalDefault", false))
        return 0;
    scoped(object) struct object *other = find_default_class(c);
    if (other)
        return admission_forbid(
            err, a, "PriorityClass %s is already marked as default. Only one default can exist",
            other->key.name);
    return 0;
}

const struct admission_plugin admission_priority = { "Priority", admit_priority };

/* ---- DefaultTolerationSeconds ---- */

static bool tolerates(const struct json *tolerations, const char *taint)
{
    json_each_item (tolerations, t) {
        const char *key = json_str(t, "key", ""), *effect = json_str(t, "effect", "");
        if ((!*key || str_equal(key, taint)) && (!*effect || str_equal(effect, "NoExecute")))
            return true;
    }
    return false;
}

static int admit_tolerations(struct strategy_call *c, const struct admission_attributes *a,
                             struct draft *new, struct error *err)
{
    static const char *const taints[] = { "node.kubernetes.io/not-ready",
                                          "node.kubernetes.io/unreachable" };
    (void)c;
    (void)err;
    if (a->resource->id != RESOURCE_PODS || a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(taints); i++) {
        struct json *list = json_find(new->doc, "spec.tolerations");
        if (tolerates(list, taints[i]))
            continue;
        if (!list) {
            json_put(new->arena, new->doc, "spec.tolerations", (struct json){ .type = JSON_ARRAY });
            list = json_find(new->doc, "spec.tolerations");
        }
        struct json *t = json_append(new->arena, list, (struct json){ .type = JSON_OBJECT });
        json_put_str(new->arena, t, "key", taints[i]);
        json_put_str(new->arena, t, "operator", "Exists");
        json_put_str(new->arena, t, "effect", "NoExecute");
        json_put_int(new->arena, t, "tolerationSeconds", DEFAULT_TOLERATION_S);
    }
    return 0;
}

const struct admission_plugin admission_default_tolerations = { "DefaultTolerationSeconds",
                                                                admit_tolerations };

/* ---- TaintNodesByCondition ---- */

static bool has_taint(const struct json *taints, const char *key)
{
    json_each_item (taints, t) {
        if (str_equal(json_str(t, "key", ""), key))
            return true;
    }
    return false;
}

/* A node starts with the taint; the node lifecycle controller takes it away once the node is Ready.
 * It may not give itself a role: the one of this process has it from us, as a k3s server's has. */
static int admit_node(struct strategy_call *c, const struct admission_attributes *a,
                      struct draft *new, struct error *err)
{
    static const char key[] = "node.kubernetes.io/not-ready";
    (void)err;
    if (a->resource->id != RESOURCE_NODES || a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    if (str_equal(a->name, c->server->config.own_node))
        json_set_static(new->arena, json_make_object(new->arena, new->doc, "metadata.labels"),
                        "node-role.kubernetes.io/control-plane",
                        json_string_value(new->arena, "true"));
    struct json *taints = json_make_array(new->arena, new->doc, "spec.taints");
    if (has_taint(taints, key))
        return 0;
    struct json *t = json_append(new->arena, taints, (struct json){ .type = JSON_OBJECT });
    json_put_str(new->arena, t, "key", key);
    json_put_str(new->arena, t, "effect", "NoSchedule");
    return 0;
}

const struct admission_plugin admission_taint_nodes = { "TaintNodesByCondition", admit_node };
