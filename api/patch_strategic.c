/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch_strategic.c - strategic merge: maps are merged, lists by their merge key where the schema
 * gives one.
 *
 *     [{name: a, x: 1}, {name: b}]  with  [{name: c}, {name: a, y: 2}]
 *         gives  [{name: c}, {name: a, x: 1, y: 2}, {name: b}]
 *
 * The rules, also those for order, are upstream's; where its own order is that of a Go map, ours is
 * that of the patch.
 */
#include <stdlib.h>

#include "api/patch.h"

/* Lists are matched item by item; a list longer than any real one would take too long. */
#define LIST_COMPARISONS_MAX (50 * 1000 * 1000)

#define DIRECTIVE_PATCH  "$patch"
#define DIRECTIVE_RETAIN "$retainKeys"
#define PREFIX_ORDER     "$setElementOrder/"
#define PREFIX_DELETE    "$deleteFromPrimitiveList/"

struct merger {
    struct arena *arena;
    struct error *err;
};

static bool merge_map(struct merger *m, const struct schema_type *type, const struct json *original,
                      const struct json *patch, struct json *out);

/* ---- messages ---- */

/* As Go's %v prints it: map[a:1 b:[x y]]. */
static void print_go_value(const struct json *v, struct buffer *out)
{
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        buffer_add_str(out, "<nil>");
        break;
    case JSON_STRING:
        buffer_add(out, v->string, v->len);
        break;
    case JSON_ARRAY:
        buffer_add_char(out, '[');
        for (size_t i = 0; i < v->len; i++) {
            buffer_add_str(out, i ? " " : "");
            print_go_value(&v->items[i], out);
        }
        buffer_add_char(out, ']');
        break;
    case JSON_OBJECT:
        buffer_add_str(out, "map[");
        for (size_t i = 0; i < v->len; i++) {
            buffer_printf(out, "%s%s:", i ? " " : "", v->members[i].name);
            print_go_value(&v->members[i].value, out);
        }
        buffer_add_char(out, ']');
        break;
    case JSON_BOOL:
    case JSON_INT:
    case JSON_DOUBLE:
        json_print(v, out);
        break;
    }
}

/* Always false, as every function here that fails. */
static bool bad_patch(struct merger *m, enum error_code code, const char *text)
{
    error_set(m->err, code, "%s", text);
    return false;
}

static bool no_merge_key(struct merger *m, const struct json *item, const char *key)
{
    scoped(buffer) struct buffer text = { 0 };
    print_go_value(item, &text);
    error_set(m->err, ERR_INTERNAL, "map: %s does not contain declared merge key: %s", text.data,
              key);
    return false;
}

static bool bad_directive(struct merger *m, const struct json *directive, const struct json *item)
{
    scoped(buffer) struct buffer text = { 0 };
    print_go_value(directive, &text);
    buffer_add_str(&text, " in map: ");
    print_go_value(item, &text);
    error_set(m->err, ERR_INTERNAL, "unknown patch type: %s", text.data);
    return false;
}

/* ---- small things ---- */

static bool is_directive(const char *name)
{
    return name[0] == '$' &&
           (strcmp(name, DIRECTIVE_PATCH) == 0 || strcmp(name, DIRECTIVE_RETAIN) == 0 ||
            str_has_prefix(name, PREFIX_ORDER) || str_has_prefix(name, PREFIX_DELETE));
}

static bool says(const struct json *directive, const char *word)
{
    const char *text = json_text(directive);
    return text && strcmp(text, word) == 0;
}

static bool is_delete_item(const struct json *item)
{
    return says(json_get(item, DIRECTIVE_PATCH), "delete");
}

static struct json list_with_room(struct arena *a, size_t n)
{
    return (struct json){ .type = JSON_ARRAY,
                          .items = arena_alloc(a, (n + 1) * sizeof(struct json)) };
}

static void list_add(struct json *list, const struct json *item)
{
    list->items[list->len++] = *item;
}

/* The patch's value where the original has none: without nulls and without directives.  False for
 * an item that says that it is to be deleted. */
