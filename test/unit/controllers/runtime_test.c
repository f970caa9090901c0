/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_test - what every controller may rely on; and the two smallest controllers. */
#include "test/unit/controllers/cluster.h"

#include <limits.h>
#include <pthread.h>

extern const struct controller_spec service_account_controller, root_ca_controller;

/* A controller that notes what happens to it, for ConfigMaps. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int at_work, most_at_work, calls, failures_left, both_at_one_key;
    char working[64]; /* the key at work, when there is one worker per key */
    bool is_held;     /* reconciles wait */
    bool saw_own_write;
} probe = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int note(struct controller *c, const struct object_key *key, struct error *err)
{
    (void)c;
    pthread_mutex_lock(&probe.lock);
    probe.both_at_one_key += str_equal(probe.working, key->name);
    snprintf(probe.working, sizeof(probe.working), "%s", key->name);
    if (++probe.at_work > probe.most_at_work)
        probe.most_at_work = probe.at_work;
    pthread_cond_broadcast(&probe.changed);
    while (probe.is_held)
        pthread_cond_wait(&probe.changed, &probe.lock);
    probe.at_work--;
    probe.calls++;
    probe.working[0] = '\0';
    bool fails = probe.failures_left > 0 && probe.failures_left--;
    pthread_cond_broadcast(&probe.changed);
    pthread_mutex_unlock(&probe.lock);
    return fails ? error_set(err, ERR_CONFLICT, "not yet") : 0;
}

static const struct controller_spec probe_controller = {
    .name = "probe",
    .account = "probe",
    .source = "probe",
    .workers = 2,
    .watches = { { RESOURCE_CONFIGMAPS, enqueue_self } },
    .reconcile = note,
};

/* Makes a Secret beside each ConfigMap and wants to see it in its cache when it is called again. */
static int mirror(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *there = cache_get(c, RESOURCE_SECRETS, key);
    pthread_mutex_lock(&probe.lock);
    probe.saw_own_write = probe.calls++ > 0 && there;
    pthread_cond_broadcast(&probe.changed);
    pthread_mutex_unlock(&probe.lock);
    if (there)
        return 0;
    enqueue_key(c, key); /* at once, before the watch can have told */
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_SECRETS]);
    json_put_str(d->arena, d->doc, "metadata.namespace", key->ns);
    json_put_str(d->arena, d->doc, "metadata.name", key->name);
    return create_object(c, d, NULL, err);
}

static const struct controller_spec mirror_controller = {
    .name = "mirror",
    .account = "mirror",
    .source = "mirror",
    .workers = 2,
    .watches = { { RESOURCE_CONFIGMAPS, enqueue_self }, { RESOURCE_SECRETS, NULL } },
    .reconcile = mirror,
};

static int setup(void **state)
{
    probe.at_work = probe.most_at_work = probe.calls = probe.failures_left = 0;
    probe.both_at_one_key = 0;
    probe.is_held = probe.saw_own_write = false;
    probe.working[0] = '\0';
    return cluster_setup(state);
}

static void put_map(struct cluster *t, const char *name, const char *value)
{
    char text[200];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s'},'data':{'v':'%s'}}", name, value);
    fake_store(t->fake, RESOURCE_CONFIGMAPS, text);
}

static void await(const int *counter, int n)
{
    pthread_mutex_lock(&probe.lock);
    while (*counter < n)
        pthread_cond_wait(&probe.changed, &probe.lock);
    pthread_mutex_unlock(&probe.lock);
}

static void hold(bool held)
{
    pthread_mutex_lock(&probe.lock);
    probe.is_held = held;
    pthread_cond_broadcast(&probe.changed);
    pthread_mutex_unlock(&probe.lock);
}

static void a_controller_has_no_more_workers_than_it_asked_for(void **state)
{
    struct cluster *t = *state;
    hold(true);
    cluster_start(t, &probe_controller, NULL);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        put_map(t, name, "x");
    }
    await(&probe.at_work, 2);
    hold(false);
    await(&probe.calls, 10);
    assert_int_equal(probe.most_at_work, 2);
}

static void a_key_is_never_with_two_workers(void **state)
{
    struct cluster *t = *state;
    hold(true);
    cluster_start(t, &probe_controller, NULL);
    put_map(t, "a", "1");
    await(&probe.at_work, 1);
    put_map(t, "a", "2");
    put_map(t, "a", "3");
    struct informer *maps = informer_set_get(t->informers, &resources[RESOURCE_CONFIGMAPS], NULL);
    scoped(object) struct object *last = fake_get(t->fake, RESOURCE_CONFIGMAPS, "default", "a");
    assert_true(informer_wait_revision(maps, last->resource_version, WAIT_MS));
    hold(false);
    await(&probe.calls, 2); /* what came meanwhile comes back once */
    assert_int_equal(probe.both_at_one_key, 0);
    assert_int_equal(probe.most_at_work, 1);
}

