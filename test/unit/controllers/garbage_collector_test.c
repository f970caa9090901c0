/* SPDX-License-Identifier: Apache-2.0 */
/* garbage_collector_test - owners go, dependents follow as the policy says. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec garbage_collector_controller, namespace_controller;

#define OWNER(name)                                                                                \
    "{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'" name "','uid':'uid-" name               \
    "','controller':true,'blockOwnerDeletion':true}"

static void put_set(struct cluster *t, const char *name)
{
    char text[200];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s','uid':'uid-%s'},'spec':{}}", name,
             name);
    fake_store(t->fake, RESOURCE_REPLICASETS, text);
}

static void put_pod(struct cluster *t, const char *name, const char *owners)
{
    char text[900];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s','ownerReferences':[%s]},'spec':{}}",
             name, owners);
    fake_store(t->fake, RESOURCE_PODS, text);
}

static void remove_set(struct cluster *t, const char *name, enum propagation propagation)
{
    struct error err = { 0 };
    struct object_key key = { "default", name };
    struct client_delete_options options = { .grace_period_s = -1, .propagation = propagation };
    assert_int_equal(
        client_delete(fake_client(t->fake), &resources[RESOURCE_REPLICASETS], &key, &options, &err),
        0);
}

static void dependents_of_a_deleted_owner_are_deleted(void **state)
{
    struct cluster *t = *state;
    put_set(t, "one");
    put_pod(t, "a", OWNER("one"));
    put_pod(t, "b", "");
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_BACKGROUND);
    wait_gone(t, RESOURCE_PODS, "default", "a");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1);
}

static void what_lost_its_owner_before_the_start_is_found(void **state)
{
    struct cluster *t = *state;
    put_pod(t, "a", OWNER("one"));
    cluster_start(t, &garbage_collector_controller, NULL);
    wait_gone(t, RESOURCE_PODS, "default", "a");
}

static void an_owner_of_the_same_name_is_another_one(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_REPLICASETS,
               "{'metadata':{'namespace':'default','name':'one','uid':'new'},'spec':{}}");
    put_pod(t, "a", OWNER("one"));
    cluster_start(t, &garbage_collector_controller, NULL);
    wait_gone(t, RESOURCE_PODS, "default", "a");
}

static void an_object_stays_while_one_owner_is_left(void **state)
{
    struct cluster *t = *state;
    put_set(t, "one");
    put_set(t, "two");
    put_pod(t, "a", OWNER("one") "," OWNER("two"));
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_BACKGROUND);
    put_pod(t, "marker", OWNER("one"));
    wait_gone(t, RESOURCE_PODS, "default", "marker");
    scoped(object) struct object *a = fake_get(t->fake, RESOURCE_PODS, "default", "a");
    assert_non_null(a);
}

static void orphaned_dependents_stay_and_forget_their_owner(void **state)
{
    struct cluster *t = *state;
    put_set(t, "one");
    put_pod(t, "a", OWNER("one"));
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_ORPHAN);
    wait_gone(t, RESOURCE_REPLICASETS, "default", "one");
    scoped(object) struct object *a = fake_get(t->fake, RESOURCE_PODS, "default", "a");
    assert_int_equal(json_len(a->doc, "metadata.ownerReferences"), 0);
}

static void in_the_foreground_the_owner_goes_last(void **state)
{
    struct cluster *t = *state;
    put_set(t, "one");
    put_pod(t, "a", OWNER("one"));
    fake_merge(t->fake, RESOURCE_PODS, "default", "a", "{'metadata':{'finalizers':['x/y']}}");
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_FOREGROUND);
    wait_value(t, RESOURCE_PODS, "default", "a", "metadata.deletionGracePeriodSeconds", "0");
    scoped(object) struct object *owner = fake_get(t->fake, RESOURCE_REPLICASETS, "default", "one");
    assert_non_null(owner); /* it waits for its pod */
    fake_merge(t->fake, RESOURCE_PODS, "default", "a", "{'metadata':{'finalizers':null}}");
    wait_gone(t, RESOURCE_REPLICASETS, "default", "one");
}

static void put_owned_set(struct cluster *t, const char *name, const char *owner)
{
    char text[400];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s','uid':'uid-%s','ownerReferences':[{"
             "'apiVersion':'apps/v1','kind':'ReplicaSet','name':'%s','uid':'uid-%s',"
             "'blockOwnerDeletion':true}]},'spec':{}}",
             name, name, owner, owner);
    fake_store(t->fake, RESOURCE_REPLICASETS, text);
}

static void a_circle_of_owners_does_not_block(void **state)
{
    struct cluster *t = *state;
    put_owned_set(t, "one", "three");
    put_owned_set(t, "two", "one");
    put_owned_set(t, "three", "two");
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_FOREGROUND);
    wait_count(t, RESOURCE_REPLICASETS, 0);
}