static bool take_new(struct merger *m, const struct json *patch, struct json *out)
{
    *out = *patch;
    out->room = 0;
    if (patch->type == JSON_ARRAY) {
        *out = list_with_room(m->arena, patch->len);
        for (size_t i = 0; i < patch->len; i++) {
            struct json item;
            if (take_new(m, &patch->items[i], &item))
                list_add(out, &item);
        }
    } else if (patch->type == JSON_OBJECT) {
        if (is_delete_item(patch))
            return false;
        out->members = arena_alloc(m->arena, (patch->len + 1) * sizeof(*out->members));
        out->len = 0;
        json_each_member (patch, p) {
            struct json value;
            if (!is_directive(p->name) && p->value.type != JSON_NULL &&
                take_new(m, &p->value, &value))
                out->members[out->len++] = (struct json_member){ p->name, value };
        }
    }
    return true;
}

/* A copy whose members can be changed; the values below stay shared. */
static struct json shallow_copy(struct arena *a, const struct json *object)
{
    struct json copy = { .type = JSON_OBJECT };
    if (json_is(object, JSON_OBJECT) && object->len) {
        copy.members = arena_memdup(a, object->members, object->len * sizeof(*object->members));
        copy.len = object->len;
    }
    return copy;
}

/* ---- items of lists ---- */

/* Items are the same when their merge keys are; without a merge key, when they are equal. */
static bool is_same_item(const struct json *a, const struct json *b, const char *key)
{
    if (!key)
        return json_equal(a, b);
    const struct json *a_key = json_get(a, key), *b_key = json_get(b, key);
    return a_key && b_key && json_equal(a_key, b_key);
}

/* Where the item is in LIST; LIST's length if it is not. */
static size_t item_index(const struct json *list, const struct json *item, const char *key)
{
    size_t i = 0;
    while (i < list->len && !is_same_item(&list->items[i], item, key))
        i++;
    return i;
}

struct placed {
    size_t rank, position;
    struct json item;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *l = a, *r = b;
    if (l->rank != r->rank)
        return l->rank < r->rank ? -1 : 1;
    return l->position < r->position ? -1 : 1;
}

static void sort_by(struct arena *a, struct json *list, const struct json *order, const char *key)
{
    struct placed *placed = arena_alloc(a, (list->len + 1) * sizeof(*placed));
    for (size_t i = 0; i < list->len; i++)
        placed[i] = (struct placed){ item_index(order, &list->items[i], key), i, list->items[i] };
    qsort(placed, list->len, sizeof(*placed), compare_placed);
    for (size_t i = 0; i < list->len; i++)
        list->items[i] = placed[i].item;
}

/* Puts MERGED into order: items that ORDER names follow it, the others keep their places among
 * those of SERVER as far as both can be had. */
static struct json enforce_order(struct merger *m, const struct json *merged,
                                 const struct json *order, const struct json *server,
                                 const char *key)
{
    struct json named = list_with_room(m->arena, merged->len);
    struct json others = list_with_room(m->arena, merged->len);
    for (size_t i = 0; i < merged->len; i++) {
        bool is_named = item_index(order, &merged->items[i], key) < order->len;
        list_add(is_named ? &named : &others, &merged->items[i]);
    }
    sort_by(m->arena, &named, order, key);
    sort_by(m->arena, &others, server, key);

    struct json out = list_with_room(m->arena, merged->len);
    size_t i = 0, k = 0;
    while (i < others.len && k < named.len) {
        size_t other_at = item_index(server, &others.items[i], key);
        size_t named_at = item_index(server, &named.items[k], key);
        bool is_other_first =
            other_at < server->len && named_at < server->len && other_at < named_at;
        list_add(&out, is_other_first ? &others.items[i++] : &named.items[k++]);
    }
    while (i < others.len)
        list_add(&out, &others.items[i++]);
    while (k < named.len)
        list_add(&out, &named.items[k++]);
    return out;
}

/* ---- lists ---- */

