/* SPDX-License-Identifier: Apache-2.0 */
/* jwt.c - JSON web tokens and keys, declared in base/crypto.h. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/crypto_internal.h"

#define P256_BYTES      32
#define TOKEN_BYTES_MAX (64 * 1024)

struct jwt_key {
    EVP_PKEY *key;
    bool is_rsa, is_private;
    char *id;
};

static EVP_PKEY *read_public_key(struct bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data ? pem.data : "", (int)pem.len);
    ensure(bio);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return key;
}

/* Upstream's id: SHA-256 of the public key's DER form, base64url.  Clients only compare it. */
static char *key_id(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    ensure(len > 0);
    uint8_t digest[SHA256_BYTES];
    crypto_sha256((struct bytes){ (char *)der, (size_t)len }, digest);
    OPENSSL_free(der);
    scoped(arena) struct arena *a = arena_new_sized(256);
    return xstrdup(base64url_encode((struct bytes){ (char *)digest, sizeof(digest) }, a));
}

struct jwt_key *jwt_key_new(struct bytes pem, struct error *err)
{
    EVP_PKEY *key = crypto_read_key(pem);
    bool is_private = key != NULL;
    if (!key)
        key = read_public_key(pem);
    if (!key) {
        crypto_error(err, ERR_BAD_REQUEST, "read token key");
        return NULL;
    }
    ERR_clear_error(); /* of the first of the two attempts */
    bool is_rsa = EVP_PKEY_is_a(key, "RSA");
    if (!is_rsa && !(EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 8 * P256_BYTES)) {
        EVP_PKEY_free(key);
        error_set(err, ERR_BAD_REQUEST, "token key is neither RSA nor EC P-256");
        return NULL;
    }
    struct jwt_key *k = xcalloc(1, sizeof(*k));
    *k = (struct jwt_key){
        .key = key, .is_rsa = is_rsa, .is_private = is_private, .id = key_id(key)
    };
    return k;
}

void jwt_key_free(struct jwt_key *k)
{
    if (!k)
        return;
    EVP_PKEY_free(k->key);
    free(k->id);
    free(k);
}

const char *jwt_key_id(const struct jwt_key *k)
{
    return k->id;
}

/* ---- signatures ---- */

/* ES256 wants the two numbers side by side, OpenSSL speaks DER. */
static int ec_signature_to_raw(const unsigned char *der, size_t len, uint8_t out[2 * P256_BYTES])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    int ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, P256_BYTES) == P256_BYTES &&
             BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + P256_BYTES, P256_BYTES) == P256_BYTES;
    ECDSA_SIG_free(sig);
    return ok;
}

static int ec_signature_to_der(const uint8_t raw[2 * P256_BYTES], unsigned char **der)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, P256_BYTES, NULL),
           *s = BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL);
    ensure(sig && r && s && ECDSA_SIG_set0(sig, r, s));
    int len = i2d_ECDSA_SIG(sig, der);
    ECDSA_SIG_free(sig);
    return len;
}

static int sign(const struct jwt_key *k, struct bytes input, struct arena *a,
                struct bytes *signature, struct error *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ensure(ctx);
    size_t len = 0;
    unsigned char *raw = NULL;
    int ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
             EVP_DigestSign(ctx, NULL, &len, (const unsigned char *)input.data, input.len) == 1;
    if (ok) {
        raw = arena_alloc(a, len);
        ok = EVP_DigestSign(ctx, raw, &len, (const unsigned char *)input.data, input.len) == 1;
    }
    EVP_MD_CTX_free(ctx);
    if (ok && !k->is_rsa) {
        uint8_t *pair = arena_alloc(a, 2 * P256_BYTES);
        ok = ec_signature_to_raw(raw, len, pair);
        raw = pair;
        len = 2 * P256_BYTES;
    }
    if (!ok)
        return crypto_error(err, ERR_INTERNAL, "sign token");
    *signature = (struct bytes){ (char *)raw, len };
    return 0;
}

