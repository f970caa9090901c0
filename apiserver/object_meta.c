/* SPDX-License-Identifier: Apache-2.0 */
/* object_meta.c - metadata on create and update. */
#include "apiserver/object_meta.h"

#include "api/object.h"
#include "apiserver/server.h"
#include "apiserver/uid.h"

#define GENERATED_PREFIX_MAX  58
#define GENERATED_SUFFIX      5
#define LABEL_BYTES_MAX       63
#define SUBDOMAIN_BYTES_MAX   253
#define ANNOTATIONS_BYTES_MAX (256 * 1024)

/* ---- create and update ---- */

static struct json *metadata_of(struct draft *d)
{
    return json_make(d->arena, d->doc, "metadata");
}

static int take_namespace(struct draft *d, struct json *meta, const char *ns, struct error *err)
{
    const char *said = json_str(meta, "namespace", "");
    if (!d->resource->namespaced) {
        json_remove(meta, "namespace");
        return 0;
    }
    if (!*ns)
        return error_set(err, ERR_BAD_REQUEST, "an empty namespace may not be set during creation");
    if (*said && strcmp(said, ns) != 0)
        return error_set(
            err, ERR_BAD_REQUEST,
            "the namespace of the provided object does not match the namespace sent on "
            "the request");
    if (!*said)
        json_put_str(d->arena, meta, "namespace", ns);
    return 0;
}

int object_meta_prepare_create(struct strategy_call *c, struct draft *d, struct error *err)
{
    static const char *const cleared[] = { "deletionTimestamp", "deletionGracePeriodSeconds",
                                           "selfLink", "managedFields", "generation" };
    struct json *meta = metadata_of(d);
    if (!str_empty(json_str(meta, "resourceVersion", "")))
        return error_set(err, ERR_INTERNAL,
                         "resourceVersion should not be set on objects to be created");
    if (take_namespace(d, meta, c->request->info.ns, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(cleared); i++)
        json_remove(meta, cleared[i]);
    char now[TIME_TEXT_BYTES];
    time_format(c->now_ns, now);
    json_put_str(d->arena, meta, "uid", uid_new(c->server->rng, c->arena));
    json_put_str(d->arena, meta, "creationTimestamp", now);
    return 0;
}

bool object_meta_generate_name(struct draft *d)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    struct json *meta = metadata_of(d);
    const char *base = json_str(meta, "generateName", "");
    if (!*base || !str_empty(json_str(meta, "name", "")))
        return false;
    char suffix[GENERATED_SUFFIX + 1];
    for (size_t i = 0; i < GENERATED_SUFFIX; i++)
        suffix[i] = alphabet[rng_below(system_rng, sizeof(alphabet) - 1)];
    suffix[GENERATED_SUFFIX] = '\0';
    json_put_str(d->arena, meta, "name",
                 arena_printf(d->arena, "%.*s%s", GENERATED_PREFIX_MAX, base, suffix));
    return true;
}

void object_meta_prepare_update(const struct object *old, struct draft *d)
{
    static const char *const kept[] = { "uid", "creationTimestamp", "deletionTimestamp",
                                        "generation", "generateName" };
    struct json *meta = metadata_of(d);
    const struct json *was = object_metadata(old);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *v = json_get(was, kept[i]);
        if (v)
            json_set_static(d->arena, meta, kept[i], json_clone_value(v, d->arena));
        else
            json_remove(meta, kept[i]);
    }
    const struct json *grace = json_get(was, "deletionGracePeriodSeconds");
    if (grace && !json_get(meta, "deletionGracePeriodSeconds"))
        json_set_static(d->arena, meta, "deletionGracePeriodSeconds", *grace);
    else if (!json_get(was, "deletionTimestamp"))
        json_remove(meta, "deletionGracePeriodSeconds");
    json_remove(meta, "selfLink");
    json_remove(meta, "managedFields");
    if (!json_get(meta, "name"))
        json_put_str(d->arena, meta, "name", old->key.name);
    if (old->resource->namespaced)
        json_put_str(d->arena, meta, "namespace", old->key.ns);
    else
        json_remove(meta, "namespace");
}

