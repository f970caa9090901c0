/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binder.h - what the scheduler writes: bindings, why a pod waits, pods that have to go.
 *
 * Calls block on the API: worker threads.
 *
 * Threads: any.
 */
#pragma once

#include "api/client.h"
#include "base/clock.h"
#include "scheduler/pod_info.h"

must_check int binder_bind(struct client *c, const struct pod_info *pod, const char *node_name,
                           struct error *err);

/* Tells who makes volumes that NODE_NAME is where the claim will be used. */
must_check int binder_select_node(struct client *c, const struct pod_info *pod,
                                  const struct pod_claim *claim, const char *node_name,
                                  struct error *err);

struct pod_report {
    const char *reason; /* of condition PodScheduled=False */
    const char *message;
    const char *nominated; /* a node to be nominated for; "": none; NULL: as it is */
};
/* Writes nothing when the pod says so already. */
must_check int binder_report(struct client *c, const struct pod_info *pod,
                             const struct pod_report *report, const struct clock *clock,
                             struct error *err);

/* Marks the victim and deletes it.  One that is gone already is fine. */
must_check int binder_preempt(struct client *c, const struct pod_info *victim,
                              const struct clock *clock, struct error *err);
