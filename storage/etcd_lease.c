/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_lease.c - LeaseGrant, LeaseRevoke, LeaseTimeToLive, LeaseLeases and the keep-alive stream.
 */
#include "storage/etcd_server.h"

static int64_t now_revision(const struct etcd_server *s)
{
    return storage_revision(s->storage);
}

static void run_grant(struct etcd_request *rq)
{
    const Etcd__LeaseGrantRequest *r = (const Etcd__LeaseGrantRequest *)rq->message;
    struct etcd_server *s = rq->server;
    Etcd__LeaseGrantResponse response = ETCD__LEASE_GRANT_RESPONSE__INIT;
    struct error err = { 0 };
    int rc = 0;
    response.ttl = r->ttl < ETCD_LEASE_TTL_S_MIN ? ETCD_LEASE_TTL_S_MIN : r->ttl;
    if (storage_has_alarm(s->storage))
        rc = error_set(&err, ERR_NO_SPACE, "database space exceeded");
    if (rc < 0 || storage_lease_grant(s->storage, r->id, response.ttl, &response.id, &err) < 0) {
        /* Its time is the only thing that can be wrong with a grant. */
        if (err.code == ERR_BAD_REQUEST)
            etcd_fail_status(rq, GRPC_OUT_OF_RANGE, "etcdserver: too large lease TTL");
        else
            etcd_fail(rq, &err);
        return;
    }
    Etcd__ResponseHeader header;
    etcd_header(s, now_revision(s), &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_revoke(struct etcd_request *rq)
{
    const Etcd__LeaseRevokeRequest *r = (const Etcd__LeaseRevokeRequest *)rq->message;
    struct error err = { 0 };
    if (storage_lease_revoke(rq->server->storage, r->id, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__LeaseRevokeResponse response = ETCD__LEASE_REVOKE_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(rq->server, now_revision(rq->server), &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_time_to_live(struct etcd_request *rq)
{
    const Etcd__LeaseTimeToLiveRequest *r = (const Etcd__LeaseTimeToLiveRequest *)rq->message;
    Etcd__LeaseTimeToLiveResponse response = ETCD__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    struct storage_lease lease = { 0 };
    struct error err = { 0 };
    response.id = r->id;
    response.ttl = -1; /* there is no such lease */
    if (storage_lease_find(rq->server->storage, r->id, rq->arena, &lease, &err) == 0) {
        response.ttl = lease.remaining_s;
        response.granted_ttl = lease.granted_s;
    } else if (err.code != ERR_NOT_FOUND) {
        etcd_fail(rq, &err);
        return;
    }
    if (r->keys) {
        response.n_keys = lease.keys_n;
        response.keys = arena_alloc(rq->arena, lease.keys_n * sizeof(response.keys[0]) + 1);
        for (size_t i = 0; i < lease.keys_n; i++)
            response.keys[i] = etcd_binary(lease.keys[i]);
    }
    Etcd__ResponseHeader header;
    etcd_header(rq->server, now_revision(rq->server), &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_leases(struct etcd_request *rq)
{
    Etcd__LeaseLeasesResponse response = ETCD__LEASE_LEASES_RESPONSE__INIT;
    struct storage_lease *leases;
    struct error err = { 0 };
    if (storage_lease_list(rq->server->storage, rq->arena, &leases, &response.n_leases, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    response.leases = arena_alloc(rq->arena, response.n_leases * sizeof(response.leases[0]) + 1);
    for (size_t i = 0; i < response.n_leases; i++) {
        response.leases[i] = arena_alloc(rq->arena, sizeof(*response.leases[i]));
        etcd__lease_status__init(response.leases[i]);
        response.leases[i]->id = leases[i].id;
    }
    Etcd__ResponseHeader header;
    etcd_header(rq->server, now_revision(rq->server), &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

const struct etcd_method etcd_lease_methods[] = {
    { "/etcdserverpb.Lease/LeaseGrant", &etcd__lease_grant_request__descriptor, run_grant,
      ON_READER },
    { "/etcdserverpb.Lease/LeaseRevoke", &etcd__lease_revoke_request__descriptor, run_revoke,
      ON_READER },
    { "/etcdserverpb.Lease/LeaseTimeToLive", &etcd__lease_time_to_live_request__descriptor,
      run_time_to_live, ON_READER },
    { "/etcdserverpb.Lease/LeaseLeases", &etcd__lease_leases_request__descriptor, run_leases,
      ON_READER },
    ETCD_METHODS_END,
};

/* ---- keep-alive: a stream whose every message is answered at once, on the loop ---- */

struct keep_alive {
    struct etcd_server *server;
    bool is_finished;
};

static void *keep_alive_open(struct grpc_server_call *call, void *arg)
{
    struct keep_alive *k = xcalloc(1, sizeof(*k));
    k->server = arg;
    k->is_finished = !etcd_admit(k->server, call);
    return k;
}

static void keep_alive_finish(struct keep_alive *k, struct grpc_server_call *call,
                              enum grpc_status status, const char *text)
{
    if (k->is_finished)
        return;
    k->is_finished = true;
    grpc_call_finish(call, status, text);
}

static void keep_alive_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    struct keep_alive *k = state;
    if (k->is_finished)
        return;
    Etcd__LeaseKeepAliveRequest *r =
        etcd__lease_keep_alive_request__unpack(NULL, message.len, (const uint8_t *)message.data);
    if (!r || grpc_call_queued_bytes(call) > ETCD_REQUEST_BYTES_MAX) {
        keep_alive_finish(k, call, r ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
                          r ? "answers are not read" : ETCD_STREAM_GARBAGE);
        etcd__lease_keep_alive_request__free_unpacked(r, NULL);
        return;
    }
    Etcd__LeaseKeepAliveResponse response = ETCD__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    struct error err = { 0 };
    etcd_header(k->server, now_revision(k->server), &header);
    response.header = &header;
    response.id = r->id;
    /* A lease that is gone has no time left: that is etcd's answer, not an error. */
    if (storage_lease_keep_alive(k->server->storage, r->id, &response.ttl, &err) < 0)
        response.ttl = 0;
    etcd__lease_keep_alive_request__free_unpacked(r, NULL);
    if (err.code && err.code != ERR_NOT_FOUND) {
        struct grpc_failure failure;
        etcd_failure(&err, &failure);
        keep_alive_finish(k, call, failure.status, failure.text);
        return;
    }
    etcd_send(call, &response.base);
}

static void keep_alive_half_close(struct grpc_server_call *call, void *state)
{
    keep_alive_finish(state, call, GRPC_OK, NULL);
}

static void keep_alive_close(struct grpc_server_call *call, void *state)
{
    keep_alive_finish(state, call, GRPC_CANCELLED, NULL);
}

const struct grpc_server_handler etcd_keep_alive_handler = {
    .method = "/etcdserverpb.Lease/LeaseKeepAlive",
    .open = keep_alive_open,
    .message = keep_alive_message,
    .half_close = keep_alive_half_close,
    .close = keep_alive_close,
    .release = free,
};