/* ---- validation ---- */

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_dns_label(const char *s, size_t n)
{
    if (n == 0 || !is_lower_alnum(s[0]) || !is_lower_alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_lower_alnum(s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool is_dns_subdomain(const char *s)
{
    for (;;) {
        const char *dot = strchr(s, '.');
        size_t n = dot ? (size_t)(dot - s) : strlen(s);
        if (!is_dns_label(s, n))
            return false;
        if (!dot)
            return true;
        s = dot + 1;
    }
}

/* The name part of a label key, and a label value: letters and digits at the ends, - _ . between.
 */
static bool is_qualified_name(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
            return false;
    return true;
}

#define SUBDOMAIN_MESSAGE                                                                          \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "   \
    "'.', "                                                                                        \
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "   \
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define LABEL_MESSAGE                                                                              \
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "   \
    "must "                                                                                        \
    "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for " \
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define LABEL_1035_MESSAGE                                                                         \
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "   \
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "           \
    "'abc-123', "                                                                                  \
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
#define QUALIFIED_MESSAGE                                                                          \
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "  \
    "with "                                                                                        \
    "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "      \
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define VALUE_MESSAGE                                                                              \
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "    \
    "'.', "                                                                                        \
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "  \
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

/* NULL if NAME is fine.  GENERATED: it is a prefix, to which letters will be added. */
static const char *name_fault(enum name_rule rule, const char *name, bool is_prefix)
{
    size_t n = strlen(name);
    bool may_end_in_dash = is_prefix && n > 0 && name[n - 1] == '-';
    char shortened[SUBDOMAIN_BYTES_MAX + 2];
    switch (rule) {
    case NAME_PATH_SEGMENT:
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            return name[1] ? "may not be '..'" : "may not be '.'";
        if (strchr(name, '/'))
            return "may not contain '/'";
        return strchr(name, '%') ? "may not contain '%'" : NULL;
    case NAME_DNS_LABEL:
    case NAME_DNS_1035_LABEL:
        if (n > LABEL_BYTES_MAX)
            return "must be no more than 63 characters";
        if (!is_dns_label(name, n - may_end_in_dash) ||
            (rule == NAME_DNS_1035_LABEL && !(name[0] >= 'a' && name[0] <= 'z')))
            return rule == NAME_DNS_LABEL ? LABEL_MESSAGE : LABEL_1035_MESSAGE;
        return NULL;
    case NAME_DNS_SUBDOMAIN:
        break;
    }
    if (n > SUBDOMAIN_BYTES_MAX)
        return "must be no more than 253 characters";
    snprintf(shortened, sizeof(shortened), "%.*s", (int)(n - may_end_in_dash), name);
    return is_dns_subdomain(shortened) ? NULL : SUBDOMAIN_MESSAGE;
}

static void validate_name(const struct resource *r, const struct json *meta,
                          struct field_errors *errors)
{
    enum name_rule rule = rest_storage_of(r)->name;
    const char *name = json_str(meta, "name", "");
    const char *prefix = json_str(meta, "generateName", "");
    const char *fault = *prefix ? name_fault(rule, prefix, true) : NULL;
    if (fault)
        field_error_add(errors, FIELD_INVALID, "metadata.generateName",
                        json_get(meta, "generateName"), fault);
    if (!*name) {
        field_error_add(errors, FIELD_REQUIRED, "metadata.name", NULL,
                        "name or generateName is required");
        return;
    }
    fault = name_fault(rule, name, false);
    if (fault)
        field_error_add(errors, FIELD_INVALID, "metadata.name", json_get(meta, "name"), fault);
}

/* NULL if KEY is a qualified name: [prefix/]name. */
static const char *key_fault(const char *key)
{
    const char *slash = strchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    char prefix[SUBDOMAIN_BYTES_MAX + 1];
    if (slash && strchr(name, '/'))
        return "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and "
               "must "
               "start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
               "'123-abc', regex used for validation is "
               "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') "
               "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
    if (slash && slash == key)
        return "prefix part must be non-empty";
    if (slash && slash - key > SUBDOMAIN_BYTES_MAX)
        return "prefix part must be no more than 253 characters";
    if (slash) {
        snprintf(prefix, sizeof(prefix), "%.*s", (int)(slash - key), key);
        if (!is_dns_subdomain(prefix))
            return "prefix part " SUBDOMAIN_MESSAGE;
    }
    if (!*name)
        return "name part must be non-empty";
    if (strlen(name) > LABEL_BYTES_MAX)
        return "name part must be no more than 63 characters";
    return is_qualified_name(name) ? NULL : QUALIFIED_MESSAGE;
}

static struct json text_value(const char *s)
{
    return (struct json){ .type = JSON_STRING, .len = (uint32_t)strlen(s), .string = s };
}

static void validate_labels(const struct json *labels, struct field_errors *errors)
{
    json_each_member (labels, m) {
        const char *fault = key_fault(m->name);
        struct json key = text_value(m->name);
        if (fault)
            field_error_add(errors, FIELD_INVALID, "metadata.labels", &key, fault);
        const char *value = json_text(&m->value);
        if (!value || !*value)
            continue;
        if (strlen(value) > LABEL_BYTES_MAX)
            field_error_add(errors, FIELD_INVALID, "metadata.labels", &m->value,
                            "must be no more than 63 bytes");
        else if (!is_qualified_name(value))
            field_error_add(errors, FIELD_INVALID, "metadata.labels", &m->value, VALUE_MESSAGE);
    }
}

static void validate_annotations(const struct json *annotations, struct field_errors *errors)
{
    size_t total = 0;
    json_each_member (annotations, m) {
        char lower[SUBDOMAIN_BYTES_MAX + LABEL_BYTES_MAX + 2];
        snprintf(lower, sizeof(lower), "%s", m->name);
        for (char *c = lower; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c - 'A' + 'a'); /* upstream lets the prefix be in upper case here */
        const char *fault = key_fault(lower);
        struct json key = text_value(m->name);
        if (fault)
            field_error_add(errors, FIELD_INVALID, "metadata.annotations", &key, fault);
        total += strlen(m->name) + m->value.len;
    }
    if (total > ANNOTATIONS_BYTES_MAX)
        field_error_add(errors, FIELD_TOO_LONG, "metadata.annotations", NULL,
                        "may not be more than 262144 bytes");
}

static void validate_owners(const struct json *owners, struct field_errors *errors)
{
    static const char *const needed[] = { "apiVersion", "kind", "name", "uid" };
    size_t i = 0, controllers = 0;
    json_each_item (owners, owner) {
        for (size_t f = 0; f < ARRAY_LEN(needed); f++) {
            char path[96];
            snprintf(path, sizeof(path), "metadata.ownerReferences[%zu].%s", i, needed[f]);
            if (str_empty(json_str(owner, needed[f], "")))
                field_error_add(errors, FIELD_INVALID, path, json_get(owner, needed[f]),
                                "must not be empty");
        }
        controllers += json_bool(owner, "controller", false);
        i++;
    }
    if (controllers > 1)
        field_error_add(errors, FIELD_INVALID, "metadata.ownerReferences", owners,
                        "Only one reference can have Controller set to true");
}

static void validate_finalizers(const struct json *finalizers, struct field_errors *errors)
{
    size_t i = 0;
    json_each_item (finalizers, f) {
        char path[64];
        snprintf(path, sizeof(path), "metadata.finalizers[%zu]", i++);
        const char *fault = key_fault(json_text(f) ? json_text(f) : "");
        if (fault)
            field_error_add(errors, FIELD_INVALID, path, f, fault);
    }
}

void object_meta_validate(const struct resource *r, const struct json *doc,
                          struct field_errors *errors)
{
    const struct json *meta = json_get(doc, "metadata");
    validate_name(r, meta, errors);
    validate_labels(json_get(meta, "labels"), errors);
    validate_annotations(json_get(meta, "annotations"), errors);
    validate_owners(json_get(meta, "ownerReferences"), errors);
    validate_finalizers(json_get(meta, "finalizers"), errors);
}

static bool has_item(const struct json *array, const char *s)
{
    json_each_item (array, it) {
        if (str_equal(json_text(it), s))
            return true;
    }
    return false;
}

void object_meta_validate_update(const struct object *old, const struct json *doc,
                                 struct field_errors *errors)
{
    object_meta_validate(old->resource, doc, errors);
    if (!object_is_deleting(old))
        return;
    const struct json *was = json_get(object_metadata(old), "finalizers");
    json_each_item (json_at(doc, "metadata.finalizers"), f) {
        if (!has_item(was, json_text(f))) {
            char detail[512];
            snprintf(detail, sizeof(detail),
                     "no new finalizers can be added if the object is being deleted, found new "
                     "finalizers []string{\"%s\"}",
                     json_text(f) ? json_text(f) : "");
            field_error_add(errors, FIELD_FORBIDDEN, "metadata.finalizers", NULL, detail);
            return;
        }
    }
}
