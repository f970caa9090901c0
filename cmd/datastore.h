/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datastore.h - which store a server uses, as its flags say, and the token that goes with a shared
 * one.
 */
#pragma once

#include "base/arena.h"
#include "cmd/config.h"
#include "storage/storage.h"

/* Waits up to a minute for an etcd cluster to answer. */
struct storage *datastore_open(const struct config *c, struct arena *arena, struct error *err);

/* --token, --token-file, or what an earlier start has left in the data folder; *IS_NEW: none of
 * them, so it was made now. */
must_check int datastore_token(const struct config *c, struct arena *arena, struct bytes *token,
                               bool *is_new, struct error *err);
/* Leaves it there, mode 0600; takes it away. */
must_check int datastore_keep_token(const struct config *c, struct bytes token, struct error *err);
void datastore_forget_token(const struct config *c);
