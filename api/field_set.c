/* SPDX-License-Identifier: Apache-2.0 */
/* field_set.c - sets of fields: order, algebra, reading and printing. */
#include "api/field_set.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/utf8.h"

static const char itself[] = ".";

static bool is_itself(const char *child)
{
    return child[0] == '.' && child[1] == '\0';
}

/* ---- the order of children ---- */

static int rank_of(const char *child)
{
    static const char order[] = ".fkvi";
    const char *at = strchr(order, child[0]);
    return at ? (int)(at - order) : (int)sizeof(order);
}

/* The next character of a JSON string, escapes undone; -1 at its closing quote. */
static int next_char(const char **p)
{
    static const char escaped[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    unsigned char c = (unsigned char)**p;
    if (c == '"' || c == '\0')
        return -1;
    *p += 1;
    if (c != '\\' || **p == '\0')
        return c;
    c = (unsigned char)*(*p)++;
    const char *at = strchr(escaped, c);
    if (at)
        return (unsigned char)meant[at - escaped];
    char digits[5] = "";
    for (int i = 0; i < 4 && **p && **p != '"'; i++)
        digits[i] = *(*p)++;
    return (int)strtol(digits, NULL, 16);
}

static int compare_strings(const char **p, const char **q)
{
    ++*p, ++*q; /* the opening quotes */
    for (;;) {
        int c = next_char(p), d = next_char(q);
        if (c != d)
            return c < d ? -1 : 1;
        if (c < 0)
            break;
    }
    *p += **p == '"', *q += **q == '"';
    return 0;
}

static int scalar_rank(const char *p)
{
    return *p == '"' ? 1 : *p == 't' || *p == 'f' ? 2 : *p == 'n' ? 3 : 0;
}

/* Numbers before strings before booleans, as upstream orders values. */
static int compare_scalars(const char **p, const char **q)
{
    int a = scalar_rank(*p), b = scalar_rank(*q);
    if (a != b)
        return a < b ? -1 : 1;
    if (a == 1)
        return compare_strings(p, q);
    size_t n = strcspn(*p, ",}"), m = strcspn(*q, ",}");
    double x = a == 0 ? strtod(*p, NULL) : **p, y = a == 0 ? strtod(*q, NULL) : **q;
    *p += n;
    *q += m;
    return x < y ? -1 : x > y;
}

/* {"name":value,...} of both, names sorted. */
static int compare_keys(const char *p, const char *q)
{
    while (*p && *q) {
        ++p, ++q; /* the brace or comma */
        if (*p != '"' || *q != '"')
            break;
        int rc = compare_strings(&p, &q);
        if (rc || *p != ':' || *q != ':')
            return rc;
        ++p, ++q;
        rc = compare_scalars(&p, &q);
        if (rc)
            return rc;
        if (*p != *q) /* one has more keys */
            return *p == '}' ? -1 : 1;
    }
    return 0;
}

int field_child_compare(const char *a, const char *b)
{
    if (a[0] == 'f' && b[0] == 'f') /* most are */
        return strcmp(a, b);
    int x = rank_of(a), y = rank_of(b);
    if (x != y)
        return x < y ? -1 : 1;
    int rc = strcmp(a, b);
    if (rc == 0 || !a[1] || !b[1])
        return rc;
    const char *p = a + 2, *q = b + 2;
    int meant = 0;
    if (a[0] == 'k')
        meant = compare_keys(p, q);
    else if (a[0] == 'v')
        meant = compare_scalars(&p, &q);
    else if (a[0] == 'i')
        meant = (strtol(p, NULL, 10) > strtol(q, NULL, 10)) ? 1 : -1;
    return meant ? meant : rc;
}

static int by_child(const void *a, const void *b)
{
    const struct json_member *x = a, *y = b;
    return field_child_compare(x->name, y->name);
}

#define INSERTION_SORT_MAX 16 /* most structs have fewer fields set, and most come in order */

void field_children_sort(struct json *set)
{
    struct json_member *m = set->members;
    if (set->len > INSERTION_SORT_MAX) {
        qsort(m, set->len, sizeof(*m), by_child);
        return;
    }
    for (size_t i = 1; i < set->len; i++) {
        struct json_member moved = m[i];
        size_t at = i;
        for (; at > 0 && field_child_compare(moved.name, m[at - 1].name) < 0; at--)
            m[at] = m[at - 1];
        m[at] = moved;
    }
}

/* ---- algebra ---- */

enum operation { UNION, INTERSECTION, DIFFERENCE, WITHOUT };

static bool has_itself(const struct json *set)
{
    return set->len == 0 || is_itself(set->members[0].name);
}

static const struct json_member *children_of(const struct json *set, size_t *n)
{
    size_t skipped = set->len > 0 && is_itself(set->members[0].name);
    *n = set->len - skipped;
    return skipped ? &set->members[1] : set->members;
}

static bool keeps_itself(enum operation op, bool in_a, bool in_b)
{
    switch (op) {
    case UNION:
        return in_a || in_b;
    case INTERSECTION:
        return in_a && in_b;
    case DIFFERENCE:
    case WITHOUT:
        break;
    }
    return in_a && !in_b;
}

static bool combine(enum operation op, const struct json *a, const struct json *b,
                    struct arena *arena, struct json *out);

static void add_child(enum operation op, const struct json_member *a, const struct json_member *b,
                      struct arena *arena, struct json *out)
{
    struct json child;
    if (combine(op, a ? &a->value : NULL, b ? &b->value : NULL, arena, &child))
        json_add(arena, out, a ? a->name : b->name, child);
}

/* False: nothing is left. */
static bool combine(enum operation op, const struct json *a, const struct json *b,
                    struct arena *arena, struct json *out)
{
    if (!a || !b) {
        const struct json *one = op == UNION && !a ? b : op == INTERSECTION ? NULL : a;
        if (one)
            *out = *one;
        return one;
    }
    *out = (struct json){ .type = JSON_OBJECT };
    bool in_a = has_itself(a), in_b = has_itself(b), is_in = keeps_itself(op, in_a, in_b);
    if (op == WITHOUT && in_b)
        return false;
    size_t n, m, i = 0, j = 0;
    const struct json_member *x = children_of(a, &n), *y = children_of(b, &m);
    if (is_in && n + m > 0)
        json_add(arena, out, itself, (struct json){ .type = JSON_OBJECT });
    while (i < n || j < m) {
        int rc = i == n ? 1 : j == m ? -1 : field_child_compare(x[i].name, y[j].name);
        const struct json_member *p = rc <= 0 ? &x[i++] : NULL, *q = rc >= 0 ? &y[j++] : NULL;
        add_child(op, p, q, arena, out);
    }
    if (is_in && out->len == 1) /* itself alone */
        out->len = 0;
    return is_in || out->len > 0;
}

static const struct json *combined(enum operation op, const struct json *a, const struct json *b,
                                   struct arena *arena)
{
    struct json out;
    return combine(op, a, b, arena, &out) ? arena_memdup(arena, &out, sizeof(out)) : NULL;
}

const struct json *field_set_union(const struct json *a, const struct json *b, struct arena *arena)
{
    return !a || !b ? (a ? a : b) : combined(UNION, a, b, arena);
}

const struct json *field_set_intersection(const struct json *a, const struct json *b,
                                          struct arena *arena)
{
    return combined(INTERSECTION, a, b, arena);
}

const struct json *field_set_difference(const struct json *a, const struct json *b,
                                        struct arena *arena)
{
    return !a || !b ? a : combined(DIFFERENCE, a, b, arena);
}

const struct json *field_set_without(const struct json *a, const struct json *b,
                                     struct arena *arena)
{
    return !a || !b ? a : combined(WITHOUT, a, b, arena);
}

/* ---- paths of fields ---- */

const char *field_child_of_name(const char *name, struct arena *arena)
{
    size_t n = strlen(name);
    char *child = arena_alloc(arena, n + sizeof("f:"));
    memcpy(child, "f:", 2);
    memcpy(child + 2, name, n + 1);
    return child;
}

static const struct json *set_of_path(const char *path, struct arena *arena)
{
    struct json *set = json_new(arena, JSON_OBJECT);
    struct json *at = set;
    while (*path) {
        size_t n = strcspn(path, ".");
        const char *child = arena_printf(arena, "f:%.*s", (int)n, path);
        at = json_add(arena, at, child, (struct json){ .type = JSON_OBJECT });
        path += n + (path[n] == '.');
    }
    return set;
}

const struct json *field_set_of_paths(const char *const *paths, struct arena *arena)
{
    const struct json *set = NULL;
    for (; *paths; paths++)
        set = field_set_union(set, set_of_path(*paths, arena), arena);
    return set;
}

static const struct json *child_named(const struct json *set, const char *name, size_t n)
{
    json_each_member (set, m) {
        if (m->name[0] == 'f' && strncmp(m->name + 2, name, n) == 0 && m->name[2 + n] == '\0')
            return &m->value;
    }
    return NULL;
}

bool field_set_has(const struct json *set, const char *path)
{
    while (set && *path) {
        size_t n = strcspn(path, ".");
        set = child_named(set, path, n);
        path += n + (path[n] == '.');
    }
    return set && has_itself(set);
}

/* ---- printing ---- */

static void print_text(const struct json *v, struct buffer *out)
{
    buffer_add_char(out, '"');
    for (size_t i = 0; i < v->len; i++) {
        unsigned char c = (unsigned char)v->string[i];
        if (c == '"' || c == '\\')
            buffer_add_char(out, '\\');
        if (c < ' ')
            buffer_printf(out, "\\u%04x", c);
        else
            buffer_add_char(out, (char)c);
    }
    buffer_add_char(out, '"');
}

void field_scalar_print(const struct json *v, struct buffer *out)
{
    if (v->type == JSON_STRING)
        print_text(v, out);
    else
        json_print(v, out);
}

/* A value as Go's %q writes strings. */
static void print_for_people(const struct json *v, struct buffer *out)
{
    if (v->type == JSON_STRING)
        buffer_add_quoted(out, (struct bytes){ v->string, v->len });
    else
        json_print(v, out);
}

static void print_key(const struct json *key, struct buffer *out)
{
    buffer_add_char(out, '[');
    bool is_first = true;
    json_each_member (key, m) {
        buffer_printf(out, "%s%s=", is_first ? "" : ",", m->name);
        print_for_people(&m->value, out);
        is_first = false;
    }
    buffer_add_char(out, ']');
}

void field_child_print(const char *child, struct buffer *out)
{
    const char *rest = child + 2;
    if (child[0] == 'f') {
        buffer_printf(out, ".%s", rest);
        return;
    }
    scoped(arena) struct arena *a = arena_new();
    struct error err;
    const struct json *v = json_parse(bytes_of(rest), a, NULL, &err);
    if (v && child[0] == 'k') {
        print_key(v, out);
        return;
    }
    buffer_add_str(out, child[0] == 'v' ? "[=" : "[");
    if (v)
        print_for_people(v, out);
    buffer_add_char(out, ']');
}

struct visit {
    void (*fn)(const char *path, void *arg);
    void *arg;
    struct buffer path;
};

/* The children that belong to the set come before what lies below any of them: upstream's order. */
static void visit_children(struct visit *v, const struct json *set)
{
    size_t n, before = v->path.len;
    const struct json_member *children = children_of(set, &n);
    for (int is_deep = 0; is_deep < 2; is_deep++) {
        for (size_t i = 0; i < n; i++) {
            const struct json *child = &children[i].value;
            if (is_deep ? child->len == 0 : !has_itself(child))
                continue;
            field_child_print(children[i].name, &v->path);
            if (is_deep)
                visit_children(v, child);
            else
                v->fn(v->path.data, v->arg);
            v->path.len = before;
        }
    }
}

void field_set_each(const struct json *set, void (*fn)(const char *path, void *arg), void *arg)
{
    struct visit v = { .fn = fn, .arg = arg };
    if (set)
        visit_children(&v, set);
    buffer_free(&v.path);
}

/* ---- reading what a client wrote ---- */

static int bad_child(const char *name, struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST, "invalid path element \"%.100s\"", name);
}

