/* SPDX-License-Identifier: Apache-2.0 */
/* schedule_one_test.c - which node, and upstream's words when there is none. */
#include "test/unit/scheduler/world.h"

static void without_nodes_there_is_nothing_to_schedule_on(void **state)
{
    assert_string_equal(schedule(*state, pod("a", "")), "no nodes available to schedule pods");
}

static void each_filter_has_upstreams_words(void **state)
{
    static const struct {
        const char *node, *labels, *pod, *message;
    } cases[] = {
        { "'unschedulable':true", "", "", "node(s) were unschedulable" },
        { "", "", "'nodeName':'other'", "node(s) didn't match the requested node name" },
        { "'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]", "", "",
          "node(s) had untolerated taint(s)" },
        { "", "", "'nodeSelector':{'disk':'ssd'}",
          "node(s) didn't match Pod's node affinity/selector" },
        { "", "'disk':'hdd'",
          "'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
          "{'nodeSelectorTerms':[{'matchExpressions':[{'key':'disk','operator':'In','values':['ssd'"
          "]}]}]}}}",
          "node(s) didn't match Pod's node affinity/selector" },
        { "", "", "'containers':[{'resources':{'requests':{'cpu':'5'}}}]", "Insufficient cpu" },
        { "", "", "'containers':[{'resources':{'requests':{'memory':'9Gi'}}}]",
          "Insufficient memory" },
        { "", "", "'containers':[{'resources':{'requests':{'ephemeral-storage':'1'}}}]",
          "Insufficient ephemeral-storage" },
        { "", "", "'containers':[{'resources':{'requests':{'example.com/gpu':'3'}}}]",
          "Insufficient example.com/gpu" },
        { "", "", "'containers':[{'resources':{'requests':{'example.com/tpu':'1'}}}]",
          "Insufficient example.com/tpu" },
        { "", "",
          "'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':"
          "'DoNotSchedule','labelSelector':{}}]",
          "node(s) didn't match pod topology spread constraints (missing required label)" },
        { "", "",
          "'affinity':{'podAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
          "[{'labelSelector':{'matchLabels':{'x':'y'}},'topologyKey':'kubernetes.io/hostname'}]}}",
          "node(s) didn't match pod affinity rules" },
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        add_node(&w->s, "n", cases[i].node, cases[i].labels);
        scoped(str) char *expected = xasprintf("0/1 nodes are available: 1 %s.", cases[i].message);
        assert_string_equal(schedule(w, pod("a", cases[i].pod)), expected);
    }
}

static void reasons_are_counted_and_sorted_as_text(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "'unschedulable':true", "");
    add_node(&w->s, "n2", "", "");
    add_node(&w->s, "n3", "", "");
    assert_string_equal(schedule(w, pod_requesting("a", "5", "9Gi")),
                        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient "
                        "cpu, 2 Insufficient memory.");
}

static void tolerations_and_selectors_open_nodes(void **state)
{
    static const struct {
        const char *node, *labels, *pod;
    } cases[] = {
        { "'taints':[{'key':'k','value':'v','effect':'NoSchedule'}]", "",
          "'tolerations':[{'key':'k','operator':'Equal','value':'v','effect':'NoSchedule'}]" },
        { "'taints':[{'key':'k','value':'v','effect':'NoExecute'}]", "",
          "'tolerations':[{'operator':'Exists'}]" },
        { "'taints':[{'key':'k','effect':'PreferNoSchedule'}]", "", "" },
        { "'unschedulable':true", "",
          "'tolerations':[{'key':'node.kubernetes.io/unschedulable','operator':'Exists'}]" },
        { "", "'disk':'ssd'", "'nodeSelector':{'disk':'ssd'}" },
        { "", "'n':'7'",
          "'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
          "{'nodeSelectorTerms':[{'matchExpressions':[{'key':'n','operator':'Gt','values':['5']},"
          "{'key':'n','operator':'Lt','values':['9']},{'key':'z','operator':'DoesNotExist'},"
          "{'key':'n','operator':'NotIn','values':['1']},{'key':'n','operator':'Exists'}]}]}}}" },
        { "", "",
          "'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
          "{'nodeSelectorTerms':[{'matchFields':[{'key':'metadata.name','operator':'In','values':['"
          "n']}]}]}}}" },
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        add_node(&w->s, "n", cases[i].node, cases[i].labels);
        assert_string_equal(schedule(w, pod("a", cases[i].pod)), "n");
    }
}

