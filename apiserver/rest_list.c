/* SPDX-License-Identifier: Apache-2.0 */
/* rest_list.c - GET of one object and of many: selectors, pages, revisions. */
#include "apiserver/component_status.h"
#include "apiserver/conversion.h"
#include "apiserver/rest.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"
#include "base/crypto.h"

#define FUTURE_WAIT_MS   3000 /* upstream waits so long for its cache to reach a revision */
#define CONTINUE_VERSION "meta.k8s.io/v1"
#define STORE_PAGE       1000

/* Component statuses: the only kind that is read and not stored. */
static int get_made(struct request *r, struct object **out, struct error *err)
{
    scoped(object_list) struct object_list all = { 0 };
    component_status_list(r->server, &all);
    object_list_each (&all, o) {
        if (!str_equal(o->key.name, r->info.name))
            continue;
        *out = object_ref(o);
        return 0;
    }
    return status_not_found(err, r->info.resource, r->info.name);
}

int rest_get(struct request *r, struct object **out, struct error *err)
{
    struct object_key key = request_key(r);
    if (!r->info.resource->is_stored)
        return get_made(r, out, err);
    scoped(object) struct object *o = rest_find(r, r->info.resource, &key, err);
    if (!o)
        return -1;
    *out = conversion_object(o, r->info.resource);
    return 0;
}

/* ---- what is asked for ---- */

int list_options_parse(struct request *r, struct list_options *out, struct error *err)
{
    *out = (struct list_options){ .ns = r->info.ns };
    int64_t timeout_s; /* not needed, but a wrong one is refused */
    out->label_selector = query_get(r->query, "labelSelector", 0, r->arena);
    out->field_selector = query_get(r->query, "fieldSelector", 0, r->arena);
    out->continue_token = query_get(r->query, "continue", 0, r->arena);
    out->resource_version = query_get(r->query, "resourceVersion", 0, r->arena);
    out->resource_version_match = query_get(r->query, "resourceVersionMatch", 0, r->arena);
    if (query_int(r->query, "limit", r->arena, &out->limit, err) < 0)
        return -1;
    return query_int(r->query, "timeoutSeconds", r->arena, &timeout_s, err);
}

struct list_plan {
    const char *ns;
    const struct selector *labels;
    const struct field_selector *fields;
    int64_t limit;
    int64_t exact;    /* 0: the newest */
    int64_t at_least; /* 0: whatever there is */
    bool is_continued;
    bool is_consistent; /* must show all that was acknowledged before */
    struct bytes start; /* "ns/name" to begin at; empty: the beginning */
};

static bool plan_matches(const struct object *o, const struct json *labels, void *arg)
{
    const struct list_plan *p = arg;
    if (p->labels && !selector_matches(p->labels, labels))
        return false;
    return !p->fields || field_selector_matches(p->fields, o);
}

static const char *ns_prefix(const struct list_plan *p, struct arena *a)
{
    return str_empty(p->ns) ? "" : arena_printf(a, "%s/", p->ns);
}

/* {"v":"meta.k8s.io/v1","rv":5,"start":"web-1\u0000"}: where the next page begins, below the
 * namespace. */
static const char *continue_print(struct request *r, const struct list_plan *p, int64_t revision,
                                  const struct object_key *last)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes key = object_key_text(last, text);
    size_t skip = strlen(ns_prefix(p, r->arena));
    struct buffer b = { 0 }, start = { 0 };
    buffer_add(&start, key.data + skip, key.len - skip);
    buffer_add_char(&start, '\0');
    buffer_printf(&b,
                  "{\"v\":\"" CONTINUE_VERSION "\",\"rv\":%lld,\"start\":", (long long)revision);
    json_print_string(buffer_bytes(&start), &b);
    buffer_add_char(&b, '}');
    const char *token = base64url_encode(buffer_bytes(&b), r->arena);
    buffer_free(&b);
    buffer_free(&start);
    return token;
}

