/* SPDX-License-Identifier: Apache-2.0 */
/* remote_upkeep.c - compaction by one of the servers, the cluster's state. */
#include "base/log.h"
#include "storage/remote.h"

#define METHOD_COMPACT      "/etcdserverpb.KV/Compact"
#define METHOD_STATUS       "/etcdserverpb.Maintenance/Status"
#define METHOD_ALARM        "/etcdserverpb.Maintenance/Alarm"
#define METHOD_DEFRAGMENT   "/etcdserverpb.Maintenance/Defragment"
#define DEFRAGMENT_LIMIT_MS (10 * 60 * 1000)

/* ---- compaction ---- */

/*
 * Upstream API servers agree on one compactor by a key, and so can be mixed with ours: its version
 * is the clock.  Who finds it unchanged since its own last tick moves it on, and compacts to the
 * revision it saw then.
 */
#define COMPACT_KEY "compact_rev_key"

struct remote_compactor {
    struct remote_task task; /* first: the next tick */
    struct remote *remote;
    int64_t interval_ns;
    int64_t clock;    /* version of the key as of the last tick */
    int64_t revision; /* of the store then; 0: there was none */
    /* the transaction of a tick on its way */
    struct arena *arena;
    struct storage_txn txn;
    struct storage_compare unchanged;
    struct storage_op move, look;
    struct storage_range range;
};

static void next_tick(struct remote_compactor *c)
{
    if (!atomic_load(&c->remote->is_closing))
        remote_schedule(c->remote, &c->task, c->interval_ns);
}

static void log_failure(const struct remote_compactor *c, const struct error *err)
{
    if (!atomic_load(&c->remote->is_closing))
        log_warn("storage", "compact etcd: %s", err->message);
}

static void compacted(struct bytes response, const struct error *err, void *arg)
{
    struct remote_compactor *c = arg;
    (void)response;
    if (err->code && err->code != ERR_COMPACTED)
        log_failure(c, err);
    next_tick(c);
}

static void tick_done(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct remote_compactor *c = arg;
    int64_t target = c->revision;
    if (err->code) {
        log_failure(c, err);
        next_tick(c);
        return;
    }
    c->revision = result->revision;
    if (!result->succeeded) {
        const struct storage_range_result *found = &result->results[0].range;
        c->clock = found->n > 0 ? found->kvs[0].version : 0;
        next_tick(c);
        return;
    }
    c->clock++;
    if (target == 0) {
        next_tick(c);
        return;
    }
    int64_t known = atomic_load(&c->remote->compacted_revision);
    if (target > known)
        atomic_store(&c->remote->compacted_revision, target);
    Etcd__CompactionRequest request = ETCD__COMPACTION_REQUEST__INIT;
    request.revision = target;
    remote_start(c->remote, METHOD_COMPACT, REMOTE_READ, &request.base, compacted, c);
}

static void tick(struct remote_task *t)
{
    struct remote_compactor *c = (struct remote_compactor *)t;
    if (atomic_load(&c->remote->is_closing))
        return;
    arena_reset(c->arena);
    c->unchanged = (struct storage_compare){ .key = BYTES(COMPACT_KEY),
                                             .target = STORAGE_COMPARE_VERSION,
                                             .result = STORAGE_EQUAL,
                                             .number = c->clock };
    char *value = arena_printf(c->arena, "%lld", (long long)c->revision);
    c->move = (struct storage_op){ .type = STORAGE_PUT,
                                   .key = BYTES(COMPACT_KEY),
                                   .value = bytes_of(value) };
    c->range = (struct storage_range){ .key = BYTES(COMPACT_KEY) };
    c->look = (struct storage_op){ .type = STORAGE_RANGE, .range = &c->range };
    c->txn = (struct storage_txn){ &c->unchanged, 1, &c->move, 1, &c->look, 1, NULL };
    remote_txn_submit(&c->remote->storage, &c->txn, c->arena, tick_done, c);
}

