/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statefulset - pods with names, numbers and volumes of their own, one after the other.
 *
 *     web-0  web-1  web-2      made from left to right, each when the one before is ready
 *                              deleted and updated from right to left
 *
 * One reconcile does at most one such step where the order counts (podManagementPolicy
 * OrderedReady) and leaves the rest to the events that follow.
 */
#include "controllers/revisions.h"
#include "controllers/statefulset_claims.h"

#define LABEL_POD_NAME "statefulset.kubernetes.io/pod-name"
#define LABEL_INDEX    "apps.kubernetes.io/pod-index"
#define REPLICAS_MAX   100000 /* of one set; more are not looked at */

struct sync {
    struct controller *c;
    struct object *set;
    struct object_list revisions;
    struct object *update, *current; /* revisions */
    struct object_list pods;         /* ours, whatever their number */
    struct object **replicas;        /* by ordinal from START; NULL: missing; borrowed */
    int64_t start, n;
    struct object_list condemned; /* beyond the range, highest ordinal first */
    int64_t collisions;
    bool is_ordered;
    int64_t next_available_ns;
};

static void sync_scoped(struct sync *s)
{
    object_unref(s->set);
    object_unref(s->update);
    object_unref(s->current);
    object_list_deinit(&s->revisions);
    object_list_deinit(&s->pods);
    object_list_deinit(&s->condemned);
}

/* ---- reading ---- */

/* The number at the end of a pod's name, -1 if it is not a name of this set. */
static int64_t ordinal_of(const struct object *set, const struct object *pod)
{
    size_t n = strlen(set->key.name);
    const char *name = pod->key.name;
    if (strncmp(name, set->key.name, n) != 0 || name[n] != '-' || name[n + 1] < '0' ||
        name[n + 1] > '9')
        return -1;
    char *end;
    long long ordinal = strtoll(name + n + 1, &end, 10);
    return *end ? -1 : ordinal;
}

static bool is_running_and_ready(const struct object *pod)
{
    return str_equal(json_str(pod->doc, "status.phase", ""), "Running") && pod_is_ready(pod);
}

static bool is_healthy(const struct object *pod)
{
    return is_running_and_ready(pod) && !object_is_deleting(pod);
}

static bool is_available(struct sync *s, const struct object *pod)
{
    return is_running_and_ready(pod) &&
           pod_is_available(pod, json_int(s->set->doc, "spec.minReadySeconds", 0), wall_ns(s->c),
                            &s->next_available_ns);
}

static bool is_of_revision(const struct object *pod, const struct object *revision)
{
    return str_equal(object_label(pod, LABEL_REVISION), revision->key.name);
}

static bool is_rolling(const struct sync *s)
{
    return str_equal(json_str(s->set->doc, "spec.updateStrategy.type", "RollingUpdate"),
                     "RollingUpdate");
}

static int64_t partition(const struct sync *s)
{
    return json_int(s->set->doc, "spec.updateStrategy.rollingUpdate.partition", 0);
}

/* ---- events ---- */

static void tell(struct sync *s, const char *verb, const char *reason, const char *pod,
                 const struct error *failure)
{
    if (failure)
        event_record(s->c->events, s->set, "Warning", reason,
                     "%s Pod %s in StatefulSet %s failed error: %s", verb, pod, s->set->key.name,
                     failure->message);
    else
        event_record(s->c->events, s->set, "Normal", reason,
                     "%s Pod %s in StatefulSet %s successful", verb, pod, s->set->key.name);
}

/* ---- one pod ---- */

static struct claims claims_of(struct sync *s, int64_t ordinal, const char *pod)
{
    return (struct claims){ .c = s->c, .set = s->set, .ordinal = ordinal, .pod = pod };
}

static struct json *template_of(const struct object *revision, struct arena *a)
{
    struct json *template = json_clone(revision_template(revision), a);
    json_drop(template, "$patch");
    return template;
}

static const char *pod_name(struct sync *s, int64_t ordinal)
{
    return arena_printf(s->c->arena, "%s-%lld", s->set->key.name, (long long)ordinal);
}

static void put_identity(struct draft *pod, const char *name, int64_t ordinal)
{
    struct arena *a = pod->arena;
    struct json *labels = json_make_object(a, pod->doc, "metadata.labels");
    json_set(a, labels, LABEL_POD_NAME, json_string_value(a, name));
    json_set(a, labels, LABEL_INDEX,
             json_string_value(a, arena_printf(a, "%lld", (long long)ordinal)));
}

