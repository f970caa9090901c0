/* SPDX-License-Identifier: Apache-2.0 */
/* respond.c - answers over HTTP, without copying what is encoded already. */
#include "apiserver/respond.h"

#include <pthread.h>

#include "apiserver/server.h"
#include "base/gzip.h"
#include "base/metrics.h"
#include "base/yaml.h"

#define RESPONSE_HEADERS_MAX (12 + WARNING_HEADERS_MAX)
#define GZIP_BYTES_MIN       (128 * 1024) /* upstream's: smaller answers go as they are */
/* Upstream's limit is on their bytes (4 KiB in all); as many as that come to. */
#define WARNING_HEADERS_MAX 32

/* ---- headers and metrics ---- */

static const char *warning_value(const char *text, struct arena *a)
{
    struct buffer b = { 0 };
    buffer_add_str(&b, "299 - \"");
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buffer_add_char(&b, '\\');
        if ((unsigned char)*c >= ' ')
            buffer_add_char(&b, *c);
    }
    buffer_add_char(&b, '"');
    const char *value = arena_strdup(a, b.data);
    buffer_free(&b);
    return value;
}

struct http_header *respond_headers(struct request *r, const char *content_type, size_t *n)
{
    struct http_header *h = arena_alloc(r->arena, RESPONSE_HEADERS_MAX * sizeof(*h));
    size_t count = 0;
    h[count++] = (struct http_header){ "audit-id", r->audit_id };
    h[count++] = (struct http_header){ "cache-control", "no-cache, private" };
    if (content_type)
        h[count++] = (struct http_header){ "content-type", content_type };
    if (str_equal(content_type, "text/plain; charset=utf-8"))
        h[count++] = (struct http_header){ "x-content-type-options", "nosniff" };
    if (r->deprecation)
        h[count++] = (struct http_header){ "warning", warning_value(r->deprecation, r->arena) };
    for (size_t i = 0; i < r->warnings.n && i < WARNING_HEADERS_MAX; i++)
        h[count++] =
            (struct http_header){ "warning", warning_value(r->warnings.items[i], r->arena) };
    *n = count;
    return h;
}

static const char *scope_of(const struct request_info *info)
{
    if (!info->is_resource_request)
        return "";
    if (*info->name || info->verb == REQUEST_CREATE)
        return "resource";
    return *info->ns ? "namespace" : "cluster";
}

static pthread_once_t metrics_once = PTHREAD_ONCE_INIT;
static struct metric *requests_total, *request_seconds;

static void declare_metrics(void)
{
    static const char *const labels[] = { "verb",        "group", "version", "resource",
                                          "subresource", "scope", "code",    NULL };
    static const char *const duration_labels[] = { "verb",        "group", "version", "resource",
                                                   "subresource", "scope", NULL };
    requests_total =
        metric_counter("apiserver_request_total", "Requests by verb, resource and code.", labels);
    request_seconds =
        metric_histogram("apiserver_request_duration_seconds", "Time from a request to its answer.",
                         duration_labels, NULL, 0);
}

void respond_count(struct request *r, int status)
{
    pthread_once(&metrics_once, declare_metrics);
    char verb[24], code[8];
    snprintf(verb, sizeof(verb), "%s", r->info.verb_name);
    for (char *c = verb; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    snprintf(code, sizeof(code), "%d", status);
    bool known = r->info.resource != NULL; /* others would make a series for every guess */
    const char *values[] = { verb,
                             known ? r->info.group : "",
                             known ? r->info.version : "",
                             known ? r->info.plural : "",
                             known && r->info.sub ? r->info.subresource : "",
                             scope_of(&r->info),
                             code };
    metric_add(requests_total, 1, values);
    double seconds = (double)(clock_monotonic_ns(r->server->clock) - r->received_ns) / 1e9;
    metric_observe(request_seconds, seconds, values);
}

/* ---- bodies ---- */

/* An answer: PARTS are valid until RELEASE(ARG). */
struct reply {
    struct request *request;
    int status;
    const char *content_type, *retry_after;
    const struct bytes *parts;
    size_t parts_n;
    bool is_packed;
    void (*release)(void *arg);
    void *arg;
};

static void send_now(const struct reply *p)
{
    size_t n;
    struct http_header *headers = respond_headers(p->request, p->content_type, &n);
    if (p->retry_after)
        headers[n++] = (struct http_header){ "retry-after", p->retry_after };
    if (p->is_packed) {
        headers[n++] = (struct http_header){ "content-encoding", "gzip" };
        headers[n++] = (struct http_header){ "vary", "Accept-Encoding" };
    }
    respond_count(p->request, p->status);
    http_respond(p->request->http, &(struct http_response){ .status = p->status,
                                                            .headers = headers,
                                                            .headers_n = n,
                                                            .parts = p->parts,
                                                            .parts_n = p->parts_n,
                                                            .release = p->release,
                                                            .arg = p->arg });
}

static void send_packed(void *arg)
{
    struct reply *p = arg;
    struct buffer packed = { 0 };
    gzip_pack(p->parts, p->parts_n, &packed);
    p->release(p->arg);
    struct bytes *part = arena_alloc(p->request->arena, sizeof(*part));
    *part = buffer_bytes(&packed);
    p->parts = part;
    p->parts_n = 1;
    p->is_packed = true;
    p->release = free;
    p->arg = buffer_take(&packed);
    send_now(p);
}

static bool is_to_be_packed(const struct reply *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->parts_n; i++)
        bytes += p->parts[i].len;
    return bytes > GZIP_BYTES_MIN &&
           negotiate_gzip(http_request_header(p->request->http, "accept-encoding"));
}

