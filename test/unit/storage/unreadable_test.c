/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable_test.c - a database that the disk cannot read.
 *
 * Some pages of the store's own map of the file are taken over by a map of nothing: reading there
 * is the bus error that a disk's EIO is.
 */
#include "test/unit/storage/fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "test/unit/storage/bus_errors.h"

#define KEYS        400
#define VALUE_BYTES 700
#define ATTEMPTS    3000

/* LMDB's memory of a call that was left in its middle is lost, see mapped.h. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:mdb_txn_begin\n";
}

/* Such a call's lock is never given back, and its address may be another lock's one day. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "deadlock:liblmdb\n";
}

struct place {
    char *start;
    size_t len;
    char path[128];
};

/* Where the store has mapped its database. */
static struct place find_place(struct fixture *f)
{
    struct place out = { 0 };
    struct stat st;
    unsigned long start, end, offset;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    snprintf(out.path, sizeof(out.path), "%s/data.mdb", f->dir);
    assert_int_equal(stat(out.path, &st), 0);
    while (fgets(line, sizeof(line), maps))
        if (strstr(line, out.path) && !strstr(line, "deleted") &&
            sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && offset == 0)
            out.start = (char *)start; // NOLINT(performance-no-int-to-ptr)
    fclose(maps);
    assert_non_null(out.start);
    out.len = (size_t)st.st_size;
    return out;
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void break_pages(const struct place *p, size_t from, size_t to)
{
    int fd = memfd_create("nothing", MFD_CLOEXEC);
    char *at = p->start + from * page_bytes();
    assert_true(fd >= 0);
    assert_ptr_equal(mmap(at, (to - from) * page_bytes(), PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0),
                     at);
    close(fd);
}

/* Not after an attempt to write: the store may have given the map up. */
static void mend_pages(const struct place *p, size_t from, size_t to)
{
    int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    char *at = p->start + from * page_bytes();
    assert_true(fd >= 0);
    assert_ptr_equal(mmap(at, (to - from) * page_bytes(), PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                          (off_t)(from * page_bytes())),
                     at);
    close(fd);
}

static size_t pages_of(const struct place *p)
{
    return p->len / page_bytes();
}

/* ---- keys ---- */

static void put_round(struct fixture *f, int round)
{
    char key[16], value[VALUE_BYTES + 1];
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "key-%04d", i);
        snprintf(value, sizeof(value), "%-*d", VALUE_BYTES, 1000 * round + i);
        put(f, key, value);
    }
}

static int settle(struct fixture *f, struct error *err)
{
    return storage_defragment(f->s, err);
}

static void settle_well(struct fixture *f)
{
    struct error err = { 0 };
    if (settle(f, &err) < 0)
        fail_msg("%s", err.message);
}

static int try_range(struct fixture *f, const char *key, const char *end, struct error *err)
{
    struct storage_range_result out;
    struct storage_range r = { .key = bytes_of(key), .end = bytes_of(end) };
    return storage_range(f->s, &r, f->arena, &out, err);
}

static void assert_unreadable(struct fixture *f, const char *key, const char *end)
{
    struct error err = { 0 };
    assert_int_equal(try_range(f, key, end, &err), -1);
    assert_int_equal(err.code, ERR_IO);
}

static void assert_round(struct fixture *f, int round)
{
    struct storage_range_result all = range(f, "key", "l", 0);
    assert_int_equal(all.n, KEYS);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(all.kvs[i].value.len, VALUE_BYTES);
        assert_int_equal(atoi(all.kvs[i].value.data), 1000 * round + i);
    }
    arena_reset(f->arena);
}

static void assert_all_and(struct fixture *f, const char *key, const char *value)
{
    assert_int_equal(range(f, "key", "l", 0).n, KEYS);
    assert_true(bytes_equal_str(range(f, key, NULL, 0).kvs[0].value, value));
}

static int set_up(void **state)
{
    setup(state);
    put_round(*state, 1);
    settle_well(*state);
    return 0;
}

/* ---- tests ---- */

static void reads_fail_and_are_well_again_with_the_disk(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    break_pages(&p, 2, pages_of(&p));
    assert_unreadable(f, "key-0007", NULL);
    assert_unreadable(f, "key", "l");
    mend_pages(&p, 2, pages_of(&p));
    assert_round(f, 1);
}

