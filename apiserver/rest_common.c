/* SPDX-License-Identifier: Apache-2.0 */
/* rest_common.c - bodies, options and answers that the verbs share. */
#include "api/protobuf.h"
#include "apiserver/conversion.h"
#include "apiserver/managed_writes.h"
#include "apiserver/rest.h"
#include "apiserver/watch_cache.h"
#include "base/yaml.h"

#define BODY_SUMMARY_BYTES 30 /* upstream shows as much of a body that it cannot read */

/* ---- options ---- */

/* `PatchOptions.meta.k8s.io "" is invalid: ...` */
static const char *options_kind(const struct request *r)
{
    switch (r->info.verb) {
    case REQUEST_CREATE:
        return "CreateOptions";
    case REQUEST_UPDATE:
        return "UpdateOptions";
    case REQUEST_PATCH:
        return "PatchOptions";
    default:
        return "DeleteOptions";
    }
}

static int parse_dry_run(struct request *r, bool *out, struct error *err)
{
    const char *v;
    for (size_t i = 0; (v = query_get(r->query, "dryRun", i, r->arena)); i++) {
        if (!*v)
            continue;
        if (strcmp(v, "All") != 0)
            return error_set(err, ERR_INVALID,
                             "%s.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: "
                             "[\"%s\"]: supported values: \"All\"",
                             options_kind(r), v);
        *out = true;
    }
    return 0;
}

int write_options_parse(struct request *r, struct write_options *out, struct error *err)
{
    *out =
        (struct write_options){ .field_manager = query_get(r->query, "fieldManager", 0, r->arena),
                                .field_validation = FIELD_VALIDATION_WARN };
    const char *force = query_get(r->query, "force", 0, r->arena);
    out->has_force = force;
    out->force = force && strcasecmp(force, "false") != 0 && strcmp(force, "0") != 0;
    if (managed_manager_check(out->field_manager, options_kind(r), err) < 0)
        return -1;
    const char *v = query_get(r->query, "fieldValidation", 0, r->arena);
    if (str_equal(v, "Strict"))
        out->field_validation = FIELD_VALIDATION_STRICT;
    else if (str_equal(v, "Ignore"))
        out->field_validation = FIELD_VALIDATION_IGNORE;
    else if (!str_empty(v) && !str_equal(v, "Warn"))
        return error_set(err, ERR_INVALID,
                         "%s.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: "
                         "\"%s\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                         options_kind(r), v);
    return parse_dry_run(r, &out->is_dry_run, err);
}

int patch_options_check(struct request *r, enum patch_type type, const struct write_options *o,
                        struct error *err)
{
    if (type == PATCH_APPLY && str_empty(o->field_manager))
        return error_set(err, ERR_INVALID,
                         "%s.meta.k8s.io \"\" is invalid: fieldManager: Required value: is "
                         "required for apply patch",
                         options_kind(r));
    if (type != PATCH_APPLY && o->has_force)
        return error_set(err, ERR_INVALID,
                         "%s.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified "
                         "for non-apply patch",
                         options_kind(r));
    return 0;
}

/* ---- outcomes ---- */

void outcome_deinit(struct outcome *o)
{
    object_unref(o->object);
    o->object = NULL;
}

void outcome_about(struct outcome *out, const struct request *r)
{
    out->details.resource = r->info.resource;
    out->details.name = r->info.name;
}

int outcome_invalid(struct outcome *out, const struct request *r, const char *name,
                    const struct field_errors *errors, struct error *err)
{
    out->details.resource = r->info.resource;
    out->details.name = name ? arena_strdup(r->arena, name) : "";
    out->details.field_errors = arena_memdup(r->arena, errors, sizeof(*errors));
    return status_invalid(err, r->info.resource, name, errors);
}

struct object_key request_key(const struct request *r)
{
    bool namespaced = r->info.resource && r->info.resource->namespaced;
    return (struct object_key){ namespaced ? r->info.ns : "", r->info.name };
}

struct object *rest_find(const struct request *r, const struct resource *resource,
                         const struct object_key *key, struct error *err)
{
    struct object *o;
    if (watch_cache_find(watch_cache_of(r->server, resource), key, &o, err) < 0)
        return NULL;
    if (!o)
        status_not_found(err, resource, key->name);
    return o;
}

/* ---- bodies ---- */

static bool has_media_type(struct bytes content_type, const char *type)
{
    size_t n = strlen(type);
    if (content_type.len < n || strncasecmp(content_type.data, type, n) != 0)
        return false;
    return content_type.len == n || content_type.data[n] == ';' || content_type.data[n] == ' ';
}

static bool is_protobuf(const struct body *body)
{
    return !body->doc && has_media_type(body->content_type, PROTOBUF_MEDIA_TYPE);
}

/* Any of the three forms; PROTOBUF needs to know the type. */
static int parse_any(const struct body *body, const struct schema_type *type, const char *kind,
                     struct arena *arena, struct json_duplicates *duplicates, struct json **out,
                     struct error *err)
{
    if (body->doc) {
        *out = json_clone(body->doc, arena);
    } else if (is_protobuf(body)) {
        *out = protobuf_decode(type, kind, body->text, arena, err);
    } else if (has_media_type(body->content_type, "application/yaml")) {
        struct bytes text = body->text;
        *out = NULL;
        if (yaml_next(&text, arena, out, err) >= 0 && !*out)
            *out = json_new(arena, JSON_OBJECT);
    } else {
        *out = json_parse(body->text, arena, duplicates, err);
    }
    return *out ? 0 : -1;
}

static int check_media_type(const struct body *body, struct error *err)
{
    if (body->doc || body->content_type.len == 0 || is_protobuf(body) ||
        has_media_type(body->content_type, "application/json") ||
        has_media_type(body->content_type, "application/yaml"))
        return 0;
    return error_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                     "the body of the request was in an unknown format - accepted media types "
                     "include: application/json, application/yaml, "
                     "application/vnd.kubernetes.protobuf");
}

