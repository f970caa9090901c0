/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - failures as clients see them: metav1.Status and lists of field errors. */
#include "api/status.h"

#include "base/hashmap.h"

static const struct {
    const char *text;   /* how the message starts */
    const char *reason; /* of the cause */
    bool has_value;     /* the message tells the bad value */
} types[] = {
    // clang-format off
    [FIELD_REQUIRED]      = { "Required value",    "FieldValueRequired",     false },
    [FIELD_INVALID]       = { "Invalid value",     "FieldValueInvalid",      true },
    [FIELD_NOT_SUPPORTED] = { "Unsupported value", "FieldValueNotSupported", true },
    [FIELD_DUPLICATE]     = { "Duplicate value",   "FieldValueDuplicate",    true },
    [FIELD_FORBIDDEN]     = { "Forbidden",         "FieldValueForbidden",    false },
    [FIELD_NOT_FOUND]     = { "Not found",         "FieldValueNotFound",     true },
    [FIELD_TOO_LONG]      = { "Too long",          "FieldValueTooLong",      false },
    [FIELD_TOO_MANY]      = { "Too many",          "FieldValueTooMany",      true },
    [FIELD_TYPE_INVALID]  = { "Invalid value",     "FieldValueTypeInvalid",  true },
    [FIELD_INTERNAL]      = { "Internal error",    "InternalError",          false },
    // clang-format on
};

/* ---- field errors ---- */

/* A bad value as upstream prints it: text as Go's %q, everything else as JSON. */
static const char *print_value(struct arena *a, const struct json *value)
{
    if (!value)
        return "\"null\"";
    scoped(buffer) struct buffer text = { 0 };
    if (value->type == JSON_STRING)
        buffer_add_quoted(&text, (struct bytes){ value->string, value->len });
    else
        json_print(value, &text);
    return arena_strndup(a, text.data, text.len);
}

void field_error_add(struct field_errors *list, enum field_error_type type, const char *path,
                     const struct json *value, const char *detail)
{
    if (list->n == FIELD_ERRORS_MAX)
        return;
    list->items =
        arena_grow(list->arena, list->items, list->n, &list->capacity, sizeof(*list->items));
    list->items[list->n++] = (struct field_error){
        .type = type,
        .path = arena_strdup(list->arena, path),
        .value = types[type].has_value ? print_value(list->arena, value) : NULL,
        .detail = arena_strdup(list->arena, detail ? detail : ""),
    };
}

void field_error_not_supported(struct field_errors *list, const char *path,
                               const struct json *value, const char *const *supported)
{
    static const struct json empty = { .type = JSON_STRING, .string = "" };
    scoped(buffer) struct buffer detail = { 0 };
    buffer_add_str(&detail, "supported values: ");
    for (size_t i = 0; supported[i]; i++) {
        if (i)
            buffer_add_str(&detail, ", ");
        buffer_add_quoted(&detail, bytes_of(supported[i]));
    }
    field_error_add(list, FIELD_NOT_SUPPORTED, path, value ? value : &empty, detail.data);
}

/* `Invalid value: -1: must be greater than or equal to 0` */
static void add_body(struct buffer *out, const struct field_error *e)
{
    buffer_add_str(out, types[e->type].text);
    if (e->value)
        buffer_printf(out, ": %s", e->value);
    if (*e->detail)
        buffer_printf(out, ": %s", e->detail);
}

/* All errors as one text, each once: `a: Required value`, or `[a: Required value, b: ...]`. */
static void add_errors(struct buffer *out, const struct field_errors *errors)
{
    struct hashmap seen = { 0 };
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer all = { 0 };
    for (size_t i = 0; i < errors->n; i++) {
        scoped(buffer) struct buffer one = { 0 };
        buffer_printf(&one, "%s: ", errors->items[i].path);
        add_body(&one, &errors->items[i]);
        if (hashmap_get(&seen, buffer_bytes(&one)))
            continue;
        buffer_printf(&all, "%s%s", seen.n ? ", " : "", one.data);
        hashmap_put(&seen, arena_bytes(a, buffer_bytes(&one)), &seen);
    }
    if (seen.n > 1)
        buffer_printf(out, "[%s]", all.data);
    else
        buffer_add_bytes(out, buffer_bytes(&all));
    hashmap_deinit(&seen);
}