static void what_is_in_memory_is_written_and_read(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    put(f, "key-0007", "new");
    break_pages(&p, 0, pages_of(&p));
    struct error err = { 0 };
    assert_int_equal(settle(f, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    /* What cannot be read in the map can be read in the file, so the store maps it anew. */
    for (int i = 0; i < ATTEMPTS && settle(f, &err) < 0; i++)
        usleep(10000);
    assert_all_and(f, "key-0007", "new");
    reopen(f);
    assert_all_and(f, "key-0007", "new");
    settle_well(f);
}

static void a_write_that_had_to_read_is_refused(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    struct error err = { 0 };
    struct storage_txn_result out;
    struct storage_op op = { .type = STORAGE_PUT, .key = BYTES("key-0001"), .value = BYTES("x") };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    int64_t before = storage_revision(f->s);
    break_pages(&p, 2, pages_of(&p));
    assert_int_equal(storage_txn(f->s, &txn, f->arena, &out, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    mend_pages(&p, 2, pages_of(&p));
    assert_int_equal(storage_revision(f->s), before);
    assert_round(f, 1);
}

/* A reader has looked at a value, and looks again when the page has gone from memory. */
static void borrowed_bytes_that_went_are_found_out(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    struct error err = { 0 };
    struct storage_range_result out;
    struct storage_hold *hold = NULL;
    struct storage_range r = { .key = BYTES("key"), .end = BYTES("l") };
    assert_int_equal(storage_range_hold(f->s, &r, f->arena, &out, &hold, &err), 0);
    assert_int_equal(storage_hold_check(f->s, hold, &err), 0);
    break_pages(&p, 2, pages_of(&p));
    for (size_t i = 0; i < out.n; i++)
        assert_int_equal(*(const volatile char *)out.kvs[i].value.data, 0);
    assert_int_equal(storage_hold_check(f->s, hold, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    /* Others have a map of their own from now on. */
    assert_round(f, 1);
    assert_int_equal(storage_hold_check(f->s, hold, &err), -1);
    storage_hold_release(f->s, hold);
    put_round(f, 2);
    settle_well(f);
    assert_round(f, 2);
    reopen(f);
    assert_round(f, 2);
}

/* Wherever LMDB is when it meets the page: nothing is lost, and a restart finds it. */
static void a_flush_that_cannot_read_a_page_is_done_later(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    size_t pages = pages_of(&p);
    int failed = 0;
    for (size_t page = 0; page < pages; page += 1 + pages / 40) {
        int round = (int)page + 2;
        struct error err = { 0 };
        put_round(f, round);
        p = find_place(f);
        break_pages(&p, page, page + 1);
        failed += settle(f, &err) < 0;
        reopen(f);
        settle_well(f);
        assert_round(f, round);
    }
    assert_true(failed > 10);
}

static void copy_file(const char *from, const char *to)
{
    char block[4096];
    ssize_t n;
    scoped(fd) int in = open(from, O_RDONLY | O_CLOEXEC);
    scoped(fd) int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof(block))) > 0)
        assert_int_equal(write(out, block, (size_t)n), n);
}

static void a_file_cut_short_below_a_running_store(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct place p = find_place(f);
    scoped(str) char *kept = xasprintf("%s/kept", f->dir);
    copy_file(p.path, kept);
    assert_int_equal(truncate(p.path, (off_t)(2 * page_bytes())), 0);
    assert_unreadable(f, "key-0007", NULL);
    assert_unreadable(f, "key", "l");
    copy_file(kept, p.path);
    assert_round(f, 1);
    settle_well(f);
    reopen(f);
    assert_round(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_fail_and_are_well_again_with_the_disk, set_up,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_in_memory_is_written_and_read, set_up, teardown),
        cmocka_unit_test_setup_teardown(a_write_that_had_to_read_is_refused, set_up, teardown),
        cmocka_unit_test_setup_teardown(borrowed_bytes_that_went_are_found_out, set_up, teardown),
        cmocka_unit_test_setup_teardown(a_flush_that_cannot_read_a_page_is_done_later, set_up,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_short_below_a_running_store, set_up, teardown),
    };
    bus_errors_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
