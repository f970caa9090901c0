/* SPDX-License-Identifier: Apache-2.0 */
/* selector_test.c - label and field selectors. */
#include "api/selector.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct json *parse(struct arena *a, const char *text)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    assert_non_null(v);
    return v;
}

static void text_has_a_canonical_form(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { "a=b", "a=b" },
        { " a = b , c ", "a=b,c" },
        { "z=1,a==2", "a==2,z=1" },
        { "a!=b", "a!=b" },
        { "a in (z, x,y,x)", "a in (x,y,z)" },
        { "a notin (x)", "a notin (x)" },
        { "a in ()", "a in ()" },
        { "a in (,x)", "a in (,x)" },
        { "a in (x,,)", "a in (,x)" },
        { "!a", "!a" },
        { "a,!b", "a,!b" },
        { "a=", "a=" },
        { "a>1,b<2", "a>1,b<2" },
        { "in in (in)", "in in (in)" },
        { "example.com/a=b", "example.com/a=b" },
        { "a!=b,a=c", "a!=b,a=c" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        const struct selector *s = selector_parse(cases[i][0], a, &err);
        if (!s)
            fail_msg("%s: %s", cases[i][0], err.message);
        scoped(buffer) struct buffer text = { 0 };
        selector_print(s, &text);
        assert_string_equal(text.data ? text.data : "", cases[i][1]);
    }
}

static void bad_text_is_refused_in_upstreams_words(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "a=b,", "found '', expected: identifier after ','" },
        { ",a", "found ',', expected: !, identifier, or 'end of string'" },
        { "a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt" },
        { "a=b c", "found 'c', expected: ',' or 'end of string'" },
        { "a==,=b", "found '=', expected: identifier after ','" },
        { "!", "unable to parse requirement: found '', expected: identifier" },
        { "a in x", "unable to parse requirement: found 'x' expected: '('" },
        { "a in (x", "unable to parse requirement: found '', expected: ',' or ')'" },
        { "a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier" },
        { "a=(", "unable to parse requirement: found '(', expected: identifier" },
        { "a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' "
                 "operators, the value must be an integer" },
        { "a=-b", "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label "
                  "must be an "
                  "empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
                  "start and end "
                  "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
                  "regex used for "
                  "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')" },
        { "-a=b",
          "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of "
          "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
          "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
          "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_null(selector_parse(cases[i][0], a, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i][1]);
    }
}

