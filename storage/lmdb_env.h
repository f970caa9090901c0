/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_env.h - the database file: ordered tables, snapshots for readers, one writer.
 *
 * A commit is durable when it returns and leaves the file whole at any instant, with the sum over
 * all rows that the check at the next start compares.  Bytes that are
 * read are borrowed from the map until the transaction ends.
 *
 * Threads: reading transactions any; one writing transaction at a time, on one thread.
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

enum lmdb_table {
    TABLE_META,    /* what the file is, and how far it has got */
    TABLE_LATEST,  /* key -> bare record, its newest version (a deletion until it is compacted) */
    TABLE_HISTORY, /* revision, sub -> record with key */
    TABLE_LEASES,  /* id -> time to live */
    TABLE_LEASE_KEYS, /* id, key -> nothing */
    TABLE_COUNTS,     /* where a run of keys begins -> how many of them are there */
    TABLE_VALUES,     /* revision, sub, piece -> a piece of a large value */
    TABLES,
};

#define LMDB_KEY_BYTES_MAX 511 /* what distributions build it with */
/* Key and value of a row that lies in its table's pages, however small: two of them fill one.  The
 * value of a larger row gets pages of its own. */
#define LMDB_ROW_BYTES_MAX 2030

struct lmdb_env;
struct lmdb_txn;
struct lmdb_cursor;

/* A page that the disk cannot read is ERR_IO of who reads it, and others go on (see mapped.h).
 *
 * Checks the whole file before it trusts any of it.  DIR is this process's alone.  ERR_IO: corrupt.
 */
struct lmdb_env *lmdb_env_open(const char *dir, size_t map_bytes, struct error *err);
struct lmdb_env *lmdb_env_ref(struct lmdb_env *e);
void lmdb_env_unref(struct lmdb_env *e); /* the last one closes it; NULL is fine */

/* Puts a copy without free pages in the place of the file, in one step, and opens it.  E goes on
 * reading the old one until its last transaction has ended; nothing may be written to it any more.
 * After a failure E is as it was.  On the thread that writes. */
struct lmdb_env *lmdb_env_compact(struct lmdb_env *e, struct error *err);

/* Bytes of the file, and of the pages in it that hold something. */
must_check int lmdb_env_size(struct lmdb_env *e, size_t *size_bytes, size_t *in_use_bytes,
                             struct error *err);

/* After the disk refused the last step of a commit LMDB begins no transaction any more, and where
 * it cannot read, none that writes, or none at all.  The same file is opened anew, once the disk
 * can read where it could not; E's readers go on, and until the last has ended nothing can be
 * written.
 */
bool lmdb_env_is_dead(struct lmdb_env *e);
struct lmdb_env *lmdb_env_revive(struct lmdb_env *e, struct error *err);

/* Takes a large file's pages out of this process's memory.  They stay in the kernel's cache, from
 * where they come back as they are read, and which is the kernel's to shrink. */
void lmdb_env_release(struct lmdb_env *e);

struct lmdb_txn *lmdb_read_begin(struct lmdb_env *e, struct error *err);
void lmdb_read_end(struct lmdb_txn *t); /* NULL is fine */
/* Must be asked before anything is believed that was read in borrowed bytes: ERR_IO if the disk
 * could not read some of them, which then were zeros.  A commit asks for itself. */
must_check int lmdb_read_check(const struct lmdb_txn *t, struct error *err);
struct lmdb_env *lmdb_txn_env(const struct lmdb_txn *t);
/* Read transactions may rest between uses, which costs next to nothing and pins no page. */
void lmdb_read_rest(struct lmdb_txn *t);
must_check int lmdb_read_renew(struct lmdb_txn *t, struct error *err);

struct lmdb_txn *lmdb_write_begin(struct lmdb_env *e, struct error *err);
/* ERR_NO_SPACE when the map or the disk is full, ERR_IO otherwise.  Ends the transaction either
 * way. */
must_check int lmdb_write_commit(struct lmdb_txn *t, struct error *err);
void lmdb_write_abort(struct lmdb_txn *t);

/* 1: found; 0: not; -1. */
must_check int lmdb_get(struct lmdb_txn *t, enum lmdb_table table, struct bytes key,
                        struct bytes *value, struct error *err);
must_check int lmdb_put(struct lmdb_txn *t, enum lmdb_table table, struct bytes key,
                        struct bytes value, struct error *err);
must_check int lmdb_delete(struct lmdb_txn *t, enum lmdb_table table, struct bytes key,
                           struct error *err); /* none there is fine */

/* A row whose key comes after all in TABLE: its pages are filled one after the other. */
must_check int lmdb_append(struct lmdb_txn *t, enum lmdb_table table, struct bytes key,
                           struct bytes value, struct error *err);
/* Bytes that the next row appended may have in key and value to fill the page of the last one.  0:
 * that is not known. */
size_t lmdb_append_room(const struct lmdb_txn *t, enum lmdb_table table);

struct lmdb_cursor *lmdb_cursor_open(struct lmdb_txn *t, enum lmdb_table table, struct error *err);
void lmdb_cursor_close(struct lmdb_cursor *c); /* before its transaction ends; NULL is fine */
/* 1: *KEY and *VALUE are set; 0: past the end; -1. */
must_check int lmdb_cursor_seek(struct lmdb_cursor *c, struct bytes from, struct bytes *key,
                                struct bytes *value, struct error *err);
must_check int lmdb_cursor_last(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                                struct error *err);
must_check int lmdb_cursor_previous(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                                    struct error *err);
must_check int lmdb_cursor_next(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                                struct error *err);
/* Deletes the row it stands at; the next one is that after it. */
must_check int lmdb_cursor_delete(struct lmdb_cursor *c, struct error *err);