static void what_runs_takes_room_until_it_leaves(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n", "", "");
    place_take(&w->s, pod_requesting("x", "3", "1Gi"), "n");
    assert_string_equal(schedule(w, pod_requesting("a", "2", "1Gi")),
                        "0/1 nodes are available: 1 Insufficient cpu.");
    assert_string_equal(schedule(w, pod_requesting("a", "1", "1Gi")), "n");
    snapshot_remove_pod(&w->s, BYTES("default/x"));
    assert_string_equal(schedule(w, pod_requesting("a", "4", "1Gi")), "n");
}

static void a_node_holds_so_many_pods(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n", "", "");
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%d", i);
        place_take(&w->s, pod(name, ""), "n");
    }
    assert_string_equal(schedule(w, pod("a", "")), "0/1 nodes are available: 1 Too many pods.");
}

static void host_ports_belong_to_one_pod(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n", "", "");
    place_take(&w->s, pod("x", "'containers':[{'ports':[{'hostPort':80,'hostIP':'10.0.0.1'}]}]"),
               "n");
    assert_string_equal(
        schedule(w, pod("a", "'containers':[{'ports':[{'hostPort':80}]}]")),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.");
    assert_string_equal(
        schedule(w, pod("a", "'containers':[{'ports':[{'hostPort':80,'hostIP':'10.0.0.2'}]}]")),
        "n");
    assert_string_equal(
        schedule(w, pod("a", "'containers':[{'ports':[{'hostPort':80,'protocol':'UDP'}]}]")), "n");
}

static void the_emptier_node_is_better(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "full", "", "");
    add_node(&w->s, "empty", "", "");
    place_take(&w->s, pod_requesting("x", "2", "4Gi"), "full");
    for (int i = 0; i < 10; i++)
        assert_string_equal(schedule(w, pod_requesting("a", "1", "1Gi")), "empty");
}

static void soft_taints_and_preferences_weigh(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "soft", "'taints':[{'key':'k','effect':'PreferNoSchedule'}]", "");
    add_node(&w->s, "plain", "", "");
    for (int i = 0; i < 10; i++)
        assert_string_equal(schedule(w, pod("a", "")), "plain");
    add_node(&w->s, "liked", "", "'disk':'ssd'");
    for (int i = 0; i < 10; i++)
        assert_string_equal(
            schedule(
                w,
                pod("a",
                    "'affinity':{'nodeAffinity':{'preferredDuringSchedulingIgnoredDuringExecution':"
                    "[{'weight':1,'preference':{'matchExpressions':[{'key':'disk','operator':"
                    "'Exists'}]}}]}}")),
            "liked");
}

static void equal_nodes_all_get_their_share(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    add_node(&w->s, "n2", "", "");
    add_node(&w->s, "n3", "", "");
    int seen[3] = { 0 };
    for (int i = 0; i < 60; i++)
        seen[schedule(w, pod("a", ""))[1] - '1']++;
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 5, 40);
}

/* ---- pods and pods ---- */

#define ANTI_AFFINITY                                                                              \
    "'affinity':{'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"             \
    "[{'labelSelector':{'matchLabels':{'app':'a'}},'topologyKey':'kubernetes.io/hostname'}]}}"
#define AFFINITY                                                                                   \
    "'affinity':{'podAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"                 \
    "[{'labelSelector':{'matchLabels':{'app':'%s'}},'topologyKey':'zone'}]}}"

static void anti_affinity_holds_for_both_sides(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    add_node(&w->s, "n2", "", "");
    place_take(&w->s, pod("a1", ANTI_AFFINITY), "n1");
    assert_string_equal(schedule(w, pod("a2", ANTI_AFFINITY)), "n2");
    assert_string_equal(schedule(w, pod("a2", "")), "n2"); /* a1 does not want it */
    place_take(&w->s, pod("a2", ""), "n2");
    assert_string_equal(schedule(w, pod("a3", ANTI_AFFINITY)),
                        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.");
    assert_string_equal(
        schedule(w, pod("a3", "'nodeSelector':{'kubernetes.io/hostname':'n1'}")),
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 "
        "node(s) didn't satisfy existing pods anti-affinity rules.");
}

static void affinity_follows_pods_into_their_zone(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "'zone':'x'");
    add_node(&w->s, "n2", "", "'zone':'y'");
    add_node(&w->s, "n3", "'unschedulable':true", "'zone':'x'");
    place_take(&w->s, pod("b1", ""), "n3");
    scoped(str) char *near_b = xasprintf(AFFINITY, "b");
    for (int i = 0; i < 5; i++)
        assert_string_equal(schedule(w, pod("a", near_b)), "n1");
}

