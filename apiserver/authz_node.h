/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz_node.h - what a kubelet may do: with its own node, and with what the pods bound to it use.
 *
 * A graph of counted edges, kept from pods as they are bound and removed:
 *
 *     node-1 --> pod default/web-0, secret default/web-tls, configmap default/web, ...
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/authz.h"

struct node_graph;

struct node_graph *node_graph_new(void);
void node_graph_free(struct node_graph *g);

/* Observer (watch_cache_observe) for Pods; ARG is the struct node_graph. */
void node_graph_pod_changed(const struct object *old, const struct object *new, void *graph);

/* The name of the node that USER is; NULL if it is none. */
const char *node_of_user(const struct user *user);

/* Whether the node may.  If not, it is for others to say; REASON tells why, or is "". */
bool node_authorize(struct apiserver *a, struct node_graph *g, const struct attributes *at,
                    char reason[AUTHZ_REASON_BYTES]);

/* A node gets tokens only for service accounts of its pods, bound to the pod.  0 for every other
 * user; ERR_FORBIDDEN.  admission_node_restriction.c */
must_check int node_check_token(struct apiserver *server, const struct user *user,
                                const struct object *account, const struct json *token_request,
                                struct error *err);
