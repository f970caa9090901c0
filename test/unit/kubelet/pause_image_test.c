/* SPDX-License-Identifier: Apache-2.0 */
/* pause_image_test.c - the pause program as an OCI archive. */
#include "kubelet/pause_image.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/json.h"

/* The content of a tar's member; data NULL if there is none. */
static struct bytes member(struct bytes tar, const char *name)
{
    for (size_t at = 0; at + 512 <= tar.len && tar.data[at];) {
        size_t size = strtoul(tar.data + at + 124, NULL, 8);
        if (strncmp(tar.data + at, name, 100) == 0)
            return (struct bytes){ tar.data + at + 512, size };
        at += 512 + (size + 511) / 512 * 512;
    }
    return (struct bytes){ 0 };
}

/* The blob of that digest, which must be its content's. */
static struct bytes blob(struct bytes tar, const char *digest, struct arena *a)
{
    assert_true(str_has_prefix(digest, "sha256:"));
    struct bytes data = member(tar, arena_printf(a, "blobs/sha256/%s", digest + 7));
    assert_non_null(data.data);
    uint8_t sum[SHA256_BYTES];
    crypto_sha256(data, sum);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        char byte[3];
        snprintf(byte, sizeof(byte), "%02x", sum[i]);
        assert_memory_equal(byte, digest + 7 + 2 * i, 2);
    }
    return data;
}

static const struct json *parsed(struct bytes text, struct arena *a)
{
    struct error err = { 0 };
    const struct json *v = json_parse(text, a, NULL, &err);
    assert_non_null(v);
    return v;
}

static void every_digest_leads_to_its_blob_down_to_the_program(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct bytes tar = pause_image_archive(pause_program(), "x.test/pause:1", a);
    assert_int_equal(tar.len % 512, 0);
    const struct json *index = parsed(member(tar, "index.json"), a);
    const struct json *entry = json_items_begin(json_get(index, "manifests"));
    assert_string_equal(
        json_text(json_get(json_get(entry, "annotations"), "io.containerd.image.name")),
        "x.test/pause:1");
    const struct json *manifest = parsed(blob(tar, json_str(entry, "digest", ""), a), a);
    const struct json *config = parsed(blob(tar, json_str(manifest, "config.digest", ""), a), a);
    const struct json *layer = json_items_begin(json_get(manifest, "layers"));
    struct bytes layer_tar = blob(tar, json_str(layer, "digest", ""), a);
    assert_string_equal(json_text(json_items_begin(json_at(config, "rootfs.diff_ids"))),
                        json_str(layer, "digest", ""));
    assert_true(bytes_equal(member(layer_tar, "pause"), pause_program()));
}

static void the_program_is_a_small_static_executable(void **state)
{
    (void)state;
    struct bytes program = pause_program();
    assert_memory_equal(program.data, "\177ELF", 4);
    assert_true(program.len < 16 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_digest_leads_to_its_blob_down_to_the_program),
        cmocka_unit_test(the_program_is_a_small_static_executable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
