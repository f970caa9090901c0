/* SPDX-License-Identifier: Apache-2.0 */
/* authn_token.c - who a service-account token says is asking, and whether that still holds. */
#include "apiserver/authn_token.h"

#include <pthread.h>

#include "apiserver/pki.h"
#include "apiserver/server.h"
#include "base/hashmap.h"

/* A clock may be this much behind the signer's. */
#define LEEWAY_S 60

/* A token whose signature was good: that never changes.  What it is bound to may, so that is looked
 * up each time. */
struct verified {
    uint8_t digest[SHA256_BYTES];
    struct arena *arena;
    const struct json *claims;
};

struct tokens {
    char *issuer;
    pthread_mutex_t lock; /* a leaf of the lock order; guards all below */
    struct hashmap by_digest;
    struct verified *ring[TOKEN_CACHE_ENTRIES_MAX]; /* in the order they came */
    size_t next;
};

int authn_start(struct apiserver *a, struct error *err)
{
    (void)err;
    const char *domain = a->config.cluster_domain;
    struct tokens *t = xcalloc(1, sizeof(*t));
    t->issuer = xasprintf("https://kubernetes.default.svc.%s",
                          str_empty(domain) ? "cluster.local" : domain);
    pthread_mutex_init(&t->lock, NULL);
    a->tokens = t;
    return 0;
}

static void verified_free(struct verified *v)
{
    if (!v)
        return;
    arena_free(v->arena);
    free(v);
}

void authn_stop(struct apiserver *a)
{
    struct tokens *t = take_ptr(&a->tokens);
    if (!t)
        return;
    for (size_t i = 0; i < TOKEN_CACHE_ENTRIES_MAX; i++)
        verified_free(t->ring[i]);
    hashmap_deinit(&t->by_digest);
    pthread_mutex_destroy(&t->lock);
    free(t->issuer);
    free(t);
}

const char *token_issuer(const struct apiserver *a)
{
    return a->tokens->issuer;
}

const struct jwt_key *token_key(const struct apiserver *a)
{
    return pki_token_key(a->pki);
}

/* ---- the cache ---- */

static struct json *cache_find(struct tokens *t, const uint8_t digest[SHA256_BYTES],
                               struct arena *arena)
{
    pthread_mutex_lock(&t->lock);
    const struct verified *v =
        hashmap_get(&t->by_digest, (struct bytes){ (const char *)digest, SHA256_BYTES });
    struct json *claims = v ? json_clone(v->claims, arena) : NULL;
    pthread_mutex_unlock(&t->lock);
    return claims;
}

static void cache_add(struct tokens *t, const uint8_t digest[SHA256_BYTES],
                      const struct json *claims)
{
    struct verified *v = xcalloc(1, sizeof(*v));
    memcpy(v->digest, digest, SHA256_BYTES);
    v->arena = arena_new_sized(1024);
    v->claims = json_clone(claims, v->arena);
    struct bytes key = { (const char *)v->digest, SHA256_BYTES };

    pthread_mutex_lock(&t->lock);
    struct verified *gone = NULL;
    if (hashmap_get(&t->by_digest, key)) { /* two requests with it at the same time */
        gone = v;
    } else {
        gone = t->ring[t->next];
        if (gone)
            hashmap_remove(&t->by_digest,
                           (struct bytes){ (const char *)gone->digest, SHA256_BYTES });
        t->ring[t->next] = v;
        t->next = (t->next + 1) % TOKEN_CACHE_ENTRIES_MAX;
        hashmap_put(&t->by_digest, key, v);
    }
    pthread_mutex_unlock(&t->lock);
    verified_free(gone);
}

/* ---- judging ---- */

static const struct json *verify_signature(struct apiserver *a, struct bytes token,
                                           struct arena *arena, struct error *err)
{
    if (token.len > TOKEN_BYTES_MAX) {
        error_set(err, ERR_UNAUTHORIZED, "invalid bearer token");
        return NULL;
    }
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(token, digest);
    const struct json *cached = cache_find(a->tokens, digest, arena);
    if (cached)
        return cached;

