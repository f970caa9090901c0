/* SPDX-License-Identifier: Apache-2.0 */
/* values_test.c - large values: where they lie, and what is left of them. */
#include "test/unit/storage/fixture.h"

#include <sys/wait.h>

#include "base/clock.h"
#include "storage/latest.h"
#include "storage/values.h"

#define MAP_BYTES ((size_t)1 << 30)

/* Of the table's row size, of one page and of many. */
static const size_t sizes[] = { 10, 1900, 1946, 1960, 2048, 4080, 4096, 9000, 300000, 1500000 };

/* LEN bytes that no other SEED has. */
static struct bytes text(struct fixture *f, size_t len, int seed)
{
    char *data = arena_alloc(f->arena, len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + (i * 31 + (size_t)seed * 7 + i / 26) % 26);
    data[len] = '\0';
    return (struct bytes){ data, len };
}

static int64_t put_large(struct fixture *f, const char *key, size_t len, int seed)
{
    struct storage_op op = { .type = STORAGE_PUT,
                             .key = bytes_of(key),
                             .value = text(f, len, seed) };
    return apply_op(f, &op, NULL);
}

/* Everything to the database, and what compaction made unreachable out of it. */
static void settle(struct fixture *f)
{
    struct error err = { 0 };
    if (storage_defragment(f->s, &err) < 0)
        fail_msg("%s", err.message);
}

static void assert_value(struct fixture *f, const char *key, int64_t revision, size_t len, int seed)
{
    struct storage_range_result out = range(f, key, NULL, revision);
    struct bytes wanted = text(f, len, seed);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.kvs[0].value.len, len);
    assert_memory_equal(out.kvs[0].value.data, wanted.data, len);
}

static void values_of_all_sizes_read_as_they_were_written(void **state)
{
    struct fixture *f = *state;
    int64_t first[ARRAY_LEN(sizes)];
    char key[16];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            snprintf(key, sizeof(key), "key-%zu", i);
            int64_t revision = put_large(f, key, sizes[i], (int)(100 * round + i));
            if (round == 0)
                first[i] = revision;
        }
        settle(f);
    }
    for (int opened = 0; opened < 2; opened++) {
        struct storage_range_result all = range(f, "key", "l", 0);
        assert_int_equal(all.n, ARRAY_LEN(sizes));
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            assert_int_equal(all.kvs[i].value.len, sizes[i]);
            snprintf(key, sizeof(key), "key-%zu", i);
            assert_value(f, key, 0, sizes[i], (int)(200 + i));
            assert_value(f, key, first[i], sizes[i], (int)i);
        }
        reopen(f);
    }
}

static void transactions_look_at_large_values(void **state)
{
    struct fixture *f = *state;
    put_large(f, "a", 3000, 1);
    settle(f);
    struct bytes old = text(f, 3000, 1);
    struct storage_compare is_old = {
        .target = STORAGE_COMPARE_VALUE, .result = STORAGE_EQUAL, .key = BYTES("a"), .value = old
    };
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = BYTES("a"), .ignore_value = true, .prev_kv = true },
        { .type = STORAGE_DELETE, .key = BYTES("a"), .prev_kv = true },
    };
    struct storage_txn txn = {
        .compares = &is_old, .compares_n = 1, .success = &ops[0], .success_n = 1
    };
    struct storage_txn_result out;
    apply(f, &txn, &out);
    assert_true(out.succeeded);
    assert_true(bytes_equal(out.results[0].prev_kvs[0].value, old));
    settle(f);
    assert_value(f, "a", 0, 3000, 1);
    txn = (struct storage_txn){ .success = &ops[1], .success_n = 1 };
    apply(f, &txn, &out);
    assert_true(bytes_equal(out.results[0].prev_kvs[0].value, old));
}

/* ---- what lies in the database ---- */

static struct lmdb_env *open_database(const struct fixture *f)
{
    struct error err = { 0 };
    struct lmdb_env *e = lmdb_env_open(f->dir, MAP_BYTES, &err);
    if (!e)
        fail_msg("%s", err.message);
    return e;
}

