/* SPDX-License-Identifier: Apache-2.0 */
/* crypto_aes.c - AES in the two modes that secrets at rest use. */
#include <openssl/evp.h>

#include "base/crypto.h"
#include "base/crypto_internal.h"

typedef struct evp_cipher_ctx_st cipher_ctx;
DEFINE_SCOPED(cipher_ctx, cipher_ctx *, EVP_CIPHER_CTX_free)

static const EVP_CIPHER *cbc_of(size_t key_len)
{
    switch (key_len) {
    case 16:
        return EVP_aes_128_cbc();
    case 24:
        return EVP_aes_192_cbc();
    default:
        return EVP_aes_256_cbc();
    }
}

static const EVP_CIPHER *gcm_of(size_t key_len)
{
    switch (key_len) {
    case 16:
        return EVP_aes_128_gcm();
    case 24:
        return EVP_aes_192_gcm();
    default:
        return EVP_aes_256_gcm();
    }
}

/* IN becomes at most AES_BLOCK_BYTES more at the end of OUT. */
static int run(cipher_ctx *c, struct bytes in, struct buffer *out)
{
    int n = 0, last = 0;
    if (in.len > INT32_MAX - AES_BLOCK_BYTES)
        return -1;
    buffer_reserve(out, in.len + AES_BLOCK_BYTES + 1);
    unsigned char *to = (unsigned char *)out->data + out->len;
    const unsigned char *from = (const unsigned char *)(in.data ? in.data : "");
    if (EVP_CipherUpdate(c, to, &n, from, (int)in.len) != 1 ||
        EVP_CipherFinal_ex(c, to + n, &last) != 1)
        return -1;
    out->len += (size_t)(n + last);
    out->data[out->len] = '\0';
    return 0;
}

static cipher_ctx *start(const EVP_CIPHER *cipher, struct bytes key, const uint8_t *iv, int encrypt)
{
    ensure(key.len == 16 || key.len == 24 || key.len == 32);
    cipher_ctx *c = EVP_CIPHER_CTX_new();
    if (c && EVP_CipherInit_ex(c, cipher, NULL, (const unsigned char *)key.data, iv, encrypt) == 1)
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

int crypto_aes_cbc_encrypt(struct bytes key, const uint8_t iv[AES_BLOCK_BYTES], struct bytes plain,
                           struct buffer *out, struct error *err)
{
    scoped(cipher_ctx) cipher_ctx *c = start(cbc_of(key.len), key, iv, 1);
    return c && run(c, plain, out) == 0 ? 0 : crypto_error(err, ERR_INTERNAL, "AES-CBC");
}

int crypto_aes_cbc_decrypt(struct bytes key, const uint8_t iv[AES_BLOCK_BYTES], struct bytes sealed,
                           struct buffer *out, struct error *err)
{
    scoped(cipher_ctx) cipher_ctx *c = start(cbc_of(key.len), key, iv, 0);
    return c && run(c, sealed, out) == 0 ? 0 : crypto_error(err, ERR_INTERNAL, "AES-CBC");
}

static int add_context(cipher_ctx *c, struct bytes context)
{
    int n;
    return context.len == 0 || EVP_CipherUpdate(c, NULL, &n, (const unsigned char *)context.data,
                                                (int)context.len) == 1;
}

int crypto_aes_gcm_seal(struct bytes key, const uint8_t nonce[AES_GCM_NONCE_BYTES],
                        struct bytes context, struct bytes plain, struct buffer *out,
                        struct error *err)
{
    uint8_t tag[AES_GCM_TAG_BYTES];
    scoped(cipher_ctx) cipher_ctx *c = start(gcm_of(key.len), key, nonce, 1);
    if (!c || !add_context(c, context) || run(c, plain, out) < 0 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, sizeof(tag), tag) != 1)
        return crypto_error(err, ERR_INTERNAL, "AES-GCM");
    buffer_add(out, tag, sizeof(tag));
    return 0;
}

int crypto_aes_gcm_open(struct bytes key, const uint8_t nonce[AES_GCM_NONCE_BYTES],
                        struct bytes context, struct bytes sealed, struct buffer *out,
                        struct error *err)
{
    if (sealed.len < AES_GCM_TAG_BYTES)
        return error_set(err, ERR_INTERNAL, "AES-GCM: too short");
    sealed.len -= AES_GCM_TAG_BYTES;
    scoped(cipher_ctx) cipher_ctx *c = start(gcm_of(key.len), key, nonce, 0);
    if (!c || !add_context(c, context) ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, AES_GCM_TAG_BYTES,
                            (void *)(sealed.data + sealed.len)) != 1 ||
        run(c, sealed, out) < 0)
        return crypto_error(err, ERR_INTERNAL, "AES-GCM: message authentication failed");
    return 0;
}
