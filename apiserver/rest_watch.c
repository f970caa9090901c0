/* SPDX-License-Identifier: Apache-2.0 */
/* rest_watch.c - watches over HTTP: frames that are encoded once and shared. */
#include "apiserver/rest_watch.h"

#include "apiserver/conversion.h"
#include "apiserver/negotiate.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"
#include "base/limits.h"
#include "base/log.h"

/* Without timeoutSeconds a watch lives 30 to 60 minutes, so that clients spread over servers anew.
 */
#define WATCH_TIMEOUT_MIN_S 1800
#define WATCH_TIMEOUT_MAX_S (365 * 86400) /* so that it can be counted in nanoseconds */
/* The events of the beginning are put together to chunks of about this size. */
#define INITIAL_CHUNK_BYTES (64 * 1024)

/* A watcher with its names; selectors come on top. */
#define WATCHER_BYTES (sizeof(struct http_watcher) + 128)

struct http_watcher {
    struct watcher watcher;
    struct apiserver *server;
    struct arena *arena;
    struct http_stream *stream; /* NULL once ended */
    enum watch_encoding encoding;
    const char *meta_version;
    bool has_columns; /* a Table's columns go with its first event only */
    bool is_initial;
    struct buffer initial;
    size_t initial_bytes; /* written so far */
};

static const char *const type_names[] = {
    [WATCH_ADDED] = "ADDED",
    [WATCH_MODIFIED] = "MODIFIED",
    [WATCH_DELETED] = "DELETED",
    [WATCH_BOOKMARK] = "BOOKMARK",
};

/* ---- frames ---- */

static void print_row_table(struct http_watcher *h, const struct object *o, bool with_columns,
                            struct buffer *b)
{
    static const enum table_include includes[WATCH_ENCODINGS] = {
        [WATCH_AS_TABLE_METADATA] = TABLE_INCLUDE_METADATA,
        [WATCH_AS_TABLE_NONE] = TABLE_INCLUDE_NONE,
        [WATCH_AS_TABLE_OBJECT] = TABLE_INCLUDE_OBJECT,
    };
    buffer_printf(b,
                  "{\"kind\":\"Table\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":"
                  "\"%lld\"},\"columnDefinitions\":",
                  h->meta_version, (long long)o->resource_version);
    if (with_columns)
        table_print_columns(h->watcher.resource, b);
    else
        buffer_add_str(b, "null");
    buffer_add_str(b, ",\"rows\":[");
    table_print_row(o, includes[h->encoding], clock_wall_ns(h->server->clock), b);
    buffer_add_str(b, "]}");
}

static void print_object(const struct object *o, struct buffer *b)
{
    scoped(shared_bytes) struct shared_bytes *text = object_json(o);
    buffer_add_bytes(b, shared_bytes_view(text));
}

static void print_frame(struct http_watcher *h, enum watch_type type, const struct object *o,
                        struct buffer *b)
{
    buffer_printf(b, "{\"type\":\"%s\",\"object\":", type_names[type]);
    switch (h->encoding) {
    case WATCH_AS_OBJECT:
        print_object(o, b);
        break;
    case WATCH_AS_METADATA:
        partial_metadata_print(o, h->meta_version, b);
        break;
    default:
        print_row_table(h, o, !h->has_columns, b);
        h->has_columns = true;
        break;
    }
    buffer_add_str(b, "}\n");
}

static void write_buffer(struct http_watcher *h, struct buffer *b)
{
    if (b->len > 0 && h->stream) {
        scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(buffer_bytes(b));
        http_stream_write(h->stream, chunk);
        if (h->is_initial)
            h->initial_bytes += b->len;
    }
    buffer_clear(b);
}

static bool can_share(const struct http_watcher *h, const struct watch_frames *frames)
{
    bool is_table = h->encoding >= WATCH_AS_TABLE_METADATA;
    return frames && !h->is_initial &&
           h->watcher.resource == watch_cache_resource(h->watcher.cache) &&
           !(is_table && !h->has_columns) &&
           (h->encoding == WATCH_AS_OBJECT || strcmp(h->meta_version, "meta.k8s.io/v1") == 0);
}

