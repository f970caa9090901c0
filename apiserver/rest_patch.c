/* SPDX-License-Identifier: Apache-2.0 */
/* rest_patch.c - PATCH: JSON patch, merge patch, strategic merge patch. */
#include "api/patch.h"
#include "apiserver/conversion.h"
#include "apiserver/rest.h"
#include "apiserver/server.h"
#include "apiserver/watch_cache.h"

/* An error shows this much of the document. */
#define PATCHED_SHOWN_BYTES 600

static struct json *apply_patch(struct request *r, enum patch_type type,
                                const struct object *current, const struct json *patch,
                                struct error *err)
{
    switch (type) {
    case PATCH_JSON:
        return patch_json(current->doc, patch, r->arena, err);
    case PATCH_MERGE:
        return patch_merge(current->doc, patch, r->arena);
    case PATCH_STRATEGIC:
        return patch_strategic(r->info.resource->type, current->doc, patch, r->arena, err);
    case PATCH_APPLY:
        break;
    }
    error_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
              "the body of the request was in an unknown format - accepted media types include: "
              "application/json-patch+json, application/merge-patch+json, "
              "application/strategic-merge-patch+json");
    return NULL;
}

/* The findings of a patched document: as for a body. */
static int report(struct request *r, const struct schema_warnings *found, enum field_validation v,
                  struct error *err)
{
    if (v == FIELD_VALIDATION_STRICT && found->n > 0) {
        struct buffer text = { 0 };
        for (size_t i = 0; i < found->n; i++)
            buffer_printf(&text, "%s%s", i ? ", " : "", found->items[i]);
        error_set(err, ERR_BAD_REQUEST, "strict decoding error: %s", text.data);
        buffer_free(&text);
        return -1;
    }
    r->warnings = (struct schema_warnings){ 0 };
    for (size_t i = 0; v == FIELD_VALIDATION_WARN && i < found->n; i++) {
        struct schema_warnings *w = &r->warnings;
        w->items = arena_grow(r->arena, w->items, w->n, &w->capacity, sizeof(*w->items));
        w->items[w->n++] = arena_strdup(r->arena, found->items[i]);
    }
    return 0;
}

/* What JSON and merge patches make is read as a document: upstream calls one that does not fit
 * Invalid. */
static int shape_patched(struct request *r, enum patch_type type, struct draft *d,
                         struct schema_warnings *found, struct error *err)
{
    if (schema_shape(r->info.resource->type, d->doc, d->arena, found, err) == 0)
        return 0;
    if (type == PATCH_STRATEGIC)
        return -1;
    struct buffer text = { 0 };
    json_print(d->doc, &text);
    const char *why = arena_strdup(r->arena, err->message);
    error_set(err, ERR_INVALID, " \"\" is invalid: patch: Invalid value: \"%.*s\": %s",
              PATCHED_SHOWN_BYTES, text.data, why);
    buffer_free(&text);
    return -1;
}

static struct draft *patched_draft(struct request *r, enum patch_type type,
                                   const struct object *current, const struct json *patch,
                                   const struct write_options *o, struct error *err)
{
    struct json *result = apply_patch(r, type, current, patch, err);
    if (!result)
        return NULL;
    if (!json_is(result, JSON_OBJECT)) {
        error_set(err, ERR_BAD_REQUEST, "the patched document is not an object");
        return NULL;
    }
    /* The result shares subtrees with the object: the draft needs its own. */
    struct arena *arena = arena_new();
    struct draft *d = draft_from_take(r->info.resource, arena, json_clone(result, arena));
    struct schema_warnings found = { 0 };
    bool checks = o->field_validation != FIELD_VALIDATION_IGNORE;
    if (shape_patched(r, type, d, checks ? &found : NULL, err) == 0 &&
        report(r, &found, o->field_validation, err) == 0)
        return d;
    draft_free(d);
    return NULL;
}

static int check_identity(const struct object *current, const struct draft *d, struct error *err)
{
    const char *name = json_str(d->doc, "metadata.name", "");
    if (strcmp(name, current->key.name) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the name of the object (%s) does not match the name on the URL (%s)",
                         name, current->key.name);
    const char *ns = json_str(d->doc, "metadata.namespace", "");
    if (strcmp(ns, current->key.ns) != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "the namespace of the object (%s) does not match the namespace on the "
                         "request (%s)",
                         ns, current->key.ns);
    return 0;
}

/* A patch that cannot be applied is answered in one general sentence, which names no object. */
static int cannot_apply(struct outcome *out, struct error *err)
{
    out->details = (struct status_details){ 0 };
    return error_set(err, ERR_INVALID,
                     "the server rejected our request due to an error in our request");
}

static int patch_once(const struct update_call *call, enum patch_type type,
                      const struct object *old, const struct json *patch, struct outcome *out,
                      struct error *err)
{
    struct request *r = call->request;
    scoped(object) struct object *current = conversion_object(old, r->info.resource);
    scoped(draft) struct draft *new = patched_draft(r, type, current, patch, call->options, err);
    if (!new)
        return err->code == ERR_INVALID ? cannot_apply(out, err) : -1;
    if (check_identity(current, new, err) < 0)
        return -1;
    return rest_update_object(call, old, take_ptr(&new), out, err);
}

int rest_patch(struct request *r, enum patch_type type, const struct body *body,
               const struct write_options *o, struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    struct object_key key = request_key(r);
    struct update_call call = { .request = r, .options = o, .subresource = r->info.subresource };
    struct json *patch;
    outcome_about(out, r);
    if (body_parse_patch(r, body, &patch, err) < 0)
        return -1;
    /* A patch that names no resourceVersion is about whatever is there: a conflict is ours to
     * solve. */
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old =
            watch_cache_get(watch_cache_of(r->server, resource), &key);
        if (!old)
            return status_not_found(err, resource, key.name);
        int rc = patch_once(&call, type, old, patch, out, err);
        if (rc <= 0)
            return rc;
    }
    return status_conflict(err, resource, key.name);
}
