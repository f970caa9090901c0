/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - resolves the names in the declarations and finds out what interpreters may skip. */
#include "api/generator/model.h"

#include <ctype.h>
#include <string.h>

static const struct place builtin = { "built in", 0 };

static const struct {
    const char *name;
    enum schema_scalar scalar;
} builtin_types[] = {
    { "string", SCHEMA_STRING }, { "bool", SCHEMA_BOOL },     { "int32", SCHEMA_INT32 },
    { "int64", SCHEMA_INT64 },   { "uint32", SCHEMA_UINT32 }, { "double", SCHEMA_DOUBLE },
    { "bytes", SCHEMA_BYTES },
};
#define BUILTIN_TYPES (sizeof(builtin_types) / sizeof(builtin_types[0]))

/* ---- types and fields ---- */

static void add_builtin_types(struct model *m)
{
    size_t n = BUILTIN_TYPES + m->types_n;
    struct type **types = keep_alloc(n * sizeof(struct type *));
    for (size_t i = 0; i < BUILTIN_TYPES; i++) {
        types[i] = keep_alloc(sizeof(struct type));
        *types[i] = (struct type){
            .at = builtin,
            .name = builtin_types[i].name,
            .doc = "",
            .scalar = builtin_types[i].scalar,
        };
    }
    if (m->types_n)
        memcpy(types + BUILTIN_TYPES, m->types, m->types_n * sizeof(struct type *));
    m->types = types;
    m->types_n = n;
}

static struct type *type_find(const struct model *m, const struct package *p, const char *name,
                              size_t package_len, const char *package_name)
{
    for (size_t i = 0; i < m->types_n; i++) {
        struct type *t = m->types[i];
        if (strcmp(t->name, name) != 0)
            continue;
        if (package_name ? t->package && strlen(t->package->name) == package_len &&
                               memcmp(t->package->name, package_name, package_len) == 0
                         : t->package == p)
            return t;
    }
    return NULL;
}

/* NAME as written in package P: "PodSpec", "string", "meta/v1.Time". */
static struct type *type_resolve(const struct model *m, const struct package *p, const char *name,
                                 struct place at)
{
    const char *dot = strrchr(name, '.');
    struct type *t = dot ? type_find(m, NULL, dot + 1, (size_t)(dot - name), name)
                         : type_find(m, p, name, 0, NULL);
    if (!t && !dot)
        t = type_find(m, NULL, name, 0, NULL);
    if (!t)
        fail(at, "unknown type '%s'", name);
    return t;
}

/* A top-level kind names itself in JSON; in protobuf the envelope does. */
static void add_kind_fields(struct type *t)
{
    const struct field own[] = {
        { .at = t->at,
          .name = "kind",
          .type_name = "string",
          .flags = SCHEMA_OMITEMPTY,
          .doc = "Name of the kind that this object is, in CamelCase." },
        { .at = t->at,
          .name = "apiVersion",
          .type_name = "string",
          .flags = SCHEMA_OMITEMPTY,
          .doc = "Group and version of the schema that this object follows." },
    };
    struct field *fields = keep_alloc((t->fields_n + 2) * sizeof(*fields));
    memcpy(fields, own, sizeof(own));
    if (t->fields_n)
        memcpy(fields + 2, t->fields, t->fields_n * sizeof(*fields));
    t->fields = fields;
    t->fields_n += 2;
}

/* Whether Go's encoder writes the field even when nothing is in it: omitempty has no effect on what
 * is a struct in Go. */
static bool is_always_written(const struct field *f)
{
    if (f->flags & (SCHEMA_INLINE | SCHEMA_NO_JSON | SCHEMA_OMITZERO))
        return false;
    if (!(f->flags & SCHEMA_OMITEMPTY))
        return true;
    if (f->card != SCHEMA_SINGLE || f->flags & SCHEMA_POINTER)
        return false;
    switch (f->type->scalar) {
    case SCHEMA_OBJECT:
    case SCHEMA_QUANTITY:
    case SCHEMA_INT_OR_STRING:
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
    case SCHEMA_DURATION:
    case SCHEMA_RAW:
        return true;
    default:
        return false;
    }
}