static void on_event(struct watcher *w, enum watch_type type, const struct object *o,
                     struct watch_frames *frames)
{
    struct http_watcher *h = (struct http_watcher *)w;
    struct buffer b = { 0 };
    if (!h->stream)
        return;
    if (can_share(h, frames)) {
        struct shared_bytes **slot = &frames->frames[type][h->encoding];
        if (!*slot) {
            print_frame(h, type, o, &b);
            *slot = shared_bytes_new(buffer_bytes(&b));
            buffer_free(&b);
        }
        http_stream_add(h->stream, *slot);
        return;
    }
    scoped(object) struct object *converted = conversion_object(o, w->resource);
    if (h->is_initial) {
        print_frame(h, type, converted, &h->initial);
        if (h->initial.len >= INITIAL_CHUNK_BYTES)
            write_buffer(h, &h->initial);
        return;
    }
    print_frame(h, type, converted, &b);
    scoped(shared_bytes) struct shared_bytes *frame = shared_bytes_new(buffer_bytes(&b));
    http_stream_add(h->stream, frame);
    buffer_free(&b);
}

static void on_flush(struct watcher *w)
{
    struct http_watcher *h = (struct http_watcher *)w;
    if (h->stream)
        http_stream_flush(h->stream);
}

static void on_initial_done(struct watcher *w)
{
    struct http_watcher *h = (struct http_watcher *)w;
    write_buffer(h, &h->initial);
    buffer_free(&h->initial);
    h->is_initial = false;
}

static void on_bookmark(struct watcher *w, int64_t revision, bool ends_initial_events)
{
    struct http_watcher *h = (struct http_watcher *)w;
    struct buffer b = { 0 };
    char version[128];
    bool is_table = h->encoding >= WATCH_AS_TABLE_METADATA;
    const char *annotations =
        ends_initial_events ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";
    buffer_add_str(&b, "{\"type\":\"BOOKMARK\",\"object\":");
    if (is_table) {
        /* The annotation must travel: it goes with the row's object, as upstream does. */
        buffer_printf(&b,
                      "{\"kind\":\"Table\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":"
                      "\"%lld\"},\"columnDefinitions\":",
                      h->meta_version, (long long)revision);
        if (h->has_columns)
            buffer_add_str(&b, "null");
        else
            table_print_columns(w->resource, &b);
        h->has_columns = true;
        buffer_printf(&b,
                      ",\"rows\":[{\"cells\":[],\"object\":{\"kind\":\"PartialObjectMetadata\","
                      "\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%lld\"%s}}}]}",
                      h->meta_version, (long long)revision, annotations);
    } else {
        bool is_metadata = h->encoding == WATCH_AS_METADATA;
        buffer_printf(
            &b,
            "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%lld\","
            "\"creationTimestamp\":null%s}}",
            is_metadata ? "PartialObjectMetadata" : w->resource->kind,
            is_metadata ? h->meta_version
                        : resource_api_version(w->resource, version, sizeof(version)),
            (long long)revision, annotations);
    }
    buffer_add_str(&b, "}\n");
    write_buffer(h, &b);
    buffer_free(&b);
}

static bool is_slow(struct watcher *w)
{
    struct http_watcher *h = (struct http_watcher *)w;
    return h->stream &&
           (http_stream_queued(h->stream) > WATCH_QUEUED_MAX ||
            http_stream_queued_bytes(h->stream) > WATCH_QUEUED_BYTES_MAX + h->initial_bytes);
}

