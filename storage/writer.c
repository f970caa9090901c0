/* SPDX-License-Identifier: Apache-2.0 */
/* writer.c - the queue, applying transactions, and the group's way to disk. */
#include "storage/writer.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "storage/commit_log.h"
#include "storage/storage_ops.h"

enum request_type {
    REQUEST_TXN,
    REQUEST_GRANT,
    REQUEST_REVOKE,
    REQUEST_COMPACT,
    REQUEST_ALARM,
    REQUEST_FREEZE,
};

struct request {
    enum request_type type;
    const struct storage_txn *txn;
    struct arena *arena;
    storage_txn_done_fn *done;
    void *arg;
    int64_t a, b;
    struct writer *writer; /* of a request that nobody waits for */
    size_t queued_bytes;
    bool is_heap; /* freed when it is answered */
    struct request *next;

    /* What applying it gave. */
    struct storage_txn_result result;
    struct version **versions; /* in the group's scratch arena */
    void **attachments;
    size_t n, capacity;
    size_t bytes; /* they take in the frame, about */
    struct error err;
};

struct request_queue {
    struct request *first, **last;
    size_t n, bytes;
};

struct writer {
    struct writer_config config;
    pthread_t thread;

    /* The thread's own. */
    struct arena *scratch;  /* of one group */
    struct arena *compared; /* a large value, until the next one */
    struct mvcc_view *view; /* of one group */
    int64_t revision;       /* of the last transaction applied, durable or not */
    bool is_raising_alarm;  /* the request for it is queued */

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t work, room, burst_over;
    struct request_queue queue;
    struct storage_burst burst; /* its functions may be NULL */
    bool is_in_burst;
    bool is_stopping;
    bool flush_has_failed;
    struct error flush_err;
};

/* ---- checking what comes in ---- */

struct size {
    size_t ops, bytes;
};

static int check_ops(const struct storage_op *ops, size_t n, int depth, struct size *total,
                     struct error *err);

static int check_txn(const struct storage_txn *txn, int depth, struct size *total,
                     struct error *err)
{
    if (depth > TXN_DEPTH_MAX)
        return error_set(err, ERR_BAD_REQUEST, "transactions are nested deeper than %d",
                         TXN_DEPTH_MAX);
    total->ops += txn->compares_n;
    for (size_t i = 0; i < txn->compares_n; i++) {
        const struct storage_compare *c = &txn->compares[i];
        if (c->key.len == 0)
            return error_set(err, ERR_BAD_REQUEST, "key is not provided");
        total->bytes += c->key.len + c->value.len;
    }
    if (check_ops(txn->success, txn->success_n, depth, total, err) < 0)
        return -1;
    return check_ops(txn->failure, txn->failure_n, depth, total, err);
}

static int check_ops(const struct storage_op *ops, size_t n, int depth, struct size *total,
                     struct error *err)
{
    total->ops += n;
    if (total->ops > TXN_OPS_MAX)
        return error_set(err, ERR_TOO_LARGE, "too many operations in transaction, the most is %d",
                         TXN_OPS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct storage_op *op = &ops[i];
        if (op->type == STORAGE_TXN) {
            if (check_txn(op->txn, depth + 1, total, err) < 0)
                return -1;
            continue;
        }
        struct bytes key = op->type == STORAGE_RANGE ? op->range->key : op->key;
        if (key.len == 0)
            return error_set(err, ERR_BAD_REQUEST, "key is not provided");
        if (op->type == STORAGE_PUT && key.len > STORAGE_KEY_BYTES_MAX)
            return error_set(err, ERR_TOO_LARGE, "a key of %zu bytes is longer than %zu", key.len,
                             STORAGE_KEY_BYTES_MAX);
        if (op->type == STORAGE_PUT && op->value.len > STORAGE_VALUE_BYTES_MAX)
            return error_set(err, ERR_TOO_LARGE, "a value of %zu bytes is larger than %zu",
                             op->value.len, STORAGE_VALUE_BYTES_MAX);
        total->bytes += key.len + op->value.len;
    }
    return 0;
}

/* ---- applying: everything here sees what the group has staged so far ---- */

