/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - startup, readiness and liveness probes: timers in one thread, the probes themselves on
 * a pool.
 *
 *     sync: probes_set(running containers)  ->  timers  ->  workers  ->  a verdict changes
 *     sync <- queue <- changed(uid)  <---------------------------------------'
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/kubelet_context.h"

struct probes;

/* CHANGED runs on a thread of the pool and must not block. */
struct probes *probes_new(struct kubelet_context *k, void (*changed)(const char *uid, void *arg),
                          void *arg, struct error *err);
void probes_free(struct probes *p);

struct probe_container {
    const struct json *spec; /* of the container */
    const char *id;          /* the runtime's; another id starts all over */
    int64_t started_ns;      /* wall clock */
};
/* The containers of POD that run now; probes of others end. */
void probes_set(struct probes *p, const struct object *pod, const char *pod_ip,
                const struct probe_container *containers, size_t n);
void probes_forget(struct probes *p, const char *uid);

struct probe_verdict {
    bool is_started;          /* no startup probe, or it has passed */
    bool is_ready;            /* started, and no readiness probe or it passes */
    const char *kill_message; /* liveness or startup has failed for good: in ARENA; else NULL */
    int64_t kill_grace_s;     /* the probe's own terminationGracePeriodSeconds; -1: the pod's */
};
void probes_verdict(struct probes *p, const struct json *container, const char *container_id,
                    struct arena *a, struct probe_verdict *out);

/* ---- the actions, also used by lifecycle hooks ---- */

struct probe_target {
    const struct kubelet_context *k;
    const char *container_id;
    const char *pod_ip;
    const struct json *container; /* for named ports */
};
enum probe_result { PROBE_SUCCESS, PROBE_FAILURE, PROBE_ERROR };
/* ACTION is a probe (exec, httpGet, tcpSocket, grpc).  *OUTPUT says why, in ARENA. */
enum probe_result probe_run(const struct probe_target *t, const struct json *action,
                            int64_t timeout_s, struct arena *a, const char **output);
/* The number of a port given as number or name; -1. */
int probe_port(const struct json *container, const struct json *port);
