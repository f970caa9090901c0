/* SPDX-License-Identifier: Apache-2.0 */
/* rest_pod_posts.c - POSTs below a pod or an account: binding, eviction, token. */
#include "api/selector.h"
#include "apiserver/authn.h"
#include "apiserver/authz_node.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"

/* Upstream's bound on how far a budget's disruptedPods may run ahead of the controller. */
#define DISRUPTED_PODS_MAX 2000

static const struct json *success(struct request *r)
{
    struct json *status = json_new(r->arena, JSON_OBJECT);
    json_put_str(r->arena, status, "kind", "Status");
    json_put_str(r->arena, status, "apiVersion", "v1");
    json_set_static(r->arena, status, "metadata", *json_new(r->arena, JSON_OBJECT));
    json_put_str(r->arena, status, "status", "Success");
    json_put_int(r->arena, status, "code", 201);
    return status;
}

struct object *pod_of_request(struct request *r, const char *name, struct error *err)
{
    const struct resource *pods = &resources[RESOURCE_PODS];
    struct object_key key = { r->info.ns, name };
    return rest_find(r, pods, &key, err);
}

/* Decodes a body whose metadata.name must be the path's. */
static int decode_post(struct request *r, const struct body *body, const struct schema_type *type,
                       const char *api_version, const char *kind, const struct write_options *o,
                       struct json **out, struct error *err)
{
    if (body_decode_document(r, body, type, api_version, kind, o, out, err) < 0)
        return -1;
    const char *name = json_str(*out, "metadata.name", "");
    if (*name && *r->info.name && strcmp(name, r->info.name) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "name in URL does not match name in %s object: %s vs %s", kind,
                         r->info.name, name);
    return 0;
}

/* ---- binding ---- */

static int check_bindable(const struct object *pod, const struct json *binding, struct error *err)
{
    const char *node = json_str(pod->doc, "spec.nodeName", "");
    const char *uid = json_str(binding, "metadata.uid", "");
    const char *why = NULL;
    char text[512];
    if (*uid && !str_equal(uid, pod->uid)) {
        snprintf(text, sizeof(text),
                 "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid,
                 pod->uid);
        why = text;
    } else if (object_is_deleting(pod)) {
        snprintf(text, sizeof(text), "pod %s is being deleted, cannot be assigned to a host",
                 pod->key.name);
        why = text;
    } else if (*node) {
        snprintf(text, sizeof(text), "pod %s is already assigned to node \"%s\"", pod->key.name,
                 node);
        why = text;
    } else if (json_len(pod->doc, "spec.schedulingGates") > 0) {
        snprintf(text, sizeof(text), "pod %s has non-empty .spec.schedulingGates", pod->key.name);
        why = text;
    }
    if (!why)
        return 0;
    return error_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on pods/binding \"%s\": %s",
                     pod->key.name, why);
}

static void copy_members(struct draft *d, const struct json *binding, const char *path)
{
    json_each_member (json_at(binding, path), m) {
        struct json *to = json_make(d->arena, d->doc, path);
        json_set(d->arena, to, m->name, json_clone_value(&m->value, d->arena));
    }
}

static struct draft *bound(struct request *r, const struct object *pod, const struct json *binding)
{
    struct draft *d = object_edit(pod);
    json_put_str(d->arena, d->doc, "spec.nodeName", json_str(binding, "target.name", ""));
    copy_members(d, binding, "metadata.annotations");
    copy_members(d, binding, "metadata.labels");
    json_drop(d->doc, "status.nominatedNodeName");
    draft_set_condition(d, "PodScheduled", "True", NULL, NULL, clock_wall_ns(r->server->clock));
    schema_complete(d->resource->type, d->doc, d->arena);
    return d;
}

static int check_target(const struct json *binding, struct error *err)
{
    const char *kind = json_str(binding, "target.kind", "");
    if (*kind && strcmp(kind, "Node") != 0)
        return error_set(
            err, ERR_INVALID,
            "Binding \"%s\" is invalid: target.kind: Unsupported value: \"%s\": supported "
            "values: \"Node\", \"<empty>\"",
            json_str(binding, "metadata.name", ""), kind);
    if (str_empty(json_str(binding, "target.name", "")))
        return error_set(err, ERR_INVALID, "Binding \"%s\" is invalid: target.name: Required value",
                         json_str(binding, "metadata.name", ""));
    return 0;
}

