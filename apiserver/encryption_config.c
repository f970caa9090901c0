/* SPDX-License-Identifier: Apache-2.0 */
/* encryption_config.c - reading and checking an EncryptionConfiguration. */
#include "apiserver/encryption_config.h"

#include <ctype.h>

#include "base/crypto.h"
#include "base/yaml.h"

struct provider_kind {
    const char *field;
    size_t secret_lens[3]; /* that a key may have; ends with 0 */
    const char *lens_text; /* as Go prints them */
};

static const struct provider_kind kinds[PROVIDER_TYPES] = {
    [PROVIDER_IDENTITY] = { "identity", { 0 }, "" },
    [PROVIDER_AESCBC] = { "aescbc", { 16, 24, 32 }, "[16 24 32]" },
    [PROVIDER_AESGCM] = { "aesgcm", { 16, 24, 32 }, "[16 24 32]" },
    [PROVIDER_SECRETBOX] = { "secretbox", { 32 }, "[32]" },
};

static int bad(struct error *err, const char *path, const char *what)
{
    return error_set(err, ERR_BAD_REQUEST, "%s: %s", path, what);
}

static size_t items_in(const struct json *list)
{
    return list && list->type == JSON_ARRAY ? list->len : 0;
}

static bool has(const struct json *v, const char *field)
{
    const struct json *set = json_get(v, field);
    return set && set->type != JSON_NULL;
}

/* ---- keys ---- */

static bool is_length_of(const struct provider_kind *kind, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(kind->secret_lens); i++)
        if (len > 0 && kind->secret_lens[i] == len)
            return true;
    return false;
}

static uint64_t key_id(const struct encryption_key *k, struct arena *a)
{
    uint8_t sum[SHA256_BYTES];
    uint64_t id;
    size_t prefix_len = strlen(k->prefix);
    char *all = arena_alloc(a, prefix_len + k->secret_len);
    memcpy(all, k->prefix, prefix_len);
    memcpy(all + prefix_len, k->secret, k->secret_len);
    crypto_sha256((struct bytes){ all, prefix_len + k->secret_len }, sum);
    memcpy(&id, sum, sizeof(id));
    return id | 1;
}

static int parse_key(const struct json *v, const struct provider_kind *kind, const char *path,
                     struct arena *a, struct encryption_key *out, struct error *err)
{
    const char *name = json_str(v, "name", "");
    const char *text = json_str(v, "secret", "");
    struct bytes secret;
    if (str_empty(name))
        return bad(err, arena_printf(a, "%s.name", path),
                   "Required value: name is a mandatory field for a key");
    if (str_empty(text))
        return bad(err, arena_printf(a, "%s.secret", path),
                   "Required value: secret is a mandatory field for a key");
    if (base64_decode(bytes_of(text), a, &secret) < 0)
        return bad(err, arena_printf(a, "%s.secret", path),
                   "Invalid value: \"REDACTED\": secrets must be base64 encoded");
    if (!is_length_of(kind, secret.len))
        return error_set(err, ERR_BAD_REQUEST,
                         "%s.secret: Invalid value: \"REDACTED\": secret is not of the expected "
                         "length, got %zu, expected one of %s",
                         path, secret.len, kind->lens_text);
    out->prefix = arena_printf(a, "k8s:enc:%s:v1:%s:", kind->field, name);
    memcpy(out->secret, secret.data, secret.len);
    out->secret_len = secret.len;
    out->id = key_id(out, a);
    return 0;
}