static size_t count_rows(struct lmdb_txn *t, enum lmdb_table table)
{
    struct error err = { 0 };
    struct bytes key, data;
    size_t n = 0;
    struct lmdb_cursor *c = lmdb_cursor_open(t, table, &err);
    int got = lmdb_cursor_seek(c, (struct bytes){ 0 }, &key, &data, &err);
    for (; got == 1; got = lmdb_cursor_next(c, &key, &data, &err))
        n++;
    lmdb_cursor_close(c);
    assert_int_equal(got, 0);
    return n;
}

/* Bytes of all pieces. */
static size_t count_pieces(struct lmdb_txn *t)
{
    struct error err = { 0 };
    struct bytes key, data;
    size_t bytes = 0;
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_VALUES, &err);
    int got = lmdb_cursor_seek(c, (struct bytes){ 0 }, &key, &data, &err);
    for (; got == 1; got = lmdb_cursor_next(c, &key, &data, &err))
        bytes += data.len;
    lmdb_cursor_close(c);
    assert_int_equal(got, 0);
    return bytes;
}

/* Bytes of all values that rows of TABLE say lie apart, each of which is there. */
static size_t count_apart(struct lmdb_txn *t, enum lmdb_table table, struct arena *arena)
{
    struct error err = { 0 };
    struct bytes key, data;
    struct record r;
    size_t bytes = 0;
    struct lmdb_cursor *c = lmdb_cursor_open(t, table, &err), *values = NULL;
    bool is_latest = table == TABLE_LATEST;
    int got = is_latest ? latest_seek(c, BYTES("\0"), &key, &data, &err)
                        : lmdb_cursor_seek(c, (struct bytes){ 0 }, &key, &data, &err);
    while (got == 1) {
        struct bytes name = is_latest ? key : (struct bytes){ 0 };
        assert_int_equal(record_decode(data, name, RECORD_VERIFY, &r, &err), 0);
        if (r.is_apart && values_fetch(t, &values, &r, arena, &err) < 0)
            fail_msg("%s", err.message);
        bytes += r.is_apart && !r.is_pointer ? r.value.len : 0;
        got =
            is_latest ? latest_next(c, &key, &data, &err) : lmdb_cursor_next(c, &key, &data, &err);
    }
    lmdb_cursor_close(values);
    lmdb_cursor_close(c);
    assert_int_equal(got, 0);
    return bytes;
}

/* No value is lost, and none is left over. */
static void assert_values_belong(struct fixture *f)
{
    struct error err = { 0 };
    shut(f);
    struct lmdb_env *e = open_database(f);
    struct lmdb_txn *t = lmdb_read_begin(e, &err);
    scoped(arena) struct arena *arena = arena_new();
    assert_int_equal(count_pieces(t),
                     count_apart(t, TABLE_LATEST, arena) + count_apart(t, TABLE_HISTORY, arena));
    lmdb_read_end(t);
    lmdb_env_unref(e);
    reopen(f);
}

static void random_puts(struct fixture *f, struct rng *rng, int n)
{
    char key[16];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key-%d", (int)rng_below(rng, 20));
        if (rng_below(rng, 4))
            put_large(f, key, sizes[rng_below(rng, 8)], i);
        else
            del(f, key);
        arena_reset(f->arena);
    }
}

static void values_go_with_their_versions(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct rng rng;
    seeded_rng_init(&rng, 5);
    for (int round = 0; round < 12; round++) {
        random_puts(f, &rng, 150);
        int64_t now = storage_revision(f->s);
        if (round % 3 == 1) /* some is forgotten before it was ever in the database */
            assert_int_equal(storage_compact(f->s, now - (int64_t)rng_below(&rng, 200), &err), 0);
        settle(f);
        assert_values_belong(f);
    }
    for (int i = 0; i < 20; i++)
        del(f, arena_printf(f->arena, "key-%d", i));
    assert_int_equal(storage_compact(f->s, storage_revision(f->s), &err), 0);
    settle(f);
    shut(f);
    struct lmdb_env *e = open_database(f);
    struct lmdb_txn *t = lmdb_read_begin(e, &err);
    assert_int_equal(count_rows(t, TABLE_VALUES), 0);
    lmdb_read_end(t);
    lmdb_env_unref(e);
    reopen(f);
}

/* Each part of the flush is a transaction of its own, and the disk refuses one of the later ones:
 * the next attempt finds some of the values there. */
