/* SPDX-License-Identifier: Apache-2.0 */
/* migrate_test - everything from one store to another, and what may go wrong on the way. */
#include "storage/storage.h"

#include <sys/stat.h>

#include "test/unit/storage/fixture.h"

#define MARK "coracle.io/migration"

struct two {
    struct fixture *from, *to;
    const char *dir; /* of a new store */
};

static int setup_two(void **state)
{
    struct two *t = xcalloc(1, sizeof(*t));
    void *from, *to;
    setup(&from);
    setup_remote(&to);
    t->from = from;
    t->to = to;
    t->dir = arena_printf(t->to->arena, "%s/new", t->to->dir);
    *state = t;
    return 0;
}

static int teardown_two(void **state)
{
    struct two *t = *state;
    void *from = t->from, *to = t->to;
    free(t);
    teardown(&from);
    teardown(&to);
    return 0;
}

static int migrate(struct two *t, bool is_overwrite, struct storage_migrate_result *out,
                   struct error *err)
{
    struct storage_migrate_config config = { .from = t->from->s,
                                             .to = t->to->s,
                                             .is_overwrite = is_overwrite };
    return storage_migrate(&config, out, err);
}

static void migrate_well(struct two *t, bool is_overwrite, struct storage_migrate_result *out)
{
    struct error err = { 0 };
    if (migrate(t, is_overwrite, out, &err) < 0)
        fail_msg("%s", err.message);
}

static void assert_value(struct fixture *f, const char *key, const char *value)
{
    struct storage_range_result got = range(f, key, NULL, 0);
    assert_int_equal(got.n, 1);
    assert_true(bytes_equal_str(got.kvs[0].value, value));
}

static void assert_no_key(struct fixture *f, const char *key)
{
    assert_int_equal(range(f, key, NULL, 0).n, 0);
}

static void fill(struct fixture *f)
{
    for (int i = 0; i < 30; i++)
        put(f, "often", arena_printf(f->arena, "%d", i));
    put(f, "a", "1");
    put(f, "b", "2");
    del(f, "a");
}

static void what_the_source_has_is_at_the_target(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    fill(t->from);

    migrate_well(t, false, &r);

    assert_int_equal(r.keys, 2);
    assert_value(t->to, "often", "29");
    assert_value(t->to, "b", "2");
    assert_no_key(t->to, "a");
    assert_no_key(t->to, MARK);
    assert_int_equal(storage_check_migrated(t->to->s, &err), 0);
}

static void revisions_do_not_go_back(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    fill(t->from);

    migrate_well(t, false, &r);

    assert_int_equal(r.from_revision, storage_revision(t->from->s));
    assert_int_equal(r.to_revision, storage_revision(t->to->s));
    assert_true(r.to_revision > r.from_revision);
    assert_true(range(t->to, "b", NULL, 0).kvs[0].mod_revision > r.from_revision);
    struct storage_range old = { .key = BYTES("b"), .revision = r.from_revision };
    struct storage_range_result got;
    assert_int_equal(storage_range(t->to->s, &old, t->to->arena, &got, &err), -1);
    assert_int_equal(err.code, ERR_COMPACTED);
}

static void leases_go_with_their_keys(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    int64_t id;
    struct storage_lease lease;
    assert_int_equal(storage_lease_grant(t->from->s, 77, 600, &id, &err), 0);
    struct storage_op op = {
        .type = STORAGE_PUT, .key = BYTES("k"), .value = BYTES("v"), .lease = 77
    };
    apply_op(t->from, &op, NULL);

    migrate_well(t, false, &r);

    assert_int_equal(r.leases, 1);
    assert_int_equal(storage_lease_find(t->to->s, 77, t->to->arena, &lease, &err), 0);
    assert_int_equal(lease.granted_s, 600);
    assert_int_equal(lease.keys_n, 1);
    assert_int_equal(storage_lease_revoke(t->to->s, 77, &err), 0);
    assert_no_key(t->to, "k");
}

static void keys_of_any_number_and_size_arrive(void **state)
{
    struct two *t = *state;
    struct storage_migrate_result there, back;
    char *large = arena_alloc(t->from->arena, 1000001);
    memset(large, 'x', 1000000);
    large[1000000] = '\0';
    for (int i = 0; i < 1500; i++)
        put(t->from, arena_printf(t->from->arena, "key-%d", i), "small");
    for (int i = 0; i < 6; i++)
        put(t->from, arena_printf(t->from->arena, "key-%d-large", i), large);
    migrate_well(t, false, &there);
    assert_int_equal(there.keys, 1506);

    struct fixture *from = t->from;
    t->from = t->to;
    t->to = from;
    migrate_well(t, true, &back);
    assert_int_equal(back.keys, 1506);
    assert_memory_equal(there.digest, back.digest, sizeof(there.digest));
}

