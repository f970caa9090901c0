/* SPDX-License-Identifier: Apache-2.0 */
/* emit.c - writes the tables as C. */
#include "api/generator/model.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *out_open(const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out)
        fail((struct place){ path, 0 }, "%s", strerror(errno));
    fputs("/* SPDX-License-Identifier: Apache-2.0 */\n"
          "/* Made by api/generator from api/schema/. */\n",
          out);
    return out;
}

static void out_close(FILE *out, const char *path)
{
    bool is_bad = ferror(out);
    if (fclose(out) != 0 || is_bad)
        fail((struct place){ path, 0 }, "cannot be written");
}

static void emit_string(FILE *out, const char *s)
{
    if (!s) {
        fputs("NULL", out);
        return;
    }
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void emit_strings(FILE *out, const struct strings *list)
{
    if (!list->n) {
        fputs("NULL", out);
        return;
    }
    fputs("(const char *const[]){ ", out);
    for (size_t i = 0; i < list->n; i++) {
        emit_string(out, list->items[i]);
        fputs(", ", out);
    }
    fputs("NULL }", out);
}

/* ---- defaults ---- */

/* A default as a constant tree, where it is a scalar or empty; others are parsed when they are
 * used. */
static void emit_default_value(FILE *out, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    if (!text) {
        fputs("NULL", out);
    } else if (text[0] == '"') {
        fprintf(out, "&(const struct json){ .type = JSON_STRING, .len = %zu, .string = %s }",
                len - 2, text);
    } else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        fprintf(out, "&(const struct json){ .type = JSON_BOOL, .boolean = %s }", text);
    } else if (strcmp(text, "{}") == 0) {
        fputs("&(const struct json){ .type = JSON_OBJECT }", out);
    } else if (isdigit((unsigned char)text[0]) || text[0] == '-') {
        fprintf(out, "&(const struct json){ .type = JSON_INT, .integer = %s }", text);
    } else {
        fputs("NULL", out);
    }
}

static void emit_default_functions(FILE *out, const struct model *m)
{
    for (size_t i = 0; i < m->types_n; i++) {
        const char *name = m->types[i]->set_defaults;
        bool is_first = name;
        for (size_t k = 0; name && k < i; k++)
            is_first &= !m->types[k]->set_defaults || strcmp(m->types[k]->set_defaults, name) != 0;
        if (is_first)
            fprintf(out, "extern schema_defaults_fn schema_defaults_%s;\n", name);
    }
}

/* ---- names of fields ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t unique(const char **sorted, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(sorted[kept - 1], sorted[i]) != 0)
            sorted[kept++] = sorted[i];
    return kept;
}

/* Where each name begins in the text of all: "f:NAME" and a NUL each, sorted. */
struct names {
    const char **sorted;
    size_t *at;
    size_t n;
};

static struct names names_of(const struct model *m)
{
    struct names names = { .sorted = keep_alloc(m->fields_n * sizeof(char *)),
                           .at = keep_alloc(m->fields_n * sizeof(size_t)) };
    for (size_t i = 0; i < m->types_n; i++)
        for (size_t k = 0; k < m->types[i]->fields_n; k++)
            names.sorted[names.n++] = m->types[i]->fields[k].name;
    qsort(names.sorted, names.n, sizeof(*names.sorted), by_text);
    names.n = unique(names.sorted, names.n);
    for (size_t i = 0, at = 0; i < names.n; i++) {
        names.at[i] = at;
        at += strlen("f:") + strlen(names.sorted[i]) + 1;
    }
    return names;
}

static void emit_names(FILE *out, const struct names *names)
{
    fputs("const char schema_names[] =\n", out);
    for (size_t i = 0; i < names->n; i++)
        fprintf(out, "    \"f:%s\\0\"\n", names->sorted[i]);
    fputs("    ;\nconst size_t schema_names_bytes = sizeof(schema_names);\n\n", out);
}

static size_t name_at(const struct names *names, const char *name)
{
    const char **found = bsearch(&name, names->sorted, names->n, sizeof(*names->sorted), by_text);
    return names->at[found - names->sorted];
}

/* ---- fields ---- */

static void emit_field(FILE *out, const struct names *names, const struct field *f)
{
    size_t at = name_at(names, f->name);
    fprintf(out, "    { .child = schema_names + %zu, .name = schema_names + %zu", at, at + 2);
    fprintf(out, ", .type = &schema_types[%zu], .proto = %u, .flags = %u, .card = %d",
            f->type->index, f->proto, f->flags, f->card);
    fprintf(out, ", .list_type = %d, .list_map_keys = ", f->list_type);
    emit_strings(out, &f->list_map_keys);
    fputs(", .patch_merge_key = ", out);
    emit_string(out, f->patch_merge_key);
    fputs(", .default_json = ", out);
    emit_string(out, f->default_json);
    fputs(", .default_value = ", out);
    emit_default_value(out, f->default_json);
    if (f->type->is_enum)
        fprintf(out, ", .enum_values = enum_%zu", f->type->index);
    fputs(", .go_type = ", out);
    emit_string(out, f->go_type);
    fputs(",\n      .doc = ", out);
    emit_string(out, f->doc);
    fputs(" },\n", out);
}

