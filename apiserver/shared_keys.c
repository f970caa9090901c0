/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_keys.c - the keys that all servers of a cluster have in common, kept in its store.
 *
 *     /bootstrap/<hash of the token>  ->  coracle-bootstrap:v1:<base64 of salt, nonce, sealed JSON>
 *
 * The first server makes them and puts them there if nobody has; the others take them from there.
 * They are sealed with a key made from the cluster's token, so that who can read the store alone
 * cannot sign for the cluster.
 */
#include <unistd.h>

#include "apiserver/encryption.h"
#include "apiserver/pki.h"
#include "apiserver/server.h"
#include "base/files.h"
#include "base/log.h"

#define BUNDLE_PREFIX    "/bootstrap/"
#define BUNDLE_MARK      "coracle-bootstrap:v1:"
#define BUNDLE_BYTES_MAX (1 << 20)
#define FILE_BYTES_MAX   (64 * 1024)
#define SALT_BYTES       16
#define STRETCH_ROUNDS   100000
#define TOKEN_HASH_CHARS 12

/* Below the data folder. */
static const struct shared_file {
    const char *name;
    mode_t mode;
} shared_files[] = {
    { "server/tls/server-ca.crt", 0644 },         { "server/tls/server-ca.key", 0600 },
    { "server/tls/client-ca.crt", 0644 },         { "server/tls/client-ca.key", 0600 },
    { "server/tls/request-header-ca.crt", 0644 }, { "server/tls/request-header-ca.key", 0600 },
    { "server/tls/service.key", 0600 },           { "server/cred/encryption-config.json", 0600 },
};

struct sharing {
    const struct apiserver_config *config;
    struct bytes token;
    struct arena *arena;
    const char *key; /* in the store */
};

/* ---- sealing ---- */

static void fill_random(uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)rng_next(system_rng);
}