static struct draft *draft_pod(struct sync *s, const struct object *revision, int64_t ordinal)
{
    struct draft *pod = pod_from_template(s->set, template_of(revision, s->c->arena));
    struct arena *a = pod->arena;
    const char *name = pod_name(s, ordinal);
    put_identity(pod, name, ordinal);
    json_set(a, json_make_object(a, pod->doc, "metadata.labels"), LABEL_REVISION,
             json_string_value(a, revision->key.name));
    json_put_str(a, pod->doc, "metadata.name", name);
    json_put_str(a, pod->doc, "spec.hostname", name);
    const char *service = json_str(s->set->doc, "spec.serviceName", "");
    if (*service)
        json_put_str(a, pod->doc, "spec.subdomain", service);
    struct claims claims = claims_of(s, ordinal, name);
    claims_put_volumes(&claims, pod);
    return pod;
}

static int create_replica(struct sync *s, int64_t ordinal, struct error *err)
{
    bool keeps_old = is_rolling(s) && ordinal < s->start + partition(s);
    scoped(draft) struct draft *pod = draft_pod(s, keeps_old ? s->current : s->update, ordinal);
    scoped(object) struct object *made = NULL;
    const char *name = json_str(pod->doc, "metadata.name", "");
    struct claims claims = claims_of(s, ordinal, name);
    struct error failure = { 0 };
    if (claims_create(&claims, &failure) < 0 || create_object(s->c, pod, &made, &failure) < 0) {
        if (is_namespace_terminating(&failure))
            return 0;
        if (failure.code != ERR_ALREADY_EXISTS) /* a pod that is not of this set has the name */
            tell(s, "create", "FailedCreate", name, &failure);
        return error_set(err, failure.code, "%s", failure.message);
    }
    tell(s, "create", "SuccessfulCreate", name, NULL);
    return claims_set_owners(&claims, made, true, err);
}

static int delete_replica(struct sync *s, const struct object *pod, struct error *err)
{
    struct error failure = { 0 };
    if (delete_object(s->c, pod, PROPAGATION_DEFAULT, &failure) < 0) {
        tell(s, "delete", "FailedDelete", pod->key.name, &failure);
        return error_set(err, failure.code, "%s", failure.message);
    }
    tell(s, "delete", "SuccessfulDelete", pod->key.name, NULL);
    return 0;
}

/* What users took away comes back: the label with its name, and the owners of its claims. */
static int restore_replica(struct sync *s, const struct object *pod, int64_t ordinal,
                           struct error *err)
{
    struct claims claims = claims_of(s, ordinal, pod->key.name);
    if (claims_set_owners(&claims, pod, true, err) < 0)
        return -1;
    if (str_equal(object_label(pod, LABEL_POD_NAME), pod->key.name))
        return 0;
    scoped(draft) struct draft *d = object_edit(pod);
    struct error failure = { 0 };
    put_identity(d, pod->key.name, ordinal);
    if (update_object(s->c, d, NULL, &failure) < 0) {
        if (failure.code != ERR_CONFLICT)
            tell(s, "update", "FailedUpdate", pod->key.name, &failure);
        return error_set(err, failure.code, "%s", failure.message);
    }
    tell(s, "update", "SuccessfulUpdate", pod->key.name, NULL);
    return 0;
}

/* ---- steps; 1: a step was taken or is waited for, so no other may follow; 0: go on; -1 ---- */

static int restart_finished(struct sync *s, const struct object *pod, struct error *err)
{
    bool failed = str_equal(json_str(pod->doc, "status.phase", ""), "Failed");
    event_record(s->c->events, s->set, failed ? "Warning" : "Normal",
                 failed ? "RecreatingFailedPod" : "RecreatingTerminatedPod",
                 "StatefulSet %s/%s is recreating %s Pod %s", s->set->key.ns, s->set->key.name,
                 failed ? "failed" : "terminated", pod->key.name);
    return delete_replica(s, pod, err) < 0 ? -1 : s->is_ordered;
}

static int step_missing(struct sync *s, int64_t ordinal, struct error *err)
{
    struct claims claims = claims_of(s, ordinal, pod_name(s, ordinal));
    if (claims_are_stale(&claims))
        return 1; /* their end brings the set back */
    return create_replica(s, ordinal, err) < 0 ? -1 : s->is_ordered;
}

