/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_lock.c - etcd's Lock and Election services: who made the oldest key under a name has it.
 *
 *     name/lease-a  created at 5     the owner, or leader
 *     name/lease-b  created at 7     waits until lease-a's is deleted
 *     name/lease-c  created at 9     waits until lease-b's is deleted, then looks who is before it
 *
 * A call that waits is a watch and no thread: an event wakes it, and a worker takes the next step.
 */
#include "storage/etcd_server.h"

#include <pthread.h>
#include <stdatomic.h>

#define LEASE_TTL_S        60                 /* of who brings no lease */
#define OBSERVED_BYTES_MAX ((size_t)64 << 20) /* that its client has not read */
#define MISSING_LEADER     "\"leader\" field must be provided"

/* ---- keys ---- */

static struct bytes prefix_of(struct bytes name, struct arena *a)
{
    char *text = arena_alloc(a, name.len + 2);
    if (name.len)
        memcpy(text, name.data, name.len);
    memcpy(text + name.len, "/", 2);
    return (struct bytes){ text, name.len + 1 };
}

/* As Go prints it in hexadecimal: with a sign. */
static struct bytes key_of(struct bytes prefix, int64_t lease, struct arena *a)
{
    uint64_t size = lease < 0 ? -(uint64_t)lease : (uint64_t)lease;
    char *text = arena_alloc(a, prefix.len + 20);
    memcpy(text, prefix.data, prefix.len);
    int n =
        snprintf(text + prefix.len, 20, "%s%llx", lease < 0 ? "-" : "", (unsigned long long)size);
    return (struct bytes){ text, prefix.len + (size_t)n };
}

/* The first of the keys under PREFIX to be made, or the last one before revision BEFORE. */
static struct storage_range under(struct bytes prefix, int64_t before, struct arena *a)
{
    char *end = arena_memdup(a, prefix.data, prefix.len);
    end[prefix.len - 1]++; /* what comes after '/' */
    return (struct storage_range){
        .key = prefix,
        .end = { end, prefix.len },
        .limit = 1,
        .sort_target = STORAGE_SORT_CREATE_REVISION,
        .sort_order = before ? STORAGE_DESCENDING : STORAGE_ASCENDING,
        .max_create_revision = before ? before - 1 : 0,
    };
}

/* ---- writes ---- */

static struct storage_compare was_created_at(struct bytes key, int64_t revision)
{
    return (struct storage_compare){ .key = key,
                                     .target = STORAGE_COMPARE_CREATE_REVISION,
                                     .result = STORAGE_EQUAL,
                                     .number = revision };
}

/* OP, if KEY is the one that was created at REVISION. */
static int write_if_own(struct etcd_server *s, const struct storage_op *op, int64_t revision,
                        struct arena *a, struct storage_txn_result *out, struct error *err)
{
    struct storage_compare own = was_created_at(op->key, revision);
    struct storage_txn txn = { .compares = &own, .compares_n = 1, .success = op, .success_n = 1 };
    return storage_txn(s->storage, &txn, a, out, err);
}

static int resign(struct etcd_server *s, struct bytes key, int64_t revision, struct arena *a,
                  int64_t *now, struct error *err)
{
    struct storage_op op = { .type = STORAGE_DELETE, .key = key };
    struct storage_txn_result out;
    if (write_if_own(s, &op, revision, a, &out, err) < 0)
        return -1;
    *now = out.revision;
    return 0;
}

/* 1; 0: KEY is not the leader's any more; -1. */
static int proclaim(struct etcd_server *s, const struct storage_op *put, int64_t revision,
                    struct arena *a, int64_t *now, struct error *err)
{
    struct storage_txn_result out;
    if (write_if_own(s, put, revision, a, &out, err) < 0)
        return -1;
    *now = out.revision;
    return out.succeeded;
}

/* ---- calls that do not wait ---- */

/* These two services are clients of the others in etcd, whose statuses they lose. */
static void fail_as_client(struct grpc_server_call *call, const struct error *err)
{
    struct grpc_failure failure;
    etcd_failure(err, &failure);
    grpc_call_finish(call, GRPC_UNKNOWN, failure.text);
}

static bool has_key(struct etcd_request *rq, struct bytes key)
{
    if (!key.len)
        etcd_fail_status(rq, GRPC_UNKNOWN, "etcdserver: key is not provided");
    return key.len;
}

