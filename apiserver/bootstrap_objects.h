/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap_objects.h - what a cluster starts with besides its policy: namespaces, priority
 * classes and the kubernetes Service.
 *
 * Threads: start-up.
 */
#pragma once

#include "api/client.h"

struct apiserver;

/* Makes what is missing. */
must_check int bootstrap_objects(struct apiserver *a, struct error *err);
/* The Service default/kubernetes alone, at any time. */
must_check int bootstrap_kubernetes_service(struct apiserver *a, struct client *c,
                                            struct error *err);
