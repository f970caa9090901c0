/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_lifecycle - notices nodes that are not heard from, and says so in conditions and taints.
 *
 * A kubelet renews its lease every 10 s.  The renewals only move a time in our table: no worker
 * wakes.  Each node's key comes back when the grace period since the last sign would be over, that
 * is about once a minute, and then nothing has happened or the node is lost.
 *
 *     heard from  --50 s of silence-->  Ready Unknown  -->  taint unreachable:NoSchedule, then
 * :NoExecute
 *
 * The taint with NoExecute empties the node (taint_eviction.c), so it is held back when many nodes
 * are silent at once: then it is more likely that we are cut off than that they are.
 */
#include <pthread.h>

#include "base/hashmap.h"
#include "controllers/nodes.h"

#define GRACE_NS          (50 * NS_PER_S) /* --node-monitor-grace-period */
#define STARTUP_GRACE_NS  (60 * NS_PER_S) /* a node that has never posted a status */
#define EVICTION_NS       (10 * NS_PER_S) /* --node-eviction-rate 0.1: between two nodes */
#define UNHEALTHY_PERCENT 55              /* of a zone's nodes: no more evictions */
#define UNHEALTHY_MIN     3
#define LEASE_NAMESPACE   "kube-node-lease"

struct sign {        /* of life */
    int64_t seen_ns; /* monotonic */
    char name[];
};

struct lifecycle {
    pthread_mutex_t lock;
    struct hashmap signs;
    int64_t last_eviction_ns;
};

/* ---- signs of life ---- */

static int64_t monotonic_ns(const struct controller *c)
{
    return clock_monotonic_ns(c->clock);
}

static void note_sign(struct controller *c, const char *node)
{
    struct lifecycle *l = c->state;
    pthread_mutex_lock(&l->lock);
    struct sign *s = hashmap_get(&l->signs, bytes_of(node));
    if (!s) {
        s = xcalloc(1, sizeof(*s) + strlen(node) + 1);
        strcpy(s->name, node);
        hashmap_put(&l->signs, bytes_of(s->name), s);
    }
    s->seen_ns = monotonic_ns(c);
    pthread_mutex_unlock(&l->lock);
}

static void forget_signs(struct controller *c, const char *node)
{
    struct lifecycle *l = c->state;
    pthread_mutex_lock(&l->lock);
    free(hashmap_remove(&l->signs, bytes_of(node)));
    pthread_mutex_unlock(&l->lock);
}

static int64_t last_sign_ns(struct controller *c, const char *node)
{
    struct lifecycle *l = c->state;
    pthread_mutex_lock(&l->lock);
    struct sign *s = hashmap_get(&l->signs, bytes_of(node));
    int64_t seen = s ? s->seen_ns : 0;
    pthread_mutex_unlock(&l->lock);
    return seen;
}

static const char *heartbeat(const struct object *node)
{
    return json_str(object_condition(node, "Ready"), "lastHeartbeatTime", "");
}

static bool is_our_word(const struct object *node)
{
    const char *reason = json_str(object_condition(node, "Ready"), "reason", "");
    return str_equal(reason, "NodeStatusUnknown") || str_equal(reason, "NodeStatusNeverUpdated");
}

/* ---- conditions of a node that is silent ---- */

static void put_unknown(struct controller *c, struct draft *d, const struct object *node,
                        const char *type)
{
    const struct json *k = object_condition(node, type);
    if (k && str_equal(json_str(k, "status", ""), "Unknown"))
        return;
    char now[TIME_TEXT_BYTES];
    time_format(wall_ns(c), now);
    draft_set_condition(d, type, "Unknown", k ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
                        k ? "Kubelet stopped posting node status."
                          : "Kubelet never posted node status.",
                        wall_ns(c));
    json_each_item (json_at(d->doc, "status.conditions"), made) {
        if (!k && str_equal(json_str(made, "type", ""), type))
            json_put_str(d->arena, (struct json *)made, "lastHeartbeatTime",
                         json_str(node->doc, "metadata.creationTimestamp", now));
    }
}

