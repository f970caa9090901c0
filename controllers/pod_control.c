/* SPDX-License-Identifier: Apache-2.0 */
/* pod_control - what the controllers that own pods have in common. */
#include "controllers/pod_control.h"

#include <limits.h>

#include "api/generated_name.h"
#include "base/hashmap.h"

/* ---- the state of a pod ---- */

bool pod_is_finished(const struct object *pod)
{
    const char *phase = json_str(pod->doc, "status.phase", "");
    return str_equal(phase, "Succeeded") || str_equal(phase, "Failed");
}

bool pod_is_active(const struct object *pod)
{
    return !pod_is_finished(pod) && !object_is_deleting(pod);
}

bool pod_is_ready(const struct object *pod)
{
    return object_condition_is_true(pod, "Ready");
}

int64_t pod_ready_since_ns(const struct object *pod)
{
    int64_t at = 0;
    if (!pod_is_ready(pod))
        return 0;
    time_parse(json_str(object_condition(pod, "Ready"), "lastTransitionTime", ""), &at);
    return at;
}

bool pod_is_available(const struct object *pod, int64_t min_ready_s, int64_t now_ns,
                      int64_t *next_ns)
{
    if (!pod_is_ready(pod))
        return false;
    int64_t at = pod_ready_since_ns(pod) + min_ready_s * NS_PER_S;
    if (min_ready_s == 0 || at <= now_ns)
        return true;
    if (next_ns && (*next_ns == 0 || at < *next_ns))
        *next_ns = at;
    return false;
}

/* ---- ownership ---- */

void index_orphans(const struct object *o, void (*emit)(struct bytes value, void *ctx), void *ctx)
{
    if (!object_controller(o))
        emit(bytes_of(o->key.ns), ctx);
}

const struct selector *owner_selector(const struct object *owner, struct arena *a,
                                      struct error *err)
{
    const struct json *selector = json_at(owner->doc, "spec.selector");
    if (owner->resource->id == RESOURCE_REPLICATIONCONTROLLERS)
        return selector_from_map(selector, a);
    return selector_from_json(selector, a, err);
}

/* The cache may lag: an owner that was deleted and made anew must not adopt in the old one's name.
 */
static int check_may_adopt(struct controller *c, const struct object *owner, struct error *err)
{
    scoped(object) struct object *live = NULL;
    if (get_live(c, owner, &live, err) < 0)
        return -1;
    if (!str_equal(live->uid, owner->uid))
        return error_set(err, ERR_CONFLICT, "original %s %s/%s is gone: got uid %s, wanted %s",
                         owner->resource->kind, owner->key.ns, owner->key.name, live->uid,
                         owner->uid);
    if (object_is_deleting(live))
        return error_set(err, ERR_CONFLICT, "%s %s/%s has just been deleted", owner->resource->kind,
                         owner->key.ns, owner->key.name);
    return 0;
}

static struct json *owner_reference(struct controller *c, const struct object *owner)
{
    char version[128];
    struct arena *a = c->arena;
    struct json *ref = json_new(a, JSON_OBJECT);
    json_put_str(a, ref, "apiVersion",
                 resource_api_version(owner->resource, version, sizeof(version)));
    json_put_str(a, ref, "kind", owner->resource->kind);
    json_put_str(a, ref, "name", owner->key.name);
    json_put_str(a, ref, "uid", owner->uid);
    json_put_bool(a, ref, "controller", true);
    json_put_bool(a, ref, "blockOwnerDeletion", true);
    return ref;
}

/* The uid makes sure that the patch does not hit a namesake made meanwhile. */
static int patch_reference(struct controller *c, const struct object *o, struct json *ref,
                           struct error *err)
{
    struct json *patch = json_new(c->arena, JSON_OBJECT);
    struct json *refs = json_new(c->arena, JSON_ARRAY);
    json_append(c->arena, refs, *ref);
    json_put(c->arena, patch, "metadata.ownerReferences", *refs);
    json_put_str(c->arena, patch, "metadata.uid", o->uid);
    return patch_object(c, o, NULL, PATCH_STRATEGIC, patch, err);
}

