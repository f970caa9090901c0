/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_cache_internal.h - what watch_cache.c (changes) and watch_cache_read.c (readers) share.
 */
#pragma once

#include <pthread.h>

#include "apiserver/event_ring.h"
#include "apiserver/ordered_map.h"
#include "apiserver/server.h"
#include "apiserver/unreadable.h"
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
    struct unreadable unreadable; /* of such a key, OBJECTS may have what was there before */
    int64_t changed_revision;     /* of the last change here */
    struct event_ring ring;
};

struct watch_caches {
    struct apiserver *server;
    struct watch_cache *by_id[RESOURCES];
    struct hashmap by_prefix;
    struct arena *arena;
    pthread_rwlock_t watch_lock; /* guards the next: its users read, who replaces it writes */
    struct storage_watch *watch; /* NULL: being replaced */
    /* Held while a revision's changes are applied and observers are told, and while an observer is
     * added: it hears of each object once, and then of every change.  Before a cache's lock. */
    pthread_mutex_t change_lock;
    struct watch_reloader *reloader;
    struct watch_delivery *delivery;
    _Atomic int64_t revision;
    atomic_size_t released_bytes; /* of the past, since memory was last given back */
    pthread_mutex_t wait_lock;    /* guards nothing but the sleep on MOVED */
    pthread_cond_t moved;
    atomic_int waiters;
};

/* ---- watch_cache.c, for the reloader ---- */

must_check int watch_caches_follow(struct watch_caches *all, int64_t revision, struct error *err);
/* A change that nobody was told of at the time: objects and observers follow, watchers do not. */
void watch_cache_correct(struct watch_cache *c, const struct storage_event *event);
void watch_caches_moved(struct watch_caches *all, int64_t revision);
struct bytes watch_cache_key_text(const struct watch_cache *c, struct bytes storage_key);

/* ---- watch_cache_reload.c ---- */

/* Fills the caches anew when the store's history has a gap for us: etcd was out of reach for longer
 * than it keeps history. */
struct watch_reloader *watch_reloader_new(struct watch_caches *all);
void watch_reloader_wake(struct watch_reloader *r); /* Threads: any */
void watch_reloader_stop(struct watch_reloader *r); /* waking it is still fine */
void watch_reloader_free(struct watch_reloader *r);
