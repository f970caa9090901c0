/* SPDX-License-Identifier: Apache-2.0 */
/* bytes_test.c - views, buffers, counted bytes. */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void order_is_that_of_memcmp_and_shorter_first(void **state)
{
    (void)state;
    assert_true(bytes_compare(BYTES("a"), BYTES("b")) < 0);
    assert_true(bytes_compare(BYTES("a"), BYTES("a\0")) < 0);
    assert_true(bytes_compare(BYTES("\xff"), BYTES("a")) > 0);
    assert_int_equal(bytes_compare(BYTES(""), (struct bytes){ 0 }), 0);
}

static void prefixes_and_suffixes_are_found(void **state)
{
    (void)state;
    assert_true(bytes_has_prefix(BYTES("abc"), BYTES("ab")));
    assert_false(bytes_has_prefix(BYTES("a"), BYTES("ab")));
    assert_true(str_has_prefix("abc", ""));
    assert_true(str_has_suffix("abc", "bc"));
    assert_false(str_has_suffix("c", "bc"));
    assert_true(str_equal(NULL, ""));
    assert_false(str_has_prefix(NULL, "a"));
}

static void a_buffer_grows_and_ends_in_nul(void **state)
{
    (void)state;
    scoped(buffer) struct buffer b = { 0 };
    for (int i = 0; i < 1000; i++)
        buffer_printf(&b, "%d,", i);
    buffer_add_int(&b, INT64_MIN);
    buffer_add_char(&b, ' ');
    buffer_add_int(&b, 0);
    assert_int_equal(b.data[b.len], 0);
    assert_true(str_has_suffix(b.data, "998,999,-9223372036854775808 0"));
    assert_int_equal(strlen(b.data), b.len);
    scoped(str) char *text = buffer_take(&b);
    assert_true(str_has_prefix(text, "0,1,2,"));
    scoped(str) char *empty = buffer_take(&b);
    assert_string_equal(empty, "");
}

static void a_long_format_fits(void **state)
{
    (void)state;
    scoped(buffer) struct buffer b = { 0 };
    buffer_printf(&b, "%0500d", 7);
    assert_int_equal(b.len, 500);
    buffer_clear(&b);
    assert_int_equal(b.len, 0);
}

static void hashes_differ_where_bytes_differ(void **state)
{
    (void)state;
    assert_int_equal(bytes_hash(BYTES("pod")), bytes_hash(BYTES("pod")));
    assert_int_not_equal(bytes_hash(BYTES("pod")), bytes_hash(BYTES("pof")));
    assert_int_not_equal(bytes_hash(BYTES("12345678")), bytes_hash(BYTES("12345678\0")));
}

static void shared_bytes_are_counted(void **state)
{
    (void)state;
    struct shared_bytes *s = shared_bytes_new(BYTES("abc"));
    struct shared_bytes *again = shared_bytes_ref(s);
    shared_bytes_unref(s);
    assert_true(bytes_equal_str(shared_bytes_view(again), "abc"));
    shared_bytes_unref(again);
    shared_bytes_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_that_of_memcmp_and_shorter_first),
        cmocka_unit_test(prefixes_and_suffixes_are_found),
        cmocka_unit_test(a_buffer_grows_and_ends_in_nul),
        cmocka_unit_test(a_long_format_fits),
        cmocka_unit_test(hashes_differ_where_bytes_differ),
        cmocka_unit_test(shared_bytes_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
