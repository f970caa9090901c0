/* SPDX-License-Identifier: Apache-2.0 */
/* root_ca - the cluster's CA certificate as ConfigMap kube-root-ca.crt in every namespace. */
#include "controllers/pod_control.h"

#define CONFIGMAP  "kube-root-ca.crt"
#define DATA_KEY   "ca.crt"
#define ANNOTATION "kubernetes.io/description"
#define DESCRIPTION                                                                                \
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "      \
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "      \
    "guaranteed across distributions of Kubernetes clusters."

static bool is_right(const struct object *map, const char *pem)
{
    const struct json *data = json_at(map->doc, "data");
    return json_len(map->doc, "data") == 1 && str_equal(json_text(json_get(data, DATA_KEY)), pem) &&
           object_annotation(map, ANNOTATION);
}

static void fill(struct draft *d, const char *pem)
{
    struct json *data = json_new(d->arena, JSON_OBJECT);
    json_set(d->arena, data, DATA_KEY, json_string_value(d->arena, pem));
    json_put(d->arena, d->doc, "data", *data);
    struct json *annotations = json_make_object(d->arena, d->doc, "metadata.annotations");
    json_set(d->arena, annotations, ANNOTATION, json_string_value(d->arena, DESCRIPTION));
}

static int publish(struct controller *c, const struct object_key *key, const char *pem,
                   struct error *err)
{
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_CONFIGMAPS]);
    json_put_str(d->arena, d->doc, "metadata.namespace", key->ns);
    json_put_str(d->arena, d->doc, "metadata.name", key->name);
    fill(d, pem);
    struct error failure = { 0 };
    if (create_object(c, d, NULL, &failure) < 0 && !is_namespace_terminating(&failure))
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *ns = cache_get(c, RESOURCE_NAMESPACES, key);
    struct bytes ca = c->config->root_ca_pem;
    if (!ns || object_is_deleting(ns) || ca.len == 0)
        return 0;
    const char *pem = arena_strndup(c->arena, ca.data, ca.len);
    struct object_key map_key = { key->name, CONFIGMAP };
    scoped(object) struct object *map = cache_get(c, RESOURCE_CONFIGMAPS, &map_key);
    if (!map)
        return publish(c, &map_key, pem, err);
    if (is_right(map, pem))
        return 0;
    scoped(draft) struct draft *d = object_edit(map);
    fill(d, pem);
    return update_object(c, d, NULL, err);
}

static void enqueue_namespace(struct controller *c, const struct informer_event *e)
{
    const struct object *map = e->new ? e->new : e->old;
    if (str_equal(map->key.name, CONFIGMAP))
        enqueue_key(c, &(struct object_key){ "", map->key.ns });
}

const struct controller_spec root_ca_controller = {
    .name = "root-ca-certificate-publisher",
    .account = "root-ca-cert-publisher",
    .source = "root-ca-cert-publisher",
    .workers = 1,
    .watches = {
        { RESOURCE_NAMESPACES, enqueue_self },
        { RESOURCE_CONFIGMAPS, enqueue_namespace },
    },
    .reconcile = reconcile,
};
