/* SPDX-License-Identifier: Apache-2.0 */
/* replicaset - keeps spec.replicas pods alive for each ReplicaSet and ReplicationController. */
#include "controllers/pod_control.h"

/* Pods made or deleted in one go; the rest follows when the key comes back. */
#define BURST_REPLICAS 500

struct pods {
    struct object_list active;      /* claimed; neither finished nor being deleted */
    struct object_list terminating; /* being deleted, but still there */
};

static void pods_scoped(struct pods *p)
{
    object_list_deinit(&p->active);
    object_list_deinit(&p->terminating);
}

static int this_kind(const struct controller *c)
{
    return c->spec->watches[0].resource;
}

static int64_t replicas_wanted(const struct object *rs)
{
    return json_int(rs->doc, "spec.replicas", 1);
}

static int claim_pods(struct controller *c, const struct object *rs, struct pods *out,
                      struct error *err)
{
    const struct selector *selector = owner_selector(rs, c->arena, err);
    if (!selector)
        return -1;
    scoped(object_list) struct object_list all = { 0 };
    if (claim_objects(c, rs, RESOURCE_PODS, selector, &all, err) < 0)
        return -1;
    object_list_each (&all, pod) {
        if (pod_is_active(pod))
            object_list_add(&out->active, pod);
        else if (!pod_is_finished(pod))
            object_list_add(&out->terminating, pod);
    }
    return 0;
}

/* ---- more or fewer pods ---- */

static int create_pods(struct controller *c, const struct object *rs, int64_t missing,
                       struct error *err)
{
    scoped(draft) struct draft *pod = pod_from_template(rs, json_at(rs->doc, "spec.template"));
    json_put_str(pod->arena, pod->doc, "metadata.generateName",
                 arena_printf(pod->arena, "%s-", rs->key.name));
    for (int64_t i = 0; i < missing && i < BURST_REPLICAS; i++) {
        if (create_pod(c, rs, pod, err) < 0)
            return -1; /* what one pod may not, the next may not either: a quota, an admission */
    }
    if (missing > BURST_REPLICAS)
        enqueue_key(c, &rs->key);
    return 0;
}

/* Pods of all replica sets with the same controller: where an old one's and a new one's pods share
 * a node, a pod with company is dispensable first. */
static void list_related(struct controller *c, const struct object *rs, struct object_list *out)
{
    const char *owner = json_str(object_controller(rs), "uid", NULL);
    if (!owner) {
        cache_list_by(c, RESOURCE_PODS, "controller", rs->uid, out);
        return;
    }
    scoped(object_list) struct object_list siblings = { 0 };
    cache_list_by(c, this_kind(c), "controller", owner, &siblings);
    object_list_each (&siblings, sibling)
        cache_list_by(c, RESOURCE_PODS, "controller", sibling->uid, out);
}

static int delete_pods(struct controller *c, const struct object *rs,
                       const struct object_list *pods, int64_t surplus, struct error *err)
{
    scoped(object_list) struct object_list related = { 0 };
    list_related(c, rs, &related);
    sort_for_deletion(pods, &related, wall_ns(c), c->arena);
    for (int64_t i = 0; i < surplus && i < BURST_REPLICAS; i++) {
        if (delete_pod(c, rs, pods->items[i], err) < 0)
            return -1;
    }
    if (surplus > BURST_REPLICAS)
        enqueue_key(c, &rs->key);
    return 0;
}

/* ---- status ---- */

static bool has_template_labels(const struct object *pod, const struct object *rs)
{
    json_each_member (json_at(rs->doc, "spec.template.metadata.labels"), label) {
        if (!str_equal(object_label(pod, label->name), json_text(&label->value)))
            return false;
    }
    return true;
}

