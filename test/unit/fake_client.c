/* SPDX-License-Identifier: Apache-2.0 */
/* fake_client - an API server in memory. */
#include "test/unit/fake_client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "api/patch.h"
#include "api/selector.h"
#include "api/status.h"
#include "base/cond.h"
#include "base/hashmap.h"

#define FAKE_WAIT_S 120
#define FAKE_RULES  16

struct slot { /* one object; its key is the text "<resource id>|<ns>/<name>" */
    struct object *object;
    char key[];
};

struct change {
    enum watch_type type;
    struct object *object;
};

struct fake_watch {
    struct client_watch watch;
    struct fake_watch *next;
    const struct resource *resource;
    struct client_watch_options options;
    char *ns;
    struct arena *arena;
    const struct selector *labels;
    const struct field_selector *fields;
    size_t position; /* in the log of changes */
    size_t initial;  /* synthetic ADDED events that come first */
    struct object_list existing;
    bool is_calling, is_closed, has_ended;
    struct error end; /* code set: to be told */
};

struct rule {
    enum resource_verb verb;
    int resource_id, count;
    enum error_code code;
    const char *message;
};

struct fake_client {
    struct client client;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t deliverer;
    bool is_stopping, is_held, has_graceful_pods;
    const struct clock *clock;
    struct hashmap slots;
    int64_t revision, compacted;
    struct change *log;
    size_t log_n, log_capacity;
    struct fake_watch *watches;
    struct rule rules[FAKE_RULES];
    struct hashmap calls; /* "<verb>|<id>" -> count */
    uint64_t names;
};

static struct fake_client *of(struct client *c)
{
    return (struct fake_client *)c;
}

/* ---- storage: under the lock ---- */

static char *slot_key(const struct resource *r, const struct object_key *key)
{
    return xasprintf("%d|%s/%s", r->id, key->ns ? key->ns : "", key->name);
}

static struct slot *slot_find(struct fake_client *f, const struct resource *r,
                              const struct object_key *key)
{
    scoped(str) char *text = slot_key(r, key);
    return hashmap_get(&f->slots, bytes_of(text));
}

static void log_change(struct fake_client *f, enum watch_type type, struct object *o)
{
    f->log = xgrow(f->log, f->log_n, &f->log_capacity, sizeof(f->log[0]));
    f->log[f->log_n++] = (struct change){ type, object_ref(o) };
    pthread_cond_broadcast(&f->changed);
}

/* Takes D; gives a borrowed object that is stored and published. */
static struct object *store_take(struct fake_client *f, struct draft *d)
{
    struct object *o = draft_publish(d, ++f->revision);
    struct slot *s = slot_find(f, o->resource, &o->key);
    log_change(f, s ? WATCH_MODIFIED : WATCH_ADDED, o);
    if (!s) {
        scoped(str) char *key = slot_key(o->resource, &o->key);
        s = xcalloc(1, sizeof(*s) + strlen(key) + 1);
        strcpy(s->key, key);
        hashmap_put(&f->slots, bytes_of(s->key), s);
    } else {
        object_unref(s->object);
    }
    s->object = o;
    return o;
}

static void drop(struct fake_client *f, struct slot *s)
{
    struct draft *d = object_edit(s->object);
    struct object *last = draft_publish(d, ++f->revision);
    log_change(f, WATCH_DELETED, last);
    object_unref(last);
    hashmap_remove(&f->slots, bytes_of(s->key));
    object_unref(s->object);
    free(s);
}

/* A deleted object that nothing holds any more goes.  True if it went. */
static bool drop_if_released(struct fake_client *f, const struct object *o)
{
    if (!object_is_deleting(o) || json_len(o->doc, "metadata.finalizers") > 0)
        return false;
    if (o->resource->id == RESOURCE_NAMESPACES && json_len(o->doc, "spec.finalizers") > 0)
        return false;
    if (o->resource->id == RESOURCE_PODS && f->has_graceful_pods &&
        json_int(o->doc, "metadata.deletionGracePeriodSeconds", 0) > 0)
        return false;
    drop(f, slot_find(f, o->resource, &o->key));
    return true;
}

