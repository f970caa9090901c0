/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deployment - moves pods from old templates to new ones, a ReplicaSet per template.
 *
 *     deployment web (revision 3)
 *       web-5d59d67564  revision 1   0 pods   kept for "rollout undo"
 *       web-7c5ddbdf54  revision 2   2 pods   the old one, shrinking
 *       web-6b7d9f8c58  revision 3   2 pods   the one with the present template, growing
 *
 * The controller writes how many pods each should have and the ReplicaSet controller does the rest.
 * Revisions are annotations; rolling back is the client's change of the template.
 */
#include "controllers/rollout.h"

#include <math.h>

static void rollout_scoped(struct rollout *r)
{
    object_unref(r->deployment);
    object_list_deinit(&r->sets);
}

/* ---- scaling ---- */

/* False if the annotation is missing or no number. */
static bool count_annotation(const struct object *rs, const char *name, int64_t *out)
{
    const char *text = object_annotation(rs, name);
    char *end = NULL;
    *out = text ? strtoll(text, &end, 10) : 0;
    return text && end != text && !*end;
}

static int scale_old_to_zero(struct rollout *r, struct error *err)
{
    int scaled = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        int rc = i == r->current ? 0 : rollout_scale_if_needed(r, i, 0, err);
        if (rc < 0)
            return -1;
        scaled += rc;
    }
    return scaled;
}

/* The only one with pods; where none has any, the present or the latest.  -1: several have. */
static int only_active(const struct rollout *r)
{
    int active = -1, n = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (rollout_replicas(r->sets.items[i]) > 0) {
            active = i;
            n++;
        }
    }
    if (n == 0)
        return r->current >= 0 ? r->current : (int)r->sets.n - 1;
    return n == 1 ? active : -1;
}

static bool is_saturated(const struct rollout *r)
{
    const struct object *rs = rollout_current(r);
    int64_t desired, target = rollout_replicas(r->deployment);
    return rs && count_annotation(rs, ANNOTATION_DESIRED, &desired) && desired == target &&
           rollout_replicas(rs) == target &&
           rollout_status_count(rs, "availableReplicas") == target;
}

/* RS's share of a deployment that goes from its old size to its new one. */
static int64_t share_of(const struct rollout *r, const struct object *rs, int64_t left)
{
    int64_t size = rollout_replicas(rs), target = rollout_replicas(r->deployment), share;
    int64_t before = 0;
    if (size == 0 || left == 0)
        return 0;
    if (target == 0) {
        share = -size;
    } else {
        if (!count_annotation(rs, ANNOTATION_MAX, &before) || before == 0)
            before = rollout_status_count(r->deployment, "replicas");
        double scaled = (double)size * (double)(target + rollout_max_surge(r->deployment));
        share = before > 0 ? (int64_t)llround(scaled / (double)before) - size : 0;
    }
    if (left > 0)
        return share < left ? share : left;
    return share > left ? share : left;
}

struct sized {
    int index;
    int64_t size;
    bool newer_first; /* among equals */
};

static int by_size(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->newer_first ? y->index - x->index : x->index - y->index;
}

/* In the middle of a rollout: each ReplicaSet gets its share, what rounding leaves goes to the
 * largest. */
static int scale_in_proportion(struct rollout *r, struct error *err)
{
    int64_t target = rollout_replicas(r->deployment);
    int64_t allowed = target > 0 ? target + rollout_max_surge(r->deployment) : 0;
    int64_t to_add = allowed - rollout_sum_replicas(r, ALL_SETS), added = 0;
    struct sized *order = arena_alloc(r->c->arena, (r->sets.n + 1) * sizeof(*order));
    size_t n = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (rollout_replicas(r->sets.items[i]) > 0)
            order[n++] = (struct sized){ i, rollout_replicas(r->sets.items[i]), to_add > 0 };
    }
    qsort(order, n, sizeof(*order), by_size);
    for (size_t i = 0; i < n; i++) {
        int64_t share = share_of(r, r->sets.items[order[i].index], to_add - added);
        order[i].size += share;
        added += share;
    }
    if (n > 0)
        order[0].size += to_add - added;
    for (size_t i = 0; i < n; i++) {
        if (rollout_scale(r, order[i].index, order[i].size > 0 ? order[i].size : 0, err) < 0)
            return -1;
    }
    return 0;
}

static int scale(struct rollout *r, struct error *err)
{
    int active = only_active(r);
    if (active >= 0)
        return rollout_scale_if_needed(r, active, rollout_replicas(r->deployment), err) < 0 ? -1
                                                                                            : 0;
    if (r->sets.n == 0)
        return 0;
    if (is_saturated(r))
        return scale_old_to_zero(r, err) < 0 ? -1 : 0;
    return rollout_is_rolling(r->deployment) ? scale_in_proportion(r, err) : 0;
}

