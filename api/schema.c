/* SPDX-License-Identifier: Apache-2.0 */
/* schema.c - finds types and fields, fills in defaults and what an encoder always writes. */
#include "api/schema.h"

#include "api/resource.h"

/* Where names begin in schema_names, by schema_name_hash of the name without its "f:"; 0: free,
 * since a name begins behind "f:". */
static struct {
    uint16_t *slots;
    size_t mask;
} name_index;

static size_t name_slot(struct bytes name)
{
    size_t at = schema_name_hash(name.data, name.len) & name_index.mask;
    while (name_index.slots[at] &&
           !bytes_equal(bytes_of(schema_names + name_index.slots[at]), name))
        at = (at + 1) & name_index.mask;
    return at;
}

/* Before main: trees are made from then on. */
__attribute__((constructor)) static void share_names(void)
{
    json_share_names(schema_names, schema_names_bytes);
    size_t n = 0, size = 2;
    for (size_t i = 0; i < schema_names_bytes; i++)
        n += !schema_names[i];
    while (size < 2 * n)
        size *= 2;
    ensure(schema_names_bytes <= UINT16_MAX);
    name_index.slots = xcalloc(size, sizeof(*name_index.slots));
    name_index.mask = size - 1;
    for (const char *at = schema_names; *at; at += strlen(at) + 1)
        name_index.slots[name_slot(bytes_of(at + 2))] = (uint16_t)(at + 2 - schema_names);
}

const char *schema_name_find(struct bytes name)
{
    bool is_child = bytes_has_prefix(name, BYTES("f:"));
    if (is_child)
        name = (struct bytes){ name.data + 2, name.len - 2 };
    uint16_t at = name_index.slots[name_slot(name)];
    return at ? schema_names + at - (is_child ? 2 : 0) : NULL;
}

const struct schema_type *schema_type_find(const char *openapi_name)
{
    for (size_t i = 0; i < schema_types_n; i++)
        if (strcmp(schema_types[i].name, openapi_name) == 0)
            return *openapi_name ? &schema_types[i] : NULL;
    return NULL;
}

static bool name_equal(const char *name, struct bytes wanted)
{
    return strncmp(name, wanted.data, wanted.len) == 0 && name[wanted.len] == '\0';
}

/* A table made at run time has no slots. */
static const struct schema_field *field_find_slowly(const struct schema_type *t, struct bytes name)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct schema_field *f = &t->fields[i];
        if (f->flags & SCHEMA_INLINE)
            f = schema_field_find(f->type, name);
        else if (!name_equal(f->name, name))
            f = NULL;
        if (f)
            return f;
    }
    return NULL;
}

const struct schema_field *schema_field_find(const struct schema_type *t, struct bytes name)
{
    if (!t->slots)
        return field_find_slowly(t, name);
    for (size_t at = schema_name_hash(name.data, name.len);; at++) {
        uint16_t slot = t->slots[at & t->slots_mask];
        if (!slot)
            return NULL;
        const struct schema_field *f = &t->slots_base[slot - 1];
        if (name_equal(f->name, name))
            return f;
    }
}

/* The member of that name; names of a shaped tree are mostly the tables' own strings. */
static struct json *member_find(struct json *object, const char *name)
{
    for (size_t i = 0; i < object->len; i++) {
        const char *is = object->members[i].name;
        if (is == name || (is[0] == name[0] && strcmp(is, name) == 0))
            return &object->members[i].value;
    }
    return NULL;
}

/* ---- defaults ---- */

/* Zero in Go: where the field is no pointer, the same as absent. */
static bool is_zero(const struct json *v)
{
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return !v->boolean;
    case JSON_INT:
        return v->integer == 0;
    case JSON_DOUBLE:
        return v->number == 0;
    case JSON_STRING:
    case JSON_ARRAY:
    case JSON_OBJECT:
        return v->len == 0;
    }
    return false;
}

static void default_field(const struct schema_field *f, struct json *object, struct arena *arena)
{
    struct json *is = member_find(object, f->name);
    bool is_pointer = f->flags & SCHEMA_POINTER;
    if (is && (is_pointer ? is->type != JSON_NULL : !is_zero(is)))
        return;

    struct json value = { .type = JSON_NULL };
    if (f->default_value) {
        value = *f->default_value; /* scalars and {} own nothing that could be changed */
        if (!is_pointer && is_zero(&value) && value.type != JSON_OBJECT)
            return;
    } else {
        struct error err;
        struct json *parsed = json_parse(bytes_of(f->default_json), arena, NULL, &err);
        ensure(parsed); /* the text is our own */
        value = *parsed;
    }
    json_set_static(arena, object, f->name, value);
}