static void put_time(struct fake_client *f, struct draft *d, const char *path)
{
    char text[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(f->clock), text);
    json_put_str(d->arena, d->doc, path, text);
}

static struct draft *draft_of(const struct resource *r, const struct json *doc)
{
    struct arena *a = arena_new();
    struct json *copy = json_clone(doc, a);
    char version[128];
    json_put_str(a, copy, "apiVersion", resource_api_version(r, version, sizeof(version)));
    json_put_str(a, copy, "kind", r->kind);
    return draft_from_take(r, a, copy);
}

/* ---- bookkeeping of calls ---- */

struct call_count {
    size_t n;
    char key[];
};

static void count_call(struct fake_client *f, enum resource_verb verb, const struct resource *r)
{
    scoped(str) char *key = xasprintf("%d|%d", verb, r->id);
    struct call_count *count = hashmap_get(&f->calls, bytes_of(key));
    if (!count) {
        count = xcalloc(1, sizeof(*count) + strlen(key) + 1);
        strcpy(count->key, key);
        hashmap_put(&f->calls, bytes_of(count->key), count);
    }
    count->n++;
}

/* Counts the call; -1 if a rule says that it fails.  Under the lock. */
static int enter(struct fake_client *f, enum resource_verb verb, const struct resource *r,
                 struct error *err)
{
    count_call(f, verb, r);
    for (size_t i = 0; i < FAKE_RULES; i++) {
        struct rule *rule = &f->rules[i];
        if (rule->count > 0 && rule->verb == verb && rule->resource_id == r->id) {
            rule->count--;
            return error_set(err, rule->code, "%s", rule->message);
        }
    }
    return 0;
}

static struct slot *find_or_fail(struct fake_client *f, const struct resource *r,
                                 const struct object_key *key, struct error *err)
{
    struct slot *s = slot_find(f, r, key);
    if (!s)
        status_not_found(err, r, key->name);
    return s;
}

/* ---- verbs: each entered with the lock held by its wrapper below ---- */

static int do_get(struct fake_client *f, const struct resource *r, const struct object_key *key,
                  struct object **out, struct error *err)
{
    if (enter(f, VERB_GET, r, err) < 0)
        return -1;
    struct slot *s = find_or_fail(f, r, key, err);
    if (!s)
        return -1;
    *out = object_ref(s->object);
    return 0;
}

static bool is_selected(const struct object *o, const char *ns, const struct selector *labels,
                        const struct field_selector *fields)
{
    if (!str_empty(ns) && !str_equal(o->key.ns, ns))
        return false;
    if (labels && !selector_matches(labels, json_at(o->doc, "metadata.labels")))
        return false;
    return !fields || field_selector_matches(fields, o);
}

static int parse_selectors(const struct resource *r, const char *labels, const char *fields,
                           struct arena *a, const struct selector **label_selector,
                           const struct field_selector **field_selector, struct error *err)
{
    *label_selector = NULL;
    *field_selector = NULL;
    if (!str_empty(labels) && !(*label_selector = selector_parse(labels, a, err)))
        return -1;
    if (!str_empty(fields) && !(*field_selector = field_selector_parse(r, fields, a, err)))
        return -1;
    return 0;
}

static int do_list(struct fake_client *f, const struct resource *r,
                   const struct client_list_options *o, struct object_list *out,
                   int64_t *resource_version, struct error *err)
{
    if (enter(f, VERB_LIST, r, err) < 0)
        return -1;
    scoped(arena) struct arena *a = arena_new();
    const struct selector *labels;
    const struct field_selector *fields;
    if (parse_selectors(r, o ? o->label_selector : NULL, o ? o->field_selector : NULL, a, &labels,
                        &fields, err) < 0)
        return -1;
    hashmap_each (&f->slots, e) {
        struct slot *s = e->value;
        if (s->object->resource == r && is_selected(s->object, o ? o->ns : NULL, labels, fields))
            object_list_add(out, s->object);
    }
    if (resource_version)
        *resource_version = f->revision;
    return 0;
}

