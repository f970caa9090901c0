/* SPDX-License-Identifier: Apache-2.0 */
/* http_handler.c - from a request to the function that answers it. */
#include "apiserver/http_handler.h"

#include "apiserver/authn.h"
#include "apiserver/authz.h"
#include "apiserver/health.h"
#include "apiserver/kubelet_proxy.h"
#include "apiserver/openapi.h"
#include "apiserver/request_info.h"
#include "apiserver/respond.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/rest_watch.h"
#include "apiserver/server.h"
#include "apiserver/uid.h"
#include "base/limits.h"
#include "base/metrics.h"

/* ---- on a worker ---- */

static struct body body_of(struct request *r)
{
    return (struct body){ .text = http_request_body(r->http),
                          .content_type = http_request_header(r->http, "content-type") };
}

static void answer_collection(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    scoped(outcome) struct outcome out = { 0 };
    scoped(list_result) struct list_result deleted = { 0 };
    struct list_options list;
    struct delete_options options;
    struct body body = body_of(r);
    outcome_about(&out, r);
    if (list_options_parse(r, &list, &err) < 0 ||
        delete_options_parse(r, &body, &options, &err) < 0 ||
        rest_delete_collection(r, &list, &options, &deleted, &out, &err) < 0)
        respond_error(r, &err, &out);
    else
        respond_list(r, type, &deleted);
}

static void answer_list(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    scoped(outcome) struct outcome out = { 0 };
    scoped(list_result) struct list_result list = { 0 };
    struct list_options options;
    if (list_options_parse(r, &options, &err) < 0 ||
        rest_list(r, &options, true, &list, &out, &err) == LIST_FAILED)
        respond_error(r, &err, &out);
    else
        respond_list(r, type, &list);
}

static void answer_write(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    scoped(outcome) struct outcome out = { 0 };
    struct body body = body_of(r);
    if (rest_write(r, &body, &out, &err) < 0)
        respond_error(r, &err, &out);
    else
        respond_outcome(r, type, &out);
}

static void answer_get(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    scoped(outcome) struct outcome out = { 0 };
    if (subresource_get(r, &out, &err) < 0)
        respond_error(r, &err, &out);
    else
        respond_outcome(r, type, &out);
}

static void answer_newest(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    if (watch_caches_catch_up(r->server->caches, 0, &err) < 0)
        respond_error(r, &err, NULL);
    else
        answer_get(r, type);
}

static void run_on_worker(void *arg)
{
    struct request *r = arg;
    struct error err = { 0 };
    struct answer_type type;
    if (respond_type(r, false, &type, &err) < 0)
        respond_error(r, &err, NULL);
    else if (r->info.verb == REQUEST_GET)
        answer_newest(r, &type);
    else if (r->info.verb == REQUEST_LIST)
        answer_list(r, &type);
    else if (r->info.verb == REQUEST_DELETECOLLECTION)
        answer_collection(r, &type);
    else
        answer_write(r, &type);
}

static void hand_to(struct worker_pool *workers, struct request *r, void (*fn)(void *arg))
{
    struct error err = { 0 };
    http_request_detach(r->http);
    if (worker_pool_submit(workers, fn, r, &err) < 0) {
        error_set(&err, ERR_TOO_MANY_REQUESTS, "too many requests, please try again later");
        respond_error(r, &err, NULL);
    }
}

/* ---- reads, on the loop thread ---- */

/* Without a revision a client asks for the newest, which the cache may have to wait for. */
static bool asks_for_newest(struct request *r)
{
    return storage_is_shared(r->server->storage) &&
           str_empty(query_get(r->query, "resourceVersion", 0, r->arena));
}

/* What has to be printed anew for each item would keep the other clients of the loop waiting. */
static bool is_long_to_print(const struct answer_type *type, const struct object_list *l)
{
    size_t n = l->n;
    if (n <= LIST_ITEMS_PER_TURN || type->form != ANSWER_OBJECT || type->text != ANSWER_JSON)
        return n > LIST_ITEMS_PER_TURN;
    for (size_t i = 0; i < l->n; i++)
        n -= object_has_json(l->items[i]);
    return n > LIST_ITEMS_PER_TURN;
}

