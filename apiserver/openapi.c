/* SPDX-License-Identifier: Apache-2.0 */
/* openapi.c - /openapi/v2 and /openapi/v3: which document is asked for, and its making.
 *
 * A document is made anew each time it is asked for: that takes some milliseconds, clients keep it
 * by its hash, and a megabyte of text at rest would be for nobody.  The hashes need no document:
 * they are those of the tables it is made from. */
#include "apiserver/openapi.h"

#include <pthread.h>

#include "apiserver/documents.h"
#include "apiserver/openapi_document.h"
#include "apiserver/server.h"
#include "base/crypto.h"

#define V2 "/openapi/v2"
#define V3 "/openapi/v3"

#define SECURITY                                                                                   \
    "{\"BearerToken\":{\"type\":\"apiKey\",\"description\":\"Bearer Token authentication\","       \
    "\"name\":\"authorization\",\"in\":\"header\"}}"
#define INFO "\"info\":{\"title\":\"Kubernetes\",\"version\":\"v" KUBERNETES_VERSION "\"}"

/* ---- the digest of the tables ---- */

static void add_type(struct buffer *out, const struct schema_type *t)
{
    buffer_printf(out, "%s|%s|%d%d%d\n", t->name, t->doc ? t->doc : "", t->scalar, t->is_atomic,
                  t->preserve_unknown);
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct schema_field *f = &t->fields[i];
        buffer_printf(out, "%s|%s|%s|%s|%s|%x%x%x\n", f->name, f->doc ? f->doc : "", f->type->name,
                      f->default_json ? f->default_json : "",
                      f->patch_merge_key ? f->patch_merge_key : "", f->flags, f->card,
                      f->list_type);
        for (const char *const *e = f->enum_values; e && *e; e++)
            buffer_add_str(out, *e);
    }
}

static char digest[ETAG_BYTES];

static void make_digest(void)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, CORACLE_VERSION " " KUBERNETES_VERSION "\n");
    for (size_t i = 0; i < schema_types_n; i++)
        add_type(&text, &schema_types[i]);
    for (size_t i = 0; i < RESOURCES; i++)
        buffer_printf(&text, "%s|%s|%s|%x\n", resources[i].group, resources[i].version,
                      resources[i].plural, resources[i].verbs);
    etag_of(buffer_bytes(&text), digest);
}

/* The hash of the document of PATH, without quotes. */
static void hash_of(const char *path, char hash[ETAG_BYTES])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_digest);
    scoped(str) char *text = xasprintf("%s %s", digest, path);
    char etag[ETAG_BYTES];
    etag_of(bytes_of(text), etag);
    snprintf(hash, ETAG_BYTES, "%.64s", etag + 1);
}

/* ---- making ---- */

static void make_index(struct buffer *out)
{
    buffer_add_str(out, "{\"paths\":{");
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        char hash[ETAG_BYTES];
        scoped(str) char *path =
            xasprintf("%s%s/%s", *gv->group ? "apis/" : "api", gv->group, gv->version);
        hash_of(path, hash);
        openapi_comma(out);
        buffer_printf(out, "\"%s\":{\"serverRelativeURL\":\"" V3 "/%s?hash=%s\"}", path, path,
                      hash);
    }
    buffer_add_str(out, "}}");
}

static void make_v3(const struct api_group_version *gv, struct buffer *out)
{
    struct openapi_types types;
    openapi_types_init(&types);
    buffer_add_str(out, "{\"openapi\":\"3.0.0\"," INFO ",\"paths\":{");
    openapi_print_paths(OPENAPI_V3, gv, &types, out);
    buffer_add_str(out, "},\"components\":{\"schemas\":{");
    openapi_print_types(OPENAPI_V3, &types, out);
    buffer_add_str(out, "},\"securitySchemes\":" SECURITY "}}");
    openapi_types_deinit(&types);
}