static void run_unlock(struct etcd_request *rq)
{
    const Etcd__UnlockRequest *r = (const Etcd__UnlockRequest *)rq->message;
    struct storage_op op = { .type = STORAGE_DELETE, .key = etcd_bytes(r->key) };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    struct error err = { 0 };
    if (!has_key(rq, op.key))
        return;
    if (storage_txn(rq->server->storage, &txn, rq->arena, &out, &err) < 0) {
        fail_as_client(rq->call, &err);
        return;
    }
    Etcd__UnlockResponse response = ETCD__UNLOCK_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(rq->server, out.revision, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_leader(struct etcd_request *rq)
{
    const Etcd__LeaderRequest *r = (const Etcd__LeaderRequest *)rq->message;
    struct storage_range range = under(prefix_of(etcd_bytes(r->name), rq->arena), 0, rq->arena);
    struct storage_range_result out;
    struct error err = { 0 };
    if (storage_range(rq->server->storage, &range, rq->arena, &out, &err) < 0) {
        fail_as_client(rq->call, &err);
        return;
    }
    if (!out.n) {
        etcd_fail_status(rq, GRPC_UNKNOWN, "election: no leader");
        return;
    }
    Etcd__LeaderResponse response = ETCD__LEADER_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    Etcd__KeyValue kv;
    etcd_header(rq->server, out.revision, &header);
    etcd_kv(&out.kvs[0], &kv);
    response.header = &header;
    response.kv = &kv;
    etcd_answer(rq, &response.base);
}

static void run_proclaim(struct etcd_request *rq)
{
    const Etcd__ProclaimRequest *r = (const Etcd__ProclaimRequest *)rq->message;
    struct error err = { 0 };
    if (!r->leader) {
        etcd_fail_status(rq, GRPC_UNKNOWN, MISSING_LEADER);
        return;
    }
    struct storage_op put = { .type = STORAGE_PUT,
                              .key = etcd_bytes(r->leader->key),
                              .value = etcd_bytes(r->value),
                              .lease = r->leader->lease };
    int64_t now = 0;
    if (!has_key(rq, put.key))
        return;
    int is_leader = proclaim(rq->server, &put, r->leader->rev, rq->arena, &now, &err);
    if (is_leader < 0) {
        fail_as_client(rq->call, &err);
        return;
    }
    if (!is_leader) {
        etcd_fail_status(rq, GRPC_UNKNOWN, "election: not leader");
        return;
    }
    Etcd__ProclaimResponse response = ETCD__PROCLAIM_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(rq->server, now, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_resign(struct etcd_request *rq)
{
    const Etcd__ResignRequest *r = (const Etcd__ResignRequest *)rq->message;
    struct error err = { 0 };
    int64_t now = 0;
    if (!r->leader) {
        etcd_fail_status(rq, GRPC_UNKNOWN, MISSING_LEADER);
        return;
    }
    if (!has_key(rq, etcd_bytes(r->leader->key)))
        return;
    if (resign(rq->server, etcd_bytes(r->leader->key), r->leader->rev, rq->arena, &now, &err) < 0) {
        fail_as_client(rq->call, &err);
        return;
    }
    Etcd__ResignResponse response = ETCD__RESIGN_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(rq->server, now, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

const struct etcd_method etcd_lock_methods[] = {
    { "/v3lockpb.Lock/Unlock", &etcd__unlock_request__descriptor, run_unlock, ON_READER },
    { "/v3electionpb.Election/Leader", &etcd__leader_request__descriptor, run_leader, ON_READER },
    { "/v3electionpb.Election/Proclaim", &etcd__proclaim_request__descriptor, run_proclaim,
      ON_READER },
    { "/v3electionpb.Election/Resign", &etcd__resign_request__descriptor, run_resign, ON_READER },
    ETCD_METHODS_END,
};

/* ---- calls that wait ---- */

enum phase { PHASE_BEGIN, PHASE_WAITS, PHASE_FINISHED };
struct waiter;
struct waiter_kind {
    const ProtobufCMessageDescriptor *request;
    void (*read)(struct waiter *w, const ProtobufCMessage *message); /* on the loop */
    void (*step)(struct waiter *w, struct arena *scratch); /* on a worker, one at a time */
    bool is_stream;
};

struct waiter {
    atomic_uint refs; /* the call's, and that of a worker on its way */
    struct etcd_server *server;
    struct grpc_server_call *call;
    const struct waiter_kind *kind;
    bool has_message; /* the loop's */

    /* The worker's, in the call's arena. */
    enum phase phase;
    struct bytes prefix, key, value;
    int64_t lease, created, answered; /* revisions: of the key, and in the answer's header */
    struct storage_watch *watch;

    pthread_mutex_t lock; /* guards the rest */
    bool is_awake, is_to_repeat;
    bool is_gone; /* the client */
    struct error watch_err;
    /* Of an observer: the leader's key is not known; is, and is to be watched; has been deleted. */
    enum { LEADER_UNKNOWN, LEADER_FOUND, LEADER_WATCHED } leader;
    struct buffer leader_key;
    int64_t leader_revision;
    bool is_slow;
};

static void unref(struct waiter *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    atomic_fetch_sub(&w->server->waiters_n, 1);
    pthread_mutex_destroy(&w->lock);
    buffer_free(&w->leader_key);
    free(w);
}

static void finish(struct waiter *w, enum grpc_status status, const char *text)
{
    storage_watch_close(take_ptr(&w->watch));
    w->phase = PHASE_FINISHED;
    grpc_call_finish(w->call, status, text);
}

static void fail(struct waiter *w, const struct error *err)
{
    storage_watch_close(take_ptr(&w->watch));
    w->phase = PHASE_FINISHED;
    fail_as_client(w->call, err);
}

static bool must_repeat(struct waiter *w)
{
    pthread_mutex_lock(&w->lock);
    bool must = w->is_to_repeat;
    w->is_to_repeat = false;
    w->is_awake = must;
    pthread_mutex_unlock(&w->lock);
    return must;
}

static void work(void *arg)
{
    struct waiter *w = arg;
    do {
        scoped(arena) struct arena *scratch = arena_new();
        if (w->phase != PHASE_FINISHED)
            w->kind->step(w, scratch);
    } while (must_repeat(w));
    unref(w);
}

/* Each waiter has one place in the queue, which has one for each. */
static void wake_locked(struct waiter *w)
{
    struct error err = { 0 };
    if (w->is_awake) {
        w->is_to_repeat = true;
        return;
    }
    w->is_awake = true;
    atomic_fetch_add(&w->refs, 1);
    ensure(worker_pool_submit(w->server->waiters, work, w, &err) == 0);
}

static bool is_gone(struct waiter *w, struct error *err)
{
    pthread_mutex_lock(&w->lock);
    bool gone = w->is_gone;
    *err = w->watch_err;
    pthread_mutex_unlock(&w->lock);
    return gone;
}

/* History that went meanwhile is no loss: the next step looks at what there is. */
static void on_watch_failed(const struct error *err, int64_t compacted_revision, void *arg)
{
    (void)compacted_revision;
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    if (err->code != ERR_COMPACTED)
        w->watch_err = *err;
    w->leader = LEADER_UNKNOWN;
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

static int watch(struct waiter *w, const struct storage_watch_config *config, struct error *err)
{
    struct storage_watch_config whole = *config;
    whole.failed = on_watch_failed;
    whole.arg = w;
    w->watch = storage_watch(w->server->storage, &whole, err);
    return w->watch ? 0 : -1;
}

/* ---- their calls ---- */

static void *waiter_open(struct grpc_server_call *call, void *arg)
{
    struct waiter *w = xcalloc(1, sizeof(*w));
    atomic_init(&w->refs, 1);
    w->server = arg;
    w->call = call;
    w->kind = grpc_call_data(call);
    pthread_mutex_init(&w->lock, NULL);
    bool has_room = atomic_fetch_add(&w->server->waiters_n, 1) < ETCD_WAITERS_MAX;
    w->has_message = !etcd_admit(w->server, call);
    if (!w->has_message && !has_room) {
        w->has_message = true;
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests");
    }
    return w;
}

static void waiter_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    struct waiter *w = state;
    if (w->has_message)
        return;
    w->has_message = true;
    if (message.len > ETCD_REQUEST_BYTES_MAX) {
        grpc_call_finish(call, GRPC_UNKNOWN, "etcdserver: request is too large");
        return;
    }
    ProtobufCMessage *m = protobuf_c_message_unpack(w->kind->request, NULL, message.len,
                                                    (const uint8_t *)message.data);
    if (!m) {
        grpc_call_finish(call, GRPC_INTERNAL,
                         w->kind->is_stream ? ETCD_STREAM_GARBAGE : ETCD_UNARY_GARBAGE);
        return;
    }
    w->kind->read(w, m);
    protobuf_c_message_free_unpacked(m, NULL);
    pthread_mutex_lock(&w->lock);
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

static void waiter_half_close(struct grpc_server_call *call, void *state)
{
    struct waiter *w = state;
    if (w->has_message)
        return;
    w->has_message = true;
    grpc_call_finish(call, GRPC_INTERNAL, "the call has no message");
}

static void waiter_close(struct grpc_server_call *call, void *state)
{
    struct waiter *w = state;
    if (!w->has_message) {
        w->has_message = true;
        grpc_call_finish(call, GRPC_CANCELLED, NULL);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->is_gone = true;
    wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

static void waiter_release(void *state)
{
    unref(state);
}

/* ---- the queue for a name ---- */

static void on_key_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    (void)revision;
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < n; i++)
        if (events[i].is_delete)
            wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

/* 1: nobody is before W; 0: somebody is, and is watched; -1. */
static int look_ahead(struct waiter *w, struct arena *scratch, int64_t *revision, struct error *err)
{
    struct storage_range range = under(w->prefix, w->created, scratch);
    struct storage_range_result before;
    storage_watch_close(take_ptr(&w->watch));
    range.keys_only = true;
    if (storage_range(w->server->storage, &range, scratch, &before, err) < 0)
        return -1;
    *revision = before.revision;
    if (!before.n)
        return 1;
    struct storage_watch_config config = { .key = before.kvs[0].key,
                                           .start_revision = before.revision + 1,
                                           .events = on_key_events };
    return watch(w, &config, err);
}

/* A client that brings no lease gets one that nobody keeps alive. */
static int take_lease(struct waiter *w, struct error *err)
{
    struct arena *a = grpc_call_arena(w->call);
    if (!w->lease && storage_has_alarm(w->server->storage))
        return error_set(err, ERR_NO_SPACE, "database space exceeded");
    if (!w->lease && storage_lease_grant(w->server->storage, 0, LEASE_TTL_S, &w->lease, err) < 0)
        return -1;
    w->key = key_of(w->prefix, w->lease, a);
    return 0;
}

/* Makes the key, unless the lease has one already.  OUT: of a key that was there, that; and who is
 * first. */
static int enter(struct waiter *w, struct arena *scratch, struct storage_txn_result *out,
                 struct error *err)
{
    if (take_lease(w, err) < 0)
        return -1;
    struct storage_compare is_new = was_created_at(w->key, 0);
    struct storage_range first = under(w->prefix, 0, scratch), own = { .key = w->key };
    struct storage_op found[] = { { .type = STORAGE_RANGE, .range = &own },
                                  { .type = STORAGE_RANGE, .range = &first } };
    struct storage_op made[] = {
        { .type = STORAGE_PUT, .key = w->key, .value = w->value, .lease = w->lease }, found[1]
    };
    struct storage_txn txn = { .compares = &is_new,
                               .compares_n = 1,
                               .success = made,
                               .success_n = ARRAY_LEN(made),
                               .failure = found,
                               .failure_n = ARRAY_LEN(found) };
    if (storage_txn(w->server->storage, &txn, scratch, out, err) < 0)
        return -1;
    w->answered = out->revision;
    w->created = out->succeeded ? out->revision : out->results[0].range.kvs[0].create_revision;
    w->phase = PHASE_WAITS;
    return 0;
}

/* Whoever is behind W goes on. */
static void leave(struct waiter *w, struct arena *scratch)
{
    struct error ignored = { 0 }; /* its lease ends too */
    int64_t now;
    if (w->phase == PHASE_WAITS)
        (void)!resign(w->server, w->key, w->created, scratch, &now, &ignored);
}

/* ---- Lock ---- */

static void read_lock(struct waiter *w, const ProtobufCMessage *message)
{
    const Etcd__LockRequest *r = (const Etcd__LockRequest *)message;
    w->prefix = prefix_of(etcd_bytes(r->name), grpc_call_arena(w->call));
    w->lease = r->lease;
}

static void answer_lock(struct waiter *w)
{
    Etcd__LockResponse response = ETCD__LOCK_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    etcd_header(w->server, w->answered, &header);
    response.header = &header;
    response.key = etcd_binary(w->key);
    etcd_send(w->call, &response.base);
    finish(w, GRPC_OK, NULL);
}

/* 1: it is W's; 0: not yet; -1. */
static int try_lock(struct waiter *w, struct arena *scratch, struct error *err)
{
    struct storage_txn_result out;
    if (w->phase == PHASE_BEGIN) {
        if (enter(w, scratch, &out, err) < 0)
            return -1;
        const struct storage_range_result *first = &out.results[1].range;
        if (!first->n || first->kvs[0].create_revision == w->created)
            return 1;
    }
    return look_ahead(w, scratch, &w->answered, err);
}

static void step_lock(struct waiter *w, struct arena *scratch)
{
    struct error err = { 0 };
    struct storage_range own = { .key = w->key };
    struct storage_range_result out;
    if (is_gone(w, &err)) {
        leave(w, scratch);
        finish(w, GRPC_CANCELLED, NULL);
        return;
    }
    bool has_waited = w->phase == PHASE_WAITS;
    int got = err.code ? -1 : try_lock(w, scratch, &err);
    if (got == 1 && has_waited && storage_range(w->server->storage, &own, scratch, &out, &err) < 0)
        got = -1;
    if (got < 0) {
        leave(w, scratch);
        fail(w, &err);
    } else if (got && has_waited && !out.n) {
        finish(w, GRPC_UNKNOWN, "mutex: session is expired");
    } else if (got) {
        answer_lock(w);
    }
}

/* ---- Campaign ---- */

static void read_campaign(struct waiter *w, const ProtobufCMessage *message)
{
    const Etcd__CampaignRequest *r = (const Etcd__CampaignRequest *)message;
    struct arena *a = grpc_call_arena(w->call);
    w->prefix = prefix_of(etcd_bytes(r->name), a);
    w->value = arena_bytes(a, etcd_bytes(r->value));
    w->lease = r->lease;
}

static void answer_campaign(struct waiter *w)
{
    Etcd__CampaignResponse response = ETCD__CAMPAIGN_RESPONSE__INIT;
    Etcd__LeaderKey leader = ETCD__LEADER_KEY__INIT;
    Etcd__ResponseHeader header;
    etcd_header(w->server, w->answered, &header);
    leader.name = etcd_binary((struct bytes){ w->prefix.data, w->prefix.len - 1 });
    leader.key = etcd_binary(w->key);
    leader.rev = w->created;
    leader.lease = w->lease;
    response.header = &header;
    response.leader = &leader;
    etcd_send(w->call, &response.base);
    finish(w, GRPC_OK, NULL);
}

/* 1; 0: its key has gone meanwhile; -1. */
static int enter_campaign(struct waiter *w, struct arena *scratch, struct error *err)
{
    struct storage_txn_result out;
    int64_t now;
    if (enter(w, scratch, &out, err) < 0)
        return -1;
    if (out.succeeded || bytes_equal(out.results[0].range.kvs[0].value, w->value))
        return 1;
    struct storage_op put = {
        .type = STORAGE_PUT, .key = w->key, .value = w->value, .lease = w->lease
    };
    return proclaim(w->server, &put, w->created, scratch, &now, err);
}

static void step_campaign(struct waiter *w, struct arena *scratch)
{
    struct error err = { 0 };
    int64_t ignored;
    if (is_gone(w, &err)) {
        leave(w, scratch);
        finish(w, GRPC_CANCELLED, NULL);
        return;
    }
    int entered = err.code ? -1 : w->phase == PHASE_WAITS ? 1 : enter_campaign(w, scratch, &err);
    if (entered == 0) {
        finish(w, GRPC_UNKNOWN, "election: not leader");
        return;
    }
    int got = entered < 0 ? -1 : look_ahead(w, scratch, &ignored, &err);
    if (got < 0) {
        leave(w, scratch);
        fail(w, &err);
    } else if (got) {
        answer_campaign(w);
    }
}

/* ---- Observe ---- */

static void read_observe(struct waiter *w, const ProtobufCMessage *message)
{
    const Etcd__LeaderRequest *r = (const Etcd__LeaderRequest *)message;
    w->prefix = prefix_of(etcd_bytes(r->name), grpc_call_arena(w->call));
}

static void send_leader(struct waiter *w, const struct storage_kv *kv, int64_t revision)
{
    Etcd__LeaderResponse response = ETCD__LEADER_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    Etcd__KeyValue message;
    etcd_header(w->server, revision, &header);
    etcd_kv(kv, &message);
    response.header = &header;
    response.kv = &message;
    etcd_send(w->call, &response.base);
}

/* Until the leader's key is deleted, or while there is none until one is made. */
static void on_leader_event(struct waiter *w, const struct storage_event *e)
{
    bool is_watched = w->leader == LEADER_WATCHED;
    if (w->leader == LEADER_FOUND || (!is_watched && e->is_delete))
        return;
    if (e->is_delete) {
        w->leader = LEADER_UNKNOWN;
        wake_locked(w);
        return;
    }
    send_leader(w, &e->kv, e->kv.mod_revision);
    if (!is_watched) {
        w->leader = LEADER_FOUND;
        w->leader_revision = e->kv.mod_revision;
        buffer_clear(&w->leader_key);
        buffer_add_bytes(&w->leader_key, e->kv.key);
        wake_locked(w);
    }
}

static void on_observed(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    (void)revision;
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    bool was_watched = w->leader == LEADER_WATCHED;
    for (size_t i = 0; i < n && (w->leader == LEADER_WATCHED) == was_watched; i++)
        on_leader_event(w, &events[i]);
    w->is_slow = grpc_call_queued_bytes(w->call) > OBSERVED_BYTES_MAX;
    if (w->is_slow)
        wake_locked(w);
    pthread_mutex_unlock(&w->lock);
}

static int watch_leader(struct waiter *w, struct bytes key, int64_t revision, struct error *err)
{
    struct storage_watch_config config = { .key = key,
                                           .start_revision = revision + 1,
                                           .events = on_observed };
    pthread_mutex_lock(&w->lock);
    w->leader = LEADER_WATCHED;
    pthread_mutex_unlock(&w->lock);
    return watch(w, &config, err);
}

static int find_leader(struct waiter *w, struct arena *scratch, struct error *err)
{
    struct storage_range range = under(w->prefix, 0, scratch);
    struct storage_range_result out;
    if (storage_range(w->server->storage, &range, scratch, &out, err) < 0)
        return -1;
    if (out.n) {
        send_leader(w, &out.kvs[0], out.revision);
        return watch_leader(w, out.kvs[0].key, out.revision, err);
    }
    struct storage_watch_config config = { .key = range.key,
                                           .end = range.end,
                                           .start_revision = out.revision + 1,
                                           .events = on_observed };
    return watch(w, &config, err);
}

static int look_at_leader(struct waiter *w, bool *is_slow)
{
    pthread_mutex_lock(&w->lock);
    int leader = w->leader;
    *is_slow = w->is_slow;
    pthread_mutex_unlock(&w->lock);
    return leader;
}

static void step_observe(struct waiter *w, struct arena *scratch)
{
    struct error err = { 0 };
    if (is_gone(w, &err)) {
        finish(w, GRPC_CANCELLED, NULL);
        return;
    }
    bool is_slow;
    int leader = look_at_leader(w, &is_slow);
    if (is_slow) {
        finish(w, GRPC_RESOURCE_EXHAUSTED, "answers are not read");
        return;
    }
    if (leader != LEADER_WATCHED) {
        storage_watch_close(take_ptr(&w->watch));
        leader = look_at_leader(w, &is_slow); /* it may have found one until then */
    }
    int rc = err.code ? -1 : 0;
    if (rc == 0 && leader == LEADER_UNKNOWN)
        rc = find_leader(w, scratch, &err);
    else if (rc == 0 && leader == LEADER_FOUND)
        rc = watch_leader(w, buffer_bytes(&w->leader_key), w->leader_revision, &err);
    if (rc < 0)
        fail(w, &err);
}

/* ---- the tables ---- */

static const struct waiter_kind lock_kind = { &etcd__lock_request__descriptor, read_lock, step_lock,
                                              false };
static const struct waiter_kind campaign_kind = { &etcd__campaign_request__descriptor,
                                                  read_campaign, step_campaign, false };
static const struct waiter_kind observe_kind = { &etcd__leader_request__descriptor, read_observe,
                                                 step_observe, true };

#define WAITER(name, kind)                                                                         \
    {                                                                                              \
        name, waiter_open, waiter_message, waiter_half_close, waiter_close, waiter_release, kind   \
    }

const struct grpc_server_handler etcd_waiting_handlers[ETCD_WAITING_HANDLERS] = {
    WAITER("/v3lockpb.Lock/Lock", &lock_kind),
    WAITER("/v3electionpb.Election/Campaign", &campaign_kind),
    WAITER("/v3electionpb.Election/Observe", &observe_kind),
};
