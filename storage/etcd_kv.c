/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_kv.c - Range, Put, DeleteRange, Txn and Compact, checked and refused in etcd's words. */
#include "base/hashmap.h"
#include "base/varint.h"
#include "storage/etcd_encode.h"

/* ---- checks ---- */

static int check_key(struct bytes key, struct error *err)
{
    return key.len ? 0 : error_set(err, ERR_BAD_REQUEST, "key is not provided");
}

static int to_range(const Etcd__RangeRequest *r, struct storage_range *out, struct error *err)
{
    if (r->sort_order > ETCD__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        r->sort_target > ETCD__RANGE_REQUEST__SORT_TARGET__VALUE)
        return error_set(err, ERR_BAD_REQUEST, "invalid sort option");
    static const enum storage_sort_order orders[] = {
        [ETCD__RANGE_REQUEST__SORT_ORDER__NONE] = STORAGE_ASCENDING_IN_PAGE,
        [ETCD__RANGE_REQUEST__SORT_ORDER__ASCEND] = STORAGE_ASCENDING,
        [ETCD__RANGE_REQUEST__SORT_ORDER__DESCEND] = STORAGE_DESCENDING,
    };
    *out = (struct storage_range){
        .key = etcd_bytes(r->key),
        .end = etcd_bytes(r->range_end),
        .revision = r->revision,
        .limit = r->limit,
        .keys_only = r->keys_only,
        .count_only = r->count_only,
        .sort_target = (enum storage_sort_target)r->sort_target,
        .sort_order = orders[r->sort_order],
        .min_mod_revision = r->min_mod_revision,
        .max_mod_revision = r->max_mod_revision,
        .min_create_revision = r->min_create_revision,
        .max_create_revision = r->max_create_revision,
    };
    return check_key(out->key, err);
}

static int to_put(const Etcd__PutRequest *r, struct storage_op *out, struct error *err)
{
    *out = (struct storage_op){
        .type = STORAGE_PUT,
        .key = etcd_bytes(r->key),
        .value = etcd_bytes(r->value),
        .lease = r->lease,
        .prev_kv = r->prev_kv,
        .ignore_value = r->ignore_value,
        .ignore_lease = r->ignore_lease,
    };
    if (check_key(out->key, err) < 0)
        return -1;
    if (r->ignore_value && r->value.len)
        return error_set(err, ERR_BAD_REQUEST, "value is provided");
    if (r->ignore_lease && r->lease)
        return error_set(err, ERR_BAD_REQUEST, "lease is provided");
    return 0;
}

static int to_delete(const Etcd__DeleteRangeRequest *r, struct storage_op *out, struct error *err)
{
    *out = (struct storage_op){
        .type = STORAGE_DELETE,
        .key = etcd_bytes(r->key),
        .end = etcd_bytes(r->range_end),
        .prev_kv = r->prev_kv,
    };
    return check_key(out->key, err);
}

/* ---- transactions: from the wire ---- */

/* The next field; *VALUE is empty unless it is length-delimited.  False at the end, or at what the
 * unpacking will refuse. */
static bool read_field(struct bytes *b, uint32_t *field, struct bytes *value)
{
    uint64_t tag, number;
    *value = (struct bytes){ 0 };
    if (!varint_read(b, &tag))
        return false;
    *field = (uint32_t)(tag >> 3);
    size_t skip = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : 0;
    if ((tag & 7) == 0)
        return varint_read(b, &number);
    if ((tag & 7) == 2) {
        if (!varint_read(b, &number) || number > b->len)
            return false;
        *value = (struct bytes){ b->data, number };
        skip = number;
    } else if (!skip) {
        return false;
    }
    if (skip > b->len)
        return false;
    b->data += skip;
    b->len -= skip;
    return true;
}

static bool is_deeper(struct bytes txn, int levels)
{
    uint32_t field;
    struct bytes op, nested;
    while (read_field(&txn, &field, &op)) {
        if (field != 2 && field != 3) /* success, failure */
            continue;
        while (read_field(&op, &field, &nested)) {
            if (field != 4) /* request_txn */
                continue;
            if (levels == 1 || is_deeper(nested, levels - 1))
                return true;
        }
    }
    return false;
}

bool etcd_txn_is_too_deep(struct bytes message)
{
    return is_deeper(message, ETCD_TXN_DEPTH_MAX);
}

/* etcd finds everything equal in a target it does not know, and is content with any outcome if it
 * does not know which one is wanted; only a value must be there for that. */
