/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deployment - moves pods from old templates to new ones, a ReplicaSet per template.
 *
 *     deployment web (revision 3)
 *       web-5d59d67564  revision 1   0 pods   kept for "rollout undo"
 *       web-7c5ddbdf54  revision 2   2 pods   the old one, shrinking
 *       web-6b7d9f8c58  revision 3   2 pods   the one with the present template, growing
 *
 * The controller writes how many pods each should have and the ReplicaSet controller does the rest.
 * Revisions are annotations; rolling back is the client's change of the template.
 */
#include "controllers/pod_control.h"

#include <limits.h>
#include <math.h>

#include "base/log.h"

#define ANNOTATION_REVISION "deployment.kubernetes.io/revision"
#define ANNOTATION_HISTORY  "deployment.kubernetes.io/revision-history"
#define ANNOTATION_DESIRED  "deployment.kubernetes.io/desired-replicas"
#define ANNOTATION_MAX      "deployment.kubernetes.io/max-replicas"
#define LABEL_HASH          "pod-template-hash"

#define HISTORY_BYTES_MAX 2000 /* of the annotation; the oldest revisions are dropped first */

/* One reconcile.  What is written replaces what it was made from, so later steps see it. */
struct rollout {
    struct controller *c;
    struct object *deployment;
    struct object_list sets; /* all of the deployment's ReplicaSets, oldest first */
    int current;             /* index of the one with the present template; -1: none yet */
};

static void rollout_scoped(struct rollout *r)
{
    object_unref(r->deployment);
    object_list_deinit(&r->sets);
}

/* ---- reading ---- */

static int64_t wanted(const struct object *o)
{
    return json_int(o->doc, "spec.replicas", 1);
}

static int64_t status_of(const struct object *o, const char *field)
{
    const struct json *v = json_get(json_at(o->doc, "status"), field);
    return json_is(v, JSON_INT) ? v->integer : 0;
}

static bool is_rolling(const struct object *d)
{
    return str_equal(json_str(d->doc, "spec.strategy.type", "RollingUpdate"), "RollingUpdate");
}

static bool is_paused(const struct object *d)
{
    return json_bool(d->doc, "spec.paused", false);
}

/* How many pods a rolling update may have too many, and how many too few.  Both zero would be a
 * standstill, so then one may be missing. */
static void fenceposts(const struct object *d, int64_t *surge, int64_t *unavailable)
{
    int64_t total = wanted(d);
    *surge = *unavailable = 0;
    if (!is_rolling(d))
        return;
    const struct json *rolling = json_at(d->doc, "spec.strategy.rollingUpdate");
    if (int_or_percent(json_get(rolling, "maxSurge"), total, true, surge) < 0)
        *surge = 0;
    if (int_or_percent(json_get(rolling, "maxUnavailable"), total, false, unavailable) < 0)
        *unavailable = 0;
    if (*surge == 0 && *unavailable == 0)
        *unavailable = 1;
    if (*unavailable > total)
        *unavailable = total;
}

static int64_t max_surge(const struct object *d)
{
    int64_t surge, unavailable;
    fenceposts(d, &surge, &unavailable);
    return surge;
}

static int64_t max_unavailable(const struct object *d)
{
    int64_t surge, unavailable;
    fenceposts(d, &surge, &unavailable);
    return unavailable;
}

static struct object *current_set(const struct rollout *r)
{
    return r->current < 0 ? NULL : r->sets.items[r->current];
}

enum which { ALL_SETS, OLD_SETS };

static int64_t sum_wanted(const struct rollout *r, enum which which)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += which == OLD_SETS && (int)i == r->current ? 0 : wanted(r->sets.items[i]);
    return sum;
}

static int64_t sum_status(const struct rollout *r, enum which which, const char *field)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += which == OLD_SETS && (int)i == r->current ? 0 : status_of(r->sets.items[i], field);
    return sum;
}

static int64_t revision_of(const struct object *o)
{
    const char *text = object_annotation(o, ANNOTATION_REVISION);
    return text ? strtoll(text, NULL, 10) : 0;
}

/* False if the annotation is missing or no number. */
static bool count_annotation(const struct object *rs, const char *name, int64_t *out)
{
    const char *text = object_annotation(rs, name);
    char *end = NULL;
    *out = text ? strtoll(text, &end, 10) : 0;
    return text && end != text && !*end;
}

/* ---- conditions, which in a deployment also say when they were last confirmed ---- */

struct condition {
    const char *type, *status, *reason, *message;
    const char *updated, *transitioned; /* RFC 3339 */
};

static const struct json *find_condition(const struct json *status, const char *type)
{
    json_each_item (json_get(status, "conditions"), c) {
        if (str_equal(json_str(c, "type", ""), type))
            return c;
    }
    return NULL;
}

static void drop_condition(struct json *status, const char *type)
{
    struct json *list = json_find(status, "conditions");
    for (size_t i = list ? list->len : 0; i-- > 0;) {
        if (str_equal(json_str(&list->items[i], "type", ""), type))
            json_remove_item(list, i);
    }
    if (list && list->len == 0)
        json_drop(status, "conditions");
}

