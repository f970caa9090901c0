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
/* Adds references to what lies in NS (NULL or "": everywhere), in key order.  Returns the revision
 * that the list is true for. */
int64_t watch_cache_list(struct watch_cache *c, const char *ns, struct object_list *out);
size_t watch_cache_count(struct watch_cache *c);

/* FN runs on the store's publishing thread right after a change is in the cache and before the
 * writer hears of it: it must be short and must not block, nor call this cache's functions that
 * take the lock for writing.  OLD NULL: added; NEW NULL: deleted.  Observers are added at start-up
 * and stay; FN is first called for every object that exists, on the caller's thread. */
#define WATCH_CACHE_OBSERVERS_MAX 8
void watch_cache_observe(struct watch_cache *c,
                         void (*fn)(const struct object *old, const struct object *new, void *arg),
                         void *arg);
