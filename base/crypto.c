/* SPDX-License-Identifier: Apache-2.0 */
/* crypto.c - certificates, digests and encodings. */
#include "base/crypto.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/crypto_internal.h"

#define SERIAL_BITS  127 /* positive and at most 20 bytes, as RFC 5280 asks */
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

int crypto_error(struct error *err, enum error_code code, const char *what)
{
    unsigned long e = ERR_get_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return error_set(err, code, "%s: %s", what, reason ? reason : "malformed");
}

static BIO *bio_of(struct bytes pem)
{
    ensure(pem.len <= INT32_MAX);
    BIO *bio = BIO_new_mem_buf(pem.data ? pem.data : "", (int)pem.len);
    ensure(bio);
    return bio;
}

/* What was written to BIO, in the arena. */
static struct bytes bio_take(BIO *bio, struct arena *a)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    struct bytes copy = arena_bytes(a, (struct bytes){ data, (size_t)len });
    BIO_free(bio);
    return copy;
}

static BIO *bio_new(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ensure(bio);
    return bio;
}

/* ---- keys ---- */

EVP_PKEY *crypto_read_key(struct bytes pem)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, PEM_NO_PASSWORD);
    BIO_free(bio);
    return key;
}

static int write_key(EVP_PKEY *key, struct arena *a, struct bytes *pem, struct error *err)
{
    if (!key)
        return crypto_error(err, ERR_INTERNAL, "make key");
    BIO *bio = bio_new();
    int ok = PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    EVP_PKEY_free(key);
    *pem = bio_take(bio, a);
    return ok ? 0 : crypto_error(err, ERR_INTERNAL, "write key");
}

int crypto_new_key(struct arena *a, struct bytes *key_pem, struct error *err)
{
    return write_key(EVP_EC_gen("P-256"), a, key_pem, err);
}

int crypto_new_rsa_key(struct arena *a, int bits, struct bytes *key_pem, struct error *err)
{
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return error_set(err, ERR_BAD_REQUEST, "rsa key of %d bits", bits);
    return write_key(EVP_RSA_gen((unsigned)bits), a, key_pem, err);
}

int crypto_public_key(struct bytes key_pem, struct arena *a, struct bytes *public_pem,
                      struct error *err)
{
    EVP_PKEY *key = crypto_read_key(key_pem);
    if (!key)
        return crypto_error(err, ERR_BAD_REQUEST, "read private key");
    BIO *bio = bio_new();
    int ok = PEM_write_bio_PUBKEY(bio, key);
    EVP_PKEY_free(key);
    *public_pem = bio_take(bio, a);
    return ok ? 0 : crypto_error(err, ERR_INTERNAL, "write public key");
}

/* ---- certificates ---- */

static X509 *read_certificate(struct bytes pem)
{
    BIO *bio = bio_of(pem);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return certificate;
}

static int set_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    int ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
             BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

/* As UTF-8 without OpenSSL's limit of 64 characters: node names are longer. */
static int add_name(X509_NAME *name, int nid, const char *value)
{
    return X509_NAME_add_entry_by_NID(name, nid, V_ASN1_UTF8STRING, (const unsigned char *)value,
                                      -1, -1, 0);
}

static int set_subject(X509 *x, const struct certificate_request *r)
{
    X509_NAME *name = X509_get_subject_name(x);
    int ok = 1;
    for (const char *const *o = r->organizations; ok && o && *o; o++)
        ok = add_name(name, NID_organizationName, *o);
    return ok && add_name(name, NID_commonName, r->common_name);
}

static int set_validity(X509 *x, const struct certificate_request *r)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), r->not_before_ns / NS_PER_S) &&
           ASN1_TIME_set(X509_getm_notAfter(x), r->not_after_ns / NS_PER_S);
}

static int add_extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    int ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

/* Built by hand: the textual form would let a name smuggle in more names. */
static int add_alternative(GENERAL_NAMES *names, int type, const void *data, size_t len)
{
    ASN1_STRING *s = type == GEN_DNS ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ensure(s && name);
    int ok = ASN1_STRING_set(s, data, (int)len);
    GENERAL_NAME_set0_value(name, type, s);
    if (ok && sk_GENERAL_NAME_push(names, name))
        return 1;
    GENERAL_NAME_free(name);
    return 0;
}

