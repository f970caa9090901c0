/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - reads the declaration language of .api files (api/README.md describes it). */
#include "api/generator/model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 4096
#define WORDS_MAX      64

struct parser {
    struct model *model;
    struct place at;
    FILE *file;
    char line[LINE_BYTES_MAX];
    const char *words[WORDS_MAX];
    size_t words_n;
    const char *doc; /* what follows " | "; "" if nothing */
    bool is_indented;

    struct package *package; /* of the declarations that follow */
    /* What an indented line belongs to; at most one is set. */
    struct package *in_package;
    struct type *in_type;
    struct row *in_row;
};

static const struct {
    const char *name;
    enum schema_scalar scalar;
} scalar_names[] = {
    { "string", SCHEMA_STRING },
    { "bool", SCHEMA_BOOL },
    { "int32", SCHEMA_INT32 },
    { "int64", SCHEMA_INT64 },
    { "uint32", SCHEMA_UINT32 },
    { "double", SCHEMA_DOUBLE },
    { "bytes", SCHEMA_BYTES },
    { "quantity", SCHEMA_QUANTITY },
    { "int_or_string", SCHEMA_INT_OR_STRING },
    { "time", SCHEMA_TIME },
    { "micro_time", SCHEMA_MICRO_TIME },
    { "duration", SCHEMA_DURATION },
    { "raw", SCHEMA_RAW },
    { "strings", SCHEMA_STRINGS },
};

static const struct {
    const char *name;
    unsigned flag;
} flag_names[] = {
    { "required", SCHEMA_REQUIRED },
    { "omitempty", SCHEMA_OMITEMPTY },
    { "omitzero", SCHEMA_OMITZERO },
    { "merge", SCHEMA_PATCH_MERGE },
    { "retainKeys", SCHEMA_PATCH_RETAIN_KEYS },
    { "replace", SCHEMA_PATCH_REPLACE },
    { "atomic", SCHEMA_ATOMIC },
    { "granular", SCHEMA_GRANULAR },
    { "deprecated", SCHEMA_DEPRECATED },
    { "inline", SCHEMA_INLINE },
    { "nojson", SCHEMA_NO_JSON },
    { "emptyCounts", SCHEMA_EMPTY_COUNTS },
};

static const char *const verb_names[] = {
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
};

static void strings_add(struct strings *list, const char *s)
{
    list->items = keep_grow(list->items, list->n, sizeof(*list->items));
    list->items[list->n++] = s;
}

/* Splits "a,b,c". */
static void strings_split(struct strings *list, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, ",");
        strings_add(list, keep_copy(text, len));
        text += len + (text[len] == ',');
    }
}

/* The text after PREFIX in WORD, or NULL. */
static const char *after_prefix(const char *word, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(word, prefix, len) == 0 ? word + len : NULL;
}

static void need_words(struct parser *p, size_t min, size_t max)
{
    if (p->words_n < min)
        fail(p->at, "'%s' needs at least %zu words", p->words[0], min - 1);
    if (p->words_n > max)
        fail(p->at, "unexpected '%s'", p->words[max]);
}

/* ---- lines ---- */

static const char *word_take(struct parser *p, char **s)
{
    if (**s != '"') {
        size_t len = strcspn(*s, " \t");
        const char *word = keep_copy(*s, len);
        *s += len;
        return word;
    }
    char *end = strchr(*s + 1, '"');
    if (!end)
        fail(p->at, "missing closing quote");
    const char *word = keep_copy(*s + 1, (size_t)(end - *s - 1));
    *s = end + 1;
    return word;
}