/* Packing takes longer than a loop thread may be away.  Without a worker it is left out. */
static void reply_send(const struct reply *p)
{
    struct error busy = { 0 };
    struct request *r = p->request;
    if (!is_to_be_packed(p)) {
        send_now(p);
        return;
    }
    struct reply *kept = arena_memdup(r->arena, p, sizeof(*p));
    if (http_request_is_detached(r->http)) { /* this is a worker */
        send_packed(kept);
        return;
    }
    http_request_detach(r->http);
    if (worker_pool_submit(r->server->workers, send_packed, kept, &busy) < 0)
        send_now(p);
}

static void send_buffer_take(struct request *r, int status, const char *content_type,
                             struct buffer *b)
{
    struct bytes *part = arena_alloc(r->arena, sizeof(*part));
    *part = buffer_bytes(b);
    char *text = buffer_take(b);
    if (part->len == 0)
        part->data = text;
    reply_send(&(struct reply){ .request = r,
                                .status = status,
                                .content_type = content_type,
                                .parts = part,
                                .parts_n = 1,
                                .release = free,
                                .arg = text });
}

static void send_tree(struct request *r, int status, enum answer_text text, const struct json *doc)
{
    struct buffer b = { 0 };
    switch (text) {
    case ANSWER_JSON:
        json_print(doc, &b);
        break;
    case ANSWER_PRETTY_JSON:
        json_print_pretty(doc, &b);
        break;
    case ANSWER_YAML:
        yaml_print(doc, &b);
        break;
    }
    send_buffer_take(r, status, text == ANSWER_YAML ? "application/yaml" : "application/json", &b);
}

static enum answer_text json_text_for(const struct request *r)
{
    return negotiate_pretty(r->query, r->user_agent, r->arena) ? ANSWER_PRETTY_JSON : ANSWER_JSON;
}

int respond_type(struct request *r, bool is_watch, struct answer_type *out, struct error *err)
{
    if (negotiate(http_request_header(r->http, "accept"), is_watch, out, err) < 0)
        return -1;
    if (out->text == ANSWER_JSON && !is_watch)
        out->text = json_text_for(r);
    return 0;
}

void respond_pretty(struct request *r, const struct json *doc)
{
    send_tree(r, 200, ANSWER_PRETTY_JSON, doc);
}

void respond_text(struct request *r, int status, const char *content_type, struct bytes text)
{
    struct buffer b = { 0 };
    buffer_add_bytes(&b, text);
    send_buffer_take(r, status, content_type, &b);
}

static void release_shared(void *arg)
{
    shared_bytes_unref(arg);
}

void respond_document(struct request *r, const struct document *d)
{
    size_t n;
    struct http_header *headers =
        respond_headers(r, d->content_type ? d->content_type : "text/plain; charset=utf-8", &n);
    for (size_t i = 0; i < n && d->cache_control; i++)
        if (strcmp(headers[i].name, "cache-control") == 0)
            headers[i].value = d->cache_control;
    if (d->etag)
        headers[n++] = (struct http_header){ "etag", d->etag };
    headers[n++] = (struct http_header){ "vary", "Accept" };
    struct bytes *part = arena_zalloc(r->arena, sizeof(*part));
    if (d->body)
        *part = shared_bytes_view(d->body);
    respond_count(r, d->status);
    http_respond(r->http, &(struct http_response){ .status = d->status,
                                                   .headers = headers,
                                                   .headers_n = n,
                                                   .parts = part,
                                                   .parts_n = d->body ? 1 : 0,
                                                   .release = release_shared,
                                                   .arg = d->body });
}

