/* SPDX-License-Identifier: Apache-2.0 */
/* node_lease.c - the Lease by which the node shows that it lives. */
#include "kubelet/node_lease.h"

#define LEASE_NAMESPACE  "kube-node-lease"
#define LEASE_DURATION_S 40

struct node_lease {
    struct kubelet_context *k;
    struct object *object; /* as last written; NULL: not known */
    int64_t renewed_ns;
};

/* Turns that come sooner (something woke the node's thread) do not write. */
#define RENEW_MIN_NS (9 * NS_PER_S)

struct node_lease *node_lease_new(struct kubelet_context *k)
{
    struct node_lease *l = xcalloc(1, sizeof(*l));
    l->k = k;
    return l;
}

void node_lease_free(struct node_lease *l)
{
    if (!l)
        return;
    object_unref(l->object);
    free(l);
}

static void put_renewal(struct node_lease *l, struct arena *a, struct json *doc)
{
    char now[TIME_TEXT_BYTES];
    time_format_micro(clock_wall_ns(l->k->clock), now);
    json_put_str(a, doc, "spec.holderIdentity", l->k->node_name);
    json_put_int(a, doc, "spec.leaseDurationSeconds", LEASE_DURATION_S);
    json_put_str(a, doc, "spec.renewTime", now);
}

static int create(struct node_lease *l, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct object_key node_key = { "", l->k->node_name };
    scoped(object) struct object *node = informer_get(l->k->nodes, &node_key);
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", "coordination.k8s.io/v1");
    json_put_str(a, doc, "kind", "Lease");
    json_put_str(a, doc, "metadata.name", l->k->node_name);
    json_put_str(a, doc, "metadata.namespace", LEASE_NAMESPACE);
    if (node) { /* it goes with its node */
        struct json owners = *json_new(a, JSON_ARRAY);
        struct json *owner = json_append(a, &owners, *json_new(a, JSON_OBJECT));
        json_put_str(a, owner, "apiVersion", "v1");
        json_put_str(a, owner, "kind", "Node");
        json_put_str(a, owner, "name", node->key.name);
        json_put_str(a, owner, "uid", node->uid);
        json_put(a, doc, "metadata.ownerReferences", owners);
    }
    put_renewal(l, a, doc);
    return client_create(l->k->client, &resources[RESOURCE_LEASES], LEASE_NAMESPACE, doc,
                         &l->object, err);
}

int node_lease_renew(struct node_lease *l, struct error *err)
{
    int64_t now_ns = clock_monotonic_ns(l->k->clock);
    if (l->object && now_ns - l->renewed_ns < RENEW_MIN_NS)
        return 0;
    struct object_key key = { LEASE_NAMESPACE, l->k->node_name };
    const struct resource *r = &resources[RESOURCE_LEASES];
    if (!l->object && client_get(l->k->client, r, &key, &l->object, err) < 0) {
        if (err->code != ERR_NOT_FOUND || create(l, err) < 0)
            return -1;
        l->renewed_ns = now_ns;
        return 0;
    }
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_clone(l->object->doc, a);
    put_renewal(l, a, doc);
    struct object *newer = NULL;
    int rc = client_update(l->k->client, r, &key, doc, &newer, err);
    object_unref(l->object);
    l->object = newer; /* NULL after a failure: the next turn reads it anew */
    if (rc == 0)
        l->renewed_ns = now_ns;
    return rc;
}