static void the_first_of_a_group_needs_no_company(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "'zone':'x'");
    scoped(str) char *near_itself = xasprintf(AFFINITY, "a");
    assert_string_equal(schedule(w, pod("a", near_itself)), "n1");
}

static void required_spreading_keeps_the_skew(void **state)
{
    static const char spread[] =
        "'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':"
        "'DoNotSchedule','labelSelector':{'matchLabels':{'app':'a'}}}]";
    struct world *w = *state;
    add_node(&w->s, "n1", "", "'zone':'x'");
    add_node(&w->s, "n2", "", "'zone':'y'");
    place_take(&w->s, pod("a1", ""), "n1");
    for (int i = 0; i < 5; i++)
        assert_string_equal(schedule(w, pod("a", spread)), "n2");
    add_node(&w->s, "n2", "'unschedulable':true", "'zone':'y'");
    assert_string_equal(schedule(w, pod("a", spread)),
                        "0/2 nodes are available: 1 node(s) didn't match pod topology spread "
                        "constraints, 1 node(s) were "
                        "unschedulable.");
}

static void soft_spreading_prefers_the_emptier_domain(void **state)
{
    static const char spread[] =
        "'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':"
        "'ScheduleAnyway','labelSelector':{'matchLabels':{'app':'a'}}}]";
    struct world *w = *state;
    add_node(&w->s, "n1", "", "'zone':'x'");
    add_node(&w->s, "n2", "", "'zone':'y'");
    place_take(&w->s, pod("a1", ""), "n1");
    place_take(&w->s, pod("a2", ""), "n1");
    place_take(&w->s, pod("b1", ""), "n2");
    place_take(&w->s, pod("b2", ""), "n2");
    for (int i = 0; i < 5; i++)
        assert_string_equal(schedule(w, pod("a", spread)), "n2");
}

/* ---- preemption ---- */

static struct preemption preempt(struct world *w, const char *spec)
{
    struct pod_info *p = pod("a", spec);
    struct schedule_options o = { .rng = &w->rng, .next_start = &w->next_start };
    struct preemption out;
    buffer_free(&w->r.message);
    schedule_one(&w->s, p, &o, w->arena, &w->r);
    assert_null(w->r.node);
    preemption_find(&w->s, p, w->r.verdicts, w->arena, &out);
    pod_info_unref(p);
    return out;
}

#define CPU(priority, n)                                                                           \
    "'priority':" #priority ",'containers':[{'resources':{'requests':{'cpu':'" #n "'}}}]"

static void the_least_important_pods_have_to_go(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    add_node(&w->s, "n2", "", "");
    place_take(&w->s, pod("x1", CPU(5, 2)), "n1");
    place_take(&w->s, pod("x2", CPU(1, 2)), "n1");
    place_take(&w->s, pod("y1", CPU(7, 2)), "n2");
    place_take(&w->s, pod("y2", CPU(6, 2)), "n2");
    struct preemption p = preempt(w, CPU(10, 2));
    assert_string_equal(p.node->name, "n1");
    assert_int_equal(p.victims_n, 1);
    assert_string_equal(p.victims[0]->key.data, "default/x2");
}

static void preemption_says_why_it_does_not_help(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    add_node(&w->s, "n2", "'unschedulable':true", "");
    place_take(&w->s, pod("x", CPU(5, 3)), "n1");
    static const struct {
        const char *spec, *message;
    } cases[] = {
        { CPU(5, 2), "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 "
                     "Preemption is "
                     "not helpful for scheduling." },
        { CPU(9, 99), "0/2 nodes are available: 2 Preemption is not helpful for scheduling." },
        { CPU(9, 2) ",'preemptionPolicy':'Never'", "not eligible due to preemptionPolicy=Never." },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct preemption p = preempt(w, cases[i].spec);
        assert_null(p.node);
        assert_string_equal(p.message.data, cases[i].message);
        buffer_free(&p.message);
    }
}

static void protected_pods_stay_if_others_can_go(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    place_take(&w->s, pod("b1", CPU(1, 2)), "n1");
    place_take(&w->s, pod("c1", CPU(5, 2)), "n1");
    scoped(object) struct object *pdb =
        parse(RESOURCE_PODDISRUPTIONBUDGETS,
              "{'metadata':{'namespace':'default','name':'p'},'spec':{'selector':"
              "{'matchLabels':{'app':'b'}}},'status':{'disruptionsAllowed':0}}");
    struct preemption p = preempt(w, CPU(10, 2));
    assert_string_equal(p.victims[0]->key.data, "default/b1");
    snapshot_set_budget(&w->s, pdb, false);
    p = preempt(w, CPU(10, 2));
    assert_int_equal(p.victims_n, 1);
    assert_string_equal(p.victims[0]->key.data, "default/c1");
}