/* Gives the node as it is then. */
static int mark_silent(struct controller *c, struct object **node, struct error *err)
{
    static const char *const types[] = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" };
    scoped(draft) struct draft *d = object_edit(*node);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        put_unknown(c, d, *node, types[i]);
    if (json_equal((*node)->doc, d->doc))
        return 0;
    struct object *result = NULL;
    if (update_object_status(c, d, &result, err) < 0)
        return -1;
    object_unref(*node);
    *node = result;
    return 0;
}

/* Services must not send traffic to a node that is not there. */
static int mark_pods_not_ready(struct controller *c, const struct object *node, struct error *err)
{
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_by(c, RESOURCE_PODS, "node", node->key.name, &pods);
    object_list_each (&pods, pod) {
        if (!pod_is_ready(pod))
            continue;
        scoped(draft) struct draft *d = object_edit(pod);
        const struct json *k = object_condition(pod, "Ready");
        draft_set_condition(d, "Ready", "False", json_str(k, "reason", NULL),
                            json_str(k, "message", NULL), wall_ns(c));
        struct error failure = { 0 };
        if (update_object_status(c, d, NULL, &failure) < 0 && failure.code != ERR_NOT_FOUND)
            return error_set(err, failure.code, "%s", failure.message);
        event_record(c->events, pod, "Warning", "NodeNotReady", "Node is not ready");
    }
    return 0;
}

/* ---- taints ---- */

struct wanted_taint {
    const char *key, *effect;
    bool is_wanted;
};

static bool condition_is(const struct object *node, const char *type, const char *status)
{
    return str_equal(json_str(object_condition(node, type), "status", ""), status);
}

/* True if the taint had to be added or removed. */
static bool put_taint(struct controller *c, struct draft *d, const struct wanted_taint *w)
{
    struct json *list = json_make_array(d->arena, d->doc, "spec.taints");
    for (size_t i = 0; i < list->len; i++) {
        if (str_equal(json_str(&list->items[i], "key", ""), w->key) &&
            str_equal(json_str(&list->items[i], "effect", ""), w->effect)) {
            if (!w->is_wanted)
                json_remove_item(list, i);
            return !w->is_wanted;
        }
    }
    if (!w->is_wanted)
        return false;
    struct json *taint = json_new(d->arena, JSON_OBJECT);
    json_put_str(d->arena, taint, "key", w->key);
    json_put_str(d->arena, taint, "effect", w->effect);
    json_put_str(d->arena, taint, "timeAdded", time_text(c, wall_ns(c)));
    json_append(d->arena, list, *taint);
    return true;
}

/* A patch of the one list, in the version looked at: others (kubectl taint) write it too. */
static int write_taints(struct controller *c, const struct object *node,
                        const struct wanted_taint *wanted, size_t n, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(node);
    bool changed = false;
    for (size_t i = 0; i < n; i++)
        changed = put_taint(c, d, &wanted[i]) || changed;
    if (!changed)
        return 0;
    struct json *patch = json_new(c->arena, JSON_OBJECT);
    const struct json *list = json_at(d->doc, "spec.taints");
    json_put_str(c->arena, patch, "metadata.resourceVersion",
                 json_str(node->doc, "metadata.resourceVersion", ""));
    json_put(c->arena, patch, "spec.taints",
             list->len ? json_clone_value(list, c->arena) : *json_new(c->arena, JSON_NULL));
    return patch_object(c, node, NULL, PATCH_MERGE, patch, err);
}

/* ---- may a silent node be emptied? ---- */

static const char *zone_of(const struct object *node)
{
    const char *zone = object_label(node, "topology.kubernetes.io/zone");
    return zone ? zone : "";
}

struct census {
    int all, lost; /* of the node's zone */
    int everywhere_ready;
};

