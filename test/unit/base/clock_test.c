/* SPDX-License-Identifier: Apache-2.0 */
/* clock_test.c - times, durations, clocks and random numbers. */
#include "base/clock.h"

#include <stddef.h>
#include <string.h>

#include "base/scoped.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void times_are_written_as_the_api_does(void **state)
{
    (void)state;
    char text[TIME_TEXT_BYTES];
    time_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
    int64_t t = 1795204805 * NS_PER_S + 123456789;
    time_format(t, text);
    assert_string_equal(text, "2026-11-20T20:00:05Z");
    time_format_micro(t, text);
    assert_string_equal(text, "2026-11-20T20:00:05.123456Z");
    time_format_nano(t, text);
    assert_string_equal(text, "2026-11-20T20:00:05.123456789Z");
    time_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59Z");
    time_format(INT64_MIN, text);
    assert_string_equal(text, "1677-09-21T00:12:43Z");
}

static void rfc_3339_is_read_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01T01:00:00+01:00", 0 },
        { "1969-12-31T19:00:00.5-05:00", NS_PER_S / 2 },
        { "2026-11-20T20:00:05.123456789999Z", 1795204805 * NS_PER_S + 123456789 },
        { "2024-02-29T00:00:00Z", 1709164800 * NS_PER_S },
        { "0001-01-01T00:00:00Z", INT64_MIN },
        { "9999-12-31T23:59:59Z", INT64_MAX },
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ns;
        assert_int_equal(time_parse(good[i].text, &ns), 0);
        assert_int_equal(ns, good[i].ns);
    }
    static const char *const bad[] = {
        "",
        "2026-11-20",
        "2026-11-20 20:00:05Z",
        "2026-11-20T20:00:05",
        "2026-13-20T20:00:05Z",
        "2026-02-29T20:00:05Z",
        "2026-11-20T24:00:05Z",
        "2026-11-20T20:60:05Z",
        "2026-11-20T20:00:60Z",
        "2026-11-20T20:00:05.Z",
        "2026-11-20T20:00:05Zx",
        "2026-11-20T20:00:05+0100",
        "26-11-20T20:00:05Z",
        "2026-11-00T20:00:05Z",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ns;
        assert_int_equal(time_parse(bad[i], &ns), -1);
    }
}

static void a_time_survives_text(void **state)
{
    (void)state;
    struct rng r;
    seeded_rng_init(&r, 7);
    for (int i = 0; i < 10000; i++) {
        int64_t t = (int64_t)rng_next(&r), again;
        char text[TIME_TEXT_BYTES];
        time_format_nano(t, text);
        assert_int_equal(time_parse(text, &again), 0);
        assert_int_equal(again, t);
    }
}

static void durations_are_go_s(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        int64_t ns;
    } good[] = {
        { "0", "0s", 0 },
        { "1h2m3s", "1h2m3s", 3723 * NS_PER_S },
        { "90m", "1h30m0s", 5400 * NS_PER_S },
        { "300ms", "300ms", 300 * NS_PER_MS },
        { "1.5s", "1.5s", 1500 * NS_PER_MS },
        { "-.5s", "-500ms", -500 * NS_PER_MS },
        { "1500us", "1.5ms", 1500000 },
        { "7ns", "7ns", 7 },
        { "1s1s", "2s", 2 * NS_PER_S },
        { "60s", "1m0s", 60 * NS_PER_S },
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ns;
        char text[TIME_TEXT_BYTES];
        assert_int_equal(duration_parse(good[i].in, &ns), 0);
        assert_int_equal(ns, good[i].ns);
        duration_format(ns, text);
        assert_string_equal(text, good[i].out);
    }
    static const char *const bad[] = {
        "", "1", "s", "1x", "1h 2m", "-", "9999999999h", ".s", "1d"
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ns;
        assert_int_equal(duration_parse(bad[i], &ns), -1);
    }
    char text[TIME_TEXT_BYTES];
    duration_format(INT64_MIN, text);
    assert_string_equal(text, "-2562047h47m16.854775808s");
}

static void a_fake_clock_moves_when_told(void **state)
{
    (void)state;
    struct fake_clock f;
    fake_clock_init(&f, 100);
    assert_int_equal(clock_wall_ns(&f.clock), 100);
    fake_clock_advance(&f, 5);
    assert_int_equal(clock_monotonic_ns(&f.clock), 105);
}

static void random_numbers_stay_below_their_limit(void **state)
{
    (void)state;
    struct rng a, b;
    seeded_rng_init(&a, 42);
    seeded_rng_init(&b, 42);
    for (int i = 0; i < 1000; i++) {
        assert_true(rng_below(&a, 10) < 10);
        rng_below(&b, 10);
        assert_true(rng_below(system_rng, 3) < 3);
    }
    assert_int_equal(rng_next(&a), rng_next(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_as_the_api_does),
        cmocka_unit_test(rfc_3339_is_read_and_nothing_else),
        cmocka_unit_test(a_time_survives_text),
        cmocka_unit_test(durations_are_go_s),
        cmocka_unit_test(a_fake_clock_moves_when_told),
        cmocka_unit_test(random_numbers_stay_below_their_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