static void to_odd_compare(const Etcd__Compare *c, struct storage_compare *out)
{
    bool knows_result = (unsigned)c->result <= ETCD__COMPARE__RESULT__NOT_EQUAL;
    bool is_true = !knows_result || c->result == ETCD__COMPARE__RESULT__EQUAL;
    out->target = STORAGE_COMPARE_CREATE_REVISION;
    out->result = is_true ? STORAGE_GREATER : STORAGE_LESS;
    out->number = c->target == ETCD__COMPARE__TARGET__VALUE ? 0 : INT64_MIN;
}

static int to_compares(struct arena *a, const Etcd__TxnRequest *r, struct storage_txn *out,
                       struct error *err)
{
    static const enum storage_compare_target targets[] = {
        [ETCD__COMPARE__TARGET__VERSION] = STORAGE_COMPARE_VERSION,
        [ETCD__COMPARE__TARGET__CREATE] = STORAGE_COMPARE_CREATE_REVISION,
        [ETCD__COMPARE__TARGET__MOD] = STORAGE_COMPARE_MOD_REVISION,
        [ETCD__COMPARE__TARGET__VALUE] = STORAGE_COMPARE_VALUE,
        [ETCD__COMPARE__TARGET__LEASE] = STORAGE_COMPARE_LEASE,
    };
    struct storage_compare *compares = arena_alloc(a, r->n_compare * sizeof(compares[0]) + 1);
    out->compares = compares;
    out->compares_n = r->n_compare;
    for (size_t i = 0; i < r->n_compare; i++) {
        const Etcd__Compare *c = r->compare[i];
        struct storage_compare *to = &compares[i];
        *to = (struct storage_compare){
            .key = etcd_bytes(c->key),
            .end = etcd_bytes(c->range_end),
            .result = (enum storage_compare_result)c->result,
        };
        if (check_key(to->key, err) < 0)
            return -1;
        if ((unsigned)c->target >= ARRAY_LEN(targets) ||
            (unsigned)c->result > ETCD__COMPARE__RESULT__NOT_EQUAL) {
            to_odd_compare(c, to);
            continue;
        }
        to->target = targets[c->target];
        /* A union that names something else than the target compares with zero, as in etcd. */
        if (c->target == ETCD__COMPARE__TARGET__VALUE) {
            if (c->target_union_case == ETCD__COMPARE__TARGET_UNION_VALUE)
                to->value = etcd_bytes(c->value);
        } else if (c->target_union_case ==
                   (c->target == ETCD__COMPARE__TARGET__LEASE
                        ? ETCD__COMPARE__TARGET_UNION_LEASE
                        : ETCD__COMPARE__TARGET_UNION_VERSION + (unsigned)c->target)) {
            to->number = c->version; /* the union's numbers share one place */
        }
    }
    return 0;
}

static int to_txn(struct arena *a, const Etcd__TxnRequest *r, size_t ops_left,
                  struct storage_txn *out, struct error *err);

static int to_op(struct arena *a, const Etcd__RequestOp *r, size_t ops_left, struct storage_op *out,
                 struct error *err)
{
    struct storage_range *range;
    struct storage_txn *txn;
    switch (r->request_case) {
    case ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE:
        range = arena_zalloc(a, sizeof(*range));
        *out = (struct storage_op){ .type = STORAGE_RANGE, .range = range };
        return to_range(r->request_range, range, err);
    case ETCD__REQUEST_OP__REQUEST_REQUEST_PUT:
        return to_put(r->request_put, out, err);
    case ETCD__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return to_delete(r->request_delete_range, out, err);
    case ETCD__REQUEST_OP__REQUEST_REQUEST_TXN:
        txn = arena_zalloc(a, sizeof(*txn));
        *out = (struct storage_op){ .type = STORAGE_TXN, .txn = txn };
        return to_txn(a, r->request_txn, ops_left, txn, err);
    default:
        return error_set(err, ERR_BAD_REQUEST, "key not found"); /* etcd's word for no request */
    }
}

static int to_ops(struct arena *a, Etcd__RequestOp **ops, size_t n, size_t ops_left,
                  const struct storage_op **out, struct error *err)
{
    struct storage_op *list = arena_alloc(a, n * sizeof(list[0]) + 1);
    *out = list;
    for (size_t i = 0; i < n; i++)
        if (to_op(a, ops[i], ops_left, &list[i], err) < 0)
            return -1;
    return 0;
}