static void count_pods(struct controller *c, const struct object *rs, const struct pods *pods,
                       struct json *status, struct arena *a)
{
    int64_t min_ready_s = json_int(rs->doc, "spec.minReadySeconds", 0);
    int64_t labeled = 0, ready = 0, available = 0, next_ns = 0, now = wall_ns(c);
    object_list_each (&pods->active, pod) {
        labeled += has_template_labels(pod, rs);
        ready += pod_is_ready(pod);
        available += pod_is_available(pod, min_ready_s, now, &next_ns);
    }
    json_put_int(a, status, "replicas", (int64_t)pods->active.n);
    put_count(a, status, "fullyLabeledReplicas", labeled);
    put_count(a, status, "readyReplicas", ready);
    put_count(a, status, "availableReplicas", available);
    if (rs->resource->id == RESOURCE_REPLICASETS)
        json_put_int(a, status, "terminatingReplicas", (int64_t)pods->terminating.n);
    if (next_ns)
        enqueue_key_after(c, &rs->key, (next_ns - now) / NS_PER_MS + 1);
}

static void drop_failure(struct json *status)
{
    struct json *conditions = json_find(status, "conditions");
    for (size_t i = conditions ? conditions->len : 0; i-- > 0;) {
        if (str_equal(json_str(&conditions->items[i], "type", ""), "ReplicaFailure"))
            json_remove_item(conditions, i);
    }
    if (conditions && conditions->len == 0)
        json_drop(status, "conditions");
}

/* The failure as users read it, since when it lasts; while it lasts its words stay. */
static void put_failure(struct controller *c, const struct object *rs, struct draft *d,
                        int64_t missing, const struct error *failure)
{
    if (!failure)
        drop_failure(json_find(d->doc, "status"));
    else if (!object_condition(rs, "ReplicaFailure"))
        draft_set_condition(d, "ReplicaFailure", "True",
                            missing > 0 ? "FailedCreate" : "FailedDelete", failure->message,
                            wall_ns(c));
}

static int update_status(struct controller *c, const struct object *rs, const struct pods *pods,
                         const struct error *failure, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(rs);
    struct json *status = json_new(d->arena, JSON_OBJECT);
    const struct json *conditions = json_at(rs->doc, "status.conditions");
    if (conditions)
        json_put(d->arena, status, "conditions", json_clone_value(conditions, d->arena));
    count_pods(c, rs, pods, status, d->arena);
    put_count(d->arena, status, "observedGeneration", object_generation(rs));
    json_put(d->arena, d->doc, "status", *status);
    put_failure(c, rs, d, replicas_wanted(rs) - (int64_t)pods->active.n, failure);

    if (json_equal(json_at(rs->doc, "status"), json_at(d->doc, "status")))
        return 0;
    return update_object_status(c, d, NULL, err);
}

/* ---- the whole ---- */

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *rs = cache_get(c, this_kind(c), key);
    if (!rs)
        return 0; /* deleted; the garbage collector takes its pods */

    scoped(pods) struct pods pods = { 0 };
    if (claim_pods(c, rs, &pods, err) < 0)
        return -1;

    int64_t missing = object_is_deleting(rs) ? 0 : replicas_wanted(rs) - (int64_t)pods.active.n;
    struct error failure = { 0 };
    int rc = 0;
    if (missing > 0)
        rc = create_pods(c, rs, missing, &failure);
    else if (missing < 0)
        rc = delete_pods(c, rs, &pods.active, -missing, &failure);

    /* Also after a failure: the status is where users read why pods are missing. */
    if (update_status(c, rs, &pods, rc < 0 ? &failure : NULL, err) < 0)
        return -1;
    return rc < 0 ? error_set(err, failure.code, "%s", failure.message) : 0;
}

const struct controller_spec replicaset_controller = {
    .name = "replicaset",
    .account = "replicaset-controller",
    .source = "replicaset-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_REPLICASETS, enqueue_self },
        { RESOURCE_PODS,        enqueue_owner_or_selecting },
    },
    .indexes = {
        { RESOURCE_REPLICASETS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_REPLICASETS),
        OWNED_INDEXES(RESOURCE_PODS),
    },
    .reconcile = reconcile,
};

const struct controller_spec replicationcontroller_controller = {
    .name = "replicationcontroller",
    .account = "replication-controller",
    .source = "replication-controller",
    .workers = 2,
    .watches = {
        { RESOURCE_REPLICATIONCONTROLLERS, enqueue_self },
        { RESOURCE_PODS,                   enqueue_owner_or_selecting },
    },
    .indexes = {
        { RESOURCE_REPLICATIONCONTROLLERS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_REPLICATIONCONTROLLERS),
        OWNED_INDEXES(RESOURCE_PODS),
    },
    .reconcile = reconcile,
};
