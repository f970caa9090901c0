/* SPDX-License-Identifier: Apache-2.0 */
/* status_test.c - failures in upstream's words. */
#include "api/status.h"

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

static void assert_status(const struct error *err, const struct status_details *d,
                          const char *wanted)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    json_print(status_from_error(err, d, a), &text);
    assert_string_equal(text.data, wanted);
}

static void one_field_error_reads_as_upstream_says_it(void **state)
{
    (void)state;
    static const struct {
        enum field_error_type type;
        const char *value, *detail, *message;
    } cases[] = {
        { FIELD_INVALID, "-1", "must be greater than or equal to 0",
          "Invalid value: -1: must be greater than or equal to 0" },
        { FIELD_INVALID, "\"a\\\"<b\\n\"", "no", "Invalid value: \"a\\\"<b\\n\": no" },
        { FIELD_INVALID, "{\"app\":\"b\"}", "x", "Invalid value: {\"app\":\"b\"}: x" },
        { FIELD_INVALID, NULL, "x", "Invalid value: \"null\": x" },
        { FIELD_REQUIRED, "1", "name or generateName is required",
          "Required value: name or generateName is required" },
        { FIELD_REQUIRED, NULL, "", "Required value" },
        { FIELD_DUPLICATE, "\"a\"", "", "Duplicate value: \"a\"" },
        { FIELD_FORBIDDEN, NULL, "may not change", "Forbidden: may not change" },
        { FIELD_NOT_FOUND, "\"v\"", "", "Not found: \"v\"" },
        { FIELD_TOO_LONG, "\"v\"", "may not be more than 63 bytes",
          "Too long: may not be more than 63 bytes" },
        { FIELD_TOO_MANY, "5", "must have at most 3 items",
          "Too many: 5: must have at most 3 items" },
        { FIELD_INVALID, "true", "x", "Invalid value: true: x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct field_errors errors = { .arena = a };
        struct error err = { 0 };
        field_error_add(&errors, cases[i].type, "spec.x",
                        cases[i].value ? parse(a, cases[i].value) : NULL, cases[i].detail);
        assert_int_equal(status_invalid(&err, &resources[RESOURCE_DEPLOYMENTS], "web", &errors),
                         -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(
            err.message,
            arena_printf(a, "Deployment.apps \"web\" is invalid: spec.x: %s", cases[i].message));
    }
}

static void several_field_errors_are_a_list_of_different_ones(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct field_errors errors = { .arena = a };
    struct error err = { 0 };
    struct json minus_one = json_int_value(-1);
    field_error_add(&errors, FIELD_INVALID, "spec.replicas", &minus_one,
                    "must be greater than or equal to 0");
    field_error_add(&errors, FIELD_REQUIRED, "spec.selector", NULL, "");
    field_error_add(&errors, FIELD_REQUIRED, "spec.selector", NULL, "");
    field_error_not_supported(&errors, "spec.type", NULL, (const char *const[]){ "A", "B", NULL });
    status_invalid(&err, &resources[RESOURCE_PODS], "x", &errors);
    const char *message =
        "Pod \"x\" is invalid: [spec.replicas: Invalid value: -1: must be greater than "
        "or equal to 0, spec.selector: Required value, spec.type: Unsupported value: "
        "\"\": supported values: \"A\", \"B\"]";
    assert_string_equal(err.message, message);

    struct status_details d = { .resource = &resources[RESOURCE_PODS],
                                .name = "x",
                                .field_errors = &errors };
    struct json *s = status_from_error(&err, &d, a);
    assert_string_equal(json_str(s, "message", ""), message);
    assert_string_equal(json_str(s, "details.kind", ""), "Pod");
    assert_int_equal(json_len(s, "details.causes"), 4);
    scoped(buffer) struct buffer cause = { 0 };
    json_print(&json_at(s, "details.causes")->items[0], &cause);
    assert_string_equal(
        cause.data, "{\"reason\":\"FieldValueInvalid\",\"message\":\"Invalid value: -1: must be "
                    "greater than or equal to 0\",\"field\":\"spec.replicas\"}");
}

static void a_long_list_is_told_in_full(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct field_errors errors = { .arena = a };
    struct error err = { 0 };
    for (int i = 0; i < FIELD_ERRORS_MAX + 10; i++)
        field_error_add(&errors, FIELD_REQUIRED, arena_printf(a, "spec.containers[%d].name", i),
                        NULL, NULL);
    assert_int_equal(errors.n, FIELD_ERRORS_MAX);
    status_invalid(&err, &resources[RESOURCE_PODS], "x", &errors);
    struct status_details d = { .resource = &resources[RESOURCE_PODS],
                                .name = "x",
                                .field_errors = &errors };
    const char *message = json_str(status_from_error(&err, &d, a), "message", "");
    assert_true(str_has_suffix(message, "spec.containers[255].name: Required value]"));
}

static void objects_are_named_with_their_group(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct status_details d = { .resource = &resources[RESOURCE_PODS], .name = "x" };
    assert_int_equal(status_not_found(&err, &resources[RESOURCE_PODS], "x"), -1);
    assert_status(
        &err, &d,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"pods \\\"x\\\" not found\",\"reason\":\"NotFound\",\"details\":{"
        "\"name\":\"x\",\"kind\":\"pods\"},\"code\":404}");
    d.resource = &resources[RESOURCE_DEPLOYMENTS];
    d.uid = "u";
    status_already_exists(&err, d.resource, "x");
    assert_status(
        &err, &d,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"deployments.apps \\\"x\\\" already exists\",\"reason\":"
        "\"AlreadyExists\",\"details\":{\"name\":\"x\",\"group\":\"apps\",\"kind\":"
        "\"deployments\",\"uid\":\"u\"},\"code\":409}");
    status_conflict(&err, d.resource, "x");
    assert_string_equal(
        err.message, "Operation cannot be fulfilled on deployments.apps \"x\": the object has been "
                     "modified; please apply your changes to the latest version and try again");
}

static void details_are_only_told_where_upstream_tells_them(void **state)
{
    (void)state;
    struct error err = { 0 };
    error_set(&err, ERR_BAD_REQUEST, "no");
    struct status_details d = { .resource = &resources[RESOURCE_PODS], .name = "x" };
    assert_status(
        &err, &d,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"no\",\"reason\":\"BadRequest\",\"code\":400}");
    error_set(&err, ERR_INTERNAL, "disk on fire");
    assert_status(
        &err, NULL,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"Internal error occurred: disk on fire\",\"reason\":\"InternalError\","
        "\"details\":{\"causes\":[{\"message\":\"disk on fire\"}]},\"code\":500}");
    error_set(&err, ERR_TOO_MANY_REQUESTS, "slow down");
    assert_status(
        &err, &(struct status_details){ .retry_after_s = 1 },
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"slow down\",\"reason\":\"TooManyRequests\",\"details\":{"
        "\"retryAfterSeconds\":1},\"code\":429}");
}

static void a_status_becomes_an_error_again(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 }, again = { 0 };
    status_not_found(&err, &resources[RESOURCE_PODS], "x");
    assert_int_equal(status_to_error(status_from_error(&err, NULL, a), 404, &again), -1);
    assert_int_equal(again.code, ERR_NOT_FOUND);
    assert_string_equal(again.message, err.message);
    status_to_error(NULL, 503, &again);
    assert_int_equal(again.code, ERR_UNAVAILABLE);
    status_to_error(parse(a, "{\"message\":\"x\"}"), 200, &again);
    assert_int_equal(again.code, ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_field_error_reads_as_upstream_says_it),
        cmocka_unit_test(several_field_errors_are_a_list_of_different_ones),
        cmocka_unit_test(a_long_list_is_told_in_full),
        cmocka_unit_test(objects_are_named_with_their_group),
        cmocka_unit_test(details_are_only_told_where_upstream_tells_them),
        cmocka_unit_test(a_status_becomes_an_error_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
