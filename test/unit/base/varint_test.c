/* SPDX-License-Identifier: Apache-2.0 */
/* varint_test.c - there and back, and what is no number. */
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const uint64_t numbers[] = { 0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct buffer b = { 0 };
        varint_add(&b, numbers[i]);
        assert_int_equal(b.len, varint_size(numbers[i]));
        buffer_add_char(&b, 'x');
        struct bytes in = buffer_bytes(&b);
        uint64_t out;
        assert_true(varint_read(&in, &out));
        assert_true(out == numbers[i]);
        assert_int_equal(in.len, 1);
        buffer_free(&b);
    }
}

static void a_number_that_does_not_end_is_refused(void **state)
{
    (void)state;
    uint64_t out;
    struct bytes cut = BYTES("\x80\x80"), none = { 0 };
    struct bytes endless = BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_false(varint_read(&cut, &out));
    assert_false(varint_read(&none, &out));
    assert_false(varint_read(&endless, &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_number_that_does_not_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
