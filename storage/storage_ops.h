/* SPDX-License-Identifier: Apache-2.0 */
/* storage_ops.h - what an implementation of storage.h provides; storage.c dispatches over it. */
#pragma once

#include "storage/storage.h"

struct storage_ops {
    bool is_shared;
    void (*hurry)(struct storage *s, int64_t call_timeout_ms); /* NULL: nothing to wait for */
    void (*close)(struct storage *s);
    int (*range)(struct storage *s, const struct storage_range *range, struct arena *arena,
                 struct storage_range_result *out, struct error *err);
    int (*range_hold)(struct storage *s, const struct storage_range *range, struct arena *arena,
                      struct storage_range_result *out, struct storage_hold **hold,
                      struct error *err);
    int (*hold_check)(struct storage *s, const struct storage_hold *hold, struct error *err);
    void (*hold_release)(struct storage *s, struct storage_hold *hold);
    int64_t (*revision)(struct storage *s);
    int64_t (*compacted_revision)(struct storage *s);
    int (*read_revision)(struct storage *s, int64_t *revision, struct error *err);
    int (*txn)(struct storage *s, const struct storage_txn *txn, struct arena *arena,
               struct storage_txn_result *out, struct error *err);
    void (*txn_submit)(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                       storage_txn_done_fn *done, void *arg);
    void (*txn_submit_all)(struct storage *s, struct storage_submission *first); /* or NULL */
    void (*on_burst)(struct storage *s, const struct storage_burst *burst);      /* or NULL */
    struct storage_watch *(*watch)(struct storage *s, const struct storage_watch_config *config,
                                   struct error *err);
    void (*watch_close)(struct storage *s, struct storage_watch *w);
    int64_t (*watch_revision)(struct storage *s, struct storage_watch *w);
    int (*watch_sync)(struct storage *s, struct storage_watch *w, int64_t revision,
                      struct error *err);
    int (*lease_grant)(struct storage *s, int64_t id, int64_t ttl_s, int64_t *granted_id,
                       struct error *err);
    int (*lease_revoke)(struct storage *s, int64_t id, struct error *err);
    int (*lease_keep_alive)(struct storage *s, int64_t id, int64_t *ttl_s, struct error *err);
    int (*compact)(struct storage *s, int64_t revision, struct error *err);
    int (*lease_find)(struct storage *s, int64_t id, struct arena *arena, struct storage_lease *out,
                      struct error *err);
    int (*lease_list)(struct storage *s, struct arena *arena, struct storage_lease **out, size_t *n,
                      struct error *err);
    int (*status)(struct storage *s, struct storage_status *out, struct error *err);
    int (*set_alarm)(struct storage *s, bool is_up, struct error *err); /* NULL: not ours to set */
    bool (*has_alarm)(struct storage *s);
    int (*defragment)(struct storage *s, struct error *err);
    int (*each_version)(struct storage *s, int64_t revision, struct storage_history *out,
                        int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                        void *arg, struct error *err);
};
struct storage { /* first member of every implementation */
    const struct storage_ops *ops;
};
/* Those of both branches and of transactions in them, once nobody needs them. */
void storage_txn_release_attachments(const struct storage_txn *txn);

struct storage_watch { /* first member of every implementation's watch */
    struct storage *storage;
};
