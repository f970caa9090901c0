/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_env.h - a container's environment, and $(NAME) in commands and arguments.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/cri_client.h"
#include "kubelet/downward.h"

/* Gets a ConfigMap or Secret of the pod's namespace: a reference in *OUT, or ERR_NOT_FOUND. */
typedef int object_get_fn(void *arg, const struct resource *r, const struct object_key *key,
                          struct object **out, struct error *err);

struct env_context {
    struct downward_context downward;
    object_get_fn *get;
    void *get_arg;
    const struct object_list *services; /* of the pod's namespace, and kubernetes of default */
    const char *container_name;
};

/* Service variables, then envFrom, then env: what comes later wins.  ERR_NOT_FOUND in upstream's
 * words for what a reference misses. */
must_check int container_env(const struct env_context *c, const struct json *container,
                             struct arena *a, struct cri_pairs *out, struct error *err);

/* $(NAME) from ENV; $$ is $; a name that is not there stays as it is. */
const char *env_expand(const char *text, const struct cri_pairs *env, struct arena *a);
