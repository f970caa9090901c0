/* SPDX-License-Identifier: Apache-2.0 */
/* zip_test - archives of one file: there and back, other writers', damaged. */
#include "base/zip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/files.h"

static int file_of(struct bytes text)
{
    struct error err = { 0 };
    int fd = memfd_create("zip_test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(files_write_all(fd, text, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static struct bytes text_of(int fd, struct arena *a)
{
    struct error err = { 0 };
    struct bytes text;
    assert_int_equal(files_read(arena_printf(a, "/proc/self/fd/%d", fd), 64 << 20, a, &text, &err),
                     0);
    return text;
}

static struct bytes random_text(size_t len, struct arena *a)
{
    struct rng rng;
    seeded_rng_init(&rng, len);
    char *text = arena_alloc(a, len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(i % 3 ? rng_below(&rng, 256) : 'x');
    return (struct bytes){ text, len };
}

static int unpack(struct bytes archive, struct arena *a, struct bytes *out, struct error *err)
{
    scoped(fd) int from = file_of(archive);
    scoped(fd) int to = file_of((struct bytes){ 0 });
    if (zip_read(from, to, err) < 0)
        return -1;
    *out = text_of(to, a);
    return 0;
}

static struct bytes pack(struct bytes text, struct arena *a)
{
    struct error err = { 0 };
    scoped(fd) int from = file_of(text);
    scoped(fd) int to = file_of((struct bytes){ 0 });
    assert_int_equal(zip_write(from, "name", to, &err), 0);
    return text_of(to, a);
}

static void what_was_packed_is_unpacked(void **state)
{
    static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 1000000 };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        struct bytes text = random_text(sizes[i], a), got;
        assert_int_equal(unpack(pack(text, a), a, &got, &err), 0);
        assert_true(bytes_equal(text, got));
    }
}

static void damage_is_noticed(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct bytes archive = pack(random_text(3000, a), a), got;
    char *changed = arena_memdup(a, archive.data, archive.len);
    size_t data_at = 30 + strlen("name"), data_end = archive.len - 22 - 46 - strlen("name");
    for (size_t at = data_at; at < data_end; at++) {
        struct error err = { 0 };
        changed[at] ^= 0x40;
        assert_int_equal(unpack((struct bytes){ changed, archive.len }, a, &got, &err), -1);
        assert_int_equal(err.code, ERR_IO);
        changed[at] ^= 0x40;
    }
    for (size_t len = 0; len < data_end; len += 13) {
        struct error err = { 0 };
        assert_int_equal(unpack((struct bytes){ archive.data, len }, a, &got, &err), -1);
    }
}

/* "hello" as Go's writer has it in k3s: sizes and sum behind the data; and one that is not packed.
 */
static void archives_of_other_writers_are_read(void **state)
{
    static const char streamed[] =
        "PK\3\4\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0n"
        "\xcb\x48\xcd\xc9\xc9\x07\0"
        "PK\7\x08\x86\xa6\x10\x36\x07\0\0\0\x05\0\0\0";
    static const char stored[] =
        "PK\3\4\x14\0\0\0\0\0\0\0\0\0\x86\xa6\x10\x36\5\0\0\0\5\0\0\0\1\0\0\0n"
        "hello";
    (void)state;
    const struct bytes cases[] = { BYTES(streamed), BYTES(stored) };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        struct bytes got;
        if (unpack(cases[i], a, &got, &err) < 0)
            fail_msg("%s", err.message);
        assert_true(bytes_equal_str(got, "hello"));
    }
}

static void what_is_no_archive_is_told(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes got;
    assert_int_equal(unpack(random_text(100, a), a, &got, &err), -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_unpacked),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(archives_of_other_writers_are_read),
        cmocka_unit_test(what_is_no_archive_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