static int to_txn(struct arena *a, const Etcd__TxnRequest *r, size_t ops_left,
                  struct storage_txn *out, struct error *err)
{
    size_t ops = r->n_compare;
    ops = r->n_success > ops ? r->n_success : ops;
    ops = r->n_failure > ops ? r->n_failure : ops;
    if (ops > ops_left)
        return error_set(err, ERR_BAD_REQUEST, "too many operations in txn request");
    *out = (struct storage_txn){ .success_n = r->n_success, .failure_n = r->n_failure };
    if (to_compares(a, r, out, err) < 0 ||
        to_ops(a, r->success, r->n_success, ops_left - ops, &out->success, err) < 0)
        return -1;
    return to_ops(a, r->failure, r->n_failure, ops_left - ops, &out->failure, err);
}

/* ---- transactions: a key may be written once ---- */

/* What one branch writes. */
struct writes {
    struct hashmap puts; /* key -> the branch that put it */
    const struct storage_op **deletes;
    size_t deletes_n, deletes_capacity;
    struct arena *arena;
};

static bool is_deleted(const struct writes *w, struct bytes key)
{
    for (size_t i = 0; i < w->deletes_n; i++) {
        const struct storage_op *d = w->deletes[i];
        bool is_one = !d->end.len, is_open = d->end.len == 1 && !d->end.data[0];
        if (is_one ? bytes_equal(key, d->key)
                   : bytes_compare(key, d->key) >= 0 && (is_open || bytes_compare(key, d->end) < 0))
            return true;
    }
    return false;
}

static void add_delete(struct writes *w, const struct storage_op *op)
{
    if (w->deletes_n == w->deletes_capacity)
        w->deletes = arena_grow(w->arena, w->deletes, w->deletes_n, &w->deletes_capacity,
                                sizeof(w->deletes[0]));
    w->deletes[w->deletes_n++] = op;
}

/* BRANCH: puts that stand there already are no duplicates, NULL: all are. */
static int add_put(struct writes *w, struct bytes key, const void *txn, const void *branch,
                   struct error *err)
{
    const void *by = hashmap_get(&w->puts, key);
    bool is_sibling = by && branch && by == txn; /* put by the other branch of the same TXN */
    if ((by && !is_sibling) || is_deleted(w, key))
        return error_set(err, ERR_BAD_REQUEST, "duplicate key given in txn request");
    if (!by)
        hashmap_put(&w->puts, key, (void *)(uintptr_t)txn);
    return 0;
}

static int collect_writes(const struct storage_op *ops, size_t n, struct writes *w,
                          struct error *err);

/* The branches of TXN exclude one another, so they may write the same keys; what stands beside TXN
 * may not. */
static int collect_nested(const struct storage_txn *txn, struct writes *w, struct error *err)
{
    struct writes branches[2] = { { .arena = w->arena }, { .arena = w->arena } };
    int rc = collect_writes(txn->success, txn->success_n, &branches[0], err);
    if (rc == 0)
        rc = collect_writes(txn->failure, txn->failure_n, &branches[1], err);
    for (int b = 0; b < 2; b++)
        hashmap_each (&branches[b].puts, e)
            if (rc == 0)
                rc = add_put(w, e->key, txn, b ? txn : NULL, err);
    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; rc == 0 && i < branches[b].deletes_n; i++)
            add_delete(w, branches[b].deletes[i]);
        hashmap_deinit(&branches[b].puts);
    }
    return rc;
}

/* Deletions may overlap each other, a put may overlap nothing. */
static int collect_writes(const struct storage_op *ops, size_t n, struct writes *w,
                          struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ops[i].type == STORAGE_DELETE)
            add_delete(w, &ops[i]);
    for (size_t i = 0; i < n; i++)
        if (ops[i].type == STORAGE_TXN && collect_nested(ops[i].txn, w, err) < 0)
            return -1;
    for (size_t i = 0; i < n; i++)
        if (ops[i].type == STORAGE_PUT && add_put(w, ops[i].key, &ops[i], NULL, err) < 0)
            return -1;
    return 0;
}

static int check_duplicates(struct arena *a, const struct storage_txn *txn, struct error *err)
{
    const struct storage_op *branches[] = { txn->success, txn->failure };
    size_t counts[] = { txn->success_n, txn->failure_n };
    int rc = 0;
    for (int b = 0; b < 2 && rc == 0; b++) {
        struct writes w = { .arena = a };
        rc = collect_writes(branches[b], counts[b], &w, err);
        hashmap_deinit(&w.puts);
    }
    return rc;
}

