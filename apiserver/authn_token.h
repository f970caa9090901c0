/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authn_token.h - the tokens of service accounts: what signing and judging share.
 */
#pragma once

#include "apiserver/authn.h"

struct tokens;

#define TOKEN_CACHE_ENTRIES_MAX 1024 /* verified tokens; the oldest goes first */
#define TOKEN_BYTES_MAX         (16 * 1024)

const struct jwt_key *token_key(const struct apiserver *a);

/* Documents for verifiers outside: JSON in ARENA. */
must_check int token_jwks(const struct apiserver *a, struct arena *arena, struct bytes *out,
                          struct error *err);
must_check int token_openid_configuration(const struct apiserver *a, struct arena *arena,
                                          struct bytes *out, struct error *err);
