/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler_test.c - the whole scheduler against an API server in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/scheduler.h"
#include "test/unit/fake_client.h"

struct fixture {
    struct fake_client *fake;
    struct informer_set *informers;
    struct scheduler *scheduler;
    struct rng rng;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->fake = fake_client_new();
    *state = f;
    return 0;
}

static void start(struct fixture *f)
{
    struct error err = { 0 };
    seeded_rng_init(&f->rng, 1);
    f->informers = informer_set_new(fake_client(f->fake));
    struct scheduler_config config = { .client = fake_client(f->fake),
                                       .informers = f->informers,
                                       .rng = &f->rng };
    f->scheduler = scheduler_new(&config, &err);
    assert_non_null(f->scheduler);
    informer_set_start(f->informers);
    assert_int_equal(scheduler_run(f->scheduler, &err), 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    informer_set_stop(f->informers);
    scheduler_stop(f->scheduler);
    informer_set_free(f->informers);
    fake_client_free(f->fake);
    free(f);
    return 0;
}

/* ---- helpers ---- */

static void put_node(struct fixture *f, const char *name, const char *cpu)
{
    scoped(str) char *text =
        xasprintf("{'metadata':{'name':'%s','labels':{'kubernetes.io/hostname':'%s'}},"
                  "'status':{'allocatable':{'cpu':'%s','memory':'8Gi','pods':'110'}}}",
                  name, name, cpu);
    fake_store(f->fake, RESOURCE_NODES, text);
}

static void put_pod(struct fixture *f, const char *name, const char *cpu, const char *more)
{
    scoped(str) char *text = xasprintf(
        "{'metadata':{'namespace':'default','name':'%s','uid':'uid-%s'},'spec':{'schedulerName':"
        "'default-scheduler','containers':[{'name':'c','resources':{'requests':{'cpu':'%s'}}}]%s%s}"
        ","
        "'status':{'phase':'Pending'}}",
        name, name, cpu, *more ? "," : "", more);
    fake_store(f->fake, RESOURCE_PODS, text);
}

struct expected {
    const char *name, *path, *text; /* TEXT NULL: the pod is gone */
};

static bool pod_says(struct fake_client *fake, void *arg)
{
    const struct expected *e = arg;
    scoped(object) struct object *o = fake_get(fake, RESOURCE_PODS, "default", e->name);
    if (!o || !e->text)
        return !o && !e->text;
    return str_equal(json_str(o->doc, e->path, ""), e->text);
}

static void wait_for_node(struct fixture *f, const char *pod, const char *node)
{
    struct expected e = { pod, "spec.nodeName", node };
    fake_wait(f->fake, pod_says, &e, pod);
}

static bool condition_says(struct fake_client *fake, void *arg)
{
    const struct expected *e = arg;
    scoped(object) struct object *o = fake_get(fake, RESOURCE_PODS, "default", e->name);
    const struct json *c = o ? object_condition(o, "PodScheduled") : NULL;
    return str_equal(json_str(c, "message", ""), e->text) &&
           str_equal(json_str(c, "status", ""), "False") &&
           str_equal(json_str(c, "reason", ""), "Unschedulable");
}

static void wait_for_message(struct fixture *f, const char *pod, const char *message)
{
    struct expected e = { pod, NULL, message };
    fake_wait(f->fake, condition_says, &e, message);
}

static bool has_event(struct fake_client *fake, void *arg)
{
    const struct expected *e = arg;
    struct object_list list __attribute__((cleanup(object_list_scoped))) = { 0 };
    fake_list(fake, RESOURCE_EVENTS, &list);
    object_list_each (&list, o) {
        if (str_equal(json_str(o->doc, "reason", ""), e->name) &&
            str_equal(json_str(o->doc, "message", ""), e->text) &&
            str_equal(json_str(o->doc, "source.component", ""), "default-scheduler"))
            return true;
    }
    return false;
}

static void wait_for_event(struct fixture *f, const char *reason, const char *message)
{
    struct expected e = { reason, NULL, message };
    fake_wait(f->fake, has_event, &e, message);
}

/* ---- tests ---- */

static void a_pod_gets_a_node_and_an_event(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "web-0", "1", "");
    start(f);
    wait_for_node(f, "web-0", "node1");
    wait_for_event(f, "Scheduled", "Successfully assigned default/web-0 to node1");
}

static void a_pod_that_fits_nowhere_says_why_and_gets_its_turn_later(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "big", "3", "");
    start(f);
    wait_for_node(f, "big", "node1");
    put_pod(f, "web", "2", "");
    const char *message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to "
                          "deallocate, preemption: 0/1 nodes are "
                          "available: 1 No preemption victims found for incoming pod.";
    wait_for_message(f, "web", message);
    wait_for_event(f, "FailedScheduling", message);
    fake_drop(f->fake, RESOURCE_PODS, "default", "big");
    wait_for_node(f, "web", "node1");
}