static void append_condition(struct arena *a, struct json *status, const struct condition *k)
{
    struct json *list = make_array(a, status, "conditions");
    struct json *v = json_new(a, JSON_OBJECT);
    json_put_str(a, v, "type", k->type);
    json_put_str(a, v, "status", k->status);
    json_put_str(a, v, "lastUpdateTime", k->updated);
    json_put_str(a, v, "lastTransitionTime", k->transitioned);
    json_put_str(a, v, "reason", k->reason);
    json_put_str(a, v, "message", k->message);
    json_append(a, list, *v);
}

/* A condition that says the same for the same reason stays as it was, times and words. */
static void set_condition(struct arena *a, struct json *status, struct condition k)
{
    const struct json *old = find_condition(status, k.type);
    if (old && str_equal(json_str(old, "status", ""), k.status)) {
        if (str_equal(json_str(old, "reason", ""), k.reason))
            return;
        k.transitioned = arena_strdup(a, json_str(old, "lastTransitionTime", k.transitioned));
    }
    drop_condition(status, k.type);
    append_condition(a, status, &k);
}

static struct condition condition_now(const struct rollout *r, const char *type, const char *status,
                                      const char *reason, const char *message)
{
    const char *now = time_text(r->c, wall_ns(r->c));
    return (struct condition){ type, status, reason, message, now, now };
}

static bool has_deadline(const struct object *d)
{
    return json_int(d->doc, "spec.progressDeadlineSeconds", INT_MAX) != INT_MAX;
}

/* ---- writing ---- */

static void set_progressing(struct rollout *r, struct draft *d, const char *status,
                            const char *reason, const char *message)
{
    struct json *root = make_object(d->arena, d->doc, "status");
    set_condition(d->arena, root, condition_now(r, "Progressing", status, reason, message));
}

static int write_status(struct rollout *r, const struct draft *d, struct error *err)
{
    struct object *result = NULL;
    if (update_object_status(r->c, d, &result, err) < 0)
        return -1;
    object_unref(r->deployment);
    r->deployment = result;
    return 0;
}

static int write_set(struct rollout *r, int index, const struct draft *d, struct error *err)
{
    struct object *result = NULL;
    if (update_object(r->c, d, &result, err) < 0)
        return -1;
    object_unref(r->sets.items[index]);
    r->sets.items[index] = result;
    return 0;
}

static void put_annotation(struct draft *d, const char *name, const char *value)
{
    struct json *list = make_object(d->arena, d->doc, "metadata.annotations");
    json_set(d->arena, list, name, json_string_value(d->arena, value));
}

static bool change_annotation(struct draft *d, const char *name, const char *value)
{
    const struct json *old = json_get(json_at(d->doc, "metadata.annotations"), name);
    if (old && str_equal(json_text(old), value))
        return false;
    put_annotation(d, name, value);
    return true;
}

static const char *number(struct arena *a, int64_t n)
{
    return arena_printf(a, "%lld", (long long)n);
}

/* A ReplicaSet says of which size of deployment it is a part, for later proportional scaling. */
static bool put_sizes(const struct object *deployment, struct draft *rs)
{
    int64_t desired = wanted(deployment);
    bool changed = change_annotation(rs, ANNOTATION_DESIRED, number(rs->arena, desired));
    const char *most = number(rs->arena, desired + max_surge(deployment));
    return change_annotation(rs, ANNOTATION_MAX, most) || changed;
}

static int scale_set(struct rollout *r, int index, int64_t replicas, struct error *err)
{
    struct object *rs = r->sets.items[index];
    int64_t before = wanted(rs);
    scoped(draft) struct draft *d = object_edit(rs);
    bool sizes_changed = put_sizes(r->deployment, d);
    if (before == replicas && !sizes_changed)
        return 0;
    json_put_int(d->arena, d->doc, "spec.replicas", replicas);
    if (write_set(r, index, d, err) < 0)
        return -1;
    if (before != replicas)
        event_record(r->c->events, r->deployment, "Normal", "ScalingReplicaSet",
                     "Scaled %s replica set %s from %lld to %lld",
                     before < replicas ? "up" : "down", r->sets.items[index]->key.name,
                     (long long)before, (long long)replicas);
    return 0;
}

/* 1: scaled; 0: it has that size; -1. */
static int scale_set_if_needed(struct rollout *r, int index, int64_t replicas, struct error *err)
{
    if (wanted(r->sets.items[index]) == replicas)
        return 0;
    return scale_set(r, index, replicas, err) < 0 ? -1 : 1;
}

/* ---- which ReplicaSet is the present one ---- */

static struct json *without_hash(const struct json *template, struct arena *a)
{
    struct json *copy = json_clone(template, a);
    struct json *labels = json_find(copy, "metadata.labels");
    if (labels)
        json_remove(labels, LABEL_HASH);
    return copy;
}

static bool has_same_template(const struct object *rs, const struct json *template, struct arena *a)
{
    return json_equal(without_hash(json_at(rs->doc, "spec.template"), a), template);
}

