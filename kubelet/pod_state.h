/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_state.h - what the runtime has of one pod, as it is now.
 *
 * Threads: any; a state belongs to the sync that read it.
 */
#pragma once

#include "kubelet/cri_client.h"

struct pod_state {
    struct cri_sandbox *sandboxes; /* newest first */
    size_t sandboxes_n;
    struct cri_sandbox *sandbox;      /* the newest, with its addresses; NULL if there is none */
    struct cri_container *containers; /* newest first, each with its full status */
    size_t containers_n;
};

must_check int pod_state_read(struct cri_client *cri, const char *uid, struct arena *a,
                              struct pod_state *out, struct error *err);

/* The INDEXth newest container of that name; NULL. */
struct cri_container *pod_state_container(const struct pod_state *s, const char *name,
                                          size_t index);
bool pod_state_is_running(const struct pod_state *s); /* any container or sandbox */
unsigned container_restart_count(const struct cri_container *c);
