/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_client.c - the client interface without a socket: the caller's thread walks the same
 * path, from authorization on, and gets the cache's own objects.
 */
#include "apiserver/authz.h"
#include "apiserver/conversion.h"
#include "apiserver/request_info.h"
#include "apiserver/rest_subresource.h"
#include "apiserver/rest_watch.h"
#include "apiserver/server.h"

struct loopback {
    struct client client; /* first */
    struct apiserver *server;
    struct arena *arena; /* holds this struct too */
    struct user user;
};

/* One call: a request in an arena of its own. */
struct call {
    struct arena *arena;
    struct request request;
    struct outcome outcome;
};

static void call_scoped(struct call *c)
{
    outcome_deinit(&c->outcome);
    arena_free(c->arena);
}

/* What upstream's component of that identity is called where it writes. */
static const char *agent_of(const char *user)
{
    static const struct {
        const char *user, *agent;
    } agents[] = {
        { "system:kube-scheduler", "kube-scheduler" },
        { "system:kube-controller-manager", "kube-controller-manager" },
        { "system:serviceaccount:kube-system:", "kube-controller-manager" },
        { "system:node:", "kubelet" },
        { "system:kube-proxy", "kube-proxy" },
        { "system:apiserver", "kube-apiserver" },
    };
    for (size_t i = 0; i < ARRAY_LEN(agents); i++)
        if (str_has_prefix(user, agents[i].user))
            return agents[i].agent;
    return "coracle";
}

/* Fills C and asks for leave. */
static int call_begin(struct call *c, struct client *client, enum request_verb verb,
                      const struct resource *r, const struct object_key *key,
                      const char *subresource, struct error *err)
{
    struct loopback *l = (struct loopback *)client;
    struct request *request = &c->request;
    char reason[AUTHZ_REASON_BYTES] = "";
    struct attributes at;
    c->arena = arena_new();
    request->server = l->server;
    request->arena = c->arena;
    request->user = l->user;
    request->audit_id = "";
    request->user_agent = agent_of(l->user.name);
    request->query = BYTES("");
    request->received_ns = clock_monotonic_ns(l->server->clock);
    request_info_make(&request->info, verb, r, key, subresource, c->arena);
    attributes_of(request, &at);
    if (!authorize(l->server, &at, reason))
        return authz_forbid(&at, reason, err);
    if (subresource && !request->info.sub)
        return error_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
    return 0;
}

static int loopback_get(struct client *client, const struct resource *r,
                        const struct object_key *key, struct object **out, struct error *err)
{
    scoped(call) struct call c = { 0 };
    if (call_begin(&c, client, REQUEST_GET, r, key, NULL, err) < 0 ||
        watch_caches_catch_up(c.request.server->caches, 0, err) < 0)
        return -1;
    return rest_get(&c.request, out, err);
}

static int loopback_list(struct client *client, const struct resource *r,
                         const struct client_list_options *o, struct object_list *out,
                         int64_t *resource_version, struct error *err)
{
    scoped(call) struct call c = { 0 };
    scoped(list_result) struct list_result list = { 0 };
    const char *selector = o ? o->field_selector : NULL;
    struct object_key key = { o && o->ns ? o->ns : "", request_info_selected_name(selector) };
    struct list_options options = { .ns = key.ns };
    if (o) {
        options.label_selector = o->label_selector;
        options.field_selector = selector;
        options.resource_version = o->from_cache ? "0" : NULL;
    }
    if (call_begin(&c, client, REQUEST_LIST, r, &key, NULL, err) < 0 ||
        rest_list(&c.request, &options, true, &list, &c.outcome, err) == LIST_FAILED)
        return -1;
    if (resource_version)
        *resource_version = list.resource_version;
    for (size_t i = 0; i < list.objects.n; i++)
        object_list_add(out, list.objects.items[i]);
    return 0;
}

static int loopback_write(struct call *c, const struct body *body, struct object **out,
                          struct error *err)
{
    if (rest_write(&c->request, body, &c->outcome, err) < 0)
        return -1;
    if (out && c->outcome.object)
        *out = take_ptr(&c->outcome.object);
    return 0;
}

static int loopback_create(struct client *client, const struct resource *r, const char *ns,
                           const struct json *doc, struct object **out, struct error *err)
{
    scoped(call) struct call c = { 0 };
    struct object_key key = { ns ? ns : "", "" };
    struct body body = { .doc = doc };
    if (call_begin(&c, client, REQUEST_CREATE, r, &key, NULL, err) < 0)
        return -1;
    return loopback_write(&c, &body, out, err);
}

static int loopback_update(struct client *client, const struct resource *r,
                           const struct object_key *key, const char *subresource,
                           const struct json *doc, struct object **out, struct error *err)
{
    scoped(call) struct call c = { 0 };
    struct body body = { .doc = doc };
    if (call_begin(&c, client, REQUEST_UPDATE, r, key, subresource, err) < 0)
        return -1;
    return loopback_write(&c, &body, out, err);
}

