/* SPDX-License-Identifier: Apache-2.0 */
/* rest_scale.c - autoscaling/v1 Scale: how many replicas, as a view of the object. */
#include "api/patch.h"
#include "api/selector.h"
#include "apiserver/managed_writes.h"
#include "apiserver/object_meta.h"
#include "apiserver/rest_apply.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/server.h"

#define SCALE_VERSION "autoscaling/v1"

static const char *selector_text(const struct object *o, struct arena *a)
{
    struct error err = { 0 };
    const struct json *selector = json_at(o->doc, "spec.selector");
    /* A replication controller's selector is a plain map, the others' a LabelSelector. */
    const struct selector *s = o->resource->id == RESOURCE_REPLICATIONCONTROLLERS
                                   ? selector_from_map(selector, a)
                                   : selector_from_json(selector, a, &err);
    if (!s || !selector)
        return "";
    struct buffer b = { 0 };
    selector_print(s, &b);
    const char *text = arena_strndup(a, b.data, b.len);
    buffer_free(&b);
    return text;
}

static struct json *scale_of(const struct object *o, struct arena *a)
{
    static const char *const metadata[] = { "name", "namespace", "uid", "resourceVersion",
                                            "creationTimestamp" };
    struct json *scale = json_new(a, JSON_OBJECT);
    json_put_str(a, scale, "kind", "Scale");
    json_put_str(a, scale, "apiVersion", SCALE_VERSION);
    struct json *meta = json_make(a, scale, "metadata");
    *meta = *json_new(a, JSON_OBJECT);
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++) {
        const struct json *v = json_get(object_metadata(o), metadata[i]);
        if (v)
            json_set_static(a, meta, metadata[i], *v);
    }
    json_put_int(a, scale, "spec.replicas", json_int(o->doc, "spec.replicas", 1));
    json_put_int(a, scale, "status.replicas", json_int(o->doc, "status.replicas", 0));
    json_put_str(a, scale, "status.selector", selector_text(o, a));
    return scale;
}

static void answer(struct request *r, struct outcome *out)
{
    /* The object lives on in its draft's copy: the answer's strings must outlive it. */
    out->doc = json_clone(scale_of(out->object, r->arena), r->arena);
    object_unref(out->object);
    out->object = NULL;
}

int scale_get(struct request *r, struct outcome *out, struct error *err)
{
    if (rest_get(r, &out->object, err) < 0)
        return -1;
    out->http_status = 200;
    answer(r, out);
    return 0;
}

static int validate_scale(struct request *r, const struct json *scale, struct outcome *out,
                          struct error *err)
{
    struct field_errors errors = { .arena = r->arena };
    const struct json *replicas = json_at(scale, "spec.replicas");
    if (json_int(scale, "spec.replicas", 0) < 0)
        field_error_add(&errors, FIELD_INVALID, "spec.replicas", replicas,
                        "must be greater than or equal to 0");
    if (errors.n == 0)
        return 0;
    out->details.name = r->info.name;
    out->details.field_errors = arena_memdup(r->arena, &errors, sizeof(errors));
    return error_set(
        err, ERR_INVALID,
        "Scale.autoscaling \"%s\" is invalid: spec.replicas: Invalid value: %lld: must "
        "be greater than or equal to 0",
        r->info.name, (long long)json_int(scale, "spec.replicas", 0));
}

/* OLD with what a scale says. */
static struct draft *scaled(const struct object *old, const struct json *scale)
{
    struct draft *d = object_edit(old);
    json_put_int(d->arena, d->doc, "spec.replicas", json_int(scale, "spec.replicas", 0));
    json_put_str(d->arena, d->doc, "metadata.resourceVersion",
                 json_str(scale, "metadata.resourceVersion", ""));
    const char *uid = json_str(scale, "metadata.uid", "");
    if (*uid)
        json_put_str(d->arena, d->doc, "metadata.uid", uid);
    return d;
}

/* 0: done; 1: OLD is not the newest; -1. */
static int write_draft(struct request *r, const struct object *old, struct draft *new_take,
                       const struct write_options *o, struct outcome *out, struct error *err)
{
    struct update_call call = { .request = r, .options = o, .subresource = "scale" };
    int rc = rest_update_object(&call, old, new_take, out, err);
    if (rc == 0)
        answer(r, out);
    return rc;
}

static int write_scale(struct request *r, const struct object *old, const struct json *scale,
                       const struct write_options *o, struct outcome *out, struct error *err)
{
    if (validate_scale(r, scale, out, err) < 0)
        return -1;
    return write_draft(r, old, scaled(old, scale), o, out, err);
}

static struct object *current(struct request *r, struct error *err)
{
    struct object_key key = request_key(r);
    return rest_find(r, r->info.resource, &key, err);
}

int scale_update(struct request *r, const struct body *body, const struct write_options *o,
                 struct outcome *out, struct error *err)
{
    struct json *scale;
    outcome_about(out, r);
    if (body_decode_document(r, body, r->info.sub->type, SCALE_VERSION, "Scale", o, &scale, err) <
        0)
        return -1;
    const char *name = json_str(scale, "metadata.name", r->info.name);
    if (strcmp(name, r->info.name) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the name of the object (%s) does not match the name on the URL (%s)",
                         name, r->info.name);
    bool has_revision = !str_empty(json_str(scale, "metadata.resourceVersion", ""));
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old = current(r, err);
        int rc = old ? write_scale(r, old, scale, o, out, err) : -1;
        if (rc <= 0)
            return rc;
        if (has_revision)
            break;
    }
    return status_conflict(err, r->info.resource, r->info.name);
}