static int release(struct controller *c, const struct object *owner, const struct object *o,
                   struct error *err)
{
    struct json *ref = json_new(c->arena, JSON_OBJECT);
    json_put_str(c->arena, ref, "$patch", "delete");
    json_put_str(c->arena, ref, "uid", owner->uid);
    struct error failure = { 0 };
    if (patch_reference(c, o, ref, &failure) < 0 && failure.code != ERR_NOT_FOUND &&
        failure.code != ERR_INVALID)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

/* 1: O is ours; 0: it is not; -1. */
static int claim_one(struct controller *c, const struct object *owner, const struct object *o,
                     bool matches, bool *checked, struct error *err)
{
    if (object_controller(o)) {
        if (matches)
            return 1;
        return object_is_deleting(owner) ? 0 : release(c, owner, o, err);
    }
    if (!matches || object_is_deleting(owner) || object_is_deleting(o))
        return 0;
    if (!*checked && check_may_adopt(c, owner, err) < 0)
        return error_wrap(err, "adopt %s %s/%s", o->resource->kind, o->key.ns, o->key.name);
    *checked = true;
    struct error failure = { 0 };
    if (patch_reference(c, o, owner_reference(c, owner), &failure) < 0) {
        if (failure.code == ERR_NOT_FOUND)
            return 0;
        return error_set(err, failure.code, "%s", failure.message);
    }
    return 1;
}

int claim_objects(struct controller *c, const struct object *owner, int resource,
                  const struct selector *selector, struct object_list *out, struct error *err)
{
    scoped(object_list) struct object_list candidates = { 0 };
    cache_list_by(c, resource, "controller", owner->uid, &candidates);
    cache_list_by(c, resource, "orphans", owner->key.ns, &candidates);
    bool checked = false;
    object_list_each (&candidates, o) {
        bool matches = selector_matches(selector, json_at(o->doc, "metadata.labels"));
        int mine = claim_one(c, owner, o, matches, &checked, err);
        if (mine < 0)
            return -1;
        if (mine)
            object_list_add(out, o);
    }
    return 0;
}

void enqueue_selecting(struct controller *c, const struct object *o)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(object_list) struct object_list owners = { 0 };
    cache_list_namespace(c, c->spec->watches[0].resource, o->key.ns, &owners);
    object_list_each (&owners, owner) {
        struct error err = { 0 };
        const struct selector *s = owner_selector(owner, a, &err);
        if (s && !selector_is_empty(s) && selector_matches(s, json_at(o->doc, "metadata.labels")))
            enqueue_key(c, &owner->key);
    }
}

void enqueue_owner_or_selecting(struct controller *c, const struct informer_event *e)
{
    enqueue_owner(c, e);
    if (!e->new || object_controller(e->new) || object_is_deleting(e->new))
        return;
    bool is_news = !e->old || object_controller(e->old) ||
                   !json_equal(json_at(e->old->doc, "metadata.labels"),
                               json_at(e->new->doc, "metadata.labels"));
    if (is_news)
        enqueue_selecting(c, e->new);
}

/* ---- pods come and go ---- */

struct draft *pod_from_template(const struct object *owner, const struct json *template)
{
    static const char *const copied[] = { "metadata.labels", "metadata.annotations",
                                          "metadata.finalizers", "spec" };
    struct draft *d = draft_new(&resources[RESOURCE_PODS]);
    json_put_str(d->arena, d->doc, "metadata.namespace", owner->key.ns);
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const struct json *v = json_at(template, copied[i]);
        if (v)
            json_put(d->arena, d->doc, copied[i], json_clone_value(v, d->arena));
    }
    draft_add_controller(d, owner);
    return d;
}

bool is_namespace_terminating(const struct error *err)
{
    return err->code == ERR_FORBIDDEN && strstr(err->message, "because it is being terminated");
}

int create_pod(struct controller *c, const struct object *owner, const struct draft *pod,
               struct error *err)
{
    scoped(object) struct object *made = NULL;
    struct error failure = { 0 };
    if (create_object(c, pod, &made, &failure) == 0) {
        event_record(c->events, owner, "Normal", "SuccessfulCreate", "Created pod: %s",
                     made->key.name);
        return 0;
    }
    if (is_namespace_terminating(&failure))
        return 0;
    event_record(c->events, owner, "Warning", "FailedCreate", "Error creating: %s",
                 failure.message);
    return error_set(err, failure.code, "%s", failure.message);
}

int delete_pod(struct controller *c, const struct object *owner, const struct object *pod,
               struct error *err)
{
    struct error failure = { 0 };
    if (delete_object(c, pod, PROPAGATION_DEFAULT, &failure) < 0) {
        event_record(c->events, owner, "Warning", "FailedDelete", "Error deleting: %s",
                     failure.message);
        return error_set(err, failure.code, "unable to delete pods: %s", failure.message);
    }
    event_record(c->events, owner, "Normal", "SuccessfulDelete", "Deleted pod: %s", pod->key.name);
    return 0;
}

/* ---- which pod goes first ---- */

/* Less is sooner deleted; compared from the top. */
struct rank {
    struct object *pod;
    int is_assigned; /* not on a node: first */
    int phase;       /* Pending, then Unknown, then Running */
    int is_ready;
    int64_t deletion_cost;
    int64_t company; /* minus how many related pods share its node */
    int64_t
        ready_age;    /* magnitude of the time it has been ready: ages of one magnitude are equal */
    int64_t restarts; /* minus the most restarts of a container */
    int64_t created_age; /* newest first */
};

