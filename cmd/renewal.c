/* SPDX-License-Identifier: Apache-2.0 */
/* renewal.c - one thread that sleeps until a time of day. */

#include "cmd/renewal.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"

#define RETRY_NS_MAX (3600 * NS_PER_S)

struct renewal {
    int64_t (*renew)(void *arg);
    void *arg;
    int64_t at_ns;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ends;  /* waits by the wall clock, which may be set */
    bool is_ending;
};

/* False: the renewal ends. */
static bool sleep_until(struct renewal *r, int64_t at_ns)
{
    struct timespec at = { .tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S };
    pthread_mutex_lock(&r->lock);
    while (!r->is_ending && clock_wall_ns(&system_clock) < at_ns)
        pthread_cond_timedwait(&r->ends, &r->lock, &at);
    bool is_ending = r->is_ending;
    pthread_mutex_unlock(&r->lock);
    return !is_ending;
}

static void *run(void *arg)
{
    struct renewal *r = arg;
    while (sleep_until(r, r->at_ns))
        r->at_ns = r->renew(r->arg);
    return NULL;
}

struct renewal *renewal_start(int64_t at_ns, int64_t (*renew)(void *arg), void *arg,
                              struct error *err)
{
    struct renewal *r = xcalloc(1, sizeof(*r));
    *r = (struct renewal){ .renew = renew, .arg = arg, .at_ns = at_ns };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->ends, NULL);
    int rc = pthread_create(&r->thread, NULL, run, r);
    if (rc == 0)
        return r;
    error_set(err, ERR_INTERNAL, "start the renewal of certificates: %s", strerror(rc));
    pthread_cond_destroy(&r->ends);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

void renewal_stop(struct renewal *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->is_ending = true;
    pthread_cond_signal(&r->ends);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->ends);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int64_t renewal_due_ns(int64_t life_ns)
{
    return clock_wall_ns(&system_clock) + life_ns - life_ns / 3;
}

int64_t renewal_retry_ns(int64_t life_ns)
{
    int64_t pause_ns = life_ns / 30 < RETRY_NS_MAX ? life_ns / 30 : RETRY_NS_MAX;
    return clock_wall_ns(&system_clock) + pause_ns;
}
