/* SPDX-License-Identifier: Apache-2.0 */
/* commit_log_test.c - frames of all sizes in whole blocks, through restarts, failures and damage.
 */
#include "storage/commit_log.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"
#include "storage/log_file.h"

enum { FRAMES_MAX = 4096, LARGE_BYTES = 9 << 20 }; /* larger than what is kept in memory for one */

struct fixture {
    char dir[64];
    struct commit_log *log;
    size_t sizes[FRAMES_MAX]; /* of the frames that were acknowledged */
    size_t frames_n;
    size_t read_n; /* in a replay */
};

static char byte_of(size_t frame)
{
    return (char)('a' + frame % 26);
}

static int read_back(struct bytes payload, uint64_t generation, void *arg, struct error *err)
{
    (void)err;
    struct fixture *f = arg;
    if (payload.len == 0)
        return 0; /* a log that was closed ends in an empty frame */
    assert_int_equal(generation, 1);
    assert_in_range(f->read_n, 0, f->frames_n - 1);
    assert_int_equal(payload.len, f->sizes[f->read_n]);
    for (size_t i = 0; i < payload.len; i++)
        if (payload.data[i] != byte_of(f->read_n))
            fail_msg("frame %zu differs at %zu", f->read_n, i);
    f->read_n++;
    return 0;
}

static int try_open(struct fixture *f, struct error *err)
{
    struct commit_log_config config = { .dir = f->dir, .salt = 7, .generation = 0, .seq = 0 };
    f->read_n = 0;
    f->log = commit_log_open(&config, err);
    return f->log ? commit_log_replay(f->log, read_back, f, err) : -1;
}

static void reopen(struct fixture *f)
{
    struct error err = { 0 };
    commit_log_close(f->log);
    if (try_open(f, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(f->read_n, f->frames_n);
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/coracle-log-test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    reopen(f);
    *state = f;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    failpoints_set(NULL);
    commit_log_close(f->log);
    nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static int add(struct fixture *f, size_t size, struct error *err)
{
    struct buffer *b = commit_log_begin(f->log);
    buffer_reserve(b, size);
    memset(b->data + b->len, byte_of(f->frames_n), size);
    b->len += size;
    if (commit_log_sync(f->log, err) < 0)
        return -1;
    f->sizes[f->frames_n++] = size;
    return 0;
}

static void must_add(struct fixture *f, size_t size)
{
    struct error err = { 0 };
    if (add(f, size, &err) < 0)
        fail_msg("%s", err.message);
}

static void frames_of_every_size_come_back(void **state)
{
    struct fixture *f = *state;
    for (size_t size = 1; size < 200; size++)
        must_add(f, size);
    reopen(f);
    for (size_t size = LOG_BLOCK_BYTES - 70; size < LOG_BLOCK_BYTES + 70; size++)
        must_add(f, size);
    reopen(f);
    must_add(f, 1);
    reopen(f);
}

static void a_frame_may_be_larger_than_the_memory_that_is_kept(void **state)
{
    struct fixture *f = *state;
    must_add(f, 100);
    must_add(f, LARGE_BYTES);
    must_add(f, 100);
    must_add(f, 3 << 20);
    must_add(f, 100);
    must_add(f, 100);
    reopen(f);
}

static void a_failed_write_spares_the_frame_in_the_same_block(void **state)
{
    static const char *const failpoints[] = {
        "storage.log.before_write=error",
        "storage.log.before_sync=error",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(failpoints); i++) {
        struct error err = { 0 };
        must_add(f, 50);
        failpoints_set(failpoints[i]);
        assert_int_equal(add(f, i ? 10000 : 60, &err), -1);
        assert_int_equal(err.code, ERR_IO);
        failpoints_set(NULL);
        reopen(f);
        must_add(f, 70);
        reopen(f);
    }
}

static void without_space_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    must_add(f, 50);
    failpoints_set("storage.log.allocate=nospace");
    assert_int_equal(add(f, 2 << 20, &err), -1);
    assert_int_equal(err.code, ERR_NO_SPACE);
    must_add(f, 60); /* there is room for that one */
    failpoints_set(NULL);
    must_add(f, 2 << 20);
    reopen(f);
}

static void damage_to_a_frame_that_others_follow_is_reported(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    must_add(f, 1000);
    must_add(f, 1000);
    must_add(f, 1000);
    commit_log_close(f->log);
    scoped(str) char *path = xasprintf("%s/log.1", f->dir);
    scoped(fd) int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 1500), 1);
    assert_int_equal(try_open(f, &err), -1);
    assert_int_equal(err.code, ERR_IO);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(frames_of_every_size_come_back),
        T(a_frame_may_be_larger_than_the_memory_that_is_kept),
        T(a_failed_write_spares_the_frame_in_the_same_block),
        T(without_space_nothing_is_written),
        T(damage_to_a_frame_that_others_follow_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
