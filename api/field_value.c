/* SPDX-License-Identifier: Apache-2.0 */
/* field_value.c - which fields an object has, and which differ between two. */
#include "api/field_value.h"

#include <stdlib.h>

#include "api/field_slot.h"

/* A set in the making: of one place, with what lies below it. */
struct part {
    struct json set;
    bool is_in;
};

static void part_begin(struct part *p, bool is_in, struct arena *arena)
{
    *p = (struct part){ .set = { .type = JSON_OBJECT }, .is_in = is_in };
    if (is_in)
        json_add(arena, &p->set, ".", (struct json){ .type = JSON_OBJECT });
}

static bool part_is_empty(const struct part *p)
{
    return !p->is_in && p->set.len == 0;
}

static void part_add(struct part *p, const char *child, const struct part *below,
                     struct arena *arena)
{
    if (!part_is_empty(below))
        json_add(arena, &p->set, child, below->set);
}

static void part_end(struct part *p)
{
    field_children_sort(&p->set);
    if (p->is_in && p->set.len == 1) /* itself alone */
        p->set.len = 0;
}

static const struct json *part_set(const struct part *p, struct arena *arena)
{
    return p->set.len ? arena_memdup(arena, &p->set, sizeof(p->set)) : NULL;
}

/* ---- the items of a list, by what tells them apart ---- */

struct keyed {
    const char *child;
    const struct json *item;
};

static int by_child(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    int rc = field_child_compare(x->child, y->child);
    return rc ? rc : (x->item > y->item) - (x->item < y->item); /* items lie in one array */
}

/* Sorted; items that nothing tells apart are left out. */
static struct keyed *keyed_items(struct field_slot s, const struct json *list, struct arena *arena,
                                 size_t *n)
{
    *n = 0;
    if (!json_is(list, JSON_ARRAY))
        return NULL;
    struct keyed *all = arena_alloc(arena, (list->len + 1) * sizeof(*all));
    json_each_item (list, item) {
        const char *why, *child = field_item_child(s, item, arena, &why);
        if (child)
            all[(*n)++] = (struct keyed){ child, item };
    }
    qsort(all, *n, sizeof(*all), by_child);
    return all;
}

/* How many from AT on are of the same child. */
static size_t twins(const struct keyed *all, size_t at, size_t n)
{
    size_t end = at + 1;
    while (end < n && strcmp(all[end].child, all[at].child) == 0)
        end++;
    return end - at;
}

/* ---- comparing ---- */

struct difference {
    struct part changed, removed;
};

static void compare(struct field_slot s, const struct json *old, const struct json *new,
                    struct arena *arena, struct difference *out);

static void compare_child(struct field_slot s, const char *child, const struct json *old,
                          const struct json *new, struct arena *arena, struct difference *parent)
{
    struct difference d;
    compare(s, old, new, arena, &d);
    part_add(&parent->changed, child, &d.changed, arena);
    part_add(&parent->removed, child, &d.removed, arena);
}

static void compare_member(struct field_slot s, const char *name, const struct json *old,
                           const struct json *new, struct arena *arena, struct difference *parent)
{
    struct field_slot member;
    if (field_member_slot(s, name, &member))
        compare_child(member, field_member_child(member, name, arena), old, new, arena, parent);
}

static void compare_members(struct field_slot s, const struct json *old, const struct json *new,
                            struct arena *arena, struct difference *out)
{
    scoped(field_index) struct field_index in_old, in_new;
    field_index_init(&in_old, old);
    field_index_init(&in_new, new);
    size_t i = 0;
    json_each_member (new, m)
        compare_member(s, m->name, field_index_get(&in_old, m->name, i++), &m->value, arena, out);
    i = 0;
    json_each_member (old, m) {
        if (!field_index_get(&in_new, m->name, i++))
            compare_member(s, m->name, &m->value, NULL, arena, out);
    }
}

static bool groups_equal(const struct keyed *a, const struct keyed *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!json_equal(a[i].item, b[i].item))
            return false;
    return true;
}

/* Items that occur more than once are one value, which only the item as a whole stands for. */
static void compare_twins(struct field_slot s, const struct keyed *old, size_t n,
                          const struct keyed *new, size_t m, struct arena *arena,
                          struct difference *out)
{
    static const struct part itself = { .set = { .type = JSON_OBJECT }, .is_in = true };
    if (n > 1 && m > 1) {
        if (n != m || !groups_equal(old, new, n))
            part_add(&out->changed, new->child, &itself, arena);
    } else if (n > 1) {
        part_add(&out->removed, old->child, &itself, arena);
        if (m == 1)
            compare_child(s, new->child, NULL, new->item, arena, out);
    } else {
        struct difference d = { 0 };
        if (n == 1)
            compare(s, old->item, NULL, arena, &d);
        part_add(&out->removed, new->child, &d.removed, arena);
        part_add(&out->changed, new->child, &itself, arena);
    }
}

