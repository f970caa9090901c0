/* SPDX-License-Identifier: Apache-2.0 */
/* encryption_test.c - what is sealed opens again, with its key and at its place alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/schema.h"
#include "apiserver/encryption.h"
#include "base/files.h"

#define KEY   BYTES("/registry/core/secrets/ns/name")
#define TEXT  BYTES("{\"kind\":\"Secret\"}")
#define KEY_A "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" /* 32 bytes each */
#define KEY_B "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="

static const struct resource *secrets = &resources[RESOURCE_SECRETS];

/* From the providers of one rule for Secrets, as YAML. */
static struct encryption *make(const char *providers)
{
    struct error err = { 0 };
    char path[] = "/tmp/coracle-encryption.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    scoped(str) char *text = xasprintf("apiVersion: apiserver.config.k8s.io/v1\n"
                                       "kind: EncryptionConfiguration\n"
                                       "resources:\n"
                                       "- resources: [secrets, \"*.apps\"]\n"
                                       "  providers: %s\n",
                                       providers);
    assert_int_equal(files_write(path, bytes_of(text), 0600, &err), 0);
    struct encryption *e = encryption_new(path, &err);
    assert_string_equal(err.message, "");
    unlink(path);
    return e;
}

static const char *const sealing[] = {
    "[{aescbc: {keys: [{name: a, secret: " KEY_A "}]}}]",
    "[{aesgcm: {keys: [{name: a, secret: " KEY_A "}]}}]",
    "[{secretbox: {keys: [{name: a, secret: " KEY_A "}]}}]",
};

static void what_a_provider_seals_it_opens(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sealing); i++) {
        scoped(encryption) struct encryption *e = make(sealing[i]);
        scoped(buffer) struct buffer sealed = { 0 }, again = { 0 }, opened = { 0 };
        struct error err = { 0 };
        uint64_t by, opened_by;
        assert_int_equal(encryption_seal(e, secrets, KEY, TEXT, &sealed, &by, &err), 1);
        assert_int_equal(encryption_seal(e, secrets, KEY, TEXT, &again, &by, &err), 1);
        assert_false(bytes_equal(buffer_bytes(&sealed), buffer_bytes(&again)));
        assert_int_equal(
            encryption_open(e, secrets, KEY, buffer_bytes(&sealed), &opened, &opened_by, &err), 1);
        assert_true(bytes_equal(buffer_bytes(&opened), TEXT));
        assert_int_equal(by, opened_by);
        assert_false(encryption_is_stale(e, secrets, by));
        assert_true(encryption_is_stale(e, secrets, 0));
    }
}

static void what_was_changed_or_cut_does_not_open(void **state)
{
    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(sealing); i++) { /* CBC notices nothing, upstream's neither */
        scoped(encryption) struct encryption *e = make(sealing[i]);
        scoped(buffer) struct buffer sealed = { 0 }, opened = { 0 };
        struct error err = { 0 };
        uint64_t by;
        assert_int_equal(encryption_seal(e, secrets, KEY, TEXT, &sealed, &by, &err), 1);
        for (size_t n = sealed.len; n-- > 26;) {
            struct bytes cut = { sealed.data, n };
            assert_int_equal(encryption_open(e, secrets, KEY, cut, &opened, &by, &err), -1);
        }
        sealed.data[sealed.len - 1] ^= 1;
        assert_int_equal(
            encryption_open(e, secrets, KEY, buffer_bytes(&sealed), &opened, &by, &err), -1);
    }
}

static void gcm_opens_at_its_own_key_of_the_store_only(void **state)
{
    (void)state;
    scoped(encryption) struct encryption *e = make(sealing[1]);
    scoped(buffer) struct buffer sealed = { 0 }, opened = { 0 };
    struct error err = { 0 };
    uint64_t by;
    assert_int_equal(encryption_seal(e, secrets, KEY, TEXT, &sealed, &by, &err), 1);
    assert_int_equal(encryption_open(e, secrets, BYTES("/registry/core/secrets/ns/other"),
                                     buffer_bytes(&sealed), &opened, &by, &err),
                     -1);
}

static void the_first_key_seals_and_all_open(void **state)
{
    (void)state;
    scoped(encryption) struct encryption *before = make(sealing[1]);
    scoped(encryption) struct encryption *after =
        make("[{secretbox: {keys: [{name: b, secret: " KEY_B "}]}},"
             " {aesgcm: {keys: [{name: b, secret: " KEY_B "}, {name: a, secret: " KEY_A "}]}},"
             " {identity: {}}]");
    scoped(buffer) struct buffer sealed = { 0 }, opened = { 0 };
    struct error err = { 0 };
    uint64_t by;
    assert_int_equal(encryption_seal(before, secrets, KEY, TEXT, &sealed, &by, &err), 1);
    assert_int_equal(
        encryption_open(after, secrets, KEY, buffer_bytes(&sealed), &opened, &by, &err), 1);
    assert_true(bytes_equal(buffer_bytes(&opened), TEXT));
    assert_true(encryption_is_stale(after, secrets, by));
    assert_int_equal(encryption_open(after, secrets, KEY, TEXT, &opened, &by, &err), 0);
    assert_int_equal(by, 0);
    buffer_clear(&sealed);
    assert_int_equal(encryption_seal(after, secrets, KEY, TEXT, &sealed, &by, &err), 1);
    assert_int_equal(
        encryption_open(before, secrets, KEY, buffer_bytes(&sealed), &opened, &by, &err), -1);
    assert_string_equal(err.message, "no matching prefix found");
}

static void plain_text_is_read_only_where_identity_is_named(void **state)
{
    (void)state;
    scoped(encryption) struct encryption *e = make(sealing[2]);
    scoped(buffer) struct buffer opened = { 0 };
    struct error err = { 0 };
    uint64_t by;
    assert_int_equal(encryption_open(e, secrets, KEY, TEXT, &opened, &by, &err), -1);
    const struct resource *pods = &resources[RESOURCE_PODS];
    assert_int_equal(encryption_open(e, pods, KEY, TEXT, &opened, &by, &err), 0);
    assert_int_equal(encryption_open(e, pods, KEY, BYTES("k8s:enc:x"), &opened, &by, &err), -1);
    assert_string_equal(err.message, "identity transformer tried to read encrypted data");
}

static void a_pattern_names_a_group(void **state)
{
    (void)state;
    scoped(encryption) struct encryption *e = make(sealing[2]);
    scoped(buffer) struct buffer out = { 0 };
    struct error err = { 0 };
    uint64_t by;
    const struct resource *r = &resources[RESOURCE_DEPLOYMENTS];
    assert_int_equal(encryption_seal(e, r, KEY, TEXT, &out, &by, &err), 1);
    r = &resources[RESOURCE_PODS];
    assert_int_equal(encryption_seal(e, r, KEY, TEXT, &out, &by, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_provider_seals_it_opens),
        cmocka_unit_test(what_was_changed_or_cut_does_not_open),
        cmocka_unit_test(gcm_opens_at_its_own_key_of_the_store_only),
        cmocka_unit_test(the_first_key_seals_and_all_open),
        cmocka_unit_test(plain_text_is_read_only_where_identity_is_named),
        cmocka_unit_test(a_pattern_names_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
