/* SPDX-License-Identifier: Apache-2.0 */
/* field_merge.c - an applied configuration put into an object, and fields taken out of one. */
#include "api/field_slot.h"

static bool merge(struct field_slot s, const struct json *live, const struct json *config,
                  struct arena *arena, struct json *out);

/* ---- structs and maps ---- */

static void merge_member(struct field_slot s, const char *name, const struct json *live,
                         const struct json *config, struct arena *arena, struct json *out)
{
    struct field_slot member;
    struct json merged;
    if (!config)
        merged = *live;
    else if (!field_member_slot(s, name, &member))
        merged = *config;
    else if (!merge(member, live, config, arena, &merged))
        return;
    json_add(arena, out, name, merged);
}

static void merge_members(struct field_slot s, const struct json *live, const struct json *config,
                          struct arena *arena, struct json *out)
{
    scoped(field_index) struct field_index in_live, in_config;
    field_index_init(&in_live, live);
    field_index_init(&in_config, config);
    *out = (struct json){ .type = JSON_OBJECT };
    size_t i = 0;
    json_each_member (live, m)
        merge_member(s, m->name, &m->value, field_index_get(&in_config, m->name, i++), arena, out);
    i = 0;
    json_each_member (config, m) {
        if (!field_index_get(&in_live, m->name, i++))
            json_add(arena, out, m->name, m->value);
    }
}

/* ---- lists ---- */

/* One side of a merge: the items with what tells them apart, and where each is. */
struct side {
    const struct json *list;
    const char **children; /* of each item; NULL: nothing tells it apart */
    struct hashmap places; /* child to its first item */
    size_t n;
};

static void side_scoped(struct side *s)
{
    hashmap_deinit(&s->places);
}

static void side_init(struct side *s, struct field_slot slot, const struct json *list,
                      struct arena *arena)
{
    *s = (struct side){ .list = list, .n = json_is(list, JSON_ARRAY) ? list->len : 0 };
    s->children = arena_alloc(arena, (s->n + 1) * sizeof(*s->children));
    for (size_t i = s->n; i-- > 0;) {
        const char *why;
        s->children[i] = field_item_child(slot, &list->items[i], arena, &why);
        if (s->children[i])
            hashmap_put(&s->places, bytes_of(s->children[i]), (void *)&list->items[i]);
    }
}

static const struct json *side_find(const struct side *s, const char *child)
{
    return child ? hashmap_get(&s->places, bytes_of(child)) : NULL;
}

/* Two ordered lists become one: CONFIG's items keep their order, and LIVE's own stay where they
 * are between them.  What both have is taken in CONFIG's order. */
struct list_merge {
    struct field_slot item;
    struct arena *arena;
    struct side live, config;
    size_t shared; /* the next item of CONFIG that LIVE has too */
    struct json *out;
};

static void find_shared(struct list_merge *m, size_t from)
{
    while (from < m->config.n && !side_find(&m->live, m->config.children[from]))
        from++;
    m->shared = from;
}

static void take_config_item(struct list_merge *m, size_t at)
{
    struct json merged;
    const struct json *item = &m->config.list->items[at];
    const struct json *live = side_find(&m->live, m->config.children[at]);
    if (!live)
        merged = *item;
    else if (!merge(m->item, live, item, m->arena, &merged))
        return;
    json_append(m->arena, m->out, merged);
    if (at == m->shared)
        find_shared(m, at + 1);
}

/* How many of LIVE's items from AT on come before CONFIG's next one. */
static size_t take_live_items(struct list_merge *m, size_t at, size_t next)
{
    for (; at < m->live.n; at++) {
        const char *child = m->live.children[at];
        bool is_next = next < m->config.n && str_equal(child, m->config.children[next]);
        bool waits = m->shared < m->config.n && str_equal(child, m->config.children[m->shared]);
        if (!side_find(&m->config, child))
            json_append(m->arena, m->out, m->live.list->items[at]);
        else if (is_next || waits)
            break;
    }
    return at;
}

