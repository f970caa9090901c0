/* SPDX-License-Identifier: Apache-2.0 */
/* admission_namespace_lifecycle.c - nothing is made in a namespace that is missing or going away.
 */

#include "apiserver/admission.h"
#include "apiserver/server.h"

static bool is_permanent(const char *ns)
{
    return str_equal(ns, "default") || str_equal(ns, "kube-system") || str_equal(ns, "kube-public");
}

/* A review of access asks about a namespace, it does not make anything in it. */
static bool is_review(const struct resource *r)
{
    return str_equal(r->group, "authorization.k8s.io");
}

static int admit(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err)
{
    (void)new;
    if (a->resource->id == RESOURCE_NAMESPACES) {
        if (a->verb == REQUEST_DELETE && is_permanent(a->name))
            return admission_forbid(err, a, "this namespace may not be deleted");
        return 0;
    }
    if (a->verb != REQUEST_CREATE || !a->resource->namespaced || *a->subresource ||
        is_review(a->resource))
        return 0;
    struct object_key key = { "", a->ns };
    const struct resource *namespaces = &resources[RESOURCE_NAMESPACES];
    scoped(object) struct object *ns = watch_cache_get(watch_cache_of(c->server, namespaces), &key);
    if (!ns)
        return status_not_found(err, namespaces, a->ns);
    if (object_is_deleting(ns))
        return admission_forbid(
            err, a, "unable to create new content in namespace %s because it is being terminated",
            a->ns);
    return 0;
}

const struct admission_plugin admission_namespace_lifecycle = { "NamespaceLifecycle", admit };
