/* SPDX-License-Identifier: Apache-2.0 */
/* cronjob_test - the Jobs that come of schedules. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec cronjob_controller, ttl_after_finished_controller,
    disruption_controller;

#define NAME RESOURCE_CRONJOBS, "default", "tick"

static void put_cron(struct cluster *t, const char *policy)
{
    char text[700];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'tick','uid':'c'},'spec':{'schedule':"
             "'0 * * * *','timeZone':'UTC','concurrencyPolicy':'%s','successfulJobsHistoryLimit':1,"
             "'jobTemplate':{'metadata':{'labels':{'a':'b'}},'spec':{'completions':1}}}}",
             policy);
    fake_store(t->fake, RESOURCE_CRONJOBS, text);
}

/* The clock stands at 2027-01-15T08:00:00Z; an hour later minute 30000060 since 1970 begins. */
static void an_hour_passes(struct cluster *t)
{
    fake_clock_advance(&t->clock, 3600 * NS_PER_S);
    fake_merge(t->fake, NAME, "{'metadata':{'labels':{'look':'again'}}}");
}

static void a_job_is_made_when_the_time_has_come(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    fake_client_set_clock(t->fake, &t->clock.clock);
    put_cron(t, "Allow");
    cluster_start(t, &cronjob_controller, NULL);
    an_hour_passes(t);
    wait_value(t, NAME, "status.lastScheduleTime", "2027-01-15T09:00:00Z");
    wait_value(t, RESOURCE_JOBS, "default", "tick-30000060", "metadata.labels.a", "b");
    wait_event(t, "Created job tick-30000060");
    fake_merge(
        t->fake, RESOURCE_JOBS, "default", "tick-30000060",
        "{'status':{'completionTime':'2027-01-15T09:01:00Z','conditions':[{'type':'Complete',"
        "'status':'True'}]}}");
    wait_value(t, NAME, "status.lastSuccessfulTime", "2027-01-15T09:01:00Z");
    wait_value(t, NAME, "status.active", NULL);
    wait_event(t, "Saw completed job: tick-30000060, condition: Complete");
}

static void forbid_waits_for_the_job_before(void **state)
{
    struct cluster *t = *state;
    t->has_clock = true;
    fake_client_set_clock(t->fake, &t->clock.clock);
    put_cron(t, "Forbid");
    cluster_start(t, &cronjob_controller, NULL);
    an_hour_passes(t);
    wait_count(t, RESOURCE_JOBS, 1);
    fake_clock_advance(&t->clock, 3600 * NS_PER_S);
    fake_merge(t->fake, NAME, "{'metadata':{'labels':{'look':'once more'}}}");
    wait_event(t, "Not starting job because prior execution is running and concurrency policy is "
                  "Forbid");
    assert_int_equal(fake_count(t->fake, RESOURCE_JOBS), 1);
}

static void a_finished_job_is_deleted_after_its_time(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_JOBS,
               "{'metadata':{'namespace':'default','name':'old'},'spec':{'ttlSecondsAfterFinished':"
               "1},'status':{'conditions':[{'type':'Failed','status':'True','lastTransitionTime':"
               "'2026-01-01T00:00:00Z'}]}}");
    cluster_start(t, &ttl_after_finished_controller, NULL);
    wait_value(t, RESOURCE_JOBS, "default", "old", "metadata.deletionGracePeriodSeconds", "0");
}

static void a_budget_counts_what_may_go(void **state)
{
    struct cluster *t = *state;
    fake_store(
        t->fake, RESOURCE_REPLICASETS,
        "{'metadata':{'namespace':'default','name':'web','uid':'rs'},'spec':{'replicas':3}}");
    for (int i = 0; i < 3; i++) {
        char text[500];
        snprintf(
            text, sizeof(text),
            "{'metadata':{'namespace':'default','name':'web-%d','labels':{'app':'web'},"
            "'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'web','uid':"
            "'rs','controller':true}]},'spec':{},'status':{'phase':'Running','conditions':[{"
            "'type':'Ready','status':'True'}]}}",
            i);
        fake_store(t->fake, RESOURCE_PODS, text);
    }
    fake_store(t->fake, RESOURCE_PODDISRUPTIONBUDGETS,
               "{'metadata':{'namespace':'default','name':'b'},'spec':{'maxUnavailable':'50%',"
               "'selector':{'matchLabels':{'app':'web'}}}}");
    cluster_start(t, &disruption_controller, NULL);
    wait_value(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "status.disruptionsAllowed", "2");
    wait_value(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "status.expectedPods", "3");
    wait_condition(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "DisruptionAllowed",
                   "True/SufficientPods");
    fake_drop(t->fake, RESOURCE_PODS, "default", "web-0");
    fake_drop(t->fake, RESOURCE_PODS, "default", "web-1");
    wait_value(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "status.disruptionsAllowed", "0");
    wait_condition(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "DisruptionAllowed",
                   "False/InsufficientPods");
}

static void a_budget_does_not_count_pods_of_nobody(void **state)
{
    struct cluster *t = *state;
    fake_store(
        t->fake, RESOURCE_REPLICASETS,
        "{'metadata':{'namespace':'default','name':'web','uid':'rs'},'spec':{'replicas':2}}");
    fake_store(t->fake, RESOURCE_PODS,
               "{'metadata':{'namespace':'default','name':'web-0','labels':{'app':'web'},"
               "'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'web','uid':"
               "'rs','controller':true}]},'spec':{},'status':{}}");
    fake_store(t->fake, RESOURCE_PODS,
               "{'metadata':{'namespace':'default','name':'bare','labels':{'app':'web'}}}");
    fake_store(t->fake, RESOURCE_PODDISRUPTIONBUDGETS,
               "{'metadata':{'namespace':'default','name':'b'},'spec':{'maxUnavailable':1,"
               "'selector':{'matchLabels':{'app':'web'}}}}");
    cluster_start(t, &disruption_controller, NULL);
    wait_value(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "status.expectedPods", "2");
    wait_value(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "status.desiredHealthy", "1");
    fake_store(t->fake, RESOURCE_PODS,
               "{'metadata':{'namespace':'default','name':'work-0','labels':{'app':'web'},"
               "'ownerReferences':[{'apiVersion':'batch/v1','kind':'Job','name':'work','uid':'j',"
               "'controller':true}]},'spec':{},'status':{}}");
    wait_event(t, "Failed to calculate the number of expected pods: jobs.batch does not implement "
                  "the scale subresource");
    wait_condition(t, RESOURCE_PODDISRUPTIONBUDGETS, "default", "b", "DisruptionAllowed",
                   "False/SyncFailed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_job_is_made_when_the_time_has_come),     TEST(forbid_waits_for_the_job_before),
        TEST(a_finished_job_is_deleted_after_its_time), TEST(a_budget_counts_what_may_go),
        TEST(a_budget_does_not_count_pods_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
