/* SPDX-License-Identifier: Apache-2.0 */
/* authz_rbac_test.c - roles and bindings, and what follows from them. */
#include "apiserver/authz_rbac.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const no_groups[] = { NULL };
static const char *const anonymous_groups[] = { "system:unauthenticated", NULL };

static int set_up(void **state)
{
    *state = rbac_new();
    return 0;
}

static int tear_down(void **state)
{
    rbac_free(*state);
    return 0;
}

static struct object *parse(const char *text)
{
    struct error err = { 0 };
    struct object *o = object_parse(NULL, bytes_of(text), 1, &err);
    if (!o)
        fail_msg("%s: %s", text, err.message);
    return o;
}

static void add_role(struct rbac *b, const char *text)
{
    scoped(object) struct object *o = parse(text);
    rbac_role_changed(NULL, o, b);
}

static void add_binding(struct rbac *b, const char *text)
{
    scoped(object) struct object *o = parse(text);
    rbac_binding_changed(NULL, o, b);
}

#define ROLE         "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\","
#define BINDING      "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\","
#define CLUSTER_ROLE "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\","
#define CLUSTER_BINDING                                                                            \
    "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRoleBinding\","

static const char reader[] = ROLE "\"metadata\":{\"name\":\"reader\",\"namespace\":\"a\"},"
                                  "\"rules\":[{\"apiGroups\":[\"\"],\"resources\":"
                                  "[\"pods\",\"pods/log\"],\"verbs\":[\"get\",\"list\"]}]}";
static const char jane_reads[] = BINDING "\"metadata\":{\"name\":\"jane\",\"namespace\":\"a\"},"
                                         "\"roleRef\":{\"kind\":\"Role\",\"name\":\"reader\"},"
                                         "\"subjects\":[{\"kind\":\"User\",\"name\":\"jane\"},{"
                                         "\"kind\":\"ServiceAccount\",\"name\":\"bot\","
                                         "\"namespace\":\"b\"}]}";

struct ask {
    const char *user;
    const char *const *groups;
    const char *verb, *group, *resource, *subresource, *ns, *name;
};

static bool may(struct rbac *b, const struct ask *a)
{
    struct user user = { .name = a->user, .uid = "", .groups = a->groups ? a->groups : no_groups };
    struct attributes at = { .user = &user,
                             .verb = a->verb,
                             .is_resource_request = true,
                             .group = a->group ? a->group : "",
                             .version = "v1",
                             .resource = a->resource,
                             .subresource = a->subresource ? a->subresource : "",
                             .ns = a->ns ? a->ns : "",
                             .name = a->name ? a->name : "",
                             .path = "" };
    return rbac_allows(b, &at);
}

static bool may_path(struct rbac *b, const char *user, const char *const *groups, const char *path)
{
    struct user who = { .name = user, .uid = "", .groups = groups };
    struct attributes at = { .user = &who, .verb = "get", .path = path };
    return rbac_allows(b, &at);
}

static void a_role_holds_in_its_own_namespace_only(void **state)
{
    struct rbac *b = *state;
    add_role(b, reader);
    add_binding(b, jane_reads);
    assert_true(
        may(b, &(struct ask){ .user = "jane", .verb = "get", .resource = "pods", .ns = "a" }));
    assert_false(
        may(b, &(struct ask){ .user = "jane", .verb = "get", .resource = "pods", .ns = "b" }));
    assert_false(may(b, &(struct ask){ .user = "jane", .verb = "get", .resource = "pods" }));
    assert_false(
        may(b, &(struct ask){ .user = "joe", .verb = "get", .resource = "pods", .ns = "a" }));
}

