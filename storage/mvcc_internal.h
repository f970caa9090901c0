/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc_internal.h - what the files of the mvcc share. */
#pragma once

#include <pthread.h>

#include "storage/commit_log.h"
#include "storage/lmdb_env.h"
#include "storage/mvcc.h"

#define VIEWS_POOLED_MAX  64
#define HISTORY_KEY_BYTES 12

/* Row "state" of TABLE_META: how far the database has got.  Written with every flush and prune. */
struct database_state {
    uint32_t format;
    uint32_t salt;
    int64_t revision; /* all transactions up to it are in the tables */
    int64_t compacted;
    int64_t pruned; /* what compaction up to here made unreachable is gone */
    int64_t live_keys;
    uint64_t generation; /* of the commit log, as a whole in the tables */
    uint64_t seq;
    uint64_t has_alarm; /* not there in a row of the first version */
};

struct mvcc {
    struct lmdb_env *env; /* set under both locks; who holds neither takes a reference */
    struct commit_log *log;
    int lock_fd;
    size_t quota_bytes;
    bool keeps_alarm;

    _Atomic int64_t revision;
    _Atomic int64_t compacted;
    _Atomic int64_t live_keys; /* of what is staged; exact whenever no group is in the making */
    atomic_size_t in_use_bytes;
    atomic_bool is_full; /* the last write asked about had no space */
    atomic_bool has_alarm;

    struct buffer *group;               /* writer's */
    struct database_state frozen_state; /* to be written with the frozen index */
    struct database_state disk_state;   /* upkeep's; what TABLE_META holds */
    uint32_t salt;                      /* disk_state's, which never changes: any thread's */
    struct buffer prune_cursor;         /* upkeep's: history key where the next part starts */

    pthread_mutex_t write_lock; /* upkeep's while it writes; first in the order; guards this: */
    bool was_revival_refused;   /* the last time */
    pthread_mutex_t lock;       /* innermost; guards the rest */
    struct key_index *active;
    struct key_index *frozen; /* NULL: none */
    int64_t flushed;
    struct lmdb_txn *pool[VIEWS_POOLED_MAX];
    size_t pool_n;
};

enum { ACTIVE, FROZEN, INDEXES };

struct mvcc_view {
    struct mvcc *m;
    struct key_index *indexes[INDEXES]; /* newer first; FROZEN may be NULL */
    struct lmdb_txn *txn;
    struct lmdb_cursor *values; /* once a value that lies apart was fetched */
    int64_t revision;
    int64_t flushed; /* the database in this view holds everything up to it */
};

void history_key(int64_t revision, uint32_t sub, char out[HISTORY_KEY_BYTES]);
int64_t history_key_revision(struct bytes key);
/* A history row's record with its value, which may still be with the newest version, or lie apart
 * and then is copied into ARENA, by VALUES as values_fetch(). */
int history_record(struct lmdb_txn *t, struct lmdb_cursor **values, struct bytes data,
                   struct arena *arena, struct record *out, struct error *err);
int read_state(struct lmdb_txn *t, struct database_state *out,
               struct error *err); /* 1, 0: new, -1 */
/* While a flush has written some of its parts, "latest" and "counts" are ahead of the state. */
int mark_partial(struct lmdb_txn *t, struct error *err);
int unmark_partial(struct lmdb_txn *t, struct error *err);
int is_partial(struct lmdb_txn *t, struct error *err); /* 1, 0, -1 */
int write_state(struct lmdb_txn *t, const struct database_state *state, struct error *err);
struct lmdb_env *mvcc_env_ref(struct mvcc *m);
/* Transactions of upkeep's thread.  A database that the disk has failed is revived between them. */
struct lmdb_txn *mvcc_write_begin(struct mvcc *m, struct error *err);
int mvcc_write_commit(struct mvcc *m, struct lmdb_txn *t, struct error *err);
void mvcc_write_abort(struct mvcc *m, struct lmdb_txn *t);
void mvcc_revive(struct mvcc *m); /* a database in which nobody can read any more; any thread's */
void mvcc_note_size(struct mvcc *m); /* what the quota looks at */
