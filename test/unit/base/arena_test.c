/* SPDX-License-Identifier: Apache-2.0 */
/* arena_test.c - memory that is freed as a whole. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>

#include <cmocka.h>

static void structs_are_aligned_and_nothing_overlaps(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    char *blocks[2000];
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        size_t size = (i * 37) % 4000;
        blocks[i] = i % 2 ? arena_alloc(a, size + 1) : arena_strndup(a, "", 0);
        if (i % 2) {
            assert_int_equal((uintptr_t)blocks[i] % alignof(max_align_t), 0);
            memset(blocks[i], (int)(i & 0xff), size + 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        for (size_t j = 0; i % 2 && j <= (i * 37) % 4000; j++)
            assert_int_equal((unsigned char)blocks[i][j], i & 0xff);
}

static void a_reset_arena_holds_one_block_and_works_on(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    size_t before = arena_size_bytes(a);
    for (int i = 0; i < 1000; i++)
        arena_zalloc(a, 100);
    arena_alloc(a, 1 << 20);
    assert_true(arena_size_bytes(a) > 1 << 20);
    arena_reset(a);
    assert_int_equal(arena_size_bytes(a), before);
    memset(arena_alloc(a, 100000), 1, 100000);
}

static void text_is_copied_with_its_end(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new_sized(1);
    assert_null(arena_strdup(a, NULL));
    assert_string_equal(arena_strdup(a, "abc"), "abc");
    assert_string_equal(arena_strndup(a, "abcdef", 3), "abc");
    assert_string_equal(arena_printf(a, "%s-%d", "x", 5), "x-5");
    assert_int_equal(strlen(arena_printf(a, "%01000d", 5)), 1000);
    struct bytes copy = arena_bytes(a, BYTES("a\0b"));
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.data, "a\0b", 4);
}

static void arrays_grow_in_an_arena_and_on_the_heap(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    int *items = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        items = arena_grow(a, items, (size_t)i, &capacity, sizeof(*items));
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);

    int *on_heap = NULL;
    capacity = 0;
    for (int i = 0; i < 1000; i++) {
        on_heap = xgrow(on_heap, (size_t)i, &capacity, sizeof(*on_heap));
        on_heap[i] = i;
    }
    assert_memory_equal(on_heap, items, 1000 * sizeof(*items));
    free(on_heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structs_are_aligned_and_nothing_overlaps),
        cmocka_unit_test(a_reset_arena_holds_one_block_and_works_on),
        cmocka_unit_test(text_is_copied_with_its_end),
        cmocka_unit_test(arrays_grow_in_an_arena_and_on_the_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
