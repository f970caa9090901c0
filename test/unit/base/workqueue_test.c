/* SPDX-License-Identifier: Apache-2.0 */
/* workqueue_test.c - keys on their way to workers. */
#include "base/workqueue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

struct fixture {
    struct fake_clock clock;
    struct workqueue *q;
};

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    fake_clock_init(&f->clock, 1000 * NS_PER_S);
    struct workqueue_config config = { .clock = &f->clock.clock, .backoff_max_ms = 30 };
    f->q = workqueue_new(&config);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    workqueue_shutdown(f->q);
    workqueue_free(f->q);
    free(f);
    return 0;
}

static struct bytes get(struct fixture *f, const char *expected)
{
    struct bytes key;
    assert_true(workqueue_get(f->q, &key));
    assert_string_equal(key.data, expected);
    return key;
}

static void advance(struct fixture *f, int64_t ms)
{
    fake_clock_advance(&f->clock, ms * NS_PER_MS);
}

static void keys_come_out_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    workqueue_add(f->q, BYTES("a"));
    workqueue_add(f->q, BYTES("b"));
    workqueue_add(f->q, BYTES("a"));
    assert_int_equal(workqueue_len(f->q), 2);
    workqueue_done(f->q, get(f, "a"));
    workqueue_done(f->q, get(f, "b"));
    assert_int_equal(workqueue_len(f->q), 0);
}

static void a_key_added_while_in_work_comes_back_once_when_done(void **state)
{
    struct fixture *f = *state;
    workqueue_add(f->q, BYTES("a"));
    struct bytes key = get(f, "a");
    workqueue_add(f->q, BYTES("a"));
    workqueue_add(f->q, BYTES("a"));
    assert_int_equal(workqueue_len(f->q), 0);
    workqueue_done(f->q, key);
    assert_int_equal(workqueue_len(f->q), 1);
    workqueue_done(f->q, get(f, "a"));
    assert_int_equal(workqueue_len(f->q), 0);
}

static void of_two_delays_the_earlier_wins(void **state)
{
    struct fixture *f = *state;
    workqueue_add_after(f->q, BYTES("a"), 100);
    workqueue_add_after(f->q, BYTES("a"), 50);
    workqueue_add_after(f->q, BYTES("a"), 200);
    workqueue_add_after(f->q, BYTES("b"), 60);
    advance(f, 49);
    assert_int_equal(workqueue_len(f->q), 0);
    advance(f, 11);
    workqueue_done(f->q, get(f, "a"));
    workqueue_done(f->q, get(f, "b"));
    advance(f, 1000);
    assert_int_equal(workqueue_len(f->q), 0);
}

static void a_failing_key_backs_off_twice_as_long_each_time(void **state)
{
    struct fixture *f = *state;
    static const int64_t delays[] = { 5, 10, 20, 30, 30 };
    workqueue_add(f->q, BYTES("a"));
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        struct bytes key = get(f, "a");
        workqueue_retry(f->q, key);
        workqueue_done(f->q, key);
        advance(f, delays[i] - 1);
        assert_int_equal(workqueue_len(f->q), 0);
        advance(f, 1);
        assert_int_equal(workqueue_len(f->q), 1);
    }
    struct bytes key = get(f, "a");
    workqueue_forget(f->q, key);
    workqueue_retry(f->q, key);
    workqueue_done(f->q, key);
    advance(f, 5);
    assert_int_equal(workqueue_len(f->q), 1);
}

static void *wait_for_end(void *arg)
{
    struct bytes key;
    return workqueue_get(arg, &key) ? arg : NULL;
}

static void shutdown_wakes_who_waits(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[3];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, wait_for_end, f->q);
    workqueue_shutdown(f->q);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    workqueue_add(f->q, BYTES("late"));
    assert_int_equal(workqueue_len(f->q), 0);
}

#define KEYS 20
#define ADDS 20000

struct crowd {
    struct workqueue *q;
    atomic_int in_work[KEYS];
    atomic_int worked;
    atomic_int overlaps;
};

static void *work(void *arg)
{
    struct crowd *c = arg;
    for (struct bytes key; workqueue_get(c->q, &key);) {
        int i = atoi(key.data);
        if (atomic_fetch_add(&c->in_work[i], 1))
            atomic_fetch_add(&c->overlaps, 1);
        atomic_fetch_add(&c->worked, 1);
        if (i % 3 == 0 && atomic_load(&c->worked) % 5 == 0)
            workqueue_add_after(c->q, key, 1);
        atomic_fetch_sub(&c->in_work[i], 1);
        workqueue_done(c->q, key);
    }
    return NULL;
}

static void no_key_is_ever_with_two_workers(void **state)
{
    (void)state;
    struct crowd c = { .q = workqueue_new(NULL) };
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, work, &c);
    for (int i = 0; i < ADDS; i++) {
        char key[8];
        snprintf(key, sizeof(key), "%d", i % KEYS);
        workqueue_add(c.q, bytes_of(key));
    }
    while (atomic_load(&c.worked) < KEYS)
        ;
    workqueue_shutdown(c.q);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c.overlaps, 0);
    workqueue_free(c.q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_out_once_and_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_added_while_in_work_comes_back_once_when_done, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(of_two_delays_the_earlier_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_key_backs_off_twice_as_long_each_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(shutdown_wakes_who_waits, set_up, tear_down),
        cmocka_unit_test(no_key_is_ever_with_two_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
