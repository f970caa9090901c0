/* SPDX-License-Identifier: Apache-2.0 */
/* encryption.c - sealing and opening with the configured providers. */
#include "apiserver/encryption.h"

#include <sodium.h>
#include <unistd.h>

#include "apiserver/encryption_config.h"
#include "base/crypto.h"
#include "base/files.h"

#define SEALED_PREFIX BYTES("k8s:enc:")

struct encryption {
    struct arena *arena; /* holds the keys */
    struct encryption_config config;
};

/* ---- making ---- */

static struct encryption *encryption_parse(struct bytes text, struct error *err)
{
    struct arena *a = arena_new();
    struct encryption *e = arena_zalloc(a, sizeof(*e));
    e->arena = a;
    if (encryption_config_parse(text, a, &e->config, err) == 0)
        return e;
    arena_free(a);
    return NULL;
}

struct encryption *encryption_new(const char *path, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes text;
    if (sodium_init() < 0) {
        error_set(err, ERR_INTERNAL, "libsodium finds no source of random numbers");
        return NULL;
    }
    if (files_read(path, ENCRYPTION_CONFIG_BYTES_MAX, a, &text, err) < 0)
        return NULL;
    struct encryption *e = encryption_parse(text, err);
    if (!e)
        error_wrap(err, "%s", path);
    return e;
}

void encryption_free(struct encryption *e)
{
    if (e)
        arena_free(e->arena);
}

int encryption_make_config(const char *path, struct rng *rng, struct error *err)
{
    uint64_t secret[ENCRYPTION_KEY_BYTES / sizeof(uint64_t)];
    if (access(path, F_OK) == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(secret); i++)
        secret[i] = rng_next(rng);
    scoped(arena) struct arena *a = arena_new();
    const char *text = arena_printf(
        a,
        "{\"kind\":\"EncryptionConfiguration\",\"apiVersion\":\"apiserver.config.k8s.io/v1\","
        "\"resources\":[{\"resources\":[\"secrets\"],\"providers\":[{\"secretbox\":{\"keys\":["
        "{\"name\":\"secretboxkey\",\"secret\":\"%s\"}]}},{\"identity\":{}}]}]}\n",
        base64_encode((struct bytes){ (const char *)secret, sizeof(secret) }, a));
    if (files_make_parents(path, 0700, err) < 0)
        return -1;
    return files_write_durably(path, bytes_of(text), 0600, err);
}

/* ---- which rule ---- */

/* "secrets", "deployments.apps", "*.apps", "*." for the core group, "*.*" */
static bool covers(const char *pattern, const struct resource *r)
{
    const char *name = r->plural;
    size_t len = strlen(name);
    const char *group = r->group;
    if (pattern[0] == '*' && pattern[1] == '.')
        return str_equal(pattern + 2, "*") || str_equal(pattern + 2, group);
    if (strncmp(pattern, name, len) != 0)
        return false;
    return pattern[len] == '\0' ? str_empty(group)
                                : pattern[len] == '.' && str_equal(pattern + len + 1, group);
}

static const struct encryption_rule *rule_of(const struct encryption *e, const struct resource *r)
{
    for (size_t i = 0; e && i < e->config.rules_n; i++) {
        const struct encryption_rule *rule = &e->config.rules[i];
        for (size_t k = 0; k < rule->resources_n; k++)
            if (covers(rule->resources[k], r->storage ? r->storage : r))
                return rule;
    }
    return NULL;
}

static const struct encryption_key *write_key(const struct encryption_rule *rule)
{
    return rule && rule->providers[0].keys_n ? &rule->providers[0].keys[0] : NULL;
}

bool encryption_is_stale(const struct encryption *e, const struct resource *r, uint64_t sealed_by)
{
    const struct encryption_key *k = write_key(rule_of(e, r));
    return sealed_by != (k ? k->id : 0);
}

/* ---- the providers ---- */

static struct bytes secret_of(const struct encryption_key *k)
{
    return (struct bytes){ (const char *)k->secret, k->secret_len };
}

static const uint8_t *add_random(struct buffer *out, size_t n)
{
    buffer_reserve(out, n);
    uint8_t *to = (uint8_t *)out->data + out->len;
    randombytes_buf(to, n);
    out->len += n;
    return to;
}

static void secretbox_seal(const struct encryption_key *k, struct bytes text, struct buffer *out)
{
    uint8_t nonce[crypto_secretbox_NONCEBYTES];
    memcpy(nonce, add_random(out, sizeof(nonce)), sizeof(nonce));
    size_t sealed_len = crypto_secretbox_MACBYTES + text.len;
    buffer_reserve(out, sealed_len);
    crypto_secretbox_easy((uint8_t *)out->data + out->len, (const uint8_t *)text.data, text.len,
                          nonce, k->secret);
    out->len += sealed_len;
}