/* `Deployment.apps "x" is invalid: ...` */
static void add_invalid(struct buffer *out, const struct resource *r, const char *name,
                        const struct field_errors *errors)
{
    buffer_printf(out, "%s%s%s ", r->kind, *r->group ? "." : "", r->group);
    buffer_add_quoted(out, bytes_of(name));
    buffer_add_str(out, " is invalid");
    if (errors->n) {
        buffer_add_str(out, ": ");
        add_errors(out, errors);
    }
}

/* ---- errors in upstream's words ---- */

int status_invalid(struct error *err, const struct resource *r, const char *name,
                   const struct field_errors *errors)
{
    scoped(buffer) struct buffer text = { 0 };
    add_invalid(&text, r, name, errors);
    return error_set(err, ERR_INVALID, "%s", text.data);
}

/* BEFORE `pods "x"` AFTER */
static int about_object(struct error *err, enum error_code code, const struct resource *r,
                        const char *name, const char *before, const char *after)
{
    char qualified[320];
    scoped(buffer) struct buffer text = { 0 };
    buffer_printf(&text, "%s%s ", before, resource_qualified(r, qualified, sizeof(qualified)));
    buffer_add_quoted(&text, bytes_of(name));
    buffer_add_str(&text, after);
    return error_set(err, code, "%s", text.data);
}

int status_not_found(struct error *err, const struct resource *r, const char *name)
{
    return about_object(err, ERR_NOT_FOUND, r, name, "", " not found");
}

int status_already_exists(struct error *err, const struct resource *r, const char *name)
{
    return about_object(err, ERR_ALREADY_EXISTS, r, name, "", " already exists");
}

int status_conflict(struct error *err, const struct resource *r, const char *name)
{
    return about_object(err, ERR_CONFLICT, r, name, "Operation cannot be fulfilled on ",
                        ": the object has been modified; please apply your changes to the latest "
                        "version and try again");
}

/* ---- the Status document ---- */

static bool tells_object(enum error_code code)
{
    switch (code) {
    case ERR_FORBIDDEN:
    case ERR_NOT_FOUND:
    case ERR_METHOD_NOT_ALLOWED:
    case ERR_ALREADY_EXISTS:
    case ERR_CONFLICT:
    case ERR_INVALID:
    case ERR_TIMEOUT:
        return true;
    default:
        return false;
    }
}

static bool is_internal(enum error_code code)
{
    return code == ERR_INTERNAL || code == ERR_IO || code == ERR_CANCELED;
}

static void add_cause(struct json *details, const char *reason, const char *message,
                      const char *field, struct arena *a)
{
    struct json *causes = json_make_array(a, details, "causes");
    struct json *cause = json_append(a, causes, (struct json){ .type = JSON_OBJECT });
    json_put_str(a, cause, "reason", reason);
    json_put_str(a, cause, "message", message);
    if (*field)
        json_put_str(a, cause, "field", field);
}

static void add_field_errors(struct json *details, const struct field_errors *errors,
                             struct arena *a)
{
    for (size_t i = 0; i < errors->n; i++) {
        const struct field_error *e = &errors->items[i];
        scoped(buffer) struct buffer body = { 0 };
        add_body(&body, e);
        add_cause(details, types[e->type].reason, body.data, e->path, a);
    }
}

static const char *reason_of_body(const char *body)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_has_prefix(body, types[i].text))
            return types[i].reason;
    return NULL;
}

/* What is not a resource of ours (TokenRequest, PatchOptions) has no row and no list of field
 * errors: what it is and its one cause are read back from the message.  False if it is worded
 * otherwise.
 *
 *     TokenRequest.authentication.k8s.io "" is invalid: spec.x: Invalid value: 5: too short
 *     kind         group                 name           field   body
 */
static bool read_details(const char *message, struct json *out, struct arena *a)
{
    static const char says[] = "\" is invalid: ";
    const char *name = strstr(message, " \""), *end = strstr(message, says);
    if (!name || !end || end < name + 2)
        return false;
    const char *field = end + strlen(says), *colon = strstr(field, ": ");
    const char *reason = colon ? reason_of_body(colon + 2) : NULL;
    if (!reason)
        return false;
    const char *dot = memchr(message, '.', (size_t)(name - message));
    if (end > name + 2)
        json_put_str(a, out, "name", arena_strndup(a, name + 2, (size_t)(end - name - 2)));
    if (dot)
        json_put_str(a, out, "group", arena_strndup(a, dot + 1, (size_t)(name - dot - 1)));
    const char *kind_end = dot ? dot : name;
    if (kind_end > message)
        json_put_str(a, out, "kind", arena_strndup(a, message, (size_t)(kind_end - message)));
    add_cause(out, reason, colon + 2, arena_strndup(a, field, (size_t)(colon - field)), a);
    return true;
}

