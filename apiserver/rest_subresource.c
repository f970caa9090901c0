/* SPDX-License-Identifier: Apache-2.0 */
/* rest_subresource.c - which function answers a write. */
#include "apiserver/rest_subresource.h"

#include "apiserver/authz.h"
#include "apiserver/conversion.h"
#include "apiserver/rest_storage.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"

typedef int post_fn(struct request *r, const struct body *body, const struct write_options *o,
                    struct outcome *out, struct error *err);

static const struct {
    const char *plural, *subresource;
    post_fn *post;
} posts[] = {
    { "pods", "binding", post_binding },
    { "bindings", "", post_binding },
    { "pods", "eviction", post_eviction },
    { "serviceaccounts", "token", post_token },
};

static const struct {
    const char *plural, *subresource;
} connects[] = {
    { "pods", "log" },   { "pods", "exec" },   { "pods", "attach" },    { "pods", "portforward" },
    { "pods", "proxy" }, { "nodes", "proxy" }, { "services", "proxy" },
};

bool subresource_is_connect(const struct request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(connects); i++)
        if (*r->info.group == '\0' && str_equal(r->info.plural, connects[i].plural) &&
            str_equal(r->info.subresource, connects[i].subresource))
            return true;
    return false;
}

static bool is_scale(const struct request *r)
{
    return strcmp(r->info.subresource, "scale") == 0;
}

int subresource_get(struct request *r, struct outcome *out, struct error *err)
{
    outcome_about(out, r);
    if (is_scale(r))
        return scale_get(r, out, err);
    out->http_status = 200;
    return rest_get(r, &out->object, err);
}

/* ---- kinds that are not stored: reviews ---- */

static int create_review(struct request *r, const struct body *body, const struct write_options *o,
                         struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    char version[128];
    struct json *doc, *answer;
    resource_api_version(resource, version, sizeof(version));
    if (body_decode_document(r, body, resource->type, version, resource->kind, o, &doc, err) < 0)
        return -1;
    if (review_create(r, doc, &answer, err) < 0)
        return -1;
    out->http_status = 201;
    out->doc = answer;
    return 0;
}

static int write_post(struct request *r, const struct body *body, const struct write_options *o,
                      struct outcome *out, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(posts); i++)
        if (*r->info.group == '\0' && str_equal(r->info.plural, posts[i].plural) &&
            str_equal(r->info.subresource, posts[i].subresource))
            return posts[i].post(r, body, o, out, err);
    if (!r->info.resource->is_stored)
        return create_review(r, body, o, out, err);
    return rest_create(r, body, o, out, err);
}

/* ---- patches ---- */

static const struct {
    const char *content_type;
    enum patch_type type;
} patch_types[] = {
    { "application/json-patch+json", PATCH_JSON },
    { "application/merge-patch+json", PATCH_MERGE },
    { "application/strategic-merge-patch+json", PATCH_STRATEGIC },
    { "application/apply-patch+yaml", PATCH_APPLY },
};

static int patch_type_of(const struct body *body, enum patch_type *out, struct error *err)
{
    struct bytes t = body->content_type;
    const char *semicolon = t.len ? memchr(t.data, ';', t.len) : NULL;
    if (semicolon)
        t.len = (size_t)(semicolon - t.data);
    for (size_t i = 0; i < ARRAY_LEN(patch_types); i++) {
        if (bytes_equal_str(t, patch_types[i].content_type)) {
            *out = patch_types[i].type;
            return 0;
        }
    }
    return error_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                     "the body of the request was in an unknown format - accepted media types "
                     "include: application/json-patch+json, application/merge-patch+json, "
                     "application/strategic-merge-patch+json, application/apply-patch+yaml");
}

static int write_patch(struct request *r, const struct body *body, const struct write_options *o,
                       struct outcome *out, struct error *err)
{
    enum patch_type type = PATCH_JSON;
    if (patch_type_of(body, &type, err) < 0 || patch_options_check(r, type, o, err) < 0)
        return -1;
    if (type == PATCH_APPLY)
        return is_scale(r) ? scale_apply(r, body, o, out, err) : rest_apply(r, body, o, out, err);
    return is_scale(r) ? scale_patch(r, type, body, o, out, err)
                       : rest_patch(r, type, body, o, out, err);
}

static int write_delete(struct request *r, const struct body *body, struct outcome *out,
                        struct error *err)
{
    struct delete_options options;
    outcome_about(out, r);
    if (delete_options_parse(r, body, &options, err) < 0)
        return -1;
    return rest_delete(r, &options, out, err);
}

static int dispatch_write(struct request *r, const struct body *body, struct outcome *out,
                          struct error *err)
{
    struct write_options o;
    if (r->info.verb == REQUEST_DELETE)
        return write_delete(r, body, out, err);
    if (write_options_parse(r, &o, err) < 0)
        return -1;
    switch (r->info.verb) {
    case REQUEST_CREATE:
        return write_post(r, body, &o, out, err);
    case REQUEST_UPDATE:
        return is_scale(r) ? scale_update(r, body, &o, out, err)
                           : rest_update(r, body, &o, out, err);
    case REQUEST_PATCH:
        return write_patch(r, body, &o, out, err);
    default:
        return error_set(err, ERR_METHOD_NOT_ALLOWED,
                         "the server does not allow this method on the requested resource");
    }
}

/* What the request is decided by may have been written elsewhere a moment ago. */
static int decide(struct request *r, const struct body *body, struct outcome *out,
                  struct error *err)
{
    if (watch_caches_catch_up(r->server->caches, 0, err) < 0)
        return -1;
    if (storage_is_shared(r->server->storage))
        r->seen_revision = watch_caches_revision(r->server->caches);
    return dispatch_write(r, body, out, err);
}

/* Writes that allocate go one by one on this server, and again when another one was faster. */
static int decide_alone(struct request *r, const struct body *body, struct outcome *out,
                        struct error *err)
{
    int rc = -1;
    pthread_mutex_lock(&r->server->allocation_lock);
    for (int attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt++) {
        r->is_contended = false;
        rc = decide(r, body, out, err);
        if (rc == 0 || !r->is_contended)
            break;
        r->warnings.n = 0;
        outcome_deinit(out);
        *out = (struct outcome){ 0 };
        if (attempt + 1 < WRITE_ATTEMPTS_MAX)
            *err = (struct error){ 0 };
    }
    pthread_mutex_unlock(&r->server->allocation_lock);
    return rc;
}

static bool allocates(const struct request *r)
{
    const struct resource *resource = r->info.resource;
    const struct strategy *s = resource->is_stored ? rest_storage_of(resource)->strategy : NULL;
    return s && s->allocate && storage_is_shared(r->server->storage);
}

int rest_write(struct request *r, const struct body *body, struct outcome *out, struct error *err)
{
    if ((allocates(r) ? decide_alone(r, body, out, err) : decide(r, body, out, err)) < 0)
        return -1;
    /* Answered in the version that was asked for, whatever the stored one. */
    if (out->object && out->object->resource == r->info.resource->storage) {
        struct object *stored = out->object;
        out->object = conversion_object(stored, r->info.resource);
        object_unref(stored);
    }
    return 0;
}
