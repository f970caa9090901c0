/* SPDX-License-Identifier: Apache-2.0 */
/* storage_test.c - both stores as their users see them: etcd's semantics. */
#include "test/unit/storage/fixture.h"

static enum error_code apply_fails(struct fixture *f, const struct storage_op *op)
{
    struct error err = { 0 };
    struct storage_txn_result result;
    struct storage_txn txn = { .success = op, .success_n = 1 };
    assert_int_equal(storage_txn(f->s, &txn, f->arena, &result, &err), -1);
    return err.code;
}

static enum error_code range_fails(struct fixture *f, const char *key, int64_t revision)
{
    struct error err = { 0 };
    struct storage_range_result out;
    struct storage_range r = { .key = bytes_of(key), .revision = revision };
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), -1);
    return err.code;
}

static void assert_bytes(struct bytes got, const char *text)
{
    if (!bytes_equal_str(got, text))
        fail_msg("\"%.*s\" is not \"%s\"", (int)got.len, got.data, text);
}

static void assert_value(struct fixture *f, const char *key, int64_t revision, const char *value)
{
    struct storage_range_result out = range(f, key, NULL, revision);
    assert_int_equal(out.n, value ? 1 : 0);
    if (value)
        assert_bytes(out.kvs[0].value, value);
}

/* Every key of a..z with its value: "a=1 b=2". */
static void assert_all(struct fixture *f, int64_t revision, const char *text)
{
    struct storage_range_result out = range(f, "a", "zz", revision);
    struct buffer b __attribute__((cleanup(buffer_scoped))) = { 0 };
    buffer_add_str(&b, "");
    for (size_t i = 0; i < out.n; i++)
        buffer_printf(&b, "%s%.*s=%.*s", i ? " " : "", (int)out.kvs[i].key.len, out.kvs[i].key.data,
                      (int)out.kvs[i].value.len, out.kvs[i].value.data);
    assert_string_equal(b.data ? b.data : "", text);
}

/* ---- revisions and values ---- */

static void every_write_takes_the_next_revision(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(storage_revision(f->s), 1);
    assert_int_equal(put(f, "a", "1"), 2);
    assert_int_equal(put(f, "a", "2"), 3);
    assert_int_equal(del(f, "a"), 4);
    assert_int_equal(storage_revision(f->s), 4);
}

static void a_transaction_that_writes_nothing_takes_no_revision(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    assert_int_equal(del(f, "absent"), 2);
    assert_int_equal(storage_revision(f->s), 2);
}

static void versions_count_from_creation(void **state)
{
    struct fixture *f = *state;
    int64_t created = put(f, "a", "1");
    int64_t changed = put(f, "a", "2");
    struct storage_kv kv = range(f, "a", NULL, 0).kvs[0];
    assert_int_equal(kv.create_revision, created);
    assert_int_equal(kv.mod_revision, changed);
    assert_int_equal(kv.version, 2);

    del(f, "a");
    created = put(f, "a", "3");
    kv = range(f, "a", NULL, 0).kvs[0];
    assert_int_equal(kv.create_revision, created);
    assert_int_equal(kv.version, 1);
}

static void an_old_revision_reads_as_it_was(void **state)
{
    struct fixture *f = *state;
    int64_t one = put(f, "a", "1");
    int64_t two = put(f, "b", "x");
    int64_t three = put(f, "a", "2");
    int64_t four = del(f, "b");

    for (int i = 0; i < 2; i++) {
        assert_all(f, one, "a=1");
        assert_all(f, two, "a=1 b=x");
        assert_all(f, three, "a=2 b=x");
        assert_all(f, four, "a=2");
        assert_all(f, 0, "a=2");
        assert_value(f, "b", three, "x");
        assert_value(f, "b", four, NULL);
        reopen(f);
    }
}

static void a_revision_of_the_future_is_refused(void **state)
{
    struct fixture *f = *state;
    int64_t now = put(f, "a", "1");
    assert_int_equal(range_fails(f, "a", now + 1), ERR_FUTURE_REVISION);
}

