/* SPDX-License-Identifier: Apache-2.0 */
/* volume_protection_test - claims and volumes go when nobody uses them. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec pvc_protection_controller, pv_protection_controller;

static void put_claim(struct cluster *t, const char *name, const char *meta)
{
    char text[400];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s','uid':'%s-uid'%s},'spec':{}}", name,
             name, meta);
    fake_store(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS, text);
}

static void put_user(struct cluster *t, const char *name, const char *node, const char *volume)
{
    char text[400];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s','uid':'%s-uid'},'spec':{%s'volumes':"
             "[{'name':'data',%s}]}}",
             name, name, node, volume);
    fake_store(t->fake, RESOURCE_PODS, text);
}

#define DELETED_CLAIM                                                                              \
    ",'deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':['kubernetes.io/pvc-protection']"
#define ON_NODE "'nodeName':'n',"
#define CLAIM   "'persistentVolumeClaim':{'claimName':'c'}"

static void a_claim_that_nobody_uses_goes(void **state)
{
    struct cluster *t = *state;
    put_claim(t, "c", DELETED_CLAIM);
    put_claim(t, "stays", "");
    put_user(t, "unscheduled", "", CLAIM);
    cluster_start(t, &pvc_protection_controller, NULL);
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "c");
    assert_int_equal(fake_count(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS), 1);
}

static bool is_protected(struct fake_client *f, void *arg)
{
    scoped(object) struct object *o = fake_get(f, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", arg);
    return object_has_finalizer(o, "kubernetes.io/pvc-protection");
}

static void a_claim_without_protection_gets_it(void **state)
{
    struct cluster *t = *state;
    put_claim(t, "c", "");
    cluster_start(t, &pvc_protection_controller, NULL);
    fake_wait(t->fake, is_protected, "c", "the finalizer");
}

static void a_claim_stays_while_a_pod_uses_it(void **state)
{
    struct cluster *t = *state;
    put_claim(t, "c", DELETED_CLAIM);
    put_claim(t, "two-data", DELETED_CLAIM);
    put_claim(t, "unused", DELETED_CLAIM);
    put_user(t, "one", ON_NODE, CLAIM);
    put_user(t, "two", ON_NODE, "'ephemeral':{}");
    cluster_start(t, &pvc_protection_controller, NULL);
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "unused");
    assert_int_equal(fake_count(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS), 2);
    fake_drop(t->fake, RESOURCE_PODS, "default", "one");
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "c");
    fake_drop(t->fake, RESOURCE_PODS, "default", "two");
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "two-data");
}

static void a_pod_that_the_cache_has_not_seen_protects_as_well(void **state)
{
    struct cluster *t = *state;
    fake_fail(t->fake, VERB_WATCH, RESOURCE_PODS, 1000000, ERR_UNAVAILABLE, "broken");
    cluster_start(t, &pvc_protection_controller, NULL);
    put_user(t, "one", ON_NODE, CLAIM);
    put_claim(t, "c", DELETED_CLAIM);
    put_claim(t, "unused", DELETED_CLAIM);
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "unused");
    assert_int_equal(fake_count(t->fake, RESOURCE_PERSISTENTVOLUMECLAIMS), 1);
    fake_drop(t->fake, RESOURCE_PODS, "default", "one");
    wait_gone(t, RESOURCE_PERSISTENTVOLUMECLAIMS, "default", "c");
}

static void a_volume_goes_when_it_is_not_bound(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_PERSISTENTVOLUMES,
               "{'metadata':{'name':'v','deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':"
               "['kubernetes.io/pv-protection']},'status':{'phase':'Bound'}}");
    fake_store(t->fake, RESOURCE_PERSISTENTVOLUMES,
               "{'metadata':{'name':'w','deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':"
               "['kubernetes.io/pv-protection']},'status':{'phase':'Available'}}");
    cluster_start(t, &pv_protection_controller, NULL);
    wait_gone(t, RESOURCE_PERSISTENTVOLUMES, "", "w");
    assert_int_equal(fake_count(t->fake, RESOURCE_PERSISTENTVOLUMES), 1);
    fake_merge(t->fake, RESOURCE_PERSISTENTVOLUMES, "", "v", "{'status':{'phase':'Released'}}");
    wait_gone(t, RESOURCE_PERSISTENTVOLUMES, "", "v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_claim_that_nobody_uses_goes),
        TEST(a_claim_without_protection_gets_it),
        TEST(a_claim_stays_while_a_pod_uses_it),
        TEST(a_pod_that_the_cache_has_not_seen_protects_as_well),
        TEST(a_volume_goes_when_it_is_not_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