/* ---- failures ---- */

void respond_error(struct request *r, const struct error *err, const struct outcome *about)
{
    struct json *status = status_from_error(err, about ? &about->details : NULL, r->arena);
    if (about && about->list_continue)
        json_put_str(r->arena, status, "metadata.continue", about->list_continue);
    struct buffer b = { 0 };
    if (json_text_for(r) == ANSWER_PRETTY_JSON)
        json_print_pretty(status, &b);
    else
        json_print(status, &b);
    const char *retry = NULL;
    int retry_after_s = about ? about->details.retry_after_s : 0;
    if (retry_after_s > 0)
        retry = arena_printf(r->arena, "%d", retry_after_s);
    else if (retry_after_s == 0 &&
             (err->code == ERR_TOO_MANY_REQUESTS || err->code == ERR_UNAVAILABLE))
        retry = "1";
    struct bytes *part = arena_alloc(r->arena, sizeof(*part));
    *part = buffer_bytes(&b);
    reply_send(&(struct reply){ .request = r,
                                .status = error_http_status(err->code),
                                .content_type = "application/json",
                                .retry_after = retry,
                                .parts = part,
                                .parts_n = 1,
                                .release = free,
                                .arg = buffer_take(&b) });
}

/* ---- objects ---- */

enum table_include table_include_of(struct request *r)
{
    const char *v = query_get(r->query, "includeObject", 0, r->arena);
    if (str_equal(v, "None"))
        return TABLE_INCLUDE_NONE;
    return str_equal(v, "Object") ? TABLE_INCLUDE_OBJECT : TABLE_INCLUDE_METADATA;
}

static void send_object(struct request *r, int status, const struct object *o)
{
    struct bytes *part = arena_alloc(r->arena, sizeof(*part));
    struct shared_bytes *text = object_json(o);
    *part = shared_bytes_view(text);
    reply_send(&(struct reply){ .request = r,
                                .status = status,
                                .content_type = "application/json",
                                .parts = part,
                                .parts_n = 1,
                                .release = release_shared,
                                .arg = text });
}

/* What is to be printed anew.  YAML is sorted; JSON keeps the order of the bytes that others get,
 * which is not always the tree's. */
static const struct json *tree_of(struct arena *a, enum answer_text text, const struct object *o)
{
    struct error err = { 0 };
    if (text == ANSWER_YAML)
        return o->doc;
    scoped(shared_bytes) struct shared_bytes *bytes = object_json(o);
    const struct json *doc = json_parse(shared_bytes_view(bytes), a, NULL, &err);
    ensure(doc);
    return doc;
}

static void print_list_meta(const struct list_result *l, struct buffer *b)
{
    buffer_printf(b, "\"metadata\":{\"resourceVersion\":\"%lld\"", (long long)l->resource_version);
    if (l->continue_token)
        buffer_printf(b, ",\"continue\":\"%s\"", l->continue_token);
    if (l->continue_token && l->remaining >= 0)
        buffer_printf(b, ",\"remainingItemCount\":%lld", (long long)l->remaining);
    buffer_add_str(b, "}");
}

static void print_table(struct request *r, const struct answer_type *type,
                        const struct list_result *l, struct buffer *b)
{
    int64_t now_ns = clock_wall_ns(r->server->clock);
    enum table_include include = table_include_of(r);
    buffer_printf(b, "{\"kind\":\"Table\",\"apiVersion\":\"%s\",", type->meta_version);
    print_list_meta(l, b);
    buffer_add_str(b, ",\"columnDefinitions\":");
    table_print_columns(l->resource, b);
    buffer_add_str(b, ",\"rows\":[");
    for (size_t i = 0; i < l->objects.n; i++) {
        if (i)
            buffer_add_char(b, ',');
        table_print_row(l->objects.items[i], include, now_ns, b);
    }
    buffer_add_str(b, "]}");
}

static void print_metadata_list(const struct answer_type *type, const struct list_result *l,
                                struct buffer *b)
{
    buffer_printf(b, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"%s\",",
                  type->meta_version);
    print_list_meta(l, b);
    buffer_add_str(b, ",\"items\":[");
    for (size_t i = 0; i < l->objects.n; i++) {
        if (i)
            buffer_add_char(b, ',');
        partial_metadata_print(l->objects.items[i], type->meta_version, b);
    }
    buffer_add_str(b, "]}");
}

