/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_types.c - the schema tables as OpenAPI schemas. */
#include "apiserver/openapi_document.h"

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

const char *openapi_ref_prefix(enum openapi_version v)
{
    return v == OPENAPI_V2 ? "#/definitions/" : "#/components/schemas/";
}

void openapi_comma(struct buffer *out)
{
    char last = out->len ? out->data[out->len - 1] : '{';
    if (!strchr("{[:,", last))
        buffer_add_char(out, ',');
}

/* ---- which types ---- */

void openapi_types_init(struct openapi_types *t)
{
    t->used = xcalloc(schema_types_n, sizeof(bool));
}

void openapi_types_deinit(struct openapi_types *t)
{
    free(t->used);
    t->used = NULL;
}

static bool is_built_in(const struct schema_type *type)
{
    return type >= schema_types && type < schema_types + schema_types_n;
}

static void use_fields(struct openapi_types *t, const struct schema_type *type)
{
    for (size_t i = 0; i < type->fields_n; i++) {
        const struct schema_field *f = &type->fields[i];
        if (f->flags & SCHEMA_INLINE) /* its fields appear in the parent, it does not */
            use_fields(t, f->type);
        else if (!(f->flags & SCHEMA_NO_JSON))
            openapi_types_use(t, f->type);
    }
}

void openapi_types_use(struct openapi_types *t, const struct schema_type *type)
{
    if (!type || !is_built_in(type) || t->used[type - schema_types])
        return;
    t->used[type - schema_types] = true;
    use_fields(t, type);
}

const struct schema_type *openapi_meta_type(const char *name)
{
    scoped(str) char *full = xasprintf(META "%s", name);
    return schema_type_find(full);
}

const struct schema_type *openapi_list_type(const struct resource *r)
{
    if (!r->type)
        return NULL;
    scoped(str) char *name = xasprintf("%sList", r->type->name);
    return schema_type_find(name);
}

/* ---- one value ---- */

static void print_string_member(struct buffer *out, const char *name, const char *value)
{
    openapi_comma(out);
    buffer_printf(out, "\"%s\":", name);
    json_print_string(bytes_of(value), out);
}

static void print_raw_member(struct buffer *out, const char *name, const char *json)
{
    openapi_comma(out);
    buffer_printf(out, "\"%s\":%s", name, json);
}

/* Members that say what a scalar is; as a type of its own or in place. */
static void print_scalar(enum openapi_version v, const struct schema_type *type, struct buffer *out)
{
    static const char *const plain[] = {
        [SCHEMA_STRING] = "\"type\":\"string\"",
        [SCHEMA_BOOL] = "\"type\":\"boolean\"",
        [SCHEMA_INT32] = "\"format\":\"int32\",\"type\":\"integer\"",
        [SCHEMA_INT64] = "\"format\":\"int64\",\"type\":\"integer\"",
        [SCHEMA_UINT32] = "\"format\":\"int64\",\"type\":\"integer\"",
        [SCHEMA_DOUBLE] = "\"format\":\"double\",\"type\":\"number\"",
        [SCHEMA_BYTES] = "\"format\":\"byte\",\"type\":\"string\"",
        [SCHEMA_QUANTITY] = "\"type\":\"string\"",
        [SCHEMA_INT_OR_STRING] = "\"format\":\"int-or-string\",\"type\":\"string\"",
        [SCHEMA_TIME] = "\"format\":\"date-time\",\"type\":\"string\"",
        [SCHEMA_MICRO_TIME] = "\"format\":\"date-time\",\"type\":\"string\"",
        [SCHEMA_DURATION] = "\"type\":\"string\"",
        [SCHEMA_STRINGS] = "\"items\":{\"type\":\"string\"},\"type\":\"array\"",
    };
    openapi_comma(out);
    if (v == OPENAPI_V3 && type->scalar == SCHEMA_QUANTITY)
        buffer_add_str(out, "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]");
    else if (v == OPENAPI_V3 && type->scalar == SCHEMA_INT_OR_STRING)
        buffer_add_str(out, "\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},"
                            "{\"type\":\"string\"}]");
    else if (type->scalar < ARRAY_LEN(plain) && plain[type->scalar])
        buffer_add_str(out, plain[type->scalar]);
}

