/* SPDX-License-Identifier: Apache-2.0 */
/*
 * component_status.c - the health of what works beside the API.
 *
 * Upstream asks ports of its own machine.  Here a component either runs in this process, or it is
 * elected, by whichever process, and renews its Lease.
 */
#include "apiserver/component_status.h"

#include "apiserver/server.h"

static bool is_led(struct apiserver *a, const char *lease_name)
{
    struct object_key key = { "kube-system", lease_name };
    int64_t renewed_ns;
    scoped(object) struct object *lease =
        watch_cache_get(watch_cache_of(a, &resources[RESOURCE_LEASES]), &key);
    if (!lease || time_parse(json_str(lease->doc, "spec.renewTime", ""), &renewed_ns) < 0)
        return false;
    int64_t duration_s = json_int(lease->doc, "spec.leaseDurationSeconds", 0);
    return clock_wall_ns(a->clock) < renewed_ns + duration_s * NS_PER_S;
}

static void add(const char *name, bool is_healthy, const char *message, const char *error,
                struct object_list *out)
{
    struct draft *d = draft_new(&resources[RESOURCE_COMPONENTSTATUSES]);
    json_put_str(d->arena, d->doc, "metadata.name", name);
    struct json *list = json_make_array(d->arena, d->doc, "conditions");
    struct json *condition = json_append(d->arena, list, *json_new(d->arena, JSON_OBJECT));
    json_put_str(d->arena, condition, "type", "Healthy");
    json_put_str(d->arena, condition, "status", is_healthy ? "True" : "False");
    if (*message)
        json_put_str(d->arena, condition, "message", message);
    if (*error)
        json_put_str(d->arena, condition, "error", error);
    schema_complete(d->resource->type, d->doc, d->arena);
    object_list_add_take(out, draft_publish(d, 0));
}

static void add_part(struct apiserver *a, const char *name, bool is_here, const char *lease,
                     struct object_list *out)
{
    char missing[128];
    snprintf(missing, sizeof(missing), "nobody renews the lease kube-system/%s", lease);
    bool is_healthy = is_here || is_led(a, lease);
    add(name, is_healthy, is_healthy ? "ok" : missing, "", out);
}

void component_status_list(struct apiserver *a, struct object_list *out)
{
    add_part(a, "controller-manager", a->config.has_controllers, "kube-controller-manager", out);
    add_part(a, "scheduler", a->config.has_scheduler, "kube-scheduler", out);
    bool is_stored = storage_revision(a->storage) >= 0;
    add("etcd-0", is_stored, is_stored ? "ok" : "", is_stored ? "" : "the store does not answer",
        out);
}
