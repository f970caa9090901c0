/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - what types look like: constant tables made from api/schema/ (.api files) by the
 * build's generator, or made at run time from a CustomResourceDefinition.
 *
 * Codecs, defaulting, pruning, strict checks, merging, OpenAPI, printing are each one interpreter
 * over these tables; there is no code per kind.
 *
 * Threads: any; a table never changes once it is published.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

enum schema_scalar {
    SCHEMA_OBJECT, /* a message: has fields */
    SCHEMA_STRING,
    SCHEMA_BOOL,
    SCHEMA_INT32,
    SCHEMA_INT64,
    SCHEMA_UINT32,
    SCHEMA_DOUBLE,
    SCHEMA_BYTES, /* base64 text in JSON */
    SCHEMA_QUANTITY,
    SCHEMA_INT_OR_STRING,
    SCHEMA_TIME,
    SCHEMA_MICRO_TIME,
    SCHEMA_DURATION,
    SCHEMA_RAW,     /* any JSON value: RawExtension, JSON, FieldsV1, ... */
    SCHEMA_STRINGS, /* a list of strings that is one value (ExtraValue): a message in protobuf */
};

enum schema_card { SCHEMA_SINGLE, SCHEMA_LIST, SCHEMA_MAP };
enum schema_list_type { SCHEMA_LIST_ATOMIC, SCHEMA_LIST_SET, SCHEMA_LIST_MAP };

enum schema_flag {
    SCHEMA_REQUIRED = 1 << 0, /* among OpenAPI's required properties */
    SCHEMA_OMITEMPTY = 1 << 1,
    SCHEMA_POINTER = 1 << 2,
    SCHEMA_PATCH_MERGE = 1 << 3, /* strategic merge: patchStrategy merge */
    SCHEMA_PATCH_RETAIN_KEYS = 1 << 4,
    SCHEMA_PATCH_REPLACE = 1 << 5,
    SCHEMA_ATOMIC = 1 << 6, /* a map or struct that server-side apply takes as one */
    SCHEMA_DEPRECATED = 1 << 7,
    SCHEMA_INLINE = 1 << 8, /* JSON puts the fields into the parent */
    SCHEMA_NO_JSON = 1 << 9,
    SCHEMA_ENUM_OPEN = 1 << 10, /* the enum lists known values, others are valid too */
    SCHEMA_OMITZERO = 1 << 11,  /* left out when zero, also where omitempty would not (a struct) */
    SCHEMA_ALWAYS = 1 << 12,    /* made by the generator: an encoder writes it even when empty */
    SCHEMA_GRANULAR =
        1 << 13, /* server-side apply takes it field by field though its type is atomic */
    SCHEMA_EMPTY_COUNTS = 1 << 14, /* a client says something by an empty list: it is not dropped */
};

struct schema_type;

struct schema_field {
    const char *name;  /* JSON name */
    const char *child; /* "f:NAME", as a set of fields names it; NULL if made at run time */
    const char *doc;
    const struct schema_type *type;   /* never NULL: scalars have a table too */
    uint16_t proto;                   /* field number; 0: not in protobuf (apiVersion and kind) */
    uint16_t flags;                   /* enum schema_flag */
    uint8_t card;                     /* enum schema_card */
    uint8_t list_type;                /* enum schema_list_type */
    const char *const *list_map_keys; /* ends with NULL; NULL if none */
    const char *patch_merge_key;      /* NULL if none */
    const char *default_json;         /* unconditional default as JSON text; NULL if none */
    const struct json *default_value; /* the same as a tree where it is a scalar or {}; else NULL */
    const char *const *enum_values;   /* ends with NULL; NULL if none */
    const char *
        go_type; /* where decode errors name the list or map itself: "v1.ResourceList"; else NULL */
};

/* Conditional defaults of one type (api/defaults.c).  OBJECT has its unconditional ones already;
 * what lies below it has none yet. */
typedef void schema_defaults_fn(struct json *object, struct arena *arena);