static int step_replica(struct sync *s, int64_t i, struct error *err)
{
    const struct object *pod = s->replicas[i];
    if (!pod)
        return step_missing(s, s->start + i, err);
    if (pod_is_finished(pod) && !object_is_deleting(pod))
        return restart_finished(s, pod, err);
    struct claims claims = claims_of(s, s->start + i, pod->key.name);
    if (str_equal(json_str(pod->doc, "status.phase", ""), "Pending") &&
        claims_create(&claims, err) < 0)
        return -1;
    if (s->is_ordered && (!is_healthy(pod) || !is_available(s, pod)))
        return 1;
    return restore_replica(s, pod, s->start + i, err);
}

static const struct object *first_unhealthy(const struct sync *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        if (s->replicas[i] && !is_healthy(s->replicas[i]))
            return s->replicas[i];
    }
    for (size_t i = s->condemned.n; i-- > 0;) {
        if (!is_healthy(s->condemned.items[i]))
            return s->condemned.items[i];
    }
    return NULL;
}

static int step_condemned(struct sync *s, const struct object *pod, struct error *err)
{
    if (object_is_deleting(pod))
        return s->is_ordered;
    if (s->is_ordered && !is_available(s, pod) && first_unhealthy(s) != pod)
        return 1;
    return delete_replica(s, pod, err) < 0 ? -1 : s->is_ordered;
}

/* Before any of them is deleted: a claim that is to go with its pod must know it. */
static int hand_over_claims(struct sync *s, struct error *err)
{
    object_list_each (&s->condemned, pod) {
        struct claims claims = claims_of(s, ordinal_of(s->set, pod), pod->key.name);
        if (claims_set_owners(&claims, pod, false, err) < 0)
            return -1;
    }
    return 0;
}

/* From the highest number down, one at a time, and none while another one is not healthy. */
static int step_update(struct sync *s, struct error *err)
{
    if (!is_rolling(s))
        return 0;
    for (int64_t i = s->n; i-- > partition(s);) {
        const struct object *pod = s->replicas[i];
        if (!pod)
            return 1;
        if (!is_of_revision(pod, s->update) && !object_is_deleting(pod))
            return delete_replica(s, pod, err) < 0 ? -1 : 1;
        if (!is_healthy(pod) || !is_available(s, pod))
            return 1;
    }
    return 0;
}

static int take_steps(struct sync *s, struct error *err)
{
    int rc = 0;
    for (int64_t i = 0; i < s->n && rc == 0; i++)
        rc = step_replica(s, i, err);
    if (rc == 0)
        rc = hand_over_claims(s, err);
    object_list_each (&s->condemned, pod) {
        if (rc == 0)
            rc = step_condemned(s, pod, err);
    }
    return rc == 0 ? step_update(s, err) : rc;
}

/* ---- status ---- */

struct counts {
    int64_t replicas, ready, available, current, updated;
};

static struct counts count(struct sync *s)
{
    struct counts k = { 0 };
    object_list_each (&s->pods, pod) {
        k.replicas++;
        k.ready += is_running_and_ready(pod);
        k.available += is_available(s, pod);
        if (object_is_deleting(pod))
            continue;
        k.current += is_of_revision(pod, s->current);
        k.updated += is_of_revision(pod, s->update);
    }
    return k;
}

static int update_status(struct sync *s, struct error *err)
{
    struct counts k = count(s);
    const char *current = s->current->key.name, *update = s->update->key.name;
    if (is_rolling(s) && k.updated == s->n && k.ready == s->n && k.replicas == s->n) {
        k.current = k.updated;
        current = update; /* the rollout is over */
    }
    scoped(draft) struct draft *d = object_edit(s->set);
    struct arena *a = d->arena;
    struct json *status = json_new(a, JSON_OBJECT);
    put_count(a, status, "observedGeneration", object_generation(s->set));
    json_put_int(a, status, "replicas", k.replicas);
    put_count(a, status, "readyReplicas", k.ready);
    put_count(a, status, "currentReplicas", k.current);
    put_count(a, status, "updatedReplicas", k.updated);
    json_put_str(a, status, "currentRevision", current);
    json_put_str(a, status, "updateRevision", update);
    json_put_int(a, status, "collisionCount", s->collisions);
    json_put_int(a, status, "availableReplicas", k.available);
    if (s->next_available_ns)
        enqueue_key_after(s->c, &s->set->key,
                          (s->next_available_ns - wall_ns(s->c)) / NS_PER_MS + 1);
    if (json_equal(json_at(s->set->doc, "status"), status))
        return 0;
    json_put(a, d->doc, "status", *status);
    return update_object_status(s->c, d, NULL, err);
}

