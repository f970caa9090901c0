/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_test - saving, checking, restoring and keeping snapshots. */
#include "storage/storage.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/files.h"
#include "storage/snapshot_reader.h"
#include "test/unit/storage/bus_errors.h"
#include "test/unit/storage/fixture.h"

#define BUMP 1000

static const char *path(struct fixture *f, const char *name)
{
    return arena_printf(f->arena, "%s/%s", f->dir, name);
}

static void save(struct fixture *f, const char *name, enum storage_snapshot_form form)
{
    struct error err = { 0 };
    if (storage_snapshot_save(f->s, path(f, name), form, &err) < 0)
        fail_msg("%s", err.message);
}

static int try_restore(struct fixture *f, const char *from, const char *dir,
                       enum storage_import_mode mode, struct error *err)
{
    struct storage_restore restore = {
        .path = path(f, from),
        .dir = path(f, dir),
        .mode = mode,
        .bump_revision = BUMP,
    };
    int64_t revision, keys;
    return storage_snapshot_restore(&restore, &revision, &keys, err);
}

/* The fixture goes on with the restored store. */
static void restore(struct fixture *f, const char *from)
{
    struct error err = { 0 };
    if (try_restore(f, from, "restored", STORAGE_IMPORT_NEW, &err) < 0)
        fail_msg("%s", err.message);
    storage_close(f->s);
    struct storage_embedded_config config = { .dir = path(f, "restored"),
                                              .compact_interval_ms = -1 };
    f->s = storage_open_embedded(&config, &err);
    if (!f->s)
        fail_msg("%s", err.message);
}

static int64_t put_leased(struct fixture *f, const char *key, int64_t lease)
{
    struct storage_op op = {
        .type = STORAGE_PUT, .key = bytes_of(key), .value = BYTES("leased"), .lease = lease
    };
    return apply_op(f, &op, NULL);
}

static void assert_kv(const struct storage_kv *kv, const char *key, const char *value,
                      int64_t create, int64_t mod, int64_t version)
{
    assert_true(bytes_equal_str(kv->key, key));
    assert_true(bytes_equal_str(kv->value, value));
    assert_int_equal(kv->create_revision, create);
    assert_int_equal(kv->mod_revision, mod);
    assert_int_equal(kv->version, version);
}

static void what_was_saved_is_there_after_a_restore(void **state)
{
    struct fixture *f = *state;
    int64_t first = put(f, "a", "1"), second = put(f, "a", "2");
    int64_t other = put(f, "b", "x");
    put(f, "gone", "x");
    int64_t last = del(f, "gone");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    put(f, "a", "later");

    restore(f, "file");

    struct storage_range_result got = range(f, "a", "z", 0);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.revision, last + BUMP);
    assert_kv(&got.kvs[0], "a", "2", first, second, 2);
    assert_kv(&got.kvs[1], "b", "x", other, other, 1);
    assert_int_equal(put(f, "a", "3"), last + BUMP + 1);
    got = range(f, "a", NULL, last + BUMP);
    assert_kv(&got.kvs[0], "a", "2", first, second, 2);
}

static void older_revisions_are_compacted_after_a_restore(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t revision = put(f, "a", "1");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    restore(f, "file");

    struct storage_range r = { .key = BYTES("a"), .revision = revision };
    struct storage_range_result out;
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), -1);
    assert_int_equal(err.code, ERR_COMPACTED);
    assert_int_equal(storage_compacted_revision(f->s), revision + BUMP);
}

/* Both have been written in one revision: where their old versions are kept must not be one place.
 */
static void keys_of_one_transaction_keep_histories_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("a1") },
        { .type = STORAGE_PUT, .key = BYTES("b"), .value = BYTES("b1") },
    };
    struct storage_txn txn = { .success = ops, .success_n = 2 };
    apply(f, &txn, NULL);
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    restore(f, "file");
    int64_t restored = storage_revision(f->s);
    put(f, "a", "a2");
    put(f, "b", "b2");
    assert_int_equal(storage_defragment(f->s, &err), 0);

    struct storage_range_result got = range(f, "a", "c", restored);
    assert_int_equal(got.n, 2);
    assert_true(bytes_equal_str(got.kvs[0].value, "a1"));
    assert_true(bytes_equal_str(got.kvs[1].value, "b1"));
}

