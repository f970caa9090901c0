/* SPDX-License-Identifier: Apache-2.0 */
/* strategy_pod.c - what the server itself decides about a pod. */

#include "api/quantity.h"
#include "apiserver/strategies.h"
#include "apiserver/validate_kinds.h"

/* ---- quality of service ---- */

/* Whether every container names a limit for CPU and memory that is also its request. */
struct qos {
    bool has_any;       /* some request or limit above zero */
    bool is_guaranteed; /* so far */
};

static bool is_positive(const struct json *v, struct quantity *q)
{
    const char *text = json_text(v);
    struct quantity zero = { 0 };
    return text && quantity_parse(text, q) == 0 && quantity_compare(q, &zero) > 0;
}

static void judge_resources(const struct json *wanted, struct qos *qos)
{
    static const char *const names[] = { "cpu", "memory" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct quantity request, limit;
        bool has_request = is_positive(json_get(json_get(wanted, "requests"), names[i]), &request);
        bool has_limit = is_positive(json_get(json_get(wanted, "limits"), names[i]), &limit);
        qos->has_any |= has_request || has_limit;
        if (!has_limit || (has_request && quantity_compare(&request, &limit) != 0))
            qos->is_guaranteed = false;
    }
}

static const char *pod_qos_class(const struct json *spec)
{
    static const char *const lists[] = { "containers", "initContainers" };
    struct qos qos = { .is_guaranteed = true };
    if (json_at(spec, "resources.requests") || json_at(spec, "resources.limits")) {
        judge_resources(json_get(spec, "resources"), &qos);
    } else {
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            json_each_item (json_get(spec, lists[i]), container) {
                judge_resources(json_get(container, "resources"), &qos);
            }
        }
    }
    return !qos.has_any ? "BestEffort" : qos.is_guaranteed ? "Guaranteed" : "Burstable";
}

/* ---- create and update ---- */

static int prepare_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)err;
    struct json *status = json_make(new->arena, new->doc, "status");
    *status = (struct json){ .type = JSON_OBJECT };
    json_put_str(new->arena, status, "phase", "Pending");
    if (json_len(new->doc, "spec.schedulingGates") > 0)
        draft_set_condition(new, "PodScheduled", "False", "SchedulingGated",
                            "Scheduling is blocked due to non-empty scheduling gates", c->now_ns);
    json_put_str(new->arena, new->doc, "status.qosClass",
                 pod_qos_class(json_get(new->doc, "spec")));
    return 0;
}

static int prepare_status(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)err;
    const char *qos = json_str(old->doc, "status.qosClass", NULL);
    if (qos && str_empty(json_str(new->doc, "status.qosClass", "")))
        json_put_str(new->arena, new->doc, "status.qosClass", qos);
    return 0;
}

/* ---- delete ---- */

static int64_t delete_grace_s(const struct object *pod, int64_t asked)
{
    const char *phase = json_str(pod->doc, "status.phase", "");
    int64_t grace =
        asked >= 0 ? asked : json_int(pod->doc, "spec.terminationGracePeriodSeconds", 30);
    /* Without a node, or with nothing that runs any more, there is nobody to wait for. */
    if (str_empty(json_str(pod->doc, "spec.nodeName", "")) || str_equal(phase, "Succeeded") ||
        str_equal(phase, "Failed"))
        return 0;
    return grace < 0 ? 1 : grace;
}

const struct strategy pod_strategy = {
    .prepare_create = prepare_create,
    .validate = validate_pod,
    .validate_update = validate_pod_update,
    .delete_grace_s = delete_grace_s,
};

const struct strategy pod_status_strategy = {
    .prepare_update = prepare_status,
};

/* The part has been taken into the old pod: the whole is checked again. */
const struct strategy pod_ephemeral_strategy = {
    .validate = validate_pod,
    .validate_update = validate_pod_ephemeral_update,
};
const struct strategy pod_resize_strategy = {
    .validate = validate_pod,
    .validate_update = validate_pod_resize,
};
