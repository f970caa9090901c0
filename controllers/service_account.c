/* SPDX-License-Identifier: Apache-2.0 */
/* service_account - a ServiceAccount "default" in every namespace. */
#include "controllers/pod_control.h"

#define DEFAULT_ACCOUNT "default"

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *ns = cache_get(c, RESOURCE_NAMESPACES, key);
    if (!ns || object_is_deleting(ns))
        return 0;
    struct object_key account = { key->name, DEFAULT_ACCOUNT };
    scoped(object) struct object *there = cache_get(c, RESOURCE_SERVICEACCOUNTS, &account);
    if (there)
        return 0;
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_SERVICEACCOUNTS]);
    json_put_str(d->arena, d->doc, "metadata.namespace", account.ns);
    json_put_str(d->arena, d->doc, "metadata.name", account.name);
    struct error failure = { 0 };
    if (create_object(c, d, NULL, &failure) < 0 && failure.code != ERR_ALREADY_EXISTS &&
        !is_namespace_terminating(&failure))
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

static void enqueue_if_gone(struct controller *c, const struct informer_event *e)
{
    if (!e->new &&str_equal(e->old->key.name, DEFAULT_ACCOUNT))
        enqueue_key(c, &(struct object_key){ "", e->old->key.ns });
}

const struct controller_spec service_account_controller = {
    .name = "serviceaccount",
    .account = "service-account-controller",
    .source = "serviceaccount-controller",
    .workers = 1,
    .watches = {
        { RESOURCE_NAMESPACES,      enqueue_self },
        { RESOURCE_SERVICEACCOUNTS, enqueue_if_gone },
    },
    .reconcile = reconcile,
};
