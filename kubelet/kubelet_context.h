/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_context.h - what every module of the kubelet stands on: made once by kubelet.c, constant
 * afterwards.
 *
 * Threads: any.
 */
#pragma once

#include "api/event_recorder.h"
#include "api/informer.h"
#include "base/clock.h"
#include "kubelet/cri_client.h"

struct http_client;
struct object_cache;
struct probes;

struct kubelet_context {
    struct client *client;
    struct informer *pods;     /* this node's */
    struct informer *services; /* all */
    struct informer *nodes;    /* this one */
    struct event_recorder *events;
    struct cri_client *cri;
    struct object_cache *objects; /* ConfigMaps and Secrets that pods refer to */
    struct probes *probes;
    struct http_client *http; /* to pods: probes and hooks; certificates are not checked */
    const struct clock *clock;
    int stop_fd; /* readable when the kubelet ends: for those who sleep */
    const char *node_name, *node_ip;
    const char *data_dir;
    const char *pods_dir; /* <data-dir>/agent/kubelet/pods: a folder per pod, by uid */
    const char *cluster_dns, *cluster_domain;
    int64_t node_cpu_milli, node_memory_bytes;
};

#define POD_LOGS_DIR       "/var/log/pods"
#define CONTAINER_LOGS_DIR "/var/log/containers"

/* <pods_dir>/<uid>, and /var/log/pods/<ns>_<name>_<uid> as every log collector expects it. */
char *pod_dir(const struct kubelet_context *k, const char *uid, struct arena *a);
char *pod_log_dir(const struct object *pod, struct arena *a);
/* The file that a container's terminationMessagePath is: one per start. */
char *termination_log_path(const struct kubelet_context *k, const char *uid, const char *container,
                           unsigned attempt, struct arena *a);
