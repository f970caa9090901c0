/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - a pod's volumes as folders and files on the node.
 *
 *     <pods_dir>/<uid>/volumes/kubernetes.io~configmap/<name>/..data -> ..2026_11_20_...
 *
 * volume_setup() is idempotent: the first call makes what is missing, later ones bring files up to
 * date with their ConfigMaps, Secrets and tokens, by swapping one symbolic link.
 *
 * Threads: any; one at a time for one pod.
 */
#pragma once

#include "kubelet/downward.h"
#include "kubelet/kubelet_context.h"

struct volume {
    const char *name;      /* as in spec.volumes */
    const char *host_path; /* what a container mounts */
    bool is_read_only;     /* its files are ours to write: containers never may */
};
struct volume_list {
    struct volume *items;
    size_t n, capacity;
    int64_t refresh_after_ns; /* 0: never; else from now: a token is due for renewal */
    const char *stale;        /* why a volume that was made before keeps its old files; NULL */
};

/* ERR_NOT_FOUND and a message in upstream's words when something a volume needs is not there.  One
 * that was made before and cannot be brought up to date is no error: *OUT says so, and containers
 * go on with the files there are. */
must_check int volume_setup(struct kubelet_context *k, const struct downward_context *pod,
                            struct arena *a, struct volume_list *out, struct error *err);
/* Unmounts and removes everything of the pod. */
must_check int volume_teardown(struct kubelet_context *k, const char *uid, struct error *err);

const struct volume *volume_find(const struct volume_list *l, const char *name);