static void leases_are_restored_with_their_keys(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id;
    assert_int_equal(storage_lease_grant(f->s, 77, 600, &id, &err), 0);
    assert_int_equal(storage_lease_grant(f->s, 78, 60, &id, &err), 0);
    put_leased(f, "a", 77);
    put_leased(f, "b", 77);
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    restore(f, "file");

    struct storage_lease lease;
    assert_int_equal(storage_lease_find(f->s, 77, f->arena, &lease, &err), 0);
    assert_int_equal(lease.granted_s, 600);
    assert_int_equal(lease.keys_n, 2);
    assert_int_equal(storage_lease_find(f->s, 78, f->arena, &lease, &err), 0);
    assert_int_equal(storage_lease_revoke(f->s, 77, &err), 0);
    assert_int_equal(range(f, "a", "c", 0).n, 0);
}

static void leases_without_keys_are_restored_too(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int64_t id;
    assert_int_equal(storage_lease_grant(f->s, 77, 600, &id, &err), 0);
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    restore(f, "file");

    struct storage_lease lease;
    assert_int_equal(storage_lease_find(f->s, 77, f->arena, &lease, &err), 0);
    assert_int_equal(storage_revision(f->s), 1 + BUMP);
}

static void a_lease_that_would_outlive_time_is_shortened(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    scoped(str) char *dir = xasprintf("%s/imported", f->dir);
    struct storage_import *im = storage_import_open(dir, STORAGE_IMPORT_NEW, 9, &err);
    assert_non_null(im);
    storage_import_lease(im, 7, INT64_MAX);
    storage_import_lease(im, 8, -1);
    struct storage_kv kv = { BYTES("a"), BYTES("1"), .create_revision = 9, .mod_revision = 9 };
    kv.version = 1;
    kv.lease = 7;
    assert_int_equal(storage_import_put(im, &kv, 0, &err), 0);
    assert_int_equal(storage_import_finish(im, &err), 0);
    storage_import_close(im);

    struct storage_embedded_config config = { .dir = dir };
    struct storage *s = storage_open_embedded(&config, &err);
    struct storage_lease found;
    assert_non_null(s);
    assert_int_equal(storage_lease_find(s, 7, f->arena, &found, &err), 0);
    assert_int_equal(found.keys_n, 1);
    assert_true(found.remaining_s > INT64_C(1000000000));
    storage_close(s);
}

static void an_archive_holds_the_same(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct storage_snapshot_status plain, zip;
    for (int i = 0; i < 300; i++)
        put(f, arena_printf(f->arena, "key-%d", i), "a value that is always the same");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    save(f, "file.zip", STORAGE_SNAPSHOT_ZIP);

    assert_int_equal(
        storage_snapshot_status(path(f, "file"), STORAGE_SNAPSHOT_CHECK_SUM, &plain, &err), 0);
    assert_int_equal(
        storage_snapshot_status(path(f, "file.zip"), STORAGE_SNAPSHOT_CHECK_SUM, &zip, &err), 0);
    assert_memory_equal(&plain, &zip, sizeof(plain));
    assert_int_equal(plain.revision, 301);
    struct stat a, b;
    assert_int_equal(stat(path(f, "file"), &a), 0);
    assert_int_equal(stat(path(f, "file.zip"), &b), 0);
    assert_true(b.st_size * 4 < a.st_size);
    assert_int_equal(a.st_mode & 0777, 0600);
    assert_int_equal(b.st_mode & 0777, 0600);
    restore(f, "file.zip");
    assert_int_equal(range(f, "key", "kez", 0).n, 300);
}

static struct bytes read_file(struct fixture *f, const char *name)
{
    struct error err = { 0 };
    struct bytes text;
    if (files_read(path(f, name), 64 << 20, f->arena, &text, &err) < 0)
        fail_msg("%s", err.message);
    return text;
}

static int status_of(struct fixture *f, struct bytes text, enum storage_snapshot_check check)
{
    struct error err = { 0 };
    struct storage_snapshot_status out;
    assert_int_equal(files_write(path(f, "changed"), text, 0600, &err), 0);
    int rc = storage_snapshot_status(path(f, "changed"), check, &out, &err);
    assert_true(rc == 0 || err.code == ERR_IO || err.code == ERR_BAD_REQUEST);
    return rc;
}