static void serve_list(struct request *r, const struct answer_type *type)
{
    struct error err = { 0 };
    scoped(outcome) struct outcome out = { 0 };
    scoped(list_result) struct list_result list = { 0 };
    struct list_options options;
    if (list_options_parse(r, &options, &err) < 0) {
        respond_error(r, &err, &out);
        return;
    }
    switch (rest_list(r, &options, false, &list, &out, &err)) {
    case LIST_FAILED:
        respond_error(r, &err, &out);
        break;
    case LIST_WOULD_BLOCK:
        hand_to(r->server->workers, r, run_on_worker);
        break;
    case LIST_DONE:
        if (is_long_to_print(type, &list.objects))
            hand_to(r->server->workers, r, run_on_worker);
        else
            respond_list(r, type, &list);
        break;
    }
}

static void serve_read(struct request *r)
{
    struct error err = { 0 };
    struct answer_type type;
    if (respond_type(r, false, &type, &err) < 0)
        respond_error(r, &err, NULL);
    else if (r->info.verb != REQUEST_GET)
        serve_list(r, &type);
    else if (asks_for_newest(r))
        hand_to(r->server->workers, r, run_on_worker);
    else
        answer_get(r, &type);
}

/* ---- resources ---- */

static unsigned verb_bit(enum request_verb verb)
{
    static const unsigned bits[] = {
        [REQUEST_GET] = VERB_GET,
        [REQUEST_LIST] = VERB_LIST,
        [REQUEST_WATCH] = VERB_WATCH,
        [REQUEST_CREATE] = VERB_CREATE,
        [REQUEST_UPDATE] = VERB_UPDATE,
        [REQUEST_PATCH] = VERB_PATCH,
        [REQUEST_DELETE] = VERB_DELETE,
        [REQUEST_DELETECOLLECTION] = VERB_DELETECOLLECTION,
        [REQUEST_OTHER] = 0,
    };
    return bits[verb];
}

static int check_resource(const struct request *r, struct error *err)
{
    const struct request_info *info = &r->info;
    bool is_under_namespace = *info->ns && !str_equal(info->plural, "namespaces");
    bool is_missing_namespace = info->resource && info->resource->namespaced && !*info->ns &&
                                *info->name && info->verb != REQUEST_LIST &&
                                info->verb != REQUEST_WATCH;
    if (!info->resource || (*info->subresource && !info->sub) ||
        (is_under_namespace && !info->resource->namespaced) || is_missing_namespace)
        return error_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
    if (*info->subresource && subresource_is_connect(r))
        return 0;
    unsigned verbs = *info->subresource ? info->sub->verbs : info->resource->verbs;
    bool is_create_by_name = info->verb == REQUEST_CREATE && *info->name && !*info->subresource;
    bool is_create_nowhere =
        info->verb == REQUEST_CREATE && info->resource->namespaced && !*info->ns;
    bool is_change_of_nothing =
        !*info->name && (info->verb == REQUEST_UPDATE || info->verb == REQUEST_PATCH);
    if (!(verbs & verb_bit(info->verb)) || is_create_by_name || is_create_nowhere ||
        is_change_of_nothing)
        return error_set(err, ERR_METHOD_NOT_ALLOWED,
                         "the server does not allow this method on the requested resource");
    return 0;
}

static const char *deprecation_of(const struct resource *resource)
{
    static const struct {
        enum resource_id id;
        const char *text;
    } deprecated[] = {
        { RESOURCE_COMPONENTSTATUSES, "v1 ComponentStatus is deprecated in v1.19+" },
        { RESOURCE_ENDPOINTS,
          "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" },
    };
    for (size_t i = 0; i < ARRAY_LEN(deprecated); i++)
        if (resource == &resources[deprecated[i].id])
            return deprecated[i].text;
    return NULL;
}