struct remote_compactor *remote_compactor_new(struct remote *r, int64_t interval_ms)
{
    struct remote_compactor *c = xcalloc(1, sizeof(*c));
    c->task.run = tick;
    c->remote = r;
    c->interval_ns = interval_ms * NS_PER_MS;
    c->arena = arena_new();
    remote_schedule(r, &c->task, c->interval_ns);
    return c;
}

void remote_compactor_free(struct remote_compactor *c)
{
    if (!c)
        return;
    arena_free(c->arena);
    free(c);
}

int remote_compact(struct storage *s, int64_t revision, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    Etcd__CompactionRequest request = ETCD__COMPACTION_REQUEST__INIT;
    Etcd__CompactionResponse *response;
    request.revision = revision;
    if (remote_call(remote_of(s), METHOD_COMPACT, REMOTE_WRITE, &request.base, a,
                    &etcd__compaction_response__descriptor, &response, err) < 0)
        return -1;
    atomic_store(&remote_of(s)->compacted_revision, revision);
    return 0;
}

/* ---- the cluster's state ---- */

static int count_keys(struct storage *s, int64_t *keys, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct storage_range all = { .key = BYTES("\0"), .end = BYTES("\0"), .count_only = true };
    struct storage_range_result result;
    if (remote_range(s, &all, a, &result, err) < 0)
        return -1;
    *keys = result.count;
    return 0;
}

int remote_status(struct storage *s, struct storage_status *out, struct error *err)
{
    struct remote *r = remote_of(s);
    scoped(arena) struct arena *a = arena_new();
    Etcd__StatusRequest request = ETCD__STATUS_REQUEST__INIT;
    Etcd__StatusResponse *status;
    Etcd__AlarmRequest alarm_request = ETCD__ALARM_REQUEST__INIT;
    Etcd__AlarmResponse *alarms;
    if (remote_call(r, METHOD_STATUS, REMOTE_READ, &request.base, a,
                    &etcd__status_response__descriptor, &status, err) < 0 ||
        remote_call(r, METHOD_ALARM, REMOTE_READ, &alarm_request.base, a,
                    &etcd__alarm_response__descriptor, &alarms, err) < 0)
        return -1;
    uint64_t cluster = status->header ? status->header->cluster_id : 0;
    *out = (struct storage_status){
        .compacted_revision = atomic_load(&r->compacted_revision),
        .size_bytes = (size_t)status->db_size,
        .size_in_use_bytes = (size_t)status->db_size_in_use,
        .quota_bytes = (size_t)status->db_size_quota,
        .identity = (uint32_t)(cluster ^ cluster >> 32),
    };
    for (size_t i = 0; i < alarms->n_alarms; i++)
        out->is_full |= alarms->alarms[i]->alarm == ETCD__ALARM_TYPE__NOSPACE;
    return count_keys(s, &out->keys, err) < 0 ? -1 : remote_read_revision(s, &out->revision, err);
}

/* Member by member, since one that does it answers nobody meanwhile. */
int remote_defragment(struct storage *s, struct error *err)
{
    struct remote *r = remote_of(s);
    scoped(arena) struct arena *a = arena_new();
    Etcd__DefragmentRequest request = ETCD__DEFRAGMENT_REQUEST__INIT;
    struct grpc_call_options options = { .timeout_ms = DEFRAGMENT_LIMIT_MS };
    struct bytes message = remote_pack(&request.base, a), answer;
    for (size_t i = 0; i < r->endpoints_n; i++) {
        enum grpc_status status = GRPC_OK;
        struct error failure = { 0 };
        if (grpc_unary(r->endpoints[i].channel, METHOD_DEFRAGMENT, message, &options, a, &answer,
                       &status, &failure) < 0) {
            remote_error(status, false, &failure, err);
            return error_wrap(err, "defragment etcd at %s", r->endpoints[i].url);
        }
    }
    return 0;
}