    struct bytes text;
    struct error why = { 0 };
    if (jwt_verify(token_key(a), token, arena, &text, &why) < 0) {
        error_set(err, ERR_UNAUTHORIZED, "invalid bearer token");
        return NULL;
    }
    const struct json *claims = json_parse(text, arena, NULL, &why);
    if (!json_is(claims, JSON_OBJECT)) {
        error_set(err, ERR_UNAUTHORIZED, "invalid bearer token");
        return NULL;
    }
    cache_add(a->tokens, digest, claims);
    return claims;
}

static int check_times(const struct apiserver *a, const struct json *claims, struct error *err)
{
    int64_t now = clock_wall_ns(a->clock) / NS_PER_S;
    if (json_int(claims, "exp", 0) <= now)
        return error_set(err, ERR_UNAUTHORIZED,
                         "invalid bearer token, service account token has expired");
    if (json_int(claims, "nbf", 0) > now + LEEWAY_S)
        return error_set(err, ERR_UNAUTHORIZED,
                         "invalid bearer token, service account token is not valid yet");
    return 0;
}

static bool is_audience(const struct json *aud, const char *audience)
{
    return str_equal(json_text(aud), audience) || json_has_text(aud, audience);
}

static int check_audiences(const struct json *claims, const char *const *audiences,
                           struct arena *arena, const char *const **out, struct error *err)
{
    const struct json *aud = json_get(claims, "aud");
    size_t n = 0, matched = 0;
    while (audiences[n])
        n++;
    const char **list = arena_alloc(arena, (n + 1) * sizeof(char *));
    for (size_t i = 0; i < n; i++)
        if (is_audience(aud, audiences[i]))
            list[matched++] = audiences[i];
    list[matched] = NULL;
    *out = list;
    if (!matched)
        return error_set(err, ERR_UNAUTHORIZED,
                         "invalid bearer token, token audiences do not match the expected ones");
    return 0;
}

/* An object that is there, has that uid and has not been deleted for longer than the leeway. */
static bool still_exists(struct apiserver *a, enum resource_id id, const char *ns,
                         const struct json *claim)
{
    struct object_key key = { ns, json_str(claim, "name", "") };
    scoped(object) struct object *o = watch_cache_get(watch_cache_of(a, &resources[id]), &key);
    if (!o || !str_equal(o->uid, json_str(claim, "uid", "")))
        return false;
    const char *deleted = json_str(o->doc, "metadata.deletionTimestamp", NULL);
    int64_t deleted_ns;
    return !deleted || time_parse(deleted, &deleted_ns) < 0 ||
           clock_wall_ns(a->clock) < deleted_ns + LEEWAY_S * NS_PER_S;
}

static int check_bound_objects(struct apiserver *a, const struct json *own, struct error *err)
{
    static const struct {
        const char *claim;
        enum resource_id id;
        bool is_optional;
    } bound[] = {
        { "serviceaccount", RESOURCE_SERVICEACCOUNTS, false },
        { "secret", RESOURCE_SECRETS, true },
        { "pod", RESOURCE_PODS, true },
    };
    const char *ns = json_str(own, "namespace", "");
    for (size_t i = 0; i < ARRAY_LEN(bound); i++) {
        const struct json *claim = json_get(own, bound[i].claim);
        if (!claim && bound[i].is_optional)
            continue;
        if (!still_exists(a, bound[i].id, ns, claim))
            return error_set(err, ERR_UNAUTHORIZED,
                             "invalid bearer token, service account token has been invalidated");
    }
    /* A node is bound by itself only when there is no pod; with one it is told for information. */
    if (json_get(own, "node") && !json_get(own, "pod") &&
        !still_exists(a, RESOURCE_NODES, "", json_get(own, "node")))
        return error_set(err, ERR_UNAUTHORIZED,
                         "invalid bearer token, service account token has been invalidated");
    return 0;
}

