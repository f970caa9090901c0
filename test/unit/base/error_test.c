/* SPDX-License-Identifier: Apache-2.0 */
/* error_test.c - error values and their wire forms. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void a_wrap_goes_before_the_message_and_keeps_the_code(void **state)
{
    (void)state;
    struct error err = { 0 };
    assert_int_equal(error_set(&err, ERR_CONFLICT, "key changed at %d", 812), -1);
    assert_int_equal(error_wrap(&err, "bind pod %s", "web-0"), -1);
    assert_string_equal(err.message, "bind pod web-0: key changed at 812");
    assert_int_equal(err.code, ERR_CONFLICT);
}

static void a_message_may_be_made_from_itself(void **state)
{
    (void)state;
    struct error err = { 0 };
    error_set(&err, ERR_INTERNAL, "inner");
    error_set(&err, ERR_BAD_REQUEST, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
}

static void what_does_not_fit_is_cut(void **state)
{
    (void)state;
    char text[ERROR_MESSAGE_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    struct error err = { 0 };
    error_set(&err, ERR_INTERNAL, "%s%s", text, text);
    error_wrap(&err, "%s%s", text, text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
}

static void errno_is_told(void **state)
{
    (void)state;
    struct error err = { 0 };
    errno = ENOENT;
    error_errno(&err, "open %s", "/x");
    assert_string_equal(err.message, "open /x: No such file or directory");
    assert_int_equal(err.code, ERR_IO);
    errno = ENOSPC;
    error_errno(&err, "write");
    assert_int_equal(err.code, ERR_NO_SPACE);
}

static void codes_survive_the_wire(void **state)
{
    (void)state;
    for (enum error_code c = ERR_INTERNAL; c < ERR_CODES; c++) {
        assert_true(error_http_status(c) >= 400);
        if (c != ERR_FUTURE_REVISION && c != ERR_IO && c != ERR_CANCELED &&
            c != ERR_UNKNOWN) /* share a reason, or have none */
            assert_int_equal(error_from_http(error_http_status(c), error_reason(c)), c);
    }
    assert_int_equal(error_from_http(409, NULL), ERR_CONFLICT);
    assert_int_equal(error_from_http(409, "AlreadyExists"), ERR_ALREADY_EXISTS);
    assert_int_equal(error_from_http(410, "Expired"), ERR_COMPACTED);
    assert_int_equal(error_from_http(500, "ServerTimeout"), ERR_TIMEOUT);
    assert_int_equal(error_from_http(418, ""), ERR_BAD_REQUEST);
    assert_int_equal(error_from_http(502, ""), ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrap_goes_before_the_message_and_keeps_the_code),
        cmocka_unit_test(a_message_may_be_made_from_itself),
        cmocka_unit_test(what_does_not_fit_is_cut),
        cmocka_unit_test(errno_is_told),
        cmocka_unit_test(codes_survive_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
