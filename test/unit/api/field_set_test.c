/* SPDX-License-Identifier: Apache-2.0 */
/* field_set_test.c - the algebra of sets of fields, their order, reading and printing. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/field_set.h"

static const struct json *tree(const char *text, struct arena *a)
{
    struct error err = { 0 };
    const struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static const struct json *set(const char *text, struct arena *a)
{
    struct error err = { 0 };
    const struct json *s;
    if (field_set_read(tree(text, a), a, &s, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return s;
}

static void assert_set(const struct json *s, const char *expected)
{
    scoped(buffer) struct buffer text = { 0 };
    if (s)
        json_print(s, &text);
    assert_string_equal(s ? text.data : "", expected);
}

static void the_empty_set_is_null(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    assert_null(set("{}", a));
    assert_null(set("{\".\":{}}", a)); /* nobody owns an object as a whole */
    const struct json *one = set("{\"f:a\":{}}", a);
    assert_ptr_equal(field_set_union(NULL, one, a), one);
    assert_null(field_set_intersection(one, NULL, a));
    assert_null(field_set_difference(one, one, a));
    assert_null(field_set_without(NULL, one, a));
}

static void sets_are_joined_met_and_subtracted_path_by_path(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *both, *common, *rest;
    } cases[] = {
        { "{\"f:a\":{}}", "{\"f:b\":{}}", "{\"f:a\":{},\"f:b\":{}}", "", "{\"f:a\":{}}" },
        { "{\"f:a\":{\"f:x\":{},\"f:y\":{}}}", "{\"f:a\":{\"f:y\":{}}}",
          "{\"f:a\":{\"f:x\":{},\"f:y\":{}}}", "{\"f:a\":{\"f:y\":{}}}", "{\"f:a\":{\"f:x\":{}}}" },
        /* A parent less its child is the parent, and the reverse. */
        { "{\"f:a\":{}}", "{\"f:a\":{\"f:x\":{}}}", "{\"f:a\":{\".\":{},\"f:x\":{}}}", "",
          "{\"f:a\":{}}" },
        { "{\"f:a\":{\".\":{},\"f:x\":{}}}", "{\"f:a\":{}}", "{\"f:a\":{\".\":{},\"f:x\":{}}}",
          "{\"f:a\":{}}", "{\"f:a\":{\"f:x\":{}}}" },
        { "{\"f:a\":{\".\":{},\"f:x\":{}}}", "{\"f:a\":{\"f:x\":{}}}",
          "{\"f:a\":{\".\":{},\"f:x\":{}}}", "{\"f:a\":{\"f:x\":{}}}", "{\"f:a\":{}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *arena = arena_new();
        const struct json *a = set(cases[i].a, arena), *b = set(cases[i].b, arena);
        assert_set(field_set_union(a, b, arena), cases[i].both);
        assert_set(field_set_intersection(a, b, arena), cases[i].common);
        assert_set(field_set_difference(a, b, arena), cases[i].rest);
    }
}

static void without_takes_what_lies_below_too(void **state)
{
    (void)state;
    static const char *const paths[] = { "status", "metadata.name", NULL };
    scoped(arena) struct arena *a = arena_new();
    const struct json *s = set("{\"f:metadata\":{\"f:labels\":{\"f:a\":{}},\"f:name\":{}},"
                               "\"f:status\":{\"f:phase\":{}}}",
                               a);
    const struct json *out = field_set_of_paths(paths, a);
    assert_set(out, "{\"f:metadata\":{\"f:name\":{}},\"f:status\":{}}");
    assert_set(field_set_without(s, out, a), "{\"f:metadata\":{\"f:labels\":{\"f:a\":{}}}}");
}

static void children_are_in_upstreams_order(void **state)
{
    (void)state;
    static const char *const sorted[] = {
        ".",
        "f:a",
        "f:b",
        "k:{\"a\":\"x\"}",
        "k:{\"a\":\"x\",\"b\":1}",
        "k:{\"a\":\"y\"}",
        "k:{\"containerPort\":80,\"protocol\":\"TCP\"}",
        "k:{\"containerPort\":443,\"protocol\":\"TCP\"}",
        "k:{\"containerPort\":443,\"protocol\":\"UDP\"}",
        "v:2",
        "v:10",
        "v:\"a\"",
        "v:\"a\\\"\"",
        "v:\"ab\"",
        "v:false",
        "v:true",
        "i:2",
        "i:10",
    };
    for (size_t i = 0; i < ARRAY_LEN(sorted); i++)
        for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
            int rc = field_child_compare(sorted[i], sorted[k]);
            if ((rc > 0) - (rc < 0) != (i > k) - (i < k))
                fail_msg("%s and %s", sorted[i], sorted[k]);
        }
}

