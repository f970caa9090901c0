/* SPDX-License-Identifier: Apache-2.0 */
/* rest_scale.c - autoscaling/v1 Scale: how many replicas, as a view of the object. */
#include "api/patch.h"
#include "api/selector.h"
#include "apiserver/object_meta.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/server.h"

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
    json_put_str(a, scale, "apiVersion", "autoscaling/v1");
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

/* 0: done; 1: OLD is not the newest; -1. */
static int write_scale(struct request *r, const struct object *old, const struct json *scale,
                       const struct write_options *o, struct outcome *out, struct error *err)
{
    struct update_call call = { .request = r, .options = o, .subresource = "scale" };
    if (validate_scale(r, scale, out, err) < 0)
        return -1;
    struct draft *d = object_edit(old);
    json_put_int(d->arena, d->doc, "spec.replicas", json_int(scale, "spec.replicas", 0));
    json_put_str(d->arena, d->doc, "metadata.resourceVersion",
                 json_str(scale, "metadata.resourceVersion", ""));
    const char *uid = json_str(scale, "metadata.uid", "");
    if (*uid)
        json_put_str(d->arena, d->doc, "metadata.uid", uid);
    int rc = rest_update_object(&call, old, d, out, err);
    if (rc == 0)
        answer(r, out);
    return rc;
}

static struct object *current(struct request *r, struct error *err)
{
    struct object_key key = request_key(r);
    struct object *o = watch_cache_get(watch_cache_of(r->server, r->info.resource), &key);
    if (!o)
        status_not_found(err, r->info.resource, key.name);
    return o;
}

int scale_update(struct request *r, const struct body *body, const struct write_options *o,
                 struct outcome *out, struct error *err)
{
    struct json *scale;
    outcome_about(out, r);
    if (body_decode_document(r, body, r->info.sub->type, "autoscaling/v1", "Scale", o, &scale,
                             err) < 0)
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
    if (body_parse_patch(r, body, &patch, err) < 0)
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