static int stage(struct writer *w, struct request *rq, const struct record *r, void *attachment,
                 struct error *err)
{
    rq->bytes += 2 * RECORD_HEADER_BYTES + r->key.len + r->value.len;
    if (mvcc_group_size_bytes(w->config.mvcc) + rq->bytes > LOG_FRAME_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "the transaction writes more than %zu bytes",
                         LOG_FRAME_BYTES_MAX - GROUP_BYTES_MAX);
    if (rq->n == rq->capacity) {
        size_t capacity = rq->capacity;
        rq->versions =
            arena_grow(w->scratch, rq->versions, rq->n, &capacity, sizeof(rq->versions[0]));
        rq->attachments = arena_grow(w->scratch, rq->attachments, rq->n, &rq->capacity,
                                     sizeof(rq->attachments[0]));
    }
    struct version *v = version_new(r);
    mvcc_stage(w->config.mvcc, v);
    rq->versions[rq->n] = v;
    rq->attachments[rq->n++] = attachment;
    return 0;
}

static void unstage(struct writer *w, struct request *rq)
{
    for (size_t i = 0; i < rq->n; i++) {
        mvcc_unstage(w->config.mvcc, rq->versions[i]);
        version_unref(rq->versions[i]);
    }
    rq->n = 0;
}

/* A value that lies apart is fetched into ARENA, and needs no copy. */
static int answer_prev(struct writer *w, struct record *r, struct arena *arena,
                       struct storage_op_result *out, struct error *err)
{
    if (mvcc_view_fetch(w->view, r, arena, err) < 0)
        return -1;
    out->prev_kvs[out->prev_kvs_n] = record_kv(r);
    struct storage_kv *kv = &out->prev_kvs[out->prev_kvs_n++];
    kv->key = arena_bytes(arena, kv->key);
    kv->value = r->is_apart ? kv->value : arena_bytes(arena, kv->value);
    return 0;
}

static void post(struct writer *w, enum request_type type, int64_t a);

static int refuse_put(struct writer *w, struct error *err)
{
    if (mvcc_should_raise_alarm(w->config.mvcc) && !w->is_raising_alarm) {
        w->is_raising_alarm = true;
        post(w, REQUEST_ALARM, true);
    }
    return error_set(err, ERR_NO_SPACE,
                     mvcc_has_alarm(w->config.mvcc) ? "the alarm for the database's quota is up"
                                                    : "the database's quota is used up");
}

static int apply_put(struct writer *w, struct request *rq, const struct storage_op *op,
                     struct storage_op_result *out, struct error *err)
{
    struct record old = { 0 };
    int found = mvcc_view_find(w->view, op->key, REVISION_STAGED, &old, err);
    if (found < 0)
        return -1;
    bool is_live = found && !old.is_delete;
    if (!is_live && (op->ignore_value || op->ignore_lease))
        return error_set(err, ERR_BAD_REQUEST, "key not found");
    if (!mvcc_has_space(w->config.mvcc, op->key.len + op->value.len))
        return refuse_put(w, err);
    if (op->ignore_value && mvcc_view_fetch(w->view, &old, rq->arena, err) < 0)
        return -1;
    struct record r = {
        .key = op->key,
        .value = op->ignore_value ? old.value : op->value,
        .create_revision = is_live ? old.create_revision : w->revision + 1,
        .mod_revision = w->revision + 1,
        .version = is_live ? old.version + 1 : 1,
        .lease = op->ignore_lease ? old.lease : op->lease,
        .sub = (uint32_t)rq->n,
        .prev_revision = found ? old.mod_revision : 0,
        .prev_sub = found ? old.sub : 0,
    };
    if (is_live && op->prev_kv) {
        out->prev_kvs = arena_alloc(rq->arena, sizeof(out->prev_kvs[0]));
        if (answer_prev(w, &old, rq->arena, out, err) < 0)
            return -1;
    }
    return stage(w, rq, &r, op->attachment, err);
}

/* The range is read as a whole first: the walk must not meet the deletions it makes. */
static int read_whole(struct writer *w, struct bytes key, struct bytes end, struct record **out,
                      size_t *n, struct error *err)
{
    size_t capacity = 0;
    *out = NULL;
    *n = 0;
    struct mvcc_iter *it = mvcc_iter_open(w->view, key, end, REVISION_STAGED, err);
    if (!it)
        return -1;
    struct record r;
    int got;
    while ((got = mvcc_iter_next(it, MVCC_WHOLE, &r, err)) == 1) {
        if (*n == capacity)
            *out = arena_grow(w->scratch, *out, *n, &capacity, sizeof((*out)[0]));
        (*out)[(*n)++] = r;
    }
    mvcc_iter_close(it);
    return got;
}

