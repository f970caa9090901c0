/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.h - keys with history: range, txn, watch, lease and compact at revisions.
 *
 * etcd's data model behind one interface with two implementations: embedded (LMDB) and remote
 * (an etcd cluster).  Keys and values are opaque here: nothing in this folder knows Kubernetes.
 *
 * Every transaction that writes takes the next revision.  It is acknowledged only once it is on
 * disk, and watchers see it in revision order, after it is on disk and before its acknowledgement.
 *
 * Threads: any, unless a function says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

struct storage;

struct storage_embedded_config {
    const char *dir;
    size_t quota_bytes;          /* 0: 8 GiB */
    int64_t compact_interval_ms; /* how much history is kept; 0: 5 minutes; < 0: no automatic
                                    compaction */
    /* A put that the quota refuses raises an alarm, and every put is refused until
     * storage_set_alarm() takes it back, over restarts too: etcd's way, for who has etcd's tools.
     * Otherwise it goes by itself once there is space. */
    bool keeps_alarm;
};
struct storage *storage_open_embedded(const struct storage_embedded_config *config,
                                      struct error *err);

/* An etcd cluster.  Opens also while no member answers: calls then fail until one does. */
struct storage_remote_config {
    const char *endpoints; /* "https://a:2379,https://b:2379"; also http:// and unix:/path */
    const char *ca_file;   /* PEM; NULL: the system's authorities */
    const char *cert_file, *key_file;
    /* A key in the range that is watched, which may be written so that its event says how far a
     * watch is: etcd before 3.4.25 and 3.5.8 cannot be asked.  NULL: such servers are not helped
     * that way, and what waits for them waits for the next event. */
    const char *marker_key;
    int64_t compact_interval_ms; /* as for the embedded store; of all servers one compacts */
    int64_t call_timeout_ms;     /* how long a call tries, over all members; 0: 10 seconds */
};
/* ERR_BAD_REQUEST: what is wrong with such a list of endpoints. */
must_check int storage_check_endpoints(const char *endpoints, struct error *err);
/* ERR_BAD_REQUEST: an endpoint or a file is not what it should be. */
struct storage *storage_open_remote(const struct storage_remote_config *config, struct error *err);

/* From here on calls try for so long to reach a remote store: a process that ends does not wait for
 * one that is gone. */
void storage_hurry(struct storage *s, int64_t call_timeout_ms);
void storage_close(struct storage *s); /* after every watch is closed and every txn answered */

struct storage_kv {
    struct bytes key;
    struct bytes value;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version; /* writes since it was created, from 1 */
    int64_t lease;   /* 0: none */
};

/* ---- reading ---- */

enum storage_sort_target {
    STORAGE_SORT_KEY,
    STORAGE_SORT_VERSION,
    STORAGE_SORT_CREATE_REVISION,
    STORAGE_SORT_MOD_REVISION,
    STORAGE_SORT_VALUE,
};
enum storage_sort_order {
    STORAGE_ASCENDING,
    STORAGE_DESCENDING,
    /* What etcd does when a target is given but no order: unless there are bounds, only the LIMIT +
     * 1 that come first by key are sorted before one of them is left out. */
    STORAGE_ASCENDING_IN_PAGE,
};
struct storage_range {
    struct bytes key;
    struct bytes end; /* empty: KEY alone; "\0": every key from KEY on; else KEY <= k < END */
    int64_t revision; /* 0: newest */
    int64_t limit;    /* 0: none; taken after sorting and the bounds below */
    bool keys_only, count_only;
    bool
        is_count_unwanted; /* so that a page costs what is in it; the count is then of no meaning */
    enum storage_sort_target sort_target;
    enum storage_sort_order sort_order;
    int64_t min_mod_revision, max_mod_revision; /* 0: no bound */
    int64_t min_create_revision, max_create_revision;
};
struct storage_range_result {
    struct storage_kv *kvs; /* all in the arena */
    size_t n;
    int64_t count; /* all in the range, whatever the limit and the bounds */
    bool more;
    int64_t revision; /* the store's when it was read */
};
/* ERR_COMPACTED, ERR_FUTURE_REVISION, ERR_IO. */
must_check int storage_range(struct storage *s, const struct storage_range *range,
                             struct arena *arena, struct storage_range_result *out,
                             struct error *err);
