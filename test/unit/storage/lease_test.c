/* SPDX-License-Identifier: Apache-2.0 */
/* lease_test.c - leases through the store, and their clock by themselves. */
#include <pthread.h>

#include "base/failpoint.h"
#include "test/unit/storage/fixture.h"

#include "storage/lease.h"

static int64_t grant(struct fixture *f, int64_t id, int64_t ttl_s)
{
    struct error err = { 0 };
    int64_t granted = 0;
    if (storage_lease_grant(f->s, id, ttl_s, &granted, &err) < 0)
        fail_msg("%s", err.message);
    return granted;
}

static void put_leased(struct fixture *f, const char *key, int64_t lease)
{
    struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .lease = lease };
    apply_op(f, &op, NULL);
}

static void revoking_deletes_the_keys_in_one_revision(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id = grant(f, 0, 60), other = grant(f, 7, 60);
    assert_int_equal(other, 7);
    put_leased(f, "a", id);
    put_leased(f, "b", id);
    put_leased(f, "c", other);
    put_leased(f, "b", 0); /* no longer the lease's */
    put_leased(f, "d", id);
    int64_t before = storage_revision(f->s);
    assert_int_equal(storage_lease_revoke(f->s, id, &err), 0);
    assert_int_equal(storage_revision(f->s), before + 1);
    struct storage_range_result out = range(f, "a", "z", 0);
    assert_int_equal(out.n, 2);
    assert_string_equal(out.kvs[0].key.data, "b");
    assert_int_equal(storage_lease_revoke(f->s, id, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void a_lease_is_granted_once(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t granted;
    grant(f, 5, 60);
    assert_int_equal(storage_lease_grant(f->s, 5, 60, &granted, &err), -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    assert_int_equal(storage_lease_keep_alive(f->s, 6, &granted, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(storage_lease_keep_alive(f->s, 5, &granted, &err), 0);
    assert_int_equal(granted, 60);
}

struct grantee {
    struct fixture *f;
    int64_t id;
};

static void *grant_one(void *arg)
{
    struct grantee *g = arg;
    struct error err = { 0 };
    int64_t granted;
    return storage_lease_grant(g->f->s, g->id, 60, &granted, &err) == 0 ? g : NULL;
}

static void a_lease_is_granted_once_to_many_who_ask_together(void **state)
{
    pthread_t threads[16];
    struct grantee first = { *state, 4 }, others = { *state, 5 };
    int granted_n = 0;
    failpoints_set("storage.commit.before_log=delay:20"); /* while 4 is written the rest gathers */
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, grant_one, i ? &others : &first), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *granted;
        pthread_join(threads[i], &granted);
        granted_n += granted != NULL;
    }
    failpoints_set(NULL);
    assert_int_equal(granted_n, 2);
}

static void leases_and_their_keys_survive_restarts(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id = grant(f, 0, 60);
    put_leased(f, "a", id);
    for (int i = 0; i < 3; i++) {
        if (i == 1) { /* from the log, then from the database */
            failpoints_set("storage.index.freeze=error");
            put(f, "x", "flush");
            put(f, "y", "flush");
        }
        reopen(f);
        assert_int_equal(range(f, "a", NULL, 0).kvs[0].lease, id);
    }
    assert_int_equal(storage_lease_revoke(f->s, id, &err), 0);
    assert_int_equal(range(f, "a", NULL, 0).n, 0);
    reopen(f);
    assert_int_equal(range(f, "a", NULL, 0).n, 0);
}

/* False: the lease was over first. */
static bool try_put_leased(struct fixture *f, const char *key, int64_t lease)
{
    struct error err = { 0 };
    struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .lease = lease };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    if (storage_txn(f->s, &txn, f->arena, &out, &err) == 0)
        return true;
    assert_int_equal(err.code, ERR_NOT_FOUND);
    return false;
}

static void put_leased_for_a_second(struct fixture *f, const char *key)
{
    while (!try_put_leased(f, key, grant(f, 0, 1)))
        continue;
}

static void an_expired_lease_takes_its_keys_along(void **state)
{
    struct fixture *f = *state;
    put_leased_for_a_second(f, "a");
    while (range(f, "a", NULL, 0).n) /* ends by itself: the store deletes it */
        usleep(20000);
    assert_int_equal(storage_revision(f->s), 3);
}

static void keeping_alive_moves_the_end(void **state)
{
    (void)state;
    struct fake_clock clock;
    struct error err = { 0 };
    int64_t next, ttl;
    fake_clock_init(&clock, 0);
    struct lease_table *t = lease_table_new(&clock.clock);
    lease_grant(t, 1, 10);
    lease_grant(t, 2, 20);
    assert_int_equal(lease_next_expired(t, &next), 0);
    fake_clock_advance(&clock, 9 * NS_PER_S);
    assert_int_equal(lease_keep_alive(t, 1, &ttl, &err), 0);
    fake_clock_advance(&clock, 9 * NS_PER_S);
    assert_int_equal(lease_next_expired(t, &next), 0);
    assert_int_equal(next - clock_monotonic_ns(&clock.clock), NS_PER_S);
    fake_clock_advance(&clock, NS_PER_S);
    assert_int_equal(lease_next_expired(t, &next), 1);
    assert_int_equal(lease_next_expired(t, &next), 0); /* given once: its deletion is on the way */
    lease_table_free(t);
}

/* A disk that stands still does not make a promise of what is already decided, nor queue up more of
 * it; one that refuses does not end anybody's lease. */
static void an_end_on_its_way_is_final_unless_it_fails(void **state)
{
    (void)state;
    struct fake_clock clock;
    struct error err = { 0 };
    int64_t next, ttl;
    fake_clock_init(&clock, 0);
    struct lease_table *t = lease_table_new(&clock.clock);
    lease_grant(t, 1, 10);
    fake_clock_advance(&clock, 10 * NS_PER_S);
    assert_int_equal(lease_next_expired(t, &next), 1);
    fake_clock_advance(&clock, 100 * NS_PER_S);
    assert_int_equal(lease_next_expired(t, &next), 0);
    assert_int_equal(next, 0);
    assert_int_equal(lease_keep_alive(t, 1, &ttl, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    lease_retry(t, 1);
    assert_int_equal(lease_next_expired(t, &next), 0);
    assert_true(next > 0);
    assert_int_equal(lease_keep_alive(t, 1, &ttl, &err), 0);
    fake_clock_advance(&clock, 9 * NS_PER_S);
    assert_int_equal(lease_next_expired(t, &next), 0);
    lease_retry(t, 2); /* it is gone */
    lease_table_free(t);
}

static void an_end_is_of_one_lease_and_not_of_the_next_with_its_id(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id;
    do {
        failpoints_set("storage.lease.before_expiry=hold");
        id = grant(f, 0, 1);
    } while (!try_put_leased(f, "first", id));
    failpoint_await("storage.lease.before_expiry"); /* its end is about to be queued */
    assert_int_equal(storage_lease_revoke(f->s, id, &err), 0);
    assert_int_equal(grant(f, id, 60), id);
    put_leased(f, "second", id);
    failpoints_set(NULL);
    assert_int_equal(storage_defragment(f->s, &err), 0); /* waits for that turn: it is queued */
    put_leased(f, "third", id);
    assert_int_equal(range(f, "first", "z", 0).n, 2);
}

static void an_end_that_the_disk_refuses_is_tried_again(void **state)
{
    struct fixture *f = *state;
    put_leased_for_a_second(f, "a");
    failpoints_set("storage.log.before_write=error@1");
    while (range(f, "a", NULL, 0).n)
        usleep(20000);
    failpoints_set(NULL);
    assert_int_equal(storage_revision(f->s), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(revoking_deletes_the_keys_in_one_revision),
        T(a_lease_is_granted_once),
        T(a_lease_is_granted_once_to_many_who_ask_together),
        T(leases_and_their_keys_survive_restarts),
        T(an_expired_lease_takes_its_keys_along),
        cmocka_unit_test(keeping_alive_moves_the_end),
        cmocka_unit_test(an_end_on_its_way_is_final_unless_it_fails),
        T(an_end_that_the_disk_refuses_is_tried_again),
        T(an_end_is_of_one_lease_and_not_of_the_next_with_its_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
