/* SPDX-License-Identifier: Apache-2.0 */
/* deployment_test - rollouts as users see them. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec deployment_controller, replicaset_controller;

#define NAME RESOURCE_DEPLOYMENTS, "default", "web"

static void put_deployment(struct cluster *t, int replicas, const char *image, const char *more)
{
    char text[1000];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'web','uid':'d-uid'},'spec':{'replicas':%d,"
             "'selector':{'matchLabels':{'app':'web'}},'revisionHistoryLimit':10,"
             "'progressDeadlineSeconds':600,'strategy':{'type':'RollingUpdate','rollingUpdate':{"
             "'maxSurge':'25%%','maxUnavailable':'25%%'}},'template':{'metadata':{'labels':{'app':"
             "'web'}},'spec':{'containers':[{'name':'c','image':'%s'}]}}%s}}",
             replicas, image, more);
    fake_store(t->fake, RESOURCE_DEPLOYMENTS, text);
}

static void set_image(struct cluster *t, const char *image)
{
    char text[200];
    snprintf(text, sizeof(text),
             "{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'%s'}]}}}}", image);
    fake_merge(t->fake, NAME, text);
}

static void wait_complete(struct cluster *t, const char *generation)
{
    wait_value(t, NAME, "status.observedGeneration", generation);
    wait_condition(t, NAME, "Progressing", "True/NewReplicaSetAvailable");
    wait_value(t, NAME, "status.unavailableReplicas", NULL);
}

static struct object *set_of_image(struct cluster *t, const char *image)
{
    scoped(object_list) struct object_list sets = { 0 };
    fake_list(t->fake, RESOURCE_REPLICASETS, &sets);
    object_list_each (&sets, rs) {
        const struct json *containers = json_at(rs->doc, "spec.template.spec.containers");
        if (str_equal(json_str(&containers->items[0], "image", ""), image))
            return object_ref(rs);
    }
    return NULL;
}

static void a_deployment_becomes_available(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 3, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "1");
    wait_condition(t, NAME, "Available", "True/MinimumReplicasAvailable");
    wait_value(t, NAME, "status.availableReplicas", "3");
    wait_value(t, NAME, "status.updatedReplicas", "3");
    wait_value(t, NAME, "status.terminatingReplicas", "0");

    scoped(object) struct object *d = fake_get(t->fake, NAME);
    scoped(object) struct object *rs = set_of_image(t, "a");
    const char *hash = object_label(rs, "pod-template-hash");
    assert_string_equal(object_annotation(d, "deployment.kubernetes.io/revision"), "1");
    assert_string_equal(object_annotation(rs, "deployment.kubernetes.io/revision"), "1");
    assert_string_equal(object_annotation(rs, "deployment.kubernetes.io/desired-replicas"), "3");
    assert_string_equal(object_annotation(rs, "deployment.kubernetes.io/max-replicas"), "4");
    assert_memory_equal(rs->key.name, "web-", 4);
    assert_string_equal(rs->key.name + 4, hash);
    assert_int_equal(strspn(hash, "bcdfghjklmnpqrstvwxz2456789"), strlen(hash));
    assert_true(object_is_controlled_by(rs, d));
    const struct json *k = object_condition(d, "Progressing");
    char expected[128];
    snprintf(expected, sizeof(expected), "ReplicaSet \"%s\" has successfully progressed.",
             rs->key.name);
    assert_string_equal(json_str(k, "message", ""), expected);
    snprintf(expected, sizeof(expected), "Scaled up replica set %s from 0 to 3", rs->key.name);
    wait_event(t, expected);
}

static void a_rollout_ends_with_new_pods_only(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 4, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "1");
    set_image(t, "b");
    wait_value(t, NAME, "status.observedGeneration", "2");
    wait_complete(t, "2");
    wait_value(t, NAME, "status.replicas", "4");
    scoped(object) struct object *old = set_of_image(t, "a");
    scoped(object) struct object *new = set_of_image(t, "b");
    assert_int_equal(json_int(old->doc, "spec.replicas", -1), 0);
    assert_int_equal(json_int(new->doc, "spec.replicas", -1), 4);
    assert_string_equal(object_annotation(new, "deployment.kubernetes.io/revision"), "2");
}

static void going_back_makes_the_old_set_the_newest_revision(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 2, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "1");
    set_image(t, "b");
    wait_complete(t, "2");
    set_image(t, "a");
    wait_complete(t, "3");
    scoped(object) struct object *rs = set_of_image(t, "a");
    assert_string_equal(object_annotation(rs, "deployment.kubernetes.io/revision"), "3");
    assert_string_equal(object_annotation(rs, "deployment.kubernetes.io/revision-history"), "1");
    assert_int_equal(fake_count(t->fake, RESOURCE_REPLICASETS), 2);
}

struct bounds {
    struct cluster *t;
    size_t most;
    size_t least_ready;
    int violations;
};

/* Looks at each state on the way; done when the rollout is. */
static bool stays_within(struct fake_client *f, void *arg)
{
    struct bounds *b = arg;
    scoped(object_list) struct object_list pods = { 0 };
    scoped(object_list) struct object_list sets = { 0 };
    fake_list(f, RESOURCE_PODS, &pods);
    fake_list(f, RESOURCE_REPLICASETS, &sets);
    size_t ready = 0, wanted = 0;
    object_list_each (&pods, pod)
        ready += object_condition_is_true(pod, "Ready");
    object_list_each (&sets, rs)
        wanted += (size_t)json_int(rs->doc, "spec.replicas", 0);
    if (wanted > b->most || ready < b->least_ready)
        b->violations++;
    struct claim k = { NAME, "Progressing", "True/NewReplicaSetAvailable" };
    struct claim seen = { NAME, "status.observedGeneration", "2" };
    struct claim whole = { NAME, "status.updatedReplicas", "8" };
    return condition_holds(f, &k) && claim_holds(f, &seen) && claim_holds(f, &whole);
}

