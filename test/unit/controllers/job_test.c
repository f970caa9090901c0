/* SPDX-License-Identifier: Apache-2.0 */
/* job_test - every end of a pod counts once, and a job ends for the right reason. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec job_controller, clusterrole_aggregation_controller;

#define NAME RESOURCE_JOBS, "default", "work"

static void put_job(struct cluster *t, const char *more)
{
    char text[900];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'work','uid':'j'},'spec':{'backoffLimit':6,"
             "'selector':{'matchLabels':{'job':'work'}},'template':{'metadata':{'labels':{'job':"
             "'work'}},'spec':{'restartPolicy':'Never','containers':[{'name':'c'}]}}%s}}",
             more);
    fake_store(t->fake, RESOURCE_JOBS, text);
}

/* Ends the first pod that still runs. */
static void end_pod(struct cluster *t, const char *phase)
{
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod) {
        char text[64];
        if (!str_equal(json_str(pod->doc, "status.phase", ""), ""))
            continue;
        snprintf(text, sizeof(text), "{'status':{'phase':'%s'}}", phase);
        fake_merge(t->fake, RESOURCE_PODS, "default", pod->key.name, text);
        return;
    }
    fail_msg("no pod is left");
}

static void a_job_is_complete_when_enough_pods_have_succeeded(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':2,'parallelism':1");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    end_pod(t, "Succeeded");
    wait_count(t, RESOURCE_PODS, 2);
    end_pod(t, "Succeeded");
    wait_condition(t, NAME, "Complete", "True/CompletionsReached");
    wait_condition(t, NAME, "SuccessCriteriaMet", "True/CompletionsReached");
    wait_value(t, NAME, "status.succeeded", "2");
    wait_value(t, NAME, "status.active", NULL);
    wait_value(t, NAME, "status.uncountedTerminatedPods.succeeded", NULL);
    wait_event(t, "Job completed");
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod)
        assert_false(object_has_finalizer(pod, "batch.kubernetes.io/job-tracking"));
}

static void too_many_failures_fail_the_job(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1");
    fake_merge(t->fake, NAME, "{'spec':{'backoffLimit':0}}");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    end_pod(t, "Failed");
    wait_condition(t, NAME, "Failed", "True/BackoffLimitExceeded");
    wait_condition(t, NAME, "FailureTarget", "True/BackoffLimitExceeded");
    wait_value(t, NAME, "status.failed", "1");
    wait_event(t, "Job has reached the specified backoff limit");
}

static void a_deadline_ends_running_pods(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1,'activeDeadlineSeconds':1");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    wait_condition(t, NAME, "Failed", "True/DeadlineExceeded");
    wait_count(t, RESOURCE_PODS, 0);
}

static void indexes_are_given_out_once_each(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':3,'parallelism':3,'completionMode':'Indexed'");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    end_pod(t, "Succeeded");
    end_pod(t, "Succeeded");
    end_pod(t, "Succeeded");
    wait_value(t, NAME, "status.completedIndexes", "0-2");
    wait_condition(t, NAME, "Complete", "True/CompletionsReached");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 3);
}

/* Ends the pod of that index. */
static void end_index(struct cluster *t, const char *index, const char *status)
{
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    object_list_each (&pods, pod) {
        char text[256];
        if (!str_equal(object_annotation(pod, "batch.kubernetes.io/job-completion-index"), index))
            continue;
        snprintf(text, sizeof(text), "{'status':{%s}}", status);
        fake_merge(t->fake, RESOURCE_PODS, "default", pod->key.name, text);
    }
}

#define INDEXED "'completions':3,'parallelism':3,'completionMode':'Indexed'"

static void an_index_may_fail_while_others_go_on(void **state)
{
    struct cluster *t = *state;
    put_job(t, "," INDEXED ",'backoffLimitPerIndex':0");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    end_index(t, "1", "'phase':'Failed'");
    wait_value(t, NAME, "status.failedIndexes", "1");
    wait_value(t, NAME, "status.active", "2");
    end_index(t, "0", "'phase':'Succeeded'");
    end_index(t, "2", "'phase':'Succeeded'");
    wait_condition(t, NAME, "Failed", "True/FailedIndexes");
    wait_value(t, NAME, "status.completedIndexes", "0,2");
}

