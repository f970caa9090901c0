/* SPDX-License-Identifier: Apache-2.0 */
/* rollout_sets - the ReplicaSets of a deployment: found, made, scaled, numbered, cleaned up. */
#include "controllers/rollout.h"

#include <limits.h>

#include "base/log.h"

#define ANNOTATION_REVISION "deployment.kubernetes.io/revision"
#define ANNOTATION_HISTORY  "deployment.kubernetes.io/revision-history"
#define LABEL_HASH          "pod-template-hash"

#define HISTORY_BYTES_MAX 2000 /* of the annotation; the oldest revisions are dropped first */

/* ---- writing ---- */

int rollout_write_status(struct rollout *r, const struct draft *d, struct error *err)
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
    struct json *list = json_make_object(d->arena, d->doc, "metadata.annotations");
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
    int64_t desired = rollout_replicas(deployment);
    bool changed = change_annotation(rs, ANNOTATION_DESIRED, number(rs->arena, desired));
    const char *most = number(rs->arena, desired + rollout_max_surge(deployment));
    return change_annotation(rs, ANNOTATION_MAX, most) || changed;
}

int rollout_scale(struct rollout *r, int index, int64_t replicas, struct error *err)
{
    struct object *rs = r->sets.items[index];
    int64_t before = rollout_replicas(rs);
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

int rollout_scale_if_needed(struct rollout *r, int index, int64_t replicas, struct error *err)
{
    if (rollout_replicas(r->sets.items[index]) == replicas)
        return 0;
    return rollout_scale(r, index, replicas, err) < 0 ? -1 : 1;
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

int rollout_by_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t at = object_created_ns(x), other = object_created_ns(y);
    return at != other ? (at > other) - (at < other) : strcmp(x->key.name, y->key.name);
}

int rollout_find_current(const struct rollout *r)
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

static int64_t revision_of(const struct object *o)
{
    const char *text = object_annotation(o, ANNOTATION_REVISION);
    return text ? strtoll(text, NULL, 10) : 0;
}

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
    struct object *rs = rollout_current(r);
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
    const char *revision = object_annotation(rollout_current(r), ANNOTATION_REVISION);
    scoped(draft) struct draft *d = object_edit(r->deployment);
    bool changed = change_annotation(d, ANNOTATION_REVISION, revision ? revision : "");
    bool is_new = str_equal(reason, "NewReplicaSetCreated");
    if (rollout_has_deadline(r->deployment) &&
        (is_new || !rollout_condition(json_at(r->deployment->doc, "status"), "Progressing"))) {
        rollout_set_progressing(r, d, "True", reason, message);
        changed = true;
    }
    return changed ? rollout_write_status(r, d, err) : 0;
}

int64_t rollout_new_size(const struct rollout *r, int64_t now)
{
    int64_t target = rollout_replicas(r->deployment);
    if (!rollout_is_rolling(r->deployment))
        return target;
    int64_t room = target + rollout_max_surge(r->deployment) - rollout_sum_replicas(r, ALL_SETS);
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
    json_put_int(a, d->doc, "spec.replicas", rollout_new_size(r, 0));
    put_count(a, json_make_object(a, d->doc, "spec"), "minReadySeconds",
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
    if (rollout_write_status(r, bumped, err) < 0)
        return -1;
    return error_set(err, failure->code, "%s", failure->message);
}

static int report_failed_create(struct rollout *r, const char *name, const struct error *failure,
                                struct error *err)
{
    const char *message = arena_printf(r->c->arena, "Failed to create new replica set \"%s\": %s",
                                       name, failure->message);
    if (rollout_has_deadline(r->deployment)) {
        scoped(draft) struct draft *d = object_edit(r->deployment);
        rollout_set_progressing(r, d, "False", "ReplicaSetCreateError", message);
        struct error ignored = { 0 };
        if (rollout_write_status(r, d, &ignored) < 0)
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
    if (!existed && rollout_replicas(made) > 0)
        event_record(r->c->events, r->deployment, "Normal", "ScalingReplicaSet",
                     "Scaled up replica set %s from 0 to %lld", name,
                     (long long)rollout_replicas(made));
    return announce_current(
        r, existed ? "FoundNewReplicaSet" : "NewReplicaSetCreated",
        arena_printf(r->c->arena, "%s new replica set \"%s\"", existed ? "Found" : "Created", name),
        err);
}

int rollout_sync_revision(struct rollout *r, bool may_create, struct error *err)
{
    if (r->current < 0)
        return may_create ? create_current(r, err) : 0;
    if (refresh_current(r, err) < 0)
        return -1;
    return announce_current(
        r, "FoundNewReplicaSet",
        arena_printf(r->c->arena, "Found new replica set \"%s\"", rollout_current(r)->key.name),
        err);
}

/* ---- old revisions ---- */

static int by_revision(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t older = revision_of(x), newer = revision_of(y);
    return older != newer ? (older > newer) - (older < newer) : rollout_by_age(a, b);
}

int rollout_clean_up(struct rollout *r, struct error *err)
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
        if (rollout_status_count(rs, "replicas") != 0 || rollout_replicas(rs) != 0 ||
            object_generation(rs) > rollout_status_count(rs, "observedGeneration"))
            continue;
        if (delete_object(r->c, rs, PROPAGATION_DEFAULT, err) < 0)
            return -1;
    }
    return 0;
}
