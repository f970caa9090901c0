/* SPDX-License-Identifier: Apache-2.0 */
/* compactor.c - moves the frozen index into the database, and what is not needed out of it. */
#include "base/crypto.h"
#include "base/failpoint.h"
#include "storage/latest.h"
#include "storage/mvcc_internal.h"

/* LMDB keeps the memory of the largest transaction there was, some 8 KB a key. */
#define FLUSH_KEYS_PER_PART 2000
#define PRUNE_ROWS_PER_PART 2000 /* a transaction of some milliseconds: a flush may be waiting */

struct flush {
    struct mvcc *m;
    struct lmdb_txn *t;
    int64_t compacted;
    size_t keys_n;
    struct buffer text; /* of one record */
};

/* Nobody may ask for R any more once it was replaced by NEXT. */
static bool is_unreachable(const struct flush *f, const struct record *r, int64_t next)
{
    return r->mod_revision < f->compacted && next <= f->compacted;
}

static int put_history(struct flush *f, const struct record *r, struct error *err)
{
    char key[HISTORY_KEY_BYTES];
    history_key(r->mod_revision, r->sub, key);
    buffer_clear(&f->text);
    record_encode(r, RECORD_WITH_KEY, &f->text);
    return lmdb_put(f->t, TABLE_HISTORY, (struct bytes){ key, sizeof(key) }, buffer_bytes(&f->text),
                    err);
}

/* R was replaced at NEXT: its value goes from "latest" to history, unless it is compacted already.
 */
static int retire(struct flush *f, const struct record *r, int64_t next, struct error *err)
{
    char key[HISTORY_KEY_BYTES];
    history_key(r->mod_revision, r->sub, key);
    if (is_unreachable(f, r, next))
        return lmdb_delete(f->t, TABLE_HISTORY, (struct bytes){ key, sizeof(key) }, err);
    struct record old = *r;
    old.is_pointer = false;
    old.next_revision = next;
    return put_history(f, &old, err);
}

static int set_latest(struct flush *f, const struct record *r, struct error *err)
{
    if (r->mod_revision >= f->compacted) {
        struct record pointer = *r;
        pointer.is_pointer = true;
        if (put_history(f, &pointer, err) < 0)
            return -1;
    } else if (r->is_delete) {
        return latest_delete(f->t, r->key, err);
    }
    return latest_put(f->t, r, err);
}

/* The row of a key that a lease has: the key follows the id; a long one is the value, and its hash
 * follows the id. */
struct lease_row {
    char name[LMDB_KEY_BYTES_MAX];
    size_t len;
    struct bytes value;
};

static void name_lease_row(struct bytes key, struct lease_row *out)
{
    uint8_t hash[SHA256_BYTES];
    bool is_whole = key.len <= KEY_IN_ROW_BYTES_MAX;
    if (!is_whole)
        crypto_sha256(key, hash);
    struct bytes name = is_whole ? key : (struct bytes){ (char *)hash, sizeof(hash) };
    memcpy(out->name + sizeof(int64_t), name.data, name.len);
    out->len = sizeof(int64_t) + name.len;
    out->value = is_whole ? (struct bytes){ "", 0 } : key;
}

static int move_lease(struct flush *f, struct bytes key, int64_t from, int64_t to,
                      struct error *err)
{
    if (from == to)
        return 0;
    struct lease_row row;
    name_lease_row(key, &row);
    struct bytes name = { row.name, row.len };
    memcpy(row.name, &from, sizeof(from));
    if (from && lmdb_delete(f->t, TABLE_LEASE_KEYS, name, err) < 0)
        return -1;
    memcpy(row.name, &to, sizeof(to));
    return to ? lmdb_put(f->t, TABLE_LEASE_KEYS, name, row.value, err) : 0;
}

static bool is_after(const struct record *a, const struct record *b)
{
    return a->mod_revision > b->mod_revision ||
           (a->mod_revision == b->mod_revision && a->sub > b->sub);
}

/* VERSIONS of one key, newest first. */
static int flush_key(struct flush *f, struct version *const *versions, size_t n, struct error *err)
{
    const struct record *newest = &versions[0]->r;
    struct record old;
    int64_t old_lease = 0;
    int got = latest_get(f->t, newest->key, &old, err);
    if (got < 0)
        return -1;
    if (got) {
        while (n && !is_after(&versions[n - 1]->r, &old))
            n--; /* a flush that was cut short has been here */
        if (!n)
            return 0;
        old_lease = old.is_delete ? 0 : old.lease;
        if (retire(f, &old, versions[n - 1]->r.mod_revision, err) < 0)
            return -1;
    }
    for (size_t i = n - 1; i > 0; i--)
        if (retire(f, &versions[i]->r, versions[i - 1]->r.mod_revision, err) < 0)
            return -1;
    if (set_latest(f, newest, err) < 0)
        return -1;
    return move_lease(f, newest->key, old_lease, newest->is_delete ? 0 : newest->lease, err);
}

