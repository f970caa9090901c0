/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mvcc.h - keys with history: what is durable, and consistent views of it.
 *
 *     writes:  stage -> commit log (durable) -> publish      one thread, the writer
 *     newest versions:   active index  |  frozen index  |  database
 *                        being filled     being flushed    all up to its "flushed" revision
 *
 * A view is those three at one moment.  At a revision that the database has not passed it merges
 * them by key; an older one is read in the database alone, along each key's chain of versions.
 *
 * Threads: views any; functions under "writer" on the writer's thread, under "upkeep" on one other.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "storage/key_index.h"
#include "storage/storage.h"

struct mvcc;

/* What a start finds on disk, in order. */
struct mvcc_loader {
    void (*lease_granted)(int64_t id, int64_t ttl_s, void *arg);
    void (*lease_revoked)(int64_t id, void *arg);
    void (*lease_attached)(int64_t id, struct bytes key, void *arg);
    void (*flushed)(int64_t revision,
                    void *arg); /* before any transaction: the database's revision */
    void (*transaction)(struct version *const *versions, size_t n, int64_t revision, void *arg);
    void *arg;
};
struct mvcc_config {
    const char *dir;
    size_t quota_bytes;
    bool keeps_alarm;       /* storage_embedded_config's */
    int64_t first_revision; /* of a new store: all before it counts as compacted; 0: an empty one */
    struct mvcc_loader loader;
};
struct mvcc *mvcc_open(const struct mvcc_config *config, struct error *err);
void mvcc_close(struct mvcc *m);

int64_t mvcc_revision(struct mvcc *m);
int64_t mvcc_compacted_revision(struct mvcc *m);
must_check int mvcc_status(struct mvcc *m, struct storage_status *out, struct error *err);

/* ---- views ---- */

struct mvcc_view;

struct mvcc_view *mvcc_view_open(struct mvcc *m, struct error *err);
void mvcc_view_close(struct mvcc_view *v); /* NULL is fine */
static inline void mvcc_view_scoped(struct mvcc_view **v)
{
    mvcc_view_close(*v);
}
int64_t mvcc_view_revision(const struct mvcc_view *v);
/* Whether what was borrowed from it may be believed, see lmdb_read_check(); functions that give no
 * borrowed bytes have asked. */
must_check int mvcc_view_check(const struct mvcc_view *v, struct error *err);

#define REVISION_STAGED INT64_MAX /* the writer's own view: with what it has staged */

/* The version of KEY as of REVISION, deletions included.  1: found; 0; -1.  OUT borrows from the
 * view, and its value may have to be fetched. */
must_check int mvcc_view_find(struct mvcc_view *v, struct bytes key, int64_t revision,
                              struct record *out, struct error *err);
/* Fetches the value of a record from the view, into ARENA if it lies apart.  Most who look at a
 * record do not look at its value. */
must_check int mvcc_view_fetch(struct mvcc_view *v, struct record *r, struct arena *arena,
                               struct error *err);

/* Keys in order.  Deletions are left out.  Records are borrowed from the view, values as in
 * mvcc_view_find(). */
struct mvcc_iter;
enum mvcc_iter_mode { MVCC_WHOLE, MVCC_COUNT }; /* count: values are not looked at */
struct mvcc_iter *mvcc_iter_open(struct mvcc_view *v, struct bytes key, struct bytes end,
                                 int64_t revision, struct error *err);
void mvcc_iter_close(struct mvcc_iter *it);
must_check int mvcc_iter_next(struct mvcc_iter *it, enum mvcc_iter_mode mode, struct record *out,
                              struct error *err); /* 1, 0 at the end, -1 */

/* storage_range over a view; what a revision of 0 means is NEWEST. */
enum mvcc_range_bytes { MVCC_COPIED, MVCC_BORROWED }; /* into the arena, or from the view */
must_check int mvcc_range(struct mvcc_view *v, const struct storage_range *range, int64_t newest,
                          enum mvcc_range_bytes bytes, struct arena *arena,
                          struct storage_range_result *out, struct error *err);

