/* SPDX-License-Identifier: Apache-2.0 */
/* client_http - the client over HTTPS, against any Kubernetes API server. */
#include "api/client_http.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/status.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/http_client.h"
#include "base/limits.h"
#include "base/yaml.h"

#define CALL_TIMEOUT_MS 60000
#define FILE_BYTES_MAX  (1024 * 1024) /* a kubeconfig, a key, a token */
#define WATCH_LINE_MAX  (4 * OBJECT_BYTES_MAX)
#define WATCH_SECONDS_FIRST                                                                        \
    300 /* the server ends a watch after this to twice this: they come back spread */
#define WATCH_STACK (256 * 1024)
#define HEADERS_MAX 4

#define ACCOUNT_TOKEN_S         3600
#define ACCOUNT_TOKEN_USE_S     (ACCOUNT_TOKEN_S * 4 / 5) /* then another one is asked for */
#define ACCOUNT_TOKEN_BYTES_MAX 16384

/* A service account whose tokens another client asks for. */
struct account {
    struct client *issuer; /* NULL: none, the user is the kubeconfig's */
    struct object_key key;
    pthread_mutex_t lock; /* guards what follows */
    char *token;
    int64_t use_until_ns; /* monotonic */
};

struct remote {
    struct client client;
    struct arena *arena; /* of the texts below */
    struct http_client *http;
    const char *server; /* without a slash at the end */
    const char *agent;  /* "kubelet/1.0": of the User-Agent header */
    const char *token, *token_file;
    struct tls_client_config tls;
    struct account account;
};

static struct remote *of(struct client *c)
{
    return (struct remote *)c;
}

/* ---- kubeconfig ---- */

static const struct json *named(const struct json *list, const char *name)
{
    json_each_item (list, entry) {
        if (str_equal(json_str(entry, "name", ""), name))
            return entry;
    }
    return NULL;
}

struct kubeconfig {
    const char *path;
    struct arena *arena;
    const struct json *cluster, *user;
};

static int kubeconfig_load(struct kubeconfig *k, struct error *err)
{
    struct bytes text;
    struct json *doc = NULL;
    scoped(arena) struct arena *scratch = arena_new();
    if (files_read(k->path, FILE_BYTES_MAX, scratch, &text, err) < 0)
        return -1;
    if (yaml_next(&text, k->arena, &doc, err) < 0)
        return error_wrap(err, "read %s", k->path);
    const char *current = json_str(doc, "current-context", "");
    const struct json *context = json_get(named(json_at(doc, "contexts"), current), "context");
    if (!context)
        return error_set(err, ERR_BAD_REQUEST, "%s: no context \"%s\"", k->path, current);
    k->cluster =
        json_get(named(json_at(doc, "clusters"), json_str(context, "cluster", "")), "cluster");
    k->user = json_get(named(json_at(doc, "users"), json_str(context, "user", "")), "user");
    if (str_empty(json_str(k->cluster, "server", "")))
        return error_set(err, ERR_BAD_REQUEST, "%s: cluster \"%s\" names no server", k->path,
                         json_str(context, "cluster", ""));
    return 0;
}

/* A file named in a kubeconfig lies beside it. */
static const char *beside(const struct kubeconfig *k, const char *name)
{
    const char *slash = strrchr(k->path, '/');
    if (*name == '/' || !slash)
        return name;
    return arena_printf(k->arena, "%.*s%s", (int)(slash - k->path + 1), k->path, name);
}

/* PEM given as NAME-data in base64 or as a file NAME; neither is fine and leaves *OUT empty. */
static int kubeconfig_pem(const struct kubeconfig *k, const struct json *in, const char *name,
                          struct bytes *out, struct error *err)
{
    const char *data = json_text(json_get(in, arena_printf(k->arena, "%s-data", name)));
    const char *file = json_text(json_get(in, name));
    if (!str_empty(data)) {
        if (base64_decode(bytes_of(data), k->arena, out) < 0)
            return error_set(err, ERR_BAD_REQUEST, "%s: %s-data is no base64", k->path, name);
        return 0;
    }
    return str_empty(file) ? 0 : files_read(beside(k, file), FILE_BYTES_MAX, k->arena, out, err);
}

