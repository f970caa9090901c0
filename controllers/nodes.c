/* SPDX-License-Identifier: Apache-2.0 */
/* nodes - taints and tolerations. */
#include "controllers/nodes.h"

const char *node_ready_status(const struct object *node)
{
    return json_str(object_condition(node, "Ready"), "status", "");
}

const struct json *node_taint(const struct object *node, const char *key, const char *effect)
{
    json_each_item (json_at(node->doc, "spec.taints"), taint) {
        if (str_equal(json_str(taint, "key", ""), key) &&
            str_equal(json_str(taint, "effect", ""), effect))
            return taint;
    }
    return NULL;
}

bool node_has_no_execute(const struct object *node)
{
    json_each_item (json_at(node->doc, "spec.taints"), taint) {
        if (str_equal(json_str(taint, "effect", ""), "NoExecute"))
            return true;
    }
    return false;
}

bool toleration_matches(const struct json *toleration, const struct json *taint)
{
    const char *effect = json_str(toleration, "effect", "");
    const char *key = json_str(toleration, "key", "");
    if (*effect && !str_equal(effect, json_str(taint, "effect", "")))
        return false;
    if (*key && !str_equal(key, json_str(taint, "key", "")))
        return false;
    if (str_equal(json_str(toleration, "operator", "Equal"), "Exists"))
        return true; /* without a key: tolerates everything */
    return *key && str_equal(json_str(toleration, "value", ""), json_str(taint, "value", ""));
}

static const struct json *find_toleration(const struct json *list, const struct json *taint)
{
    json_each_item (list, toleration) {
        if (toleration_matches(toleration, taint))
            return toleration;
    }
    return NULL;
}

const struct json *pod_toleration(const struct object *pod, const struct json *taint)
{
    return find_toleration(json_at(pod->doc, "spec.tolerations"), taint);
}

bool spec_tolerates(const struct json *pod_spec, const struct json *taint)
{
    return find_toleration(json_get(pod_spec, "tolerations"), taint) != NULL;
}

/* Patches what the draft D has made of POD's status. */
static int patch_status(struct controller *c, const struct object *pod, const struct draft *d,
                        struct error *err)
{
    struct json *patch = json_new(c->arena, JSON_OBJECT);
    const struct json *conditions = json_at(d->doc, "status.conditions");
    json_put_str(c->arena, patch, "metadata.uid", pod->uid);
    json_put_str(c->arena, patch, "status.phase", json_str(d->doc, "status.phase", "Pending"));
    if (conditions)
        json_put(c->arena, patch, "status.conditions", json_clone_value(conditions, c->arena));
    struct error failure = { 0 };
    if (patch_object(c, pod, "status", PATCH_STRATEGIC, patch, &failure) < 0 &&
        failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

int mark_disrupted(struct controller *c, const struct object *pod, const char *reason,
                   const char *message, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(pod);
    if (!draft_set_condition(d, "DisruptionTarget", "True", reason, message, wall_ns(c)))
        return 0;
    return patch_status(c, pod, d, err);
}

int mark_failed(struct controller *c, const struct object *pod, struct error *err)
{
    if (pod_is_finished(pod))
        return 0;
    scoped(draft) struct draft *d = object_edit(pod);
    json_put_str(d->arena, d->doc, "status.phase", "Failed");
    return patch_status(c, pod, d, err);
}