static void emit_fields(FILE *out, const struct model *m)
{
    struct names names = names_of(m);
    emit_names(out, &names);
    for (size_t i = 0; i < m->types_n; i++)
        if (m->types[i]->is_enum) {
            fprintf(out, "static const char *const enum_%zu[] = { ", i);
            for (size_t k = 0; k < m->types[i]->values.n; k++) {
                emit_string(out, m->types[i]->values.items[k]);
                fputs(", ", out);
            }
            fputs("NULL };\n", out);
        }
    fprintf(out, "\nstatic const struct schema_field fields[%zu] = {\n", m->fields_n);
    for (size_t i = 0; i < m->types_n; i++)
        for (size_t k = 0; k < m->types[i]->fields_n; k++)
            emit_field(out, &names, &m->types[i]->fields[k]);
    fputs("};\n\n", out);
}

/* ---- slots: where a field is, by the hash of its name ---- */

static void slots_fill(unsigned *slots, size_t size, const struct type *t)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        if (f->flags & SCHEMA_INLINE) {
            slots_fill(slots, size, f->type);
            continue;
        }
        size_t at = schema_name_hash(f->name, strlen(f->name)) & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = (unsigned)(t->fields_at + i + 1);
    }
}

static void emit_slots(FILE *out, const struct model *m)
{
    fprintf(out, "static const uint16_t slots[%zu] = {\n", m->slots_n);
    for (size_t i = 0; i < m->types_n; i++) {
        const struct type *t = m->types[i];
        if (!t->slots_size)
            continue;
        unsigned *slots = keep_alloc(t->slots_size * sizeof(*slots));
        slots_fill(slots, t->slots_size, t);
        fputs("   ", out);
        for (size_t k = 0; k < t->slots_size; k++)
            fprintf(out, " %u,", slots[k]);
        fputc('\n', out);
    }
    fputs("};\n\n", out);
}

/* ---- types ---- */

static bool has_openapi_name(const struct type *t)
{
    return t->package && !t->is_enum &&
           (t->scalar == SCHEMA_OBJECT || t->scalar >= SCHEMA_QUANTITY) &&
           t->scalar != SCHEMA_STRINGS;
}

static void emit_type(FILE *out, const struct type *t)
{
    const struct package *p = t->package;
    const char *go_package = "";
    if (p) {
        const char *slash = strrchr(p->name, '/');
        go_package = slash ? slash + 1 : p->name;
    }
    fputs("    { .name = ", out);
    emit_string(out, has_openapi_name(t) ? keep_format("%s.%s", p->openapi, t->name) : "");
    fprintf(out, ", .go_name = \"%s\", .go_package = \"%s\", .scalar = %d", t->name, go_package,
            t->scalar);
    if (t->is_kind && p->group)
        fprintf(out, ", .group = \"%s\", .version = \"%s\"", p->group, p->version);
    if (t->fields_n)
        fprintf(out, ",\n      .fields = &fields[%zu], .fields_n = %zu", t->fields_at, t->fields_n);
    if (t->slots_size)
        fprintf(out, ", .slots = &slots[%zu], .slots_mask = %zu, .slots_base = fields", t->slots_at,
                t->slots_size - 1);
    fprintf(out, ",\n      .is_atomic = %d, .is_deprecated = %d, .has_defaults = %d", t->is_atomic,
            t->is_deprecated, t->has_defaults);
    fprintf(out, ", .has_empty_defaults = %d, .has_always = %d", t->has_empty_defaults,
            t->has_always);
    if (t->set_defaults)
        fprintf(out, ", .set_defaults = schema_defaults_%s", t->set_defaults);
    fputs(",\n      .doc = ", out);
    emit_string(out, t->doc);
    fputs(" },\n", out);
}

static void emit_types(FILE *out, const struct model *m)
{
    fprintf(out, "const struct schema_type schema_types[%zu] = {\n", m->types_n);
    for (size_t i = 0; i < m->types_n; i++)
        emit_type(out, m->types[i]);
    fprintf(out, "};\nconst size_t schema_types_n = %zu;\n\n", m->types_n);
}

/* ---- resources ---- */

static void emit_verbs(FILE *out, const struct strings *verbs)
{
    fputs("0", out);
    for (size_t i = 0; i < verbs->n; i++) {
        fputs(" | VERB_", out);
        for (const char *c = verbs->items[i]; *c; c++)
            fputc(toupper((unsigned char)*c), out);
    }
}

