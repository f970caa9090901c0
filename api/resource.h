/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resource.h - what exists: one row per served resource, made from api/schema/.
 *
 *     resource_find("apps", "v1", "deployments")  ->  &resources[RESOURCE_DEPLOYMENTS]
 *
 * Custom resources are rows made at run time and registered here; a row never goes away while the
 * process lives (a deleted one is marked), so pointers to rows may be kept.
 *
 * Threads: any.
 */
#pragma once

#include "api/schema.h"

enum resource_verb {
    VERB_GET = 1 << 0,
    VERB_LIST = 1 << 1,
    VERB_WATCH = 1 << 2,
    VERB_CREATE = 1 << 3,
    VERB_UPDATE = 1 << 4,
    VERB_PATCH = 1 << 5,
    VERB_DELETE = 1 << 6,
    VERB_DELETECOLLECTION = 1 << 7,
};

/* A column of kubectl get: how its cell is made is table_printer's matter. */
struct resource_column {
    const char *name;
    const char *type;   /* "string", "integer", "date" */
    const char *format; /* "name" or "" */
    const char *description;
    int priority;          /* 0: always, 1: with -o wide */
    const char *json_path; /* custom resources: ".spec.replicas"; NULL for built-in ones */
};

struct resource_subresource {
    const char *name;    /* "status", "scale", "eviction", "log" */
    const char *group;   /* of the body's kind, where it differs: "autoscaling"; else NULL */
    const char *version; /* "v1" */
    const char *kind;    /* of the body: "Scale" */
    unsigned verbs;      /* enum resource_verb */
    const struct schema_type *type; /* of the body; NULL where there is none (log, exec) */
};

struct resource {
    int id;            /* enum resource_id for built-in ones, >= RESOURCES for custom ones */
    const char *group; /* "" for core */
    const char *version;
    const char *kind;
    const char *list_kind;
    const char *plural;
    const char *singular;
    const char *const *short_names; /* end with NULL; may be NULL */
    const char *const *categories;
    bool namespaced;
    bool is_stored; /* false: answered but not kept (TokenReview, Binding, ...) */
    unsigned verbs; /* enum resource_verb */
    const struct resource_subresource *subresources;
    size_t subresources_n;
    const struct schema_type *type; /* of the kind */
    const struct resource_column *columns;
    size_t columns_n;
    const char *const *field_labels; /* selectable fields beyond metadata.name and .namespace */
    const char *storage_version_hash;
    const struct resource
        *storage; /* the row whose objects are stored: itself or another version */
};

#include "api/resource_ids.h" /* generated: enum resource_id { RESOURCE_PODS, ..., RESOURCES } */

extern const struct resource resources[]; /* generated; indexed by enum resource_id */

const struct resource *resource_find(const char *group, const char *version, const char *plural);
const struct resource *resource_find_kind(const char *group, const char *version, const char *kind);
const struct resource_subresource *resource_subresource(const struct resource *r, const char *name);
/* "apps/v1", or "v1" for the core group: what apiVersion says. */
const char *resource_api_version(const struct resource *r, char *buf, size_t n);
/* Qualified as upstream's messages say it: "deployments.apps", "pods". */
const char *resource_qualified(const struct resource *r, char *buf, size_t n);

/* Groups and their versions in discovery's order. */
struct api_group_version {
    const char *group;
    const char *version;
    bool is_preferred;
};
extern const struct api_group_version api_group_versions[];
extern const size_t api_group_versions_n;
