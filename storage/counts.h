/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counts.h - how many keys there are between two, without a look at each of them.
 *
 * A table beside "latest" divides its keys into runs of some hundred, and has a row for each run:
 * where it begins, and how many of its keys are there (not deleted).  It changes in the same
 * transactions as "latest".
 *
 *     ""   -> 700      keys from the first on
 *     "k5" -> 512      keys from k5 on
 *     "q"  -> 930
 *
 * Threads: as lmdb_env.h.
 */
#pragma once

#include "storage/lmdb_env.h"

/* KEY has come (1) or gone (-1) in "latest". */
must_check int counts_change(struct lmdb_txn *t, struct bytes key, int change, struct error *err);
/* Keys of "latest" that are there, from KEY on and before END ("\0": to the last). */
must_check int counts_range(struct lmdb_txn *t, struct bytes key, struct bytes end, int64_t *out,
                            struct error *err);
/* Makes the table for a database that has none. */
must_check int counts_build(struct lmdb_txn *t, struct error *err);
