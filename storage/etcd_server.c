/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_server.c - etcd's v3 gRPC API: starting, stopping, and what every call has in common. */
#include "storage/etcd_server.h"

#include "base/metrics.h"

#define READERS_MAX        8
#define READS_QUEUED_MAX   65536
#define UPKEEPERS_MAX      2
#define UPKEEPS_QUEUED_MAX 64
#define WAITER_THREADS_MAX 2
#define SNAPSHOTS_MAX      2 /* at a time: each is a file as large as the store */
#define SNAPSHOT_STALL_MS  30000

/* ---- answers ---- */

void etcd_header(const struct etcd_server *s, int64_t revision, Etcd__ResponseHeader *out)
{
    etcd__response_header__init(out);
    out->cluster_id = s->cluster_id;
    out->member_id = s->member_id;
    out->revision = revision;
    out->raft_term = ETCD_RAFT_TERM;
}

void etcd_kv(const struct storage_kv *kv, Etcd__KeyValue *out)
{
    etcd__key_value__init(out);
    out->key = etcd_binary(kv->key);
    out->value = etcd_binary(kv->value);
    out->create_revision = kv->create_revision;
    out->mod_revision = kv->mod_revision;
    out->version = kv->version;
    out->lease = kv->lease;
}

void etcd_send(struct grpc_server_call *call, const ProtobufCMessage *message)
{
    uint8_t small[1024];
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *data = len > sizeof(small) ? xmalloc(len) : small;
    protobuf_c_message_pack(message, data);
    if (data == small)
        grpc_call_send(call, (struct bytes){ (const char *)data, len });
    else
        grpc_call_send_take(call, (char *)data, len);
}

void etcd_answer(struct etcd_request *rq, const ProtobufCMessage *response)
{
    struct grpc_server_call *call = rq->call;
    uint8_t small[1024];
    size_t len = protobuf_c_message_get_packed_size(response);
    if (len > sizeof(small)) {
        etcd_send(call, response);
        grpc_call_finish(call, GRPC_OK, NULL);
        return;
    }
    protobuf_c_message_pack(response, small);
    grpc_call_answer(call, (struct bytes){ (const char *)small, len });
}

void etcd_fail_status(struct etcd_request *rq, enum grpc_status status, const char *text)
{
    grpc_call_finish(rq->call, status, text);
}

/* Codes whose text clients compare; the others tell what the store says. */
static const struct {
    enum error_code code;
    enum grpc_status status;
    const char *text;
} known_failures[] = {
    { ERR_COMPACTED, GRPC_OUT_OF_RANGE, "mvcc: required revision has been compacted" },
    { ERR_FUTURE_REVISION, GRPC_OUT_OF_RANGE, "mvcc: required revision is a future revision" },
    { ERR_NOT_FOUND, GRPC_NOT_FOUND, "requested lease not found" },
    { ERR_ALREADY_EXISTS, GRPC_FAILED_PRECONDITION, "lease already exists" },
    { ERR_NO_SPACE, GRPC_RESOURCE_EXHAUSTED, "mvcc: database space exceeded" },
    { ERR_TOO_LARGE, GRPC_INVALID_ARGUMENT, "request is too large" },
    { ERR_TOO_MANY_REQUESTS, GRPC_RESOURCE_EXHAUSTED, "too many requests" },
    { ERR_BAD_REQUEST, GRPC_INVALID_ARGUMENT, NULL },
    { ERR_UNAVAILABLE, GRPC_UNAVAILABLE, NULL },
    { ERR_IO, GRPC_INTERNAL, NULL },
};

void etcd_failure(const struct error *err, struct grpc_failure *out)
{
    const char *text = NULL;
    out->status = GRPC_UNKNOWN;
    for (size_t i = 0; i < ARRAY_LEN(known_failures); i++) {
        if (known_failures[i].code == err->code) {
            out->status = known_failures[i].status;
            text = known_failures[i].text;
        }
    }
    snprintf(out->text, sizeof(out->text), "etcdserver: %s", text ? text : err->message);
}

void etcd_fail(struct etcd_request *rq, const struct error *err)
{
    struct grpc_failure failure;
    etcd_failure(err, &failure);
    etcd_fail_status(rq, failure.status, failure.text);
}

/* ---- requests ---- */

static bool is_trusted(const struct etcd_server *s, const struct tls_peer *peer)
{
    for (size_t i = 0; s->organization && i < peer->organizations_n; i++)
        if (str_equal(peer->organizations[i], s->organization))
            return true;
    return !s->organization;
}

bool etcd_admit(struct etcd_server *s, struct grpc_server_call *call)
{
    const struct tls_peer *peer = grpc_call_peer(call);
    if (is_trusted(s, peer))
        return true;
    if (!peer->common_name)
        grpc_call_finish(call, GRPC_UNAUTHENTICATED, "a client certificate is required");
    else
        grpc_call_finish(call, GRPC_PERMISSION_DENIED, "etcdserver: permission denied");
    return false;
}

