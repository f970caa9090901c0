/* SPDX-License-Identifier: Apache-2.0 */
/* daemonset_test - one pod on each node that may have it, replaced one by one. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec daemonset_controller;

#define NAME RESOURCE_DAEMONSETS, "default", "agent"

static void put_set(struct cluster *t, const char *image, const char *pod_spec)
{
    char text[900];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'agent','uid':'d'},'spec':{'selector':{"
             "'matchLabels':{'app':'agent'}},'updateStrategy':{'type':'RollingUpdate',"
             "'rollingUpdate':{'maxUnavailable':1,'maxSurge':0}},'template':{'metadata':{'labels':{"
             "'app':'agent'}},'spec':{'containers':[{'name':'c','image':'%s'}]%s}}}}",
             image, pod_spec);
    fake_store(t->fake, RESOURCE_DAEMONSETS, text);
}

static void put_node(struct cluster *t, const char *name, const char *labels, const char *spec)
{
    char text[400];
    snprintf(text, sizeof(text), "{'metadata':{'name':'%s','labels':{%s}},'spec':{%s}}", name,
             labels, spec);
    fake_store(t->fake, RESOURCE_NODES, text);
}

static void each_node_gets_one_pod(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_node(t, "n1", "", "");
    put_node(t, "n2", "",
             "'taints':[{'key':'node.kubernetes.io/unschedulable','effect':"
             "'NoSchedule'}]");
    put_node(t, "n3", "", "'taints':[{'key':'mine','effect':'NoSchedule'}]");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_value(t, NAME, "status.numberAvailable", "2");
    wait_value(t, NAME, "status.desiredNumberScheduled", "2");
    wait_value(t, NAME, "status.updatedNumberScheduled", "2");
    put_node(t, "n4", "", "");
    wait_value(t, NAME, "status.numberAvailable", "3");
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    assert_int_equal(pods.n, 3);
    assert_non_null(object_label(pods.items[0], "controller-revision-hash"));
    assert_int_equal(json_len(pods.items[0]->doc, "spec.tolerations"), 6);
}

static void a_selector_and_its_labels_decide_where(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_node(t, "n1", "'disk':'ssd'", "");
    put_node(t, "n2", "", "");
    put_set(t, "a", ",'nodeSelector':{'disk':'ssd'}");
    cluster_start(t, &daemonset_controller, NULL);
    wait_value(t, NAME, "status.numberReady", "1");
    fake_merge(t->fake, RESOURCE_NODES, "", "n2", "{'metadata':{'labels':{'disk':'ssd'}}}");
    wait_value(t, NAME, "status.numberReady", "2");
    fake_merge(t->fake, RESOURCE_NODES, "", "n1", "{'metadata':{'labels':{'disk':'hdd'}}}");
    wait_value(t, NAME, "status.desiredNumberScheduled", "1");
    wait_count(t, RESOURCE_PODS, 1);
}

static void a_new_template_replaces_the_pods_one_by_one(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_node(t, "n1", "", "");
    put_node(t, "n2", "", "");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_value(t, NAME, "status.numberAvailable", "2");
    fake_merge(t->fake, NAME,
               "{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'b'}]}}}}");
    wait_value(t, NAME, "status.observedGeneration", "2");
    wait_value(t, NAME, "status.updatedNumberScheduled", "2");
    wait_value(t, NAME, "status.numberAvailable", "2");
    wait_count(t, RESOURCE_CONTROLLERREVISIONS, 2);
    wait_count(t, RESOURCE_PODS, 2);
}

static void a_failed_pod_is_replaced(void **state)
{
    struct cluster *t = *state;
    put_node(t, "n1", "", "");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 1);
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    fake_merge(t->fake, RESOURCE_PODS, "default", pods.items[0]->key.name,
               "{'status':{'phase':'Failed'}}");
    wait_gone(t, RESOURCE_PODS, "default", pods.items[0]->key.name);
    wait_count(t, RESOURCE_PODS, 1);
}

/* Ends the first pod that has not ended. */
static void end_pod(struct cluster *t, const char *phase)
{
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod) {
        char text[64];
        if (!str_empty(json_str(pod->doc, "status.phase", "")))
            continue;
        snprintf(text, sizeof(text), "{'status':{'phase':'%s'}}", phase);
        fake_merge(t->fake, RESOURCE_PODS, "default", pod->key.name, text);
        return;
    }
    fail_msg("no pod is left");
}

static bool has_a_new_pod(struct fake_client *f, void *arg)
{
    (void)arg;
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(f, RESOURCE_PODS, &pods);
    return pods.n == 1 && !json_at(pods.items[0]->doc, "status.phase");
}

static void a_node_that_turns_pods_away_gets_them_slowly(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true; /* and nobody moves it */
    put_node(t, "n1", "", "");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 1);
    end_pod(t, "Failed");
    fake_wait(t->fake, has_a_new_pod, NULL, "a new pod at once");
    end_pod(t, "Failed");
    fake_merge(t->fake, NAME, "{'spec':{'minReadySeconds':1}}");
    wait_value(t, NAME, "status.observedGeneration", "2"); /* the failed pod has been seen, too */
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1);
    assert_false(has_a_new_pod(t->fake, NULL));
    fake_clock_advance(&t->clock, 2 * NS_PER_S);
    fake_merge(t->fake, NAME, "{'spec':{'minReadySeconds':2}}");
    fake_wait(t->fake, has_a_new_pod, NULL, "a new pod after a second");
}

static void a_pod_that_has_succeeded_is_replaced(void **state)
{
    struct cluster *t = *state;
    put_node(t, "n1", "", "");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 1);
    end_pod(t, "Succeeded");
    fake_wait(t->fake, has_a_new_pod, NULL, "a new pod");
}

static void a_pod_that_waits_for_a_node_that_is_gone_goes(void **state)
{
    struct cluster *t = *state;
    put_node(t, "n1", "", "");
    put_set(t, "a", "");
    cluster_start(t, &daemonset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 1);
    fake_drop(t->fake, RESOURCE_NODES, "", "n1");
    wait_count(t, RESOURCE_PODS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_node_gets_one_pod),
        TEST(a_selector_and_its_labels_decide_where),
        TEST(a_new_template_replaces_the_pods_one_by_one),
        TEST(a_failed_pod_is_replaced),
        TEST(a_node_that_turns_pods_away_gets_them_slowly),
        TEST(a_pod_that_has_succeeded_is_replaced),
        TEST(a_pod_that_waits_for_a_node_that_is_gone_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