static const char *summary(struct bytes text, struct arena *a)
{
    if (text.len == 0)
        return "";
    size_t shown = text.len < BODY_SUMMARY_BYTES ? text.len : BODY_SUMMARY_BYTES;
    const char *more = text.len > BODY_SUMMARY_BYTES ? " ..." : "";
    if (text.data[0] == '{')
        return arena_printf(a, "%.*s%s", (int)shown, text.data, more);
    char hex[2 * BODY_SUMMARY_BYTES + 1];
    for (size_t i = 0; i < shown; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)text.data[i]);
    return arena_printf(a, "%s%s", hex, more);
}

/* What the decoder says is wrong with a body, around the words that are in ERR. */
static int bad_body(struct request *r, const struct body *body, const struct json *tree,
                    const char *kind, struct error *err)
{
    const char *said = json_str(tree, "kind", "");
    const char *version = json_str(tree, "apiVersion", "");
    const char *slash = strrchr(version, '/');
    char *why = arena_strdup(r->arena, err->message);
    if (tree)
        return error_set(err, ERR_BAD_REQUEST, "%s in version \"%s\" cannot be handled as a %s: %s",
                         *said ? said : kind,
                         *version ? (slash ? slash + 1 : version) : r->info.version, kind, why);
    return error_set(err, ERR_BAD_REQUEST,
                     "the object provided is unrecognized (must be of type %s): couldn't get "
                     "version/kind; json parse error: %s (%s)",
                     kind, why, summary(body->text, r->arena));
}

static void add_warning(struct schema_warnings *w, struct arena *a, const char *text)
{
    w->items = arena_grow(a, w->items, w->n, &w->capacity, sizeof(*w->items));
    w->items[w->n++] = text;
}