/* Whether an object of T may have that field in JSON; looks through inlined types. */
static bool has_field(const struct type *t, const char *name)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        if (f->flags & SCHEMA_INLINE ? has_field(f->type, name) : strcmp(f->name, name) == 0)
            return true;
    }
    return false;
}

static void check_keys(const struct field *f)
{
    for (size_t k = 0; k < f->list_map_keys.n; k++)
        if (!has_field(f->type, f->list_map_keys.items[k]))
            fail(f->at, "'%s' has no field '%s'", f->type->name, f->list_map_keys.items[k]);
    if (f->patch_merge_key && !has_field(f->type, f->patch_merge_key))
        fail(f->at, "'%s' has no field '%s'", f->type->name, f->patch_merge_key);
}

static void link_fields(struct model *m)
{
    for (size_t i = 0; i < m->types_n; i++) {
        struct type *t = m->types[i];
        t->index = i;
        for (size_t k = 0; k < i; k++)
            if (m->types[k]->package == t->package && strcmp(m->types[k]->name, t->name) == 0)
                fail(t->at, "type '%s' is declared twice", t->name);
        if (t->is_kind)
            add_kind_fields(t);
    }
    for (size_t i = 0; i < m->types_n; i++) {
        struct type *t = m->types[i];
        t->fields_at = m->fields_n;
        m->fields_n += t->fields_n;
        for (size_t k = 0; k < t->fields_n; k++) {
            struct field *f = &t->fields[k];
            f->type = type_resolve(m, t->package, f->type_name, f->at);
            if (f->flags & SCHEMA_INLINE && f->type->scalar != SCHEMA_OBJECT)
                fail(f->at, "'%s' is no type with fields to take in", f->type->name);
            if (is_always_written(f))
                f->flags |= SCHEMA_ALWAYS;
            if (f->type->is_enum_open)
                f->flags |= SCHEMA_ENUM_OPEN;
        }
    }
    for (size_t i = 0; i < m->types_n; i++)
        for (size_t k = 0; k < m->types[i]->fields_n; k++)
            check_keys(&m->types[i]->fields[k]);
}

/* ---- what types have ---- */

/* A default that equals Go's zero value changes nothing where nil and zero are the same. */
static bool default_has_effect(const struct field *f)
{
    const char *text = f->default_json;
    if (!text)
        return false;
    return f->flags & SCHEMA_POINTER ||
           (strcmp(text, "\"\"") != 0 && strcmp(text, "0") != 0 && strcmp(text, "false") != 0);
}

static bool type_learn(struct type *t)
{
    bool has_defaults = t->set_defaults, has_empty_defaults = has_defaults, has_always = false;
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        bool is_default = default_has_effect(f);
        bool is_value = f->card == SCHEMA_SINGLE && !(f->flags & SCHEMA_POINTER);
        has_defaults |= is_default || f->type->has_defaults;
        has_empty_defaults |= is_default || (is_value && f->type->has_empty_defaults);
        has_always |= f->flags & SCHEMA_ALWAYS || f->type->has_always;
    }
    bool is_new = has_defaults != t->has_defaults || has_empty_defaults != t->has_empty_defaults ||
                  has_always != t->has_always;
    t->has_defaults = has_defaults;
    t->has_empty_defaults = has_empty_defaults;
    t->has_always = has_always;
    return is_new;
}

/* The fields an object of T may have in JSON, those of inlined types included. */
static size_t flat_fields_n(const struct type *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->fields_n; i++)
        n += t->fields[i].flags & SCHEMA_INLINE ? flat_fields_n(t->fields[i].type) : 1;
    return n;
}