static int add_ip(GENERAL_NAMES *names, const char *text)
{
    unsigned char ip[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, text, ip) == 1)
        return add_alternative(names, GEN_IPADD, ip, sizeof(struct in_addr));
    return inet_pton(AF_INET6, text, ip) == 1 && add_alternative(names, GEN_IPADD, ip, sizeof(ip));
}

static int add_alternatives(X509 *x, const struct certificate_request *r)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    int ok = names != NULL;
    for (const char *const *n = r->dns_names; ok && n && *n; n++)
        ok = add_alternative(names, GEN_DNS, *n, strlen(*n));
    for (const char *const *n = r->ip_addresses; ok && n && *n; n++)
        ok = add_ip(names, *n);
    if (ok && sk_GENERAL_NAME_num(names) > 0)
        ok = X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0);
    GENERAL_NAMES_free(names);
    return ok;
}

static int add_usages(X509 *x, const struct certificate_request *r, X509V3_CTX *ctx)
{
    const char *purposes = r->for_server && r->for_client ? "serverAuth,clientAuth"
                           : r->for_server                ? "serverAuth"
                           : r->for_client                ? "clientAuth"
                                                          : NULL;
    int ok = add_extension(x, ctx, NID_basic_constraints,
                           r->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
             add_extension(x, ctx, NID_key_usage,
                           r->is_ca ? "critical,digitalSignature,keyEncipherment,keyCertSign"
                                    : "critical,digitalSignature,keyEncipherment");
    if (ok && purposes)
        ok = add_extension(x, ctx, NID_ext_key_usage, purposes);
    return ok && add_extension(x, ctx, NID_subject_key_identifier, "hash") &&
           add_extension(x, ctx, NID_authority_key_identifier, "keyid");
}

/* A certificate for KEY with what R says, not signed yet; CA NULL: its own issuer. */
static X509 *build(const struct certificate_request *r, EVP_PKEY *key, X509 *ca)
{
    X509 *x = X509_new();
    ensure(x);
    int ok = X509_set_version(x, X509_VERSION_3) && set_serial(x) && set_validity(x, r) &&
             set_subject(x, r) && X509_set_issuer_name(x, X509_get_subject_name(ca ? ca : x)) &&
             X509_set_pubkey(x, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, ca ? ca : x, x, NULL, NULL, 0);
    if (ok && add_usages(x, r, &ctx) && add_alternatives(x, r))
        return x;
    X509_free(x);
    return NULL;
}

/* Signs X, which may be NULL after a failure, and gives it up. */
static int sign_certificate(X509 *x, EVP_PKEY *ca_key, struct arena *a, struct bytes *pem,
                            struct error *err)
{
    if (!x || !X509_sign(x, ca_key, EVP_sha256())) {
        X509_free(x);
        return crypto_error(err, ERR_BAD_REQUEST, "make certificate");
    }
    BIO *bio = bio_new();
    int ok = PEM_write_bio_X509(bio, x);
    X509_free(x);
    *pem = bio_take(bio, a);
    return ok ? 0 : crypto_error(err, ERR_INTERNAL, "write certificate");
}

int crypto_sign_certificate(const struct certificate_request *r, struct bytes key_pem,
                            struct bytes ca_cert_pem, struct bytes ca_key_pem, struct arena *a,
                            struct bytes *cert_pem, struct error *err)
{
    EVP_PKEY *key = crypto_read_key(key_pem);
    X509 *ca = ca_cert_pem.len > 0 ? read_certificate(ca_cert_pem) : NULL;
    EVP_PKEY *ca_key = ca_cert_pem.len > 0 ? crypto_read_key(ca_key_pem) : NULL;
    int rc;
    if (!key || (ca_cert_pem.len > 0 && (!ca || !ca_key)))
        rc = crypto_error(err, ERR_BAD_REQUEST, "read keys");
    else
        rc = sign_certificate(build(r, key, ca), ca ? ca_key : key, a, cert_pem, err);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return rc < 0 ? error_wrap(err, "certificate %s", r->common_name) : 0;
}

int crypto_certificate_expiry(struct bytes cert_pem, int64_t *not_after_ns, struct error *err)
{
    X509 *x = read_certificate(cert_pem);
    if (!x)
        return crypto_error(err, ERR_BAD_REQUEST, "read certificate");
    struct tm tm;
    int ok = ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm);
    X509_free(x);
    if (!ok)
        return crypto_error(err, ERR_BAD_REQUEST, "read certificate's end");
    *not_after_ns = (int64_t)timegm(&tm) * NS_PER_S;
    return 0;
}

