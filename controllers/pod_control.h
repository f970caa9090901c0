/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_control.h - what the controllers that own pods have in common.
 *
 * Threads: workers.
 */
#pragma once

#include "api/selector.h"
#include "controllers/runtime.h"

bool pod_is_finished(const struct object *pod); /* Succeeded or Failed */
bool pod_is_active(const struct object *pod);   /* neither finished nor being deleted */
bool pod_is_ready(const struct object *pod);
int64_t pod_ready_since_ns(const struct object *pod); /* 0: is not ready */
/* Ready for MIN_READY_S.  When it is not yet, *NEXT_NS (if not NULL) becomes the earlier of what it
 * was (0: never) and the moment at which it will be. */
bool pod_is_available(const struct object *pod, int64_t min_ready_s, int64_t now_ns,
                      int64_t *next_ns);

/* Objects of RESOURCE that OWNER controls and SELECTOR matches: its own ones that no longer match
 * are released, matching ones that nobody controls are adopted.  Needs OWNED_INDEXES on RESOURCE.
 */
int claim_objects(struct controller *c, const struct object *owner, int resource,
                  const struct selector *selector, struct object_list *out, struct error *err);
#define OWNED_INDEXES(resource)                                                                    \
    { resource, "controller", informer_index_controller },                                         \
    {                                                                                              \
        resource, "orphans", index_orphans                                                         \
    }
informer_index_fn index_orphans;

/* As enqueue_owner; an orphan wakes those owners in its namespace whose spec.selector matches it.
 * Needs the index "namespace" on the owners. */
void enqueue_owner_or_selecting(struct controller *c, const struct informer_event *e);
/* The owners in O's namespace whose spec.selector matches O. */
void enqueue_selecting(struct controller *c, const struct object *o);

/* A pod as TEMPLATE says, in OWNER's namespace and controlled by it; it has no name yet. */
struct draft *pod_from_template(const struct object *owner, const struct json *template);
/* Both tell OWNER's readers by an event.  A namespace that is being deleted takes no pods: no
 * error. */
int create_pod(struct controller *c, const struct object *owner, const struct draft *pod,
               struct error *err);
int delete_pod(struct controller *c, const struct object *owner, const struct object *pod,
               struct error *err);
/* True for the error of a create in a namespace that is being deleted. */
bool is_namespace_terminating(const struct error *err);

/* Sorts PODS so that those to be deleted first come first.  RELATED are all pods of the workload,
 * whose nodes tell which ones have company. */
void sort_for_deletion(const struct object_list *pods, const struct object_list *related,
                       int64_t now_ns, struct arena *a);

/* spec.selector as this kind writes it: a LabelSelector, or a plain map in ReplicationControllers.
 */
const struct selector *owner_selector(const struct object *owner, struct arena *a,
                                      struct error *err);

/* Go's integer-or-percentage: 3, "25%".  -1 if it is neither. */
int int_or_percent(const struct json *v, int64_t total, bool round_up, int64_t *out);

/* A member of a status, left out when zero as the API's encoder does. */
void put_count(struct arena *a, struct json *status, const char *name, int64_t n);

/* A name part made from V and COLLISIONS (how often it was taken), in the reconcile's arena. */
const char *hash_name(struct controller *c, const struct json *v, int64_t collisions);
