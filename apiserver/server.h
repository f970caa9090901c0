/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - what the files of this folder share of one API server.
 */
#pragma once

#include <pthread.h>

#include "apiserver/apiserver.h"
#include "apiserver/watch_cache.h"
#include "base/clock.h"
#include "base/worker_pool.h"

struct pki;
struct encryption;   /* encryption.c: keys of what is sealed in the store */
struct policy;       /* authz_rbac.c: RBAC tables and the node graph */
struct tokens;       /* authn_token.c: keys, verified tokens */
struct documents;    /* discovery.c, openapi.c: what was made */
struct watch_caches; /* watch_cache.c */
struct service_allocator;

/* Objects that expire (events) share leases: one for all that are made within a minute. */
struct shared_lease {
    pthread_mutex_t lock; /* guards what follows; nothing else is taken under it */
    int64_t id;
    int64_t ttl_s;
    int64_t until_ns; /* monotonic: no new objects after it */
};

struct apiserver {
    struct apiserver_config config; /* strings in ARENA */
    struct arena *arena;
    struct storage *storage;
    struct shared_lease lease;
    const struct clock *clock;
    struct rng *rng;
    struct pki *pki;
    struct encryption *encryption;
    struct policy *policy;
    struct tokens *tokens;
    struct documents *documents;
    struct watch_caches *caches;
    pthread_mutex_t allocation_lock; /* held by a write that allocates; the first in the order */
    struct service_allocator *service_allocator; /* service_strategy_start() */
    struct endpoint_reconciler *endpoints;       /* kubernetes_endpoints_start() */
    struct worker_pool *writers; /* mutations: they wait for the disk, however slow */
    struct worker_pool *workers; /* everything else that may block */
    struct worker_pool *streams; /* one thread per log, proxied request or tunnel being opened */
    struct http_server *http;
    atomic_bool has_bootstrap; /* the objects that a cluster starts with are there */
    atomic_bool is_stopping;
};
