/* SPDX-License-Identifier: Apache-2.0 */
/* storage.c - hands each call to the implementation that the store was opened with. */
#include "storage/storage.h"

#include "storage/storage_ops.h"

static void release_attachments(const struct storage_txn *txn, void (*unref)(void *attachment))
{
    const struct storage_op *branches[] = { txn->success, txn->failure };
    size_t counts[] = { txn->success_n, txn->failure_n };
    for (size_t b = 0; b < ARRAY_LEN(branches); b++) {
        for (size_t i = 0; i < counts[b]; i++) {
            const struct storage_op *op = &branches[b][i];
            if (op->type == STORAGE_TXN)
                release_attachments(op->txn, unref);
            else if (op->attachment)
                unref(op->attachment);
        }
    }
}

void storage_txn_release_attachments(const struct storage_txn *txn)
{
    if (txn->attachment_unref)
        release_attachments(txn, txn->attachment_unref);
}

void storage_hurry(struct storage *s, int64_t call_timeout_ms)
{
    if (s->ops->hurry)
        s->ops->hurry(s, call_timeout_ms);
}

void storage_close(struct storage *s)
{
    if (s)
        s->ops->close(s);
}

int storage_range(struct storage *s, const struct storage_range *range, struct arena *arena,
                  struct storage_range_result *out, struct error *err)
{
    return s->ops->range(s, range, arena, out, err);
}

int storage_range_hold(struct storage *s, const struct storage_range *range, struct arena *arena,
                       struct storage_range_result *out, struct storage_hold **hold,
                       struct error *err)
{
    *hold = NULL;
    return s->ops->range_hold(s, range, arena, out, hold, err);
}

int storage_hold_check(struct storage *s, const struct storage_hold *hold, struct error *err)
{
    return s->ops->hold_check(s, hold, err);
}

void storage_hold_release(struct storage *s, struct storage_hold *hold)
{
    if (hold)
        s->ops->hold_release(s, hold);
}

int64_t storage_revision(struct storage *s)
{
    return s->ops->revision(s);
}

int64_t storage_compacted_revision(struct storage *s)
{
    return s->ops->compacted_revision(s);
}

int storage_read_revision(struct storage *s, int64_t *revision, struct error *err)
{
    return s->ops->read_revision(s, revision, err);
}

bool storage_is_shared(const struct storage *s)
{
    return s->ops->is_shared;
}

int storage_txn(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                struct storage_txn_result *out, struct error *err)
{
    return s->ops->txn(s, txn, arena, out, err);
}

void storage_txn_submit(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                        storage_txn_done_fn *done, void *arg)
{
    s->ops->txn_submit(s, txn, arena, done, arg);
}

void storage_txn_submit_all(struct storage *s, struct storage_submission *first)
{
    if (s->ops->txn_submit_all) {
        s->ops->txn_submit_all(s, first);
        return;
    }
    for (struct storage_submission *next; first; first = next) {
        next = first->next; /* FIRST may be gone once it is submitted */
        s->ops->txn_submit(s, first->txn, first->arena, first->done, first->arg);
    }
}

void storage_on_burst(struct storage *s, const struct storage_burst *burst)
{
    if (s->ops->on_burst)
        s->ops->on_burst(s, burst);
}

struct storage_watch *storage_watch(struct storage *s, const struct storage_watch_config *config,
                                    struct error *err)
{
    return s->ops->watch(s, config, err);
}

void storage_watch_close(struct storage_watch *w)
{
    if (w)
        w->storage->ops->watch_close(w->storage, w);
}

int64_t storage_watch_revision(struct storage_watch *w)
{
    return w->storage->ops->watch_revision(w->storage, w);
}

int storage_watch_sync(struct storage_watch *w, int64_t revision, struct error *err)
{
    return w->storage->ops->watch_sync(w->storage, w, revision, err);
}

int storage_lease_grant(struct storage *s, int64_t id, int64_t ttl_s, int64_t *granted_id,
                        struct error *err)
{
    return s->ops->lease_grant(s, id, ttl_s, granted_id, err);
}

int storage_lease_revoke(struct storage *s, int64_t id, struct error *err)
{
    return s->ops->lease_revoke(s, id, err);
}

int storage_lease_keep_alive(struct storage *s, int64_t id, int64_t *ttl_s, struct error *err)
{
    return s->ops->lease_keep_alive(s, id, ttl_s, err);
}

int storage_compact(struct storage *s, int64_t revision, struct error *err)
{
    return s->ops->compact(s, revision, err);
}

int storage_status(struct storage *s, struct storage_status *out, struct error *err)
{
    return s->ops->status(s, out, err);
}

int storage_lease_find(struct storage *s, int64_t id, struct arena *arena,
                       struct storage_lease *out, struct error *err)
{
    return s->ops->lease_find(s, id, arena, out, err);
}

int storage_lease_list(struct storage *s, struct arena *arena, struct storage_lease **out,
                       size_t *n, struct error *err)
{
    return s->ops->lease_list(s, arena, out, n, err);
}

int storage_set_alarm(struct storage *s, bool is_up, struct error *err)
{
    if (!s->ops->set_alarm)
        return error_set(err, ERR_BAD_REQUEST, "the datastore has alarms of its own");
    return s->ops->set_alarm(s, is_up, err);
}

bool storage_has_alarm(struct storage *s)
{
    return s->ops->has_alarm && s->ops->has_alarm(s);
}

int storage_defragment(struct storage *s, struct error *err)
{
    return s->ops->defragment(s, err);
}

int storage_each_version(struct storage *s, int64_t revision, struct storage_history *out,
                         int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                         void *arg, struct error *err)
{
    return s->ops->each_version(s, revision, out, fn, arg, err);
}
