/* SPDX-License-Identifier: Apache-2.0 */
/* field_slot.c - what the tables say of a place in an object. */
#include "api/field_slot.h"

enum field_form field_form_of(struct field_slot s)
{
    unsigned flags = s.field ? s.field->flags : 0;
    enum schema_card card = s.field ? s.field->card : SCHEMA_SINGLE;
    if (card == SCHEMA_LIST)
        return s.field->list_type == SCHEMA_LIST_MAP   ? FIELD_MAP_LIST
               : s.field->list_type == SCHEMA_LIST_SET ? FIELD_SET_LIST
                                                       : FIELD_LEAF;
    if (flags & SCHEMA_ATOMIC)
        return FIELD_LEAF;
    if (card == SCHEMA_MAP)
        return FIELD_MAP;
    if (s.type->scalar != SCHEMA_OBJECT || (s.type->is_atomic && !(flags & SCHEMA_GRANULAR)))
        return FIELD_LEAF;
    return FIELD_STRUCT;
}

bool field_member_slot(struct field_slot s, const char *name, struct field_slot *out)
{
    if (s.field && s.field->card == SCHEMA_MAP) {
        *out = field_item_slot(s);
        return true;
    }
    const struct schema_field *f = schema_field_find(s.type, bytes_of(name));
    if (!f || f->flags & SCHEMA_NO_JSON)
        return false;
    *out = (struct field_slot){ .type = f->type, .field = f };
    return true;
}

const char *field_member_child(struct field_slot member, const char *name, struct arena *arena)
{
    return member.field && member.field->child ? member.field->child
                                               : field_child_of_name(name, arena);
}

/* ---- items ---- */

/* The least of the list's keys that is greater than AFTER; NULL: there is none. */
static const char *next_key(const struct schema_field *list, const char *after)
{
    const char *next = NULL;
    for (const char *const *k = list->list_map_keys; k && *k; k++)
        if ((!after || strcmp(*k, after) > 0) && (!next || strcmp(*k, next) < 0))
            next = *k;
    return next;
}

static const struct json *key_value(struct field_slot list, const struct json *item,
                                    const char *key)
{
    const struct json *v = json_get(item, key);
    if (v)
        return v;
    const struct schema_field *f = schema_field_find(list.type, bytes_of(key));
    return f ? f->default_value : NULL;
}

static const char *no_keys(const struct schema_field *list, struct arena *arena)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, "associative list with keys has an element that omits all key fields [");
    for (const char *const *k = list->list_map_keys; k && *k; k++)
        buffer_printf(&text, "%s\"%s\"", k == list->list_map_keys ? "" : " ", *k);
    buffer_add_str(&text, "] (and doesn't have default values for any key fields)");
    return arena_strdup(arena, text.data);
}

static const char *map_item_child(struct field_slot list, const struct json *item,
                                  struct arena *arena, const char **why)
{
    if (item->type != JSON_OBJECT) {
        *why = item->type == JSON_NULL ? "associative list with keys may not have a null element"
                                       : "associative list with keys may not have non-map elements";
        return NULL;
    }
    scoped(buffer) struct buffer text = { 0 };
    const char *key = NULL;
    while ((key = next_key(list.field, key))) {
        const struct json *v = key_value(list, item, key);
        if (!v)
            continue;
        buffer_printf(&text, "%s\"%s\":", text.len ? "," : "k:{", key);
        field_scalar_print(v, &text);
    }
    if (!text.len) {
        *why = no_keys(list.field, arena);
        return NULL;
    }
    buffer_add_char(&text, '}');
    return arena_strndup(arena, text.data, text.len);
}

static const char *set_item_child(const struct json *item, struct arena *arena, const char **why)
{
    if (item->type == JSON_OBJECT)
        *why = "associative list without keys has an element that's a map type";
    else if (item->type == JSON_ARRAY)
        *why = "not supported: associative list with lists as elements";
    else if (item->type == JSON_NULL)
        *why = "associative list without keys has an element that's an explicit null";
    else {
        scoped(buffer) struct buffer text = { 0 };
        buffer_add_str(&text, "v:");
        field_scalar_print(item, &text);
        return arena_strndup(arena, text.data, text.len);
    }
    return NULL;
}

const char *field_item_child(struct field_slot list, const struct json *item, struct arena *arena,
                             const char **why)
{
    return field_form_of(list) == FIELD_MAP_LIST ? map_item_child(list, item, arena, why)
                                                 : set_item_child(item, arena, why);
}

/* ---- members by name ---- */

#define SCAN_MAX 32 /* members up to which a name is searched one by one */

void field_index_init(struct field_index *i, const struct json *object)
{
    *i = (struct field_index){ .object = json_is(object, JSON_OBJECT) ? object : NULL };
    if (i->object && object->len > SCAN_MAX)
        json_each_member (object, m)
            hashmap_put(&i->map, bytes_of(m->name), (void *)&m->value);
}

const struct json *field_index_get(const struct field_index *i, const char *name, size_t hint)
{
    if (!i->object)
        return NULL;
    if (hint < i->object->len && strcmp(i->object->members[hint].name, name) == 0)
        return &i->object->members[hint].value;
    return i->map.n ? hashmap_get(&i->map, bytes_of(name)) : json_get(i->object, name);
}
