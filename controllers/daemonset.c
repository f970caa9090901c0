/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemonset - one pod on each node that may have it.
 *
 * The controller says which node a pod is for by a node affinity on the node's name; the scheduler
 * binds it.
 */
#include <pthread.h>

#include "api/node_selector.h"
#include "base/hashmap.h"
#include "controllers/nodes.h"
#include "controllers/revisions.h"

#define LABEL_GENERATION "pod-template-generation"
#define SETBACK_FIRST_NS NS_PER_S
#define SETBACK_MAX_NS   (15 * 60 * NS_PER_S)

/* A node may turn its pod away as soon as it is there, again and again. */
struct setback {
    int64_t at_ns, delay_ns;
    char name[]; /* "uid of the set/node" */
};

struct setbacks {
    pthread_mutex_t lock;
    struct hashmap of; /* by their names */
};

/* The pods of one node. */
struct place {
    const struct object *node;
    bool should_run, may_continue;
    bool has_failed; /* the next pod waits until the failed one is taken away */
    struct object *old,
        *new; /* the oldest active pod of an old and of the present template; borrowed */
    size_t pods_n;
};

struct sync {
    struct controller *c;
    struct object *set;
    struct object *revision; /* of the present template */
    struct object_list revisions, pods, nodes;
    struct place *places; /* one per node */
    int64_t collisions;
};

static void sync_scoped(struct sync *s)
{
    object_unref(s->set);
    object_unref(s->revision);
    object_list_deinit(&s->revisions);
    object_list_deinit(&s->pods);
    object_list_deinit(&s->nodes);
}

/* ---- which node a pod is for ---- */

/* matchFields metadata.name in the required node affinity, as this controller writes it. */
static const char *affinity_node(const struct object *pod)
{
    const struct json *terms =
        json_at(pod->doc, "spec.affinity.nodeAffinity."
                          "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    json_each_item (terms, term) {
        json_each_item (json_get(term, "matchFields"), field) {
            const struct json *values = json_get(field, "values");
            if (str_equal(json_str(field, "key", ""), "metadata.name") &&
                json_is(values, JSON_ARRAY) && values->len == 1)
                return json_text(&values->items[0]);
        }
    }
    return "";
}

static const char *node_of(const struct object *pod)
{
    const char *bound = json_str(pod->doc, "spec.nodeName", "");
    return *bound ? bound : affinity_node(pod);
}

