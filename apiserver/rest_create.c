/* SPDX-License-Identifier: Apache-2.0 */
/* rest_create.c - POST: a new object. */
#include "apiserver/admission.h"
#include "apiserver/conversion.h"
#include "apiserver/managed_writes.h"
#include "apiserver/object_meta.h"
#include "apiserver/rest.h"
#include "apiserver/rest_storage.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"

/* Status belongs to the server: whoever creates the object cannot set it. */
static void reset_status(struct draft *d)
{
    if (resource_has_status(d->resource))
        json_set_static(d->arena, d->doc, "status", *json_new(d->arena, JSON_OBJECT));
}

static void first_generation(struct draft *d)
{
    enum generation_rule rule = rest_storage_of(d->resource)->generation;
    if (rule != GENERATION_NONE && rule != GENERATION_UPDATE)
        json_put_int(d->arena, d->doc, "metadata.generation", 1);
}

static int validate_new(struct strategy_call *call, const struct draft *d, struct outcome *out,
                        struct error *err)
{
    const struct rest_storage *row = rest_storage_of(d->resource);
    const struct strategy *s = row->strategy;
    struct field_errors errors = { .arena = call->request->arena };
    object_meta_validate(d->resource, d->doc, &errors);
    check_rules(&errors, NULL, NULL, d->doc, row->rules);
    if (s && s->validate)
        s->validate(call, d->doc, &errors);
    if (errors.n == 0)
        return 0;
    return outcome_invalid(out, call->request, json_str(d->doc, "metadata.name", ""), &errors, err);
}

static int exists_already(struct request *r, const struct object_key *key, struct outcome *out,
                          struct error *err)
{
    const struct resource *resource = r->info.resource;
    scoped(object) struct object *there = watch_cache_get(watch_cache_of(r->server, resource), key);
    out->details.resource = resource;
    out->details.name = arena_strdup(r->arena, key->name);
    status_already_exists(err, resource, key->name);
    if (there && object_is_deleting(there))
        error_wrap(err, "object is being deleted");
    return -1;
}

static int store_new(struct strategy_call *call, struct draft *new_take, const struct json *doc,
                     struct outcome *out, struct error *err)
{
    struct request *r = call->request;
    const struct rest_storage *row = rest_storage_of(new_take->resource);
    const struct strategy *s = row->strategy;
    /* The key outlives the draft, which the store takes. */
    struct object_key key = { arena_strdup(r->arena, json_str(doc, "metadata.namespace", "")),
                              arena_strdup(r->arena, json_str(doc, "metadata.name", "")) };
    struct json *copy = s && s->release_failed ? json_clone(doc, r->arena) : NULL;
    enum store_result rc =
        s && s->allocate ? store_put_allocated(r, &key, new_take, 0, &out->object, err)
                         : store_put(r->server, &key, new_take, 0, row->ttl_s, &out->object, err);
    switch (rc) {
    case STORE_DONE:
        if (s && s->after_create)
            s->after_create(call, out->object);
        return 0;
    case STORE_CONFLICT:
        exists_already(r, &key, out, err);
        break;
    case STORE_FAILED:
        break;
    }
    if (copy)
        s->release_failed(call, NULL, copy);
    return -1;
}

static int finish_create(struct strategy_call *call, struct draft *new_take, struct outcome *out,
                         struct error *err)
{
    scoped(draft) struct draft *new = new_take;
    const struct strategy *s = rest_storage_of(new->resource)->strategy;
    if (s && s->prepare_create && s->prepare_create(call, new, err) < 0)
        return -1;
    if (validate_new(call, new, out, err) < 0)
        return -1;
    if (s && s->allocate && s->allocate(call, NULL, new, err) < 0)
        return -1;
    schema_complete(new->resource->type, new->doc, new->arena);
    if (call->is_dry_run) {
        struct object_key key = { json_str(new->doc, "metadata.namespace", ""),
                                  json_str(new->doc, "metadata.name", "") };
        scoped(object) struct object *there =
            watch_cache_get(watch_cache_of(call->server, new->resource), &key);
        if (s && s->allocate && s->release_failed)
            s->release_failed(call, NULL, new->doc);
        if (there)
            return exists_already(call->request, &key, out, err);
        out->object = draft_publish(take_ptr(&new), 0);
        return 0;
    }
    const struct json *doc = new->doc;
    return store_new(call, take_ptr(&new), doc, out, err);
}

/* Names are made up after admission, as upstream does: what it refuses again and again is one
 * event that counts ("pods "web-6c468cbf58-" is forbidden"), not one for each name. */
static const char *name_for_admission(const struct draft *new)
{
    const char *name = json_str(new->doc, "metadata.name", "");
    return *name ? name : json_str(new->doc, "metadata.generateName", "");
}

int rest_create_object(struct request *r, struct draft *new_take, const struct write_options *o,
                       struct outcome *out, struct error *err)
{
    scoped(draft) struct draft *new = new_take;
    struct strategy_call call = { .request = r,
                                  .server = r->server,
                                  .arena = r->arena,
                                  .is_dry_run = o->is_dry_run,
                                  .now_ns = clock_wall_ns(r->server->clock) };
    outcome_about(out, r);
    if (object_meta_prepare_create(&call, new, err) < 0)
        return -1;
    reset_status(new);
    schema_default(new->resource, new->doc, new->arena);
    if (!o->is_apply)
        managed_track_create(r, o, new);
    conversion_draft(new, new->resource->storage);
    first_generation(new);
    struct admission_attributes at = { .resource = new->resource,
                                       .subresource = r->info.subresource,
                                       .verb = REQUEST_CREATE,
                                       .ns = json_str(new->doc, "metadata.namespace", ""),
                                       .name = name_for_admission(new) };
    if (admission_admit(&call, &at, new, err) < 0)
        return -1;
    object_meta_generate_name(new);
    if (finish_create(&call, take_ptr(&new), out, err) < 0)
        return -1;
    out->http_status = 201;
    return 0;
}

int rest_create(struct request *r, const struct body *body, const struct write_options *o,
                struct outcome *out, struct error *err)
{
    /* A made-up name that is taken is made up again, as upstream does, before the caller hears of
     * it. */
    for (int attempt = 1;; attempt++) {
        struct draft *new;
        if (body_decode(r, body, r->info.resource, o, &new, err) < 0)
            return -1;
        bool is_generated = !json_at(new->doc, "metadata.name");
        if (rest_create_object(r, new, o, out, err) == 0)
            return 0;
        if (err->code != ERR_ALREADY_EXISTS || !is_generated || attempt == WRITE_ATTEMPTS_MAX)
            return -1;
        r->warnings.n = 0;
        *err = (struct error){ 0 };
    }
}