static void name_generated(struct fake_client *f, struct draft *d)
{
    const char *prefix = json_str(d->doc, "metadata.generateName", "");
    if (json_str(d->doc, "metadata.name", NULL) || str_empty(prefix))
        return;
    scoped(str) char *name = xasprintf("%s%05u", prefix, (unsigned)++f->names);
    json_put_str(d->arena, d->doc, "metadata.name", name);
}

static int do_create(struct fake_client *f, const struct resource *r, const char *ns,
                     const struct json *doc, struct object **out, struct error *err)
{
    if (enter(f, VERB_CREATE, r, err) < 0)
        return -1;
    scoped(draft) struct draft *d = draft_of(r, doc);
    if (r->namespaced)
        json_put_str(d->arena, d->doc, "metadata.namespace", ns);
    name_generated(f, d);
    struct object_key key = { r->namespaced ? ns : "", json_str(d->doc, "metadata.name", "") };
    if (slot_find(f, r, &key))
        return status_already_exists(err, r, key.name);
    json_put_str(d->arena, d->doc, "metadata.uid",
                 arena_printf(d->arena, "00000000-0000-0000-0000-%012u", (unsigned)++f->names));
    put_time(f, d, "metadata.creationTimestamp");
    if (json_at(d->doc, "spec"))
        json_put_int(d->arena, d->doc, "metadata.generation", 1);
    struct object *o = store_take(f, take_ptr(&d));
    if (out)
        *out = object_ref(o);
    return 0;
}

/* What an update may not change stays as it was. */
static void keep_from_old(struct draft *d, const struct object *old, const char *subresource)
{
    static const char *const fixed[] = { "metadata.uid", "metadata.creationTimestamp",
                                         "metadata.deletionTimestamp",
                                         "metadata.deletionGracePeriodSeconds" };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        const struct json *v = json_at(old->doc, fixed[i]);
        if (v)
            json_put(d->arena, d->doc, fixed[i], json_clone_value(v, d->arena));
    }
    const char *other = str_equal(subresource, "status") ? "spec" : "status";
    const struct json *kept = json_at(old->doc, other);
    if (str_equal(subresource, "finalize"))
        return;
    json_drop(d->doc, other);
    if (kept)
        json_put(d->arena, d->doc, other, json_clone_value(kept, d->arena));
    int64_t generation = object_generation(old);
    if (generation > 0 && !json_equal(json_at(old->doc, "spec"), json_at(d->doc, "spec")))
        generation++;
    if (generation > 0)
        json_put_int(d->arena, d->doc, "metadata.generation", generation);
}

static bool is_same(const struct object *old, const struct draft *d)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *was = json_clone(old->doc, a), *is = json_clone(d->doc, a);
    json_drop(was, "metadata.resourceVersion");
    json_drop(is, "metadata.resourceVersion");
    return json_equal(was, is);
}

static int replace_take(struct fake_client *f, struct slot *s, struct draft *draft,
                        const char *subresource, struct object **out, struct error *err)
{
    scoped(draft) struct draft *d = draft;
    const char *version = json_str(d->doc, "metadata.resourceVersion", "");
    if (!str_empty(version) && strtoll(version, NULL, 10) != s->object->resource_version)
        return status_conflict(err, s->object->resource, s->object->key.name);
    const char *uid = json_str(d->doc, "metadata.uid", NULL);
    if (uid && !str_equal(uid, s->object->uid))
        return status_conflict(err, s->object->resource, s->object->key.name);
    keep_from_old(d, s->object, subresource);
    if (is_same(s->object, d)) { /* no change, no new version */
        if (out)
            *out = object_ref(s->object);
        return 0;
    }
    struct object *o = store_take(f, take_ptr(&d));
    if (out)
        *out = object_ref(o);
    drop_if_released(f, o);
    return 0;
}

