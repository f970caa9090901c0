/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_status.h - this machine as a Node: registration, conditions, capacity, and the lease that
 * says it lives.  One thread: it renews the lease every 10 s, and writes the status when something
 * is another than it was, or after 5 min.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/kubelet.h"
#include "kubelet/kubelet_context.h"

struct node_status;

struct node_status_config {
    struct kubelet_context *k;
    const struct kubelet_config *kubelet;
    const char *cni_conf_dir; /* NULL: the network is somebody else's */
};

struct node_status *node_status_start(const struct node_status_config *config, struct error *err);
void node_status_stop(struct node_status *n);

/* The runtime answers now; the node object changed; the server has its port. */
void node_status_runtime_is_up(struct node_status *n);
void node_status_set_port(struct node_status *n, int port);
void node_status_wake(struct node_status *n);

/* What this machine has. */
int64_t node_cpu_milli(void);
int64_t node_memory_bytes(void);