static bool is_scaling_event(const struct rollout *r)
{
    int64_t desired;
    for (size_t i = 0; i < r->sets.n; i++) {
        const struct object *rs = r->sets.items[i];
        if (rollout_replicas(rs) > 0 && count_annotation(rs, ANNOTATION_DESIRED, &desired) &&
            desired != rollout_replicas(r->deployment))
            return true;
    }
    return false;
}

/* ---- strategies ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int grow_current(struct rollout *r, struct error *err)
{
    int64_t size = rollout_replicas(rollout_current(r)), target = rollout_replicas(r->deployment);
    if (size > target)
        return rollout_scale_if_needed(r, r->current, target, err);
    return rollout_scale_if_needed(r, r->current, rollout_new_size(r, size), err);
}

/* Pods that do not work are no loss: they go first, oldest ReplicaSet first. */
static int64_t shrink_unhealthy(struct rollout *r, int64_t most, struct error *err)
{
    int64_t total = 0;
    for (int i = 0; i < (int)r->sets.n && total < most; i++) {
        int64_t size = rollout_replicas(r->sets.items[i]);
        int64_t broken = size - rollout_status_count(r->sets.items[i], "availableReplicas");
        if (i == r->current || size == 0 || broken <= 0)
            continue;
        int64_t n = least(most - total, broken);
        if (rollout_scale(r, i, size - n, err) < 0)
            return -1;
        total += n;
    }
    return total;
}

/* A ReplicaSet that has just been told to shrink still counts the pods it is about to delete. */
static int64_t count_staying(const struct rollout *r)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += least(rollout_status_count(r->sets.items[i], "availableReplicas"),
                     rollout_replicas(r->sets.items[i]));
    return sum;
}

static int64_t shrink_available(struct rollout *r, struct error *err)
{
    int64_t spare = count_staying(r) -
                    (rollout_replicas(r->deployment) - rollout_max_unavailable(r->deployment));
    int64_t total = 0;
    for (int i = 0; i < (int)r->sets.n && total < spare; i++) {
        int64_t size = rollout_replicas(r->sets.items[i]);
        if (i == r->current || size == 0)
            continue;
        int64_t n = least(size, spare - total);
        if (rollout_scale(r, i, size - n, err) < 0)
            return -1;
        total += n;
    }
    return total;
}

/* 1: something was scaled down; 0; -1. */
static int shrink_old(struct rollout *r, struct error *err)
{
    const struct object *rs = rollout_current(r);
    if (rollout_sum_replicas(r, OLD_SETS) == 0)
        return 0;
    int64_t at_least = rollout_replicas(r->deployment) - rollout_max_unavailable(r->deployment);
    int64_t not_yet = rollout_replicas(rs) - rollout_status_count(rs, "availableReplicas");
    int64_t most = rollout_sum_replicas(r, ALL_SETS) - at_least - not_yet;
    if (most <= 0)
        return 0;
    int64_t unhealthy = shrink_unhealthy(r, most, err);
    if (unhealthy < 0)
        return -1;
    int64_t available = shrink_available(r, err);
    if (available < 0)
        return -1;
    return unhealthy + available > 0;
}

static int finish(struct rollout *r, struct error *err)
{
    if (rollout_is_complete(r->deployment, json_at(r->deployment->doc, "status")) &&
        rollout_clean_up(r, err) < 0)
        return -1;
    return rollout_sync_progress(r, err);
}

static int roll(struct rollout *r, struct error *err)
{
    if (rollout_sync_revision(r, true, err) < 0)
        return -1;
    int scaled = grow_current(r, err);
    if (scaled == 0)
        scaled = shrink_old(r, err);
    if (scaled < 0)
        return -1;
    return scaled ? rollout_sync_progress(r, err) : finish(r, err);
}

static bool old_pods_are_left(struct rollout *r)
{
    if (rollout_sum_status(r, OLD_SETS, "replicas") > 0)
        return true;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (i == r->current)
            continue;
        scoped(object_list) struct object_list pods = { 0 };
        cache_list_by(r->c, RESOURCE_PODS, "controller", r->sets.items[i]->uid, &pods);
        object_list_each (&pods, pod) {
            if (!pod_is_finished(pod))
                return true;
        }
    }
    return false;
}

static int recreate(struct rollout *r, struct error *err)
{
    if (rollout_sync_revision(r, false, err) < 0)
        return -1;
    int scaled = scale_old_to_zero(r, err);
    if (scaled < 0)
        return -1;
    if (scaled > 0 || old_pods_are_left(r))
        return rollout_sync_progress(r, err);
    if (r->current < 0 && rollout_sync_revision(r, true, err) < 0)
        return -1;
    if (rollout_scale_if_needed(r, r->current, rollout_replicas(r->deployment), err) < 0)
        return -1;
    return finish(r, err);
}