static int begin_part(struct flush *f, struct error *err)
{
    f->t = lmdb_write_begin(f->m->env, err);
    return f->t ? 0 : -1;
}

static int end_part(struct flush *f, struct error *err)
{
    struct lmdb_txn *t = take_ptr(&f->t);
    (void)failpoint("storage.flush.before_commit");
    return lmdb_write_commit(t, err);
}

/* Ends a part that is large enough.  What it has written is ahead of the state: readers find the
 * same versions in the frozen index, and after a crash the log has them all. */
static int next_part(struct flush *f, struct error *err)
{
    if (++f->keys_n % FLUSH_KEYS_PER_PART && !failpoint("storage.flush.next_part"))
        return 0;
    return end_part(f, err) < 0 ? -1 : begin_part(f, err);
}

static int flush_index(struct flush *f, struct key_index *index, struct error *err)
{
    size_t n = 0, capacity = 0;
    struct version **versions = NULL;
    int rc = 0;
    for (struct version *v = key_index_first(index); v && rc == 0;) {
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            versions = xrealloc(versions, capacity * sizeof(versions[0]));
        }
        versions[n++] = v;
        v = key_index_next(v);
        if (!v || !bytes_equal(v->r.key, versions[0]->r.key)) {
            rc = flush_key(f, versions, n, err);
            if (rc == 0)
                rc = next_part(f, err);
            n = 0;
        }
    }
    free(versions);
    return rc;
}

/* Leases are few: the table is written anew.  It may be ahead of the transactions beside it; the
 * log then repeats on a restart what it holds already. */
static int put_leases(struct flush *f, const struct mvcc_lease *leases, size_t n, struct error *err)
{
    (void)failpoint("storage.flush.before_leases");
    struct lmdb_cursor *c = lmdb_cursor_open(f->t, TABLE_LEASES, err);
    if (!c)
        return -1;
    size_t old_n = 0, capacity = 0;
    int64_t *old = NULL;
    struct bytes key, value;
    int got = lmdb_cursor_seek(c, (struct bytes){ 0 }, &key, &value, err);
    for (; got == 1; got = lmdb_cursor_next(c, &key, &value, err)) {
        if (old_n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            old = xrealloc(old, capacity * sizeof(old[0]));
        }
        memcpy(&old[old_n++], key.data, sizeof(old[0]));
    }
    lmdb_cursor_close(c);
    for (size_t i = 0; i < old_n && got == 0; i++)
        got =
            lmdb_delete(f->t, TABLE_LEASES, (struct bytes){ (char *)&old[i], sizeof(old[i]) }, err);
    free(old);
    for (size_t i = 0; i < n && got == 0; i++)
        got = lmdb_put(f->t, TABLE_LEASES,
                       (struct bytes){ (const char *)&leases[i].id, sizeof(int64_t) },
                       (struct bytes){ (const char *)&leases[i].ttl_s, sizeof(int64_t) }, err);
    return got;
}

static int put_state(struct lmdb_txn *t, const struct database_state *state, struct error *err)
{
    return lmdb_put(t, TABLE_META, BYTES("state"),
                    (struct bytes){ (const char *)state, sizeof(*state) }, err);
}

static void note_size(struct mvcc *m)
{
    size_t size, in_use;
    struct error ignored = { 0 }; /* only the quota depends on it, and the next one corrects it */
    if (lmdb_env_size(m->env, &size, &in_use, &ignored) == 0)
        atomic_store(&m->in_use_bytes, in_use);
}

static int flush_all(struct flush *f, const struct mvcc_lease *leases, size_t leases_n,
                     const struct database_state *next, struct error *err)
{
    if (begin_part(f, err) < 0 || flush_index(f, f->m->frozen, err) < 0 ||
        put_leases(f, leases, leases_n, err) < 0 || put_state(f->t, next, err) < 0)
        return -1;
    return end_part(f, err);
}

int mvcc_flush(struct mvcc *m, const struct mvcc_lease *leases, size_t leases_n, struct error *err)
{
    if (!mvcc_has_frozen(m))
        return 0;
    const struct database_state *frozen = &m->frozen_state;
    struct database_state next = m->disk_state;
    next.revision = frozen->revision;
    next.compacted = frozen->compacted > next.compacted ? frozen->compacted : next.compacted;
    next.live_keys = frozen->live_keys;
    next.generation = frozen->generation;
    next.seq = frozen->seq;
    next.has_alarm = frozen->has_alarm;

    (void)failpoint("storage.flush.begin");
    struct flush f = { .m = m, .compacted = next.compacted };
    int rc = flush_all(&f, leases, leases_n, &next, err);
    buffer_free(&f.text);
    if (f.t)
        lmdb_write_abort(f.t);
    if (rc < 0)
        return error_wrap(err, "flush to the database");
    (void)failpoint("storage.flush.after_commit");

    m->disk_state = next;
    pthread_mutex_lock(&m->lock);
    struct key_index *done = m->frozen;
    m->frozen = NULL;
    m->flushed = next.revision;
    pthread_mutex_unlock(&m->lock);
    (void)failpoint("storage.flush.end");
    key_index_unref(done);
    note_size(m);
    lmdb_env_release(m->env);
    return 0;
}