static void affinity_reaches_into_namespaces_by_their_labels(void **state)
{
    static const char far[] =
        "'affinity':{'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
        "[{'labelSelector':{},'namespaceSelector':{'matchLabels':{'team':'x'}},"
        "'topologyKey':'kubernetes.io/hostname'}]}}";
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    place_take(&w->s, pod("b", ""), "n1");
    assert_string_equal(schedule(w, pod("a", far)), "n1");
    scoped(object) struct object *ns =
        parse(RESOURCE_NAMESPACES, "{'metadata':{'name':'default','labels':{'team':'x'}}}");
    snapshot_set_object(&w->s.namespaces, ns, false);
    assert_string_equal(schedule(w, pod("a", far)),
                        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.");
}

static void keep(struct hashmap *map, int resource_id, const char *text)
{
    scoped(object) struct object *o = parse(resource_id, text);
    snapshot_set_object(map, o, false);
}

static void a_pod_waits_for_its_claims(void **state)
{
    static const char data[] =
        "'volumes':[{'name':'v','persistentVolumeClaim':{'claimName':'data'}}]";
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    add_node(&w->s, "n2", "", "");
    assert_string_equal(schedule(w, pod("a", data)),
                        "0/2 nodes are available: persistentvolumeclaim \"data\" not found.");
    keep(&w->s.claims, RESOURCE_PERSISTENTVOLUMECLAIMS,
         "{'metadata':{'namespace':'default','name':'data'},'spec':{'storageClassName':'c'}}");
    assert_string_equal(
        schedule(w, pod("a", data)),
        "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    keep(&w->s.storage_classes, RESOURCE_STORAGECLASSES,
         "{'metadata':{'name':'c'},'volumeBindingMode':'WaitForFirstConsumer'}");
    assert_non_null(strchr(schedule(w, pod("a", data)), 'n'));

    keep(&w->s.claims, RESOURCE_PERSISTENTVOLUMECLAIMS,
         "{'metadata':{'namespace':'default','name':'data','annotations':{'pv.kubernetes.io/"
         "bind-completed':"
         "'yes'}},'spec':{'storageClassName':'c','volumeName':'pv'}}");
    assert_string_equal(
        schedule(w, pod("a", data)),
        "0/2 nodes are available: 2 node(s) unavailable due to one or more pvc(s) bound to "
        "non-existent pv(s).");
    keep(&w->s.volumes, RESOURCE_PERSISTENTVOLUMES,
         "{'metadata':{'name':'pv'},'spec':{'nodeAffinity':{'required':{'nodeSelectorTerms':[{"
         "'matchExpressions':[{'key':'kubernetes.io/"
         "hostname','operator':'In','values':['n2']}]}]}}}}");
    for (int i = 0; i < 5; i++)
        assert_string_equal(schedule(w, pod("a", data)), "n2");
}

static void anti_affinity_can_be_preempted(void **state)
{
    struct world *w = *state;
    add_node(&w->s, "n1", "", "");
    place_take(&w->s, pod("a1", ANTI_AFFINITY ",'priority':1"), "n1");
    struct preemption p = preempt(w, "'priority':9");
    assert_string_equal(p.node->name, "n1");
    assert_int_equal(p.victims_n, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(without_nodes_there_is_nothing_to_schedule_on),
        T(each_filter_has_upstreams_words),
        T(reasons_are_counted_and_sorted_as_text),
        T(tolerations_and_selectors_open_nodes),
        T(what_runs_takes_room_until_it_leaves),
        T(a_node_holds_so_many_pods),
        T(host_ports_belong_to_one_pod),
        T(the_emptier_node_is_better),
        T(soft_taints_and_preferences_weigh),
        T(equal_nodes_all_get_their_share),
        T(anti_affinity_holds_for_both_sides),
        T(affinity_follows_pods_into_their_zone),
        T(the_first_of_a_group_needs_no_company),
        T(required_spreading_keeps_the_skew),
        T(soft_spreading_prefers_the_emptier_domain),
        T(the_least_important_pods_have_to_go),
        T(preemption_says_why_it_does_not_help),
        T(protected_pods_stay_if_others_can_go),
        T(affinity_reaches_into_namespaces_by_their_labels),
        T(a_pod_waits_for_its_claims),
        T(anti_affinity_can_be_preempted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
