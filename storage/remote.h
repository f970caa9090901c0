/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.h - what the files of the remote store share.
 *
 *     callers --remote_call--> current endpoint --base/grpc--> etcd
 *                 ^   |
 *                 |   +-- failed, and safe to repeat: the next endpoint, at once or after a backoff
 *                 +------ timer thread: backoffs, compaction
 *
 * Every endpoint has one connection with a thread of base/grpc; answers come on it.
 *
 * Threads: any.  Callbacks run on an endpoint's thread or the timer's and must not block.
 */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "base/due_heap.h"
#include "base/grpc.h"
#include "storage/etcd.pb-c.h"
#include "storage/storage_ops.h"

#define REMOTE_ENDPOINTS_MAX 16

/* How far an endpoint can be trusted to say what a watch has delivered. */
enum remote_progress { PROGRESS_UNKNOWN, PROGRESS_ABSENT, PROGRESS_EXACT };

struct remote_endpoint {
    char *url;
    struct grpc_channel *channel;
    struct tls *tls;
    _Atomic int64_t bad_until_ns; /* not the first choice before; monotonic */
    atomic_uint failures;         /* since the last answer */
    _Atomic enum remote_progress progress;
};

/* What is to be done later, on the timer's thread. */
struct remote_task {
    struct due_node due; /* first */
    void (*run)(struct remote_task *t);
};

struct remote_watches; /* remote_watch.c */
struct remote_compactor;

struct remote {
    struct storage storage;
    struct remote_endpoint endpoints[REMOTE_ENDPOINTS_MAX];
    size_t endpoints_n;
    atomic_uint current;
    char *marker_key;
    _Atomic int64_t call_timeout_ms;
    atomic_uint patience;                         /* with members that may be slow, see remote.c */
    _Atomic int64_t revision, compacted_revision; /* the newest that were heard of */
    atomic_size_t calls_n;
    atomic_bool is_closing;

    pthread_mutex_t timer_lock; /* guards what follows */
    pthread_cond_t timer_changed;
    struct due_heap timers;
    pthread_t timer;
    bool timer_runs;

    pthread_mutex_t read_lock; /* guards what follows */
    pthread_cond_t read_changed;
    uint64_t reads_begun, reads_ended;
    bool is_reading;
    struct error read_error; /* of the read that ended last */
    int64_t read_revision;

    struct remote_watches *watches;
    struct remote_compactor *compactor;
};

static inline struct remote *remote_of(struct storage *s)
{
    return (struct remote *)s;
}

/* ---- remote.c: calls ---- */

enum remote_repeat {
    REMOTE_PROBE, /* a read that takes no time: who does not answer it soon is gone */
    REMOTE_READ,  /* may be sent again whatever became of it */
    REMOTE_WRITE, /* again only if it has certainly not been carried out */
};

/* DONE runs once; RESPONSE lives for the call.  ERR_UNAVAILABLE: not carried out; ERR_TIMEOUT: not
 * known. */
typedef void remote_done_fn(struct bytes response, const struct error *err, void *arg);
void remote_start(struct remote *r, const char *method, enum remote_repeat repeat,
                  const ProtobufCMessage *request, remote_done_fn *done, void *arg);
/* The same, waiting.  *OUT is of type RESPONSE and lies in ARENA. */
must_check int remote_call(struct remote *r, const char *method, enum remote_repeat repeat,
                           const ProtobufCMessage *request, struct arena *arena,
                           const ProtobufCMessageDescriptor *response, void *out,
                           struct error *err);
void *remote_unpack(const ProtobufCMessageDescriptor *type, struct bytes message,
                    struct arena *arena); /* NULL: it is not one */
struct bytes remote_pack(const ProtobufCMessage *m, struct arena *arena);

/* The failure of a call in the store's words. */
void remote_error(enum grpc_status status, bool not_sent, const struct error *from,
                  struct error *to);
void remote_saw_revision(struct remote *r, int64_t revision);
int64_t remote_backoff_ns(unsigned failures); /* with jitter */

/* The endpoint to use now, and the news that it did not answer or did. */
struct remote_endpoint *remote_endpoint(struct remote *r);
void remote_endpoint_failed(struct remote *r, struct remote_endpoint *e, const char *why);
void remote_endpoint_answered(struct remote_endpoint *e);

void remote_schedule(struct remote *r, struct remote_task *t, int64_t after_ns);
/* What every call and stream carries: a member without a leader refuses at once. */
extern const struct grpc_metadata remote_metadata[1];

/* ---- remote_kv.c ---- */

int remote_range(struct storage *s, const struct storage_range *range, struct arena *arena,
                 struct storage_range_result *out, struct error *err);
int remote_txn(struct storage *s, const struct storage_txn *txn, struct arena *arena,
               struct storage_txn_result *out, struct error *err);
void remote_txn_submit(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                       void (*done)(const struct storage_txn_result *result,
                                    const struct error *err, void *arg),
                       void *arg);
int remote_read_revision(struct storage *s, int64_t *revision, struct error *err);
struct storage_kv remote_kv(const Etcd__KeyValue *kv); /* borrows */

static inline ProtobufCBinaryData remote_binary(struct bytes b)
{
    return (ProtobufCBinaryData){ b.len, (uint8_t *)(uintptr_t)b.data };
}
static inline struct bytes remote_bytes(ProtobufCBinaryData b)
{
    return (struct bytes){ b.len ? (const char *)b.data : "", b.len };
}

/* ---- remote_watch.c ---- */

struct remote_watches *remote_watches_new(struct remote *r);
void remote_watches_stop(struct remote_watches *all); /* nothing is begun any more */
/* E does not answer calls: its events would not come either. */
void remote_watches_leave(struct remote_watches *all, const struct remote_endpoint *e);
void remote_watches_free(struct remote_watches *all); /* after the endpoints */
struct storage_watch *remote_watch(struct storage *s, const struct storage_watch_config *config,
                                   struct error *err);
void remote_watch_close(struct storage *s, struct storage_watch *w);
int64_t remote_watch_revision(struct storage *s, struct storage_watch *w);
int remote_watch_sync(struct storage *s, struct storage_watch *w, int64_t revision,
                      struct error *err);

/* ---- remote_lease.c ---- */

int remote_lease_grant(struct storage *s, int64_t id, int64_t ttl_s, int64_t *granted_id,
                       struct error *err);
int remote_lease_revoke(struct storage *s, int64_t id, struct error *err);
int remote_lease_keep_alive(struct storage *s, int64_t id, int64_t *ttl_s, struct error *err);
int remote_lease_find(struct storage *s, int64_t id, struct arena *arena, struct storage_lease *out,
                      struct error *err);
int remote_lease_list(struct storage *s, struct arena *arena, struct storage_lease **out, size_t *n,
                      struct error *err);

/* ---- remote_upkeep.c ---- */

struct remote_compactor *remote_compactor_new(struct remote *r, int64_t interval_ms);
void remote_compactor_free(struct remote_compactor *c);
int remote_compact(struct storage *s, int64_t revision, struct error *err);
int remote_status(struct storage *s, struct storage_status *out, struct error *err);
int remote_defragment(struct storage *s, struct error *err);

/* ---- remote_history.c ---- */

int remote_each_version(struct storage *s, int64_t revision, struct storage_history *out,
                        int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                        void *arg, struct error *err);
