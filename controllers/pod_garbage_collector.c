/* SPDX-License-Identifier: Apache-2.0 */
/* pod_garbage_collector - pods that no kubelet will ever end: their node is gone, or there is none.
 */
#include "controllers/nodes.h"

/* A node may come back under its name: its pods wait this long. */
#define NODE_ABSENT_MS 40000

/* Finished pods beyond this many are deleted, oldest first; looked at some seconds after one
 * finishes. */
#define FINISHED_MAX      12500
#define FINISHED_DELAY_MS 20000

/* A key that no pod can have. */
static const struct object_key finished_key = { "", "finished" };

static void index_finished(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                           void *ctx)
{
    if (pod_is_finished(o))
        emit(BYTES("finished"), ctx);
}

static int by_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t at = object_created_ns(x), other = object_created_ns(y);
    return at != other ? (at > other) - (at < other) : strcmp(x->key.name, y->key.name);
}

static int collect_finished(struct controller *c, struct error *err)
{
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_by(c, RESOURCE_PODS, "finished", "finished", &pods);
    if (pods.n <= FINISHED_MAX)
        return 0;
    qsort(pods.items, pods.n, sizeof(*pods.items), by_age);
    for (size_t i = 0; i < pods.n - FINISHED_MAX; i++) {
        if (delete_object_now(c, pods.items[i], err) < 0)
            return -1;
    }
    return 0;
}

static bool node_exists(struct controller *c, const char *name)
{
    scoped(object) struct object *node =
        cache_get(c, RESOURCE_NODES, &(struct object_key){ "", name });
    return node != NULL;
}

/* The cache knew no such node for a while; the server has the last word.  1, 0 or -1. */
static int node_is_absent(struct controller *c, const char *name, struct error *err)
{
    scoped(object) struct object *node = NULL;
    struct object_key key = { "", name };
    struct error failure = { 0 };
    if (client_get(c->client, &resources[RESOURCE_NODES], &key, &node, &failure) == 0)
        return 0;
    return failure.code == ERR_NOT_FOUND ? 1 : error_set(err, failure.code, "%s", failure.message);
}

static int end_pod(struct controller *c, const struct object *pod, struct error *err)
{
    return mark_failed(c, pod, err) < 0 ? -1 : delete_object_now(c, pod, err);
}

static int collect_orphan(struct controller *c, const struct object *pod, const char *node,
                          struct error *err)
{
    int absent = node_is_absent(c, node, err);
    if (absent <= 0)
        return absent;
    if (mark_disrupted(c, pod, "DeletionByPodGC", "PodGC: node no longer exists", err) < 0)
        return -1;
    return end_pod(c, pod, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    if (object_key_equal(key, &finished_key))
        return collect_finished(c, err);
    scoped(object) struct object *pod = cache_get(c, RESOURCE_PODS, key);
    if (!pod)
        return 0;
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    if (!*node)
        return object_is_deleting(pod) ? end_pod(c, pod, err) : 0;
    return node_exists(c, node) ? 0 : collect_orphan(c, pod, node, err);
}

/* ---- what brings keys ---- */

static void look_at(struct controller *c, const struct object *pod)
{
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    if (!*node && object_is_deleting(pod))
        enqueue_key(c, &pod->key);
    else if (*node && !node_exists(c, node))
        enqueue_key_after(c, &pod->key, NODE_ABSENT_MS);
}

static void enqueue_lost(struct controller *c, const struct informer_event *e)
{
    atomic_bool *is_started = c->state;
    if (!e->new || !atomic_load(is_started)) /* until then the nodes may not be there yet */
        return;
    look_at(c, e->new);
    if (pod_is_finished(e->new) && (!e->old || !pod_is_finished(e->old)))
        enqueue_key_after(c, &finished_key, FINISHED_DELAY_MS);
}

static void enqueue_pods_of_gone_node(struct controller *c, const struct informer_event *e)
{
    if (e->new)
        return;
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_by(c, RESOURCE_PODS, "node", e->old->key.name, &pods);
    object_list_each (&pods, pod)
        enqueue_key_after(c, &pod->key, NODE_ABSENT_MS);
}

static int init(struct controller *c, struct error *err)
{
    (void)err;
    c->state = xcalloc(1, sizeof(atomic_bool));
    return 0;
}

static void start(struct controller *c)
{
    scoped(object_list) struct object_list pods = { 0 };
    atomic_store((atomic_bool *)c->state, true);
    cache_list(c, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod)
        look_at(c, pod);
    enqueue_key(c, &finished_key);
}

static void deinit(struct controller *c)
{
    free(c->state);
}

const struct controller_spec pod_garbage_collector_controller = {
    .name = "pod-garbage-collector",
    .account = "pod-garbage-collector",
    .source = "pod-garbage-collector-controller",
    .workers = 2,
    .watches = {
        { RESOURCE_PODS,  enqueue_lost },
        { RESOURCE_NODES, enqueue_pods_of_gone_node },
    },
    .indexes = {
        { RESOURCE_PODS, "node",     informer_index_node },
        { RESOURCE_PODS, "finished", index_finished },
    },
    .init = init,
    .start = start,
    .reconcile = reconcile,
    .deinit = deinit,
};
