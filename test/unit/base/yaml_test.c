/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_test.c - YAML documents as JSON trees. */
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>

#define CASES_DIR "/work/shared/testdata/roundtrip"

static void assert_reads(const char *yaml, const char *json)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes text = bytes_of(yaml);
    struct json *v = NULL;
    if (yaml_next(&text, a, &v, &err) != 1)
        fail_msg("%s: %s", yaml, err.message);
    scoped(buffer) struct buffer out = { 0 };
    if (v)
        json_print(v, &out);
    assert_string_equal(v ? out.data : "nothing", json);
}

static void scalars_are_read_as_kubernetes_reads_them(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "a: yes", "{\"a\":true}" },
        { "a: Off", "{\"a\":false}" },
        { "a: \"yes\"", "{\"a\":\"yes\"}" },
        { "a: 'no'", "{\"a\":\"no\"}" },
        { "a: ~", "{\"a\":null}" },
        { "a:", "{\"a\":null}" },
        { "a: 12", "{\"a\":12}" },
        { "a: -1_000", "{\"a\":-1000}" },
        { "a: 0x1F", "{\"a\":31}" },
        { "a: 0644", "{\"a\":420}" },
        { "a: 0o17", "{\"a\":15}" },
        { "a: 0b11", "{\"a\":3}" },
        { "a: 08", "{\"a\":8}" },
        { "a: 1.5", "{\"a\":1.5}" },
        { "a: 1.0", "{\"a\":1}" },
        { "a: 1e3", "{\"a\":1000}" },
        { "a: 0", "{\"a\":0}" },
        { "a: 1E999", "{\"a\":\"1E999\"}" },
        { "a: .5", "{\"a\":0.5}" },
        { "a:\n-", "{\"a\":[null]}" },
        { "a: 1.2.3", "{\"a\":\"1.2.3\"}" },
        { "a: 10.0.0.1", "{\"a\":\"10.0.0.1\"}" },
        { "a: 100m", "{\"a\":\"100m\"}" },
        { "a: 12:30", "{\"a\":\"12:30\"}" },
        { "a: 2026-11-20", "{\"a\":\"2026-11-20\"}" },
        { "a: 2026-11-20T20:00:00Z", "{\"a\":\"2026-11-20T20:00:00Z\"}" },
        { "a: 9223372036854775807", "{\"a\":9223372036854775807}" },
        { "a: !!str 12", "{\"a\":\"12\"}" },
        { "1: a\ntrue: b\n1.5: c", "{\"1\":\"a\",\"true\":\"b\",\"1.5\":\"c\"}" },
        { "a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}" },
        { "a: >-\n  x\n  y\n", "{\"a\":\"x y\"}" },
        { "a: {b: [1, x]}", "{\"a\":{\"b\":[1,\"x\"]}}" },
        { "{\"a\": [1, true, null]}", "{\"a\":[1,true,null]}" },
        { "a: &x {b: 1}\nc: *x\nd: [*x, *x]",
          "{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},{\"b\":1}]}" },
        { "# nothing", "nothing" },
        { "---", "nothing" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_reads(cases[i][0], cases[i][1]);
}

static void bad_text_is_an_error_with_its_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "a: 1\na: 2", "yaml: line 2: key \"a\" already set in map" },
        { "a: [1", "yaml: line 2, column 1: did not find expected ',' or ']'" },
        { "a: b: c", "yaml: line 1, column 5: mapping values are not allowed in this context" },
        { "a: *x", "yaml: unknown anchor 'x' referenced" },
        { "a: &x [*x]", "yaml: unknown anchor 'x' referenced" },
        { "? [a]\n: b", "yaml: line 1, column 3: a key must be text, a number or a boolean" },
        { "a: \"\xff\"", NULL },
        { "a: !!binary aGk=", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        struct bytes text = bytes_of(cases[i][0]);
        struct json *v;
        assert_int_equal(yaml_next(&text, a, &v, &err), -1);
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        if (cases[i][1])
            assert_string_equal(err.message, cases[i][1]);
    }
}

