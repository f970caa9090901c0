/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.c - what is served, as lists of groups, versions and resources, from the tables. */
#include "apiserver/discovery.h"

#include "apiserver/authn_token.h"
#include "apiserver/documents.h"
#include "apiserver/negotiate.h"
#include "apiserver/server.h"

enum form { FORM_LEGACY, FORM_V2, FORM_V2BETA1 };

static const char *const aggregated_versions[] = { "", "v2", "v2beta1" };

/* ---- pieces of JSON; every name here is our own and needs no escaping ---- */

static void add_member(struct buffer *out, const char *name, const char *value)
{
    buffer_printf(out, "\"%s\":\"%s\"", name, value);
}

static void add_comma(struct buffer *out)
{
    char last = out->len ? out->data[out->len - 1] : '{';
    if (last != '{' && last != '[' && last != ':')
        buffer_add_char(out, ',');
}

static void add_strings(struct buffer *out, const char *name, const char *const *list)
{
    if (!list || !*list)
        return;
    buffer_printf(out, ",\"%s\":[", name);
    for (; *list; list++) {
        add_comma(out);
        buffer_printf(out, "\"%s\"", *list);
    }
    buffer_add_char(out, ']');
}

static void add_verbs(struct buffer *out, unsigned verbs)
{
    static const struct {
        unsigned verb;
        const char *name;
    } names[] = { /* alphabetical, as upstream lists them */
                  { VERB_CREATE, "create" },
                  { VERB_DELETE, "delete" },
                  { VERB_DELETECOLLECTION, "deletecollection" },
                  { VERB_GET, "get" },
                  { VERB_LIST, "list" },
                  { VERB_PATCH, "patch" },
                  { VERB_UPDATE, "update" },
                  { VERB_WATCH, "watch" }
    };
    buffer_add_str(out, "\"verbs\":[");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!(verbs & names[i].verb))
            continue;
        add_comma(out);
        buffer_printf(out, "\"%s\"", names[i].name);
    }
    buffer_add_char(out, ']');
}

static void add_group_version(struct buffer *out, const char *group, const char *version)
{
    buffer_printf(out, "%s%s%s", group, *group ? "/" : "", version);
}

static bool serves(const struct resource *r, const struct api_group_version *gv)
{
    return strcmp(r->group, gv->group) == 0 && strcmp(r->version, gv->version) == 0;
}

/* ---- legacy lists ---- */

static void legacy_subresource(struct buffer *out, const struct resource *r,
                               const struct resource_subresource *s)
{
    add_comma(out);
    buffer_printf(out, "{\"name\":\"%s/%s\",\"singularName\":\"\",\"namespaced\":%s,", r->plural,
                  s->name, r->namespaced ? "true" : "false");
    if (s->group)
        buffer_printf(out, "\"group\":\"%s\",\"version\":\"%s\",", s->group, s->version);
    add_member(out, "kind", s->kind);
    buffer_add_char(out, ',');
    add_verbs(out, s->verbs);
    buffer_add_char(out, '}');
}

static void legacy_resource(struct buffer *out, const struct resource *r)
{
    add_comma(out);
    buffer_printf(out,
                  "{\"name\":\"%s\",\"singularName\":\"%s\",\"namespaced\":%s,\"kind\":\"%s\",",
                  r->plural, r->singular, r->namespaced ? "true" : "false", r->kind);
    add_verbs(out, r->verbs);
    add_strings(out, "shortNames", r->short_names);
    add_strings(out, "categories", r->categories);
    if (!str_empty(r->storage_version_hash))
        buffer_printf(out, ",\"storageVersionHash\":\"%s\"", r->storage_version_hash);
    buffer_add_char(out, '}');
    for (size_t i = 0; i < r->subresources_n; i++)
        legacy_subresource(out, r, &r->subresources[i]);
}