static int by_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t at = object_created_ns(x), other = object_created_ns(y);
    return at != other ? (at > other) - (at < other) : strcmp(x->key.name, y->key.name);
}

static int find_current(const struct rollout *r)
{
    struct arena *a = r->c->arena;
    const struct json *template = without_hash(json_at(r->deployment->doc, "spec.template"), a);
    for (size_t i = 0; i < r->sets.n; i++) {
        if (has_same_template(r->sets.items[i], template, a))
            return (int)i;
    }
    return -1;
}

/* ---- revisions ---- */

static int64_t next_revision(const struct rollout *r)
{
    int64_t most = 0;
    for (size_t i = 0; i < r->sets.n; i++) {
        int64_t revision = revision_of(r->sets.items[i]);
        if ((int)i != r->current && revision > most)
            most = revision;
    }
    return most + 1;
}

static bool is_own_annotation(const char *name)
{
    static const char *const own[] = {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        ANNOTATION_REVISION,
        ANNOTATION_HISTORY,
        ANNOTATION_DESIRED,
        ANNOTATION_MAX,
    };
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (str_equal(name, own[i]))
            return true;
    }
    return false;
}

static bool copy_annotations(const struct object *deployment, struct draft *rs)
{
    bool changed = false;
    json_each_member (json_at(deployment->doc, "metadata.annotations"), m) {
        if (!is_own_annotation(m->name))
            changed = change_annotation(rs, m->name, json_text(&m->value)) || changed;
    }
    return changed;
}

/* A ReplicaSet that comes back by a rollback keeps the revisions it had: "1,3". */
static void remember_revision(struct draft *rs, const char *revision)
{
    const struct json *annotations = json_at(rs->doc, "metadata.annotations");
    const char *history = json_text(json_get(annotations, ANNOTATION_HISTORY));
    if (str_empty(history)) {
        put_annotation(rs, ANNOTATION_HISTORY, revision);
        return;
    }
    const char *longer = arena_printf(rs->arena, "%s,%s", history, revision);
    while (strlen(longer) > HISTORY_BYTES_MAX && strchr(longer, ','))
        longer = strchr(longer, ',') + 1;
    put_annotation(rs, ANNOTATION_HISTORY, longer);
}

static bool raise_revision(struct draft *rs, int64_t revision)
{
    const struct json *annotations = json_at(rs->doc, "metadata.annotations");
    const char *old = json_text(json_get(annotations, ANNOTATION_REVISION));
    if (old && strtoll(old, NULL, 10) >= revision)
        return false;
    const char *kept = old ? arena_strdup(rs->arena, old) : NULL;
    put_annotation(rs, ANNOTATION_REVISION, number(rs->arena, revision));
    if (kept)
        remember_revision(rs, kept);
    return true;
}

/* ---- the present ReplicaSet: found or made ---- */

static int refresh_current(struct rollout *r, struct error *err)
{
    struct object *rs = current_set(r);
    scoped(draft) struct draft *d = object_edit(rs);
    bool changed = copy_annotations(r->deployment, d);
    changed = raise_revision(d, next_revision(r)) || changed;
    int64_t min_ready = json_int(r->deployment->doc, "spec.minReadySeconds", 0);
    if (json_int(rs->doc, "spec.minReadySeconds", 0) != min_ready) {
        json_put_int(d->arena, d->doc, "spec.minReadySeconds", min_ready);
        changed = true;
    }
    return changed ? write_set(r, r->current, d, err) : 0;
}

/* The deployment says the revision of its present ReplicaSet; a status update may write
 * annotations. */
static int announce_current(struct rollout *r, const char *reason, const char *message,
                            struct error *err)
{
    const char *revision = object_annotation(current_set(r), ANNOTATION_REVISION);
    scoped(draft) struct draft *d = object_edit(r->deployment);
    bool changed = change_annotation(d, ANNOTATION_REVISION, revision ? revision : "");
    bool is_new = str_equal(reason, "NewReplicaSetCreated");
    if (has_deadline(r->deployment) &&
        (is_new || !find_condition(json_at(r->deployment->doc, "status"), "Progressing"))) {
        set_progressing(r, d, "True", reason, message);
        changed = true;
    }
    return changed ? write_status(r, d, err) : 0;
}

static int64_t new_size_of(const struct rollout *r, int64_t now)
{
    int64_t target = wanted(r->deployment);
    if (!is_rolling(r->deployment))
        return target;
    int64_t room = target + max_surge(r->deployment) - sum_wanted(r, ALL_SETS);
    if (room <= 0)
        return now;
    return now + (room < target - now ? room : target - now);
}

