/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_sync.h - one turn of one pod: what the parts of pod_sync() share.
 *
 *     pod_sync.c       decides: run or end, sandbox, init containers, containers
 *     container_start.c image, configuration, create, start
 *     container_stop.c  preStop, SIGTERM, SIGKILL: as jobs
 *     status_manager.c  the status into the API
 */
#pragma once

#include "kubelet/container_env.h"
#include "kubelet/pod_state.h"
#include "kubelet/pod_status.h"
#include "kubelet/pod_worker.h"
#include "kubelet/volume.h"

struct pod_sync {
    struct pod_entry *entry;
    struct pod_worker *worker;
    struct kubelet_context *k;
    struct arena *a;
    struct object *pod; /* a reference of the turn's own; NULL: no source knows it */
    bool is_gone, is_static;
    bool is_deleting;
    struct pod_state state;
    struct cri_sandbox_config sandbox_config;
    struct volume_list volumes;
    struct env_context env;
    struct object_list services;
    bool has_changed;      /* something was done: the state is to be read again */
    bool needs_retry;      /* something failed that only time can mend */
    int64_t wake_after_ms; /* 0: nothing is due */
};

void pod_sync_wake_in(struct pod_sync *s, int64_t ms); /* the earliest counts */

/* ---- container_start.c ---- */

/* Starts CONTAINER (again, as start number ATTEMPT), or notes in its memory why it waits. */
void container_start(struct pod_sync *s, const struct json *container, unsigned attempt);
/* True when the crash back-off has passed; else notes CrashLoopBackOff. */
bool container_may_restart(struct pod_sync *s, const struct cri_container *ended);
void container_set_note(struct pod_sync *s, const char *name, const char *reason,
                        const char *message);

/* 1: *OUT is the image; 0: not yet (noted in the container's memory). (image_puller.c) */
int image_ensure(struct pod_sync *s, const struct json *container, struct cri_image *out);

/* ---- container_stop.c ---- */

/* Starts to stop a running container unless that is under way with as short a grace.  MESSAGE is
 * the event's. */
void container_stop(struct pod_sync *s, const struct json *spec, const struct cri_container *c,
                    int64_t grace_s, const char *message);

/* ---- status_manager.c ---- */

/* The pod as the turn works on it: a static one with the status of its mirror. */
struct object *pod_with_status(struct pod_sync *s, struct object *pod);

/* Builds the status from the state and writes it if it differs; returns the phase. */
const char *status_update(struct pod_sync *s, bool is_terminating);
/* Removes the API object after its last status. */
void status_delete_pod(struct pod_sync *s);

/* Events about the pod (its mirror, if it is static). */
void pod_event(struct pod_sync *s, const char *container, const char *type, const char *reason,
               const char *fmt, ...) printf_like(5, 6);
/* "spec.containers{web}" */
const char *container_field_path(const struct object *pod, const char *name, struct arena *a);
