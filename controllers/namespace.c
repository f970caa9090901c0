/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespace - empties a namespace that is being deleted, then lets it go.
 *
 * Pods go first, so that nothing they need (secrets, network policies) is taken from under them
 * while they run.  What is left is read from the server, not from a cache: a namespace that goes
 * too early would leave objects that nobody can reach.
 */
#include "controllers/pod_control.h"

#include "base/hashmap.h"

#define FINALIZER "kubernetes"

/* Deletions of the contents bring the key back; this is for contents that no cache here watches. */
#define LOOK_AGAIN_MS 5000

/* What is left after an attempt. */
struct content {
    struct arena *arena;
    struct hashmap finalizers; /* finalizer -> how many objects have it */
    struct buffer remaining;   /* "pods. has 2 resource instances, ..." */
    int64_t objects;
    struct buffer failures;
    int failures_n;
};

static void content_scoped(struct content *k)
{
    hashmap_deinit(&k->finalizers);
    buffer_free(&k->remaining);
    buffer_free(&k->failures);
}

static bool is_content(const struct resource *r)
{
    return r->namespaced && r->is_stored && r->storage == r &&
           (r->verbs & (VERB_LIST | VERB_DELETE)) == (VERB_LIST | VERB_DELETE);
}

/* ---- contents ---- */

static void note_failure(struct content *k, const struct error *failure)
{
    buffer_printf(&k->failures, "%s%s", k->failures_n ? ", " : "", failure->message);
    k->failures_n++;
}

static void note_remaining(struct content *k, const struct resource *r,
                           const struct object_list *left)
{
    if (left->n == 0)
        return;
    buffer_printf(&k->remaining, "%s%s.%s has %zu resource instances", k->objects ? ", " : "",
                  r->plural, r->group, left->n);
    k->objects += (int64_t)left->n;
    object_list_each (left, o) {
        json_each_item (json_at(o->doc, "metadata.finalizers"), name) {
            struct bytes text = arena_bytes(k->arena, bytes_of(json_text(name)));
            uintptr_t n = (uintptr_t)hashmap_get(&k->finalizers, text);
            hashmap_put(&k->finalizers, text, (void *)(n + 1));
        }
    }
}

static void delete_each(struct controller *c, const struct object_list *list, struct content *k)
{
    object_list_each (list, o) {
        struct error failure = { 0 };
        if (!object_is_deleting(o) && delete_object(c, o, PROPAGATION_BACKGROUND, &failure) < 0)
            note_failure(k, &failure);
    }
}

/* Deletes what there is of R and notes what is still there.  A server may not serve R: then there
 * is none. */
static void empty_of(struct controller *c, const char *ns, const struct resource *r,
                     struct content *k)
{
    struct client_list_options options = { .ns = ns };
    scoped(object_list) struct object_list before = { 0 };
    scoped(object_list) struct object_list after = { 0 };
    struct error failure = { 0 };
    if (client_list(c->client, r, &options, &before, NULL, &failure) < 0) {
        if (failure.code != ERR_NOT_FOUND)
            note_failure(k, &failure);
        return;
    }
    if (before.n == 0)
        return;
    delete_each(c, &before, k);
    if (client_list(c->client, r, &options, &after, NULL, &failure) < 0)
        note_failure(k, &failure);
    note_remaining(k, r, &after);
}

static void empty(struct controller *c, const char *ns, struct content *k)
{
    empty_of(c, ns, &resources[RESOURCE_PODS], k);
    if (k->objects || k->failures_n)
        return;
    for (int i = 0; i < RESOURCES; i++) {
        if (is_content(&resources[i]))
            empty_of(c, ns, &resources[i], k);
    }
}

/* ---- conditions ---- */

static void put_condition(struct controller *c, struct draft *d, const char *type,
                          const char *failed_reason, const char *failed_message,
                          const char *ok_reason, const char *ok_message)
{
    draft_set_condition(d, type, failed_message ? "True" : "False",
                        failed_message ? failed_reason : ok_reason,
                        failed_message ? failed_message : ok_message, wall_ns(c));
}

static const char *finalizers_message(const struct content *k)
{
    scoped(buffer) struct buffer text = { 0 };
    hashmap_each (&k->finalizers, e)
        buffer_printf(&text, "%s%.*s in %zu resource instances", text.len ? ", " : "",
                      (int)e->key.len, e->key.data, (size_t)(uintptr_t)e->value);
    if (text.len == 0)
        return NULL;
    return arena_printf(k->arena, "Some content in the namespace has finalizers remaining: %s",
                        text.data);
}