static void put_affinity(struct draft *pod, const char *node)
{
    struct arena *a = pod->arena;
    struct json *field = json_new(a, JSON_OBJECT), *values = json_new(a, JSON_ARRAY);
    json_append(a, values, json_string_value(a, node));
    json_put_str(a, field, "key", "metadata.name");
    json_put_str(a, field, "operator", "In");
    json_put(a, field, "values", *values);
    struct json *fields = json_new(a, JSON_ARRAY);
    json_append(a, fields, *field);

    struct json *required = json_make_object(
        a, pod->doc, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    struct json *terms = json_make_array(a, required, "nodeSelectorTerms");
    if (terms->len == 0)
        json_append(a, terms, *json_new(a, JSON_OBJECT));
    for (size_t i = 0; i < terms->len; i++) /* any of the terms will do: each gets it */
        json_put(a, &terms->items[i], "matchFields", json_clone_value(fields, a));
}

/* ---- which nodes may have a pod ---- */

/* Pods of a DaemonSet stay on nodes in trouble. */
static const struct {
    const char *key, *effect;
    bool needs_host_network;
} tolerated[] = {
    { TAINT_NOT_READY, "NoExecute", false },
    { TAINT_UNREACHABLE, "NoExecute", false },
    { "node.kubernetes.io/disk-pressure", "NoSchedule", false },
    { "node.kubernetes.io/memory-pressure", "NoSchedule", false },
    { "node.kubernetes.io/pid-pressure", "NoSchedule", false },
    { "node.kubernetes.io/unschedulable", "NoSchedule", false },
    { "node.kubernetes.io/network-unavailable", "NoSchedule", true },
};

static void put_tolerations(struct draft *pod)
{
    struct arena *a = pod->arena;
    bool host = json_bool(pod->doc, "spec.hostNetwork", false);
    struct json *list = json_make_array(a, pod->doc, "spec.tolerations");
    for (size_t i = 0; i < ARRAY_LEN(tolerated); i++) {
        if (tolerated[i].needs_host_network && !host)
            continue;
        struct json *t = json_new(a, JSON_OBJECT);
        json_put_str(a, t, "key", tolerated[i].key);
        json_put_str(a, t, "operator", "Exists");
        json_put_str(a, t, "effect", tolerated[i].effect);
        json_append(a, list, *t);
    }
}

static bool selector_fits(const struct json *spec, const struct object *node)
{
    return node_selector_matches(
        json_get(spec, "nodeSelector"),
        json_at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"),
        json_get(object_metadata(node), "labels"), node->key.name);
}

/* With the tolerations that its pods get. */
static void judge_node(struct sync *s, struct place *p)
{
    scoped(draft) struct draft *pod =
        pod_from_template(s->set, json_at(s->set->doc, "spec.template"));
    put_tolerations(pod);
    const struct json *spec = json_at(pod->doc, "spec");
    const char *name = json_str(spec, "nodeName", "");
    p->should_run = p->may_continue =
        (!*name || str_equal(name, p->node->key.name)) && selector_fits(spec, p->node);
    json_each_item (json_at(p->node->doc, "spec.taints"), taint) {
        const char *effect = json_str(taint, "effect", "");
        if (str_equal(effect, "PreferNoSchedule") || spec_tolerates(spec, taint))
            continue;
        p->should_run = false;
        if (str_equal(effect, "NoExecute"))
            p->may_continue = false;
    }
}

/* ---- pods by node ---- */

static bool is_new_pod(const struct sync *s, const struct object *pod)
{
    return str_equal(object_label(pod, LABEL_REVISION), revision_hash(s->revision));
}

static struct place *place_of(struct sync *s, const struct object *pod)
{
    const char *node = node_of(pod);
    for (size_t i = 0; i < s->nodes.n; i++) {
        if (str_equal(s->places[i].node->key.name, node))
            return &s->places[i];
    }
    return NULL;
}

static int by_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    bool bound = !str_empty(json_str(x->doc, "spec.nodeName", ""));
    bool other = !str_empty(json_str(y->doc, "spec.nodeName", ""));
    int64_t at = object_created_ns(x), since = object_created_ns(y);
    if (bound != other)
        return bound ? -1 : 1;
    return at != since ? (at > since) - (at < since) : strcmp(x->key.name, y->key.name);
}

static void place_pods(struct sync *s)
{
    s->places = arena_zalloc(s->c->arena, (s->nodes.n + 1) * sizeof(*s->places));
    for (size_t i = 0; i < s->nodes.n; i++) {
        s->places[i].node = s->nodes.items[i];
        judge_node(s, &s->places[i]);
    }
    if (s->pods.n > 1)
        qsort(s->pods.items, s->pods.n, sizeof(*s->pods.items), by_age);
    object_list_each (&s->pods, pod) {
        struct place *p = place_of(s, pod);
        if (!p || object_is_deleting(pod) || pod_is_finished(pod))
            continue;
        struct object **slot = is_new_pod(s, pod) ? &p->new : &p->old;
        if (!*slot)
            *slot = pod;
        p->pods_n++;
    }
}

/* ---- making and deleting ---- */

static int create_on(struct sync *s, const struct object *node, struct error *err)
{
    scoped(draft) struct draft *pod =
        pod_from_template(s->set, json_at(s->set->doc, "spec.template"));
    struct arena *a = pod->arena;
    json_put_str(a, pod->doc, "metadata.generateName", arena_printf(a, "%s-", s->set->key.name));
    struct json *labels = json_make_object(a, pod->doc, "metadata.labels");
    json_set(a, labels, LABEL_REVISION, json_string_value(a, revision_hash(s->revision)));
    json_set(a, labels, LABEL_GENERATION,
             json_string_value(a, arena_printf(a, "%lld", (long long)object_generation(s->set))));
    put_tolerations(pod);
    put_affinity(pod, node->key.name);
    return create_pod(s->c, s->set, pod, err);
}

static bool has_terminating(const struct sync *s, const struct place *p)
{
    object_list_each (&s->pods, pod) {
        if (object_is_deleting(pod) && str_equal(node_of(pod), p->node->key.name))
            return true;
    }
    return false;
}