static int apply_delete(struct writer *w, struct request *rq, const struct storage_op *op,
                        struct storage_op_result *out, struct error *err)
{
    struct record *old;
    size_t n;
    if (read_whole(w, op->key, op->end, &old, &n, err) < 0)
        return -1;
    out->deleted = (int64_t)n;
    if (op->prev_kv)
        out->prev_kvs = arena_alloc(rq->arena, n * sizeof(out->prev_kvs[0]) + 1);
    for (size_t i = 0; i < n; i++) {
        if (op->prev_kv && answer_prev(w, &old[i], rq->arena, out, err) < 0)
            return -1;
        struct record r = {
            .key = old[i].key,
            .mod_revision = w->revision + 1,
            .is_delete = true,
            .sub = (uint32_t)rq->n,
            .prev_revision = old[i].mod_revision,
            .prev_sub = old[i].sub,
        };
        if (stage(w, rq, &r, op->attachment, err) < 0)
            return -1;
    }
    return 0;
}

static bool holds(enum storage_compare_result wanted, int order)
{
    switch (wanted) {
    case STORAGE_EQUAL:
        return order == 0;
    case STORAGE_GREATER:
        return order > 0;
    case STORAGE_LESS:
        return order < 0;
    case STORAGE_NOT_EQUAL:
        return order != 0;
    }
    return false;
}

static bool compare_holds(const struct storage_compare *c, const struct record *r)
{
    int64_t number = 0;
    switch (c->target) {
    case STORAGE_COMPARE_MOD_REVISION:
        number = r->mod_revision;
        break;
    case STORAGE_COMPARE_CREATE_REVISION:
        number = r->create_revision;
        break;
    case STORAGE_COMPARE_VERSION:
        number = r->version;
        break;
    case STORAGE_COMPARE_LEASE:
        number = r->lease;
        break;
    case STORAGE_COMPARE_VALUE:
        return holds(c->result, bytes_compare(r->value, c->value));
    }
    return holds(c->result, number < c->number ? -1 : number > c->number);
}

/* 1: it holds for every key; 0: it does not; -1. */
static int evaluate(struct writer *w, const struct storage_compare *c, struct error *err)
{
    struct mvcc_iter *it = mvcc_iter_open(w->view, c->key, c->end, REVISION_STAGED, err);
    if (!it)
        return -1;
    struct record r;
    bool is_any = false, is_true = true, has_value = c->target == STORAGE_COMPARE_VALUE;
    int got;
    while (is_true && (got = mvcc_iter_next(it, MVCC_WHOLE, &r, err)) != 0) {
        arena_reset(w->compared);
        if (got < 0 || (has_value && mvcc_view_fetch(w->view, &r, w->compared, err) < 0)) {
            mvcc_iter_close(it);
            return -1;
        }
        is_any = true;
        is_true = compare_holds(c, &r);
    }
    mvcc_iter_close(it);
    if (is_any)
        return is_true;
    /* What does not exist has revision, version and lease 0, and no value that anything compares
     * to. */
    static const struct record none;
    return c->target != STORAGE_COMPARE_VALUE && compare_holds(c, &none);
}

static int64_t seen_revision(const struct writer *w, const struct request *rq)
{
    return rq->n ? w->revision + 1 : w->revision;
}

/* Chooses the branch of TXN and of every transaction in that branch: all of them look at what there
 * was before the first write of the outermost. */
static int decide(struct writer *w, struct request *rq, const struct storage_txn *txn,
                  struct storage_txn_result *out, struct error *err)
{
    int is_true = 1;
    for (size_t i = 0; i < txn->compares_n && is_true == 1; i++)
        is_true = evaluate(w, &txn->compares[i], err);
    if (is_true < 0)
        return -1;
    out->succeeded = is_true;
    const struct storage_op *ops = is_true ? txn->success : txn->failure;
    out->n = is_true ? txn->success_n : txn->failure_n;
    out->results = arena_alloc(rq->arena, out->n * sizeof(out->results[0]) + 1);
    for (size_t i = 0; i < out->n; i++) {
        out->results[i] = (struct storage_op_result){ .type = ops[i].type };
        if (ops[i].type != STORAGE_TXN)
            continue;
        out->results[i].txn = arena_zalloc(rq->arena, sizeof(*out->results[i].txn));
        if (decide(w, rq, ops[i].txn, out->results[i].txn, err) < 0)
            return -1;
    }
    return 0;
}