/* The same without copies: keys and values are borrowed until storage_hold_release(), which must be
 * soon, since it keeps the database from reusing what they lie in.  *HOLD is NULL after a failure.
 */
struct storage_hold;
must_check int storage_range_hold(struct storage *s, const struct storage_range *range,
                                  struct arena *arena, struct storage_range_result *out,
                                  struct storage_hold **hold, struct error *err);
/* Must be asked after the last look at what is borrowed, and before the end of an answer that was
 * made of it: ERR_IO when the disk failed under it, and bytes are missing. */
must_check int storage_hold_check(struct storage *s, const struct storage_hold *hold,
                                  struct error *err);
void storage_hold_release(struct storage *s, struct storage_hold *hold); /* NULL is fine */
/* Of the last durable transaction; of a remote store, that this process knows of, -1 while no
 * member answers. */
int64_t storage_revision(struct storage *s);
int64_t storage_compacted_revision(struct storage *s); /* 0: never, or not known */
/* At least that of every transaction which anybody has had acknowledged before the call. */
must_check int storage_read_revision(struct storage *s, int64_t *revision, struct error *err);
/* Whether other processes write here too: then a watch may be behind what is acknowledged. */
bool storage_is_shared(const struct storage *s);

/* ---- writing ---- */

enum storage_compare_target {
    STORAGE_COMPARE_MOD_REVISION,
    STORAGE_COMPARE_CREATE_REVISION,
    STORAGE_COMPARE_VERSION,
    STORAGE_COMPARE_LEASE,
    STORAGE_COMPARE_VALUE,
};
enum storage_compare_result { STORAGE_EQUAL, STORAGE_GREATER, STORAGE_LESS, STORAGE_NOT_EQUAL };
struct storage_compare {
    struct bytes key;
    struct bytes end; /* as in storage_range: every key in it must hold */
    enum storage_compare_target target;
    enum storage_compare_result result;
    int64_t number;
    struct bytes value;
};

enum storage_op_type { STORAGE_PUT, STORAGE_DELETE, STORAGE_RANGE, STORAGE_TXN };
struct storage_txn;
struct storage_op {
    enum storage_op_type type;
    struct bytes key, end; /* put: KEY; delete: as in storage_range */
    struct bytes value;
    int64_t lease;
    bool prev_kv; /* answer with what was there */
    bool ignore_value, ignore_lease;
    const struct storage_range *range;
    const struct storage_txn *txn;
    /* Handed to watchers with the event, so that who writes a parsed object need not have it parsed
     * again.  Embedded only; the reference is the storage's from submission until every watcher has
     * seen it (attachment_unref). */
    void *attachment;
};
struct storage_txn {
    /* Those of nested transactions too are decided before anything is written. */
    const struct storage_compare *compares;
    size_t compares_n;
    const struct storage_op *success;
    size_t success_n;
    const struct storage_op *failure;
    size_t failure_n;
    void (*attachment_unref)(void *attachment);
};
struct storage_op_result {
    enum storage_op_type type;
    int64_t revision; /* the store's as the rest of the transaction sees it */
    int64_t deleted;
    struct storage_kv *prev_kvs; /* if asked for */
    size_t prev_kvs_n;
    struct storage_range_result range;
    struct storage_txn_result *txn;
};
struct storage_txn_result {
    bool succeeded;   /* which branch ran */
    int64_t revision; /* the store's after it */
    struct storage_op_result *results;
    size_t n;
};

/* Waits until the transaction is durable.  ERR_NO_SPACE, ERR_IO, ERR_TOO_LARGE, ERR_UNAVAILABLE
 * (shutting down, queue full); nothing was written then.  ERR_TIMEOUT, of a remote store: nobody
 * knows whether it was. */
must_check int storage_txn(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                           struct storage_txn_result *out, struct error *err);
/* The same without waiting: TXN, ARENA and what they point at stay valid until DONE runs, once, on
 * the writer's thread; it must not block.  ERR (may be read only in DONE) has code ERR_NONE on
 * success. */