static const char *bundle_key(struct bytes token, struct arena *a)
{
    uint8_t hash[SHA256_BYTES];
    char hex[TOKEN_HASH_CHARS + 1];
    crypto_sha256(token, hash);
    for (size_t i = 0; i < TOKEN_HASH_CHARS / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    return arena_printf(a, BUNDLE_PREFIX "%s", hex);
}

static struct bytes sealing_key(const struct sharing *s, const uint8_t salt[SALT_BYTES])
{
    uint8_t key[SHA256_BYTES];
    crypto_stretch(s->token, (struct bytes){ (const char *)salt, SALT_BYTES }, STRETCH_ROUNDS, key);
    return arena_bytes(s->arena, (struct bytes){ (const char *)key, sizeof(key) });
}

static int seal(const struct sharing *s, struct bytes plain, struct bytes *out, struct error *err)
{
    uint8_t head[SALT_BYTES + AES_GCM_NONCE_BYTES];
    scoped(buffer) struct buffer sealed = { 0 };
    fill_random(head, sizeof(head));
    buffer_add(&sealed, head, sizeof(head));
    if (crypto_aes_gcm_seal(sealing_key(s, head), head + SALT_BYTES, bytes_of(s->key), plain,
                            &sealed, err) < 0)
        return -1;
    *out = bytes_of(
        arena_printf(s->arena, BUNDLE_MARK "%s", base64_encode(buffer_bytes(&sealed), s->arena)));
    return 0;
}

static int unseal(const struct sharing *s, struct bytes stored, struct bytes *out,
                  struct error *err)
{
    struct bytes mark = BYTES(BUNDLE_MARK), sealed;
    scoped(buffer) struct buffer plain = { 0 };
    struct error refused = { 0 };
    if (!bytes_has_prefix(stored, mark))
        return error_set(err, ERR_INVALID, "%s in the datastore was not written by coracle",
                         s->key);
    struct bytes text = { stored.data + mark.len, stored.len - mark.len };
    size_t head = SALT_BYTES + AES_GCM_NONCE_BYTES;
    if (base64_decode(text, s->arena, &sealed) < 0 || sealed.len <= head)
        return error_set(err, ERR_INVALID, "%s in the datastore is damaged", s->key);
    const uint8_t *salt = (const uint8_t *)sealed.data;
    struct bytes body = { sealed.data + head, sealed.len - head };
    if (crypto_aes_gcm_open(sealing_key(s, salt), salt + SALT_BYTES, bytes_of(s->key), body, &plain,
                            &refused) < 0)
        return error_set(err, ERR_INVALID, "%s in the datastore is damaged: %s", s->key,
                         refused.message);
    *out = arena_bytes(s->arena, buffer_bytes(&plain));
    return 0;
}

/* ---- files ---- */

/* 1: read, 0: there is none. */
static int read_file(const struct sharing *s, const char *dir, const char *name, struct bytes *out,
                     struct error *err)
{
    struct error missing = { 0 };
    if (files_read(arena_printf(s->arena, "%s/%s", dir, name), FILE_BYTES_MAX, s->arena, out,
                   &missing) == 0)
        return 1;
    if (missing.code == ERR_NOT_FOUND)
        return 0;
    *err = missing;
    return -1;
}

static int collect(const struct sharing *s, const char *dir, struct bytes *out, struct error *err)
{
    struct json *doc = json_new(s->arena, JSON_OBJECT);
    for (size_t i = 0; i < ARRAY_LEN(shared_files); i++) {
        struct bytes text;
        int rc = read_file(s, dir, shared_files[i].name, &text, err);
        if (rc < 0)
            return -1;
        if (rc > 0)
            json_set(s->arena, doc, shared_files[i].name,
                     json_string_value(s->arena, arena_strndup(s->arena, text.data, text.len)));
    }
    struct buffer b = { 0 };
    json_print(doc, &b);
    *out = arena_bytes(s->arena, buffer_bytes(&b));
    buffer_free(&b);
    return 0;
}

/* What is here already must be the cluster's: a server with keys of its own would be another one.
 */
static int install_file(const struct sharing *s, const struct shared_file *f,
                        const struct json *content, struct error *err)
{
    struct bytes here, wanted = { content->string, content->len };
    const char *dir = s->config->data_dir;
    int rc = read_file(s, dir, f->name, &here, err);
    if (rc < 0)
        return -1;
    if (rc > 0 && bytes_equal(here, wanted))
        return 0;
    if (rc > 0)
        return error_set(err, ERR_CONFLICT,
                         "%s/%s is not what the cluster in the datastore has: move it away to join "
                         "that cluster",
                         dir, f->name);
    const char *path = arena_printf(s->arena, "%s/%s", dir, f->name);
    if (files_make_parents(path, 0700, err) < 0)
        return -1;
    return files_write_durably(path, wanted, f->mode, err);
}

static int install(const struct sharing *s, struct bytes bundle, struct error *err)
{
    struct json *doc = json_parse(bundle, s->arena, NULL, err);
    if (!doc)
        return error_wrap(err, "%s in the datastore", s->key);
    for (size_t i = 0; i < ARRAY_LEN(shared_files); i++) {
        const struct json *content = json_get(doc, shared_files[i].name);
        if (json_is(content, JSON_STRING) && install_file(s, &shared_files[i], content, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the store ---- */

/* 1: STORED has the bundle; 0: this store has none yet. */
static int find_bundle(const struct sharing *s, struct bytes *stored, struct error *err)
{
    struct bytes prefix = BYTES(BUNDLE_PREFIX), end = BYTES("/bootstrap0");
    struct storage_range range = { .key = prefix, .end = end };
    struct storage_range_result found;
    if (storage_range(s->config->storage, &range, s->arena, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.n; i++) {
        if (bytes_equal_str(found.kvs[i].key, s->key)) {
            *stored = found.kvs[i].value;
            return 1;
        }
    }
    if (found.n > 0)
        return error_set(err, ERR_CONFLICT,
                         "the cluster in the datastore has another token: give that one with "
                         "--token or --token-file");
    return 0;
}

/* 1: ours is in the store now; 0: somebody was faster. */
static int put_bundle(const struct sharing *s, struct bytes bundle, struct error *err)
{
    struct bytes sealed;
    if (seal(s, bundle, &sealed, err) < 0)
        return -1;
    struct storage_compare none = { .key = BYTES(BUNDLE_PREFIX),
                                    .end = BYTES("/bootstrap0"),
                                    .target = STORAGE_COMPARE_VERSION,
                                    .result = STORAGE_EQUAL };
    struct storage_op put = { .type = STORAGE_PUT, .key = bytes_of(s->key), .value = sealed };
    struct storage_txn txn = {
        .compares = &none, .compares_n = 1, .success = &put, .success_n = 1
    };
    struct storage_txn_result result;
    if (storage_txn(s->config->storage, &txn, s->arena, &result, err) < 0)
        return -1;
    return result.succeeded;
}

/* Makes the keys in DIR. */
static int make_keys(const struct sharing *s, const char *dir, struct error *err)
{
    struct apiserver_config config = *s->config;
    config.data_dir = dir;
    scoped(pki) struct pki *pki = pki_open(&config, err);
    if (!pki)
        return -1;
    if (config.encryption_config)
        return 0;
    return encryption_make_config(
        arena_printf(s->arena, "%s/server/cred/encryption-config.json", dir), system_rng, err);
}

/* A server with a data folder of its own brings its keys along (its store was moved to etcd); any
 * other makes them aside, since it may turn out that others were faster. */
static int make_bundle(const struct sharing *s, struct bytes *bundle, struct error *err)
{
    struct bytes ignored;
    const char *dir = s->config->data_dir;
    int has_own = read_file(s, dir, "server/tls/server-ca.key", &ignored, err);
    if (has_own < 0)
        return -1;
    if (!has_own) {
        char *aside = arena_printf(s->arena, "%s/server/keys.XXXXXX", dir);
        if (files_make_parents(aside, 0700, err) < 0)
            return -1;
        if (!mkdtemp(aside))
            return error_errno(err, "make a folder in %s/server", dir);
        dir = aside;
    }
    int rc = make_keys(s, dir, err);
    if (rc == 0)
        rc = collect(s, dir, bundle, err);
    struct error left = { 0 };
    if (!has_own && files_remove_tree(dir, &left) < 0)
        log_warn("apiserver", "%s", left.message);
    return rc;
}

int apiserver_share_keys(const struct apiserver_config *config, struct bytes token,
                         struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct sharing s = { config, token, arena, bundle_key(token, arena) };
    struct bytes stored, bundle;
    int rc = find_bundle(&s, &stored, err);
    if (rc == 0) {
        if (make_bundle(&s, &bundle, err) < 0)
            return -1;
        rc = put_bundle(&s, bundle, err);
        if (rc == 1) {
            log_info("apiserver", "the cluster's keys are in the datastore now");
            return install(&s, bundle, err);
        }
        if (rc == 0)
            rc = find_bundle(&s, &stored, err);
        if (rc == 0)
            rc = error_set(err, ERR_CONFLICT, "the cluster's keys were removed from the datastore");
    }
    if (rc < 0 || unseal(&s, stored, &bundle, err) < 0)
        return -1;
    return install(&s, bundle, err);
}