static void a_range_is_half_open_and_zero_end_means_all(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    put(f, "c", "3");
    assert_int_equal(range(f, "a", "c", 0).n, 2);
    struct error err = { 0 };
    struct storage_range_result out;
    struct storage_range all = { .key = BYTES("b"), .end = BYTES("\0") };
    assert_int_equal(storage_range(f->s, &all, f->arena, &out, &err), 0);
    assert_int_equal(out.n, 2);
    assert_bytes(out.kvs[1].key, "c");
}

static void a_limit_tells_how_many_there_are(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    put(f, "c", "3");
    struct error err = { 0 };
    struct storage_range_result out;
    struct storage_range r = { .key = BYTES("a"), .end = BYTES("z"), .limit = 2 };
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), 0);
    assert_int_equal(out.n, 2);
    assert_int_equal(out.count, 3);
    assert_true(out.more);
    r.limit = 3;
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), 0);
    assert_false(out.more);
    r.count_only = true;
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), 0);
    assert_int_equal(out.n, 0);
    assert_int_equal(out.count, 3);
    assert_false(out.more);
}

/* ---- transactions ---- */

static void a_compare_chooses_the_branch(void **state)
{
    struct fixture *f = *state;
    int64_t now = put(f, "a", "1");
    struct storage_compare compare = { .key = BYTES("a"),
                                       .target = STORAGE_COMPARE_MOD_REVISION,
                                       .result = STORAGE_EQUAL,
                                       .number = now };
    struct storage_op yes = { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("2") };
    struct storage_range read = { .key = BYTES("a") };
    struct storage_op no = { .type = STORAGE_RANGE, .range = &read };
    struct storage_txn txn = { &compare, 1, &yes, 1, &no, 1, NULL };
    struct storage_txn_result out;

    apply(f, &txn, &out);
    assert_true(out.succeeded);
    assert_int_equal(out.revision, now + 1);

    apply(f, &txn, &out);
    assert_false(out.succeeded);
    assert_int_equal(out.revision, now + 1);
    assert_bytes(out.results[0].range.kvs[0].value, "2");
}

static void every_compare_target_and_result_works(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "m"); /* revision 2 */
    put(f, "a", "m"); /* revision 3, version 2 */
    static const struct {
        const char *key;
        enum storage_compare_target target;
        enum storage_compare_result result;
        int64_t number;
        const char *value;
        bool holds;
    } cases[] = {
        { "a", STORAGE_COMPARE_MOD_REVISION, STORAGE_EQUAL, 3, NULL, true },
        { "a", STORAGE_COMPARE_MOD_REVISION, STORAGE_NOT_EQUAL, 3, NULL, false },
        { "a", STORAGE_COMPARE_CREATE_REVISION, STORAGE_EQUAL, 2, NULL, true },
        { "a", STORAGE_COMPARE_CREATE_REVISION, STORAGE_GREATER, 2, NULL, false },
        { "a", STORAGE_COMPARE_VERSION, STORAGE_GREATER, 1, NULL, true },
        { "a", STORAGE_COMPARE_VERSION, STORAGE_LESS, 2, NULL, false },
        { "a", STORAGE_COMPARE_LEASE, STORAGE_EQUAL, 0, NULL, true },
        { "a", STORAGE_COMPARE_VALUE, STORAGE_EQUAL, 0, "m", true },
        { "a", STORAGE_COMPARE_VALUE, STORAGE_LESS, 0, "n", true },
        { "a", STORAGE_COMPARE_VALUE, STORAGE_GREATER, 0, "n", false },
        { "none", STORAGE_COMPARE_MOD_REVISION, STORAGE_EQUAL, 0, NULL, true },
        { "none", STORAGE_COMPARE_VERSION, STORAGE_GREATER, 0, NULL, false },
        { "none", STORAGE_COMPARE_VALUE, STORAGE_NOT_EQUAL, 0, "m", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct storage_compare c = { .key = bytes_of(cases[i].key),
                                     .target = cases[i].target,
                                     .result = cases[i].result,
                                     .number = cases[i].number,
                                     .value = bytes_of(cases[i].value) };
        struct storage_txn txn = { .compares = &c, .compares_n = 1 };
        struct storage_txn_result out;
        apply(f, &txn, &out);
        if (out.succeeded != cases[i].holds)
            fail_msg("case %zu", i);
    }
}

