/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leading.h - a part that runs only while this process is its elected leader.
 */
#pragma once

#include "cmd/parts.h"

struct leading;

struct leading_config {
    const struct config *config; /* outlives it */
    const char *name;            /* of the Lease in kube-system: "kube-scheduler" */
    const char *component;       /* of events */
    struct client *client;       /* for the Lease; taken */
    /* Starts the part, each time that this process becomes the leader. */
    int (*start)(struct parts *p, void *arg, struct error *err);
    void *arg;
};
struct leading *leading_start(const struct leading_config *config, struct error *err);
void leading_stop(struct leading *l); /* the part stops first, then another process may lead */