static void a_rollout_keeps_within_surge_and_unavailable(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 8, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "1");
    set_image(t, "b");
    struct bounds b = { t, 10, 6, 0 };
    fake_wait(t->fake, stays_within, &b, "the rollout");
    assert_int_equal(b.violations, 0);
}

static void recreate_waits_until_no_old_pod_is_left(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 2, "a", "");
    fake_merge(t->fake, NAME, "{'spec':{'strategy':{'type':'Recreate','rollingUpdate':null}}}");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "2");
    /* Old pods stay until their node says so. */
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod)
        fake_merge(t->fake, RESOURCE_PODS, "default", pod->key.name,
                   "{'metadata':{'finalizers':['x/y']}}");
    set_image(t, "b");
    scoped(object) struct object *old = set_of_image(t, "a");
    wait_value(t, RESOURCE_REPLICASETS, "default", old->key.name, "status.terminatingReplicas",
               "2");
    assert_null(set_of_image(t, "b"));
    object_list_each (&pods, gone)
        fake_drop(t->fake, RESOURCE_PODS, "default", gone->key.name);
    wait_complete(t, "3");
    wait_value(t, NAME, "status.updatedReplicas", "2");
}

static void a_paused_deployment_scales_but_does_not_roll(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 2, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "1");
    fake_merge(t->fake, NAME, "{'spec':{'paused':true}}");
    wait_condition(t, NAME, "Progressing", "Unknown/DeploymentPaused");
    set_image(t, "b");
    fake_merge(t->fake, NAME, "{'spec':{'replicas':3}}");
    wait_value(t, NAME, "status.availableReplicas", "3");
    assert_null(set_of_image(t, "b"));
    fake_merge(t->fake, NAME, "{'spec':{'paused':false}}");
    wait_value(t, NAME, "status.observedGeneration", "5");
    wait_complete(t, "5");
    wait_value(t, NAME, "status.updatedReplicas", "3");
}

static void a_rollout_that_hangs_exceeds_its_deadline(void **state)
{
    struct cluster *t = *state;
    put_deployment(t, 1, "a", "");
    fake_merge(t->fake, NAME, "{'spec':{'progressDeadlineSeconds':1}}");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_condition(t, NAME, "Progressing", "False/ProgressDeadlineExceeded");
    wait_condition(t, NAME, "Available", "False/MinimumReplicasUnavailable");
}

static void old_revisions_beyond_the_limit_are_deleted(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 1, "a", "");
    fake_merge(t->fake, NAME, "{'spec':{'revisionHistoryLimit':1}}");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "2");
    set_image(t, "b");
    wait_complete(t, "3");
    set_image(t, "c");
    wait_complete(t, "4");
    wait_count(t, RESOURCE_REPLICASETS, 2);
    assert_null(set_of_image(t, "a"));
}

static void a_failed_creation_shows_in_the_deployment(void **state)
{
    struct cluster *t = *state;
    fake_fail(t->fake, VERB_CREATE, RESOURCE_PODS, 100, ERR_FORBIDDEN, "exceeded quota");
    put_deployment(t, 1, "a", "");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_condition(t, NAME, "ReplicaFailure", "True/FailedCreate");
}

/* As upstream's documentation tells it: 10 pods, surge 3, unavailable 2; the new pods never come
 * up. */
static void scaling_in_a_rollout_is_shared_in_proportion(void **state)
{
    struct cluster *t = *state;
    t->has_kubelet = true;
    put_deployment(t, 10, "a", "");
    fake_merge(t->fake, NAME,
               "{'spec':{'strategy':{'rollingUpdate':{'maxSurge':3,'maxUnavailable':2}}}}");
    cluster_start(t, &deployment_controller, &replicaset_controller);
    wait_complete(t, "2");
    t->has_kubelet = false;
    set_image(t, "b");
    wait_value(t, NAME, "status.updatedReplicas", "5");
    wait_value(t, NAME, "status.replicas", "13");
    fake_merge(t->fake, NAME, "{'spec':{'replicas':15}}");
    wait_value(t, NAME, "status.replicas", "18");
    scoped(object) struct object *old = set_of_image(t, "a");
    scoped(object) struct object *new = set_of_image(t, "b");
    assert_int_equal(json_int(old->doc, "spec.replicas", -1), 11);
    assert_int_equal(json_int(new->doc, "spec.replicas", -1), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_deployment_becomes_available),
        TEST(a_rollout_ends_with_new_pods_only),
        TEST(going_back_makes_the_old_set_the_newest_revision),
        TEST(a_rollout_keeps_within_surge_and_unavailable),
        TEST(recreate_waits_until_no_old_pod_is_left),
        TEST(a_paused_deployment_scales_but_does_not_roll),
        TEST(a_rollout_that_hangs_exceeds_its_deadline),
        TEST(old_revisions_beyond_the_limit_are_deleted),
        TEST(a_failed_creation_shows_in_the_deployment),
        TEST(scaling_in_a_rollout_is_shared_in_proportion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