static void too_many_failed_indexes_end_the_job(void **state)
{
    struct cluster *t = *state;
    put_job(t, "," INDEXED ",'backoffLimitPerIndex':0,'maxFailedIndexes':0");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    end_index(t, "2", "'phase':'Failed'");
    wait_condition(t, NAME, "Failed", "True/MaxFailedIndexesExceeded");
    wait_count(t, RESOURCE_PODS, 1);
}

static void a_success_policy_may_be_content_with_less(void **state)
{
    struct cluster *t = *state;
    put_job(t, "," INDEXED ",'successPolicy':{'rules':[{'succeededIndexes':'0-1',"
               "'succeededCount':1}]}");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    end_index(t, "1", "'phase':'Succeeded'");
    wait_condition(t, NAME, "Complete", "True/SuccessPolicy");
    wait_value(t, NAME, "status.succeeded", "1");
    wait_value(t, NAME, "status.failed", NULL);
    wait_count(t, RESOURCE_PODS, 1);
}

static void a_failure_policy_may_ignore_or_end(void **state)
{
    struct cluster *t = *state;
    put_job(t,
            "," INDEXED ",'podReplacementPolicy':'Failed','podFailurePolicy':{'rules':["
            "{'action':'Ignore','onPodConditions':[{'type':'DisruptionTarget','status':'True'}]},"
            "{'action':'FailJob','onExitCodes':{'operator':'In','values':[42]}}]}");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    end_index(t, "0",
              "'phase':'Failed','conditions':[{'type':'DisruptionTarget','status':'True'}]");
    wait_value(t, NAME, "status.active", "2");
    wait_value(t, NAME, "status.failed", NULL);
    end_index(t, "1",
              "'phase':'Failed','containerStatuses':[{'name':'c','state':{'terminated':{'exitCode':"
              "42}}}]");
    wait_condition(t, NAME, "FailureTarget", "True/PodFailurePolicy");
    end_index(t, "2", "'phase':'Failed'"); /* as its kubelet would, now that it is deleted */
    wait_condition(t, NAME, "Failed", "True/PodFailurePolicy");
}

static void a_suspended_job_has_no_pods(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    fake_merge(t->fake, NAME, "{'spec':{'suspend':true}}");
    wait_condition(t, NAME, "Suspended", "True/JobSuspended");
    wait_count(t, RESOURCE_PODS, 0);
    fake_merge(t->fake, NAME, "{'spec':{'suspend':false}}");
    wait_condition(t, NAME, "Suspended", "False/JobResumed");
    wait_count(t, RESOURCE_PODS, 1);
    wait_value(t, NAME, "status.failed", NULL);
}

static bool has_no_finalizers(struct fake_client *f, void *arg)
{
    (void)arg;
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(f, RESOURCE_PODS, &pods);
    return json_len(pods.items[0]->doc, "metadata.finalizers") == 0;
}

static void pods_of_a_job_that_is_gone_are_released(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    fake_drop(t->fake, NAME);
    fake_wait(t->fake, has_no_finalizers, NULL, "no finalizers");
}

