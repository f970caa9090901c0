/* SPDX-License-Identifier: Apache-2.0 */
/* strategy_small.c - kinds of which the server decides a line or two. */

#include "apiserver/strategies.h"
#include "apiserver/validate_kinds.h"
#include "base/clock.h"

/* ---- ServiceAccount: a reference to a secret is its name ---- */

static int trim_secrets(struct draft *d)
{
    struct json *secrets = json_find(d->doc, "secrets");
    for (uint32_t i = 0; secrets && secrets->type == JSON_ARRAY && i < secrets->len; i++) {
        struct json trimmed = { .type = JSON_OBJECT };
        json_put_str(d->arena, &trimmed, "name", json_str(&secrets->items[i], "name", ""));
        secrets->items[i] = trimmed;
    }
    return 0;
}

static int account_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    return trim_secrets(new);
}

static int account_update(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)old;
    (void)err;
    return trim_secrets(new);
}

const struct strategy service_account_strategy = {
    .prepare_create = account_create,
    .prepare_update = account_update,
};

/* ---- PersistentVolume and PersistentVolumeClaim start as Pending ---- */

static int volume_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)err;
    char now[TIME_TEXT_BYTES];
    time_format(c->now_ns, now);
    json_put_str(new->arena, new->doc, "status.phase", "Pending");
    json_put_str(new->arena, new->doc, "status.lastPhaseTransitionTime", now);
    return 0;
}

static int claim_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    json_put_str(new->arena, new->doc, "status.phase", "Pending");
    const struct json *source = json_at(new->doc, "spec.dataSource");
    const struct json *ref = json_at(new->doc, "spec.dataSourceRef");
    if (source && !ref)
        json_put(new->arena, new->doc, "spec.dataSourceRef", json_clone_value(source, new->arena));
    else if (ref && !source && !json_get(ref, "namespace"))
        json_put(new->arena, new->doc, "spec.dataSource", json_clone_value(ref, new->arena));
    return 0;
}

const struct strategy persistent_volume_strategy = { .prepare_create = volume_create };
const struct strategy persistent_volume_claim_strategy = { .prepare_create = claim_create };

/* ---- CertificateSigningRequest: who asks is what the request says, not the body ---- */

static int request_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)err;
    const struct user *user = &c->request->user;
    json_put_str(new->arena, new->doc, "spec.username", user->name);
    if (!str_empty(user->uid))
        json_put_str(new->arena, new->doc, "spec.uid", user->uid);
    struct json groups = { .type = JSON_ARRAY };
    for (const char *const *g = user->groups; *g; g++)
        json_append(new->arena, &groups, json_string_value(new->arena, *g));
    json_put(new->arena, new->doc, "spec.groups", groups);
    json_drop(new->doc, "spec.extra");
    return 0;
}

static int request_update(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)err;
    json_put(new->arena, new->doc, "spec",
             json_clone_value(json_get(old->doc, "spec"), new->arena));
    return 0;
}

const struct strategy certificate_request_strategy = {
    .prepare_create = request_create,
    .prepare_update = request_update,
};

/* ---- kinds that only have rules ---- */

const struct strategy deployment_strategy = {
    .validate = validate_deployment,
    .validate_update = validate_selector_kept,
};
const struct strategy replicaset_strategy = {
    .validate = validate_replicaset,
    .validate_update = validate_selector_kept,
};
const struct strategy daemonset_strategy = {
    .validate = validate_daemonset,
    .validate_update = validate_selector_kept,
};
const struct strategy statefulset_strategy = {
    .validate = validate_statefulset,
    .validate_update = validate_statefulset_update,
};
const struct strategy replication_controller_strategy = {
    .validate = validate_replication_controller,
};
const struct strategy cronjob_strategy = { .validate = validate_cronjob };
const struct strategy config_map_strategy = {
    .validate = validate_config_map,
    .validate_update = validate_config_map_update,
};
const struct strategy node_strategy = {
    .validate = validate_node,
    .validate_update = validate_node_update,
};
