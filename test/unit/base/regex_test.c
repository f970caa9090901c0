/* SPDX-License-Identifier: Apache-2.0 */
/* regex_test.c - patterns with an end. */
#include "base/regex.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void patterns_match_as_in_go(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        int matches;
    } cases[] = {
        { "^[a-z]+$", "abc", 1 },  { "^[a-z]+$", "abc\n", 0 },         { "b", "abc", 1 },
        { "^$", "", 1 },           { "^.$", "\xc3\xa9", 1 },           { "^\\d{3}$", "1234", 0 },
        { "(?i)^ABC$", "abc", 1 }, { "^\\p{Greek}+$", "\xce\xb1", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = { 0 };
        scoped(regex) struct regex *r = regex_new(cases[i].pattern, &err);
        assert_non_null(r);
        assert_int_equal(regex_matches(r, bytes_of(cases[i].text), &err), cases[i].matches);
    }
}

static void what_is_no_pattern_is_refused(void **state)
{
    (void)state;
    struct error err = { 0 };
    assert_null(regex_new("a(b", &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_true(str_has_prefix(err.message, "error parsing regexp at offset 3: "));
}

static void a_match_that_would_take_for_ever_is_an_error(void **state)
{
    (void)state;
    struct error err = { 0 };
    scoped(regex) struct regex *r = regex_new("^(a+)+$", &err);
    assert_non_null(r);
    char text[64];
    memset(text, 'a', sizeof(text));
    text[63] = 'b';
    assert_int_equal(regex_matches(r, (struct bytes){ text, sizeof(text) }, &err), -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_go),
        cmocka_unit_test(what_is_no_pattern_is_refused),
        cmocka_unit_test(a_match_that_would_take_for_ever_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