static int open_http(struct remote *r, const struct kubeconfig *k, struct error *err)
{
    struct tls_client_config tls = {
        .server_name = json_str(k->cluster, "tls-server-name", NULL),
        .insecure_skip_verify = json_bool(k->cluster, "insecure-skip-tls-verify", false),
    };
    if (kubeconfig_pem(k, k->cluster, "certificate-authority", &tls.ca_pem, err) < 0 ||
        kubeconfig_pem(k, k->user, "client-certificate", &tls.certificate_pem, err) < 0 ||
        kubeconfig_pem(k, k->user, "client-key", &tls.key_pem, err) < 0)
        return -1;
    r->tls = tls;
    r->http = http_client_new(&tls, err);
    return r->http ? 0 : -1;
}

static void put_server(struct remote *r, const struct kubeconfig *k)
{
    char *server = arena_strdup(r->arena, json_str(k->cluster, "server", ""));
    for (size_t n = strlen(server); n > 0 && server[n - 1] == '/'; n--)
        server[n - 1] = '\0';
    r->server = server;
    r->token = json_str(k->user, "token", NULL);
    const char *file = json_str(k->user, "tokenFile", NULL);
    r->token_file = file ? beside(k, file) : NULL;
}

/* ---- one exchange ---- */

struct call {
    const char *method;
    const char *url;
    const char *content_type;
    struct bytes body;
    int cancel_fd; /* of a watch, which has no time limit; else 0 */
    int (*on_body)(struct bytes piece, void *arg);
    void *arg;
};

/* Asks for a token; an account that is not there yet is made. */
static int account_token_new(struct account *account, struct error *err)
{
    const struct resource *accounts = resource_find("", "v1", "serviceaccounts");
    scoped(arena) struct arena *a = arena_new();
    struct json *request = json_new(a, JSON_OBJECT), *made = json_new(a, JSON_OBJECT);
    const struct json *answer = NULL;
    json_put_str(a, request, "apiVersion", "authentication.k8s.io/v1");
    json_put_str(a, request, "kind", "TokenRequest");
    json_put_int(a, request, "spec.expirationSeconds", ACCOUNT_TOKEN_S);
    int rc =
        client_post(account->issuer, accounts, &account->key, "token", request, a, &answer, err);
    if (rc < 0 && err->code == ERR_NOT_FOUND) {
        json_put_str(a, made, "apiVersion", "v1");
        json_put_str(a, made, "kind", "ServiceAccount");
        json_put_str(a, made, "metadata.name", account->key.name);
        rc = client_create(account->issuer, accounts, account->key.ns, made, NULL, err);
        if (rc < 0 && err->code != ERR_ALREADY_EXISTS)
            return -1;
        rc = client_post(account->issuer, accounts, &account->key, "token", request, a, &answer,
                         err);
    }
    if (rc < 0)
        return -1;
    const char *token = json_str(answer, "status.token", "");
    if (!*token || strlen(token) > ACCOUNT_TOKEN_BYTES_MAX)
        return error_set(err, ERR_INTERNAL, "no usable token for service account %s/%s",
                         account->key.ns, account->key.name);
    free(account->token);
    account->token = xstrdup(token);
    account->use_until_ns = clock_monotonic_ns(&system_clock) + ACCOUNT_TOKEN_USE_S * NS_PER_S;
    return 0;
}

static int account_authorization(struct account *account, struct arena *a, const char **out,
                                 struct error *err)
{
    pthread_mutex_lock(&account->lock);
    int rc = 0;
    if (!account->token || clock_monotonic_ns(&system_clock) >= account->use_until_ns)
        rc = account_token_new(account, err);
    if (rc == 0)
        *out = arena_printf(a, "Bearer %s", account->token);
    pthread_mutex_unlock(&account->lock);
    return rc;
}

/* A token can end early: its account or the cluster's keys were replaced. */
static void account_refused(struct account *account)
{
    pthread_mutex_lock(&account->lock);
    account->use_until_ns = 0;
    pthread_mutex_unlock(&account->lock);
}

/* A token in a file is renewed there by others: read it each time. */
static int authorization(struct remote *r, struct arena *a, const char **out, struct error *err)
{
    if (r->account.issuer)
        return account_authorization(&r->account, a, out, err);
    *out = r->token ? arena_printf(a, "Bearer %s", r->token) : NULL;
    if (!r->token_file)
        return 0;
    struct bytes token;
    scoped(arena) struct arena *scratch = arena_new();
    if (files_read(r->token_file, FILE_BYTES_MAX, scratch, &token, err) < 0)
        return -1;
    while (token.len && strchr("\r\n \t", token.data[token.len - 1]))
        token.len--;
    *out = arena_printf(a, "Bearer %.*s", (int)token.len, token.data);
    return 0;
}

