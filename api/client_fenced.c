/* SPDX-License-Identifier: Apache-2.0 */
/* client_fenced.c - passes calls on, writes only after a question. */
#include "api/client_fenced.h"

struct fenced {
    struct client client;
    struct client *inner;
    struct client_fence fence;
};

static struct client *inner_of(struct client *c)
{
    return ((struct fenced *)c)->inner;
}

static int check(struct client *c, const char *verb, const struct resource *r, const char *name,
                 struct error *err)
{
    const struct client_fence *fence = &((struct fenced *)c)->fence;
    if (!fence->may_write || fence->may_write(fence->arg))
        return 0;
    return error_set(err, ERR_CANCELED, "%s %s %s: this process does not lead any more", verb,
                     r->plural, name);
}

static int fenced_get(struct client *c, const struct resource *r, const struct object_key *key,
                      struct object **out, struct error *err)
{
    return client_get(inner_of(c), r, key, out, err);
}

static int fenced_list(struct client *c, const struct resource *r,
                       const struct client_list_options *o, struct object_list *out,
                       int64_t *resource_version, struct error *err)
{
    return client_list(inner_of(c), r, o, out, resource_version, err);
}

static int fenced_create(struct client *c, const struct resource *r, const char *ns,
                         const struct json *doc, struct object **out, struct error *err)
{
    if (check(c, "create", r, json_str(doc, "metadata.name", ""), err) < 0)
        return -1;
    return client_create(inner_of(c), r, ns, doc, out, err);
}

static int fenced_update(struct client *c, const struct resource *r, const struct object_key *key,
                         const char *subresource, const struct json *doc, struct object **out,
                         struct error *err)
{
    struct client *inner = inner_of(c);
    if (check(c, "update", r, key->name, err) < 0)
        return -1;
    return inner->ops->update(inner, r, key, subresource, doc, out, err);
}

static int fenced_patch(struct client *c, const struct resource *r, const struct object_key *key,
                        const char *subresource, enum patch_type type, struct bytes body,
                        struct object **out, struct error *err)
{
    if (check(c, "patch", r, key->name, err) < 0)
        return -1;
    return client_patch(inner_of(c), r, key, subresource, type, body, out, err);
}

static int fenced_remove(struct client *c, const struct resource *r, const struct object_key *key,
                         const struct client_delete_options *o, struct error *err)
{
    if (check(c, "delete", r, key->name, err) < 0)
        return -1;
    return client_delete(inner_of(c), r, key, o, err);
}

static int fenced_post(struct client *c, const struct resource *r, const struct object_key *key,
                       const char *subresource, const struct json *doc, struct arena *arena,
                       const struct json **answer, struct error *err)
{
    if (check(c, subresource, r, key->name, err) < 0)
        return -1;
    return client_post(inner_of(c), r, key, subresource, doc, arena, answer, err);
}

/* The watch is the inner client's, and so is its end. */
static struct client_watch *fenced_watch(struct client *c, const struct resource *r,
                                         const struct client_watch_options *o, struct error *err)
{
    return client_watch(inner_of(c), r, o, err);
}

static void fenced_watch_close(struct client_watch *w)
{
    client_watch_close(w);
}

static void fenced_close(struct client *c)
{
    client_close(inner_of(c));
    free(c);
}

static const struct client_ops fenced_ops = {
    .get = fenced_get,
    .list = fenced_list,
    .create = fenced_create,
    .update = fenced_update,
    .patch = fenced_patch,
    .remove = fenced_remove,
    .post = fenced_post,
    .watch = fenced_watch,
    .watch_close = fenced_watch_close,
    .close = fenced_close,
};

struct client *client_fenced_take(struct client *inner, const struct client_fence *fence)
{
    struct fenced *f = xcalloc(1, sizeof(*f));
    f->client.ops = &fenced_ops;
    f->inner = inner;
    f->fence = *fence;
    return &f->client;
}
