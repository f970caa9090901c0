/* SPDX-License-Identifier: Apache-2.0 */
/* taint_eviction - deletes pods from nodes with NoExecute taints, when their tolerations end. */
#include "controllers/nodes.h"

/* When POD has to go: 0 never, else a wall clock time that may have passed. */
static int64_t eviction_ns(const struct object *pod, const struct object *node)
{
    int64_t first = 0;
    json_each_item (json_at(node->doc, "spec.taints"), taint) {
        if (!str_equal(json_str(taint, "effect", ""), "NoExecute"))
            continue;
        int64_t from = 0;
        time_parse(json_str(taint, "timeAdded", ""), &from);
        if (from < object_created_ns(pod)) /* it came to a node that was tainted already */
            from = object_created_ns(pod);
        const struct json *toleration = pod_toleration(pod, taint);
        const struct json *seconds = json_get(toleration, "tolerationSeconds");
        if (toleration && !json_is(seconds, JSON_INT))
            continue; /* for ever */
        int64_t at = from + (toleration && seconds->integer > 0 ? seconds->integer * NS_PER_S : 0);
        if (first == 0 || at < first)
            first = at;
    }
    return first;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *pod = cache_get(c, RESOURCE_PODS, key);
    const char *node_name = pod ? json_str(pod->doc, "spec.nodeName", "") : "";
    if (!*node_name || object_is_deleting(pod) || pod_is_finished(pod))
        return 0;
    scoped(object) struct object *node =
        cache_get(c, RESOURCE_NODES, &(struct object_key){ "", node_name });
    int64_t at = node ? eviction_ns(pod, node) : 0, now = wall_ns(c);
    if (at == 0)
        return 0;
    if (at > now) {
        enqueue_key_after(c, key, (at - now) / NS_PER_MS + 1);
        return 0;
    }
    event_record(c->events, pod, "Normal", "TaintManagerEviction", "Marking for deletion Pod %s/%s",
                 key->ns, key->name);
    if (mark_disrupted(c, pod, "DeletionByTaintManager",
                       "Taint manager: deleting due to NoExecute taint", err) < 0)
        return -1;
    return delete_object(c, pod, PROPAGATION_DEFAULT, err);
}

static void enqueue_if_bound(struct controller *c, const struct informer_event *e)
{
    const char *node = e->new ? json_str(e->new->doc, "spec.nodeName", "") : "";
    bool is_news =
        e->new && (!e->old || !str_equal(node, json_str(e->old->doc, "spec.nodeName", "")) ||
                   !json_equal(json_at(e->old->doc, "spec"), json_at(e->new->doc, "spec")));
    if (!*node || !is_news)
        return;
    scoped(object) struct object *o =
        cache_get(c, RESOURCE_NODES, &(struct object_key){ "", node });
    if (o && node_has_no_execute(o))
        enqueue_key(c, &e->new->key);
}

static void enqueue_pods_of_node(struct controller *c, const struct informer_event *e)
{
    if (!e->new || !node_has_no_execute(e->new))
        return;
    const struct json *was = e->old ? json_at(e->old->doc, "spec.taints") : NULL;
    if (was && json_equal(was, json_at(e->new->doc, "spec.taints")))
        return;
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_by(c, RESOURCE_PODS, "node", e->new->key.name, &pods);
    object_list_each (&pods, pod)
        enqueue_key(c, &pod->key);
}

/* Either cache may have come first: with both full, each pod on a tainted node is looked at. */
static void look_at_all(struct controller *c)
{
    scoped(object_list) struct object_list nodes = { 0 };
    cache_list(c, RESOURCE_NODES, &nodes);
    object_list_each (&nodes, node) {
        struct informer_event e = { .new = node };
        enqueue_pods_of_node(c, &e);
    }
}

const struct controller_spec taint_eviction_controller = {
    .name = "taint-eviction-controller",
    .account = "node-controller",
    .source = "taint-eviction-controller",
    .workers = 4,
    .watches = {
        { RESOURCE_PODS,  enqueue_if_bound },
        { RESOURCE_NODES, enqueue_pods_of_node },
    },
    .indexes = {
        { RESOURCE_PODS, "node", informer_index_node },
    },
    .start = look_at_all,
    .reconcile = reconcile,
};
