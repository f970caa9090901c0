/* SPDX-License-Identifier: Apache-2.0 */
/* ordered_map_test.c - keys in order, whatever the order they came in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/ordered_map.h"
#include "base/clock.h"

#define KEYS 5000

static char texts[KEYS][16];

static struct bytes key_of(int i)
{
    snprintf(texts[i], sizeof(texts[i]), "%c/%05d", 'a' + i % 3, i);
    return bytes_of(texts[i]);
}

/* The numbers 0 to KEYS-1 in an order that the seed gives. */
static void shuffle(int *order, uint64_t seed)
{
    struct rng rng;
    seeded_rng_init(&rng, seed);
    for (int i = 0; i < KEYS; i++)
        order[i] = i;
    for (int i = KEYS - 1; i > 0; i--) {
        int j = (int)rng_below(&rng, (uint64_t)i + 1);
        int held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

static size_t scan(const struct ordered_map *m, struct bytes from, struct bytes prefix)
{
    struct ordered_map_cursor c = ordered_map_seek(m, from);
    size_t n = 0;
    const char *last = "", *at;
    while ((at = ordered_map_next(&c, prefix))) {
        assert_true(strcmp(last, at) < 0);
        last = at;
        n++;
    }
    return n;
}

static void fill(struct ordered_map *m, uint64_t seed)
{
    static int order[KEYS];
    shuffle(order, seed);
    for (int i = 0; i < KEYS; i++)
        assert_null(ordered_map_put(m, key_of(order[i]), texts[order[i]]));
}

static void a_scan_is_in_order(void **state)
{
    (void)state;
    struct ordered_map m = { 0 };
    fill(&m, 1);

    assert_int_equal(scan(&m, BYTES(""), BYTES("")), KEYS);
    assert_int_equal(scan(&m, BYTES("b/"), BYTES("b/")), (KEYS + 1) / 3);
    assert_int_equal(scan(&m, BYTES("z"), BYTES("")), 0);
    ordered_map_deinit(&m);
}

static void a_count_is_what_a_scan_would_find(void **state)
{
    (void)state;
    struct ordered_map m = { 0 };
    fill(&m, 2);
    const char *starts[] = { "", "a/", "a/00300", "b/", "b/02500", "c/04999", "d" };

    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        struct bytes from = bytes_of(starts[i]);
        struct bytes prefix = from.len >= 2 ? (struct bytes){ from.data, 2 } : from;
        assert_int_equal(ordered_map_count(ordered_map_seek(&m, from), prefix),
                         scan(&m, from, prefix));
    }
    ordered_map_deinit(&m);
}

static void what_is_removed_is_gone_and_the_rest_stays(void **state)
{
    (void)state;
    static int order[KEYS];
    struct ordered_map m = { 0 };
    fill(&m, 3);
    shuffle(order, 4);

    for (int i = 0; i < KEYS - 10; i++) {
        assert_ptr_equal(ordered_map_remove(&m, key_of(order[i])), texts[order[i]]);
        assert_null(ordered_map_remove(&m, key_of(order[i])));
    }

    assert_int_equal(scan(&m, BYTES(""), BYTES("")), 10);
    for (int i = KEYS - 10; i < KEYS; i++)
        assert_ptr_equal(ordered_map_get(&m, key_of(order[i])), texts[order[i]]);
    ordered_map_deinit(&m);
}

static void putting_again_replaces(void **state)
{
    (void)state;
    struct ordered_map m = { 0 };
    int first, second;

    assert_null(ordered_map_put(&m, BYTES("k"), &first));
    assert_ptr_equal(ordered_map_put(&m, BYTES("k"), &second), &first);

    assert_ptr_equal(ordered_map_get(&m, BYTES("k")), &second);
    assert_int_equal(m.n, 1);
    ordered_map_deinit(&m);
}

static void an_empty_map_has_nothing(void **state)
{
    (void)state;
    struct ordered_map m = { 0 };
    assert_null(ordered_map_get(&m, BYTES("k")));
    assert_null(ordered_map_remove(&m, BYTES("k")));
    assert_int_equal(scan(&m, BYTES(""), BYTES("")), 0);
    ordered_map_deinit(&m);
}

static void growing_keys_fill_their_chunks(void **state)
{
    (void)state;
    struct ordered_map m = { 0 };
    for (int i = 0; i < KEYS; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%05d", i);
        ordered_map_put(&m, bytes_of(texts[i]), texts[i]);
    }
    assert_true(m.chunks_n < 2 * KEYS / ORDERED_MAP_CHUNK);
    assert_int_equal(scan(&m, BYTES("04990"), BYTES("")), 10);
    ordered_map_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_is_in_order),
        cmocka_unit_test(a_count_is_what_a_scan_would_find),
        cmocka_unit_test(what_is_removed_is_gone_and_the_rest_stays),
        cmocka_unit_test(putting_again_replaces),
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(growing_keys_fill_their_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
