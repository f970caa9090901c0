/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.h - makes Services reachable: Services and EndpointSlices in, iptables rules out.
 */
#pragma once

#include "api/informer.h"

struct proxy;

struct proxy_config {
    struct client *client;
    struct informer_set *informers; /* not yet started */
    const char *node_name;
    const char *node_ip;
    const char *cluster_cidr;
};
struct proxy *proxy_new(const struct proxy_config *config, struct error *err);
must_check int proxy_run(struct proxy *p, struct error *err); /* after informer_set_start() */
void proxy_stop(struct proxy *p);                /* rules stay, so that traffic goes on */
must_check int proxy_cleanup(struct error *err); /* removes every rule and chain of ours */
