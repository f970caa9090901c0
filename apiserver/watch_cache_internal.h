/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_cache_internal.h - what watch_cache.c (changes) and watch_cache_read.c (readers) share.
 */
#pragma once

#include <pthread.h>

#include "apiserver/ordered_map.h"
#include "apiserver/server.h"
#include "apiserver/watch_cache.h"
#include "base/hashmap.h"

struct cache_entry {
    struct object *object;
    const struct json *labels; /* OBJECT's, at hand for selectors */
    struct bytes key;
    char text[];
};

struct observer {
    void (*fn)(const struct object *old, const struct object *new, void *arg);
    void *arg;
};

struct watch_cache {
    const struct resource *resource;
    struct watch_caches *all;
    struct bytes prefix; /* of the store's keys: /registry/apps/deployments/ */
    struct observer observers[WATCH_CACHE_OBSERVERS_MAX];
    size_t observers_n;

    pthread_rwlock_t lock; /* guards what follows; no other lock is taken under it */
    struct ordered_map objects;
    struct hashmap by_key;
    int64_t changed_revision; /* of the last change here */
    int64_t ring_since;       /* every change after this revision is in the ring */
    struct cache_event **ring;
    size_t ring_first, ring_n, ring_capacity;
};

struct watch_caches {
    struct apiserver *server;
    struct watch_cache *by_id[RESOURCES];
    struct hashmap by_prefix;
    struct arena *arena;
    struct storage_watch *watch;
    struct watch_delivery *delivery;
    _Atomic int64_t revision;
    pthread_mutex_t wait_lock; /* guards nothing but the sleep on MOVED */
    pthread_cond_t moved;
    atomic_int waiters;
};

/* The I-th event of the ring, the oldest first. */
static inline struct cache_event *ring_at(const struct watch_cache *c, size_t i)
{
    return c->ring[(c->ring_first + i) % c->ring_capacity];
}
