/* SPDX-License-Identifier: Apache-2.0 */
/* replicaset_test - as many pods as wanted, and the right ones. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec replicaset_controller, replicationcontroller_controller;

static void put_set(struct cluster *t, int replicas)
{
    char text[600];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'web','uid':'rs-uid'},'spec':{"
             "'replicas':%d,'selector':{'matchLabels':{'app':'web'}},'template':{'metadata':{"
             "'labels':{'app':'web'}},'spec':{'containers':[{'name':'c','image':'i'}]}}}}",
             replicas);
    fake_store(t->fake, RESOURCE_REPLICASETS, text);
}

static void put_pod(struct cluster *t, const char *name, const char *more_metadata,
                    const char *rest)
{
    char text[800];
    snprintf(text, sizeof(text), "{'metadata':{'namespace':'default','name':'%s'%s},'spec':{}%s}",
             name, more_metadata, rest);
    fake_store(t->fake, RESOURCE_PODS, text);
}

#define OWNED                                                                                      \
    ",'labels':{'app':'web'},'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet',"      \
    "'name':'web','uid':'rs-uid','controller':true}]"
#define READY                                                                                      \
    ",'status':{'phase':'Running','conditions':[{'type':'Ready','status':'True',"                  \
    "'lastTransitionTime':'2026-01-01T00:00:00Z'}]}"

static void pods_are_made_from_the_template_and_owned(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_set(t, 2);
    cluster_start(t, &replicaset_controller, NULL);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.availableReplicas", "2");
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    assert_int_equal(pods.n, 2);
    const struct json *owner = object_controller(pods.items[0]);
    assert_string_equal(json_str(owner, "kind", ""), "ReplicaSet");
    assert_string_equal(json_str(owner, "uid", ""), "rs-uid");
    assert_true(json_bool(owner, "blockOwnerDeletion", false));
    assert_string_equal(object_label(pods.items[0], "app"), "web");
    assert_string_equal(json_str(pods.items[0]->doc, "metadata.generateName", ""), "web-");
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.fullyLabeledReplicas", "2");
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.terminatingReplicas", "0");
}

static void a_pod_that_goes_is_replaced(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1);
    put_pod(t, "a", OWNED, "");
    cluster_start(t, &replicaset_controller, NULL);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.replicas", "1");
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    wait_count(t, RESOURCE_PODS, 1);
}

static void what_is_not_ready_goes_first(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1);
    put_pod(t, "ready", OWNED, READY);
    put_pod(t, "pending", OWNED, "");
    cluster_start(t, &replicaset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 1);
    scoped(object) struct object *kept = fake_get(t->fake, RESOURCE_PODS, "default", "ready");
    assert_non_null(kept);
    wait_event(t, "Deleted pod: pending");
}

static void the_deletion_cost_decides_among_ready_pods(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1);
    put_pod(t, "cheap", OWNED ",'annotations':{'controller.kubernetes.io/pod-deletion-cost':'-5'}",
            READY);
    put_pod(t, "dear", OWNED, READY);
    cluster_start(t, &replicaset_controller, NULL);
    wait_gone(t, RESOURCE_PODS, "default", "cheap");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1);
}

static void orphans_that_match_are_adopted_and_strangers_released(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1);
    put_pod(t, "orphan", ",'labels':{'app':'web'}", READY);
    put_pod(t, "stranger",
            ",'labels':{'app':'other'},'ownerReferences':[{'apiVersion':'apps/v1','kind':"
            "'ReplicaSet','name':'web','uid':'rs-uid','controller':true}]",
            READY);
    cluster_start(t, &replicaset_controller, NULL);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.readyReplicas", "1");
    scoped(object) struct object *orphan = fake_get(t->fake, RESOURCE_PODS, "default", "orphan");
    scoped(object) struct object *stranger =
        fake_get(t->fake, RESOURCE_PODS, "default", "stranger");
    assert_string_equal(json_str(object_controller(orphan), "uid", ""), "rs-uid");
    assert_null(object_controller(stranger));
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 2);
}

static void a_failure_is_told_in_the_status_until_it_is_over(void **state)
{
    struct cluster *t = *state;
    fake_fail(t->fake, VERB_CREATE, RESOURCE_PODS, 3, ERR_FORBIDDEN, "exceeded quota");
    put_set(t, 1);
    cluster_start(t, &replicaset_controller, NULL);
    wait_event(t, "Error creating: exceeded quota");
    wait_count(t, RESOURCE_PODS, 1);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.conditions", NULL);
}

static void a_slow_watch_does_not_make_too_many_pods(void **state)
{
    struct cluster *t = *state;
    cluster_start(t, &replicaset_controller, NULL);
    put_set(t, 3);
    wait_count(t, RESOURCE_PODS, 3);
    fake_hold_watches(t->fake, true);
    fake_merge(t->fake, RESOURCE_REPLICASETS, "default", "web", "{'spec':{'replicas':5}}");
    fake_hold_watches(t->fake, false);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.replicas", "5");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 5);
    assert_int_equal(fake_calls(t->fake, VERB_CREATE, RESOURCE_PODS), 5);
}

static void a_set_that_is_being_deleted_makes_no_pods(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_REPLICASETS,
               "{'metadata':{'namespace':'default','name':'web','deletionTimestamp':"
               "'2026-01-01T00:00:00Z','finalizers':['foregroundDeletion']},'spec':{'replicas':3,"
               "'selector':{'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{'app':"
               "'web'}}}}}");
    cluster_start(t, &replicaset_controller, NULL);
    wait_value(t, RESOURCE_REPLICASETS, "default", "web", "status.observedGeneration", "1");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 0);
}

static void a_replication_controller_does_the_same(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    fake_store(t->fake, RESOURCE_REPLICATIONCONTROLLERS,
               "{'metadata':{'namespace':'default','name':'old'},'spec':{'replicas':2,'selector':"
               "{'app':'old'},'template':{'metadata':{'labels':{'app':'old'}},'spec':{}}}}");
    cluster_start(t, &replicationcontroller_controller, NULL);
    wait_value(t, RESOURCE_REPLICATIONCONTROLLERS, "default", "old", "status.readyReplicas", "2");
    wait_value(t, RESOURCE_REPLICATIONCONTROLLERS, "default", "old", "status.terminatingReplicas",
               NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pods_are_made_from_the_template_and_owned),
        TEST(a_pod_that_goes_is_replaced),
        TEST(what_is_not_ready_goes_first),
        TEST(the_deletion_cost_decides_among_ready_pods),
        TEST(orphans_that_match_are_adopted_and_strangers_released),
        TEST(a_failure_is_told_in_the_status_until_it_is_over),
        TEST(a_slow_watch_does_not_make_too_many_pods),
        TEST(a_set_that_is_being_deleted_makes_no_pods),
        TEST(a_replication_controller_does_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