/* Raw values are objects, except the two JSON types of apiextensions, which may be anything. */
static void print_raw(const struct schema_type *type, struct buffer *out)
{
    if (str_has_prefix(type->go_name, "JSON"))
        return;
    openapi_comma(out);
    buffer_add_str(out, "\"type\":\"object\"");
}

/* What one item is: in place, or a reference.  A reference that has siblings is wrapped in allOf in
 * v3, where siblings of $ref are not allowed. */
static void print_item(enum openapi_version v, const struct schema_type *type, bool has_siblings,
                       struct buffer *out)
{
    if (str_empty(type->name)) {
        if (type->scalar == SCHEMA_RAW || type->scalar == SCHEMA_OBJECT)
            print_raw(type, out);
        else
            print_scalar(v, type, out);
        return;
    }
    openapi_comma(out);
    const char *wrap = v == OPENAPI_V3 && has_siblings ? "\"allOf\":[{" : "";
    buffer_printf(out, "%s\"$ref\":\"%s%s\"%s", wrap, openapi_ref_prefix(v), type->name,
                  *wrap ? "}]" : "");
}

static void print_strings(struct buffer *out, const char *name, const char *const *list)
{
    openapi_comma(out);
    buffer_printf(out, "\"%s\":[", name);
    for (; *list; list++) {
        openapi_comma(out);
        json_print_string(bytes_of(*list), out);
    }
    buffer_add_char(out, ']');
}

static void print_list_extensions(const struct schema_field *f, struct buffer *out)
{
    static const char *const list_types[] = { "atomic", "set", "map" };
    print_string_member(out, "x-kubernetes-list-type", list_types[f->list_type]);
    if (f->list_map_keys)
        print_strings(out, "x-kubernetes-list-map-keys", f->list_map_keys);
}

static void print_extensions(const struct schema_field *f, struct buffer *out)
{
    if (f->card == SCHEMA_LIST)
        print_list_extensions(f, out);
    else if (f->flags & SCHEMA_ATOMIC)
        print_string_member(out, "x-kubernetes-map-type", "atomic");
    else if (f->flags & SCHEMA_GRANULAR)
        print_string_member(out, "x-kubernetes-map-type", "granular");
    if (f->patch_merge_key)
        print_string_member(out, "x-kubernetes-patch-merge-key", f->patch_merge_key);

    static const struct {
        unsigned flag;
        const char *name;
    } strategies[] = { { SCHEMA_PATCH_MERGE, "merge" },
                       { SCHEMA_PATCH_RETAIN_KEYS, "retainKeys" },
                       { SCHEMA_PATCH_REPLACE, "replace" } };
    char text[40] = "";
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        if (f->flags & strategies[i].flag) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof(text) - n, "%s%s", n ? "," : "", strategies[i].name);
        }
    if (*text)
        print_string_member(out, "x-kubernetes-patch-strategy", text);
}

static bool has_siblings(enum openapi_version v, const struct schema_field *f)
{
    unsigned mask = SCHEMA_ATOMIC | SCHEMA_GRANULAR | SCHEMA_PATCH_MERGE |
                    SCHEMA_PATCH_RETAIN_KEYS | SCHEMA_PATCH_REPLACE;
    return !str_empty(f->doc) || f->default_json || (v == OPENAPI_V3 && f->enum_values) ||
           (f->flags & mask);
}

static void print_field(enum openapi_version v, const struct schema_field *f, struct buffer *out)
{
    openapi_comma(out);
    json_print_string(bytes_of(f->name), out);
    buffer_add_str(out, ":{");
    if (!str_empty(f->doc))
        print_string_member(out, "description", f->doc);
    if (f->default_json)
        print_raw_member(out, "default", f->default_json);
    if (v == OPENAPI_V3 && f->enum_values && !(f->flags & SCHEMA_ENUM_OPEN) &&
        f->card == SCHEMA_SINGLE)
        print_strings(out, "enum", f->enum_values);
    if (f->card == SCHEMA_SINGLE) {
        print_item(v, f->type, has_siblings(v, f), out);
    } else {
        openapi_comma(out);
        buffer_add_str(out, f->card == SCHEMA_LIST
                                ? "\"type\":\"array\",\"items\":{"
                                : "\"type\":\"object\",\"additionalProperties\":{");
        print_item(v, f->type, false, out);
        buffer_add_char(out, '}');
    }
    print_extensions(f, out);
    buffer_add_char(out, '}');
}