static void operations_of_a_transaction_see_one_another_and_share_a_revision(void **state)
{
    struct fixture *f = *state;
    struct storage_range read = { .key = BYTES("a"), .end = BYTES("z") };
    struct storage_op inner_op = { .type = STORAGE_PUT, .key = BYTES("c"), .value = BYTES("3") };
    struct storage_txn inner = { .success = &inner_op, .success_n = 1 };
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("1") },
        { .type = STORAGE_PUT, .key = BYTES("b"), .value = BYTES("2") },
        { .type = STORAGE_RANGE, .range = &read },
        { .type = STORAGE_TXN, .txn = &inner },
        { .type = STORAGE_DELETE, .key = BYTES("a"), .prev_kv = true },
    };
    struct storage_txn txn = { .success = ops, .success_n = ARRAY_LEN(ops) };
    struct storage_txn_result out;
    int64_t revision = apply(f, &txn, &out);
    assert_int_equal(out.results[2].range.n, 2);
    assert_true(out.results[3].txn->succeeded);
    assert_int_equal(out.results[4].deleted, 1);
    assert_bytes(out.results[4].prev_kvs[0].value, "1");
    assert_all(f, 0, "b=2 c=3");
    assert_int_equal(range(f, "c", NULL, 0).kvs[0].mod_revision, revision);
    reopen(f);
    assert_all(f, 0, "b=2 c=3");
}

static void a_failed_operation_undoes_its_transaction(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("2") },
        { .type = STORAGE_PUT, .key = BYTES("b"), .lease = 77 },
    };
    struct storage_txn txn = { .success = ops, .success_n = 2 };
    struct storage_txn_result out;
    struct error err = { 0 };
    assert_int_equal(storage_txn(f->s, &txn, f->arena, &out, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_all(f, 0, "a=1");
    assert_int_equal(storage_revision(f->s), 2);
    assert_int_equal(put(f, "a", "3"), 3);
    assert_all(f, 0, "a=3");
}

static void put_may_keep_the_value_or_ask_for_it(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    struct storage_op op = { .type = STORAGE_PUT,
                             .key = BYTES("a"),
                             .value = BYTES("x"),
                             .ignore_value = true,
                             .prev_kv = true };
    struct storage_txn_result out;
    apply_op(f, &op, &out);
    assert_bytes(out.results[0].prev_kvs[0].value, "1");
    assert_value(f, "a", 0, "1");
    op.key = BYTES("absent"); /* a bad argument to etcd, unlike a lease that is not found */
    assert_int_equal(apply_fails(f, &op), ERR_BAD_REQUEST);
}

static void what_is_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    scoped(mem) void *key = xcalloc(1, (size_t)2 << 20);
    struct storage_op op = { .type = STORAGE_PUT, .key = { key, (size_t)2 << 20 } };
    assert_int_equal(apply_fails(f, &op), ERR_TOO_LARGE);
    op.key = (struct bytes){ 0 };
    assert_int_equal(apply_fails(f, &op), ERR_BAD_REQUEST);
    scoped(mem) void *value = xcalloc(1, (size_t)4 << 20);
    op = (struct storage_op){ .type = STORAGE_PUT,
                              .key = BYTES("a"),
                              .value = { value, (size_t)4 << 20 } };
    assert_int_equal(apply_fails(f, &op), ERR_TOO_LARGE);
}

/* ---- restart and compaction ---- */

static void everything_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "a", "2");
    put(f, "b", "x");
    del(f, "b");
    reopen(f);
    assert_int_equal(storage_revision(f->s), 5);
    assert_all(f, 0, "a=2");
    assert_value(f, "a", 2, "1");
    assert_int_equal(put(f, "c", "3"), 6);
    reopen(f);
    assert_all(f, 0, "a=2 c=3");
    struct storage_status status;
    struct error err = { 0 };
    assert_int_equal(storage_status(f->s, &status, &err), 0);
    assert_int_equal(status.keys, 2);
}

static void a_long_key_goes_with_its_lease_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id;
    char key[3000];
    memset(key, 'k', sizeof(key));
    assert_int_equal(storage_lease_grant(f->s, 0, 1000, &id, &err), 0);
    struct storage_op op = {
        .type = STORAGE_PUT, .key = { key, sizeof(key) }, .value = BYTES("x"), .lease = id
    };
    apply_op(f, &op, NULL);
    assert_int_equal(storage_defragment(f->s, &err), 0);
    reopen(f);
    assert_int_equal(range(f, "k", "l", 0).n, 1);
    assert_int_equal(storage_lease_revoke(f->s, id, &err), 0);
    assert_int_equal(range(f, "k", "l", 0).n, 0);
}

