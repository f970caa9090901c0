/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap_objects.h - what a cluster starts with besides its policy: namespaces, priority
 * classes, the kubernetes Service and its endpoints.
 *
 * Threads: start-up.
 */
#pragma once

#include "base/error.h"

struct apiserver;

/* Makes what is missing; the endpoints are brought up to date. */
must_check int bootstrap_objects(struct apiserver *a, struct error *err);