/* The next line that says something, split into words and documentation. */
static bool line_next(struct parser *p)
{
    while (fgets(p->line, sizeof(p->line), p->file)) {
        p->at.line++;
        size_t len = strlen(p->line);
        if (len == 0 || p->line[len - 1] != '\n')
            fail(p->at, "line too long, or without an end");
        while (len && isspace((unsigned char)p->line[len - 1]))
            p->line[--len] = '\0';

        char *s = p->line + strspn(p->line, " \t");
        if (*s == '\0' || *s == '#')
            continue;
        p->is_indented = s != p->line;
        p->words_n = 0;
        p->doc = "";
        for (; *s; s += strspn(s, " \t")) {
            if (*s == '|') {
                s += 1 + strspn(s + 1, " \t");
                p->doc = keep_copy(s, strlen(s));
                break;
            }
            if (p->words_n == WORDS_MAX)
                fail(p->at, "more than %d words", WORDS_MAX);
            p->words[p->words_n++] = word_take(p, &s);
        }
        if (p->words_n == 0)
            fail(p->at, "documentation without a declaration");
        return true;
    }
    return false;
}

/* ---- what stands at the start of a line ---- */

static void parse_package(struct parser *p)
{
    need_words(p, 2, 2);
    struct package *package = keep_alloc(sizeof(*package));
    package->at = p->at;
    package->name = p->words[1];
    struct model *m = p->model;
    m->packages = keep_grow(m->packages, m->packages_n, sizeof(struct package *));
    m->packages[m->packages_n++] = package;
    p->package = p->in_package = package;
}

static void parse_group(struct parser *p)
{
    need_words(p, 3, 4);
    if (p->words_n == 4 && strcmp(p->words[3], "preferred") != 0)
        fail(p->at, "unexpected '%s'", p->words[3]);
    struct model *m = p->model;
    m->groups = keep_grow(m->groups, m->groups_n, sizeof(*m->groups));
    m->groups[m->groups_n++] =
        (struct group_version){ p->at, p->words[1], p->words[2], p->words_n == 4 };
}

static struct type *type_new(struct parser *p)
{
    if (!p->package)
        fail(p->at, "'%s' before any package", p->words[0]);
    if (p->words_n < 2)
        fail(p->at, "'%s' needs a name", p->words[0]);
    struct type *type = keep_alloc(sizeof(*type));
    type->at = p->at;
    type->package = p->package;
    type->name = p->words[1];
    type->doc = p->doc;
    struct model *m = p->model;
    m->types = keep_grow(m->types, m->types_n, sizeof(struct type *));
    m->types[m->types_n++] = type;
    p->in_type = type;
    return type;
}

static void parse_type(struct parser *p, bool is_kind)
{
    struct type *type = type_new(p);
    type->scalar = SCHEMA_OBJECT;
    type->is_kind = is_kind;
    for (size_t i = 2; i < p->words_n; i++) {
        const char *hook = after_prefix(p->words[i], "defaults=");
        if (hook)
            type->set_defaults = hook;
        else if (strcmp(p->words[i], "atomic") == 0)
            type->is_atomic = true;
        else if (strcmp(p->words[i], "deprecated") == 0)
            type->is_deprecated = true;
        else
            fail(p->at, "unknown type attribute '%s'", p->words[i]);
    }
}

static void parse_scalar(struct parser *p)
{
    need_words(p, 3, 3);
    struct type *type = type_new(p);
    for (size_t i = 0; i < sizeof(scalar_names) / sizeof(scalar_names[0]); i++)
        if (strcmp(p->words[2], scalar_names[i].name) == 0) {
            type->scalar = scalar_names[i].scalar;
            return;
        }
    fail(p->at, "unknown form '%s' of a scalar", p->words[2]);
}

static void parse_enum(struct parser *p)
{
    struct type *type = type_new(p);
    need_words(p, 2, 3);
    if (p->words_n == 3 && strcmp(p->words[2], "open") != 0)
        fail(p->at, "unexpected '%s'", p->words[2]);
    type->scalar = SCHEMA_STRING;
    type->is_enum = true;
    type->is_enum_open = p->words_n == 3;
}

static void parse_resource(struct parser *p)
{
    need_words(p, 2, 2);
    if (!p->package)
        fail(p->at, "'resource' before any package");
    struct row *row = keep_alloc(sizeof(*row));
    row->at = p->at;
    row->package = p->package;
    row->plural = p->words[1];
    row->hash = "";
    struct model *m = p->model;
    m->rows = keep_grow(m->rows, m->rows_n, sizeof(struct row *));
    m->rows[m->rows_n++] = row;
    p->in_row = row;
}