static struct draft *draft_set(struct rollout *r, const char *hash)
{
    const struct object *deployment = r->deployment;
    struct draft *d = draft_new(&resources[RESOURCE_REPLICASETS]);
    struct arena *a = d->arena;
    json_put_str(a, d->doc, "metadata.namespace", deployment->key.ns);
    json_put_str(a, d->doc, "metadata.name", arena_printf(a, "%s-%s", deployment->key.name, hash));
    json_put_int(a, d->doc, "spec.replicas", new_size_of(r, 0));
    put_count(a, make_object(a, d->doc, "spec"), "minReadySeconds",
              json_int(deployment->doc, "spec.minReadySeconds", 0));
    json_put(a, d->doc, "spec.selector",
             json_clone_value(json_at(deployment->doc, "spec.selector"), a));
    json_put_str(a, d->doc, "spec.selector.matchLabels." LABEL_HASH, hash);
    json_put(a, d->doc, "spec.template",
             json_clone_value(json_at(deployment->doc, "spec.template"), a));
    json_put_str(a, d->doc, "spec.template.metadata.labels." LABEL_HASH, hash);
    json_put(a, d->doc, "metadata.labels",
             json_clone_value(json_at(d->doc, "spec.template.metadata.labels"), a));
    draft_add_controller(d, deployment);
    copy_annotations(deployment, d);
    raise_revision(d, next_revision(r));
    put_sizes(deployment, d);
    return d;
}

/* The name is taken.  It may be ours from a moment ago; else two templates have one hash, and the
 * next attempt counts that in. */
static int settle_collision(struct rollout *r, const struct draft *d, struct object **out,
                            const struct error *failure, struct error *err)
{
    scoped(object) struct object *there = NULL;
    struct object_key key = { r->deployment->key.ns, json_str(d->doc, "metadata.name", "") };
    if (client_get(r->c->client, d->resource, &key, &there, err) < 0)
        return -1;
    struct arena *a = r->c->arena;
    const struct json *template = without_hash(json_at(r->deployment->doc, "spec.template"), a);
    if (object_is_controlled_by(there, r->deployment) && has_same_template(there, template, a)) {
        *out = take_ptr(&there);
        return 0;
    }
    scoped(draft) struct draft *bumped = object_edit(r->deployment);
    json_put_int(bumped->arena, bumped->doc, "status.collisionCount",
                 json_int(bumped->doc, "status.collisionCount", 0) + 1);
    if (write_status(r, bumped, err) < 0)
        return -1;
    return error_set(err, failure->code, "%s", failure->message);
}

static int report_failed_create(struct rollout *r, const char *name, const struct error *failure,
                                struct error *err)
{
    const char *message = arena_printf(r->c->arena, "Failed to create new replica set \"%s\": %s",
                                       name, failure->message);
    if (has_deadline(r->deployment)) {
        scoped(draft) struct draft *d = object_edit(r->deployment);
        set_progressing(r, d, "False", "ReplicaSetCreateError", message);
        struct error ignored = { 0 };
        if (write_status(r, d, &ignored) < 0)
            log_debug("deployment", "%s", ignored.message);
    }
    event_record(r->c->events, r->deployment, "Warning", "ReplicaSetCreateError", "%s", message);
    return error_set(err, failure->code, "%s", failure->message);
}

static void adopt_made(struct rollout *r, struct object *made)
{
    object_list_add_take(&r->sets, made);
    r->current = (int)r->sets.n - 1;
}

static int create_current(struct rollout *r, struct error *err)
{
    const char *hash = hash_name(r->c, json_at(r->deployment->doc, "spec.template"),
                                 json_int(r->deployment->doc, "status.collisionCount", 0));
    scoped(draft) struct draft *d = draft_set(r, hash);
    const char *name = json_str(d->doc, "metadata.name", "");
    struct object *made = NULL;
    struct error failure = { 0 };
    bool existed = false;
    if (create_object(r->c, d, &made, &failure) < 0) {
        if (is_namespace_terminating(&failure))
            return error_set(err, failure.code, "%s", failure.message);
        existed = failure.code == ERR_ALREADY_EXISTS;
        if (!existed)
            return report_failed_create(r, name, &failure, err);
        if (settle_collision(r, d, &made, &failure, err) < 0)
            return -1;
    }
    adopt_made(r, made);
    if (!existed && wanted(made) > 0)
        event_record(r->c->events, r->deployment, "Normal", "ScalingReplicaSet",
                     "Scaled up replica set %s from 0 to %lld", name, (long long)wanted(made));
    return announce_current(
        r, existed ? "FoundNewReplicaSet" : "NewReplicaSetCreated",
        arena_printf(r->c->arena, "%s new replica set \"%s\"", existed ? "Found" : "Created", name),
        err);
}

static int sync_revision(struct rollout *r, bool may_create, struct error *err)
{
    if (r->current < 0)
        return may_create ? create_current(r, err) : 0;
    if (refresh_current(r, err) < 0)
        return -1;
    return announce_current(
        r, "FoundNewReplicaSet",
        arena_printf(r->c->arena, "Found new replica set \"%s\"", current_set(r)->key.name), err);
}

/* ---- status ---- */

static void put_available(struct rollout *r, struct arena *a, struct json *status)
{
    bool enough = sum_status(r, ALL_SETS, "availableReplicas") >=
                  wanted(r->deployment) - max_unavailable(r->deployment);
    set_condition(a, status,
                  enough ? condition_now(r, "Available", "True", "MinimumReplicasAvailable",
                                         "Deployment has minimum availability.")
                         : condition_now(r, "Available", "False", "MinimumReplicasUnavailable",
                                         "Deployment does not have minimum availability."));
}

