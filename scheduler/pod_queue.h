/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_queue.h - pods that have no node yet.
 *
 *     active   --pop-->  in flight  --park-->  parked       until an event that may help
 *       ^                    |                    | wake
 *       +--- backoff  <------+--------------------+
 *
 * Active is in the order of priority, then of arrival.  A parked pod names the events that may make
 * room for it; after POD_PARKED_MAX_NS it is tried anyway.  A pod that waits in backoff only
 * because it did not fit is taken early when nothing else is to be done.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "base/clock.h"
#include "base/due_heap.h"
#include "base/hashmap.h"
#include "scheduler/pod_info.h"

#define POD_BACKOFF_FIRST_NS (1 * NS_PER_S)
#define POD_BACKOFF_MAX_NS   (10 * NS_PER_S)
#define POD_PARKED_MAX_NS    (5 * 60 * NS_PER_S)

/* What may make room for a pod that did not fit. */
enum cluster_event {
    EVENT_NODE_ADDED = 1 << 0,
    EVENT_NODE_GREW = 1 << 1, /* allocatable */
    EVENT_NODE_LABELS = 1 << 2,
    EVENT_NODE_TAINTS = 1 << 3, /* and unschedulable */
    EVENT_POD_GONE = 1 << 4,    /* one that had a node was deleted or has finished */
    EVENT_POD_PLACED = 1 << 5,  /* one got a node, or one that has one got other labels */
    EVENT_VOLUMES = 1 << 6,     /* a claim, a volume or a storage class is another one */
    EVENT_NODE_GONE = 1 << 7,
};

enum queue_place {
    PLACE_ACTIVE,
    PLACE_BACKOFF,
    PLACE_ERRORS,
    PLACE_PARKED,
    PLACE_GATED,
    PLACE_IN_FLIGHT
};

struct queued_pod {
    struct due_node due; /* first: it is in the heap of its place */
    struct pod_info *info;
    enum queue_place place;
    size_t active_index;
    uint64_t sequence; /* of arrival in active */
    int attempts;
    int64_t parked_ns;
    unsigned events; /* enum cluster_event: those that may help */
};

struct pod_queue {
    const struct clock *clock;
    struct hashmap pods; /* key -> struct queued_pod */
    struct queued_pod **active;
    size_t active_n, active_capacity;
    struct due_heap backoff, errors, parked;
    uint64_t sequence;
};

void pod_queue_init(struct pod_queue *q, const struct clock *clock);
void pod_queue_deinit(struct pod_queue *q);

/* A pod without a node: added, or replaced by its newer self, which is tried at once. */
void pod_queue_set(struct pod_queue *q, struct pod_info *info);
/* Only its status is another one: it stays where it is. */
void pod_queue_refresh(struct pod_queue *q, struct queued_pod *p, struct pod_info *info);
void pod_queue_remove(struct pod_queue *q, struct bytes key); /* none is fine */
struct queued_pod *pod_queue_get(struct pod_queue *q, struct bytes key);

/* The next to be tried, NULL if there is nothing to do now.  Next, it is parked, retried or
 * removed. */
struct queued_pod *pod_queue_pop(struct pod_queue *q);
int64_t pod_queue_due_ns(const struct pod_queue *q); /* when to look again; 0: at the next event */

void pod_queue_park(struct pod_queue *q, struct queued_pod *p, unsigned events);
void pod_queue_retry(struct pod_queue *q, struct queued_pod *p); /* an error: after its backoff */

void pod_queue_wake(struct pod_queue *q, unsigned events);