static struct json *patched_scale(struct request *r, enum patch_type type, const struct json *scale,
                                  const struct json *patch, struct error *err)
{
    switch (type) {
    case PATCH_JSON:
        return patch_json(scale, patch, r->arena, err);
    case PATCH_STRATEGIC:
        return patch_strategic(r->info.sub->type, scale, patch, r->arena, err);
    case PATCH_MERGE:
    case PATCH_APPLY:
        break;
    }
    return patch_merge(scale, patch, r->arena);
}

int scale_patch(struct request *r, enum patch_type type, const struct body *body,
                const struct write_options *o, struct outcome *out, struct error *err)
{
    struct json *patch;
    outcome_about(out, r);
    if (body_parse_patch(r, type, body, &patch, err) < 0)
        return -1;
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old = current(r, err);
        if (!old)
            return -1;
        struct json *scale = json_clone(scale_of(old, r->arena), r->arena);
        scale = patched_scale(r, type, scale, patch, err);
        if (!scale || schema_shape(r->info.sub->type, scale, r->arena, NULL, err) < 0)
            return -1;
        int rc = write_scale(r, old, scale, o, out, err);
        if (rc <= 0)
            return rc;
    }
    return status_conflict(err, r->info.resource, r->info.name);
}

/* ---- apply ---- */

static const char *const replicas_path[] = { "spec.replicas", NULL };

/* Who owns the replicas of OLD, as entries of its scale. */
static void managers_of_scale(const struct managed_fields *parent, struct arena *a,
                              struct managed_fields *out)
{
    *out = (struct managed_fields){ 0 };
    for (size_t i = 0; i < parent->n; i++) {
        struct managed_entry e = parent->items[i];
        if (!field_set_has(e.fields, replicas_path[0]))
            continue;
        e.api_version = SCALE_VERSION;
        e.fields = field_set_of_paths(replicas_path, a);
        managed_fields_add(out, e, a);
    }
}

/* Whoever has lost the replicas of the scale loses them in the object, and the reverse.  An entry
 * that is new has no time, as upstream's have none. */
static void managers_of_parent(const struct managed_fields *scale, const char *api_version,
                               struct arena *a, struct managed_fields *parent)
{
    const struct json *replicas = field_set_of_paths(replicas_path, a);
    struct managed_fields rest = { 0 };
    for (size_t i = 0; i < scale->n; i++)
        if (field_set_has(scale->items[i].fields, replicas_path[0]))
            managed_fields_add(&rest, scale->items[i], a);
    for (size_t i = 0; i < parent->n; i++) {
        struct managed_entry *e = &parent->items[i], like = *e;
        like.api_version = SCALE_VERSION;
        struct managed_entry *still = managed_fields_find(&rest, &like);
        if (still)
            still->fields = NULL;
        else
            e->fields = field_set_difference(e->fields, replicas, a);
    }
    managed_fields_drop_empty(&rest);
    managed_fields_drop_empty(parent);
    for (size_t i = 0; i < rest.n; i++) {
        struct managed_entry e = rest.items[i];
        e.api_version = api_version;
        e.fields = replicas;
        e.time = NULL;
        managed_fields_add(parent, e, a);
    }
}

static int apply_once(struct request *r, const struct object *old, const struct json *config,
                      const struct json_duplicates *repeated, const struct write_options *o,
                      struct outcome *out, struct error *err)
{
    struct managed_versions versions;
    struct managed_fields parent, m;
    struct apply_result result;
    struct field_write w = managed_write(r, o->field_manager, "scale", &versions);
    const char *api_version = w.api_version;
    struct json *live = scale_of(old, r->arena), *nothing = json_new(r->arena, JSON_OBJECT);
    w.type = r->info.sub->type;
    w.api_version = SCALE_VERSION;
    schema_complete(w.type, nothing, r->arena);
    managed_fields_read(json_get(object_metadata(old), "managedFields"), NULL, r->arena, &parent);
    managers_of_scale(&parent, r->arena, &m);
    if (apply_config(&w, live, nothing, config, o->force, &m, &result, err) < 0)
        return -1;
    if (result.conflicts_n > 0)
        return apply_conflict(r, &result, out, err);
    if (apply_judge_repeated(r, o, repeated, err) < 0 ||
        validate_scale(r, result.doc, out, err) < 0)
        return -1;
    managers_of_parent(&m, api_version, r->arena, &parent);
    struct draft *d = scaled(old, result.doc);
    managed_put(d, managed_fields_json(&parent, d->arena));
    return write_draft(r, old, d, o, out, err);
}

int scale_apply(struct request *r, const struct body *body, const struct write_options *o,
                struct outcome *out, struct error *err)
{
    struct write_options options = *o;
    struct json_duplicates repeated = { 0 };
    struct json *config;
    outcome_about(out, r);
    options.is_apply = true;
    if (body_parse_config(r, body, &config, &repeated, err) < 0 ||
        apply_check(config, SCALE_VERSION, "Scale", err) < 0)
        return -1;
    const char *name = json_str(config, "metadata.name", r->info.name);
    if (strcmp(name, r->info.name) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the name of the object (%s) does not match the name on the URL (%s)",
                         name, r->info.name);
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old = current(r, err);
        int rc = old ? apply_once(r, old, config, &repeated, &options, out, err) : -1;
        if (rc <= 0)
            return rc;
    }
    return status_conflict(err, r->info.resource, r->info.name);
}
