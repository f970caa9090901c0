/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - mailbox, timers and descriptors of a loop thread. */
#include "base/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct log {
    struct loop *loop;
    char text[64]; /* written on the loop's thread only */
    sem_t done;
    int pipe[2];
    struct loop_timer *timer;
    struct loop_watch *watch;
};

static int set_up(void **state)
{
    struct log *t = xcalloc(1, sizeof(*t));
    struct error err = { 0 };
    t->loop = loop_start("test", &err);
    assert_non_null(t->loop);
    sem_init(&t->done, 0, 0);
    assert_int_equal(pipe(t->pipe), 0);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct log *t = *state;
    loop_stop(t->loop);
    sem_destroy(&t->done);
    close(t->pipe[0]);
    close(t->pipe[1]);
    free(t);
    return 0;
}

static void add(struct log *t, const char *s)
{
    strncat(t->text, s, sizeof(t->text) - strlen(t->text) - 1);
}

static void add_a(void *arg)
{
    add(arg, "a");
}

static void add_b(void *arg)
{
    add(arg, "b");
}

static void add_c(void *arg)
{
    add(arg, "c");
}

static void done(void *arg)
{
    sem_post(&((struct log *)arg)->done);
}

static void messages_run_in_the_order_of_the_calls(void **state)
{
    struct log *t = *state;
    for (int i = 0; i < 5; i++) {
        loop_post(t->loop, add_a, t);
        loop_post(t->loop, add_b, t);
    }
    loop_post(t->loop, done, t);
    sem_wait(&t->done);
    assert_string_equal(t->text, "ababababab");
}

static atomic_int counted;

static void count(void *arg)
{
    (void)arg;
    atomic_fetch_add(&counted, 1);
}

static void what_was_posted_before_the_stop_is_run(void **state)
{
    (void)state;
    struct error err = { 0 };
    counted = 0;
    struct loop *l = loop_start("stop", &err);
    for (int i = 0; i < 1000; i++)
        loop_post(l, count, NULL);
    loop_stop(l);
    assert_int_equal(counted, 1000);
}

static void start_timers(void *arg)
{
    struct log *t = arg;
    loop_timer_start(t->loop, 30, done, t);
    loop_timer_start(t->loop, 20, add_c, t);
    loop_timer_start(t->loop, 1, add_a, t);
    loop_timer_cancel(loop_timer_start(t->loop, 5, add_b, t));
    loop_timer_cancel(NULL);
}

static void timers_fire_in_the_order_of_their_times_unless_cancelled(void **state)
{
    struct log *t = *state;
    loop_post(t->loop, start_timers, t);
    sem_wait(&t->done);
    assert_string_equal(t->text, "ac");
}

static void on_readable(int fd, void *arg)
{
    struct log *t = arg;
    char text[2] = { 0 };
    assert_int_equal(read(fd, text, 1), 1);
    add(t, text);
    if (*text == 'z') {
        loop_watch_cancel(t->watch);
        done(t);
    }
}

static void start_watch(void *arg)
{
    struct log *t = arg;
    t->watch = loop_watch_readable(t->loop, t->pipe[0], on_readable, t);
}

static void a_readable_descriptor_calls_until_it_is_cancelled(void **state)
{
    struct log *t = *state;
    loop_post(t->loop, start_watch, t);
    assert_int_equal(write(t->pipe[1], "xyzq", 4), 4);
    sem_wait(&t->done);
    loop_post(t->loop, done, t);
    sem_wait(&t->done);
    assert_string_equal(t->text, "xyz");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_run_in_the_order_of_the_calls, set_up, tear_down),
        cmocka_unit_test(what_was_posted_before_the_stop_is_run),
        cmocka_unit_test_setup_teardown(timers_fire_in_the_order_of_their_times_unless_cancelled,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_readable_descriptor_calls_until_it_is_cancelled, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
