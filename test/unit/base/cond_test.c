/* SPDX-License-Identifier: Apache-2.0 */
/* cond_test.c - waits that end when signalled, and when it is time. */
#include "base/cond.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_told;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){ .lock = PTHREAD_MUTEX_INITIALIZER };
    cond_init(&f.cond);
    *state = &f;
    pthread_mutex_lock(&f.lock);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_unlock(&f->lock);
    pthread_cond_destroy(&f->cond);
    pthread_mutex_destroy(&f->lock);
    return 0;
}

static void *tell(void *arg)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    f->is_told = true;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void a_signal_ends_a_wait_before_its_time(void **state)
{
    struct fixture *f = *state;
    int64_t hour_ns = clock_monotonic_ns(&system_clock) + 3600 * NS_PER_S;
    const int64_t due_ns[] = { hour_ns, INT64_MAX };
    for (int i = 0; i < 2; i++) {
        f->is_told = false;
        pthread_t teller;
        assert_int_equal(pthread_create(&teller, NULL, tell, f), 0);
        while (!f->is_told)
            assert_true(cond_wait_until(&f->cond, &f->lock, due_ns[i]));
        pthread_join(teller, NULL);
    }
}

static void a_wait_ends_when_it_is_time(void **state)
{
    struct fixture *f = *state;
    int64_t due_ns = clock_monotonic_ns(&system_clock) + NS_PER_MS;
    while (cond_wait_until(&f->cond, &f->lock, due_ns))
        ;
    assert_true(clock_monotonic_ns(&system_clock) >= due_ns);
}

static void what_was_due_before_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    assert_false(cond_wait_until(&f->cond, &f->lock, 0));
    assert_false(cond_wait_until(&f->cond, &f->lock, INT64_MIN));

    struct fake_clock clock;
    fake_clock_init(&clock, 3600 * NS_PER_S);
    cond_wait_clock(&f->cond, &f->lock, &clock.clock, 3600 * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_signal_ends_a_wait_before_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wait_ends_when_it_is_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_due_before_is_not_waited_for, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
