/* SPDX-License-Identifier: Apache-2.0 */
/* remote_kv.c - ranges and transactions to etcd's messages and back. */
#include "storage/remote.h"

#define METHOD_RANGE "/etcdserverpb.KV/Range"
#define METHOD_TXN   "/etcdserverpb.KV/Txn"

/* ---- to the wire: everything is borrowed or in the arena ---- */

static void fill_range(const struct storage_range *r, Etcd__RangeRequest *out)
{
    etcd__range_request__init(out);
    out->key = remote_binary(r->key);
    out->range_end = remote_binary(r->end);
    out->revision = r->revision;
    out->limit = r->limit;
    out->keys_only = r->keys_only;
    out->count_only = r->count_only;
    out->sort_target = (Etcd__RangeRequest__SortTarget)r->sort_target;
    if (r->sort_order == STORAGE_DESCENDING)
        out->sort_order = ETCD__RANGE_REQUEST__SORT_ORDER__DESCEND;
    else if (r->sort_order == STORAGE_ASCENDING && r->sort_target != STORAGE_SORT_KEY)
        out->sort_order = ETCD__RANGE_REQUEST__SORT_ORDER__ASCEND;
    out->min_mod_revision = r->min_mod_revision;
    out->max_mod_revision = r->max_mod_revision;
    out->min_create_revision = r->min_create_revision;
    out->max_create_revision = r->max_create_revision;
}

static Etcd__Compare *to_compare(struct arena *a, const struct storage_compare *c)
{
    Etcd__Compare *out = arena_alloc(a, sizeof(*out));
    etcd__compare__init(out);
    out->key = remote_binary(c->key);
    out->range_end = remote_binary(c->end);
    out->result = (Etcd__Compare__Result)c->result;
    switch (c->target) {
    case STORAGE_COMPARE_MOD_REVISION:
        out->target = ETCD__COMPARE__TARGET__MOD;
        out->target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
        out->mod_revision = c->number;
        break;
    case STORAGE_COMPARE_CREATE_REVISION:
        out->target = ETCD__COMPARE__TARGET__CREATE;
        out->target_union_case = ETCD__COMPARE__TARGET_UNION_CREATE_REVISION;
        out->create_revision = c->number;
        break;
    case STORAGE_COMPARE_VERSION:
        out->target = ETCD__COMPARE__TARGET__VERSION;
        out->target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
        out->version = c->number;
        break;
    case STORAGE_COMPARE_LEASE:
        out->target = ETCD__COMPARE__TARGET__LEASE;
        out->target_union_case = ETCD__COMPARE__TARGET_UNION_LEASE;
        out->lease = c->number;
        break;
    case STORAGE_COMPARE_VALUE:
        out->target = ETCD__COMPARE__TARGET__VALUE;
        out->target_union_case = ETCD__COMPARE__TARGET_UNION_VALUE;
        out->value = remote_binary(c->value);
        break;
    }
    return out;
}

static Etcd__TxnRequest *to_txn(struct arena *a, const struct storage_txn *txn);

static Etcd__RequestOp *to_op(struct arena *a, const struct storage_op *op)
{
    Etcd__RequestOp *out = arena_alloc(a, sizeof(*out));
    etcd__request_op__init(out);
    switch (op->type) {
    case STORAGE_PUT:
        out->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
        out->request_put = arena_alloc(a, sizeof(*out->request_put));
        etcd__put_request__init(out->request_put);
        out->request_put->key = remote_binary(op->key);
        if (!op->ignore_value)
            out->request_put->value = remote_binary(op->value);
        if (!op->ignore_lease)
            out->request_put->lease = op->lease;
        out->request_put->prev_kv = op->prev_kv;
        out->request_put->ignore_value = op->ignore_value;
        out->request_put->ignore_lease = op->ignore_lease;
        break;
    case STORAGE_DELETE:
        out->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        out->request_delete_range = arena_alloc(a, sizeof(*out->request_delete_range));
        etcd__delete_range_request__init(out->request_delete_range);
        out->request_delete_range->key = remote_binary(op->key);
        out->request_delete_range->range_end = remote_binary(op->end);
        out->request_delete_range->prev_kv = op->prev_kv;
        break;
    case STORAGE_RANGE:
        out->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
        out->request_range = arena_alloc(a, sizeof(*out->request_range));
        fill_range(op->range, out->request_range);
        break;
    case STORAGE_TXN:
        out->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_TXN;
        out->request_txn = to_txn(a, op->txn);
        break;
    }
    return out;
}