static int loopback_patch(struct client *client, const struct resource *r,
                          const struct object_key *key, const char *subresource,
                          enum patch_type type, struct bytes text, struct object **out,
                          struct error *err)
{
    static const char *const content_types[] = {
        [PATCH_JSON] = "application/json-patch+json",
        [PATCH_MERGE] = "application/merge-patch+json",
        [PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
        [PATCH_APPLY] = "application/apply-patch+yaml",
    };
    scoped(call) struct call c = { 0 };
    struct body body = { .text = text, .content_type = bytes_of(content_types[type]) };
    if (call_begin(&c, client, REQUEST_PATCH, r, key, subresource, err) < 0)
        return -1;
    return loopback_write(&c, &body, out, err);
}

static int loopback_remove(struct client *client, const struct resource *r,
                           const struct object_key *key, const struct client_delete_options *o,
                           struct error *err)
{
    scoped(call) struct call c = { 0 };
    struct delete_options options = { .grace_s = -1 };
    char version[24];
    if (o) {
        options.grace_s = o->grace_period_s;
        options.propagation = o->propagation;
        options.uid = o->uid;
    }
    if (o && o->resource_version) {
        snprintf(version, sizeof(version), "%lld", (long long)o->resource_version);
        options.resource_version = version;
    }
    if (call_begin(&c, client, REQUEST_DELETE, r, key, NULL, err) < 0)
        return -1;
    return rest_delete(&c.request, &options, &c.outcome, err);
}

static int loopback_post(struct client *client, const struct resource *r,
                         const struct object_key *key, const char *subresource,
                         const struct json *doc, struct arena *arena, const struct json **answer,
                         struct error *err)
{
    scoped(call) struct call c = { 0 };
    struct body body = { .doc = doc };
    if (call_begin(&c, client, REQUEST_CREATE, r, key, subresource, err) < 0 ||
        rest_write(&c.request, &body, &c.outcome, err) < 0)
        return -1;
    if (answer)
        *answer = json_clone(c.outcome.object ? c.outcome.object->doc : c.outcome.doc, arena);
    return 0;
}

/* ---- watches ---- */

struct loopback_watch {
    struct watcher watcher; /* first */
    struct client_watch handle;
    struct arena *arena; /* holds this struct too */
    struct apiserver *server;
    struct client_watch_options options;
};

static void on_event(struct watcher *w, enum watch_type type, const struct object *o,
                     struct watch_frames *frames)
{
    struct loopback_watch *l = (struct loopback_watch *)w;
    (void)frames;
    scoped(object) struct object *wanted = conversion_object(o, w->resource);
    l->options.event(&(struct watch_event){ type, wanted }, l->options.arg);
}

static void on_bookmark(struct watcher *w, int64_t revision, bool ends_initial_events)
{
    struct loopback_watch *l = (struct loopback_watch *)w;
    (void)ends_initial_events;
    scoped(object) struct object *empty = draft_publish(draft_new(w->resource), revision);
    l->options.event(&(struct watch_event){ WATCH_BOOKMARK, empty }, l->options.arg);
}

/* Its callbacks run on this very thread: it cannot fall behind it. */
static bool is_slow(struct watcher *w)
{
    (void)w;
    return false;
}

static void on_ended(struct watcher *w, const struct error *err)
{
    struct loopback_watch *l = (struct loopback_watch *)w;
    struct error closed = { .code = ERR_CANCELED, .message = "watch closed" };
    if (l->options.ended)
        l->options.ended(err ? err : &closed, l->options.arg);
}

static void on_free(struct watcher *w)
{
    arena_free(((struct loopback_watch *)w)->arena);
}

static const struct watcher_ops loopback_watcher_ops = {
    .event = on_event,
    .bookmark = on_bookmark,
    .is_slow = is_slow,
    .ended = on_ended,
    .free = on_free,
};

static struct client_watch *loopback_watch(struct client *client, const struct resource *r,
                                           const struct client_watch_options *o, struct error *err)
{
    struct loopback *l = (struct loopback *)client;
    scoped(call) struct call c = { 0 };
    struct object_key key = { o->ns ? o->ns : "", request_info_selected_name(o->field_selector) };
    if (call_begin(&c, client, REQUEST_WATCH, r, &key, NULL, err) < 0)
        return NULL;
    struct arena *arena = arena_new();
    struct loopback_watch *w = arena_zalloc(arena, sizeof(*w));
    w->watcher.ops = &loopback_watcher_ops;
    w->handle.client = client;
    w->arena = arena;
    w->server = l->server;
    w->options = *o;
    char version[24];
    snprintf(version, sizeof(version), "%lld", (long long)o->resource_version);
    struct watch_request wanted = { .ns = key.ns,
                                    .label_selector = o->label_selector,
                                    .field_selector = o->field_selector,
                                    .resource_version = version,
                                    .with_bookmarks = true };
    if (watcher_init(&w->watcher, l->server, r, &wanted, arena, err) < 0) {
        arena_free(arena);
        return NULL;
    }
    watch_delivery_add(watch_caches_delivery(l->server->caches), &w->watcher);
    return &w->handle;
}

static void loopback_watch_close(struct client_watch *handle)
{
    struct loopback_watch *w =
        (struct loopback_watch *)((char *)handle - offsetof(struct loopback_watch, handle));
    watch_delivery_remove_wait(watch_caches_delivery(w->server->caches), &w->watcher);
}

static void loopback_close(struct client *client)
{
    arena_free(((struct loopback *)client)->arena);
}

static const struct client_ops loopback_ops = {
    .get = loopback_get,
    .list = loopback_list,
    .create = loopback_create,
    .update = loopback_update,
    .patch = loopback_patch,
    .remove = loopback_remove,
    .post = loopback_post,
    .watch = loopback_watch,
    .watch_close = loopback_watch_close,
    .close = loopback_close,
};

struct client *apiserver_loopback(struct apiserver *a, const char *user, const char *const *groups)
{
    struct arena *arena = arena_new();
    struct loopback *l = arena_zalloc(arena, sizeof(*l));
    size_t n = 0;
    while (groups && groups[n])
        n++;
    const char **all = arena_zalloc(arena, (n + 2) * sizeof(*all));
    for (size_t i = 0; i < n; i++)
        all[i] = arena_strdup(arena, groups[i]);
    all[n] = "system:authenticated";
    l->client.ops = &loopback_ops;
    l->server = a;
    l->arena = arena;
    l->user = (struct user){ .name = arena_strdup(arena, user), .uid = "", .groups = all };
    return &l->client;
}