static void emit_subresources(FILE *out, const struct row *r)
{
    fprintf(out, "static const struct resource_subresource subresources_%zu[] = {\n", r->index);
    for (size_t i = 0; i < r->subresources_n; i++) {
        const struct subresource *s = &r->subresources[i];
        const struct package *p = s->kind->package;
        fprintf(out, "    { .name = \"%s\", .kind = \"%s\", .version = \"%s\"", s->name,
                s->kind->name, p->version);
        if (p != r->package)
            fprintf(out, ", .group = \"%s\"", p->group);
        if (s->has_body)
            fprintf(out, ", .type = &schema_types[%zu]", s->kind->index);
        fputs(", .verbs = ", out);
        emit_verbs(out, &s->verbs);
        fputs(" },\n", out);
    }
    fputs("};\n", out);
}

static void emit_columns(FILE *out, const struct row *r)
{
    fprintf(out, "static const struct resource_column columns_%zu[] = {\n", r->index);
    for (size_t i = 0; i < r->columns_n; i++) {
        const struct column *c = &r->columns[i];
        fprintf(out, "    { .name = \"%s\", .type = \"%s\", .format = \"%s\", .priority = %d",
                c->name, c->type, c->format, c->priority);
        fputs(", .description = ", out);
        emit_string(out, c->doc);
        fputs(" },\n", out);
    }
    fputs("};\n", out);
}

static bool has_verb(const struct row *r, const char *verb)
{
    for (size_t i = 0; i < r->verbs.n; i++)
        if (strcmp(r->verbs.items[i], verb) == 0)
            return true;
    return false;
}

static void emit_row(FILE *out, const struct row *r)
{
    fprintf(out,
            "    [%s] = {\n        .id = %s, .group = \"%s\", .version = \"%s\", .kind = \"%s\",\n",
            r->id, r->id, r->package->group, r->package->version, r->kind->name);
    fprintf(out, "        .list_kind = \"%sList\", .plural = \"%s\", .singular = \"%s\",\n",
            r->kind->name, r->plural, r->singular);
    fputs("        .short_names = ", out);
    emit_strings(out, &r->short_names);
    fputs(", .categories = ", out);
    emit_strings(out, &r->categories);
    fprintf(out, ",\n        .namespaced = %d, .is_stored = %d, .verbs = ", r->namespaced,
            has_verb(r, "create") && has_verb(r, "list"));
    emit_verbs(out, &r->verbs);
    if (r->subresources_n)
        fprintf(out, ",\n        .subresources = subresources_%zu, .subresources_n = %zu", r->index,
                r->subresources_n);
    if (r->columns_n)
        fprintf(out, ",\n        .columns = columns_%zu, .columns_n = %zu", r->index, r->columns_n);
    fprintf(out, ",\n        .type = &schema_types[%zu], .storage_version_hash = \"%s\"",
            r->kind->index, r->hash);
    fprintf(out, ", .storage = &resources[%s],\n        .field_labels = ", r->stored->id);
    emit_strings(out, &r->selectable);
    fputs("\n    },\n", out);
}

static void emit_rows(FILE *out, const struct model *m)
{
    for (size_t i = 0; i < m->rows_n; i++) {
        if (m->rows[i]->subresources_n)
            emit_subresources(out, m->rows[i]);
        if (m->rows[i]->columns_n)
            emit_columns(out, m->rows[i]);
    }
    fputs("\nconst struct resource resources[RESOURCES] = {\n", out);
    for (size_t i = 0; i < m->rows_n; i++)
        emit_row(out, m->rows[i]);
    fputs("};\n\nconst struct api_group_version api_group_versions[] = {\n", out);
    for (size_t i = 0; i < m->groups_n; i++)
        fprintf(out, "    { \"%s\", \"%s\", %s },\n", m->groups[i].group, m->groups[i].version,
                m->groups[i].is_preferred ? "true" : "false");
    fprintf(out, "};\nconst size_t api_group_versions_n = %zu;\n", m->groups_n);
}

void model_emit_tables(const struct model *m, const char *path)
{
    FILE *out = out_open(path);
    fputs("#include \"api/resource.h\"\n\n", out);
    emit_default_functions(out, m);
    emit_fields(out, m);
    emit_slots(out, m);
    emit_types(out, m);
    emit_rows(out, m);
    out_close(out, path);
}

void model_emit_resource_ids(const struct model *m, const char *path)
{
    FILE *out = out_open(path);
    fputs("#pragma once\n\nenum resource_id {\n", out);
    for (size_t i = 0; i < m->rows_n; i++)
        fprintf(out, "    %s,\n", m->rows[i]->id);
    fputs("    RESOURCES\n};\n", out);
    out_close(out, path);
}
