/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule_one.h - finds a node for one pod.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "scheduler/plugins.h"

struct schedule_result {
    struct node_info *node; /* NULL: it fits nowhere */
    /* Where it fits nowhere: */
    struct buffer message;  /* "0/3 nodes are available: 1 Insufficient cpu, 2 ..." without
                               preemption's part */
    unsigned events;        /* enum cluster_event: those that may help */
    enum verdict *verdicts; /* per node of the snapshot, in ARENA */
};

struct schedule_options {
    struct rng *rng;
    size_t *
        next_start; /* in the list of nodes: where the search goes on, so that all get their turn */
    const struct pod_info *const *nominated; /* waiting for room that is theirs */
    size_t nominated_n;
};

/* Fills RESULT; RESULT->message is the caller's to free. */
void schedule_one(struct snapshot *s, const struct pod_info *pod, const struct schedule_options *o,
                  struct arena *arena, struct schedule_result *result);

/* "0/3 nodes are available: 1 a, 2 b." from reasons that were counted. */
struct reason_counts {
    struct hashmap counts; /* zero-initialised is empty */
};
void reason_counts_add(struct reason_counts *c, const struct reasons *r, struct arena *a);
void reason_counts_print(const struct reason_counts *c, size_t nodes_n, struct buffer *out);
void reason_counts_deinit(struct reason_counts *c);

/* All filters on one node, which may be a trial. */
enum verdict run_filters(const struct cycle *c, const struct node_info *n, struct reasons *out,
                         unsigned *events);
/* TRIAL: a changed copy of one node, taken for it; NULL: none. */
void cycle_begin(struct cycle *c, struct snapshot *s, const struct pod_info *pod,
                 const struct node_info *trial, struct arena *arena);
void cycle_end(struct cycle *c);