static void on_ended(struct watcher *w, const struct error *err)
{
    struct http_watcher *h = (struct http_watcher *)w;
    struct http_stream *stream = h->stream;
    h->stream = NULL;
    if (!stream)
        return;
    if (err && err->code == ERR_UNAVAILABLE) {
        log_info("apiserver", "%s", err->message);
        http_stream_abort(stream);
        return;
    }
    if (err) {
        struct buffer b = { 0 };
        scoped(arena) struct arena *a = arena_new();
        buffer_add_str(&b, "{\"type\":\"ERROR\",\"object\":");
        json_print(status_from_error(err, NULL, a), &b);
        buffer_add_str(&b, "}\n");
        scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(buffer_bytes(&b));
        http_stream_write(stream, chunk);
        buffer_free(&b);
    }
    http_stream_end(stream);
}

static void on_free(struct watcher *w)
{
    struct http_watcher *h = (struct http_watcher *)w;
    if (h->stream)
        http_stream_end(h->stream);
    buffer_free(&h->initial);
    arena_free(h->arena); /* H is in it */
}

static const struct watcher_ops http_watcher_ops = {
    .event = on_event,
    .initial_done = on_initial_done,
    .bookmark = on_bookmark,
    .flush = on_flush,
    .is_slow = is_slow,
    .ended = on_ended,
    .free = on_free,
};

/* ---- start ---- */

static int take_revision(struct watcher *w, struct apiserver *server,
                         const struct watch_request *wanted, struct error *err)
{
    const char *text = wanted->resource_version;
    char *end = "";
    w->resource_version = str_empty(text) ? 0 : strtoll(text, &end, 10);
    if (*end || w->resource_version < 0)
        return error_set(
            err, ERR_BAD_REQUEST,
            "invalid resource version: strconv.ParseUint: parsing \"%s\": invalid syntax", text);
    w->with_initial_events = w->resource_version == 0;
    if (wanted->send_initial_events == INITIAL_EVENTS_YES)
        w->with_initial_events = w->with_initial_end = true;
    if (wanted->send_initial_events == INITIAL_EVENTS_NO)
        w->with_initial_events = false;
    if (!w->with_initial_events && w->resource_version == 0)
        w->resource_version = watch_caches_revision(server->caches);
    return 0;
}

static int take_selectors(struct watcher *w, const struct watch_request *wanted, struct arena *a,
                          struct error *err)
{
    if (!str_empty(wanted->label_selector)) {
        w->labels = selector_parse(arena_strdup(a, wanted->label_selector), a, err);
        if (!w->labels)
            return -1;
        if (selector_is_empty(w->labels))
            w->labels = NULL;
    }
    if (str_empty(wanted->field_selector))
        return 0;
    w->fields = field_selector_parse(w->resource, arena_strdup(a, wanted->field_selector), a, err);
    if (!w->fields)
        return -1;
    const char *name = field_selector_requires(w->fields, "metadata.name");
    const char *ns = field_selector_requires(w->fields, "metadata.namespace");
    const char *node = field_selector_requires(w->fields, "spec.nodeName");
    if (name)
        w->name = name;
    if (ns && !*w->ns)
        w->ns = ns;
    if (node)
        w->node = node;
    return 0;
}

int watcher_init(struct watcher *w, struct apiserver *server, const struct resource *r,
                 const struct watch_request *wanted, struct arena *a, struct error *err)
{
    w->cache = watch_cache_of(server, r);
    w->resource = r;
    w->ns = str_empty(wanted->ns) ? "" : arena_strdup(a, wanted->ns);
    w->name = str_empty(wanted->name) ? "" : arena_strdup(a, wanted->name);
    w->node = "";
    w->with_bookmarks = wanted->with_bookmarks;
    w->timeout_ns = wanted->timeout_s * NS_PER_S;
    if (take_selectors(w, wanted, a, err) < 0)
        return -1;
    return take_revision(w, server, wanted, err);
}

