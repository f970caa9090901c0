/* SPDX-License-Identifier: Apache-2.0 */
/* socket_test.c - whose the file of a unix socket is. */
#include "base/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

static char path[64], address[80];

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/coracle-socket-test-%d.sock", (int)getpid());
    snprintf(address, sizeof(address), "unix:%s", path);
    unlink(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static int listen_there(struct error *err)
{
    int port = 0;
    return socket_listen(address, &port, err);
}

static bool is_answered(void)
{
    struct error err = { 0 };
    scoped(fd) int fd = socket_dial(address, 5000, -1, &err);
    return fd >= 0;
}

static void a_unix_socket_leaves_no_file(void **state)
{
    (void)state;
    struct error err = { 0 };
    int fd = listen_there(&err);
    assert_true(fd >= 0);
    assert_int_equal(access(path, F_OK), 0);
    socket_listen_end(fd);
    assert_int_equal(access(path, F_OK), -1);
}

static void what_a_killed_process_left_is_replaced(void **state)
{
    (void)state;
    struct error err = { 0 };
    close(listen_there(&err)); /* as a kill does */
    assert_int_equal(access(path, F_OK), 0);
    scoped(fd) int fd = listen_there(&err);
    assert_true(fd >= 0);
    assert_true(is_answered());
}

static void who_listens_keeps_its_path(void **state)
{
    (void)state;
    struct error err = { 0 };
    scoped(fd) int fd = listen_there(&err);
    assert_int_equal(listen_there(&err), -1);
    assert_non_null(strstr(err.message, "in use"));
    assert_true(is_answered());
}

/* An administrator removed the file, and somebody else listens there by now. */
static void the_path_of_another_one_stays(void **state)
{
    (void)state;
    struct error err = { 0 };
    int first = listen_there(&err);
    unlink(path);
    scoped(fd) int second = listen_there(&err);
    assert_true(second >= 0);
    socket_listen_end(first);
    assert_true(is_answered());
}

static void a_file_that_is_no_socket_stays(void **state)
{
    (void)state;
    struct error err = { 0 };
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(listen_there(&err), -1);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_port_ends_without_a_file(void **state)
{
    (void)state;
    struct error err = { 0 };
    int port = 0, fd = socket_listen("127.0.0.1", &port, &err);
    assert_true(fd >= 0);
    socket_listen_end(fd);
    scoped(fd) int again = socket_listen("127.0.0.1", &port, &err);
    assert_true(again >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_unix_socket_leaves_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_killed_process_left_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_listens_keeps_its_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_path_of_another_one_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_socket_stays, set_up, tear_down),
        cmocka_unit_test(a_port_ends_without_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