static void what_a_client_writes_becomes_canonical(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    assert_set(set("{\"f:b\":{},\"f:a\":{\"f:x\":{},\".\":{}}}", a),
               "{\"f:a\":{\".\":{},\"f:x\":{}},\"f:b\":{}}");
    assert_set(set("{\"f:a\":{\".\":{}}}", a), "{\"f:a\":{}}");
    assert_set(set("{\"f:a\":{\"k:{ \\\"b\\\": 1, \\\"a\\\": \\\"x\\\" }\":{}}}", a),
               "{\"f:a\":{\"k:{\\\"a\\\":\\\"x\\\",\\\"b\\\":1}\":{}}}");
    /* twice the same, written in two ways */
    assert_set(set("{\"f:a\":{\"v: 1\":{},\"v:1\":{\"f:x\":{}}}}", a),
               "{\"f:a\":{\"v:1\":{\".\":{},\"f:x\":{}}}}");
    /* a kind of child that is yet to come */
    assert_set(set("{\"z:a\":{},\"f:a\":{}}", a), "{\"f:a\":{}}");
}

static void what_is_no_set_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]",
        "{\"f:a\":1}",
        "{\"a\":{}}",
        "{\"\":{}}",
        "{\"k:{}\":{}}",
        "{\"k:1\":{}}",
        "{\"k:{\\\"a\\\":{}}\":{}}",
        "{\"k:{\":{}}",
        "{\"v:[1]\":{}}",
        "{\"v:\":{}}",
        "{\"i:x\":{}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        const struct json *s;
        if (field_set_read(tree(bad[i], a), a, &s, &err) == 0)
            fail_msg("%s", bad[i]);
        assert_int_equal(err.code, ERR_BAD_REQUEST);
    }
}

static void has_asks_for_the_path_itself(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    const struct json *s = set("{\"f:spec\":{\"f:replicas\":{},\"f:x\":{\"f:y\":{}}}}", a);
    assert_true(field_set_has(s, "spec.replicas"));
    assert_true(field_set_has(s, "spec.x.y"));
    assert_false(field_set_has(s, "spec"));
    assert_false(field_set_has(s, "spec.x"));
    assert_false(field_set_has(s, "spec.replica"));
    assert_false(field_set_has(NULL, "spec"));
}

static void collect(const char *path, void *arg)
{
    buffer_printf(arg, "%s\n", path);
}

static void paths_are_told_as_upstream_writes_them(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    const struct json *s = set("{\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":80,\\\"protocol\\\":"
                               "\\\"TCP\\\"}\":{\".\":{},\"f:port\":{}}},\"f:replicas\":{}},"
                               "\"f:metadata\":{\"f:finalizers\":{\"v:\\\"a/b\\\"\":{}}},"
                               "\"f:x\":{\"i:3\":{}}}",
                               a);
    field_set_each(s, collect, &text);
    assert_string_equal(text.data, ".metadata.finalizers[=\"a/b\"]\n"
                                   ".spec.replicas\n"
                                   ".spec.ports[port=80,protocol=\"TCP\"]\n"
                                   ".spec.ports[port=80,protocol=\"TCP\"].port\n"
                                   ".x[3]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_set_is_null),
        cmocka_unit_test(sets_are_joined_met_and_subtracted_path_by_path),
        cmocka_unit_test(without_takes_what_lies_below_too),
        cmocka_unit_test(children_are_in_upstreams_order),
        cmocka_unit_test(what_a_client_writes_becomes_canonical),
        cmocka_unit_test(what_is_no_set_is_refused),
        cmocka_unit_test(has_asks_for_the_path_itself),
        cmocka_unit_test(paths_are_told_as_upstream_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