static void parse_declaration(struct parser *p)
{
    p->in_package = NULL;
    p->in_type = NULL;
    p->in_row = NULL;

    const char *word = p->words[0];
    if (strcmp(word, "package") == 0)
        parse_package(p);
    else if (strcmp(word, "group") == 0)
        parse_group(p);
    else if (strcmp(word, "type") == 0)
        parse_type(p, false);
    else if (strcmp(word, "kind") == 0)
        parse_type(p, true);
    else if (strcmp(word, "scalar") == 0)
        parse_scalar(p);
    else if (strcmp(word, "enum") == 0)
        parse_enum(p);
    else if (strcmp(word, "resource") == 0)
        parse_resource(p);
    else
        fail(p->at, "unknown declaration '%s'", word);
}

/* ---- what belongs to the declaration above ---- */

static void parse_package_line(struct parser *p)
{
    struct package *package = p->in_package;
    if (strcmp(p->words[0], "openapi") == 0) {
        need_words(p, 2, 2);
        package->openapi = p->words[1];
    } else if (strcmp(p->words[0], "group") == 0) {
        need_words(p, 3, 3);
        package->group = p->words[1];
        package->version = p->words[2];
    } else {
        fail(p->at, "unknown line '%s' of a package", p->words[0]);
    }
}

static void parse_field_type(struct field *f, const char *text)
{
    const char *rest;
    if ((rest = after_prefix(text, "[]"))) {
        f->card = SCHEMA_LIST;
    } else if ((rest = after_prefix(text, "map[string]"))) {
        f->card = SCHEMA_MAP;
    } else if ((rest = after_prefix(text, "*"))) {
        f->card = SCHEMA_SINGLE;
        f->flags |= SCHEMA_POINTER;
    } else {
        f->card = SCHEMA_SINGLE;
        rest = text;
    }
    f->type_name = rest;
}

static void parse_field_attribute(struct parser *p, struct field *f, const char *word)
{
    const char *value;
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
        if (strcmp(word, flag_names[i].name) == 0) {
            f->flags |= flag_names[i].flag;
            return;
        }
    if ((value = after_prefix(word, "merge="))) {
        f->flags |= SCHEMA_PATCH_MERGE;
        f->patch_merge_key = value;
    } else if ((value = after_prefix(word, "listmap="))) {
        f->list_type = SCHEMA_LIST_MAP;
        strings_split(&f->list_map_keys, value);
    } else if (strcmp(word, "set") == 0) {
        f->list_type = SCHEMA_LIST_SET;
    } else if ((value = after_prefix(word, "default="))) {
        f->default_json = value;
    } else if ((value = after_prefix(word, "as="))) {
        f->go_type = value;
    } else {
        fail(p->at, "unknown field attribute '%s'", word);
    }
}

static void parse_field(struct parser *p)
{
    struct type *type = p->in_type;
    need_words(p, 3, WORDS_MAX);
    struct field f = { .at = p->at, .name = p->words[1], .doc = p->doc };

    char *end;
    unsigned long proto = strtoul(p->words[0], &end, 10);
    if (*end || end == p->words[0] || proto > 65535)
        fail(p->at, "'%s' is not a field number", p->words[0]);
    f.proto = (unsigned)proto;
    parse_field_type(&f, p->words[2]);
    for (size_t i = 3; i < p->words_n; i++)
        parse_field_attribute(p, &f, p->words[i]);

    for (size_t i = 0; i < type->fields_n; i++) {
        if (strcmp(type->fields[i].name, f.name) == 0)
            fail(p->at, "field '%s' is declared twice", f.name);
        if (f.proto && type->fields[i].proto == f.proto)
            fail(p->at, "field number %u is taken by '%s'", f.proto, type->fields[i].name);
    }
    type->fields = keep_grow(type->fields, type->fields_n, sizeof(*type->fields));
    type->fields[type->fields_n++] = f;
}

static void parse_enum_values(struct parser *p)
{
    for (size_t i = 0; i < p->words_n; i++)
        strings_add(&p->in_type->values, p->words[i]);
}

