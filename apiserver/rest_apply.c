/* SPDX-License-Identifier: Apache-2.0 */
/* rest_apply.c - PATCH with application/apply-patch+yaml: server-side apply. */
#include "apiserver/rest_apply.h"

#include "apiserver/authz.h"
#include "apiserver/conversion.h"
#include "apiserver/managed_writes.h"
#include "apiserver/server.h"
#include "apiserver/watch_cache.h"

/* ---- answers ---- */

struct causes {
    struct request *request;
    struct status_cause *items;
    size_t n, capacity;
};

static void add_cause(const char *message, const char *path, void *arg)
{
    struct causes *c = arg;
    struct arena *a = c->request->arena;
    c->items = arena_grow(a, c->items, c->n, &c->capacity, sizeof(*c->items));
    c->items[c->n++] = (struct status_cause){ "FieldManagerConflict", arena_strdup(a, message),
                                              arena_strdup(a, path) };
}

int apply_conflict(struct request *r, const struct apply_result *result, struct outcome *out,
                   struct error *err)
{
    struct causes causes = { .request = r };
    apply_conflicts_each(result, add_cause, &causes);
    out->details = (struct status_details){ .causes = causes.items,
                                            .causes_n = causes.n,
                                            .message = apply_conflict_message(result, r->arena) };
    return error_set(err, ERR_CONFLICT, "%s", out->details.message);
}

/* ---- what the strict decoder says ---- */

int apply_judge_repeated(struct request *r, const struct write_options *o,
                         const struct json_duplicates *repeated, struct error *err)
{
    struct schema_warnings *w = &r->warnings;
    w->n = 0; /* of the attempt before */
    if (repeated->n == 0 || o->field_validation == FIELD_VALIDATION_IGNORE)
        return 0;
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, "error strict decoding YAML: error converting YAML to JSON: yaml: "
                          "unmarshal errors:");
    for (size_t i = 0; i < repeated->n; i++) {
        buffer_printf(&text, "\n  %s", repeated->paths[i]);
        w->items = arena_grow(r->arena, w->items, w->n, &w->capacity, sizeof(*w->items));
        w->items[w->n++] = repeated->paths[i];
    }
    if (o->field_validation == FIELD_VALIDATION_WARN)
        return 0;
    w->n = 0;
    return error_set(err, ERR_BAD_REQUEST, "%s", text.data);
}

/* ---- the object that results ---- */

struct applied {
    const struct json *config;
    struct json_duplicates repeated;
    const struct write_options *options; /* is_apply is set */
};

static int not_of_type(struct request *r, const struct json *doc, struct error *err)
{
    char version[128];
    const char *why = arena_strdup(r->arena, err->message);
    resource_api_version(r->info.resource, version, sizeof(version));
    return error_set(err, ERR_UNKNOWN,
                     "failed to convert new object (%s/%s; %s%s, Kind=%s) to proper version (%s): "
                     "%s",
                     json_str(doc, "metadata.namespace", ""), json_str(doc, "metadata.name", ""),
                     strchr(version, '/') ? "" : "/", version, r->info.resource->kind, version,
                     why);
}

static struct draft *draft_of(struct request *r, const struct json *doc, struct managed_fields *m,
                              struct error *err)
{
    struct arena *arena = managed_arena(doc, NULL);
    struct draft *d = draft_from_take(r->info.resource, arena, json_clone(doc, arena));
    if (schema_shape(r->info.resource->type, d->doc, arena, NULL, err) < 0) {
        not_of_type(r, doc, err);
        draft_free(d);
        return NULL;
    }
    managed_put(d, managed_fields_json(m, arena));
    return d;
}