static struct census count_nodes(struct controller *c, const struct object *node)
{
    struct census k = { 0 };
    scoped(object_list) struct object_list nodes = { 0 };
    cache_list(c, RESOURCE_NODES, &nodes);
    object_list_each (&nodes, other) {
        bool ready = str_equal(node_ready_status(other), "True");
        k.everywhere_ready += ready;
        if (str_equal(zone_of(other), zone_of(node))) {
            k.all++;
            k.lost += !ready;
        }
    }
    return k;
}

/* No node anywhere is Ready: it is us who are cut off. */
static bool is_cut_off(const struct census *k)
{
    return k->everywhere_ready == 0;
}

static bool is_zone_unhealthy(const struct census *k)
{
    return k->lost >= UNHEALTHY_MIN && k->lost * 100 >= k->all * UNHEALTHY_PERCENT;
}

/* One node in EVICTION_NS; false: not now, the key comes back. */
static bool may_evict_now(struct controller *c, const struct object *node)
{
    struct lifecycle *l = c->state;
    int64_t now = monotonic_ns(c);
    pthread_mutex_lock(&l->lock);
    int64_t wait = l->last_eviction_ns ? l->last_eviction_ns + EVICTION_NS - now : 0;
    if (wait <= 0)
        l->last_eviction_ns = now;
    pthread_mutex_unlock(&l->lock);
    if (wait > 0)
        enqueue_key_after(c, &node->key, wait / NS_PER_MS + 1);
    return wait <= 0;
}

static int sync_taints(struct controller *c, const struct object *node, struct error *err)
{
    const char *ready = node_ready_status(node);
    bool not_ready = str_equal(ready, "False"), silent = str_equal(ready, "Unknown");
    const char *present = not_ready ? TAINT_NOT_READY : TAINT_UNREACHABLE;
    struct census census = count_nodes(c, node);
    bool evict = (not_ready || silent) && !is_cut_off(&census);
    if (evict && !node_taint(node, present, "NoExecute"))
        evict = !is_zone_unhealthy(&census) && may_evict_now(c, node);

    const struct wanted_taint wanted[] = {
        { TAINT_NOT_READY, "NoSchedule", not_ready },
        { TAINT_UNREACHABLE, "NoSchedule", silent },
        { "node.kubernetes.io/memory-pressure", "NoSchedule",
          condition_is(node, "MemoryPressure", "True") },
        { "node.kubernetes.io/disk-pressure", "NoSchedule",
          condition_is(node, "DiskPressure", "True") },
        { "node.kubernetes.io/pid-pressure", "NoSchedule",
          condition_is(node, "PIDPressure", "True") },
        { "node.kubernetes.io/network-unavailable", "NoSchedule",
          condition_is(node, "NetworkUnavailable", "True") },
        { "node.kubernetes.io/unschedulable", "NoSchedule",
          json_bool(node->doc, "spec.unschedulable", false) },
        { TAINT_NOT_READY, "NoExecute", evict && not_ready },
        { TAINT_UNREACHABLE, "NoExecute", evict && silent },
    };
    return write_taints(c, node, wanted, ARRAY_LEN(wanted), err);
}

/* ---- the whole ---- */

/* 1: the node has been silent for too long; else its key is due when it will have been. */
static int is_silent(struct controller *c, const struct object *node)
{
    int64_t grace = object_condition(node, "Ready") ? GRACE_NS : STARTUP_GRACE_NS;
    int64_t seen = last_sign_ns(c, node->key.name);
    int64_t left = seen + grace - monotonic_ns(c);
    if (seen && left <= 0)
        return 1;
    enqueue_key_after(c, &node->key, (seen ? left : grace) / NS_PER_MS + 1);
    return 0;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *node = cache_get(c, RESOURCE_NODES, key);
    if (!node)
        return 0;
    if (is_silent(c, node)) {
        bool was_ready = str_equal(node_ready_status(node), "True");
        if (mark_silent(c, &node, err) < 0)
            return -1;
        if (was_ready)
            event_record(c->events, node, "Normal", "NodeNotReady",
                         "Node %s status is now: NodeNotReady", key->name);
    }
    if (!str_equal(node_ready_status(node), "True") && mark_pods_not_ready(c, node, err) < 0)
        return -1;
    return sync_taints(c, node, err);
}

