/* SPDX-License-Identifier: Apache-2.0 */
/* authz_node.c - what a kubelet may do: with its own node, and with what the pods bound to it use.
 */
#include "apiserver/authz_node.h"

#include <pthread.h>

#include "apiserver/authz_rbac.h"
#include "apiserver/watch_cache.h"
#include "base/hashmap.h"

#define NODE_USER_PREFIX "system:node:"
#define LEASE_NAMESPACE  "kube-node-lease"

/* An edge is its own text: "node|kind|namespace/name". */
struct edge {
    size_t count; /* pods of the node that have it */
    char key[];
};

struct node_graph {
    pthread_mutex_t lock; /* a leaf of the lock order; guards EDGES */
    struct hashmap edges;
    struct arena *arena;
    const struct json *rules; /* what needs no graph; constant */
};

struct node_graph *node_graph_new(void)
{
    struct node_graph *g = xcalloc(1, sizeof(*g));
    pthread_mutex_init(&g->lock, NULL);
    g->arena = arena_new();
    g->rules = policy_rules_json(policy_node_rules, g->arena);
    return g;
}

void node_graph_free(struct node_graph *g)
{
    if (!g)
        return;
    hashmap_each (&g->edges, e)
        free(e->value);
    hashmap_deinit(&g->edges);
    pthread_mutex_destroy(&g->lock);
    arena_free(g->arena);
    free(g);
}

/* ---- edges ---- */

struct edges { /* one pod's */
    struct buffer text;
    const char *node, *ns;
    struct node_graph *graph;
    int change; /* +1 or -1 */
};

static void change_count(struct node_graph *g, struct bytes key, int change)
{
    struct edge *e = hashmap_get(&g->edges, key);
    if (!e && change > 0) {
        e = xcalloc(1, sizeof(*e) + key.len + 1);
        memcpy(e->key, key.data, key.len);
        hashmap_put(&g->edges, (struct bytes){ e->key, key.len }, e);
    }
    if (!e)
        return;
    e->count += (size_t)change;
    if (e->count == 0) {
        hashmap_remove(&g->edges, key);
        free(e);
    }
}

static void edge(struct edges *x, const char *kind, const char *name)
{
    if (str_empty(name))
        return;
    buffer_clear(&x->text);
    buffer_printf(&x->text, "%s|%s|%s/%s", x->node, kind, x->ns, name);
    change_count(x->graph, buffer_bytes(&x->text), x->change);
}

static void container_edges(struct edges *x, const struct json *containers)
{
    json_each_item (containers, c) {
        json_each_item (json_get(c, "env"), env) {
            edge(x, "secret", json_str(env, "valueFrom.secretKeyRef.name", ""));
            edge(x, "configmap", json_str(env, "valueFrom.configMapKeyRef.name", ""));
        }
        json_each_item (json_get(c, "envFrom"), from) {
            edge(x, "secret", json_str(from, "secretRef.name", ""));
            edge(x, "configmap", json_str(from, "configMapRef.name", ""));
        }
    }
}

/* Where each kind of volume names a secret. */
static const char *const volume_secrets[] = {
    "secret.secretName",         "azureFile.secretName",
    "cephfs.secretRef.name",     "cinder.secretRef.name",
    "flexVolume.secretRef.name", "iscsi.secretRef.name",
    "rbd.secretRef.name",        "scaleIO.secretRef.name",
    "storageos.secretRef.name",  "csi.nodePublishSecretRef.name",
};

static void volume_edges(struct edges *x, const struct json *volume, const char *pod_name)
{
    for (size_t i = 0; i < ARRAY_LEN(volume_secrets); i++)
        edge(x, "secret", json_str(volume, volume_secrets[i], ""));
    edge(x, "configmap", json_str(volume, "configMap.name", ""));
    edge(x, "pvc", json_str(volume, "persistentVolumeClaim.claimName", ""));
    if (json_get(volume, "ephemeral")) {
        scoped(str) char *claim = xasprintf("%s-%s", pod_name, json_str(volume, "name", ""));
        edge(x, "pvc", claim);
    }
    json_each_item (json_at(volume, "projected.sources"), source) {
        edge(x, "secret", json_str(source, "secret.name", ""));
        edge(x, "configmap", json_str(source, "configMap.name", ""));
    }
}

