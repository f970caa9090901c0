/* SPDX-License-Identifier: Apache-2.0 */
/* leader_election_test.c - one leads, the others wait; a leader that goes is replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "api/leader_election.h"
#include "test/unit/fake_client.h"

struct candidate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int begun, ended;
    bool refuses; /* to begin */
    struct leader_elector *elector;
};

static int begin_to_lead(struct leader_elector *e, void *arg, struct error *err)
{
    struct candidate *c = arg;
    (void)e;
    pthread_mutex_lock(&c->lock);
    c->begun++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return c->refuses ? error_set(err, ERR_INTERNAL, "not today") : 0;
}

static void end_leading(void *arg)
{
    struct candidate *c = arg;
    pthread_mutex_lock(&c->lock);
    c->ended++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* So much longer than any machine stands still that nobody loses its lease by chance. */
#define LONG_S 60

static void start_of(struct fake_client *f, struct candidate *c, const char *identity,
                     const struct leader_election_config *times)
{
    *c = (struct candidate){ .lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER };
    struct leader_election_config config = *times;
    config.client = fake_client(f);
    config.ns = "kube-system";
    config.name = "worker";
    config.identity = identity;
    config.component = "worker";
    config.began = begin_to_lead;
    config.ended = end_leading;
    config.arg = c;
    struct error err = { 0 };
    c->elector = leader_elector_start(&config, &err);
    assert_non_null(c->elector);
}

static void start_every(struct fake_client *f, struct candidate *c, const char *identity,
                        int64_t retry_period_ns)
{
    struct leader_election_config times = { .lease_duration_ns = LONG_S * NS_PER_S,
                                            .renew_deadline_ns = LONG_S * NS_PER_S / 2,
                                            .retry_period_ns = retry_period_ns };
    start_of(f, c, identity, &times);
}

static void start(struct fake_client *f, struct candidate *c, const char *identity)
{
    start_every(f, c, identity, 100 * NS_PER_MS);
}

/* Has to end soon, long before another may begin. */
static void start_hasty(struct fake_client *f, struct candidate *c, const char *identity)
{
    struct leader_election_config times = { .lease_duration_ns = 8 * NS_PER_S,
                                            .renew_deadline_ns = 600 * NS_PER_MS,
                                            .retry_period_ns = 100 * NS_PER_MS };
    start_of(f, c, identity, &times);
}

static void wait_for_begin(struct candidate *c, int n)
{
    pthread_mutex_lock(&c->lock);
    while (c->begun < n)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void wait_for_end(struct candidate *c, int n)
{
    pthread_mutex_lock(&c->lock);
    while (c->ended < n)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void assert_lease(struct fake_client *f, const char *holder, int64_t duration_s,
                         int64_t transitions)
{
    scoped(object) struct object *lease = fake_get(f, RESOURCE_LEASES, "kube-system", "worker");
    assert_non_null(lease);
    assert_string_equal(json_str(lease->doc, "spec.holderIdentity", "-"), holder);
    assert_int_equal(json_int(lease->doc, "spec.leaseDurationSeconds", 0), duration_s);
    assert_int_equal(json_int(lease->doc, "spec.leaseTransitions", 0), transitions);
    assert_true(*json_str(lease->doc, "spec.acquireTime", "") != 0);
    assert_true(*json_str(lease->doc, "spec.renewTime", "") != 0);
}

static void who_comes_first_leads_and_hands_over_when_it_stops(void **state)
{
    struct fake_client *f = *state;
    struct candidate a, b;
    start(f, &a, "a");
    wait_for_begin(&a, 1);
    assert_true(leader_elector_leads(a.elector));
    assert_lease(f, "a", LONG_S, 0);
    start(f, &b, "b");
    leader_elector_stop(a.elector);
    assert_int_equal(a.ended, 1);
    wait_for_begin(&b, 1);
    assert_lease(f, "b", LONG_S, 1);
    leader_elector_stop(b.elector);
    assert_lease(f, "", 1, 1);
}

static int count_leaders(struct candidate *a, struct candidate *b)
{
    pthread_mutex_lock(&a->lock);
    pthread_mutex_lock(&b->lock);
    int n = a->begun - a->ended + b->begun - b->ended;
    pthread_mutex_unlock(&b->lock);
    pthread_mutex_unlock(&a->lock);
    return n;
}

static void a_leader_that_cannot_renew_ends_before_another_begins(void **state)
{
    struct fake_client *f = *state;
    struct candidate a, b;
    start_hasty(f, &a, "a");
    wait_for_begin(&a, 1);
    fake_fail(f, VERB_UPDATE, RESOURCE_LEASES, 30, ERR_UNAVAILABLE, "cut off");
    wait_for_end(&a, 1);
    start_hasty(f, &b, "b");
    /* Either may be next; who is not waits. */
    for (int n = 0; n == 0; usleep(1000)) {
        n = count_leaders(&a, &b);
        assert_true(n <= 1);
    }
    leader_elector_stop(a.elector);
    wait_for_begin(&b, 1);
    leader_elector_stop(b.elector);
    assert_int_equal(b.begun, b.ended);
}

/* With a period of a minute, whoever waited for it would not be done before hack/test gives up. */
static void a_lease_that_is_out_is_tried_for_again_at_once(void **state)
{
    struct fake_client *f = *state;
    struct candidate a;
    fake_store(f, RESOURCE_LEASES,
               "{'metadata':{'namespace':'kube-system','name':'worker'},'spec':{'holderIdentity':"
               "'dead','leaseDurationSeconds':1,'leaseTransitions':0}}");
    fake_fail(f, VERB_UPDATE, RESOURCE_LEASES, 5, ERR_UNAVAILABLE, "no member of etcd leads");
    start_every(f, &a, "a", 60 * NS_PER_S);
    wait_for_begin(&a, 1);
    assert_lease(f, "a", LONG_S, 1);
    leader_elector_stop(a.elector);
}

static void a_lease_of_the_dead_is_taken_when_it_is_out(void **state)
{
    struct fake_client *f = *state;
    struct candidate a;
    fake_store(f, RESOURCE_LEASES,
               "{'metadata':{'namespace':'kube-system','name':'worker'},'spec':{'holderIdentity':"
               "'dead','leaseDurationSeconds':1,'leaseTransitions':6,"
               "'renewTime':'2001-01-01T00:00:00.000000Z'}}");
    start(f, &a, "a");
    wait_for_begin(&a, 1);
    assert_lease(f, "a", LONG_S, 7);
    leader_elector_stop(a.elector);
}

static void who_leads_is_told_in_an_event(void **state)
{
    struct fake_client *f = *state;
    struct candidate a;
    start(f, &a, "a");
    wait_for_begin(&a, 1);
    leader_elector_stop(a.elector);
    scoped(object_list) struct object_list events = { 0 };
    fake_list(f, RESOURCE_EVENTS, &events);
    assert_true(events.n >= 1);
    assert_string_equal(json_str(events.items[0]->doc, "reason", ""), "LeaderElection");
    assert_string_equal(json_str(events.items[0]->doc, "message", ""), "a became leader");
    assert_string_equal(json_str(events.items[0]->doc, "involvedObject.kind", ""), "Lease");
}

static int setup(void **state)
{
    *state = fake_client_new();
    return 0;
}

static int teardown(void **state)
{
    fake_client_free(*state);
    return 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(who_comes_first_leads_and_hands_over_when_it_stops),
        T(a_leader_that_cannot_renew_ends_before_another_begins),
        T(a_lease_that_is_out_is_tried_for_again_at_once),
        T(a_lease_of_the_dead_is_taken_when_it_is_out),
        T(who_leads_is_told_in_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
