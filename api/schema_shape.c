/* SPDX-License-Identifier: Apache-2.0 */
/* schema_shape.c - makes a parsed tree what Go's decoder and encoder would make of it. */
#include "api/schema_scalar.h"

/* How we came to a value: a list on the C stack, written out only when something is wrong. */
struct step {
    const struct step *up;
    const struct schema_type
        *in;          /* the struct whose field this is; NULL for an item or map value */
    const char *name; /* field or map key; NULL for an item */
    size_t index;
};

struct shaper {
    struct arena *arena;
    struct schema_warnings *warnings; /* may be NULL */
    struct error *err;
};

/* ---- messages ---- */

/* "spec.containers[0].name": where a strict decoder found something. */
static void print_place(const struct step *at, struct buffer *out)
{
    if (!at)
        return;
    print_place(at->up, out);
    if (!at->name)
        buffer_printf(out, "[%zu]", at->index);
    else
        buffer_printf(out, "%s%s", out->len ? "." : "", at->name);
}

/* "spec.containers.name": Go's decoder counts the fields of structs only. */
static void print_fields(const struct step *at, struct buffer *out)
{
    if (!at)
        return;
    print_fields(at->up, out);
    if (at->in)
        buffer_printf(out, "%s%s", out->len ? "." : "", at->name);
}

static void warn_unknown(struct shaper *s, const struct step *at)
{
    struct schema_warnings *w = s->warnings;
    if (!w || w->n == SCHEMA_WARNINGS_MAX)
        return;
    scoped(buffer) struct buffer place = { 0 };
    print_place(at, &place);
    w->items = arena_grow(s->arena, w->items, w->n, &w->capacity, sizeof(*w->items));
    w->items[w->n++] = arena_printf(s->arena, "unknown field \"%s\"", place.data);
}

static const char *json_type_name(const struct json *v)
{
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "bool";
    case JSON_INT:
    case JSON_DOUBLE:
        return "number";
    case JSON_STRING:
        return "string";
    case JSON_ARRAY:
        return "array";
    case JSON_OBJECT:
        return "object";
    }
    return "value";
}

static const char *go_element_type(const struct schema_type *t, struct arena *arena)
{
    switch (t->scalar) {
    case SCHEMA_BYTES:
        return "[]uint8";
    case SCHEMA_DOUBLE:
        return "float64";
    case SCHEMA_INT_OR_STRING: /* these three decode what they hold */
        return "int32";
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
    case SCHEMA_DURATION:
        return "string";
    default:
        return *t->go_package ? arena_printf(arena, "%s.%s", t->go_package, t->go_name)
                              : t->go_name;
    }
}

/* VALUE is "string", "array", "number 1.5".  Always -1. */
static int wrong_type(struct shaper *s, const struct step *at, const char *value,
                      const char *go_type)
{
    const struct step *field = at;
    while (field && !field->in)
        field = field->up;
    if (!field)
        return error_set(s->err, ERR_BAD_REQUEST,
                         "json: cannot unmarshal %s into Go value of type %s", value, go_type);
    scoped(buffer) struct buffer path = { 0 };
    print_fields(field, &path);
    return error_set(s->err, ERR_BAD_REQUEST,
                     "json: cannot unmarshal %s into Go struct field %s.%s of type %s", value,
                     field->in->go_name, path.data, go_type);
}

static int wrong_number(struct shaper *s, const struct step *at, const struct json *v,
                        const char *go_type)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, "number ");
    json_print(v, &text);
    return wrong_type(s, at, text.data, go_type);
}

/* ---- values ---- */

static int shape_object(struct shaper *s, const struct step *at, const struct schema_type *t,
                        struct json *v);

static int shape_integer(struct shaper *s, const struct step *at, const struct schema_type *t,
                         struct json *v)
{
    const char *go_type = go_element_type(t, s->arena);
    if (v->type != JSON_INT && v->type != JSON_DOUBLE)
        return wrong_type(s, at, json_type_name(v), go_type);
    bool fits = v->type == JSON_INT;
    if (t->scalar == SCHEMA_INT32 || t->scalar == SCHEMA_INT_OR_STRING)
        fits = fits && v->integer >= INT32_MIN && v->integer <= INT32_MAX;
    else if (t->scalar == SCHEMA_UINT32)
        fits = fits && v->integer >= 0 && v->integer <= UINT32_MAX;
    return fits ? 0 : wrong_number(s, at, v, go_type);
}

static int shape_strings(struct shaper *s, const struct step *at, const struct schema_type *t,
                         struct json *v)
{
    if (v->type != JSON_ARRAY)
        return wrong_type(s, at, json_type_name(v), go_element_type(t, s->arena));
    for (size_t i = 0; i < v->len; i++) {
        if (v->items[i].type == JSON_NULL)
            v->items[i] = (struct json){ .type = JSON_STRING, .string = "" };
        else if (v->items[i].type != JSON_STRING)
            return wrong_type(s, at, json_type_name(&v->items[i]), "string");
    }
    return 0;
}

