/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_server.h - the kubelet's own API (port 10250): logs, exec, attach, port-forward, pods,
 * stats, health.
 *
 * Only the API server's certificate (system:kube-apiserver, or system:masters) may use it; health
 * is open to all who can prove the cluster's CA.
 *
 * Threads: any.
 */
#pragma once

#include "base/tls.h"
#include "kubelet/pod_worker.h"

struct kubelet_server;

struct kubelet_server_config {
    struct kubelet_context *k;
    struct pod_worker *worker;
    int port; /* 0: any free one */
    struct tls *tls;
};
struct kubelet_server *kubelet_server_start(const struct kubelet_server_config *config,
                                            struct error *err);
int kubelet_server_port(const struct kubelet_server *s);
void kubelet_server_stop(struct kubelet_server *s); /* NULL is fine */
