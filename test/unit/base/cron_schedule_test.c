/* SPDX-License-Identifier: Apache-2.0 */
/* cron_schedule_test - texts of schedules, and the times they name. */
#include "base/cron_schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static void a_schedule_gives_the_next_time(void **state)
{
    static const struct {
        const char *schedule, *zone, *after, *next;
    } cases[] = {
        { "*/5 * * * *", "UTC", "2026-11-20T21:03:10Z", "2026-11-20T21:05:00Z" },
        { "*/5 * * * *", "UTC", "2026-11-20T21:05:00Z", "2026-11-20T21:10:00Z" },
        { "@hourly", "UTC", "2026-12-31T23:10:00Z", "2027-01-01T00:00:00Z" },
        { "0 0 * * *", "UTC", "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z" },
        { "0 0 29 2 *", "UTC", "2026-02-28T12:00:00Z", "2028-02-29T00:00:00Z" },
        { "30 9 * * mon-fri", "UTC", "2026-11-20T10:00:00Z", "2026-11-23T09:30:00Z" },
        { "0 12 13 * fri", "UTC", "2026-11-20T13:00:00Z", "2026-11-27T12:00:00Z" },
        { "15,45 3/6 * jan,jul ?", "UTC", "2026-11-20T13:00:00Z", "2027-01-01T03:15:00Z" },
        { "0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z" },
        { "0 3 * * *", "Europe/Berlin", "2026-12-01T00:00:00Z", "2026-12-01T02:00:00Z" },
        /* 2:30 does not exist on the day summer time begins */
        { "30 2 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-29T00:30:00Z" },
        { "@every 90s", "UTC", "2026-11-20T21:00:00Z", "2026-11-20T21:01:30Z" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        char text[TIME_TEXT_BYTES];
        int64_t after;
        const struct cron_schedule *s =
            cron_schedule_parse(cases[i].schedule, cases[i].zone, a, &err);
        assert_non_null(s);
        assert_int_equal(time_parse(cases[i].after, &after), 0);
        time_format(cron_schedule_next(s, after), text);
        assert_string_equal(text, cases[i].next);
    }
}

static void what_is_no_schedule_is_refused(void **state)
{
    static const struct {
        const char *schedule, *fault;
    } cases[] = {
        { "", "expected exactly 5 fields, found 0: []" },
        { "* * * *", "expected exactly 5 fields, found 4: [* * * *]" },
        { "* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]" },
        { "60 * * * *", "end of range (60) above maximum (59): 60" },
        { "* 24 * * *", "end of range (24) above maximum (23): 24" },
        { "* * 0 * *", "beginning of range (0) below minimum (1): 0" },
        { "* * * 1-13 *", "end of range (13) above maximum (12): 1-13" },
        { "5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1" },
        { "1-2-3 * * * *", "too many hyphens: 1-2-3" },
        { "*/0 * * * *", "step of range should be a positive number: */0" },
        { "*/2/3 * * * *", "too many slashes: */2/3" },
        { "*/-2 * * * *", "negative number (-2) not allowed: -2" },
        { "a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax" },
        { "* * * * 99999999999",
          "failed to parse int from 99999999999: strconv.Atoi: parsing \"99999999999\": value out "
          "of range" },
        { "@every x", "failed to parse duration @every x: time: invalid duration \"x\"" },
        { "@never", "unrecognized descriptor: @never" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_null(cron_schedule_parse(cases[i].schedule, "UTC", a, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i].fault);
    }
    scoped(arena) struct arena *b = arena_new();
    struct error err = { 0 };
    assert_null(cron_schedule_parse("* * * * *", "../etc/passwd", b, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    const struct cron_schedule *never = cron_schedule_parse("0 0 31 2 *", "UTC", b, &err);
    assert_int_equal(cron_schedule_next(never, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schedule_gives_the_next_time),
        cmocka_unit_test(what_is_no_schedule_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
