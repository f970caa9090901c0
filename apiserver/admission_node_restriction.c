/* SPDX-License-Identifier: Apache-2.0 */
/* admission_node_restriction.c - a kubelet makes and changes its own objects only: what the node
 * authorizer cannot tell without the body. */
#include "apiserver/admission.h"
#include "apiserver/authz_node.h"
#include "apiserver/server.h"

#define MIRROR_ANNOTATION "kubernetes.io/config.mirror"
#define RESTRICTED_LABEL  "node-restriction.kubernetes.io/"

struct restriction {
    const struct admission_attributes *at;
    const char *node;
    const struct json *doc; /* NULL: a delete */
};

static bool is_on_node(const struct json *pod, const char *node)
{
    return strcmp(json_str(pod, "spec.nodeName", ""), node) == 0;
}

static const struct json *annotation(const struct json *doc, const char *name)
{
    const struct json *annotations = json_at(doc, "metadata.annotations");
    return annotations ? json_get(annotations, name) : NULL;
}

/* A static pod is there whether the API likes it or not; through it the node must not reach what no
 * scheduler gave it. */
static int check_mirror_pod(const struct restriction *r, struct error *err)
{
    static const char *const references[] = { "secret.secretName", "configMap.name",
                                              "persistentVolumeClaim.claimName" };
    if (!annotation(r->doc, MIRROR_ANNOTATION))
        return admission_forbid(err, r->at,
                                "pod does not have \"" MIRROR_ANNOTATION
                                "\" annotation, node \"%s\" can only create mirror pods",
                                r->node);
    if (!is_on_node(r->doc, r->node))
        return admission_forbid(err, r->at,
                                "node \"%s\" can only create pods with spec.nodeName set to itself",
                                r->node);
    const char *account = json_str(r->doc, "spec.serviceAccountName", "");
    if (*account)
        return admission_forbid(err, r->at,
                                "node \"%s\" can not create pods that reference a service account",
                                r->node);
    json_each_item (json_at(r->doc, "spec.volumes"), volume) {
        for (size_t i = 0; i < ARRAY_LEN(references); i++)
            if (json_at(volume, references[i]))
                return admission_forbid(err, r->at,
                                        "node \"%s\" can not create pods that reference %.*s",
                                        r->node, (int)strcspn(references[i], "."), references[i]);
    }
    return 0;
}

static int check_pod(const struct restriction *r, struct error *err)
{
    const struct json *old = r->at->old ? r->at->old->doc : NULL;
    if (r->at->verb == REQUEST_CREATE && !*r->at->subresource)
        return check_mirror_pod(r, err);
    if (old && r->at->verb == REQUEST_DELETE && !is_on_node(old, r->node))
        return admission_forbid(err, r->at,
                                "node \"%s\" can only delete pods with spec.nodeName set to itself",
                                r->node);
    if (old && strcmp(r->at->subresource, "status") == 0) {
        if (!is_on_node(old, r->node))
            return admission_forbid(
                err, r->at,
                "node \"%s\" can only update pod status for pods with spec.nodeName set to itself",
                r->node);
        const struct json *before = json_at(old, "metadata.labels");
        const struct json *after = json_at(r->doc, "metadata.labels");
        if ((before || after) && !(before && after && json_equal(before, after)))
            return admission_forbid(
                err, r->at, "node \"%s\" can not update labels through pod status", r->node);
    }
    return 0;
}

static bool changes_restricted_label(const struct json *old, const struct json *new)
{
    const struct json *before = json_at(old, "metadata.labels");
    json_each_member (json_at(new, "metadata.labels"), m) {
        const struct json *was = before ? json_get(before, m->name) : NULL;
        if (str_has_prefix(m->name, RESTRICTED_LABEL) && !(was && json_equal(was, &m->value)))
            return true;
    }
    return false;
}

static int check_node(const struct restriction *r, struct error *err)
{
    const char *name = r->doc ? json_str(r->doc, "metadata.name", "") : r->at->name;
    const struct json *old = r->at->old ? r->at->old->doc : NULL;
    if (strcmp(name, r->node) != 0)
        return admission_forbid(err, r->at, "node \"%s\" is not allowed to modify node \"%s\"",
                                r->node, name);
    if (!r->doc || *r->at->subresource) /* a status update keeps all else, whatever it says */
        return 0;
    if (changes_restricted_label(old, r->doc))
        return admission_forbid(err, r->at,
                                "node \"%s\" is not allowed to modify labels with the prefix "
                                "\"" RESTRICTED_LABEL "\"",
                                r->node);
    const struct json *taints = json_at(r->doc, "spec.taints");
    const struct json *had = old ? json_at(old, "spec.taints") : NULL;
    if (old && (taints || had) && !(taints && had && json_equal(taints, had)))
        return admission_forbid(err, r->at, "node \"%s\" is not allowed to modify taints", r->node);
    return 0;
}

static int check_own_name(const struct restriction *r, struct error *err)
{
    const char *name = r->doc ? json_str(r->doc, "metadata.name", "") : r->at->name;
    if (strcmp(name, r->node) == 0)
        return 0;
    return admission_forbid(err, r->at,
                            "can only access %s with the same name as the requesting node",
                            r->at->resource->id == RESOURCE_LEASES ? "node lease" : "CSINode");
}

int node_check_token(struct apiserver *server, const struct user *user,
                     const struct object *account, const struct json *token_request,
                     struct error *err)
{
    const char *node = node_of_user(user);
    if (!node)
        return 0;
    const struct admission_attributes at = { .resource = account->resource,
                                             .name = account->key.name };
    const struct json *ref = json_at(token_request, "spec.boundObjectRef");
    if (strcmp(json_str(ref, "kind", ""), "Pod") != 0 || !*json_str(ref, "name", ""))
        return admission_forbid(err, &at, "node requested token not bound to a pod");
    if (!*json_str(ref, "uid", ""))
        return admission_forbid(err, &at, "node requested token with a pod binding without a uid");
    struct object_key key = { account->key.ns, json_str(ref, "name", "") };
    scoped(object) struct object *pod =
        watch_cache_get(watch_cache_of(server, &resources[RESOURCE_PODS]), &key);
    if (!pod)
        return status_not_found(err, &resources[RESOURCE_PODS], key.name);
    if (!is_on_node(pod->doc, node))
        return admission_forbid(
            err, &at, "node requested token bound to a pod scheduled on a different node");
    return 0;
}

static int admit(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err)
{
    struct restriction r = { a, node_of_user(&c->request->user), new ? new->doc : NULL };
    if (!r.node)
        return 0;
    switch (a->resource->id) {
    case RESOURCE_PODS:
        return check_pod(&r, err);
    case RESOURCE_NODES:
        return check_node(&r, err);
    case RESOURCE_LEASES:
    case RESOURCE_CSINODES:
        return check_own_name(&r, err);
    default:
        return 0;
    }
}

const struct admission_plugin admission_node_restriction = { "NodeRestriction", admit };
