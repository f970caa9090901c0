/* SPDX-License-Identifier: Apache-2.0 */
/* patch_strategic_test.c - strategic merge as kubectl apply, edit and set use it. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/patch.h"
#include "api/resource.h"

struct patch_case {
    const char *doc, *patch, *expected;
};

static void check(enum resource_id id, const struct patch_case *c)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json *doc = json_parse(bytes_of(c->doc), a, NULL, &err);
    struct json *patch = json_parse(bytes_of(c->patch), a, NULL, &err);
    assert_non_null(doc);
    assert_non_null(patch);
    struct json *before = json_clone(doc, a), *patch_before = json_clone(patch, a);
    struct json *out = patch_strategic(resources[id].type, doc, patch, a, &err);
    if (!out)
        fail_msg("%s: %s", c->patch, err.message);
    scoped(buffer) struct buffer text = { 0 };
    json_print(out, &text);
    assert_string_equal(text.data, c->expected);
    assert_true(json_equal(doc, before)); /* inputs are not changed */
    assert_true(json_equal(patch, patch_before));
}

static void check_error(const char *doc_text, const char *patch_text, enum error_code code,
                        const char *message)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json *doc = json_parse(bytes_of(doc_text), a, NULL, &err);
    struct json *patch = json_parse(bytes_of(patch_text), a, NULL, &err);
    assert_null(patch_strategic(resources[RESOURCE_PODS].type, doc, patch, a, &err));
    assert_int_equal(err.code, code);
    assert_string_equal(err.message, message);
}

static void check_pods(const struct patch_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(RESOURCE_PODS, &cases[i]);
}
#define CHECK_PODS(cases) check_pods(cases, sizeof(cases) / sizeof((cases)[0]))

static void maps_are_merged_and_null_removes(void **state)
{
    (void)state;
    static const struct patch_case cases[] = {
        { "{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}",
          "{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"3\"}}}",
          "{\"metadata\":{\"labels\":{\"b\":\"2\",\"c\":\"3\"}}}" },
        { "{\"metadata\":{}}", "{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"3\"}}}",
          "{\"metadata\":{\"labels\":{\"c\":\"3\"}}}" },
        { "{\"spec\":{\"nodeName\":\"a\"}}", "{\"spec\":{\"nodeName\":\"b\"}}",
          "{\"spec\":{\"nodeName\":\"b\"}}" },
        { "{\"spec\":{\"securityContext\":{\"runAsUser\":1}}}",
          "{\"spec\":{\"securityContext\":{\"$patch\":\"replace\",\"runAsGroup\":2}}}",
          "{\"spec\":{\"securityContext\":{\"runAsGroup\":2}}}" },
        { "{\"spec\":{\"securityContext\":{\"runAsUser\":1}}}",
          "{\"spec\":{\"securityContext\":{\"$patch\":\"delete\"}}}",
          "{\"spec\":{\"securityContext\":{}}}" },
    };
    CHECK_PODS(cases);
}

static void lists_are_merged_by_their_key_and_follow_the_patchs_order(void **state)
{
    (void)state;
    static const struct patch_case cases[] = {
        { "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"x\"},{\"name\":\"b\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"y\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"y\"},{\"name\":\"b\"}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\",\"x\":1},{\"name\":\"b\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\"},{\"name\":\"a\",\"y\":2}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\"},{\"name\":\"a\",\"x\":1,\"y\":2},"
          "{\"name\":\"b\"}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"b\"}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\"},{\"$patch\":\"replace\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,"
          "\"name\":\"w\"}]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,"
          "\"name\":\"v\"},{\"containerPort\":81}]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,"
          "\"name\":\"v\"},{\"containerPort\":81}]}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\",\"command\":[\"x\",\"y\"]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"command\":[\"z\"]}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"command\":[\"z\"]}]}}" },
        { "{\"spec\":{}}",
          "{\"spec\":{\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"},{\"name\":\"b\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"b\"}]}}" },
    };
    CHECK_PODS(cases);
}

