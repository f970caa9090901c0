/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disruption - says in each PodDisruptionBudget how many of its pods may be evicted now.
 *
 * The eviction subresource reads status.disruptionsAllowed and writes the pods it has evicted into
 * status.disruptedPods; they leave that list here once they are seen to go, or after a while if
 * they never do.
 */
#include "controllers/pod_control.h"

#define DISRUPTED_NS (120 * NS_PER_S)

struct sync {
    struct controller *c;
    const struct object *budget;
    struct object_list pods;
    struct json *disrupted; /* those that still count as going */
    int64_t next_ns;        /* the first of them expires; 0: none */
    int64_t expected, healthy, desired;
};

static void sync_scoped(struct sync *s)
{
    object_list_deinit(&s->pods);
}

static int list_pods(struct sync *s, struct error *err)
{
    const struct selector *selector =
        selector_from_json(json_at(s->budget->doc, "spec.selector"), s->c->arena, err);
    if (!selector)
        return -1;
    scoped(object_list) struct object_list all = { 0 };
    cache_list_namespace(s->c, RESOURCE_PODS, s->budget->key.ns, &all);
    object_list_each (&all, pod) {
        if (!pod_is_finished(pod) &&
            selector_matches(selector, json_at(pod->doc, "metadata.labels")))
            object_list_add(&s->pods, pod);
    }
    return 0;
}

/* ---- how many pods there should be ---- */

static const struct resource *scalable_of(const struct json *ref)
{
    static const int kinds[] = { RESOURCE_REPLICASETS, RESOURCE_DEPLOYMENTS, RESOURCE_STATEFULSETS,
                                 RESOURCE_REPLICATIONCONTROLLERS };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_equal(json_str(ref, "kind", ""), resources[kinds[i]].kind))
            return &resources[kinds[i]];
    }
    return NULL;
}

/* The workload that decides how many pods there are; a ReplicaSet's Deployment before itself. NULL:
 * none. */
static struct object *workload_of(struct controller *c, const struct object *o)
{
    const struct json *ref = object_controller(o);
    const struct resource *r = ref ? scalable_of(ref) : NULL;
    if (!r)
        return NULL;
    struct object_key key = { o->key.ns, json_str(ref, "name", "") };
    scoped(object) struct object *owner = cache_get(c, r->id, &key);
    if (!owner || !str_equal(owner->uid, json_str(ref, "uid", "")))
        return NULL;
    struct object *above = r->id == RESOURCE_REPLICASETS ? workload_of(c, owner) : NULL;
    return above ? above : take_ptr(&owner);
}

/* Why there is no workload for POD, which somebody controls. */
static int blame(const struct object *pod, struct error *err)
{
    const struct json *ref = object_controller(pod);
    const char *version = json_str(ref, "apiVersion", ""), *slash = strchr(version, '/');
    char group[128], name[256];
    snprintf(group, sizeof(group), "%.*s", slash ? (int)(slash - version) : 0, version);
    const struct resource *r =
        resource_find_kind(group, slash ? slash + 1 : version, json_str(ref, "kind", ""));
    if (r && !scalable_of(ref))
        return error_set(err, ERR_INVALID, "%s does not implement the scale subresource",
                         resource_qualified(r, name, sizeof(name)));
    return error_set(err, ERR_INVALID, "found no controllers for pod \"%s\"", pod->key.name);
}

/* Pods that nobody controls do not count: who has such should say how many pods are enough. */
static void warn_of_unmanaged(struct sync *s)
{
    scoped(buffer) struct buffer selector = { 0 };
    json_print(json_at(s->budget->doc, "spec.selector"), &selector);
    event_record(s->c->events, s->budget, "Warning", "UnmanagedPods",
                 "Pods selected by this PodDisruptionBudget (selector: %.*s) were found to be "
                 "unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
                 "which may result in undefined behavior. To account for these pods please set "
                 "\".spec.minAvailable\" field of the PDB to an integer value.",
                 (int)selector.len, selector.data);
}