/* ---- the whole ---- */

static bool is_paused(const struct object *d)
{
    return json_bool(d->doc, "spec.paused", false);
}

static int claim_sets(struct rollout *r, struct error *err)
{
    const struct selector *selector = owner_selector(r->deployment, r->c->arena, err);
    if (!selector)
        return -1;
    if (claim_objects(r->c, r->deployment, RESOURCE_REPLICASETS, selector, &r->sets, err) < 0)
        return -1;
    if (r->sets.n > 1)
        qsort(r->sets.items, r->sets.n, sizeof(*r->sets.items), rollout_by_age);
    r->current = rollout_find_current(r);
    return 0;
}

/* While a deployment is paused its deadline does not run. */
static int mark_pause(struct rollout *r, struct error *err)
{
    const struct object *deployment = r->deployment;
    const struct json *progressing =
        rollout_condition(json_at(deployment->doc, "status"), "Progressing");
    const char *reason = json_str(progressing, "reason", "");
    bool is_marked = str_equal(reason, "DeploymentPaused");
    if (!rollout_has_deadline(deployment) || str_equal(reason, "ProgressDeadlineExceeded") ||
        is_paused(deployment) == is_marked)
        return 0;
    scoped(draft) struct draft *d = object_edit(deployment);
    if (is_paused(deployment))
        rollout_set_progressing(r, d, "Unknown", "DeploymentPaused", "Deployment is paused");
    else
        rollout_set_progressing(r, d, "Unknown", "DeploymentResumed", "Deployment is resumed");
    return rollout_write_status(r, d, err);
}

static int resize(struct rollout *r, struct error *err)
{
    if (rollout_sync_revision(r, false, err) < 0 || scale(r, err) < 0)
        return -1;
    if (is_paused(r->deployment) && rollout_clean_up(r, err) < 0)
        return -1;
    return rollout_sync_status(r, err);
}

static int refuse_everything(struct rollout *r, struct error *err)
{
    event_record(r->c->events, r->deployment, "Warning", "SelectingAll",
                 "This deployment is selecting all pods. A non-empty selector is required.");
    if (rollout_status_count(r->deployment, "observedGeneration") >=
        object_generation(r->deployment))
        return 0;
    scoped(draft) struct draft *d = object_edit(r->deployment);
    json_put_int(d->arena, d->doc, "status.observedGeneration", object_generation(r->deployment));
    return rollout_write_status(r, d, err);
}

static int sync_deployment(struct rollout *r, struct error *err)
{
    if (json_len(r->deployment->doc, "spec.selector") == 0)
        return refuse_everything(r, err);
    if (claim_sets(r, err) < 0)
        return -1;
    if (object_is_deleting(r->deployment))
        return rollout_sync_revision(r, false, err) < 0 ? -1 : rollout_sync_status(r, err);
    if (mark_pause(r, err) < 0)
        return -1;
    if (is_paused(r->deployment) || is_scaling_event(r))
        return resize(r, err);
    return rollout_is_rolling(r->deployment) ? roll(r, err) : recreate(r, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(rollout) struct rollout r = { .c = c, .current = -1 };
    r.deployment = cache_get(c, RESOURCE_DEPLOYMENTS, key);
    return r.deployment ? sync_deployment(&r, err) : 0;
}

/* A Recreate waits until the last old pod has gone. */
static void enqueue_of_gone_pod(struct controller *c, const struct informer_event *e)
{
    const struct json *owner = e->new ? NULL : object_controller(e->old);
    if (!owner || !str_equal(json_str(owner, "kind", ""), "ReplicaSet"))
        return;
    struct object_key key = { e->old->key.ns, json_str(owner, "name", "") };
    scoped(object) struct object *rs = cache_get(c, RESOURCE_REPLICASETS, &key);
    const struct json *deployment = rs ? object_controller(rs) : NULL;
    if (deployment && str_equal(json_str(deployment, "kind", ""), "Deployment"))
        enqueue_key(c, &(struct object_key){ key.ns, json_str(deployment, "name", "") });
}

const struct controller_spec deployment_controller = {
    .name = "deployment",
    .account = "deployment-controller",
    .source = "deployment-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_DEPLOYMENTS, enqueue_self },
        { RESOURCE_REPLICASETS, enqueue_owner_or_selecting },
        { RESOURCE_PODS,        enqueue_of_gone_pod },
    },
    .indexes = {
        { RESOURCE_DEPLOYMENTS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_REPLICASETS),
        OWNED_INDEXES(RESOURCE_PODS),
    },
    .reconcile = reconcile,
};