/* ---- the whole ---- */

static int highest_first(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    long long i = strtoll(strrchr(x->key.name, '-') + 1, NULL, 10);
    long long j = strtoll(strrchr(y->key.name, '-') + 1, NULL, 10);
    return (i < j) - (i > j);
}

static int claim_pods(struct sync *s, struct error *err)
{
    const struct selector *selector = owner_selector(s->set, s->c->arena, err);
    scoped(object_list) struct object_list all = { 0 };
    if (!selector || claim_objects(s->c, s->set, RESOURCE_PODS, selector, &all, err) < 0)
        return -1;
    s->start = json_int(s->set->doc, "spec.ordinals.start", 0);
    s->n = json_int(s->set->doc, "spec.replicas", 1);
    if (s->n > REPLICAS_MAX)
        s->n = REPLICAS_MAX;
    s->replicas = arena_zalloc(s->c->arena, ((size_t)s->n + 1) * sizeof(*s->replicas));
    object_list_each (&all, pod) {
        int64_t ordinal = ordinal_of(s->set, pod);
        if (ordinal < 0)
            continue;
        object_list_add(&s->pods, pod);
        if (ordinal >= s->start && ordinal < s->start + s->n)
            s->replicas[ordinal - s->start] = pod;
        else
            object_list_add(&s->condemned, pod);
    }
    if (s->condemned.n > 1)
        qsort(s->condemned.items, s->condemned.n, sizeof(*s->condemned.items), highest_first);
    return 0;
}

static int find_revisions(struct sync *s, struct error *err)
{
    revisions_list(s->c, s->set, &s->revisions);
    s->collisions = json_int(s->set->doc, "status.collisionCount", 0);
    s->update = revisions_current(s->c, s->set, &s->revisions, &s->collisions, err);
    if (!s->update)
        return -1;
    const char *current = json_str(s->set->doc, "status.currentRevision", "");
    object_list_each (&s->revisions, revision) {
        if (!s->current && str_equal(revision->key.name, current))
            s->current = object_ref(revision);
    }
    if (!s->current)
        s->current = object_ref(s->update);
    return 0;
}

static bool is_live(const struct object *revision, void *arg)
{
    const struct sync *s = arg;
    if (str_equal(revision->key.name, s->update->key.name) ||
        str_equal(revision->key.name, s->current->key.name))
        return true;
    object_list_each (&s->pods, pod) {
        if (is_of_revision(pod, revision))
            return true;
    }
    return false;
}

static int sync_set(struct sync *s, struct error *err)
{
    s->is_ordered = !str_equal(json_str(s->set->doc, "spec.podManagementPolicy", ""), "Parallel");
    if (find_revisions(s, err) < 0 || claim_pods(s, err) < 0)
        return -1;
    struct error failure = { 0 };
    int rc = object_is_deleting(s->set) ? 0 : take_steps(s, &failure);
    if (update_status(s, err) < 0)
        return -1;
    if (rc < 0)
        return error_set(err, failure.code, "%s", failure.message);
    return revisions_truncate(s->c, s->set, &s->revisions, is_live, s, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(sync) struct sync s = { .c = c, .set = cache_get(c, RESOURCE_STATEFULSETS, key) };
    return s.set ? sync_set(&s, err) : 0;
}

/* The end of a claim that went with an earlier pod: the next pod of that name may come. */
static void enqueue_for_claim(struct controller *c, const struct informer_event *e)
{
    if (!e->new &&str_equal(json_str(object_controller(e->old), "kind", ""), "Pod"))
        enqueue_selecting(c, e->old);
}

const struct controller_spec statefulset_controller = {
    .name = "statefulset",
    .account = "statefulset-controller",
    .source = "statefulset-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_STATEFULSETS,           enqueue_self },
        { RESOURCE_PODS,                   enqueue_owner_or_selecting },
        { RESOURCE_CONTROLLERREVISIONS,    enqueue_owner },
        { RESOURCE_PERSISTENTVOLUMECLAIMS, enqueue_for_claim },
    },
    .indexes = {
        { RESOURCE_STATEFULSETS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_PODS),
        { RESOURCE_CONTROLLERREVISIONS, "controller", informer_index_controller },
    },
    .reconcile = reconcile,
};
