/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes.h - taints and tolerations, as the controllers of nodes and of their pods need them.
 *
 * Threads: any.
 */
#pragma once

#include "controllers/pod_control.h"

#define TAINT_NOT_READY   "node.kubernetes.io/not-ready"
#define TAINT_UNREACHABLE "node.kubernetes.io/unreachable"

const char *
node_ready_status(const struct object *node); /* "True", "False", "Unknown"; "" if none */
const struct json *node_taint(const struct object *node, const char *key, const char *effect);
bool node_has_no_execute(const struct object *node);

bool toleration_matches(const struct json *toleration, const struct json *taint);
/* The toleration of POD for TAINT; NULL if it has none. */
const struct json *pod_toleration(const struct object *pod, const struct json *taint);
bool spec_tolerates(const struct json *pod_spec,
                    const struct json *taint); /* a pod's or a template's */

/* Adds a condition DisruptionTarget, for those who want to know why the pod goes.  It is no failure
 * if the pod has gone already. */
int mark_disrupted(struct controller *c, const struct object *pod, const char *reason,
                   const char *message, struct error *err);
/* Gives a pod that nobody runs any more its end: who counts pods (a Job) waits for it. */
int mark_failed(struct controller *c, const struct object *pod, struct error *err);