typedef void storage_txn_done_fn(const struct storage_txn_result *result, const struct error *err,
                                 void *arg);
void storage_txn_submit(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                        storage_txn_done_fn *done, void *arg);
/* Several, in their order, each valid until its own DONE runs.  Nothing comes between them, and
 * they share a sync if that can be. */
struct storage_submission {
    const struct storage_txn *txn;
    struct arena *arena;
    storage_txn_done_fn *done;
    void *arg;
    struct storage_submission *next;
};
void storage_txn_submit_all(struct storage *s, struct storage_submission *first);

/* What the embedded store's writer calls back comes in bursts, the events and answers of a group.
 * BEGIN and END run around each, on its thread, so that what is sent in between can go out
 * together. NULL: no longer; when that returns, neither runs. */
struct storage_burst {
    void (*begin)(void *arg);
    void (*end)(void *arg);
    void *arg;
};
void storage_on_burst(struct storage *s, const struct storage_burst *burst);

/* ---- watching ---- */

struct storage_event {
    bool is_delete;
    struct storage_kv kv; /* for a delete: key and mod_revision only */
    struct storage_kv
        prev;         /* mod_revision 0: there was none, or it is not asked for, or compacted */
    void *attachment; /* NULL unless the writer gave one; borrowed for the callback */
};
struct storage_watch_config {
    struct bytes key, end;  /* as in storage_range */
    int64_t start_revision; /* 0: from now on */
    bool prev_kv;
    /* All events of one revision in one call, revisions ascending, nothing twice, nothing left out.
     * EVENTS are borrowed for the call.  Runs on the storage's publishing thread: must not block.
     */
    void (*events)(const struct storage_event *events, size_t n, int64_t revision, void *arg);
    /* The watch ended by itself: ERR_COMPACTED (start is too old; COMPACTED_REVISION tells),
     * ERR_IO. */
    void (*failed)(const struct error *err, int64_t compacted_revision, void *arg);
    /* There was nothing more up to REVISION.  Of a shared store only; NULL: not of interest. */
    void (*progress)(int64_t revision, void *arg);
    void *arg;
};
struct storage_watch;
struct storage_watch *storage_watch(struct storage *s, const struct storage_watch_config *config,
                                    struct error *err);
void storage_watch_close(
    struct storage_watch *w); /* when it returns, no callback runs or will run */
/* Every event up to and including the revision it returns has been delivered to W. */
int64_t storage_watch_revision(struct storage_watch *w);
/* Waits until every event up to and including REVISION (0: storage_read_revision's) has been
 * delivered to W.  ERR_TIMEOUT after a few seconds; ERR_UNAVAILABLE. */
must_check int storage_watch_sync(struct storage_watch *w, int64_t revision, struct error *err);

/* ---- leases ---- */

must_check int storage_lease_grant(struct storage *s, int64_t id, int64_t ttl_s,
                                   int64_t *granted_id,
                                   struct error *err); /* ID 0: the store picks one */
must_check int storage_lease_revoke(struct storage *s, int64_t id, struct error *err);
must_check int storage_lease_keep_alive(struct storage *s, int64_t id, int64_t *ttl_s,
                                        struct error *err);
struct storage_lease {
    int64_t id;
    int64_t granted_s, remaining_s;
    struct bytes *keys; /* ascending */
    size_t keys_n;
};
/* ERR_NOT_FOUND. */
must_check int storage_lease_find(struct storage *s, int64_t id, struct arena *arena,
                                  struct storage_lease *out, struct error *err);
/* All there are, the one that ends first before the others; without their keys. */
must_check int storage_lease_list(struct storage *s, struct arena *arena,
                                  struct storage_lease **out, size_t *n, struct error *err);

/* ---- upkeep ---- */

must_check int storage_compact(struct storage *s, int64_t revision, struct error *err);
struct storage_status {
    int64_t revision, compacted_revision;
    size_t size_bytes, size_in_use_bytes, quota_bytes;
    int64_t keys;
    uint32_t identity; /* chosen when the store was made */
    bool is_full;      /* an alarm is up, or the quota was used up when the last put came */
};
must_check int storage_status(struct storage *s, struct storage_status *out, struct error *err);
/* The alarm that there is no space: while it is up, puts fail with ERR_NO_SPACE.  It is on disk
 * when this returns.  A remote store's are its own. */