/* What has not failed for long is forgotten when another one fails. */
static void forget_one(struct setbacks *all, int64_t now)
{
    hashmap_each (&all->of, e) {
        struct setback *b = e->value;
        if (now - b->at_ns > 2 * SETBACK_MAX_NS) {
            free(hashmap_remove(&all->of, e->key));
            return;
        }
    }
}

static struct setback *find_setback(struct setbacks *all, const char *name, int64_t now)
{
    forget_one(all, now);
    struct setback *b = hashmap_get(&all->of, bytes_of(name));
    if (!b) {
        b = xcalloc(1, sizeof(*b) + strlen(name) + 1);
        strcpy(b->name, name);
        hashmap_put(&all->of, bytes_of(b->name), b);
    }
    if (now - b->at_ns > 2 * SETBACK_MAX_NS)
        b->delay_ns = 0;
    return b;
}

/* How long a pod that failed on NODE stays: 1 s after one was replaced there, 2 s after the next.
 * 0: it goes now, and counts. */
static int64_t setback_ns(struct sync *s, const char *node)
{
    struct setbacks *all = s->c->state;
    const char *name = arena_printf(s->c->arena, "%s/%s", s->set->uid, node);
    int64_t now = clock_monotonic_ns(s->c->clock);
    pthread_mutex_lock(&all->lock);
    struct setback *b = find_setback(all, name, now);
    int64_t left = b->delay_ns ? b->at_ns + b->delay_ns - now : 0;
    if (left <= 0) {
        b->at_ns = now;
        b->delay_ns = b->delay_ns ? b->delay_ns * 2 : SETBACK_FIRST_NS;
        if (b->delay_ns > SETBACK_MAX_NS)
            b->delay_ns = SETBACK_MAX_NS;
    }
    pthread_mutex_unlock(&all->lock);
    return left > 0 ? left : 0;
}

static int replace_finished(struct sync *s, const struct object *pod, struct place *p,
                            struct error *err)
{
    bool failed = str_equal(json_str(pod->doc, "status.phase", ""), "Failed");
    int64_t wait_ns = failed && p->may_continue ? setback_ns(s, p->node->key.name) : 0;
    if (wait_ns > 0) {
        p->has_failed = true;
        enqueue_key_after(s->c, &s->set->key, wait_ns / NS_PER_MS + 1);
        return 0;
    }
    event_record(s->c->events, s->set, failed ? "Warning" : "Normal",
                 failed ? "FailedDaemonPod" : "SucceededDaemonPod",
                 "Found %s daemon pod %s/%s on node %s, will try to %s it",
                 failed ? "failed" : "succeeded", pod->key.ns, pod->key.name, p->node->key.name,
                 failed ? "kill" : "delete");
    return delete_pod(s->c, s->set, pod, err);
}

/* Pods that have ended are in the way of the next ones; those that wait for a node that is gone
 * wait for ever. */
