/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc.c - opening and recovery, the writer's groups, and the state that views are taken of. */
#include "storage/counts.h"
#include "storage/mvcc_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"

#define FORMAT        2u
#define FORMAT_BEFORE 1u /* all values lie in rows, as small ones do now */
#define QUOTA_BYTES   ((size_t)8 << 30)
#define INDEX_BYTES_FREEZE                                                                         \
    ((size_t)16 << 20) /* more makes a restart slower, less makes flushes dearer */
#define INDEX_BYTES_MAX ((size_t)48 << 20) /* the disk cannot keep up: writers wait */

/* ---- entries of a log frame ---- */

enum entry_type {
    ENTRY_TRANSACTION = 1,
    ENTRY_LEASE_GRANT,
    ENTRY_LEASE_REVOKE,
    ENTRY_COMPACT,
    ENTRY_ALARM
};

struct entry {
    uint32_t type;
    uint32_t n; /* records that follow, each with its length in 8 bytes before it */
    int64_t a, b;
};

static void add_entry(struct mvcc *m, enum entry_type type, size_t n, int64_t a, int64_t b)
{
    struct entry e = { .type = type, .n = (uint32_t)n, .a = a, .b = b };
    buffer_add(m->group, &e, sizeof(e));
}

void mvcc_group_begin(struct mvcc *m)
{
    m->group = commit_log_begin(m->log);
}

void mvcc_group_transaction(struct mvcc *m, struct version *const *versions, size_t n,
                            int64_t revision)
{
    add_entry(m, ENTRY_TRANSACTION, n, revision, 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t len = RECORD_HEADER_BYTES + versions[i]->r.key.len + versions[i]->r.value.len;
        buffer_add(m->group, &len, sizeof(len));
        record_encode(&versions[i]->r, RECORD_WITH_KEY, m->group);
    }
}

void mvcc_group_lease_grant(struct mvcc *m, int64_t id, int64_t ttl_s)
{
    add_entry(m, ENTRY_LEASE_GRANT, 0, id, ttl_s);
}

void mvcc_group_lease_revoke(struct mvcc *m, int64_t id)
{
    add_entry(m, ENTRY_LEASE_REVOKE, 0, id, 0);
}

void mvcc_group_compact(struct mvcc *m, int64_t revision)
{
    add_entry(m, ENTRY_COMPACT, 0, revision, 0);
}

void mvcc_group_alarm(struct mvcc *m, bool is_up)
{
    add_entry(m, ENTRY_ALARM, 0, is_up, 0);
}

size_t mvcc_group_size_bytes(const struct mvcc *m)
{
    return m->group->len;
}

int mvcc_group_sync(struct mvcc *m, struct error *err)
{
    return commit_log_sync(m->log, err);
}

/* ---- staging ---- */

static void count_key(struct mvcc *m, const struct record *r, int sign)
{
    int change = r->is_delete ? -1 : r->version == 1 ? 1 : 0;
    atomic_fetch_add_explicit(&m->live_keys, sign * change, memory_order_relaxed);
}

void mvcc_stage(struct mvcc *m, struct version *v)
{
    key_index_insert(m->active, v);
    count_key(m, &v->r, 1);
}

void mvcc_stage_import(struct mvcc *m, struct version *v)
{
    key_index_insert(m->active, v);
    atomic_fetch_add_explicit(&m->live_keys, 1, memory_order_relaxed);
}

void mvcc_unstage(struct mvcc *m, struct version *v)
{
    atomic_store_explicit(&v->is_dead, true, memory_order_release);
    count_key(m, &v->r, -1);
}

bool mvcc_has_space(struct mvcc *m, size_t more)
{
    size_t used = atomic_load(&m->in_use_bytes) + key_index_size_bytes(m->active);
    atomic_store_explicit(&m->is_full, used + more > m->quota_bytes, memory_order_relaxed);
    return used + more <= m->quota_bytes && !mvcc_has_alarm(m);
}

bool mvcc_has_alarm(struct mvcc *m)
{
    return atomic_load_explicit(&m->has_alarm, memory_order_relaxed);
}

bool mvcc_should_raise_alarm(struct mvcc *m)
{
    return m->keeps_alarm && !mvcc_has_alarm(m);
}

void mvcc_set_alarm(struct mvcc *m, bool is_up)
{
    atomic_store(&m->has_alarm, is_up);
}

void mvcc_publish(struct mvcc *m, int64_t revision)
{
    atomic_store(&m->revision, revision);
}

void mvcc_set_compacted(struct mvcc *m, int64_t revision)
{
    atomic_store(&m->compacted, revision);
}

int64_t mvcc_revision(struct mvcc *m)
{
    return atomic_load(&m->revision);
}

