/* SPDX-License-Identifier: Apache-2.0 */
/* token_request.c - signs a service account's token, bound to an object if asked for. */
#include "apiserver/authn_token.h"
#include "apiserver/server.h"
#include "apiserver/uid.h"
#include "base/crypto.h"

#define EXPIRATION_DEFAULT_S 3600
/* Kubelets ask for 3607 s for the token that every pod gets.  Clients that read their token file
 * only once must go on working, so such a token lives a year and says from when on it is overdue.
 */
#define EXPIRATION_POD_DEFAULT_S 3607
#define EXPIRATION_EXTENDED_S    (365 * 24 * 3600)
#define EXPIRATION_MIN_S         600
#define EXPIRATION_MAX_S         (INT64_C(1) << 32)

struct token_parts {
    struct apiserver *server;
    const struct object *account;
    const struct json *spec;
    struct arena *arena;
    struct json *own; /* the "kubernetes.io" claim */
};

static void put_identity(struct token_parts *p, const char *claim, const char *name,
                         const char *uid)
{
    struct json *o = json_set_static(p->arena, p->own, claim, *json_new(p->arena, JSON_OBJECT));
    json_put_str(p->arena, o, "name", name);
    json_put_str(p->arena, o, "uid", uid);
}

static int bind_pod(struct token_parts *p, const struct object *pod, struct error *err)
{
    if (!str_equal(json_str(pod->doc, "spec.serviceAccountName", ""), p->account->key.name))
        return error_set(
            err, ERR_BAD_REQUEST,
            "cannot bind token for serviceaccount \"%s\" to pod running with different "
            "serviceaccount name.",
            p->account->key.name);
    put_identity(p, "pod", pod->key.name, pod->uid);
    const char *node_name = json_str(pod->doc, "spec.nodeName", "");
    if (!*node_name)
        return 0;
    struct object_key key = { "", node_name };
    scoped(object) struct object *node =
        watch_cache_get(watch_cache_of(p->server, &resources[RESOURCE_NODES]), &key);
    struct json *claim =
        json_set_static(p->arena, p->own, "node", *json_new(p->arena, JSON_OBJECT));
    json_put_str(p->arena, claim, "name", node_name);
    if (node)
        json_put_str(p->arena, claim, "uid", node->uid);
    return 0;
}

static int bind_object(struct token_parts *p, const struct json *ref, struct error *err)
{
    const char *kind = json_str(ref, "kind", "");
    const char *uid = json_str(ref, "uid", "");
    bool is_node = strcmp(kind, "Node") == 0;
    enum resource_id id = RESOURCE_PODS;
    if (strcmp(kind, "Secret") == 0)
        id = RESOURCE_SECRETS;
    else if (is_node)
        id = RESOURCE_NODES;
    else if (strcmp(kind, "Pod") != 0)
        return error_set(err, ERR_BAD_REQUEST, "cannot bind token to object of type %s, Kind=%s",
                         json_str(ref, "apiVersion", ""), kind);

    struct object_key key = { is_node ? "" : p->account->key.ns, json_str(ref, "name", "") };
    scoped(object) struct object *o =
        watch_cache_get(watch_cache_of(p->server, &resources[id]), &key);
    if (!o)
        return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", resources[id].plural, key.name);
    if (*uid && strcmp(uid, o->uid) != 0)
        return error_set(
            err, ERR_CONFLICT,
            "Operation cannot be fulfilled on %s \"%s\": the UID in the bound object "
            "reference (%s) does not match the UID in record. The object might have been "
            "deleted and then recreated",
            resources[id].plural, key.name, uid);
    if (id == RESOURCE_PODS)
        return bind_pod(p, o, err);
    put_identity(p, is_node ? "node" : "secret", o->key.name, o->uid);
    return 0;
}

static struct json audiences_of(const struct token_parts *p)
{
    const struct json *asked = json_get(p->spec, "audiences");
    if (asked && asked->len)
        return json_clone_value(asked, p->arena);
    struct json *list = json_new(p->arena, JSON_ARRAY);
    json_append(p->arena, list, json_string_value(p->arena, token_issuer(p->server)));
    return *list;
}

