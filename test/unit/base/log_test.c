/* SPDX-License-Identifier: Apache-2.0 */
/* log_test.c - logfmt lines on standard error. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

/* What standard error gets while FN runs; at most what a pipe holds. */
static char *capture(void (*fn)(void))
{
    static char text[2 * LOG_LINE_BYTES_MAX];
    int fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    fn();
    dup2(saved, STDERR_FILENO); /* closes the last writing end */
    close(saved);
    ssize_t n, len = 0;
    while ((n = read(fds[0], text + len, sizeof(text) - 1 - (size_t)len)) > 0)
        len += n;
    text[len] = 0;
    close(fds[0]);
    return text;
}

static void write_tricky(void)
{
    log_info("kubelet", "pod %s started", "a\"b\\c\nd\x01");
}

static void an_event_is_one_line_whatever_is_in_it(void **state)
{
    (void)state;
    const char *line = capture(write_tricky);
    assert_true(str_has_prefix(line, "time=\"20"));
    assert_non_null(strstr(line, "Z\" level=info component=kubelet "
                                 "msg=\"pod a\\\"b\\\\c\\nd\\x01 started\"\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void write_long(void)
{
    char text[2 * LOG_LINE_BYTES_MAX];
    memset(text, '\n', sizeof(text)); /* each takes two */
    text[sizeof(text) - 1] = 0;
    log_error("test", "%s", text);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    const char *line = capture(write_long);
    assert_true(strlen(line) <= LOG_LINE_BYTES_MAX);
    assert_true(str_has_suffix(line, "\"\n"));
}

static void write_levels(void)
{
    log_debug("test", "one");
    log_set_level(LOG_DEBUG);
    log_debug("test", "two");
    log_set_level(LOG_ERROR);
    log_warn("test", "three");
    log_set_level(LOG_INFO);
}

static void only_the_levels_asked_for_are_written(void **state)
{
    (void)state;
    const char *text = capture(write_levels);
    assert_null(strstr(text, "\"one\""));
    assert_non_null(strstr(text, "level=debug component=test msg=\"two\""));
    assert_null(strstr(text, "\"three\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_line_whatever_is_in_it),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(only_the_levels_asked_for_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
