/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_kv_test.c - KV, leases and maintenance over gRPC: what etcdctl cannot ask for. */
#include "test/unit/storage/etcd_fixture.h"

#include <fcntl.h>

#include "storage/snapshot_file.h"

static Etcd__TxnResponse *run_txn(struct served *s, const Etcd__TxnRequest *r)
{
    return unary(s, "/etcdserverpb.KV/Txn", &r->base, &etcd__txn_response__descriptor);
}

static void put_op(Etcd__RequestOp *op, Etcd__PutRequest *put, const char *key, const char *value)
{
    etcd__request_op__init(op);
    etcd__put_request__init(put);
    put->key = binary(key);
    put->value = binary(value);
    op->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = put;
}

static void txn_op(Etcd__RequestOp *op, Etcd__TxnRequest *txn)
{
    etcd__request_op__init(op);
    op->request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_TXN;
    op->request_txn = txn;
}

static void an_inner_compare_looks_at_what_was_before_the_transaction(void **state)
{
    struct served *s = *state;
    put(s->f, "a", "old");
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    compare.target = ETCD__COMPARE__TARGET__VALUE;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_VALUE;
    compare.key = binary("a");
    compare.value = binary("old");
    Etcd__PutRequest outer_put, inner_put;
    Etcd__RequestOp outer[2], inner, *outer_ops[] = { &outer[0], &outer[1] },
                                     *inner_ops[] = { &inner };
    Etcd__TxnRequest nested = ETCD__TXN_REQUEST__INIT, r = ETCD__TXN_REQUEST__INIT;
    put_op(&outer[0], &outer_put, "a", "new");
    put_op(&inner, &inner_put, "b", "seen");
    txn_op(&outer[1], &nested);
    nested.n_compare = nested.n_success = 1;
    nested.compare = compares;
    nested.success = inner_ops;
    r.n_success = 2;
    r.success = outer_ops;

    Etcd__TxnResponse *response = run_txn(s, &r);
    assert_non_null(response);
    assert_true(response->responses[1]->response_txn->succeeded);
    assert_int_equal(response->responses[1]->response_txn->header->revision, 0);
    assert_int_equal(response->responses[0]->response_put->header->revision, 3);
    assert_int_equal(response->header->revision, 3);
    etcd__txn_response__free_unpacked(response, NULL);
    assert_int_equal(range(s->f, "b", NULL, 0).n, 1);
}

static void branches_of_an_inner_transaction_may_write_the_same_key(void **state)
{
    struct served *s = *state;
    Etcd__PutRequest puts[3];
    Etcd__RequestOp then_op, else_op, nested_op, beside;
    Etcd__RequestOp *then_ops[] = { &then_op }, *else_ops[] = { &else_op },
                    *ops[] = { &nested_op, &beside };
    Etcd__TxnRequest nested = ETCD__TXN_REQUEST__INIT, r = ETCD__TXN_REQUEST__INIT;
    put_op(&then_op, &puts[0], "a", "1");
    put_op(&else_op, &puts[1], "a", "2");
    put_op(&beside, &puts[2], "a", "3");
    nested.n_success = nested.n_failure = 1;
    nested.success = then_ops;
    nested.failure = else_ops;
    txn_op(&nested_op, &nested);
    r.n_success = 1;
    r.success = ops;
    Etcd__TxnResponse *response = run_txn(s, &r);
    assert_non_null(response);
    etcd__txn_response__free_unpacked(response, NULL);

    r.n_success = 2;
    assert_refused(s, run_txn(s, &r), GRPC_INVALID_ARGUMENT,
                   "etcdserver: duplicate key given in txn request");
}

