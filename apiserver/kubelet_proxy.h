/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_proxy.h - what is answered by somebody else: logs, exec, attach, port-forward by the
 * pod's kubelet; proxy by a node, a pod or a Service's endpoint.
 *
 *     client --HTTP--> here --HTTPS, as system:kube-apiserver--> kubelet        log: streamed
 *     client <======== bytes both ways ========================> kubelet        exec: after a 101
 *
 * Threads: kubelet_proxy_http on a loop thread; the rest on the server's stream workers, one each.
 */
#pragma once

#include "api/status.h"
#include "apiserver/request.h"

/* Answers R, whose subresource is one of these, now or later. */
void kubelet_proxy_http(struct request *r);

/* ---- kubelet_address.c: where to go ---- */

struct kubelet_target {
    const char *scheme;            /* "https" */
    const char *address;           /* "10.0.0.1:10250", "[fd00::1]:10250" */
    const char *path;              /* "/exec/default/web-0/nginx?input=1&..." */
    bool is_kubelet;               /* is asked with our client certificate */
    struct status_details missing; /* after ERR_NOT_FOUND: what */
};
/* Strings in R->arena.  ERR_NOT_FOUND, ERR_BAD_REQUEST, ERR_UNAVAILABLE. */
must_check int kubelet_target_find(struct request *r, struct kubelet_target *out,
                                   struct error *err);

/* ---- kubelet_tunnel.c: an upgraded connection, byte for byte ---- */

/* Runs on a worker and answers R. */
void kubelet_tunnel_run(struct request *r, const struct kubelet_target *target);
/* False if the client offers only WebSocket protocols that the runtime's streaming server does not
 * speak: the refusal makes kubectl fall back to SPDY. */
bool kubelet_tunnel_is_supported(struct request *r);