/* Turns findings into a refusal or into warnings, as fieldValidation says. */
static int judge_findings(struct request *r, const struct schema_warnings *found,
                          enum field_validation validation, struct error *err)
{
    if (found->n == 0 || validation == FIELD_VALIDATION_IGNORE)
        return 0;
    if (validation == FIELD_VALIDATION_WARN) {
        for (size_t i = 0; i < found->n; i++)
            add_warning(&r->warnings, r->arena, arena_strdup(r->arena, found->items[i]));
        return 0;
    }
    struct buffer text = { 0 };
    for (size_t i = 0; i < found->n; i++)
        buffer_printf(&text, "%s%s", i ? ", " : "", found->items[i]);
    error_set(err, ERR_BAD_REQUEST, "strict decoding error: %s", text.data);
    buffer_free(&text);
    return -1;
}

/* The body's apiVersion and kind, if it says them, must be what the URL is for. */
static int check_type_meta(struct json *tree, const char *api_version, const char *kind,
                           struct error *err)
{
    if (!json_is(tree, JSON_OBJECT))
        return error_set(err, ERR_BAD_REQUEST,
                         "json: cannot unmarshal %s into Go value of type v1.%s",
                         json_is(tree, JSON_ARRAY)    ? "array"
                         : json_is(tree, JSON_STRING) ? "string"
                                                      : "number",
                         kind);
    const char *said = json_str(tree, "kind", "");
    if (*said && strcmp(said, kind) != 0) {
        /* Upstream names its own package of the group: core, apps, networking, ... */
        int group = strchr(api_version, '/') ? (int)strcspn(api_version, "./") : 0;
        return error_set(err, ERR_BAD_REQUEST,
                         "converting (v1.%s) to (%.*s.%s): unknown conversion", said,
                         group ? group : 4, group ? api_version : "core", kind);
    }
    const char *version = json_str(tree, "apiVersion", "");
    if (*version && strcmp(version, api_version) != 0)
        return error_set(err, ERR_CONFLICT, "%s", version); /* the caller words it */
    return 0;
}

static int decode_tree(struct request *r, const struct body *body, const struct schema_type *type,
                       const char *api_version, const char *kind, enum field_validation validation,
                       struct arena *arena, struct json **out, struct error *err)
{
    struct json_duplicates duplicates = { 0 };
    struct schema_warnings found = { 0 };
    bool checks = validation != FIELD_VALIDATION_IGNORE && !body->doc;
    if (check_media_type(body, err) < 0)
        return -1;
    if (parse_any(body, type, kind, arena, checks ? &duplicates : NULL, out, err) < 0)
        return err->code == ERR_UNSUPPORTED_MEDIA_TYPE ? -1 : bad_body(r, body, NULL, kind, err);
    if (check_type_meta(*out, api_version, kind, err) < 0) {
        if (err->code == ERR_CONFLICT)
            return error_set(err, ERR_BAD_REQUEST,
                             "the API version in the data (%s) does not match the expected API "
                             "version (%s)",
                             json_str(*out, "apiVersion", ""), api_version);
        return bad_body(r, body, *out, kind, err);
    }
    for (size_t i = 0; i < duplicates.n; i++)
        add_warning(&found, arena,
                    arena_printf(arena, "duplicate field \"%s\"", duplicates.paths[i]));
    if (schema_shape(type, *out, arena, checks ? &found : NULL, err) < 0)
        return bad_body(r, body, *out, kind, err);
    if (judge_findings(r, &found, validation, err) < 0)
        return bad_body(r, body, *out, kind, err);
    json_put_str(arena, *out, "apiVersion", api_version);
    json_put_str(arena, *out, "kind", kind);
    return 0;
}

int body_decode(struct request *r, const struct body *body, const struct resource *resource,
                const struct write_options *o, struct draft **out, struct error *err)
{
    char api_version[128];
    resource_api_version(resource, api_version, sizeof(api_version));
    /* A tree takes about twice its text; the text's strings are copied into it. */
    scoped(arena) struct arena *arena =
        body->doc ? managed_arena(body->doc, NULL) : arena_new_sized(3 * body->text.len + 4096);
    struct json *tree;
    if (decode_tree(r, body, resource->type, api_version, resource->kind, o->field_validation,
                    arena, &tree, err) < 0)
        return -1;
    if (!json_is(json_get(tree, "metadata"), JSON_OBJECT))
        json_set_static(arena, tree, "metadata", *json_new(arena, JSON_OBJECT));
    *out = draft_from_take(resource, take_ptr(&arena), tree);
    return 0;
}