static struct json *calculate_status(struct rollout *r, struct arena *a)
{
    struct json *status = json_new(a, JSON_OBJECT);
    const struct json *old = json_at(r->deployment->doc, "status");
    int64_t available = sum_status(r, ALL_SETS, "availableReplicas");
    int64_t unavailable = sum_wanted(r, ALL_SETS) - available;
    put_count(a, status, "observedGeneration", object_generation(r->deployment));
    put_count(a, status, "replicas", sum_status(r, ALL_SETS, "replicas"));
    put_count(a, status, "updatedReplicas",
              current_set(r) ? status_of(current_set(r), "replicas") : 0);
    put_count(a, status, "readyReplicas", sum_status(r, ALL_SETS, "readyReplicas"));
    put_count(a, status, "availableReplicas", available);
    put_count(a, status, "unavailableReplicas", unavailable > 0 ? unavailable : 0);
    json_put_int(a, status, "terminatingReplicas", sum_status(r, ALL_SETS, "terminatingReplicas"));
    static const char *const kept[] = { "collisionCount", "conditions" };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *v = json_get(old, kept[i]);
        if (v)
            json_put(a, status, kept[i], json_clone_value(v, a));
    }
    put_available(r, a, status);
    return status;
}

static bool is_complete(const struct object *d, const struct json *status)
{
    int64_t n = wanted(d);
    return json_int(status, "updatedReplicas", 0) == n && json_int(status, "replicas", 0) == n &&
           json_int(status, "availableReplicas", 0) == n &&
           json_int(status, "observedGeneration", 0) >= object_generation(d);
}

static bool has_progressed(const struct json *old, const struct json *new)
{
    int64_t old_left = json_int(old, "replicas", 0) - json_int(old, "updatedReplicas", 0);
    int64_t new_left = json_int(new, "replicas", 0) - json_int(new, "updatedReplicas", 0);
    return new_left < old_left ||
           json_int(new, "updatedReplicas", 0) > json_int(old, "updatedReplicas", 0) ||
           json_int(new, "readyReplicas", 0) > json_int(old, "readyReplicas", 0) ||
           json_int(new, "availableReplicas", 0) > json_int(old, "availableReplicas", 0);
}

static int64_t deadline_ns(const struct object *d, const struct json *progressing)
{
    int64_t from = 0;
    time_parse(json_str(progressing, "lastUpdateTime", ""), &from);
    return from + json_int(d->doc, "spec.progressDeadlineSeconds", 0) * NS_PER_S;
}

static bool has_timed_out(const struct rollout *r, const struct json *status)
{
    const struct json *progressing = find_condition(status, "Progressing");
    const char *reason = json_str(progressing, "reason", "");
    if (!progressing || str_equal(reason, "NewReplicaSetAvailable"))
        return false;
    if (str_equal(reason, "ProgressDeadlineExceeded"))
        return true;
    return deadline_ns(r->deployment, progressing) < wall_ns(r->c);
}

static const char *about_progress(const struct rollout *r, const char *what)
{
    const struct object *rs = current_set(r);
    return arena_printf(r->c->arena, "%s \"%s\" %s", rs ? "ReplicaSet" : "Deployment",
                        rs ? rs->key.name : r->deployment->key.name, what);
}

/* Each step forward renews lastUpdateTime, from which the deadline counts. */
static void put_progress(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *old = find_condition(status, "Progressing");
    struct condition k = condition_now(r, "Progressing", "True", "ReplicaSetUpdated",
                                       about_progress(r, "is progressing."));
    if (old && str_equal(json_str(old, "status", ""), "True"))
        k.transitioned = arena_strdup(a, json_str(old, "lastTransitionTime", k.transitioned));
    drop_condition(status, "Progressing");
    append_condition(a, status, &k);
}

static void put_progressing(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *old = json_at(r->deployment->doc, "status");
    const struct json *was = find_condition(old, "Progressing");
    if (!has_deadline(r->deployment)) {
        drop_condition(status, "Progressing");
        return;
    }
    bool was_complete = str_equal(json_str(was, "reason", ""), "NewReplicaSetAvailable") &&
                        json_int(status, "replicas", 0) == json_int(status, "updatedReplicas", 0);
    if (was_complete)
        return;
    if (is_complete(r->deployment, status))
        set_condition(a, status,
                      condition_now(r, "Progressing", "True", "NewReplicaSetAvailable",
                                    about_progress(r, "has successfully progressed.")));
    else if (has_progressed(old, status))
        put_progress(r, a, status);
    else if (has_timed_out(r, status))
        set_condition(a, status,
                      condition_now(r, "Progressing", "False", "ProgressDeadlineExceeded",
                                    about_progress(r, "has timed out progressing.")));
}

