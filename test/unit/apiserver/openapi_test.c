/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_test.c - documents that kubectl can work with. */
#include "apiserver/openapi.h"

#include "apiserver/openapi_document.h"
#include "apiserver/server.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GNOSTIC "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

static struct apiserver server;

static int set_up(void **state)
{
    *state = arena_new();
    return 0;
}

static int tear_down(void **state)
{
    arena_free(*state);
    return 0;
}

static struct document serve(struct arena *a, const char *path, const char *accept,
                             const char *if_none_match)
{
    struct request r = { .server = &server, .arena = a };
    struct document d = { 0 };
    openapi_serve(&r, bytes_of(path), bytes_of(accept), bytes_of(if_none_match), &d);
    return d;
}

static const struct json *get(struct arena *a, const char *path)
{
    struct document d = serve(a, path, "application/json", "");
    struct error err = { 0 };
    scoped(shared_bytes) struct shared_bytes *body = d.body;
    assert_int_equal(d.status, 200);
    const struct json *v = json_parse(arena_bytes(a, shared_bytes_view(body)), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", path, err.message);
    return v;
}

static void check_refs(const struct json *v, const char *prefix, const struct json *types)
{
    json_each_item (v, item)
        check_refs(item, prefix, types);
    json_each_member (v, m) {
        const char *ref = strcmp(m->name, "$ref") == 0 ? json_text(&m->value) : NULL;
        if (ref && (!str_has_prefix(ref, prefix) || !json_get(types, ref + strlen(prefix))))
            fail_msg("nothing at %s", ref);
        check_refs(&m->value, prefix, types);
    }
}

static void every_reference_leads_to_a_type(void **state)
{
    const struct json *v2 = get(*state, "/openapi/v2");
    check_refs(v2, "#/definitions/", json_get(v2, "definitions"));
    json_each_member (json_get(get(*state, "/openapi/v3"), "paths"), m) {
        const struct json *v3 = get(*state, arena_printf(*state, "/openapi/v3/%s", m->name));
        check_refs(v3, "#/components/schemas/", json_at(v3, "components.schemas"));
    }
}

static bool has_parameter(const struct json *operation, const char *name)
{
    json_each_item (json_get(operation, "parameters"), p) {
        if (str_equal(json_str(p, "name", ""), name))
            return true;
    }
    return false;
}

static void every_patch_says_that_it_takes_dry_run_and_field_validation(void **state)
{
    size_t n = 0;
    json_each_member (json_get(get(*state, "/openapi/v3"), "paths"), m) {
        const struct json *v3 = get(*state, arena_printf(*state, "/openapi/v3/%s", m->name));
        json_each_member (json_get(v3, "paths"), path) {
            const struct json *patch = json_get(&path->value, "patch");
            if (!patch || str_equal(json_str(patch, "x-kubernetes-action", ""), "connect"))
                continue;
            assert_true(has_parameter(patch, "dryRun"));
            assert_true(has_parameter(patch, "fieldValidation"));
            assert_non_null(json_get(patch, "x-kubernetes-group-version-kind"));
            n++;
        }
    }
    assert_true(n > 50);
}

static void lists_keep_their_merge_keys(void **state)
{
    const struct json *spec =
        json_get(json_get(get(*state, "/openapi/v2"), "definitions"), "io.k8s.api.core.v1.PodSpec");
    const struct json *containers = json_at(spec, "properties.containers");
    assert_string_equal(json_str(containers, "x-kubernetes-patch-merge-key", ""), "name");
    assert_string_equal(json_str(containers, "x-kubernetes-patch-strategy", ""), "merge");
    assert_string_equal(json_str(containers, "x-kubernetes-list-type", ""), "map");
    const struct json *volumes = json_at(spec, "properties.volumes");
    assert_string_equal(json_str(volumes, "x-kubernetes-patch-strategy", ""), "merge,retainKeys");
}

static void the_index_tells_hashes_that_stay(void **state)
{
    const struct json *paths = json_get(get(*state, "/openapi/v3"), "paths");
    assert_int_equal(paths->len, api_group_versions_n);
    const char *url = json_str(json_get(paths, "apis/apps/v1"), "serverRelativeURL", "");
    assert_true(str_has_prefix(url, "/openapi/v3/apis/apps/v1?hash="));
    assert_string_equal(
        url, json_str(json_get(json_get(get(*state, "/openapi/v3"), "paths"), "apis/apps/v1"),
                      "serverRelativeURL", ""));
}

static void who_has_the_document_is_told_so(void **state)
{
    struct document first = serve(*state, "/openapi/v3/apis/apps/v1", "application/json", "");
    shared_bytes_unref(first.body);
    struct document again =
        serve(*state, "/openapi/v3/apis/apps/v1", "application/json", first.etag);
    assert_int_equal(again.status, 304);
    assert_null(again.body);
}

static void old_kubectl_gets_the_document_in_protobuf(void **state)
{
    struct document d = serve(*state, "/openapi/v2", GNOSTIC, "");
    scoped(shared_bytes) struct shared_bytes *body = d.body;
    assert_int_equal(d.status, 200);
    /* field 1, a string of 3 bytes: swagger "2.0"; then field 2, the info */
    assert_memory_equal(body->data,
                        "\x0a\x03"
                        "2.0\x12",
                        6);
}

static void an_unknown_document_is_not_found(void **state)
{
    struct document d = serve(*state, "/openapi/v3/apis/nothing/v1", "application/json", "");
    assert_int_equal(d.status, 404);
    shared_bytes_unref(d.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_reference_leads_to_a_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_patch_says_that_it_takes_dry_run_and_field_validation,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_keep_their_merge_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_index_tells_hashes_that_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_has_the_document_is_told_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_kubectl_gets_the_document_in_protobuf, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_document_is_not_found, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