static int exchange(struct remote *r, const struct call *call, struct arena *a,
                    struct http_client_response *out, struct error *err)
{
    const char *bearer = NULL;
    if (authorization(r, a, &bearer, err) < 0)
        return -1;
    struct http_header headers[HEADERS_MAX] = {
        { "accept", "application/json" },
        { "user-agent", r->agent },
    };
    size_t n = 2;
    if (bearer)
        headers[n++] = (struct http_header){ "authorization", bearer };
    if (call->content_type)
        headers[n++] = (struct http_header){ "content-type", call->content_type };
    struct http_client_request request = {
        .method = call->method,
        .url = call->url,
        .headers = headers,
        .headers_n = n,
        .body = call->body,
        .timeout_ms = call->cancel_fd ? 0 : CALL_TIMEOUT_MS,
        .cancel_fd = call->cancel_fd,
    };
    if (http_client_do(r->http, &request, call->on_body, call->arg, a, out, err) < 0)
        return -1;
    if (out->status >= 200 && out->status < 300)
        return 0;
    if (out->status == 401 && r->account.issuer)
        account_refused(&r->account);
    struct error ignored = { 0 };
    const struct json *status = json_parse(out->body, a, NULL, &ignored);
    return status_to_error(status, out->status, err);
}

/* An exchange whose answer is one JSON value in A. */
static struct json *exchange_json(struct remote *r, const struct call *call, struct arena *a,
                                  struct error *err)
{
    struct http_client_response answer;
    return exchange(r, call, a, &answer, err) < 0 ? NULL : json_parse(answer.body, a, NULL, err);
}

static int exchange_object(struct remote *r, const struct resource *resource,
                           const struct call *call, struct object **out, struct error *err)
{
    struct http_client_response answer;
    scoped(arena) struct arena *a = arena_new();
    if (exchange(r, call, a, &answer, err) < 0)
        return -1;
    if (!out)
        return 0;
    *out = object_parse(resource, answer.body, 0, err);
    return *out ? 0 : -1;
}

/* ---- URLs ---- */

static void add_escaped(struct buffer *url, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool is_plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                        (*p >= 'a' && *p <= 'z') || strchr("-._~:", *p);
        if (is_plain)
            buffer_add_char(url, (char)*p);
        else
            buffer_printf(url, "%%%02X", *p);
    }
}

static void add_collection(struct buffer *url, const struct remote *r,
                           const struct resource *resource, const char *ns)
{
    buffer_add_str(url, r->server);
    if (*resource->group)
        buffer_printf(url, "/apis/%s/%s", resource->group, resource->version);
    else
        buffer_printf(url, "/api/%s", resource->version);
    if (resource->namespaced && !str_empty(ns)) {
        buffer_add_str(url, "/namespaces/");
        add_escaped(url, ns);
    }
    buffer_printf(url, "/%s", resource->plural);
}

static const char *object_url(const struct remote *r, const struct resource *resource,
                              const struct object_key *key, const char *subresource,
                              struct arena *a)
{
    scoped(buffer) struct buffer url = { 0 };
    add_collection(&url, r, resource, key->ns);
    buffer_add_char(&url, '/');
    add_escaped(&url, key->name);
    if (subresource)
        buffer_printf(&url, "/%s", subresource);
    return arena_strndup(a, url.data, url.len);
}

static void add_query(struct buffer *url, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    buffer_printf(url, "%c%s=", strchr(url->data, '?') ? '&' : '?', name);
    add_escaped(url, value);
}

static void add_query_int(struct buffer *url, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    add_query(url, name, text);
}

/* ---- verbs ---- */

static int remote_get(struct client *c, const struct resource *resource,
                      const struct object_key *key, struct object **out, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct call call = { .method = "GET", .url = object_url(of(c), resource, key, NULL, a) };
    return exchange_object(of(c), resource, &call, out, err);
}

/* Items of a list do not say their kind; each becomes an object with memory of its own. */
static void add_item(const struct resource *resource, const struct json *item,
                     struct object_list *out)
{
    char version[128];
    struct arena *a = arena_new();
    struct json *doc = json_clone(item, a);
    json_put_str(a, doc, "apiVersion", resource_api_version(resource, version, sizeof(version)));
    json_put_str(a, doc, "kind", resource->kind);
    object_list_add_take(out, draft_publish(draft_from_take(resource, a, doc), 0));
}

