/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cond.h - condition variables whose waits end at a monotonic time, so that setting the wall clock
 * neither cuts one short nor stretches it.
 *
 * Threads: any.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

void cond_init(pthread_cond_t *cond); /* pthread_cond_destroy() ends it */

/* With LOCK held: sleeps until COND is signalled or system_clock shows DUE_NS (INT64_MAX: no end).
 * False: it is time.  May also wake for nothing, as any condition variable does. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t due_ns);

/* The same where DUE_NS is of a clock that was passed in.  One that stands still can only be
 * guessed at, so what is due is to be looked at again after it. */
void cond_wait_clock(pthread_cond_t *cond, pthread_mutex_t *lock, const struct clock *clock,
                     int64_t due_ns);
