/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_fenced.h - a client that writes only while it may.
 *
 * A leader that was stopped for a while wakes with a view of the world that is old, and another one
 * leads by then: what it was about to write must not reach the server any more.
 *
 * Threads: any.
 */
#pragma once

#include "api/client.h"

struct client_fence {
    /* Asked before each write, on its thread.  NULL: always. */
    bool (*may_write)(void *arg);
    void *arg;
};

/* INNER is closed with it.  A write that may not be is ERR_CANCELED; reads and watches always pass.
 */
struct client *client_fenced_take(struct client *inner, const struct client_fence *fence);