static void serve_resource(struct request *r)
{
    struct error err = { 0 };
    if (check_resource(r, &err) < 0) {
        respond_error(r, &err, NULL);
        return;
    }
    r->deprecation = deprecation_of(r->info.resource);
    if (*r->info.subresource && subresource_is_connect(r)) {
        kubelet_proxy_http(r);
        return;
    }
    switch (r->info.verb) {
    case REQUEST_GET:
    case REQUEST_LIST:
        serve_read(r);
        break;
    case REQUEST_WATCH:
        rest_watch_http(r);
        break;
    default:
        hand_to(r->server->writers, r, run_on_worker);
        break;
    }
}

/* ---- everything else ---- */

static void serve_metrics(struct request *r)
{
    struct buffer b = { 0 };
    metrics_print(&b);
    respond_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&b));
    buffer_free(&b);
}

static void openapi_on_worker(void *arg)
{
    struct request *r = arg;
    struct document d = { 0 };
    openapi_serve(r, bytes_of(r->info.path), http_request_header(r->http, "accept"),
                  http_request_header(r->http, "if-none-match"), &d);
    respond_document(r, &d);
}

static void serve_path(struct request *r)
{
    struct document d = { 0 };
    bool is_ready;
    bool is_read = bytes_equal_str(http_request_method(r->http), "GET") ||
                   bytes_equal_str(http_request_method(r->http), "HEAD");
    if (!is_read) {
        respond_text(r, 405, "text/plain; charset=utf-8", BYTES("Method Not Allowed\n"));
        return;
    }
    if (health_serve(r))
        return;
    if (str_equal(r->info.path, "/metrics")) {
        serve_metrics(r);
    } else if (openapi_is_path(r->server, bytes_of(r->info.path), &is_ready)) {
        if (is_ready)
            openapi_on_worker(r);
        else
            hand_to(r->server->workers, r, openapi_on_worker);
    } else if (discovery_serve(r, bytes_of(r->info.path), http_request_header(r->http, "accept"),
                               &d)) {
        respond_document(r, &d);
    } else {
        respond_text(r, 404, "text/plain; charset=utf-8", BYTES("404 page not found\n"));
    }
}

/* ---- the filters ---- */

static int let_pass(struct request *r, struct error *err)
{
    char reason[AUTHZ_REASON_BYTES] = "";
    struct attributes at;
    if (authenticate(r->server, r, err) < 0)
        return -1;
    attributes_of(r, &at);
    if (!authorize(r->server, &at, reason))
        return authz_forbid(&at, reason, err);
    return 0;
}

static const char *text_of(struct bytes b, struct arena *a)
{
    return b.len ? arena_strndup(a, b.data, b.len) : "";
}

static const char *audit_id_of(struct request *r)
{
    struct bytes given = http_request_header(r->http, "audit-id");
    for (size_t i = 0; i < given.len; i++)
        if (given.data[i] < ' ' || given.data[i] > '~')
            given.len = 0;
    return given.len > 0 && given.len <= 64 ? text_of(given, r->arena)
                                            : uid_new(r->server->rng, r->arena);
}

void http_handle(struct http_request *http, void *apiserver)
{
    struct error err = { 0 };
    struct arena *arena = http_request_arena(http);
    struct request *r = arena_zalloc(arena, sizeof(*r));
    r->server = apiserver;
    r->http = http;
    r->arena = arena;
    r->query = http_request_query(http);
    r->info.verb_name = r->info.path = ""; /* should the path not parse */
    r->received_ns = clock_monotonic_ns(r->server->clock);
    r->audit_id = audit_id_of(r);
    r->user_agent = text_of(http_request_header(http, "user-agent"), arena);
    int rc = request_info_parse(http_request_method(http), http_request_path(http), r->query, arena,
                                &r->info, &err);
    if (rc < 0 || let_pass(r, &err) < 0) {
        struct outcome about = { 0 };
        if (r->info.is_resource_request && err.code == ERR_FORBIDDEN)
            outcome_about(&about, r);
        respond_error(r, &err, &about);
    } else if (r->info.is_resource_request) {
        serve_resource(r);
    } else {
        serve_path(r);
    }
}