static void transactions_nested_too_deep_are_refused_before_they_are_unpacked(void **state)
{
    struct served *s = *state;
    enum { LEVELS = 100 };
    Etcd__TxnRequest txns[LEVELS];
    Etcd__RequestOp ops[LEVELS], *pointers[LEVELS];
    for (int i = LEVELS - 1; i >= 0; i--) {
        etcd__txn_request__init(&txns[i]);
        if (i + 1 == LEVELS)
            continue;
        txn_op(&ops[i], &txns[i + 1]);
        pointers[i] = &ops[i];
        txns[i].n_success = 1;
        txns[i].success = &pointers[i];
    }
    assert_refused(s, run_txn(s, &txns[0]), GRPC_INVALID_ARGUMENT, "nested too deep");
    Etcd__TxnResponse *response = run_txn(s, &txns[LEVELS - 7]);
    assert_non_null(response);
    etcd__txn_response__free_unpacked(response, NULL);
}

static void a_range_may_be_bounded_by_revisions(void **state)
{
    struct served *s = *state;
    put(s->f, "a", "1");                   /* 2 */
    put(s->f, "b", "1");                   /* 3 */
    int64_t third = put(s->f, "c", "1");   /* 4 */
    int64_t changed = put(s->f, "a", "2"); /* 5 */
    struct {
        int64_t min_mod, max_mod, min_create, max_create, limit;
        const char *keys;
        bool more;
    } cases[] = {
        { .min_mod = third, .keys = "ac" },
        { .max_mod = third, .keys = "bc" },
        { .min_mod = third, .max_mod = third, .keys = "c" },
        { .min_create = third, .keys = "c" },
        { .max_create = third - 1, .keys = "ab" },
        { .min_mod = changed + 1, .keys = "" },
        { .max_mod = third, .limit = 1, .keys = "b", .more = true },
        { .max_mod = third, .limit = 2, .keys = "bc" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
        r.key = binary("a");
        r.range_end = binary("z");
        r.min_mod_revision = cases[i].min_mod;
        r.max_mod_revision = cases[i].max_mod;
        r.min_create_revision = cases[i].min_create;
        r.max_create_revision = cases[i].max_create;
        r.limit = cases[i].limit;
        Etcd__RangeResponse *out =
            unary(s, "/etcdserverpb.KV/Range", &r.base, &etcd__range_response__descriptor);
        assert_non_null(out);
        assert_int_equal(out->n_kvs, strlen(cases[i].keys));
        for (size_t k = 0; k < out->n_kvs; k++)
            assert_int_equal(out->kvs[k]->key.data[0], cases[i].keys[k]);
        assert_int_equal(out->count, 3);
        assert_int_equal(out->more, cases[i].more);
        etcd__range_response__free_unpacked(out, NULL);
    }
}

/* It is sent in parts, and nothing of it is packed as a whole. */
static void a_long_range_is_whole(void **state)
{
    struct served *s = *state;
    enum { KEYS = 300, VALUE_BYTES = 3000 };
    char value[VALUE_BYTES + 1], key[16];
    int64_t lease = 0;
    struct error err = { 0 };
    assert_int_equal(storage_lease_grant(s->f->s, 77, 100, &lease, &err), 0);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        memset(value, 'a' + i % 26, VALUE_BYTES);
        value[i * 10] = 0; /* of every length from none on */
        struct storage_op op = { .type = STORAGE_PUT,
                                 .key = bytes_of(key),
                                 .value = bytes_of(value),
                                 .lease = i % 3 ? 0 : lease };
        apply_op(s->f, &op, NULL);
    }
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    r.key = binary("k");
    r.range_end = binary("l");
    r.limit = KEYS - 1;
    Etcd__RangeResponse *out =
        unary(s, "/etcdserverpb.KV/Range", &r.base, &etcd__range_response__descriptor);
    assert_non_null(out);
    assert_int_equal(out->count, KEYS);
    assert_true(out->more);
    assert_int_equal(out->header->revision, storage_revision(s->f->s));
    assert_int_equal(out->n_kvs, KEYS - 1);
    for (int i = 0; i < KEYS - 1; i++) {
        const Etcd__KeyValue *kv = out->kvs[i];
        snprintf(key, sizeof(key), "k%03d", i);
        assert_memory_equal(kv->key.data, key, 4);
        assert_int_equal(kv->value.len, i * 10);
        assert_true(i == 0 || kv->value.data[i * 10 - 1] == 'a' + i % 26);
        assert_int_equal(kv->mod_revision, i + 2);
        assert_int_equal(kv->create_revision, i + 2);
        assert_int_equal(kv->version, 1);
        assert_int_equal(kv->lease, i % 3 ? 0 : 77);
    }
    etcd__range_response__free_unpacked(out, NULL);
}

