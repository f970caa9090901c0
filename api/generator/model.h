/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - the declarations of api/schema/ as the generator holds them between reading and
 * writing.
 *
 * Everything lives until the program ends.  A mistake in a file ends the program with FILE:LINE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/schema.h"

struct place { /* where something was declared, for messages */
    const char *file;
    int line;
};

struct strings {
    const char **items;
    size_t n;
};

struct package {
    struct place at;
    const char *name;    /* "core/v1": how other packages refer to it */
    const char *openapi; /* "io.k8s.api.core.v1" */
    const char *group;   /* NULL: no top-level kinds */
    const char *version;
};

struct field {
    struct place at;
    const char *name;
    const char *type_name; /* as written, without * [] map[string] */
    struct type *type;     /* after linking */
    const char *doc;
    unsigned proto;
    unsigned flags; /* enum schema_flag */
    enum schema_card card;
    enum schema_list_type list_type;
    struct strings list_map_keys;
    const char *patch_merge_key;
    const char *default_json;
    const char *go_type;
};

struct type {
    struct place at;
    struct package *package; /* NULL: string, int32, ... */
    const char *name;
    const char *doc;
    const char *set_defaults; /* schema_defaults_NAME; NULL: none */
    enum schema_scalar scalar;
    bool is_kind, is_atomic, is_deprecated, is_enum, is_enum_open;
    struct strings values; /* of an enum */
    struct field *fields;
    size_t fields_n;

    /* after linking */
    size_t index;      /* in schema_types */
    size_t fields_at;  /* of the first field in the table of all fields */
    size_t slots_at;   /* in the table of all slots */
    size_t slots_size; /* a power of two; 0: no fields */
    bool has_defaults, has_empty_defaults, has_always;
};

struct column {
    const char *name, *type, *format, *doc;
    int priority;
};

struct subresource {
    struct place at;
    const char *name;
    const char *kind_name; /* as written: "Pod", "policy/v1.Eviction" */
    struct type *kind;     /* after linking */
    bool has_body;
    struct strings verbs;
};

struct row {
    struct place at;
    struct package *package;
    const char *plural, *kind_name, *singular, *hash;
    struct type *kind; /* after linking */
    struct strings short_names, categories, selectable;
    bool namespaced;
    struct strings verbs;
    struct subresource *subresources;
    size_t subresources_n;
    struct column *columns;
    size_t columns_n;
    const char *stored_package, *stored_plural; /* NULL: under itself */
    struct row *stored;                         /* after linking */
    const char *id;                             /* "RESOURCE_PODS" */
    size_t index;
};

struct group_version {
    struct place at;
    const char *group, *version;
    bool is_preferred;
};

struct model {
    struct package **packages;
    size_t packages_n;
    struct type **types; /* scalars first */
    size_t types_n;
    struct row **rows; /* after linking in discovery's order */
    size_t rows_n;
    struct group_version *groups;
    size_t groups_n;
    size_t fields_n, slots_n; /* after linking: of all types together */
};

/* parse.c: adds the declarations of one file. */
void model_parse(struct model *m, const char *path);
/* link.c: resolves names, numbers tables, finds out which types have what. */
void model_link(struct model *m);
/* emit.c */
void model_emit_tables(const struct model *m, const char *path);
void model_emit_resource_ids(const struct model *m, const char *path);

/* memory.c */
void *keep_alloc(size_t bytes); /* cleared, and kept until the program ends */
char *keep_copy(const char *s, size_t len);
char *keep_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *keep_grow(void *items, size_t n, size_t item_bytes); /* room for one more than N */
_Noreturn void fail(struct place at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