int64_t mvcc_compacted_revision(struct mvcc *m)
{
    return atomic_load(&m->compacted);
}

enum mvcc_fill mvcc_fill(struct mvcc *m)
{
    size_t size = key_index_size_bytes(m->active);
    return size >= INDEX_BYTES_MAX      ? MVCC_FULL
           : size >= INDEX_BYTES_FREEZE ? MVCC_SHOULD_FREEZE
                                        : MVCC_ROOM;
}

static void freeze_active(struct mvcc *m)
{
    struct key_index *fresh = key_index_new();
    pthread_mutex_lock(&m->lock);
    m->frozen_state = (struct database_state){
        .revision = atomic_load(&m->revision),
        .compacted = atomic_load(&m->compacted),
        .live_keys = atomic_load(&m->live_keys),
        .generation = commit_log_generation(m->log),
        .seq = commit_log_seq(m->log),
        .has_alarm = mvcc_has_alarm(m),
    };
    m->frozen = m->active;
    m->active = fresh;
    pthread_mutex_unlock(&m->lock);
}

bool mvcc_freeze(struct mvcc *m)
{
    if (!key_index_first(m->active) || mvcc_has_frozen(m))
        return false;
    freeze_active(m);
    commit_log_rotate(m->log);
    return true;
}

bool mvcc_has_frozen(struct mvcc *m)
{
    pthread_mutex_lock(&m->lock);
    bool has = m->frozen;
    pthread_mutex_unlock(&m->lock);
    return has;
}

int64_t mvcc_flushed_revision(struct mvcc *m)
{
    pthread_mutex_lock(&m->lock);
    int64_t flushed = m->flushed;
    pthread_mutex_unlock(&m->lock);
    return flushed;
}

int mvcc_status(struct mvcc *m, struct storage_status *out, struct error *err)
{
    *out = (struct storage_status){
        .revision = mvcc_revision(m),
        .compacted_revision = mvcc_compacted_revision(m),
        .keys = atomic_load(&m->live_keys),
        .quota_bytes = m->quota_bytes,
        .identity = m->salt,
        .is_full = mvcc_has_alarm(m) || (!m->keeps_alarm && atomic_load(&m->is_full)),
    };
    struct lmdb_env *env = mvcc_env_ref(m);
    int rc = lmdb_env_size(env, &out->size_bytes, &out->size_in_use_bytes, err);
    lmdb_env_unref(env);
    return rc;
}

/* ---- opening ---- */

#define STATE BYTES("state")

int read_state(struct lmdb_txn *t, struct database_state *out, struct error *err)
{
    struct bytes data;
    int got = lmdb_get(t, TABLE_META, STATE, &data, err);
    if (got <= 0)
        return got;
    if (data.len != sizeof(*out) && data.len != offsetof(struct database_state, has_alarm))
        return error_set(err, ERR_IO, "corrupt database: its state has %zu bytes", data.len);
    *out = (struct database_state){ 0 };
    memcpy(out, data.data, data.len);
    if (out->format != FORMAT && out->format != FORMAT_BEFORE)
        return error_set(err, ERR_IO, "the database has format %u, this program knows %u",
                         out->format, FORMAT);
    return 1;
}

int write_state(struct lmdb_txn *t, const struct database_state *state, struct error *err)
{
    return lmdb_put(t, TABLE_META, STATE, (struct bytes){ (const char *)state, sizeof(*state) },
                    err);
}

#define PARTIAL BYTES("partial")

int mark_partial(struct lmdb_txn *t, struct error *err)
{
    return lmdb_put(t, TABLE_META, PARTIAL, (struct bytes){ "", 0 }, err);
}

int unmark_partial(struct lmdb_txn *t, struct error *err)
{
    return lmdb_delete(t, TABLE_META, PARTIAL, err);
}

int is_partial(struct lmdb_txn *t, struct error *err)
{
    struct bytes data;
    return lmdb_get(t, TABLE_META, PARTIAL, &data, err);
}

static int create_state(struct mvcc *m, struct lmdb_txn *t, int64_t revision, struct error *err)
{
    /* etcd's first revision is 1: the empty store's. */
    m->disk_state = (struct database_state){
        .format = FORMAT,
        .revision = revision ? revision : 1,
        .compacted = revision,
        .pruned = revision,
    };
    if (getrandom(&m->disk_state.salt, sizeof(m->disk_state.salt), 0) < 0)
        return error_errno(err, "getrandom");
    return write_state(t, &m->disk_state, err);
}

/* 1: they are there; 0; -1. */
static int has_counts(struct lmdb_txn *t, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_COUNTS, err);
    struct bytes key, value;
    int got = c ? lmdb_cursor_last(c, &key, &value, err) : -1;
    lmdb_cursor_close(c);
    return got;
}