must_check int storage_set_alarm(struct storage *s, bool is_up, struct error *err);
bool storage_has_alarm(struct storage *s);
/* Moves all that is in memory into the database, removes all that is compacted, and gives the space
 * back to the file system.  Reads and writes go on; ERR_NO_SPACE: there is no room for the copy. */
must_check int storage_defragment(struct storage *s, struct error *err);

/* One version of a key as history has it. */
struct storage_version {
    struct storage_kv kv; /* of a deletion: key and mod_revision only */
    uint32_t sub;         /* place among the writes of its revision */
    bool is_delete;
    bool is_replaced; /* one from the last compaction or before it: not the revision's any more */
};
/* Everything that a reader can still reach up to REVISION (0: the newest), in the order it was
 * written: what was current at the last compaction, and all that came after it.  OUT is told what
 * was read first, then FN runs for each; it returns -1 to stop.  ERR_COMPACTED,
 * ERR_FUTURE_REVISION, ERR_IO. */
struct storage_history {
    int64_t revision, compacted_revision;
};
must_check int
storage_each_version(struct storage *s, int64_t revision, struct storage_history *out,
                     int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                     void *arg, struct error *err);

/* ---- a store made from what another one held (import.c) ---- */

enum storage_import_mode { STORAGE_IMPORT_NEW, STORAGE_IMPORT_REPLACE };
struct storage_import;
/* One that should have become DIR ended before it was whole, and nothing was there before it. */
bool storage_import_was_cut_short(const char *dir);
/* A new embedded store with an identity of its own, which stands at REVISION and counts as
 * compacted there.  It gets its place and name, DIR, when it is finished: there is all of it or
 * none.  What lies there already is ERR_ALREADY_EXISTS, or replaced and kept as DIR-old-<time>.
 * Threads: one.
 */
struct storage_import *storage_import_open(const char *dir, enum storage_import_mode mode,
                                           int64_t revision, struct error *err);
void storage_import_lease(struct storage_import *im, int64_t id, int64_t ttl_s); /* before keys */
/* Each key once, in any order; SUB sets apart those of one revision. */
must_check int storage_import_put(struct storage_import *im, const struct storage_kv *kv,
                                  uint32_t sub, struct error *err);
must_check int storage_import_finish(struct storage_import *im, struct error *err);
void storage_import_close(struct storage_import *im); /* unfinished: leaves nothing */

/* ---- snapshots: the store in one file, as etcdctl saves it and etcd restores it ---- */

enum storage_snapshot_form { STORAGE_SNAPSHOT_PLAIN, STORAGE_SNAPSHOT_ZIP };
/* The store as it is now to PATH, mode 0600: complete, on disk and read back, or not at all.
 * ERR_ALREADY_EXISTS, ERR_NO_SPACE, ERR_IO. */
must_check int storage_snapshot_save(struct storage *s, const char *path,
                                     enum storage_snapshot_form form, struct error *err);
/* The same from a server of etcd's API: "unix:/path". ERR_UNAVAILABLE: nobody answers there. */
must_check int storage_snapshot_fetch(const char *target, const char *path,
                                      enum storage_snapshot_form form, struct error *err);

enum storage_snapshot_check { STORAGE_SNAPSHOT_CHECK_SUM, STORAGE_SNAPSHOT_SKIP_SUM };
struct storage_snapshot_status { /* as etcdctl counts */
    uint32_t hash;
    int64_t revision, keys;
    uint64_t size_bytes;
};
/* Reads all of it.  ERR_IO: cut short or corrupt. */
must_check int storage_snapshot_status(const char *path, enum storage_snapshot_check check,
                                       struct storage_snapshot_status *out, struct error *err);

struct storage_restore {
    const char *path;
    enum storage_snapshot_check check;
    const char *dir;
    enum storage_import_mode mode;
    int64_t bump_revision; /* added to the snapshot's, so that no client sees revisions go back */
};
/* The keys and leases of a snapshot become a store, see storage_import_open(). */
must_check int storage_snapshot_restore(const struct storage_restore *restore, int64_t *revision,
                                        int64_t *keys, struct error *err);

