/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controllers.h - everything that turns specs into other objects.
 */
#pragma once

#include "api/informer.h"

struct controllers;

struct controllers_config {
    /* The client for the controller with that service account in kube-system
     * ("deployment-controller"), as upstream names them.  Called once per controller, which closes
     * it. */
    struct client *(*client)(const char *controller, void *arg, struct error *err);
    void *arg;
    struct informer_set *informers; /* shared; not yet started */
    struct bytes root_ca_pem;       /* published as the ConfigMap kube-root-ca.crt */
    const char *const *disabled;    /* names ("deployment"); ends with NULL; may be NULL */
    const char *cluster_cidr;       /* node pod ranges (/24) are cut from it */
    const struct clock *clock;      /* NULL: system_clock */
};
/* Registers informers; controllers_run() after informer_set_start(), for whose lists it waits. */
struct controllers *controllers_new(const struct controllers_config *config, struct error *err);
must_check int controllers_run(struct controllers *c, struct error *err);
void controllers_stop(struct controllers *c); /* after informer_set_stop(); joins and frees */