/* ---- digests and randomness ---- */

void crypto_sha256(struct bytes data, uint8_t out[SHA256_BYTES])
{
    ensure(EVP_Digest(data.data ? data.data : "", data.len, out, NULL, EVP_sha256(), NULL));
}

struct sha256 *sha256_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    ensure(c && EVP_DigestInit_ex(c, EVP_sha256(), NULL));
    return (struct sha256 *)c;
}

void sha256_add(struct sha256 *s, struct bytes data)
{
    ensure(EVP_DigestUpdate((EVP_MD_CTX *)s, data.data, data.len));
}

void sha256_end(struct sha256 *s, uint8_t out[SHA256_BYTES])
{
    ensure(!out || EVP_DigestFinal_ex((EVP_MD_CTX *)s, out, NULL));
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
}

void crypto_stretch(struct bytes secret, struct bytes salt, int rounds, uint8_t out[SHA256_BYTES])
{
    ensure(PKCS5_PBKDF2_HMAC(secret.data, (int)secret.len, (const unsigned char *)salt.data,
                             (int)salt.len, rounds, EVP_sha256(), SHA256_BYTES, out) == 1);
}

/* ---- base64 ---- */

static const char standard_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode(struct bytes data, const char *digits, bool is_padded, struct arena *a)
{
    const uint8_t *in = (const uint8_t *)data.data;
    char *text = arena_alloc(a, data.len / 3 * 4 + 5), *p = text;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t n = data.len - i < 3 ? data.len - i : 3;
        uint32_t v = (uint32_t)in[i] << 16;
        if (n > 1)
            v |= (uint32_t)in[i + 1] << 8;
        if (n > 2)
            v |= in[i + 2];
        for (size_t k = 0; k <= n; k++)
            *p++ = digits[v >> (18 - 6 * k) & 63];
        for (size_t k = n; k < 3 && is_padded; k++)
            *p++ = '=';
    }
    *p = 0;
    return text;
}

char *base64_encode(struct bytes data, struct arena *a)
{
    return encode(data, standard_digits, true, a);
}

char *base64url_encode(struct bytes data, struct arena *a)
{
    return encode(data, url_digits, false, a);
}

static int digit_value(char c, char c62, char c63)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == c62 ? 62 : c == c63 ? 63 : -1;
}

/* TEXT without padding.  Bits behind the last whole byte are not looked at, as Go does by default.
 */
static int decode(struct bytes text, char c62, char c63, struct arena *a, struct bytes *out)
{
    if (text.len % 4 == 1)
        return -1;
    uint8_t *data = arena_alloc(a, text.len / 4 * 3 + 4), *p = data;
    uint32_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_value(text.data[i], c62, c63);
        if (digit < 0)
            return -1;
        v = v << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            *p++ = (uint8_t)(v >> (6 - 2 * (i % 4)));
    }
    *p = 0;
    *out = (struct bytes){ (char *)data, (size_t)(p - data) };
    return 0;
}

/* Line ends inside the text are allowed, as Go's decoder skips them. */
static struct bytes without_line_ends(struct bytes text, struct arena *a)
{
    if (!memchr(text.data ? text.data : "", '\n', text.len) &&
        !memchr(text.data ? text.data : "", '\r', text.len))
        return text;
    char *copy = arena_alloc(a, text.len);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\n' && text.data[i] != '\r')
            copy[n++] = text.data[i];
    }
    return (struct bytes){ copy, n };
}

int base64_decode(struct bytes text, struct arena *a, struct bytes *out)
{
    text = without_line_ends(text, a);
    if (text.len % 4 != 0)
        return -1;
    for (int i = 0; i < 2 && text.len > 0 && text.data[text.len - 1] == '='; i++)
        text.len--;
    return decode(text, '+', '/', a, out);
}

int base64url_decode(struct bytes text, struct arena *a, struct bytes *out)
{
    return decode(text, '-', '_', a, out);
}
