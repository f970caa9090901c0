/* SPDX-License-Identifier: Apache-2.0 */
/* volume_writer_test.c - files that all change at once. */
#include "kubelet/volume_writer.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"

struct fixture {
    struct arena *a;
    const char *dir;
    struct volume_files files;
};

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->a = arena_new();
    char *dir = arena_strdup(f->a, "/tmp/volume_writer_test.XXXXXX");
    f->dir = mkdtemp(dir);
    *state = f;
    return f->dir ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int rc = files_remove_tree(f->dir, &err);
    arena_free(f->a);
    free(f);
    return rc;
}

static void add(struct fixture *f, const char *path, const char *text)
{
    struct error err = { 0 };
    struct volume_file file = { path, bytes_of(text), 0644 };
    assert_int_equal(volume_files_add(&f->files, f->a, file, &err), 0);
}

static void write_all(struct fixture *f)
{
    struct error err = { 0 };
    assert_int_equal(volume_write(f->dir, &f->files, -1, &err), 0);
}

static const char *text_of(struct fixture *f, const char *path)
{
    struct error err = { 0 };
    struct bytes text;
    if (files_read(arena_printf(f->a, "%s/%s", f->dir, path), 1024, f->a, &text, &err) < 0)
        return NULL;
    return text.data;
}

static const char *set_name(struct fixture *f)
{
    char name[NAME_MAX + 1];
    ssize_t n = readlink(arena_printf(f->a, "%s/..data", f->dir), name, sizeof(name));
    assert_true(n > 0);
    return arena_strndup(f->a, name, (size_t)n);
}

static void files_and_folders_appear_under_their_names(void **state)
{
    struct fixture *f = *state;
    add(f, "a", "1");
    add(f, "deep/er/b", "2");
    write_all(f);
    assert_string_equal(text_of(f, "a"), "1");
    assert_string_equal(text_of(f, "deep/er/b"), "2");
}

static void an_update_swaps_everything_and_removes_what_is_gone(void **state)
{
    struct fixture *f = *state;
    add(f, "a", "1");
    add(f, "b", "2");
    write_all(f);
    const char *first = set_name(f);
    f->files.n = 0;
    add(f, "a", "new");
    add(f, "c", "3");
    write_all(f);
    assert_string_equal(text_of(f, "a"), "new");
    assert_string_equal(text_of(f, "c"), "3");
    assert_null(text_of(f, "b"));
    struct stat st;
    assert_int_equal(stat(arena_printf(f->a, "%s/%s", f->dir, first), &st), -1);
}

static void nothing_is_written_when_nothing_differs(void **state)
{
    struct fixture *f = *state;
    add(f, "a", "1");
    write_all(f);
    const char *first = set_name(f);
    write_all(f);
    assert_string_equal(set_name(f), first);
}

static void a_path_that_leaves_the_volume_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../../x", "..data" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = { 0 };
        struct volume_file file = { bad[i], BYTES("x"), 0644 };
        assert_int_equal(volume_files_add(&f->files, f->a, file, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(files_and_folders_appear_under_their_names),
        T(an_update_swaps_everything_and_removes_what_is_gone),
        T(nothing_is_written_when_nothing_differs),
        T(a_path_that_leaves_the_volume_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
