/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latest.h - the table of newest versions, in the order of keys of any length.
 *
 * LMDB's own keys end at 511 bytes.  A key that is longer than KEY_IN_ROW_BYTES_MAX lies whole in
 * its record, and its row is named by its first bytes and a label:
 *
 *     row "/registry/pods/a"             bare record
 *     row PREFIX . label 1 << 63         record with key PREFIX/first...
 *     row PREFIX . label (1 << 63) + 9   record with key PREFIX/second...
 *
 * Labels of one prefix are in the order of the keys, so the table is in the order of all keys.
 *
 * Threads: as lmdb_env.h.
 */
#pragma once

#include "storage/lmdb_env.h"
#include "storage/record.h"

#define ROW_LABEL_BYTES      8
#define ROW_PREFIX_BYTES     (LMDB_KEY_BYTES_MAX - ROW_LABEL_BYTES)
#define KEY_IN_ROW_BYTES_MAX (ROW_PREFIX_BYTES - 1)

/* 1: KEY's record, verified; 0: there is none; -1. */
must_check int latest_get(struct lmdb_txn *t, struct bytes key, struct record *out,
                          struct error *err);
must_check int latest_put(struct lmdb_txn *t, const struct record *r, struct error *err);
must_check int latest_delete(struct lmdb_txn *t, struct bytes key, struct error *err);

/* A cursor on TABLE_LATEST that gives whole keys: the first that is not before FROM, and the next.
 * 1, 0 at the end, -1. */
must_check int latest_seek(struct lmdb_cursor *c, struct bytes from, struct bytes *key,
                           struct bytes *data, struct error *err);
must_check int latest_next(struct lmdb_cursor *c, struct bytes *key, struct bytes *data,
                           struct error *err);
