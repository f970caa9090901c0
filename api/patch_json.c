/* SPDX-License-Identifier: Apache-2.0 */
/* patch_json.c - JSON Patch (RFC 6902). */
#include "api/patch.h"

#include "base/limits.h"

#define COPY_BYTES_MAX                                                                             \
    REQUEST_BODY_BYTES_MAX /* what "copy" may add in all, or ten could fill memory */

struct patcher {
    struct arena *arena;
    struct json root;
    size_t copied_bytes;
};

/* Where a pointer leads: the container that holds (or would hold) its last token. */
struct place {
    struct json *parent; /* NULL: the pointer is "", the whole document */
    const char *name;    /* of an object's member */
    size_t index;        /* of an array's item; its length for "-" */
    size_t depth;
};

static size_t depth_of(const struct json *v)
{
    size_t deepest = 0;
    if (v->type == JSON_ARRAY) {
        for (size_t i = 0; i < v->len; i++) {
            size_t d = depth_of(&v->items[i]);
            deepest = d > deepest ? d : deepest;
        }
    } else if (v->type == JSON_OBJECT) {
        for (size_t i = 0; i < v->len; i++) {
            size_t d = depth_of(&v->members[i].value);
            deepest = d > deepest ? d : deepest;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

/* ---- pointers (RFC 6901) ---- */

/* Takes "/token" off *POINTER, with ~1 and ~0 undone; NULL if it is malformed. */
static const char *next_token(const char **pointer, struct arena *a)
{
    if (**pointer != '/')
        return NULL;
    const char *p = *pointer + 1;
    char *out = arena_strdup(a, p);
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        if (*p != '~') {
            out[n++] = *p;
        } else if (p[1] == '0' || p[1] == '1') {
            out[n++] = *++p == '0' ? '~' : '/';
        } else {
            return NULL;
        }
    }
    out[n] = 0;
    *pointer = p;
    return out;
}

/* Digits without a leading zero, or "-" for the end. */
static bool parse_index(const char *token, const struct json *array, size_t *index)
{
    if (strcmp(token, "-") == 0) {
        *index = array->len;
        return true;
    }
    size_t n = strlen(token);
    if (n == 0 || n > 9 || (token[0] == '0' && n > 1) || strspn(token, "0123456789") != n)
        return false;
    *index = (size_t)atol(token);
    return *index <= array->len;
}

static struct json *child(const struct place *at)
{
    if (at->parent->type == JSON_OBJECT) {
        for (size_t i = 0; i < at->parent->len; i++)
            if (strcmp(at->parent->members[i].name, at->name) == 0)
                return &at->parent->members[i].value;
        return NULL;
    }
    return at->index < at->parent->len ? &at->parent->items[at->index] : NULL;
}

/* False if the way there does not exist; the last token need not. */
static bool find(struct patcher *p, const char *pointer, struct place *at)
{
    *at = (struct place){ 0 };
    struct json *v = &p->root;
    while (*pointer) {
        const char *token = next_token(&pointer, p->arena);
        if (!token || !v)
            return false;
        *at = (struct place){ .parent = v, .name = token, .depth = at->depth + 1 };
        if (v->type == JSON_ARRAY ? !parse_index(token, v, &at->index) : v->type != JSON_OBJECT)
            return false;
        v = child(at);
    }
    return true;
}

static struct json *value_at(struct patcher *p, const struct place *at)
{
    return at->parent ? child(at) : &p->root;
}

/* ---- operations ---- */

static bool put(struct patcher *p, const struct place *at, struct json value)
{
    if (at->depth + depth_of(&value) > JSON_DEPTH_MAX)
        return false;
    if (!at->parent) {
        p->root = value;
    } else if (at->parent->type == JSON_OBJECT) {
        json_set(p->arena, at->parent, at->name, value);
    } else {
        json_append(p->arena, at->parent, value);
        struct json *items = at->parent->items;
        memmove(&items[at->index + 1], &items[at->index],
                (at->parent->len - 1 - at->index) * sizeof(*items));
        items[at->index] = value;
    }
    return true;
}

static bool take(const struct place *at)
{
    if (!at->parent || !child(at))
        return false;
    if (at->parent->type == JSON_OBJECT)
        return json_remove(at->parent, at->name);
    json_remove_item(at->parent, at->index);
    return true;
}

static bool op_add(struct patcher *p, const char *path, const struct json *value)
{
    struct place at;
    return value && find(p, path, &at) && put(p, &at, json_clone_value(value, p->arena));
}

static bool op_remove(struct patcher *p, const char *path)
{
    struct place at;
    return find(p, path, &at) && take(&at);
}

static bool op_replace(struct patcher *p, const char *path, const struct json *value)
{
    struct place at;
    if (!value || !find(p, path, &at) || at.depth + depth_of(value) > JSON_DEPTH_MAX)
        return false;
    struct json *v = value_at(p, &at);
    if (!v)
        return false;
    *v = json_clone_value(value, p->arena);
    return true;
}

static bool op_move(struct patcher *p, const char *from, const char *path)
{
    size_t n = strlen(from);
    if (strncmp(from, path, n) == 0 && path[n] == '/')
        return false; /* a value cannot move into itself */
    struct place source, target;
    struct json *v = find(p, from, &source) ? value_at(p, &source) : NULL;
    if (!v)
        return false;
    if (strcmp(from, path) == 0)
        return true;
    struct json value = *v; /* the tree that it names stays where it is */
    return take(&source) && find(p, path, &target) && put(p, &target, value);
}

static bool op_copy(struct patcher *p, const char *from, const char *path)
{
    struct place source, target;
    const struct json *v = find(p, from, &source) ? value_at(p, &source) : NULL;
    if (!v)
        return false;
    p->copied_bytes += json_size_bytes(v);
    if (p->copied_bytes > COPY_BYTES_MAX)
        return false;
    struct json value = json_clone_value(v, p->arena);
    return find(p, path, &target) && put(p, &target, value);
}

static bool op_test(struct patcher *p, const char *path, const struct json *value)
{
    struct place at;
    return value && find(p, path, &at) && json_equal(value_at(p, &at), value);
}

static bool apply(struct patcher *p, const struct json *operation)
{
    const char *op = json_text(json_get(operation, "op"));
    const char *path = json_text(json_get(operation, "path"));
    const char *from = json_text(json_get(operation, "from"));
    const struct json *value = json_get(operation, "value");
    if (!op || !path)
        return false;
    if (strcmp(op, "add") == 0)
        return op_add(p, path, value);
    if (strcmp(op, "remove") == 0)
        return op_remove(p, path);
    if (strcmp(op, "replace") == 0)
        return op_replace(p, path, value);
    if (strcmp(op, "move") == 0)
        return from && op_move(p, from, path);
    if (strcmp(op, "copy") == 0)
        return from && op_copy(p, from, path);
    if (strcmp(op, "test") == 0)
        return op_test(p, path, value);
    return false;
}

static const char *type_name(const struct json *v)
{
    static const char *const names[] = { "null",   "bool",  "number", "number",
                                         "string", "array", "object" };
    return names[v->type];
}

struct json *patch_json(const struct json *doc, const struct json *patch, struct arena *a,
                        struct error *err)
{
    if (patch->type != JSON_ARRAY) {
        error_set(err, ERR_BAD_REQUEST,
                  "json: cannot unmarshal %s into Go value of type jsonpatch.Patch",
                  type_name(patch));
        return NULL;
    }
    if (patch->len > PATCH_OPERATIONS_MAX) {
        error_set(err, ERR_TOO_LARGE,
                  "Request entity is too large: The allowed maximum operations in a JSON patch is "
                  "%d, got %u",
                  PATCH_OPERATIONS_MAX, patch->len);
        return NULL;
    }
    struct patcher p = { .arena = a, .root = json_clone_value(doc, a) };
    json_each_item (patch, operation) {
        if (operation->type != JSON_OBJECT) {
            error_set(err, ERR_BAD_REQUEST,
                      "json: cannot unmarshal %s into Go value of type jsonpatch.Operation",
                      type_name(operation));
            return NULL;
        }
        if (!apply(&p, operation)) { /* upstream says no more than this */
            error_set(err, ERR_INVALID,
                      "the server rejected our request due to an error in our request");
            return NULL;
        }
    }
    return arena_memdup(a, &p.root, sizeof(p.root));
}
