/* SPDX-License-Identifier: Apache-2.0 */
/* rest_update.c - PUT, and the tail that PATCH shares with it: a new state for an object. */
#include "apiserver/admission.h"
#include "apiserver/conversion.h"
#include "apiserver/managed_writes.h"
#include "apiserver/object_meta.h"
#include "apiserver/rest.h"
#include "apiserver/rest_storage.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"

static bool is_content(const char *member)
{
    return strcmp(member, "metadata") != 0 && strcmp(member, "status") != 0 &&
           strcmp(member, "kind") != 0 && strcmp(member, "apiVersion") != 0;
}

static bool content_equal(const struct json *a, const struct json *b)
{
    json_each_member (a, m) {
        if (is_content(m->name) && !json_equal(&m->value, json_get(b, m->name)))
            return false;
    }
    json_each_member (b, m) {
        if (is_content(m->name) && !json_get(a, m->name))
            return false;
    }
    return true;
}

static bool same(const struct json *a, const struct json *b, const char *path)
{
    const struct json *x = json_at(a, path), *y = json_at(b, path);
    if (!x || !y)
        return json_len(a, path) == json_len(b, path);
    return json_equal(x, y);
}

static void count_generation(const struct object *old, struct draft *d)
{
    enum generation_rule rule = rest_storage_of(d->resource)->generation;
    if (rule == GENERATION_NONE || rule == GENERATION_CREATE)
        return;
    bool changed = !content_equal(old->doc, d->doc);
    if (rule == GENERATION_CONTENT_ANNOTATIONS)
        changed |= !same(old->doc, d->doc, "metadata.annotations");
    if (rule == GENERATION_CONTENT_LABELS)
        changed |= !same(old->doc, d->doc, "metadata.labels");
    if (changed)
        json_put_int(d->arena, d->doc, "metadata.generation", object_generation(old) + 1);
}

/* Puts OLD's member in place of NEW's. */
static void keep_member(const struct object *old, struct draft *d, const char *name)
{
    const struct json *was = json_get(old->doc, name);
    if (was)
        json_set(d->arena, d->doc, name, json_clone_value(was, d->arena));
    else
        json_remove(d->doc, name);
}

static void keep_metadata(const struct object *old, struct draft *d, const char *name)
{
    struct json *meta = json_make(d->arena, d->doc, "metadata");
    const struct json *was = json_get(object_metadata(old), name);
    if (was)
        json_set(d->arena, meta, name, json_clone_value(was, d->arena));
    else
        json_remove(meta, name);
}

/* A status update may change nothing but the status, and of metadata what the row says. */
static void keep_all_but_status(const struct object *old, struct draft *d)
{
    struct json *doc = d->doc;
    for (size_t i = doc->len; i-- > 0;) {
        const char *name = doc->members[i].name;
        if (is_content(name) && !json_get(old->doc, name))
            json_remove(doc, name);
    }
    json_each_member (old->doc, m) {
        if (is_content(m->name))
            keep_member(old, d, m->name);
    }
    switch (rest_storage_of(d->resource)->status_update) {
    case STATUS_TAKES_METADATA:
        break;
    case STATUS_KEEPS_LABELS:
        keep_metadata(old, d, "labels");
        break;
    case STATUS_KEEPS_OWNERS:
        keep_metadata(old, d, "ownerReferences");
        break;
    case STATUS_KEEPS_METADATA: {
        const char *revision = json_str(d->doc, "metadata.resourceVersion", "");
        keep_member(old, d, "metadata");
        json_put_str(d->arena, d->doc, "metadata.resourceVersion", revision);
        break;
    }
    }
}

/* ---- preconditions ---- */

static int check_uid(const struct request *r, const struct object *old, const struct draft *d,
                     struct error *err)
{
    const char *uid = json_str(d->doc, "metadata.uid", "");
    if (!*uid || str_equal(uid, old->uid))
        return 0;
    char qualified[256];
    return error_set(err, ERR_CONFLICT,
                     "Operation cannot be fulfilled on %s \"%s\": Precondition failed: UID in "
                     "precondition: %s, UID in object meta: %s",
                     resource_qualified(r->info.resource, qualified, sizeof(qualified)),
                     old->key.name, uid, old->uid ? old->uid : "");
}

static int check_revision(const struct update_call *c, const struct object *old,
                          const struct draft *d, struct outcome *out, struct error *err)
{
    const struct request *r = c->request;
    const char *said = json_str(d->doc, "metadata.resourceVersion", "");
    if (*said && strcmp(said, "0") != 0) {
        char *end;
        long long revision = strtoll(said, &end, 10);
        if (*end)
            return error_set(err, ERR_BAD_REQUEST, "invalid resource version \"%s\"", said);
        return revision == old->resource_version
                   ? 0
                   : status_conflict(err, r->info.resource, old->key.name);
    }
    if (!rest_storage_of(d->resource)->needs_resource_version)
        return 0;
    struct field_errors errors = { .arena = r->arena };
    field_error_add(&errors, FIELD_INVALID, "metadata.resourceVersion", NULL,
                    "must be specified for an update");
    errors.items[0].value = "0x0"; /* as Go prints an unsigned zero */
    return outcome_invalid(out, r, old->key.name, &errors, err);
}