static void documents_come_one_by_one(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes text =
        BYTES("# comment\n---\na: 1\nb: |\n  x\n   ---\n--- {a: 2}\n---\n---\r\na: 3\n");
    static const int64_t wanted[] = { 0, 1, 2, 0, 3 };
    struct json *v;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_int_equal(yaml_next(&text, a, &v, &err), 1);
        assert_int_equal(json_int(v, "a", 0), wanted[i]);
    }
    assert_int_equal(yaml_next(&text, a, &v, &err), 0);
}

static void aliases_cannot_fill_memory(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    buffer_add_str(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        buffer_printf(&text, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++)
            buffer_printf(&text, "%s*a%d", j ? "," : "", i - 1);
        buffer_add_str(&text, "]\n");
    }
    struct error err = { 0 };
    struct bytes rest = buffer_bytes(&text);
    struct json *v;
    assert_int_equal(yaml_next(&rest, a, &v, &err), -1);
    assert_non_null(strstr(err.message, "excessive aliasing"));
}

static void what_is_printed_reads_back(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json *v = json_parse(
        BYTES("{\"a\":\"yes\",\"b\":\"12\",\"c\":[1,{\"d\":null,\"e\":[]}],\"f\":\"x\\ny\\n\","
              "\"g\":{},"
              "\"h\":\"\",\"i\":\" x\",\"j\":true,\"k\":1.5,\"true\":\"a: b\",\"l\":\"\\u0001\"}"),
        a, NULL, &err);
    scoped(buffer) struct buffer text = { 0 };
    yaml_print(v, &text);
    struct bytes rest = buffer_bytes(&text);
    struct json *again;
    assert_int_equal(yaml_next(&rest, a, &again, &err), 1);
    assert_true(json_equal(v, again));
    assert_true(
        str_has_prefix(text.data, "a: \"yes\"\nb: \"12\"\nc:\n- 1\n- d: null\n  e: []\nf: |\n"));
}

static struct json *read_file(struct arena *a, const char *path, bool is_yaml)
{
    scoped(file) FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    scoped(buffer) struct buffer text = { 0 };
    char room[4096];
    for (size_t n; (n = fread(room, 1, sizeof(room), f));)
        buffer_add(&text, room, n);
    struct error err = { 0 };
    struct bytes rest = buffer_bytes(&text);
    struct json *v = NULL;
    if (is_yaml)
        assert_int_equal(yaml_next(&rest, a, &v, &err), 1);
    else
        v = json_parse(rest, a, NULL, &err);
    assert_non_null(v);
    return v;
}

static void upstream_objects_are_the_same_in_both_forms(void **state)
{
    (void)state;
    DIR *dir = opendir(CASES_DIR);
    if (!dir) {
        print_message("skipped: no " CASES_DIR "\n");
        skip();
    }
    for (struct dirent *d; (d = readdir(dir));) {
        if (!str_has_suffix(d->d_name, ".yaml"))
            continue;
        scoped(arena) struct arena *a = arena_new();
        scoped(str) char *yaml = xasprintf(CASES_DIR "/%s", d->d_name);
        scoped(str) char *json =
            xasprintf(CASES_DIR "/%.*s.json", (int)strlen(d->d_name) - 5, d->d_name);
        struct json *from_json = read_file(a, json, false);
        if (!json_equal(read_file(a, yaml, true), from_json))
            fail_msg("%s: differs from JSON", d->d_name);
    }
    closedir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_read_as_kubernetes_reads_them),
        cmocka_unit_test(bad_text_is_an_error_with_its_line),
        cmocka_unit_test(documents_come_one_by_one),
        cmocka_unit_test(aliases_cannot_fill_memory),
        cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(upstream_objects_are_the_same_in_both_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
