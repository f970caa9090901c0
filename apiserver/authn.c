/* SPDX-License-Identifier: Apache-2.0 */
/* authn.c - who is asking: certificate, token or nobody, and impersonation. */
#include "apiserver/authn.h"

#include <ctype.h>
#include <strings.h>

#include "apiserver/authz.h"
#include "apiserver/server.h"

#define IMPERSONATE_GROUPS_MAX 256
#define SERVICE_ACCOUNT_PREFIX "system:serviceaccount:"

static size_t list_len(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static bool list_has(const char **list, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], s) == 0)
            return true;
    return false;
}

/* The namespace of a service account's user name; NULL if it is none. */
static const char *service_account_ns(const char *user, struct arena *arena, const char **name)
{
    if (!str_has_prefix(user, SERVICE_ACCOUNT_PREFIX))
        return NULL;
    const char *ns = user + strlen(SERVICE_ACCOUNT_PREFIX);
    const char *colon = strchr(ns, ':');
    if (!colon || colon == ns || !colon[1] || strchr(colon + 1, ':'))
        return NULL;
    *name = colon + 1;
    return arena_strndup(arena, ns, (size_t)(colon - ns));
}

void user_with_groups(struct user *out, const char *name, const char *const *groups,
                      struct arena *arena)
{
    size_t n = list_len(groups), kept = 0;
    const char **all = arena_alloc(arena, (n + 4) * sizeof(char *));
    for (const char *const *g = groups; g && *g; g++)
        all[kept++] = *g;
    const char *account, *ns = service_account_ns(name, arena, &account);
    if (ns && n == 0) {
        all[kept++] = "system:serviceaccounts";
        all[kept++] = arena_printf(arena, "system:serviceaccounts:%s", ns);
    }
    bool is_anonymous = strcmp(name, "system:anonymous") == 0;
    const char *last = is_anonymous ? "system:unauthenticated" : "system:authenticated";
    if (!list_has(all, kept, last))
        all[kept++] = last;
    all[kept] = NULL;
    *out = (struct user){ .name = name, .uid = "", .groups = all };
}

/* ---- credentials ---- */

/* What audit logs tell certificates of one user apart by. */
static void add_fingerprint(struct request *r, const struct tls_peer *peer)
{
    char hex[2 * sizeof(peer->sha256) + 1];
    for (size_t i = 0; i < sizeof(peer->sha256); i++)
        snprintf(hex + 2 * i, 3, "%02x", peer->sha256[i]);
    const char **values = arena_zalloc(r->arena, 2 * sizeof(*values));
    values[0] = arena_printf(r->arena, "X509SHA256=%s", hex);
    struct user_extra *extra = arena_zalloc(r->arena, 2 * sizeof(*extra));
    extra[0] = (struct user_extra){ "authentication.kubernetes.io/credential-id", values };
    r->user.extra = extra;
}

/* 1: the user is known; 0: no certificate names one. */
static int authenticate_certificate(struct apiserver *a, struct request *r, struct error *err)
{
    const struct tls_peer *peer = http_request_peer(r->http);
    if (str_empty(peer->common_name))
        return 0;
    if (clock_wall_ns(a->clock) > peer->not_after_ns)
        return error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
    const char **groups = arena_alloc(r->arena, (peer->organizations_n + 1) * sizeof(char *));
    for (size_t i = 0; i < peer->organizations_n; i++)
        groups[i] = arena_strdup(r->arena, peer->organizations[i]);
    groups[peer->organizations_n] = NULL;
    user_with_groups(&r->user, arena_strdup(r->arena, peer->common_name), groups, r->arena);
    add_fingerprint(r, peer);
    return 1;
}

/* The token of an Authorization header; data NULL if it holds none. */
static struct bytes bearer_token(struct bytes header)
{
    static const char scheme[] = "bearer ";
    size_t n = sizeof(scheme) - 1;
    if (header.len <= n || strncasecmp(header.data, scheme, n) != 0)
        return (struct bytes){ 0 };
    struct bytes token = { header.data + n, header.len - n };
    while (token.len && *token.data == ' ')
        token = (struct bytes){ token.data + 1, token.len - 1 };
    return token;
}

