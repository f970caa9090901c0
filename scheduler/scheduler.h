/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.h - binds pending pods to nodes.
 */
#pragma once

#include "api/informer.h"

struct scheduler;

struct scheduler_config {
    struct client *client;
    struct informer_set *informers; /* shared with other parts; not yet started */
    const struct clock *clock;      /* NULL: system_clock */
    struct rng *rng;                /* NULL: system_rng */
};
/* Registers its informers; scheduler_run() after informer_set_start(). */
struct scheduler *scheduler_new(const struct scheduler_config *config, struct error *err);
must_check int scheduler_run(struct scheduler *s,
                             struct error *err); /* starts its threads and returns */
void scheduler_stop(struct scheduler *s);        /* joins and frees */