static void only_the_verbs_resources_and_subresources_that_are_named_are_allowed(void **state)
{
    struct rbac *b = *state;
    add_role(b, reader);
    add_binding(b, jane_reads);
    assert_false(
        may(b, &(struct ask){ .user = "jane", .verb = "delete", .resource = "pods", .ns = "a" }));
    assert_false(
        may(b, &(struct ask){ .user = "jane", .verb = "get", .resource = "secrets", .ns = "a" }));
    assert_false(
        may(b, &(struct ask){
                   .user = "jane", .verb = "get", .group = "x", .resource = "pods", .ns = "a" }));
    assert_true(may(
        b,
        &(struct ask){
            .user = "jane", .verb = "get", .resource = "pods", .subresource = "log", .ns = "a" }));
    assert_false(may(
        b,
        &(struct ask){
            .user = "jane", .verb = "get", .resource = "pods", .subresource = "exec", .ns = "a" }));
}

static void a_service_account_is_found_under_its_user_name(void **state)
{
    struct rbac *b = *state;
    add_role(b, reader);
    add_binding(b, jane_reads);
    assert_true(may(b, &(struct ask){ .user = "system:serviceaccount:b:bot",
                                      .verb = "list",
                                      .resource = "pods",
                                      .ns = "a" }));
    assert_false(may(b, &(struct ask){ .user = "system:serviceaccount:a:bot",
                                       .verb = "list",
                                       .resource = "pods",
                                       .ns = "a" }));
}

static void what_is_unbound_is_no_longer_allowed(void **state)
{
    struct rbac *b = *state;
    struct ask ask = { .user = "jane", .verb = "get", .resource = "pods", .ns = "a" };
    scoped(object) struct object *role = parse(reader);
    scoped(object) struct object *binding = parse(jane_reads);
    rbac_role_changed(NULL, role, b);
    rbac_binding_changed(NULL, binding, b);
    assert_true(may(b, &ask));
    rbac_binding_changed(binding, NULL, b);
    assert_false(may(b, &ask));
    rbac_binding_changed(NULL, binding, b);
    rbac_role_changed(role, NULL, b);
    assert_false(may(b, &ask));
}

static void a_rule_with_names_allows_those_objects_only(void **state)
{
    struct rbac *b = *state;
    add_role(b, CLUSTER_ROLE
             "\"metadata\":{\"name\":\"one\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":"
             "[\"secrets\"],\"resourceNames\":[\"s1\"],\"verbs\":[\"*\"]}]}");
    add_binding(b, CLUSTER_BINDING
                "\"metadata\":{\"name\":\"one\"},\"roleRef\":{\"kind\":\"ClusterRole\","
                "\"name\":\"one\"},\"subjects\":[{\"kind\":\"Group\",\"name\":\"dev\"}]}");
    const char *const dev[] = { "dev", NULL };
    struct ask ask = {
        .user = "x", .groups = dev, .verb = "get", .resource = "secrets", .ns = "n"
    };
    assert_false(may(b, &ask)); /* no name at all */
    ask.name = "s2";
    assert_false(may(b, &ask));
    ask.name = "s1";
    assert_true(may(b, &ask));
}

struct asker {
    struct rbac *rbac;
    atomic_bool stop;
};

static void *keep_asking(void *arg)
{
    struct asker *asker = arg;
    while (!atomic_load(&asker->stop))
        may(asker->rbac,
            &(struct ask){ .user = "jane", .verb = "get", .resource = "pods", .ns = "a" });
    return NULL;
}

static void rules_may_change_while_others_ask(void **state)
{
    struct asker asker = { .rbac = *state };
    scoped(object) struct object *role = parse(reader);
    scoped(object) struct object *binding = parse(jane_reads);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_asking, &asker), 0);
    for (int i = 0; i < 200; i++) {
        rbac_role_changed(i ? role : NULL, role, *state);
        rbac_binding_changed(i ? binding : NULL, binding, *state);
        rbac_binding_changed(binding, NULL, *state);
    }
    atomic_store(&asker.stop, true);
    pthread_join(thread, NULL);
    assert_false(
        may(*state, &(struct ask){ .user = "jane", .verb = "get", .resource = "pods", .ns = "a" }));
}

/* ---- the bootstrap policy ---- */

