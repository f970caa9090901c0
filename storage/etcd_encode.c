/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_encode.c - fields of the wire format, measured and then written. */
#include "storage/etcd_encode.h"

#include "base/clock.h"
#include "base/varint.h"

/* A long message is sent in parts while it is made.  Its maker waits for a client that is slower,
 * so that the parts' memory is used over and over; but not for long, since it holds on to the
 * store. */
#define PART_BYTES         ((size_t)64 << 10)
#define QUEUED_BYTES_MAX   ((size_t)1 << 20)
#define QUEUED_BYTES_AGAIN ((size_t)256 << 10)
#define PATIENCE_MS        100 /* for a whole message */

enum wire_type { WIRE_VARINT, WIRE_BYTES = 2 };

/* Numbers of fields, from etcd.proto. */
enum { RESPONSE_HEADER = 1 };
enum { HEADER_CLUSTER_ID = 1, HEADER_MEMBER_ID, HEADER_REVISION, HEADER_RAFT_TERM };
enum { RANGE_KVS = 2, RANGE_MORE, RANGE_COUNT };
enum { KV_KEY = 1, KV_CREATE_REVISION, KV_MOD_REVISION, KV_VERSION, KV_VALUE, KV_LEASE };
enum { EVENT_TYPE = 1, EVENT_KV, EVENT_PREV_KV };
enum { WATCH_ID = 2, WATCH_FRAGMENT = 7, WATCH_EVENTS = 11 };

/* ---- fields: none here has a number above 15, so a tag is one byte ---- */

/* A field that has its type's default is left out. */
static size_t number_size(int64_t v)
{
    return v ? 1 + varint_size((uint64_t)v) : 0;
}

static char *put_number(char *out, int field, int64_t v)
{
    if (!v)
        return out;
    *out++ = (char)(field << 3 | WIRE_VARINT);
    return varint_put(out, (uint64_t)v);
}

static size_t delimited_size(size_t len)
{
    return 1 + varint_size(len) + len;
}

static char *put_delimited(char *out, int field, size_t len)
{
    *out++ = (char)(field << 3 | WIRE_BYTES);
    return varint_put(out, len);
}

static size_t bytes_size(struct bytes b)
{
    return b.len ? delimited_size(b.len) : 0;
}

static char *put_bytes(char *out, int field, struct bytes b)
{
    if (!b.len)
        return out;
    out = put_delimited(out, field, b.len);
    memcpy(out, b.data, b.len);
    return out + b.len;
}

/* ---- messages inside messages ---- */

static size_t header_size(const struct etcd_server *s, int64_t revision)
{
    return number_size((int64_t)s->cluster_id) + number_size((int64_t)s->member_id) +
           number_size(revision) + number_size(ETCD_RAFT_TERM);
}

static char *put_header(char *out, const struct etcd_server *s, int64_t revision)
{
    out = put_delimited(out, RESPONSE_HEADER, header_size(s, revision));
    out = put_number(out, HEADER_CLUSTER_ID, (int64_t)s->cluster_id);
    out = put_number(out, HEADER_MEMBER_ID, (int64_t)s->member_id);
    out = put_number(out, HEADER_REVISION, revision);
    return put_number(out, HEADER_RAFT_TERM, ETCD_RAFT_TERM);
}

static size_t kv_size(const struct storage_kv *kv)
{
    return bytes_size(kv->key) + number_size(kv->create_revision) + number_size(kv->mod_revision) +
           number_size(kv->version) + bytes_size(kv->value) + number_size(kv->lease);
}

static char *put_kv(char *out, int field, const struct storage_kv *kv)
{
    out = put_delimited(out, field, kv_size(kv));
    out = put_bytes(out, KV_KEY, kv->key);
    out = put_number(out, KV_CREATE_REVISION, kv->create_revision);
    out = put_number(out, KV_MOD_REVISION, kv->mod_revision);
    out = put_number(out, KV_VERSION, kv->version);
    out = put_bytes(out, KV_VALUE, kv->value);
    return put_number(out, KV_LEASE, kv->lease);
}

/* ---- ranges ---- */

struct parts {
    struct grpc_server_call *call;
    char *part, *at, *end;
    int64_t patience_ns;
};

static void wait_for_client(struct parts *p)
{
    if (p->patience_ns < NS_PER_MS || grpc_call_queued_bytes(p->call) <= QUEUED_BYTES_MAX)
        return;
    int64_t start = clock_monotonic_ns(&system_clock);
    (void)grpc_call_wait_room(p->call, QUEUED_BYTES_AGAIN, (int)(p->patience_ns / NS_PER_MS));
    p->patience_ns -= clock_monotonic_ns(&system_clock) - start;
}

