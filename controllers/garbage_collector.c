/* SPDX-License-Identifier: Apache-2.0 */
/*
 * garbage_collector - deletes what its owners have left behind.
 *
 * The graph of owners and dependents is the caches themselves: each has an index by owner uid, and
 * an owner reference names the cache and the key in which the owner would be.
 *
 *     background   the owner goes, its dependents are found without an owner and follow
 *     foreground   the owner stays with finalizer foregroundDeletion until no dependent blocks it
 *     orphan       the owner stays with finalizer orphan until no dependent refers to it
 *
 * An owner that a cache does not have is looked for on the server before anything is deleted, and
 * an object is deleted only in the version on which that was decided.
 *
 * Keys: "<resource id>:<namespace>/<name>", since every kind of object is worked on.
 */
#include "controllers/pod_control.h"

#define FOREGROUND "foregroundDeletion"
#define ORPHAN     "orphan"

/* Resources with lists, watches and deletion; events have no dependents worth the memory. */
static bool is_collected(const struct resource *r)
{
    const unsigned verbs = VERB_LIST | VERB_WATCH | VERB_DELETE;
    return r->is_stored && r->storage == r && (r->verbs & verbs) == verbs &&
           r->id != RESOURCE_EVENTS;
}

/* ---- keys ---- */

static void enqueue_object(struct controller *c, const struct object *o)
{
    char ns[KEY_TEXT_BYTES_MAX];
    snprintf(ns, sizeof(ns), "%d:%s", o->resource->id, o->key.ns);
    enqueue_key(c, &(struct object_key){ ns, o->key.name });
}

static struct object *object_of_key(struct controller *c, const struct object_key *key)
{
    char *ns;
    long id = strtol(key->ns, &ns, 10);
    ensure(id >= 0 && id < RESOURCES && *ns == ':');
    return cache_get(c, (int)id, &(struct object_key){ ns + 1, key->name });
}

/* ---- the graph ---- */

static void list_dependents(struct controller *c, const struct object *owner,
                            struct object_list *out)
{
    for (int i = 0; i < RESOURCES; i++) {
        if (is_collected(&resources[i]))
            cache_list_by(c, i, "owner", owner->uid, out);
    }
}

static bool is_waiting_for_dependents(const struct object *o)
{
    return object_is_deleting(o) && object_has_finalizer(o, FOREGROUND);
}

static bool blocks(const struct object *dependent, const struct object *owner)
{
    json_each_item (json_at(dependent->doc, "metadata.ownerReferences"), ref) {
        if (str_equal(json_str(ref, "uid", ""), owner->uid))
            return json_bool(ref, "blockOwnerDeletion", false);
    }
    return false;
}

enum owner_state { OWNER_SOLID, OWNER_WAITING, OWNER_ABSENT };

static const struct resource *resource_of(const struct json *ref)
{
    const char *version = json_str(ref, "apiVersion", "");
    const char *slash = strchr(version, '/');
    char group[256] = "";
    if (slash && (size_t)(slash - version) < sizeof(group))
        memcpy(group, version, (size_t)(slash - version));
    const struct resource *r =
        resource_find_kind(group, slash ? slash + 1 : version, json_str(ref, "kind", ""));
    return r ? r->storage : NULL;
}

static bool is_the_one(const struct object *o, const struct json *ref)
{
    return o && str_equal(o->uid, json_str(ref, "uid", ""));
}

/* What has become of the owner that REF in DEPENDENT names.  ERR_INVALID if that cannot be known.
 */
