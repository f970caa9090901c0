/* SPDX-License-Identifier: Apache-2.0 */
/* field_validate.c - whether an applied configuration fits its type, in upstream's words. */
#include "api/field_slot.h"
#include "api/go_print.h"

/* The message has room for few; all would be one line each. */
#define FAULTS_MAX 32

struct checker {
    struct arena *arena;
    struct buffer path, text;
    size_t faults;
};

static void fault(struct checker *c, const char *fmt, ...) printf_like(2, 3);
static void fault(struct checker *c, const char *fmt, ...)
{
    if (c->faults++ >= FAULTS_MAX)
        return;
    va_list args;
    va_start(args, fmt);
    buffer_printf(&c->text, "%s  %s%s", c->text.len ? "\n" : "", c->path.len ? c->path.data : "",
                  c->path.len ? ": " : "");
    buffer_vprintf(&c->text, fmt, args);
    va_end(args);
}

/* Upstream shows the holder of the value, not the value. */
static void fault_value(struct checker *c, const char *wanted, bool is_go_syntax,
                        const struct json *v)
{
    scoped(buffer) struct buffer shown = { 0 };
    go_print(v, &shown);
    fault(c,
          is_go_syntax ? "expected %s, got &value.valueUnstructured{Value:%s}"
                       : "expected %s, got &{%s}",
          wanted, shown.len ? shown.data : "");
}

static const char *go_type_of(const struct json *v)
{
    switch ((enum json_type)v->type) {
    case JSON_BOOL:
        return "bool";
    case JSON_INT:
        return "int64";
    case JSON_DOUBLE:
        return "float64";
    case JSON_STRING:
        return "string";
    case JSON_ARRAY:
        return "[]interface {}";
    case JSON_OBJECT:
        return "map[string]interface {}";
    case JSON_NULL:
        break;
    }
    return "<nil>";
}

static void check_scalar(struct checker *c, const struct schema_type *t, const struct json *v)
{
    bool is_number = v->type == JSON_INT || v->type == JSON_DOUBLE;
    switch (t->scalar) {
    case SCHEMA_BOOL:
        if (v->type != JSON_BOOL)
            fault_value(c, "boolean", false, v);
        break;
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
    case SCHEMA_DOUBLE:
        if (!is_number)
            fault(c, "expected numeric (int or float), got %s", go_type_of(v));
        break;
    case SCHEMA_QUANTITY:
    case SCHEMA_INT_OR_STRING:
        if (v->type == JSON_ARRAY || v->type == JSON_OBJECT)
            fault_value(c, "any scalar", false, v);
        break;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
    case SCHEMA_DURATION:
        if (v->type != JSON_STRING)
            fault_value(c, "string", true, v);
        break;
    case SCHEMA_STRINGS:
        if (v->type != JSON_ARRAY)
            fault_value(c, "list", false, v);
        break;
    case SCHEMA_RAW:
    case SCHEMA_OBJECT:
        break;
    }
}

static void check(struct checker *c, struct field_slot s, const struct json *v);

static void check_below(struct checker *c, struct field_slot s, const char *child,
                        const struct json *v)
{
    size_t before = c->path.len;
    field_child_print(child, &c->path);
    check(c, s, v);
    c->path.len = before;
    c->path.data[before] = '\0';
}

static void check_members(struct checker *c, struct field_slot s, const struct json *v)
{
    if (v->type != JSON_OBJECT) {
        fault_value(c, "map", false, v);
        return;
    }
    json_each_member (v, m) {
        struct field_slot member;
        if (field_member_slot(s, m->name, &member)) {
            check_below(c, member, field_member_child(member, m->name, c->arena), &m->value);
        } else if (!s.type->preserve_unknown) {
            size_t before = c->path.len;
            buffer_printf(&c->path, ".%s", m->name);
            fault(c, "field not declared in schema");
            c->path.len = before;
        }
    }
}

static void check_items(struct checker *c, struct field_slot s, const struct json *v)
{
    struct hashmap seen = { 0 };
    size_t i = 0;
    json_each_item (v, item) {
        const char *why, *child = field_item_child(s, item, c->arena, &why);
        if (!child) {
            fault(c, "element %zu: %s", i, why);
            break;
        }
        if (hashmap_put(&seen, bytes_of(child), (void *)child)) {
            scoped(buffer) struct buffer shown = { 0 };
            field_child_print(child, &shown);
            fault(c, "duplicate entries for key %s", shown.data);
        }
        check_below(c, field_item_slot(s), child, item);
        i++;
    }
    hashmap_deinit(&seen);
}

/* The items of a list that is one value. */
static void check_plain_items(struct checker *c, struct field_slot s, const struct json *v)
{
    size_t i = 0;
    json_each_item (v, item) {
        char child[32];
        snprintf(child, sizeof(child), "i:%zu", i++);
        check_below(c, field_item_slot(s), child, item);
    }
}

static void check(struct checker *c, struct field_slot s, const struct json *v)
{
    enum schema_card card = s.field ? s.field->card : SCHEMA_SINGLE;
    if (v->type == JSON_NULL)
        return;
    if (card == SCHEMA_LIST) {
        if (v->type != JSON_ARRAY)
            fault_value(c, "list", false, v);
        else if (field_form_of(s) == FIELD_LEAF)
            check_plain_items(c, s, v);
        else
            check_items(c, s, v);
    } else if (card == SCHEMA_MAP || s.type->scalar == SCHEMA_OBJECT) {
        check_members(c, s, v);
    } else {
        check_scalar(c, s.type, v);
    }
}

int field_validate(const struct schema_type *type, const struct json *v, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct checker c = { .arena = arena };
    check(&c, (struct field_slot){ .type = type }, v);
    if (c.faults == 1) /* without its indentation */
        error_set(err, ERR_BAD_REQUEST, "%s", c.text.data + 2);
    else if (c.faults > 1)
        error_set(err, ERR_BAD_REQUEST, "errors:\n%s", c.text.data);
    buffer_free(&c.path);
    buffer_free(&c.text);
    return c.faults ? -1 : 0;
}
