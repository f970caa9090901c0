/* SPDX-License-Identifier: Apache-2.0 */
/* container_log_test.c - reads a container's log. */
#include "kubelet/container_log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"

struct fixture {
    char dir[64], path[96];
    struct buffer out;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_bool is_running;
    struct container_log_options o;
};

static int take(void *arg, struct bytes piece)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    buffer_add_bytes(&f->out, piece);
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static bool is_running(void *arg)
{
    return atomic_load(&((struct fixture *)arg)->is_running);
}

static void append(struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

#define LINES                                                                                      \
    "2026-11-20T10:00:00.000000001Z stdout F one\n"                                                \
    "2026-11-20T10:00:01Z stderr F two\n"                                                          \
    "2026-11-20T10:00:02Z stdout P thr\n"                                                          \
    "2026-11-20T10:00:02Z stdout F ee\n"

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct error err = { 0 };
    strcpy(f->dir, "/tmp/container_log_test.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/0.log", f->dir);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->o = (struct container_log_options){ .tail_lines = -1,
                                           .limit_bytes = -1,
                                           .streams = LOG_STREAM_ALL,
                                           .cancel_fd = -1,
                                           .watch = log_watch_new(&err),
                                           .is_running = is_running,
                                           .write = take,
                                           .arg = f };
    append(f, LINES);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    buffer_free(&f->out);
    log_watch_free(f->o.watch);
    int rc = files_remove_tree(f->dir, &err);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f);
    return rc;
}

static const char *read_all(struct fixture *f)
{
    struct error err = { 0 };
    buffer_clear(&f->out);
    assert_int_equal(container_log_read(f->path, &f->o, &err), 0);
    return f->out.data ? f->out.data : "";
}

static void partial_lines_are_joined(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(read_all(f), "one\ntwo\nthree\n");
}

static void timestamps_stand_before_whole_lines(void **state)
{
    struct fixture *f = *state;
    f->o.timestamps = true;
    assert_string_equal(read_all(f), "2026-11-20T10:00:00.000000001Z one\n"
                                     "2026-11-20T10:00:01.000000000Z two\n"
                                     "2026-11-20T10:00:02.000000000Z three\n");
}

static void the_tail_counts_from_the_end(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t lines;
        const char *text;
    } cases[] = {
        { 0, "" },
        { 2, "three\n" },
        { 3, "two\nthree\n" },
        { 100, "one\ntwo\nthree\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->o.tail_lines = cases[i].lines;
        assert_string_equal(read_all(f), cases[i].text);
    }
}

static void old_lines_other_streams_and_too_many_bytes_are_left_out(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(time_parse("2026-11-20T10:00:01Z", &f->o.since_ns), 0);
    assert_string_equal(read_all(f), "two\nthree\n");
    f->o.streams = LOG_STREAM_STDOUT;
    assert_string_equal(read_all(f), "three\n");
    f->o.since_ns = 0;
    f->o.limit_bytes = 5;
    assert_string_equal(read_all(f), "one\nt");
}

static void a_log_that_is_not_there_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    assert_int_equal(container_log_read("/nonexistent/0.log", &f->o, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void wait_for(struct fixture *f, const char *text)
{
    pthread_mutex_lock(&f->lock);
    while (!f->out.data || !strstr(f->out.data, text))
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void *follow(void *arg)
{
    struct fixture *f = arg;
    struct error err = { 0 };
    return container_log_read(f->path, &f->o, &err) == 0 ? f : NULL;
}

/* It writes no more, and its log is closed. */
static void end_container(struct fixture *f)
{
    atomic_store(&f->is_running, false);
    append(f, "");
}

static void a_follower_sees_new_lines_a_rotation_and_the_end(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *result;
    f->o.follow = true;
    atomic_store(&f->is_running, true);
    pthread_create(&thread, NULL, follow, f);
    wait_for(f, "three\n");
    append(f, "2026-11-20T10:00:03Z stdout F four\n");
    wait_for(f, "four\n");

    scoped(str) char *old = xasprintf("%s.20261120", f->path);
    assert_int_equal(rename(f->path, old), 0);
    append(f, "2026-11-20T10:00:04Z stdout F five\n");
    wait_for(f, "five\n");

    append(f, "2026-11-20T10:00:05Z stdout F six\n");
    end_container(f);
    pthread_join(thread, &result);
    assert_ptr_equal(result, f);
    assert_string_equal(f->out.data, "one\ntwo\nthree\nfour\nfive\nsix\n");
}

/* More than a user may have inotify instances, by default. */
#define FOLLOWERS 150

static size_t count(struct fixture *f, const char *text)
{
    size_t n = 0;
    for (const char *p = f->out.data; p && (p = strstr(p, text)); p++)
        n++;
    return n;
}

static void wait_for_all(struct fixture *f, const char *text)
{
    pthread_mutex_lock(&f->lock);
    while (count(f, text) < FOLLOWERS)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void many_followers_see_the_same_lines(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[FOLLOWERS];
    f->o.follow = true;
    atomic_store(&f->is_running, true);
    for (size_t i = 0; i < FOLLOWERS; i++)
        pthread_create(&threads[i], NULL, follow, f);
    wait_for_all(f, "three\n");
    append(f, "2026-11-20T10:00:03Z stdout F four\n");
    wait_for_all(f, "four\n");
    append(f, "2026-11-20T10:00:05Z stdout F five\n");
    end_container(f);
    for (size_t i = 0; i < FOLLOWERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, f);
    }
    assert_int_equal(count(f, "five\n"), FOLLOWERS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(partial_lines_are_joined),
        T(timestamps_stand_before_whole_lines),
        T(the_tail_counts_from_the_end),
        T(old_lines_other_streams_and_too_many_bytes_are_left_out),
        T(a_log_that_is_not_there_is_not_found),
        T(a_follower_sees_new_lines_a_rotation_and_the_end),
        T(many_followers_see_the_same_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