/* Snapshots in a folder are named BASE-NODE-<unix time>, with .zip if they are archives. */
struct storage_snapshot {
    const char *name, *path;
    uint64_t size_bytes;
    int64_t created_s;
};
/* All files of the folder, the oldest first.  No folder: none. */
must_check int storage_snapshot_list(const char *dir, struct arena *arena,
                                     struct storage_snapshot **out, size_t *n, struct error *err);
/* ERR_NOT_FOUND, ERR_BAD_REQUEST: NAME is none of a file there. */
must_check int storage_snapshot_delete(const char *dir, const char *name, struct error *err);
struct storage_snapshot_series {
    const char *dir, *base, *node;
    enum storage_snapshot_form form;
    int64_t retention; /* 0: all are kept */
};
const char *storage_snapshot_path(const struct storage_snapshot_series *series, int64_t now_s,
                                  struct arena *arena);
/* Deletes the oldest of the series, so that RETENTION are left.  OUT: those. */
must_check int storage_snapshot_prune(const struct storage_snapshot_series *series,
                                      struct arena *arena, struct storage_snapshot **out, size_t *n,
                                      struct error *err);

/* Saves when a schedule (base/cron_schedule.h) says so, and prunes after each. */
struct storage_schedule_config {
    struct storage *storage;
    struct storage_snapshot_series series; /* borrowed until the end */
    const char *cron;
};
struct storage_schedule;
struct storage_schedule *storage_schedule_start(const struct storage_schedule_config *config,
                                                struct error *err); /* ERR_BAD_REQUEST: cron */
void storage_schedule_stop(struct storage_schedule *s); /* NULL is fine; before the store closes */

/* ---- moving everything from one store to another (migrate.c) ---- */

struct storage_migrate_config {
    struct storage *from; /* rests meanwhile: what is written to it later is not moved */
    struct storage *to;   /* NULL: a new embedded store in TO_DIR */
    const char *to_dir;
    bool is_overwrite; /* what the target holds goes, or is kept as TO_DIR-old-<time> */
    void (*progress)(const char *what, int64_t done, int64_t total, void *arg);
    void *arg;
};
struct storage_migrate_result {
    int64_t keys, leases, from_revision, to_revision;
    uint8_t digest[32]; /* SHA-256 over every key with its value and lease, in order */
};
/* All keys and leases as they are at one revision, read back and compared.  The target's revision
 * is not lower than the source's afterwards, and what was before is compacted: clients list anew.
 * A new store has the revisions of the keys too, in another they are all above the source's.  After
 * a failure call it again, it starts over; until it succeeds storage_check_migrated() fails.
 * ERR_ALREADY_EXISTS: the target holds something.  ERR_CONFLICT: the source was written to. */
must_check int storage_migrate(const struct storage_migrate_config *config,
                               struct storage_migrate_result *out, struct error *err);
/* Refuses a store that a migration has not finished. */
must_check int storage_check_migrated(struct storage *s, struct error *err);

/* ---- etcd's v3 gRPC API ---- */

struct tls;
struct storage_etcd_config {
    struct storage *storage;
    const char *bind_address; /* "127.0.0.1" or "unix:/path" */
    int port;                 /* 0: any free one; of no meaning for a unix socket */
    /* NULL: plain.  Otherwise a client must show a certificate that the context trusts and that
     * names ORGANIZATION: whoever may talk to the store may read every secret in it. */
    struct tls *tls;
    const char *organization;
    const char *scratch_dir;             /* for snapshots on their way; NULL: /tmp */
    const char *name;                    /* of the one member; NULL: "default" */
    const char *advertised_url;          /* in the list of members; NULL: made from the address */
    int64_t progress_notify_interval_ms; /* 0: 10 minutes, as etcd */
    int snapshot_stall_ms; /* who reads nothing of a snapshot for so long is cut off; 0: 30 s */
};
struct storage_etcd_server;
struct storage_etcd_server *storage_etcd_start(const struct storage_etcd_config *config,
                                               struct error *err);
int storage_etcd_port(const struct storage_etcd_server *s);
void storage_etcd_stop(struct storage_etcd_server *s); /* before the store is closed */
