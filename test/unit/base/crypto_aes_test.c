/* SPDX-License-Identifier: Apache-2.0 */
/* crypto_aes_test.c - AES against the published answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/crypto.h"

static struct bytes hex(struct arena *a, const char *text)
{
    size_t n = strlen(text) / 2;
    char *out = arena_alloc(a, n + 1);
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
        out[i] = (char)v;
    }
    return (struct bytes){ out, n };
}

/* NIST SP 800-38A, F.2.1, first block. */
static void cbc_gives_the_published_answer_and_its_padding(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer sealed = { 0 }, opened = { 0 };
    struct error err = { 0 };
    struct bytes key = hex(a, "2b7e151628aed2a6abf7158809cf4f3c");
    struct bytes iv = hex(a, "000102030405060708090a0b0c0d0e0f");
    struct bytes plain = hex(a, "6bc1bee22e409f96e93d7e117393172a");
    assert_int_equal(crypto_aes_cbc_encrypt(key, (const uint8_t *)iv.data, plain, &sealed, &err),
                     0);
    assert_int_equal(sealed.len, 2 * AES_BLOCK_BYTES);
    assert_memory_equal(sealed.data, hex(a, "7649abac8119b246cee98e9b12e9197d").data, 16);
    assert_int_equal(
        crypto_aes_cbc_decrypt(key, (const uint8_t *)iv.data, buffer_bytes(&sealed), &opened, &err),
        0);
    assert_true(bytes_equal(buffer_bytes(&opened), plain));
    sealed.len--;
    assert_int_equal(
        crypto_aes_cbc_decrypt(key, (const uint8_t *)iv.data, buffer_bytes(&sealed), &opened, &err),
        -1);
}

/* Test case 4 of McGrew and Viega, "The Galois/Counter Mode of Operation". */
static void gcm_gives_the_published_answer_and_notices_changes(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer sealed = { 0 }, opened = { 0 };
    struct error err = { 0 };
    struct bytes key = hex(a, "feffe9928665731c6d6a8f9467308308");
    struct bytes nonce = hex(a, "cafebabefacedbaddecaf888");
    const uint8_t *n = (const uint8_t *)nonce.data;
    struct bytes context = hex(a, "feedfacedeadbeeffeedfacedeadbeefabaddad2");
    struct bytes plain = hex(a, "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    struct bytes expected =
        hex(a, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
               "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
               "5bc94fbc3221a5db94fae95ae7121a47");
    assert_int_equal(crypto_aes_gcm_seal(key, n, context, plain, &sealed, &err), 0);
    assert_true(bytes_equal(buffer_bytes(&sealed), expected));
    assert_int_equal(crypto_aes_gcm_open(key, n, context, buffer_bytes(&sealed), &opened, &err), 0);
    assert_true(bytes_equal(buffer_bytes(&opened), plain));
    assert_int_equal(
        crypto_aes_gcm_open(key, n, BYTES("elsewhere"), buffer_bytes(&sealed), &opened, &err), -1);
    sealed.data[3] ^= 1;
    assert_int_equal(crypto_aes_gcm_open(key, n, context, buffer_bytes(&sealed), &opened, &err),
                     -1);
    assert_int_equal(crypto_aes_gcm_open(key, n, context, BYTES("short"), &opened, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cbc_gives_the_published_answer_and_its_padding),
        cmocka_unit_test(gcm_gives_the_published_answer_and_notices_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
