/* SPDX-License-Identifier: Apache-2.0 */
/* failpoint_test.c - places that fail on demand, and do not otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"

static int teardown(void **state)
{
    (void)state;
    failpoints_set(NULL);
    return 0;
}

static void nothing_fails_unless_it_is_told_to(void **state)
{
    (void)state;
    assert_false(failpoint("here"));
    failpoints_set("elsewhere=error");
    assert_false(failpoint("here"));
}

static void a_place_fails_every_time_or_only_at_the_nth(void **state)
{
    (void)state;
    failpoints_set("always=error,third=nospace@3");
    for (int i = 1; i <= 4; i++) {
        assert_true(failpoint("always"));
        assert_int_equal(errno, EIO);
        assert_int_equal(failpoint("third"), i == 3);
        assert_int_equal(errno, i == 3 ? ENOSPC : EIO);
    }
}

static void *pass(void *arg)
{
    assert_false(failpoint("here"));
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

static void who_is_held_goes_on_when_the_points_are_set_anew(void **state)
{
    (void)state;
    atomic_bool has_passed = false;
    pthread_t thread;
    failpoints_set("here=hold");
    assert_int_equal(pthread_create(&thread, NULL, pass, &has_passed), 0);
    failpoint_await("here");
    assert_false(atomic_load(&has_passed));
    failpoints_set("here=hold"); /* for the next who comes by */
    pthread_join(thread, NULL);
    assert_true(atomic_load(&has_passed));
}

/* How a child ends that sets TEXT and then passes "here". */
static int end_of_child(const char *text)
{
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        failpoints_set(text);
        failpoint("here");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_crash_leaves_no_time_for_anything(void **state)
{
    (void)state;
    int status = end_of_child("here=crash");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void text_that_cannot_be_read_ends_the_program(void **state)
{
    (void)state;
    static const char *const cases[] = { "here", "here=", "here=explode", "here=error@3x" };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = end_of_child(cases[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nothing_fails_unless_it_is_told_to, teardown),
        cmocka_unit_test_teardown(a_place_fails_every_time_or_only_at_the_nth, teardown),
        cmocka_unit_test_teardown(who_is_held_goes_on_when_the_points_are_set_anew, teardown),
        cmocka_unit_test(a_crash_leaves_no_time_for_anything),
        cmocka_unit_test(text_that_cannot_be_read_ends_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
