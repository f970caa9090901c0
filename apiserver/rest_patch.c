/* SPDX-License-Identifier: Apache-2.0 */
/* rest_patch.c - PATCH: JSON patch, merge patch, strategic merge patch. */
#include "api/go_print.h"
#include "api/patch.h"
#include "apiserver/conversion.h"
#include "apiserver/managed_writes.h"
#include "apiserver/rest.h"
#include "apiserver/server.h"
#include "apiserver/watch_cache.h"

/* An error shows this much of the document. */
#define PATCHED_SHOWN_BYTES 600

static struct json *apply_patch(struct request *r, enum patch_type type, const struct json *doc,
                                const struct json *patch, struct error *err)
{
    switch (type) {
    case PATCH_JSON:
        return patch_json(doc, patch, r->arena, err);
    case PATCH_MERGE:
        return patch_merge(doc, patch, r->arena);
    case PATCH_STRATEGIC:
        return patch_strategic(r->info.resource->type, doc, patch, r->arena, err);
    case PATCH_APPLY: /* rest_apply() */
        break;
    }
    ensure(false);
}

/* ---- a patch whose result is no object of its kind ---- */

/* Upstream fills objects from a merged map without decoding; its words for a scalar that does not
 * fit name the type that was wanted. */
static const char *mismatch(enum patch_type type, const char *why, struct arena *a)
{
    const char *wanted = strstr(why, " of type ");
    if (type != PATCH_STRATEGIC || !wanted)
        return why;
    wanted += strlen(" of type ");
    if (str_has_prefix(wanted, "[]"))
        return arena_printf(a, "cannot restore slice from: %s", wanted);
    if (str_has_prefix(wanted, "map["))
        return arena_printf(a, "cannot restore map from: %s", wanted);
    if (strchr(wanted, '.'))
        return arena_printf(a, "cannot restore struct from: %s", wanted);
    return arena_printf(a, "unrecognized type: %s", wanted);
}

/* ` "" is invalid: patch: Invalid value: "map[spec:map[foo:1]]": WHY` */
static int bad_patch(struct request *r, enum patch_type type, const struct json *patch,
                     const struct draft *d, const char *why, struct error *err)
{
    scoped(buffer) struct buffer value = { 0 };
    scoped(buffer) struct buffer quoted = { 0 };
    if (type == PATCH_STRATEGIC)
        go_print(patch, &value);
    else
        json_print(d->doc, &value);
    size_t shown = value.len < PATCHED_SHOWN_BYTES ? value.len : PATCHED_SHOWN_BYTES;
    buffer_add_quoted(&quoted, (struct bytes){ value.data, shown });
    why = arena_strdup(r->arena, why);
    return error_set(err, ERR_INVALID, " \"\" is invalid: patch: Invalid value: %s: %s",
                     quoted.data, why);
}

static int refuse_unknown(struct request *r, enum patch_type type, const struct json *patch,
                          const struct draft *d, const struct schema_warnings *found,
                          struct error *err)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, "strict decoding error: ");
    for (size_t i = 0; i < found->n; i++)
        buffer_printf(&text, "%s%s", i ? ", " : "", found->items[i]);
    return bad_patch(r, type, patch, d, text.data, err);
}

static void warn(struct request *r, const struct schema_warnings *found)
{
    struct schema_warnings *w = &r->warnings;
    *w = (struct schema_warnings){ 0 }; /* of the attempt before */
    for (size_t i = 0; i < found->n; i++) {
        w->items = arena_grow(r->arena, w->items, w->n, &w->capacity, sizeof(*w->items));
        w->items[w->n++] = arena_strdup(r->arena, found->items[i]);
    }
}

static int shape_patched(struct request *r, enum patch_type type, const struct json *patch,
                         struct draft *d, enum field_validation validation, struct error *err)
{
    struct schema_warnings found = { 0 };
    bool checks = validation != FIELD_VALIDATION_IGNORE;
    if (schema_shape(r->info.resource->type, d->doc, d->arena, checks ? &found : NULL, err) < 0) {
        const char *why = arena_strdup(r->arena, err->message);
        return bad_patch(r, type, patch, d, mismatch(type, why, r->arena), err);
    }
    if (found.n > 0 && validation == FIELD_VALIDATION_STRICT)
        return refuse_unknown(r, type, patch, d, &found, err);
    warn(r, &found);
    return 0;
}

/* ---- the patch ---- */

/* What is patched: without the managers, unless the patch may be about them.  They are told by what
 * is there, and need not be copied for that. */
static const struct json *patched_part(struct request *r, enum patch_type type,
                                       const struct json *doc, const struct json *patch)
{
    bool is_about_managers = type == PATCH_JSON || json_at(patch, "metadata.managedFields");
    return is_about_managers ? doc : managed_fields_left_out(doc, r->arena);
}

static struct draft *patched_draft(struct request *r, enum patch_type type,
                                   const struct object *current, const struct json *patch,
                                   const struct write_options *o, struct error *err)
{
    const struct json *doc = patched_part(r, type, current->doc, patch);
    struct json *result = apply_patch(r, type, doc, patch, err);
    if (!result)
        return NULL;
    if (!json_is(result, JSON_OBJECT)) {
        error_set(err, ERR_BAD_REQUEST, "the patched document is not an object");
        return NULL;
    }
    /* The result shares subtrees with the object: the draft needs its own. */
    struct arena *arena = managed_arena(result, current);
    struct draft *d = draft_from_take(r->info.resource, arena, json_clone(result, arena));
    if (shape_patched(r, type, patch, d, o->field_validation, err) == 0)
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

static int patch_once(const struct update_call *call, enum patch_type type,
                      const struct object *old, const struct json *patch, struct outcome *out,
                      struct error *err)
{
    struct request *r = call->request;
    scoped(object) struct object *current = conversion_object(old, r->info.resource);
    scoped(draft) struct draft *new = patched_draft(r, type, current, patch, call->options, err);
    if (!new && err->code == ERR_INVALID) /* it is the patch that is: upstream names no object */
        out->details = (struct status_details){ 0 };
    if (!new)
        return -1;
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
    if (body_parse_patch(r, type, body, &patch, err) < 0)
        return -1;
    /* A patch that names no resourceVersion is about whatever is there: a conflict is ours to
     * solve. */
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old = rest_find(r, resource, &key, err);
        if (!old)
            return -1;
        int rc = patch_once(&call, type, old, patch, out, err);
        if (rc <= 0)
            return rc;
    }
    return status_conflict(err, resource, key.name);
}