static int find_owner(struct controller *c, const struct object *dependent, const struct json *ref,
                      enum owner_state *out, struct error *err)
{
    const struct resource *r = resource_of(ref);
    if (!r || !is_collected(r))
        return error_set(err, ERR_INVALID, "no resource for owner %s %s",
                         json_str(ref, "apiVersion", ""), json_str(ref, "kind", ""));
    if (r->namespaced && !*dependent->key.ns)
        return error_set(err, ERR_INVALID, "cluster-scoped %s %s has a namespaced owner",
                         dependent->resource->kind, dependent->key.name);
    struct object_key key = { r->namespaced ? dependent->key.ns : "", json_str(ref, "name", "") };
    scoped(object) struct object *owner = cache_get(c, r->id, &key);
    if (!is_the_one(owner, ref)) {
        object_unref(take_ptr(&owner));
        struct error failure = { 0 };
        if (client_get(c->client, r, &key, &owner, &failure) < 0 && failure.code != ERR_NOT_FOUND)
            return error_set(err, failure.code, "%s", failure.message);
    }
    if (!is_the_one(owner, ref))
        *out = OWNER_ABSENT;
    else
        *out = is_waiting_for_dependents(owner) ? OWNER_WAITING : OWNER_SOLID;
    return 0;
}

struct owners {
    int n[OWNER_ABSENT + 1];
    struct json *solid; /* the references to keep */
};

static int classify_owners(struct controller *c, const struct object *o, struct owners *out,
                           struct error *err)
{
    *out = (struct owners){ .solid = json_new(c->arena, JSON_ARRAY) };
    json_each_item (json_at(o->doc, "metadata.ownerReferences"), ref) {
        enum owner_state state;
        if (find_owner(c, o, ref, &state, err) < 0)
            return -1;
        out->n[state]++;
        if (state == OWNER_SOLID)
            json_append(c->arena, out->solid, json_clone_value(ref, c->arena));
    }
    return 0;
}

/* ---- writes ---- */

