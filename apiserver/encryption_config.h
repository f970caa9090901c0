/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encryption_config.h - upstream's EncryptionConfiguration (apiserver.config.k8s.io/v1), read and
 * checked.  Source of the format: kubernetes.io "Encrypting Confidential Data at Rest".
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

#define ENCRYPTION_CONFIG_BYTES_MAX (1 << 20)
#define ENCRYPTION_KEYS_MAX         64 /* of one provider, and providers of one rule */
#define ENCRYPTION_KEY_BYTES        32

enum encryption_provider_type {
    PROVIDER_IDENTITY,
    PROVIDER_AESCBC,
    PROVIDER_AESGCM,
    PROVIDER_SECRETBOX,
    PROVIDER_TYPES,
};

struct encryption_key {
    const char *prefix; /* before what it sealed: "k8s:enc:aescbc:v1:NAME:" */
    uint8_t secret[ENCRYPTION_KEY_BYTES];
    size_t secret_len;
    uint64_t id; /* made from provider, name and secret; never 0 */
};

struct encryption_provider {
    enum encryption_provider_type type;
    struct encryption_key *keys; /* the first one seals; none for identity */
    size_t keys_n;
};

struct encryption_rule {
    const char **resources; /* "secrets", "deployments.apps", "*.apps", "*." or "*.*" */
    size_t resources_n;
    struct encryption_provider *providers; /* the first one seals, all open */
    size_t providers_n;
};

struct encryption_config {
    struct encryption_rule *rules; /* the first that names a resource is its rule */
    size_t rules_n;
};

/* TEXT is YAML or JSON.  ERR_BAD_REQUEST with the field's path and upstream's reason. */
must_check int encryption_config_parse(struct bytes text, struct arena *a,
                                       struct encryption_config *out, struct error *err);
