/* SPDX-License-Identifier: Apache-2.0 */
/* authz_node_test.c - a node reaches what its pods use, and no more. */
#include "apiserver/authz_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const node_groups[] = { "system:nodes", "system:authenticated", NULL };

static int set_up(void **state)
{
    *state = node_graph_new();
    return 0;
}

static int tear_down(void **state)
{
    node_graph_free(*state);
    return 0;
}

static struct object *pod(const char *name, const char *node, const char *secret)
{
    struct error err = { 0 };
    scoped(str) char *text = xasprintf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"namespace\":"
        "\"a\"},\"spec\":{\"nodeName\":\"%s\",\"serviceAccountName\":\"sa\",\"containers\":[{"
        "\"name\":\"c\",\"envFrom\":[{\"configMapRef\":{\"name\":\"env\"}}]}],\"volumes\":[{"
        "\"name\":\"v\",\"secret\":{\"secretName\":\"%s\"}},{\"name\":\"p\",\"projected\":{"
        "\"sources\":[{\"configMap\":{\"name\":\"kube-root-ca.crt\"}}]}}]}}",
        name, node, secret);
    struct object *o = object_parse(NULL, bytes_of(text), 1, &err);
    if (!o)
        fail_msg("%s", err.message);
    return o;
}

static bool may(struct node_graph *g, const char *node, struct attributes at)
{
    char reason[AUTHZ_REASON_BYTES] = "";
    scoped(str) char *name = xasprintf("system:node:%s", node);
    struct user user = { .name = name, .uid = "", .groups = node_groups };
    at.user = &user;
    at.is_resource_request = true;
    at.version = "v1";
    at.path = "";
    at.group = at.group ? at.group : "";
    at.subresource = at.subresource ? at.subresource : "";
    at.ns = at.ns ? at.ns : "";
    at.name = at.name ? at.name : "";
    at.field_selector = at.field_selector ? at.field_selector : "";
    return node_authorize(NULL, g, &at, reason);
}

static bool may_get(struct node_graph *g, const char *node, const char *resource, const char *name)
{
    return may(g, node,
               (struct attributes){ .verb = "get", .resource = resource, .ns = "a", .name = name });
}

static void a_node_reads_what_its_pods_mention(void **state)
{
    scoped(object) struct object *p = pod("p", "n1", "s");
    node_graph_pod_changed(NULL, p, *state);
    assert_true(may_get(*state, "n1", "secrets", "s"));
    assert_true(may_get(*state, "n1", "configmaps", "env"));
    assert_true(may_get(*state, "n1", "configmaps", "kube-root-ca.crt"));
    assert_true(may_get(*state, "n1", "pods", "p"));
    assert_false(may_get(*state, "n1", "secrets", "other"));
    assert_false(may_get(*state, "n2", "secrets", "s"));
    assert_false(may_get(*state, "n2", "pods", "p"));
}

static void what_is_shared_stays_until_the_last_pod_goes(void **state)
{
    scoped(object) struct object *p = pod("p", "n1", "s");
    scoped(object) struct object *q = pod("q", "n1", "s");
    node_graph_pod_changed(NULL, p, *state);
    node_graph_pod_changed(NULL, q, *state);
    node_graph_pod_changed(p, NULL, *state);
    assert_true(may_get(*state, "n1", "secrets", "s"));
    node_graph_pod_changed(q, NULL, *state);
    assert_false(may_get(*state, "n1", "secrets", "s"));
}

static void a_pod_counts_from_when_it_is_bound(void **state)
{
    scoped(object) struct object *pending = pod("p", "", "s");
    scoped(object) struct object *bound = pod("p", "n1", "s");
    node_graph_pod_changed(NULL, pending, *state);
    assert_false(may_get(*state, "n1", "secrets", "s"));
    node_graph_pod_changed(pending, bound, *state);
    assert_true(may_get(*state, "n1", "secrets", "s"));
}

static void secrets_are_never_listed_as_a_whole(void **state)
{
    scoped(object) struct object *p = pod("p", "n1", "s");
    node_graph_pod_changed(NULL, p, *state);
    assert_false(may(*state, "n1", (struct attributes){ .verb = "list", .resource = "secrets" }));
    assert_true(
        may(*state, "n1",
            (struct attributes){ .verb = "watch", .resource = "secrets", .ns = "a", .name = "s" }));
    assert_false(may(
        *state, "n1",
        (struct attributes){ .verb = "update", .resource = "secrets", .ns = "a", .name = "s" }));
}

static void a_node_changes_itself_and_its_lease_only(void **state)
{
    static const struct {
        const char *verb, *group, *resource, *subresource, *ns, *name;
        bool allowed;
    } cases[] = {
        { "patch", "", "nodes", "status", "", "n1", true },
        { "patch", "", "nodes", "status", "", "n2", false },
        { "create", "", "nodes", "", "", "", true },
        { "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1", true },
        { "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2", false },
        { "update", "coordination.k8s.io", "leases", "", "kube-system", "n1", false },
        { "list", "", "services", "", "", "", true },
        { "create", "", "events", "", "a", "", true },
        { "get", "", "serviceaccounts", "", "a", "sa", true },
        { "create", "", "serviceaccounts", "token", "a", "sa", true },
        { "create", "", "serviceaccounts", "token", "a", "other", false },
        { "delete", "apps", "deployments", "", "a", "d", false },
    };
    scoped(object) struct object *p = pod("p", "n1", "s");
    node_graph_pod_changed(NULL, p, *state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (may(*state, "n1",
                (struct attributes){ .verb = cases[i].verb,
                                     .group = cases[i].group,
                                     .resource = cases[i].resource,
                                     .subresource = cases[i].subresource,
                                     .ns = cases[i].ns,
                                     .name = cases[i].name }) != cases[i].allowed)
            fail_msg("%s %s/%s %s", cases[i].verb, cases[i].resource, cases[i].subresource,
                     cases[i].name);
}

static void pods_are_listed_by_node_only(void **state)
{
    assert_true(may(*state, "n1",
                    (struct attributes){ .verb = "list",
                                         .resource = "pods",
                                         .field_selector = "spec.nodeName=n1" }));
    assert_false(may(*state, "n1",
                     (struct attributes){ .verb = "list",
                                          .resource = "pods",
                                          .field_selector = "spec.nodeName=n2" }));
    assert_false(may(*state, "n1", (struct attributes){ .verb = "list", .resource = "pods" }));
}

static void only_members_of_the_group_are_nodes(void **state)
{
    (void)state;
    const char *const others[] = { "system:authenticated", NULL };
    struct user user = { .name = "system:node:n1", .groups = others };
    assert_null(node_of_user(&user));
    user.groups = node_groups;
    assert_string_equal(node_of_user(&user), "n1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_node_reads_what_its_pods_mention, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_shared_stays_until_the_last_pod_goes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_pod_counts_from_when_it_is_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_are_never_listed_as_a_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_changes_itself_and_its_lease_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(pods_are_listed_by_node_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_members_of_the_group_are_nodes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