static void init_containers_count_as_well(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1,'podFailurePolicy':{'rules':[{'action':'FailJob',"
               "'onExitCodes':{'operator':'In','values':[42]}}]}");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    fake_merge(t->fake, RESOURCE_PODS, "default", pods.items[0]->key.name,
               "{'status':{'phase':'Failed','initContainerStatuses':[{'name':'i','state':{"
               "'terminated':{'exitCode':42}}}]}}");
    wait_condition(t, NAME, "Failed", "True/PodFailurePolicy");
}

static void restarts_of_init_containers_fail_a_job(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':1");
    fake_merge(t->fake, NAME,
               "{'spec':{'backoffLimit':2,'template':{'spec':{'restartPolicy':'OnFailure'}}}}");
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "1");
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(t->fake, RESOURCE_PODS, &pods);
    fake_merge(t->fake, RESOURCE_PODS, "default", pods.items[0]->key.name,
               "{'status':{'phase':'Pending','initContainerStatuses':[{'restartCount':2}]}}");
    wait_condition(t, NAME, "Failed", "True/BackoffLimitExceeded");
}

static void a_job_that_failed_and_succeeded_at_once_has_failed(void **state)
{
    struct cluster *t = *state;
    put_job(t, ",'completions':1,'parallelism':2");
    fake_merge(t->fake, NAME, "{'spec':{'backoffLimit':0}}");
    static const struct {
        const char *name, *phase;
    } ends[] = { { "a", "Succeeded" }, { "b", "Failed" } };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char text[600];
        snprintf(text, sizeof(text),
                 "{'metadata':{'namespace':'default','name':'%s','uid':'%s','labels':{'job':"
                 "'work'},'finalizers':['batch.kubernetes.io/job-tracking'],'ownerReferences':[{"
                 "'apiVersion':'batch/v1','kind':'Job','name':'work','uid':'j','controller':true"
                 "}]},'status':{'phase':'%s'}}",
                 ends[i].name, ends[i].name, ends[i].phase);
        fake_store(t->fake, RESOURCE_PODS, text);
    }
    cluster_start(t, &job_controller, NULL);
    wait_condition(t, NAME, "Failed", "True/BackoffLimitExceeded");
}

static bool has_only_index_0(struct fake_client *f, void *arg)
{
    (void)arg;
    scoped(object_list) struct object_list pods = { 0 };
    fake_list(f, RESOURCE_PODS, &pods);
    return pods.n == 1 &&
           str_equal(object_annotation(pods.items[0], "batch.kubernetes.io/job-completion-index"),
                     "0");
}

static void a_job_that_shrinks_keeps_the_indexes_it_still_has(void **state)
{
    struct cluster *t = *state;
    put_job(t, "," INDEXED);
    cluster_start(t, &job_controller, NULL);
    wait_value(t, NAME, "status.active", "3");
    fake_merge(t->fake, NAME, "{'spec':{'completions':1,'parallelism':1}}");
    wait_value(t, NAME, "status.active", "1");
    fake_wait(t->fake, has_only_index_0, NULL, "only the pod of index 0");
}

static bool has_two_rules(struct fake_client *f, void *arg)
{
    (void)arg;
    scoped(object) struct object *view = fake_get(f, RESOURCE_CLUSTERROLES, "", "view");
    return json_len(view->doc, "rules") == 2;
}

static void an_aggregated_role_has_the_rules_of_its_parts(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_CLUSTERROLES,
               "{'metadata':{'name':'view'},'aggregationRule':{'clusterRoleSelectors':[{"
               "'matchLabels':{'to-view':'true'}}]}}");
    fake_store(t->fake, RESOURCE_CLUSTERROLES,
               "{'metadata':{'name':'a','labels':{'to-view':'true'}},'rules':[{'verbs':['get']}]}");
    cluster_start(t, &clusterrole_aggregation_controller, NULL);
    fake_store(
        t->fake, RESOURCE_CLUSTERROLES,
        "{'metadata':{'name':'b','labels':{'to-view':'true'}},'rules':[{'verbs':['list']}]}");
    fake_wait(t->fake, has_two_rules, NULL, "the rules of both");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_job_is_complete_when_enough_pods_have_succeeded),
        TEST(too_many_failures_fail_the_job),
        TEST(a_deadline_ends_running_pods),
        TEST(indexes_are_given_out_once_each),
        TEST(an_index_may_fail_while_others_go_on),
        TEST(too_many_failed_indexes_end_the_job),
        TEST(a_success_policy_may_be_content_with_less),
        TEST(a_failure_policy_may_ignore_or_end),
        TEST(init_containers_count_as_well),
        TEST(restarts_of_init_containers_fail_a_job),
        TEST(a_job_that_failed_and_succeeded_at_once_has_failed),
        TEST(a_job_that_shrinks_keeps_the_indexes_it_still_has),
        TEST(a_suspended_job_has_no_pods),
        TEST(pods_of_a_job_that_is_gone_are_released),
        TEST(an_aggregated_role_has_the_rules_of_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
