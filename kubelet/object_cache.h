/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_cache.h - the ConfigMaps and Secrets that this node's pods refer to: each is watched from
 * its first use until no pod needs it, so that files follow their object at once and a sync reads
 * memory.
 *
 * Threads: any.
 */
#pragma once

#include "api/client.h"

struct object_cache;

/* LOST: its watch has ended, so what the cache holds may be old; the next read opens another watch,
 * but should not be at once, or a server that ends every watch is asked without a pause. */
enum object_change { OBJECT_CHANGED, OBJECT_LOST };

/* CHANGED says that an object some pod has read is another one now; it must not block. */
struct object_cache *object_cache_new(struct client *c,
                                      void (*changed)(enum object_change change,
                                                      const struct object_key *key, void *arg),
                                      void *arg);
void object_cache_free(struct object_cache *cache);

/* An object_get_fn: a reference in *OUT, or ERR_NOT_FOUND. CACHE is a struct object_cache. */
int object_cache_get(void *cache, const struct resource *r, const struct object_key *key,
                     struct object **out, struct error *err);

/* Drops what nobody has read for that long: no pod needs it any more. */
void object_cache_sweep(struct object_cache *cache, int64_t unused_ns);