static int secretbox_open(const struct encryption_key *k, struct bytes sealed, struct buffer *out,
                          struct error *err)
{
    if (sealed.len < crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
        return error_set(err, ERR_INTERNAL, "the stored data was shorter than the required size");
    const uint8_t *nonce = (const uint8_t *)sealed.data;
    const uint8_t *box = nonce + crypto_secretbox_NONCEBYTES;
    size_t box_len = sealed.len - crypto_secretbox_NONCEBYTES;
    buffer_reserve(out, box_len);
    if (crypto_secretbox_open_easy((uint8_t *)out->data + out->len, box, box_len, nonce,
                                   k->secret) != 0)
        return error_set(err, ERR_INTERNAL, "secretbox: message authentication failed");
    out->len += box_len - crypto_secretbox_MACBYTES;
    return 0;
}

static int seal(enum encryption_provider_type type, const struct encryption_key *k,
                struct bytes context, struct bytes text, struct buffer *out, struct error *err)
{
    uint8_t iv[AES_BLOCK_BYTES];
    buffer_add_str(out, k->prefix);
    switch (type) {
    case PROVIDER_AESCBC:
        memcpy(iv, add_random(out, AES_BLOCK_BYTES), AES_BLOCK_BYTES);
        return crypto_aes_cbc_encrypt(secret_of(k), iv, text, out, err);
    case PROVIDER_AESGCM:
        memcpy(iv, add_random(out, AES_GCM_NONCE_BYTES), AES_GCM_NONCE_BYTES);
        return crypto_aes_gcm_seal(secret_of(k), iv, context, text, out, err);
    default:
        secretbox_seal(k, text, out);
        return 0;
    }
}

static int open_sealed(enum encryption_provider_type type, const struct encryption_key *k,
                       struct bytes context, struct bytes sealed, struct buffer *out,
                       struct error *err)
{
    if (type == PROVIDER_SECRETBOX)
        return secretbox_open(k, sealed, out, err);
    size_t iv_len = type == PROVIDER_AESCBC ? AES_BLOCK_BYTES : AES_GCM_NONCE_BYTES;
    const uint8_t *iv = (const uint8_t *)sealed.data;
    if (sealed.len < iv_len)
        return error_set(err, ERR_INTERNAL, "the stored data was shorter than the required size");
    struct bytes text = { sealed.data + iv_len, sealed.len - iv_len };
    return type == PROVIDER_AESCBC ? crypto_aes_cbc_decrypt(secret_of(k), iv, text, out, err)
                                   : crypto_aes_gcm_open(secret_of(k), iv, context, text, out, err);
}

/* ---- the whole ---- */

int encryption_seal(const struct encryption *e, const struct resource *r, struct bytes key,
                    struct bytes text, struct buffer *out, uint64_t *sealed_by, struct error *err)
{
    const struct encryption_rule *rule = rule_of(e, r);
    const struct encryption_key *k = write_key(rule);
    *sealed_by = k ? k->id : 0;
    if (!k)
        return 0;
    return seal(rule->providers[0].type, k, key, text, out, err) < 0 ? -1 : 1;
}

/* The provider and key of RULE that sealed STORED. */
static const struct encryption_key *find_key(const struct encryption_rule *rule,
                                             struct bytes stored,
                                             enum encryption_provider_type *type)
{
    for (size_t i = 0; i < rule->providers_n; i++) {
        const struct encryption_provider *p = &rule->providers[i];
        for (size_t j = 0; j < p->keys_n; j++) {
            if (!bytes_has_prefix(stored, bytes_of(p->keys[j].prefix)))
                continue;
            *type = p->type;
            return &p->keys[j];
        }
    }
    return NULL;
}

static bool reads_plain(const struct encryption_rule *rule)
{
    for (size_t i = 0; rule && i < rule->providers_n; i++)
        if (rule->providers[i].type == PROVIDER_IDENTITY)
            return true;
    return !rule;
}

int encryption_open(const struct encryption *e, const struct resource *r, struct bytes key,
                    struct bytes stored, struct buffer *out, uint64_t *sealed_by, struct error *err)
{
    const struct encryption_rule *rule = rule_of(e, r);
    bool is_sealed = bytes_has_prefix(stored, SEALED_PREFIX);
    *sealed_by = 0;
    if (!is_sealed && reads_plain(rule))
        return 0;
    if (!rule)
        return error_set(err, ERR_INTERNAL, "identity transformer tried to read encrypted data");
    enum encryption_provider_type type = PROVIDER_IDENTITY;
    const struct encryption_key *k = find_key(rule, stored, &type);
    if (!k)
        return error_set(err, ERR_INTERNAL, "no matching prefix found");
    *sealed_by = k->id;
    size_t prefix_len = strlen(k->prefix);
    struct bytes rest = { stored.data + prefix_len, stored.len - prefix_len };
    return open_sealed(type, k, key, rest, out, err) < 0 ? -1 : 1;
}