static int do_update(struct fake_client *f, const struct resource *r, const struct object_key *key,
                     const char *subresource, const struct json *doc, struct object **out,
                     struct error *err)
{
    if (enter(f, VERB_UPDATE, r, err) < 0)
        return -1;
    struct slot *s = find_or_fail(f, r, key, err);
    if (!s)
        return -1;
    return replace_take(f, s, draft_of(r, doc), subresource, out, err);
}

static int do_patch(struct fake_client *f, const struct resource *r, const struct object_key *key,
                    const char *subresource, enum patch_type type, struct bytes body,
                    struct object **out, struct error *err)
{
    if (enter(f, VERB_PATCH, r, err) < 0)
        return -1;
    struct slot *s = find_or_fail(f, r, key, err);
    if (!s)
        return -1;
    scoped(arena) struct arena *a = arena_new();
    struct json *patch = json_parse(body, a, NULL, err);
    if (!patch)
        return -1;
    struct json *doc = NULL;
    if (type == PATCH_MERGE)
        doc = patch_merge(s->object->doc, patch, a);
    else if (type == PATCH_STRATEGIC)
        doc = patch_strategic(r->type, s->object->doc, patch, a, err);
    else if (type == PATCH_JSON)
        doc = patch_json(s->object->doc, patch, a, err);
    else
        error_set(err, ERR_UNSUPPORTED_MEDIA_TYPE, "the fake has no server-side apply");
    if (!doc)
        return -1;
    return replace_take(f, s, draft_of(r, doc), subresource, out, err);
}

static void add_finalizer(struct draft *d, const char *name)
{
    struct json *list = json_make(d->arena, d->doc, "metadata.finalizers");
    if (list->type != JSON_ARRAY)
        *list = *json_new(d->arena, JSON_ARRAY);
    json_append(d->arena, list, json_string_value(d->arena, name));
}

static void mark_deleted(struct fake_client *f, struct slot *s,
                         const struct client_delete_options *o)
{
    struct draft *d = object_edit(s->object);
    if (!object_is_deleting(s->object))
        put_time(f, d, "metadata.deletionTimestamp");
    int64_t grace = o && o->grace_period_s >= 0
                        ? o->grace_period_s
                        : json_int(d->doc, "spec.terminationGracePeriodSeconds", 0);
    if (str_empty(json_str(d->doc, "spec.nodeName", NULL)))
        grace = 0;
    json_put_int(d->arena, d->doc, "metadata.deletionGracePeriodSeconds", grace);
    if (o && o->propagation == PROPAGATION_FOREGROUND &&
        !object_has_finalizer(s->object, "foregroundDeletion"))
        add_finalizer(d, "foregroundDeletion");
    if (o && o->propagation == PROPAGATION_ORPHAN && !object_has_finalizer(s->object, "orphan"))
        add_finalizer(d, "orphan");
    if (s->object->resource->id == RESOURCE_NAMESPACES)
        json_put_str(d->arena, d->doc, "status.phase", "Terminating");
    drop_if_released(f, store_take(f, d));
}

static int do_remove(struct fake_client *f, const struct resource *r, const struct object_key *key,
                     const struct client_delete_options *o, struct error *err)
{
    if (enter(f, VERB_DELETE, r, err) < 0)
        return -1;
    struct slot *s = find_or_fail(f, r, key, err);
    if (!s)
        return -1;
    if (o && o->uid && !str_equal(o->uid, s->object->uid))
        return status_conflict(err, r, key->name);
    if (o && o->resource_version && o->resource_version != s->object->resource_version)
        return status_conflict(err, r, key->name);
    mark_deleted(f, s, o);
    return 0;
}