static void a_compare_may_cover_a_range(void **state)
{
    struct served *s = *state;
    put(s->f, "a1", "x");
    put(s->f, "a2", "y");
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    compare.result = ETCD__COMPARE__RESULT__GREATER;
    compare.target = ETCD__COMPARE__TARGET__MOD;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.key = binary("a");
    compare.range_end = binary("b");
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    r.n_compare = 1;
    r.compare = compares;
    for (int64_t bound = 1; bound <= 2; bound++) {
        compare.mod_revision = bound;
        Etcd__TxnResponse *out = run_txn(s, &r);
        assert_non_null(out);
        assert_int_equal(out->succeeded, bound == 1);
        etcd__txn_response__free_unpacked(out, NULL);
    }
}

static void a_lease_is_compared(void **state)
{
    struct served *s = *state;
    put(s->f, "a", "x");
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    compare.target = ETCD__COMPARE__TARGET__LEASE;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_LEASE;
    compare.key = binary("a");
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    r.n_compare = 1;
    r.compare = compares;
    for (int64_t lease = 0; lease <= 1; lease++) {
        compare.lease = lease;
        Etcd__TxnResponse *out = run_txn(s, &r);
        assert_non_null(out);
        assert_int_equal(out->succeeded, lease == 0);
        etcd__txn_response__free_unpacked(out, NULL);
    }
}