static void legacy_resource_list(struct buffer *out, const struct api_group_version *gv)
{
    buffer_add_str(out, "{\"kind\":\"APIResourceList\",");
    if (*gv->group)
        buffer_add_str(out, "\"apiVersion\":\"v1\",");
    buffer_add_str(out, "\"groupVersion\":\"");
    add_group_version(out, gv->group, gv->version);
    buffer_add_str(out, "\",\"resources\":[");
    for (size_t i = 0; i < RESOURCES; i++)
        if (serves(&resources[i], gv))
            legacy_resource(out, &resources[i]);
    buffer_add_str(out, "]}\n");
}

static void legacy_version(struct buffer *out, const struct api_group_version *gv)
{
    buffer_add_str(out, "{\"groupVersion\":\"");
    add_group_version(out, gv->group, gv->version);
    buffer_printf(out, "\",\"version\":\"%s\"}", gv->version);
}

/* The members of one APIGroup; GV is its first version. */
static void legacy_group(struct buffer *out, const struct api_group_version *gv)
{
    const struct api_group_version *preferred = gv;
    buffer_printf(out, "\"name\":\"%s\",\"versions\":[", gv->group);
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *v = &api_group_versions[i];
        if (strcmp(v->group, gv->group) != 0)
            continue;
        add_comma(out);
        legacy_version(out, v);
        if (v->is_preferred)
            preferred = v;
    }
    buffer_add_str(out, "],\"preferredVersion\":");
    legacy_version(out, preferred);
}

/* The row of GROUP's first version; NULL for a group that is not served. */
static const struct api_group_version *group_find(const char *group)
{
    for (size_t i = 0; i < api_group_versions_n; i++)
        if (strcmp(api_group_versions[i].group, group) == 0)
            return &api_group_versions[i];
    return NULL;
}

static void legacy_group_list(struct buffer *out)
{
    buffer_add_str(out, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        if (!*gv->group || group_find(gv->group) != gv)
            continue;
        add_comma(out);
        buffer_add_char(out, '{');
        legacy_group(out, gv);
        buffer_add_char(out, '}');
    }
    buffer_add_str(out, "]}\n");
}

static void legacy_versions(struct buffer *out, const struct apiserver *a)
{
    const char *host =
        str_empty(a->config.advertise_address) ? "127.0.0.1" : a->config.advertise_address;
    bool is_v6 = strchr(host, ':') != NULL;
    buffer_printf(out,
                  "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":"
                  "[{\"clientCIDR\":\"0.0.0.0/0\",\"serverAddress\":\"%s%s%s:%d\"}]}\n",
                  is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                  a->http ? http_server_port(a->http) : a->config.port);
}

/* ---- the aggregated form ---- */

static void response_kind(struct buffer *out, const char *group, const char *version,
                          const char *kind)
{
    buffer_printf(out, "\"responseKind\":{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}",
                  group, version, kind);
}

static void aggregated_subresource(struct buffer *out, const struct resource *r,
                                   const struct resource_subresource *s)
{
    add_comma(out);
    buffer_printf(out, "{\"subresource\":\"%s\",", s->name);
    response_kind(out, s->group ? s->group : r->group, s->group ? s->version : r->version, s->kind);
    buffer_add_char(out, ',');
    add_verbs(out, s->verbs);
    buffer_add_char(out, '}');
}

static void aggregated_resource(struct buffer *out, const struct resource *r)
{
    add_comma(out);
    buffer_printf(out, "{\"resource\":\"%s\",", r->plural);
    response_kind(out, r->group, r->version, r->kind);
    buffer_printf(out, ",\"scope\":\"%s\",\"singularResource\":\"%s\",",
                  r->namespaced ? "Namespaced" : "Cluster", r->singular);
    add_verbs(out, r->verbs);
    add_strings(out, "shortNames", r->short_names);
    add_strings(out, "categories", r->categories);
    if (r->subresources_n) {
        buffer_add_str(out, ",\"subresources\":[");
        for (size_t i = 0; i < r->subresources_n; i++)
            aggregated_subresource(out, r, &r->subresources[i]);
        buffer_add_char(out, ']');
    }
    buffer_add_char(out, '}');
}

