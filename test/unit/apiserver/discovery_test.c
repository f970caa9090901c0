/* SPDX-License-Identifier: Apache-2.0 */
/* discovery_test.c - lists of what is served. */
#include "apiserver/discovery.h"

#include "apiserver/documents.h"
#include "apiserver/server.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define AGGREGATED                                                                                 \
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"                        \
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

struct fixture {
    struct apiserver server;
    struct arena *arena;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->server.config.advertise_address = "192.0.2.1";
    f->server.config.port = 6443;
    f->arena = arena_new();
    documents_start(&f->server);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    documents_stop(&f->server);
    arena_free(f->arena);
    free(f);
    return 0;
}

/* The parsed answer; NULL for one that is not 200. */
static const struct json *get(struct fixture *f, const char *path, const char *accept)
{
    struct request r = { .server = &f->server, .arena = f->arena };
    struct document d = { 0 };
    struct error err = { 0 };
    if (!discovery_serve(&r, bytes_of(path), bytes_of(accept), &d))
        return NULL;
    scoped(shared_bytes) struct shared_bytes *body = d.body;
    if (d.status != 200)
        return NULL;
    struct bytes text = arena_bytes(f->arena, shared_bytes_view(body));
    const struct json *v = json_parse(text, f->arena, NULL, &err);
    if (!v)
        fail_msg("%s: %s", path, err.message);
    return v;
}

static void every_group_version_that_is_listed_is_served(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;
    json_each_item (json_get(get(f, "/apis", ""), "groups"), group) {
        json_each_item (json_get(group, "versions"), version) {
            const char *path =
                arena_printf(f->arena, "/apis/%s", json_str(version, "groupVersion", ""));
            const struct json *list = get(f, path, "");
            assert_non_null(list);
            assert_true(json_len(list, "resources") > 0);
            n++;
        }
    }
    assert_int_equal(n, api_group_versions_n - 1); /* the core group is under /api */
    assert_non_null(get(f, "/api/v1", ""));
}

static void a_list_names_resources_with_their_subresources(void **state)
{
    const struct json *list = get(*state, "/apis/apps/v1", "");
    const struct json *scale = NULL, *deployments = NULL;
    json_each_item (json_get(list, "resources"), r) {
        if (str_equal(json_str(r, "name", ""), "deployments"))
            deployments = r;
        if (str_equal(json_str(r, "name", ""), "deployments/scale"))
            scale = r;
    }
    assert_string_equal(json_str(deployments, "kind", ""), "Deployment");
    assert_string_equal(json_str(deployments, "singularName", ""), "deployment");
    assert_string_equal(json_text(&json_get(deployments, "shortNames")->items[0]), "deploy");
    assert_true(json_bool(deployments, "namespaced", false));
    assert_string_equal(json_str(scale, "group", ""), "autoscaling");
    assert_string_equal(json_str(scale, "kind", ""), "Scale");
}

static void the_aggregated_form_is_given_to_who_asks_for_it(void **state)
{
    const struct json *list = get(*state, "/apis", AGGREGATED);
    assert_string_equal(json_str(list, "kind", ""), "APIGroupDiscoveryList");
    assert_string_equal(json_str(list, "apiVersion", ""), "apidiscovery.k8s.io/v2");
    const struct json *core = get(*state, "/api", AGGREGATED);
    assert_int_equal(json_len(core, "items"), 1);
    assert_string_equal(json_str(get(*state, "/apis", "application/json, */*"), "kind", ""),
                        "APIGroupList");
}

static void a_group_that_is_not_served_is_not_found(void **state)
{
    static const char *const paths[] = { "/apis/nothing.io", "/apis/apps/v9", "/api/v2" };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct request r = { .server = &f->server, .arena = f->arena };
        struct document d = { 0 };
        assert_true(discovery_serve(&r, bytes_of(paths[i]), BYTES(""), &d));
        assert_int_equal(d.status, 404);
        shared_bytes_unref(d.body);
    }
}

static void paths_of_objects_are_not_discovery(void **state)
{
    static const char *const paths[] = { "/api/v1/pods", "/apis/apps/v1/deployments", "/healthz",
                                         "/apix" };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct request r = { .server = &f->server, .arena = f->arena };
        struct document d = { 0 };
        assert_false(discovery_serve(&r, bytes_of(paths[i]), BYTES(""), &d));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_group_version_that_is_listed_is_served, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_list_names_resources_with_their_subresources, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_aggregated_form_is_given_to_who_asks_for_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_group_that_is_not_served_is_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(paths_of_objects_are_not_discovery, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