struct schema_type {
    const char *name;       /* OpenAPI name: "io.k8s.api.core.v1.PodSpec"; "" where it has none */
    const char *go_name;    /* as upstream's decode errors say it: "PodSpec" */
    const char *go_package; /* "v1"; "" for string, int32, ... */
    const char *doc;
    const char *group;   /* of a top-level kind ("" for core), else NULL */
    const char *version; /* of a top-level kind, else NULL */
    enum schema_scalar scalar;
    const struct schema_field *fields; /* in the order an encoder writes them */
    size_t fields_n;
    bool is_atomic; /* server-side apply takes it as one */
    bool is_deprecated;
    bool preserve_unknown; /* custom resources: keep fields that are not declared */

    /* Made by the generator, so that interpreters skip what cannot concern them.  All may be zero
     * in a table made at run time, except the has_... bits it needs. */
    bool has_defaults;       /* it or a type below it */
    bool has_empty_defaults; /* defaulting an empty object of it makes something */
    bool has_always;         /* it or a type below it has a SCHEMA_ALWAYS field */
    uint16_t slots_mask;     /* size of SLOTS - 1 */
    const uint16_t
        *slots; /* open addressing by schema_name_hash: index into slots_base + 1; 0: free */
    const struct schema_field *slots_base;
    schema_defaults_fn *set_defaults; /* NULL: none */
};

/* The names of all fields, each as "f:NAME" and once: `child` and `name` point into it. */
extern const char schema_names[];
extern const size_t schema_names_bytes;
/* NAME ("replicas", "f:replicas") as it stands in schema_names; NULL: no field has it. */
const char *schema_name_find(struct bytes name);

/* Every built-in type, scalars first.  Type names are unique; NULL if there is none of that name.
 */
extern const struct schema_type schema_types[];
extern const size_t schema_types_n;
const struct schema_type *schema_type_find(const char *openapi_name);

/* The field of that JSON name, looking through inlined types; NULL if there is none. */
const struct schema_field *schema_field_find(const struct schema_type *t, struct bytes name);

static inline uint32_t schema_name_hash(const char *name, size_t len)
{
    uint32_t hash = 2166136261u; /* FNV-1a: the generator and the look-up must agree */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    return hash ^ hash >> 15;
}

/* ---- decoding ---- */

/* What Go has where nothing was set: "", 0, false, {}; null where that is nil. */
struct json schema_zero(const struct schema_type *t);

/* What was wrong but not fatal, as upstream words it: `unknown field "spec.foo"`,
 * `duplicate field "spec.replicas"`.  Items live in the arena of the call. */
#define SCHEMA_WARNINGS_MAX 100 /* later ones are dropped, as upstream does */
struct schema_warnings {
    const char **items;
    size_t n, capacity;
};

/* Shapes a parsed tree to TYPE in place, so that it is what Go's decoder and encoder would make of
 * it: unknown fields are removed (and reported in WARNINGS if not NULL), `null` members are
 * dropped, and so are empty values of omitempty fields; scalars are checked; quantities, times and
 * bytes become canonical; member names become the tables' own strings, which trees then share.
 * ERR_BAD_REQUEST in upstream's words: `json: cannot unmarshal string into Go struct field
 * DeploymentSpec.spec.replicas of type int32`. */
must_check int schema_shape(const struct schema_type *type, struct json *tree, struct arena *arena,
                            struct schema_warnings *warnings, struct error *err);

/* Fills in defaults, from the top down: of each object the unconditional ones of the tables, then
 * the conditional ones of its type (api/defaults.c), then what lies below it.  TREE is an object of
 * a top-level kind, already shaped. */
struct resource;
void schema_default(const struct resource *r, struct json *tree, struct arena *arena);
/* The same for a value of any type: the body of a subresource. */
void schema_default_type(const struct schema_type *type, struct json *tree, struct arena *arena);

/* Adds what upstream's encoder writes even when it is empty (resources: {}, status: {},
 * lastProbeTime: null): call it last, on what is to be stored or answered. */
void schema_complete(const struct schema_type *type, struct json *tree, struct arena *arena);
