/* SPDX-License-Identifier: Apache-2.0 */
/* service_allocator_test.c - cluster addresses and node ports. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apiserver/service_allocator.h"
#include "base/bytes.h"

static struct service_allocator *make(const char *cidr, const char *ports)
{
    static struct rng rng;
    struct error err = { 0 };
    seeded_rng_init(&rng, 7);
    struct service_allocator *s = service_allocator_new(cidr, ports, &rng, &err);
    assert_non_null(s);
    return s;
}

static void every_address_is_given_once_and_then_the_range_is_full(void **state)
{
    (void)state;
    struct service_allocator *s = make("10.0.0.0/24", "30000-30001");
    struct error err = { 0 };
    char address[INET_ADDRSTRLEN];
    bool seen[256] = { false };
    for (int i = 0; i < 254; i++) {
        assert_int_equal(service_allocator_take_address(s, NULL, address, &err), 0);
        int last = atoi(strrchr(address, '.') + 1);
        assert_true(last > 0 && last < 255 && !seen[last]);
        seen[last] = true;
    }
    assert_int_equal(service_allocator_take_address(s, NULL, address, &err), -1);
    assert_string_equal(err.message, "failed to allocate a serviceIP: range is full");
    service_allocator_free(s);
}

static void automatic_addresses_leave_the_low_ones_to_people(void **state)
{
    (void)state;
    struct service_allocator *s = make("10.43.0.0/16", "30000-32767");
    struct error err = { 0 };
    char address[INET_ADDRSTRLEN];
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(service_allocator_take_address(s, NULL, address, &err), 0);
        assert_false(str_has_prefix(address, "10.43.0."));
    }
    service_allocator_free(s);
}

static void a_wanted_address_is_refused_when_taken_or_outside(void **state)
{
    (void)state;
    struct service_allocator *s = make("10.43.0.0/16", "30000-32767");
    struct error err = { 0 };
    char address[INET_ADDRSTRLEN];
    assert_int_equal(service_allocator_take_address(s, "10.43.0.10", address, &err), 0);
    assert_int_equal(service_allocator_take_address(s, "10.43.0.10", address, &err), -1);
    assert_string_equal(err.message,
                        "failed to allocate IP 10.43.0.10: provided IP is already allocated");
    service_allocator_release_address(s, "10.43.0.10");
    assert_int_equal(service_allocator_take_address(s, "10.43.0.10", address, &err), 0);
    assert_int_equal(service_allocator_take_address(s, "10.44.0.1", address, &err), -1);
    assert_non_null(strstr(err.message, "The range of valid IPs is 10.43.0.0/16"));
    assert_int_equal(err.code, ERR_INVALID);
    service_allocator_free(s);
}

static void ports_follow_their_range(void **state)
{
    (void)state;
    struct service_allocator *s = make("10.43.0.0/16", "30000-30002");
    struct error err = { 0 };
    int port;
    assert_int_equal(service_allocator_take_port(s, 29999, &port, &err), -1);
    assert_string_equal(err.message, "provided port is not in the valid range. The range of valid "
                                     "ports is 30000-30002");
    service_allocator_mark_port(s, 30001);
    assert_int_equal(service_allocator_take_port(s, 0, &port, &err), 0);
    assert_true(port == 30000 || port == 30002);
    assert_int_equal(service_allocator_take_port(s, 0, &port, &err), 0);
    assert_int_equal(service_allocator_take_port(s, 0, &port, &err), -1);
    service_allocator_mark_port(s, 12); /* not ours: ignored */
    service_allocator_free(s);
}

static void nonsense_is_refused_at_start(void **state)
{
    (void)state;
    struct error err = { 0 };
    assert_null(service_allocator_new("fd00::/64", "30000-32767", system_rng, &err));
    assert_null(service_allocator_new("10.0.0.0/16", "none", system_rng, &err));
    assert_null(service_allocator_new("10.0.0.0/31", "1-2", system_rng, &err));
    assert_null(service_allocator_new("10.0.0.0/16x", "1-2", system_rng, &err));
    assert_null(service_allocator_new("10.0.0.0/16", "1-2,5", system_rng, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_is_given_once_and_then_the_range_is_full),
        cmocka_unit_test(automatic_addresses_leave_the_low_ones_to_people),
        cmocka_unit_test(a_wanted_address_is_refused_when_taken_or_outside),
        cmocka_unit_test(ports_follow_their_range),
        cmocka_unit_test(nonsense_is_refused_at_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