static void aggregated_version(struct buffer *out, const struct api_group_version *gv)
{
    add_comma(out);
    buffer_printf(out, "{\"version\":\"%s\",\"resources\":[", gv->version);
    for (size_t i = 0; i < RESOURCES; i++)
        if (serves(&resources[i], gv))
            aggregated_resource(out, &resources[i]);
    buffer_add_str(out, "],\"freshness\":\"Current\"}");
}

static void aggregated_group(struct buffer *out, const struct api_group_version *gv)
{
    add_comma(out);
    buffer_add_str(out, "{\"metadata\":{");
    if (*gv->group)
        buffer_printf(out, "\"name\":\"%s\",", gv->group);
    buffer_add_str(out, "\"creationTimestamp\":null},\"versions\":[");
    for (size_t i = 0; i < api_group_versions_n; i++)
        if (strcmp(api_group_versions[i].group, gv->group) == 0)
            aggregated_version(out, &api_group_versions[i]);
    buffer_add_str(out, "]}");
}

static void aggregated_list(struct buffer *out, enum form form, bool is_core)
{
    buffer_printf(out,
                  "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/%s\","
                  "\"metadata\":{},\"items\":[",
                  aggregated_versions[form]);
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        if (group_find(gv->group) == gv && !*gv->group == is_core)
            aggregated_group(out, gv);
    }
    buffer_add_str(out, "]}\n");
}

/* ---- the list of paths ---- */

static void root_paths(struct buffer *out)
{
    static const char *const others[] = { "/healthz",    "/livez",      "/metrics",
                                          "/openapi/v2", "/openapi/v3", "/openid/v1/jwks",
                                          "/readyz",     "/version" };
    buffer_add_str(
        out, "{\"paths\":[\"/.well-known/openid-configuration\",\"/api\",\"/api/v1\",\"/apis\","
             "\"/apis/\"");
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        if (!*gv->group)
            continue;
        if (group_find(gv->group) == gv)
            buffer_printf(out, ",\"/apis/%s\"", gv->group);
        buffer_printf(out, ",\"/apis/%s/%s\"", gv->group, gv->version);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        buffer_printf(out, ",\"%s\"", others[i]);
    buffer_add_str(out, "]}\n");
}

/* ---- serving ---- */

static bool contains(struct bytes text, const char *word)
{
    return text.len && memmem(text.data, text.len, word, strlen(word));
}

/* The first of the media types in ACCEPT that we have. */
static enum form form_of(struct bytes accept)
{
    while (accept.len) {
        const char *comma = memchr(accept.data, ',', accept.len);
        struct bytes type = { accept.data, comma ? (size_t)(comma - accept.data) : accept.len };
        if (contains(type, "as=APIGroupDiscoveryList") && contains(type, "g=apidiscovery.k8s.io") &&
            contains(type, "application/json"))
            return contains(type, "v=v2beta1") ? FORM_V2BETA1 : FORM_V2;
        if (contains(type, "application/json") || contains(type, "*/*"))
            return FORM_LEGACY;
        accept =
            comma ? (struct bytes){ comma + 1, accept.len - type.len - 1 } : (struct bytes){ 0 };
    }
    return FORM_LEGACY;
}

static bool make_openid(struct apiserver *a, const char *path, struct buffer *out)
{
    scoped(arena) struct arena *arena = arena_new();
    struct error err = { 0 };
    struct bytes text;
    int rc = strcmp(path, "/openid/v1/jwks") == 0
                 ? token_jwks(a, arena, &text, &err)
                 : token_openid_configuration(a, arena, &text, &err);
    if (rc == 0)
        buffer_add_bytes(out, text);
    return rc == 0;
}

/* The document of PATH; false if nothing is served there. */
static bool make(struct apiserver *a, const char *path, enum form form, struct buffer *out)
{
    if (strcmp(path, "/openid/v1/jwks") == 0 ||
        strcmp(path, "/.well-known/openid-configuration") == 0)
        return make_openid(a, path, out);
    if (strcmp(path, "/") == 0)
        root_paths(out);
    else if (form != FORM_LEGACY)
        aggregated_list(out, form, strcmp(path, "/api") == 0);
    else if (strcmp(path, "/api") == 0)
        legacy_versions(out, a);
    else if (strcmp(path, "/apis") == 0)
        legacy_group_list(out);
    else
        return false;
    return true;
}

