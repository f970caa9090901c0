/* SPDX-License-Identifier: Apache-2.0 */
/* nodes_test - nodes that fall silent, their taints, their pods, their pod ranges. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec node_lifecycle_controller, taint_eviction_controller,
    node_ipam_controller, pod_garbage_collector_controller;

static void put_node(struct cluster *t, const char *name, const char *ready, const char *spec)
{
    char text[600];
    snprintf(text, sizeof(text),
             "{'metadata':{'name':'%s'},'spec':{%s},'status':{'conditions':[{'type':'Ready',"
             "'status':'%s','reason':'KubeletReady','lastHeartbeatTime':'2027-01-01T00:00:00Z'}]}}",
             name, spec, ready);
    fake_store(t->fake, RESOURCE_NODES, text);
}

static void put_pod(struct cluster *t, const char *name, const char *node, const char *spec)
{
    char text[600];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s'},'spec':{'nodeName':'%s'%s},'status':{"
             "'phase':'Running','conditions':[{'type':'Ready','status':'True'}]}}",
             name, node, spec);
    fake_store(t->fake, RESOURCE_PODS, text);
}

struct taint_claim {
    const char *node, *key, *effect;
    bool is_there;
};

static bool taint_holds(struct fake_client *f, void *arg)
{
    const struct taint_claim *k = arg;
    scoped(object) struct object *node = fake_get(f, RESOURCE_NODES, "", k->node);
    bool found = false;
    json_each_item (json_at(node->doc, "spec.taints"), taint) {
        found = found || (str_equal(json_str(taint, "key", ""), k->key) &&
                          str_equal(json_str(taint, "effect", ""), k->effect));
    }
    return found == k->is_there;
}

static void wait_taint(struct cluster *t, const char *node, const char *key, const char *effect,
                       bool is_there)
{
    struct taint_claim k = { node, key, effect, is_there };
    fake_wait(t->fake, taint_holds, &k, key);
}

/* Time that passes while a node says nothing; then something that makes the controller look. */
static void pass(struct cluster *t, int64_t seconds, const char *node)
{
    fake_clock_advance(&t->clock, seconds * NS_PER_S);
    fake_merge(t->fake, RESOURCE_NODES, "", node, "{'spec':{'unschedulable':true}}");
}

static void a_silent_node_becomes_unknown_and_its_pods_not_ready(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    put_node(t, "n1", "True", "");
    put_pod(t, "a", "n1", "");
    cluster_start(t, &node_lifecycle_controller, NULL);
    pass(t, 51, "n1");
    wait_condition(t, RESOURCE_NODES, "", "n1", "Ready", "Unknown/NodeStatusUnknown");
    wait_condition(t, RESOURCE_NODES, "", "n1", "MemoryPressure", "Unknown/NodeStatusNeverUpdated");
    wait_taint(t, "n1", "node.kubernetes.io/unreachable", "NoSchedule", true);
    wait_taint(t, "n1", "node.kubernetes.io/unschedulable", "NoSchedule", true);
    wait_condition(t, RESOURCE_PODS, "default", "a", "Ready", "False/");
    wait_event(t, "Node n1 status is now: NodeNotReady");
    scoped(object) struct object *node = fake_get(t->fake, RESOURCE_NODES, "", "n1");
    assert_string_equal(json_str(object_condition(node, "Ready"), "message", ""),
                        "Kubelet stopped posting node status.");
    /* It is the only one: perhaps it is us who are cut off. */
    wait_taint(t, "n1", "node.kubernetes.io/unreachable", "NoExecute", false);
}

static void a_lease_is_a_sign_of_life(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    put_node(t, "n1", "True", "");
    cluster_start(t, &node_lifecycle_controller, NULL);
    fake_clock_advance(&t->clock, 40 * NS_PER_S);
    scoped(object) struct object *lease =
        fake_put(t->fake, RESOURCE_LEASES,
                 "{'metadata':{'namespace':'kube-node-lease','name':'n1'},'spec':{'renewTime':"
                 "'2027-01-15T08:00:40.000000Z'}}");
    struct informer *leases = informer_set_get(t->informers, &resources[RESOURCE_LEASES], NULL);
    assert_true(informer_wait_revision(leases, lease->resource_version, WAIT_MS));
    pass(t, 40, "n1");
    wait_taint(t, "n1", "node.kubernetes.io/unschedulable", "NoSchedule", true);
    wait_condition(t, RESOURCE_NODES, "", "n1", "Ready", "True/KubeletReady");
}