static void pod_edges(struct edges *x, const struct object *pod)
{
    const struct json *spec = json_get(pod->doc, "spec");
    edge(x, "pod", pod->key.name);
    edge(x, "serviceaccount", json_str(spec, "serviceAccountName", ""));
    container_edges(x, json_get(spec, "containers"));
    container_edges(x, json_get(spec, "initContainers"));
    container_edges(x, json_get(spec, "ephemeralContainers"));
    json_each_item (json_get(spec, "imagePullSecrets"), ref)
        edge(x, "secret", json_str(ref, "name", ""));
    json_each_item (json_get(spec, "volumes"), volume)
        volume_edges(x, volume, pod->key.name);
    json_each_item (json_get(spec, "resourceClaims"), claim)
        edge(x, "resourceclaim", json_str(claim, "resourceClaimName", ""));
    json_each_item (json_at(pod->doc, "status.resourceClaimStatuses"), claim)
        edge(x, "resourceclaim", json_str(claim, "resourceClaimName", ""));
}

static void change_pod(struct node_graph *g, const struct object *pod, int change)
{
    const char *node = pod ? json_str(pod->doc, "spec.nodeName", "") : "";
    if (!*node)
        return;
    struct edges x = { .node = node, .ns = pod->key.ns, .graph = g, .change = change };
    pod_edges(&x, pod);
    buffer_free(&x.text);
}

/* Most changes of a pod are its status, which has no edges but the names of resource claims. */
static bool has_same_edges(const struct object *old, const struct object *new)
{
    return old && new &&json_equal(json_get(old->doc, "spec"), json_get(new->doc, "spec")) &&
           json_equal(json_at(old->doc, "status.resourceClaimStatuses"),
                      json_at(new->doc, "status.resourceClaimStatuses"));
}

void node_graph_pod_changed(const struct object *old, const struct object *new, void *graph)
{
    struct node_graph *g = graph;
    if (has_same_edges(old, new))
        return;
    pthread_mutex_lock(&g->lock);
    change_pod(g, new, 1); /* before the old one's are dropped, so that no shared edge is remade */
    change_pod(g, old, -1);
    pthread_mutex_unlock(&g->lock);
}

static bool has_edge(struct node_graph *g, const char *node, const char *kind, const char *ns,
                     const char *name)
{
    scoped(buffer) struct buffer key = { 0 };
    buffer_printf(&key, "%s|%s|%s/%s", node, kind, ns, name);
    pthread_mutex_lock(&g->lock);
    bool found = hashmap_get(&g->edges, buffer_bytes(&key)) != NULL;
    pthread_mutex_unlock(&g->lock);
    return found;
}

/* ---- deciding ---- */

const char *node_of_user(const struct user *user)
{
    if (!str_has_prefix(user->name, NODE_USER_PREFIX))
        return NULL;
    for (const char *const *g = user->groups; *g; g++)
        if (strcmp(*g, "system:nodes") == 0)
            return user->name + strlen(NODE_USER_PREFIX);
    return NULL;
}

static bool verb_in(const struct attributes *at, const char *words)
{
    size_t n = strlen(at->verb);
    for (const char *w = words; *w;) {
        size_t len = strcspn(w, " ");
        if (len == n && memcmp(w, at->verb, n) == 0)
            return true;
        w += len + (w[len] == ' ');
    }
    return false;
}

static bool refuse(char reason[AUTHZ_REASON_BYTES], const char *why)
{
    snprintf(reason, AUTHZ_REASON_BYTES, "%s", why);
    return false;
}

