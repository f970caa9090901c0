/* SPDX-License-Identifier: Apache-2.0 */
/* json_tree.c - reading, building and changing trees. */
#include "base/json.h"

#include "base/hashmap.h"

/* ---- reading ---- */

static bool name_is(const char *name, struct bytes wanted)
{
    return strncmp(name, wanted.data, wanted.len) == 0 && name[wanted.len] == 0;
}

static struct json *member(const struct json *object, struct bytes name)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (size_t i = 0; i < object->len; i++)
        if (name_is(object->members[i].name, name))
            return &object->members[i].value;
    return NULL;
}

/* Takes the first name off a dotted path; false at its end. */
static bool next_name(const char **path, struct bytes *name)
{
    if (!**path)
        return false;
    size_t n = strcspn(*path, ".");
    *name = (struct bytes){ *path, n };
    *path += n + ((*path)[n] == '.');
    return true;
}

const struct json *json_get(const struct json *object, const char *name)
{
    return member(object, bytes_of(name));
}

struct json *json_find(struct json *v, const char *path)
{
    struct bytes name;
    while (v && next_name(&path, &name))
        v = member(v, name);
    return v;
}

const struct json *json_at(const struct json *v, const char *path)
{
    return json_find((struct json *)v, path); /* the cast is undone by the return type */
}

const char *json_str(const struct json *v, const char *path, const char *fallback)
{
    const char *text = json_text(json_at(v, path));
    return text ? text : fallback;
}

int64_t json_int(const struct json *v, const char *path, int64_t fallback)
{
    const struct json *found = json_at(v, path);
    return json_is(found, JSON_INT) ? found->integer : fallback;
}

bool json_bool(const struct json *v, const char *path, bool fallback)
{
    const struct json *found = json_at(v, path);
    return json_is(found, JSON_BOOL) ? found->boolean : fallback;
}

size_t json_len(const struct json *v, const char *path)
{
    const struct json *found = json_at(v, path);
    return json_is(found, JSON_ARRAY) || json_is(found, JSON_OBJECT) ? found->len : 0;
}

bool json_is(const struct json *v, enum json_type type)
{
    return v && v->type == type;
}

bool json_has_text(const struct json *list, const char *s)
{
    json_each_item (list, item) {
        if (str_equal(json_text(item), s))
            return true;
    }
    return false;
}

const struct json *json_items_begin(const struct json *v)
{
    return json_is(v, JSON_ARRAY) ? v->items : NULL;
}

const struct json_member *json_members_begin(const struct json *v)
{
    return json_is(v, JSON_OBJECT) ? v->members : NULL;
}

/* ---- comparing ---- */

#define SCAN_MAX 32 /* members up to which a look-up is a scan */