static void labels_match(void **state)
{
    (void)state;
    static const struct {
        const char *selector, *labels;
        bool matches;
    } cases[] = {
        { "", "{}", true },
        { "a=b", "{\"a\":\"b\"}", true },
        { "a=b", "{\"a\":\"c\"}", false },
        { "a=b", "{}", false },
        { "a!=b", "{}", true },
        { "a!=b", "{\"a\":\"b\"}", false },
        { "a", "{\"a\":\"\"}", true },
        { "!a", "{\"a\":\"\"}", false },
        { "!a", "{}", true },
        { "a in (x,y)", "{\"a\":\"y\"}", true },
        { "a notin (x,y)", "{\"a\":\"y\"}", false },
        { "a notin (x,y)", "{}", true },
        { "a>5", "{\"a\":\"6\"}", true },
        { "a>5", "{\"a\":\"5\"}", false },
        { "a<5", "{\"a\":\"x\"}", false },
        { "a<5", "{}", false },
        { "a=b,c=d", "{\"a\":\"b\",\"c\":\"d\"}", true },
        { "a=b,c=d", "{\"a\":\"b\"}", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        const struct selector *s = selector_parse(cases[i].selector, a, &err);
        assert_non_null(s);
        if (selector_matches(s, parse(a, cases[i].labels)) != cases[i].matches)
            fail_msg("%s and %s", cases[i].selector, cases[i].labels);
    }
}

static void selector_objects_are_read(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json *doc =
        parse(a, "{\"matchLabels\":{\"z\":\"1\",\"app\":\"web\"},\"matchExpressions\":["
                 "{\"key\":\"tier\",\"operator\":\"In\",\"values\":[\"b\",\"a\"]},"
                 "{\"key\":\"old\",\"operator\":\"DoesNotExist\"}]}");
    const struct selector *s = selector_from_json(doc, a, &err);
    assert_non_null(s);
    scoped(buffer) struct buffer text = { 0 };
    selector_print(s, &text);
    assert_string_equal(text.data, "app=web,!old,tier in (a,b),z=1");
    assert_true(selector_matches(s, parse(a, "{\"z\":\"1\",\"app\":\"web\",\"tier\":\"a\"}")));
    assert_false(selector_is_empty(s));

    const struct selector *nothing = selector_from_json(NULL, a, &err);
    assert_false(selector_matches(nothing, NULL));
    assert_false(selector_is_empty(nothing));
    const struct selector *everything = selector_from_json(parse(a, "{}"), a, &err);
    assert_true(selector_matches(everything, NULL));
    assert_true(selector_is_empty(everything));
    assert_true(selector_matches(selector_from_map(parse(a, "{\"a\":\"b\"}"), a),
                                 parse(a, "{\"a\":\"b\",\"c\":\"d\"}")));
    assert_null(selector_from_json(
        parse(a, "{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Near\"}]}"), a, &err));
    assert_string_equal(err.message, "\"Near\" is not a valid label selector operator");
}

static bool field_matches(const char *selector, const char *object)
{
    struct error err = { 0 };
    scoped(object) struct object *o = object_parse(NULL, bytes_of(object), 0, &err);
    assert_non_null(o);
    scoped(arena) struct arena *a = arena_new();
    const struct field_selector *f = field_selector_parse(o->resource, selector, a, &err);
    if (!f)
        fail_msg("%s: %s", selector, err.message);
    return field_selector_matches(f, o);
}

static void fields_match(void **state)
{
    (void)state;
    static const char pod[] =
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\","
        "\"namespace\":\"n\"},\"spec\":{\"nodeName\":\"x,y\"},\"status\":{"
        "\"phase\":\"Running\"}}";
    assert_true(field_matches("", pod));
    assert_true(field_matches("metadata.name=a,metadata.namespace==n", pod));
    assert_false(field_matches("metadata.name!=a", pod));
    assert_true(field_matches("spec.nodeName=x\\,y", pod));
    assert_true(field_matches("spec.host=x\\,y,status.phase!=Failed", pod));
    assert_true(field_matches("spec.hostNetwork=false", pod));
    assert_true(field_matches("status.nominatedNodeName=", pod));
    assert_true(
        field_matches("spec.unschedulable=false,metadata.name=n",
                      "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\"}}"));
    assert_true(field_matches(
        "involvedObject.name=w,source=kubelet",
        "{\"kind\":\"Event\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\"},"
        "\"involvedObject\":{\"name\":\"w\"},\"source\":{\"component\":\"kubelet\"}}"));
}

static void unknown_fields_and_bad_terms_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum resource_id id;
        const char *text, *message;
    } cases[] = {
        { RESOURCE_PODS, "spec.x=1", "field label not supported: spec.x" },
        { RESOURCE_CONFIGMAPS, "data=1",
          "\"data\" is not a known field selector: only \"metadata.name\", "
          "\"metadata.namespace\"" },
        { RESOURCE_PODS, "metadata.name",
          "invalid selector: 'metadata.name'; can't understand 'metadata.name'" },
        { RESOURCE_PODS, "metadata.name=a=b",
          "invalid field selector: unescaped character in value: =" },
        { RESOURCE_PODS, "metadata.name=a\\x",
          "invalid field selector: invalid escape sequence: \\x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_null(field_selector_parse(&resources[cases[i].id], cases[i].text, a, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_required_value_can_be_asked_for(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct field_selector *f = field_selector_parse(
        &resources[RESOURCE_PODS], "spec.nodeName=n1,metadata.name!=x", a, &err);
    assert_string_equal(field_selector_requires(f, "spec.nodeName"), "n1");
    assert_null(field_selector_requires(f, "metadata.name"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_a_canonical_form),
        cmocka_unit_test(bad_text_is_refused_in_upstreams_words),
        cmocka_unit_test(labels_match),
        cmocka_unit_test(selector_objects_are_read),
        cmocka_unit_test(fields_match),
        cmocka_unit_test(unknown_fields_and_bad_terms_are_refused),
        cmocka_unit_test(a_required_value_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
