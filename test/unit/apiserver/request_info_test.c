/* SPDX-License-Identifier: Apache-2.0 */
/* request_info_test.c - what URLs ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/request_info.h"

static const struct {
    const char *method, *path, *query;
    const char *verb, *group, *plural, *subresource, *ns, *name;
} resource_paths[] = {
    { "GET", "/api/v1/pods", "", "list", "", "pods", "", "", "" },
    { "GET", "/api/v1/pods", "watch=true", "watch", "", "pods", "", "", "" },
    { "GET", "/api/v1/pods", "watch=0", "list", "", "pods", "", "", "" },
    { "GET", "/api/v1/watch/namespaces/a/pods", "", "watch", "", "pods", "", "a", "" },
    { "GET", "/api/v1/namespaces/a/pods/b", "", "get", "", "pods", "", "a", "b" },
    { "HEAD", "/api/v1/namespaces/a/pods/b", "", "get", "", "pods", "", "a", "b" },
    { "GET", "/api/v1/namespaces", "", "list", "", "namespaces", "", "", "" },
    { "GET", "/api/v1/namespaces/a", "", "get", "", "namespaces", "", "a", "a" },
    { "PUT", "/api/v1/namespaces/a/status", "", "update", "", "namespaces", "status", "a", "a" },
    { "PUT", "/api/v1/namespaces/a/finalize", "", "update", "", "namespaces", "finalize", "a",
      "a" },
    { "POST", "/apis/apps/v1/namespaces/a/deployments", "", "create", "apps", "deployments", "",
      "a", "" },
    { "PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale", "", "patch", "apps", "deployments",
      "scale", "a", "b" },
    { "DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection", "", "pods", "", "a", "" },
    { "DELETE", "/api/v1/nodes/n", "", "delete", "", "nodes", "", "", "n" },
    { "GET", "/api/v1/namespaces/a/secrets", "fieldSelector=metadata.name%3Db", "list", "",
      "secrets", "", "a", "b" },
    { "GET", "/api/v1/nodes/n/proxy/stats/summary", "", "get", "", "nodes", "proxy", "", "n" },
};

static void resource_paths_name_their_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(resource_paths); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct request_info info;
        struct error err = { 0 };
        assert_int_equal(request_info_parse(bytes_of(resource_paths[i].method),
                                            bytes_of(resource_paths[i].path),
                                            bytes_of(resource_paths[i].query), a, &info, &err),
                         0);
        assert_true(info.is_resource_request);
        assert_string_equal(info.verb_name, resource_paths[i].verb);
        assert_string_equal(info.group, resource_paths[i].group);
        assert_string_equal(info.plural, resource_paths[i].plural);
        assert_string_equal(info.subresource, resource_paths[i].subresource);
        assert_string_equal(info.ns, resource_paths[i].ns);
        assert_string_equal(info.name, resource_paths[i].name);
        assert_non_null(info.resource);
    }
}

static void other_paths_have_a_method_for_a_verb(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/", "/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3/api/v1"
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct request_info info;
        struct error err = { 0 };
        assert_int_equal(
            request_info_parse(BYTES("GET"), bytes_of(paths[i]), BYTES(""), a, &info, &err), 0);
        assert_false(info.is_resource_request);
        assert_string_equal(info.verb_name, "get");
        assert_string_equal(info.path, paths[i]);
    }
}

static void what_follows_proxy_is_kept(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct request_info info;
    struct error err = { 0 };
    assert_int_equal(request_info_parse(BYTES("GET"), BYTES("/api/v1/nodes/n/proxy/a/b%20c"),
                                        BYTES(""), a, &info, &err),
                     0);
    assert_string_equal(info.subpath, "/a/b c");
}

static void a_path_that_does_not_decode_is_refused(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct request_info info;
    struct error err = { 0 };
    assert_int_equal(
        request_info_parse(BYTES("GET"), BYTES("/api/v1/pods%zz"), BYTES(""), a, &info, &err), -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_int_equal(
        request_info_parse(BYTES("GET"), BYTES("/api/v1/pods%00x"), BYTES(""), a, &info, &err), -1);
}

static void nothing_is_served_under_an_unknown_name(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct request_info info;
    struct error err = { 0 };
    assert_int_equal(
        request_info_parse(BYTES("GET"), BYTES("/api/v1/nothings/x"), BYTES(""), a, &info, &err),
        0);
    assert_null(info.resource);
    assert_true(info.is_resource_request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resource_paths_name_their_parts),
        cmocka_unit_test(other_paths_have_a_method_for_a_verb),
        cmocka_unit_test(what_follows_proxy_is_kept),
        cmocka_unit_test(a_path_that_does_not_decode_is_refused),
        cmocka_unit_test(nothing_is_served_under_an_unknown_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
