/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_watch_test.c - watch and keep-alive streams over gRPC. */
#include "test/unit/storage/etcd_fixture.h"

static struct grpc_stream *open_stream(struct served *s, const char *method)
{
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct grpc_stream *stream = grpc_stream_open(s->channel, method, &options, &err);
    assert_non_null(stream);
    return stream;
}

static void send_message(struct served *s, struct grpc_stream *stream, const ProtobufCMessage *m)
{
    struct error err = { 0 };
    assert_int_equal(grpc_stream_send(stream, pack(s, m), &err), 0);
}

static void create(struct served *s, struct grpc_stream *stream, Etcd__WatchCreateRequest *c)
{
    Etcd__WatchRequest r = ETCD__WATCH_REQUEST__INIT;
    r.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    r.create_request = c;
    send_message(s, stream, &r.base);
}

static void create_for(struct served *s, struct grpc_stream *stream, const char *key, int64_t start)
{
    Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
    c.key = binary(key);
    c.start_revision = start;
    create(s, stream, &c);
}

static Etcd__WatchResponse *next(struct served *s, struct grpc_stream *stream)
{
    struct error err = { 0 };
    struct bytes message;
    if (grpc_stream_receive(stream, s->f->arena, &message, &err) != 1)
        fail_msg("%s", err.message);
    Etcd__WatchResponse *r =
        etcd__watch_response__unpack(NULL, message.len, (const uint8_t *)message.data);
    assert_non_null(r);
    return r;
}

#define with_next(r)                                                                               \
    for (Etcd__WatchResponse *r = next(s, stream); r;                                              \
         etcd__watch_response__free_unpacked(r, NULL), r = NULL)

static void many_watches_share_a_stream(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    create_for(s, stream, "a", 0);
    create_for(s, stream, "b", 0);
    for (int i = 0; i < 2; i++) {
        with_next(r)
        {
            assert_true(r->created);
            assert_int_equal(r->watch_id, i);
            assert_int_equal(r->header->revision, 1);
        }
    }
    put(s->f, "b", "1");
    put(s->f, "a", "2");
    with_next(r)
    {
        assert_int_equal(r->watch_id, 1);
        assert_int_equal(r->header->revision, 2);
        assert_int_equal(r->events[0]->kv->mod_revision, 2);
    }
    with_next(r) assert_int_equal(r->watch_id, 0);
    grpc_stream_close(stream);
}

static void a_canceled_watch_says_so_and_no_more(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    create_for(s, stream, "a", 0);
    create_for(s, stream, "z", 0);
    with_next(r) assert_true(r->created);
    with_next(r) assert_true(r->created);
    Etcd__WatchCancelRequest cancel = ETCD__WATCH_CANCEL_REQUEST__INIT;
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel;
    send_message(s, stream, &request.base);
    with_next(r)
    {
        assert_true(r->canceled);
        assert_int_equal(r->watch_id, 0);
    }
    put(s->f, "a", "1");
    put(s->f, "z", "1");
    with_next(r) assert_int_equal(r->watch_id, 1);
    grpc_stream_close(stream);
}

static void a_watch_of_compacted_history_is_canceled_with_the_revision_to_start_from(void **state)
{
    struct served *s = *state;
    struct error err = { 0 };
    for (int i = 0; i < 5; i++)
        put(s->f, "a", "1");
    assert_int_equal(storage_compact(s->f->s, 5, &err), 0);
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    create_for(s, stream, "a", 3);
    with_next(r) assert_true(r->created);
    with_next(r)
    {
        assert_true(r->canceled);
        assert_int_equal(r->compact_revision, 5);
        assert_string_equal(r->cancel_reason, "");
        assert_int_equal(r->header->revision, 0);
    }
    create_for(s, stream, "a", 5);
    with_next(r) assert_true(r->created);
    with_next(r) assert_int_equal(r->events[0]->kv->mod_revision, 5);
    grpc_stream_close(stream);
}

static void watches_that_cannot_be_are_created_and_canceled_at_once(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
    c.key = binary("b");
    c.range_end = binary("a");
    create(s, stream, &c);
    with_next(r)
    {
        assert_true(r->created && r->canceled);
        assert_int_equal(r->watch_id, -1);
        assert_string_equal(r->cancel_reason, "mvcc: watcher range is empty");
    }
    c.range_end = binary("c");
    c.watch_id = 7;
    create(s, stream, &c);
    create(s, stream, &c);
    with_next(r) assert_true(r->created && !r->canceled && r->watch_id == 7);
    with_next(r) assert_string_equal(r->cancel_reason,
                                     "mvcc: duplicate watch ID provided on the WatchStream");
    grpc_stream_close(stream);
}

static void filters_and_previous_values(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
    Etcd__WatchCreateRequest__Filter no_puts[] = { ETCD__WATCH_CREATE_REQUEST__FILTER__NOPUT };
    c.key = binary("a");
    c.prev_kv = true;
    c.n_filters = 1;
    c.filters = no_puts;
    create(s, stream, &c);
    with_next(r) assert_true(r->created);
    put(s->f, "a", "before");
    del(s->f, "a");
    with_next(r)
    {
        assert_int_equal(r->n_events, 1);
        assert_int_equal(r->events[0]->type, ETCD__EVENT__TYPE__DELETE);
        assert_memory_equal(r->events[0]->prev_kv->value.data, "before", 6);
    }
    grpc_stream_close(stream);
}