static void compare_items(struct field_slot s, const struct json *old, const struct json *new,
                          struct arena *arena, struct difference *out)
{
    if (old && new &&json_equal(old, new))
        return;
    size_t n, m, i = 0, j = 0;
    const struct keyed *x = keyed_items(s, old, arena, &n), *y = keyed_items(s, new, arena, &m);
    struct field_slot item = field_item_slot(s);
    while (i < n || j < m) {
        int rc = i == n ? 1 : j == m ? -1 : field_child_compare(x[i].child, y[j].child);
        size_t in_old = rc <= 0 ? twins(x, i, n) : 0, in_new = rc >= 0 ? twins(y, j, m) : 0;
        if (in_old > 1 || in_new > 1)
            compare_twins(item, x + i, in_old, y + j, in_new, arena, out);
        else
            compare_child(item, in_old ? x[i].child : y[j].child, in_old ? x[i].item : NULL,
                          in_new ? y[j].item : NULL, arena, out);
        i += in_old;
        j += in_new;
    }
}

/* At least one of OLD and NEW is there. */
static void compare(struct field_slot s, const struct json *old, const struct json *new,
                    struct arena *arena, struct difference *out)
{
    enum field_form form = field_form_of(s);
    if (form == FIELD_LEAF || (field_is_empty(old) && field_is_empty(new))) {
        part_begin(&out->changed, new && !json_equal(old, new), arena);
        part_begin(&out->removed, !new, arena);
    } else {
        part_begin(&out->changed, !old, arena);
        part_begin(&out->removed, !new, arena);
        if (form == FIELD_SET_LIST || form == FIELD_MAP_LIST)
            compare_items(s, old, new, arena, out);
        else
            compare_members(s, old, new, arena, out);
    }
    part_end(&out->changed);
    part_end(&out->removed);
}

void field_compare(const struct schema_type *type, const struct json *old, const struct json *new,
                   struct arena *arena, struct field_changes *out)
{
    struct difference d;
    compare((struct field_slot){ .type = type }, old, new, arena, &d);
    out->changed = part_set(&d.changed, arena);
    out->removed = part_set(&d.removed, arena);
}

/* ---- the fields of a configuration ---- */

static void collect(struct field_slot s, const struct json *v, bool is_in, struct arena *arena,
                    struct part *out);

static void collect_members(struct field_slot s, const struct json *v, struct arena *arena,
                            struct part *out)
{
    json_each_member (v, m) {
        struct field_slot member;
        struct part below;
        if (!field_member_slot(s, m->name, &member))
            continue;
        bool is_null_or_empty =
            m->value.type == JSON_NULL || (m->value.type == JSON_OBJECT && m->value.len == 0);
        collect(member, &m->value, is_null_or_empty || !member.field, arena, &below);
        part_add(out, field_member_child(member, m->name, arena), &below, arena);
    }
}

static void collect_items(struct field_slot s, const struct json *v, struct arena *arena,
                          struct part *out)
{
    static const struct json nothing = { .type = JSON_OBJECT };
    size_t n;
    const struct keyed *items = keyed_items(s, v, arena, &n);
    for (size_t i = 0, same; i < n; i += same) {
        struct part below;
        same = twins(items, i, n);
        collect(field_item_slot(s), same > 1 ? &nothing : items[i].item, true, arena, &below);
        part_add(out, items[i].child, &below, arena);
    }
}

/* IS_IN: V counts itself, and not only what is in it. */
static void collect(struct field_slot s, const struct json *v, bool is_in, struct arena *arena,
                    struct part *out)
{
    enum field_form form = field_form_of(s);
    part_begin(out, is_in || form == FIELD_LEAF, arena);
    if (form == FIELD_SET_LIST || form == FIELD_MAP_LIST)
        collect_items(s, v, arena, out);
    else if (form != FIELD_LEAF)
        collect_members(s, v, arena, out);
    part_end(out);
}

const struct json *field_set_of(const struct schema_type *type, const struct json *v,
                                struct arena *arena)
{
    struct part all;
    collect((struct field_slot){ .type = type }, v, false, arena, &all);
    return part_set(&all, arena);
}

/* ---- parents ---- */

static struct json with_parents(struct field_slot s, bool is_known, const struct json *set,
                                bool is_in, struct arena *arena)
{
    struct part out;
    part_begin(&out, is_in, arena);
    json_each_member (set, m) {
        struct field_slot below = field_item_slot(s);
        bool is_field = m->name[0] == 'f';
        if (m->name[0] == '.')
            continue;
        bool is_below_known = is_known && (!is_field || field_member_slot(s, m->name + 2, &below));
        bool is_member = m->value.len == 0 || m->value.members[0].name[0] == '.';
        is_member |= is_below_known && is_field && below.field;
        json_add(arena, &out.set, m->name,
                 with_parents(below, is_below_known, &m->value, is_member, arena));
    }
    part_end(&out);
    return out.set;
}

const struct json *field_set_with_parents(const struct schema_type *type, const struct json *set,
                                          struct arena *arena)
{
    if (!set)
        return NULL;
    struct json *all = arena_alloc(arena, sizeof(*all));
    *all = with_parents((struct field_slot){ .type = type }, true, set, false, arena);
    return all;
}