/* Upstream's controllers go by this cause to tell an end from a failure. */
static void tell_terminating(const char *message, struct json *details, struct arena *a)
{
    static const char before[] = "in namespace ", after[] = " because it is being terminated";
    const char *ns = strstr(message, before), *end = strstr(message, after);
    if (!ns || !end || end < ns + strlen(before))
        return;
    ns += strlen(before);
    add_cause(details, "NamespaceTerminating",
              arena_printf(a, "namespace %.*s is being terminated", (int)(end - ns), ns),
              "metadata.namespace", a);
}

static struct json make_details(const struct error *err, const struct status_details *d,
                                struct arena *a)
{
    struct json out = { .type = JSON_OBJECT };
    if (err->code == ERR_INVALID && (!d->field_errors || !d->field_errors->n) &&
        read_details(err->message, &out, a))
        return out;
    if (tells_object(err->code) && !d->causes_n) {
        if (!str_empty(d->name))
            json_put_str(a, &out, "name", d->name);
        if (d->resource && *d->resource->group)
            json_put_str(a, &out, "group", d->resource->group);
        if (d->resource) /* validation speaks of the kind, everything else of the resource */
            json_put_str(a, &out, "kind",
                         err->code == ERR_INVALID ? d->resource->kind : d->resource->plural);
        if (!str_empty(d->uid))
            json_put_str(a, &out, "uid", d->uid);
    }
    if (d->field_errors && d->field_errors->n)
        add_field_errors(&out, d->field_errors, a);
    for (size_t i = 0; i < d->causes_n; i++)
        add_cause(&out, d->causes[i].reason, d->causes[i].message, d->causes[i].field, a);
    if (err->code == ERR_FORBIDDEN)
        tell_terminating(err->message, &out, a);
    if (d->retry_after_s > 0)
        json_put_int(a, &out, "retryAfterSeconds", d->retry_after_s);
    return out;
}

/* The message in full: an error value has room for a part of a long list only. */
static const char *full_message(const struct error *err, const struct status_details *d,
                                struct arena *a)
{
    static const char internal[] = "Internal error occurred: ";
    if (d->message)
        return d->message;
    if (is_internal(err->code) && !str_has_prefix(err->message, internal))
        return arena_printf(a, "%s%s", internal, err->message);
    if (err->code != ERR_INVALID || !d->resource || !d->field_errors || !d->field_errors->n)
        return err->message;
    scoped(buffer) struct buffer text = { 0 };
    add_invalid(&text, d->resource, d->name, d->field_errors);
    return arena_strndup(a, text.data, text.len);
}

struct json *status_from_error(const struct error *err, const struct status_details *details,
                               struct arena *a)
{
    static const struct status_details nothing;
    if (!details)
        details = &nothing;
    struct json *s = json_new(a, JSON_OBJECT);
    json_put_str(a, s, "kind", "Status");
    json_put_str(a, s, "apiVersion", "v1");
    json_put(a, s, "metadata", (struct json){ .type = JSON_OBJECT });
    json_put_str(a, s, "status", "Failure");
    json_put_str(a, s, "message", full_message(err, details, a));
    if (*error_reason(err->code))
        json_put_str(a, s, "reason", error_reason(err->code));
    struct json d = make_details(err, details, a);
    if (is_internal(err->code)) { /* upstream repeats the bare message as a cause */
        json_put(a, &d, "causes", (struct json){ .type = JSON_ARRAY });
        struct json *cause =
            json_append(a, json_find(&d, "causes"), (struct json){ .type = JSON_OBJECT });
        json_put_str(a, cause, "message", err->message);
    }
    if (d.len || err->code == ERR_INVALID) /* kubectl shows the message only where there are some */
        json_put(a, s, "details", d);
    json_put_int(a, s, "code", error_http_status(err->code));
    return s;
}

int status_to_error(const struct json *status, int http_status, struct error *err)
{
    const char *message = json_str(status, "message", "");
    const char *reason = json_str(status, "reason", NULL);
    if (!str_equal(json_str(status, "kind", ""), "Status")) {
        message = "";
        reason = NULL;
    }
    enum error_code code = error_from_http(http_status, reason);
    if (code == ERR_NONE) /* the caller says it failed */
        code = ERR_INTERNAL;
    if (!*message)
        return error_set(err, code, "the server answered with HTTP status %d", http_status);
    return error_set(err, code, "%s", message);
}