static struct draft *apply_to(struct request *r, const struct applied *a, const struct json *live,
                              const struct json *managed, struct outcome *out, struct error *err)
{
    const struct json *nothing = managed_nothing(r->info.resource, r->arena);
    struct managed_versions versions;
    struct managed_fields m;
    struct apply_result result;
    struct field_write w =
        managed_write(r, a->options->field_manager, r->info.subresource, &versions);
    managed_fields_read(managed, NULL, r->arena, &m);
    if (apply_config(&w, live ? live : nothing, nothing, a->config, a->options->force, &m, &result,
                     err) < 0)
        return NULL;
    if (result.conflicts_n > 0) {
        apply_conflict(r, &result, out, err);
        return NULL;
    }
    if (apply_judge_repeated(r, a->options, &a->repeated, err) < 0)
        return NULL;
    return draft_of(r, result.doc, &m, err);
}

/* ---- create ---- */

static int check_may_create(struct request *r, struct error *err)
{
    char reason[AUTHZ_REASON_BYTES] = "";
    struct attributes at;
    attributes_of(r, &at);
    at.verb = "create";
    return authorize(r->server, &at, reason) ? 0 : authz_forbid(&at, reason, err);
}

static int check_new(struct request *r, const struct draft *d, struct error *err)
{
    const char *uid = json_str(d->doc, "metadata.uid", "");
    char qualified[256];
    if (*uid)
        return error_set(err, ERR_CONFLICT,
                         "Operation cannot be fulfilled on %s \"%s\": uid mismatch: the provided "
                         "object specified uid %s, and no existing object was found",
                         resource_qualified(r->info.resource, qualified, sizeof(qualified)),
                         r->info.name, uid);
    return body_check_names(r, d, err);
}

static int create(struct request *r, const struct applied *a, struct outcome *out,
                  struct error *err)
{
    if (*r->info.subresource)
        return status_not_found(err, r->info.resource, r->info.name);
    scoped(draft) struct draft *new = apply_to(r, a, NULL, NULL, out, err);
    if (!new || check_new(r, new, err) < 0 || check_may_create(r, err) < 0)
        return -1;
    json_drop(new->doc, "metadata.resourceVersion"); /* upstream takes no notice of it here */
    if (rest_create_object(r, take_ptr(&new), a->options, out, err) == 0)
        return 0;
    return err->code == ERR_ALREADY_EXISTS ? 1 : -1;
}

/* ---- update ---- */

static int update(struct request *r, const struct applied *a, const struct object *old,
                  struct outcome *out, struct error *err)
{
    struct update_call call = { .request = r,
                                .options = a->options,
                                .subresource = r->info.subresource };
    scoped(object) struct object *current = conversion_object(old, r->info.resource);
    const struct json *live = managed_fields_left_out(current->doc, r->arena);
    scoped(draft) struct draft *new =
        apply_to(r, a, live, json_get(object_metadata(current), "managedFields"), out, err);
    if (!new || body_check_names(r, new, err) < 0)
        return -1;
    return rest_update_object(&call, old, take_ptr(&new), out, err);
}

int rest_apply(struct request *r, const struct body *body, const struct write_options *o,
               struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    struct object_key key = request_key(r);
    struct write_options options = *o;
    struct applied a = { .options = &options };
    struct json *config;
    char version[128];
    outcome_about(out, r);
    options.is_apply = true;
    if (body_parse_config(r, body, &config, &a.repeated, err) < 0)
        return -1;
    a.config = config;
    resource_api_version(resource, version, sizeof(version));
    if (apply_check(config, version, resource->kind, err) < 0)
        return -1;
    bool has_revision = !str_empty(json_str(config, "metadata.resourceVersion", ""));
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *old = NULL;
        if (watch_cache_find(watch_cache_of(r->server, resource), &key, &old, err) < 0)
            return -1;
        int rc = old ? update(r, &a, old, out, err) : create(r, &a, out, err);
        if (rc <= 0)
            return rc;
        if (old && has_revision)
            break;
        *err = (struct error){ 0 };
        outcome_about(out, r);
    }
    return status_conflict(err, resource, key.name);
}