/* Why pods are missing, as the present ReplicaSet says it, or another one. */
static void put_failure(struct rollout *r, struct arena *a, struct json *status)
{
    const struct json *failure = NULL;
    if (current_set(r))
        failure = object_condition(current_set(r), "ReplicaFailure");
    for (size_t i = 0; i < r->sets.n && !failure; i++)
        failure = object_condition(r->sets.items[i], "ReplicaFailure");
    if (!failure) {
        drop_condition(status, "ReplicaFailure");
        return;
    }
    const char *at = json_str(failure, "lastTransitionTime", "");
    struct condition k = { "ReplicaFailure",
                           json_str(failure, "status", "True"),
                           json_str(failure, "reason", ""),
                           json_str(failure, "message", ""),
                           at,
                           at };
    set_condition(a, status, k);
}

/* The deadline passes without any change that would bring the key back: come back by the clock. */
static void await_deadline(struct rollout *r, const struct json *status)
{
    const struct json *progressing = find_condition(status, "Progressing");
    if (!has_deadline(r->deployment) || !progressing || is_complete(r->deployment, status) ||
        str_equal(json_str(progressing, "reason", ""), "ProgressDeadlineExceeded"))
        return;
    int64_t left = deadline_ns(r->deployment, progressing) - wall_ns(r->c);
    enqueue_key_after(r->c, &r->deployment->key, (left > 0 ? left / NS_PER_MS : 0) + 1000);
}

static int write_status_if_changed(struct rollout *r, struct draft *d, struct json *status,
                                   struct error *err)
{
    if (json_equal(json_at(r->deployment->doc, "status"), status))
        return 0;
    json_put(d->arena, d->doc, "status", *status);
    return write_status(r, d, err);
}

static int sync_status(struct rollout *r, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(r->deployment);
    return write_status_if_changed(r, d, calculate_status(r, d->arena), err);
}

static int sync_rollout_status(struct rollout *r, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(r->deployment);
    struct json *status = calculate_status(r, d->arena);
    put_progressing(r, d->arena, status);
    put_failure(r, d->arena, status);
    await_deadline(r, status);
    return write_status_if_changed(r, d, status, err);
}

/* ---- scaling ---- */

static int scale_old_to_zero(struct rollout *r, struct error *err)
{
    int scaled = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        int rc = i == r->current ? 0 : scale_set_if_needed(r, i, 0, err);
        if (rc < 0)
            return -1;
        scaled += rc;
    }
    return scaled;
}

/* The only one with pods; where none has any, the present or the latest.  -1: several have. */
static int only_active(const struct rollout *r)
{
    int active = -1, n = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (wanted(r->sets.items[i]) > 0) {
            active = i;
            n++;
        }
    }
    if (n == 0)
        return r->current >= 0 ? r->current : (int)r->sets.n - 1;
    return n == 1 ? active : -1;
}

static bool is_saturated(const struct rollout *r)
{
    const struct object *rs = current_set(r);
    int64_t desired, target = wanted(r->deployment);
    return rs && count_annotation(rs, ANNOTATION_DESIRED, &desired) && desired == target &&
           wanted(rs) == target && status_of(rs, "availableReplicas") == target;
}

/* RS's share of a deployment that goes from its old size to its new one. */
static int64_t share_of(const struct rollout *r, const struct object *rs, int64_t left)
{
    int64_t size = wanted(rs), target = wanted(r->deployment), share;
    int64_t before = 0;
    if (size == 0 || left == 0)
        return 0;
    if (target == 0) {
        share = -size;
    } else {
        if (!count_annotation(rs, ANNOTATION_MAX, &before) || before == 0)
            before = status_of(r->deployment, "replicas");
        double scaled = (double)size * (double)(target + max_surge(r->deployment));
        share = before > 0 ? (int64_t)llround(scaled / (double)before) - size : 0;
    }
    if (left > 0)
        return share < left ? share : left;
    return share > left ? share : left;
}

struct sized {
    int index;
    int64_t size;
    bool newer_first; /* among equals */
};

static int by_size(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->newer_first ? y->index - x->index : x->index - y->index;
}

/* In the middle of a rollout: each ReplicaSet gets its share, what rounding leaves goes to the
 * largest. */
static int scale_in_proportion(struct rollout *r, struct error *err)
{
    int64_t target = wanted(r->deployment);
    int64_t allowed = target > 0 ? target + max_surge(r->deployment) : 0;
    int64_t to_add = allowed - sum_wanted(r, ALL_SETS), added = 0;
    struct sized *order = arena_alloc(r->c->arena, (r->sets.n + 1) * sizeof(*order));
    size_t n = 0;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (wanted(r->sets.items[i]) > 0)
            order[n++] = (struct sized){ i, wanted(r->sets.items[i]), to_add > 0 };
    }
    qsort(order, n, sizeof(*order), by_size);
    for (size_t i = 0; i < n; i++) {
        int64_t share = share_of(r, r->sets.items[order[i].index], to_add - added);
        order[i].size += share;
        added += share;
    }
    if (n > 0)
        order[0].size += to_add - added;
    for (size_t i = 0; i < n; i++) {
        if (scale_set(r, order[i].index, order[i].size > 0 ? order[i].size : 0, err) < 0)
            return -1;
    }
    return 0;
}