static int magnitude(int64_t seconds)
{
    int n = 0;
    for (; seconds > 0; seconds /= 2)
        n++;
    return n;
}

static int phase_rank(const char *phase)
{
    return str_equal(phase, "Pending") ? 0 : str_equal(phase, "Unknown") ? 1 : 2;
}

static int64_t restarts_of(const struct object *pod)
{
    int64_t most = 0;
    json_each_item (json_at(pod->doc, "status.containerStatuses"), s) {
        int64_t n = json_int(s, "restartCount", 0);
        if (n > most)
            most = n;
    }
    return most;
}

static struct rank rank_of(struct object *pod, int64_t company, int64_t now_ns)
{
    const char *cost = object_annotation(pod, "controller.kubernetes.io/pod-deletion-cost");
    int64_t ready = pod_ready_since_ns(pod);
    return (struct rank){
        .pod = pod,
        .is_assigned = !str_empty(json_str(pod->doc, "spec.nodeName", "")),
        .phase = phase_rank(json_str(pod->doc, "status.phase", "Pending")),
        .is_ready = ready != 0,
        .deletion_cost = cost ? strtoll(cost, NULL, 10) : 0,
        .company = -company,
        .ready_age = ready ? magnitude((now_ns - ready) / NS_PER_S) : 0,
        .restarts = -restarts_of(pod),
        .created_age = magnitude((now_ns - object_created_ns(pod)) / NS_PER_S),
    };
}

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_ranks(const void *x, const void *y)
{
    const struct rank *a = x, *b = y;
    const int64_t pairs[][2] = {
        { a->is_assigned, b->is_assigned }, { a->phase, b->phase },
        { a->is_ready, b->is_ready },       { a->deletion_cost, b->deletion_cost },
        { a->company, b->company },         { a->ready_age, b->ready_age },
        { a->restarts, b->restarts },       { a->created_age, b->created_age },
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        int o = order(pairs[i][0], pairs[i][1]);
        if (o)
            return o;
    }
    return strcmp(a->pod->uid, b->pod->uid); /* by chance, but always the same */
}

static void count_nodes(const struct object_list *related, struct hashmap *counts)
{
    object_list_each (related, pod) {
        struct bytes node = bytes_of(json_str(pod->doc, "spec.nodeName", ""));
        if (node.len && pod_is_active(pod)) {
            uintptr_t n = (uintptr_t)hashmap_get(counts, node);
            hashmap_put(counts, node, (void *)(n + 1));
        }
    }
}

void sort_for_deletion(const struct object_list *pods, const struct object_list *related,
                       int64_t now_ns, struct arena *a)
{
    struct hashmap counts = { 0 };
    count_nodes(related, &counts);
    struct rank *ranks = arena_alloc(a, (pods->n + 1) * sizeof(*ranks));
    for (size_t i = 0; i < pods->n; i++) {
        struct bytes node = bytes_of(json_str(pods->items[i]->doc, "spec.nodeName", ""));
        uintptr_t company = node.len ? (uintptr_t)hashmap_get(&counts, node) : 0;
        ranks[i] = rank_of(pods->items[i], (int64_t)company, now_ns);
    }
    qsort(ranks, pods->n, sizeof(*ranks), compare_ranks);
    for (size_t i = 0; i < pods->n; i++)
        pods->items[i] = ranks[i].pod;
    hashmap_deinit(&counts);
}

/* ---- small change ---- */

int int_or_percent(const struct json *v, int64_t total, bool round_up, int64_t *out)
{
    if (json_is(v, JSON_INT)) {
        *out = v->integer;
        return 0;
    }
    const char *text = json_text(v);
    char *end = NULL;
    long long percent = text ? strtoll(text, &end, 10) : 0;
    if (!text || end == text || !str_equal(end, "%") || percent < 0 || percent > INT_MAX)
        return -1;
    *out = (percent * total + (round_up ? 99 : 0)) / 100;
    return 0;
}

void put_count(struct arena *a, struct json *status, const char *name, int64_t n)
{
    if (n != 0)
        json_put_int(a, status, name, n);
}

const char *hash_name(struct controller *c, const struct json *v, int64_t collisions)
{
    scoped(buffer) struct buffer text = { 0 };
    json_print(v, &text);
    if (collisions)
        buffer_add_int(&text, collisions);
    uint32_t hash = 2166136261u; /* FNV-1a: the same in every process, unlike the hash maps' */
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * 16777619u;
    return generated_from_hash(hash, c->arena);
}