static bool is_signed(const struct jwt_key *k, struct bytes input, struct bytes signature)
{
    unsigned char *der = NULL;
    const unsigned char *sig = (const unsigned char *)signature.data;
    size_t len = signature.len;
    if (!k->is_rsa) {
        if (len != 2 * P256_BYTES)
            return false;
        int der_len = ec_signature_to_der(sig, &der);
        sig = der;
        len = der_len > 0 ? (size_t)der_len : 0;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ensure(ctx);
    bool ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
              EVP_DigestVerify(ctx, sig, len, (const unsigned char *)input.data, input.len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ERR_clear_error();
    return ok;
}

/* ---- tokens ---- */

int jwt_sign(const struct jwt_key *k, struct bytes claims, struct arena *a, struct bytes *token,
             struct error *err)
{
    if (!k->is_private)
        return error_set(err, ERR_INTERNAL, "sign token: key %s is public", k->id);
    const char *header =
        arena_printf(a, "{\"alg\":\"%s\",\"kid\":\"%s\"}", k->is_rsa ? "RS256" : "ES256", k->id);
    char *input = arena_printf(a, "%s.%s", base64url_encode(bytes_of(header), a),
                               base64url_encode(claims, a));
    struct bytes signature;
    if (sign(k, bytes_of(input), a, &signature, err) < 0)
        return -1;
    *token = bytes_of(arena_printf(a, "%s.%s", input, base64url_encode(signature, a)));
    return 0;
}

/* The algorithm is the key's: what the token's header claims is not asked, so that a token cannot
 * choose how it is checked. */
int jwt_verify(const struct jwt_key *k, struct bytes token, struct arena *a, struct bytes *claims,
               struct error *err)
{
    if (token.len > TOKEN_BYTES_MAX)
        return error_set(err, ERR_UNAUTHORIZED, "token of %zu bytes is too long", token.len);
    const char *first = token.len ? memchr(token.data, '.', token.len) : NULL;
    const char *last = token.len ? memrchr(token.data, '.', token.len) : NULL;
    if (!first || first == last || memchr(first + 1, '.', (size_t)(last - first - 1)))
        return error_set(err, ERR_UNAUTHORIZED, "token does not have three parts");
    struct bytes input = { token.data, (size_t)(last - token.data) };
    struct bytes payload = { first + 1, (size_t)(last - first - 1) };
    struct bytes signature = { last + 1, token.len - input.len - 1 };
    if (base64url_decode(signature, a, &signature) < 0 || !is_signed(k, input, signature))
        return error_set(err, ERR_UNAUTHORIZED, "token's signature is not valid");
    if (base64url_decode(payload, a, claims) < 0)
        return error_set(err, ERR_UNAUTHORIZED, "token's payload is not base64url");
    return 0;
}

/* ---- JSON web keys ---- */

static const char *number_text(EVP_PKEY *key, const char *name, int width, struct arena *a)
{
    BIGNUM *n = NULL;
    ensure(EVP_PKEY_get_bn_param(key, name, &n) == 1);
    int len = width > 0 ? width : BN_num_bytes(n);
    unsigned char *raw = arena_alloc(a, (size_t)len);
    ensure(BN_bn2binpad(n, raw, len) == len);
    BN_free(n);
    return base64url_encode((struct bytes){ (char *)raw, (size_t)len }, a);
}

int jwt_key_jwk(const struct jwt_key *k, struct arena *a, struct bytes *jwk, struct error *err)
{
    (void)err; /* a key that was read can be described */
    const char *text;
    if (k->is_rsa)
        text = arena_printf(a,
                            "{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"%s\",\"alg\":\"RS256\","
                            "\"n\":\"%s\",\"e\":\"%s\"}",
                            k->id, number_text(k->key, OSSL_PKEY_PARAM_RSA_N, 0, a),
                            number_text(k->key, OSSL_PKEY_PARAM_RSA_E, 0, a));
    else
        text = arena_printf(
            a,
            "{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"P-256\",\"alg\":\"ES256\","
            "\"x\":\"%s\",\"y\":\"%s\"}",
            k->id, number_text(k->key, OSSL_PKEY_PARAM_EC_PUB_X, P256_BYTES, a),
            number_text(k->key, OSSL_PKEY_PARAM_EC_PUB_Y, P256_BYTES, a));
    *jwk = bytes_of(text);
    return 0;
}
