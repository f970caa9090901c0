/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_proxy.h - what is answered by somebody else: logs, exec, attach, port-forward by the
 * pod's kubelet; proxy by a node, a pod or a Service's endpoint.
 *
 *     client --HTTP--> here --HTTPS, as system:kube-apiserver--> kubelet        log: streamed
 *     client --HTTP--> here --HTTP or HTTPS--------------------> backend        proxy: streamed
 *     client <======== bytes both ways ========================> either         after a 101
 *
 * Threads: kubelet_proxy_http on a loop thread; the rest on the server's stream workers, one each.
 */
#pragma once

#include "api/status.h"
#include "apiserver/request.h"

struct http_client;
struct tls_client_config;

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

/* A request that is passed on.  While it is under way, LEFT_FD is readable once the client has
 * left.
 */
struct exchange {
    struct request *request;
    struct kubelet_target target;
    int left_fd;
    struct tls_client_config *tls; /* how the target is asked; NULL: in plain text */
};
const char *exchange_url(const struct exchange *x); /* in the request's arena */

/* ---- proxy_http.c: a proxied request ---- */

/* Answers X->request.  CLIENT is of X->tls. */
void proxy_http_run(struct exchange *x, struct http_client *client);

/* Who asks for the place itself is told to ask for what is in it: true if that was the answer. */
bool proxy_http_redirect(struct exchange *x);

/* The client's headers that are for the backend, and those that tell it of the client: each once to
 * FN. */
void proxy_http_each_header(struct request *r,
                            void (*fn)(const char *name, const char *value, void *arg), void *arg);

/* ---- kubelet_tunnel.c: an upgraded connection, byte for byte ---- */

/* Runs on a worker and answers X->request. */
void kubelet_tunnel_run(struct exchange *x);
/* False if the client offers only WebSocket protocols that the runtime's streaming server does not
 * speak: the refusal makes kubectl fall back to SPDY. */
bool kubelet_tunnel_is_supported(struct request *r);
