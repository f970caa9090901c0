/* SPDX-License-Identifier: Apache-2.0 */
/*
 * managed_fields.h - who has set which fields of an object: metadata.managedFields.
 *
 * Every write is told here: an update adds what it changed to its manager's fields and takes it
 * from the others'; an apply (api/apply.h) says all that its manager wants to own.
 */
#pragma once

#include "api/field_value.h"

#define MANAGER_BYTES_MAX    128
#define MANAGED_UPDATERS_MAX 10   /* older ones become one entry, "ancient-changes" */
#define MANAGED_SENT_MAX     1000 /* entries that a client may write; more are not read */

struct managed_entry {
    const char *manager, *api_version;
    const char *subresource; /* "" for the object itself */
    const char *time;        /* NULL: not known */
    bool is_apply;
    const struct json *fields;
};
struct managed_fields { /* zero-initialised is empty */
    struct managed_entry *items;
    size_t n, capacity;
};

/* The entries that an update starts from: NEW's, if a client may set them and they can be read,
 * else those of the LIVE object; none if NEW is [] or [{}], which resets them. */
void managed_fields_read(const struct json *live, const struct json *new, struct arena *arena,
                         struct managed_fields *out);
/* Sorted, in ARENA, sharing nothing but TYPE's names.  A list of no entries is never to be stored.
 */
struct json managed_fields_json(const struct managed_fields *m, struct arena *arena);
/* The same but for times. */
bool managed_fields_equal(const struct json *a, const struct json *b);

/* A kind that is served in several versions is compared in the version that an entry names. */
struct field_versions {
    /* DOC as of API_VERSION and that version's type; NULL if it is not served. */
    const struct json *(*convert)(const struct field_versions *v, const struct json *doc,
                                  const char *api_version, const struct schema_type **type,
                                  struct arena *arena);
};

/* A write as managers see it. */
struct field_write {
    const struct schema_type *type;
    const char *api_version;    /* of the request */
    const char *manager;        /* "" is "unknown" */
    const char *subresource;    /* "" for the object itself */
    const char *now;            /* RFC 3339 */
    const struct json *ignored; /* fields that nobody owns, or that this kind of write cannot set */
    const struct field_versions *versions;
    struct arena *arena; /* for results too */
};

/* DOC without metadata.managedFields, which no manager ever owns. */
const struct json *managed_fields_left_out(const struct json *doc, struct arena *arena);
/* Fields that the server sets itself: apiVersion, kind, metadata.uid, ... */
extern const char *const managed_never_owned[];

/* What differs, less what is ignored, in the version of the write or in another one; -1: there is
 * no such version. */
int field_write_changes(const struct field_write *w, const char *api_version,
                        const struct json *live, const struct json *new, struct field_changes *out);

/* Accounts for an update from LIVE to NEW (both without their managedFields). */
void managed_fields_update(const struct field_write *w, const struct json *live,
                           const struct json *new, struct managed_fields *m);

/* The entry of that manager, kind of write, subresource and (updates) version; NULL: none. */
struct managed_entry *managed_fields_find(const struct managed_fields *m,
                                          const struct managed_entry *like);
struct managed_entry *managed_fields_add(struct managed_fields *m, struct managed_entry entry,
                                         struct arena *arena);
void managed_fields_drop_empty(struct managed_fields *m);