static int parse_query(struct request *r, struct watch_request *out, struct error *err)
{
    *out = (struct watch_request){ .ns = r->info.ns, .name = r->info.name };
    out->label_selector = query_get(r->query, "labelSelector", 0, r->arena);
    out->field_selector = query_get(r->query, "fieldSelector", 0, r->arena);
    out->resource_version = query_get(r->query, "resourceVersion", 0, r->arena);
    if (query_int(r->query, "timeoutSeconds", r->arena, &out->timeout_s, err) < 0)
        return -1;
    if (out->timeout_s > WATCH_TIMEOUT_MAX_S)
        out->timeout_s = WATCH_TIMEOUT_MAX_S;
    if (out->timeout_s <= 0)
        out->timeout_s =
            WATCH_TIMEOUT_MIN_S + (int64_t)rng_below(r->server->rng, WATCH_TIMEOUT_MIN_S);
    out->with_bookmarks = query_is_true(r->query, "allowWatchBookmarks", r->arena);
    if (query_get(r->query, "sendInitialEvents", 0, r->arena))
        out->send_initial_events = query_is_true(r->query, "sendInitialEvents", r->arena)
                                       ? INITIAL_EVENTS_YES
                                       : INITIAL_EVENTS_NO;
    return 0;
}

static int check_initial_events(struct request *r, const struct watch_request *wanted,
                                struct error *err)
{
    const char *match = query_get(r->query, "resourceVersionMatch", 0, r->arena);
    if (wanted->send_initial_events != INITIAL_EVENTS_UNSET && !str_equal(match, "NotOlderThan"))
        return error_set(
            err, ERR_INVALID,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    if (wanted->send_initial_events == INITIAL_EVENTS_UNSET && !str_empty(match))
        return error_set(
            err, ERR_INVALID,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: "
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
            "provided");
    return 0;
}

static enum watch_encoding encoding_of(struct request *r, const struct answer_type *type)
{
    if (type->form == ANSWER_METADATA || type->form == ANSWER_METADATA_LIST)
        return WATCH_AS_METADATA;
    if (type->form == ANSWER_OBJECT)
        return WATCH_AS_OBJECT;
    switch (table_include_of(r)) {
    case TABLE_INCLUDE_NONE:
        return WATCH_AS_TABLE_NONE;
    case TABLE_INCLUDE_OBJECT:
        return WATCH_AS_TABLE_OBJECT;
    case TABLE_INCLUDE_METADATA:
        break;
    }
    return WATCH_AS_TABLE_METADATA;
}

static void on_client_left(void *arg)
{
    struct http_watcher *h = arg;
    watch_delivery_remove(watch_caches_delivery(h->server->caches), &h->watcher);
}

static struct http_watcher *http_watcher_new(struct request *r, struct error *err)
{
    struct watch_request wanted;
    struct answer_type type;
    if (parse_query(r, &wanted, err) < 0 || respond_type(r, true, &type, err) < 0 ||
        check_initial_events(r, &wanted, err) < 0)
        return NULL;
    struct arena *arena = arena_new_sized(WATCHER_BYTES); /* idle watchers are many */
    struct http_watcher *h = arena_zalloc(arena, sizeof(*h));
    h->watcher.ops = &http_watcher_ops;
    h->server = r->server;
    h->arena = arena;
    h->is_initial = true;
    h->encoding = encoding_of(r, &type);
    h->meta_version = type.meta_version;
    if (watcher_init(&h->watcher, r->server, r->info.resource, &wanted, arena, err) == 0)
        return h;
    arena_free(arena);
    return NULL;
}

void rest_watch_http(struct request *r)
{
    struct error err = { 0 };
    struct outcome about = { 0 };
    outcome_about(&about, r);
    about.details.name = "";
    struct http_watcher *h = http_watcher_new(r, &err);
    if (!h) {
        respond_error(r, &err, &about);
        return;
    }
    struct http_response head = { .status = 200 };
    head.headers = respond_headers(r, "application/json", &head.headers_n);
    respond_count(r, 200);
    struct apiserver *server = r->server;
    h->stream = http_stream_start(r->http, &head, on_client_left, h);
    watch_delivery_add(watch_caches_delivery(server->caches), &h->watcher);
}
