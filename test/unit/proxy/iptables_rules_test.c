/* SPDX-License-Identifier: Apache-2.0 */
/* iptables_rules_test.c - rules as text, and what is sent when services change. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/iptables_rules.h"

static const struct proxy_endpoint three[] = {
    { "10.42.0.2", 8080, true },
    { "10.42.0.3", 8080, false },
    { "10.42.1.4", 8080, false },
};

static struct service_port web(size_t endpoints)
{
    return (struct service_port){
        .ns = "default",
        .service = "web",
        .name = "http",
        .protocol = "tcp",
        .cluster_ip = "10.43.0.7",
        .port = 80,
        .endpoints = three,
        .endpoints_n = endpoints,
    };
}

static struct rule_set rules(const struct service_port *sp, struct arena *a)
{
    struct rule_set set;
    rules_for_ports(sp, 1, "10.42.0.0/16", a, &set);
    return set;
}

static const char *body_with_prefix(const struct rule_set *set, const char *prefix)
{
    for (size_t i = 0; i < set->chains_n; i++) {
        if (str_has_prefix(set->chains[i].name, prefix))
            return set->chains[i].body;
    }
    return "";
}

static void assert_contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text ? text : "(nothing)");
}

static void each_endpoint_gets_an_equal_share(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(3);
    struct rule_set set = rules(&sp, a);
    const char *svc = body_with_prefix(&set, "KUBE-SVC-");

    assert_contains(svc, "-d 10.43.0.7 --dport 80 ! -s 10.42.0.0/16 -j KUBE-MARK-MASQ");
    assert_contains(svc, "--probability 0.3333333333 ");
    assert_contains(svc, "--probability 0.5000000000 ");
    assert_contains(svc, "\"default/web:http -> 10.42.1.4:8080\" -j KUBE-SEP-");
    assert_contains(body_with_prefix(&set, "KUBE-SEP-"), "-j DNAT --to-destination 10.42.0.2:8080");
}

static void chain_names_are_those_of_upstream(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(1);
    sp.service = "kubernetes";
    sp.name = "https";
    struct rule_set set = rules(&sp, a);
    /* Every cluster with kube-proxy in iptables mode has this chain. */
    assert_string_equal(set.chains[set.chains_n - 1].name, "KUBE-SVC-NPX46M4PTMTKRN6Y");
}

static void a_service_without_endpoints_is_refused(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(0);
    sp.node_port = 30080;
    struct rule_set set = rules(&sp, a);

    assert_int_equal(set.chains_n, 0);
    assert_int_equal(set.lines_n, 2);
    assert_int_equal(set.lines[0].place, PLACE_FILTER_SERVICES);
    assert_contains(set.lines[0].spec, "default/web:http has no endpoints");
    assert_contains(set.lines[0].spec, "-d 10.43.0.7 --dport 80 -j REJECT");
    assert_contains(set.lines[1].spec, "--dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT");
}

static void node_ports_are_masqueraded_unless_the_policy_is_local(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(3);
    sp.node_port = 30080;
    struct rule_set set = rules(&sp, a);
    assert_contains(body_with_prefix(&set, "KUBE-EXT-"), "-j KUBE-MARK-MASQ");

    sp.external_is_local = true;
    set = rules(&sp, a);
    const char *ext = body_with_prefix(&set, "KUBE-EXT-");
    assert_contains(ext, "-s 10.42.0.0/16 -j KUBE-SVC-");
    assert_contains(ext, "-j KUBE-SVL-");
    const char *svl = body_with_prefix(&set, "KUBE-SVL-");
    assert_contains(svl, "10.42.0.2:8080");
    assert_null(strstr(svl, "10.42.0.3:8080"));
}

/* Refused, a load balancer's check would take the node for one that has crashed. */
static void the_local_policy_drops_what_has_no_endpoint_here(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(3);
    sp.endpoints = three + 1; /* two, on other nodes */
    sp.endpoints_n = 2;
    sp.node_port = 30080;
    sp.external_is_local = true;
    struct rule_set set = rules(&sp, a);
    const char *drop = NULL;
    for (size_t i = 0; i < set.lines_n; i++)
        if (set.lines[i].place == PLACE_FILTER_NODEPORTS)
            drop = set.lines[i].spec;
    assert_contains(drop, "default/web:http has no local endpoints");
    assert_contains(drop, "--dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP");
    assert_contains(body_with_prefix(&set, "KUBE-EXT-"), "-s 10.42.0.0/16 -j KUBE-SVC-");
}

static void affinity_remembers_the_client(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(2);
    sp.affinity_s = 10800;
    struct rule_set set = rules(&sp, a);
    assert_contains(body_with_prefix(&set, "KUBE-SVC-"),
                    "--rcheck --seconds 10800 --reap -j KUBE-SEP-");
    assert_contains(body_with_prefix(&set, "KUBE-SEP-"), "--set -m tcp -p tcp -j DNAT");
}

static void an_unchanged_service_sends_nothing(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(3);
    struct rule_set old = rules(&sp, a), new = rules(&sp, a);
    scoped(rule_batch) struct rule_batch batch = { 0 };
    rule_batch_change(&batch, &old, &new);
    assert_true(rule_batch_is_empty(&batch));
}

static void a_lost_endpoint_rewrites_one_chain_and_removes_another(void **state)
{
    struct arena *a = *state;
    struct service_port before = web(3), after = web(2);
    struct rule_set old = rules(&before, a), new = rules(&after, a);
    scoped(rule_batch) struct rule_batch batch = { 0 };
    scoped(buffer) struct buffer text = { 0 };

    rule_batch_change(&batch, &old, &new);
    rule_batch_print(&batch, false, &text);

    assert_contains(text.data, ":KUBE-SVC-");
    assert_contains(text.data, "-X KUBE-SEP-");
    assert_null(strstr(text.data, "-I KUBE-SERVICES"));
    assert_null(strstr(text.data, "*filter"));
    assert_null(
        strstr(text.data, "to-destination")); /* the endpoints that stay are not sent again */
}

static void a_deleted_service_leaves_nothing_behind(void **state)
{
    struct arena *a = *state;
    struct service_port sp = web(1);
    sp.node_port = 30080;
    struct rule_set old = rules(&sp, a);
    scoped(rule_batch) struct rule_batch batch = { 0 };
    scoped(buffer) struct buffer text = { 0 };

    rule_batch_change(&batch, &old, NULL);
    rule_batch_print(&batch, false, &text);

    assert_contains(text.data, "-D KUBE-SERVICES -m comment");
    assert_contains(text.data, "-D KUBE-NODEPORTS -m comment");
    assert_contains(text.data, "-X KUBE-SVC-");
    assert_contains(text.data, "-X KUBE-EXT-");
    assert_contains(text.data, "-X KUBE-SEP-");
    assert_true(strstr(text.data, "-D KUBE-SERVICES") < strstr(text.data, "-X KUBE-SVC-"));
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_endpoint_gets_an_equal_share),
        TEST(chain_names_are_those_of_upstream),
        TEST(a_service_without_endpoints_is_refused),
        TEST(node_ports_are_masqueraded_unless_the_policy_is_local),
        TEST(the_local_policy_drops_what_has_no_endpoint_here),
        TEST(affinity_remembers_the_client),
        TEST(an_unchanged_service_sends_nothing),
        TEST(a_lost_endpoint_rewrites_one_chain_and_removes_another),
        TEST(a_deleted_service_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
