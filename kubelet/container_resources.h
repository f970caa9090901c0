/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_resources.h - requests and limits as the kernel takes them, and a pod's quality of
 * service.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/cri_client.h"
#include "kubelet/downward.h"

enum pod_qos { POD_QOS_GUARANTEED, POD_QOS_BURSTABLE, POD_QOS_BEST_EFFORT };

enum pod_qos pod_qos(const struct object *pod);
const char *pod_qos_name(enum pod_qos qos); /* as status.qosClass */

struct cri_resources container_resources(const struct object *pod, const struct json *container,
                                         int64_t node_memory_bytes);

/* "/kubepods/burstable/pod<uid>", guaranteed pods right below /kubepods: the cgroupfs driver's
 * names. */
const char *pod_cgroup_parent(const struct object *pod, struct arena *a);