static void a_node_that_is_not_ready_is_tainted_and_a_ready_one_freed(void **state)
{
    struct cluster *t = *state;
    put_node(t, "n1", "False", "");
    put_node(t, "n2", "True", "");
    cluster_start(t, &node_lifecycle_controller, NULL);
    wait_taint(t, "n1", "node.kubernetes.io/not-ready", "NoSchedule", true);
    wait_taint(t, "n1", "node.kubernetes.io/not-ready", "NoExecute", true);
    fake_merge(t->fake, RESOURCE_NODES, "", "n1",
               "{'status':{'conditions':[{'type':'Ready','status':'True'}]}}");
    wait_taint(t, "n1", "node.kubernetes.io/not-ready", "NoSchedule", false);
    wait_taint(t, "n1", "node.kubernetes.io/not-ready", "NoExecute", false);
}

#define TAINTED "'taints':[{'key':'k','effect':'NoExecute','timeAdded':'2027-01-15T08:00:00Z'}]"

static void pods_that_do_not_tolerate_a_taint_are_evicted(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    put_node(t, "n1", "True", TAINTED);
    put_pod(t, "a", "n1", "");
    put_pod(t, "b", "n1", ",'tolerations':[{'key':'k','operator':'Exists'}]");
    put_pod(t, "c", "n1",
            ",'tolerations':[{'key':'k','operator':'Exists','tolerationSeconds':3600}]");
    cluster_start(t, &taint_eviction_controller, NULL);
    wait_gone(t, RESOURCE_PODS, "default", "a");
    wait_event(t, "Marking for deletion Pod default/a");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 2);
}

static void a_toleration_may_end(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    put_node(t, "n1", "True", "");
    put_pod(t, "c", "n1", ",'tolerations':[{'operator':'Exists','tolerationSeconds':300}]");
    cluster_start(t, &taint_eviction_controller, NULL);
    fake_clock_advance(&t->clock, 301 * NS_PER_S);
    fake_merge(t->fake, RESOURCE_NODES, "", "n1", "{'spec':{" TAINTED "}}");
    wait_gone(t, RESOURCE_PODS, "default", "c");
}

static void each_node_gets_a_range_of_its_own(void **state)
{
    struct cluster *t = *state;
    put_node(t, "n1", "True", "'podCIDR':'10.42.0.0/24'");
    put_node(t, "n2", "True", "");
    cluster_start(t, &node_ipam_controller, NULL);
    wait_value(t, RESOURCE_NODES, "", "n2", "spec.podCIDR", "10.42.1.0/24");
    put_node(t, "n3", "True", "");
    wait_value(t, RESOURCE_NODES, "", "n3", "spec.podCIDR", "10.42.2.0/24");
    fake_drop(t->fake, RESOURCE_NODES, "", "n1");
    put_node(t, "n4", "True", "");
    wait_value(t, RESOURCE_NODES, "", "n4", "spec.podCIDR", "10.42.0.0/24");
    scoped(object) struct object *node = fake_get(t->fake, RESOURCE_NODES, "", "n4");
    assert_int_equal(json_len(node->doc, "spec.podCIDRs"), 1);
}

static void a_deleted_pod_without_a_node_goes(void **state)
{
    struct cluster *t = *state;
    cluster_start(t, &pod_garbage_collector_controller, NULL);
    fake_store(t->fake, RESOURCE_PODS,
               "{'metadata':{'namespace':'default','name':'a','deletionTimestamp':"
               "'2027-01-01T00:00:00Z'},'spec':{}}");
    wait_gone(t, RESOURCE_PODS, "default", "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_silent_node_becomes_unknown_and_its_pods_not_ready),
        TEST(a_lease_is_a_sign_of_life),
        TEST(a_node_that_is_not_ready_is_tainted_and_a_ready_one_freed),
        TEST(pods_that_do_not_tolerate_a_taint_are_evicted),
        TEST(a_toleration_may_end),
        TEST(each_node_gets_a_range_of_its_own),
        TEST(a_deleted_pod_without_a_node_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
