/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_maintenance.c - Maintenance, Cluster, Health, and Auth, which is off. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "storage/etcd_server.h"
#include "storage/record.h"
#include "storage/snapshot_file.h"

#define SNAPSHOT_CHUNK_BYTES  ((size_t)32 * 1024) /* etcd's */
#define SNAPSHOT_QUEUED_BYTES ((size_t)1 << 20)

static void header_now(struct etcd_request *rq, Etcd__ResponseHeader *out)
{
    etcd_header(rq->server, storage_revision(rq->server->storage), out);
}

/* ---- Maintenance ---- */

static bool is_full(struct etcd_server *s, struct error *err)
{
    struct storage_status status;
    return storage_status(s->storage, &status, err) == 0 && status.is_full;
}

/* True if there was one. */
static bool lower_alarm(struct etcd_server *s, struct error *err)
{
    return storage_has_alarm(s->storage) && storage_set_alarm(s->storage, false, err) == 0;
}

static void run_alarm(struct etcd_request *rq)
{
    const Etcd__AlarmRequest *r = (const Etcd__AlarmRequest *)rq->message;
    struct etcd_server *s = rq->server;
    struct error err = { 0 };
    bool concerns_us =
        r->alarm == ETCD__ALARM_TYPE__NOSPACE && (!r->member_id || r->member_id == s->member_id);
    bool is_listed = false;
    switch (r->action) {
    case ETCD__ALARM_REQUEST__ACTION__ACTIVATE:
        is_listed = concerns_us && storage_set_alarm(s->storage, true, &err) == 0;
        break;
    case ETCD__ALARM_REQUEST__ACTION__DEACTIVATE:
        is_listed = concerns_us && lower_alarm(s, &err);
        break;
    default:
        is_listed = r->alarm != ETCD__ALARM_TYPE__CORRUPT && is_full(s, &err);
    }
    if (err.code) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__AlarmResponse response = ETCD__ALARM_RESPONSE__INIT;
    Etcd__AlarmMember alarm = ETCD__ALARM_MEMBER__INIT, *alarms[] = { &alarm };
    Etcd__ResponseHeader header;
    alarm.member_id = s->member_id;
    alarm.alarm = ETCD__ALARM_TYPE__NOSPACE;
    response.alarms = alarms;
    response.n_alarms = is_listed;
    header_now(rq, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_status(struct etcd_request *rq)
{
    struct etcd_server *s = rq->server;
    struct storage_status status;
    struct error err = { 0 };
    if (storage_status(s->storage, &status, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__StatusResponse response = ETCD__STATUS_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    char version[] = ETCD_VERSION;
    char *problems[] = { arena_printf(rq->arena, "memberID:%llu alarm:NOSPACE ",
                                      (unsigned long long)s->member_id) };
    etcd_header(s, status.revision, &header);
    response.header = &header;
    response.version = response.storage_version = version;
    response.db_size = (int64_t)status.size_bytes;
    response.db_size_in_use = (int64_t)status.size_in_use_bytes;
    response.db_size_quota = (int64_t)status.quota_bytes;
    response.leader = s->member_id;
    response.raft_index = response.raft_applied_index = (uint64_t)status.revision;
    response.raft_term = ETCD_RAFT_TERM;
    response.errors = problems;
    response.n_errors = status.is_full;
    etcd_answer(rq, &response.base);
}

static void run_defragment(struct etcd_request *rq)
{
    struct error err = { 0 };
    if (storage_defragment(rq->server->storage, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__DefragmentResponse response = ETCD__DEFRAGMENT_RESPONSE__INIT;
    etcd_answer(rq, &response.base); /* etcd gives no header */
}

/* etcd's sum leaves out what only the compaction's own revision still sees, unless there is not one
 * key left: then it leaves out nothing. */
struct hash {
    uint32_t crc, crc_of_all;
    bool leaves_out; /* so far the two are the same */
    int64_t keys;
    struct storage_history history;
    struct buffer value;
};

static int hash_version(const struct storage_version *v, void *arg, struct error *err)
{
    (void)err;
    struct hash *h = arg;
    bool is_old = v->kv.mod_revision <= h->history.compacted_revision;
    h->keys += v->is_delete ? -1 : is_old || v->kv.version == 1;
    if (v->is_replaced && !h->leaves_out) {
        h->crc_of_all = h->crc;
        h->leaves_out = true;
    }
    char key[SNAPSHOT_VERSION_KEY_BYTES];
    size_t len = snapshot_version_key(v, key);
    buffer_clear(&h->value);
    snapshot_version_value(v, &h->value);
    if (!v->is_replaced)
        h->crc = crc32c(crc32c(h->crc, key, len), h->value.data, h->value.len);
    if (h->leaves_out)
        h->crc_of_all = crc32c(crc32c(h->crc_of_all, key, len), h->value.data, h->value.len);
    return 0;
}

/* The sum that an etcd with the same history has: over the rows of its bucket "key". */
static int hash_history(struct etcd_request *rq, int64_t revision, struct storage_history *out,
                        uint32_t *crc, struct error *err)
{
    struct hash h = { .crc = crc32c(0, "key", 3) };
    if (revision < 0) { /* nothing is as old as that */
        struct storage *s = rq->server->storage;
        *out = (struct storage_history){ storage_revision(s), storage_compacted_revision(s) };
        *crc = h.crc;
        return 0;
    }
    int rc = storage_each_version(rq->server->storage, revision, &h.history, hash_version, &h, err);
    buffer_free(&h.value);
    *out = h.history;
    *crc = h.keys || !h.leaves_out ? h.crc : h.crc_of_all;
    return rc;
}

static void run_hash(struct etcd_request *rq)
{
    Etcd__HashResponse response = ETCD__HASH_RESPONSE__INIT;
    struct storage_history history;
    struct error err = { 0 };
    if (hash_history(rq, 0, &history, &response.hash, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__ResponseHeader header;
    etcd_header(rq->server, history.revision, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_hash_kv(struct etcd_request *rq)
{
    const Etcd__HashKVRequest *r = (const Etcd__HashKVRequest *)rq->message;
    Etcd__HashKVResponse response = ETCD__HASH_KVRESPONSE__INIT;
    struct storage_history history;
    struct error err = { 0 };
    if (hash_history(rq, r->revision, &history, &response.hash, &err) < 0) {
        etcd_fail(rq, &err);
        return;
    }
    Etcd__ResponseHeader header;
    header_now(rq, &header);
    response.header = &header;
    response.compact_revision = history.compacted_revision ? history.compacted_revision : -1;
    response.hash_revision = history.revision;
    etcd_answer(rq, &response.base);
}

/* From the file part by part: a map of all of it would count as this program's memory. */
static void send_file(struct etcd_request *rq, int fd, size_t len)
{
    char version[] = ETCD_VERSION, part[SNAPSHOT_CHUNK_BYTES];
    for (size_t at = 0; at < len;) {
        if (!grpc_call_wait_room(rq->call, SNAPSHOT_QUEUED_BYTES, rq->server->snapshot_stall_ms)) {
            etcd_fail_status(rq, GRPC_CANCELLED, NULL);
            return;
        }
        if (grpc_call_queued_bytes(rq->call) > SNAPSHOT_QUEUED_BYTES) {
            etcd_fail_status(rq, GRPC_ABORTED, "etcdserver: nobody reads the snapshot");
            return;
        }
        ssize_t n = pread(fd, part, sizeof(part), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            etcd_fail_status(rq, GRPC_INTERNAL, "etcdserver: the snapshot cannot be read back");
            return;
        }
        Etcd__SnapshotResponse response = ETCD__SNAPSHOT_RESPONSE__INIT;
        response.blob = etcd_binary((struct bytes){ part, (size_t)n });
        response.remaining_bytes = len - at - (size_t)n;
        response.version = version;
        (void)failpoint("storage.snapshot.send");
        etcd_send(rq->call, &response.base);
        at += (size_t)n;
    }
    etcd_fail_status(rq, GRPC_OK, NULL);
}

/* Into a file first: the store must not be held open for as long as a client takes to read. */
static int write_snapshot(struct etcd_request *rq, int fd, size_t *len, struct error *err)
{
    struct stat st;
    if (snapshot_file_write(rq->server->storage, fd, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "stat the snapshot");
    *len = (size_t)st.st_size;
    return 0;
}

/* Not in the words for a store that is full: it is the disk under the snapshot that is. */
static void fail_snapshot(struct etcd_request *rq, const struct error *err)
{
    bool is_full = err->code == ERR_NO_SPACE;
    etcd_fail_status(rq, is_full ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
                     arena_printf(rq->arena, "etcdserver: snapshot: %s", err->message));
}

static void run_snapshot(struct etcd_request *rq)
{
    struct error err = { 0 };
    size_t len = 0;
    scoped(fd) int fd = open(rq->server->scratch_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        error_errno(&err, "create a file in %s", rq->server->scratch_dir);
    (void)failpoint("storage.snapshot.begin");
    if (fd < 0 || write_snapshot(rq, fd, &len, &err) < 0)
        fail_snapshot(rq, &err);
    else
        send_file(rq, fd, len);
}

static void run_move_leader(struct etcd_request *rq)
{
    const Etcd__MoveLeaderRequest *r = (const Etcd__MoveLeaderRequest *)rq->message;
    if (r->target_id != rq->server->member_id) {
        etcd_fail_status(rq, GRPC_FAILED_PRECONDITION, "etcdserver: bad leader transferee");
        return;
    }
    Etcd__MoveLeaderResponse response = ETCD__MOVE_LEADER_RESPONSE__INIT;
    etcd_answer(rq, &response.base);
}

/* ---- Cluster ---- */

static void run_member_list(struct etcd_request *rq)
{
    struct etcd_server *s = rq->server;
    Etcd__MemberListResponse response = ETCD__MEMBER_LIST_RESPONSE__INIT;
    Etcd__Member member = ETCD__MEMBER__INIT, *members[] = { &member };
    Etcd__ResponseHeader header;
    member.id = s->member_id;
    member.name = s->name;
    member.n_client_urls = 1;
    member.client_urls = &s->url;
    response.n_members = 1;
    response.members = members;
    etcd_header(s, 0, &header); /* etcd's has no revision here */
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static bool is_me(const struct etcd_request *rq, uint64_t id)
{
    return id == rq->server->member_id;
}

static void fail_as_alone(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_UNIMPLEMENTED,
                     "etcdserver: this store has one member and stays alone");
}

static void fail_no_member(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_NOT_FOUND, "etcdserver: member not found");
}

/* Of peers: a scheme, a host with a port, and nothing more. */
static bool is_peer_url(const char *url)
{
    static const char *const schemes[] = { "http://", "https://", "unix://", "unixs://" };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!str_has_prefix(url, schemes[i]))
            continue;
        const char *host = url + strlen(schemes[i]), *port = strrchr(host, ':');
        return port && !host[strcspn(host, "/ ")] && !port[1 + strspn(port + 1, "0123456789")];
    }
    return false;
}

static void run_member_add(struct etcd_request *rq)
{
    const Etcd__MemberAddRequest *r = (const Etcd__MemberAddRequest *)rq->message;
    bool is_valid = r->n_peer_urls;
    for (size_t i = 0; i < r->n_peer_urls && is_valid; i++)
        is_valid = is_peer_url(r->peer_urls[i]);
    if (is_valid)
        fail_as_alone(rq);
    else
        etcd_fail_status(rq, GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid");
}

static void run_member_update(struct etcd_request *rq)
{
    if (is_me(rq, ((const Etcd__MemberUpdateRequest *)rq->message)->id))
        fail_as_alone(rq);
    else
        fail_no_member(rq);
}

static void run_member_remove(struct etcd_request *rq)
{
    if (is_me(rq, ((const Etcd__MemberIdRequest *)rq->message)->id))
        etcd_fail_status(rq,
                         GRPC_UNKNOWN, /* sic: etcd sends the error it has for its own clients */
                         "etcdserver: re-configuration failed due to not enough started members");
    else
        fail_no_member(rq);
}

static void run_member_promote(struct etcd_request *rq)
{
    if (is_me(rq, ((const Etcd__MemberIdRequest *)rq->message)->id))
        etcd_fail_status(rq, GRPC_FAILED_PRECONDITION,
                         "etcdserver: can only promote a learner member");
    else
        fail_no_member(rq);
}

/* ---- Auth, as etcd answers before anybody has switched it on ---- */

static void run_auth_status(struct etcd_request *rq)
{
    Etcd__AuthStatusResponse response = ETCD__AUTH_STATUS_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    header_now(rq, &header);
    response.header = &header;
    response.auth_revision = 1;
    etcd_answer(rq, &response.base);
}

static void run_auth_nothing(struct etcd_request *rq)
{
    Etcd__AuthEmptyResponse response = ETCD__AUTH_EMPTY_RESPONSE__INIT;
    Etcd__ResponseHeader header;
    header_now(rq, &header);
    response.header = &header;
    etcd_answer(rq, &response.base);
}

static void run_auth_enable(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_FAILED_PRECONDITION, "etcdserver: root user does not exist");
}

static void run_authenticate(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_FAILED_PRECONDITION, "etcdserver: authentication is not enabled");
}

static void run_no_user(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_FAILED_PRECONDITION, "etcdserver: user name not found");
}

static void run_no_role(struct etcd_request *rq)
{
    etcd_fail_status(rq, GRPC_FAILED_PRECONDITION, "etcdserver: role name not found");
}

static bool has_name(const struct etcd_request *rq)
{
    return !str_empty(((const Etcd__AuthNameRequest *)rq->message)->name);
}

static void run_user_add(struct etcd_request *rq)
{
    if (has_name(rq))
        etcd_fail_status(rq, GRPC_UNIMPLEMENTED, "etcdserver: this store has no users");
    else
        etcd_fail_status(rq, GRPC_INVALID_ARGUMENT, "etcdserver: user name is empty");
}

static void run_role_add(struct etcd_request *rq)
{
    if (has_name(rq))
        etcd_fail_status(rq, GRPC_UNIMPLEMENTED, "etcdserver: this store has no roles");
    else
        etcd_fail_status(rq, GRPC_INVALID_ARGUMENT, "etcdserver: role name is empty");
}

/* ---- health: who can ask is served ---- */

static void run_health(struct etcd_request *rq)
{
    const Etcd__HealthCheckRequest *r = (const Etcd__HealthCheckRequest *)rq->message;
    if (!str_empty(r->service)) {
        etcd_fail_status(rq, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    Etcd__HealthCheckResponse response = ETCD__HEALTH_CHECK_RESPONSE__INIT;
    response.status = ETCD__HEALTH_CHECK_RESPONSE__STATUS__SERVING;
    etcd_answer(rq, &response.base);
}

/* Watching it: the one answer there is, and then silence. */
struct health_watch {
    bool is_finished;
};

static void *health_watch_open(struct grpc_server_call *call, void *arg)
{
    struct health_watch *w = xcalloc(1, sizeof(*w));
    w->is_finished = !etcd_admit(arg, call);
    return w;
}

static void health_watch_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    struct health_watch *w = state;
    if (w->is_finished)
        return;
    Etcd__HealthCheckRequest *r =
        etcd__health_check_request__unpack(NULL, message.len, (const uint8_t *)message.data);
    if (!r) {
        w->is_finished = true;
        grpc_call_finish(call, GRPC_INTERNAL, ETCD_STREAM_GARBAGE);
        return;
    }
    Etcd__HealthCheckResponse response = ETCD__HEALTH_CHECK_RESPONSE__INIT;
    response.status = str_empty(r->service) ? ETCD__HEALTH_CHECK_RESPONSE__STATUS__SERVING
                                            : ETCD__HEALTH_CHECK_RESPONSE__STATUS__SERVICE_UNKNOWN;
    etcd__health_check_request__free_unpacked(r, NULL);
    etcd_send(call, &response.base);
}

static void health_watch_close(struct grpc_server_call *call, void *state)
{
    struct health_watch *w = state;
    if (!w->is_finished)
        grpc_call_finish(call, GRPC_CANCELLED, NULL);
}

const struct grpc_server_handler etcd_health_watch_handler = {
    .method = "/grpc.health.v1.Health/Watch",
    .open = health_watch_open,
    .message = health_watch_message,
    .close = health_watch_close,
    .release = free,
};

#define NOTHING &etcd__auth_empty_request__descriptor
const struct etcd_method etcd_maintenance_methods[] = {
    { "/etcdserverpb.Maintenance/Alarm", &etcd__alarm_request__descriptor, run_alarm, ON_READER },
    { "/etcdserverpb.Maintenance/Status", &etcd__status_request__descriptor, run_status,
      ON_READER },
    { "/etcdserverpb.Maintenance/Defragment", &etcd__defragment_request__descriptor, run_defragment,
      ON_UPKEEP },
    { "/etcdserverpb.Maintenance/Hash", &etcd__hash_request__descriptor, run_hash, ON_UPKEEP },
    { "/etcdserverpb.Maintenance/HashKV", &etcd__hash_kvrequest__descriptor, run_hash_kv,
      ON_UPKEEP },
    { "/etcdserverpb.Maintenance/Snapshot", &etcd__snapshot_request__descriptor, run_snapshot,
      ON_SNAPSHOT },
    { "/etcdserverpb.Maintenance/MoveLeader", &etcd__move_leader_request__descriptor,
      run_move_leader, ON_LOOP },
    { "/etcdserverpb.Cluster/MemberList", &etcd__member_list_request__descriptor, run_member_list,
      ON_LOOP },
    { "/etcdserverpb.Cluster/MemberAdd", &etcd__member_add_request__descriptor, run_member_add,
      ON_LOOP },
    { "/etcdserverpb.Cluster/MemberUpdate", &etcd__member_update_request__descriptor,
      run_member_update, ON_LOOP },
    { "/etcdserverpb.Cluster/MemberRemove", &etcd__member_id_request__descriptor, run_member_remove,
      ON_LOOP },
    { "/etcdserverpb.Cluster/MemberPromote", &etcd__member_id_request__descriptor,
      run_member_promote, ON_LOOP },
    { "/etcdserverpb.Auth/AuthStatus", NOTHING, run_auth_status, ON_LOOP },
    { "/etcdserverpb.Auth/AuthEnable", NOTHING, run_auth_enable, ON_LOOP },
    { "/etcdserverpb.Auth/AuthDisable", NOTHING, run_auth_nothing, ON_LOOP },
    { "/etcdserverpb.Auth/Authenticate", NOTHING, run_authenticate, ON_LOOP },
    { "/etcdserverpb.Auth/UserList", NOTHING, run_auth_nothing, ON_LOOP },
    { "/etcdserverpb.Auth/RoleList", NOTHING, run_auth_nothing, ON_LOOP },
    { "/etcdserverpb.Auth/UserAdd", &etcd__auth_name_request__descriptor, run_user_add, ON_LOOP },
    { "/etcdserverpb.Auth/RoleAdd", &etcd__auth_name_request__descriptor, run_role_add, ON_LOOP },
    { "/etcdserverpb.Auth/UserGet", NOTHING, run_no_user, ON_LOOP },
    { "/etcdserverpb.Auth/UserChangePassword", NOTHING, run_no_user, ON_LOOP },
    { "/etcdserverpb.Auth/UserGrantRole", NOTHING, run_no_user, ON_LOOP },
    { "/etcdserverpb.Auth/UserRevokeRole", NOTHING, run_no_user, ON_LOOP },
    { "/etcdserverpb.Auth/UserDelete", NOTHING, run_no_user, ON_LOOP },
    { "/etcdserverpb.Auth/RoleGet", NOTHING, run_no_role, ON_LOOP },
    { "/etcdserverpb.Auth/RoleGrantPermission", NOTHING, run_no_role, ON_LOOP },
    { "/etcdserverpb.Auth/RoleRevokePermission", NOTHING, run_no_role, ON_LOOP },
    { "/etcdserverpb.Auth/RoleDelete", NOTHING, run_no_role, ON_LOOP },
    { "/grpc.health.v1.Health/Check", &etcd__health_check_request__descriptor, run_health,
      ON_LOOP },
    ETCD_METHODS_END,
};
