/* SPDX-License-Identifier: Apache-2.0 */
/* binder.c - bindings, conditions and evictions as API calls. */
#include "scheduler/binder.h"

#include "scheduler/plugins.h"

int binder_bind(struct client *c, const struct pod_info *pod, const char *node_name,
                struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_new(a, JSON_OBJECT);
    const struct json *answer;
    json_put_str(a, doc, "apiVersion", "v1");
    json_put_str(a, doc, "kind", "Binding");
    json_put_str(a, doc, "metadata.namespace", pod->pod->key.ns);
    json_put_str(a, doc, "metadata.name", pod->pod->key.name);
    json_put_str(a, doc, "metadata.uid", pod->pod->uid);
    json_put_str(a, doc, "target.kind", "Node");
    json_put_str(a, doc, "target.name", node_name);
    return client_post(c, &resources[RESOURCE_PODS], &pod->pod->key, "binding", doc, a, &answer,
                       err);
}

int binder_select_node(struct client *c, const struct pod_info *pod, const struct pod_claim *claim,
                       const char *node_name, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct buffer text __attribute__((cleanup(buffer_scoped))) = { 0 };
    struct json *doc = json_new(a, JSON_OBJECT);
    struct object_key key = { pod->pod->key.ns, claim->name };
    json_set(a, json_make(a, doc, "metadata.annotations"), ANNOTATION_SELECTED_NODE,
             json_string_value(a, node_name));
    json_print(doc, &text);
    return client_patch(c, &resources[RESOURCE_PERSISTENTVOLUMECLAIMS], &key, NULL, PATCH_MERGE,
                        buffer_bytes(&text), NULL, err);
}

/* Merges one condition, and what else DOC has, into the pod's status. */
static int patch_status(struct client *c, const struct pod_info *pod, struct arena *a,
                        struct json *doc, const struct json *condition, struct error *err)
{
    struct buffer text __attribute__((cleanup(buffer_scoped))) = { 0 };
    json_put(a, doc, "status.conditions", *json_new(a, JSON_ARRAY));
    json_append(a, json_find(doc, "status.conditions"), *condition);
    json_put_str(a, doc, "metadata.uid", pod->pod->uid); /* not another pod of the same name */
    json_print(doc, &text);
    return client_patch(c, &resources[RESOURCE_PODS], &pod->pod->key, "status", PATCH_STRATEGIC,
                        buffer_bytes(&text), NULL, err);
}

static struct json *new_condition(struct arena *a, const struct pod_info *pod, const char *type,
                                  const char *status, const struct clock *clock)
{
    char now[TIME_TEXT_BYTES];
    const struct json *old = object_condition(pod->pod, type);
    bool is_same = str_equal(json_str(old, "status", ""), status);
    time_format(clock_wall_ns(clock), now);
    struct json *condition = json_new(a, JSON_OBJECT);
    json_put_str(a, condition, "type", type);
    json_put_str(a, condition, "status", status);
    json_put(a, condition, "lastProbeTime", *json_new(a, JSON_NULL));
    json_put_str(a, condition, "lastTransitionTime",
                 is_same ? json_str(old, "lastTransitionTime", now) : now);
    if (object_generation(pod->pod))
        json_put_int(a, condition, "observedGeneration", object_generation(pod->pod));
    return condition;
}

static bool says_so_already(const struct pod_info *pod, const struct pod_report *report)
{
    const struct json *old = object_condition(pod->pod, "PodScheduled");
    return str_equal(json_str(old, "status", ""), "False") &&
           str_equal(json_str(old, "reason", ""), report->reason) &&
           str_equal(json_str(old, "message", ""), report->message) &&
           (!report->nominated || str_equal(pod->nominated_node, report->nominated));
}

int binder_report(struct client *c, const struct pod_info *pod, const struct pod_report *report,
                  const struct clock *clock, struct error *err)
{
    if (says_so_already(pod, report))
        return 0;
    scoped(arena) struct arena *a = arena_new();
    struct json *condition = new_condition(a, pod, "PodScheduled", "False", clock);
    json_put_str(a, condition, "reason", report->reason);
    json_put_str(a, condition, "message", report->message);
    struct json *doc = json_new(a, JSON_OBJECT);
    if (str_equal(report->nominated, ""))
        json_put(a, doc, "status.nominatedNodeName", *json_new(a, JSON_NULL));
    else if (report->nominated)
        json_put_str(a, doc, "status.nominatedNodeName", report->nominated);
    return patch_status(c, pod, a, doc, condition, err);
}

int binder_preempt(struct client *c, const struct pod_info *victim, const struct clock *clock,
                   struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *condition = new_condition(a, victim, "DisruptionTarget", "True", clock);
    json_put_str(a, condition, "reason", "PreemptionByScheduler");
    json_put_str(a, condition, "message",
                 "default-scheduler: preempting to accommodate a higher priority pod");
    struct client_delete_options options = { .grace_period_s = -1, .uid = victim->pod->uid };
    if (patch_status(c, victim, a, json_new(a, JSON_OBJECT), condition, err) < 0 ||
        client_delete(c, &resources[RESOURCE_PODS], &victim->pod->key, &options, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : error_wrap(err, "preempt pod %s", victim->key.data);
    return 0;
}