static void a_large_revision_comes_in_fragments_if_asked_for(void **state)
{
    struct served *s = *state;
    enum { KEYS = 5, BYTES_EACH = 700000 };
    char keys[KEYS][16], *value = xcalloc(1, BYTES_EACH);
    struct storage_op ops[KEYS];
    for (int i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        ops[i] = (struct storage_op){ .type = STORAGE_PUT,
                                      .key = bytes_of(keys[i]),
                                      .value = { value, BYTES_EACH } };
    }
    struct storage_txn txn = { .success = ops, .success_n = KEYS };
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
    c.key = binary("k");
    c.range_end = binary("l");
    c.fragment = true;
    create(s, stream, &c);
    with_next(r) assert_true(r->created);
    apply(s->f, &txn, NULL);
    size_t events = 0, messages = 0;
    for (bool is_last = false; !is_last; messages++) {
        with_next(r)
        {
            events += r->n_events;
            is_last = !r->fragment;
        }
    }
    assert_int_equal(events, KEYS);
    assert_int_equal(messages, 3);
    free(value);
    grpc_stream_close(stream);
}

static void progress_is_told_when_asked_for_and_when_it_is_quiet(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    create_for(s, stream, "a", 0);
    with_next(r) assert_true(r->created);
    int64_t now = put(s->f, "elsewhere", "1");
    Etcd__WatchProgressRequest progress = ETCD__WATCH_PROGRESS_REQUEST__INIT;
    Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
    request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &progress;
    send_message(s, stream, &request.base);
    with_next(r)
    {
        assert_int_equal(r->watch_id, -1);
        assert_int_equal(r->header->revision, now);
        assert_int_equal(r->n_events, 0);
    }
    Etcd__WatchCreateRequest c = ETCD__WATCH_CREATE_REQUEST__INIT;
    c.key = binary("b");
    c.progress_notify = true;
    create(s, stream, &c);
    with_next(r) assert_true(r->created);
    with_next(r)
    {
        assert_int_equal(r->watch_id, 1);
        assert_int_equal(r->header->revision, now);
        assert_int_equal(r->n_events, 0);
    }
    grpc_stream_close(stream);
}

static void a_client_that_says_no_more_is_told_nevertheless(void **state)
{
    struct served *s = *state;
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Watch/Watch");
    create_for(s, stream, "a", 0);
    with_next(r) assert_true(r->created);
    grpc_stream_end_send(stream);
    int64_t revision = put(s->f, "a", "1");
    with_next(r) assert_int_equal(r->events[0]->kv->mod_revision, revision);
    grpc_stream_close(stream);
    put(s->f, "a", "2");
}

static void stopping_ends_streams_that_are_busy(void **state)
{
    struct served *s = *state;
    struct grpc_stream *streams[8];
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        struct grpc_stream *stream = streams[i] = open_stream(s, "/etcdserverpb.Watch/Watch");
        create_for(s, stream, "a", 0);
        with_next(r) assert_true(r->created);
    }
    for (int i = 0; i < 100; i++)
        put(s->f, "a", "1");
    storage_etcd_stop(s->server);
    s->server = NULL;
    for (size_t i = 0; i < ARRAY_LEN(streams); i++)
        grpc_stream_close(streams[i]);
}

static void leases_are_kept_alive_on_a_stream(void **state)
{
    struct served *s = *state;
    struct error err = { 0 };
    int64_t id;
    assert_int_equal(storage_lease_grant(s->f->s, 0, 30, &id, &err), 0);
    struct grpc_stream *stream = open_stream(s, "/etcdserverpb.Lease/LeaseKeepAlive");
    for (int i = 0; i < 2; i++) {
        Etcd__LeaseKeepAliveRequest r = ETCD__LEASE_KEEP_ALIVE_REQUEST__INIT;
        struct bytes message;
        r.id = i ? id + 1 : id;
        send_message(s, stream, &r.base);
        assert_int_equal(grpc_stream_receive(stream, s->f->arena, &message, &err), 1);
        Etcd__LeaseKeepAliveResponse *out = etcd__lease_keep_alive_response__unpack(
            NULL, message.len, (const uint8_t *)message.data);
        assert_int_equal(out->ttl, i ? 0 : 30);
        etcd__lease_keep_alive_response__free_unpacked(out, NULL);
    }
    grpc_stream_close(stream);
}

int main(void)
{
#define S(name) cmocka_unit_test_setup_teardown(name, serve, unserve)
    const struct CMUnitTest tests[] = {
        S(many_watches_share_a_stream),
        S(a_canceled_watch_says_so_and_no_more),
        S(a_watch_of_compacted_history_is_canceled_with_the_revision_to_start_from),
        S(watches_that_cannot_be_are_created_and_canceled_at_once),
        S(filters_and_previous_values),
        S(a_large_revision_comes_in_fragments_if_asked_for),
        S(progress_is_told_when_asked_for_and_when_it_is_quiet),
        S(a_client_that_says_no_more_is_told_nevertheless),
        S(stopping_ends_streams_that_are_busy),
        S(leases_are_kept_alive_on_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
