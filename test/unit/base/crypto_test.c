/* SPDX-License-Identifier: Apache-2.0 */
/* crypto_test.c - keys, certificates, tokens and encodings. */
#include "base/crypto.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"

static int set_up(void **state)
{
    *state = arena_new();
    return 0;
}

static int tear_down(void **state)
{
    arena_free(*state);
    return 0;
}

static struct certificate_request validity(const char *common_name)
{
    int64_t now = clock_wall_ns(&system_clock);
    return (struct certificate_request){ .common_name = common_name,
                                         .not_before_ns = now - 60 * NS_PER_S,
                                         .not_after_ns = now + 3600 * NS_PER_S };
}

static void a_certificate_keeps_its_end_of_validity(void **state)
{
    struct arena *a = *state;
    struct error err = { 0 };
    struct bytes key, cert;
    struct certificate_request r = validity("ca");
    r.is_ca = true;
    assert_int_equal(crypto_new_key(a, &key, &err), 0);
    assert_int_equal(
        crypto_sign_certificate(&r, key, (struct bytes){ 0 }, (struct bytes){ 0 }, a, &cert, &err),
        0);
    int64_t end = 0;
    assert_int_equal(crypto_certificate_expiry(cert, &end, &err), 0);
    assert_int_equal(end / NS_PER_S, r.not_after_ns / NS_PER_S);
}

static void a_bad_ip_or_key_fails_with_a_message(void **state)
{
    struct arena *a = *state;
    struct error err = { 0 };
    struct bytes key, cert = { 0 };
    const char *ips[] = { "10.0.0.300", NULL };
    struct certificate_request r = validity("server");
    r.ip_addresses = ips;
    assert_int_equal(crypto_new_key(a, &key, &err), 0);
    assert_int_equal(
        crypto_sign_certificate(&r, key, (struct bytes){ 0 }, (struct bytes){ 0 }, a, &cert, &err),
        -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    r.ip_addresses = NULL;
    assert_int_equal(crypto_sign_certificate(&r, BYTES("no key"), (struct bytes){ 0 },
                                             (struct bytes){ 0 }, a, &cert, &err),
                     -1);
    assert_int_equal(crypto_certificate_expiry(BYTES("junk"), &(int64_t){ 0 }, &err), -1);
}

static void a_name_may_be_longer_than_64_characters(void **state)
{
    struct arena *a = *state;
    struct error err = { 0 };
    struct bytes key, cert;
    char name[200];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    struct certificate_request r = validity(name);
    assert_int_equal(crypto_new_key(a, &key, &err), 0);
    assert_int_equal(
        crypto_sign_certificate(&r, key, (struct bytes){ 0 }, (struct bytes){ 0 }, a, &cert, &err),
        0);
}

static void check_token(struct arena *a, struct bytes key_pem)
{
    struct error err = { 0 };
    struct bytes public_pem, token, claims, jwk;
    assert_int_equal(crypto_public_key(key_pem, a, &public_pem, &err), 0);
    scoped(jwt_key) struct jwt_key *private_key = jwt_key_new(key_pem, &err);
    scoped(jwt_key) struct jwt_key *public_key = jwt_key_new(public_pem, &err);
    assert_non_null(private_key);
    assert_non_null(public_key);
    assert_string_equal(jwt_key_id(private_key), jwt_key_id(public_key));
    assert_int_equal(jwt_sign(private_key, BYTES("{\"sub\":\"a\"}"), a, &token, &err), 0);
    assert_int_equal(jwt_verify(public_key, token, a, &claims, &err), 0);
    assert_true(bytes_equal_str(claims, "{\"sub\":\"a\"}"));
    assert_int_equal(jwt_key_jwk(public_key, a, &jwk, &err), 0);
    assert_non_null(strstr(jwk.data, jwt_key_id(public_key)));
    assert_int_equal(jwt_sign(public_key, BYTES("{}"), a, &token, &err), -1);

    /* Any changed byte of header, payload or signature is found. */
    assert_int_equal(jwt_sign(private_key, BYTES("{\"sub\":\"a\"}"), a, &token, &err), 0);
    for (size_t i = 0; i + 1 < token.len; i++) {
        if (token.data[i] == '.')
            continue;
        struct bytes bad = arena_bytes(a, token);
        ((char *)bad.data)[i] = bad.data[i] == 'A' ? 'B' : 'A';
        assert_int_equal(jwt_verify(public_key, bad, a, &claims, &err), -1);
        assert_int_equal(err.code, ERR_UNAUTHORIZED);
    }
}

static void tokens_are_signed_and_checked_with_rsa(void **state)
{
    struct error err = { 0 };
    struct bytes key;
    assert_int_equal(crypto_new_rsa_key(*state, 2048, &key, &err), 0);
    check_token(*state, key);
}

static void tokens_are_signed_and_checked_with_ec(void **state)
{
    struct error err = { 0 };
    struct bytes key;
    assert_int_equal(crypto_new_key(*state, &key, &err), 0);
    check_token(*state, key);
}

static void garbage_is_no_token(void **state)
{
    struct error err = { 0 };
    struct bytes key, claims;
    assert_int_equal(crypto_new_key(*state, &key, &err), 0);
    scoped(jwt_key) struct jwt_key *k = jwt_key_new(key, &err);
    const char *cases[] = { "",    ".",     "..",      "...",   "a",
                            "a.b", "a.b.c", "a.b.c.d", "!.!.!", "e30.e30." };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(jwt_verify(k, bytes_of(cases[i]), *state, &claims, &err), -1);
        assert_int_equal(err.code, ERR_UNAUTHORIZED);
    }
    assert_null(jwt_key_new(BYTES("junk"), &err));
}

