/* SPDX-License-Identifier: Apache-2.0 */
/* remote_lease.c - leases of etcd. */
#include "storage/remote.h"

#define KEEP_ALIVE_TIMEOUT_MS 5000

int remote_lease_grant(struct storage *s, int64_t id, int64_t ttl_s, int64_t *granted_id,
                       struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    Etcd__LeaseGrantRequest request = ETCD__LEASE_GRANT_REQUEST__INIT;
    Etcd__LeaseGrantResponse *response;
    request.id = id;
    request.ttl = ttl_s;
    /* A lease too many that nothing hangs on ends by itself; the same id twice is an error. */
    if (remote_call(remote_of(s), "/etcdserverpb.Lease/LeaseGrant", id ? REMOTE_WRITE : REMOTE_READ,
                    &request.base, a, &etcd__lease_grant_response__descriptor, &response, err) < 0)
        return -1;
    if (!str_empty(response->error))
        return error_set(err, ERR_INTERNAL, "etcd: grant a lease: %s", response->error);
    *granted_id = response->id;
    return 0;
}

int remote_lease_revoke(struct storage *s, int64_t id, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    Etcd__LeaseRevokeRequest request = ETCD__LEASE_REVOKE_REQUEST__INIT;
    Etcd__LeaseRevokeResponse *response;
    request.id = id;
    return remote_call(remote_of(s), "/etcdserverpb.Lease/LeaseRevoke", REMOTE_WRITE, &request.base,
                       a, &etcd__lease_revoke_response__descriptor, &response, err);
}

/* One question and one answer on a stream of its own: who keeps a lease alive asks every few
 * seconds. */
static int keep_alive_once(struct remote_endpoint *e, const Etcd__LeaseKeepAliveRequest *request,
                           struct arena *a, struct bytes *answer, struct error *err)
{
    struct grpc_call_options options = { .timeout_ms = KEEP_ALIVE_TIMEOUT_MS,
                                         .metadata = remote_metadata,
                                         .metadata_n = ARRAY_LEN(remote_metadata) };
    struct grpc_stream *stream =
        grpc_stream_open(e->channel, "/etcdserverpb.Lease/LeaseKeepAlive", &options, err);
    if (!stream)
        return -1;
    int rc = grpc_stream_send(stream, remote_pack(&request->base, a), err);
    if (rc == 0) {
        rc = grpc_stream_receive(stream, a, answer, err);
        if (rc == 0)
            rc = error_set(err, ERR_UNAVAILABLE, "etcd ended the stream");
    }
    grpc_stream_close(stream);
    return rc < 0 ? -1 : 0;
}

int remote_lease_keep_alive(struct storage *s, int64_t id, int64_t *ttl_s, struct error *err)
{
    struct remote *r = remote_of(s);
    scoped(arena) struct arena *a = arena_new();
    Etcd__LeaseKeepAliveRequest request = ETCD__LEASE_KEEP_ALIVE_REQUEST__INIT;
    struct bytes answer = { 0 };
    request.id = id;
    int rc = -1;
    for (size_t i = 0; rc < 0 && i < r->endpoints_n; i++) {
        struct remote_endpoint *e = remote_endpoint(r);
        rc = keep_alive_once(e, &request, a, &answer, err);
        if (rc < 0)
            remote_endpoint_failed(r, e, err->message);
    }
    if (rc < 0)
        return error_wrap(err, "keep a lease alive");
    Etcd__LeaseKeepAliveResponse *response =
        remote_unpack(&etcd__lease_keep_alive_response__descriptor, answer, a);
    if (!response)
        return error_set(err, ERR_INTERNAL, "etcd: the answer to a keep-alive does not parse");
    if (response->ttl <= 0)
        return error_set(err, ERR_NOT_FOUND, "etcdserver: requested lease not found");
    *ttl_s = response->ttl;
    return 0;
}

static int time_to_live(struct remote *r, int64_t id, bool keys, struct arena *arena,
                        struct storage_lease *out, struct error *err)
{
    Etcd__LeaseTimeToLiveRequest request = ETCD__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    Etcd__LeaseTimeToLiveResponse *response;
    request.id = id;
    request.keys = keys;
    if (remote_call(r, "/etcdserverpb.Lease/LeaseTimeToLive", REMOTE_READ, &request.base, arena,
                    &etcd__lease_time_to_live_response__descriptor, &response, err) < 0)
        return -1;
    if (response->ttl < 0)
        return error_set(err, ERR_NOT_FOUND, "etcdserver: requested lease not found");
    *out = (struct storage_lease){ .id = id,
                                   .granted_s = response->granted_ttl,
                                   .remaining_s = response->ttl,
                                   .keys_n = response->n_keys };
    out->keys = arena_alloc(arena, response->n_keys * sizeof(*out->keys) + 1);
    for (size_t i = 0; i < response->n_keys; i++)
        out->keys[i] = remote_bytes(response->keys[i]);
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

int remote_lease_find(struct storage *s, int64_t id, struct arena *arena, struct storage_lease *out,
                      struct error *err)
{
    if (time_to_live(remote_of(s), id, true, arena, out, err) < 0)
        return -1;
    qsort(out->keys, out->keys_n, sizeof(*out->keys), compare_keys);
    return 0;
}

static int compare_ends(const void *a, const void *b)
{
    const struct storage_lease *x = a, *y = b;
    return x->remaining_s < y->remaining_s ? -1 : x->remaining_s > y->remaining_s;
}

int remote_lease_list(struct storage *s, struct arena *arena, struct storage_lease **out, size_t *n,
                      struct error *err)
{
    struct remote *r = remote_of(s);
    Etcd__LeaseLeasesRequest request = ETCD__LEASE_LEASES_REQUEST__INIT;
    Etcd__LeaseLeasesResponse *response;
    if (remote_call(r, "/etcdserverpb.Lease/LeaseLeases", REMOTE_READ, &request.base, arena,
                    &etcd__lease_leases_response__descriptor, &response, err) < 0)
        return -1;
    *out = arena_alloc(arena, response->n_leases * sizeof(**out) + 1);
    *n = 0;
    for (size_t i = 0; i < response->n_leases; i++) {
        struct error gone = { 0 };
        if (time_to_live(r, response->leases[i]->id, false, arena, &(*out)[*n], &gone) == 0)
            ++*n;
        else if (gone.code != ERR_NOT_FOUND) {
            *err = gone;
            return -1;
        }
    }
    qsort(*out, *n, sizeof(**out), compare_ends);
    return 0;
}