static const struct etcd_method *const method_tables[] = { etcd_kv_methods, etcd_lease_methods,
                                                           etcd_maintenance_methods,
                                                           etcd_lock_methods };

static void *allocate(void *arena, size_t bytes)
{
    return arena_alloc(arena, bytes);
}

static void keep(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

static void *unary_open(struct grpc_server_call *call, void *arg)
{
    struct arena *arena = grpc_call_arena(call);
    struct etcd_request *rq = arena_zalloc(arena, sizeof(*rq));
    rq->server = arg;
    rq->call = call;
    rq->arena = arena;
    rq->allocator = (ProtobufCAllocator){ allocate, keep, arena };
    rq->method = grpc_call_data(call);
    rq->is_taken = !etcd_admit(rq->server, call);
    return rq;
}

static void run_request(void *arg)
{
    struct etcd_request *rq = arg;
    rq->method->run(rq);
}

static void hand_over(struct etcd_request *rq)
{
    struct error err = { 0 };
    struct worker_pool *const workers[] = {
        [ON_READER] = rq->server->readers,
        [ON_UPKEEP] = rq->server->upkeep,
        [ON_SNAPSHOT] = rq->server->snapshots,
    };
    if (rq->method->place == ON_LOOP)
        run_request(rq);
    else if (worker_pool_submit(workers[rq->method->place], run_request, rq, &err) < 0)
        etcd_fail(rq, &err);
}

static void unary_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    (void)call;
    struct etcd_request *rq = state;
    if (rq->is_taken)
        return;
    rq->is_taken = true;
    bool is_txn = rq->method->request == &etcd__txn_request__descriptor;
    rq->message_bytes = message.len;
    if (message.len > ETCD_MESSAGE_BYTES_MAX) {
        etcd_fail_status(rq, GRPC_RESOURCE_EXHAUSTED,
                         arena_printf(rq->arena,
                                      "grpc: received message larger than max (%zu vs. %zu)",
                                      message.len, ETCD_MESSAGE_BYTES_MAX));
        return;
    }
    if (is_txn && etcd_txn_is_too_deep(message)) {
        etcd_fail_status(rq, GRPC_INVALID_ARGUMENT, "etcdserver: transactions are nested too deep");
        return;
    }
    rq->message = protobuf_c_message_unpack(rq->method->request, &rq->allocator, message.len,
                                            (const uint8_t *)message.data);
    if (rq->message)
        hand_over(rq);
    else
        etcd_fail_status(rq, GRPC_INTERNAL, ETCD_UNARY_GARBAGE);
}

/* Somebody else finishes the call once it has its message. */
static void unary_half_close(struct grpc_server_call *call, void *state)
{
    struct etcd_request *rq = state;
    if (rq->is_taken)
        return;
    rq->is_taken = true;
    grpc_call_finish(call, GRPC_INTERNAL, "the call has no message");
}

static void unary_close(struct grpc_server_call *call, void *state)
{
    struct etcd_request *rq = state;
    if (rq->is_taken)
        return;
    rq->is_taken = true;
    grpc_call_finish(call, GRPC_CANCELLED, NULL);
}

/* ---- writes: those that came together share a sync, and their answers a packet ---- */

void etcd_submit(struct etcd_request *rq, storage_txn_done_fn *done)
{
    struct etcd_server *s = rq->server;
    rq->submission = (struct storage_submission){ &rq->txn, rq->arena, done, rq, NULL };
    *s->writes_last = &rq->submission;
    s->writes_last = &rq->submission.next;
}

static void turn_end(void *arg)
{
    struct etcd_server *s = arg;
    struct storage_submission *first = s->writes;
    s->writes = NULL;
    s->writes_last = &s->writes;
    if (first)
        storage_txn_submit_all(s->storage, first);
}

static void begin_burst(void *arg)
{
    grpc_server_hold(((struct etcd_server *)arg)->grpc);
}

static void end_burst(void *arg)
{
    grpc_server_release(((struct etcd_server *)arg)->grpc);
}

/* ---- what etcd says over HTTP/1.1 on the same port ---- */

static const char *http_get(const char *path, const struct tls_peer *peer, struct buffer *body,
                            void *arg)
{
    if (str_equal(path, "/health")) {
        buffer_add_str(body, "{\"health\":\"true\"}");
        return "application/json";
    }
    if (str_equal(path, "/version")) {
        buffer_add_str(body, "{\"etcdserver\":\"" ETCD_VERSION "\",\"etcdcluster\":\"" ETCD_VERSION
                             "\"}");
        return "application/json";
    }
    if (!str_equal(path, "/metrics") || !is_trusted(arg, peer))
        return NULL;
    metrics_print(body);
    return "text/plain; version=0.0.4";
}

/* ---- the server ---- */

