/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.h - the table of values that are too large for a row of "latest".
 *
 * A value lies under the revision that wrote it, cut into pieces so that they fill the table's
 * pages one after the other.  It is written once, never moved, and deleted with its version.
 *
 *     page    | 7.0.0 ........... 7.0.1 ... 9.0.0 ....... |     revision, sub, piece
 *     page    | 9.0.1 ..... 9.2.0 ................ 12.0.0 |
 *
 * Threads: as lmdb_env.h.
 */
#pragma once

#include "storage/mvcc_internal.h"

/* Is this where the value of R belongs? */
bool values_take(const struct record *r);

/* Append: R comes after all that are there.  Insert: it may not, and may be there already. */
must_check int values_append(struct lmdb_txn *t, const struct record *r, struct error *err);
must_check int values_insert(struct lmdb_txn *t, const struct record *r, struct error *err);
must_check int values_delete(struct lmdb_txn *t, int64_t revision, uint32_t sub,
                             struct error *err); /* none there is fine */

/* Fetches the value of R, which was read from a row, if it lies here.  ERR_IO: it is not there as
 * it was written.  *C is opened by the first fetch, serves the next ones (values written one after
 * the other lie in the same pages), and is the caller's to close. */
must_check int values_fetch(struct lmdb_txn *t, struct lmdb_cursor **c, struct record *r,
                            struct arena *arena, struct error *err);

/* The history key of the last version that has a value here: 1, 0: there is none, -1. */
must_check int values_last(struct lmdb_txn *t, char out[HISTORY_KEY_BYTES], struct error *err);
