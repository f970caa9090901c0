/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission_storage.c - DefaultStorageClass, DefaultIngressClass and StorageObjectInUseProtection.
 */

#include "apiserver/admission.h"
#include "apiserver/server.h"

/* The newest object of R that carries ANNOTATION "true". */
static struct object *find_default(struct strategy_call *c, const struct resource *r,
                                   const char *annotation)
{
    scoped(object_list) struct object_list all = { 0 };
    struct object *best = NULL;
    watch_cache_list(watch_cache_of(c->server, r), NULL, &all);
    object_list_each (&all, o) {
        if (!str_equal(object_annotation(o, annotation), "true"))
            continue;
        if (!best || object_created_ns(o) > object_created_ns(best))
            best = o;
    }
    return best ? object_ref(best) : NULL;
}

static int admit_default_class(struct strategy_call *c, const struct admission_attributes *a,
                               struct draft *new, struct error *err)
{
    (void)err;
    if (a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    if (a->resource->id == RESOURCE_PERSISTENTVOLUMECLAIMS &&
        !json_at(new->doc, "spec.storageClassName")) {
        scoped(object) struct object *class = find_default(
            c, &resources[RESOURCE_STORAGECLASSES], "storageclass.kubernetes.io/is-default-class");
        if (class)
            json_put_str(new->arena, new->doc, "spec.storageClassName", class->key.name);
    }
    if (a->resource->id == RESOURCE_INGRESSES && !json_at(new->doc, "spec.ingressClassName") &&
        !json_get(json_at(new->doc, "metadata.annotations"), "kubernetes.io/ingress.class")) {
        scoped(object) struct object *class = find_default(
            c, &resources[RESOURCE_INGRESSCLASSES], "ingressclass.kubernetes.io/is-default-class");
        if (class)
            json_put_str(new->arena, new->doc, "spec.ingressClassName", class->key.name);
    }
    return 0;
}

const struct admission_plugin admission_default_class = { "DefaultStorageClass",
                                                          admit_default_class };

static int admit_in_use(struct strategy_call *c, const struct admission_attributes *a,
                        struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    if (a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    const char *finalizer =
        a->resource->id == RESOURCE_PERSISTENTVOLUMECLAIMS ? "kubernetes.io/pvc-protection"
        : a->resource->id == RESOURCE_PERSISTENTVOLUMES    ? "kubernetes.io/pv-protection"
                                                           : NULL;
    if (!finalizer)
        return 0;
    struct json *metadata = json_make(new->arena, new->doc, "metadata");
    struct json *list = json_find(metadata, "finalizers");
    if (!list)
        list = json_set(new->arena, metadata, "finalizers", (struct json){ .type = JSON_ARRAY });
    if (!json_has_text(list, finalizer))
        json_append(new->arena, list, json_string_value(new->arena, finalizer));
    return 0;
}

const struct admission_plugin admission_object_in_use = { "StorageObjectInUseProtection",
                                                          admit_in_use };
