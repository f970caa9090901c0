/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field_slot.h - a place in an object and what the tables say of it; what field_value.c and
 * field_merge.c share.
 */
#pragma once

#include "api/field_value.h"
#include "base/hashmap.h"

struct field_slot {
    const struct schema_type *type;
    const struct schema_field *field; /* NULL: the object itself, an item, a value of a map */
};

enum field_form { FIELD_LEAF, FIELD_STRUCT, FIELD_MAP, FIELD_SET_LIST, FIELD_MAP_LIST };
enum field_form field_form_of(struct field_slot s);

/* The place of a member of a struct or a map; false if nothing of that name is declared. */
bool field_member_slot(struct field_slot s, const char *name, struct field_slot *out);
static inline struct field_slot field_item_slot(struct field_slot s)
{
    return (struct field_slot){ .type = s.type };
}
const char *field_member_child(struct field_slot member, const char *name, struct arena *arena);

/* What tells an item of a set or map list apart: "k:{...}" or "v:..."; NULL, and in *WHY what is
 * wrong, if nothing does. */
const char *field_item_child(struct field_slot list, const struct json *item, struct arena *arena,
                             const char **why);

/* Null, absent and empty are one where it matters whether there is something to look into. */
static inline bool field_is_empty(const struct json *v)
{
    return !v || (v->type != JSON_OBJECT && v->type != JSON_ARRAY) || v->len == 0;
}

/* The members of an object by name: the one at HINT first, a map for large objects only. */
struct field_index {
    const struct json *object; /* may be NULL or of another type: it has no members then */
    struct hashmap map;
};
void field_index_init(struct field_index *i, const struct json *object);
const struct json *field_index_get(const struct field_index *i, const char *name, size_t hint);
static inline void field_index_scoped(struct field_index *i)
{
    hashmap_deinit(&i->map);
}