static int check_put(struct writer *w, const struct storage_op *op, struct error *err)
{
    if (op->lease && !op->ignore_lease && !lease_exists(w->config.leases, op->lease))
        return error_set(err, ERR_NOT_FOUND, "requested lease not found");
    if (!op->ignore_value && !op->ignore_lease)
        return 0;
    struct record old;
    int found = mvcc_view_find(w->view, op->key, REVISION_STAGED, &old, err);
    if (found < 0)
        return -1;
    return found && !old.is_delete ? 0 : error_set(err, ERR_BAD_REQUEST, "key not found");
}

/* A revision below zero is the newest to etcd, but not in a transaction; before the first
 * compaction the oldest revision is -1 there. */
static int check_range(struct writer *w, const struct storage_range *range, struct error *err)
{
    int64_t compacted = mvcc_compacted_revision(w->config.mvcc);
    if (range->revision && range->revision < (compacted ? compacted : -1))
        return error_set(err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                         (long long)range->revision, (long long)compacted);
    if (range->revision > w->revision)
        return error_set(err, ERR_FUTURE_REVISION,
                         "revision %lld lies in the future, the store is at %lld",
                         (long long)range->revision, (long long)w->revision);
    return 0;
}

/* What would fail in the chosen branches does so before anything is written, and in etcd's order:
 * all puts are looked at before the first range. */
static int check_branch(struct writer *w, const struct storage_txn *txn,
                        const struct storage_txn_result *chosen, enum storage_op_type type,
                        struct error *err)
{
    const struct storage_op *ops = chosen->succeeded ? txn->success : txn->failure;
    int rc = 0;
    for (size_t i = 0; i < chosen->n && rc == 0; i++) {
        if (ops[i].type == STORAGE_TXN)
            rc = check_branch(w, ops[i].txn, chosen->results[i].txn, type, err);
        else if (ops[i].type == type)
            rc = type == STORAGE_PUT ? check_put(w, &ops[i], err)
                                     : check_range(w, ops[i].range, err);
    }
    return rc;
}

static int apply_txn(struct writer *w, struct request *rq, const struct storage_txn *txn,
                     struct storage_txn_result *out, struct error *err);

static int apply_op(struct writer *w, struct request *rq, const struct storage_op *op,
                    struct storage_op_result *out, struct error *err)
{
    switch (op->type) {
    case STORAGE_PUT:
        return apply_put(w, rq, op, out, err);
    case STORAGE_DELETE:
        return apply_delete(w, rq, op, out, err);
    case STORAGE_RANGE:
        if (mvcc_range(w->view, op->range, REVISION_STAGED, MVCC_COPIED, rq->arena, &out->range,
                       err) < 0)
            return -1;
        out->range.revision = seen_revision(w, rq);
        return 0;
    case STORAGE_TXN:
        return apply_txn(w, rq, op->txn, out->txn, err);
    }
    return error_set(err, ERR_BAD_REQUEST, "unknown operation %d", (int)op->type);
}

static int apply_txn(struct writer *w, struct request *rq, const struct storage_txn *txn,
                     struct storage_txn_result *out, struct error *err)
{
    const struct storage_op *ops = out->succeeded ? txn->success : txn->failure;
    for (size_t i = 0; i < out->n; i++) {
        if (apply_op(w, rq, &ops[i], &out->results[i], err) < 0)
            return -1;
        out->results[i].revision = seen_revision(w, rq);
    }
    out->revision = seen_revision(w, rq);
    return 0;
}

/* Takes the revision and adds it to the group's frame, if anything was written. */
static void seal(struct writer *w, struct request *rq)
{
    if (rq->n)
        mvcc_group_transaction(w->config.mvcc, rq->versions, rq->n, ++w->revision);
}