/* ---- one type ---- */

static void print_fields(enum openapi_version v, const struct schema_type *type, struct buffer *out)
{
    for (size_t i = 0; i < type->fields_n; i++) {
        const struct schema_field *f = &type->fields[i];
        if (f->flags & SCHEMA_NO_JSON)
            continue;
        if (f->flags & SCHEMA_INLINE)
            print_fields(v, f->type, out);
        else
            print_field(v, f, out);
    }
}

static size_t print_required(const struct schema_type *type, size_t n, struct buffer *out)
{
    for (size_t i = 0; i < type->fields_n; i++) {
        const struct schema_field *f = &type->fields[i];
        if (f->flags & SCHEMA_INLINE)
            n = print_required(f->type, n, out);
        if ((f->flags & (SCHEMA_REQUIRED | SCHEMA_NO_JSON | SCHEMA_INLINE)) != SCHEMA_REQUIRED)
            continue;
        openapi_comma(out);
        if (n++ == 0)
            buffer_add_str(out, "\"required\":[");
        json_print_string(bytes_of(f->name), out);
    }
    return n;
}

static void print_kind(struct buffer *out, const char *group, const char *version, const char *kind)
{
    openapi_comma(out);
    buffer_printf(out, "{\"group\":\"%s\",\"kind\":\"%s\",\"version\":\"%s\"}", group, kind,
                  version);
}

/* DeleteOptions and WatchEvent are kinds of every group version, Status is one of the core group.
 */
static void print_kinds(const struct schema_type *type, struct buffer *out)
{
    bool is_status = strcmp(type->name, META "Status") == 0;
    bool is_everywhere = str_has_suffix(type->name, META "DeleteOptions") ||
                         str_has_suffix(type->name, META "WatchEvent");
    if (!is_everywhere && !is_status && !type->group)
        return;
    openapi_comma(out);
    buffer_add_str(out, "\"x-kubernetes-group-version-kind\":[");
    if (!is_everywhere)
        print_kind(out, is_status ? "" : type->group, is_status ? "v1" : type->version,
                   type->go_name);
    for (size_t i = 0; is_everywhere && i < api_group_versions_n; i++)
        print_kind(out, api_group_versions[i].group, api_group_versions[i].version, type->go_name);
    buffer_add_char(out, ']');
}

static void print_type(enum openapi_version v, const struct schema_type *type, struct buffer *out)
{
    openapi_comma(out);
    json_print_string(bytes_of(type->name), out);
    buffer_add_str(out, ":{");
    if (!str_empty(type->doc))
        print_string_member(out, "description", type->doc);
    if (type->scalar == SCHEMA_RAW) {
        print_raw(type, out);
    } else if (type->scalar != SCHEMA_OBJECT) {
        print_scalar(v, type, out);
    } else {
        openapi_comma(out);
        buffer_add_str(out, "\"type\":\"object\"");
        if (type->fields_n) {
            buffer_add_str(out, ",\"properties\":{");
            print_fields(v, type, out);
            buffer_add_char(out, '}');
        }
        if (print_required(type, 0, out))
            buffer_add_char(out, ']');
    }
    if (type->is_atomic)
        print_string_member(out, "x-kubernetes-map-type", "atomic");
    if (type->preserve_unknown)
        print_raw_member(out, "x-kubernetes-preserve-unknown-fields", "true");
    print_kinds(type, out);
    buffer_add_char(out, '}');
}

static int by_name(const void *a, const void *b)
{
    const struct schema_type *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

void openapi_print_types(enum openapi_version v, const struct openapi_types *t, struct buffer *out)
{
    scoped(mem) void *list = xcalloc(schema_types_n, sizeof(struct schema_type *));
    const struct schema_type **sorted = list;
    size_t n = 0;
    for (size_t i = 0; i < schema_types_n; i++)
        if (t->used[i] && !str_empty(schema_types[i].name))
            sorted[n++] = &schema_types[i];
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (size_t i = 0; i < n; i++)
        print_type(v, sorted[i], out);
}
