/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto.h - keys, certificates, signatures and digests, over OpenSSL.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* ---- certificates (all PEM, all in the caller's arena) ---- */

struct certificate_request {
    const char *common_name;
    const char *const *organizations; /* ends with NULL; may be NULL */
    const char *const *dns_names;     /* ends with NULL; may be NULL */
    const char *const *ip_addresses;  /* ends with NULL; may be NULL */
    bool is_ca, for_server, for_client;
    int64_t not_before_ns, not_after_ns; /* wall clock */
};

must_check int crypto_new_key(struct arena *a, struct bytes *key_pem,
                              struct error *err); /* EC P-256 */
must_check int crypto_new_rsa_key(struct arena *a, int bits, struct bytes *key_pem,
                                  struct error *err);
/* Self-signed when CA_CERT is empty. */
must_check int crypto_sign_certificate(const struct certificate_request *r, struct bytes key_pem,
                                       struct bytes ca_cert_pem, struct bytes ca_key_pem,
                                       struct arena *a, struct bytes *cert_pem, struct error *err);
must_check int crypto_certificate_expiry(struct bytes cert_pem, int64_t *not_after_ns,
                                         struct error *err);
must_check int crypto_public_key(struct bytes key_pem, struct arena *a, struct bytes *public_pem,
                                 struct error *err);

/* ---- JSON web tokens (RFC 7519) ---- */

struct jwt_key; /* a parsed private or public key with its RFC 7638-style id; counted */
struct jwt_key *jwt_key_new(struct bytes pem, struct error *err);
void jwt_key_free(struct jwt_key *k);
const char *jwt_key_id(const struct jwt_key *k);
/* CLAIMS is a JSON object's text; the result is header.payload.signature.  RS256 or ES256 by key.
 */
must_check int jwt_sign(const struct jwt_key *k, struct bytes claims, struct arena *a,
                        struct bytes *token, struct error *err);
/* Checks the signature alone and gives the payload's text; claims are the caller's to judge. */
must_check int jwt_verify(const struct jwt_key *k, struct bytes token, struct arena *a,
                          struct bytes *claims, struct error *err);
/* The public key as a JWK JSON object, for /openid/v1/jwks. */
must_check int jwt_key_jwk(const struct jwt_key *k, struct arena *a, struct bytes *jwk,
                           struct error *err);
DEFINE_SCOPED(jwt_key, struct jwt_key *, jwt_key_free)

/* ---- AES (FIPS 197), keys of 16, 24 or 32 bytes; results are added to OUT ---- */

#define AES_BLOCK_BYTES     16
#define AES_GCM_NONCE_BYTES 12
#define AES_GCM_TAG_BYTES   16
/* CBC with PKCS #7 padding: hides, but does not notice what was changed. */
must_check int crypto_aes_cbc_encrypt(struct bytes key, const uint8_t iv[AES_BLOCK_BYTES],
                                      struct bytes plain, struct buffer *out, struct error *err);
must_check int crypto_aes_cbc_decrypt(struct bytes key, const uint8_t iv[AES_BLOCK_BYTES],
                                      struct bytes sealed, struct buffer *out, struct error *err);
/* GCM, the tag behind the text; CONTEXT is authenticated with it. */
must_check int crypto_aes_gcm_seal(struct bytes key, const uint8_t nonce[AES_GCM_NONCE_BYTES],
                                   struct bytes context, struct bytes plain, struct buffer *out,
                                   struct error *err);
must_check int crypto_aes_gcm_open(struct bytes key, const uint8_t nonce[AES_GCM_NONCE_BYTES],
                                   struct bytes context, struct bytes sealed, struct buffer *out,
                                   struct error *err);

/* ---- digests and encodings ---- */

#define SHA256_BYTES 32
void crypto_sha256(struct bytes data, uint8_t out[SHA256_BYTES]);
struct sha256; /* of bytes that come in parts */
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *s, struct bytes data);
void sha256_end(struct sha256 *s, uint8_t out[SHA256_BYTES]); /* frees S; OUT may be NULL */
/* PBKDF2 with HMAC-SHA-256 (RFC 8018): a key from what people choose and type. */
void crypto_stretch(struct bytes secret, struct bytes salt, int rounds, uint8_t out[SHA256_BYTES]);
char *base64_encode(struct bytes data, struct arena *a);
char *base64url_encode(struct bytes data, struct arena *a); /* without padding */
must_check int base64_decode(struct bytes text, struct arena *a,
                             struct bytes *out); /* -1: not base64 */
must_check int base64url_decode(struct bytes text, struct arena *a, struct bytes *out);