static bool has_puts(const struct storage_txn *txn)
{
    const struct storage_op *branches[] = { txn->success, txn->failure };
    size_t counts[] = { txn->success_n, txn->failure_n };
    for (int b = 0; b < 2; b++)
        for (size_t i = 0; i < counts[b]; i++) {
            const struct storage_op *op = &branches[b][i];
            if (op->type == STORAGE_PUT || (op->type == STORAGE_TXN && has_puts(op->txn)))
                return true;
        }
    return false;
}

/* ---- responses ---- */

static Etcd__KeyValue **to_kvs(struct arena *a, const struct storage_kv *kvs, size_t n)
{
    Etcd__KeyValue **list = arena_alloc(a, n * sizeof(list[0]) + 1);
    Etcd__KeyValue *items = arena_alloc(a, n * sizeof(items[0]) + 1);
    for (size_t i = 0; i < n; i++) {
        etcd_kv(&kvs[i], &items[i]);
        list[i] = &items[i];
    }
    return list;
}

static void fill_range(struct arena *a, const struct storage_range_result *r,
                       Etcd__RangeResponse *out)
{
    etcd__range_response__init(out);
    out->kvs = to_kvs(a, r->kvs, r->n);
    out->n_kvs = r->n;
    out->more = r->more;
    out->count = r->count;
}

static void fill_put(struct arena *a, const struct storage_op_result *r, Etcd__PutResponse *out)
{
    etcd__put_response__init(out);
    if (r->prev_kvs_n)
        out->prev_kv = to_kvs(a, r->prev_kvs, 1)[0];
}

static void fill_delete(struct arena *a, const struct storage_op_result *r,
                        Etcd__DeleteRangeResponse *out)
{
    etcd__delete_range_response__init(out);
    out->deleted = r->deleted;
    out->prev_kvs = to_kvs(a, r->prev_kvs, r->prev_kvs_n);
    out->n_prev_kvs = r->prev_kvs_n;
}

static Etcd__ResponseHeader *inner_header(struct arena *a, int64_t revision)
{
    Etcd__ResponseHeader *h = arena_alloc(a, sizeof(*h));
    etcd__response_header__init(h);
    h->revision = revision;
    return h;
}

static void fill_txn(struct arena *a, const struct storage_txn_result *r, Etcd__TxnResponse *out);

/* Operations inside a transaction have headers with nothing but a revision, and inner transactions
 * not even that: so does etcd. */
static void fill_op(struct arena *a, const struct storage_op_result *r, Etcd__ResponseOp *out)
{
    etcd__response_op__init(out);
    switch (r->type) {
    case STORAGE_RANGE:
        out->response_case = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        out->response_range = arena_alloc(a, sizeof(*out->response_range));
        fill_range(a, &r->range, out->response_range);
        out->response_range->header = inner_header(a, r->revision);
        break;
    case STORAGE_PUT:
        out->response_case = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        out->response_put = arena_alloc(a, sizeof(*out->response_put));
        fill_put(a, r, out->response_put);
        out->response_put->header = inner_header(a, r->revision);
        break;
    case STORAGE_DELETE:
        out->response_case = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        out->response_delete_range = arena_alloc(a, sizeof(*out->response_delete_range));
        fill_delete(a, r, out->response_delete_range);
        out->response_delete_range->header = inner_header(a, r->revision);
        break;
    case STORAGE_TXN:
        out->response_case = ETCD__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
        out->response_txn = arena_alloc(a, sizeof(*out->response_txn));
        fill_txn(a, r->txn, out->response_txn);
        out->response_txn->header = inner_header(a, 0);
        break;
    }
}

static void fill_txn(struct arena *a, const struct storage_txn_result *r, Etcd__TxnResponse *out)
{
    etcd__txn_response__init(out);
    out->succeeded = r->succeeded;
    out->n_responses = r->n;
    out->responses = arena_alloc(a, r->n * sizeof(out->responses[0]) + 1);
    for (size_t i = 0; i < r->n; i++) {
        out->responses[i] = arena_alloc(a, sizeof(*out->responses[i]));
        fill_op(a, &r->results[i], out->responses[i]);
    }
}

/* ---- methods ---- */

