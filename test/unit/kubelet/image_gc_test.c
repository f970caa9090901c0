/* SPDX-License-Identifier: Apache-2.0 */
/* image_gc_test.c - removes images that no container uses when the disk is nearly full. */
#include "kubelet/image_gc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void the_largest_unused_images_go_until_enough_is_free(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct cri_image images[] = {
        { .id = "sha256:small", .size_bytes = 10 },
        { .id = "sha256:busy", .size_bytes = 1000 },
        { .id = "sha256:big", .size_bytes = 100 },
        { .id = "sha256:tagged", .size_bytes = 500 },
    };
    cri_strings_add(&images[3].tags, a, "docker.io/library/x:1");
    struct cri_strings used = { 0 };
    cri_strings_add(&used, a, "sha256:busy");
    cri_strings_add(&used, a, "docker.io/library/x:1");

    assert_int_equal(image_gc_choose(images, ARRAY_LEN(images), &used, 50), 1);
    assert_string_equal(images[0].id, "sha256:big");
    assert_int_equal(image_gc_choose(images, ARRAY_LEN(images), &used, 105), 2);
    assert_string_equal(images[1].id, "sha256:small");
    assert_int_equal(image_gc_choose(images, ARRAY_LEN(images), &used, 1 << 20), 2);
    assert_int_equal(image_gc_choose(images, ARRAY_LEN(images), &used, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_unused_images_go_until_enough_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