static void send_part(struct parts *p)
{
    if (p->at > p->part)
        grpc_call_send_part_take(p->call, p->part, (size_t)(p->at - p->part));
    else
        free(p->part);
    wait_for_client(p);
}

/* Room for LEN bytes in one place. */
static char *room_for(struct parts *p, size_t len)
{
    if (len > (size_t)(p->end - p->at)) {
        send_part(p);
        size_t size = len > PART_BYTES ? len : PART_BYTES;
        p->part = p->at = xmalloc(size);
        p->end = p->part + size;
    }
    return p->at;
}

static size_t range_size(const struct etcd_server *s, const struct storage_range_result *r)
{
    size_t size =
        delimited_size(header_size(s, r->revision)) + number_size(r->more) + number_size(r->count);
    for (size_t i = 0; i < r->n; i++)
        size += delimited_size(kv_size(&r->kvs[i]));
    return size;
}

static char *put_range_start(char *out, const struct etcd_server *s,
                             const struct storage_range_result *r)
{
    out = put_header(out, s, r->revision);
    out = put_number(out, RANGE_MORE, r->more);
    return put_number(out, RANGE_COUNT, r->count);
}

static void encode_whole(struct etcd_request *rq, const struct storage_range_result *r,
                         const struct storage_hold *hold, size_t size)
{
    struct error err = { 0 };
    char small[2048];
    ensure(size <= sizeof(small));
    char *at = put_range_start(small, rq->server, r);
    for (size_t i = 0; i < r->n; i++)
        at = put_kv(at, RANGE_KVS, &r->kvs[i]);
    ensure((size_t)(at - small) == size);
    if (storage_hold_check(rq->server->storage, hold, &err) < 0)
        etcd_fail(rq, &err);
    else
        grpc_call_answer(rq->call, (struct bytes){ small, size });
}

void etcd_encode_range(struct etcd_request *rq, const struct storage_range_result *r,
                       const struct storage_hold *hold)
{
    const struct etcd_server *s = rq->server;
    struct error err = { 0 };
    size_t size = range_size(s, r);
    if (size <= 2048) {
        encode_whole(rq, r, hold, size);
        return;
    }
    grpc_call_send_header(rq->call, size);
    struct parts p = { .call = rq->call, .patience_ns = PATIENCE_MS * NS_PER_MS };
    p.at = put_range_start(room_for(&p, PART_BYTES), s, r);
    for (size_t i = 0; i < r->n; i++)
        p.at = put_kv(room_for(&p, delimited_size(kv_size(&r->kvs[i]))), RANGE_KVS, &r->kvs[i]);
    send_part(&p);
    if (storage_hold_check(s->storage, hold, &err) < 0)
        etcd_fail(rq, &err); /* a message followed by an error is no answer */
    else
        grpc_call_finish(rq->call, GRPC_OK, NULL);
}

/* ---- watches ---- */

static size_t event_body_size(const struct storage_event *e)
{
    return number_size(e->is_delete) + delimited_size(kv_size(&e->kv)) +
           (e->prev.mod_revision ? delimited_size(kv_size(&e->prev)) : 0);
}

size_t etcd_event_size(const struct storage_event *e)
{
    return delimited_size(event_body_size(e));
}

struct shared_bytes *etcd_encode_events(const struct storage_event *const *events, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += etcd_event_size(events[i]);
    struct shared_bytes *out = shared_bytes_new_sized(size);
    char *at = out->data;
    for (size_t i = 0; i < n; i++) {
        const struct storage_event *e = events[i];
        at = put_delimited(at, WATCH_EVENTS, event_body_size(e));
        at = put_number(at, EVENT_TYPE, e->is_delete);
        at = put_kv(at, EVENT_KV, &e->kv);
        if (e->prev.mod_revision)
            at = put_kv(at, EVENT_PREV_KV, &e->prev);
    }
    ensure((size_t)(at - out->data) == size);
    return out;
}

struct bytes etcd_encode_watch_start(const struct etcd_server *s, int64_t revision,
                                     int64_t watch_id, bool is_fragment, char *out)
{
    char *at = put_header(out, s, revision);
    at = put_number(at, WATCH_ID, watch_id);
    at = put_number(at, WATCH_FRAGMENT, is_fragment);
    return (struct bytes){ out, (size_t)(at - out) };
}