static int apply_revoke(struct writer *w, struct request *rq, struct error *err)
{
    (void)failpoint("storage.lease.before_revoke");
    /* A lease that somebody else ended before it did: the id may belong to another one by now. */
    bool is_gone = rq->writer ? !lease_is_ending(w->config.leases, rq->a)
                              : !lease_exists(w->config.leases, rq->a);
    if (is_gone)
        return error_set(err, ERR_NOT_FOUND, "requested lease not found");
    size_t n;
    struct bytes *keys = lease_keys(w->config.leases, rq->a, w->scratch, &n);
    for (size_t i = 0; i < n; i++) {
        struct storage_op op = { .type = STORAGE_DELETE, .key = keys[i] };
        struct storage_op_result out = { 0 };
        if (apply_delete(w, rq, &op, &out, err) < 0)
            return -1;
    }
    seal(w, rq);
    mvcc_group_lease_revoke(w->config.mvcc, rq->a);
    return 0;
}

static int apply_compact(struct writer *w, struct request *rq, struct error *err)
{
    int64_t compacted = mvcc_compacted_revision(w->config.mvcc);
    if (rq->a <= compacted)
        return error_set(err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                         (long long)rq->a, (long long)compacted);
    if (rq->a > w->revision)
        return error_set(err, ERR_FUTURE_REVISION,
                         "revision %lld lies in the future, the store is at %lld", (long long)rq->a,
                         (long long)w->revision);
    mvcc_group_compact(w->config.mvcc, rq->a);
    return 0;
}

static int apply(struct writer *w, struct request *rq, struct error *err)
{
    switch (rq->type) {
    case REQUEST_TXN:
        if (decide(w, rq, rq->txn, &rq->result, err) < 0 ||
            check_branch(w, rq->txn, &rq->result, STORAGE_PUT, err) < 0 ||
            check_branch(w, rq->txn, &rq->result, STORAGE_RANGE, err) < 0 ||
            apply_txn(w, rq, rq->txn, &rq->result, err) < 0)
            return -1;
        seal(w, rq);
        return 0;
    case REQUEST_GRANT:
        if (rq->a && lease_exists(w->config.leases, rq->a))
            return error_set(err, ERR_ALREADY_EXISTS, "lease already exists");
        if (!rq->a)
            rq->a = lease_new_id(w->config.leases);
        mvcc_group_lease_grant(w->config.mvcc, rq->a, rq->b);
        return 0;
    case REQUEST_REVOKE:
        return apply_revoke(w, rq, err);
    case REQUEST_COMPACT:
        return apply_compact(w, rq, err);
    case REQUEST_ALARM:
        mvcc_group_alarm(w->config.mvcc, rq->a);
        return 0;
    case REQUEST_FREEZE:
        return 0;
    }
    return error_set(err, ERR_INTERNAL, "unknown request");
}

/* ---- a group ---- */

static void answer(struct request *rq)
{
    if (rq->type == REQUEST_TXN)
        storage_txn_release_attachments(rq->txn);
    bool is_heap = rq->is_heap; /* the others' are gone once their owner wakes */
    rq->done(&rq->result, &rq->err, rq->arg);
    if (is_heap)
        free(rq);
}

/* The group is on disk: now it may be seen. */
static void publish(struct writer *w, struct request *rq)
{
    struct writer_config *c = &w->config;
    (void)failpoint("storage.commit.before_publish");
    if (rq->n) {
        int64_t revision = rq->versions[0]->r.mod_revision;
        mvcc_publish(c->mvcc, revision);
        for (size_t i = 0; i < rq->n; i++) {
            const struct record *r = &rq->versions[i]->r;
            lease_move_key(c->leases, r->key, r->is_delete ? 0 : r->lease);
        }
        watch_hub_publish(c->hub, rq->versions, rq->n, revision, rq->attachments);
        for (size_t i = 0; i < rq->n; i++)
            version_unref(rq->versions[i]);
    }
    if (rq->err.code)
        return;
    if (rq->type == REQUEST_GRANT) {
        (void)failpoint("storage.lease.before_grant");
        lease_grant(c->leases, rq->a, rq->b);
    } else if (rq->type == REQUEST_REVOKE) {
        (void)failpoint("storage.lease.before_remove");
        lease_remove(c->leases, rq->a);
    } else if (rq->type == REQUEST_COMPACT) {
        (void)failpoint("storage.compact.before_publish");
        mvcc_set_compacted(c->mvcc, rq->a);
    } else if (rq->type == REQUEST_ALARM) {
        mvcc_set_alarm(c->mvcc, rq->a);
    }
}

