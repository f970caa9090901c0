/* SPDX-License-Identifier: Apache-2.0 */
/* worker_pool.c - jobs in a ring, threads as needed. */
#include "base/worker_pool.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/cond.h"

#define IDLE_S      10                /* a surplus thread without work ends after this */
#define STACK_BYTES (2 * 1024 * 1024) /* address space; only what is touched costs memory */

struct job {
    void (*fn)(void *arg);
    void *arg;
};

struct worker_pool {
    char name[16];
    size_t threads_max, queued_max;
    pthread_cond_t work;  /* a job was queued, or the pool ends */
    pthread_cond_t ended; /* a thread has ended */
    pthread_mutex_t lock; /* guards all below */
    struct job *jobs;     /* a ring of CAPACITY, which grows up to QUEUED_MAX */
    size_t first, n, capacity;
    size_t threads, idle;
    bool is_ending;
};

struct worker_pool *worker_pool_new(const char *name, size_t threads_max, size_t queued_max,
                                    struct error *err)
{
    if (threads_max == 0 || queued_max == 0) {
        error_set(err, ERR_INTERNAL, "worker pool %s without threads or queue", name);
        return NULL;
    }
    struct worker_pool *p = xcalloc(1, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "%s", name); /* the kernel shows 15 characters */
    p->threads_max = threads_max;
    p->queued_max = queued_max;
    pthread_mutex_init(&p->lock, NULL);
    cond_init(&p->work);
    cond_init(&p->ended);
    return p;
}

/* ---- the ring; the lock is held ---- */

static void push(struct worker_pool *p, struct job job)
{
    if (p->n == p->capacity) {
        size_t larger = p->capacity ? 2 * p->capacity : 16;
        struct job *jobs = xcalloc(larger, sizeof(*jobs));
        for (size_t i = 0; i < p->n; i++)
            jobs[i] = p->jobs[(p->first + i) % p->capacity];
        free(p->jobs);
        p->jobs = jobs;
        p->first = 0;
        p->capacity = larger;
    }
    p->jobs[(p->first + p->n++) % p->capacity] = job;
}

static struct job pop(struct worker_pool *p)
{
    struct job job = p->jobs[p->first];
    p->first = (p->first + 1) % p->capacity;
    p->n--;
    return job;
}

/* ---- threads ---- */

/* Waits for a job; false when this thread is not needed any more.  The last one waits for ever, so
 * that an idle process stays asleep. */
static bool wait_for_job(struct worker_pool *p)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + IDLE_S * NS_PER_S;
    bool is_surplus = false;
    while (p->n == 0) {
        if (p->is_ending || (is_surplus && p->threads > 1))
            return false;
        p->idle++;
        is_surplus = !cond_wait_until(&p->work, &p->lock, p->threads == 1 ? INT64_MAX : until_ns);
        p->idle--;
    }
    return true;
}

static void *run(void *arg)
{
    struct worker_pool *p = arg;
    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    while (wait_for_job(p)) {
        struct job job = pop(p);
        pthread_mutex_unlock(&p->lock);
        job.fn(job.arg);
        pthread_mutex_lock(&p->lock);
    }
    p->threads--;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Detached: who frees the pool waits for the count, not for the handles. */
static bool start_thread(struct worker_pool *p)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_t thread;
    bool started = pthread_create(&thread, &attr, run, p) == 0;
    pthread_attr_destroy(&attr);
    p->threads += started;
    return started;
}

int worker_pool_submit(struct worker_pool *p, void (*fn)(void *arg), void *arg, struct error *err)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    if (p->n >= p->queued_max) {
        rc = error_set(err, ERR_TOO_MANY_REQUESTS, "%s: %zu jobs wait already", p->name, p->n);
    } else if (p->n >= p->idle && p->threads < p->threads_max && !start_thread(p) &&
               p->threads == 0) {
        rc = error_set(err, ERR_UNAVAILABLE, "%s: no thread can be started", p->name);
    } else {
        push(p, (struct job){ fn, arg });
    }
    pthread_mutex_unlock(&p->lock);
    /* Not under the lock, where the one who wakes may take the processor and run into it. */
    if (rc == 0)
        pthread_cond_signal(&p->work);
    return rc;
}

void worker_pool_free(struct worker_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_ending = true;
    pthread_cond_broadcast(&p->work);
    while (p->threads)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    free(p->jobs);
    free(p);
}
