/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubernetes_endpoints.h - the addresses behind the Service default/kubernetes: every live server.
 *
 * A server that has its store for itself is the only one.  Servers that share one each keep a key
 * with a lease under /registry/masterleases, as upstream's do, and write the list of all such keys.
 * The Service, its Endpoints and its EndpointSlice come back at once when somebody deletes them.
 */
#pragma once

#include "api/client.h"
#include "apiserver/request.h"

struct endpoint_reconciler;

must_check int kubernetes_endpoints_start(struct apiserver *a, struct error *err);
void kubernetes_endpoints_stop(struct apiserver *a);           /* other servers' addresses stay */
void kubernetes_endpoints_free(struct endpoint_reconciler *e); /* the caches have ended before */

/* Adds the port "https" to the list at PATH. */
struct json *kubernetes_port(struct arena *a, struct json *doc, const char *path, int64_t port);