/* A revocation must see the keys of every put before it, and no put after it may use the lease.  Of
 * two grants of one id, which is given until it is applied, the second must see the first. */
static bool is_alone(const struct request *rq)
{
    return rq->type == REQUEST_REVOKE || (rq->type == REQUEST_GRANT && rq->a);
}

/* Applies requests from FIRST on; returns the first that is not in the group. */
static struct request *apply_group(struct writer *w, struct request *first)
{
    struct request *rq = first;
    bool is_first_alone = is_alone(first);
    for (; rq; rq = rq->next) {
        if (rq != first && (is_first_alone || is_alone(rq) ||
                            mvcc_group_size_bytes(w->config.mvcc) > GROUP_BYTES_MAX))
            break;
        if (apply(w, rq, &rq->err) < 0)
            unstage(w, rq);
    }
    return rq;
}

static void fail_group(struct writer *w, struct request *first, struct request *end,
                       const struct error *err)
{
    for (struct request *rq = first; rq != end; rq = rq->next) {
        unstage(w, rq);
        if (!rq->err.code)
            rq->err = *err;
    }
}

static bool freeze(struct writer *w)
{
    bool did = mvcc_freeze(w->config.mvcc);
    if (did)
        w->config.news(WRITER_WANTS_UPKEEP, w->config.arg);
    return did;
}

/* Waits until the active index may grow. */
static int wait_for_room(struct writer *w, struct error *err)
{
    bool wants_freeze = mvcc_fill(w->config.mvcc) != MVCC_ROOM || failpoint("storage.index.freeze");
    if (!wants_freeze || freeze(w))
        return 0;
    bool is_full;
    pthread_mutex_lock(&w->lock);
    while ((is_full = mvcc_fill(w->config.mvcc) == MVCC_FULL && mvcc_has_frozen(w->config.mvcc)) &&
           !w->flush_has_failed)
        pthread_cond_wait(&w->room, &w->lock);
    if (is_full)
        *err = w->flush_err;
    pthread_mutex_unlock(&w->lock);
    if (!is_full)
        freeze(w);
    return is_full ? -1 : 0;
}

static void begin_burst(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->is_in_burst = w->burst.begin;
    pthread_mutex_unlock(&w->lock);
    if (w->is_in_burst)
        w->burst.begin(w->burst.arg);
}

static void end_burst(struct writer *w)
{
    if (!w->is_in_burst)
        return;
    w->burst.end(w->burst.arg);
    pthread_mutex_lock(&w->lock);
    w->is_in_burst = false;
    pthread_cond_broadcast(&w->burst_over);
    pthread_mutex_unlock(&w->lock);
}

void writer_on_burst(struct writer *w, const struct storage_burst *burst)
{
    pthread_mutex_lock(&w->lock);
    while (w->is_in_burst)
        pthread_cond_wait(&w->burst_over, &w->lock);
    w->burst = burst ? *burst : (struct storage_burst){ 0 };
    pthread_mutex_unlock(&w->lock);
}