static void list_url(struct remote *r, const struct resource *resource,
                     const struct client_list_options *o, const char *token, struct buffer *url)
{
    add_collection(url, r, resource, o->ns);
    add_query(url, "labelSelector", o->label_selector);
    add_query(url, "fieldSelector", o->field_selector);
    if (o->limit)
        add_query_int(url, "limit", o->limit);
    if (token)
        add_query(url, "continue", token);
    else if (o->from_cache)
        add_query(url, "resourceVersion", "0");
}

/* 1: the server has forgotten the state that the pages are of. */
static int list_pages(struct client *c, const struct resource *resource,
                      const struct client_list_options *o, struct object_list *out,
                      int64_t *resource_version, struct error *err)
{
    scoped(arena) struct arena *tokens = arena_new();
    const char *token = NULL;
    do {
        scoped(arena) struct arena *a = arena_new();
        scoped(buffer) struct buffer url = { 0 };
        list_url(of(c), resource, o, token, &url);
        struct call call = { .method = "GET", .url = url.data };
        const struct json *page = exchange_json(of(c), &call, a, err);
        if (!page)
            return token && err->code == ERR_COMPACTED ? 1 : -1;
        json_each_item (json_at(page, "items"), item)
            add_item(resource, item, out);
        if (resource_version)
            *resource_version = strtoll(json_str(page, "metadata.resourceVersion", "0"), NULL, 10);
        token = arena_strdup(tokens, json_str(page, "metadata.continue", ""));
    } while (*token);
    return 0;
}

/* Pages may come too slowly for a server that forgets soon: then all has to come at once. */
static int remote_list(struct client *c, const struct resource *resource,
                       const struct client_list_options *options, struct object_list *out,
                       int64_t *resource_version, struct error *err)
{
    struct client_list_options o = options ? *options : (struct client_list_options){ 0 };
    size_t had = out->n;
    int rc = list_pages(c, resource, &o, out, resource_version, err);
    if (rc <= 0)
        return rc;
    while (out->n > had)
        object_unref(out->items[--out->n]);
    o.limit = 0;
    return list_pages(c, resource, &o, out, resource_version, err) == 0 ? 0 : -1;
}

static int send(struct remote *r, const char *method, const struct resource *resource,
                const char *url, const struct json *doc, struct object **out, struct error *err)
{
    scoped(buffer) struct buffer body = { 0 };
    json_print(doc, &body);
    struct call call = {
        .method = method,
        .url = url,
        .content_type = "application/json",
        .body = buffer_bytes(&body),
    };
    return exchange_object(r, resource, &call, out, err);
}

static int remote_create(struct client *c, const struct resource *resource, const char *ns,
                         const struct json *doc, struct object **out, struct error *err)
{
    scoped(buffer) struct buffer url = { 0 };
    add_collection(&url, of(c), resource, ns);
    return send(of(c), "POST", resource, url.data, doc, out, err);
}

static int remote_update(struct client *c, const struct resource *resource,
                         const struct object_key *key, const char *subresource,
                         const struct json *doc, struct object **out, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    return send(of(c), "PUT", resource, object_url(of(c), resource, key, subresource, a), doc, out,
                err);
}

