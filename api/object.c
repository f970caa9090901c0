/* SPDX-License-Identifier: Apache-2.0 */
/* object.c - objects, drafts and what all kinds have in common. */
#include "api/object.h"

#include <pthread.h>

#include "api/object_tree.h"
#include "base/clock.h"

/* ---- the checksum that finds writes to a shared object (debug builds) ---- */

#ifdef CORACLE_DEBUG
struct checked_object {
    struct object object;
    uint64_t checksum;
};

static uint64_t mix(uint64_t sum, uint64_t v)
{
    return (sum ^ v) * UINT64_C(0x100000001b3);
}

static uint64_t tree_checksum(uint64_t sum, const struct json *v)
{
    sum = mix(sum, v->type);
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        sum = mix(sum, v->boolean);
        break;
    case JSON_INT:
    case JSON_DOUBLE:
        sum = mix(sum, (uint64_t)v->integer);
        break;
    case JSON_STRING:
        for (size_t i = 0; i < v->len; i++)
            sum = mix(sum, (unsigned char)v->string[i]);
        break;
    case JSON_ARRAY:
        for (size_t i = 0; i < v->len; i++)
            sum = tree_checksum(sum, &v->items[i]);
        break;
    case JSON_OBJECT:
        for (size_t i = 0; i < v->len; i++) {
            for (const char *p = v->members[i].name; *p; p++)
                sum = mix(sum, (unsigned char)*p);
            sum = tree_checksum(sum, &v->members[i].value);
        }
        break;
    }
    return mix(sum, v->type == JSON_STRING || v->type >= JSON_ARRAY ? v->len : 0);
}

static uint64_t object_checksum(const struct object *o)
{
    uint64_t sum = tree_checksum(UINT64_C(0xcbf29ce484222325), o->doc);
    return mix(mix(sum, (uintptr_t)o->resource), (uint64_t)o->resource_version);
}

#define HEAD_BYTES sizeof(struct checked_object)

static void checksum_set(struct object *o)
{
    ((struct checked_object *)o)->checksum = object_checksum(o);
}

static void checksum_check(const struct object *o)
{
    bool is_unchanged_since_published =
        ((const struct checked_object *)o)->checksum == object_checksum(o);
    ensure(is_unchanged_since_published);
}
#else
#define HEAD_BYTES sizeof(struct object)

static void checksum_set(struct object *o)
{
    (void)o;
}

static void checksum_check(const struct object *o)
{
    (void)o;
}
#endif

/* ---- counting ---- */

struct object *object_ref(const struct object *o)
{
    struct object *mutable = (struct object *)o; /* the count, and nothing else */
    atomic_fetch_add_explicit(&mutable->refs, 1, memory_order_relaxed);
    return mutable;
}

void object_unref(struct object *o)
{
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    checksum_check(o);
    shared_bytes_unref(atomic_load_explicit(&o->json, memory_order_relaxed));
    tree_parts_release(o->parts, o->parts_n);
    free(o);
}

/* ---- the text ---- */

/* Taking a reference to an object's text, and taking the text from the object: one of a few locks,
 * which are held for no longer. */
#define TEXT_LOCKS 64