/* What a new database lacks, and one of before: that has no counts, and an older program may open
 * it. */
static int complete(struct mvcc *m, bool is_new, int64_t first_revision, struct error *err)
{
    struct lmdb_txn *t = lmdb_write_begin(m->env, err);
    if (!t)
        return -1;
    int counted = has_counts(t, err);
    int rc = counted < 0 ? -1 : 0;
    if (rc == 0 && is_new)
        rc = create_state(m, t, first_revision, err);
    if (rc == 0 && !counted)
        rc = counts_build(t, err);
    bool is_former = m->disk_state.format != FORMAT;
    m->disk_state.format = FORMAT;
    if (rc == 0 && is_former)
        rc = write_state(t, &m->disk_state, err);
    if (rc == 0 && (is_new || is_former || !counted))
        return lmdb_write_commit(t, err);
    lmdb_write_abort(t);
    return rc;
}

static int load_state(struct mvcc *m, const struct mvcc_config *config, struct error *err)
{
    struct lmdb_txn *t = lmdb_read_begin(m->env, err);
    if (!t)
        return -1;
    int got = read_state(t, &m->disk_state, err);
    if (got >= 0 && lmdb_read_check(t, err) < 0)
        got = -1;
    lmdb_read_end(t);
    if (got == 0 && commit_log_exists(config->dir))
        return error_set(err, ERR_IO,
                         "the database is corrupt: there is a commit log beside it, "
                         "but it is empty");
    if (got < 0 || complete(m, got == 0, config->first_revision, err) < 0)
        return -1;
    atomic_init(&m->revision, m->disk_state.revision);
    atomic_init(&m->compacted, m->disk_state.compacted);
    atomic_init(&m->live_keys, m->disk_state.live_keys);
    atomic_init(&m->has_alarm, m->disk_state.has_alarm);
    m->flushed = m->disk_state.revision;
    m->salt = m->disk_state.salt;
    size_t size, in_use;
    if (lmdb_env_size(m->env, &size, &in_use, err) < 0)
        return -1;
    atomic_init(&m->in_use_bytes, in_use);
    return 0;
}

static int64_t id_of(struct bytes key)
{
    int64_t id = 0;
    if (key.len >= sizeof(id))
        memcpy(&id, key.data, sizeof(id));
    return id;
}

static int load_table(struct lmdb_txn *t, enum lmdb_table table, const struct mvcc_loader *loader,
                      struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, table, err);
    if (!c)
        return -1;
    struct bytes key, value;
    int got = lmdb_cursor_seek(c, (struct bytes){ 0 }, &key, &value, err);
    for (; got == 1; got = lmdb_cursor_next(c, &key, &value, err)) {
        if (table == TABLE_LEASES) {
            loader->lease_granted(id_of(key), id_of(value), loader->arg);
        } else if (key.len > sizeof(int64_t)) {
            struct bytes named = { key.data + sizeof(int64_t), key.len - sizeof(int64_t) };
            loader->lease_attached(id_of(key), value.len ? value : named, loader->arg);
        }
    }
    lmdb_cursor_close(c);
    return got;
}

static int load_leases(struct mvcc *m, const struct mvcc_loader *loader, struct error *err)
{
    struct lmdb_txn *t = lmdb_read_begin(m->env, err);
    if (!t)
        return -1;
    int rc = load_table(t, TABLE_LEASES, loader, err);
    if (rc == 0)
        rc = load_table(t, TABLE_LEASE_KEYS, loader, err);
    if (rc == 0)
        rc = lmdb_read_check(t, err);
    lmdb_read_end(t);
    return rc;
}

struct replay {
    struct mvcc *m;
    const struct mvcc_loader *loader;
    uint64_t generation;
};

static int corrupt_entry(struct error *err)
{
    return error_set(err, ERR_IO, "the commit log is corrupt: an entry cannot be read");
}