/* One value of type T.  IS_MILLI: quantities of a resource list. */
static int shape_value(struct shaper *s, const struct step *at, const struct schema_type *t,
                       bool is_milli, struct json *v)
{
    bool is_string = v->type == JSON_STRING;
    switch (t->scalar) {
    case SCHEMA_OBJECT:
        return shape_object(s, at, t, v);
    case SCHEMA_STRING:
        if (is_string)
            return 0;
        break;
    case SCHEMA_BOOL:
        if (v->type == JSON_BOOL)
            return 0;
        break;
    case SCHEMA_INT_OR_STRING:
        if (is_string)
            return 0;
        return shape_integer(s, at, t, v);
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
        return shape_integer(s, at, t, v);
    case SCHEMA_DOUBLE:
        if (v->type == JSON_INT || v->type == JSON_DOUBLE)
            return 0;
        break;
    case SCHEMA_BYTES:
        if (is_string)
            return scalar_bytes(v, s->arena, s->err);
        break;
    case SCHEMA_QUANTITY:
        return scalar_quantity(v, is_milli, s->arena, s->err);
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
        if (is_string)
            return scalar_time(v, t->scalar == SCHEMA_MICRO_TIME, s->arena, s->err);
        break;
    case SCHEMA_DURATION:
        if (is_string)
            return scalar_duration(v, s->arena, s->err);
        break;
    case SCHEMA_RAW:
        return 0;
    case SCHEMA_STRINGS:
        return shape_strings(s, at, t, v);
    }
    return wrong_type(s, at, json_type_name(v), go_element_type(t, s->arena));
}

static int wrong_container(struct shaper *s, const struct step *at, const struct schema_field *f,
                           const struct json *v)
{
    const char *go_type = f->go_type;
    if (!go_type)
        go_type = arena_printf(s->arena, "%s%s", f->card == SCHEMA_LIST ? "[]" : "map[string]",
                               f->type->scalar == SCHEMA_INT_OR_STRING
                                   ? "intstr.IntOrString"
                                   : go_element_type(f->type, s->arena));
    return wrong_type(s, at, json_type_name(v), go_type);
}

static int shape_list(struct shaper *s, const struct step *at, const struct schema_field *f,
                      struct json *v)
{
    if (v->type != JSON_ARRAY)
        return wrong_container(s, at, f, v);
    for (size_t i = 0; i < v->len; i++) {
        struct step item = { .up = at, .index = i };
        if (v->items[i].type == JSON_NULL)
            v->items[i] = schema_zero(f->type);
        else if (shape_value(s, &item, f->type, false, &v->items[i]) < 0)
            return -1;
    }
    return 0;
}

static int shape_map(struct shaper *s, const struct step *at, const struct schema_field *f,
                     struct json *v)
{
    if (v->type != JSON_OBJECT)
        return wrong_container(s, at, f, v);
    for (size_t i = 0; i < v->len; i++) {
        struct step value = { .up = at, .name = v->members[i].name };
        if (v->members[i].value.type == JSON_NULL)
            v->members[i].value = schema_zero(f->type);
        else if (shape_value(s, &value, f->type, f->go_type != NULL, &v->members[i].value) < 0)
            return -1;
    }
    return 0;
}

/* An encoder leaves it out: nothing tells it from a field that was never set. */
static bool is_left_out(const struct schema_field *f, const struct json *v)
{
    if (!(f->flags & SCHEMA_OMITEMPTY) || f->flags & SCHEMA_POINTER)
        return false;
    switch ((enum json_type)v->type) {
    case JSON_BOOL:
        return !v->boolean;
    case JSON_INT:
        return v->integer == 0 && f->type->scalar != SCHEMA_INT_OR_STRING;
    case JSON_DOUBLE:
        return v->number == 0;
    case JSON_STRING:
        return v->len == 0 && f->type->scalar != SCHEMA_INT_OR_STRING;
    case JSON_ARRAY:
        return v->len == 0 && f->type->scalar != SCHEMA_RAW && !(f->flags & SCHEMA_EMPTY_COUNTS);
    case JSON_OBJECT:
        return v->len == 0 && f->card == SCHEMA_MAP;
    case JSON_NULL:
        break;
    }
    return false;
}

static int shape_field(struct shaper *s, const struct step *at, const struct schema_field *f,
                       struct json *v)
{
    switch ((enum schema_card)f->card) {
    case SCHEMA_LIST:
        return shape_list(s, at, f, v);
    case SCHEMA_MAP:
        return shape_map(s, at, f, v);
    case SCHEMA_SINGLE:
        break;
    }
    return shape_value(s, at, f->type, false, v);
}

static int shape_object(struct shaper *s, const struct step *at, const struct schema_type *t,
                        struct json *v)
{
    if (v->type != JSON_OBJECT)
        return wrong_type(s, at, json_type_name(v), go_element_type(t, s->arena));
    size_t kept = 0;
    for (size_t i = 0; i < v->len; i++) {
        struct json_member m = v->members[i];
        struct step field = { .up = at, .in = t, .name = m.name };
        const struct schema_field *f = schema_field_find(t, bytes_of(m.name));
        if (f && f->flags & SCHEMA_NO_JSON)
            f = NULL;
        if (f) {
            m.name = f->name;
            if (m.value.type == JSON_NULL)
                continue;
            if (shape_field(s, &field, f, &m.value) < 0)
                return -1;
            if (is_left_out(f, &m.value))
                continue;
        } else if (!t->preserve_unknown) {
            warn_unknown(s, &field);
            continue;
        }
        v->members[kept++] = m;
    }
    v->len = (uint32_t)kept;
    return 0;
}

int schema_shape(const struct schema_type *type, struct json *tree, struct arena *arena,
                 struct schema_warnings *warnings, struct error *err)
{
    struct shaper s = { .arena = arena, .warnings = warnings, .err = err };
    return shape_value(&s, NULL, type, false, tree);
}
