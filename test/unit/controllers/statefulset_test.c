/* SPDX-License-Identifier: Apache-2.0 */
/* statefulset_test - names, order, volumes. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec statefulset_controller;

#define NAME RESOURCE_STATEFULSETS, "default", "db"

static void put_set(struct cluster *t, int replicas, const char *more)
{
    char text[1200];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'db','uid':'s'},'spec':{'replicas':%d,"
             "'serviceName':'db','selector':{'matchLabels':{'app':'db'}},'updateStrategy':{'type':"
             "'RollingUpdate','rollingUpdate':{'partition':0}},'template':{'metadata':{'labels':{"
             "'app':'db'}},'spec':{'schedulerName':'a','containers':[{'name':'c'}]}}%s}}",
             replicas, more);
    fake_store(t->fake, RESOURCE_STATEFULSETS, text);
}

static void make_ready(struct cluster *t, const char *pod)
{
    fake_merge(t->fake, RESOURCE_PODS, "default", pod,
               "{'status':{'phase':'Running','conditions':[{'type':'Ready','status':'True'}]}}");
}

static void pods_come_one_after_the_other_with_names(void **state)
{
    struct cluster *t = *state;
    put_set(t, 2, "");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, RESOURCE_PODS, "default", "db-0", "spec.hostname", "db-0");
    wait_value(t, NAME, "status.replicas", "1");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1); /* it is not ready yet */
    make_ready(t, "db-0");
    wait_value(t, RESOURCE_PODS, "default", "db-1", "spec.subdomain", "db");
    make_ready(t, "db-1");
    wait_value(t, NAME, "status.availableReplicas", "2");
    scoped(object) struct object *pod = fake_get(t->fake, RESOURCE_PODS, "default", "db-1");
    scoped(object) struct object *set = fake_get(t->fake, NAME);
    assert_string_equal(object_label(pod, "statefulset.kubernetes.io/pod-name"), "db-1");
    assert_string_equal(object_label(pod, "apps.kubernetes.io/pod-index"), "1");
    assert_string_equal(object_label(pod, "controller-revision-hash"),
                        json_str(set->doc, "status.updateRevision", ""));
    wait_event(t, "create Pod db-1 in StatefulSet db successful");
}

static void each_pod_has_claims_of_its_own_that_stay(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_set(t, 2, ",'volumeClaimTemplates':[{'metadata':{'name':'data'},'spec':{}}]");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.readyReplicas", "2");
    scoped(object) struct object *claim =
        fake_get(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "data-db-1");
    assert_string_equal(object_label(claim, "app"), "db");
    scoped(object) struct object *pod = fake_get(t->fake, RESOURCE_PODS, "default", "db-1");
    const struct json *volumes = json_at(pod->doc, "spec.volumes");
    assert_string_equal(json_str(&volumes->items[0], "persistentVolumeClaim.claimName", ""),
                        "data-db-1");
    fake_merge(t->fake, NAME, "{'spec':{'replicas':1}}");
    wait_gone(t, RESOURCE_PODS, "default", "db-1");
    assert_int_equal(fake_count(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS), 2);
}

static void parallel_sets_do_not_wait(void **state)
{
    struct cluster *t = *state;
    put_set(t, 3, ",'podManagementPolicy':'Parallel'");
    cluster_start(t, &statefulset_controller, NULL);
    wait_count(t, RESOURCE_PODS, 3);
}

static void an_update_goes_from_the_last_pod_to_the_first(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_set(t, 3, "");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.readyReplicas", "3");
    fake_merge(t->fake, NAME,
               "{'spec':{'updateStrategy':{'rollingUpdate':{'partition':1}},'template':{'spec':{"
               "'schedulerName':'b'}}}}");
    wait_value(t, NAME, "status.updatedReplicas", "2");
    wait_value(t, NAME, "status.readyReplicas", "3");
    wait_value(t, RESOURCE_PODS, "default", "db-0", "spec.schedulerName", "a");
    wait_value(t, RESOURCE_PODS, "default", "db-1", "spec.schedulerName", "b");
    fake_drop(t->fake, RESOURCE_PODS, "default",
              "db-0"); /* below the partition: the old one again */
    wait_value(t, NAME, "status.readyReplicas", "3");
    wait_value(t, RESOURCE_PODS, "default", "db-0", "spec.schedulerName", "a");
    fake_merge(t->fake, NAME, "{'spec':{'updateStrategy':{'rollingUpdate':{'partition':0}}}}");
    wait_value(t, NAME, "status.updatedReplicas", "3");
    wait_value(t, NAME, "status.currentReplicas", "3");
    scoped(object) struct object *set = fake_get(t->fake, NAME);
    assert_string_equal(json_str(set->doc, "status.currentRevision", ""),
                        json_str(set->doc, "status.updateRevision", "-"));
}

static void a_failed_pod_is_made_again_under_its_name(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1, "");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.replicas", "1");
    fake_merge(t->fake, RESOURCE_PODS, "default", "db-0", "{'status':{'phase':'Failed'}}");
    wait_event(t, "StatefulSet default/db is recreating failed Pod db-0");
    wait_value(t, RESOURCE_PODS, "default", "db-0", "status.phase", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pods_come_one_after_the_other_with_names),
        TEST(each_pod_has_claims_of_its_own_that_stay),
        TEST(parallel_sets_do_not_wait),
        TEST(an_update_goes_from_the_last_pod_to_the_first),
        TEST(a_failed_pod_is_made_again_under_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