static int continue_parse(struct request *r, const char *token, struct list_plan *p,
                          struct error *err)
{
    struct bytes text;
    struct error ignored = { 0 };
    struct json *doc = NULL;
    if (base64url_decode(bytes_of(token), r->arena, &text) == 0)
        doc = json_parse(text, r->arena, NULL, &ignored);
    const struct json *start = json_get(doc, "start");
    if (!str_equal(json_str(doc, "v", ""), CONTINUE_VERSION) || !json_is(start, JSON_STRING) ||
        start->len == 0 || memmem(start->string, start->len, "..", 2))
        return error_set(err, ERR_BAD_REQUEST, "continue key is not valid: invalid continue token");
    struct buffer key = { 0 };
    buffer_add_str(&key, ns_prefix(p, r->arena));
    buffer_add(&key, start->string, start->len);
    p->start = arena_bytes(r->arena, buffer_bytes(&key));
    buffer_free(&key);
    int64_t revision = json_int(doc, "rv", 0);
    p->exact = revision > 0 ? revision : 0; /* below 0: go on with the newest, inconsistently */
    p->at_least = p->exact;
    p->is_continued = true;
    return 0;
}

static int bad_option(struct error *err, const char *field, const char *detail)
{
    return error_set(err, ERR_INVALID, "ListOptions.meta.k8s.io \"\" is invalid: %s: Forbidden: %s",
                     field, detail);
}

