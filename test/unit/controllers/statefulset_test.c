/* SPDX-License-Identifier: Apache-2.0 */
/* statefulset_test - names, order, volumes. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec statefulset_controller;

#define NAME  RESOURCE_STATEFULSETS, "default", "db"
#define CLAIM RESOURCE_PERSISTENTVOLUMECLAIMS, "default"
#define DATA  ",'volumeClaimTemplates':[{'metadata':{'name':'data'},'spec':{}}]"

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
    put_set(t, 2, DATA);
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

static bool is_owned_by_kind(struct fake_client *f, void *arg)
{
    const struct claim *k = arg;
    scoped(object) struct object *o = fake_get(f, CLAIM, k->name);
    return o && str_equal(json_str(object_controller(o), "kind", ""), k->value);
}

static void wait_owner(struct cluster *t, const char *claim, const char *kind)
{
    struct claim k = { .name = claim, .value = kind };
    fake_wait(t->fake, is_owned_by_kind, &k, claim);
}

static void claims_belong_to_whom_they_are_to_go_with(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_set(t, 2,
            DATA ",'persistentVolumeClaimRetentionPolicy':{'whenDeleted':'Delete',"
                 "'whenScaled':'Delete'}");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.readyReplicas", "2");
    wait_owner(t, "data-db-1", "StatefulSet");
    fake_merge(t->fake, NAME, "{'spec':{'replicas':1}}");
    wait_owner(t, "data-db-1", "Pod");
    wait_gone(t, RESOURCE_PODS, "default", "db-1");
    wait_owner(t, "data-db-0", "StatefulSet");

    /* The number is wanted again, but its claim is the earlier pod's and will go. */
    fake_merge(t->fake, NAME, "{'spec':{'replicas':2,'serviceName':'new'}}");
    scoped(object) struct object *set = fake_get(t->fake, NAME);
    char generation[24];
    snprintf(generation, sizeof(generation), "%lld", (long long)object_generation(set));
    wait_value(t, NAME, "status.observedGeneration", generation);
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1);
    fake_drop(t->fake, CLAIM, "data-db-1");
    wait_value(t, NAME, "status.readyReplicas", "2");
    wait_owner(t, "data-db-1", "StatefulSet");

    fake_merge(t->fake, NAME,
               "{'spec':{'persistentVolumeClaimRetentionPolicy':{'whenDeleted':'Retain'}}}");
    wait_value(t, CLAIM, "data-db-1", "metadata.ownerReferences", NULL);
}

static void a_pod_waits_for_a_claim_that_is_being_deleted(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS,
               "{'metadata':{'namespace':'default','name':'data-db-0','uid':'old','labels':{"
               "'app':'db'},'deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':['a/b']}}");
    put_set(t, 1, DATA);
    cluster_start(t, &statefulset_controller, NULL);
    wait_event(t, "create Pod db-0 in StatefulSet db failed error: pvc data-db-0 is being deleted");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 0);
    fake_drop(t->fake, CLAIM, "data-db-0");
    wait_value(t, NAME, "status.replicas", "1");
    wait_value(t, CLAIM, "data-db-0", "metadata.deletionTimestamp", NULL);
}

static void a_claim_that_a_pending_pod_misses_is_made_again(void **state)
{
    struct cluster *t = *state;
    put_set(t, 1, DATA);
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.replicas", "1");
    fake_drop(t->fake, CLAIM, "data-db-0");
    fake_merge(t->fake, RESOURCE_PODS, "default", "db-0", "{'status':{'phase':'Pending'}}");
    wait_count(t, RESOURCE_PERSISTENTVOLUMECLAIMS, 1);
}

static void the_label_with_its_name_comes_back(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_set(t, 1, "");
    cluster_start(t, &statefulset_controller, NULL);
    wait_value(t, NAME, "status.readyReplicas", "1");
    fake_merge(t->fake, RESOURCE_PODS, "default", "db-0",
               "{'metadata':{'labels':{'statefulset.kubernetes.io/pod-name':null}}}");
    wait_event(t, "update Pod db-0 in StatefulSet db successful");
    scoped(object) struct object *pod = fake_get(t->fake, RESOURCE_PODS, "default", "db-0");
    assert_string_equal(object_label(pod, "statefulset.kubernetes.io/pod-name"), "db-0");
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
        TEST(claims_belong_to_whom_they_are_to_go_with),
        TEST(a_pod_waits_for_a_claim_that_is_being_deleted),
        TEST(a_claim_that_a_pending_pod_misses_is_made_again),
        TEST(the_label_with_its_name_comes_back),
        TEST(parallel_sets_do_not_wait),
        TEST(an_update_goes_from_the_last_pod_to_the_first),
        TEST(a_failed_pod_is_made_again_under_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