/* ---- the write ---- */

static int validate_changed(struct strategy_call *call, const char *subresource,
                            const struct object *old, const struct draft *d, struct outcome *out,
                            struct error *err)
{
    const struct rest_storage *row = rest_storage_of(d->resource);
    const struct strategy *s = rest_storage_strategy(row, subresource);
    struct field_errors errors = { .arena = call->request->arena };
    object_meta_validate_update(old, d->doc, &errors);
    check_rules(&errors, NULL, old->doc, d->doc,
                strcmp(subresource, "status") == 0 ? row->status_rules : row->rules);
    if (s && s->validate)
        s->validate(call, d->doc, &errors);
    if (s && s->validate_update)
        s->validate_update(call, old, d->doc, &errors);
    if (errors.n == 0)
        return 0;
    return outcome_invalid(out, call->request, old->key.name, &errors, err);
}

static bool equal_but(const struct json *a, const struct json *b, const char *left_out)
{
    json_each_member (a, m) {
        if (strcmp(m->name, left_out) != 0 && !json_equal(&m->value, json_get(b, m->name)))
            return false;
    }
    json_each_member (b, m) {
        if (strcmp(m->name, left_out) != 0 && !json_get(a, m->name))
            return false;
    }
    return true;
}

/* Nothing but the resourceVersion and the times of managers may differ. */
static bool is_unchanged(const struct object *old, struct draft *d)
{
    const struct json *was = object_metadata(old), *is = json_get(d->doc, "metadata");
    json_put_str(d->arena, d->doc, "metadata.resourceVersion",
                 json_str(was, "resourceVersion", ""));
    return equal_but(old->doc, d->doc, "metadata") && equal_but(was, is, "managedFields") &&
           managed_fields_equal(json_get(was, "managedFields"), json_get(is, "managedFields"));
}

static bool is_ready_to_go(const struct object *old, const struct draft *d)
{
    const struct strategy *s = rest_storage_of(d->resource)->strategy;
    return object_is_deleting(old) && json_len(d->doc, "metadata.finalizers") == 0 &&
           json_int(d->doc, "metadata.deletionGracePeriodSeconds", 0) == 0 &&
           !(s && s->has_more_finalizers && s->has_more_finalizers(d->doc));
}

/* The last finalizer is gone: the update is the object's end. */
static int remove_finalized(struct strategy_call *call, const struct object *old,
                            struct draft *new_take, struct outcome *out, struct error *err)
{
    scoped(draft) struct draft *new = new_take;
    const struct strategy *s = rest_storage_of(new->resource)->strategy;
    int64_t revision;
    enum store_result rc = store_delete(call->server, old, &revision, err);
    if (rc != STORE_DONE)
        return rc;
    out->object = draft_publish(take_ptr(&new), 0);
    if (s && s->after_delete)
        s->after_delete(call, old);
    return 0;
}

static int store_changed(struct strategy_call *call, const struct object *old,
                         struct draft *new_take, struct outcome *out, struct error *err)
{
    struct request *r = call->request;
    const struct rest_storage *row = rest_storage_of(new_take->resource);
    const struct strategy *s = row->strategy;
    struct json *copy = s && s->release_failed ? json_clone(new_take->doc, r->arena) : NULL;
    enum store_result rc =
        s && s->allocate
            ? store_put_allocated(r, &old->key, new_take, old->resource_version, &out->object, err)
            : store_put(r->server, &old->key, new_take, old->resource_version, row->ttl_s,
                        &out->object, err);
    if (rc == STORE_DONE && s && s->after_update)
        s->after_update(call, old, out->object);
    else if (rc != STORE_DONE && copy)
        s->release_failed(call, old, copy);
    return rc;
}

/* Subresources that take one part of what is sent and keep the rest of the object. */
static const struct {
    const char *plural, *subresource, *path;
} parts[] = {
    { "namespaces", "finalize", "spec.finalizers" },
    { "pods", "ephemeralcontainers", "spec.ephemeralContainers" },
    { "certificatesigningrequests", "approval", "status.conditions" },
};

static void take_part(const struct object *old, struct draft *d, const char *path)
{
    const struct json *sent = json_at(d->doc, path);
    struct json part = sent ? *sent : (struct json){ .type = JSON_NULL };
    d->doc = json_clone(old->doc, d->arena);
    if (sent)
        json_put(d->arena, d->doc, path, part);
    else
        json_drop(d->doc, path);
}

static const struct json *container_named(const struct json *list, const char *name)
{
    json_each_item (list, c) {
        if (str_equal(json_str(c, "name", ""), name))
            return c;
    }
    return NULL;
}

/* pods/resize: resources and resizePolicy of containers that exist, nothing else. */
static void take_resources(const struct object *old, struct draft *d)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    static const char *const taken[] = { "resources", "resizePolicy" };
    const struct json *sent = d->doc;
    d->doc = json_clone(old->doc, d->arena);
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        struct json *list = json_find(d->doc, lists[l]);
        for (uint32_t i = 0; list && i < list->len; i++) {
            struct json *c = &list->items[i];
            const struct json *from =
                container_named(json_at(sent, lists[l]), json_str(c, "name", ""));
            for (size_t t = 0; from && t < ARRAY_LEN(taken); t++)
                if (json_get(from, taken[t]))
                    json_set_static(d->arena, c, taken[t], *json_get(from, taken[t]));
        }
    }
}