static void load(const struct resource *r, const struct object_key *key, struct json *doc,
                 struct arena *a, void *arg)
{
    (void)key;
    (void)a;
    scoped(buffer) struct buffer text = { 0 };
    json_print(doc, &text);
    struct error err = { 0 };
    scoped(object) struct object *o = object_parse(r, buffer_bytes(&text), 1, &err);
    if (!o)
        fail_msg("%s", err.message);
    if (strstr(r->plural, "bindings"))
        rbac_binding_changed(NULL, o, arg);
    else
        rbac_role_changed(NULL, o, arg);
}

static void nobody_may_read_health_and_version_and_nothing_else(void **state)
{
    struct rbac *b = *state;
    policy_each(load, b);
    static const struct {
        const char *path;
        bool allowed;
    } cases[] = { { "/healthz", true },  { "/livez", true },    { "/readyz", true },
                  { "/version", true },  { "/version/", true }, { "/healthz/etcd", false },
                  { "/metrics", false }, { "/api", false },     { "/openapi/v2", false },
                  { "/", false } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(may_path(b, "system:anonymous", anonymous_groups, cases[i].path),
                         cases[i].allowed);
    assert_false(may(b, &(struct ask){ .user = "system:anonymous",
                                       .groups = anonymous_groups,
                                       .verb = "list",
                                       .resource = "pods",
                                       .ns = "default" }));
}

static void every_authenticated_user_may_discover_what_is_served(void **state)
{
    struct rbac *b = *state;
    const char *const groups[] = { "system:authenticated", NULL };
    policy_each(load, b);
    assert_true(may_path(b, "jane", groups, "/apis/apps/v1"));
    assert_true(may_path(b, "jane", groups, "/openapi/v3/api/v1"));
    assert_false(may_path(b, "jane", groups, "/metrics"));
    assert_true(may(b, &(struct ask){ .user = "jane",
                                      .groups = groups,
                                      .verb = "create",
                                      .group = "authorization.k8s.io",
                                      .resource = "selfsubjectaccessreviews" }));
}

static void admin_has_what_edit_and_view_have(void **state)
{
    struct rbac *b = *state;
    policy_each(load, b);
    add_binding(b,
                BINDING "\"metadata\":{\"name\":\"x\",\"namespace\":\"a\"},\"roleRef\":{\"kind\":"
                        "\"ClusterRole\",\"name\":\"admin\"},\"subjects\":[{\"kind\":\"User\","
                        "\"name\":\"ann\"}]}");
    static const struct ask cases[] = {
        { .user = "ann", .verb = "get", .resource = "pods", .ns = "a" },
        { .user = "ann", .verb = "create", .group = "apps", .resource = "deployments", .ns = "a" },
        { .user = "ann",
          .verb = "create",
          .group = "rbac.authorization.k8s.io",
          .resource = "roles",
          .ns = "a" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(may(b, &cases[i]));
    assert_false(may(b, &(struct ask){ .user = "ann", .verb = "get", .resource = "nodes" }));
}

static void a_controller_has_its_own_rights_and_no_more(void **state)
{
    struct rbac *b = *state;
    const char *const groups[] = { "system:serviceaccounts", "system:authenticated", NULL };
    const char *user = "system:serviceaccount:kube-system:replicaset-controller";
    policy_each(load, b);
    assert_true(may(
        b, &(struct ask){
               .user = user, .groups = groups, .verb = "create", .resource = "pods", .ns = "a" }));
    assert_true(may(b, &(struct ask){ .user = user,
                                      .groups = groups,
                                      .verb = "update",
                                      .group = "apps",
                                      .resource = "replicasets",
                                      .subresource = "status",
                                      .ns = "a" }));
    assert_false(may(
        b, &(struct ask){
               .user = user, .groups = groups, .verb = "get", .resource = "secrets", .ns = "a" }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_role_holds_in_its_own_namespace_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            only_the_verbs_resources_and_subresources_that_are_named_are_allowed, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_service_account_is_found_under_its_user_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_unbound_is_no_longer_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rule_with_names_allows_those_objects_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(rules_may_change_while_others_ask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_may_read_health_and_version_and_nothing_else, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_authenticated_user_may_discover_what_is_served,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(admin_has_what_edit_and_view_have, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_controller_has_its_own_rights_and_no_more, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