/* Writes that the database holds, from revision FROM on: about LIMIT of them, whole revisions only,
 * copied into ARENA.  *THROUGH: they are complete up to it (FROM - 1: the database is not that
 * far). */
must_check int mvcc_history(struct mvcc *m, int64_t from, size_t limit, struct arena *arena,
                            struct record **out, size_t *n, int64_t *through, struct error *err);

/* storage_each_version over a view. */
must_check int mvcc_each_version(struct mvcc_view *v, int64_t revision, struct storage_history *out,
                                 int (*fn)(const struct storage_version *v, void *arg,
                                           struct error *err),
                                 void *arg, struct error *err);

/* ---- writer ---- */

/* May a write of MORE bytes be made?  Not beyond the quota, nor while the alarm is up. */
bool mvcc_has_space(struct mvcc *m, size_t more);
bool mvcc_has_alarm(struct mvcc *m);             /* any thread's */
bool mvcc_should_raise_alarm(struct mvcc *m);    /* now that a write was refused */
void mvcc_set_alarm(struct mvcc *m, bool is_up); /* once it is on disk */
/* Adds a version to the active index, where only REVISION_STAGED sees it.  Keeps a reference of its
 * own. */
void mvcc_stage(struct mvcc *m, struct version *v);
void mvcc_unstage(struct mvcc *m, struct version *v);
/* The same for a key that is not there yet, whatever writes it has behind it elsewhere. */
void mvcc_stage_import(struct mvcc *m, struct version *v);

/* A group: entries are added to it, then made durable with one sync.  After a failure nothing is.
 */
void mvcc_group_begin(struct mvcc *m);
void mvcc_group_transaction(struct mvcc *m, struct version *const *versions, size_t n,
                            int64_t revision);
void mvcc_group_lease_grant(struct mvcc *m, int64_t id, int64_t ttl_s);
void mvcc_group_lease_revoke(struct mvcc *m, int64_t id);
void mvcc_group_compact(struct mvcc *m, int64_t revision);
void mvcc_group_alarm(struct mvcc *m, bool is_up);
size_t mvcc_group_size_bytes(const struct mvcc *m);
must_check int mvcc_group_sync(struct mvcc *m, struct error *err);
void mvcc_publish(struct mvcc *m, int64_t revision); /* views opened from now on see it */
void mvcc_set_compacted(struct mvcc *m, int64_t revision);

enum mvcc_fill { MVCC_ROOM, MVCC_SHOULD_FREEZE, MVCC_FULL };
enum mvcc_fill mvcc_fill(struct mvcc *m);
/* Hands the active index to mvcc_flush() and starts a new one.  False: nothing to hand over, or the
 * last one is not flushed yet. */
bool mvcc_freeze(struct mvcc *m);

/* ---- upkeep ---- */

bool mvcc_has_frozen(struct mvcc *m);
int64_t mvcc_flushed_revision(struct mvcc *m);
struct mvcc_lease {
    int64_t id, ttl_s;
};
/* Writes the frozen index to the database.  LEASES: all there are now. */
must_check int mvcc_flush(struct mvcc *m, const struct mvcc_lease *leases, size_t leases_n,
                          struct error *err);
/* Gives the database's free pages back to the file system.  Readers go on. */
must_check int mvcc_defragment(struct mvcc *m, struct error *err);
/* Removes what compaction made unreachable, a bounded part per call.  1: there is more; 0: done. */
enum mvcc_prune_state { MVCC_PRUNED, MVCC_CAN_PRUNE, MVCC_PRUNE_AFTER_FLUSH };
enum mvcc_prune_state mvcc_prune_state(struct mvcc *m);
must_check int mvcc_prune(struct mvcc *m, struct error *err);
