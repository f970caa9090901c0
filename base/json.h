/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - JSON text and trees.
 *
 * A tree lives in one arena and is small: 16 bytes a value.  Numbers keep what the text said:
 * an integer that fits in 64 bits is JSON_INT, everything else JSON_DOUBLE.
 *
 *     { "spec": { "replicas": 3 } }     json_int(doc, "spec.replicas", 1) == 3
 *
 * Reading functions take NULL for "absent" and a dotted PATH of fixed field names, so that a chain
 * of optional fields needs no ladder of ifs.  A key from a user (a label, a file name) may hold a
 * dot: use json_get for those.
 *
 * Threads: any for a tree that nobody changes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_member;

struct json {
    uint8_t type; /* enum json_type */
    uint8_t room; /* private to json_tree.c: there is room for 2^room children; 0: for LEN only */
    uint32_t len; /* bytes of a string, items of an array, members of an object */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *string; /* NUL after len bytes; may hold NUL inside */
        struct json *items;
        struct json_member *members; /* in the order they were written */
    };
};

struct json_member {
    const char *name;
    struct json value;
};

/* ---- text ---- */

/* Parses TEXT as one JSON value.  ERR_BAD_REQUEST with upstream's words and offset where known;
 * deeper than JSON_DEPTH_MAX, invalid UTF-8 and text after the value are errors.
 * A repeated name: the last one wins, and its name is added to DUPLICATES if that is not NULL. */
#define JSON_DUPLICATES_MAX 64 /* later ones are not listed */
struct json_duplicates {
    const char **paths; /* "spec.replicas", "spec.containers[0].name" */
    size_t n, capacity;
};
must_check struct json *json_parse(struct bytes text, struct arena *arena,
                                   struct json_duplicates *duplicates, struct error *err);

/* Compact, with Go's escaping (<, >, & and U+2028/9 as \u....), as upstream writes it. */
void json_print(const struct json *v, struct buffer *out);
void json_print_pretty(const struct json *v, struct buffer *out); /* indented by two */
void json_print_string(struct bytes s, struct buffer *out);       /* with its quotes */

/* ---- reading ---- */

const struct json *json_get(const struct json *object, const char *name); /* NULL: none */
const struct json *json_at(const struct json *v, const char *path);       /* NULL: none */
const char *json_str(const struct json *v, const char *path, const char *fallback);
int64_t json_int(const struct json *v, const char *path, int64_t fallback);
bool json_bool(const struct json *v, const char *path, bool fallback);
size_t json_len(const struct json *v, const char *path);     /* items or members, 0 if absent */
bool json_is(const struct json *v, enum json_type type);     /* false for NULL */
bool json_has_text(const struct json *list, const char *s);  /* one of an array's strings is S */
bool json_equal(const struct json *a, const struct json *b); /* members in any order */
static inline const char *json_text(const struct json *v)    /* NULL unless a string */
{
    return v && v->type == JSON_STRING ? v->string : NULL;
}

/* json_each_item(json_at(pod, "spec.containers"), c) ...    nothing if absent or of another type */
#define json_each_item(v, it)                                                                      \
    for (const struct json *it##_of = (v), *it = json_items_begin(it##_of);                        \
         it && it < it##_of->items + it##_of->len; it++)
#define json_each_member(v, m)                                                                     \
    for (const struct json *m##_of = (v), *m##_once = m##_of; m##_once; m##_once = NULL)           \
        for (const struct json_member *m = json_members_begin(m##_of);                             \
             m && m < m##_of->members + m##_of->len; m++)
const struct json *json_items_begin(const struct json *v);
const struct json_member *json_members_begin(const struct json *v);

/* ---- building and changing (a private tree only) ---- */

struct json *json_new(struct arena *a, enum json_type type);   /* null, false, 0, "", [], {} */
struct json json_string_value(struct arena *a, const char *s); /* copies */
struct json json_int_value(int64_t v);
struct json json_bool_value(bool v);
/* Names of members that lie within these N bytes live as long as the process: copies of trees share
 * them.  Told once, before the first tree is made. */
void json_share_names(const char *names, size_t n);
bool json_name_is_shared(const char *name);
struct json *json_clone(const struct json *v, struct arena *a); /* deep */
struct json json_clone_value(const struct json *v, struct arena *a);
size_t json_size_bytes(const struct json *v); /* what a clone takes of an arena */

/* Sets a member (replacing or appending) and returns where it now is.  NAME is copied unless it is
 * a field name known to live forever: then use json_set_static. */
struct json *json_set(struct arena *a, struct json *object, const char *name, struct json value);
struct json *json_set_static(struct arena *a, struct json *object, const char *name,
                             struct json value);
/* Appends a member without looking: NAME, which lives as long as the tree, is known to be new. */
struct json *json_add(struct arena *a, struct json *object, const char *name, struct json value);
bool json_remove(struct json *object, const char *name);
struct json *json_append(struct arena *a, struct json *array, struct json value);
void json_remove_item(struct json *array, size_t index);

/* The member at a dotted path in a private tree; objects on the way are made where absent. */
struct json *json_make(struct arena *a, struct json *root, const char *path);
/* The same for an object or an array: anything else there gives way to an empty one. */
struct json *json_make_object(struct arena *a, struct json *root, const char *path);
struct json *json_make_array(struct arena *a, struct json *root, const char *path);
void json_put_str(struct arena *a, struct json *root, const char *path, const char *s);
void json_put_int(struct arena *a, struct json *root, const char *path, int64_t v);
void json_put_bool(struct arena *a, struct json *root, const char *path, bool v);
void json_put(struct arena *a, struct json *root, const char *path, struct json value);
void json_drop(struct json *root, const char *path);
struct json *json_find(struct json *v, const char *path); /* like json_at, to change it */
