/* SPDX-License-Identifier: Apache-2.0 */
/* rollout_status - what a deployment says of itself: counts and conditions. */
#include "controllers/rollout.h"

#include <limits.h>

/* ---- conditions, which in a deployment also say when they were last confirmed ---- */

struct condition {
    const char *type, *status, *reason, *message;
    const char *updated, *transitioned; /* RFC 3339 */
};

const struct json *rollout_condition(const struct json *status, const char *type)
{
    json_each_item (json_get(status, "conditions"), c) {
        if (str_equal(json_str(c, "type", ""), type))
            return c;
    }
    return NULL;
}

static void drop_condition(struct json *status, const char *type)
{
    struct json *list = json_find(status, "conditions");
    for (size_t i = list ? list->len : 0; i-- > 0;) {
        if (str_equal(json_str(&list->items[i], "type", ""), type))
            json_remove_item(list, i);
    }
    if (list && list->len == 0)
        json_drop(status, "conditions");
}

static void append_condition(struct arena *a, struct json *status, const struct condition *k)
{
    struct json *list = json_make_array(a, status, "conditions");
    struct json *v = json_new(a, JSON_OBJECT);
    json_put_str(a, v, "type", k->type);
    json_put_str(a, v, "status", k->status);
    json_put_str(a, v, "lastUpdateTime", k->updated);
    json_put_str(a, v, "lastTransitionTime", k->transitioned);
    json_put_str(a, v, "reason", k->reason);
    json_put_str(a, v, "message", k->message);
    json_append(a, list, *v);
}

/* A condition that says the same for the same reason stays as it was, times and words. */
static void set_condition(struct arena *a, struct json *status, struct condition k)
{
    const struct json *old = rollout_condition(status, k.type);
    if (old && str_equal(json_str(old, "status", ""), k.status)) {
        if (str_equal(json_str(old, "reason", ""), k.reason))
            return;
        k.transitioned = arena_strdup(a, json_str(old, "lastTransitionTime", k.transitioned));
    }
    drop_condition(status, k.type);
    append_condition(a, status, &k);
}

static struct condition condition_now(const struct rollout *r, const char *type, const char *status,
                                      const char *reason, const char *message)
{
    const char *now = time_text(r->c, wall_ns(r->c));
    return (struct condition){ type, status, reason, message, now, now };
}

bool rollout_has_deadline(const struct object *d)
{
    return json_int(d->doc, "spec.progressDeadlineSeconds", INT_MAX) != INT_MAX;
}

void rollout_set_progressing(struct rollout *r, struct draft *d, const char *status,
                             const char *reason, const char *message)
{
    struct json *root = json_make_object(d->arena, d->doc, "status");
    set_condition(d->arena, root, condition_now(r, "Progressing", status, reason, message));
}

/* ---- status ---- */

static void put_available(struct rollout *r, struct arena *a, struct json *status)
{
    bool enough = rollout_sum_status(r, ALL_SETS, "availableReplicas") >=
                  rollout_replicas(r->deployment) - rollout_max_unavailable(r->deployment);
    set_condition(a, status,
                  enough ? condition_now(r, "Available", "True", "MinimumReplicasAvailable",
                                         "Deployment has minimum availability.")
                         : condition_now(r, "Available", "False", "MinimumReplicasUnavailable",
                                         "Deployment does not have minimum availability."));
}

static struct json *calculate_status(struct rollout *r, struct arena *a)
{
    struct json *status = json_new(a, JSON_OBJECT);
    const struct json *old = json_at(r->deployment->doc, "status");
    int64_t available = rollout_sum_status(r, ALL_SETS, "availableReplicas");
    int64_t unavailable = rollout_sum_replicas(r, ALL_SETS) - available;
    put_count(a, status, "observedGeneration", object_generation(r->deployment));
    put_count(a, status, "replicas", rollout_sum_status(r, ALL_SETS, "replicas"));
    put_count(a, status, "updatedReplicas",
              rollout_current(r) ? rollout_status_count(rollout_current(r), "replicas") : 0);
    put_count(a, status, "readyReplicas", rollout_sum_status(r, ALL_SETS, "readyReplicas"));
    put_count(a, status, "availableReplicas", available);
    put_count(a, status, "unavailableReplicas", unavailable > 0 ? unavailable : 0);
    json_put_int(a, status, "terminatingReplicas",
                 rollout_sum_status(r, ALL_SETS, "terminatingReplicas"));
    static const char *const kept[] = { "collisionCount", "conditions" };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *v = json_get(old, kept[i]);
        if (v)
            json_put(a, status, kept[i], json_clone_value(v, a));
    }
    put_available(r, a, status);
    return status;
}

bool rollout_is_complete(const struct object *d, const struct json *status)
{
    int64_t n = rollout_replicas(d);
    return json_int(status, "updatedReplicas", 0) == n && json_int(status, "replicas", 0) == n &&
           json_int(status, "availableReplicas", 0) == n &&
           json_int(status, "observedGeneration", 0) >= object_generation(d);
}

