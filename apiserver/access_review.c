/* SPDX-License-Identifier: Apache-2.0 */
/* access_review.c - answers to questions about users and rights: the kinds that are created but not
 * stored (`kubectl auth can-i`, `kubectl auth whoami`, webhooks of other servers). */
#include "api/status.h"
#include "apiserver/authn.h"
#include "apiserver/authz.h"
#include "apiserver/authz_rbac.h"
#include "apiserver/policy.h"
#include "apiserver/server.h"

struct review {
    struct request *request;
    struct arena *arena;
    const struct json *spec;
    struct json *answer, *status;
};

static const char *const *strings_of(const struct json *list, struct arena *a)
{
    const char **out = arena_alloc(a, ((list ? list->len : 0) + 1) * sizeof(char *));
    size_t n = 0;
    json_each_item (list, item) {
        if (json_text(item))
            out[n++] = json_text(item);
    }
    out[n] = NULL;
    return out;
}

static struct json strings_json(const char *const *list, struct arena *a)
{
    struct json *array = json_new(a, JSON_ARRAY);
    for (; list && *list; list++)
        json_append(a, array, json_string_value(a, *list));
    return *array;
}

static struct json user_json(const struct user *user, struct arena *a)
{
    struct json *o = json_new(a, JSON_OBJECT);
    json_put_str(a, o, "username", user->name);
    if (!str_empty(user->uid))
        json_put_str(a, o, "uid", user->uid);
    if (user->groups[0])
        json_put(a, o, "groups", strings_json(user->groups, a));
    if (!user->extra || !user->extra->key)
        return *o;
    struct json *extra = json_new(a, JSON_OBJECT);
    for (const struct user_extra *e = user->extra; e->key; e++)
        json_set(a, extra, e->key, strings_json(e->values, a));
    json_set_static(a, o, "extra", *extra);
    return *o;
}

/* ---- who ---- */

static int review_self(struct review *v, struct error *err)
{
    (void)err;
    json_put(v->arena, v->status, "userInfo", user_json(&v->request->user, v->arena));
    return 0;
}

static int review_token(struct review *v, struct error *err)
{
    const char *token = json_str(v->spec, "token", "");
    if (!*token)
        return error_set(err, ERR_BAD_REQUEST,
                         "token is required for TokenReview in authentication");
    struct user user;
    const char *const *audiences;
    struct error why = { 0 };
    if (authenticate_token(v->request->server, bytes_of(token),
                           strings_of(json_get(v->spec, "audiences"), v->arena), v->arena, &user,
                           &audiences, &why) < 0) {
        json_put_bool(v->arena, v->status, "authenticated", false);
        json_put(v->arena, v->status, "user", *json_new(v->arena, JSON_OBJECT));
        json_put_str(v->arena, v->status, "error", arena_printf(v->arena, "[%s]", why.message));
        return 0;
    }
    json_put_bool(v->arena, v->status, "authenticated", true);
    json_put(v->arena, v->status, "user", user_json(&user, v->arena));
    json_put(v->arena, v->status, "audiences", strings_json(audiences, v->arena));
    return 0;
}

/* ---- may they ---- */

static int invalid(struct review *v, const char *path, enum field_error_type type,
                   const char *detail, struct error *err)
{
    struct field_errors errors = { .arena = v->arena };
    field_error_add(&errors, type, path, NULL, detail);
    return status_invalid(err, v->request->info.resource, "", &errors);
}