static bool arrays_equal(const struct json *a, const struct json *b)
{
    for (size_t i = 0; i < a->len; i++)
        if (!json_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

static void index_members(struct hashmap *index, const struct json *object)
{
    json_each_member (object, m)
        hashmap_put(index, bytes_of(m->name), (void *)&m->value);
}

static bool objects_equal(const struct json *a, const struct json *b)
{
    struct hashmap index = { 0 };
    bool equal = true;
    for (size_t i = 0; i < a->len && equal; i++) {
        const struct json_member *m = &a->members[i];
        const struct json *other;
        if (strcmp(m->name, b->members[i].name) == 0) { /* the usual case: the same order */
            other = &b->members[i].value;
        } else if (b->len <= SCAN_MAX) {
            other = json_get(b, m->name);
        } else {
            if (index.n == 0)
                index_members(&index, b);
            other = hashmap_get(&index, bytes_of(m->name));
        }
        equal = other && json_equal(&m->value, other);
    }
    hashmap_deinit(&index);
    return equal;
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (!a || !b)
        return a == b;
    if (a->type == JSON_INT && b->type == JSON_DOUBLE)
        return (double)a->integer == b->number;
    if (a->type == JSON_DOUBLE && b->type == JSON_INT)
        return a->number == (double)b->integer;
    if (a->type != b->type)
        return false;
    switch ((enum json_type)a->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_INT:
        return a->integer == b->integer;
    case JSON_DOUBLE:
        return a->number == b->number;
    case JSON_STRING:
        return a->len == b->len && memcmp(a->string, b->string, a->len) == 0;
    case JSON_ARRAY:
        return a->len == b->len && arrays_equal(a, b);
    case JSON_OBJECT:
        return a->len == b->len && objects_equal(a, b);
    }
    return false;
}

/* ---- building ---- */

struct json *json_new(struct arena *a, enum json_type type)
{
    struct json *v = arena_zalloc(a, sizeof(*v));
    v->type = (uint8_t)type;
    if (type == JSON_STRING)
        v->string = "";
    return v;
}

struct json json_string_value(struct arena *a, const char *s)
{
    size_t n = s ? strlen(s) : 0;
    return (
        struct json){ .type = JSON_STRING, .len = (uint32_t)n, .string = arena_strndup(a, s, n) };
}

struct json json_int_value(int64_t v)
{
    return (struct json){ .type = JSON_INT, .integer = v };
}

struct json json_bool_value(bool v)
{
    return (struct json){ .type = JSON_BOOL, .boolean = v };
}

static const char *shared_names;
static size_t shared_names_bytes;

void json_share_names(const char *names, size_t n)
{
    shared_names = names;
    shared_names_bytes = n;
}

bool json_name_is_shared(const char *name)
{
    return (uintptr_t)name - (uintptr_t)shared_names < shared_names_bytes;
}

struct json json_clone_value(const struct json *v, struct arena *a)
{
    struct json c = *v;
    c.room = 0;
    if (v->type == JSON_STRING) {
        c.string = arena_strndup(a, v->string, v->len);
    } else if (v->type == JSON_ARRAY) {
        c.items = v->len ? arena_alloc(a, v->len * sizeof(*c.items)) : NULL;
        for (size_t i = 0; i < v->len; i++)
            c.items[i] = json_clone_value(&v->items[i], a);
    } else if (v->type == JSON_OBJECT) {
        c.members = v->len ? arena_alloc(a, v->len * sizeof(*c.members)) : NULL;
        for (size_t i = 0; i < v->len; i++) {
            const char *name = v->members[i].name;
            c.members[i].name = json_name_is_shared(name) ? name : arena_strdup(a, name);
            c.members[i].value = json_clone_value(&v->members[i].value, a);
        }
    }
    return c;
}

struct json *json_clone(const struct json *v, struct arena *a)
{
    struct json *c = arena_alloc(a, sizeof(*c));
    *c = json_clone_value(v, a);
    return c;
}

/* An arena rounds every array up to its alignment: 16 bytes. */
static size_t array_bytes(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static size_t content_bytes(const struct json *v)
{
    size_t bytes = 0;
    if (v->type == JSON_STRING) {
        bytes = v->len + 1;
    } else if (v->type == JSON_ARRAY) {
        bytes = array_bytes(v->len * sizeof(*v->items));
        for (size_t i = 0; i < v->len; i++)
            bytes += content_bytes(&v->items[i]);
    } else if (v->type == JSON_OBJECT) {
        bytes = array_bytes(v->len * sizeof(*v->members));
        for (size_t i = 0; i < v->len; i++)
            bytes +=
                (json_name_is_shared(v->members[i].name) ? 0 : strlen(v->members[i].name) + 1) +
                content_bytes(&v->members[i].value);
    }
    return bytes;
}

size_t json_size_bytes(const struct json *v)
{
    return sizeof(*v) + content_bytes(v);
}

/* ---- changing ---- */

#define ROOM_FIRST 2 /* 4 children */

/* Makes room for one child more; arrays that grow double, so that appending is cheap. */
static void *with_room(struct arena *a, struct json *v, void *children, size_t child_bytes)
{
    size_t room = v->room ? (size_t)1 << v->room : v->len;
    if (v->len < room)
        return children;
    uint8_t exponent = ROOM_FIRST;
    while ((size_t)1 << exponent <= v->len)
        exponent++;
    ensure(exponent < 32);
    void *moved = arena_alloc(a, child_bytes << exponent);
    if (v->len)
        memcpy(moved, children, v->len * child_bytes);
    v->room = exponent;
    return moved;
}

struct json *json_add(struct arena *a, struct json *object, const char *name, struct json value)
{
    if (object->type == JSON_NULL) /* what json_make() has just made */
        *object = (struct json){ .type = JSON_OBJECT };
    object->members = with_room(a, object, object->members, sizeof(*object->members));
    struct json_member *m = &object->members[object->len++];
    *m = (struct json_member){ name, value };
    return &m->value;
}

struct json *json_set(struct arena *a, struct json *object, const char *name, struct json value)
{
    struct json *v = member(object, bytes_of(name));
    if (!v)
        return json_add(a, object, arena_strdup(a, name), value);
    *v = value;
    return v;
}

struct json *json_set_static(struct arena *a, struct json *object, const char *name,
                             struct json value)
{
    struct json *v = member(object, bytes_of(name));
    if (!v)
        return json_add(a, object, name, value);
    *v = value;
    return v;
}

bool json_remove(struct json *object, const char *name)
{
    struct json *v = member(object, bytes_of(name));
    if (!v)
        return false;
    struct json_member *m = (struct json_member *)((char *)v - offsetof(struct json_member, value));
    size_t behind = (size_t)(object->members + object->len - (m + 1));
    memmove(m, m + 1, behind * sizeof(*m));
    object->len--;
    return true;
}

struct json *json_append(struct arena *a, struct json *array, struct json value)
{
    array->items = with_room(a, array, array->items, sizeof(*array->items));
    struct json *v = &array->items[array->len++];
    *v = value;
    return v;
}

void json_remove_item(struct json *array, size_t index)
{
    ensure(index < array->len);
    memmove(&array->items[index], &array->items[index + 1],
            (array->len - index - 1) * sizeof(*array->items));
    array->len--;
}

struct json *json_make(struct arena *a, struct json *root, const char *path)
{
    struct json *v = root;
    struct bytes name;
    while (next_name(&path, &name)) {
        if (v->type != JSON_OBJECT)
            *v = (struct json){ .type = JSON_OBJECT };
        struct json *next = member(v, name);
        if (!next)
            next = json_add(a, v, arena_strndup(a, name.data, name.len),
                            (struct json){ .type = JSON_NULL });
        v = next;
    }
    return v;
}

static struct json *make_typed(struct arena *a, struct json *root, const char *path,
                               enum json_type type)
{
    struct json *v = json_make(a, root, path);
    if (v->type != type)
        *v = (struct json){ .type = type };
    return v;
}

struct json *json_make_object(struct arena *a, struct json *root, const char *path)
{
    return make_typed(a, root, path, JSON_OBJECT);
}

struct json *json_make_array(struct arena *a, struct json *root, const char *path)
{
    return make_typed(a, root, path, JSON_ARRAY);
}

void json_put(struct arena *a, struct json *root, const char *path, struct json value)
{
    *json_make(a, root, path) = value;
}

void json_put_str(struct arena *a, struct json *root, const char *path, const char *s)
{
    json_put(a, root, path, json_string_value(a, s));
}

void json_put_int(struct arena *a, struct json *root, const char *path, int64_t v)
{
    json_put(a, root, path, json_int_value(v));
}

void json_put_bool(struct arena *a, struct json *root, const char *path, bool v)
{
    json_put(a, root, path, json_bool_value(v));
}

void json_drop(struct json *root, const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!dot) {
        json_remove(root, path);
        return;
    }
    struct json *v = root;
    struct bytes name;
    while (v && path <= dot && next_name(&path, &name))
        v = member(v, name);
    json_remove(v, dot + 1);
}