/* Adds up the replicas of the workloads, each once. */
static int count_expected(struct sync *s, struct error *err)
{
    bool has_unmanaged = false;
    scoped(object_list) struct object_list seen = { 0 };
    object_list_each (&s->pods, pod) {
        scoped(object) struct object *owner = workload_of(s->c, pod);
        bool is_managed = object_controller(pod), is_new = is_managed;
        has_unmanaged = has_unmanaged || !is_managed;
        if (is_managed && !owner)
            return blame(pod, err);
        object_list_each (&seen, other)
            is_new = is_new && !str_equal(other->uid, owner->uid);
        if (!is_new)
            continue;
        s->expected += json_int(owner->doc, "spec.replicas", 1);
        object_list_add(&seen, owner);
    }
    if (has_unmanaged)
        warn_of_unmanaged(s);
    return 0;
}

static int64_t at_least_zero(int64_t n)
{
    return n > 0 ? n : 0;
}

/* expectedPods and desiredHealthy.  A number in minAvailable needs no workload to be understood. */
static int set_targets(struct sync *s, struct error *err)
{
    const struct json *most = json_at(s->budget->doc, "spec.maxUnavailable");
    const struct json *least = json_at(s->budget->doc, "spec.minAvailable");
    int64_t n = 0;
    if (!most && json_is(least, JSON_INT)) {
        s->expected = (int64_t)s->pods.n;
        s->desired = least->integer;
        return 0;
    }
    if (!most && !least) {
        s->expected = (int64_t)s->pods.n;
        return 0;
    }
    if (count_expected(s, err) < 0)
        return -1;
    if (int_or_percent(most ? most : least, s->expected, true, &n) < 0)
        return error_set(err, ERR_INVALID, "a limit is neither a number nor a percentage");
    s->desired = most ? at_least_zero(s->expected - n) : n;
    return 0;
}

/* ---- which evictions are under way ---- */

static const struct object *find_pod(const struct sync *s, const char *name)
{
    object_list_each (&s->pods, pod) {
        if (str_equal(pod->key.name, name))
            return pod;
    }
    return NULL;
}

static void keep_disrupted(struct sync *s)
{
    int64_t now = wall_ns(s->c);
    s->disrupted = json_new(s->c->arena, JSON_OBJECT);
    json_each_member (json_at(s->budget->doc, "status.disruptedPods"), m) {
        int64_t since = 0;
        const struct object *pod = find_pod(s, m->name);
        time_parse(json_text(&m->value) ? json_text(&m->value) : "", &since);
        int64_t until = since + DISRUPTED_NS;
        if (!pod || object_is_deleting(pod) || until <= now)
            continue;
        json_set(s->c->arena, s->disrupted, m->name, json_clone_value(&m->value, s->c->arena));
        if (s->next_ns == 0 || until < s->next_ns)
            s->next_ns = until;
    }
}

static void count_healthy(struct sync *s)
{
    object_list_each (&s->pods, pod)
        s->healthy +=
            !object_is_deleting(pod) && !json_get(s->disrupted, pod->key.name) && pod_is_ready(pod);
}

/* ---- status ---- */

