/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_lease.h - the Lease in kube-node-lease by which the node shows that it lives.
 *
 * Threads: one at a time.
 */
#pragma once

#include "kubelet/kubelet_context.h"

struct node_lease;

struct node_lease *node_lease_new(struct kubelet_context *k);
must_check int node_lease_renew(struct node_lease *l, struct error *err); /* makes it if need be */
void node_lease_free(struct node_lease *l);
