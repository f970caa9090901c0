/* SPDX-License-Identifier: Apache-2.0 */
/* files_test.c - small things with files. */
#include "base/files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct arena *a;
    char dir[64];
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->a = arena_new();
    strcpy(f->dir, "/tmp/coracle-files-XXXXXX");
    *state = f;
    return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    int rc = files_remove_tree(f->dir, &err);
    arena_free(f->a);
    free(f);
    return rc;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void what_is_written_is_read_with_its_mode(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    const char *path = arena_printf(f->a, "%s/a/b/key", f->dir);
    struct bytes text;
    assert_int_equal(files_make_parents(path, 0700, &err), 0);
    assert_int_equal(files_write(path, BYTES("old"), 0644, &err), 0);
    assert_int_equal(files_write_durably(path, BYTES("new"), 0600, &err), 0);

    assert_int_equal(files_read(path, 3, f->a, &text, &err), 0);

    assert_true(bytes_equal_str(text, "new"));
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(mode_of(arena_printf(f->a, "%s/a", f->dir)), 0700);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    const char *path = arena_printf(f->a, "%s/long", f->dir);
    struct bytes text;
    assert_int_equal(files_write(path, BYTES("four"), 0644, &err), 0);

    assert_int_equal(files_read(path, 3, f->a, &text, &err), -1);

    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void a_missing_file_is_not_found_and_has_no_line(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct bytes text;
    const char *path = arena_printf(f->a, "%s/missing", f->dir);

    assert_int_equal(files_read(path, 3, f->a, &text, &err), -1);

    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(files_line(path, f->a), "");
}

static void a_failed_write_leaves_the_old_text_and_nothing_beside_it(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    const char *path = arena_printf(f->a, "%s/folder", f->dir);
    assert_int_equal(files_make_dirs(path, 0755, &err), 0);

    assert_int_equal(files_write(path, BYTES("text"), 0644, &err), -1); /* a folder is in the way */

    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(f->dir), 0);
    assert_int_equal(mkdir(f->dir, 0700), 0);
}

static void a_removed_tree_takes_links_but_not_what_they_name(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    const char *kept = arena_printf(f->a, "%s/kept", f->dir);
    const char *tree = arena_printf(f->a, "%s/tree", f->dir);
    assert_int_equal(files_make_dirs(kept, 0755, &err), 0);
    assert_int_equal(files_make_dirs(tree, 0755, &err), 0);
    assert_int_equal(symlink(kept, arena_printf(f->a, "%s/link", tree)), 0);

    assert_int_equal(files_remove_tree(tree, &err), 0);

    assert_int_equal(access(tree, F_OK), -1);
    assert_int_equal(access(kept, F_OK), 0);
}

static void a_path_that_escapes_is_not_below(void **state)
{
    (void)state;
    assert_true(files_is_below("a/b..c/d"));
    assert_false(files_is_below("/a"));
    assert_false(files_is_below("a/../../b"));
    assert_false(files_is_below(".."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read_with_its_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_over_the_limit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_file_is_not_found_and_has_no_line, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_text_and_nothing_beside_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_tree_takes_links_but_not_what_they_name, setup,
                                        teardown),
        cmocka_unit_test(a_path_that_escapes_is_not_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