static int clear_away(struct sync *s, struct error *err)
{
    object_list_each (&s->pods, pod) {
        struct place *p = place_of(s, pod);
        int rc = 0;
        if (object_is_deleting(pod))
            continue;
        if (p && pod_is_finished(pod))
            rc = replace_finished(s, pod, p, err);
        else if (!p && str_empty(json_str(pod->doc, "spec.nodeName", "")))
            rc = delete_pod(s->c, s->set, pod, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static bool is_rolling(const struct sync *s)
{
    return str_equal(json_str(s->set->doc, "spec.updateStrategy.type", "RollingUpdate"),
                     "RollingUpdate");
}

static int64_t min_ready_s(const struct sync *s)
{
    return json_int(s->set->doc, "spec.minReadySeconds", 0);
}

static bool is_available(struct sync *s, const struct object *pod)
{
    return pod && pod_is_available(pod, min_ready_s(s), wall_ns(s->c), NULL);
}

/* At most one pod a node, save for the moment in which a surging one takes over from an old one. */
static int manage_node(struct sync *s, struct place *p, int64_t surge, struct error *err)
{
    if (!p->old && !p->new)
        return p->should_run && !p->has_failed && !has_terminating(s, p)
                   ? create_on(s, p->node, err)
                   : 0;
    size_t allowed = p->may_continue ? 1 : 0;
    if (allowed && surge > 0 && is_rolling(s) && p->old && p->new && !is_available(s, p->new))
        allowed = 2;
    if (p->pods_n <= allowed)
        return 0;
    const struct object *kept = p->new ? p->new : p->old;
    object_list_each (&s->pods, pod) {
        bool is_kept = allowed && (pod == kept || (allowed == 2 && pod == p->old));
        if (is_kept || object_is_deleting(pod) || pod_is_finished(pod) || place_of(s, pod) != p)
            continue;
        if (delete_pod(s->c, s->set, pod, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- rolling update ---- */

static int64_t count_wanted(const struct sync *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->nodes.n; i++)
        n += s->places[i].should_run;
    return n;
}

static int64_t rolling_limit(const struct sync *s, const char *field, int64_t fallback)
{
    int64_t n = fallback;
    const struct json *rolling = json_at(s->set->doc, "spec.updateStrategy.rollingUpdate");
    const struct json *v = json_get(rolling, field);
    return v && int_or_percent(v, count_wanted(s), true, &n) == 0 ? n : fallback;
}

/* Old pods that do not work go at once, others as many as may be missing; or new ones are added
 * first. */
static int roll(struct sync *s, int64_t surge, struct error *err)
{
    int64_t missing = 0, unavailable = rolling_limit(s, "maxUnavailable", 1);
    if (surge == 0 && unavailable == 0)
        unavailable = 1;
    int64_t added = 0;
    for (size_t i = 0; i < s->nodes.n; i++) {
        struct place *p = &s->places[i];
        if (p->should_run && (p->old ? p->new != NULL : !is_available(s, p->new)))
            missing++;
        added += p->old && p->new;
    }
    for (size_t i = 0; i < s->nodes.n; i++) {
        struct place *p = &s->places[i];
        if (!p->old || p->new || !p->may_continue)
            continue;
        bool works = is_available(s, p->old);
        if (surge > 0) {
            if (added < surge && p->should_run) {
                if (create_on(s, p->node, err) < 0)
                    return -1;
                added++;
            }
            continue;
        }
        if (works && missing >= unavailable)
            continue;
        if (delete_pod(s->c, s->set, p->old, err) < 0)
            return -1;
        missing += works;
    }
    return 0;
}

static int manage(struct sync *s, struct error *err)
{
    int64_t surge = is_rolling(s) ? rolling_limit(s, "maxSurge", 0) : 0;
    if (clear_away(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->nodes.n; i++) {
        if (manage_node(s, &s->places[i], surge, err) < 0)
            return -1;
    }
    return is_rolling(s) ? roll(s, surge, err) : 0;
}

/* ---- status ---- */

struct counts {
    int64_t desired, current, misscheduled, ready, available, updated;
};

static struct counts count(struct sync *s)
{
    struct counts k = { 0 };
    int64_t now = wall_ns(s->c), next = 0;
    for (size_t i = 0; i < s->nodes.n; i++) {
        const struct place *p = &s->places[i];
        const struct object *pod = p->new ? p->new : p->old;
        k.desired += p->should_run;
        k.misscheduled += pod && !p->should_run;
        if (!pod || !p->should_run)
            continue;
        k.current++;
        k.updated += p->new != NULL;
        if (!pod_is_ready(pod) && p->old && pod_is_ready(p->old))
            pod = p->old;
        k.ready += pod_is_ready(pod);
        k.available += pod_is_available(pod, min_ready_s(s), now, &next);
    }
    if (next)
        enqueue_key_after(s->c, &s->set->key, (next - now) / NS_PER_MS + 1);
    return k;
}

static int update_status(struct sync *s, struct error *err)
{
    struct counts k = count(s);
    scoped(draft) struct draft *d = object_edit(s->set);
    struct arena *a = d->arena;
    struct json *status = json_new(a, JSON_OBJECT);
    json_put_int(a, status, "currentNumberScheduled", k.current);
    json_put_int(a, status, "numberMisscheduled", k.misscheduled);
    json_put_int(a, status, "desiredNumberScheduled", k.desired);
    json_put_int(a, status, "numberReady", k.ready);
    put_count(a, status, "observedGeneration", object_generation(s->set));
    put_count(a, status, "updatedNumberScheduled", k.updated);
    put_count(a, status, "numberAvailable", k.available);
    put_count(a, status, "numberUnavailable", k.desired - k.available);
    put_count(a, status, "collisionCount", s->collisions);
    if (json_equal(json_at(s->set->doc, "status"), status))
        return 0;
    json_put(a, d->doc, "status", *status);
    return update_object_status(s->c, d, NULL, err);
}

/* ---- the whole ---- */

static bool is_live(const struct object *revision, void *arg)
{
    const struct sync *s = arg;
    if (str_equal(revision->key.name, s->revision->key.name))
        return true;
    object_list_each (&s->pods, pod) {
        if (str_equal(object_label(pod, LABEL_REVISION), revision_hash(revision)))
            return true;
    }
    return false;
}

static int sync_set(struct sync *s, struct error *err)
{
    struct controller *c = s->c;
    const struct selector *selector = owner_selector(s->set, c->arena, err);
    if (!selector)
        return -1;
    if (selector_is_empty(selector)) {
        event_record(c->events, s->set, "Warning", "SelectingAll",
                     "This daemon set is selecting all pods. A non-empty selector is required.");
        return 0;
    }
    if (object_is_deleting(s->set))
        return 0;
    revisions_list(c, s->set, &s->revisions);
    s->collisions = json_int(s->set->doc, "status.collisionCount", 0);
    s->revision = revisions_current(c, s->set, &s->revisions, &s->collisions, err);
    if (!s->revision || claim_objects(c, s->set, RESOURCE_PODS, selector, &s->pods, err) < 0)
        return -1;
    cache_list(c, RESOURCE_NODES, &s->nodes);
    place_pods(s);
    struct error failure = { 0 };
    int rc = manage(s, &failure);
    if (update_status(s, err) < 0)
        return -1;
    if (rc < 0)
        return error_set(err, failure.code, "%s", failure.message);
    return revisions_truncate(c, s->set, &s->revisions, is_live, s, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(sync) struct sync s = { .c = c, .set = cache_get(c, RESOURCE_DAEMONSETS, key) };
    return s.set ? sync_set(&s, err) : 0;
}

/* Only what decides where pods may run; a node's status changes often and does not. */
static void enqueue_all(struct controller *c, const struct informer_event *e)
{
    if (e->old && e->new) {
        static const char *const fields[] = { "metadata.labels", "spec.taints",
                                              "spec.unschedulable" };
        bool same = true;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
            const struct json *was = json_at(e->old->doc, fields[i]);
            const struct json *is = json_at(e->new->doc, fields[i]);
            same = same && (was == is || (was && is && json_equal(was, is)));
        }
        if (same)
            return;
    }
    scoped(object_list) struct object_list sets = { 0 };
    cache_list(c, RESOURCE_DAEMONSETS, &sets);
    object_list_each (&sets, set)
        enqueue_key(c, &set->key);
}

static int init(struct controller *c, struct error *err)
{
    (void)err;
    struct setbacks *all = xcalloc(1, sizeof(*all));
    pthread_mutex_init(&all->lock, NULL);
    c->state = all;
    return 0;
}

static void deinit(struct controller *c)
{
    struct setbacks *all = c->state;
    hashmap_each (&all->of, e)
        free(e->value);
    hashmap_deinit(&all->of);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

const struct controller_spec daemonset_controller = {
    .name = "daemonset",
    .account = "daemon-set-controller",
    .source = "daemonset-controller",
    .workers = 2,
    .watches = {
        { RESOURCE_DAEMONSETS,          enqueue_self },
        { RESOURCE_PODS,                enqueue_owner_or_selecting },
        { RESOURCE_CONTROLLERREVISIONS, enqueue_owner },
        { RESOURCE_NODES,               enqueue_all },
    },
    .indexes = {
        { RESOURCE_DAEMONSETS, "namespace", informer_index_namespace },
        OWNED_INDEXES(RESOURCE_PODS),
        { RESOURCE_CONTROLLERREVISIONS, "controller", informer_index_controller },
    },
    .init = init,
    .reconcile = reconcile,
    .deinit = deinit,
};