static void a_file_cut_short_is_refused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++)
        put(f, arena_printf(f->arena, "key-%d", i), "value");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    save(f, "file.zip", STORAGE_SNAPSHOT_ZIP);
    struct bytes plain = read_file(f, "file"), zip = read_file(f, "file.zip");

    for (size_t len = 0; len < plain.len; len += len < 200 ? 1 : 509)
        assert_int_equal(
            status_of(f, (struct bytes){ plain.data, len }, STORAGE_SNAPSHOT_CHECK_SUM), -1);
    /* What follows the data of an archive is a list of what is in it, which is not needed. */
    for (size_t len = 0; len < zip.len - 120; len += 37)
        assert_int_equal(status_of(f, (struct bytes){ zip.data, len }, STORAGE_SNAPSHOT_CHECK_SUM),
                         -1);
}

/* Without the sum nothing but the structure stands between the bytes and the program. */
static int ignore_row(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    (void)key, (void)value, (void)arg, (void)err;
    return 0;
}

static void a_file_cut_short_while_it_is_read_is_an_error(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "1");
    save(f, "snapshot", STORAGE_SNAPSHOT_PLAIN);
    scoped(snapshot_reader) struct snapshot_reader *r =
        snapshot_reader_open(path(f, "snapshot"), STORAGE_SNAPSHOT_CHECK_SUM, &err);
    assert_non_null(r);
    assert_int_equal(snapshot_reader_each(r, "key", ignore_row, NULL, &err), 0);
    assert_int_equal(snapshot_reader_check(r, &err), 0);
    assert_int_equal(truncate(path(f, "snapshot"), 0), 0);
    (void)!snapshot_reader_each(r, "key", ignore_row, NULL, &err);
    assert_int_equal(snapshot_reader_check(r, &err), -1);
    assert_int_equal(err.code, ERR_IO);
}

static void a_changed_file_is_refused_or_harmless(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++)
        put(f, arena_printf(f->arena, "key-%d", i), "value");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    struct bytes text = read_file(f, "file");
    char *changed = arena_alloc(f->arena, text.len);
    memcpy(changed, text.data, text.len);

    for (size_t at = 0; at < text.len; at += 7) {
        for (int with = 0; with < 2; with++) {
            changed[at] = (char)(with ? 0xff : text.data[at] ^ 0x11);
            if (changed[at] == text.data[at])
                continue;
            (void)!status_of(f, (struct bytes){ changed, text.len }, STORAGE_SNAPSHOT_SKIP_SUM);
            if (at % 211 == 0)
                assert_int_equal(
                    status_of(f, (struct bytes){ changed, text.len }, STORAGE_SNAPSHOT_CHECK_SUM),
                    -1);
        }
        changed[at] = text.data[at];
    }
}

static size_t count_files(struct fixture *f, const char *dir)
{
    struct error err = { 0 };
    struct storage_snapshot *all;
    size_t n;
    assert_int_equal(storage_snapshot_list(path(f, dir), f->arena, &all, &n, &err), 0);
    return n;
}

/* As on a full disk: files may not grow beyond a limit. */
static void a_save_that_fails_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    for (int i = 0; i < 2000; i++)
        put(f, arena_printf(f->arena, "key-%d", i), "some text that takes its place in the file");
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){ 64 * 1024, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = storage_snapshot_save(f->s, path(f, "saves/file"), STORAGE_SNAPSHOT_PLAIN, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);

    assert_int_equal(rc, -1);
    assert_non_null(strstr(err.message, "saves/file"));
    assert_int_equal(count_files(f, "saves"), 0);
    save(f, "saves/file", STORAGE_SNAPSHOT_PLAIN);
    assert_int_equal(count_files(f, "saves"), 1);
}