static void the_second_process_is_told(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = f->dir };
    assert_null(storage_open_embedded(&config, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "in use by another process"));
}

static void compaction_keeps_the_newest_version_it_may_not_forget(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t first = put(f, "a", "1");
    int64_t second = put(f, "a", "2");
    int64_t other = put(f, "b", "x");
    put(f, "a", "3");
    del(f, "b");

    assert_int_equal(storage_compact(f->s, other, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_all(f, other, "a=2 b=x");
        assert_all(f, other + 1, "a=3 b=x");
        assert_all(f, 0, "a=3");
        assert_int_equal(range_fails(f, "a", first), ERR_COMPACTED);
        assert_int_equal(range_fails(f, "a", second), ERR_COMPACTED);
        if (!f->is_remote || i == 0) /* the wire does not say it until it matters */
            assert_int_equal(storage_compacted_revision(f->s), other);
        reopen(f);
    }
}

static void compaction_needs_a_revision_between_the_last_and_now(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t now = put(f, "a", "1");
    assert_int_equal(storage_compact(f->s, now + 1, &err), -1);
    assert_int_equal(err.code, ERR_FUTURE_REVISION);
    assert_int_equal(storage_compact(f->s, now, &err), 0);
    assert_int_equal(storage_compact(f->s, now, &err), -1);
    assert_int_equal(err.code, ERR_COMPACTED);
}

/* ---- full disk ---- */

static void a_full_disk_fails_writes_and_spares_reads(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    failpoints_set("storage.log.before_sync=error");
    struct storage_op op = { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("2") };
    assert_int_equal(apply_fails(f, &op), ERR_IO);
    assert_value(f, "a", 0, "1");
    assert_int_equal(storage_revision(f->s), 2);
    failpoints_set(NULL);
    assert_int_equal(put(f, "b", "3"), 3);
    assert_all(f, 0, "a=1 b=3");
    reopen(f);
    assert_all(f, 0, "a=1 b=3");
}

static void a_database_that_cannot_be_written_recovers(void **state)
{
    struct fixture *f = *state;
    /* The commit log goes on while the flush fails, up to its limit; then writes fail. */
    failpoints_set("storage.database.commit=nospace");
    scoped(mem) void *value = xcalloc(1, 1 << 20);
    struct storage_op op = { .type = STORAGE_PUT, .value = { value, 1 << 20 } };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct error err = { 0 };
    char key[32];
    int written = 0;
    for (; !err.code; written++) {
        snprintf(key, sizeof(key), "k%06d", written);
        op.key = bytes_of(key);
        struct storage_txn_result out;
        assert_in_range(written, 0, 1000);
        (void)!storage_txn(f->s, &txn, f->arena, &out, &err);
    }
    written--;
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_int_equal(range(f, "k", "l", 0).n, written);

    failpoints_set(NULL);
    do {
        err = (struct error){ 0 };
        struct storage_txn_result out;
        (void)!storage_txn(f->s, &txn, f->arena, &out, &err);
    } while (err.code == ERR_NO_SPACE);
    assert_int_equal(err.code, ERR_NONE);
    assert_int_equal(range(f, "k", "l", 0).n, written + 1);
    reopen(f);
    assert_int_equal(range(f, "k", "l", 0).n, written + 1);
}

static size_t file_size(struct fixture *f)
{
    struct error err = { 0 };
    struct storage_status status;
    assert_int_equal(storage_status(f->s, &status, &err), 0);
    return status.size_bytes;
}

/* 2,000 keys of 2 KB, of which 10 are left. */
static void fill_and_empty(struct fixture *f)
{
    struct error err = { 0 };
    char key[16], value[2048];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%04d", i);
        put(f, key, value);
    }
    failpoints_set("storage.defragment.rename=error"); /* for its flush alone */
    assert_int_equal(storage_defragment(f->s, &err), -1);
    failpoints_set(NULL);
    struct storage_op op = { .type = STORAGE_DELETE, .key = BYTES("key-0010"), .end = BYTES("l") };
    assert_int_equal(storage_compact(f->s, apply_op(f, &op, NULL), &err), 0);
}

