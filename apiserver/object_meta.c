/* SPDX-License-Identifier: Apache-2.0 */
/* object_meta.c - metadata on create and update. */
#include "apiserver/object_meta.h"

#include "api/generated_name.h"
#include "api/object.h"
#include "apiserver/formats.h"
#include "apiserver/server.h"
#include "apiserver/uid.h"
#include "apiserver/validate.h"

#define GENERATED_PREFIX_MAX 58
#define GENERATED_SUFFIX     5

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
                                           "selfLink", "generation" };
    struct json *meta = metadata_of(d);
    if (!str_empty(json_str(meta, "resourceVersion", "")))
        return error_set(err, ERR_UNKNOWN,
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
    struct json *meta = metadata_of(d);
    const char *base = json_str(meta, "generateName", "");
    if (!*base || !str_empty(json_str(meta, "name", "")))
        return false;
    const char *suffix = generated_suffix(system_rng, GENERATED_SUFFIX, d->arena);
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
    if (!json_get(meta, "name"))
        json_put_str(d->arena, meta, "name", old->key.name);
    if (old->resource->namespaced)
        json_put_str(d->arena, meta, "namespace", old->key.ns);
    else
        json_remove(meta, "namespace");
}

/* ---- validation ---- */

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

static const struct place at_metadata = { .name = "metadata" };
static const struct place at_owners = { .parent = &at_metadata, .name = "ownerReferences" };
static const struct place at_finalizers = { .parent = &at_metadata, .name = "finalizers" };

static const char *(*const name_faults[])(const char *) = {
    [NAME_DNS_SUBDOMAIN] = dns_subdomain_fault,
    [NAME_DNS_LABEL] = dns_label_fault,
    [NAME_PATH_SEGMENT] = path_segment_fault,
};

/* NULL if PREFIX can start a name: letters will be added, so that it may end in a dash. */
static const char *prefix_fault(enum name_rule rule, const char *prefix)
{
    char name[SUBDOMAIN_BYTES_MAX + 2];
    size_t n = strlen(prefix);
    if (rule == NAME_PATH_SEGMENT || n > SUBDOMAIN_BYTES_MAX || prefix[n - 1] != '-')
        return name_faults[rule](prefix);
    snprintf(name, sizeof(name), "%.*sa", (int)n - 1, prefix);
    return name_faults[rule](name);
}

static void validate_name(const struct resource *r, const struct json *meta,
                          struct field_errors *errors)
{
    enum name_rule rule = rest_storage_of(r)->name;
    const char *name = json_str(meta, "name", "");
    const char *prefix = json_str(meta, "generateName", "");
    const char *fault = *prefix ? prefix_fault(rule, prefix) : NULL;
    if (fault)
        fail_field(errors, &at_metadata, "generateName", FIELD_INVALID,
                   json_get(meta, "generateName"), fault);
    if (!*name) {
        fail_field(errors, &at_metadata, "name", FIELD_REQUIRED, NULL,
                   "name or generateName is required");
        return;
    }
    fault = name_faults[rule](name);
    if (!fault)
        fault = path_segment_fault(name);
    if (fault)
        fail_field(errors, &at_metadata, "name", FIELD_INVALID, json_get(meta, "name"), fault);
}

/* Upstream names the field of an owner without saying which owner. */
static void validate_owners(const struct json *owners, struct field_errors *errors)
{
    static const char *const needed[] = { "apiVersion", "kind", "name", "uid" };
    const struct json *controller = NULL;
    json_each_item (owners, owner) {
        for (size_t f = 0; f < ARRAY_LEN(needed); f++) {
            const struct json *value = json_get(owner, needed[f]);
            if (str_empty(json_text(value)))
                fail_field(errors, &at_owners, needed[f], FIELD_INVALID,
                           value ? value : &empty_text,
                           f == 0 ? "version must not be empty" : "must not be empty");
        }
        if (str_equal(json_str(owner, "apiVersion", ""), "v1") &&
            str_equal(json_str(owner, "kind", ""), "Event"))
            fail(errors, &at_owners, FIELD_INVALID, owner,
                 "/v1, Kind=Event is disallowed from being an owner");
        if (!json_bool(owner, "controller", false))
            continue;
        if (controller) {
            char detail[512];
            snprintf(detail, sizeof(detail),
                     "Only one reference can have Controller set to true. Found \"true\" in "
                     "references for %.63s/%.120s and %.63s/%.120s",
                     json_str(controller, "kind", ""), json_str(controller, "name", ""),
                     json_str(owner, "kind", ""), json_str(owner, "name", ""));
            fail(errors, &at_owners, FIELD_INVALID, owners, detail);
        } else {
            controller = owner;
        }
    }
}

static void validate_finalizers(const struct resource *r, const struct json *finalizers,
                                struct field_errors *errors)
{
    static const char *const standard[] = { "kubernetes", "orphan", "foregroundDeletion" };
    size_t i = 0;
    json_each_item (finalizers, f) {
        const char *text = json_text(f) ? json_text(f) : "", *fault = label_key_fault(text);
        struct place p = place_item(&at_finalizers, i++);
        bool is_known = strchr(text, '/') != NULL || r->id >= RESOURCES;
        for (size_t s = 0; s < ARRAY_LEN(standard); s++)
            is_known |= str_equal(text, standard[s]);
        if (fault)
            fail(errors, &at_finalizers, FIELD_INVALID, f, fault);
        else if (!is_known)
            fail(errors, &p, FIELD_INVALID, f,
                 "name is neither a standard finalizer name nor is it fully qualified");
    }
    if (json_has_text(finalizers, "orphan") && json_has_text(finalizers, "foregroundDeletion"))
        fail(errors, &at_finalizers, FIELD_INVALID, finalizers,
             "finalizer orphan and foregroundDeletion cannot be both set");
}

void object_meta_validate(const struct resource *r, const struct json *doc,
                          struct field_errors *errors)
{
    const struct json *meta = json_get(doc, "metadata");
    const struct place labels = place_in(&at_metadata, "labels"),
                       annotations = place_in(&at_metadata, "annotations");
    validate_name(r, meta, errors);
    validate_labels(errors, &labels, json_get(meta, "labels"));
    validate_annotations(errors, &annotations, json_get(meta, "annotations"));
    validate_owners(json_get(meta, "ownerReferences"), errors);
    validate_finalizers(r, json_get(meta, "finalizers"), errors);
}

void object_meta_validate_update(const struct object *old, const struct json *doc,
                                 struct field_errors *errors)
{
    object_meta_validate(old->resource, doc, errors);
    if (!object_is_deleting(old))
        return;
    const struct json *was = json_get(object_metadata(old), "finalizers");
    json_each_item (json_at(doc, "metadata.finalizers"), f) {
        if (!json_has_text(was, json_text(f))) {
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
