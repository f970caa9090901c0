/* SPDX-License-Identifier: Apache-2.0 */
/* quantity_test.c - resource quantities. */
#include "api/quantity.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void quantities_are_printed_in_canonical_form(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "0", "0" },
        { "0Gi", "0" },
        { "0.5", "500m" },
        { "1", "1" },
        { "1000m", "1" },
        { "1500m", "1500m" },
        { "1.5", "1500m" },
        { "1024Ki", "1Mi" },
        { "1024Mi", "1Gi" },
        { "1000Mi", "1000Mi" },
        { "0.5Gi", "512Mi" },
        { "1.5Gi", "1536Mi" },
        { "1e3", "1e3" },
        { "12e6", "12e6" },
        { "1E3", "1e3" },
        { "1000", "1k" },
        { "100000", "100k" },
        { "1500", "1500" },
        { "1000000", "1M" },
        { "1G", "1G" },
        { "5E", "5E" },
        { "3.5k", "3500" },
        { "100m", "100m" },
        { "1u", "1u" },
        { "10n", "10n" },
        { "0.1n", "1n" },
        { "-1", "-1" },
        { "-0.5", "-500m" },
        { "+5", "5" },
        { "1.", "1" },
        { ".5", "500m" },
        { "0.1Ki", "102400m" },
        { "1023", "1023" },
        { "512Ki", "512Ki" },
        { "1Ki", "1Ki" },
        { "0.25Ki", "256" },
        { "-1Gi", "-1Gi" },
        { "1e-3", "1e-3" },
        { "15e-1", "1500e-3" },
        { "0.0001", "100u" },
        { "9223372036854775807", "9223372036854775807" },
        { "1e100", "9223372036854775807" },
        { "8Ei", "9223372036854775807" },
        { "0202000000000000Pi", "9223372036854775807" },
        { "1e-100", "1e-9" },
        { "0e99999999999", "0" },
        { "00012", "12" },
        { "1.0000000000000000000000001Gi", "1073741825" },
        { "123456789.123456789", "123456789123456789n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct quantity q;
        if (quantity_parse(cases[i][0], &q) < 0)
            fail_msg("%s: no quantity", cases[i][0]);
        assert_string_equal(quantity_print(&q, a), cases[i][1]);
    }
}

static void what_is_no_quantity_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = { "",   "x",     "1x",   "1ki", "1KI", "1mi",  "1 Gi",
                                         " 1", "1Gi ",  "1e",   "1e+", "--1", "1..2", "1.2.3",
                                         "Gi", "1e1.5", "0x10", "1EE", ".",   "+" };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quantity q;
        if (quantity_parse(cases[i], &q) == 0)
            fail_msg("'%s' was accepted", cases[i]);
    }
    struct quantity q;
    assert_int_equal(quantity_parse(NULL, &q), -1);
}

static struct quantity parse(const char *text)
{
    struct quantity q;
    assert_int_equal(quantity_parse(text, &q), 0);
    return q;
}

static void sums_keep_the_format_of_what_was_there(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *sum;
    } cases[] = {
        { "1", "500m", "1500m" },
        { "1Gi", "1Mi", "1025Mi" },
        { "0", "1Gi", "1Gi" },
        { "1Gi", "1G", "2073741824" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *arena = arena_new();
        struct quantity sum = parse(cases[i].a), b = parse(cases[i].b);
        quantity_add(&sum, &b);
        assert_string_equal(quantity_print(&sum, arena), cases[i].sum);
    }
}

static void values_are_rounded_away_from_zero(void **state)
{
    (void)state;
    struct quantity q = parse("1100u");
    assert_int_equal(quantity_value(&q), 1);
    assert_int_equal(quantity_milli_value(&q), 2);
    q = parse("-1.5");
    assert_int_equal(quantity_value(&q), -2);
    assert_int_equal(quantity_milli_value(&q), -1500);
    q = parse("1e100");
    assert_int_equal(quantity_value(&q), INT64_MAX);
    assert_int_equal(quantity_milli_value(&q), INT64_MAX);
}

static void order_does_not_depend_on_the_format(void **state)
{
    (void)state;
    struct quantity a = parse("1Gi"), b = parse("1G"), c = parse("1024Mi");
    assert_true(quantity_compare(&a, &b) > 0);
    assert_true(quantity_compare(&b, &a) < 0);
    assert_int_equal(quantity_compare(&a, &c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities_are_printed_in_canonical_form),
        cmocka_unit_test(what_is_no_quantity_is_refused),
        cmocka_unit_test(sums_keep_the_format_of_what_was_there),
        cmocka_unit_test(values_are_rounded_away_from_zero),
        cmocka_unit_test(order_does_not_depend_on_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