static int do_post(struct fake_client *f, const struct resource *r, const struct object_key *key,
                   const char *subresource, const struct json *doc, struct error *err)
{
    if (enter(f, VERB_CREATE, r, err) < 0)
        return -1;
    struct slot *s = find_or_fail(f, r, key, err);
    if (!s)
        return -1;
    if (str_equal(subresource, "eviction")) {
        mark_deleted(f, s, NULL);
        return 0;
    }
    if (!str_equal(subresource, "binding"))
        return error_set(err, ERR_NOT_FOUND, "the fake has no subresource %s", subresource);
    if (!str_empty(json_str(s->object->doc, "spec.nodeName", NULL)))
        return error_set(err, ERR_CONFLICT, "pod %s is already assigned to node", key->name);
    struct draft *d = object_edit(s->object);
    json_put_str(d->arena, d->doc, "spec.nodeName", json_str(doc, "target.name", ""));
    store_take(f, d);
    return 0;
}

/* ---- watches ---- */

static bool watch_wants(const struct fake_watch *w, const struct object *o)
{
    return o->resource == w->resource && is_selected(o, w->ns, w->labels, w->fields);
}

/* What a change is to a watch with selectors: an object may come into view or leave it.  False:
 * nothing. Under the lock. */
static bool watch_view(struct fake_client *f, const struct fake_watch *w, size_t position,
                       enum watch_type *type)
{
    const struct change *c = &f->log[position];
    if (c->object->resource != w->resource)
        return false;
    bool was = false;
    for (size_t i = position; i-- > 0 && c->type != WATCH_ADDED;) {
        const struct change *before = &f->log[i];
        if (before->object->resource == w->resource &&
            object_key_equal(&before->object->key, &c->object->key)) {
            was = before->type != WATCH_DELETED && watch_wants(w, before->object);
            break;
        }
    }
    bool is = c->type != WATCH_DELETED && watch_wants(w, c->object);
    *type = is ? (was ? WATCH_MODIFIED : WATCH_ADDED) : WATCH_DELETED;
    return is || was;
}

/* The next thing to tell W; false if there is nothing.  Under the lock. */
static bool watch_next(struct fake_client *f, struct fake_watch *w, struct watch_event *e)
{
    if (w->initial < w->existing.n) {
        *e = (struct watch_event){ WATCH_ADDED, object_ref(w->existing.items[w->initial++]) };
        return true;
    }
    while (w->position < f->log_n) {
        size_t at = w->position++;
        enum watch_type type;
        if (watch_view(f, w, at, &type)) {
            *e = (struct watch_event){ type, object_ref(f->log[at].object) };
            return true;
        }
    }
    return false;
}

/* Tells one watch one thing.  Enters and leaves with the lock held; true if something was told. */
static bool deliver(struct fake_client *f, struct fake_watch *w)
{
    struct watch_event e = { 0 };
    if (w->is_closed || w->has_ended)
        return false;
    if (w->end.code) {
        w->has_ended = true;
    } else if (!watch_next(f, w, &e)) {
        return false;
    }
    w->is_calling = true;
    pthread_mutex_unlock(&f->lock);
    if (e.object)
        w->options.event(&e, w->options.arg);
    else
        w->options.ended(&w->end, w->options.arg);
    object_unref(e.object);
    pthread_mutex_lock(&f->lock);
    w->is_calling = false;
    pthread_cond_broadcast(&f->changed);
    return true;
}