static void make_v2(struct buffer *out)
{
    struct openapi_types types;
    openapi_types_init(&types);
    buffer_add_str(out, "{\"swagger\":\"2.0\"," INFO ",\"paths\":{");
    for (size_t i = 0; i < api_group_versions_n; i++)
        openapi_print_paths(OPENAPI_V2, &api_group_versions[i], &types, out);
    buffer_add_str(out, "},\"definitions\":{");
    openapi_print_types(OPENAPI_V2, &types, out);
    buffer_add_str(out,
                   "},\"securityDefinitions\":" SECURITY ",\"security\":[{\"BearerToken\":[]}]}");
    openapi_types_deinit(&types);
}

#define GNOSTIC      "application/com.github.proto-openapi.spec.v2"
#define GNOSTIC_TYPE GNOSTIC ".v1.0+protobuf"

/* The v2 document in protobuf; false if it cannot be made, which would be our own fault. */
static bool make_gnostic(struct buffer *out)
{
    scoped(arena) struct arena *arena = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    struct error err = { 0 };
    make_v2(&text);
    const struct json *doc = json_parse(buffer_bytes(&text), arena, NULL, &err);
    if (doc)
        openapi_encode_gnostic(doc, out);
    return doc != NULL;
}

/* "/openapi/v3/apis/apps/v1" -> the row of apps/v1; NULL if it is not served. */
static const struct api_group_version *group_version_of(const char *path)
{
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        scoped(str) char *own =
            xasprintf(V3 "/%s%s/%s", *gv->group ? "apis/" : "api", gv->group, gv->version);
        if (strcmp(own, path) == 0)
            return gv;
    }
    return NULL;
}

/* ---- serving ---- */

bool openapi_is_path(struct apiserver *a, struct bytes path, bool *is_ready)
{
    (void)a;
    *is_ready = bytes_equal_str(path, V3);
    return *is_ready || bytes_equal_str(path, V2) || bytes_has_prefix(path, BYTES(V3 "/"));
}

static void answer(struct document *out, int status, const char *content_type, struct buffer *text)
{
    out->status = status;
    out->content_type = content_type;
    out->body = shared_bytes_new(buffer_bytes(text));
}

static bool accepts_json(struct bytes accept)
{
    return !accept.len || memmem(accept.data, accept.len, "json", 4) ||
           memmem(accept.data, accept.len, "*/*", 3);
}

void openapi_serve(struct request *r, struct bytes path, struct bytes accept,
                   struct bytes if_none_match, struct document *out)
{
    char *text = arena_strndup(r->arena, path.data, path.len);
    bool is_index = strcmp(text, V3) == 0, is_v2 = strcmp(text, V2) == 0;
    const struct api_group_version *gv = group_version_of(text);
    scoped(buffer) struct buffer made = { 0 };
    *out = (struct document){ 0 };
    if (!is_index && !is_v2 && !gv) {
        buffer_add_str(&made, "404 page not found\n");
        answer(out, 404, "text/plain; charset=utf-8", &made);
        return;
    }
    bool is_gnostic =
        is_v2 && accept.len && memmem(accept.data, accept.len, GNOSTIC, strlen(GNOSTIC));
    if (!is_gnostic && !accepts_json(accept)) {
        buffer_add_str(&made, "only application/json is served here\n");
        answer(out, 406, "text/plain; charset=utf-8", &made);
        return;
    }
    char hash[ETAG_BYTES];
    hash_of(gv ? text + strlen(V3 "/") : text, hash);
    out->etag = arena_printf(r->arena, "\"%s%s\"", hash, is_gnostic ? "P" : "");
    const char *asked = r->query.len ? query_get(r->query, "hash", 0, r->arena) : NULL;
    if (gv && asked && strcmp(asked, hash) == 0) /* that document, for ever */
        out->cache_control = "public, immutable, max-age=31536000";
    if (etag_matches(if_none_match, out->etag)) {
        out->status = 304;
        out->content_type = is_gnostic ? GNOSTIC_TYPE : "application/json";
        return;
    }
    if (is_gnostic) {
        ensure(make_gnostic(&made));
        answer(out, 200, GNOSTIC_TYPE, &made);
        return;
    }
    if (is_index)
        make_index(&made);
    else if (is_v2)
        make_v2(&made);
    else
        make_v3(gv, &made);
    answer(out, 200, "application/json", &made);
}