struct question {
    struct apiserver *server;
    struct node_graph *graph;
    const struct attributes *at;
    const char *node;
    char *reason;
};

static bool related(const struct question *q, const char *kind)
{
    if (has_edge(q->graph, q->node, kind, q->at->ns, q->at->name))
        return true;
    snprintf(q->reason, AUTHZ_REASON_BYTES,
             "no relationship found between node '%s' and this object", q->node);
    return false;
}

/* Over the loopback the selector of a list is not told; who holds a loopback is this process. */
static bool is_unseen_list(const struct question *q)
{
    return !q->at->field_selector && verb_in(q->at, "list watch");
}

/* Secrets, config maps: also list and watch of one name, which is how a kubelet follows it. */
static bool may_read(const struct question *q, const char *kind)
{
    if (!verb_in(q->at, "get list watch") || *q->at->subresource)
        return refuse(q->reason, "can only read resources of this type");
    if (is_unseen_list(q))
        return true;
    if (!*q->at->name)
        return refuse(q->reason, "No Object name found");
    return related(q, kind);
}

static bool may_secret(const struct question *q)
{
    return may_read(q, "secret");
}

static bool may_config_map(const struct question *q)
{
    return may_read(q, "configmap");
}

static bool may_claim(const struct question *q)
{
    if (strcmp(q->at->subresource, "status") == 0)
        return verb_in(q->at, "get patch update")
                   ? related(q, "pvc")
                   : refuse(q->reason, "can only get/update/patch this type");
    if (*q->at->subresource || !verb_in(q->at, "get"))
        return refuse(q->reason, "can only get individual resources of this type");
    return related(q, "pvc");
}

static bool may_resource_claim(const struct question *q)
{
    if (*q->at->subresource || !verb_in(q->at, "get"))
        return refuse(q->reason, "can only get individual resources of this type");
    return related(q, "resourceclaim");
}

static struct object *cached(const struct question *q, enum resource_id id)
{
    struct object_key key = { q->at->ns, q->at->name };
    return watch_cache_get(watch_cache_of(q->server, &resources[id]), &key);
}

static bool may_volume(const struct question *q)
{
    if (*q->at->subresource || !verb_in(q->at, "get"))
        return refuse(q->reason, "can only get individual resources of this type");
    scoped(object) struct object *volume = cached(q, RESOURCE_PERSISTENTVOLUMES);
    if (volume &&
        has_edge(q->graph, q->node, "pvc", json_str(volume->doc, "spec.claimRef.namespace", ""),
                 json_str(volume->doc, "spec.claimRef.name", "")))
        return true;
    return related(q, "pv"); /* which it is not: the reason */
}

static bool may_attachment(const struct question *q)
{
    if (*q->at->subresource || !verb_in(q->at, "get"))
        return refuse(q->reason, "can only get individual resources of this type");
    scoped(object) struct object *attachment = cached(q, RESOURCE_VOLUMEATTACHMENTS);
    if (attachment && strcmp(json_str(attachment->doc, "spec.nodeName", ""), q->node) == 0)
        return true;
    return related(q, "volumeattachment");
}

static bool may_service_account(const struct question *q)
{
    bool is_token = strcmp(q->at->subresource, "token") == 0;
    if (!(is_token && verb_in(q->at, "create")) && !(!*q->at->subresource && verb_in(q->at, "get")))
        return refuse(q->reason, "only allowed to create a token for this type");
    return related(q, "serviceaccount");
}

static bool may_lease(const struct question *q)
{
    if (!verb_in(q->at, "get create update patch delete"))
        return refuse(q->reason, "can only get, create, update, patch, or delete a node lease");
    if (strcmp(q->at->ns, LEASE_NAMESPACE) != 0)
        return refuse(q->reason,
                      "can only access leases in the \"" LEASE_NAMESPACE "\" system namespace");
    if (strcmp(q->at->verb, "create") != 0 && strcmp(q->at->name, q->node) != 0)
        return refuse(q->reason,
                      "can only access node lease with the same name as the requesting node");
    return true;
}