int post_binding(struct request *r, const struct body *body, const struct write_options *o,
                 struct outcome *out, struct error *err)
{
    struct json *binding;
    outcome_about(out, r);
    if (decode_post(r, body, resources[RESOURCE_BINDINGS].type, "v1", "Binding", o, &binding, err) <
            0 ||
        check_target(binding, err) < 0)
        return -1;
    const char *name = *r->info.name ? r->info.name : json_str(binding, "metadata.name", "");
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *pod = pod_of_request(r, name, err);
        if (!pod || check_bindable(pod, binding, err) < 0)
            return -1;
        scoped(object) struct object *new = NULL;
        enum store_result rc = STORE_DONE;
        if (!o->is_dry_run)
            rc = store_put(r->server, &pod->key, bound(r, pod, binding), pod->resource_version, 0,
                           &new, err);
        if (rc == STORE_FAILED)
            return -1;
        if (rc == STORE_DONE) {
            out->http_status = 201;
            out->doc = success(r);
            return 0;
        }
    }
    return status_conflict(err, &resources[RESOURCE_PODS], name);
}

/* ---- eviction ---- */

static bool needs_budget(const struct object *pod)
{
    const char *phase = json_str(pod->doc, "status.phase", "");
    return !object_is_deleting(pod) && !str_equal(phase, "Pending") &&
           !str_equal(phase, "Succeeded") && !str_equal(phase, "Failed");
}

/* The one budget that selects POD: a reference; NULL if there is none (err untouched) or several.
 */
static struct object *budget_of(struct request *r, const struct object *pod, bool *several)
{
    scoped(object_list) struct object_list all = { 0 };
    struct object *found = NULL;
    *several = false;
    const struct resource *budgets = &resources[RESOURCE_PODDISRUPTIONBUDGETS];
    watch_cache_list(watch_cache_of(r->server, budgets), pod->key.ns, &all);
    object_list_each (&all, budget) {
        struct error err = { 0 };
        const struct json *text = json_at(budget->doc, "spec.selector");
        const struct selector *s = text ? selector_from_json(text, r->arena, &err) : NULL;
        if (!s || !selector_matches(s, json_at(pod->doc, "metadata.labels")))
            continue;
        *several = found != NULL;
        object_unref(found);
        found = object_ref(budget);
        if (*several)
            break;
    }
    return found;
}

static bool may_go_unready(const struct object *pod, const struct object *budget)
{
    if (object_condition_is_true(pod, "Ready"))
        return false;
    int64_t healthy = json_int(budget->doc, "status.currentHealthy", 0);
    int64_t desired = json_int(budget->doc, "status.desiredHealthy", 0);
    return str_equal(json_str(budget->doc, "spec.unhealthyPodEvictionPolicy", ""), "AlwaysAllow") ||
           (desired > 0 && healthy >= desired);
}

/* RETRY_AFTER_S -1: only a pod that becomes healthy helps.  A client that is given a time repeats
 * the request by itself, and `kubectl drain` neither shows why it waits nor ends at its --timeout.
 */
static int refuse_eviction(struct request *r, struct outcome *out, int retry_after_s,
                           const char *why, struct error *err)
{
    struct status_cause *cause = arena_zalloc(r->arena, sizeof(*cause));
    *cause = (struct status_cause){ .reason = "DisruptionBudget", .message = why, .field = "" };
    out->details.retry_after_s = retry_after_s;
    out->details.causes = cause;
    out->details.causes_n = why ? 1 : 0;
    return error_set(err, ERR_TOO_MANY_REQUESTS,
                     "Cannot evict pod as it would violate the pod's disruption budget.");
}

static int check_budget(struct request *r, const struct object *budget, struct outcome *out,
                        struct error *err)
{
    int64_t allowed = json_int(budget->doc, "status.disruptionsAllowed", 0);
    if (json_int(budget->doc, "status.observedGeneration", 0) < object_generation(budget))
        return refuse_eviction(
            r, out, 10,
            arena_printf(r->arena,
                         "The disruption budget %s is still being processed by the server.",
                         budget->key.name),
            err);
    if (allowed < 0 || json_len(budget->doc, "status.disruptedPods") > DISRUPTED_PODS_MAX)
        return error_set(
            err, ERR_FORBIDDEN,
            "poddisruptionbudgets.policy \"%s\" is forbidden: pdb disruptions allowed is "
            "negative, or too many evictions not confirmed by the controller",
            budget->key.name);
    if (allowed > 0)
        return 0;
    return refuse_eviction(
        r, out, -1,
        arena_printf(r->arena,
                     "The disruption budget %s needs %lld healthy pods and has %lld currently",
                     budget->key.name, (long long)json_int(budget->doc, "status.desiredHealthy", 0),
                     (long long)json_int(budget->doc, "status.currentHealthy", 0)),
        err);
}