static int scale(struct rollout *r, struct error *err)
{
    int active = only_active(r);
    if (active >= 0)
        return scale_set_if_needed(r, active, wanted(r->deployment), err) < 0 ? -1 : 0;
    if (r->sets.n == 0)
        return 0;
    if (is_saturated(r))
        return scale_old_to_zero(r, err) < 0 ? -1 : 0;
    return is_rolling(r->deployment) ? scale_in_proportion(r, err) : 0;
}

static bool is_scaling_event(const struct rollout *r)
{
    int64_t desired;
    for (size_t i = 0; i < r->sets.n; i++) {
        const struct object *rs = r->sets.items[i];
        if (wanted(rs) > 0 && count_annotation(rs, ANNOTATION_DESIRED, &desired) &&
            desired != wanted(r->deployment))
            return true;
    }
    return false;
}

/* ---- old revisions ---- */

static int by_revision(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t older = revision_of(x), newer = revision_of(y);
    return older != newer ? (older > newer) - (older < newer) : by_age(a, b);
}

static int clean_up(struct rollout *r, struct error *err)
{
    int64_t limit = json_int(r->deployment->doc, "spec.revisionHistoryLimit", INT_MAX);
    scoped(object_list) struct object_list old = { 0 };
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (i != r->current && !object_is_deleting(r->sets.items[i]))
            object_list_add(&old, r->sets.items[i]);
    }
    if (limit == INT_MAX || (int64_t)old.n <= limit)
        return 0;
    qsort(old.items, old.n, sizeof(*old.items), by_revision);
    for (size_t i = 0; i < old.n - (size_t)limit; i++) {
        struct object *rs = old.items[i];
        if (status_of(rs, "replicas") != 0 || wanted(rs) != 0 ||
            object_generation(rs) > status_of(rs, "observedGeneration"))
            continue;
        if (delete_object(r->c, rs, PROPAGATION_DEFAULT, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- strategies ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int grow_current(struct rollout *r, struct error *err)
{
    int64_t size = wanted(current_set(r)), target = wanted(r->deployment);
    if (size > target)
        return scale_set_if_needed(r, r->current, target, err);
    return scale_set_if_needed(r, r->current, new_size_of(r, size), err);
}

/* Pods that do not work are no loss: they go first, oldest ReplicaSet first. */
static int64_t shrink_unhealthy(struct rollout *r, int64_t most, struct error *err)
{
    int64_t total = 0;
    for (int i = 0; i < (int)r->sets.n && total < most; i++) {
        int64_t size = wanted(r->sets.items[i]);
        int64_t broken = size - status_of(r->sets.items[i], "availableReplicas");
        if (i == r->current || size == 0 || broken <= 0)
            continue;
        int64_t n = least(most - total, broken);
        if (scale_set(r, i, size - n, err) < 0)
            return -1;
        total += n;
    }
    return total;
}

/* A ReplicaSet that has just been told to shrink still counts the pods it is about to delete. */
static int64_t count_staying(const struct rollout *r)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += least(status_of(r->sets.items[i], "availableReplicas"), wanted(r->sets.items[i]));
    return sum;
}

static int64_t shrink_available(struct rollout *r, struct error *err)
{
    int64_t spare = count_staying(r) - (wanted(r->deployment) - max_unavailable(r->deployment));
    int64_t total = 0;
    for (int i = 0; i < (int)r->sets.n && total < spare; i++) {
        int64_t size = wanted(r->sets.items[i]);
        if (i == r->current || size == 0)
            continue;
        int64_t n = least(size, spare - total);
        if (scale_set(r, i, size - n, err) < 0)
            return -1;
        total += n;
    }
    return total;
}

/* 1: something was scaled down; 0; -1. */
static int shrink_old(struct rollout *r, struct error *err)
{
    const struct object *rs = current_set(r);
    if (sum_wanted(r, OLD_SETS) == 0)
        return 0;
    int64_t at_least = wanted(r->deployment) - max_unavailable(r->deployment);
    int64_t not_yet = wanted(rs) - status_of(rs, "availableReplicas");
    int64_t most = sum_wanted(r, ALL_SETS) - at_least - not_yet;
    if (most <= 0)
        return 0;
    int64_t unhealthy = shrink_unhealthy(r, most, err);
    if (unhealthy < 0)
        return -1;
    int64_t available = shrink_available(r, err);
    if (available < 0)
        return -1;
    return unhealthy + available > 0;
}

static int finish(struct rollout *r, struct error *err)
{
    if (is_complete(r->deployment, json_at(r->deployment->doc, "status")) && clean_up(r, err) < 0)
        return -1;
    return sync_rollout_status(r, err);
}

static int roll(struct rollout *r, struct error *err)
{
    if (sync_revision(r, true, err) < 0)
        return -1;
    int scaled = grow_current(r, err);
    if (scaled == 0)
        scaled = shrink_old(r, err);
    if (scaled < 0)
        return -1;
    return scaled ? sync_rollout_status(r, err) : finish(r, err);
}

static bool old_pods_are_left(struct rollout *r)
{
    if (sum_status(r, OLD_SETS, "replicas") > 0)
        return true;
    for (int i = 0; i < (int)r->sets.n; i++) {
        if (i == r->current)
            continue;
        scoped(object_list) struct object_list pods = { 0 };
        cache_list_by(r->c, RESOURCE_PODS, "controller", r->sets.items[i]->uid, &pods);
        object_list_each (&pods, pod) {
            if (!pod_is_finished(pod))
                return true;
        }
    }
    return false;
}

static int recreate(struct rollout *r, struct error *err)
{
    if (sync_revision(r, false, err) < 0)
        return -1;
    int scaled = scale_old_to_zero(r, err);
    if (scaled < 0)
        return -1;
    if (scaled > 0 || old_pods_are_left(r))
        return sync_rollout_status(r, err);
    if (r->current < 0 && sync_revision(r, true, err) < 0)
        return -1;
    if (scale_set_if_needed(r, r->current, wanted(r->deployment), err) < 0)
        return -1;
    return finish(r, err);
}

/* ---- the whole ---- */

static int claim_sets(struct rollout *r, struct error *err)
{
    const struct selector *selector = owner_selector(r->deployment, r->c->arena, err);
    if (!selector)
        return -1;
    if (claim_objects(r->c, r->deployment, RESOURCE_REPLICASETS, selector, &r->sets, err) < 0)
        return -1;
    if (r->sets.n > 1)
        qsort(r->sets.items, r->sets.n, sizeof(*r->sets.items), by_age);
    r->current = find_current(r);
    return 0;
}

/* While a deployment is paused its deadline does not run. */
static int mark_pause(struct rollout *r, struct error *err)
{
    const struct object *deployment = r->deployment;
    const struct json *progressing =
        find_condition(json_at(deployment->doc, "status"), "Progressing");
    const char *reason = json_str(progressing, "reason", "");
    bool is_marked = str_equal(reason, "DeploymentPaused");
    if (!has_deadline(deployment) || str_equal(reason, "ProgressDeadlineExceeded") ||
        is_paused(deployment) == is_marked)
        return 0;
    scoped(draft) struct draft *d = object_edit(deployment);
    if (is_paused(deployment))
        set_progressing(r, d, "Unknown", "DeploymentPaused", "Deployment is paused");
    else
        set_progressing(r, d, "Unknown", "DeploymentResumed", "Deployment is resumed");
    return write_status(r, d, err);
}

static int resize(struct rollout *r, struct error *err)
{
    if (sync_revision(r, false, err) < 0 || scale(r, err) < 0)
        return -1;
    if (is_paused(r->deployment) && clean_up(r, err) < 0)
        return -1;
    return sync_status(r, err);
}

static int refuse_everything(struct rollout *r, struct error *err)
{
    event_record(r->c->events, r->deployment, "Warning", "SelectingAll",
                 "This deployment is selecting all pods. A non-empty selector is required.");
    if (status_of(r->deployment, "observedGeneration") >= object_generation(r->deployment))
        return 0;
    scoped(draft) struct draft *d = object_edit(r->deployment);
    json_put_int(d->arena, d->doc, "status.observedGeneration", object_generation(r->deployment));
    return write_status(r, d, err);
}

static int sync_deployment(struct rollout *r, struct error *err)
{
    if (json_len(r->deployment->doc, "spec.selector") == 0)
        return refuse_everything(r, err);
    if (claim_sets(r, err) < 0)
        return -1;
    if (object_is_deleting(r->deployment))
        return sync_revision(r, false, err) < 0 ? -1 : sync_status(r, err);
    if (mark_pause(r, err) < 0)
        return -1;
    if (is_paused(r->deployment) || is_scaling_event(r))
        return resize(r, err);
    return is_rolling(r->deployment) ? roll(r, err) : recreate(r, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(rollout) struct rollout r = { .c = c, .current = -1 };
    r.deployment = cache_get(c, RESOURCE_DEPLOYMENTS, key);
    return r.deployment ? sync_deployment(&r, err) : 0;
}

/* A Recreate waits until the last old pod has gone. */
static void enqueue_of_gone_pod(struct controller *c, const struct informer_event *e)
{
    const struct json *owner = e->new ? NULL : object_controller(e->old);
    if (!owner || !str_equal(json_str(owner, "kind", ""), "ReplicaSet"))
        return;
    struct object_key key = { e->old->key.ns, json_str(owner, "name", "") };
    scoped(object) struct object *rs = cache_get(c, RESOURCE_REPLICASETS, &key);
    const struct json *deployment = rs ? object_controller(rs) : NULL;
    if (deployment && str_equal(json_str(deployment, "kind", ""), "Deployment"))
        enqueue_key(c, &(struct object_key){ key.ns, json_str(deployment, "name", "") });
}

const struct controller_spec deployment_controller = {
    .name = "deployment",
    .account = "deployment-controller",
    .source = "deployment-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_DEPLOYMENTS, enqueue_self },
        { RESOURCE_REPLICASETS, enqueue_owner_or_selecting },
        { RESOURCE_PODS,        enqueue_of_gone_pod },
    },
    .indexes = {
        { RESOURCE_DEPLOYMENTS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_REPLICASETS),
        OWNED_INDEXES(RESOURCE_PODS),
    },
    .reconcile = reconcile,
};
