/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet.h - runs the pods of one node through a CRI runtime.
 */
#pragma once

#include "api/informer.h"
#include "base/tls.h"

struct kubelet;

struct kubelet_config {
    struct client *client;          /* as system:node:<node_name> in system:nodes */
    struct informer_set *informers; /* the node's own; not yet started */
    const char *data_dir;           /* <data_dir>/agent/... is the kubelet's */
    const char *node_name;
    const char *node_ip;
    const char *const *node_labels; /* "k=v"; ends with NULL; may be NULL */
    const char *const *node_taints; /* "k=v:Effect" */
    const char *runtime_endpoint;   /* NULL: start and supervise our own containerd */
    const char *cluster_dns;        /* the DNS Service's address for resolv.conf */
    const char *cluster_domain;
    const char *cluster_cidr;
    const char *registries_path; /* registries.yaml; need not exist */
    const char *static_pod_dir;  /* NULL: <data_dir>/agent/pod-manifests */
    int port;                    /* 10250; 0: any free one */
    struct tls *serving_tls;     /* NULL: no server of its own; valid until kubelet_stop() */
};
struct kubelet *kubelet_new(const struct kubelet_config *config, struct error *err);
must_check int kubelet_run(struct kubelet *k, struct error *err); /* after informer_set_start() */
void kubelet_stop(struct kubelet *k);                             /* pods keep running */