static void a_valid_owner_keeps_what_another_one_waits_for(void **state)
{
    struct cluster *t = *state;
    put_set(t, "one");
    put_set(t, "two");
    put_pod(t, "a", OWNER("one") "," OWNER("two"));
    cluster_start(t, &garbage_collector_controller, NULL);
    remove_set(t, "one", PROPAGATION_FOREGROUND);
    wait_gone(t, RESOURCE_REPLICASETS, "default", "one");
    scoped(object) struct object *a = fake_get(t->fake, RESOURCE_PODS, "default", "a");
    assert_int_equal(json_len(a->doc, "metadata.ownerReferences"), 1);
    assert_string_equal(
        json_str(json_items_begin(json_at(a->doc, "metadata.ownerReferences")), "uid", ""),
        "uid-two");
}

static void an_owner_of_an_unknown_kind_proves_nothing(void **state)
{
    struct cluster *t = *state;
    put_pod(t, "a", "{'apiVersion':'example.com/v1','kind':'Thing','name':'x','uid':'y'}");
    put_pod(t, "b", OWNER("one"));
    cluster_start(t, &garbage_collector_controller, NULL);
    wait_gone(t, RESOURCE_PODS, "default", "b");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 1);
}

static void an_owner_in_another_namespace_is_reported(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_REPLICASETS,
               "{'metadata':{'namespace':'other','name':'one','uid':'uid-one'},'spec':{}}");
    put_pod(t, "a", OWNER("one"));
    cluster_start(t, &garbage_collector_controller, NULL);
    wait_event(t, "ownerRef [apps/v1/ReplicaSet, namespace: default, name: one, uid: uid-one] does "
                  "not exist in namespace \"default\"");
}

/* ---- namespaces ---- */

static void put_namespace(struct cluster *t)
{
    fake_store(t->fake, RESOURCE_NAMESPACES,
               "{'metadata':{'name':'shop'},'spec':{'finalizers':['kubernetes']},'status':{'phase':"
               "'Active'}}");
}

static void remove_namespace(struct cluster *t)
{
    struct error err = { 0 };
    struct object_key key = { "", "shop" };
    assert_int_equal(
        client_delete(fake_client(t->fake), &resources[RESOURCE_NAMESPACES], &key, NULL, &err), 0);
}

static void a_deleted_namespace_takes_its_contents_along(void **state)
{
    struct cluster *t = *state;
    put_namespace(t);
    fake_store(t->fake, RESOURCE_PODS, "{'metadata':{'namespace':'shop','name':'a'},'spec':{}}");
    fake_store(t->fake, RESOURCE_SECRETS, "{'metadata':{'namespace':'shop','name':'s'}}");
    fake_store(t->fake, RESOURCE_SECRETS, "{'metadata':{'namespace':'other','name':'s'}}");
    cluster_start(t, &namespace_controller, NULL);
    remove_namespace(t);
    wait_gone(t, RESOURCE_NAMESPACES, "", "shop");
    assert_int_equal(fake_count(t->fake, RESOURCE_PODS), 0);
    assert_int_equal(fake_count(t->fake, RESOURCE_SECRETS), 1);
}

static void a_namespace_waits_for_finalizers_and_says_so(void **state)
{
    struct cluster *t = *state;
    put_namespace(t);
    fake_store(t->fake, RESOURCE_PODS,
               "{'metadata':{'namespace':'shop','name':'a','finalizers':['x/y']},'spec':{}}");
    fake_store(t->fake, RESOURCE_SECRETS, "{'metadata':{'namespace':'shop','name':'s'}}");
    cluster_start(t, &namespace_controller, NULL);
    remove_namespace(t);
    wait_condition(t, RESOURCE_NAMESPACES, "", "shop", "NamespaceContentRemaining",
                   "True/SomeResourcesRemain");
    wait_condition(t, RESOURCE_NAMESPACES, "", "shop", "NamespaceFinalizersRemaining",
                   "True/SomeFinalizersRemain");
    scoped(object) struct object *ns = fake_get(t->fake, RESOURCE_NAMESPACES, "", "shop");
    assert_string_equal(json_str(object_condition(ns, "NamespaceContentRemaining"), "message", ""),
                        "Some resources are remaining: pods. has 1 resource instances");
    assert_string_equal(
        json_str(object_condition(ns, "NamespaceFinalizersRemaining"), "message", ""),
        "Some content in the namespace has finalizers remaining: x/y in 1 resource instances");
    assert_int_equal(fake_count(t->fake, RESOURCE_SECRETS), 1); /* pods first */
    fake_drop(t->fake, RESOURCE_PODS, "shop", "a");
    wait_gone(t, RESOURCE_NAMESPACES, "", "shop");
    assert_int_equal(fake_count(t->fake, RESOURCE_SECRETS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dependents_of_a_deleted_owner_are_deleted),
        TEST(what_lost_its_owner_before_the_start_is_found),
        TEST(an_owner_of_the_same_name_is_another_one),
        TEST(an_object_stays_while_one_owner_is_left),
        TEST(orphaned_dependents_stay_and_forget_their_owner),
        TEST(in_the_foreground_the_owner_goes_last),
        TEST(a_circle_of_owners_does_not_block),
        TEST(a_valid_owner_keeps_what_another_one_waits_for),
        TEST(an_owner_of_an_unknown_kind_proves_nothing),
        TEST(an_owner_in_another_namespace_is_reported),
        TEST(a_deleted_namespace_takes_its_contents_along),
        TEST(a_namespace_waits_for_finalizers_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