static void run_range(struct etcd_request *rq)
{
    struct storage_range range;
    struct storage_range_result result;
    struct storage_hold *hold = NULL;
    struct error err = { 0 };
    if (to_range((const Etcd__RangeRequest *)rq->message, &range, &err) < 0 ||
        storage_range_hold(rq->server->storage, &range, rq->arena, &result, &hold, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    struct etcd_server *s = rq->server;
    etcd_encode_range(rq, &result, hold);
    storage_hold_release(s->storage, hold);
}

/* Only ranges: etcd does not write such a transaction to its log, so it may be larger. */
static bool is_read_only(const struct storage_txn *txn)
{
    for (size_t i = 0; i < txn->success_n; i++)
        if (txn->success[i].type != STORAGE_RANGE)
            return false;
    for (size_t i = 0; i < txn->failure_n; i++)
        if (txn->failure[i].type != STORAGE_RANGE)
            return false;
    return true;
}

static void submit(struct etcd_request *rq, storage_txn_done_fn *done)
{
    if (rq->message_bytes > ETCD_REQUEST_BYTES_MAX && !is_read_only(&rq->txn)) {
        etcd_fail_status(rq, GRPC_INVALID_ARGUMENT, "etcdserver: request is too large");
        return;
    }
    if (storage_has_alarm(rq->server->storage) && has_puts(&rq->txn)) {
        struct error err = { 0 };
        error_set(&err, ERR_NO_SPACE, "database space exceeded");
        etcd_fail(rq, &err);
        return;
    }
    etcd_submit(rq, done);
}

static void submit_op(struct etcd_request *rq, storage_txn_done_fn *done)
{
    rq->txn = (struct storage_txn){ .success = &rq->op, .success_n = 1 };
    submit(rq, done);
}

static void put_done(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct etcd_request *rq = arg;
    if (err->code) {
        etcd_fail(rq, err);
        return;
    }
    Etcd__PutResponse response;
    Etcd__ResponseHeader header;
    fill_put(rq->arena, &result->results[0], &response);
    etcd_header(rq->server, result->revision, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_put(struct etcd_request *rq)
{
    struct error err = { 0 };
    if (to_put((const Etcd__PutRequest *)rq->message, &rq->op, &err) < 0)
        etcd_fail(rq, &err);
    else
        submit_op(rq, put_done);
}

static void delete_done(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct etcd_request *rq = arg;
    if (err->code) {
        etcd_fail(rq, err);
        return;
    }
    Etcd__DeleteRangeResponse response;
    Etcd__ResponseHeader header;
    fill_delete(rq->arena, &result->results[0], &response);
    etcd_header(rq->server, result->revision, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_delete(struct etcd_request *rq)
{
    struct error err = { 0 };
    if (to_delete((const Etcd__DeleteRangeRequest *)rq->message, &rq->op, &err) < 0)
        etcd_fail(rq, &err);
    else
        submit_op(rq, delete_done);
}

static void txn_done(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct etcd_request *rq = arg;
    if (err->code) {
        etcd_fail(rq, err);
        return;
    }
    Etcd__TxnResponse response;
    Etcd__ResponseHeader header;
    fill_txn(rq->arena, result, &response);
    etcd_header(rq->server, result->revision, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_txn(struct etcd_request *rq)
{
    struct error err = { 0 };
    const Etcd__TxnRequest *r = (const Etcd__TxnRequest *)rq->message;
    if (to_txn(rq->arena, r, ETCD_TXN_OPS_MAX, &rq->txn, &err) < 0 ||
        check_duplicates(rq->arena, &rq->txn, &err) < 0)
        etcd_fail(rq, &err);
    else
        submit(rq, txn_done);
}

static void run_compact(struct etcd_request *rq)
{
    const Etcd__CompactionRequest *r = (const Etcd__CompactionRequest *)rq->message;
    struct error err = { 0 };
    /* Before the first compaction etcd's oldest revision is -1, so there is nothing wrong with 0.
     */
    bool is_nothing = r->revision == 0 && storage_compacted_revision(rq->server->storage) == 0;
    if ((!is_nothing && storage_compact(rq->server->storage, r->revision, &err) < 0) ||
        (r->physical && storage_defragment(rq->server->storage, &err) < 0)) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__CompactionResponse response = ETCD__COMPACTION_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(rq->server, storage_revision(rq->server->storage), &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

const struct etcd_method etcd_kv_methods[] = {
    { "/etcdserverpb.KV/Range", &etcd__range_request__descriptor, run_range, ON_READER },
    { "/etcdserverpb.KV/Put", &etcd__put_request__descriptor, run_put, ON_LOOP },
    { "/etcdserverpb.KV/Txn", &etcd__txn_request__descriptor, run_txn, ON_LOOP },
    { "/etcdserverpb.KV/DeleteRange", &etcd__delete_range_request__descriptor, run_delete,
      ON_LOOP },
    { "/etcdserverpb.KV/Compact", &etcd__compaction_request__descriptor, run_compact, ON_UPKEEP },
    ETCD_METHODS_END,
};
