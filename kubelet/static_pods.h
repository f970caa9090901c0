/* SPDX-License-Identifier: Apache-2.0 */
/*
 * static_pods.h - pods from a folder of manifests, and their mirrors in the API.
 *
 *     web.yaml  ->  Pod web-NODE with a uid made from its text  ->  pod_worker
 *                   mirror web-NODE in the API, read-only: kubectl sees it, status goes to it
 *
 * The folder is watched; a changed file is another pod.  Threads: any.
 */
#pragma once

#include "kubelet/pod_worker.h"

struct static_pods;

/* When it returns, the worker knows the pods that were in the folder. */
struct static_pods *static_pods_start(struct pod_worker *w, const char *dir, struct error *err);
void static_pods_stop(struct static_pods *s);
/* The API's view of a mirror changed or went: it is put right. */
void static_pods_wake(struct static_pods *s);
