/* SPDX-License-Identifier: Apache-2.0 */
/* generated_name_test.c - the parts of names that nobody chose. */
#include "api/generated_name.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_suffix_has_its_length_and_no_vowels(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct rng rng;
    seeded_rng_init(&rng, 1);

    const char *first = generated_suffix(&rng, 100, a), *second = generated_suffix(&rng, 100, a);

    assert_int_equal(strlen(first), 100);
    assert_int_equal(strspn(first, "bcdfghjklmnpqrstvwxz2456789"), 100);
    assert_string_not_equal(first, second);
}

static void a_hash_becomes_the_letters_that_upstream_makes_of_it(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();

    assert_string_equal(generated_from_hash(1234567890, a), "56789bcdf4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_suffix_has_its_length_and_no_vowels),
        cmocka_unit_test(a_hash_becomes_the_letters_that_upstream_makes_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