static void take_subresource(const char *subresource, const struct object *old, struct draft *d)
{
    if (strcmp(subresource, "status") == 0)
        keep_all_but_status(old, d);
    else if (strcmp(subresource, "resize") == 0)
        take_resources(old, d);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strcmp(d->resource->plural, parts[i].plural) == 0 &&
            strcmp(subresource, parts[i].subresource) == 0)
            take_part(old, d, parts[i].path);
}

static void take_over(const struct update_call *c, const struct object *old, struct draft *d)
{
    if (*c->subresource)
        take_subresource(c->subresource, old, d);
    else if (resource_has_status(d->resource))
        keep_member(old, d, "status");
    object_meta_prepare_update(old, d);
    schema_default(d->resource, d->doc, d->arena);
}

int rest_update_object(const struct update_call *c, const struct object *old,
                       struct draft *new_take, struct outcome *out, struct error *err)
{
    scoped(draft) struct draft *new = new_take;
    struct request *r = c->request;
    struct strategy_call call = { .request = r,
                                  .server = r->server,
                                  .arena = r->arena,
                                  .is_dry_run = c->options->is_dry_run,
                                  .now_ns = clock_wall_ns(r->server->clock) };
    conversion_draft(new, old->resource);
    const struct rest_storage *row = rest_storage_of(new->resource);
    const struct strategy *s = rest_storage_strategy(row, c->subresource);
    outcome_about(out, r);
    out->details.name = arena_strdup(r->arena, old->key.name);
    out->http_status = 200;
    if (check_uid(r, old, new, err) < 0 || check_revision(c, old, new, out, err) < 0)
        return -1;
    struct json managed = managed_take(new);
    take_over(c, old, new);
    if (s && s->prepare_update && s->prepare_update(&call, old, new, err) < 0)
        return -1;
    schema_complete(new->resource->type, new->doc, new->arena); /* as OLD is: they are compared */
    if (c->options->is_apply)
        managed_put(new, managed);
    else
        managed_track_update(c, old, &managed, new);
    struct admission_attributes at = { .resource = old->resource,
                                       .subresource = c->subresource,
                                       .verb = REQUEST_UPDATE,
                                       .old = old,
                                       .ns = old->key.ns,
                                       .name = old->key.name };
    if (admission_admit(&call, &at, new, err) < 0)
        return -1;
    schema_complete(new->resource->type, new->doc, new->arena); /* what admission has added */
    if (strcmp(c->subresource, "status") != 0)
        count_generation(old, new);
    if (validate_changed(&call, c->subresource, old, new, out, err) < 0)
        return -1;
    if (s && s->allocate && s->allocate(&call, old, new, err) < 0)
        return -1;

    if (!c->options->is_dry_run && is_ready_to_go(old, new))
        return remove_finalized(&call, old, take_ptr(&new), out, err);
    if (is_unchanged(old, new) && !store_is_stale(call.server, old)) {
        out->object = object_ref(old);
        return 0;
    }
    if (c->options->is_dry_run) {
        out->object = draft_publish(take_ptr(&new), 0);
        return 0;
    }
    return store_changed(&call, old, take_ptr(&new), out, err);
}

/* ---- PUT ---- */

static int create_missing(struct request *r, struct draft *new_take, const struct write_options *o,
                          struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    if (rest_storage_of(resource)->creates_on_update && !*r->info.subresource &&
        str_empty(json_str(new_take->doc, "metadata.uid", "")) &&
        str_empty(json_str(new_take->doc, "metadata.resourceVersion", "")))
        return rest_create_object(r, new_take, o, out, err);
    draft_free(new_take);
    outcome_about(out, r);
    return status_not_found(err, resource, r->info.name);
}

int rest_update(struct request *r, const struct body *body, const struct write_options *o,
                struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    struct object_key key = request_key(r);
    struct update_call call = { .request = r, .options = o, .subresource = r->info.subresource };
    for (int attempt = 1;; attempt++) {
        struct draft *new;
        if (body_decode(r, body, resource, o, &new, err) < 0)
            return -1;
        if (body_check_names(r, new, err) < 0) {
            draft_free(new);
            return -1;
        }
        scoped(object) struct object *old = NULL;
        if (watch_cache_find(watch_cache_of(r->server, resource), &key, &old, err) < 0) {
            draft_free(new);
            return -1;
        }
        if (!old)
            return create_missing(r, new, o, out, err);
        bool has_revision = !str_empty(json_str(new->doc, "metadata.resourceVersion", ""));
        int rc = rest_update_object(&call, old, new, out, err);
        if (rc <= 0)
            return rc;
        if (has_revision || attempt == WRITE_ATTEMPTS_MAX)
            return status_conflict(err, resource, key.name);
        r->warnings.n = 0;
    }
}