static struct request *run_group(struct writer *w, struct request *first)
{
    struct error err = { 0 };
    int64_t before = mvcc_revision(w->config.mvcc);
    w->revision = before;
    w->view = wait_for_room(w, &err) == 0 ? mvcc_view_open(w->config.mvcc, &err) : NULL;
    if (!w->view) {
        first->err = err;
        struct request *next = first->next;
        answer(first);
        return next;
    }
    (void)failpoint("storage.commit.before_apply");
    mvcc_group_begin(w->config.mvcc);
    size_t empty = mvcc_group_size_bytes(w->config.mvcc);
    struct request *end = apply_group(w, first);
    int rc = mvcc_view_check(w->view, &err);
    mvcc_view_close(w->view);
    (void)failpoint("storage.commit.before_log");
    if (rc == 0 && mvcc_group_size_bytes(w->config.mvcc) > empty)
        rc = mvcc_group_sync(w->config.mvcc, &err);
    if (rc < 0) {
        fail_group(w, first, end, &err);
        w->revision = before;
    }
    begin_burst(w);
    bool wants_freeze = false, wants_upkeep = false;
    for (struct request *rq = first; rq != end; rq = rq->next) {
        publish(w, rq);
        wants_freeze |= rq->type == REQUEST_FREEZE;
        wants_upkeep |= rq->type == REQUEST_COMPACT || rq->type == REQUEST_GRANT;
    }
    if (wants_freeze)
        freeze(w);
    if (w->revision > before || wants_upkeep)
        w->config.news(wants_upkeep ? WRITER_WANTS_UPKEEP : WRITER_WROTE, w->config.arg);
    (void)failpoint("storage.commit.before_answer");
    while (first != end) {
        struct request *next = first->next;
        answer(first);
        first = next;
    }
    end_burst(w);
    arena_reset(w->scratch);
    return end;
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    pthread_setname_np(pthread_self(), "storage-writer");
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->queue.first && !w->is_stopping)
            pthread_cond_wait(&w->work, &w->lock);
        struct request *taken = w->queue.first;
        if (!taken)
            break;
        w->queue = (struct request_queue){ .last = &w->queue.first };
        pthread_mutex_unlock(&w->lock);
        while (taken)
            taken = run_group(w, taken);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct writer *writer_start(const struct writer_config *config, struct error *err)
{
    struct writer *w = xcalloc(1, sizeof(*w));
    w->config = *config;
    w->scratch = arena_new();
    w->compared = arena_new();
    w->queue.last = &w->queue.first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->room, NULL);
    pthread_cond_init(&w->burst_over, NULL);
    int rc = pthread_create(&w->thread, NULL, writer_main, w);
    if (rc == 0)
        return w;
    error_set(err, ERR_INTERNAL, "start the storage writer: %s", strerror(rc));
    arena_free(w->scratch);
    arena_free(w->compared);
    free(w);
    return NULL;
}

void writer_stop(struct writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->burst_over);
    pthread_cond_destroy(&w->room);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    arena_free(w->scratch);
    arena_free(w->compared);
    free(w);
}

void writer_flushed(struct writer *w, const struct error *err)
{
    pthread_mutex_lock(&w->lock);
    w->flush_has_failed = err->code;
    w->flush_err = *err;
    pthread_cond_signal(&w->room);
    pthread_mutex_unlock(&w->lock);
}

/* ---- submission ---- */

static int check_request(struct request *rq, struct error *err)
{
    struct size size = { 0 };
    if (rq->type == REQUEST_TXN && check_txn(rq->txn, 1, &size, err) < 0)
        return -1;
    rq->queued_bytes = size.bytes;
    return 0;
}

/* Whatever its size, the first always has. */
static bool has_room(const struct writer *w, const struct request_queue *more)
{
    return !w->is_stopping && w->queue.n + more->n <= WRITES_QUEUED_MAX &&
           (!w->queue.n || w->queue.bytes + more->bytes <= WRITES_QUEUED_BYTES_MAX);
}

/* The N requests of LIST are the writer's until they are answered. */
static void enqueue(struct writer *w, struct request_queue *list)
{
    if (!list->n)
        return;
    pthread_mutex_lock(&w->lock);
    bool is_accepted = has_room(w, list), is_stopping = w->is_stopping, was_empty = false;
    if (is_accepted) {
        was_empty = !w->queue.first;
        *w->queue.last = list->first;
        w->queue.last = list->last;
        w->queue.n += list->n;
        w->queue.bytes += list->bytes;
    }
    pthread_mutex_unlock(&w->lock);
    if (was_empty) /* not under the lock, for which the thread would only wait */
        pthread_cond_signal(&w->work);
    for (struct request *rq = is_accepted ? NULL : list->first, *next; rq; rq = next) {
        next = rq->next;
        error_set(&rq->err, ERR_UNAVAILABLE,
                  is_stopping ? "the store is shutting down" : "too many writes are waiting");
        answer(rq);
    }
}

static void submit(struct writer *w, struct request *rq)
{
    if (check_request(rq, &rq->err) < 0) {
        answer(rq);
        return;
    }
    struct request_queue one = { rq, &rq->next, 1, rq->queued_bytes };
    enqueue(w, &one);
}

void writer_submit(struct writer *w, struct storage_submission *first)
{
    struct request_queue list = { .last = &list.first };
    for (struct storage_submission *next; first; first = next) {
        next = first->next;
        struct request *rq = xcalloc(1, sizeof(*rq));
        rq->type = REQUEST_TXN;
        rq->is_heap = true;
        rq->txn = first->txn;
        rq->arena = first->arena;
        rq->done = first->done;
        rq->arg = first->arg;
        if (check_request(rq, &rq->err) < 0) {
            answer(rq);
            continue;
        }
        *list.last = rq;
        list.last = &rq->next;
        list.n++;
        list.bytes += rq->queued_bytes;
    }
    enqueue(w, &list);
}