static void a_new_node_takes_waiting_pods(void **state)
{
    struct fixture *f = *state;
    put_pod(f, "web", "2", "");
    start(f);
    wait_for_message(f, "web", "no nodes available to schedule pods");
    put_node(f, "node1", "4");
    wait_for_node(f, "web", "node1");
}

static void a_pod_that_finished_makes_room(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "job", "3", "");
    start(f);
    wait_for_node(f, "job", "node1");
    put_pod(f, "web", "2", "");
    wait_for_event(
        f, "FailedScheduling",
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 "
        "nodes are available: 1 No preemption victims found for incoming pod.");
    fake_merge(f->fake, RESOURCE_PODS, "default", "job", "{'status':{'phase':'Succeeded'}}");
    wait_for_node(f, "web", "node1");
}

static void a_failed_binding_is_tried_again(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    fake_fail(f->fake, VERB_CREATE, RESOURCE_PODS, 1, ERR_UNAVAILABLE, "try later");
    start(f);
    put_pod(f, "web", "4", "");
    wait_for_node(f, "web", "node1");
}

static void pods_of_other_schedulers_and_gated_ones_are_left_alone(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "other", "1", "'schedulerName':'mine'");
    put_pod(f, "gated", "1", "'schedulingGates':[{'name':'g'}]");
    start(f);
    put_pod(f, "web", "1", "");
    wait_for_node(f, "web", "node1");
    scoped(object) struct object *other = fake_get(f->fake, RESOURCE_PODS, "default", "other");
    scoped(object) struct object *gated = fake_get(f->fake, RESOURCE_PODS, "default", "gated");
    assert_string_equal(json_str(other->doc, "spec.nodeName", ""), "");
    assert_string_equal(json_str(gated->doc, "spec.nodeName", ""), "");
    fake_merge(f->fake, RESOURCE_PODS, "default", "gated", "{'spec':{'schedulingGates':null}}");
    wait_for_node(f, "gated", "node1");
}

static void the_important_pod_preempts(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "low", "3", "'priority':1");
    start(f);
    wait_for_node(f, "low", "node1");
    put_pod(f, "high", "3", "'priority':100");
    wait_for_event(f, "Preempted", "Preempted by pod uid-high on node node1");
    struct expected gone = { "low", NULL, NULL };
    fake_wait(f->fake, pod_says, &gone, "low is gone");
    wait_for_node(f, "high", "node1");
}

static bool is_not_nominated(struct fake_client *fake, void *arg)
{
    scoped(object) struct object *o = fake_get(fake, RESOURCE_PODS, "default", arg);
    return o && !json_at(o->doc, "status.nominatedNodeName");
}

/* What is there already comes before what is made then. */
static void start_and_read(struct fixture *f)
{
    struct error err = { 0 };
    start(f);
    assert_int_equal(informer_set_wait(f->informers, 20000, &err), 0);
}

static void put_nominated(struct fixture *f, const char *name, const char *cpu)
{
    scoped(str) char *text = xasprintf(
        "{'metadata':{'namespace':'default','name':'%s','uid':'uid-%s'},'spec':{'schedulerName':"
        "'default-scheduler','priority':100,'containers':[{'name':'c','resources':{'requests':{"
        "'cpu':'%s'}}}]},'status':{'phase':'Pending','nominatedNodeName':'node1'}}",
        name, name, cpu);
    fake_store(f->fake, RESOURCE_PODS, text);
}

static void a_nomination_that_is_of_no_use_is_taken_back(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "high", "3", "'priority':200,'nodeName':'node1'");
    start_and_read(f);
    put_nominated(f, "low", "3");
    fake_wait(f->fake, is_not_nominated, "low", "low is nominated no longer");
    put_pod(f, "small", "1", "");
    wait_for_node(f, "small", "node1");
}

static void only_victims_are_waited_for(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    put_pod(f, "ending", "1", "'priority':1,'nodeName':'node1'");
    fake_merge(f->fake, RESOURCE_PODS, "default", "ending",
               "{'metadata':{'deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':['a/b']}}");
    put_pod(f, "low", "3", "'priority':1,'nodeName':'node1'");
    start_and_read(f);
    put_nominated(f, "high", "4");
    struct expected gone = { "low", NULL, NULL };
    fake_wait(f->fake, pod_says, &gone, "low is gone");
    fake_drop(f->fake, RESOURCE_PODS, "default", "ending");
    wait_for_node(f, "high", "node1");
}