/* Whether the items of both lists are maps; false in *IS_OK for a mixture or lists of lists. */
static bool items_are_maps(struct merger *m, const struct json *a, const struct json *b,
                           bool *is_ok)
{
    const struct json *lists[] = { a, b };
    size_t maps = 0, all = 0;
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->len; i++, all++) {
            if (lists[l]->items[i].type == JSON_ARRAY) {
                *is_ok = bad_patch(m, ERR_INVALID, "lists of lists are not supported");
                return false;
            }
            maps += lists[l]->items[i].type == JSON_OBJECT;
        }
    *is_ok = maps == 0 || maps == all ||
             bad_patch(m, ERR_INTERNAL, "list element types are not identical");
    return maps > 0;
}

/* Carries out the items with $patch: removes what is to be deleted from ORIGINAL and the items
 * themselves from PATCH; REPLACE: PATCH's other items are all that stays. */
static bool special_items(struct merger *m, struct json *original, struct json *patch,
                          const char *key)
{
    struct json rest = list_with_room(m->arena, patch->len);
    bool replace = false;
    for (size_t i = 0; i < patch->len; i++) {
        const struct json *item = &patch->items[i];
        const struct json *directive = json_get(item, DIRECTIVE_PATCH);
        if (!directive) {
            list_add(&rest, item);
        } else if (says(directive, "delete")) {
            if (!json_get(item, key))
                return no_merge_key(m, item, key);
            struct json kept = list_with_room(m->arena, original->len);
            for (size_t k = 0; k < original->len; k++)
                if (!is_same_item(&original->items[k], item, key))
                    list_add(&kept, &original->items[k]);
            *original = kept;
        } else if (says(directive, "replace")) {
            replace = true;
        } else if (says(directive, "merge")) {
            return bad_patch(m, ERR_INTERNAL, "merging lists cannot yet be specified in the patch");
        } else {
            return bad_directive(m, directive, item);
        }
    }
    *patch = replace ? list_with_room(m->arena, 0) : rest;
    if (replace)
        *original = rest;
    return true;
}

static bool merge_items(struct merger *m, const struct schema_type *type,
                        const struct json *original, const struct json *patch, const char *key,
                        struct json *merged)
{
    *merged = list_with_room(m->arena, original->len + patch->len);
    for (size_t i = 0; i < original->len; i++)
        list_add(merged, &original->items[i]);
    for (size_t i = 0; i < patch->len; i++) {
        const struct json *item = &patch->items[i];
        if (!json_get(item, key))
            return no_merge_key(m, item, key);
        size_t at = item_index(merged, item, key);
        if (at < merged->len) {
            if (!merge_map(m, type, &merged->items[at], item, &merged->items[at]))
                return false;
        } else {
            struct json added;
            if (take_new(m, item, &added))
                list_add(merged, &added);
        }
    }
    return true;
}

/* Scalars: each value once, the first one stays. */
static struct json unite_scalars(struct merger *m, const struct json *original,
                                 const struct json *patch)
{
    struct json merged = list_with_room(m->arena, original->len + patch->len);
    const struct json *lists[] = { original, patch };
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->len; i++)
            if (item_index(&merged, &lists[l]->items[i], NULL) == merged.len)
                list_add(&merged, &lists[l]->items[i]);
    return merged;
}

static bool check_list_size(struct merger *m, const struct json *a, const struct json *b)
{
    size_t items = (size_t)a->len + b->len;
    return items * items <= LIST_COMPARISONS_MAX ||
           bad_patch(m, ERR_TOO_LARGE, "the lists to merge have too many items");
}

static bool merge_list(struct merger *m, const struct schema_field *f, const struct json *original,
                       const struct json *patch, struct json *out)
{
    if (!f || !(f->flags & SCHEMA_PATCH_MERGE)) {
        *out = *patch;
        return true;
    }
    bool is_ok;
    bool are_maps = items_are_maps(m, original, patch, &is_ok);
    if (!is_ok || !check_list_size(m, original, patch))
        return false;

    struct json kept = *original, rest = *patch, merged;
    const char *key = are_maps ? f->patch_merge_key : NULL;
    if (!are_maps) {
        merged = unite_scalars(m, original, patch);
    } else if (!key) {
        return bad_patch(m, ERR_INTERNAL, "cannot merge lists without merge key");
    } else {
        if (!special_items(m, &kept, &rest, key) ||
            !merge_items(m, f->type, &kept, &rest, key, &merged))
            return false;
    }
    *out = enforce_order(m, &merged, &rest, &kept, key);
    return true;
}

