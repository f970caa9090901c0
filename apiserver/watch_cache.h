/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_cache.h - every object of a resource in memory, in key order, kept current from the store.
 *
 *     store --publish--> watch_cache: objects by key ---- get, list (references, no copies)
 *                             |       ring of events ---- resume of a watch
 *                             +-> observers (at once)     +-> delivery thread -> watchers
 *
 * A write is in the cache before it is acknowledged.
 *
 * Threads: any.
 */
#pragma once

#include "api/client.h"
#include "api/selector.h"
#include "apiserver/request.h"

struct watch_cache;

/* The cache under which objects of R are kept (that of R->storage). */
struct watch_cache *watch_cache_of(struct apiserver *a, const struct resource *r);

struct object *watch_cache_get(struct watch_cache *c,
                               const struct object_key *key); /* NULL: none */
/* For those who must not take what cannot be read for what is not there (unreadable.h).  0: *OUT is
 * a reference, or NULL if there is none. */
must_check int watch_cache_find(struct watch_cache *c, const struct object_key *key,
                                struct object **out, struct error *err);
/* -1 if something in NS (NULL or "": everywhere), NAME of it if that is neither NULL nor "", cannot
 * be read: a list would not be whole. */
must_check int watch_cache_check_whole(struct watch_cache *c, const char *ns, const char *name,
                                       struct error *err);
/* Adds references to what lies in NS (NULL or "": everywhere), in key order.  Returns the revision
 * that the list is true for. */
int64_t watch_cache_list(struct watch_cache *c, const char *ns, struct object_list *out);

/* One page of a list, in key order. */
struct watch_cache_page {
    const char *ns; /* NULL or "": everywhere */
    struct bytes
        start;     /* the first key text ("ns/name") that may be in it; empty: from the beginning */
    int64_t limit; /* 0: none */
    int64_t exact_revision; /* 0: the newest */
    /* NULL: everything.  LABELS are O's; NULL: none. */
    bool (*matches)(const struct object *o, const struct json *labels, void *arg);
    void *arg;
};
/* False if the cache does not know any more how it was at that revision: the store does.
 * *REMAINING is what lies behind the page (-1 with a matches function: not counted), *MORE whether
 * there is any.  A revision in the future is the caller's to wait for. */
bool watch_cache_read_page(struct watch_cache *c, const struct watch_cache_page *page,
                           struct object_list *out, int64_t *revision, int64_t *remaining,
                           bool *more);

/* FN runs on the store's publishing thread right after a change is in the cache and before the
 * writer hears of it: it must be short and must not block, nor call this cache's functions that
 * take the lock for writing.  OLD NULL: added; NEW NULL: deleted.  Observers are added at start-up
 * and stay; FN is first called for every object that exists, on the caller's thread. */
#define WATCH_CACHE_OBSERVERS_MAX 8
void watch_cache_observe(struct watch_cache *c,
                         void (*fn)(const struct object *old, const struct object *new, void *arg),
                         void *arg);

/* ---- for this folder's plumbing ---- */

/* Fills the caches from the store and follows it from there. */
struct watch_caches *watch_caches_start(struct apiserver *a, struct error *err);
void watch_caches_stop(struct watch_caches *c);
int64_t watch_caches_revision(struct watch_caches *c); /* every change up to it is in the caches */
/* Waits (worker threads only); false after TIMEOUT_MS. */
bool watch_caches_wait(struct watch_caches *c, int64_t revision, int64_t timeout_ms);
/* Waits (worker threads only) until what anybody had acknowledged before this call, REVISION (0:
 * all) of it, is in the caches.  Costs nothing while no other process writes to the store.
 * ERR_UNAVAILABLE, ERR_TIMEOUT. */
must_check int watch_caches_catch_up(struct watch_caches *c, int64_t revision, struct error *err);
/* Lets go of what happened too long ago and of texts that nobody asks for, and gives memory back to
 * the system if that was much. Returns when (monotonic) there is more of that to do; INT64_MAX: not
 * before the next change. */
int64_t watch_caches_expire(struct watch_caches *c);
struct watch_delivery *watch_caches_delivery(struct watch_caches *c);
const struct resource *watch_cache_resource(const struct watch_cache *c);

/* Between the two, the cache has a revision's changes all or not at all.  To be short: the store's
 * publisher waits. */
void watch_caches_hold(struct watch_cache *c);
void watch_caches_release(struct watch_cache *c);

/* A change, shared by the ring and the delivery thread. */
struct cache_event {
    atomic_uint refs;
    enum watch_type type;
    int64_t revision;
    int64_t at_ns; /* monotonic */
    struct watch_cache *cache;
    struct object *object; /* the new state; of a delete: the last one, at the delete's revision */
    struct object *previous; /* NULL: added */
    size_t bytes;            /* the ring's own, like the next */
    struct cache_event *gone_next;
};
struct cache_event *cache_event_ref(struct cache_event *e);
void cache_event_unref(struct cache_event *e);

/* The events after REVISION as an array of references (free it after unref of each), *UPTO is the
 * revision that they reach. ERR_COMPACTED when the ring does not go back that far. */
must_check int watch_cache_events_since(struct watch_cache *c, int64_t revision,
                                        struct cache_event ***events, size_t *n, int64_t *upto,
                                        struct error *err);