static int write_status(struct sync *s, const struct error *failure, struct error *err)
{
    int64_t allowed = failure || s->expected <= 0 ? 0 : at_least_zero(s->healthy - s->desired);
    scoped(draft) struct draft *d = object_edit(s->budget);
    struct arena *a = d->arena;
    struct json *status = json_make_object(a, d->doc, "status");
    json_put_int(a, status, "disruptionsAllowed", allowed);
    if (failure) {
        draft_set_condition(d, "DisruptionAllowed", "False", "SyncFailed", failure->message,
                            wall_ns(s->c));
    } else {
        json_put_int(a, status, "currentHealthy", s->healthy);
        json_put_int(a, status, "desiredHealthy", s->desired);
        json_put_int(a, status, "expectedPods", s->expected);
        json_put_int(a, status, "observedGeneration", object_generation(s->budget));
        json_drop(status, "disruptedPods");
        if (s->disrupted->len)
            json_put(a, status, "disruptedPods", json_clone_value(s->disrupted, a));
        draft_set_condition(d, "DisruptionAllowed", allowed > 0 ? "True" : "False",
                            allowed > 0 ? "SufficientPods" : "InsufficientPods", "", wall_ns(s->c));
    }
    if (s->next_ns)
        enqueue_key_after(s->c, &s->budget->key, (s->next_ns - wall_ns(s->c)) / NS_PER_MS + 1);
    if (json_equal(json_at(s->budget->doc, "status"), json_at(d->doc, "status")))
        return 0;
    return update_object_status(s->c, d, NULL, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *budget = cache_get(c, RESOURCE_PODDISRUPTIONBUDGETS, key);
    scoped(sync) struct sync s = { .c = c, .budget = budget };
    if (!budget)
        return 0;
    if (list_pods(&s, err) < 0)
        return -1;
    if (s.pods.n == 0)
        event_record(c->events, budget, "Normal", "NoPods", "No matching pods found");
    keep_disrupted(&s);
    count_healthy(&s);
    struct error failure = { 0 };
    if (set_targets(&s, &failure) == 0)
        return write_status(&s, NULL, err);
    event_record(c->events, budget, "Warning", "CalculateExpectedPodCountFailed",
                 "Failed to calculate the number of expected pods: %s", failure.message);
    return write_status(&s, &failure, err);
}

/* ---- what brings keys ---- */

static bool selects(const struct object *budget, const struct object *pod, struct arena *a)
{
    struct error ignored = { 0 };
    const struct selector *s =
        selector_from_json(json_at(budget->doc, "spec.selector"), a, &ignored);
    return s && pod && selector_matches(s, json_at(pod->doc, "metadata.labels"));
}

static void enqueue_budgets(struct controller *c, const struct informer_event *e)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(object_list) struct object_list budgets = { 0 };
    const char *ns = e->new ? e->new->key.ns : e->old->key.ns;
    cache_list_namespace(c, RESOURCE_PODDISRUPTIONBUDGETS, ns, &budgets);
    object_list_each (&budgets, budget) {
        if (selects(budget, e->new, a) || selects(budget, e->old, a))
            enqueue_key(c, &budget->key);
    }
}

/* A workload has another size: budgets of its namespace look again. */
static void enqueue_on_resize(struct controller *c, const struct informer_event *e)
{
    if (e->old && e->new &&json_int(e->old->doc, "spec.replicas", 1) ==
                      json_int(e->new->doc, "spec.replicas", 1))
        return;
    scoped(object_list) struct object_list budgets = { 0 };
    const char *ns = e->new ? e->new->key.ns : e->old->key.ns;
    cache_list_namespace(c, RESOURCE_PODDISRUPTIONBUDGETS, ns, &budgets);
    object_list_each (&budgets, budget)
        enqueue_key(c, &budget->key);
}

const struct controller_spec disruption_controller = {
    .name = "disruption",
    .account = "disruption-controller",
    .source = "controllermanager",
    .workers = 2,
    .watches = {
        { RESOURCE_PODDISRUPTIONBUDGETS,   enqueue_self },
        { RESOURCE_PODS,                   enqueue_budgets },
        { RESOURCE_REPLICASETS,            enqueue_on_resize },
        { RESOURCE_DEPLOYMENTS,            enqueue_on_resize },
        { RESOURCE_STATEFULSETS,           enqueue_on_resize },
        { RESOURCE_REPLICATIONCONTROLLERS, enqueue_on_resize },
    },
    .indexes = {
        { RESOURCE_PODDISRUPTIONBUDGETS, "namespace", informer_index_namespace },
        { RESOURCE_PODS,                 "namespace", informer_index_namespace },
    },
    .reconcile = reconcile,
};