static struct json delete_scalars(struct merger *m, const struct json *original,
                                  const struct json *gone)
{
    struct json out = list_with_room(m->arena, original->len);
    for (size_t i = 0; i < original->len; i++)
        if (item_index(gone, &original->items[i], NULL) == gone->len)
            list_add(&out, &original->items[i]);
    return out;
}

/* ---- directives of maps ---- */

/* $retainKeys: what the original has beyond them goes. */
static bool retain_keys(struct merger *m, const struct json *patch, struct json *out)
{
    const struct json *keys = json_get(patch, DIRECTIVE_RETAIN);
    if (!keys)
        return true;
    bool is_good = keys->type == JSON_ARRAY;
    json_each_member (patch, p) {
        struct json name = { .type = JSON_STRING,
                             .len = (uint32_t)strlen(p->name),
                             .string = p->name };
        if (is_good && p->value.type != JSON_NULL && !is_directive(p->name))
            is_good = item_index(keys, &name, NULL) < keys->len;
    }
    if (!is_good)
        return bad_patch(m, ERR_BAD_REQUEST, "invalid patch format of retainKeys");
    size_t kept = 0;
    for (size_t i = 0; i < out->len; i++) {
        const char *text = out->members[i].name;
        struct json name = { .type = JSON_STRING, .len = (uint32_t)strlen(text), .string = text };
        if (item_index(keys, &name, NULL) < keys->len)
            out->members[kept++] = out->members[i];
    }
    out->len = (uint32_t)kept;
    return true;
}

/* The patch's own items must come in the order that it asks for. */
static bool check_order(struct merger *m, const struct json *patch, const struct json *order,
                        const char *key)
{
    size_t at = 0;
    for (size_t i = 0; patch && order->len && i < patch->len; i++) {
        if (is_delete_item(&patch->items[i]))
            continue;
        while (at < order->len && !is_same_item(&order->items[at], &patch->items[i], key))
            at++;
        if (at++ < order->len)
            continue;
        scoped(buffer) struct buffer text = { 0 };
        buffer_add_str(&text, "The order in patch list:\n");
        print_go_value(patch, &text);
        buffer_add_str(&text, "\n doesn't match $setElementOrder list:\n");
        print_go_value(order, &text);
        error_set(m->err, ERR_INTERNAL, "%s\n", text.data);
        return false;
    }
    return true;
}

/* $setElementOrder/NAME: merges the list NAME and puts it into that order. */
static bool set_order(struct merger *m, const struct schema_type *type, const char *name,
                      const struct json *order, const struct json *patch, struct json *out)
{
    static const struct json none = { .type = JSON_ARRAY };
    const struct json *original_list = json_get(out, name), *patch_list = json_get(patch, name);
    if (order->type != JSON_ARRAY || (original_list && original_list->type != JSON_ARRAY) ||
        (patch_list && patch_list->type != JSON_ARRAY))
        return bad_patch(m, ERR_BAD_REQUEST, "invalid patch format of setElementOrder list");
    if (!original_list && !patch_list)
        return true;
    const struct schema_field *f = type ? schema_field_find(type, bytes_of(name)) : NULL;
    const char *key = f ? f->patch_merge_key : NULL;
    if (!check_list_size(m, order, patch_list ? patch_list : &none) ||
        !check_list_size(m, order, original_list ? original_list : &none) ||
        !check_order(m, patch_list, order, key))
        return false;

    struct json merged;
    if (!patch_list)
        merged = *original_list;
    else if (!original_list)
        take_new(m, patch_list, &merged);
    else if (!merge_list(m, f, original_list, patch_list, &merged))
        return false;
    struct json ordered =
        enforce_order(m, &merged, order, original_list ? original_list : &none, key);
    json_set_static(m->arena, out, name, ordered);
    return true;
}

