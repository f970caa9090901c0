/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - an API object: parsed once, immutable once visible, shared by counting.
 *
 *     struct draft *d = object_edit(o);              a private copy to change
 *     json_put_str(d->arena, d->doc, "spec.x", "y");
 *     struct object *n = draft_publish(d, revision); immutable from here on
 *
 * An object is one block of the exact size, and counted parts that it shares with others
 * (api/object_tree.h); its JSON text, where somebody wants it, is a second block.
 *
 * Threads: any for objects; a draft belongs to one thread.
 */
#pragma once

#include "api/resource.h"
#include "base/bytes.h"
#include "base/json.h"

#define KEY_TEXT_BYTES_MAX 320 /* namespace (63) / name (253) and a NUL */

struct object_key {
    const char *ns; /* "" for cluster-scoped kinds */
    const char *name;
};

struct object {
    atomic_uint refs;
    atomic_bool json_was_asked;          /* for its text, of late */
    _Atomic(struct shared_bytes *) json; /* object_json() */
    const struct resource *resource;
    struct object_key key;
    const char *uid;
    int64_t resource_version;
    uint64_t sealed_by;       /* the API server's: the key that it is stored under; 0: as it is */
    const struct json *doc;   /* with apiVersion, kind and metadata.resourceVersion */
    struct tree_part **parts; /* what DOC shares with other objects: api/object_tree.h */
    uint32_t parts_n, block_bytes; /* of this struct and the tree behind it */
};

struct object *object_ref(const struct object *o); /* changes nothing but the count */
void object_unref(struct object *o);
DEFINE_SCOPED(object, struct object *, object_unref)

/* What O alone holds of the heap: not its parts. */
size_t object_size_bytes(const struct object *o);

/* The object as JSON: a reference.  Printing takes less time than sending, and most objects are
 * asked for once, by those who watch them being written.  So the object keeps its text only when it
 * is asked for again, and as long as that goes on. */
struct shared_bytes *object_json(const struct object *o);
/* TEXT is O's, which its maker had to print: kept until object_drop_json(). */
void object_keep_json_take(struct object *o, struct shared_bytes *text);
size_t object_drop_json(struct object *o); /* its bytes */
/* The same, unless the text was asked for since the last call. */
size_t object_age_json(struct object *o);
bool object_has_json(const struct object *o);

/* ---- reading ---- */

const struct json *object_metadata(const struct object *o);
const char *object_label(const struct object *o, const char *key);      /* NULL: none */
const char *object_annotation(const struct object *o, const char *key); /* NULL: none */
bool object_is_deleting(const struct object *o); /* has a deletionTimestamp */
int64_t object_generation(const struct object *o);
int64_t object_created_ns(const struct object *o);
bool object_has_finalizer(const struct object *o, const char *finalizer);
/* The owner reference with controller: true; NULL if there is none. */
const struct json *object_controller(const struct object *o);
bool object_is_controlled_by(const struct object *o, const struct object *owner); /* by uid */

/* The condition of that type in status.conditions; NULL if there is none. */
const struct json *object_condition(const struct object *o, const char *type);
bool object_condition_is_true(const struct object *o, const char *type);

/* "ns/name" or "name": the text form of a key in queues and indexes. */
struct bytes object_key_text(const struct object_key *key, char buf[KEY_TEXT_BYTES_MAX]);
/* Splits it again; the parts are copied to BUF. */
struct object_key object_key_parse(struct bytes text, char buf[KEY_TEXT_BYTES_MAX]);
static inline bool object_key_equal(const struct object_key *a, const struct object_key *b)
{
    return strcmp(a->ns, b->ns) == 0 && strcmp(a->name, b->name) == 0;
}

/* ---- making ---- */

struct draft {
    struct arena *arena;
    const struct resource *resource;
    struct json *doc;
};

struct draft *draft_new(const struct resource *r); /* apiVersion and kind are set */
struct draft *object_edit(const struct object *o);
/* DOC lives in ARENA, which the draft takes. */
struct draft *draft_from_take(const struct resource *r, struct arena *arena, struct json *doc);
void draft_free(struct draft *d);
DEFINE_SCOPED(draft, struct draft *, draft_free)

/* Ends the draft and makes it an object.  REVISION becomes metadata.resourceVersion; 0 keeps what
 * the document says. */
struct object *draft_publish(struct draft *d, int64_t revision);
/* The same in two steps, for those who learn the revision late and on a busy thread: a sealed
 * object is its maker's alone until it is stamped. */
struct object *draft_seal(struct draft *d);
void object_stamp(struct object *o, int64_t revision);
/* O as of another revision. */
struct object *object_at_revision(const struct object *o, int64_t revision);

/* Parses JSON text as an object of R (NULL: by its apiVersion and kind), without defaulting. */
must_check struct object *object_parse(const struct resource *r, struct bytes text,
                                       int64_t revision, struct error *err);

/* ---- lists of references ---- */

struct object_list { /* zero-initialised is empty */
    struct object **items;
    size_t n, capacity;
};
void object_list_add(struct object_list *l, const struct object *o); /* takes its own reference */
void object_list_add_take(struct object_list *l, struct object *o);
void object_list_deinit(struct object_list *l);
static inline void object_list_scoped(struct object_list *l)
{
    object_list_deinit(l);
}
#define object_list_each(l, o)                                                                     \
    for (size_t o##_i = 0; o##_i < (l)->n; o##_i++)                                                \
        for (struct object *o = (l)->items[o##_i], *o##_once = o; o##_once; o##_once = NULL)

/* ---- parts that many kinds share ---- */

/* An owner reference to OWNER with controller and blockOwnerDeletion true, appended to metadata. */
void draft_add_controller(struct draft *d, const struct object *owner);
/* Sets (or adds) a condition; lastTransitionTime moves only when STATUS changes.  True if anything
 * did. */
bool draft_set_condition(struct draft *d, const char *type, const char *status, const char *reason,
                         const char *message, int64_t now_ns);
