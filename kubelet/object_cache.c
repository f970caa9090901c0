/* SPDX-License-Identifier: Apache-2.0 */
/* object_cache.c - the ConfigMaps and Secrets that this node's pods refer to. */
#include "kubelet/object_cache.h"

#include <pthread.h>

#include "api/status.h"
#include "base/clock.h"
#include "base/hashmap.h"

struct cached {
    struct cached *next_dead;
    struct object_cache *cache;
    char *id; /* "secrets ns/name" */
    const struct resource *resource;
    char *ns, *name;
    struct client_watch *watch;
    /* Under the cache's lock. */
    struct object *object; /* NULL: there is none */
    bool is_lost;          /* the watch has ended: what we hold may be old */
    int64_t used_ns;
};

struct object_cache {
    struct client *client;
    void (*changed)(enum object_change change, const struct object_key *key, void *arg);
    void *arg;
    pthread_mutex_t open_lock; /* before LOCK: one opens a watch at a time */
    pthread_mutex_t lock;
    struct hashmap by_id;
};

struct object_cache *object_cache_new(struct client *c,
                                      void (*changed)(enum object_change change,
                                                      const struct object_key *key, void *arg),
                                      void *arg)
{
    struct object_cache *cache = xcalloc(1, sizeof(*cache));
    *cache = (struct object_cache){ .client = c, .changed = changed, .arg = arg };
    pthread_mutex_init(&cache->open_lock, NULL);
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

static void cached_free(struct cached *e)
{
    client_watch_close(e->watch);
    object_unref(e->object);
    free(e->id);
    free(e->ns);
    free(e->name);
    free(e);
}

void object_cache_free(struct object_cache *cache)
{
    if (!cache)
        return;
    for (struct hashmap_entry *h; (h = hashmap_next(&cache->by_id, NULL));) {
        struct cached *e = h->value;
        hashmap_remove(&cache->by_id, h->key);
        cached_free(e);
    }
    hashmap_deinit(&cache->by_id);
    pthread_mutex_destroy(&cache->open_lock);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static void tell(struct cached *e, enum object_change change)
{
    struct object_key key = { e->ns, e->name };
    e->cache->changed(change, &key, e->cache->arg);
}

static void on_event(const struct watch_event *event, void *arg)
{
    struct cached *e = arg;
    if (event->type == WATCH_BOOKMARK)
        return;
    pthread_mutex_lock(&e->cache->lock);
    struct object *old = e->object;
    bool is_same = old && event->type != WATCH_DELETED &&
                   old->resource_version >= event->object->resource_version;
    if (!is_same)
        e->object = event->type == WATCH_DELETED ? NULL : object_ref(event->object);
    pthread_mutex_unlock(&e->cache->lock);
    if (is_same)
        return;
    object_unref(old);
    tell(e, OBJECT_CHANGED);
}

static void on_ended(const struct error *err, void *arg)
{
    struct cached *e = arg;
    (void)err; /* whatever it was: the next reader opens another */
    pthread_mutex_lock(&e->cache->lock);
    e->is_lost = true;
    pthread_mutex_unlock(&e->cache->lock);
    tell(e, OBJECT_LOST);
}

/* Lists the one object and watches from the list's revision: its own may be too old to watch from.
 */
static int list_one(struct cached *e, const char *selector, int64_t *revision, struct error *err)
{
    scoped(object_list) struct object_list found = { 0 };
    struct client_list_options options = { .ns = e->ns, .field_selector = selector };
    if (client_list(e->cache->client, e->resource, &options, &found, revision, err) < 0)
        return -1;
    if (found.n)
        e->object = object_ref(found.items[0]);
    return 0;
}

static struct cached *open_cached(struct object_cache *cache, const char *id,
                                  const struct resource *r, const struct object_key *key,
                                  struct error *err)
{
    struct cached *e = xcalloc(1, sizeof(*e));
    e->cache = cache;
    e->id = xstrdup(id);
    e->resource = r;
    e->ns = xstrdup(key->ns);
    e->name = xstrdup(key->name);
    char selector[300];
    snprintf(selector, sizeof(selector), "metadata.name=%s", key->name);
    struct client_watch_options options = {
        .ns = e->ns,
        .field_selector = selector,
        .event = on_event,
        .ended = on_ended,
        .arg = e,
    };
    if (list_one(e, selector, &options.resource_version, err) == 0)
        e->watch = client_watch(cache->client, r, &options, err);
    if (e->watch)
        return e;
    cached_free(e);
    return NULL;
}

/* The entry if it is there and true; takes a lost one out, to be freed by the caller. */
static struct cached *look_up(struct object_cache *cache, const char *id, struct cached **lost,
                              struct object **out)
{
    pthread_mutex_lock(&cache->lock);
    struct cached *e = hashmap_get(&cache->by_id, bytes_of(id));
    if (e && e->is_lost) {
        hashmap_remove(&cache->by_id, bytes_of(id));
        *lost = e;
        e = NULL;
    }
    if (e) {
        e->used_ns = clock_monotonic_ns(&system_clock);
        *out = e->object ? object_ref(e->object) : NULL;
    }
    pthread_mutex_unlock(&cache->lock);
    return e;
}

int object_cache_get(void *arg, const struct resource *r, const struct object_key *key,
                     struct object **out, struct error *err)
{
    struct object_cache *cache = arg;
    char id[KEY_TEXT_BYTES_MAX + 16];
    snprintf(id, sizeof(id), "%s %s/%s", r->plural, key->ns, key->name);
    struct cached *lost = NULL;
    *out = NULL;
    if (!look_up(cache, id, &lost, out)) {
        pthread_mutex_lock(&cache->open_lock);
        struct cached *late = NULL;
        struct cached *e = look_up(cache, id, &late, out); /* another may have been faster */
        if (!e && (e = open_cached(cache, id, r, key, err))) {
            pthread_mutex_lock(&cache->lock);
            e->used_ns = clock_monotonic_ns(&system_clock);
            hashmap_put(&cache->by_id, bytes_of(e->id), e);
            *out = e->object ? object_ref(e->object) : NULL;
            pthread_mutex_unlock(&cache->lock);
        }
        pthread_mutex_unlock(&cache->open_lock);
        if (lost)
            cached_free(lost);
        if (late)
            cached_free(late);
        if (!e)
            return -1;
    }
    return *out ? 0 : status_not_found(err, r, key->name);
}

void object_cache_sweep(struct object_cache *cache, int64_t unused_ns)
{
    struct cached *dead = NULL;
    int64_t before_ns = clock_monotonic_ns(&system_clock) - unused_ns;
    pthread_mutex_lock(&cache->lock);
    for (bool again = true; again;) {
        again = false;
        hashmap_each (&cache->by_id, h) {
            struct cached *e = h->value;
            if (e->used_ns >= before_ns)
                continue;
            hashmap_remove(&cache->by_id, h->key);
            e->next_dead = dead;
            dead = e;
            again = true; /* removal ends the walk */
            break;
        }
    }
    pthread_mutex_unlock(&cache->lock);
    while (dead) { /* outside the lock: closing waits for callbacks that take it */
        struct cached *e = dead;
        dead = e->next_dead;
        cached_free(e);
    }
}
