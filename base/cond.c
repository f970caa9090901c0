/* SPDX-License-Identifier: Apache-2.0 */
/* cond.c - condition variables that wait by the monotonic clock. */
#include "base/cond.h"

#include <errno.h>
#include <time.h>

#include "base/scoped.h"

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    ensure(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        pthread_cond_wait(cond, lock);
        return true;
    }
    if (due_ns < 0)
        return false;
    struct timespec due = { due_ns / NS_PER_S, due_ns % NS_PER_S };
    return pthread_cond_timedwait(cond, lock, &due) != ETIMEDOUT;
}

void cond_wait_clock(pthread_cond_t *cond, pthread_mutex_t *lock, const struct clock *clock,
                     int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        cond_wait_until(cond, lock, due_ns);
        return;
    }
    int64_t left_ns = due_ns - clock_monotonic_ns(clock);
    if (left_ns > 0)
        cond_wait_until(cond, lock, clock_monotonic_ns(&system_clock) + left_ns);
}