/* ---- compaction ---- */

enum mvcc_prune_state mvcc_prune_state(struct mvcc *m)
{
    int64_t compacted = mvcc_compacted_revision(m);
    if (m->disk_state.pruned >= compacted)
        return MVCC_PRUNED;
    return compacted > m->disk_state.revision ? MVCC_PRUNE_AFTER_FLUSH : MVCC_CAN_PRUNE;
}

/* Removes the row if nobody may ask for it: 1 if it did. */
static int prune_row(struct lmdb_txn *t, struct bytes key, struct bytes data, int64_t compacted,
                     struct error *err)
{
    struct record r;
    if (record_decode(data, (struct bytes){ 0 }, RECORD_VERIFY, &r, err) < 0)
        return -1;
    if (!r.is_pointer && r.next_revision > compacted)
        return 0;
    if (r.is_pointer && r.is_delete && latest_delete(t, r.key, err) < 0)
        return -1;
    return lmdb_delete(t, TABLE_HISTORY, key, err) < 0 ? -1 : 1;
}

/* One part; *IS_LAST when no row before the compacted revision is left. */
static int prune_part(struct mvcc *m, struct lmdb_txn *t, int64_t compacted, bool *is_last,
                      struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_HISTORY, err);
    if (!c)
        return -1;
    struct bytes key, data;
    int got = lmdb_cursor_seek(c, buffer_bytes(&m->prune_cursor), &key, &data, err);
    *is_last = true;
    for (int rows = 0; got == 1 && history_key_revision(key) < compacted; rows++) {
        char at[HISTORY_KEY_BYTES];
        memcpy(at, key.data, sizeof(at)); /* the row may move or go under the cursor */
        struct bytes row = { at, sizeof(at) };
        if (rows == PRUNE_ROWS_PER_PART || (rows && failpoint("storage.compact.next_part"))) {
            buffer_clear(&m->prune_cursor);
            buffer_add_bytes(&m->prune_cursor, row);
            *is_last = false;
            got = 0;
            break;
        }
        int pruned = prune_row(t, row, data, compacted, err);
        (void)failpoint("storage.compact.row");
        if (pruned < 0)
            got = -1;
        else if (pruned) /* the cursor stands at no row now: seek finds the one after it */
            got = lmdb_cursor_seek(c, row, &key, &data, err);
        else
            got = lmdb_cursor_next(c, &key, &data, err);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : 0;
}

int mvcc_prune(struct mvcc *m, struct error *err)
{
    if (mvcc_prune_state(m) != MVCC_CAN_PRUNE)
        return 0;
    (void)failpoint("storage.compact.begin");
    struct lmdb_txn *t = lmdb_write_begin(m->env, err);
    if (!t)
        return -1;
    bool is_last = false;
    struct database_state next = m->disk_state;
    /* Until the last part is done this may move on: rows it has passed then wait for the next time.
     */
    next.compacted = mvcc_compacted_revision(m);
    int rc = prune_part(m, t, next.compacted, &is_last, err);
    if (rc == 0 && is_last)
        next.pruned = next.compacted;
    if (rc == 0)
        rc = put_state(t, &next, err);
    if (rc < 0) {
        lmdb_write_abort(t);
        return error_wrap(err, "compact the database");
    }
    (void)failpoint("storage.compact.before_commit");
    if (lmdb_write_commit(t, err) < 0)
        return error_wrap(err, "compact the database");
    (void)failpoint("storage.compact.after_commit");
    m->disk_state = next;
    if (is_last) {
        buffer_clear(&m->prune_cursor);
        note_size(m);
    }
    return is_last ? 0 : 1;
}

/* ---- the file ---- */

int mvcc_defragment(struct mvcc *m, struct error *err)
{
    struct lmdb_env *env = lmdb_env_compact(m->env, err);
    if (!env)
        return error_wrap(err, "defragment the database");
    pthread_mutex_lock(&m->lock);
    struct lmdb_env *old = m->env;
    m->env = env;
    while (m->pool_n) /* they rest, so ending them is quick */
        lmdb_read_end(m->pool[--m->pool_n]);
    pthread_mutex_unlock(&m->lock);
    lmdb_env_unref(old);
    note_size(m);
    (void)failpoint("storage.defragment.end");
    return 0;
}
