/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_status.h - status of a pod from its spec and the runtime's state: a function, no memory.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"
#include "kubelet/pod_state.h"

/* What the sync knows of a container that the runtime does not. */
struct container_note {
    const char *name;
    const char *reason; /* of waiting: "ErrImagePull"; NULL: nothing holds it up */
    const char *message;
    bool is_ready;   /* its readiness probe, if it has one, says so */
    bool is_started; /* its startup probe, if it has one, has passed */
    bool will_restart;
};

struct pod_status_input {
    const struct object *pod;
    const struct pod_state *state;
    const struct container_note *notes;
    size_t notes_n;
    const char *host_ip;
    const char *pods_dir;   /* termination messages are below it */
    const char *source_uid; /* of the pod that runs: a static pod's mirror has another */
    int64_t now_ns;
    bool is_terminating;
    /* Set when the kubelet ended the pod: "DeadlineExceeded", "Evicted"; the phase is Failed then.
     */
    const char *failed_reason, *failed_message;
};

/* A complete status: what others wrote into the old one (conditions of theirs) is kept. */
struct json *pod_status_build(const struct pod_status_input *in, struct arena *a);

/* Sidecar: an init container with restartPolicy Always. */
bool container_is_sidecar(const struct json *init_container);
/* Whether a container that ended is to be started again by the pod's policy. */
bool container_restarts(const struct object *pod, const struct json *container, bool is_init,
                        int exit_code);

/* Tells apart what this node says of a pod: its phase and the conditions that are the kubelet's. */
uint64_t pod_status_digest(const struct json *status);