static void merge_items(struct field_slot s, const struct json *live, const struct json *config,
                        struct arena *arena, struct json *out)
{
    scoped(side) struct side a = { 0 }, b = { 0 };
    side_init(&a, s, live, arena);
    side_init(&b, s, config, arena);
    *out = (struct json){ .type = JSON_ARRAY };
    struct list_merge m = {
        .item = field_item_slot(s), .arena = arena, .live = a, .config = b, .out = out
    };
    find_shared(&m, 0);
    size_t i = 0;
    for (size_t j = 0; j < b.n; j++) {
        i = take_live_items(&m, i, j);
        bool is_here = i < a.n && str_equal(a.children[i], b.children[j]);
        take_config_item(&m, j);
        i += is_here;
    }
    take_live_items(&m, i, b.n);
}

/* False: nothing is there any more. */
static bool merge(struct field_slot s, const struct json *live, const struct json *config,
                  struct arena *arena, struct json *out)
{
    enum field_form form = field_form_of(s);
    if (form == FIELD_LEAF || (field_is_empty(live) && field_is_empty(config))) {
        *out = *config;
        return true;
    }
    if (form == FIELD_SET_LIST || form == FIELD_MAP_LIST)
        merge_items(s, live, config, arena, out);
    else
        merge_members(s, live, config, arena, out);
    return out->len > 0;
}

const struct json *field_merge(const struct schema_type *type, const struct json *live,
                               const struct json *config, struct arena *arena)
{
    struct json *out = json_new(arena, JSON_OBJECT);
    if (!merge((struct field_slot){ .type = type }, live, config, arena, out))
        *out = (struct json){ .type = JSON_OBJECT };
    return out;
}

/* ---- removing ---- */

static struct json remove_fields(struct field_slot s, const struct json *v, const struct json *set,
                                 struct arena *arena);

static bool is_member(const struct json *set)
{
    return set && (set->len == 0 || set->members[0].name[0] == '.');
}

static void keep_members(struct field_slot s, const struct json *v, const struct json *set,
                         struct arena *arena, struct json *out)
{
    scoped(field_index) struct field_index removed;
    field_index_init(&removed, set);
    size_t i = 0;
    json_each_member (v, m) {
        struct field_slot member;
        const struct json *below = NULL;
        if (field_member_slot(s, m->name, &member))
            below = field_index_get(&removed, field_member_child(member, m->name, arena), i++);
        if (is_member(below))
            continue;
        json_add(arena, out, m->name,
                 below ? remove_fields(member, &m->value, below, arena) : m->value);
    }
}

static void keep_items(struct field_slot s, const struct json *v, const struct json *set,
                       struct arena *arena, struct json *out)
{
    scoped(field_index) struct field_index removed;
    field_index_init(&removed, set);
    size_t i = 0;
    json_each_item (v, item) {
        const char *why, *child = field_item_child(s, item, arena, &why);
        const struct json *below = child ? field_index_get(&removed, child, i++) : NULL;
        if (is_member(below))
            continue;
        json_append(arena, out,
                    below ? remove_fields(field_item_slot(s), item, below, arena) : *item);
    }
}

/* What becomes empty becomes null. */
static struct json remove_fields(struct field_slot s, const struct json *v, const struct json *set,
                                 struct arena *arena)
{
    struct json out = { .type = v->type };
    enum field_form form = field_form_of(s);
    if (form == FIELD_LEAF)
        return *v;
    if (v->type == JSON_ARRAY && (form == FIELD_SET_LIST || form == FIELD_MAP_LIST))
        keep_items(s, v, set, arena, &out);
    else if (v->type == JSON_OBJECT && (form == FIELD_STRUCT || form == FIELD_MAP))
        keep_members(s, v, set, arena, &out);
    if (out.len == 0)
        out = (struct json){ .type = JSON_NULL };
    return out;
}

const struct json *field_remove(const struct schema_type *type, const struct json *v,
                                const struct json *set, struct arena *arena)
{
    if (!set)
        return v;
    struct json *out = arena_alloc(arena, sizeof(*out));
    *out = remove_fields((struct field_slot){ .type = type }, v, set, arena);
    if (out->type == JSON_NULL)
        *out = (struct json){ .type = JSON_OBJECT };
    return out;
}