/* VERSION NULL: the group itself. */
static bool make_group(const char *group, const char *version, struct buffer *out)
{
    if (!version) {
        const struct api_group_version *gv = *group ? group_find(group) : NULL;
        if (!gv)
            return false;
        buffer_add_str(out, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",");
        legacy_group(out, gv);
        buffer_add_str(out, "}\n");
        return true;
    }
    for (size_t i = 0; i < api_group_versions_n; i++) {
        const struct api_group_version *gv = &api_group_versions[i];
        if (strcmp(gv->group, group) == 0 && strcmp(gv->version, version) == 0) {
            legacy_resource_list(out, gv);
            return true;
        }
    }
    return false;
}

/* Splits /api/VERSION, /apis/GROUP and /apis/GROUP/VERSION; false for every other path. */
static bool split_group_path(char *path, const char **group, const char **version)
{
    if (strncmp(path, "/api/", 5) == 0) {
        *group = "";
        *version = path + 5;
        return **version && !strchr(*version, '/');
    }
    if (strncmp(path, "/apis/", 6) != 0 || !path[6])
        return false;
    *group = path + 6;
    *version = NULL;
    char *slash = strchr(*group, '/');
    if (!slash)
        return true;
    *slash = 0;
    *version = slash + 1;
    return **version && !strchr(*version, '/');
}

static const char *content_type(const char *path, enum form form)
{
    if (form == FORM_V2)
        return "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    if (form == FORM_V2BETA1)
        return "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    return strcmp(path, "/openid/v1/jwks") == 0 ? "application/jwk-set+json" : "application/json";
}

static void not_found(struct document *out)
{
    *out = (struct document){ .status = 404,
                              .content_type = "text/plain; charset=utf-8",
                              .body = shared_bytes_new(BYTES("404 page not found\n")) };
}

/* The keys of tokens are for machines. */
static bool is_indented(const struct request *r, const char *path)
{
    return str_has_prefix(path, "/api") && negotiate_pretty(r->query, r->user_agent, r->arena);
}

static void indent(struct buffer *text)
{
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    const struct json *doc = json_parse(buffer_bytes(text), a, NULL, &err);
    ensure(doc); /* we have printed it */
    buffer_clear(text);
    json_print_pretty(doc, text);
}

bool discovery_serve(struct request *r, struct bytes path, struct bytes accept,
                     struct document *out)
{
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    char *text = arena_strndup(r->arena, path.data, path.len);
    enum form form = FORM_LEGACY;
    if (strcmp(text, "/api") == 0 || strcmp(text, "/apis") == 0)
        form = form_of(accept);

    bool is_root = str_equal(text, "/"), is_pretty = is_root || is_indented(r, text);
    char *name = arena_printf(r->arena, "%s|%d%s", text, form, is_pretty ? "|pretty" : "");
    char *etag = arena_alloc(r->arena, ETAG_BYTES);
    struct shared_bytes *body = documents_find(r->server, name, etag);
    if (!body) {
        scoped(buffer) struct buffer made = { 0 };
        const char *group, *version;
        bool is_made = make(r->server, text, form, &made);
        if (!is_made) {
            if (!split_group_path(arena_strdup(r->arena, text), &group, &version))
                return false;
            if (!make_group(group, version, &made)) {
                not_found(out);
                return true;
            }
        }
        if (is_pretty)
            indent(&made);
        body = documents_keep(r->server, name, buffer_bytes(&made), etag);
    }
    *out = (struct document){
        .status = 200, .content_type = content_type(text, form), .etag = etag, .body = body
    };
    if (r->http && etag_matches(http_request_header(r->http, "if-none-match"), etag)) {
        shared_bytes_unref(out->body);
        out->body = NULL;
        out->status = 304;
    }
    return true;
}
