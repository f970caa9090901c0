/* SPDX-License-Identifier: Apache-2.0 */
/* request_info.c - URLs to verbs and resources, by upstream's rules. */
#include "apiserver/request_info.h"

#define PATH_PARTS_MAX 64

static const char *const verb_names[] = {
    [REQUEST_OTHER] = "",
    [REQUEST_GET] = "get",
    [REQUEST_LIST] = "list",
    [REQUEST_WATCH] = "watch",
    [REQUEST_CREATE] = "create",
    [REQUEST_UPDATE] = "update",
    [REQUEST_PATCH] = "patch",
    [REQUEST_DELETE] = "delete",
    [REQUEST_DELETECOLLECTION] = "deletecollection",
};

static const struct {
    const char *method;
    enum request_verb verb;
} methods[] = {
    { "GET", REQUEST_GET },    { "HEAD", REQUEST_GET },    { "POST", REQUEST_CREATE },
    { "PUT", REQUEST_UPDATE }, { "PATCH", REQUEST_PATCH }, { "DELETE", REQUEST_DELETE },
};

static enum request_verb verb_of_method(struct bytes method)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (bytes_equal_str(method, methods[i].method))
            return methods[i].verb;
    return REQUEST_OTHER;
}

struct parts {
    const char *items[PATH_PARTS_MAX];
    size_t n;
    const char *rest[PATH_PARTS_MAX]; /* the path from each part on, without its '/' */
};

static void split(const char *path, struct arena *a, struct parts *out)
{
    while (*path == '/')
        path++;
    while (*path && out->n < PATH_PARTS_MAX) {
        const char *end = strchr(path, '/');
        size_t len = end ? (size_t)(end - path) : strlen(path);
        out->items[out->n] = arena_strndup(a, path, len);
        out->rest[out->n++] = path;
        path += len;
        if (*path == '/')
            path++;
    }
}

static void drop_parts(struct parts *p, size_t n)
{
    memmove(p->items, p->items + n, (p->n - n) * sizeof(p->items[0]));
    memmove(p->rest, p->rest + n, (p->n - n) * sizeof(p->rest[0]));
    p->n -= n;
}

const char *request_info_selected_name(const char *selector)
{
    static const char name_is[] = "metadata.name=";
    if (!selector || !str_has_prefix(selector, name_is) || strchr(selector, ','))
        return "";
    const char *name = selector + sizeof(name_is) - 1;
    return *name == '=' ? name + 1 : name;
}

static void refine_verb(struct request_info *info, struct bytes query, struct arena *a)
{
    if (*info->name)
        return;
    if (info->verb == REQUEST_DELETE)
        info->verb = REQUEST_DELETECOLLECTION;
    if (info->verb == REQUEST_GET)
        info->verb = query_is_true(query, "watch", a) ? REQUEST_WATCH : REQUEST_LIST;
    if (info->verb == REQUEST_LIST || info->verb == REQUEST_WATCH)
        info->name = request_info_selected_name(query_get(query, "fieldSelector", 0, a));
}

/* PARTS begin after the version. */
static void parse_resource(struct request_info *info, struct parts *p, struct bytes query,
                           struct arena *a)
{
    info->is_resource_request = true;
    bool is_watch_path = p->n > 1 && str_equal(p->items[0], "watch");
    if (is_watch_path)
        drop_parts(p, 1);
    if (str_equal(p->items[0], "namespaces") && p->n > 1) {
        info->ns = p->items[1];
        if (p->n > 2 && !str_equal(p->items[2], "status") && !str_equal(p->items[2], "finalize"))
            drop_parts(p, 2);
    }
    info->plural = p->items[0];
    if (p->n > 1)
        info->name = p->items[1];
    if (p->n > 2)
        info->subresource = p->items[2];
    if (p->n > 3)
        info->subpath = arena_printf(a, "/%s", p->rest[3]);
    else if (p->n == 3 && info->path[strlen(info->path) - 1] == '/')
        info->subpath = "/";
    refine_verb(info, query, a);
    if (is_watch_path)
        info->verb = REQUEST_WATCH;
    info->verb_name = verb_names[info->verb];
    info->resource = resource_find(info->group, info->version, info->plural);
    if (info->resource && *info->subresource)
        info->sub = resource_subresource(info->resource, info->subresource);
}

static char *lower(struct bytes b, struct arena *a)
{
    char *s = arena_strndup(a, b.data, b.len);
    for (char *c = s; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return s;
}

int request_info_parse(struct bytes method, struct bytes path, struct bytes query, struct arena *a,
                       struct request_info *out, struct error *err)
{
    struct bytes decoded;
    if (url_decode(path, false, a, &decoded) < 0 || memchr(decoded.data, 0, decoded.len))
        return error_set(err, ERR_BAD_REQUEST, "the path of the request is malformed");
    const char *text = arena_strndup(a, decoded.data, decoded.len);
    *out = (struct request_info){ .verb = verb_of_method(method),
                                  .path = text,
                                  .group = "",
                                  .version = "",
                                  .plural = "",
                                  .subresource = "",
                                  .subpath = "",
                                  .ns = "",
                                  .name = "" };
    struct parts parts = { 0 };
    split(text, a, &parts);

    if (parts.n >= 3 && str_equal(parts.items[0], "api")) {
        out->version = parts.items[1];
        drop_parts(&parts, 2);
        parse_resource(out, &parts, query, a);
    } else if (parts.n >= 4 && str_equal(parts.items[0], "apis")) {
        out->group = parts.items[1];
        out->version = parts.items[2];
        drop_parts(&parts, 3);
        parse_resource(out, &parts, query, a);
    } else {
        out->verb = REQUEST_OTHER;
        out->verb_name = lower(method, a);
    }
    return 0;
}

void request_info_make(struct request_info *out, enum request_verb verb, const struct resource *r,
                       const struct object_key *key, const char *subresource, struct arena *a)
{
    *out = (struct request_info){
        .is_resource_request = true,
        .verb = verb,
        .verb_name = verb_names[verb],
        .path = "",
        .group = r->group,
        .version = r->version,
        .plural = r->plural,
        .subresource = subresource ? arena_strdup(a, subresource) : "",
        .subpath = "",
        .ns = key->ns ? arena_strdup(a, key->ns) : "",
        .name = key->name ? arena_strdup(a, key->name) : "",
        .resource = r,
    };
    if (*out->subresource)
        out->sub = resource_subresource(r, out->subresource);
}
