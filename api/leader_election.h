/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leader_election.h - one of several processes does the work: who holds a coordination.k8s.io
 * Lease.
 *
 * The record and its timing are client-go's, so that upstream's scheduler or controller manager can
 * be one of the candidates.  Clocks of different machines are never compared: a candidate waits for
 * the lease's duration by its own clock after it saw the lease change.
 *
 * Threads: start and stop from one thread.
 */
#pragma once

#include "api/client.h"
#include "base/clock.h"

struct leader_elector;

struct leader_election_config {
    struct client *client; /* stays the caller's */
    const char *ns, *name; /* of the Lease */
    const char *identity;  /* differs between all processes */
    const char *component; /* whom events come from */
    int64_t lease_duration_ns, renew_deadline_ns, retry_period_ns;
    const struct clock *clock; /* NULL: system_clock; sleeps are by the system's in any case */
    /* One at a time, on a thread of their own, and always in turn.  BEGAN: this process leads now;
     * -1: it cannot, and is asked again after a while.  ENDED: it leads no more; when it returns,
     * nothing may act as the leader any longer. */
    int (*began)(struct leader_elector *e, void *arg, struct error *err);
    void (*ended)(void *arg);
    void *arg;
};

struct leader_elector *leader_elector_start(const struct leader_election_config *config,
                                            struct error *err);
/* By the clock, also before ENDED was told, which a process that was stopped is late to do.
 * Threads: any. */
bool leader_elector_leads(struct leader_elector *e);
/* Ends the leadership first, then gives the lease up so that another candidate need not wait. */
void leader_elector_stop(struct leader_elector *e);
