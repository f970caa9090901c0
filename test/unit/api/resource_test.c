/* SPDX-License-Identifier: Apache-2.0 */
/* resource_test.c - the rows: look-up, and that discovery is upstream's. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/resource.h"

static const char *facts_path(char *buf, size_t n)
{
    const char *slash = strstr(__FILE__, "test/unit/api/");
    snprintf(buf, n, "%.*s../shared/facts/discovery.json", slash ? (int)(slash - __FILE__) : 0,
             __FILE__);
    return buf;
}

static void rows_are_found_by_plural_and_by_kind(void **state)
{
    (void)state;
    assert_ptr_equal(resource_find("", "v1", "pods"), &resources[RESOURCE_PODS]);
    assert_ptr_equal(resource_find("apps", "v1", "deployments"), &resources[RESOURCE_DEPLOYMENTS]);
    assert_ptr_equal(resource_find_kind("batch", "v1", "Job"), &resources[RESOURCE_JOBS]);
    assert_null(resource_find("", "v1", "deployments"));
    assert_null(resource_find("apps", "v1beta1", "deployments"));
    assert_null(resource_find_kind("", "v1", "pods"));
}

static void subresources_name_the_kind_of_their_body(void **state)
{
    (void)state;
    const struct resource_subresource *scale =
        resource_subresource(&resources[RESOURCE_DEPLOYMENTS], "scale");
    assert_non_null(scale);
    assert_string_equal(scale->group, "autoscaling");
    assert_string_equal(scale->kind, "Scale");
    assert_string_equal(scale->type->name, "io.k8s.api.autoscaling.v1.Scale");

    const struct resource_subresource *status =
        resource_subresource(&resources[RESOURCE_PODS], "status");
    assert_null(status->group);
    assert_ptr_equal(status->type, resources[RESOURCE_PODS].type);
    assert_null(resource_subresource(&resources[RESOURCE_PODS], "exec")->type);
    assert_null(resource_subresource(&resources[RESOURCE_PODS], "scale"));
}

static void versions_of_one_kind_are_stored_under_one_row(void **state)
{
    (void)state;
    assert_ptr_equal(resources[RESOURCE_EVENTS_EVENTS_V1].storage, &resources[RESOURCE_EVENTS]);
    assert_ptr_equal(resources[RESOURCE_HORIZONTALPODAUTOSCALERS_AUTOSCALING_V1].storage,
                     &resources[RESOURCE_HORIZONTALPODAUTOSCALERS]);
    assert_string_equal(resources[RESOURCE_HORIZONTALPODAUTOSCALERS].version, "v2");
    assert_ptr_equal(resources[RESOURCE_PODS].storage, &resources[RESOURCE_PODS]);
}

static void what_cannot_be_listed_is_not_stored(void **state)
{
    (void)state;
    assert_true(resources[RESOURCE_PODS].is_stored);
    assert_false(resources[RESOURCE_TOKENREVIEWS].is_stored);
    assert_false(resources[RESOURCE_BINDINGS].is_stored);
    assert_false(resources[RESOURCE_COMPONENTSTATUSES].is_stored);
}

static void names_are_written_as_messages_and_api_versions_say_them(void **state)
{
    (void)state;
    char buf[128];
    assert_string_equal(resource_api_version(&resources[RESOURCE_PODS], buf, sizeof(buf)), "v1");
    assert_string_equal(resource_api_version(&resources[RESOURCE_JOBS], buf, sizeof(buf)),
                        "batch/v1");
    assert_string_equal(resource_qualified(&resources[RESOURCE_PODS], buf, sizeof(buf)), "pods");
    assert_string_equal(resource_qualified(&resources[RESOURCE_DEPLOYMENTS], buf, sizeof(buf)),
                        "deployments.apps");
}

static unsigned verb_bits(const struct json *verbs)
{
    static const char *const names[] = { "get",    "list",  "watch",  "create",
                                         "update", "patch", "delete", "deletecollection" };
    unsigned bits = 0;
    json_each_item (verbs, v)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strcmp(json_text(v), names[i]) == 0)
                bits |= 1u << i;
    return bits;
}

static void check_names(const struct json *expected, const char *const *names)
{
    json_each_item (expected, e) {
        assert_non_null(names);
        assert_string_equal(*names++, json_text(e));
    }
    assert_true(!names || !*names);
}

static void check_row(const struct resource *r, const struct json *expected)
{
    assert_string_equal(r->kind, json_str(expected, "kind", ""));
    assert_string_equal(r->singular, json_str(expected, "singular", ""));
    assert_int_equal(r->namespaced, json_bool(expected, "namespaced", false));
    assert_int_equal(r->verbs, verb_bits(json_get(expected, "verbs")));
    assert_string_equal(r->storage_version_hash, json_str(expected, "storageVersionHash", ""));
    check_names(json_get(expected, "shortNames"), r->short_names);
    check_names(json_get(expected, "categories"), r->categories);
    assert_int_equal(r->subresources_n, json_len(expected, "subresources"));
    json_each_item (json_get(expected, "subresources"), e) {
        const struct resource_subresource *s =
            resource_subresource(r, json_str(e, "subresource", ""));
        assert_non_null(s);
        assert_string_equal(s->kind, json_str(e, "kind", ""));
        assert_int_equal(s->verbs, verb_bits(json_get(e, "verbs")));
        assert_true(str_equal(s->group, json_str(e, "responseGroup", NULL)));
    }
}

static struct json *facts_read(struct arena *a, struct error *err)
{
    char path[4096];
    scoped(file) FILE *f = fopen(facts_path(path, sizeof(path)), "r");
    if (!f)
        return NULL;
    scoped(buffer) struct buffer text = { 0 };
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
        buffer_add(&text, part, n);
    return json_parse(arena_bytes(a, buffer_bytes(&text)), a, NULL, err);
}

static void discovery_is_upstreams(void **state)
{
    (void)state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    const struct json *facts = facts_read(a, &err);
    if (!facts) {
        print_message("skipped: ../shared/facts is not there\n");
        arena_free(take_ptr(&a)); /* skip() jumps */
        skip();
    }
    size_t rows = 0, groups = 0;
    json_each_item (json_get(facts, "groups"), g)
        json_each_item (json_get(g, "versions"), v) {
            if (!json_bool(v, "servedByDefault", false))
                continue;
            const char *group = json_str(g, "group", ""), *version = json_str(v, "version", "");
            assert_string_equal(api_group_versions[groups].group, group);
            assert_string_equal(api_group_versions[groups].version, version);
            assert_int_equal(api_group_versions[groups].is_preferred,
                             strcmp(json_str(g, "preferredVersion", ""), version) == 0);
            groups++;
            json_each_item (json_get(v, "resources"), e) {
                const struct resource *r =
                    resource_find(group, version, json_str(e, "resource", ""));
                assert_non_null(r);
                assert_int_equal(r->id, rows++); /* in discovery's order */
                check_row(r, e);
            }
        }
    assert_int_equal(rows, RESOURCES);
    assert_int_equal(groups, api_group_versions_n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found_by_plural_and_by_kind),
        cmocka_unit_test(subresources_name_the_kind_of_their_body),
        cmocka_unit_test(versions_of_one_kind_are_stored_under_one_row),
        cmocka_unit_test(what_cannot_be_listed_is_not_stored),
        cmocka_unit_test(names_are_written_as_messages_and_api_versions_say_them),
        cmocka_unit_test(discovery_is_upstreams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