static void defragmentation_gives_space_back_while_readers_read(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    fill_and_empty(f);
    size_t before = file_size(f);
    assert_true(before > 4 << 20);
    struct storage_range all = { .key = BYTES("a"), .end = BYTES("z") };
    struct storage_range_result held;
    struct storage_hold *hold;
    assert_int_equal(storage_range_hold(f->s, &all, f->arena, &held, &hold, &err), 0);
    assert_int_equal(storage_defragment(f->s, &err), 0);
    assert_true(file_size(f) < before / 8);
    put(f, "later", "x");
    assert_int_equal(held.n, 10);
    assert_int_equal(held.kvs[9].value.data[2000], 'v');
    storage_hold_release(f->s, hold);
    assert_int_equal(storage_defragment(f->s, &err), 0);
    reopen(f);
    assert_true(file_size(f) < before / 8);
    assert_int_equal(range(f, "a", "z", 0).n, 11);
}

static void a_defragmentation_that_fails_changes_nothing(void **state)
{
    static const char *const steps[] = { "copy=nospace", "copy=error", "rename=error" };
    struct fixture *f = *state;
    fill_and_empty(f);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct error err = { 0 };
        scoped(str) char *failpoints = xasprintf("storage.defragment.%s", steps[i]);
        failpoints_set(failpoints);
        assert_int_equal(storage_defragment(f->s, &err), -1);
        assert_int_equal(err.code, i == 0 ? ERR_NO_SPACE : ERR_IO);
        failpoints_set(NULL);
        put(f, "later", "x");
        assert_int_equal(range(f, "a", "z", 0).n, 11);
    }
    reopen(f);
    assert_int_equal(range(f, "a", "z", 0).n, 11);
}

static void nothing_is_flushed_before_the_new_file_has_its_name_on_disk(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "1");
    failpoints_set("storage.defragment.sync_folder=error");
    assert_int_equal(storage_defragment(f->s, &err), 0);
    put(f, "b", "2");
    assert_int_equal(storage_defragment(f->s, &err), -1);
    assert_int_equal(range(f, "a", "z", 0).n, 2);
    failpoints_set(NULL);
    assert_int_equal(storage_defragment(f->s, &err), 0);
    reopen(f);
    assert_int_equal(range(f, "a", "z", 0).n, 2);
}

static void the_quota_stops_puts_but_not_deletions(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    storage_close(f->s);
    struct storage_embedded_config config = { .dir = f->dir,
                                              .quota_bytes = 1 << 20,
                                              .compact_interval_ms = -1 };
    f->s = storage_open_embedded(&config, &err);
    assert_non_null(f->s);
    scoped(mem) void *value = xcalloc(1, 1 << 18);
    struct storage_op op = { .type = STORAGE_PUT, .key = BYTES("a"), .value = { value, 1 << 18 } };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    int n = 0;
    while (storage_txn(f->s, &txn, f->arena, &out, &err) == 0)
        assert_in_range(++n, 1, 4);
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_int_equal(del(f, "a"), n + 2);

    /* Compaction frees the space again. */
    assert_int_equal(storage_compact(f->s, n + 2, &err), 0);
    do
        err = (struct error){ 0 };
    while (storage_txn(f->s, &txn, f->arena, &out, &err) < 0 && err.code == ERR_NO_SPACE);
    assert_int_equal(err.code, ERR_NONE);
}

static void open_small(struct fixture *f)
{
    struct error err = { 0 };
    storage_close(f->s);
    struct storage_embedded_config config = {
        .dir = f->dir, .quota_bytes = 1 << 20, .compact_interval_ms = -1, .keeps_alarm = true
    };
    f->s = storage_open_embedded(&config, &err);
    assert_non_null(f->s);
}

