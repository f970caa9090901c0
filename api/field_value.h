/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field_value.h - objects as server-side apply sees them through the tables: what is one value,
 * what is merged part by part, what tells the items of a list apart.
 *
 * Trees need not be shaped: an applied configuration is taken as it was written.  Nothing is
 * changed; results share subtrees with what they came from.
 */
#pragma once

#include "api/field_set.h"
#include "api/schema.h"

/* What differs between two objects. */
struct field_changes {
    const struct json *changed; /* added or modified */
    const struct json *removed;
};
void field_compare(const struct schema_type *type, const struct json *old, const struct json *new,
                   struct arena *arena, struct field_changes *out);

/* The fields that a configuration sets. */
const struct json *field_set_of(const struct schema_type *type, const struct json *v,
                                struct arena *arena);

/* Whether a configuration fits its type, in upstream's words:
 * `.spec.replica: field not declared in schema`.  ERR_BAD_REQUEST. */
must_check int field_validate(const struct schema_type *type, const struct json *v,
                              struct error *err);

/* LIVE with what CONFIG says; items of lists in CONFIG's order, LIVE's own between them. */
const struct json *field_merge(const struct schema_type *type, const struct json *live,
                               const struct json *config, struct arena *arena);
/* V without the fields of SET. */
const struct json *field_remove(const struct schema_type *type, const struct json *v,
                                const struct json *set, struct arena *arena);
/* SET with the declared fields too that have something of SET below them. */
const struct json *field_set_with_parents(const struct schema_type *type, const struct json *set,
                                          struct arena *arena);
