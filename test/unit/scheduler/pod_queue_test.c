/* SPDX-License-Identifier: Apache-2.0 */
/* pod_queue_test.c - order, backoff and waking, with a clock that stands still. */
#include "test/unit/scheduler/world.h"

struct fixture {
    struct fake_clock clock;
    struct pod_queue q;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    fake_clock_init(&f->clock, 1000 * NS_PER_S);
    pod_queue_init(&f->q, &f->clock.clock);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pod_queue_deinit(&f->q);
    free(f);
    return 0;
}

static void set_take(struct fixture *f, struct pod_info *p)
{
    pod_queue_set(&f->q, p);
    pod_info_unref(p);
}

static struct queued_pod *pop(struct fixture *f, const char *key)
{
    struct queued_pod *p = pod_queue_pop(&f->q);
    assert_non_null(p);
    assert_string_equal(p->info->key.data, key);
    return p;
}

static void pop_and_remove(struct fixture *f, const char *key)
{
    pop(f, key);
    pod_queue_remove(&f->q, bytes_of(key));
}

static void priority_comes_before_arrival(void **state)
{
    struct fixture *f = *state;
    set_take(f, pod("a", "'priority':1"));
    set_take(f, pod("b", "'priority':5"));
    set_take(f, pod("c", "'priority':5"));
    set_take(f, pod("d", "'priority':0"));
    pod_queue_remove(&f->q, BYTES("default/a"));
    pop_and_remove(f, "default/b");
    pop_and_remove(f, "default/c");
    pop_and_remove(f, "default/d");
    assert_null(pod_queue_pop(&f->q));
}

static void a_parked_pod_waits_for_an_event_that_helps(void **state)
{
    struct fixture *f = *state;
    set_take(f, pod("a", ""));
    pod_queue_park(&f->q, pop(f, "default/a"), EVENT_POD_GONE);
    pod_queue_wake(&f->q, EVENT_NODE_LABELS);
    assert_null(pod_queue_pop(&f->q));
    pod_queue_wake(&f->q, EVENT_POD_GONE);
    pop(f, "default/a"); /* nothing else to do: its backoff is cut short */
}

static void others_go_before_one_in_backoff(void **state)
{
    struct fixture *f = *state;
    set_take(f, pod("a", "'priority':9"));
    pod_queue_park(&f->q, pop(f, "default/a"), EVENT_POD_GONE);
    pod_queue_wake(&f->q, EVENT_POD_GONE);
    set_take(f, pod("b", ""));
    pop_and_remove(f, "default/b");
    set_take(f, pod("c", ""));
    fake_clock_advance(&f->clock, NS_PER_S);
    pop_and_remove(f, "default/a"); /* its backoff is over: priority counts again */
    pop_and_remove(f, "default/c");
}

static void errors_wait_longer_each_time(void **state)
{
    struct fixture *f = *state;
    static const int64_t waits_s[] = { 1, 2, 4, 8, 10, 10 };
    set_take(f, pod("a", ""));
    for (size_t i = 0; i < ARRAY_LEN(waits_s); i++) {
        pod_queue_retry(&f->q, pop(f, "default/a"));
        assert_int_equal(pod_queue_due_ns(&f->q) - clock_monotonic_ns(&f->clock.clock),
                         waits_s[i] * NS_PER_S);
        assert_null(pod_queue_pop(&f->q));
        fake_clock_advance(&f->clock, waits_s[i] * NS_PER_S);
    }
}

static void a_parked_pod_is_tried_again_at_the_latest_after_five_minutes(void **state)
{
    struct fixture *f = *state;
    set_take(f, pod("a", ""));
    pod_queue_park(&f->q, pop(f, "default/a"), EVENT_POD_GONE);
    fake_clock_advance(&f->clock, POD_PARKED_MAX_NS - 1);
    assert_null(pod_queue_pop(&f->q));
    fake_clock_advance(&f->clock, 1);
    pop(f, "default/a");
}

static void gates_hold_a_pod_until_they_are_gone(void **state)
{
    struct fixture *f = *state;
    set_take(f, pod("a", "'schedulingGates':[{'name':'g'}]"));
    assert_null(pod_queue_pop(&f->q));
    pod_queue_wake(&f->q, ~0u);
    assert_null(pod_queue_pop(&f->q));
    set_take(f, pod("a", ""));
    pop(f, "default/a");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(priority_comes_before_arrival),
        T(a_parked_pod_waits_for_an_event_that_helps),
        T(others_go_before_one_in_backoff),
        T(errors_wait_longer_each_time),
        T(a_parked_pod_is_tried_again_at_the_latest_after_five_minutes),
        T(gates_hold_a_pod_until_they_are_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