/* ---- maps ---- */

static bool has_order(const struct json *patch, const char *name)
{
    json_each_member (patch, p)
        if (str_has_prefix(p->name, PREFIX_ORDER) &&
            strcmp(p->name + strlen(PREFIX_ORDER), name) == 0)
            return true;
    return false;
}

static bool merge_member(struct merger *m, const struct schema_type *type, const char *name,
                         const struct json *value, struct json *out)
{
    const struct json *original = json_get(out, name);
    if (value->type == JSON_NULL) {
        json_remove(out, name);
        return true;
    }
    struct json merged;
    bool is_merged = original && original->type == value->type &&
                     (value->type == JSON_OBJECT || value->type == JSON_ARRAY);
    if (!is_merged) {
        if (take_new(m, value, &merged))
            json_set_static(m->arena, out, name, merged);
        return true;
    }
    const struct schema_field *f = type ? schema_field_find(type, bytes_of(name)) : NULL;
    if (value->type == JSON_ARRAY) {
        if (!merge_list(m, f, original, value, &merged))
            return false;
    } else if (f && f->flags & SCHEMA_PATCH_REPLACE) {
        merged = *value;
    } else {
        const struct schema_type *below = f && f->card == SCHEMA_SINGLE ? f->type : NULL;
        if (!merge_map(m, below, original, value, &merged))
            return false;
    }
    json_set_static(m->arena, out, name, merged);
    return true;
}

static bool merge_directive(struct merger *m, const struct schema_type *type, const char *name,
                            const struct json *value, const struct json *patch, struct json *out)
{
    if (str_has_prefix(name, PREFIX_ORDER))
        return set_order(m, type, name + strlen(PREFIX_ORDER), value, patch, out);
    if (!str_has_prefix(name, PREFIX_DELETE))
        return true; /* $retainKeys: done already */
    const char *list_name = name + strlen(PREFIX_DELETE);
    const struct json *original = json_get(out, list_name);
    if (!*list_name || value->type != JSON_ARRAY)
        return bad_patch(m, ERR_BAD_REQUEST, "invalid patch format of primitive list");
    if (json_is(original, JSON_ARRAY)) {
        if (!check_list_size(m, original, value))
            return false;
        json_set_static(m->arena, out, list_name, delete_scalars(m, original, value));
    }
    return true;
}

static bool merge_map(struct merger *m, const struct schema_type *type, const struct json *original,
                      const struct json *patch, struct json *out)
{
    const struct json *directive = json_get(patch, DIRECTIVE_PATCH);
    if (directive) {
        if (!says(directive, "replace") && !says(directive, "delete"))
            return bad_directive(m, directive, patch);
        *out = shallow_copy(m->arena, says(directive, "replace") ? patch : NULL);
        json_remove(out, DIRECTIVE_PATCH);
        return true;
    }
    struct json merged = shallow_copy(m->arena, original);
    if (!retain_keys(m, patch, &merged))
        return false;
    json_each_member (patch, p)
        if (is_directive(p->name) && !merge_directive(m, type, p->name, &p->value, patch, &merged))
            return false;
    json_each_member (patch, p)
        if (!is_directive(p->name) && !(p->value.type == JSON_ARRAY && has_order(patch, p->name)) &&
            !merge_member(m, type, p->name, &p->value, &merged))
            return false;
    *out = merged;
    return true;
}

struct json *patch_strategic(const struct schema_type *type, const struct json *doc,
                             const struct json *patch, struct arena *a, struct error *err)
{
    struct merger m = { .arena = a, .err = err };
    if (patch->type != JSON_OBJECT) {
        error_set(err, ERR_BAD_REQUEST,
                  "json: cannot unmarshal %s into Go value of type "
                  "map[string]interface {}",
                  patch->type == JSON_ARRAY ? "array" : "value");
        return NULL;
    }
    struct json *out = json_new(a, JSON_OBJECT);
    return merge_map(&m, type, doc, patch, out) ? out : NULL;
}
