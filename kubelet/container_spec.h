/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_spec.h - a container's configuration from its spec, its image and its pod.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/container_env.h"
#include "kubelet/kubelet_context.h"
#include "kubelet/volume.h"

struct container_spec_input {
    const struct kubelet_context *k;
    const struct env_context *env; /* downward and references */
    const struct json *container;
    unsigned attempt; /* restart count */
    const struct cri_image *image;
    const struct volume_list *volumes;
    const char *target_id; /* of the container whose processes an ephemeral one sees; NULL */
};

/* The error's message is the one for CreateContainerConfigError. */
must_check int container_spec(const struct container_spec_input *in, struct arena *a,
                              struct cri_container_config *out, struct error *err);

/* A hash of what must not change while a container lives: name and image. */
const char *container_hash(const struct json *container, struct arena *a);
/* postStart, preStop: the file that pods see as /etc/hosts. */
must_check int write_hosts_file(const struct kubelet_context *k, const struct object *pod,
                                char *const *pod_ips, size_t pod_ips_n, struct arena *a,
                                struct error *err);
