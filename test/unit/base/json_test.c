/* SPDX-License-Identifier: Apache-2.0 */
/* json_test.c - JSON text and trees. */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>

#include "base/limits.h"

#define CASES_DIR "/work/shared/testdata/json"

static struct json *parse(struct arena *a, const char *text)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static void assert_prints(const char *in, const char *out)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    json_print(parse(a, in), &text);
    assert_string_equal(text.data, out);
}

static void text_is_printed_as_go_prints_it(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { " { } ", "{}" },
        { "[ 1 , 2 ]", "[1,2]" },
        { "{\"b\":1,\"a\":[true,false,null]}", "{\"b\":1,\"a\":[true,false,null]}" },
        { "\"<a>&\"", "\"\\u003ca\\u003e\\u0026\"" },
        { "\"\\u2028\\u2029\\u202a\"", "\"\\u2028\\u2029\xe2\x80\xaa\"" },
        { "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\/\\\\\\\"\"",
          "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/\\\\\\\"\"" },
        { "\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"" },
        { "\"\\ud83d x \\ude00\"", "\"\xef\xbf\xbd x \xef\xbf\xbd\"" },
        { "[\"\\\\\",\"a\\\\\\\"b\",\"\\\"\"]", "[\"\\\\\",\"a\\\\\\\"b\",\"\\\"\"]" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "9223372036854775808", "9223372036854776000" },
        { "{\"a\\u0000b\":1}", "{\"a\\u0000b\":1}" },
        { "18446744073709551616", "18446744073709552000" },
        { "-0", "0" },
        { "-0.0", "-0" },
        { "1.0", "1" },
        { "1.5", "1.5" },
        { "0.1", "0.1" },
        { "100.25", "100.25" },
        { "0.3333333333333333", "0.3333333333333333" },
        { "0.30000000000000004", "0.30000000000000004" },
        { "0.000001", "0.000001" },
        { "0.00000123", "0.00000123" },
        { "0.0000001", "1e-7" },
        { "1.25e-9", "1.25e-9" },
        { "1e3", "1000" },
        { "1e20", "100000000000000000000" },
        { "1e21", "1e+21" },
        { "1.7976931348623157e308", "1.7976931348623157e+308" },
        { "5e-324", "5e-324" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_prints(cases[i].in, cases[i].out);
}

static void bytes_that_are_not_utf8_are_printed_as_the_replacement_character(void **state)
{
    (void)state;
    scoped(buffer) struct buffer text = { 0 };
    json_print_string(BYTES("a\xff\xed\xa0\x80\xc1z"), &text);
    assert_string_equal(text.data, "\"a\\ufffd\\ufffd\\ufffd\\ufffd\\ufffdz\"");
}

static void pretty_text_is_indented_by_two(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    json_print_pretty(parse(a, "{\"a\":[1,{\"b\":[]}],\"c\":{}}"), &text);
    assert_string_equal(text.data, "{\n"
                                   "  \"a\": [\n"
                                   "    1,\n"
                                   "    {\n"
                                   "      \"b\": []\n"
                                   "    }\n"
                                   "  ],\n"
                                   "  \"c\": {}\n"
                                   "}");
}

static void bad_text_is_refused_in_upstreams_words(void **state)
{
    (void)state;
    static const struct {
        const char *in, *message;
    } cases[] = {
        { "", "unexpected end of JSON input" },
        { "  ", "unexpected end of JSON input" },
        { "{", "unexpected end of JSON input" },
        { "[1,", "unexpected end of JSON input" },
        { "\"abc", "unexpected end of JSON input" },
        { "tru", "unexpected end of JSON input" },
        { "x", "invalid character 'x' looking for beginning of value" },
        { "[1,]", "invalid character ']' looking for beginning of value" },
        { "{\"a\":1,}", "invalid character '}' looking for beginning of object key string" },
        { "{a:1}", "invalid character 'a' looking for beginning of object key string" },
        { "{\"a\" 1}", "invalid character '1' after object key" },
        { "{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair" },
        { "[1 2]", "invalid character '2' after array element" },
        { "{} x", "invalid character 'x' after top-level value" },
        { "trux", "invalid character 'x' in literal true (expecting 'e')" },
        { "-x", "invalid character 'x' in numeric literal" },
        { "1.x", "invalid character 'x' after decimal point in numeric literal" },
        { "1ex", "invalid character 'x' in exponent of numeric literal" },
        { "\"\\x\"", "invalid character 'x' in string escape code" },
        { "\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape" },
        { "\"a\nb\"", "invalid character '\\n' in string literal" },
        { "'a'", "invalid character '\\'' looking for beginning of value" },
        { "\f1", "invalid character '\\f' looking for beginning of value" },
        { "\xef\xbb\xbf{}", "invalid character '\xc3\xaf' looking for beginning of value" },
        { "\"\xff\"", "invalid UTF-8 in JSON text" },
        { "\"\xc0\x80\"", "invalid UTF-8 in JSON text" },
        { "1e999", "json: cannot unmarshal number 1e999 into Go value of type float64" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_null(json_parse(bytes_of(cases[i].in), a, NULL, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void nesting_ends_at_the_limit(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3];
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct bytes v = { text, 2 * (size_t)depth };
        if (depth <= JSON_DEPTH_MAX) {
            assert_non_null(json_parse(v, a, NULL, &err));
        } else {
            assert_null(json_parse(v, a, NULL, &err));
            assert_string_equal(err.message, "exceeded max depth");
        }
    }
}

static void of_a_repeated_name_the_last_value_wins_and_its_path_is_told(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json_duplicates d = { 0 };
    const char *text = "{\"spec\":{\"replicas\":1,\"x\":0,\"replicas\":2,"
                       "\"containers\":[{},{\"name\":\"a\",\"name\":{\"b\":[1]}}]}}";
    struct json *v = json_parse(bytes_of(text), a, &d, &err);
    assert_non_null(v);
    scoped(buffer) struct buffer out = { 0 };
    json_print(v, &out);
    assert_string_equal(out.data, "{\"spec\":{\"replicas\":2,\"x\":0,"
                                  "\"containers\":[{},{\"name\":{\"b\":[1]}}]}}");
    assert_int_equal(d.n, 2);
    assert_string_equal(d.paths[0], "spec.replicas");
    assert_string_equal(d.paths[1], "spec.containers[1].name");
}

static void many_members_and_many_repeats_are_found(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_char(&text, '{');
    for (int i = 0; i < 50000; i++)
        buffer_printf(&text, "%s\"key%d\":%d", i ? "," : "", i % 25000, i);
    buffer_add_char(&text, '}');
    struct error err = { 0 };
    struct json_duplicates d = { 0 };
    struct json *v = json_parse(buffer_bytes(&text), a, &d, &err);
    assert_non_null(v);
    assert_int_equal(v->len, 25000);
    assert_int_equal(d.n, JSON_DUPLICATES_MAX);
    assert_int_equal(json_int(v, "key24999", 0), 49999);
}

static void paths_lead_to_values_and_absence_is_no_ladder(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *v =
        parse(a, "{\"spec\":{\"replicas\":3,\"name\":\"x\",\"on\":true,\"list\":[1,2]},"
                 "\"a.b\":5}");
    assert_int_equal(json_int(v, "spec.replicas", 1), 3);
    assert_int_equal(json_int(v, "spec.nothing", 1), 1);
    assert_int_equal(json_int(v, "spec.replicas.deeper", 1), 1);
    assert_int_equal(json_int(NULL, "spec", 7), 7);
    assert_string_equal(json_str(v, "spec.name", ""), "x");
    assert_string_equal(json_str(v, "spec.replicas", "none"), "none");
    assert_true(json_bool(v, "spec.on", false));
    assert_int_equal(json_len(v, "spec.list"), 2);
    assert_int_equal(json_len(v, "spec.name"), 0);
    assert_null(json_at(v, "a.b"));
    assert_int_equal(json_get(v, "a.b")->integer, 5);
    assert_ptr_equal(json_at(v, ""), v);

    int64_t sum = 0;
    json_each_item (json_at(v, "spec.list"), i)
        sum += i->integer;
    json_each_item (json_at(v, "spec.none"), i)
        sum += 100 * i->integer;
    assert_int_equal(sum, 3);
    size_t members = 0;
    json_each_member (json_at(v, "spec"), m)
        members += m->name != NULL;
    assert_int_equal(members, 4);
}

static void trees_grow_and_shrink(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *v = parse(a, "{\"a\":{\"b\":1,\"c\":2},\"list\":[0]}");
    struct json *list = json_find(v, "list");
    for (int i = 1; i < 1000; i++)
        json_append(a, list, json_int_value(i));
    assert_int_equal(list->len, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(list->items[i].integer, i);
    while (list->len > 2)
        json_remove_item(list, 1);

    json_put_str(a, v, "metadata.labels.x", "y");
    json_put_int(a, v, "a.b", 9);
    json_put_bool(a, v, "a.d", true);
    json_drop(v, "a.c");
    json_drop(v, "a.none.deeper");
    json_drop(v, "none");
    scoped(buffer) struct buffer out = { 0 };
    json_print(v, &out);
    assert_string_equal(out.data, "{\"a\":{\"b\":9,\"d\":true},\"list\":[0,999],"
                                  "\"metadata\":{\"labels\":{\"x\":\"y\"}}}");
    json_drop(v, "a");
    assert_null(json_get(v, "a"));
}

static void appending_is_cheap(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *list = json_new(a, JSON_ARRAY);
    for (int i = 0; i < 100000; i++)
        json_append(a, list, json_int_value(i));
    assert_true(arena_size_bytes(a) < 100000 * sizeof(struct json) * 6);
}

static void a_clone_shares_nothing(void **state)
{
    (void)state;
    scoped(arena) struct arena *b = arena_new();
    struct json *copy;
    {
        scoped(arena) struct arena *a = arena_new();
        copy = json_clone(parse(a, "{\"a\":[\"x\",{\"b\":1.5}],\"e\":[],\"o\":{}}"), b);
    }
    scoped(buffer) struct buffer out = { 0 };
    json_print(copy, &out);
    assert_string_equal(out.data, "{\"a\":[\"x\",{\"b\":1.5}],\"e\":[],\"o\":{}}");
}

static void equality_ignores_the_order_of_members_only(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        { "{\"a\":1,\"b\":[2]}", "{\"b\":[2],\"a\":1}", true },
        { "{\"a\":1}", "{\"a\":1,\"b\":1}", false },
        { "{\"a\":1,\"b\":1}", "{\"a\":1,\"c\":1}", false },
        { "[1,2]", "[2,1]", false },
        { "1", "1.0", true },
        { "1", "\"1\"", false },
        { "null", "false", false },
        { "\"a\"", "\"a\\u0000\"", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        assert_int_equal(json_equal(parse(a, cases[i].a), parse(a, cases[i].b)), cases[i].equal);
    }
    assert_true(json_equal(NULL, NULL));
}

static void large_objects_in_another_order_are_equal(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *up = json_new(a, JSON_OBJECT), *down = json_new(a, JSON_OBJECT);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        json_set(a, up, name, json_int_value(i));
        snprintf(name, sizeof(name), "k%d", 99 - i);
        json_set(a, down, name, json_int_value(99 - i));
    }
    assert_true(json_equal(up, down));
    json_put_int(a, down, "k50", 0);
    assert_false(json_equal(up, down));
}

/* y_ must parse, n_ must not, i_ may do either but must not harm. */
static void public_parser_cases_are_judged_right(void **state)
{
    (void)state;
    DIR *dir = opendir(CASES_DIR);
    if (!dir) {
        print_message("skipped: no " CASES_DIR "\n");
        skip();
    }
    for (struct dirent *d; (d = readdir(dir));) {
        if (!str_has_suffix(d->d_name, ".json"))
            continue;
        scoped(str) char *path = xasprintf(CASES_DIR "/%s", d->d_name);
        scoped(file) FILE *f = fopen(path, "rb");
        assert_non_null(f);
        scoped(buffer) struct buffer text = { 0 };
        char room[4096];
        for (size_t n; (n = fread(room, 1, sizeof(room), f));)
            buffer_add(&text, room, n);
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        bool parsed = json_parse(buffer_bytes(&text), a, NULL, &err) != NULL;
        if (parsed != (d->d_name[0] == 'y') && d->d_name[0] != 'i')
            fail_msg("%s: %s", d->d_name, parsed ? "was accepted" : err.message);
        if (!parsed)
            assert_true(err.message[0]);
    }
    closedir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_printed_as_go_prints_it),
        cmocka_unit_test(bytes_that_are_not_utf8_are_printed_as_the_replacement_character),
        cmocka_unit_test(pretty_text_is_indented_by_two),
        cmocka_unit_test(bad_text_is_refused_in_upstreams_words),
        cmocka_unit_test(nesting_ends_at_the_limit),
        cmocka_unit_test(of_a_repeated_name_the_last_value_wins_and_its_path_is_told),
        cmocka_unit_test(many_members_and_many_repeats_are_found),
        cmocka_unit_test(paths_lead_to_values_and_absence_is_no_ladder),
        cmocka_unit_test(trees_grow_and_shrink),
        cmocka_unit_test(appending_is_cheap),
        cmocka_unit_test(a_clone_shares_nothing),
        cmocka_unit_test(equality_ignores_the_order_of_members_only),
        cmocka_unit_test(large_objects_in_another_order_are_equal),
        cmocka_unit_test(public_parser_cases_are_judged_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
