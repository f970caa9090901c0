/* SPDX-License-Identifier: Apache-2.0 */
/*
 * downward.h - what a pod may know of itself: fieldRef and resourceFieldRef, for the environment
 * and for files.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"

struct downward_context {
    const struct object *pod;
    const char *node_name;
    const char *host_ip;
    char *const *pod_ips; /* of the sandbox */
    size_t pod_ips_n;
    int64_t node_cpu_milli; /* allocatable: what a missing limit means */
    int64_t node_memory_bytes;
};

/* "metadata.labels['x']" and its like.  The text is in ARENA or in the pod. */
must_check int downward_field(const struct downward_context *c, const char *path, struct arena *a,
                              const char **out, struct error *err);
/* {"containerName": ..., "resource": "limits.cpu", "divisor": "1m"}; CONTAINER_NAME is the default.
 */
must_check int downward_resource(const struct downward_context *c, const struct json *ref,
                                 const char *container_name, struct arena *a, const char **out,
                                 struct error *err);

/* The container of that name among containers, initContainers and ephemeralContainers; NULL. */
const struct json *pod_container(const struct object *pod, const char *name);
