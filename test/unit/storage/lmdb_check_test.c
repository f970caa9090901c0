/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_check_test.c - files whose last pages were never written, or are lost. */
#include "storage/lmdb_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/lmdb_env.h"

#define MAP_BYTES   ((size_t)64 << 20)
#define PAGE_BYTES  4096
#define LARGE_BYTES ((size_t)1 << 20)
#define COMMITS     8 /* until the last pages are those of the large value */

static void commit(struct lmdb_env *e, struct bytes key, struct bytes value)
{
    struct error err = { 0 };
    struct lmdb_txn *t = lmdb_write_begin(e, &err);
    assert_non_null(t);
    int rc = value.data ? lmdb_put(t, TABLE_LATEST, key, value, &err)
                        : lmdb_delete(t, TABLE_LATEST, key, &err);
    assert_int_equal(rc, 0);
    assert_int_equal(lmdb_write_commit(t, &err), 0);
}

static struct lmdb_env *open_env(const char *dir)
{
    struct error err = { 0 };
    struct lmdb_env *e = lmdb_env_open(dir, MAP_BYTES, &err);
    if (!e)
        fail_msg("%s", err.message);
    return e;
}

/* A file whose last pages are free. */
static void fill(const char *dir)
{
    struct lmdb_env *e = open_env(dir);
    scoped(mem) void *large = xcalloc(1, LARGE_BYTES);
    commit(e, BYTES("large"), (struct bytes){ large, LARGE_BYTES });
    commit(e, BYTES("large"), (struct bytes){ 0 });
    for (int i = 0; i < COMMITS; i++)
        commit(e, BYTES("small"), BYTES("value"));
    lmdb_env_unref(e);
}

static int check(const char *file)
{
    struct error err = { 0 };
    struct lmdb_check out;
    int rc = lmdb_check_file(file, &out, &err);
    assert_int_equal(err.code, rc < 0 ? ERR_IO : 0);
    return rc;
}

static off_t size_of(const char *file)
{
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    return st.st_size;
}

struct database {
    char dir[32];
    char *file, *lock;
};

static int setup(void **state)
{
    struct database *d = xcalloc(1, sizeof(*d));
    strcpy(d->dir, "/tmp/coracle-check.XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    d->file = xasprintf("%s/data.mdb", d->dir);
    d->lock = xasprintf("%s/lock.mdb", d->dir);
    fill(d->dir);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct database *d = *state;
    unlink(d->file);
    unlink(d->lock);
    rmdir(d->dir);
    free(d->file);
    free(d->lock);
    free(d);
    return 0;
}

static void free_pages_may_be_missing_and_no_others(void **state)
{
    const struct database *d = *state;
    off_t whole = size_of(d->file), size = whole;
    while (check(d->file) == 0) {
        size -= PAGE_BYTES;
        assert_int_equal(truncate(d->file, size), 0);
    }
    assert_true(size < whole - PAGE_BYTES);
}

static void a_file_without_its_free_pages_goes_on(void **state)
{
    const struct database *d = *state;
    assert_int_equal(truncate(d->file, size_of(d->file) - PAGE_BYTES), 0);
    struct lmdb_env *e = open_env(d->dir);
    scoped(mem) void *large = xcalloc(1, LARGE_BYTES);
    commit(e, BYTES("large"), (struct bytes){ large, LARGE_BYTES });
    lmdb_env_unref(e);
    assert_int_equal(check(d->file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(free_pages_may_be_missing_and_no_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_without_its_free_pages_goes_on, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