static void learn_types(struct model *m)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < m->types_n; i++)
            again |= type_learn(m->types[i]);
    }
    for (size_t i = 0; i < m->types_n; i++) {
        struct type *t = m->types[i];
        size_t n = flat_fields_n(t);
        if (!n)
            continue;
        for (t->slots_size = 2; t->slots_size < n + n / 2; t->slots_size *= 2)
            ; /* at most two thirds full, so that a miss ends soon */
        t->slots_at = m->slots_n;
        m->slots_n += t->slots_size;
    }
}

/* ---- rows ---- */

static const char *upper(const char *s, size_t len)
{
    char *copy = keep_copy(s, len);
    for (char *c = copy; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

static struct row *row_find(const struct model *m, const char *package, const char *plural)
{
    for (size_t i = 0; i < m->rows_n; i++)
        if (strcmp(m->rows[i]->plural, plural) == 0 &&
            strcmp(m->rows[i]->package->name, package) == 0)
            return m->rows[i];
    return NULL;
}

static void link_row(const struct model *m, struct row *r)
{
    if (!r->kind_name || !r->singular || !r->verbs.n)
        fail(r->at, "resource '%s' needs kind, singular and verbs", r->plural);
    r->kind = type_resolve(m, r->package, r->kind_name, r->at);
    if (!r->kind->is_kind)
        fail(r->at, "'%s' is not a kind", r->kind_name);
    for (size_t i = 0; i < r->subresources_n; i++) {
        struct subresource *s = &r->subresources[i];
        s->kind = type_resolve(m, r->package, s->kind_name, s->at);
    }

    r->stored = r;
    const char *plural = upper(r->plural, strlen(r->plural));
    if (!r->stored_package) {
        r->id = keep_format("RESOURCE_%s", plural);
        return;
    }
    r->stored = row_find(m, r->stored_package, r->stored_plural);
    if (!r->stored)
        fail(r->at, "stored as unknown resource '%s %s'", r->stored_package, r->stored_plural);
    const char *group = r->package->group;
    r->id = keep_format("RESOURCE_%s_%s_%s", plural, upper(group, strcspn(group, ".")),
                        upper(r->package->version, strlen(r->package->version)));
}

static void order_rows(struct model *m)
{
    struct row **ordered = keep_alloc(m->rows_n * sizeof(struct row *));
    size_t n = 0;
    for (size_t g = 0; g < m->groups_n; g++)
        for (size_t i = 0; i < m->rows_n; i++) {
            const struct package *p = m->rows[i]->package;
            if (p->group && strcmp(p->group, m->groups[g].group) == 0 &&
                strcmp(p->version, m->groups[g].version) == 0) {
                m->rows[i]->index = n;
                ordered[n++] = m->rows[i];
            }
        }
    for (size_t i = 0; i < m->rows_n && n < m->rows_n; i++) {
        bool is_ordered = false;
        for (size_t k = 0; k < n; k++)
            is_ordered |= ordered[k] == m->rows[i];
        if (!is_ordered)
            fail(m->rows[i]->at, "group and version of '%s' are not among the served ones",
                 m->rows[i]->plural);
    }
    m->rows = ordered;
}

void model_link(struct model *m)
{
    for (size_t i = 0; i < m->packages_n; i++)
        if (!m->packages[i]->openapi)
            fail(m->packages[i]->at, "package '%s' needs openapi", m->packages[i]->name);
    add_builtin_types(m);
    link_fields(m);
    learn_types(m);
    for (size_t i = 0; i < m->rows_n; i++)
        link_row(m, m->rows[i]);
    for (size_t i = 0; i < m->rows_n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(m->rows[i]->id, m->rows[k]->id) == 0)
                fail(m->rows[i]->at, "%s is taken by %s:%d; say stored_as", m->rows[i]->id,
                     m->rows[k]->at.file, m->rows[k]->at.line);
    order_rows(m);
}
