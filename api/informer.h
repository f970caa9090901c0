/* SPDX-License-Identifier: Apache-2.0 */
/*
 * informer.h - a cache of one resource that a list and a watch keep true.
 *
 * Informers of one process are shared through a set: the scheduler, the controllers and the kubelet
 * ask the set for a resource (and a field selector, for the kubelet's own pods) and get the same
 * cache.  In one process the cached objects are the API server's own.
 *
 * Handlers run on the watch's thread, after the cache has changed, one at a time and in order; they
 * must not block: they put keys into queues.  A relist after a lost watch gives handlers the
 * differences, so they never miss that an object has gone.
 *
 * A set may grow while it runs (custom resources): a new informer starts with the next
 * informer_set_start().
 *
 * Threads: any, except that handlers and indexes are added before the informer is started.
 */
#pragma once

#include "api/client.h"

struct informer_set;
struct informer;

struct informer_set *informer_set_new(struct client *c); /* the client outlives the set */
struct informer *informer_set_get(struct informer_set *s, const struct resource *r,
                                  const char *field_selector); /* NULL: everything */
void informer_set_start(struct informer_set *s);
/* Waits until every informer has had its first list.  ERR_TIMEOUT, ERR_CANCELED. */
must_check int informer_set_wait(struct informer_set *s, int64_t timeout_ms, struct error *err);
bool informer_is_synced(struct informer *i);    /* it has had its first list */
void informer_set_stop(struct informer_set *s); /* when it returns, no handler runs or will run */
void informer_set_free(struct informer_set *s);

struct informer_event {
    struct informer *informer;
    const struct object *old; /* NULL: added */
    const struct object *new; /* NULL: deleted */
    void *arg;
};
void informer_add_handler(struct informer *i, void (*fn)(const struct informer_event *e),
                          void *arg);

/* An index: FN calls emit() once per value under which the object is to be found. */
typedef void informer_index_fn(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                               void *ctx);
#define INFORMER_INDEXES_MAX 8
void informer_add_index(struct informer *i, const char *name, informer_index_fn *fn);
/* Ready-made ones: namespace; uid of each owner; uid of the controller; spec.nodeName. */
extern informer_index_fn informer_index_namespace, informer_index_owner, informer_index_controller,
    informer_index_node;

struct object *informer_get(struct informer *i,
                            const struct object_key *key);       /* a reference, or NULL */
void informer_list(struct informer *i, struct object_list *out); /* adds references */
void informer_list_by(struct informer *i, const char *index, struct bytes value,
                      struct object_list *out);
const struct resource *informer_resource(const struct informer *i);
int64_t informer_revision(struct informer *i); /* events up to it have been seen */
/* Waits until the cache has seen REVISION (a write's own result); false after TIMEOUT_MS. */
bool informer_wait_revision(struct informer *i, int64_t revision, int64_t timeout_ms);
/* Waits until the object of that uid is gone from the cache, or is seen to be deleted; false after
 * TIMEOUT_MS. */
bool informer_wait_deleted(struct informer *i, const struct object_key *key, const char *uid,
                           int64_t timeout_ms);