static bool is_scalar(const struct json *v)
{
    return v && v->type != JSON_ARRAY && v->type != JSON_OBJECT;
}

static int by_name(const void *a, const void *b)
{
    const struct json_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int print_keys(struct json *keys, struct buffer *out)
{
    if (!json_is(keys, JSON_OBJECT) || keys->len == 0)
        return -1;
    qsort(keys->members, keys->len, sizeof(*keys->members), by_name);
    for (size_t i = 0; i < keys->len; i++) {
        const struct json_member *m = &keys->members[i];
        const struct json name = { .type = JSON_STRING,
                                   .len = (uint32_t)strlen(m->name),
                                   .string = m->name };
        if (!is_scalar(&m->value))
            return -1;
        buffer_add_char(out, i ? ',' : '{');
        print_text(&name, out);
        buffer_add_char(out, ':');
        field_scalar_print(&m->value, out);
    }
    buffer_add_char(out, '}');
    return 0;
}

/* *OUT is NULL for a kind of child that nobody knows. */
static int read_child_name(const char *name, struct arena *arena, const char **out,
                           struct error *err)
{
    *out = NULL;
    if (!name[0] || name[1] != ':')
        return bad_child(name, err);
    if (!strchr("fkvi", name[0]))
        return 0;
    *out = name;
    if (name[0] == 'f')
        return 0;
    struct json *v = json_parse(bytes_of(name + 2), arena, NULL, err);
    scoped(buffer) struct buffer text = { 0 };
    buffer_printf(&text, "%c:", name[0]);
    if (!v || (name[0] == 'i' && v->type != JSON_INT) || (name[0] == 'v' && !is_scalar(v)))
        return bad_child(name, err);
    if (name[0] != 'k')
        field_scalar_print(v, &text);
    else if (print_keys(v, &text) < 0)
        return bad_child(name, err);
    *out = arena_strndup(arena, text.data, text.len);
    return 0;
}

static int read_set(const struct json *fields, bool is_root, struct arena *arena, struct json *out,
                    struct error *err);

static int read_child(const struct json_member *m, struct arena *arena, struct json *out,
                      struct error *err)
{
    const char *name;
    struct json child;
    if (read_child_name(m->name, arena, &name, err) < 0)
        return -1;
    if (!name)
        return 0;
    int rc = read_set(&m->value, false, arena, &child, err);
    if (rc > 0)
        json_add(arena, out, name, child);
    return rc;
}

/* Children that are the same once they are canonical become one. */
static void join_twins(struct json *set, struct arena *arena)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->len; i++) {
        struct json_member *m = &set->members[i];
        struct json both;
        if (kept > 0 && strcmp(set->members[kept - 1].name, m->name) == 0 &&
            combine(UNION, &set->members[kept - 1].value, &m->value, arena, &both))
            set->members[kept - 1].value = both;
        else
            set->members[kept++] = *m;
    }
    set->len = (uint32_t)kept;
}

/* 1: *OUT is what was read; 0: nothing is in it; -1. */
static int read_set(const struct json *fields, bool is_root, struct arena *arena, struct json *out,
                    struct error *err)
{
    *out = (struct json){ .type = JSON_OBJECT };
    bool is_in = !is_root && fields->len == 0;
    if (!json_is(fields, JSON_OBJECT))
        return error_set(err, ERR_BAD_REQUEST, "a set of fields must be an object");
    json_each_member (fields, m) {
        if (is_itself(m->name))
            is_in = !is_root;
        else if (read_child(m, arena, out, err) < 0)
            return -1;
    }
    field_children_sort(out);
    join_twins(out, arena);
    if (is_in && out->len > 0) {
        json_add(arena, out, itself, (struct json){ .type = JSON_OBJECT });
        field_children_sort(out);
    }
    return is_in || out->len > 0;
}

int field_set_read(const struct json *fields, struct arena *arena, const struct json **out,
                   struct error *err)
{
    *out = NULL;
    struct json set;
    if (!fields)
        return 0;
    int rc = read_set(fields, true, arena, &set, err);
    if (rc > 0)
        *out = arena_memdup(arena, &set, sizeof(set));
    return rc < 0 ? -1 : 0;
}
