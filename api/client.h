/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the API as every part sees it: the same calls over a socket (client_http) or within
 * the process (apiserver/loopback_client).
 *
 * Calls block; worker threads only.  Errors carry the server's code and message.  A client acts as
 * one user; parts open one each.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"

struct client;

enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_APPLY };
enum propagation {
    PROPAGATION_DEFAULT,
    PROPAGATION_BACKGROUND,
    PROPAGATION_FOREGROUND,
    PROPAGATION_ORPHAN
};

struct client_list_options {
    const char *ns; /* NULL or "": all */
    const char *label_selector;
    const char *field_selector;
    int64_t limit;   /* 0: none; the client fetches every page itself */
    bool from_cache; /* resourceVersion=0: whatever the server has in memory */
};
struct client_delete_options {
    int64_t grace_period_s; /* -1: the object's own */
    enum propagation propagation;
    const char *uid;          /* precondition; NULL: none */
    int64_t resource_version; /* precondition; 0: none */
};

enum watch_type { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK };
struct watch_event {
    enum watch_type type;
    struct object *object; /* borrowed for the callback; a bookmark's has a resource_version only */
};
struct client_watch_options {
    const char *ns;
    const char *label_selector;
    const char *field_selector;
    int64_t resource_version; /* events after it; 0: ADDED for each that exists, then events */
    /* Run on a thread of the client, one call at a time; must not wait for this client. */
    void (*event)(const struct watch_event *e, void *arg);
    /* Lost, expired (ERR_COMPACTED), or timed out. */
    void (*ended)(const struct error *err, void *arg);
    void *arg;
};
struct client_watch;

/* A write takes a document (borrowed; copied as far as needed) and gives the object that resulted
 * in *OUT unless OUT is NULL.  SUBRESOURCE is NULL for the object itself. */
struct client_ops {
    int (*get)(struct client *c, const struct resource *r, const struct object_key *key,
               struct object **out, struct error *err);
    int (*list)(struct client *c, const struct resource *r, const struct client_list_options *o,
                struct object_list *out, int64_t *resource_version, struct error *err);
    int (*create)(struct client *c, const struct resource *r, const char *ns,
                  const struct json *doc, struct object **out, struct error *err);
    int (*update)(struct client *c, const struct resource *r, const struct object_key *key,
                  const char *subresource, const struct json *doc, struct object **out,
                  struct error *err);
    int (*patch)(struct client *c, const struct resource *r, const struct object_key *key,
                 const char *subresource, enum patch_type type, struct bytes body,
                 struct object **out, struct error *err);
    int (*remove)(struct client *c, const struct resource *r, const struct object_key *key,
                  const struct client_delete_options *o, struct error *err);
    /* POST to a subresource: binding, eviction, token. *ANSWER is in ARENA. */
    int (*post)(struct client *c, const struct resource *r, const struct object_key *key,
                const char *subresource, const struct json *doc, struct arena *arena,
                const struct json **answer, struct error *err);
    struct client_watch *(*watch)(struct client *c, const struct resource *r,
                                  const struct client_watch_options *o, struct error *err);
    void (*watch_close)(struct client_watch *w); /* when it returns, no callback runs or will run */
    void (*close)(struct client *c);
};
struct client { /* first member of every implementation */
    const struct client_ops *ops;
};
struct client_watch { /* first member of every implementation */
    struct client *client;
};

static inline int client_get(struct client *c, const struct resource *r,
                             const struct object_key *key, struct object **out, struct error *err)
{
    return c->ops->get(c, r, key, out, err);
}
static inline int client_list(struct client *c, const struct resource *r,
                              const struct client_list_options *o, struct object_list *out,
                              int64_t *resource_version, struct error *err)
{
    return c->ops->list(c, r, o, out, resource_version, err);
}
static inline int client_create(struct client *c, const struct resource *r, const char *ns,
                                const struct json *doc, struct object **out, struct error *err)
{
    return c->ops->create(c, r, ns, doc, out, err);
}
static inline int client_update(struct client *c, const struct resource *r,
                                const struct object_key *key, const struct json *doc,
                                struct object **out, struct error *err)
{
    return c->ops->update(c, r, key, NULL, doc, out, err);
}
static inline int client_update_status(struct client *c, const struct resource *r,
                                       const struct object_key *key, const struct json *doc,
                                       struct object **out, struct error *err)
{
    return c->ops->update(c, r, key, "status", doc, out, err);
}
static inline int client_patch(struct client *c, const struct resource *r,
                               const struct object_key *key, const char *subresource,
                               enum patch_type type, struct bytes body, struct object **out,
                               struct error *err)
{
    return c->ops->patch(c, r, key, subresource, type, body, out, err);
}
static inline int client_delete(struct client *c, const struct resource *r,
                                const struct object_key *key, const struct client_delete_options *o,
                                struct error *err)
{
    return c->ops->remove(c, r, key, o, err);
}
static inline int client_post(struct client *c, const struct resource *r,
                              const struct object_key *key, const char *subresource,
                              const struct json *doc, struct arena *arena,
                              const struct json **answer, struct error *err)
{
    return c->ops->post(c, r, key, subresource, doc, arena, answer, err);
}
static inline struct client_watch *client_watch(struct client *c, const struct resource *r,
                                                const struct client_watch_options *o,
                                                struct error *err)
{
    return c->ops->watch(c, r, o, err);
}
static inline void client_watch_close(struct client_watch *w)
{
    if (w)
        w->client->ops->watch_close(w);
}
static inline void client_close(struct client *c)
{
    if (c)
        c->ops->close(c);
}