static bool is_for_this_server(const struct token_parts *p, const struct json *audiences)
{
    return audiences->len == 1 &&
           str_equal(json_text(&audiences->items[0]), token_issuer(p->server));
}

static int sign(struct token_parts *p, const struct json *audiences, int64_t lifetime_s,
                struct bytes *token, struct error *err)
{
    struct arena *a = p->arena;
    int64_t now = clock_wall_ns(p->server->clock) / NS_PER_S;
    bool is_extended = lifetime_s == EXPIRATION_POD_DEFAULT_S && json_get(p->own, "pod") &&
                       is_for_this_server(p, audiences);
    if (is_extended)
        json_put_int(a, p->own, "warnafter", now + lifetime_s);
    struct json *claims = json_new(a, JSON_OBJECT);
    json_set_static(a, claims, "aud", *audiences);
    json_put_int(a, claims, "exp", now + (is_extended ? EXPIRATION_EXTENDED_S : lifetime_s));
    json_put_int(a, claims, "iat", now);
    json_put_str(a, claims, "iss", token_issuer(p->server));
    json_put_str(a, claims, "jti", uid_new(p->server->rng, a));
    json_set_static(a, claims, "kubernetes.io", *p->own);
    json_put_int(a, claims, "nbf", now);
    json_put_str(
        a, claims, "sub",
        arena_printf(a, "system:serviceaccount:%s:%s", p->account->key.ns, p->account->key.name));
    scoped(buffer) struct buffer text = { 0 };
    json_print(claims, &text);
    return jwt_sign(token_key(p->server), buffer_bytes(&text), a, token, err);
}

static int check_lifetime(int64_t lifetime_s, struct error *err)
{
    if (lifetime_s >= EXPIRATION_MIN_S && lifetime_s <= EXPIRATION_MAX_S)
        return 0;
    return error_set(
        err, ERR_INVALID,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid "
        "value: %lld: may not specify a duration %s",
        (long long)lifetime_s,
        lifetime_s < EXPIRATION_MIN_S ? "less than 10 minutes" : "larger than 2^32 seconds");
}

int token_request(struct apiserver *a, const struct object *service_account,
                  const struct json *request_doc, struct arena *arena, struct json **out,
                  struct error *err)
{
    struct token_parts p = { a, service_account, json_get(request_doc, "spec"), arena,
                             json_new(arena, JSON_OBJECT) };
    int64_t lifetime_s = json_int(p.spec, "expirationSeconds", EXPIRATION_DEFAULT_S);
    if (check_lifetime(lifetime_s, err) < 0)
        return -1;
    json_put_str(arena, p.own, "namespace", service_account->key.ns);
    const struct json *ref = json_get(p.spec, "boundObjectRef");
    if (json_is(ref, JSON_OBJECT) && bind_object(&p, ref, err) < 0)
        return -1;
    put_identity(&p, "serviceaccount", service_account->key.name, service_account->uid);

    const struct json audiences = audiences_of(&p);
    struct bytes token;
    if (sign(&p, &audiences, lifetime_s, &token, err) < 0)
        return error_wrap(err, "sign a token for %s/%s", service_account->key.ns,
                          service_account->key.name);

    char now[TIME_TEXT_BYTES], expiry[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(a->clock), now);
    time_format(clock_wall_ns(a->clock) + lifetime_s * NS_PER_S, expiry);
    struct json *answer = json_clone(request_doc, arena);
    json_put_str(arena, answer, "metadata.name", service_account->key.name);
    json_put_str(arena, answer, "metadata.namespace", service_account->key.ns);
    json_put_str(arena, answer, "metadata.creationTimestamp", now);
    json_put(arena, answer, "spec.audiences", audiences);
    json_put_int(arena, answer, "spec.expirationSeconds", lifetime_s);
    json_put_str(arena, answer, "status.token", arena_strndup(arena, token.data, token.len));
    json_put_str(arena, answer, "status.expirationTimestamp", expiry);
    *out = answer;
    return 0;
}