static void an_alarm_that_is_kept_stays_over_restarts_until_it_is_taken_back(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    open_small(f);
    scoped(mem) void *value = xcalloc(1, 1 << 18);
    struct storage_op large = { .type = STORAGE_PUT,
                                .key = BYTES("a"),
                                .value = { value, 1 << 18 } };
    struct storage_op small = { .type = STORAGE_PUT, .key = BYTES("b"), .value = BYTES("x") };
    struct storage_txn txn = { .success = &large, .success_n = 1 };
    struct storage_txn_result out;
    while (storage_txn(f->s, &txn, f->arena, &out, &err) == 0)
        continue;
    assert_int_equal(err.code, ERR_NO_SPACE);
    while (!storage_has_alarm(f->s)) /* it goes through the log, behind the answer */
        usleep(1000);
    for (int restarts = 0; restarts < 3; restarts++) {
        assert_int_equal(apply_fails(f, &small), ERR_NO_SPACE);
        del(f, "a");
        if (storage_revision(f->s) > storage_compacted_revision(f->s))
            assert_int_equal(storage_compact(f->s, storage_revision(f->s), &err), 0);
        assert_int_equal(storage_defragment(f->s, &err), 0);
        open_small(f);
    }
    assert_true(storage_has_alarm(f->s));
    assert_int_equal(storage_set_alarm(f->s, false, &err), 0);
    apply_op(f, &small, NULL);
    open_small(f);
    assert_false(storage_has_alarm(f->s));
    apply_op(f, &small, NULL);
}

static int unrefs;

static void count_unref(void *attachment)
{
    (void)attachment;
    unrefs++;
}

static void attachments_are_released_in_nested_transactions_too(void **state)
{
    struct fixture *f = *state;
    int attached;
    struct storage_op put = { .type = STORAGE_PUT, .key = BYTES("a"), .attachment = &attached };
    struct storage_txn inner = { .success = &put, .success_n = 1, .failure = &put, .failure_n = 1 };
    struct storage_op nested = { .type = STORAGE_TXN, .txn = &inner };
    struct storage_txn txn = { .success = &nested,
                               .success_n = 1,
                               .attachment_unref = count_unref };
    unrefs = 0;
    apply(f, &txn, NULL);
    assert_int_equal(unrefs, 2);
}

static void a_truncated_database_is_reported(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    for (int i = 0; i < 3; i++) {
        put(f, "a", "1");
        assert_int_equal(storage_defragment(f->s, &err), 0);
    }
    storage_close(f->s);
    f->s = NULL;
    scoped(str) char *path = xasprintf("%s/data.mdb", f->dir);
    assert_int_equal(truncate(path, 3 * 4096), 0);
    struct storage_embedded_config config = { .dir = f->dir };
    assert_null(storage_open_embedded(&config, &err));
    assert_int_equal(err.code, ERR_IO);
}

int main(void)
{
#define T(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BOTH(name) T(name), cmocka_unit_test_setup_teardown(name, setup_remote, teardown)
    const struct CMUnitTest tests[] = {
        BOTH(every_write_takes_the_next_revision),
        BOTH(a_transaction_that_writes_nothing_takes_no_revision),
        BOTH(versions_count_from_creation),
        BOTH(an_old_revision_reads_as_it_was),
        BOTH(a_revision_of_the_future_is_refused),
        BOTH(a_range_is_half_open_and_zero_end_means_all),
        BOTH(a_limit_tells_how_many_there_are),
        BOTH(a_compare_chooses_the_branch),
        BOTH(every_compare_target_and_result_works),
        T(operations_of_a_transaction_see_one_another_and_share_a_revision),
        BOTH(a_failed_operation_undoes_its_transaction),
        BOTH(put_may_keep_the_value_or_ask_for_it),
        T(what_is_too_large_is_refused),
        BOTH(everything_is_there_after_a_restart),
        T(a_long_key_goes_with_its_lease_after_a_restart),
        T(the_second_process_is_told),
        BOTH(compaction_keeps_the_newest_version_it_may_not_forget),
        BOTH(compaction_needs_a_revision_between_the_last_and_now),
        T(a_full_disk_fails_writes_and_spares_reads),
        T(a_database_that_cannot_be_written_recovers),
        T(defragmentation_gives_space_back_while_readers_read),
        T(a_defragmentation_that_fails_changes_nothing),
        T(nothing_is_flushed_before_the_new_file_has_its_name_on_disk),
        T(the_quota_stops_puts_but_not_deletions),
        T(an_alarm_that_is_kept_stays_over_restarts_until_it_is_taken_back),
        BOTH(attachments_are_released_in_nested_transactions_too),
        T(a_truncated_database_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