static int put_conditions(struct controller *c, struct object **ns, const struct content *k,
                          struct error *err)
{
    scoped(draft) struct draft *d = object_edit(*ns);
    struct arena *a = k->arena;
    const char *failed =
        k->failures_n ? arena_printf(a, "Failed to delete all resource types, %d remaining: %s",
                                     k->failures_n, k->failures.data)
                      : NULL;
    const char *remaining =
        k->objects ? arena_printf(a, "Some resources are remaining: %s", k->remaining.data) : NULL;
    json_put_str(d->arena, d->doc, "status.phase", "Terminating");
    put_condition(c, d, "NamespaceDeletionDiscoveryFailure", "", NULL, "ResourcesDiscovered",
                  "All resources successfully discovered");
    put_condition(c, d, "NamespaceDeletionGroupVersionParsingFailure", "", NULL,
                  "ParsedGroupVersions", "All legacy kube types successfully parsed");
    put_condition(c, d, "NamespaceDeletionContentFailure", "ContentDeletionFailed", failed,
                  "ContentDeleted",
                  "All content successfully deleted, may be waiting on finalization");
    put_condition(c, d, "NamespaceContentRemaining", "SomeResourcesRemain", remaining,
                  "ContentRemoved", "All content successfully removed");
    put_condition(c, d, "NamespaceFinalizersRemaining", "SomeFinalizersRemain",
                  finalizers_message(k), "ContentHasNoFinalizers",
                  "All content-preserving finalizers finished");
    if (json_equal(json_at((*ns)->doc, "status"), json_at(d->doc, "status")))
        return 0;
    struct object *result = NULL;
    if (update_object_status(c, d, &result, err) < 0)
        return -1;
    object_unref(*ns);
    *ns = result;
    return 0;
}

/* ---- the end ---- */

static bool has_our_finalizer(const struct object *ns)
{
    return json_has_text(json_at(ns->doc, "spec.finalizers"), FINALIZER);
}

static int finalize(struct controller *c, const struct object *ns, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(ns);
    struct json *list = json_find(d->doc, "spec.finalizers");
    for (size_t i = list ? list->len : 0; i-- > 0;) {
        if (str_equal(json_text(&list->items[i]), FINALIZER))
            json_remove_item(list, i);
    }
    struct error failure = { 0 };
    if (c->client->ops->update(c->client, ns->resource, &ns->key, "finalize", d->doc, NULL,
                               &failure) < 0 &&
        failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *ns = cache_get(c, RESOURCE_NAMESPACES, key);
    if (!ns || !object_is_deleting(ns) || !has_our_finalizer(ns))
        return 0;
    scoped(content) struct content k = { .arena = c->arena };
    empty(c, key->name, &k);
    struct error failure = { 0 };
    if (put_conditions(c, &ns, &k, &failure) < 0)
        return failure.code == ERR_NOT_FOUND ? 0
                                             : error_set(err, failure.code, "%s", failure.message);
    if (k.failures_n)
        return error_set(err, ERR_INTERNAL, "%s", k.failures.data);
    if (k.objects) {
        enqueue_key_after(c, key, LOOK_AGAIN_MS);
        return 0;
    }
    return finalize(c, ns, err);
}

/* ---- what brings the key back ---- */

static void on_content_gone(const struct informer_event *e)
{
    struct controller *c = e->arg;
    if (e->new)
        return;
    struct object_key key = { "", e->old->key.ns };
    scoped(object) struct object *ns = cache_get(c, RESOURCE_NAMESPACES, &key);
    if (ns && object_is_deleting(ns))
        enqueue_key(c, &key);
}

static int watch_contents(struct controller *c, struct error *err)
{
    (void)err;
    for (int i = 0; i < RESOURCES; i++) {
        if (is_content(&resources[i]) && (resources[i].verbs & VERB_WATCH) && i != RESOURCE_EVENTS)
            informer_add_handler(cache_of(c, i), on_content_gone, c);
    }
    return 0;
}

static void enqueue_deleting(struct controller *c, const struct informer_event *e)
{
    if (e->new &&object_is_deleting(e->new))
        enqueue_key(c, &e->new->key);
}

const struct controller_spec namespace_controller = {
    .name = "namespace",
    .account = "namespace-controller",
    .source = "namespace-controller",
    .workers = 4,
    .watches = {
        { RESOURCE_NAMESPACES, enqueue_deleting },
    },
    .init = watch_contents,
    .reconcile = reconcile,
};