static size_t list_handlers(struct grpc_server_handler *out, size_t max)
{
    size_t n = 0;
    for (size_t t = 0; t < ARRAY_LEN(method_tables); t++) {
        for (const struct etcd_method *m = method_tables[t]; m->name; m++) {
            ensure(n < max - 3 - ETCD_WAITING_HANDLERS);
            out[n++] = (struct grpc_server_handler){
                .method = m->name,
                .open = unary_open,
                .message = unary_message,
                .half_close = unary_half_close,
                .close = unary_close,
                .data = m,
            };
        }
    }
    out[n++] = etcd_watch_handler;
    out[n++] = etcd_keep_alive_handler;
    out[n++] = etcd_health_watch_handler;
    for (size_t i = 0; i < ETCD_WAITING_HANDLERS; i++)
        out[n++] = etcd_waiting_handlers[i];
    return n;
}

/* Numbers that stay for the life of the store and differ from other stores'. */
static int set_identity(struct etcd_server *s, struct error *err)
{
    struct storage_status status;
    if (storage_status(s->storage, &status, err) < 0)
        return -1;
    uint64_t x = (uint64_t)status.identity + 1;
    s->cluster_id = x * UINT64_C(0x9e3779b97f4a7c15);
    s->member_id = (x ^ UINT64_C(0x5bd1e995)) * UINT64_C(0xc2b2ae3d27d4eb4f);
    return 0;
}

static char *advertised_url(const struct storage_etcd_config *config, int port)
{
    if (config->advertised_url)
        return xstrdup(config->advertised_url);
    if (str_has_prefix(config->bind_address, "unix:"))
        return xasprintf("unix://%s", config->bind_address + strlen("unix:"));
    return xasprintf("%s://%s:%d", config->tls ? "https" : "http", config->bind_address, port);
}

static int start(struct etcd_server *s, const struct storage_etcd_config *config, struct error *err)
{
    if (set_identity(s, err) < 0)
        return -1;
    s->readers = worker_pool_new("etcd-read", READERS_MAX, READS_QUEUED_MAX, err);
    s->upkeep = worker_pool_new("etcd-upkeep", UPKEEPERS_MAX, UPKEEPS_QUEUED_MAX, err);
    s->snapshots = worker_pool_new("etcd-snapshot", SNAPSHOTS_MAX, UPKEEPS_QUEUED_MAX, err);
    s->waiters = worker_pool_new("etcd-wait", WAITER_THREADS_MAX, ETCD_WAITERS_MAX, err);
    if (!s->readers || !s->upkeep || !s->snapshots || !s->waiters)
        return -1;
    s->streams = etcd_streams_new(config->progress_notify_interval_ms, err);
    if (!s->streams)
        return -1;
    struct grpc_server_handler handlers[80];
    struct grpc_server_config grpc = {
        .bind_address = config->bind_address,
        .port = config->port,
        .tls = config->tls,
        .handlers = handlers,
        .handlers_n = list_handlers(handlers, ARRAY_LEN(handlers)),
        .http_get = http_get,
        .turn_end = turn_end,
        .arg = s,
    };
    s->writes_last = &s->writes;
    s->grpc = grpc_server_start(&grpc, err);
    if (!s->grpc)
        return -1;
    struct storage_burst burst = { begin_burst, end_burst, s };
    storage_on_burst(s->storage, &burst);
    return 0;
}

struct storage_etcd_server {
    struct etcd_server server;
};

struct storage_etcd_server *storage_etcd_start(const struct storage_etcd_config *config,
                                               struct error *err)
{
    ensure(!config->tls || config->organization);
    struct storage_etcd_server *e = xcalloc(1, sizeof(*e));
    struct etcd_server *s = &e->server;
    s->storage = config->storage;
    s->organization = config->tls ? xstrdup(config->organization) : NULL;
    s->scratch_dir = xstrdup(config->scratch_dir ? config->scratch_dir : "/tmp");
    s->name = xstrdup(config->name ? config->name : "default");
    s->snapshot_stall_ms =
        config->snapshot_stall_ms ? config->snapshot_stall_ms : SNAPSHOT_STALL_MS;
    /* Before the first call can ask for it, so without the port that may be chosen by the system.
     */
    s->url = advertised_url(config, config->port);
    if (start(s, config, err) == 0)
        return e;
    error_wrap(err, "serve etcd's API on %s", config->bind_address);
    storage_etcd_stop(e);
    return NULL;
}

int storage_etcd_port(const struct storage_etcd_server *s)
{
    return grpc_server_port(s->server.grpc);
}

void storage_etcd_stop(struct storage_etcd_server *e)
{
    if (!e)
        return;
    struct etcd_server *s = &e->server;
    if (s->grpc)
        storage_on_burst(s->storage, NULL);
    grpc_server_stop(s->grpc);
    etcd_streams_free(s->streams);
    if (s->readers)
        worker_pool_free(s->readers);
    if (s->upkeep)
        worker_pool_free(s->upkeep);
    if (s->snapshots)
        worker_pool_free(s->snapshots);
    if (s->waiters)
        worker_pool_free(s->waiters);
    free(s->organization);
    free(s->scratch_dir);
    free(s->name);
    free(s->url);
    free(e);
}
