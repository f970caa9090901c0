/* SPDX-License-Identifier: Apache-2.0 */
/* field_value_test.c - objects as server-side apply sees them: what differs, what is set, merged,
 * removed, and what does not fit. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/field_value.h"
#include "api/resource.h"

static struct json *tree(const char *text, struct arena *a)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static const char *text_of(const struct json *v, struct arena *a)
{
    scoped(buffer) struct buffer text = { 0 };
    if (v)
        json_print(v, &text);
    return v ? arena_strdup(a, text.data) : "";
}

static const struct schema_type *type_of(enum resource_id id)
{
    return resources[id].type;
}

/* ---- comparing ---- */

static void only_what_differs_is_told(void **state)
{
    (void)state;
    static const struct {
        enum resource_id id;
        const char *old, *new, *changed, *removed;
    } cases[] = {
        { RESOURCE_CONFIGMAPS, "{\"data\":{\"a\":\"1\",\"b\":\"2\"}}",
          "{\"data\":{\"a\":\"1\",\"b\":\"3\",\"c\":\"4\"}}",
          "{\"f:data\":{\"f:b\":{},\"f:c\":{}}}", "" },
        { RESOURCE_CONFIGMAPS, "{\"data\":{\"a\":\"1\"}}", "{}", "",
          "{\"f:data\":{\".\":{},\"f:a\":{}}}" },
        { RESOURCE_CONFIGMAPS, "{}", "{\"data\":{\"a\":\"1\"}}",
          "{\"f:data\":{\".\":{},\"f:a\":{}}}", "" },
        /* an atomic list is one value */
        { RESOURCE_PODS, "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[\"a\"]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[\"a\",\"b\"]}]}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\"f:args\":{}}}}}", "" },
        /* items go by their keys, wherever they are; a key that is not set has its default */
        { RESOURCE_SERVICES, "{\"spec\":{\"ports\":[{\"port\":80,\"name\":\"a\"},{\"port\":443}]}}",
          "{\"spec\":{\"ports\":[{\"port\":53,\"protocol\":\"UDP\"},{\"port\":80,\"protocol\":"
          "\"TCP\",\"name\":\"a\"}]}}",
          "{\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":53,\\\"protocol\\\":\\\"UDP\\\"}\":{\".\":{}"
          ",\"f:port\":{},\"f:protocol\":{}},\"k:{\\\"port\\\":80,\\\"protocol\\\":\\\"TCP\\\"}\":"
          "{\"f:protocol\":{}}}}}",
          "{\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":443,\\\"protocol\\\":\\\"TCP\\\"}\":{\".\":"
          "{},\"f:port\":{}}}}}" },
        /* a set of values; null and absent are not the same parent */
        { RESOURCE_PODS, "{\"metadata\":{\"finalizers\":[\"a/b\",\"c/d\"]}}",
          "{\"metadata\":{\"finalizers\":[\"c/d\",\"e/f\"]}}",
          "{\"f:metadata\":{\"f:finalizers\":{\"v:\\\"e/f\\\"\":{}}}}",
          "{\"f:metadata\":{\"f:finalizers\":{\"v:\\\"a/b\\\"\":{}}}}" },
        { RESOURCE_PODS, "{\"spec\":{\"containers\":null}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},\"f:name\":{}}}}"
          "}",
          "" },
        /* an atomic struct, and a field that is not there in spite of its type */
        { RESOURCE_DEPLOYMENTS, "{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"1\"}}}}",
          "{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"2\"}}}}",
          "{\"f:spec\":{\"f:selector\":{}}}", "" },
        { RESOURCE_PODS, "{\"spec\":{\"securityContext\":{}}}", "{\"spec\":{}}", "",
          "{\"f:spec\":{\"f:securityContext\":{}}}" },
        /* what occurs twice is one value */
        { RESOURCE_PODS,
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"value\":\"1\"}]}]}"
          "}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"value\":\"1\"},"
          "{\"name\":\"A\",\"value\":\"2\"}]}]}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\"f:env\":{\"k:{\\\"name"
          "\\\":\\\"A\\\"}\":{}}}}}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\"f:env\":{\"k:{\\\"name"
          "\\\":\\\"A\\\"}\":{\".\":{},\"f:name\":{},\"f:value\":{}}}}}}}" },
        { RESOURCE_PODS, "{\"spec\":{\"nodeName\":\"a\"}}", "{\"spec\":{\"nodeName\":\"a\"}}", "",
          "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct field_changes c;
        field_compare(type_of(cases[i].id), tree(cases[i].old, a), tree(cases[i].new, a), a, &c);
        assert_string_equal(text_of(c.changed, a), cases[i].changed);
        assert_string_equal(text_of(c.removed, a), cases[i].removed);
    }
}

static void large_maps_and_lists_are_compared_too(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *old = tree("{\"data\":{}}", a), *new = tree("{\"data\":{}}", a);
    for (int i = 0; i < 1000; i++) {
        json_put_str(a, json_find(old, "data"), arena_printf(a, "k%d", i), "x");
        json_put_str(a, json_find(new, "data"), arena_printf(a, "k%d", 999 - i), "x");
    }
    json_put_str(a, json_find(new, "data"), "k500", "y");
    struct field_changes c;
    field_compare(type_of(RESOURCE_CONFIGMAPS), old, new, a, &c);
    assert_string_equal(text_of(c.changed, a), "{\"f:data\":{\"f:k500\":{}}}");
    assert_null(c.removed);
}

/* ---- what a configuration sets ---- */

static void a_configuration_sets_its_leaves(void **state)
{
    (void)state;
    static const struct {
        enum resource_id id;
        const char *config, *set;
    } cases[] = {
        { RESOURCE_CONFIGMAPS, "{\"metadata\":{\"labels\":{\"a\":\"1\"}},\"data\":{}}",
          "{\"f:data\":{},\"f:metadata\":{\"f:labels\":{\"f:a\":{}}}}" },
        { RESOURCE_CONFIGMAPS, "{\"data\":null}", "{\"f:data\":{}}" },
        { RESOURCE_PODS, "{\"spec\":{\"containers\":[]}}", "" },
        { RESOURCE_PODS,
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"args\":[],\"resources\":{}"
          "}],\"securityContext\":{\"runAsUser\":1}}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},\"f:args\":{},"
          "\"f:image\":{},\"f:name\":{},\"f:resources\":{}}},\"f:securityContext\":{\"f:runAsUser\""
          ":{}}}}" },
        { RESOURCE_PODS, "{\"metadata\":{\"finalizers\":[\"b/b\",\"a/a\"]}}",
          "{\"f:metadata\":{\"f:finalizers\":{\"v:\\\"a/a\\\"\":{},\"v:\\\"b/b\\\"\":{}}}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        const struct json *set = field_set_of(type_of(cases[i].id), tree(cases[i].config, a), a);
        assert_string_equal(text_of(set, a), cases[i].set);
    }
}

static void declared_parents_are_members_where_asked(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    const struct json *set = tree("{\"f:metadata\":{\"f:labels\":{\"f:a\":{}}},\"f:spec\":{"
                                  "\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\"f:resources"
                                  "\":{\"f:limits\":{\"f:cpu\":{}}}}}}}",
                                  a);
    set = field_set_with_parents(type_of(RESOURCE_PODS), set, a);
    assert_string_equal(text_of(set, a),
                        "{\"f:metadata\":{\".\":{},\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{"
                        "\".\":{},\"f:containers\":{\".\":{},\"k:{\\\"name\\\":\\\"c\\\"}\":{"
                        "\"f:resources\":{\".\":{},\"f:limits\":{\".\":{},\"f:cpu\":{}}}}}}}");
}

/* ---- merging and removing ---- */

static void a_configuration_is_merged_into_what_is_there(void **state)
{
    (void)state;
    static const struct {
        enum resource_id id;
        const char *live, *config, *merged;
    } cases[] = {
        { RESOURCE_CONFIGMAPS, "{\"data\":{\"a\":\"1\",\"b\":\"2\"}}",
          "{\"data\":{\"b\":\"3\",\"c\":\"4\"}}",
          "{\"data\":{\"a\":\"1\",\"b\":\"3\",\"c\":\"4\"}}" },
        { RESOURCE_PODS, "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[\"a\",\"b\"]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[\"z\"]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[\"z\"]}]}}" },
        /* one's own order, and what is only there stays where it is */
        { RESOURCE_PODS, "{\"metadata\":{\"finalizers\":[\"a\",\"x\",\"b\",\"y\"]}}",
          "{\"metadata\":{\"finalizers\":[\"b\",\"a\",\"c\"]}}",
          "{\"metadata\":{\"finalizers\":[\"x\",\"b\",\"y\",\"a\",\"c\"]}}" },
        { RESOURCE_PODS, "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
          "{\"metadata\":{\"finalizers\":[\"n\",\"a\",\"m\",\"b\"]}}",
          "{\"metadata\":{\"finalizers\":[\"n\",\"a\",\"m\",\"b\"]}}" },
        { RESOURCE_PODS, "{\"metadata\":{\"finalizers\":[\"x\",\"y\"]}}",
          "{\"metadata\":{\"finalizers\":[\"a\"]}}",
          "{\"metadata\":{\"finalizers\":[\"x\",\"y\",\"a\"]}}" },
        { RESOURCE_PODS, "{\"spec\":{\"nodeName\":\"a\"}}", "{\"spec\":{\"nodeName\":null}}",
          "{\"spec\":{\"nodeName\":null}}" },
        { RESOURCE_PODS, "{\"spec\":null}", "{\"spec\":{\"nodeName\":\"a\"}}",
          "{\"spec\":{\"nodeName\":\"a\"}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct json *live = tree(cases[i].live, a), *config = tree(cases[i].config, a);
        const struct json *before = json_clone(live, a);
        const struct json *merged = field_merge(type_of(cases[i].id), live, config, a);
        assert_string_equal(text_of(merged, a), cases[i].merged);
        assert_true(json_equal(live, before));
    }
}

static void fields_are_removed_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *set, *left;
    } cases[] = {
        { "{\"spec\":{\"nodeName\":\"a\",\"hostname\":\"b\"}}", "{\"f:spec\":{\"f:nodeName\":{}}}",
          "{\"spec\":{\"hostname\":\"b\"}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\",\"image\":\"i\"}]}}",
          "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"a\\\"}\":{\".\":{},\"f:name\":{}},"
          "\"k:{\\\"name\\\":\\\"b\\\"}\":{\"f:image\":{}}}}}",
          "{\"spec\":{\"containers\":[{\"name\":\"b\"}]}}" },
        { "{\"metadata\":{\"finalizers\":[\"a\",\"b\"],\"labels\":{\"x\":\"1\"}}}",
          "{\"f:metadata\":{\"f:finalizers\":{\"v:\\\"a\\\"\":{}},\"f:labels\":{\"f:x\":{}}}}",
          "{\"metadata\":{\"finalizers\":[\"b\"],\"labels\":null}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        const struct json *left =
            field_remove(type_of(RESOURCE_PODS), tree(cases[i].doc, a), tree(cases[i].set, a), a);
        assert_string_equal(text_of(left, a), cases[i].left);
    }
}

/* ---- what does not fit ---- */

static void a_configuration_that_does_not_fit_is_refused_in_upstreams_words(void **state)
{
    (void)state;
    static const struct {
        const char *config, *message;
    } cases[] = {
        { "{\"spec\":{\"nope\":1}}", ".spec.nope: field not declared in schema" },
        { "{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"value\":true}]}]}"
          "}",
          ".spec.containers[name=\"c\"].env[name=\"A\"].value: expected string, got "
          "&value.valueUnstructured{Value:true}" },
        { "{\"spec\":{\"containers\":\"c\"}}", ".spec.containers: expected list, got &{c}" },
        { "{\"metadata\":{\"labels\":[\"a\"]}}", ".metadata.labels: expected map, got &{[a]}" },
        { "{\"spec\":{\"hostNetwork\":\"yes\"}}",
          ".spec.hostNetwork: expected boolean, got &{yes}" },
        { "{\"spec\":{\"terminationGracePeriodSeconds\":\"1\"}}",
          ".spec.terminationGracePeriodSeconds: expected numeric (int or float), got string" },
        { "{\"spec\":{\"containers\":[{\"name\":\"c\"},{\"name\":\"c\"}]}}",
          ".spec.containers: duplicate entries for key [name=\"c\"]" },
        { "{\"spec\":{\"containers\":[{\"image\":\"c\"}]}}",
          ".spec.containers: element 0: associative list with keys has an element that omits all "
          "key fields [\"name\"] (and doesn't have default values for any key fields)" },
        { "{\"spec\":{\"containers\":[null]}}",
          ".spec.containers: element 0: associative list with keys may not have a null element" },
        { "{\"spec\":{\"containers\":[{\"name\":\"c\",\"args\":[1]}]}}",
          ".spec.containers[name=\"c\"].args[0]: expected string, got "
          "&value.valueUnstructured{Value:1}" },
        { "{\"spec\":{\"a\":1,\"b\":2}}", "errors:\n  .spec.a: field not declared in schema\n"
                                          "  .spec.b: field not declared in schema" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_int_equal(field_validate(type_of(RESOURCE_PODS), tree(cases[i].config, a), &err),
                         -1);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void what_fits_is_let_through(void **state)
{
    (void)state;
    static const char *const configs[] = {
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"}}",
        "{\"spec\":{\"nodeName\":null,\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{"
        "\"cpu\":1,\"memory\":\"1Gi\"}},\"livenessProbe\":{\"httpGet\":{\"port\":\"http\"}}}]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        if (field_validate(type_of(RESOURCE_PODS), tree(configs[i], a), &err) < 0)
            fail_msg("%s", err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_differs_is_told),
        cmocka_unit_test(large_maps_and_lists_are_compared_too),
        cmocka_unit_test(a_configuration_sets_its_leaves),
        cmocka_unit_test(declared_parents_are_members_where_asked),
        cmocka_unit_test(a_configuration_is_merged_into_what_is_there),
        cmocka_unit_test(fields_are_removed_and_nothing_else),
        cmocka_unit_test(a_configuration_that_does_not_fit_is_refused_in_upstreams_words),
        cmocka_unit_test(what_fits_is_let_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