int body_decode_document(struct request *r, const struct body *body, const struct schema_type *type,
                         const char *api_version, const char *kind, const struct write_options *o,
                         struct json **out, struct error *err)
{
    return decode_tree(r, body, type, api_version, kind, o->field_validation, r->arena, out, err);
}

int body_decode_options(struct request *r, const struct body *body, struct json **out,
                        struct error *err)
{
    static const char name[] = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    return parse_any(body, schema_type_find(name), "DeleteOptions", r->arena, NULL, out, err);
}

int body_check_names(const struct request *r, const struct draft *d, struct error *err)
{
    const char *name = json_str(d->doc, "metadata.name", "");
    const char *ns = json_str(d->doc, "metadata.namespace", "");
    if (!*name)
        return error_set(
            err, ERR_BAD_REQUEST,
            "the name of the object (%s based on URL) was undeterminable: name must be "
            "provided",
            r->info.name);
    if (strcmp(name, r->info.name) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the name of the object (%s) does not match the name on the URL (%s)",
                         name, r->info.name);
    if (r->info.resource->namespaced && *ns && strcmp(ns, r->info.ns) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the namespace of the object (%s) does not match the namespace on the "
                         "request (%s)",
                         ns, r->info.ns);
    return 0;
}

/* JSON is parsed as such, which is faster, unless it cannot be or has repeated keys: their lines
 * are known to the other parser. */
static int parse_config(const struct body *body, struct arena *a, struct json **out,
                        struct json_duplicates *repeated, struct error *err)
{
    struct json_duplicates duplicates = { 0 };
    struct bytes text = body->text;
    struct error ignored;
    *out = text.len && text.data[0] == '{' ? json_parse(text, a, &duplicates, &ignored) : NULL;
    if (*out && duplicates.n == 0)
        return 0;
    return yaml_next_lenient(&text, a, out, repeated, err) < 0 ? -1 : 0;
}

int body_parse_config(struct request *r, const struct body *body, struct json **out,
                      struct json_duplicates *repeated, struct error *err)
{
    static const char *const kinds[] = {
        [JSON_BOOL] = "bool",     [JSON_INT] = "number",  [JSON_DOUBLE] = "number",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object"
    };
    if (parse_config(body, r->arena, out, repeated, err) < 0) {
        const char *why = arena_strdup(r->arena, err->message);
        return error_set(err, ERR_BAD_REQUEST,
                         "error decoding YAML: error converting YAML to JSON: %s", why);
    }
    if (!*out)
        *out = json_new(r->arena, JSON_OBJECT);
    if ((*out)->type == JSON_OBJECT)
        return 0;
    return error_set(err, ERR_BAD_REQUEST,
                     "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: "
                     "cannot unmarshal %s into Go value of type map[string]interface {}",
                     kinds[(*out)->type]);
}

static int check_patch_shape(enum patch_type type, const struct json *patch, struct error *err)
{
    static const char *const kinds[] = {
        [JSON_BOOL] = "bool",     [JSON_INT] = "number",  [JSON_DOUBLE] = "number",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object"
    };
    if (patch->type == (type == PATCH_JSON ? JSON_ARRAY : JSON_OBJECT))
        return 0;
    return error_set(err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type %s",
                     kinds[patch->type],
                     type == PATCH_JSON ? "[]handlers.jsonPatchOp" : "map[string]interface {}");
}

int body_parse_patch(struct request *r, enum patch_type type, const struct body *body,
                     struct json **out, struct error *err)
{
    *out =
        body->doc ? json_clone(body->doc, r->arena) : json_parse(body->text, r->arena, NULL, err);
    if (json_is(*out, JSON_NULL)) /* Go decodes it to an empty map or slice */
        *out = json_new(r->arena, type == PATCH_JSON ? JSON_ARRAY : JSON_OBJECT);
    if (*out && check_patch_shape(type, *out, err) == 0)
        return 0;
    return type == PATCH_STRATEGIC ? -1 : error_wrap(err, "error decoding patch");
}
