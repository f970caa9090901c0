/* SPDX-License-Identifier: Apache-2.0 */
/* patch_json_test.c - JSON Patch, by the public cases and a few of our own. */
#include "api/patch.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/limits.h"

#define CASES_DIR "/work/shared/testdata/json-patch"

static struct json *parse(struct arena *a, const char *text)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static struct json *apply(struct arena *a, const char *doc, const char *patch, struct error *err)
{
    return patch_json(parse(a, doc), parse(a, patch), a, err);
}

static void run_case(const struct json *c, const char *file, size_t number)
{
    if (!json_get(c, "doc") || !json_get(c, "patch") || json_bool(c, "disabled", false))
        return;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct json *doc = json_get(c, "doc");
    struct json *before = json_clone(doc, a);
    struct json *after = patch_json(doc, json_get(c, "patch"), a, &err);
    const char *comment = json_str(c, "comment", json_str(c, "error", ""));
    if (json_get(c, "error") ? after != NULL : after == NULL)
        fail_msg("%s %zu (%s): %s", file, number, comment, after ? "was applied" : err.message);
    if (json_get(c, "expected") && !json_equal(after, json_get(c, "expected")))
        fail_msg("%s %zu (%s): wrong result", file, number, comment);
    assert_true(json_equal(doc, before));
}

static void public_cases_are_judged_right(void **state)
{
    (void)state;
    static const char *const files[] = { CASES_DIR "/spec_tests.json", CASES_DIR "/tests.json" };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        scoped(file) FILE *f = fopen(files[i], "rb");
        if (!f) {
            print_message("skipped: no %s\n", files[i]);
            skip();
        }
        scoped(buffer) struct buffer text = { 0 };
        char room[4096];
        for (size_t n; (n = fread(room, 1, sizeof(room), f));)
            buffer_add(&text, room, n);
        scoped(arena) struct arena *a = arena_new();
        size_t number = 0;
        json_each_item (parse(a, text.data), c)
            run_case(c, files[i], number++);
        assert_true(number > 10);
    }
}

static void a_patch_that_is_none_is_a_bad_request(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    assert_null(apply(a, "{}", "{\"op\":\"add\"}", &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_string_equal(err.message,
                        "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
    assert_null(apply(a, "{}", "[1]", &err));
    assert_string_equal(err.message,
                        "json: cannot unmarshal number into Go value of type jsonpatch.Operation");
}

static void a_patch_that_does_not_apply_is_invalid(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    assert_null(apply(a, "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.message,
                        "the server rejected our request due to an error in our request");
}

static void the_number_of_operations_is_limited(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *patch = json_new(a, JSON_ARRAY);
    struct json operation = *parse(a, "{\"op\":\"add\",\"path\":\"/a\",\"value\":1}");
    for (int i = 0; i < PATCH_OPERATIONS_MAX; i++)
        json_append(a, patch, operation);
    struct error err = { 0 };
    assert_non_null(patch_json(parse(a, "{}"), patch, a, &err));
    json_append(a, patch, operation);
    assert_null(patch_json(parse(a, "{}"), patch, a, &err));
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void copies_cannot_grow_without_end(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *patch = json_new(a, JSON_ARRAY);
    for (int i = 0; i < 64; i++) {
        char name[64];
        snprintf(name, sizeof(name), "{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a%d\"}", i);
        json_append(a, patch, *parse(a, name));
    }
    struct error err = { 0 };
    assert_null(patch_json(parse(a, "{\"x\":1}"), patch, a, &err));
    assert_true(arena_size_bytes(a) < 16 * REQUEST_BODY_BYTES_MAX);
}

static void trees_cannot_grow_deeper_than_the_limit(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    char path[2 * JSON_DEPTH_MAX + 1] = "";
    struct json *patch = json_new(a, JSON_ARRAY);
    for (int i = 0; i < JSON_DEPTH_MAX; i++) {
        strcat(path, "/a");
        scoped(str) char *op = xasprintf("{\"op\":\"add\",\"path\":\"%s\",\"value\":{}}", path);
        json_append(a, patch, *parse(a, op));
    }
    struct error err = { 0 };
    assert_null(patch_json(parse(a, "{}"), patch, a, &err));
    patch->len--;
    assert_non_null(patch_json(parse(a, "{}"), patch, a, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_cases_are_judged_right),
        cmocka_unit_test(a_patch_that_is_none_is_a_bad_request),
        cmocka_unit_test(a_patch_that_does_not_apply_is_invalid),
        cmocka_unit_test(the_number_of_operations_is_limited),
        cmocka_unit_test(copies_cannot_grow_without_end),
        cmocka_unit_test(trees_cannot_grow_deeper_than_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
