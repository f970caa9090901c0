/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encryption.h - secrets at rest: the stored text of chosen resources is sealed.
 *
 *     k8s:enc:secretbox:v1:KEYNAME:<nonce><ciphertext>
 *
 * The format is upstream's, provider by provider (apiserver/pkg/storage/value/encrypt), so that
 * either can read what the other wrote under the same key of the store.  Who rotates keys puts the
 * new one first and writes every object again: a write that changes nothing but the key is done.
 *
 * Threads: any; nothing here changes after it was made.
 */
#pragma once

#include "api/resource.h"
#include "base/bytes.h"
#include "base/clock.h"

struct encryption;

/* PATH is an EncryptionConfiguration. */
struct encryption *encryption_new(const char *path, struct error *err);
void encryption_free(struct encryption *e);
DEFINE_SCOPED(encryption, struct encryption *, encryption_free)
/* Makes the configuration that a cluster starts with, mode 0600, unless PATH exists: secretbox with
 * a new key for Secrets; what was stored before it can be read. */
must_check int encryption_make_config(const char *path, struct rng *rng, struct error *err);

/* What R's object under KEY of the store is written as.  1: OUT has it, and *SEALED_BY the id of
 * the key; 0: TEXT is stored as it is, and *SEALED_BY is 0.  E may be NULL: nothing is sealed. */
must_check int encryption_seal(const struct encryption *e, const struct resource *r,
                               struct bytes key, struct bytes text, struct buffer *out,
                               uint64_t *sealed_by, struct error *err);
/* The way back.  ERR_INTERNAL when no provider has the key, or the bytes are not what it sealed. */
must_check int encryption_open(const struct encryption *e, const struct resource *r,
                               struct bytes key, struct bytes stored, struct buffer *out,
                               uint64_t *sealed_by, struct error *err);
/* The next write of such an object would use another key. */
bool encryption_is_stale(const struct encryption *e, const struct resource *r, uint64_t sealed_by);