static void a_flush_that_failed_leaves_no_value_twice(void **state)
{
    struct fixture *f = *state;
    struct rng rng;
    seeded_rng_init(&rng, 6);
    for (int round = 0; round < 4; round++) {
        random_puts(f, &rng, 60);
        scoped(str) char *spec = xasprintf("storage.flush.next_part=error,"
                                           "storage.database.commit=error@%d",
                                           5 + 22 * round);
        failpoints_set(spec);
        settle(f); /* which tries again */
        failpoints_set(NULL);
        assert_values_belong(f);
    }
}

/* Dies at commit number COMMITS to the database, in whichever flush that is: compaction begins one
 * by itself. */
static void write_until_killed(struct fixture *f, struct rng *rng, int commits)
{
    enum { FLUSHES_MAX = 100 }; /* one or two are enough */
    struct error err = { 0 };
    scoped(str) char *spec = xasprintf("storage.flush.next_part=error,"
                                       "storage.database.committed=crash@%d",
                                       commits);
    reopen(f);
    failpoints_set(spec);
    for (int i = 0; i < FLUSHES_MAX; i++) {
        random_puts(f, rng, 60);
        if (commits % 2)
            (void)!storage_compact(f->s, storage_revision(f->s) - 20, &err);
        (void)!storage_defragment(f->s, &err);
    }
}

static void a_flush_that_was_cut_short_leaves_no_value_twice(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 8; round++) {
        struct rng rng;
        seeded_rng_init(&rng, (uint64_t)round);
        shut(f);
        int status;
        pid_t child = fork();
        if (child == 0) {
            write_until_killed(f, &rng, 1 + 11 * round);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        reopen(f);
        if (round % 3 == 0)
            random_puts(f, &rng, 10);
        settle(f);
        assert_values_belong(f);
    }
}

/* More than one flush takes, and each of them is older than the one before. */
static void an_import_may_bring_values_in_any_order(void **state)
{
    enum { N = 12000, LEN = 3000 };
    struct fixture *f = *state;
    struct error err = { 0 };
    shut(f);
    nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    struct storage_import *im = storage_import_open(f->dir, STORAGE_IMPORT_NEW, N + 1, &err);
    assert_non_null(im);
    for (int i = 0; i < N; i++) {
        struct storage_kv kv = { .key = bytes_of(arena_printf(f->arena, "key-%05d", i)),
                                 .value = text(f, LEN, i),
                                 .create_revision = N - i,
                                 .mod_revision = N - i,
                                 .version = 1 };
        assert_int_equal(storage_import_put(im, &kv, 0, &err), 0);
        arena_reset(f->arena);
    }
    assert_int_equal(storage_import_finish(im, &err), 0);
    storage_import_close(im);
    reopen(f);
    for (int i = 0; i < N; i += 997)
        assert_value(f, arena_printf(f->arena, "key-%05d", i), 0, LEN, i);
    assert_values_belong(f);
}

static void values_lie_close_together(void **state)
{
    enum { N = 2000, BYTES_EACH = 2048 };
    struct fixture *f = *state;
    struct error err = { 0 };
    for (int i = 0; i < N; i++)
        put_large(f, arena_printf(f->arena, "key-%04d", i), BYTES_EACH, i);
    failpoints_set("storage.defragment.copy=error"); /* as the flush has written them */
    assert_int_equal(storage_defragment(f->s, &err), -1);
    failpoints_set(NULL);
    struct storage_status status;
    assert_int_equal(storage_status(f->s, &status, &err), 0);
    assert_true(status.size_in_use_bytes < (size_t)N * BYTES_EACH * 5 / 4);
}

/* ---- damage ---- */

static void change_piece(const struct fixture *f, int64_t revision, bool is_lost)
{
    struct error err = { 0 };
    struct lmdb_env *e = open_database(f);
    struct lmdb_txn *t = lmdb_write_begin(e, &err);
    char key[HISTORY_KEY_BYTES + 4] = { 0 }, other[100];
    memset(other, 'x', sizeof(other));
    history_key(revision, 0, key);
    struct bytes name = { key, sizeof(key) };
    if (is_lost)
        assert_int_equal(lmdb_delete(t, TABLE_VALUES, name, &err), 0);
    else
        assert_int_equal(
            lmdb_put(t, TABLE_VALUES, name, (struct bytes){ other, sizeof(other) }, &err), 0);
    assert_int_equal(lmdb_write_commit(t, &err), 0);
    lmdb_env_unref(e);
}

