/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - starting and stopping each part, given a client: the same for the server, where clients
 * are loopbacks, and for a part that runs alone against any API server.
 */
#pragma once

#include "api/client_fenced.h"
#include "cmd/config.h"

struct parts;

struct parts *parts_new(const struct config *config);
/* For what is started after it and writes as a leader: the scheduler, the controllers. */
void parts_set_fence(struct parts *p, const struct client_fence *fence);
/* Stops what was started, newest first, and frees.  Pods and rules stay. */
void parts_stop(struct parts *p);

/* Each takes CLIENT, which is closed when the parts stop. */
must_check int parts_start_scheduler(struct parts *p, struct client *client, struct error *err);

struct controller_clients {
    struct client *shared; /* lists and watches; taken */
    struct client *(*of)(const char *controller, void *arg, struct error *err);
    void *arg;
    struct bytes root_ca_pem;
};
must_check int parts_start_controllers(struct parts *p, const struct controller_clients *clients,
                                       struct error *err);

struct node_identity {
    struct client *client;   /* taken */
    struct tls *serving_tls; /* the caller's, until the parts are stopped */
};
must_check int parts_start_kubelet(struct parts *p, const struct node_identity *identity,
                                   struct error *err);
must_check int parts_start_proxy(struct parts *p, struct client *client, struct error *err);
