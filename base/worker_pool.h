/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_pool.h - a bounded number of threads for straight-line work that may block.
 *
 * Threads start when there is work for them and end when idle for a while: an idle pool is one
 * thread at most.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct worker_pool;

struct worker_pool *worker_pool_new(const char *name, size_t threads_max, size_t queued_max,
                                    struct error *err);
/* ERR_TOO_MANY_REQUESTS when QUEUED_MAX jobs wait already. */
must_check int worker_pool_submit(struct worker_pool *p, void (*fn)(void *arg), void *arg,
                                  struct error *err);
/* Runs what is queued, then joins.  Nobody outside is still submitting. */
void worker_pool_free(struct worker_pool *p);