static void a_key_that_failed_comes_back(void **state)
{
    struct cluster *t = *state;
    probe.failures_left = 3;
    cluster_start(t, &probe_controller, NULL);
    put_map(t, "a", "1");
    await(&probe.calls, 4);
}

static void a_reconcile_sees_the_writes_of_the_one_before(void **state)
{
    struct cluster *t = *state;
    cluster_start(t, &mirror_controller, NULL);
    put_map(t, "a", "1");
    await(&probe.calls, 2);
    assert_true(probe.saw_own_write);
}

static void what_was_there_before_the_start_is_worked_on(void **state)
{
    struct cluster *t = *state;
    put_map(t, "a", "1");
    cluster_start(t, &probe_controller, NULL);
    await(&probe.calls, 1);
}

static void a_disabled_controller_does_not_run(void **state)
{
    struct cluster *t = *state;
    static const char *const disabled[] = { "probe", NULL };
    const struct controller_spec *specs[] = { &probe_controller, NULL };
    struct controllers_config config = {
        .client = cluster_client,
        .arg = t,
        .informers = t->informers,
        .disabled = disabled,
    };
    struct error err = { 0 };
    t->controllers = controllers_new_of(&config, specs, &err);
    informer_set_start(t->informers);
    assert_int_equal(controllers_run(t->controllers, &err), 0);
    put_map(t, "a", "1");
    assert_int_equal(fake_calls(t->fake, VERB_LIST, RESOURCE_CONFIGMAPS), 0);
}

static void put_namespace(struct cluster *t, const char *more)
{
    char text[200];
    snprintf(text, sizeof(text), "{'metadata':{'name':'shop'%s},'spec':{}}", more);
    fake_store(t->fake, RESOURCE_NAMESPACES, text);
}

static void every_namespace_has_an_account_and_the_ca(void **state)
{
    struct cluster *t = *state;
    cluster_start(t, &service_account_controller, &root_ca_controller);
    put_namespace(t, "");
    wait_count(t, RESOURCE_SERVICEACCOUNTS, 1);
    wait_count(t, RESOURCE_CONFIGMAPS, 1);
    scoped(object) struct object *map =
        fake_get(t->fake, RESOURCE_CONFIGMAPS, "shop", "kube-root-ca.crt");
    assert_string_equal(json_text(json_get(json_at(map->doc, "data"), "ca.crt")), "certificate");
    fake_drop(t->fake, RESOURCE_SERVICEACCOUNTS, "shop", "default");
    fake_drop(t->fake, RESOURCE_CONFIGMAPS, "shop", "kube-root-ca.crt");
    wait_count(t, RESOURCE_SERVICEACCOUNTS, 1);
    wait_count(t, RESOURCE_CONFIGMAPS, 1);
}

static void a_ca_that_was_changed_is_put_right(void **state)
{
    struct cluster *t = *state;
    put_namespace(t, "");
    cluster_start(t, &root_ca_controller, NULL);
    wait_count(t, RESOURCE_CONFIGMAPS, 1);
    fake_merge(t->fake, RESOURCE_CONFIGMAPS, "shop", "kube-root-ca.crt", "{'data':{'x':'y'}}");
    wait_value(t, RESOURCE_CONFIGMAPS, "shop", "kube-root-ca.crt", "data.x", NULL);
}

static void a_list_that_fails_holds_up_only_who_needs_it(void **state)
{
    struct cluster *t = *state;
    put_map(t, "a", "1");
    fake_fail(t->fake, VERB_LIST, RESOURCE_SECRETS, INT_MAX, ERR_INTERNAL, "cannot be read");
    cluster_start(t, &probe_controller, &mirror_controller);
    await(&probe.calls, 1);
    assert_int_equal(fake_count(t->fake, RESOURCE_SECRETS), 0);
    fake_heal(t->fake);
    await(&probe.calls, 3); /* the other makes its Secret, and sees it */
    assert_true(probe.saw_own_write);
}

#define PROBE(f) cmocka_unit_test_setup_teardown(f, setup, cluster_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROBE(a_controller_has_no_more_workers_than_it_asked_for),
        PROBE(a_key_is_never_with_two_workers),
        PROBE(a_key_that_failed_comes_back),
        PROBE(a_reconcile_sees_the_writes_of_the_one_before),
        PROBE(what_was_there_before_the_start_is_worked_on),
        PROBE(a_disabled_controller_does_not_run),
        PROBE(a_list_that_fails_holds_up_only_who_needs_it),
        TEST(every_namespace_has_an_account_and_the_ca),
        TEST(a_ca_that_was_changed_is_put_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
