/* SPDX-License-Identifier: Apache-2.0 */
/* admission_rights_test.c - rights are not made from nothing: escalation and node restriction. */
#include "apiserver/authz_node.h"
#include "test/unit/apiserver/server_fixture.h"

#define RBAC "\"apiVersion\":\"rbac.authorization.k8s.io/v1\""

static const char pod_reader[] =
    "{" RBAC
    ",\"kind\":\"Role\",\"metadata\":{\"name\":\"reader\",\"namespace\":\"default\"},\"rules\":[{"
    "\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\"]}]}";
static const char node_reader[] =
    "{" RBAC
    ",\"kind\":\"Role\",\"metadata\":{\"name\":\"nodes\",\"namespace\":\"default\"},\"rules\":[{"
    "\"apiGroups\":[\"\"],\"resources\":[\"nodes\"],\"verbs\":[\"get\",\"list\"]}]}";
static const char jane_is_admin[] =
    "{" RBAC ",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"jane\",\"namespace\":\"default\"},"
    "\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":"
    "\"admin\"},"
    "\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"User\",\"name\":\"jane\"}"
    "]}";
static const char joe_is_cluster_admin[] =
    "{" RBAC ",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"joe\",\"namespace\":\"default\"},"
    "\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":"
    "\"cluster-admin\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
    "\"User\","
    "\"name\":\"joe\"}]}";

static struct client *jane(struct server_fixture *f)
{
    struct error err = { 0 };
    if (server_create(f, f->admin, RESOURCE_ROLEBINDINGS, "default", jane_is_admin, NULL, &err) < 0)
        fail_msg("%s", err.message);
    return apiserver_loopback(f->server, "jane", NULL);
}

static void who_holds_a_rule_may_grant_it(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct client *c = jane(f);
    assert_int_equal(server_create(f, c, RESOURCE_ROLES, "default", pod_reader, NULL, &err), 0);
    client_close(c);
}

static void who_does_not_hold_a_rule_may_not_grant_it(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct client *c = jane(f);
    assert_int_equal(server_create(f, c, RESOURCE_ROLES, "default", node_reader, NULL, &err), -1);
    client_close(c);
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_string_equal(
        err.message,
        "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"jane\" "
        "(groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not "
        "currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" "
        "\"list\"]}");
}

static void a_role_with_more_rights_may_not_be_bound(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct client *c = jane(f);
    assert_int_equal(
        server_create(f, c, RESOURCE_ROLEBINDINGS, "default", joe_is_cluster_admin, NULL, &err),
        -1);
    client_close(c);
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_non_null(strstr(err.message, "{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"));
}

static void masters_may_grant_everything(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    assert_int_equal(server_create(f, f->admin, RESOURCE_ROLEBINDINGS, "default",
                                   joe_is_cluster_admin, NULL, &err),
                     0);
}

static struct client *node(struct server_fixture *f)
{
    static const char *const groups[] = { "system:nodes", NULL };
    return apiserver_loopback(f->server, "system:node:n1", groups);
}

static void a_node_registers_under_its_own_name(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct client *c = node(f);
    assert_int_equal(
        server_create(f, c, RESOURCE_NODES, "",
                      "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n1\"}}",
                      NULL, &err),
        0);
    assert_int_equal(
        server_create(f, c, RESOURCE_NODES, "",
                      "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n2\"}}",
                      NULL, &err),
        -1);
    client_close(c);
    assert_string_equal(
        err.message, "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
}

static void a_node_makes_no_pods_but_mirrors(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct client *c = node(f);
    int made = server_create(
        f, c, RESOURCE_PODS, "kube-system",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"static-n1\","
        "\"namespace\":\"kube-system\",\"annotations\":{\"kubernetes.io/config.mirror\":"
        "\"1\"}},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\",\"image\":"
        "\"i\"}]}}",
        NULL, &err);
    if (made < 0)
        fail_msg("%s", err.message);
    assert_int_equal(
        server_create(f, c, RESOURCE_PODS, "kube-system",
                      "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\","
                      "\"namespace\":\"kube-system\",\"annotations\":{"
                      "\"kubernetes.io/config.mirror\":\"1\"}},\"spec\":{\"nodeName\":\"n2\","
                      "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
                      NULL, &err),
        -1);
    client_close(c);
    assert_string_equal(err.message,
                        "pods \"x\" is forbidden: node \"n1\" can only create pods with "
                        "spec.nodeName set to itself");
}

static void a_nodes_token_is_bound_to_a_pod_of_its_own(void **state)
{
    struct server_fixture *f = *state;
    static const char *const groups[] = { "system:nodes", NULL };
    struct user user = { .name = "system:node:n1", .uid = "", .groups = groups };
    static const struct {
        const char *request, *why;
    } cases[] = {
        { "{\"spec\":{}}", "node requested token not bound to a pod" },
        { "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Secret\",\"name\":\"s\"}}}",
          "node requested token not bound to a pod" },
        { "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Pod\",\"name\":\"p\"}}}",
          "node requested token with a pod binding without a uid" },
        { "{\"spec\":{\"boundObjectRef\":{\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u\"}}}",
          "pods \"p\" not found" },
    };
    struct error err = { 0 };
    struct object *created = NULL;
    if (server_create(
            f, f->admin, RESOURCE_SERVICEACCOUNTS, "default",
            "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"bot\","
            "\"namespace\":\"default\"}}",
            &created, &err) < 0)
        fail_msg("%s", err.message);
    scoped(object) struct object *account = created;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error why = { 0 };
        const struct json *doc = json_parse(bytes_of(cases[i].request), f->arena, NULL, &err);
        assert_int_equal(node_check_token(f->server, &user, account, doc, &why), -1);
        assert_non_null(strstr(why.message, cases[i].why));
    }
    user.name = "jane"; /* no node */
    assert_int_equal(node_check_token(f->server, &user, account, NULL, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_holds_a_rule_may_grant_it, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(who_does_not_hold_a_rule_may_not_grant_it, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_role_with_more_rights_may_not_be_bound, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(masters_may_grant_everything, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_node_registers_under_its_own_name, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_node_makes_no_pods_but_mirrors, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_nodes_token_is_bound_to_a_pod_of_its_own, server_set_up,
                                        server_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