/* A merge patch of one list in metadata, valid for the version that was looked at. */
static int patch_list(struct controller *c, const struct object *o, const char *path,
                      struct json *list, struct error *err)
{
    struct arena *a = c->arena;
    struct json *patch = json_new(a, JSON_OBJECT);
    json_put_str(a, patch, "metadata.resourceVersion",
                 json_str(o->doc, "metadata.resourceVersion", ""));
    json_put_str(a, patch, "metadata.uid", o->uid);
    json_put(a, patch, path, *list);
    struct error failure = { 0 };
    if (patch_object(c, o, NULL, PATCH_MERGE, patch, &failure) < 0 && failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

static int drop_finalizer(struct controller *c, const struct object *o, const char *finalizer,
                          struct error *err)
{
    struct json *left = json_new(c->arena, JSON_ARRAY);
    json_each_item (json_at(o->doc, "metadata.finalizers"), name) {
        if (!str_equal(json_text(name), finalizer))
            json_append(c->arena, left, json_clone_value(name, c->arena));
    }
    return patch_list(c, o, "metadata.finalizers", left, err);
}

static int drop_owner(struct controller *c, const struct object *o, const char *uid,
                      struct error *err)
{
    struct json *left = json_new(c->arena, JSON_ARRAY);
    json_each_item (json_at(o->doc, "metadata.ownerReferences"), ref) {
        if (!str_equal(json_str(ref, "uid", ""), uid))
            json_append(c->arena, left, json_clone_value(ref, c->arena));
    }
    return patch_list(c, o, "metadata.ownerReferences", left, err);
}

static int delete_version(struct controller *c, const struct object *o,
                          enum propagation propagation, struct error *err)
{
    struct client_delete_options options = {
        .grace_period_s = -1,
        .propagation = propagation,
        .uid = o->uid,
        .resource_version = o->resource_version,
    };
    struct error failure = { 0 };
    if (client_delete(c->client, o->resource, &o->key, &options, &failure) < 0 &&
        failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

/* ---- an object that is being deleted ---- */

static int free_dependents(struct controller *c, const struct object *owner, struct error *err)
{
    scoped(object_list) struct object_list dependents = { 0 };
    list_dependents(c, owner, &dependents);
    object_list_each (&dependents, dependent) {
        if (drop_owner(c, dependent, owner->uid, err) < 0)
            return -1;
    }
    return drop_finalizer(c, owner, ORPHAN, err);
}

static int await_dependents(struct controller *c, const struct object *owner, struct error *err)
{
    scoped(object_list) struct object_list dependents = { 0 };
    list_dependents(c, owner, &dependents);
    bool is_blocked = false;
    object_list_each (&dependents, dependent) {
        if (!blocks(dependent, owner))
            continue;
        is_blocked = true;
        if (!object_is_deleting(dependent))
            enqueue_object(c, dependent);
    }
    return is_blocked ? 0 : drop_finalizer(c, owner, FOREGROUND, err);
}

/* ---- an object whose owners may be gone ---- */

/* Two objects that wait for each other in the foreground would wait for ever: dependents that wait
 * already no longer block. */
static int unblock_circle(struct controller *c, const struct object *o,
                          const struct object_list *dependents, struct error *err)
{
    object_list_each (dependents, dependent) {
        if (!is_waiting_for_dependents(dependent))
            continue;
        struct json refs = json_clone_value(json_at(o->doc, "metadata.ownerReferences"), c->arena);
        for (uint32_t i = 0; i < refs.len; i++)
            json_put_bool(c->arena, &refs.items[i], "blockOwnerDeletion", false);
        return patch_list(c, o, "metadata.ownerReferences", &refs, err);
    }
    return 0;
}

static enum propagation policy_of(const struct object *o)
{
    if (object_has_finalizer(o, ORPHAN))
        return PROPAGATION_ORPHAN;
    return object_has_finalizer(o, FOREGROUND) ? PROPAGATION_FOREGROUND : PROPAGATION_BACKGROUND;
}

static int collect(struct controller *c, const struct object *o, const struct owners *owners,
                   struct error *err)
{
    if (owners->n[OWNER_SOLID]) {
        bool has_others = owners->n[OWNER_WAITING] || owners->n[OWNER_ABSENT];
        return has_others ? patch_list(c, o, "metadata.ownerReferences", owners->solid, err) : 0;
    }
    scoped(object_list) struct object_list dependents = { 0 };
    list_dependents(c, o, &dependents);
    if (owners->n[OWNER_WAITING] && dependents.n > 0) {
        scoped(object) struct object *live = NULL;
        if (unblock_circle(c, o, &dependents, err) < 0 || get_live(c, o, &live, err) < 0)
            return -1;
        return delete_version(c, live, PROPAGATION_FOREGROUND, err);
    }
    return delete_version(c, o, policy_of(o), err);
}

/* An owner in another namespace is no owner; users learn of it before their object goes. */
static void warn_of_foreign_owner(struct controller *c, const struct object *o)
{
    json_each_item (json_at(o->doc, "metadata.ownerReferences"), ref) {
        const struct resource *r = resource_of(ref);
        if (!r || !is_collected(r) || !r->namespaced)
            continue;
        scoped(object_list) struct object_list found = { 0 };
        informer_list(cache_of(c, r->id), &found);
        object_list_each (&found, owner) {
            if (is_the_one(owner, ref) && !str_equal(owner->key.ns, o->key.ns))
                event_record(c->events, o, "Warning", "OwnerRefInvalidNamespace",
                             "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in "
                             "namespace \"%s\"",
                             json_str(ref, "apiVersion", ""), r->kind, o->key.ns,
                             json_str(ref, "name", ""), owner->uid, o->key.ns);
        }
    }
}

/* The cache may be behind: what is to go is judged by what the server has. */
static int judge(struct controller *c, const struct object *cached, struct error *err)
{
    struct owners owners;
    struct error failure = { 0 };
    scoped(object) struct object *live = NULL;
    if (classify_owners(c, cached, &owners, &failure) < 0)
        return failure.code == ERR_INVALID /* nobody can say: it stays */
                   ? 0
                   : error_set(err, failure.code, "%s", failure.message);
    if (!owners.n[OWNER_ABSENT] && !owners.n[OWNER_WAITING])
        return 0;
    if (get_live(c, cached, &live, &failure) < 0)
        return failure.code == ERR_NOT_FOUND ? 0
                                             : error_set(err, failure.code, "%s", failure.message);
    if (!str_equal(live->uid, cached->uid) || object_is_deleting(live))
        return 0;
    if (live->resource_version != cached->resource_version &&
        classify_owners(c, live, &owners, &failure) < 0)
        return error_set(err, failure.code, "%s", failure.message);
    if (owners.n[OWNER_ABSENT])
        warn_of_foreign_owner(c, live);
    return collect(c, live, &owners, err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *o = object_of_key(c, key);
    if (!o)
        return 0;
    if (object_is_deleting(o) && object_has_finalizer(o, FOREGROUND))
        return await_dependents(c, o, err);
    if (object_is_deleting(o) && object_has_finalizer(o, ORPHAN))
        return free_dependents(c, o, err);
    if (object_is_deleting(o) || json_len(o->doc, "metadata.ownerReferences") == 0)
        return 0;
    return judge(c, o, err);
}

/* ---- what brings keys ---- */

static bool has_same_owners(const struct object *a, const struct object *b)
{
    const struct json *x = json_at(a->doc, "metadata.ownerReferences");
    const struct json *y = json_at(b->doc, "metadata.ownerReferences");
    return x == y || (x && y && json_equal(x, y));
}

/* A dependent has gone or changed hands: owners that wait for it look again. */
static void enqueue_waiting_owners(struct controller *c, const struct object *dependent)
{
    json_each_item (json_at(dependent->doc, "metadata.ownerReferences"), ref) {
        const struct resource *r = resource_of(ref);
        if (!r || !is_collected(r))
            continue;
        struct object_key key = { r->namespaced ? dependent->key.ns : "",
                                  json_str(ref, "name", "") };
        scoped(object) struct object *owner = cache_get(c, r->id, &key);
        if (is_the_one(owner, ref) && is_waiting_for_dependents(owner))
            enqueue_object(c, owner);
    }
}

static bool has_missing_owner(struct controller *c, const struct object *o)
{
    json_each_item (json_at(o->doc, "metadata.ownerReferences"), ref) {
        const struct resource *r = resource_of(ref);
        if (!r || !is_collected(r))
            continue;
        struct object_key key = { r->namespaced ? o->key.ns : "", json_str(ref, "name", "") };
        scoped(object) struct object *owner = cache_get(c, r->id, &key);
        if (!is_the_one(owner, ref) || is_waiting_for_dependents(owner))
            return true;
    }
    return false;
}

static void on_gone(struct controller *c, const struct object *o)
{
    scoped(object_list) struct object_list dependents = { 0 };
    list_dependents(c, o, &dependents);
    object_list_each (&dependents, dependent)
        enqueue_object(c, dependent);
    enqueue_waiting_owners(c, o);
}

static void on_event(const struct informer_event *e)
{
    struct controller *c = e->arg;
    if (!e->new) {
        on_gone(c, e->old);
        return;
    }
    bool owners_changed = !e->old || !has_same_owners(e->old, e->new);
    bool began_to_go = object_is_deleting(e->new) && (!e->old || !object_is_deleting(e->old));
    if (owners_changed && has_missing_owner(c, e->new))
        enqueue_object(c, e->new);
    if (e->old && owners_changed)
        enqueue_waiting_owners(c, e->old);
    if (began_to_go || (object_is_deleting(e->new) && (object_has_finalizer(e->new, FOREGROUND) ||
                                                       object_has_finalizer(e->new, ORPHAN))))
        enqueue_object(c, e->new);
}

static int watch_everything(struct controller *c, struct error *err)
{
    (void)err;
    for (int i = 0; i < RESOURCES; i++) {
        if (!is_collected(&resources[i]))
            continue;
        informer_add_index(cache_of(c, i), "owner", informer_index_owner);
        informer_add_handler(cache_of(c, i), on_event, c);
    }
    return 0;
}

const struct controller_spec garbage_collector_controller = {
    .name = "garbage-collector",
    .account = "generic-garbage-collector",
    .source = "garbage-collector-controller",
    .workers = 8,
    .init = watch_everything,
    .reconcile = reconcile,
};