static void *deliver_all(void *arg)
{
    struct fake_client *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->is_stopping) {
        bool told = false;
        /* The list may change while a callback runs: start over after each. */
        for (struct fake_watch *w = f->watches; w && !told && !f->is_held; w = w->next)
            told = deliver(f, w);
        if (!told && !f->is_stopping)
            pthread_cond_wait(&f->changed, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static size_t log_position_after(struct fake_client *f, int64_t revision)
{
    size_t i = f->log_n;
    while (i > 0 && f->log[i - 1].object->resource_version > revision)
        i--;
    return i;
}

static void watch_free(struct fake_watch *w)
{
    object_list_deinit(&w->existing);
    arena_free(w->arena);
    free(w->ns);
    free(w);
}

static struct client_watch *do_watch(struct fake_client *f, const struct resource *r,
                                     const struct client_watch_options *o, struct error *err)
{
    if (enter(f, VERB_WATCH, r, err) < 0)
        return NULL;
    if (o->resource_version && o->resource_version < f->compacted) {
        error_set(err, ERR_COMPACTED, "too old resource version: %lld (%lld)",
                  (long long)o->resource_version, (long long)f->compacted);
        return NULL;
    }
    struct fake_watch *w = xcalloc(1, sizeof(*w));
    w->watch.client = &f->client;
    w->resource = r;
    w->options = *o;
    w->ns = o->ns ? xstrdup(o->ns) : NULL;
    w->arena = arena_new();
    if (parse_selectors(r, o->label_selector, o->field_selector, w->arena, &w->labels, &w->fields,
                        err) < 0) {
        watch_free(w);
        return NULL;
    }
    w->position = o->resource_version ? log_position_after(f, o->resource_version) : f->log_n;
    if (!o->resource_version) {
        hashmap_each (&f->slots, e) {
            struct slot *s = e->value;
            if (watch_wants(w, s->object))
                object_list_add(&w->existing, s->object);
        }
    }
    w->next = f->watches;
    f->watches = w;
    pthread_cond_broadcast(&f->changed);
    return &w->watch;
}

static void fake_watch_close(struct client_watch *watch)
{
    struct fake_watch *w = (struct fake_watch *)watch;
    struct fake_client *f = of(watch->client);
    pthread_mutex_lock(&f->lock);
    w->is_closed = true;
    while (w->is_calling && !pthread_equal(pthread_self(), f->deliverer))
        pthread_cond_wait(&f->changed, &f->lock);
    for (struct fake_watch **p = &f->watches; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    pthread_mutex_unlock(&f->lock);
    watch_free(w);
}

/* ---- the interface ---- */

#define LOCKED(f, result_type, call)                                                               \
    pthread_mutex_lock(&(f)->lock);                                                                \
    result_type result = (call);                                                                   \
    pthread_mutex_unlock(&(f)->lock)

static int fake_op_get(struct client *c, const struct resource *r, const struct object_key *key,
                       struct object **out, struct error *err)
{
    LOCKED(of(c), int, do_get(of(c), r, key, out, err));
    return result;
}

static int fake_op_list(struct client *c, const struct resource *r,
                        const struct client_list_options *o, struct object_list *out,
                        int64_t *resource_version, struct error *err)
{
    LOCKED(of(c), int, do_list(of(c), r, o, out, resource_version, err));
    return result;
}

static int fake_op_create(struct client *c, const struct resource *r, const char *ns,
                          const struct json *doc, struct object **out, struct error *err)
{
    LOCKED(of(c), int, do_create(of(c), r, ns, doc, out, err));
    return result;
}

static int fake_op_update(struct client *c, const struct resource *r, const struct object_key *key,
                          const char *subresource, const struct json *doc, struct object **out,
                          struct error *err)
{
    LOCKED(of(c), int, do_update(of(c), r, key, subresource, doc, out, err));
    return result;
}

static int fake_op_patch(struct client *c, const struct resource *r, const struct object_key *key,
                         const char *subresource, enum patch_type type, struct bytes body,
                         struct object **out, struct error *err)
{
    LOCKED(of(c), int, do_patch(of(c), r, key, subresource, type, body, out, err));
    return result;
}

static int fake_op_remove(struct client *c, const struct resource *r, const struct object_key *key,
                          const struct client_delete_options *o, struct error *err)
{
    LOCKED(of(c), int, do_remove(of(c), r, key, o, err));
    return result;
}

static int fake_op_post(struct client *c, const struct resource *r, const struct object_key *key,
                        const char *subresource, const struct json *doc, struct arena *arena,
                        const struct json **answer, struct error *err)
{
    LOCKED(of(c), int, do_post(of(c), r, key, subresource, doc, err));
    if (result == 0 && answer)
        *answer = json_new(arena, JSON_OBJECT);
    return result;
}

static struct client_watch *fake_op_watch(struct client *c, const struct resource *r,
                                          const struct client_watch_options *o, struct error *err)
{
    LOCKED(of(c), struct client_watch *, do_watch(of(c), r, o, err));
    return result;
}

static void fake_op_close(struct client *c)
{
    (void)c;
}

static const struct client_ops ops = {
    .get = fake_op_get,
    .list = fake_op_list,
    .create = fake_op_create,
    .update = fake_op_update,
    .patch = fake_op_patch,
    .remove = fake_op_remove,
    .post = fake_op_post,
    .watch = fake_op_watch,
    .watch_close = fake_watch_close,
    .close = fake_op_close,
};

struct fake_client *fake_client_new(void)
{
    struct fake_client *f = xcalloc(1, sizeof(*f));
    f->client.ops = &ops;
    f->clock = &system_clock;
    f->revision = 1;
    pthread_mutex_init(&f->lock, NULL);
    cond_init(&f->changed);
    ensure(pthread_create(&f->deliverer, NULL, deliver_all, f) == 0);
    return f;
}

void fake_client_free(struct fake_client *f)
{
    pthread_mutex_lock(&f->lock);
    f->is_stopping = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->deliverer, NULL);
    hashmap_each (&f->slots, e) {
        struct slot *s = e->value;
        object_unref(s->object);
        free(s);
    }
    hashmap_each (&f->calls, e)
        free(e->value);
    hashmap_deinit(&f->slots);
    hashmap_deinit(&f->calls);
    for (size_t i = 0; i < f->log_n; i++)
        object_unref(f->log[i].object);
    free(f->log);
    for (struct fake_watch *w = f->watches, *next; w; w = next) {
        next = w->next;
        watch_free(w);
    }
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

struct client *fake_client(struct fake_client *f)
{
    return &f->client;
}

void fake_client_set_clock(struct fake_client *f, const struct clock *clock)
{
    f->clock = clock;
}

/* ---- what tests do to the world ---- */

static struct json *parse_quoted(const char *text, struct arena *a)
{
    char *copy = arena_strdup(a, text);
    for (char *p = copy; *p; p++) {
        if (*p == '\'')
            *p = '"';
    }
    struct error err = { 0 };
    struct json *doc = json_parse(bytes_of(copy), a, NULL, &err);
    if (!doc)
        fail_msg("%s in %s", err.message, copy);
    return doc;
}

struct object *fake_put(struct fake_client *f, int resource_id, const char *text)
{
    scoped(arena) struct arena *a = arena_new();
    const struct resource *r = &resources[resource_id];
    pthread_mutex_lock(&f->lock);
    struct draft *d = draft_of(r, parse_quoted(text, a));
    if (!json_at(d->doc, "metadata.uid"))
        json_put_str(d->arena, d->doc, "metadata.uid",
                     arena_printf(d->arena, "00000000-0000-0000-0000-%012u", (unsigned)++f->names));
    if (!json_at(d->doc, "metadata.creationTimestamp"))
        put_time(f, d, "metadata.creationTimestamp");
    if (json_at(d->doc, "spec") && !json_at(d->doc, "metadata.generation"))
        json_put_int(d->arena, d->doc, "metadata.generation", 1);
    struct object *o = object_ref(store_take(f, d));
    pthread_mutex_unlock(&f->lock);
    return o;
}

void fake_store(struct fake_client *f, int resource_id, const char *text)
{
    object_unref(fake_put(f, resource_id, text));
}

void fake_merge(struct fake_client *f, int resource_id, const char *ns, const char *name,
                const char *text)
{
    scoped(arena) struct arena *a = arena_new();
    const struct resource *r = &resources[resource_id];
    struct object_key key = { ns, name };
    pthread_mutex_lock(&f->lock);
    struct slot *s = slot_find(f, r, &key);
    if (!s)
        fail_msg("no %s %s/%s to change", r->plural, ns, name);
    struct json *doc = patch_merge(s->object->doc, parse_quoted(text, a), a);
    int64_t generation = object_generation(s->object);
    if (generation > 0 && !json_equal(json_at(s->object->doc, "spec"), json_at(doc, "spec")))
        json_put_int(a, doc, "metadata.generation", generation + 1);
    drop_if_released(f, store_take(f, draft_of(r, doc)));
    pthread_mutex_unlock(&f->lock);
}

void fake_drop(struct fake_client *f, int resource_id, const char *ns, const char *name)
{
    struct object_key key = { ns, name };
    pthread_mutex_lock(&f->lock);
    struct slot *s = slot_find(f, &resources[resource_id], &key);
    if (s)
        drop(f, s);
    pthread_mutex_unlock(&f->lock);
}

struct object *fake_get(struct fake_client *f, int resource_id, const char *ns, const char *name)
{
    struct object_key key = { ns, name };
    pthread_mutex_lock(&f->lock);
    struct slot *s = slot_find(f, &resources[resource_id], &key);
    struct object *o = s ? object_ref(s->object) : NULL;
    pthread_mutex_unlock(&f->lock);
    return o;
}

static int by_key(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int order = strcmp(x->key.ns, y->key.ns);
    return order ? order : strcmp(x->key.name, y->key.name);
}

void fake_list(struct fake_client *f, int resource_id, struct object_list *out)
{
    pthread_mutex_lock(&f->lock);
    hashmap_each (&f->slots, e) {
        struct slot *s = e->value;
        if (s->object->resource->id == resource_id)
            object_list_add(out, s->object);
    }
    pthread_mutex_unlock(&f->lock);
    if (out->n > 1)
        qsort(out->items, out->n, sizeof(*out->items), by_key);
}

size_t fake_count(struct fake_client *f, int resource_id)
{
    scoped(object_list) struct object_list all = { 0 };
    fake_list(f, resource_id, &all);
    return all.n;
}

void fake_wait(struct fake_client *f, bool (*predicate)(struct fake_client *f, void *arg),
               void *arg, const char *what)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + FAKE_WAIT_S * NS_PER_S;
    for (;;) {
        pthread_mutex_lock(&f->lock);
        size_t seen = f->log_n;
        pthread_mutex_unlock(&f->lock);
        if (predicate(f, arg))
            return;
        bool is_in_time = true;
        pthread_mutex_lock(&f->lock);
        while (f->log_n == seen && is_in_time)
            is_in_time = cond_wait_until(&f->changed, &f->lock, until_ns);
        pthread_mutex_unlock(&f->lock);
        if (!is_in_time)
            fail_msg("never happened: %s", what);
    }
}

void fake_fail(struct fake_client *f, enum resource_verb verb, int resource_id, int count,
               enum error_code code, const char *message)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < FAKE_RULES; i++) {
        if (f->rules[i].count == 0) {
            f->rules[i] = (struct rule){ verb, resource_id, count, code, message };
            pthread_mutex_unlock(&f->lock);
            return;
        }
    }
    pthread_mutex_unlock(&f->lock);
    fail_msg("more than %d rules", FAKE_RULES);
}

void fake_heal(struct fake_client *f)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < FAKE_RULES; i++)
        f->rules[i].count = 0;
    pthread_mutex_unlock(&f->lock);
}

size_t fake_calls(struct fake_client *f, enum resource_verb verb, int resource_id)
{
    scoped(str) char *key = xasprintf("%d|%d", verb, resource_id);
    pthread_mutex_lock(&f->lock);
    struct call_count *count = hashmap_get(&f->calls, bytes_of(key));
    size_t n = count ? count->n : 0;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void fake_break_watches(struct fake_client *f)
{
    pthread_mutex_lock(&f->lock);
    for (struct fake_watch *w = f->watches; w; w = w->next)
        error_set(&w->end, ERR_UNAVAILABLE, "the connection was lost");
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

void fake_compact(struct fake_client *f)
{
    pthread_mutex_lock(&f->lock);
    f->compacted = f->revision + 1;
    f->revision++;
    pthread_mutex_unlock(&f->lock);
}

void fake_hold_watches(struct fake_client *f, bool held)
{
    pthread_mutex_lock(&f->lock);
    f->is_held = held;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

void fake_graceful_pods(struct fake_client *f, bool on)
{
    f->has_graceful_pods = on;
}
