/* SPDX-License-Identifier: Apache-2.0 */
/* crypto_internal.h - what crypto.c and jwt.c share. */
#pragma once

#include <openssl/evp.h>

#include "base/crypto.h"

EVP_PKEY *crypto_read_key(struct bytes pem); /* NULL: not a private key */
/* Fills ERR with OpenSSL's reason and empties its queue; returns -1. */
int crypto_error(struct error *err, enum error_code code, const char *what);

/* For a key that is sealed with a password: without it OpenSSL would ask for one on the terminal.
 */
#define PEM_NO_PASSWORD ((void *)"")