static void a_compare_that_nobody_knows_has_etcds_outcome(void **state)
{
    struct served *s = *state;
    put(s->f, "a", "x");
    const struct {
        const char *key;
        int target, result;
        bool outcome;
    } cases[] = {
        { "a", 9, ETCD__COMPARE__RESULT__EQUAL, true },
        { "a", 9, ETCD__COMPARE__RESULT__NOT_EQUAL, false },
        { "a", 9, ETCD__COMPARE__RESULT__GREATER, false },
        { "none", ETCD__COMPARE__TARGET__MOD, 9, true },
        { "none", ETCD__COMPARE__TARGET__VALUE, 9, false },
        { "a", ETCD__COMPARE__TARGET__VALUE, 9, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
        compare.key = binary(cases[i].key);
        compare.target = cases[i].target;
        compare.result = cases[i].result;
        Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
        r.n_compare = 1;
        r.compare = compares;
        Etcd__TxnResponse *out = run_txn(s, &r);
        assert_non_null(out);
        assert_int_equal(out->succeeded, cases[i].outcome);
        etcd__txn_response__free_unpacked(out, NULL);
    }
}

static void a_sort_without_an_order_sorts_the_page(void **state)
{
    struct served *s = *state;
    put(s->f, "d", "1");
    put(s->f, "c", "1");
    put(s->f, "b", "1");
    put(s->f, "a", "1");
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    r.key = binary("a");
    r.range_end = binary("z");
    r.limit = 1;
    r.sort_target = ETCD__RANGE_REQUEST__SORT_TARGET__CREATE;
    for (int order = 0; order <= 1; order++) {
        r.sort_order = order;
        Etcd__RangeResponse *out =
            unary(s, "/etcdserverpb.KV/Range", &r.base, &etcd__range_response__descriptor);
        assert_non_null(out);
        assert_int_equal(out->n_kvs, 1);
        assert_true(out->more);
        assert_int_equal(out->kvs[0]->key.data[0], order ? 'd' : 'b');
        etcd__range_response__free_unpacked(out, NULL);
    }
}

static void of_two_errors_that_of_a_put_is_told(void **state)
{
    struct served *s = *state;
    Etcd__PutRequest put_request;
    Etcd__RangeRequest get = ETCD__RANGE_REQUEST__INIT;
    Etcd__RequestOp ops[2], *pointers[] = { &ops[0], &ops[1] };
    etcd__request_op__init(&ops[0]);
    ops[0].request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    ops[0].request_range = &get;
    get.key = binary("a");
    get.revision = 99;
    put_op(&ops[1], &put_request, "b", "1");
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    r.n_success = 2;
    r.success = pointers;
    assert_refused(s, run_txn(s, &r), GRPC_OUT_OF_RANGE, "is a future revision");
    put_request.lease = 404;
    assert_refused(s, run_txn(s, &r), GRPC_NOT_FOUND, "etcdserver: requested lease not found");
    put_request.lease = 0;
    get.revision = -2;
    assert_refused(s, run_txn(s, &r), GRPC_OUT_OF_RANGE, "has been compacted");
    get.revision = -1;
    Etcd__TxnResponse *out = run_txn(s, &r);
    assert_non_null(out);
    etcd__txn_response__free_unpacked(out, NULL);
}

static void a_member_stays_alone(void **state)
{
    struct served *s = *state;
    const struct {
        const char *url;
        enum grpc_status status;
    } cases[] = {
        { "http://127.0.0.1:1", GRPC_UNIMPLEMENTED },
        { "http://127.0.0.1", GRPC_INVALID_ARGUMENT },
        { "http://127.0.0.1:1/path", GRPC_INVALID_ARGUMENT },
        { "ftp://127.0.0.1:1", GRPC_INVALID_ARGUMENT },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *urls[] = { (char *)(uintptr_t)cases[i].url };
        Etcd__MemberAddRequest r = ETCD__MEMBER_ADD_REQUEST__INIT;
        r.n_peer_urls = 1;
        r.peer_urls = urls;
        assert_refused(s,
                       unary(s, "/etcdserverpb.Cluster/MemberAdd", &r.base,
                             &etcd__member_add_response__descriptor),
                       cases[i].status, "etcdserver: ");
    }
}

static void errors_have_etcds_codes_and_texts(void **state)
{
    struct served *s = *state;
    Etcd__RangeRequest get = ETCD__RANGE_REQUEST__INIT;
    assert_refused(s,
                   unary(s, "/etcdserverpb.KV/Range", &get.base, &etcd__range_response__descriptor),
                   GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided");
    get.key = binary("a");
    get.revision = 99;
    assert_refused(s,
                   unary(s, "/etcdserverpb.KV/Range", &get.base, &etcd__range_response__descriptor),
                   GRPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision");
    get.revision = 0;
    get.sort_order = 7;
    assert_refused(s,
                   unary(s, "/etcdserverpb.KV/Range", &get.base, &etcd__range_response__descriptor),
                   GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option");
    Etcd__PutRequest put_request = ETCD__PUT_REQUEST__INIT;
    put_request.key = binary("a");
    put_request.lease = 5;
    assert_refused(
        s, unary(s, "/etcdserverpb.KV/Put", &put_request.base, &etcd__put_response__descriptor),
        GRPC_NOT_FOUND, "etcdserver: requested lease not found");
    assert_refused(s,
                   unary(s, "/etcdserverpb.KV/Nothing", &get.base, &etcd__put_response__descriptor),
                   GRPC_UNIMPLEMENTED, "unknown method Nothing for service etcdserverpb.KV");
    assert_refused(s, unary(s, "/nothing/Range", &get.base, &etcd__put_response__descriptor),
                   GRPC_UNIMPLEMENTED, "unknown service nothing");
}

static void an_alarm_raised_by_a_client_stops_puts_until_it_is_lowered(void **state)
{
    struct served *s = *state;
    Etcd__AlarmRequest alarm = ETCD__ALARM_REQUEST__INIT;
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    r.key = binary("a");
    alarm.alarm = ETCD__ALARM_TYPE__NOSPACE;
    for (int i = 0; i < 2; i++) {
        alarm.action =
            i ? ETCD__ALARM_REQUEST__ACTION__DEACTIVATE : ETCD__ALARM_REQUEST__ACTION__ACTIVATE;
        Etcd__AlarmResponse *raised = unary(s, "/etcdserverpb.Maintenance/Alarm", &alarm.base,
                                            &etcd__alarm_response__descriptor);
        assert_non_null(raised);
        assert_int_equal(raised->n_alarms, 1);
        etcd__alarm_response__free_unpacked(raised, NULL);
        Etcd__PutResponse *response =
            unary(s, "/etcdserverpb.KV/Put", &r.base, &etcd__put_response__descriptor);
        if (!i) {
            assert_refused(s, response, GRPC_RESOURCE_EXHAUSTED,
                           "etcdserver: mvcc: database space exceeded");
            continue;
        }
        assert_non_null(response);
        etcd__put_response__free_unpacked(response, NULL);
    }
}

static void the_server_says_that_it_is_healthy(void **state)
{
    struct served *s = *state;
    Etcd__HealthCheckRequest r = ETCD__HEALTH_CHECK_REQUEST__INIT;
    Etcd__HealthCheckResponse *out =
        unary(s, "/grpc.health.v1.Health/Check", &r.base, &etcd__health_check_response__descriptor);
    assert_non_null(out);
    assert_int_equal(out->status, ETCD__HEALTH_CHECK_RESPONSE__STATUS__SERVING);
    etcd__health_check_response__free_unpacked(out, NULL);
}

/* ---- history and snapshots ---- */

struct seen {
    struct buffer text;
};

static int see(const struct storage_version *v, void *arg, struct error *err)
{
    (void)err;
    struct seen *seen = arg;
    buffer_printf(&seen->text, "%lld:%.*s%s%s ", (long long)v->kv.mod_revision, (int)v->kv.key.len,
                  v->kv.key.data, v->is_delete ? "-" : "", v->is_replaced ? "!" : "");
    return 0;
}

static void assert_history(struct fixture *f, int64_t revision, const char *text)
{
    struct seen seen = { 0 };
    struct storage_history history;
    struct error err = { 0 };
    assert_int_equal(storage_each_version(f->s, revision, &history, see, &seen, &err), 0);
    assert_string_equal(seen.text.data, text);
    buffer_free(&seen.text);
}

static void every_version_is_given_in_the_order_it_was_written(void **state)
{
    struct served *s = *state;
    struct fixture *f = s->f;
    struct error err = { 0 };
    put(f, "b", "1");                /* 2 */
    put(f, "a", "1");                /* 3 */
    del(f, "b");                     /* 4 */
    int64_t kept = put(f, "a", "2"); /* 5 */
    put(f, "c", "1");                /* 6 */
    for (int i = 0; i < 2; i++) {
        assert_history(f, 0, "2:b 3:a 4:b- 5:a 6:c ");
        assert_history(f, 4, "2:b 3:a 4:b- ");
        assert_int_equal(storage_defragment(f->s, &err), 0);
    }
    assert_int_equal(storage_compact(f->s, kept, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_history(f, 0, "5:a 6:c ");
        assert_int_equal(storage_defragment(f->s, &err), 0);
    }
    put(f, "a", "3");
    assert_history(f, 0, "5:a! 6:c 7:a ");
    struct storage_history history;
    struct seen seen = { 0 };
    assert_int_equal(storage_each_version(f->s, 4, &history, see, &seen, &err), -1);
    assert_int_equal(err.code, ERR_COMPACTED);
}

static void a_snapshot_of_any_size_is_a_whole_file(void **state)
{
    struct served *s = *state;
    struct error err = { 0 };
    char value[3000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int round = 0; round < 4; round++) {
        int fd = open(s->f->dir, O_TMPFILE | O_RDWR, 0600);
        assert_true(fd >= 0);
        assert_int_equal(snapshot_file_write(s->f->s, fd, &err), 0);
        off_t size = lseek(fd, 0, SEEK_END);
        assert_int_equal(size % 4096, 32); /* pages, and a digest */
        uint32_t magic = 0;
        assert_int_equal(pread(fd, &magic, sizeof(magic), 16), sizeof(magic));
        assert_int_equal(magic, 0xED0CDAED);
        close(fd);
        for (int i = 0; i < 300; i++)
            put(s->f, "key", value + (i * 7919 % 2900));
    }
}

static struct grpc_stream *ask_for_snapshot(struct served *s)
{
    struct error err = { 0 };
    struct grpc_call_options options = { 0 };
    Etcd__SnapshotRequest request = ETCD__SNAPSHOT_REQUEST__INIT;
    struct grpc_stream *stream =
        grpc_stream_open(s->channel, "/etcdserverpb.Maintenance/Snapshot", &options, &err);
    assert_non_null(stream);
    assert_int_equal(grpc_stream_send(stream, pack(s, &request.base), &err), 0);
    grpc_stream_end_send(stream);
    return stream;
}

static enum grpc_status read_snapshot(struct served *s, struct grpc_stream *stream)
{
    struct error err = { 0 };
    struct bytes part;
    int got;
    while ((got = grpc_stream_receive(stream, s->f->arena, &part, &err)) == 1)
        continue;
    enum grpc_status status = got < 0 ? grpc_stream_status(stream) : GRPC_OK;
    grpc_stream_close(stream);
    return status;
}

/* As many who do not read as there are workers, and one who does: again where the machine was too
 * slow for it. */
static void who_does_not_read_a_snapshot_is_cut_off(void **state)
{
    struct served *s = *state;
    size_t size = (size_t)1 << 20;
    scoped(str) char *value = xmalloc(size + 1);
    memset(value, 'v', size);
    value[size] = '\0';
    for (char key[] = "a"; key[0] <= 't'; key[0]++) /* more than the client takes unread */
        put(s->f, key, value);
    struct grpc_stream *idle[] = { ask_for_snapshot(s), ask_for_snapshot(s) };
    enum grpc_status reader;
    while ((reader = read_snapshot(s, ask_for_snapshot(s))) == GRPC_ABORTED)
        continue;
    assert_int_equal(reader, GRPC_OK);
    enum grpc_status first = read_snapshot(s, idle[0]), second = read_snapshot(s, idle[1]);
    assert_true(first == GRPC_ABORTED || second == GRPC_ABORTED);
}

int main(void)
{
#define S(name) cmocka_unit_test_setup_teardown(name, serve, unserve)
    const struct CMUnitTest tests[] = {
        S(an_inner_compare_looks_at_what_was_before_the_transaction),
        S(branches_of_an_inner_transaction_may_write_the_same_key),
        S(transactions_nested_too_deep_are_refused_before_they_are_unpacked),
        S(a_range_may_be_bounded_by_revisions),
        S(a_long_range_is_whole),
        S(a_compare_may_cover_a_range),
        S(a_lease_is_compared),
        S(a_compare_that_nobody_knows_has_etcds_outcome),
        S(a_sort_without_an_order_sorts_the_page),
        S(of_two_errors_that_of_a_put_is_told),
        S(a_member_stays_alone),
        S(errors_have_etcds_codes_and_texts),
        S(an_alarm_raised_by_a_client_stops_puts_until_it_is_lowered),
        S(the_server_says_that_it_is_healthy),
        S(every_version_is_given_in_the_order_it_was_written),
        S(a_snapshot_of_any_size_is_a_whole_file),
        S(who_does_not_read_a_snapshot_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