static int remote_patch(struct client *c, const struct resource *resource,
                        const struct object_key *key, const char *subresource, enum patch_type type,
                        struct bytes body, struct object **out, struct error *err)
{
    static const char *const media[] = {
        [PATCH_JSON] = "application/json-patch+json",
        [PATCH_MERGE] = "application/merge-patch+json",
        [PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
        [PATCH_APPLY] = "application/apply-patch+yaml",
    };
    scoped(arena) struct arena *a = arena_new();
    const char *url = object_url(of(c), resource, key, subresource, a);
    if (type == PATCH_APPLY)
        url = arena_printf(a, "%s?fieldManager=coracle&force=true", url);
    struct call call = { .method = "PATCH", .url = url, .content_type = media[type], .body = body };
    return exchange_object(of(c), resource, &call, out, err);
}

static void put_delete_options(const struct client_delete_options *o, struct arena *a,
                               struct json *doc)
{
    static const char *const policies[] = {
        [PROPAGATION_BACKGROUND] = "Background",
        [PROPAGATION_FOREGROUND] = "Foreground",
        [PROPAGATION_ORPHAN] = "Orphan",
    };
    if (o->grace_period_s >= 0)
        json_put_int(a, doc, "gracePeriodSeconds", o->grace_period_s);
    if (o->propagation != PROPAGATION_DEFAULT)
        json_put_str(a, doc, "propagationPolicy", policies[o->propagation]);
    if (o->uid)
        json_put_str(a, doc, "preconditions.uid", o->uid);
    if (o->resource_version)
        json_put_str(a, doc, "preconditions.resourceVersion",
                     arena_printf(a, "%" PRId64, o->resource_version));
}

static int remote_remove(struct client *c, const struct resource *resource,
                         const struct object_key *key, const struct client_delete_options *o,
                         struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", "v1");
    json_put_str(a, doc, "kind", "DeleteOptions");
    if (o)
        put_delete_options(o, a, doc);
    return send(of(c), "DELETE", resource, object_url(of(c), resource, key, NULL, a), doc, NULL,
                err);
}

static int remote_post(struct client *c, const struct resource *resource,
                       const struct object_key *key, const char *subresource,
                       const struct json *doc, struct arena *arena, const struct json **answer,
                       struct error *err)
{
    scoped(buffer) struct buffer body = { 0 };
    json_print(doc, &body);
    struct call call = {
        .method = "POST",
        .url = object_url(of(c), resource, key, subresource, arena),
        .content_type = "application/json",
        .body = buffer_bytes(&body),
    };
    const struct json *result = exchange_json(of(c), &call, arena, err);
    if (result && answer)
        *answer = result;
    return result ? 0 : -1;
}

/* ---- watches: a thread each, which reads one event per line ---- */

struct remote_watch {
    struct client_watch watch;
    const struct resource *resource;
    char *url;
    void (*event)(const struct watch_event *e, void *arg);
    void (*ended)(const struct error *err, void *arg);
    void *arg;
    pthread_t thread;
    atomic_bool is_closed;
    int close_fd; /* readable once it is closed */
    struct buffer line;
    struct error failure; /* what the stream itself said */
};

static int event_type(const char *text)
{
    static const char *const names[] = {
        [WATCH_ADDED] = "ADDED",
        [WATCH_MODIFIED] = "MODIFIED",
        [WATCH_DELETED] = "DELETED",
        [WATCH_BOOKMARK] = "BOOKMARK",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_equal(text, names[i]))
            return (int)i;
    }
    return -1;
}

/* The event's object lives in an arena of its own: it may be kept. */
static int read_event(struct remote_watch *w, struct bytes line)
{
    struct arena *a = arena_new();
    struct json *doc = json_parse(line, a, NULL, &w->failure);
    int type = doc ? event_type(json_str(doc, "type", "")) : -1;
    struct json *object = doc ? json_find(doc, "object") : NULL;
    if (type < 0 || !json_is(object, JSON_OBJECT)) {
        if (doc)
            status_to_error(object, (int)json_int(object, "code", 500), &w->failure);
        arena_free(a);
        return -1;
    }
    scoped(object) struct object *o = draft_publish(draft_from_take(w->resource, a, object), 0);
    struct watch_event e = { (enum watch_type)type, o };
    w->event(&e, w->arg);
    return 0;
}