static pthread_mutex_t text_locks[TEXT_LOCKS] = { [0 ... TEXT_LOCKS - 1] =
                                                      PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t *text_lock(const struct object *o)
{
    return &text_locks[(uintptr_t)o / 64 % TEXT_LOCKS];
}

static size_t text_bytes(const struct shared_bytes *text)
{
    return text ? sizeof(*text) + text->len : 0;
}

size_t object_size_bytes(const struct object *o)
{
    pthread_mutex_lock(text_lock(o));
    size_t bytes = o->block_bytes + text_bytes(o->json);
    pthread_mutex_unlock(text_lock(o));
    return bytes;
}

static struct shared_bytes *print_text(const struct object *o)
{
    scoped(buffer) struct buffer text = { 0 };
    json_print(o->doc, &text);
    return shared_bytes_new(buffer_bytes(&text));
}

bool object_has_json(const struct object *o)
{
    return atomic_load_explicit(&o->json, memory_order_relaxed) != NULL;
}

/* Whether it was set before. */
static bool note_asked(const struct object *o)
{
    struct object *mutable = (struct object *)o;
    return atomic_load_explicit(&o->json_was_asked, memory_order_relaxed) ||
           atomic_exchange_explicit(&mutable->json_was_asked, true, memory_order_relaxed);
}

struct shared_bytes *object_json(const struct object *o)
{
    struct shared_bytes *text = NULL;
    if (object_has_json(o)) {
        pthread_mutex_lock(text_lock(o));
        text = o->json ? shared_bytes_ref(o->json) : NULL;
        pthread_mutex_unlock(text_lock(o));
    }
    bool is_again = note_asked(o);
    if (text)
        return text;
    text = print_text(o);
    if (is_again)
        object_keep_json_take((struct object *)o, shared_bytes_ref(text));
    return text;
}

static struct shared_bytes *exchange_text(struct object *o, struct shared_bytes *text)
{
    pthread_mutex_lock(text_lock(o));
    struct shared_bytes *before = o->json;
    o->json = text;
    pthread_mutex_unlock(text_lock(o));
    return before;
}

void object_keep_json_take(struct object *o, struct shared_bytes *text)
{
    shared_bytes_unref(exchange_text(o, text));
}

size_t object_drop_json(struct object *o)
{
    if (!object_has_json(o))
        return 0;
    struct shared_bytes *text = exchange_text(o, NULL);
    atomic_store_explicit(&o->json_was_asked, false, memory_order_relaxed);
    size_t bytes = text_bytes(text);
    shared_bytes_unref(text);
    return bytes;
}

size_t object_age_json(struct object *o)
{
    if (atomic_exchange_explicit(&o->json_was_asked, false, memory_order_relaxed))
        return 0;
    return object_drop_json(o);
}

/* ---- reading ---- */

const struct json *object_metadata(const struct object *o)
{
    return json_get(o->doc, "metadata");
}

static const char *map_value(const struct object *o, const char *map, const char *key)
{
    return json_text(json_get(json_get(object_metadata(o), map), key));
}

const char *object_label(const struct object *o, const char *key)
{
    return map_value(o, "labels", key);
}

const char *object_annotation(const struct object *o, const char *key)
{
    return map_value(o, "annotations", key);
}

bool object_is_deleting(const struct object *o)
{
    return json_text(json_get(object_metadata(o), "deletionTimestamp")) != NULL;
}

int64_t object_generation(const struct object *o)
{
    return json_int(object_metadata(o), "generation", 0);
}

int64_t object_created_ns(const struct object *o)
{
    int64_t ns;
    if (time_parse(json_str(object_metadata(o), "creationTimestamp", ""), &ns) < 0)
        return 0;
    return ns;
}

bool object_has_finalizer(const struct object *o, const char *finalizer)
{
    return json_has_text(json_get(object_metadata(o), "finalizers"), finalizer);
}

const struct json *object_controller(const struct object *o)
{
    json_each_item (json_get(object_metadata(o), "ownerReferences"), ref) {
        if (json_bool(ref, "controller", false))
            return ref;
    }
    return NULL;
}

bool object_is_controlled_by(const struct object *o, const struct object *owner)
{
    const char *uid = json_str(object_controller(o), "uid", "");
    return *uid && strcmp(uid, owner->uid) == 0;
}

const struct json *object_condition(const struct object *o, const char *type)
{
    json_each_item (json_at(o->doc, "status.conditions"), c) {
        if (strcmp(json_str(c, "type", ""), type) == 0)
            return c;
    }
    return NULL;
}

bool object_condition_is_true(const struct object *o, const char *type)
{
    return strcmp(json_str(object_condition(o, type), "status", ""), "True") == 0;
}

/* ---- keys as text ---- */

/* Names that the API accepts always fit; a longer one is cut and so equals no stored key. */
struct bytes object_key_text(const struct object_key *key, char buf[KEY_TEXT_BYTES_MAX])
{
    int n = snprintf(buf, KEY_TEXT_BYTES_MAX, "%s%s%s", key->ns, *key->ns ? "/" : "", key->name);
    size_t len = (size_t)n < KEY_TEXT_BYTES_MAX ? (size_t)n : KEY_TEXT_BYTES_MAX - 1;
    return (struct bytes){ buf, len };
}

struct object_key object_key_parse(struct bytes text, char buf[KEY_TEXT_BYTES_MAX])
{
    size_t n = text.len < KEY_TEXT_BYTES_MAX ? text.len : KEY_TEXT_BYTES_MAX - 1;
    if (n)
        memcpy(buf, text.data, n);
    buf[n] = 0;
    char *slash = strchr(buf, '/');
    if (!slash)
        return (struct object_key){ "", buf };
    *slash = 0;
    return (struct object_key){ buf, slash + 1 };
}

/* ---- drafts ---- */

struct draft *draft_from_take(const struct resource *r, struct arena *arena, struct json *doc)
{
    struct draft *d = arena_alloc(arena, sizeof(*d));
    *d = (struct draft){ .arena = arena, .resource = r, .doc = doc };
    return d;
}

static void set_type(struct arena *a, struct json *doc, const struct resource *r)
{
    char version[128];
    json_set_static(a, doc, "kind", json_string_value(a, r->kind));
    resource_api_version(r, version, sizeof(version));
    json_set_static(a, doc, "apiVersion", json_string_value(a, version));
}

struct draft *draft_new(const struct resource *r)
{
    struct arena *a = arena_new();
    struct json *doc = json_new(a, JSON_OBJECT);
    set_type(a, doc, r);
    return draft_from_take(r, a, doc);
}

/* Room for a clone of DOC, the structs around it and a few changes. */
static struct arena *arena_for(const struct json *doc)
{
    return arena_new_sized(json_size_bytes(doc) + 256);
}

struct draft *object_edit(const struct object *o)
{
    struct arena *a = arena_for(o->doc);
    return draft_from_take(o->resource, a, json_clone(o->doc, a));
}

void draft_free(struct draft *d)
{
    if (d)
        arena_free(d->arena);
}

/* ---- publishing ---- */

static struct object *pack(const struct json *doc, const struct resource *r)
{
    struct tree_block b = tree_pack(doc, HEAD_BYTES);
    ensure(b.bytes <= UINT32_MAX);
    struct object *o = b.head;
    const struct json *metadata = json_get(b.doc, "metadata");
    *o = (struct object){
        .resource = r,
        .key = { .ns = json_str(metadata, "namespace", ""),
                 .name = json_str(metadata, "name", "") },
        .uid = json_str(metadata, "uid", ""),
        .resource_version = strtoll(json_str(metadata, "resourceVersion", "0"), NULL, 10),
        .doc = b.doc,
        .parts = b.parts,
        .parts_n = (uint32_t)b.parts_n,
        .block_bytes = (uint32_t)b.bytes,
    };
    atomic_init(&o->refs, 1);
    return o;
}

static struct object *publish_as_is(struct draft *d)
{
    struct object *o = pack(d->doc, d->resource);
    draft_free(d);
    checksum_set(o);
    return o;
}

struct object *draft_seal(struct draft *d)
{
    json_put(d->arena, d->doc, "metadata.resourceVersion",
             (struct json){ .type = JSON_STRING, .string = "" });
    return publish_as_is(d);
}

void object_stamp(struct object *o, int64_t revision)
{
    struct json *text = json_find((struct json *)o->doc, "metadata.resourceVersion");
    text->len = (uint32_t)snprintf((char *)text->string, TREE_REVISION_BYTES + 1, "%lld",
                                   (long long)revision);
    o->resource_version = revision;
    checksum_set(o);
}

struct object *draft_publish(struct draft *d, int64_t revision)
{
    if (revision <= 0)
        return publish_as_is(d);
    struct object *o = draft_seal(d);
    object_stamp(o, revision);
    return o;
}

struct object *object_at_revision(const struct object *o, int64_t revision)
{
    struct object *later = pack(o->doc, o->resource);
    object_stamp(later, revision);
    return later;
}

/* ---- parsing ---- */

/* The row that apiVersion and kind name. */
static const struct resource *resource_of(const struct json *doc, struct error *err)
{
    const char *kind = json_str(doc, "kind", ""), *version = json_str(doc, "apiVersion", "");
    if (!*kind) {
        error_set(err, ERR_BAD_REQUEST, "Object 'Kind' is missing");
        return NULL;
    }
    if (!*version) {
        error_set(err, ERR_BAD_REQUEST, "Object 'apiVersion' is missing");
        return NULL;
    }
    char group[256] = "";
    const char *slash = strchr(version, '/');
    if (slash)
        snprintf(group, sizeof(group), "%.*s", (int)(slash - version), version);
    const struct resource *r = resource_find_kind(group, slash ? slash + 1 : version, kind);
    if (!r)
        error_set(err, ERR_BAD_REQUEST, "no kind \"%s\" is registered for version \"%s\"", kind,
                  version);
    return r;
}

struct object *object_parse(const struct resource *r, struct bytes text, int64_t revision,
                            struct error *err)
{
    /* A tree takes about twice the bytes of its compact text. */
    struct arena *a = arena_new_sized(2 * text.len + 512);
    struct json *doc = json_parse(text, a, NULL, err);
    if (doc && doc->type != JSON_OBJECT) {
        error_set(err, ERR_BAD_REQUEST, "an API object must be a JSON object");
        doc = NULL;
    }
    if (doc && !r)
        r = resource_of(doc, err);
    if (!doc || !r) {
        arena_free(a);
        return NULL;
    }
    if (!json_get(doc, "kind") ||
        !json_get(doc, "apiVersion")) /* items of a list may leave it out */
        set_type(a, doc, r);
    return draft_publish(draft_from_take(r, a, doc), revision);
}

/* ---- lists ---- */

void object_list_add_take(struct object_list *l, struct object *o)
{
    l->items = xgrow(l->items, l->n, &l->capacity, sizeof(l->items[0]));
    l->items[l->n++] = o;
}

void object_list_add(struct object_list *l, const struct object *o)
{
    object_list_add_take(l, object_ref(o));
}

void object_list_deinit(struct object_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        object_unref(l->items[i]);
    free(l->items);
    *l = (struct object_list){ 0 };
}

/* ---- parts that many kinds share ---- */

void draft_add_controller(struct draft *d, const struct object *owner)
{
    char version[128];
    resource_api_version(owner->resource, version, sizeof(version));
    struct json *ref =
        json_append(d->arena, json_make_array(d->arena, d->doc, "metadata.ownerReferences"),
                    (struct json){ .type = JSON_OBJECT });
    json_put_str(d->arena, ref, "apiVersion", version);
    json_put_str(d->arena, ref, "kind", owner->resource->kind);
    json_put_str(d->arena, ref, "name", owner->key.name);
    json_put_str(d->arena, ref, "uid", owner->uid);
    json_put_bool(d->arena, ref, "controller", true);
    json_put_bool(d->arena, ref, "blockOwnerDeletion", true);
}

/* Sets or, for "", removes a text member; true if that changed anything. */
static bool put_text(struct arena *a, struct json *object, const char *name, const char *text)
{
    if (str_empty(text))
        return json_remove(object, name);
    if (strcmp(json_str(object, name, ""), text) == 0)
        return false;
    json_put_str(a, object, name, text);
    return true;
}

bool draft_set_condition(struct draft *d, const char *type, const char *status, const char *reason,
                         const char *message, int64_t now_ns)
{
    struct json *conditions = json_make_array(d->arena, d->doc, "status.conditions"), *c = NULL;
    for (size_t i = 0; i < conditions->len && !c; i++)
        if (strcmp(json_str(&conditions->items[i], "type", ""), type) == 0)
            c = &conditions->items[i];
    if (!c) {
        c = json_append(d->arena, conditions, (struct json){ .type = JSON_OBJECT });
        json_put_str(d->arena, c, "type", type);
    }
    bool changed = put_text(d->arena, c, "status", status);
    if (changed) {
        char now[TIME_TEXT_BYTES];
        time_format(now_ns, now);
        json_put_str(d->arena, c, "lastTransitionTime", now);
    }
    changed |= put_text(d->arena, c, "reason", reason);
    changed |= put_text(d->arena, c, "message", message);
    return changed;
}