static bool may_csi_node(const struct question *q)
{
    if (*q->at->subresource)
        return refuse(q->reason, "cannot authorize CSINode subresources");
    if (!verb_in(q->at, "get create update patch delete"))
        return refuse(q->reason, "can only get, create, update, patch, or delete a CSINode");
    if (strcmp(q->at->verb, "create") != 0 && strcmp(q->at->name, q->node) != 0)
        return refuse(q->reason,
                      "can only access CSINode with the same name as the requesting node");
    return true;
}

static bool may_node(const struct question *q)
{
    if (verb_in(q->at, "create"))
        return !*q->at->subresource;
    if (is_unseen_list(q))
        return true;
    if (!*q->at->name) {
        snprintf(q->reason, AUTHZ_REASON_BYTES,
                 "node '%s' cannot read all nodes, only its own Node object", q->node);
        return false;
    }
    if (strcmp(q->at->name, q->node) != 0) {
        snprintf(q->reason, AUTHZ_REASON_BYTES,
                 "node '%s' cannot read '%s', only its own Node object", q->node, q->at->name);
        return false;
    }
    return *q->at->subresource ? verb_in(q->at, "get patch update")
                               : verb_in(q->at, "get list watch patch update");
}

/* Whether a list asks for the node's own pods only. */
static bool selects_own_pods(const struct question *q)
{
    if (is_unseen_list(q))
        return true;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct field_selector *f =
        field_selector_parse(&resources[RESOURCE_PODS], q->at->field_selector, a, &err);
    const char *node = f ? field_selector_requires(f, "spec.nodeName") : NULL;
    return node && strcmp(node, q->node) == 0;
}

static bool may_pod(const struct question *q)
{
    if (strcmp(q->at->subresource, "status") == 0)
        return verb_in(q->at, "get patch update") && related(q, "pod");
    if (strcmp(q->at->subresource, "eviction") == 0)
        return verb_in(q->at, "create") && related(q, "pod");
    if (*q->at->subresource)
        return false;
    if (verb_in(q->at, "create")) /* mirror pods: node restriction checks them */
        return true;
    if (verb_in(q->at, "list watch") && !*q->at->name)
        return selects_own_pods(q)
                   ? true
                   : refuse(q->reason,
                            "can only list/watch pods with spec.nodeName field selector");
    return verb_in(q->at, "get list watch delete") && related(q, "pod");
}

static const struct {
    const char *group, *resource;
    bool (*may)(const struct question *q);
} judges[] = {
    { "", "secrets", may_secret },
    { "", "configmaps", may_config_map },
    { "", "persistentvolumeclaims", may_claim },
    { "", "persistentvolumes", may_volume },
    { "", "serviceaccounts", may_service_account },
    { "", "nodes", may_node },
    { "", "pods", may_pod },
    { "storage.k8s.io", "volumeattachments", may_attachment },
    { "storage.k8s.io", "csinodes", may_csi_node },
    { "coordination.k8s.io", "leases", may_lease },
    { "resource.k8s.io", "resourceclaims", may_resource_claim },
};

bool node_authorize(struct apiserver *a, struct node_graph *g, const struct attributes *at,
                    char reason[AUTHZ_REASON_BYTES])
{
    struct question q = { a, g, at, node_of_user(at->user), reason };
    if (!q.node)
        return false;
    for (size_t i = 0; at->is_resource_request && i < ARRAY_LEN(judges); i++)
        if (strcmp(judges[i].group, at->group) == 0 &&
            strcmp(judges[i].resource, at->resource) == 0)
            return judges[i].may(&q);
    json_each_item (g->rules, rule) {
        if (rbac_rule_allows(rule, at))
            return true;
    }
    return false;
}