static void a_node_that_goes_takes_its_domain_with_it(void **state)
{
    struct fixture *f = *state;
    const char *spread = "'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone',"
                         "'whenUnsatisfiable':'DoNotSchedule','labelSelector':{}}]";
    put_node(f, "node1", "4");
    put_node(f, "node2", "100m");
    fake_merge(f->fake, RESOURCE_NODES, "", "node1", "{'metadata':{'labels':{'zone':'a'}}}");
    fake_merge(f->fake, RESOURCE_NODES, "", "node2", "{'metadata':{'labels':{'zone':'b'}}}");
    start(f);
    put_pod(f, "web-0", "1", spread);
    wait_for_node(f, "web-0", "node1");
    put_pod(f, "web-1", "1", spread);
    wait_for_message(f, "web-1",
                     "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod "
                     "topology spread constraints. no new claims to deallocate, preemption: 0/2 "
                     "nodes are available: 1 No preemption victims found for incoming pod, 1 "
                     "Preemption is not helpful for scheduling.");
    fake_drop(f->fake, RESOURCE_NODES, "", "node2");
    wait_for_node(f, "web-1", "node1");
}

static bool claim_has_node(struct fake_client *fake, void *arg)
{
    (void)arg;
    scoped(object) struct object *o =
        fake_get(fake, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "data");
    return o && str_equal(object_annotation(o, "volume.kubernetes.io/selected-node"), "node1");
}

static void a_volume_is_made_for_the_node_before_the_pod_gets_it(void **state)
{
    struct fixture *f = *state;
    put_node(f, "node1", "4");
    fake_store(f->fake, RESOURCE_STORAGECLASSES,
               "{'metadata':{'name':'local'},'volumeBindingMode':'WaitForFirstConsumer'}");
    fake_store(
        f->fake, RESOURCE_PERSISTENTVOLUMECLAIMS,
        "{'metadata':{'namespace':'default','name':'data'},'spec':{'storageClassName':'local'}}");
    start(f);
    put_pod(f, "db", "1", "'volumes':[{'name':'v','persistentVolumeClaim':{'claimName':'data'}}]");
    fake_wait(f->fake, claim_has_node, NULL, "the claim knows its node");
    fake_store(f->fake, RESOURCE_PERSISTENTVOLUMES, "{'metadata':{'name':'pv'},'spec':{}}");
    fake_merge(f->fake, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "data",
               "{'metadata':{'annotations':{'pv.kubernetes.io/"
               "bind-completed':'yes'}},'spec':{'volumeName':'pv'}}");
    wait_for_node(f, "db", "node1");
}

static bool all_have_nodes(struct fake_client *fake, void *arg)
{
    struct object_list list __attribute__((cleanup(object_list_scoped))) = { 0 };
    fake_list(fake, RESOURCE_PODS, &list);
    size_t n = 0;
    object_list_each (&list, o)
        n += !str_empty(json_str(o->doc, "spec.nodeName", ""));
    return n == *(size_t *)arg;
}

static void no_node_is_given_more_than_it_has(void **state)
{
    struct fixture *f = *state;
    enum { NODES = 5, PODS = 20 };
    for (int i = 0; i < NODES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "node%d", i);
        put_node(f, name, "4");
    }
    start(f);
    for (int i = 0; i < PODS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "pod%d", i);
        put_pod(f, name, "1", "");
    }
    size_t pods = PODS;
    fake_wait(f->fake, all_have_nodes, &pods, "all pods");
    int used[NODES] = { 0 };
    struct object_list list __attribute__((cleanup(object_list_scoped))) = { 0 };
    fake_list(f->fake, RESOURCE_PODS, &list);
    object_list_each (&list, o)
        used[json_str(o->doc, "spec.nodeName", "")[4] - '0']++;
    for (int i = 0; i < NODES; i++)
        assert_int_equal(used[i], 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_pod_gets_a_node_and_an_event),
        T(a_pod_that_fits_nowhere_says_why_and_gets_its_turn_later),
        T(a_new_node_takes_waiting_pods),
        T(a_pod_that_finished_makes_room),
        T(a_failed_binding_is_tried_again),
        T(pods_of_other_schedulers_and_gated_ones_are_left_alone),
        T(the_important_pod_preempts),
        T(a_nomination_that_is_of_no_use_is_taken_back),
        T(only_victims_are_waited_for),
        T(a_node_that_goes_takes_its_domain_with_it),
        T(a_volume_is_made_for_the_node_before_the_pod_gets_it),
        T(no_node_is_given_more_than_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