static int parse_keys(const struct json *keys, const struct provider_kind *kind, const char *path,
                      struct arena *a, struct encryption_provider *out, struct error *err)
{
    size_t n = items_in(keys);
    if (n == 0)
        return bad(err, arena_printf(a, "%s.keys", path),
                   "Required value: at least one keys is required");
    if (n > ENCRYPTION_KEYS_MAX)
        return error_set(err, ERR_BAD_REQUEST, "%s.keys: Too many: %zu: must have at most %d items",
                         path, n, ENCRYPTION_KEYS_MAX);
    out->keys = arena_zalloc(a, n * sizeof(*out->keys));
    json_each_item (keys, item) {
        const char *at = arena_printf(a, "%s.keys[%zu]", path, out->keys_n);
        if (parse_key(item, kind, at, a, &out->keys[out->keys_n++], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- providers ---- */

static int parse_provider(const struct json *v, const char *path, struct arena *a,
                          struct encryption_provider *out, struct error *err)
{
    size_t named = 0;
    for (size_t i = 0; i < PROVIDER_TYPES; i++) {
        if (!has(v, kinds[i].field))
            continue;
        out->type = (enum encryption_provider_type)i;
        named++;
    }
    if (has(v, "kms"))
        return bad(err, arena_printf(a, "%s.kms", path),
                   "Forbidden: key management services are not supported; use secretbox, aesgcm, "
                   "aescbc or identity");
    if (named == 0)
        return bad(err, path,
                   "Invalid value: provider does not contain any of the expected providers: KMS, "
                   "AESGCM, AESCBC, Secretbox, Identity");
    if (named > 1)
        return bad(err, path,
                   "Invalid value: more than one provider specified in a single element, should "
                   "split into different list elements");
    if (out->type == PROVIDER_IDENTITY)
        return 0;
    const struct provider_kind *kind = &kinds[out->type];
    const struct json *keys = json_get(json_get(v, kind->field), "keys");
    return parse_keys(keys, kind, arena_printf(a, "%s.%s", path, kind->field), a, out, err);
}

static int parse_providers(const struct json *list, const char *path, struct arena *a,
                           struct encryption_rule *out, struct error *err)
{
    size_t n = items_in(list);
    if (n == 0)
        return error_set(err, ERR_BAD_REQUEST, "%s: Required value: at least one %s is required",
                         path, path);
    if (n > ENCRYPTION_KEYS_MAX)
        return error_set(err, ERR_BAD_REQUEST, "%s: Too many: %zu: must have at most %d items",
                         path, n, ENCRYPTION_KEYS_MAX);
    out->providers = arena_zalloc(a, n * sizeof(*out->providers));
    json_each_item (list, item) {
        const char *at = arena_printf(a, "%s[%zu]", path, out->providers_n);
        if (parse_provider(item, at, a, &out->providers[out->providers_n++], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- resources ---- */

static const char *resource_fault(const char *name)
{
    for (const char *c = name; *c; c++)
        if (isupper((unsigned char)*c))
            return "resource name should not contain capital letters";
    if (str_empty(name))
        return "resource name should not be empty";
    if (str_equal(name, "*"))
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all "
               "resources";
    if (str_equal(name, "*.events.k8s.io") || str_equal(name, "events.events.k8s.io"))
        return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use "
               "'events' instead in the config file";
    if (str_equal(name, "*.extensions") || str_has_suffix(name, ".extensions"))
        return "'extensions' group has been removed and cannot be used for encryption";
    return NULL;
}

static bool has_name(const struct encryption_rule *rule, const char *name)
{
    for (size_t i = 0; i < rule->resources_n; i++)
        if (str_equal(rule->resources[i], name))
            return true;
    return false;
}

/* "secrets" and "*." in one list: which one is meant? */
static bool overlaps(const struct encryption_rule *rule, const char *name, struct arena *a)
{
    const char *dot = strchr(name, '.');
    const char *all_of_group = arena_printf(a, "*.%s", dot ? dot + 1 : "");
    return (has_name(rule, "*.*") && !str_equal(name, "*.*")) ||
           (*name != '*' && has_name(rule, all_of_group));
}

static int parse_resources(const struct json *list, const char *path, struct arena *a,
                           struct encryption_rule *out, struct error *err)
{
    size_t n = items_in(list);
    if (n == 0)
        return error_set(err, ERR_BAD_REQUEST, "%s: Required value: at least one %s is required",
                         path, path);
    out->resources = arena_alloc(a, n * sizeof(*out->resources));
    json_each_item (list, item) {
        const char *name = item->type == JSON_STRING ? item->string : "";
        const char *fault = resource_fault(name);
        if (!fault && has_name(out, name))
            fault = "resource name should not be repeated";
        if (fault)
            return error_set(err, ERR_BAD_REQUEST, "%s[%zu]: Invalid value: \"%s\": %s", path,
                             out->resources_n, name, fault);
        out->resources[out->resources_n++] = name;
    }
    for (size_t i = 0; i < n; i++)
        if (overlaps(out, out->resources[i], a))
            return error_set(err, ERR_BAD_REQUEST,
                             "%s[%zu]: Invalid value: \"%s\": using overlapping resources such as "
                             "'secrets' and '*.' in the same resource list is not allowed as they "
                             "will be masked",
                             path, i, out->resources[i]);
    return 0;
}

/* ---- the whole ---- */

static int check_type(const struct json *doc, struct error *err)
{
    const char *version = json_str(doc, "apiVersion", "");
    const char *kind = json_str(doc, "kind", "");
    /* EncryptionConfig of v1 is what it was called before Kubernetes 1.13. */
    bool is_known = (str_equal(version, "apiserver.config.k8s.io/v1") &&
                     str_equal(kind, "EncryptionConfiguration")) ||
                    (str_equal(version, "v1") && str_equal(kind, "EncryptionConfig"));
    if (is_known)
        return 0;
    return error_set(err, ERR_BAD_REQUEST,
                     "no kind \"%s\" is registered for version \"%s\": an EncryptionConfiguration "
                     "of apiserver.config.k8s.io/v1 is expected",
                     kind, version);
}

int encryption_config_parse(struct bytes text, struct arena *a, struct encryption_config *out,
                            struct error *err)
{
    struct json *doc = NULL;
    int rc = yaml_next(&text, a, &doc, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || !doc)
        return error_set(err, ERR_BAD_REQUEST, "EncryptionConfiguration can't be nil");
    if (check_type(doc, err) < 0)
        return -1;
    const struct json *list = json_get(doc, "resources");
    size_t n = items_in(list);
    if (n == 0)
        return bad(err, "resources", "Required value: at least one resources is required");
    *out = (struct encryption_config){ .rules = arena_zalloc(a, n * sizeof(*out->rules)) };
    json_each_item (list, item) {
        struct encryption_rule *rule = &out->rules[out->rules_n];
        const char *at = arena_printf(a, "resources[%zu]", out->rules_n++);
        if (parse_resources(json_get(item, "resources"), arena_printf(a, "%s.resources", at), a,
                            rule, err) < 0 ||
            parse_providers(json_get(item, "providers"), arena_printf(a, "%s.providers", at), a,
                            rule, err) < 0)
            return -1;
    }
    return 0;
}