static void lists_of_scalars_are_united_and_items_can_be_taken_out(void **state)
{
    (void)state;
    static const struct patch_case cases[] = {
        { "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
          "{\"metadata\":{\"finalizers\":[\"c\",\"b\"]}}",
          "{\"metadata\":{\"finalizers\":[\"c\",\"a\",\"b\"]}}" },
        { "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
          "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}}",
          "{\"metadata\":{\"finalizers\":[\"b\"]}}" },
        { "{\"metadata\":{\"finalizers\":[\"a\",\"b\",\"c\"]}}",
          "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"b\"],"
          "\"$setElementOrder/finalizers\":[\"c\",\"a\"]}}",
          "{\"metadata\":{\"finalizers\":[\"c\",\"a\"]}}" },
    };
    CHECK_PODS(cases);
}

static void the_order_asked_for_is_kept_and_unnamed_items_keep_their_places(void **state)
{
    (void)state;
    static const struct patch_case cases[] = {
        { "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}]}}",
          "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"c\"},{\"name\":\"a\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"a\"}]}}" },
        { "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"x\"}]}}",
          "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"n\"},{\"name\":\"a\"}],"
          "\"containers\":[{\"name\":\"n\",\"image\":\"new\"}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"n\",\"image\":\"new\"},{\"name\":\"a\","
          "\"image\":\"x\"}]}}" },
        { "{\"spec\":{}}",
          "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"n\"}],"
          "\"containers\":[{\"name\":\"n\",\"image\":null}]}}",
          "{\"spec\":{\"containers\":[{\"name\":\"n\"}]}}" },
    };
    CHECK_PODS(cases);
}

static void retain_keys_drops_what_the_new_choice_excludes(void **state)
{
    (void)state;
    static const struct patch_case deployment = {
        "{\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":1}}}}",
        "{\"spec\":{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"Recreate\"}}}",
        "{\"spec\":{\"strategy\":{\"type\":\"Recreate\"}}}",
    };
    check(RESOURCE_DEPLOYMENTS, &deployment);
    static const struct patch_case cases[] = {
        { "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}}",
          "{\"spec\":{\"volumes\":[{\"$retainKeys\":[\"name\",\"hostPath\"],\"name\":\"v\","
          "\"hostPath\":{\"path\":\"/x\"}}]}}",
          "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/x\"}}]}}" },
    };
    CHECK_PODS(cases);
}

static void a_patch_that_makes_no_sense_is_refused_in_upstreams_words(void **state)
{
    (void)state;
    check_error("{}", "[]", ERR_BAD_REQUEST,
                "json: cannot unmarshal array into Go value of type "
                "map[string]interface {}");
    check_error("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}",
                "{\"spec\":{\"containers\":[{\"image\":\"x\"}]}}", ERR_INTERNAL,
                "map: map[image:x] does not contain declared merge key: name");
    check_error("{\"spec\":{}}", "{\"spec\":{\"$patch\":\"x\"}}", ERR_INTERNAL,
                "unknown patch type: x in map: map[$patch:x]");
    check_error("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}",
                "{\"spec\":{\"containers\":[[1]]}}", ERR_INVALID,
                "lists of lists are not supported");
    check_error("{\"spec\":{}}", "{\"spec\":{\"$retainKeys\":[\"a\"],\"b\":1}}", ERR_BAD_REQUEST,
                "invalid patch format of retainKeys");
    check_error("{\"spec\":{}}",
                "{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"a\"}],"
                "\"containers\":[{\"name\":\"b\"}]}}",
                ERR_INTERNAL,
                "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n"
                "[map[name:a]]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_merged_and_null_removes),
        cmocka_unit_test(lists_are_merged_by_their_key_and_follow_the_patchs_order),
        cmocka_unit_test(lists_of_scalars_are_united_and_items_can_be_taken_out),
        cmocka_unit_test(the_order_asked_for_is_kept_and_unnamed_items_keep_their_places),
        cmocka_unit_test(retain_keys_drops_what_the_new_choice_excludes),
        cmocka_unit_test(a_patch_that_makes_no_sense_is_refused_in_upstreams_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