static bool has_progressed(const struct json *old, const struct json *new)
{
    int64_t old_left = json_int(old, "replicas", 0) - json_int(old, "updatedReplicas", 0);
    int64_t new_left = json_int(new, "replicas", 0) - json_int(new, "updatedReplicas", 0);
    return new_left < old_left ||
           json_int(new, "updatedReplicas", 0) > json_int(old, "updatedReplicas", 0) ||
           json_int(new, "readyReplicas", 0) > json_int(old, "readyReplicas", 0) ||
           json_int(new, "availableReplicas", 0) > json_int(old, "availableReplicas", 0);
}

static int64_t deadline_ns(const struct object *d, const struct json *progressing)
{
    int64_t from = 0;
    time_parse(json_str(progressing, "lastUpdateTime", ""), &from);
    return from + json_int(d->doc, "spec.progressDeadlineSeconds", 0) * NS_PER_S;
}

static bool has_timed_out(const struct rollout *r, const struct json *status)
{
    const struct json *progressing = rollout_condition(status, "Progressing");
    const char *reason = json_str(progressing, "reason", "");
    if (!progressing || str_equal(reason, "NewReplicaSetAvailable"))
        return false;
    if (str_equal(reason, "ProgressDeadlineExceeded"))
        return true;
    return deadline_ns(r->deployment, progressing) < wall_ns(r->c);
}

static const char *about_progress(const struct rollout *r, const char *what)
{
    const struct object *rs = rollout_current(r);
    return arena_printf(r->c->arena, "%s \"%s\" %s", rs ? "ReplicaSet" : "Deployment",
                        rs ? rs->key.name : r->deployment->key.name, what);
}

/* Each step forward renews lastUpdateTime, from which the deadline counts. */
static void put_progress(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *old = rollout_condition(status, "Progressing");
    struct condition k = condition_now(r, "Progressing", "True", "ReplicaSetUpdated",
                                       about_progress(r, "is progressing."));
    if (old && str_equal(json_str(old, "status", ""), "True"))
        k.transitioned = arena_strdup(a, json_str(old, "lastTransitionTime", k.transitioned));
    drop_condition(status, "Progressing");
    append_condition(a, status, &k);
}

static void put_progressing(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *old = json_at(r->deployment->doc, "status");
    const struct json *was = rollout_condition(old, "Progressing");
    if (!rollout_has_deadline(r->deployment)) {
        drop_condition(status, "Progressing");
        return;
    }
    bool was_complete = str_equal(json_str(was, "reason", ""), "NewReplicaSetAvailable") &&
                        json_int(status, "replicas", 0) == json_int(status, "updatedReplicas", 0);
    if (was_complete)
        return;
    if (rollout_is_complete(r->deployment, status))
        set_condition(a, status,
                      condition_now(r, "Progressing", "True", "NewReplicaSetAvailable",
                                    about_progress(r, "has successfully progressed.")));
    else if (has_progressed(old, status))
        put_progress(r, a, status);
    else if (has_timed_out(r, status))
        set_condition(a, status,
                      condition_now(r, "Progressing", "False", "ProgressDeadlineExceeded",
                                    about_progress(r, "has timed out progressing.")));
}

/* Why pods are missing, as the present ReplicaSet says it, or another one. */
static void put_failure(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *failure = NULL;
    if (rollout_current(r))
        failure = object_condition(rollout_current(r), "ReplicaFailure");
    for (size_t i = 0; i < r->sets.n && !failure; i++)
        failure = object_condition(r->sets.items[i], "ReplicaFailure");
    if (!failure) {
        drop_condition(status, "ReplicaFailure");
        return;
    }
    const char *at = json_str(failure, "lastTransitionTime", "");
    struct condition k = { "ReplicaFailure",
                           json_str(failure, "status", "True"),
                           json_str(failure, "reason", ""),
                           json_str(failure, "message", ""),
                           at,
                           at };
    set_condition(a, status, k);
}

/* The deadline passes without any change that would bring the key back: come back by the clock. */
static void await_deadline(struct rollout *r, const struct json *status)
{
    const struct json *progressing = rollout_condition(status, "Progressing");
    if (!rollout_has_deadline(r->deployment) || !progressing ||
        rollout_is_complete(r->deployment, status) ||
        str_equal(json_str(progressing, "reason", ""), "ProgressDeadlineExceeded"))
        return;
    int64_t left = deadline_ns(r->deployment, progressing) - wall_ns(r->c);
    enqueue_key_after(r->c, &r->deployment->key, (left > 0 ? left / NS_PER_MS : 0) + 1000);
}

static int write_status_if_changed(struct rollout *r, struct draft *d, struct json *status,
                                   struct error *err)
{
    if (json_equal(json_at(r->deployment->doc, "status"), status))
        return 0;
    json_put(d->arena, d->doc, "status", *status);
    return rollout_write_status(r, d, err);
}

int rollout_sync_status(struct rollout *r, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(r->deployment);
    return write_status_if_changed(r, d, calculate_status(r, d->arena), err);
}

int rollout_sync_progress(struct rollout *r, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(r->deployment);
    struct json *status = calculate_status(r, d->arena);
    put_progressing(r, d->arena, status);
    put_failure(r, d->arena, status);
    await_deadline(r, status);
    return write_status_if_changed(r, d, status, err);
}
