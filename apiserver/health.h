/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.h - /healthz, /livez, /readyz with their named checks, and /version.
 *
 * Threads: any; never blocks.
 */
#pragma once

#include "apiserver/request.h"

/* False if the path is not one of these; otherwise the request is answered. */
bool health_serve(struct request *r);