static void add_extra(struct user_extra *list, size_t *n, const char *key, const char *value,
                      struct arena *arena)
{
    if (str_empty(value))
        return;
    const char **values = arena_alloc(arena, 2 * sizeof(char *));
    values[0] = value;
    values[1] = NULL;
    list[(*n)++] = (struct user_extra){ key, values };
}

static void fill_user(struct user *out, const struct json *claims, const struct json *own,
                      struct arena *arena)
{
    const char *name =
        arena_printf(arena, "system:serviceaccount:%s:%s", json_str(own, "namespace", ""),
                     json_str(own, "serviceaccount.name", ""));
    user_with_groups(out, name, NULL, arena);
    out->uid = json_str(own, "serviceaccount.uid", "");

    struct user_extra *extra = arena_zalloc(arena, 6 * sizeof(*extra));
    size_t n = 0;
    const char *jti = json_str(claims, "jti", "");
    add_extra(extra, &n, "authentication.kubernetes.io/credential-id",
              *jti ? arena_printf(arena, "JTI=%s", jti) : "", arena);
    add_extra(extra, &n, "authentication.kubernetes.io/node-name", json_str(own, "node.name", ""),
              arena);
    add_extra(extra, &n, "authentication.kubernetes.io/node-uid", json_str(own, "node.uid", ""),
              arena);
    add_extra(extra, &n, "authentication.kubernetes.io/pod-name", json_str(own, "pod.name", ""),
              arena);
    add_extra(extra, &n, "authentication.kubernetes.io/pod-uid", json_str(own, "pod.uid", ""),
              arena);
    out->extra = extra;
}

int authenticate_token(struct apiserver *a, struct bytes token, const char *const *audiences,
                       struct arena *arena, struct user *out, const char *const **audiences_out,
                       struct error *err)
{
    const struct json *claims = verify_signature(a, token, arena, err);
    if (!claims)
        return -1;
    const struct json *own = json_get(claims, "kubernetes.io");
    if (!str_equal(json_str(claims, "iss", ""), token_issuer(a)) || !own)
        return error_set(err, ERR_UNAUTHORIZED, "invalid bearer token");
    const char *own_audience[] = { token_issuer(a), NULL };
    if (check_times(a, claims, err) < 0 ||
        check_audiences(claims, audiences && audiences[0] ? audiences : own_audience, arena,
                        audiences_out, err) < 0 ||
        check_bound_objects(a, own, err) < 0)
        return -1;
    fill_user(out, claims, own, arena);
    if (!str_equal(out->name, json_str(claims, "sub", "")))
        return error_set(err, ERR_UNAUTHORIZED, "invalid bearer token");
    return 0;
}

/* ---- for verifiers outside ---- */

int token_jwks(const struct apiserver *a, struct arena *arena, struct bytes *out, struct error *err)
{
    struct bytes jwk;
    if (jwt_key_jwk(token_key(a), arena, &jwk, err) < 0)
        return -1;
    *out = bytes_of(arena_printf(arena, "{\"keys\":[%.*s]}", (int)jwk.len, jwk.data));
    return 0;
}

int token_openid_configuration(const struct apiserver *a, struct arena *arena, struct bytes *out,
                               struct error *err)
{
    struct bytes text;
    if (jwt_key_jwk(token_key(a), arena, &text, err) < 0)
        return -1;
    const struct json *jwk = json_parse(text, arena, NULL, err);
    if (!jwk)
        return -1;
    const char *host =
        str_empty(a->config.advertise_address) ? "127.0.0.1" : a->config.advertise_address;
    bool is_v6 = strchr(host, ':') != NULL;
    *out = bytes_of(arena_printf(
        arena,
        "{\"issuer\":\"%s\",\"jwks_uri\":\"https://%s%s%s:%d/openid/v1/jwks\","
        "\"response_types_supported\":[\"id_token\"],"
        "\"subject_types_supported\":[\"public\"],"
        "\"id_token_signing_alg_values_supported\":[\"%s\"]}",
        token_issuer(a), is_v6 ? "[" : "", host, is_v6 ? "]" : "",
        a->http ? http_server_port(a->http) : a->config.port, json_str(jwk, "alg", "ES256")));
    return 0;
}