static Etcd__RequestOp **to_ops(struct arena *a, const struct storage_op *ops, size_t n)
{
    Etcd__RequestOp **out = arena_alloc(a, n * sizeof(*out) + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = to_op(a, &ops[i]);
    return out;
}

static Etcd__TxnRequest *to_txn(struct arena *a, const struct storage_txn *txn)
{
    Etcd__TxnRequest *out = arena_alloc(a, sizeof(*out));
    etcd__txn_request__init(out);
    out->n_compare = txn->compares_n;
    out->compare = arena_alloc(a, txn->compares_n * sizeof(*out->compare) + 1);
    for (size_t i = 0; i < txn->compares_n; i++)
        out->compare[i] = to_compare(a, &txn->compares[i]);
    out->n_success = txn->success_n;
    out->success = to_ops(a, txn->success, txn->success_n);
    out->n_failure = txn->failure_n;
    out->failure = to_ops(a, txn->failure, txn->failure_n);
    return out;
}

static bool writes(const struct storage_txn *txn)
{
    for (int branch = 0; branch < 2; branch++) {
        const struct storage_op *ops = branch ? txn->failure : txn->success;
        size_t n = branch ? txn->failure_n : txn->success_n;
        for (size_t i = 0; i < n; i++)
            if (ops[i].type == STORAGE_TXN ? writes(ops[i].txn) : ops[i].type != STORAGE_RANGE)
                return true;
    }
    return false;
}

/* ---- from the wire: everything borrows from the message ---- */

static int malformed(struct error *err)
{
    return error_set(err, ERR_TIMEOUT, "etcd: the answer is not to what was asked");
}

struct storage_kv remote_kv(const Etcd__KeyValue *kv)
{
    return (struct storage_kv){ .key = remote_bytes(kv->key),
                                .value = remote_bytes(kv->value),
                                .create_revision = kv->create_revision,
                                .mod_revision = kv->mod_revision,
                                .version = kv->version,
                                .lease = kv->lease };
}

static struct storage_kv *to_kvs(struct arena *a, Etcd__KeyValue *const *kvs, size_t n)
{
    struct storage_kv *out = arena_alloc(a, n * sizeof(*out) + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = remote_kv(kvs[i]);
    return out;
}

static struct storage_range_result to_range_result(struct arena *a, const Etcd__RangeResponse *m)
{
    return (struct storage_range_result){ .kvs = to_kvs(a, m->kvs, m->n_kvs),
                                          .n = m->n_kvs,
                                          .count = m->count,
                                          .more = m->more,
                                          .revision = m->header ? m->header->revision : 0 };
}

static int to_txn_result(struct arena *a, const struct storage_txn *txn, const Etcd__TxnResponse *m,
                         struct storage_txn_result *out, struct error *err);

static int to_op_result(struct arena *a, const struct storage_op *op, const Etcd__ResponseOp *m,
                        struct storage_op_result *out, struct error *err)
{
    static const Etcd__ResponseOp__ResponseCase cases[] = {
        [STORAGE_PUT] = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_PUT,
        [STORAGE_DELETE] = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE,
        [STORAGE_RANGE] = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE,
        [STORAGE_TXN] = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_TXN,
    };
    const Etcd__ResponseHeader *header = NULL;
    *out = (struct storage_op_result){ .type = op->type };
    if (m->response_case != cases[op->type])
        return malformed(err);
    switch (op->type) {
    case STORAGE_PUT:
        header = m->response_put->header;
        if (m->response_put->prev_kv) {
            out->prev_kvs = to_kvs(a, &m->response_put->prev_kv, 1);
            out->prev_kvs_n = 1;
        }
        break;
    case STORAGE_DELETE:
        header = m->response_delete_range->header;
        out->deleted = m->response_delete_range->deleted;
        out->prev_kvs_n = m->response_delete_range->n_prev_kvs;
        out->prev_kvs = to_kvs(a, m->response_delete_range->prev_kvs, out->prev_kvs_n);
        break;
    case STORAGE_RANGE:
        header = m->response_range->header;
        out->range = to_range_result(a, m->response_range);
        break;
    case STORAGE_TXN:
        header = m->response_txn->header;
        out->txn = arena_alloc(a, sizeof(*out->txn));
        if (to_txn_result(a, op->txn, m->response_txn, out->txn, err) < 0)
            return -1;
        break;
    }
    out->revision = header ? header->revision : 0;
    return 0;
}

static int to_txn_result(struct arena *a, const struct storage_txn *txn, const Etcd__TxnResponse *m,
                         struct storage_txn_result *out, struct error *err)
{
    const struct storage_op *ops = m->succeeded ? txn->success : txn->failure;
    size_t n = m->succeeded ? txn->success_n : txn->failure_n;
    *out = (struct storage_txn_result){ .succeeded = m->succeeded,
                                        .revision = m->header ? m->header->revision : 0,
                                        .n = n };
    if (m->n_responses != n)
        return malformed(err);
    out->results = arena_alloc(a, n * sizeof(*out->results) + 1);
    for (size_t i = 0; i < n; i++)
        if (to_op_result(a, &ops[i], m->responses[i], &out->results[i], err) < 0)
            return -1;
    return 0;
}

/* ---- reading ---- */

static int read_range(struct remote *r, const struct storage_range *range,
                      enum remote_repeat repeat, struct arena *arena,
                      struct storage_range_result *out, struct error *err)
{
    Etcd__RangeRequest request;
    Etcd__RangeResponse *response;
    fill_range(range, &request);
    if (remote_call(r, METHOD_RANGE, repeat, &request.base, arena,
                    &etcd__range_response__descriptor, &response, err) < 0)
        return -1;
    *out = to_range_result(arena, response);
    remote_saw_revision(r, out->revision);
    return 0;
}

int remote_range(struct storage *s, const struct storage_range *range, struct arena *arena,
                 struct storage_range_result *out, struct error *err)
{
    return read_range(remote_of(s), range, REMOTE_READ, arena, out, err);
}

/* Of any key, also one that is not there: what counts is the header of a linearized read. */
static int read_header(struct remote *r, int64_t *revision, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct storage_range any = { .key = BYTES("\0"), .count_only = true };
    struct storage_range_result result;
    if (read_range(r, &any, REMOTE_PROBE, a, &result, err) < 0)
        return -1;
    *revision = result.revision;
    return 0;
}

/* One read answers all who asked before it began. */
int remote_read_revision(struct storage *s, int64_t *revision, struct error *err)
{
    struct remote *r = remote_of(s);
    pthread_mutex_lock(&r->read_lock);
    uint64_t mine = r->reads_begun + 1;
    while (r->reads_ended < mine) {
        if (r->is_reading) {
            pthread_cond_wait(&r->read_changed, &r->read_lock);
            continue;
        }
        struct error failure = { 0 };
        int64_t got = 0;
        r->is_reading = true;
        uint64_t turn = ++r->reads_begun;
        pthread_mutex_unlock(&r->read_lock);
        (void)!read_header(r, &got, &failure);
        pthread_mutex_lock(&r->read_lock);
        r->is_reading = false;
        r->reads_ended = turn;
        r->read_error = failure;
        r->read_revision = got;
        pthread_cond_broadcast(&r->read_changed);
    }
    int rc = r->read_error.code ? -1 : 0;
    if (rc < 0)
        *err = r->read_error;
    else
        *revision = r->read_revision;
    pthread_mutex_unlock(&r->read_lock);
    return rc;
}

/* ---- writing ---- */

struct submitted {
    struct remote *remote;
    const struct storage_txn *txn;
    struct arena *arena;
    void (*done)(const struct storage_txn_result *result, const struct error *err, void *arg);
    void *arg;
};

static int txn_answer(struct remote *r, const struct storage_txn *txn, const Etcd__TxnResponse *m,
                      struct arena *arena, struct storage_txn_result *out, struct error *err)
{
    if (to_txn_result(arena, txn, m, out, err) < 0)
        return -1;
    remote_saw_revision(r, out->revision);
    return 0;
}

int remote_txn(struct storage *s, const struct storage_txn *txn, struct arena *arena,
               struct storage_txn_result *out, struct error *err)
{
    struct remote *r = remote_of(s);
    Etcd__TxnResponse *response;
    int rc = remote_call(r, METHOD_TXN, writes(txn) ? REMOTE_WRITE : REMOTE_READ,
                         &to_txn(arena, txn)->base, arena, &etcd__txn_response__descriptor,
                         &response, err);
    storage_txn_release_attachments(txn); /* watches hear from etcd, which has none */
    return rc < 0 ? -1 : txn_answer(r, txn, response, arena, out, err);
}

static void submitted_done(struct bytes response, const struct error *failed, void *arg)
{
    struct submitted *s = arg;
    struct storage_txn_result result = { 0 };
    struct error err = *failed;
    if (!err.code) {
        Etcd__TxnResponse *m = remote_unpack(&etcd__txn_response__descriptor, response, s->arena);
        if (!m)
            malformed(&err);
        else
            (void)!txn_answer(s->remote, s->txn, m, s->arena, &result, &err);
    }
    storage_txn_release_attachments(s->txn);
    s->done(&result, &err, s->arg);
    free(s);
}

void remote_txn_submit(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                       void (*done)(const struct storage_txn_result *result,
                                    const struct error *err, void *arg),
                       void *arg)
{
    struct remote *r = remote_of(s);
    struct submitted *submitted = xmalloc(sizeof(*submitted));
    *submitted = (struct submitted){ r, txn, arena, done, arg };
    remote_start(r, METHOD_TXN, writes(txn) ? REMOTE_WRITE : REMOTE_READ, &to_txn(arena, txn)->base,
                 submitted_done, submitted);
}
