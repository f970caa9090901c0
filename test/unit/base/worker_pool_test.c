/* SPDX-License-Identifier: Apache-2.0 */
/* worker_pool_test.c - bounded threads for work that may block. */
#include "base/worker_pool.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void what_is_queued_is_run_before_the_pool_ends(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct worker_pool *p = worker_pool_new("test", 3, 10000, &err);
    assert_non_null(p);
    atomic_int n = 0;
    for (int i = 0; i < 5000; i++)
        assert_int_equal(worker_pool_submit(p, count, &n, &err), 0);
    worker_pool_free(p);
    assert_int_equal(n, 5000);
}

struct gate {
    sem_t arrived, open;
};

static void wait_at_gate(void *arg)
{
    struct gate *g = arg;
    sem_post(&g->arrived);
    sem_wait(&g->open);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct worker_pool *p = worker_pool_new("test", 2, 3, &err);
    struct gate g;
    sem_init(&g.arrived, 0, 0);
    sem_init(&g.open, 0, 0);
    for (int i = 0; i < 2; i++) { /* both threads are busy at the same time */
        assert_int_equal(worker_pool_submit(p, wait_at_gate, &g, &err), 0);
        sem_wait(&g.arrived);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_pool_submit(p, wait_at_gate, &g, &err), 0);
    assert_int_equal(worker_pool_submit(p, wait_at_gate, &g, &err), -1);
    assert_int_equal(err.code, ERR_TOO_MANY_REQUESTS);
    for (int i = 0; i < 5; i++)
        sem_post(&g.open);
    worker_pool_free(p);
    sem_destroy(&g.arrived);
    sem_destroy(&g.open);
}

static void a_pool_that_never_worked_ends(void **state)
{
    (void)state;
    struct error err = { 0 };
    worker_pool_free(worker_pool_new("a name that is longer than the kernel takes", 1, 1, &err));
    worker_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_queued_is_run_before_the_pool_ends),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(a_pool_that_never_worked_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
