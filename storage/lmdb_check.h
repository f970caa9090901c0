/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_check.h - whether a database file is whole, told without LMDB.
 *
 * LMDB keeps no checksums and trusts its pages: one changed byte in them may hide keys, or crash.
 * So before it gets the file, all of it is walked here: every page, in its place, once, in order;
 * no page both in use and free; and the sum over all rows is the one that was written with them.
 *
 *     sum of the file = sum of lmdb_row_sum(row), kept by lmdb_env.c in the same transactions
 *
 * Threads: any; nobody may be writing to the file.  It uses some of its own.
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

/* The row that holds the sum, and is not part of it. */
#define LMDB_SUM_TABLE "meta"
#define LMDB_SUM_KEY   BYTES("sum")

uint64_t lmdb_row_sum(const char *table, struct bytes key, struct bytes value);

struct lmdb_check {
    bool is_new;  /* there is no file yet */
    bool has_sum; /* false: made by a version that kept none */
    uint64_t sum;
};
/* ERR_IO: it is corrupt, and how. */
must_check int lmdb_check_file(const char *path, struct lmdb_check *out, struct error *err);
