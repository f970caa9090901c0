/* SPDX-License-Identifier: Apache-2.0 */
/* hashmap_test.c - bytes to pointer. */
#include "base/hashmap.h"

#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 2000

static void it_agrees_with_a_plain_array(void **state)
{
    (void)state;
    static char names[KEYS][16];
    static void *wanted[KEYS];
    struct hashmap m = { 0 };
    struct rng r;
    seeded_rng_init(&r, 1);
    size_t n = 0;
    for (int step = 0; step < 100000; step++) {
        size_t i = rng_below(&r, KEYS);
        snprintf(names[i], sizeof(names[i]), "key-%zu", i);
        struct bytes key = bytes_of(names[i]);
        void *value = &names[rng_below(&r, KEYS)];
        switch (rng_below(&r, 3)) {
        case 0:
            n += !wanted[i];
            assert_ptr_equal(hashmap_put(&m, key, value), wanted[i]);
            wanted[i] = value;
            break;
        case 1:
            n -= wanted[i] != NULL;
            assert_ptr_equal(hashmap_remove(&m, key), wanted[i]);
            wanted[i] = NULL;
            break;
        default:
            assert_ptr_equal(hashmap_get(&m, key), wanted[i]);
        }
        assert_int_equal(m.n, n);
    }
    hashmap_each (&m, e)
        n--;
    assert_int_equal(n, 0);
    hashmap_deinit(&m);
}

static void an_empty_key_is_a_key(void **state)
{
    (void)state;
    struct hashmap m = { 0 };
    assert_null(hashmap_get(&m, (struct bytes){ 0 }));
    assert_null(hashmap_put(&m, (struct bytes){ 0 }, &m));
    assert_ptr_equal(hashmap_get(&m, BYTES("")), &m);
    assert_ptr_equal(hashmap_remove(&m, BYTES("")), &m);
    hashmap_deinit(&m);
}

static void a_put_takes_the_new_key(void **state)
{
    (void)state;
    struct hashmap m = { 0 };
    char first[] = "k", second[] = "k";
    hashmap_put(&m, bytes_of(first), first);
    hashmap_put(&m, bytes_of(second), second);
    hashmap_each (&m, e)
        assert_ptr_equal(e->key.data, second);
    hashmap_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_a_plain_array),
        cmocka_unit_test(an_empty_key_is_a_key),
        cmocka_unit_test(a_put_takes_the_new_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