static void assert_is_lost(struct fixture *f, const char *key)
{
    struct error err = { 0 };
    struct storage_range r = { .key = bytes_of(key) };
    struct storage_range_result out;
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.message, "has lost its value"));
}

static void a_value_that_is_not_what_was_written_is_not_served(void **state)
{
    struct fixture *f = *state;
    int64_t lost = put_large(f, "lost", 3000, 1), wrong = put_large(f, "wrong", 3000, 2);
    put_large(f, "right", 3000, 3);
    settle(f);
    shut(f);
    change_piece(f, lost, true);
    change_piece(f, wrong, false);
    reopen(f);
    assert_is_lost(f, "lost");
    assert_is_lost(f, "wrong");
    assert_value(f, "right", 0, 3000, 3);
    put_large(f, "lost", 3000, 4); /* which does not look at the old one */
    settle(f);
    assert_value(f, "lost", 0, 3000, 4);
}

/* ---- databases of before ---- */

/* Makes of a value that lies apart one that lies in its row of "latest", and there alone. */
static void put_in_row(struct lmdb_txn *t, struct bytes key, struct arena *arena)
{
    struct error err = { 0 };
    struct record r;
    struct lmdb_cursor *values = NULL;
    assert_int_equal(latest_get(t, key, &r, &err), 1);
    assert_true(r.is_apart);
    assert_int_equal(values_fetch(t, &values, &r, arena, &err), 0);
    lmdb_cursor_close(values);
    assert_int_equal(values_delete(t, r.mod_revision, r.sub, &err), 0);
    struct buffer row = { 0 };
    char name[HISTORY_KEY_BYTES];
    history_key(r.mod_revision, r.sub, name);
    r.is_apart = false;
    assert_int_equal(latest_put(t, &r, &err), 0);
    r.is_pointer = true;
    record_encode(&r, RECORD_WITH_KEY, &row);
    assert_int_equal(
        lmdb_put(t, TABLE_HISTORY, (struct bytes){ name, sizeof(name) }, buffer_bytes(&row), &err),
        0);
    buffer_free(&row);
}

static void make_former_database(struct fixture *f)
{
    struct error err = { 0 };
    shut(f);
    struct lmdb_env *e = open_database(f);
    struct lmdb_txn *t = lmdb_write_begin(e, &err);
    struct database_state database;
    put_in_row(t, BYTES("a"), f->arena);
    put_in_row(t, BYTES("b"), f->arena);
    assert_int_equal(count_rows(t, TABLE_VALUES), 0);
    assert_int_equal(read_state(t, &database, &err), 1);
    database.format = 1;
    assert_int_equal(write_state(t, &database, &err), 0);
    assert_int_equal(lmdb_write_commit(t, &err), 0);
    lmdb_env_unref(e);
    reopen(f);
}

static void a_database_with_large_values_in_its_rows_goes_on(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t first = put_large(f, "a", 3000, 1);
    put_large(f, "b", 5000, 2);
    settle(f);
    make_former_database(f);
    assert_value(f, "a", 0, 3000, 1);
    put_large(f, "a", 4000, 3);
    settle(f);
    assert_value(f, "a", 0, 4000, 3);
    assert_value(f, "a", first, 3000, 1);
    assert_value(f, "b", 0, 5000, 2);
    assert_values_belong(f);
    assert_int_equal(storage_compact(f->s, storage_revision(f->s), &err), 0);
    settle(f);
    assert_value(f, "a", 0, 4000, 3);
    assert_value(f, "b", 0, 5000, 2);
    assert_values_belong(f);
    shut(f);
    struct lmdb_env *e = open_database(f);
    struct lmdb_txn *t = lmdb_read_begin(e, &err);
    struct database_state database;
    assert_int_equal(read_state(t, &database, &err), 1);
    assert_int_equal(database.format, 2); /* programs of before refuse it */
    lmdb_read_end(t);
    lmdb_env_unref(e);
    reopen(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(values_of_all_sizes_read_as_they_were_written),
        T(transactions_look_at_large_values),
        T(values_go_with_their_versions),
        T(a_flush_that_failed_leaves_no_value_twice),
        T(a_flush_that_was_cut_short_leaves_no_value_twice),
        T(an_import_may_bring_values_in_any_order),
        T(values_lie_close_together),
        T(a_value_that_is_not_what_was_written_is_not_served),
        T(a_database_with_large_values_in_its_rows_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
