/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_ports.h - what one Service asks of the proxy: its ports, each with the endpoints to use.
 *
 * Pure: objects in, a list out.
 */
#pragma once

#include "api/object.h"

struct proxy_endpoint {
    const char *ip;
    int port;
    bool is_local; /* on this node */
};

struct service_port {
    const char *ns, *service, *name; /* NAME is "" for an unnamed port */
    const char *protocol;            /* "tcp", "udp", "sctp" */
    const char *cluster_ip;
    int port;
    int node_port;             /* 0: none */
    const char **external_ips; /* spec.externalIPs */
    size_t external_ips_n;
    const char **load_balancer_ips; /* status.loadBalancer.ingress[].ip with ipMode VIP */
    size_t load_balancer_ips_n;
    bool external_is_local; /* externalTrafficPolicy: Local */
    bool internal_is_local; /* internalTrafficPolicy: Local */
    int affinity_s;         /* ClientIP affinity; 0: none */
    const struct proxy_endpoint
        *endpoints; /* ready ones; without any, those that serve while they end */
    size_t endpoints_n;
};

/* The IPv4 ports of SERVICE (NULL: none, it was deleted).  SLICES are its EndpointSlices.
 * Everything lives in A.  Headless and ExternalName services have no ports here. */
size_t service_ports(const struct object *service, const struct object_list *slices,
                     const char *node_name, struct arena *a, struct service_port **out);