static void default_object(const struct schema_type *t, struct json *object, struct arena *arena);

/* A struct that is no pointer exists in Go even when the document has none: it gets its defaults,
 * and is there if it got any. */
static void default_absent(const struct schema_field *f, struct json *object, struct arena *arena)
{
    if (f->card != SCHEMA_SINGLE || f->flags & SCHEMA_POINTER || !f->type->has_empty_defaults)
        return;
    struct json made = { .type = JSON_OBJECT };
    default_object(f->type, &made, arena);
    if (made.len)
        json_set_static(arena, object, f->name, made);
}

static void default_below(const struct schema_field *f, struct json *object, struct arena *arena)
{
    struct json *v = member_find(object, f->name);
    if (!v || v->type == JSON_NULL) {
        default_absent(f, object, arena);
    } else if (f->card == SCHEMA_SINGLE) {
        default_object(f->type, v, arena);
    } else if (v->type == JSON_ARRAY) {
        for (size_t i = 0; i < v->len; i++)
            default_object(f->type, &v->items[i], arena);
    } else if (v->type == JSON_OBJECT) {
        for (size_t i = 0; i < v->len; i++)
            default_object(f->type, &v->members[i].value, arena);
    }
}

static void default_object(const struct schema_type *t, struct json *object, struct arena *arena)
{
    if (object->type != JSON_OBJECT)
        return;
    for (size_t i = 0; i < t->fields_n; i++)
        if (t->fields[i].default_json)
            default_field(&t->fields[i], object, arena);
    if (t->set_defaults)
        t->set_defaults(object, arena);
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct schema_field *f = &t->fields[i];
        if (!f->type->has_defaults)
            continue;
        if (f->flags & SCHEMA_INLINE)
            default_object(f->type, object, arena);
        else
            default_below(f, object, arena);
    }
}

void schema_default_type(const struct schema_type *type, struct json *tree, struct arena *arena)
{
    if (type->has_defaults)
        default_object(type, tree, arena);
}

void schema_default(const struct resource *r, struct json *tree, struct arena *arena)
{
    schema_default_type(r->type, tree, arena);
}

/* ---- what an encoder always writes ---- */

struct json schema_zero(const struct schema_type *t)
{
    switch (t->scalar) {
    case SCHEMA_OBJECT:
        return (struct json){ .type = JSON_OBJECT };
    case SCHEMA_STRING:
        return (struct json){ .type = JSON_STRING, .string = "" };
    case SCHEMA_QUANTITY:
        return (struct json){ .type = JSON_STRING, .len = 1, .string = "0" };
    case SCHEMA_DURATION:
        return (struct json){ .type = JSON_STRING, .len = 2, .string = "0s" };
    case SCHEMA_BOOL:
        return (struct json){ .type = JSON_BOOL };
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
    case SCHEMA_DOUBLE:
    case SCHEMA_INT_OR_STRING:
        return (struct json){ .type = JSON_INT };
    case SCHEMA_BYTES:
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
    case SCHEMA_RAW:
    case SCHEMA_STRINGS:
        break;
    }
    return (struct json){ .type = JSON_NULL };
}

static struct json zero_value(const struct schema_field *f)
{
    if (f->card != SCHEMA_SINGLE || f->flags & SCHEMA_POINTER)
        return (struct json){ .type = JSON_NULL };
    return schema_zero(f->type);
}

static void complete_field(const struct schema_field *f, struct json *object, struct arena *arena)
{
    struct json *v = member_find(object, f->name);
    if (!v && f->flags & SCHEMA_ALWAYS)
        v = json_set_static(arena, object, f->name, zero_value(f));
    if (!v || !f->type->has_always)
        return;
    if (f->card == SCHEMA_SINGLE) {
        schema_complete(f->type, v, arena);
    } else if (v->type == JSON_ARRAY) {
        for (size_t i = 0; i < v->len; i++)
            schema_complete(f->type, &v->items[i], arena);
    } else if (v->type == JSON_OBJECT) {
        for (size_t i = 0; i < v->len; i++)
            schema_complete(f->type, &v->members[i].value, arena);
    }
}

void schema_complete(const struct schema_type *type, struct json *tree, struct arena *arena)
{
    if (!type->has_always || tree->type != JSON_OBJECT)
        return;
    for (size_t i = 0; i < type->fields_n; i++) {
        const struct schema_field *f = &type->fields[i];
        if (f->flags & SCHEMA_INLINE)
            schema_complete(f->type, tree, arena);
        else if (f->flags & SCHEMA_ALWAYS || f->type->has_always)
            complete_field(f, tree, arena);
    }
}