static void a_snapshot_is_not_written_over(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    assert_int_equal(storage_snapshot_save(f->s, path(f, "file"), STORAGE_SNAPSHOT_PLAIN, &err),
                     -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
}

static void a_store_is_replaced_only_when_asked_and_kept(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "1");
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    put(f, "a", "2");
    save(f, "later", STORAGE_SNAPSHOT_PLAIN);
    assert_int_equal(try_restore(f, "later", "restored", STORAGE_IMPORT_NEW, &err), 0);

    assert_int_equal(try_restore(f, "file", "restored", STORAGE_IMPORT_NEW, &err), -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    err = (struct error){ 0 };
    assert_int_equal(try_restore(f, "file", "restored", STORAGE_IMPORT_REPLACE, &err), 0);
    assert_int_equal(access(path(f, "restored.partial"), F_OK), -1);

    storage_close(f->s);
    struct storage_embedded_config config = { .dir = path(f, "restored") };
    f->s = storage_open_embedded(&config, &err);
    assert_non_null(f->s);
    assert_true(bytes_equal_str(range(f, "a", NULL, 0).kvs[0].value, "1"));
    assert_int_equal(try_restore(f, "later", "restored", STORAGE_IMPORT_REPLACE, &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE); /* it is in use */
}

static void touch(struct fixture *f, const char *name)
{
    struct error err = { 0 };
    assert_int_equal(
        files_write(arena_printf(f->arena, "%s/saves/%s", f->dir, name), BYTES("x"), 0600, &err),
        0);
}

static void the_oldest_of_a_series_are_pruned(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct storage_snapshot *all;
    size_t n;
    static const char *const names[] = { "etcd-snapshot-n1-30",     "etcd-snapshot-n1-9",
                                         "etcd-snapshot-n1-20.zip", "etcd-snapshot-n1-100",
                                         "etcd-snapshot-n1-x-1",    "on-demand-n1-1",
                                         "etcd-snapshot-n10-1",     ".etcd-snapshot-n1-1" };
    assert_int_equal(mkdir(path(f, "saves"), 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        touch(f, names[i]);
    struct storage_snapshot_series series = { path(f, "saves"), "etcd-snapshot", "n1", 0, 2 };

    assert_int_equal(storage_snapshot_prune(&series, f->arena, &all, &n, &err), 0);

    assert_int_equal(n, 2);
    assert_string_equal(all[0].name, "etcd-snapshot-n1-9");
    assert_string_equal(all[1].name, "etcd-snapshot-n1-20.zip");
    assert_int_equal(storage_snapshot_list(path(f, "saves"), f->arena, &all, &n, &err), 0);
    assert_int_equal(n, 5);
    assert_string_equal(all[3].name, "etcd-snapshot-n1-30");
    assert_int_equal(all[4].created_s, 100);
}

static void only_names_in_the_folder_are_deleted(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = { "", ".", "..", "../data.mdb", "/etc/passwd", ".hidden" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = { 0 };
        assert_int_equal(storage_snapshot_delete(f->dir, bad[i], &err), -1);
        assert_int_equal(err.code, ERR_BAD_REQUEST);
    }
    struct error err = { 0 };
    save(f, "file", STORAGE_SNAPSHOT_PLAIN);
    assert_int_equal(storage_snapshot_delete(f->dir, "file", &err), 0);
    assert_int_equal(storage_snapshot_delete(f->dir, "file", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void a_schedule_saves_and_prunes(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "1");
    struct storage_schedule_config config = {
        .storage = f->s,
        .series = { path(f, "saves"), "etcd-snapshot", "n1", STORAGE_SNAPSHOT_ZIP, 1 },
        .cron = "@every 1s",
    };
    assert_int_equal(mkdir(path(f, "saves"), 0700), 0);
    touch(f, "etcd-snapshot-n1-1");
    struct storage_schedule *s = storage_schedule_start(&config, &err);
    assert_non_null(s);
    while (access(path(f, "saves/etcd-snapshot-n1-1"), F_OK) == 0)
        usleep(20000);
    storage_schedule_stop(s);

    struct storage_snapshot *all;
    struct storage_snapshot_status status;
    size_t n;
    assert_int_equal(storage_snapshot_list(path(f, "saves"), f->arena, &all, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(
        storage_snapshot_status(all[0].path, STORAGE_SNAPSHOT_CHECK_SUM, &status, &err), 0);
    assert_int_equal(status.revision, 2);
    config.cron = "every day";
    assert_null(storage_schedule_start(&config, &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_is_there_after_a_restore),
        TEST(older_revisions_are_compacted_after_a_restore),
        TEST(keys_of_one_transaction_keep_histories_of_their_own),
        TEST(leases_are_restored_with_their_keys),
        TEST(leases_without_keys_are_restored_too),
        TEST(a_lease_that_would_outlive_time_is_shortened),
        TEST(an_archive_holds_the_same),
        TEST(a_file_cut_short_is_refused),
        TEST(a_changed_file_is_refused_or_harmless),
        TEST(a_save_that_fails_leaves_nothing),
        TEST(a_snapshot_is_not_written_over),
        TEST(a_store_is_replaced_only_when_asked_and_kept),
        TEST(the_oldest_of_a_series_are_pruned),
        TEST(only_names_in_the_folder_are_deleted),
        TEST(a_schedule_saves_and_prunes),
        TEST(a_file_cut_short_while_it_is_read_is_an_error),
    };
    bus_errors_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