static void wake(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    (void)result;
    (void)err;
    sem_post(arg);
}

/* Submits RQ, which is on the caller's stack, and waits. */
static int submit_and_wait(struct writer *w, struct request *rq, struct error *err)
{
    sem_t answered;
    sem_init(&answered, 0, 0);
    rq->done = wake;
    rq->arg = &answered;
    submit(w, rq);
    while (sem_wait(&answered) < 0 && errno == EINTR)
        continue;
    sem_destroy(&answered);
    if (!rq->err.code)
        return 0;
    *err = rq->err;
    return -1;
}

int writer_txn(struct writer *w, const struct storage_txn *txn, struct arena *arena,
               struct storage_txn_result *out, struct error *err)
{
    struct request rq = { .type = REQUEST_TXN, .txn = txn, .arena = arena };
    if (submit_and_wait(w, &rq, err) < 0)
        return -1;
    *out = rq.result;
    return 0;
}

int writer_lease_grant(struct writer *w, int64_t id, int64_t ttl_s, int64_t *granted_id,
                       struct error *err)
{
    if (ttl_s > LEASE_TTL_S_MAX)
        return error_set(err, ERR_BAD_REQUEST, "too large lease TTL");
    struct request rq = { .type = REQUEST_GRANT, .a = id, .b = ttl_s < 1 ? 1 : ttl_s };
    if (submit_and_wait(w, &rq, err) < 0)
        return -1;
    *granted_id = rq.a;
    return 0;
}

int writer_lease_revoke(struct writer *w, int64_t id, struct error *err)
{
    struct request rq = { .type = REQUEST_REVOKE, .a = id };
    return submit_and_wait(w, &rq, err);
}

int writer_compact(struct writer *w, int64_t revision, struct error *err)
{
    struct request rq = { .type = REQUEST_COMPACT, .a = revision };
    return submit_and_wait(w, &rq, err);
}

int writer_set_alarm(struct writer *w, bool is_up, struct error *err)
{
    struct request rq = { .type = REQUEST_ALARM, .a = is_up };
    return submit_and_wait(w, &rq, err);
}

int writer_freeze(struct writer *w, struct error *err)
{
    struct request rq = { .type = REQUEST_FREEZE };
    return submit_and_wait(w, &rq, err);
}

static void log_failure(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    (void)result;
    (void)arg;
    /* It may have been done or compacted by somebody else, or wait for the next start. */
    bool is_news = err->code && err->code != ERR_NOT_FOUND && err->code != ERR_COMPACTED &&
                   err->code != ERR_UNAVAILABLE;
    if (is_news)
        log_warn("storage", "upkeep: %s", err->message);
}

/* Done or not: a put that is refused asks again. */
static void alarm_answered(const struct storage_txn_result *result, const struct error *err,
                           void *arg)
{
    ((struct request *)arg)->writer->is_raising_alarm = false;
    log_failure(result, err, NULL);
}

static void expiry_answered(const struct storage_txn_result *result, const struct error *err,
                            void *arg)
{
    struct request *rq = arg;
    struct writer_config *c = &rq->writer->config;
    log_failure(result, err, NULL);
    if (!err->code)
        return;
    lease_retry(c->leases, rq->a);
    c->news(WRITER_WANTS_UPKEEP, c->arg);
}

static void post(struct writer *w, enum request_type type, int64_t a)
{
    struct request *rq = xcalloc(1, sizeof(*rq));
    rq->type = type;
    rq->a = a;
    rq->writer = w;
    rq->done = type == REQUEST_ALARM    ? alarm_answered
               : type == REQUEST_REVOKE ? expiry_answered
                                        : log_failure;
    rq->arg = rq;
    rq->is_heap = true;
    submit(w, rq);
}

void writer_post_lease_revoke(struct writer *w, int64_t id)
{
    post(w, REQUEST_REVOKE, id);
}

void writer_post_compact(struct writer *w, int64_t revision)
{
    post(w, REQUEST_COMPACT, revision);
}

void writer_post_freeze(struct writer *w)
{
    post(w, REQUEST_FREEZE, 0);
}