/* Text that was printed as JSON, in the form asked for. */
static void send_printed_take(struct request *r, int status, const struct answer_type *type,
                              struct buffer *b)
{
    struct error err = { 0 };
    if (type->text == ANSWER_JSON) {
        send_buffer_take(r, status, "application/json", b);
        return;
    }
    struct json *doc = json_parse(buffer_bytes(b), r->arena, NULL, &err);
    buffer_free(b);
    if (doc)
        send_tree(r, status, type->text, doc);
    else
        respond_error(r, &err, NULL);
}

static void send_one_as(struct request *r, const struct answer_type *type, const struct outcome *o)
{
    struct buffer b = { 0 };
    if (type->form == ANSWER_TABLE) {
        struct object *items[] = { o->object };
        struct list_result l = { .resource = o->object->resource,
                                 .objects = { .items = items, .n = 1 },
                                 .resource_version = o->object->resource_version };
        print_table(r, type, &l, &b);
    } else {
        partial_metadata_print(o->object, type->meta_version, &b);
    }
    send_printed_take(r, o->http_status, type, &b);
}

void respond_outcome(struct request *r, const struct answer_type *type, const struct outcome *o)
{
    if (!o->object)
        send_tree(r, o->http_status, type->text, o->doc);
    else if (type->form == ANSWER_TABLE || type->form == ANSWER_METADATA)
        send_one_as(r, type, o);
    else if (type->text != ANSWER_JSON)
        send_tree(r, o->http_status, type->text, tree_of(r->arena, type->text, o->object));
    else
        send_object(r, o->http_status, o->object);
}

/* ---- lists ---- */

/* A list on its way to the client: the head, then each object's bytes and a comma, then the tail.
 */
struct list_body {
    struct shared_bytes **texts;
    size_t n;
    struct buffer head;
    struct bytes parts[];
};

static void release_list(void *arg)
{
    struct list_body *body = arg;
    for (size_t i = 0; i < body->n; i++)
        shared_bytes_unref(body->texts[i]);
    free(body->texts);
    buffer_free(&body->head);
    free(body);
}

static void send_object_list(struct request *r, const struct list_result *l)
{
    size_t n = 0, count = l->objects.n;
    char version[128];
    struct list_body *body = xmalloc(sizeof(*body) + (2 * count + 2) * sizeof(struct bytes));
    *body = (struct list_body){ .texts = xmalloc(count * sizeof(body->texts[0])), .n = count };
    buffer_printf(&body->head, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",", l->resource->list_kind,
                  resource_api_version(l->resource, version, sizeof(version)));
    print_list_meta(l, &body->head);
    buffer_add_str(&body->head, ",\"items\":[");
    body->parts[n++] = buffer_bytes(&body->head);
    for (size_t i = 0; i < count; i++) {
        if (i)
            body->parts[n++] = BYTES(",");
        body->texts[i] = object_json(l->objects.items[i]);
        body->parts[n++] = shared_bytes_view(body->texts[i]);
    }
    body->parts[n++] = BYTES("]}\n");
    reply_send(&(struct reply){ .request = r,
                                .status = 200,
                                .content_type = "application/json",
                                .parts = body->parts,
                                .parts_n = n,
                                .release = release_list,
                                .arg = body });
}

static void send_list_tree(struct request *r, enum answer_text text, const struct list_result *l)
{
    struct arena *a = r->arena;
    char version[128];
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "kind", l->resource->list_kind);
    json_put_str(a, doc, "apiVersion", resource_api_version(l->resource, version, sizeof(version)));
    json_put_str(a, doc, "metadata.resourceVersion",
                 arena_printf(a, "%lld", (long long)l->resource_version));
    if (l->continue_token)
        json_put_str(a, doc, "metadata.continue", l->continue_token);
    struct json *items = json_set_static(a, doc, "items", *json_new(a, JSON_ARRAY));
    object_list_each (&l->objects, o)
        json_append(a, items, *tree_of(a, text, o));
    send_tree(r, 200, text, doc);
}

void respond_list(struct request *r, const struct answer_type *type, const struct list_result *list)
{
    struct buffer b = { 0 };
    switch (type->form) {
    case ANSWER_TABLE:
        print_table(r, type, list, &b);
        send_printed_take(r, 200, type, &b);
        break;
    case ANSWER_METADATA:
    case ANSWER_METADATA_LIST:
        print_metadata_list(type, list, &b);
        send_printed_take(r, 200, type, &b);
        break;
    case ANSWER_OBJECT:
        if (type->text == ANSWER_JSON)
            send_object_list(r, list);
        else
            send_list_tree(r, type->text, list);
        break;
    }
}
