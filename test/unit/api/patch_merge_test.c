/* SPDX-License-Identifier: Apache-2.0 */
/* patch_merge_test.c - JSON Merge Patch, by the table of RFC 7386. */
#include "api/patch.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct json *parse(struct arena *a, const char *text)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static void a_patch_merges_as_the_rfc_says(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *patch, *result;
    } cases[] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
        { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
        { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
        { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
        { "{\"a\":\"foo\"}", "null", "null" },
        { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        scoped(buffer) struct buffer text = { 0 };
        json_print(patch_merge(parse(a, cases[i].doc), parse(a, cases[i].patch), a), &text);
        assert_string_equal(text.data, cases[i].result);
    }
}

static void large_objects_merge_in_linear_time(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer doc = { 0 }, patch = { 0 };
    for (int i = 0; i < 50000; i++) {
        buffer_printf(&doc, "%s\"k%d\":%d", i ? "," : "{", i, i);
        buffer_printf(&patch, "%s\"k%d\":%s", i ? "," : "{", i + 25000, i % 2 ? "null" : "1");
    }
    buffer_add_char(&doc, '}');
    buffer_add_char(&patch, '}');
    struct json *v = patch_merge(parse(a, doc.data), parse(a, patch.data), a);
    assert_int_equal(v->len, 25000 + 12500 + 12500);
    assert_int_equal(json_int(v, "k25000", 0), 1);
    assert_null(json_get(v, "k25001"));
}

static void the_result_shares_nothing_with_its_inputs(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = parse(a, "{\"a\":{\"b\":1},\"l\":[1]}");
    struct json *v = patch_merge(doc, parse(a, "{\"c\":1}"), a);
    json_put_int(a, v, "a.b", 2);
    json_append(a, json_find(v, "l"), json_int_value(2));
    assert_int_equal(json_int(doc, "a.b", 0), 1);
    assert_int_equal(json_len(doc, "l"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patch_merges_as_the_rfc_says),
        cmocka_unit_test(large_objects_merge_in_linear_time),
        cmocka_unit_test(the_result_shares_nothing_with_its_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