static int on_piece(struct bytes piece, void *arg)
{
    struct remote_watch *w = arg;
    while (piece.len && !atomic_load(&w->is_closed)) {
        const char *end = memchr(piece.data, '\n', piece.len);
        size_t n = end ? (size_t)(end - piece.data) : piece.len;
        if (w->line.len + n > WATCH_LINE_MAX)
            return error_set(&w->failure, ERR_TOO_LARGE, "an event of more than %d bytes",
                             WATCH_LINE_MAX);
        buffer_add(&w->line, piece.data, n);
        if (!end)
            return 0;
        piece = (struct bytes){ end + 1, piece.len - n - 1 };
        int rc = w->line.len ? read_event(w, buffer_bytes(&w->line)) : 0;
        buffer_clear(&w->line);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void *read_watch(void *arg)
{
    struct remote_watch *w = arg;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct http_client_response answer;
    struct call call = {
        .method = "GET",
        .url = w->url,
        .cancel_fd = w->close_fd,
        .on_body = on_piece,
        .arg = w,
    };
    if (exchange(of(w->watch.client), &call, a, &answer, &err) == 0)
        error_set(&err, ERR_UNAVAILABLE, "the server ended the watch");
    if (!atomic_load(&w->is_closed))
        w->ended(w->failure.code ? &w->failure : &err, w->arg);
    return NULL;
}

static char *watch_url(struct remote *r, const struct resource *resource,
                       const struct client_watch_options *o)
{
    struct buffer url = { 0 };
    add_collection(&url, r, resource, o->ns);
    add_query(&url, "watch", "true");
    add_query(&url, "allowWatchBookmarks", "true");
    add_query(&url, "labelSelector", o->label_selector);
    add_query(&url, "fieldSelector", o->field_selector);
    if (o->resource_version)
        add_query_int(&url, "resourceVersion", o->resource_version);
    add_query_int(&url, "timeoutSeconds",
                  WATCH_SECONDS_FIRST + (int64_t)rng_below(system_rng, WATCH_SECONDS_FIRST));
    return buffer_take(&url);
}

static void watch_free(struct remote_watch *w)
{
    if (w->close_fd >= 0)
        close(w->close_fd);
    buffer_free(&w->line);
    free(w->url);
    free(w);
}

static struct client_watch *remote_watch(struct client *c, const struct resource *resource,
                                         const struct client_watch_options *o, struct error *err)
{
    struct remote_watch *w = xcalloc(1, sizeof(*w));
    *w = (struct remote_watch){
        .watch.client = c,
        .resource = resource,
        .url = watch_url(of(c), resource, o),
        .close_fd = eventfd(0, EFD_CLOEXEC),
        .event = o->event,
        .ended = o->ended,
        .arg = o->arg,
    };
    if (w->close_fd < 0) {
        error_errno(err, "start a watch of %s", resource->plural);
        watch_free(w);
        return NULL;
    }
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WATCH_STACK);
    int rc = pthread_create(&w->thread, &attr, read_watch, w);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        error_set(err, ERR_INTERNAL, "start a watch of %s: %s", resource->plural, strerror(rc));
        watch_free(w);
        return NULL;
    }
    return &w->watch;
}

static void remote_watch_close(struct client_watch *watch)
{
    struct remote_watch *w = (struct remote_watch *)watch;
    atomic_store(&w->is_closed, true);
    eventfd_write(w->close_fd, 1);
    pthread_join(w->thread, NULL);
    watch_free(w);
}

/* ---- open and close ---- */

static void remote_close(struct client *c)
{
    struct remote *r = of(c);
    http_client_free(r->http);
    pthread_mutex_destroy(&r->account.lock);
    free(r->account.token);
    arena_free(r->arena);
    free(r);
}

static const struct client_ops ops = {
    .get = remote_get,
    .list = remote_list,
    .create = remote_create,
    .update = remote_update,
    .patch = remote_patch,
    .remove = remote_remove,
    .post = remote_post,
    .watch = remote_watch,
    .watch_close = remote_watch_close,
    .close = remote_close,
};

static struct remote *remote_new(void)
{
    struct remote *r = xcalloc(1, sizeof(*r));
    r->client.ops = &ops;
    r->agent = "coracle/" CORACLE_VERSION;
    r->arena = arena_new();
    pthread_mutex_init(&r->account.lock, NULL);
    return r;
}

struct client *client_http_open(const char *kubeconfig_path, struct error *err)
{
    struct remote *r = remote_new();
    struct kubeconfig k = { .path = kubeconfig_path, .arena = r->arena };
    if (kubeconfig_load(&k, err) < 0 || open_http(r, &k, err) < 0) {
        remote_close(&r->client);
        return NULL;
    }
    put_server(r, &k);
    return &r->client;
}

struct client *client_http_open_account(struct client *issuer, const char *ns, const char *name,
                                        struct error *err)
{
    struct remote *r = remote_new();
    r->account.issuer = issuer;
    r->account.key.ns = arena_strdup(r->arena, ns);
    r->account.key.name = arena_strdup(r->arena, name);
    r->server = of(issuer)->server;
    r->agent = of(issuer)->agent;
    r->tls = of(issuer)->tls;
    r->tls.certificate_pem = r->tls.key_pem = (struct bytes){ 0 };
    r->http = http_client_new(&r->tls, err);
    if (!r->http) {
        remote_close(&r->client);
        return NULL;
    }
    return &r->client;
}

void client_http_set_agent(struct client *c, const char *agent)
{
    of(c)->agent = agent;
}

struct bytes client_http_ca_pem(struct client *c)
{
    return of(c)->tls.ca_pem;
}