static void parse_verbs(struct parser *p, size_t first, struct strings *verbs)
{
    for (size_t i = first; i < p->words_n; i++) {
        bool is_known = false;
        for (size_t k = 0; k < sizeof(verb_names) / sizeof(verb_names[0]); k++)
            is_known |= strcmp(p->words[i], verb_names[k]) == 0;
        if (!is_known)
            fail(p->at, "unknown verb '%s'", p->words[i]);
        strings_add(verbs, p->words[i]);
    }
}

static void parse_subresource(struct parser *p)
{
    need_words(p, 4, WORDS_MAX);
    bool bodiless = strcmp(p->words[3], "bodiless") == 0;
    struct row *row = p->in_row;
    row->subresources =
        keep_grow(row->subresources, row->subresources_n, sizeof(*row->subresources));
    struct subresource *s = &row->subresources[row->subresources_n++];
    *s = (struct subresource){
        .at = p->at,
        .name = p->words[1],
        .kind_name = p->words[2],
        .has_body = !bodiless,
    };
    parse_verbs(p, bodiless ? 4 : 3, &s->verbs);
}

static void parse_column(struct parser *p)
{
    need_words(p, 3, 5);
    struct column c = { .name = p->words[1], .type = p->words[2], .format = "", .doc = p->doc };
    for (size_t i = 3; i < p->words_n; i++) {
        if (strcmp(p->words[i], "name") == 0)
            c.format = "name";
        else if (strcmp(p->words[i], "wide") == 0)
            c.priority = 1;
        else
            fail(p->at, "unknown column attribute '%s'", p->words[i]);
    }
    struct row *row = p->in_row;
    row->columns = keep_grow(row->columns, row->columns_n, sizeof(*row->columns));
    row->columns[row->columns_n++] = c;
}

static void parse_row_line(struct parser *p)
{
    struct row *row = p->in_row;
    const char *word = p->words[0];
    struct strings *list = strcmp(word, "short") == 0        ? &row->short_names
                           : strcmp(word, "categories") == 0 ? &row->categories
                           : strcmp(word, "selectable") == 0 ? &row->selectable
                                                             : NULL;
    const char **text = strcmp(word, "kind") == 0       ? &row->kind_name
                        : strcmp(word, "singular") == 0 ? &row->singular
                        : strcmp(word, "hash") == 0     ? &row->hash
                                                        : NULL;
    if (list) {
        for (size_t i = 1; i < p->words_n; i++)
            strings_add(list, p->words[i]);
    } else if (text) {
        need_words(p, 2, 2);
        *text = p->words[1];
    } else if (strcmp(word, "verbs") == 0) {
        parse_verbs(p, 1, &row->verbs);
    } else if (strcmp(word, "subresource") == 0) {
        parse_subresource(p);
    } else if (strcmp(word, "column") == 0) {
        parse_column(p);
    } else if (strcmp(word, "stored_as") == 0) {
        need_words(p, 3, 3);
        row->stored_package = p->words[1];
        row->stored_plural = p->words[2];
    } else if (strcmp(word, "scope") == 0) {
        need_words(p, 2, 2);
        row->namespaced = strcmp(p->words[1], "namespaced") == 0;
        if (!row->namespaced && strcmp(p->words[1], "cluster") != 0)
            fail(p->at, "scope is 'namespaced' or 'cluster', not '%s'", p->words[1]);
    } else {
        fail(p->at, "unknown line '%s' of a resource", word);
    }
}

void model_parse(struct model *m, const char *path)
{
    struct parser p = { .model = m, .at = { .file = path } };
    p.file = fopen(path, "r");
    if (!p.file)
        fail(p.at, "cannot be opened");
    while (line_next(&p)) {
        if (!p.is_indented)
            parse_declaration(&p);
        else if (p.in_package)
            parse_package_line(&p);
        else if (p.in_type && p.in_type->is_enum)
            parse_enum_values(&p);
        else if (p.in_type)
            parse_field(&p);
        else if (p.in_row)
            parse_row_line(&p);
        else
            fail(p.at, "indented line that belongs to nothing");
    }
    fclose(p.file);
}