static struct draft *with_disruption(struct request *r, const struct object *budget,
                                     const struct object *pod)
{
    struct draft *d = object_edit(budget);
    char now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(r->server->clock), now);
    json_put_int(d->arena, d->doc, "status.disruptionsAllowed",
                 json_int(budget->doc, "status.disruptionsAllowed", 0) - 1);
    struct json *pods = json_make(d->arena, d->doc, "status.disruptedPods");
    json_set(d->arena, pods, pod->key.name, json_string_value(d->arena, now));
    return d;
}

/* Takes one of the disruptions that POD's budget allows, if it needs one. */
static int use_budget(struct request *r, const struct object *pod, bool is_dry_run,
                      struct outcome *out, struct error *err)
{
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        bool several;
        scoped(object) struct object *budget = budget_of(r, pod, &several);
        scoped(object) struct object *new = NULL;
        if (several)
            return error_set(err, ERR_INTERNAL,
                             "This pod has more than one PodDisruptionBudget, which the eviction "
                             "subresource does not support.");
        if (!budget || may_go_unready(pod, budget))
            return 0;
        if (check_budget(r, budget, out, err) < 0)
            return -1;
        if (is_dry_run)
            return 0;
        enum store_result rc = store_put(r->server, &budget->key, with_disruption(r, budget, pod),
                                         budget->resource_version, 0, &new, err);
        if (rc != STORE_CONFLICT)
            return rc;
    }
    return refuse_eviction(r, out, 10, NULL, err);
}

static int mark_evicted(struct request *r, const char *name, struct error *err)
{
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *pod = pod_of_request(r, name, err);
        scoped(object) struct object *new = NULL;
        if (!pod)
            return -1;
        struct draft *d = object_edit(pod);
        draft_set_condition(d, "DisruptionTarget", "True", "EvictionByEvictionAPI",
                            "Eviction API: evicting", clock_wall_ns(r->server->clock));
        schema_complete(d->resource->type, d->doc, d->arena);
        enum store_result rc =
            store_put(r->server, &pod->key, d, pod->resource_version, 0, &new, err);
        if (rc != STORE_CONFLICT)
            return rc;
    }
    return status_conflict(err, &resources[RESOURCE_PODS], name);
}

static int delete_evicted(struct request *r, const struct json *eviction, bool is_dry_run,
                          struct outcome *out, struct error *err)
{
    struct request inner = *r;
    struct body body = { .doc = json_get(eviction, "deleteOptions") };
    struct delete_options options;
    inner.info.subresource = "";
    inner.info.sub = NULL;
    inner.query = BYTES("");
    if (delete_options_parse(&inner, &body, &options, err) < 0)
        return -1;
    options.is_dry_run |= is_dry_run;
    scoped(outcome) struct outcome deleted = { 0 };
    if (rest_delete(&inner, &options, &deleted, err) < 0)
        return -1;
    out->http_status = 201;
    out->doc = success(r);
    return 0;
}

int post_eviction(struct request *r, const struct body *body, const struct write_options *o,
                  struct outcome *out, struct error *err)
{
    struct json *eviction;
    outcome_about(out, r);
    if (decode_post(r, body, r->info.sub->type, "policy/v1", "Eviction", o, &eviction, err) < 0)
        return -1;
    scoped(object) struct object *pod = pod_of_request(r, r->info.name, err);
    if (!pod || (needs_budget(pod) && use_budget(r, pod, o->is_dry_run, out, err) < 0))
        return -1;
    if (!o->is_dry_run && !object_is_deleting(pod) && mark_evicted(r, r->info.name, err) < 0)
        return -1;
    return delete_evicted(r, eviction, o->is_dry_run, out, err);
}

/* ---- token ---- */

int post_token(struct request *r, const struct body *body, const struct write_options *o,
               struct outcome *out, struct error *err)
{
    struct json *wanted, *answer;
    outcome_about(out, r);
    if (decode_post(r, body, r->info.sub->type, "authentication.k8s.io/v1", "TokenRequest", o,
                    &wanted, err) < 0)
        return -1;
    scoped(object) struct object *account = NULL;
    if (rest_get(r, &account, err) < 0 ||
        node_check_token(r->server, &r->user, account, wanted, err) < 0 ||
        token_request(r->server, account, wanted, r->arena, &answer, err) < 0)
        return -1;
    out->http_status = 201;
    out->doc = json_clone(answer, r->arena); /* it may share strings with the account */
    return 0;
}