/* ---- what brings keys ---- */

static void enqueue_all(struct controller *c)
{
    scoped(object_list) struct object_list nodes = { 0 };
    cache_list(c, RESOURCE_NODES, &nodes);
    object_list_each (&nodes, node)
        enqueue_key(c, &node->key);
}

static bool status_matters(const struct object *old, const struct object *new)
{
    static const char *const types[] = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure",
                                         "NetworkUnavailable" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!str_equal(json_str(object_condition(old, types[i]), "status", ""),
                       json_str(object_condition(new, types[i]), "status", "")))
            return true;
    }
    return false;
}

static bool spec_matters(const struct object *old, const struct object *new)
{
    const struct json *was = json_at(old->doc, "spec"), *is = json_at(new->doc, "spec");
    return was != is && (!was || !is || !json_equal(was, is));
}

static void on_node(struct controller *c, const struct informer_event *e)
{
    if (!e->new) {
        event_record(c->events, e->old, "Normal", "RemovingNode",
                     "Node %s event: Removing Node %s from Controller", e->old->key.name,
                     e->old->key.name);
        forget_signs(c, e->old->key.name);
        enqueue_all(c); /* one less: the share of silent ones is another */
        return;
    }
    if (!e->old)
        event_record(c->events, e->new, "Normal", "RegisteredNode",
                     "Node %s event: Registered Node %s in Controller", e->new->key.name,
                     e->new->key.name);
    bool is_sign = !e->old || !str_equal(heartbeat(e->old), heartbeat(e->new));
    if (is_sign && !(e->old && is_our_word(e->new)))
        note_sign(c, e->new->key.name);
    if (!e->old || spec_matters(e->old, e->new))
        enqueue_key(c, &e->new->key);
    else if (!str_equal(node_ready_status(e->old), node_ready_status(e->new)))
        enqueue_all(c);
    else if (status_matters(e->old, e->new))
        enqueue_key(c, &e->new->key);
}

static void on_lease(struct controller *c, const struct informer_event *e)
{
    const struct object *lease = e->new;
    if (!lease || !str_equal(lease->key.ns, LEASE_NAMESPACE))
        return;
    if (e->old && str_equal(json_str(e->old->doc, "spec.renewTime", ""),
                            json_str(lease->doc, "spec.renewTime", "")))
        return;
    note_sign(c, lease->key.name);
}

/* A pod that becomes ready on a node that is not: an old status that came late. */
static void on_pod(struct controller *c, const struct informer_event *e)
{
    const char *name = e->new ? json_str(e->new->doc, "spec.nodeName", "") : "";
    if (!*name || !pod_is_ready(e->new) || (e->old && pod_is_ready(e->old)))
        return;
    struct object_key key = { "", name };
    scoped(object) struct object *node = cache_get(c, RESOURCE_NODES, &key);
    if (node && !str_equal(node_ready_status(node), "True"))
        enqueue_key(c, &key);
}

static int init(struct controller *c, struct error *err)
{
    (void)err;
    struct lifecycle *l = xcalloc(1, sizeof(*l));
    pthread_mutex_init(&l->lock, NULL);
    c->state = l;
    return 0;
}

static void deinit(struct controller *c)
{
    struct lifecycle *l = c->state;
    hashmap_each (&l->signs, e)
        free(e->value);
    hashmap_deinit(&l->signs);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

const struct controller_spec node_lifecycle_controller = {
    .name = "node-lifecycle-controller",
    .account = "node-controller",
    .source = "node-controller",
    .workers = 1,
    .watches = {
        { RESOURCE_NODES,  on_node },
        { RESOURCE_LEASES, on_lease },
        { RESOURCE_PODS,   on_pod },
    },
    .indexes = {
        { RESOURCE_PODS, "node", informer_index_node },
    },
    .init = init,
    .reconcile = reconcile,
    .deinit = deinit,
};