static int authenticate_credentials(struct apiserver *a, struct request *r, struct error *err)
{
    int rc = authenticate_certificate(a, r, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    struct bytes token = bearer_token(http_request_header(r->http, "authorization"));
    if (token.len) {
        struct error why = { 0 };
        const char *const *audiences;
        if (authenticate_token(a, token, NULL, r->arena, &r->user, &audiences, &why) < 0)
            return error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
        return 0;
    }
    /* Other schemes are not understood here, which upstream takes for no credentials at all. */
    user_with_groups(&r->user, "system:anonymous", NULL, r->arena);
    return 0;
}

/* ---- impersonation ---- */

struct impersonation {
    struct request *request;
    const char *user, *uid;
    const char *groups[IMPERSONATE_GROUPS_MAX + 1];
    size_t groups_n;
    struct user_extra *extra; /* ends with a NULL key */
    size_t extra_n, extra_capacity;
    bool is_over;
};

static void add_extra(struct impersonation *im, struct bytes name, struct bytes value)
{
    struct arena *a = im->request->arena;
    struct bytes key;
    if (url_decode(name, false, a, &key) < 0)
        key = arena_bytes(a, name);
    char *lower = arena_strndup(a, key.data, key.len);
    for (char *c = lower; *c; c++)
        *c = (char)tolower((unsigned char)*c);

    for (size_t i = 0; i < im->extra_n; i++) {
        if (strcmp(im->extra[i].key, lower) != 0)
            continue;
        size_t n = list_len(im->extra[i].values);
        const char **values = arena_alloc(a, (n + 2) * sizeof(char *));
        for (size_t k = 0; k < n; k++)
            values[k] = im->extra[i].values[k];
        values[n] = arena_strndup(a, value.data, value.len);
        values[n + 1] = NULL;
        im->extra[i].values = values;
        return;
    }
    size_t used = im->extra_n > 0 ? im->extra_n + 1 : 0; /* with the end mark */
    im->extra = arena_grow(a, im->extra, used, &im->extra_capacity, sizeof(*im->extra));
    const char **values = arena_alloc(a, 2 * sizeof(char *));
    values[0] = arena_strndup(a, value.data, value.len);
    values[1] = NULL;
    im->extra[im->extra_n++] = (struct user_extra){ lower, values };
    im->extra[im->extra_n] = (struct user_extra){ 0 };
}

static void read_header(struct bytes name, struct bytes value, void *arg)
{
    struct impersonation *im = arg;
    struct bytes extra = BYTES("impersonate-extra-");
    const char *text = "";
    if (name.len < 12 || memcmp(name.data, "impersonate-", 12) != 0)
        return;
    text = arena_strndup(im->request->arena, value.data, value.len);
    if (bytes_equal_str(name, "impersonate-user")) {
        im->user = text;
    } else if (bytes_equal_str(name, "impersonate-uid")) {
        im->uid = text;
    } else if (bytes_equal_str(name, "impersonate-group")) {
        im->is_over |= im->groups_n == IMPERSONATE_GROUPS_MAX;
        if (!im->is_over)
            im->groups[im->groups_n++] = text;
    } else if (bytes_has_prefix(name, extra)) {
        im->is_over |= im->extra_n == IMPERSONATE_GROUPS_MAX;
        if (!im->is_over)
            add_extra(im, (struct bytes){ name.data + extra.len, name.len - extra.len }, value);
    }
}

static int may_impersonate(struct impersonation *im, struct attributes at, struct error *err)
{
    char reason[AUTHZ_REASON_BYTES];
    at.user = &im->request->user;
    at.verb = "impersonate";
    at.is_resource_request = true;
    at.version = at.version ? at.version : "";
    at.subresource = at.subresource ? at.subresource : "";
    at.ns = at.ns ? at.ns : "";
    at.path = "";
    if (authorize(im->request->server, &at, reason))
        return 0;
    return authz_forbid(&at, reason, err);
}

static int check_user(struct impersonation *im, struct error *err)
{
    const char *name, *ns = service_account_ns(im->user, im->request->arena, &name);
    if (ns)
        return may_impersonate(
            im,
            (struct attributes){
                .group = "", .resource = "serviceaccounts", .ns = ns, .name = name },
            err);
    return may_impersonate(
        im, (struct attributes){ .group = "", .resource = "users", .name = im->user }, err);
}

static int check_extra(struct impersonation *im, const struct user_extra *extra, struct error *err)
{
    for (const char *const *v = extra->values; *v; v++) {
        struct attributes at = { .group = "authentication.k8s.io",
                                 .version = "v1",
                                 .resource = "userextras",
                                 .subresource = extra->key,
                                 .name = *v };
        if (may_impersonate(im, at, err) < 0)
            return -1;
    }
    return 0;
}

static int check_impersonation(struct impersonation *im, struct error *err)
{
    if (check_user(im, err) < 0)
        return -1;
    for (size_t i = 0; i < im->groups_n; i++)
        if (may_impersonate(
                im, (struct attributes){ .group = "", .resource = "groups", .name = im->groups[i] },
                err) < 0)
            return -1;
    for (size_t i = 0; i < im->extra_n; i++)
        if (check_extra(im, &im->extra[i], err) < 0)
            return -1;
    if (!im->uid)
        return 0;
    return may_impersonate(im,
                           (struct attributes){ .group = "authentication.k8s.io",
                                                .version = "v1",
                                                .resource = "uids",
                                                .name = im->uid },
                           err);
}

static int impersonate(struct request *r, struct error *err)
{
    struct impersonation im = { .request = r };
    http_request_each_header(r->http, read_header, &im);
    if (!im.user && !im.uid && !im.groups_n && !im.extra_n)
        return 0;
    if (im.is_over)
        return error_set(err, ERR_BAD_REQUEST, "more than %d impersonated groups or extras",
                         IMPERSONATE_GROUPS_MAX);
    if (str_empty(im.user))
        return error_set(err, ERR_INTERNAL,
                         "Internal error occurred: requested impersonation without a user");
    if (check_impersonation(&im, err) < 0)
        return -1;
    user_with_groups(&r->user, im.user, im.groups, r->arena);
    r->user.uid = im.uid ? im.uid : "";
    r->user.extra = im.extra;
    return 0;
}

int authenticate(struct apiserver *a, struct request *r, struct error *err)
{
    if (authenticate_credentials(a, r, err) < 0)
        return -1;
    return impersonate(r, err);
}