static int plan_revision(const struct list_options *o, struct list_plan *p, struct error *err)
{
    const char *match = o->resource_version_match;
    bool has_revision = !str_empty(o->resource_version);
    if (!str_empty(match)) {
        if (!str_empty(o->continue_token))
            return bad_option(err, "resourceVersionMatch",
                              "resourceVersionMatch is forbidden when continue is provided");
        if (!has_revision)
            return bad_option(
                err, "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided");
        if (strcmp(match, "Exact") != 0 && strcmp(match, "NotOlderThan") != 0)
            return error_set(
                err, ERR_INVALID,
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: "
                "Unsupported value: \"%s\": supported values: \"Exact\", \"NotOlderThan\"",
                match);
        if (strcmp(match, "Exact") == 0 && strcmp(o->resource_version, "0") == 0)
            return bad_option(
                err, "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    p->is_consistent = !has_revision;
    if (!has_revision)
        return 0;
    char *end;
    int64_t revision = strtoll(o->resource_version, &end, 10);
    if (*end || revision < 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "invalid resource version: strconv.ParseUint: parsing "
                         "\"%s\": invalid syntax",
                         o->resource_version);
    if (!str_empty(o->continue_token) && revision != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "specifying resource version is not allowed when using continue");
    bool is_exact = str_equal(match, "Exact") || (str_empty(match) && o->limit > 0 && revision > 0);
    if (is_exact)
        p->exact = revision;
    p->at_least = revision;
    return 0;
}

static int plan_list(struct request *r, const struct list_options *o, struct list_plan *p,
                     struct error *err)
{
    *p = (struct list_plan){ .ns = o->ns, .limit = o->limit };
    if (!str_empty(o->label_selector)) {
        p->labels = selector_parse(o->label_selector, r->arena, err);
        if (!p->labels)
            return -1;
        if (selector_is_empty(p->labels))
            p->labels = NULL;
    }
    if (!str_empty(o->field_selector)) {
        p->fields = field_selector_parse(r->info.resource, o->field_selector, r->arena, err);
        if (!p->fields)
            return -1;
    }
    if (plan_revision(o, p, err) < 0)
        return -1;
    return str_empty(o->continue_token) ? 0 : continue_parse(r, o->continue_token, p, err);
}

/* ---- from the cache ---- */

static int wait_for(struct request *r, int64_t revision, struct error *err)
{
    if (watch_caches_wait(r->server->caches, revision, FUTURE_WAIT_MS))
        return 0;
    return error_set(err, ERR_FUTURE_REVISION, "Too large resource version: %lld, current: %lld",
                     (long long)revision, (long long)watch_caches_revision(r->server->caches));
}

static void set_page(struct request *r, const struct list_plan *p, int64_t revision, bool more,
                     int64_t remaining, struct list_result *out)
{
    out->resource_version = revision;
    out->remaining = -1;
    if (!more)
        return;
    out->remaining = remaining;
    out->continue_token =
        continue_print(r, p, revision, &out->objects.items[out->objects.n - 1]->key);
}

/* False if the cache does not go back to the revision that was asked for. */
static bool list_from_cache(struct request *r, struct list_plan *p, struct list_result *out)
{
    struct watch_cache_page page = { .ns = p->ns,
                                     .start = p->start,
                                     .limit = p->limit,
                                     .exact_revision = p->exact,
                                     .matches = p->labels || p->fields ? plan_matches : NULL,
                                     .arg = p };
    int64_t revision, remaining;
    bool more;
    struct watch_cache *c = watch_cache_of(r->server, r->info.resource);
    if (!watch_cache_read_page(c, &page, &out->objects, &revision, &remaining, &more))
        return false;
    set_page(r, p, revision, more, remaining, out);
    return true;
}

/* One named object: what a fieldSelector on metadata.name inside a namespace comes to.  1: it is
 * that. */
static int list_one(struct request *r, struct list_plan *p, struct list_result *out,
                    struct error *err)
{
    const char *name = p->fields ? field_selector_requires(p->fields, "metadata.name") : NULL;
    if (!name || p->exact || p->start.len || (r->info.resource->namespaced && str_empty(p->ns)))
        return 0;
    struct object_key key = { r->info.resource->namespaced ? p->ns : "", name };
    out->resource_version = watch_caches_revision(r->server->caches);
    out->remaining = -1;
    scoped(object) struct object *o = NULL;
    if (watch_cache_find(watch_cache_of(r->server, r->info.resource), &key, &o, err) < 0)
        return -1;
    if (o && plan_matches(o, json_get(object_metadata(o), "labels"), p)) {
        object_list_add(&out->objects, o);
        if (o->resource_version > out->resource_version)
            out->resource_version = o->resource_version;
    }
    return 1;
}

/* ---- from the store, at a revision that the cache has left behind ---- */

static int list_expired(struct request *r, const struct list_plan *p, struct outcome *failure,
                        struct error *err)
{
    if (!p->is_continued)
        return error_set(err, ERR_COMPACTED,
                         "The resourceVersion for the provided list is too old.");
    char text[KEY_TEXT_BYTES_MAX];
    /* The token's key ends in a NUL, which continue_print adds again. */
    struct bytes start = { p->start.data, p->start.len - 1 };
    struct object_key last = object_key_parse(start, text);
    failure->list_continue = continue_print(r, p, -1, &last);
    return error_set(
        err, ERR_COMPACTED,
        "The provided continue parameter is too old to display a consistent list result. You can "
        "start a new list without the continue parameter, or use the continue token in this "
        "response "
        "to retrieve the remainder of the results. Continuing with the provided token results in "
        "an "
        "inconsistent list - objects that were created, modified, or deleted between the time the "
        "first chunk was returned and now may show up in the list.");
}

static int list_from_store(struct request *r, struct list_plan *p, struct list_result *out,
                           struct outcome *failure, struct error *err)
{
    const struct resource *stored = r->info.resource->storage;
    scoped(arena) struct arena *arena = arena_new();
    const char *root = store_prefix(stored, r->arena);
    struct bytes prefix = bytes_of(arena_printf(r->arena, "%s%s", root, ns_prefix(p, r->arena)));
    struct bytes end = store_prefix_end(prefix, r->arena);
    struct buffer key = { 0 };
    buffer_add_bytes(&key, p->start.len ? bytes_of(root) : prefix);
    buffer_add_bytes(&key, p->start);
    bool more = true, is_full = false;
    int64_t remaining = 0;
    int rc = 0;

    while (rc == 0 && more && !is_full) {
        struct storage_range range = { .key = arena_bytes(arena, buffer_bytes(&key)),
                                       .end = end,
                                       .revision = p->exact,
                                       .limit = STORE_PAGE };
        struct storage_range_result page;
        rc = storage_range(r->server->storage, &range, arena, &page, err);
        more = rc == 0 && page.more && page.n > 0;
        for (size_t i = 0; rc == 0 && i < page.n && !is_full; i++) {
            struct object *o = store_parse(r->server, stored, &page.kvs[i], err);
            if (!o) {
                rc = -1;
                break;
            }
            bool matches = plan_matches(o, json_get(object_metadata(o), "labels"), p);
            is_full = matches && p->limit > 0 && out->objects.n == (size_t)p->limit;
            if (matches && !is_full)
                object_list_add(&out->objects, o);
            object_unref(o);
            if (is_full)
                remaining = page.count - (int64_t)i;
        }
        if (more) {
            buffer_clear(&key);
            buffer_add_bytes(&key, page.kvs[page.n - 1].key);
            buffer_add_char(&key, '\0');
        }
        arena_reset(arena);
    }
    buffer_free(&key);
    if (rc < 0)
        return err->code == ERR_COMPACTED ? list_expired(r, p, failure, err) : -1;
    set_page(r, p, p->exact, is_full, p->labels || p->fields ? -1 : remaining, out);
    return 0;
}

static void list_made(struct request *r, struct list_plan *p, struct list_result *out)
{
    scoped(object_list) struct object_list all = { 0 };
    component_status_list(r->server, &all);
    object_list_each (&all, o)
        if (plan_matches(o, json_get(object_metadata(o), "labels"), p))
            object_list_add(&out->objects, o);
    out->resource_version = watch_caches_revision(r->server->caches);
    out->remaining = -1;
}

/* ---- the verb ---- */

static void convert_objects(const struct resource *to, struct object_list *list)
{
    if (to == to->storage)
        return;
    for (size_t i = 0; i < list->n; i++) {
        struct object *converted = conversion_object(list->items[i], to);
        object_unref(list->items[i]);
        list->items[i] = converted;
    }
}

enum list_outcome rest_list(struct request *r, const struct list_options *o, bool may_block,
                            struct list_result *out, struct outcome *failure, struct error *err)
{
    struct list_plan plan;
    out->resource = r->info.resource;
    outcome_about(failure, r);
    failure->details.name = "";
    if (plan_list(r, o, &plan, err) < 0)
        return LIST_FAILED;
    if (!r->info.resource->is_stored) {
        list_made(r, &plan, out);
        return LIST_DONE;
    }
    if (plan.is_consistent && !plan.is_continued && storage_is_shared(r->server->storage)) {
        if (!may_block)
            return LIST_WOULD_BLOCK;
        if (watch_caches_catch_up(r->server->caches, 0, err) < 0)
            return LIST_FAILED;
    }
    if (plan.at_least > watch_caches_revision(r->server->caches)) {
        if (!may_block)
            return LIST_WOULD_BLOCK;
        if (wait_for(r, plan.at_least, err) < 0) {
            failure->details.retry_after_s = 1;
            return LIST_FAILED;
        }
    }
    int one = list_one(r, &plan, out, err);
    if (one < 0 || (one == 0 && watch_cache_check_whole(watch_cache_of(r->server, r->info.resource),
                                                        plan.ns, NULL, err) < 0))
        return LIST_FAILED;
    if (!one && !list_from_cache(r, &plan, out)) {
        if (!may_block)
            return LIST_WOULD_BLOCK;
        if (list_from_store(r, &plan, out, failure, err) < 0)
            return LIST_FAILED;
    }
    convert_objects(r->info.resource, &out->objects);
    return LIST_DONE;
}

void list_result_deinit(struct list_result *l)
{
    object_list_deinit(&l->objects);
}