static void digests_match_known_answers(void **state)
{
    (void)state;
    uint8_t sha256[SHA256_BYTES];
    crypto_sha256(BYTES("abc"), sha256);
    assert_int_equal(sha256[0], 0xba);
    assert_int_equal(sha256[31], 0xad);
    struct sha256 *sum = sha256_new();
    uint8_t in_parts[SHA256_BYTES];
    sha256_add(sum, BYTES("a"));
    sha256_add(sum, BYTES(""));
    sha256_add(sum, BYTES("bc"));
    sha256_end(sum, in_parts);
    assert_memory_equal(in_parts, sha256, sizeof(sha256));
}

static void base64_matches_known_answers(void **state)
{
    static const char *cases[][3] = {
        { "", "", "" },
        { "f", "Zg==", "Zg" },
        { "fo", "Zm8=", "Zm8" },
        { "foo", "Zm9v", "Zm9v" },
        { "foob", "Zm9vYg==", "Zm9vYg" },
        { "\xff\xef\xbe", "/+++", "_---" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes plain = bytes_of(cases[i][0]), out;
        assert_string_equal(base64_encode(plain, *state), cases[i][1]);
        assert_string_equal(base64url_encode(plain, *state), cases[i][2]);
        assert_int_equal(base64_decode(bytes_of(cases[i][1]), *state, &out), 0);
        assert_true(bytes_equal(out, plain));
        assert_int_equal(base64url_decode(bytes_of(cases[i][2]), *state, &out), 0);
        assert_true(bytes_equal(out, plain));
    }
}

static void base64_takes_line_ends_and_refuses_the_rest(void **state)
{
    struct bytes out;
    assert_int_equal(base64_decode(BYTES("Zm\n9v\r\n"), *state, &out), 0);
    assert_true(bytes_equal_str(out, "foo"));
    const char *cases[] = { "Z", "Zg", "Zg=", "Z===", "Zm9!", "====", "Zg==Zg==", "_-_-" };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(base64_decode(bytes_of(cases[i]), *state, &out), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_certificate_keeps_its_end_of_validity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_ip_or_key_fails_with_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_may_be_longer_than_64_characters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_are_signed_and_checked_with_rsa, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_are_signed_and_checked_with_ec, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_no_token, set_up, tear_down),
        cmocka_unit_test(digests_match_known_answers),
        cmocka_unit_test_setup_teardown(base64_matches_known_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(base64_takes_line_ends_and_refuses_the_rest, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