static void a_new_store_keeps_the_revisions_of_keys(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    fill(t->from);
    struct storage_kv before = range(t->from, "often", NULL, 0).kvs[0];
    struct storage_migrate_config config = { .from = t->from->s, .to_dir = t->dir };
    assert_int_equal(storage_migrate(&config, &r, &err), 0);
    assert_int_equal(r.to_revision, r.from_revision);
    err = (struct error){ 0 };
    assert_int_equal(storage_migrate(&config, &r, &err), -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    config.is_overwrite = true;
    assert_int_equal(storage_migrate(&config, &r, &err), 0);

    struct storage_embedded_config embedded = { .dir = t->dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&embedded, &err);
    assert_non_null(s);
    struct fixture as = { .s = s, .arena = t->to->arena };
    struct storage_kv after = range(&as, "often", NULL, 0).kvs[0];
    assert_int_equal(after.mod_revision, before.mod_revision);
    assert_int_equal(after.create_revision, before.create_revision);
    assert_int_equal(after.version, before.version);
    assert_int_equal(put(&as, "more", "x"), r.to_revision + 1);
    storage_close(s);
}

static void a_target_with_keys_is_left_alone_unless_asked(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    int64_t id;
    fill(t->from);
    put(t->to, "mine", "x");
    put(t->to, "zzz", "x");
    assert_int_equal(storage_lease_grant(t->to->s, 5, 600, &id, &err), 0);

    assert_int_equal(migrate(t, false, &r, &err), -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    assert_value(t->to, "mine", "x");
    assert_no_key(t->to, MARK);

    migrate_well(t, true, &r);
    assert_no_key(t->to, "mine");
    assert_no_key(t->to, "zzz");
    assert_int_equal(storage_lease_keep_alive(t->to->s, 5, &id, &err), -1);
}

static void what_was_not_finished_starts_over(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    fill(t->from);
    put(t->to, MARK, "of a process that died");
    put(t->to, "half", "x");
    assert_int_equal(storage_check_migrated(t->to->s, &err), -1);

    migrate_well(t, false, &r);
    assert_no_key(t->to, "half");
    assert_int_equal(storage_check_migrated(t->to->s, &err), 0);
}

static void half_a_store_is_no_source(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    put(t->from, MARK, "of a process that died");
    assert_int_equal(migrate(t, false, &r, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
}

static void a_store_is_not_moved_onto_itself(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    put(t->to, "mine", "x");
    struct storage_migrate_config config = { .from = t->to->served,
                                             .to = t->to->s,
                                             .is_overwrite = true };
    assert_int_equal(storage_migrate(&config, &r, &err), -1);
    assert_non_null(strstr(err.message, "same store"));
    assert_value(t->to, "mine", "x");
    assert_no_key(t->to, MARK);
}

static void write_to_source(const char *what, int64_t done, int64_t total, void *arg)
{
    struct two *t = arg;
    (void)what, (void)done, (void)total;
    put(t->from, "late", "x");
}

static void a_source_that_is_written_to_is_noticed(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    fill(t->from);
    struct storage_migrate_config config = {
        t->from->s, t->to->s, NULL, false, write_to_source, t
    };
    assert_int_equal(storage_migrate(&config, &r, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_int_equal(storage_check_migrated(t->to->s, &err), -1);

    config.to = NULL;
    config.to_dir = t->dir;
    err = (struct error){ 0 };
    assert_int_equal(storage_migrate(&config, &r, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_int_equal(access(t->dir, F_OK), -1);
}

static void an_empty_store_is_moved_too(void **state)
{
    struct two *t = *state;
    struct error err = { 0 };
    struct storage_migrate_result r;
    migrate_well(t, false, &r);
    assert_int_equal(r.keys, 0);
    struct storage_migrate_config config = { .from = t->from->s, .to_dir = t->dir };
    assert_int_equal(storage_migrate(&config, &r, &err), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown_two)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_source_has_is_at_the_target),
        TEST(revisions_do_not_go_back),
        TEST(leases_go_with_their_keys),
        TEST(keys_of_any_number_and_size_arrive),
        TEST(a_new_store_keeps_the_revisions_of_keys),
        TEST(a_target_with_keys_is_left_alone_unless_asked),
        TEST(what_was_not_finished_starts_over),
        TEST(half_a_store_is_no_source),
        TEST(a_store_is_not_moved_onto_itself),
        TEST(a_source_that_is_written_to_is_noticed),
        TEST(an_empty_store_is_moved_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
