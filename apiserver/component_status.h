/* SPDX-License-Identifier: Apache-2.0 */
/*
 * component_status.h - ComponentStatus: what `kubectl get cs` shows of scheduler, controllers and
 * store, found out when somebody asks.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"

struct apiserver;

/* Adds all of them. */
void component_status_list(struct apiserver *a, struct object_list *out);