static int replay_transaction(struct replay *rp, const struct entry *e, struct bytes *rest,
                              struct error *err)
{
    struct mvcc *m = rp->m;
    if (e->a != mvcc_revision(m) + 1)
        return error_set(err, ERR_IO, "the commit log is corrupt: revision %lld follows %lld",
                         (long long)e->a, (long long)mvcc_revision(m));
    if (e->n > rest->len / RECORD_HEADER_BYTES)
        return corrupt_entry(err);
    scoped(mem) void *versions_mem = xcalloc(e->n + 1, sizeof(struct version *));
    struct version **versions = versions_mem;
    int rc = 0;
    for (uint32_t i = 0; i < e->n && rc == 0; i++) {
        uint64_t len;
        if (rest->len < sizeof(len))
            return corrupt_entry(err);
        memcpy(&len, rest->data, sizeof(len));
        if (len > rest->len - sizeof(len))
            return corrupt_entry(err);
        struct record r;
        rc = record_decode((struct bytes){ rest->data + sizeof(len), len }, (struct bytes){ 0 },
                           RECORD_VERIFY, &r, err);
        if (rc == 0) {
            versions[i] = version_new(&r);
            mvcc_stage(m, versions[i]);
        }
        rest->data += sizeof(len) + len;
        rest->len -= sizeof(len) + len;
    }
    if (rc == 0) {
        mvcc_publish(m, e->a);
        rp->loader->transaction(versions, e->n, e->a, rp->loader->arg);
    }
    for (uint32_t i = 0; i < e->n; i++)
        version_unref(versions[i]);
    return rc;
}

static int replay_frame(struct bytes rest, uint64_t generation, void *arg, struct error *err)
{
    struct replay *rp = arg;
    (void)failpoint("storage.recover.frame");
    if (rp->generation && generation != rp->generation)
        freeze_active(rp->m); /* it was being flushed when the process died */
    rp->generation = generation;
    while (rest.len) {
        struct entry e;
        if (rest.len < sizeof(e))
            return corrupt_entry(err);
        memcpy(&e, rest.data, sizeof(e));
        rest.data += sizeof(e);
        rest.len -= sizeof(e);
        switch (e.type) {
        case ENTRY_TRANSACTION:
            if (replay_transaction(rp, &e, &rest, err) < 0)
                return -1;
            break;
        case ENTRY_LEASE_GRANT:
            rp->loader->lease_granted(e.a, e.b, rp->loader->arg);
            break;
        case ENTRY_LEASE_REVOKE:
            rp->loader->lease_revoked(e.a, rp->loader->arg);
            break;
        case ENTRY_COMPACT:
            mvcc_set_compacted(rp->m, e.a);
            break;
        case ENTRY_ALARM:
            mvcc_set_alarm(rp->m, e.a);
            break;
        default:
            return corrupt_entry(err);
        }
    }
    return 0;
}

/* Two processes on one folder would each believe its own log. */
static int lock_dir(struct mvcc *m, const char *dir, struct error *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return error_errno(err, "create %s", dir);
    scoped(str) char *path = xasprintf("%s/lock", dir);
    m->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (m->lock_fd < 0)
        return error_errno(err, "open %s", path);
    if (flock(m->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, ERR_UNAVAILABLE, "%s is in use by another process", dir);
    return error_errno(err, "lock %s", path);
}

static int recover(struct mvcc *m, const struct mvcc_config *config, struct error *err)
{
    const struct mvcc_loader *loader = &config->loader;
    if (load_state(m, config, err) < 0 || load_leases(m, loader, err) < 0)
        return -1;
    loader->flushed(m->disk_state.revision, loader->arg);
    (void)failpoint("storage.recover.before_log");
    struct commit_log_config log_config = {
        .dir = config->dir,
        .salt = m->disk_state.salt,
        .generation = m->disk_state.generation,
        .seq = m->disk_state.seq,
    };
    m->log = commit_log_open(&log_config, err);
    if (!m->log)
        return -1;
    struct replay rp = { m, loader, 0 };
    return commit_log_replay(m->log, replay_frame, &rp, err);
}

struct mvcc *mvcc_open(const struct mvcc_config *config, struct error *err)
{
    struct mvcc *m = xcalloc(1, sizeof(*m));
    m->lock_fd = -1;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->write_lock, NULL);
    m->active = key_index_new();
    m->keeps_alarm = config->keeps_alarm;
    m->quota_bytes = config->quota_bytes ? config->quota_bytes : QUOTA_BYTES;
    /* Beyond the quota there is room for what is in the indexes, and for compaction to make space.
     */
    size_t map_bytes = m->quota_bytes + m->quota_bytes / 4 + 4 * INDEX_BYTES_MAX;
    if (lock_dir(m, config->dir, err) == 0 &&
        (m->env = lmdb_env_open(config->dir, map_bytes, err)) && recover(m, config, err) == 0)
        return m;
    error_wrap(err, "open the store in %s", config->dir);
    mvcc_close(m);
    return NULL;
}

void mvcc_close(struct mvcc *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->pool_n; i++)
        lmdb_read_end(m->pool[i]);
    commit_log_close(m->log);
    lmdb_env_unref(m->env);
    key_index_unref(m->active);
    key_index_unref(m->frozen);
    buffer_free(&m->prune_cursor);
    pthread_mutex_destroy(&m->write_lock);
    pthread_mutex_destroy(&m->lock);
    fd_scoped(&m->lock_fd);
    free(m);
}
