/* SPDX-License-Identifier: Apache-2.0 */
/* mapped_test.c - bus errors: in a trap, outside, and elsewhere. */
#include "storage/mapped.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/unit/storage/bus_errors.h"

#define PAGES 4

struct fixture {
    char *data;
    size_t page, len;
    struct mapped *map;
};

/* A file that ends within its map: what follows cannot be read. */
static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct error err = { 0 };
    f->page = (size_t)sysconf(_SC_PAGESIZE);
    f->len = PAGES * f->page;
    int fd = memfd_create("mapped-test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)f->page), 0);
    f->data = mmap(NULL, f->len, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(f->data != MAP_FAILED);
    f->map = mapped_new(f->data, f->len, BYTES("blank"), &err);
    assert_non_null(f->map);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mapped_end(f->map);
    munmap(f->data, f->len);
    free(f);
    return 0;
}

static char read_at(const char *at)
{
    return *(const volatile char *)at;
}

/* What a trapped call that reads AT comes to. */
static int read_trapped(struct mapped *m, const char *at, enum mapped_use use, const void **fault)
{
    struct mapped_trap trap;
    if (!mapped_trap_begin(&trap, m, use))
        return -1;
    switch (sigsetjmp(trap.back, 0)) {
    case 0:
        (void)read_at(at);
        mapped_trap_end(&trap);
        return 0;
    case MAPPED_UNREADABLE:
        mapped_trap_end(&trap);
        *fault = trap.fault;
        return MAPPED_UNREADABLE;
    default:
        return -2;
    }
}

static void a_trapped_call_comes_back(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    const void *fault = NULL;
    const char *bad = f->data + f->page + 17;
    assert_int_equal(read_trapped(f->map, f->data, MAPPED_READ, &fault), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_trapped(f->map, bad, MAPPED_READ_AND_WRITE, &fault),
                         MAPPED_UNREADABLE);
        assert_ptr_equal(fault, bad);
    }
    assert_false(mapped_is_torn(f->map));
}

static void others_read_a_blank_page_and_can_tell(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    const void *fault = NULL;
    assert_int_equal(read_at(f->data), 0);
    assert_false(mapped_is_torn(f->map));
    assert_int_equal(read_at(f->data + f->page), 'b');
    assert_int_equal(read_at(f->data + 2 * f->page - 1), 0);
    assert_true(mapped_is_torn(f->map));
    assert_int_equal(read_trapped(f->map, f->data, MAPPED_READ, &fault), -1);
    assert_int_equal(read_trapped(f->map, f->data, MAPPED_READ_AND_WRITE, &fault), -1);
}

static void *read_outside(void *arg)
{
    return (void *)(uintptr_t)read_at(arg);
}

/* What a library that writes would make of one is not known. */
static void a_call_that_writes_meets_no_blank_page(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct mapped_trap trap;
    pthread_t other;
    void *seen;
    volatile bool came_back = false;
    char *bad = f->data + f->page;
    assert_true(mapped_trap_begin(&trap, f->map, MAPPED_READ_AND_WRITE));
    assert_int_equal(pthread_create(&other, NULL, read_outside, bad), 0);
    switch (sigsetjmp(trap.back, 0)) {
    case 0:
        while (!mapped_is_torn(f->map))
            usleep(100);
        (void)read_at(bad);
        break;
    case MAPPED_UNREADABLE:
        came_back = true;
        break;
    default:
        break;
    }
    mapped_trap_end(&trap);
    pthread_join(other, &seen);
    assert_true(came_back);
    assert_int_equal((uintptr_t)seen, 'b');
}

static bool child_survives(void (*fn)(struct fixture *f), struct fixture *f)
{
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO); /* a sanitizer's report */
        fn(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void read_unknown_map(struct fixture *f)
{
    mapped_end(f->map);
    (void)read_at(f->data + f->page);
}

static void read_unknown_map_in_a_trap(struct fixture *f)
{
    const void *fault;
    struct error err = { 0 };
    char *other = mmap(NULL, f->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mapped_end(f->map);
    (void)read_trapped(mapped_new(other, f->page, BYTES(""), &err), f->data + f->page, MAPPED_READ,
                       &fault);
}

static void send_bus_error(struct fixture *f)
{
    (void)f;
    kill(getpid(), SIGBUS);
}

static void read_known_map(struct fixture *f)
{
    (void)read_at(f->data + f->page);
}

static void other_bus_errors_end_the_process(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    assert_true(child_survives(read_known_map, f));
    assert_false(child_survives(read_unknown_map, f));
    assert_false(child_survives(read_unknown_map_in_a_trap, f));
    assert_false(child_survives(send_bus_error, f));
}

static void places_are_used_again(void **state)
{
    bus_errors_give_back();
    struct fixture *f = *state;
    struct error err = { 0 };
    for (int i = 0; i < 5000; i++) {
        struct mapped *m = mapped_new(f->data, f->page, BYTES(""), &err);
        assert_non_null(m);
        assert_false(mapped_is_torn(m));
        mapped_end(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_trapped_call_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_read_a_blank_page_and_can_tell, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_that_writes_meets_no_blank_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_bus_errors_end_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_are_used_again, set_up, tear_down),
    };
    bus_errors_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
