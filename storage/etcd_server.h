/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_server.h - what the files of etcd's gRPC API share.
 *
 *     loop of base/grpc:  message -> etcd_request -> run()
 *         writes:  storage_txn_submit() ..... the writer's thread answers
 *         reads, leases:  a worker answers
 *         compaction, hashes; and snapshots:  a worker of its own kind answers
 *         locks, elections:  a worker takes each step; in between the call waits without a thread
 *
 * Threads: a request belongs to one thread at a time.
 */
#pragma once

#include <stdatomic.h>

#include "base/grpc.h"
#include "base/worker_pool.h"
#include "storage/etcd.pb-c.h"
#include "storage/storage.h"

#define ETCD_VERSION           "3.6.0"           /* whose API this is */
#define ETCD_REQUEST_BYTES_MAX ((size_t)3 << 19) /* of what writes */
#define ETCD_MESSAGE_BYTES_MAX ((size_t)2 << 20)
#define ETCD_TXN_OPS_MAX       128
#define ETCD_TXN_DEPTH_MAX     8
#define ETCD_LEASE_TTL_S_MIN   2    /* what etcd's default election timeout makes it */
#define ETCD_WAITERS_MAX       8192 /* calls that wait for a lock or an election, or observe one */
#define ETCD_RAFT_TERM         1    /* nobody was ever elected: there is one member */

struct etcd_streams; /* watch streams, see etcd_watch.c */

struct etcd_server {
    struct storage *storage;
    struct grpc_server *grpc;
    struct worker_pool *readers, *upkeep, *snapshots, *waiters;
    atomic_uint waiters_n;
    int snapshot_stall_ms;
    struct etcd_streams *streams;
    struct storage_submission *writes, **writes_last; /* the loop's: one turn's, see turn_end() */
    char *organization, *scratch_dir, *name, *url;
    uint64_t cluster_id, member_id;
};

struct etcd_method;
struct etcd_request {
    struct etcd_server *server;
    const struct etcd_method *method;
    struct grpc_server_call *call;
    struct arena *arena;
    ProtobufCAllocator allocator; /* of the arena */
    bool is_taken;                /* the loop's: the message has come */
    const ProtobufCMessage *message;
    size_t message_bytes;
    struct storage_txn txn;
    struct storage_op op;
    struct storage_submission submission;
};

enum etcd_place { ON_LOOP, ON_READER, ON_UPKEEP, ON_SNAPSHOT };
struct etcd_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    void (*run)(struct etcd_request *rq); /* answers it, now or later */
    enum etcd_place place;
};
#define ETCD_METHODS_END                                                                           \
    {                                                                                              \
        0                                                                                          \
    }

extern const struct etcd_method etcd_kv_methods[];
extern const struct etcd_method etcd_lease_methods[];
extern const struct etcd_method etcd_maintenance_methods[];
extern const struct etcd_method etcd_lock_methods[];
extern const struct grpc_server_handler etcd_watch_handler;
extern const struct grpc_server_handler etcd_keep_alive_handler;
extern const struct grpc_server_handler etcd_health_watch_handler;
#define ETCD_WAITING_HANDLERS 3
extern const struct grpc_server_handler etcd_waiting_handlers[ETCD_WAITING_HANDLERS];

/* How Go's gRPC begins what it says of bytes that are no message. */
#define ETCD_UNARY_GARBAGE  "grpc: error unmarshalling request: malformed message"
#define ETCD_STREAM_GARBAGE "grpc: failed to unmarshal the received message: malformed message"

/* Submits RQ's transaction, together with the others that came with it. */
void etcd_submit(struct etcd_request *rq, storage_txn_done_fn *done);

/* The last use of RQ. */
void etcd_answer(struct etcd_request *rq, const ProtobufCMessage *response);
void etcd_fail(struct etcd_request *rq, const struct error *err);
void etcd_fail_status(struct etcd_request *rq, enum grpc_status status, const char *text);

struct grpc_failure {
    enum grpc_status status;
    char text[ERROR_MESSAGE_BYTES + 32];
};
void etcd_failure(const struct error *err, struct grpc_failure *out); /* in etcd's words */

/* May this call's client use the store?  Otherwise the call is finished. */
bool etcd_admit(struct etcd_server *s, struct grpc_server_call *call);
void etcd_header(const struct etcd_server *s, int64_t revision, Etcd__ResponseHeader *out);
void etcd_send(struct grpc_server_call *call, const ProtobufCMessage *message);

static inline struct bytes etcd_bytes(ProtobufCBinaryData b)
{
    return (struct bytes){ (const char *)b.data, b.len };
}
static inline ProtobufCBinaryData etcd_binary(struct bytes b)
{
    return (ProtobufCBinaryData){ b.len, (uint8_t *)(uintptr_t)b.data };
}
void etcd_kv(const struct storage_kv *kv, Etcd__KeyValue *out); /* borrows */

/* ---- etcd_kv.c ---- */

/* How deep transactions are nested in a message that nobody has unpacked yet: unpacking recurses.
 */
bool etcd_txn_is_too_deep(struct bytes message);

/* ---- etcd_watch.c ---- */

struct etcd_streams *etcd_streams_new(int64_t progress_interval_ms, struct error *err);
void etcd_streams_free(struct etcd_streams *streams); /* after every call is finished */
