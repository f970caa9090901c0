/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preemption.h - which pods of lower priority would have to go for one that fits nowhere.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "scheduler/schedule_one.h"

struct preemption {
    struct node_info *node;          /* NULL: it does not help */
    const struct pod_info **victims; /* in the arena; borrowed from the snapshot */
    size_t victims_n;
    bool is_hopeless;      /* no node would do, nor one that the pod is nominated for */
    struct buffer message; /* why it does not help, in upstream's words; the caller's to free */
};

/* VERDICTS: schedule_one()'s. */
void preemption_find(struct snapshot *s, const struct pod_info *pod, const enum verdict *verdicts,
                     struct arena *arena, struct preemption *out);
