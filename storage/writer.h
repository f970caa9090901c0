/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.h - group commit.
 *
 *     queue:  [txn][txn][txn]  ->  applied in order  ->  one sync  ->  published  ->  answered
 *
 * One thread takes everything that is queued as one group.  While the disk works, the next group
 * gathers, so the more clients write the more a sync carries.
 *
 * Threads: any.
 */
#pragma once

#include "base/limits.h"
#include "storage/lease.h"
#include "storage/mvcc.h"
#include "storage/watch_hub.h"

#define WRITES_QUEUED_MAX 65536
#define WRITES_QUEUED_BYTES_MAX                                                                    \
    ((size_t)256 << 20)                           /* of keys and values: a disk may stand still    \
                                                   */
#define GROUP_BYTES_MAX         ((size_t)4 << 20) /* of log frame; one transaction more may be on top */
#define STORAGE_KEY_BYTES_MAX   ((size_t)OBJECT_BYTES_MAX) /* etcd's: what a request may hold */
#define STORAGE_VALUE_BYTES_MAX ((size_t)2 << 20)          /* an object and its encryption */
#define TXN_OPS_MAX             4096                       /* nested ones included */
#define TXN_DEPTH_MAX           8

struct writer;

enum writer_news {
    WRITER_WROTE,        /* a revision was taken */
    WRITER_WANTS_UPKEEP, /* an index was frozen, a revision compacted, a lease granted */
};
struct writer_config {
    struct mvcc *mvcc;
    struct watch_hub *hub;
    struct lease_table *leases;
    void (*news)(enum writer_news news, void *arg); /* on the writer's thread; must not block */
    void *arg;
};
struct writer *writer_start(const struct writer_config *config, struct error *err);
void writer_stop(struct writer *w); /* answers what is queued, then joins */

void writer_submit(struct writer *w, struct storage_submission *first);
void writer_on_burst(struct writer *w, const struct storage_burst *burst);
must_check int writer_txn(struct writer *w, const struct storage_txn *txn, struct arena *arena,
                          struct storage_txn_result *out, struct error *err);
must_check int writer_lease_grant(struct writer *w, int64_t id, int64_t ttl_s, int64_t *granted_id,
                                  struct error *err);
must_check int writer_lease_revoke(struct writer *w, int64_t id, struct error *err);
must_check int writer_compact(struct writer *w, int64_t revision, struct error *err);
must_check int writer_set_alarm(struct writer *w, bool is_up, struct error *err);
must_check int writer_freeze(struct writer *w, struct error *err); /* hand the index to the flush */
/* The same for the upkeep thread, which must not wait for the writer: the writer may wait for a
 * flush. */
void writer_post_lease_revoke(struct writer *w, int64_t id);
void writer_post_compact(struct writer *w, int64_t revision);
void writer_post_freeze(struct writer *w); /* hand the active index to the flush */
/* The flush of the frozen index ended.  While it fails and the index is full, writes fail with its
 * error. */
void writer_flushed(struct writer *w, const struct error *err);