static int fill_attributes(struct review *v, struct attributes *at, struct error *err)
{
    const struct json *of = json_get(v->spec, "resourceAttributes");
    const struct json *path = json_get(v->spec, "nonResourceAttributes");
    if (of && path)
        return invalid(
            v, "spec.nonResourceAttributes", FIELD_INVALID,
            "cannot specify nonResourceAttributes in combination with resourceAttributes", err);
    if (!of && !path)
        return invalid(
            v, "spec.resourceAttributes", FIELD_INVALID,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified", err);
    at->is_resource_request = of != NULL;
    at->verb = json_str(of ? of : path, "verb", "");
    at->path = json_str(path, "path", "");
    at->group = json_str(of, "group", "");
    at->version = json_str(of, "version", "");
    at->resource = json_str(of, "resource", "");
    at->subresource = json_str(of, "subresource", "");
    at->ns = json_str(of, "namespace", "");
    at->name = json_str(of, "name", "");
    const struct json *fields = json_get(of, "fieldSelector");
    at->field_selector = fields ? json_str(fields, "rawSelector", "") : "";
    return 0;
}

static int decide(struct review *v, const struct user *user, struct error *err)
{
    struct attributes at = { .user = user };
    char reason[AUTHZ_REASON_BYTES];
    if (fill_attributes(v, &at, err) < 0)
        return -1;
    json_put_bool(v->arena, v->status, "allowed", authorize(v->request->server, &at, reason));
    if (*reason)
        json_put_str(v->arena, v->status, "reason", reason);
    return 0;
}

static int review_own_access(struct review *v, struct error *err)
{
    return decide(v, &v->request->user, err);
}

static int review_access(struct review *v, struct error *err)
{
    const struct json *groups = json_get(v->spec, "groups");
    struct user user = { .name = json_str(v->spec, "user", ""),
                         .uid = json_str(v->spec, "uid", ""),
                         .groups = strings_of(groups, v->arena) };
    if (!*user.name && !user.groups[0])
        return invalid(v, "spec.user", FIELD_INVALID,
                       "at least one of user or group must be specified", err);
    return decide(v, &user, err);
}

static int review_local_access(struct review *v, struct error *err)
{
    const char *ns = v->request->info.ns;
    if (json_get(v->spec, "nonResourceAttributes"))
        return invalid(v, "spec.nonResourceAttributes", FIELD_INVALID,
                       "disallowed on this kind of request", err);
    if (!str_equal(json_str(v->spec, "resourceAttributes.namespace", ""), ns))
        return error_set(err, ERR_BAD_REQUEST,
                         "spec.resourceAttributes.namespace must match namespace: %s", ns);
    return review_access(v, err);
}

static void add_rule(const struct json *rule, void *arg)
{
    struct review *v = arg;
    static const char *const members[] = { "verbs", "apiGroups", "resources", "resourceNames" };
    struct json *out = json_new(v->arena, JSON_OBJECT);
    const struct json *urls = json_get(rule, "nonResourceURLs");
    if (urls && urls->len) {
        json_put(v->arena, out, "verbs", json_clone_value(json_get(rule, "verbs"), v->arena));
        json_put(v->arena, out, "nonResourceURLs", json_clone_value(urls, v->arena));
        json_append(v->arena, json_find(v->status, "nonResourceRules"), *out);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(rule, members[i]))
            json_set(v->arena, out, members[i],
                     json_clone_value(json_get(rule, members[i]), v->arena));
    json_append(v->arena, json_find(v->status, "resourceRules"), *out);
}

static int review_own_rules(struct review *v, struct error *err)
{
    const char *ns = json_str(v->spec, "namespace", "");
    if (!*ns)
        return error_set(err, ERR_BAD_REQUEST, "no namespace on request");
    json_put(v->arena, v->status, "resourceRules", *json_new(v->arena, JSON_ARRAY));
    json_put(v->arena, v->status, "nonResourceRules", *json_new(v->arena, JSON_ARRAY));
    json_put_bool(v->arena, v->status, "incomplete", false);
    rbac_each_rule(v->request->server->policy->rbac, &v->request->user, ns, add_rule, v);
    return 0;
}

static const struct {
    const char *kind;
    int (*review)(struct review *v, struct error *err);
} reviews[] = {
    { "SelfSubjectReview", review_self },
    { "TokenReview", review_token },
    { "SelfSubjectAccessReview", review_own_access },
    { "SubjectAccessReview", review_access },
    { "LocalSubjectAccessReview", review_local_access },
    { "SelfSubjectRulesReview", review_own_rules },
};

int review_create(struct request *r, const struct json *doc, struct json **out, struct error *err)
{
    struct review v = { .request = r, .arena = r->arena, .spec = json_get(doc, "spec") };
    v.answer = json_clone(doc, r->arena);
    json_remove(v.answer, "status");
    v.status = json_new(r->arena, JSON_OBJECT);
    for (size_t i = 0; i < ARRAY_LEN(reviews); i++) {
        if (strcmp(reviews[i].kind, r->info.resource->kind) != 0)
            continue;
        if (reviews[i].review(&v, err) < 0)
            return -1;
        json_set_static(r->arena, v.answer, "status", *v.status);
        *out = v.answer;
        return 0;
    }
    return error_set(err, ERR_METHOD_NOT_ALLOWED, "%s cannot be created", r->info.resource->kind);
}
