/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flush.c - moves the frozen index into the database.
 *
 *     the index, key by key:   a@9 a@4  b@7        the database's newest of them:  a@2
 *     history, by revision:    a@2 (its value moves here)  a@4  b@7  a@9
 *     beside it large values:  a@4  b@7  a@9               (and here they stay)
 *     then latest, by key:     a@9  b@7
 *
 * All tables are written in their own order, so that each page is written once in a flush, not
 * once in every part of it.  The parts are transactions.  What they have written is ahead of the
 * state: readers find the same versions in the frozen index, and after a crash the log has them
 * all.  A key whose newest version is in "latest" is through, since all history was written before.
 */
#include "base/crypto.h"
#include "base/failpoint.h"
#include "storage/counts.h"
#include "storage/latest.h"
#include "storage/values.h"

#define PART_BYTES                                                                                 \
    ((size_t)8 << 20) /* of pages: LMDB keeps the memory of the largest transaction */
#define PAGE_BYTES       4096
#define KEYS_PER_RELEASE 1000 /* each may map 16 pages of the file, as the kernel guesses */

struct row { /* to be written to history */
    int64_t revision;
    uint32_t sub, value_crc; /* of a large value */
    bool is_old;             /* the one that "latest" has, of VERSION's key */
    bool is_apart;
    int64_t next; /* the revision that replaced it; 0: it is the newest */
    struct version *version;
    const struct record
        *old; /* the old one, if its value lies apart: there is no need to read it */
};

struct change { /* of a key's newest version */
    struct version *version;
    bool is_apart, was_there;
    uint32_t value_crc;
    int64_t old_lease;
};

struct flush {
    struct mvcc *m;
    struct lmdb_txn *t;
    int64_t compacted;
    size_t part_bytes;  /* that the transaction has dirtied, about */
    struct buffer text; /* of one record */
    struct arena *arena;
    /* In the table before: only of a flush that was cut short, or an import, are there later ones.
     */
    char last_value[HISTORY_KEY_BYTES];
    struct row *rows;
    size_t rows_n, rows_capacity;
    struct change *changes;
    size_t changes_n, changes_capacity;
};

/* ---- what there is to do ---- */

static void add_row(struct flush *f, const struct row *row)
{
    f->rows = xgrow(f->rows, f->rows_n, &f->rows_capacity, sizeof(f->rows[0]));
    f->rows[f->rows_n++] = *row;
}

static void add_change(struct flush *f, const struct change *change)
{
    f->changes = xgrow(f->changes, f->changes_n, &f->changes_capacity, sizeof(f->changes[0]));
    f->changes[f->changes_n++] = *change;
}

static struct row row_of(struct version *v, int64_t next)
{
    struct row row = { .revision = v->r.mod_revision, .sub = v->r.sub, .next = next, .version = v };
    row.is_apart = values_take(&v->r);
    if (row.is_apart)
        row.value_crc = crc32c(0, v->r.value.data, v->r.value.len);
    return row;
}

/* OLD is what "latest" has of V's key. */
static struct row old_row(struct flush *f, const struct record *old, struct version *v,
                          int64_t next)
{
    struct row row = { .revision = old->mod_revision, .sub = old->sub, .is_old = true };
    row.next = next;
    row.version = v;
    if (old->is_apart) {
        struct record *copy = arena_memdup(f->arena, old, sizeof(*old));
        copy->key = v->r.key;
        row.old = copy;
        row.is_apart = true;
        row.value_crc = old->value_crc;
    }
    return row;
}

static bool is_after(const struct record *a, const struct record *b)
{
    return a->mod_revision > b->mod_revision ||
           (a->mod_revision == b->mod_revision && a->sub > b->sub);
}

/* VERSIONS of one key, newest first. */
static int plan_key(struct flush *f, struct version *const *versions, size_t n, struct error *err)
{
    struct record old;
    struct change change = { .version = versions[0] };
    struct row row;
    int got = latest_get(f->t, versions[0]->r.key, &old, err);
    if (got < 0)
        return -1;
    if (got) {
        if (!is_after(&versions[0]->r, &old))
            return 0; /* a flush that was cut short has been here */
        while (!is_after(&versions[n - 1]->r, &old))
            n--;
        change.was_there = !old.is_delete;
        change.old_lease = old.is_delete ? 0 : old.lease;
        row = old_row(f, &old, versions[0], versions[n - 1]->r.mod_revision);
        add_row(f, &row);
    }
    for (size_t i = n - 1; i > 0; i--) {
        row = row_of(versions[i], versions[i - 1]->r.mod_revision);
        add_row(f, &row);
    }
    row = row_of(versions[0], 0);
    add_row(f, &row);
    change.is_apart = row.is_apart;
    change.value_crc = row.value_crc;
    add_change(f, &change);
    return 0;
}

static int plan_index(struct flush *f, struct key_index *index, struct error *err)
{
    size_t n = 0, capacity = 0, keys_n = 0;
    struct version **versions = NULL;
    int rc = 0;
    for (struct version *v = key_index_first(index); v && rc == 0;) {
        versions = xgrow(versions, n, &capacity, sizeof(versions[0]));
        versions[n++] = v;
        v = key_index_next(v);
        if (!v || !bytes_equal(v->r.key, versions[0]->r.key)) {
            rc = plan_key(f, versions, n, err);
            n = 0;
            if (++keys_n % KEYS_PER_RELEASE == 0)
                lmdb_env_release(lmdb_txn_env(f->t));
        }
    }
    free(versions);
    return rc;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    if (a->revision != b->revision)
        return a->revision < b->revision ? -1 : 1;
    return a->sub < b->sub ? -1 : a->sub > b->sub;
}

static int plan(struct flush *f, struct error *err)
{
    struct lmdb_env *env = mvcc_env_ref(f->m);
    f->t = lmdb_read_begin(env, err);
    lmdb_env_unref(env);
    if (!f->t) {
        mvcc_revive(f->m); /* the next flush finds it so */
        return -1;
    }
    int rc = values_last(f->t, f->last_value, err);
    if (rc >= 0)
        rc = plan_index(f, f->m->frozen, err);
    if (rc >= 0)
        rc = lmdb_read_check(f->t, err);
    lmdb_read_end(take_ptr(&f->t));
    if (f->rows_n)
        qsort(f->rows, f->rows_n, sizeof(f->rows[0]), compare_rows);
    return rc;
}

/* ---- parts ---- */

static int begin_part(struct flush *f, struct error *err)
{
    f->part_bytes = 0;
    f->t = mvcc_write_begin(f->m, err);
    return f->t ? 0 : -1;
}

static int end_part(struct flush *f, struct error *err)
{
    struct lmdb_txn *t = take_ptr(&f->t);
    (void)failpoint("storage.flush.before_commit");
    struct lmdb_env *env = lmdb_env_ref(lmdb_txn_env(t));
    int rc = mvcc_write_commit(f->m, t, err);
    lmdb_env_release(env); /* it went all over the file */
    lmdb_env_unref(env);
    return rc;
}

/* BYTES were dirtied: ends a part that is large enough. */
static int next_part(struct flush *f, size_t bytes, struct error *err)
{
    f->part_bytes += bytes;
    if (f->part_bytes < PART_BYTES && !failpoint("storage.flush.next_part"))
        return 0;
    if (mark_partial(f->t, err) < 0 || end_part(f, err) < 0)
        return -1;
    return begin_part(f, err);
}

/* ---- history ---- */

static int put_history(struct flush *f, const struct record *r, struct error *err)
{
    char key[HISTORY_KEY_BYTES];
    history_key(r->mod_revision, r->sub, key);
    buffer_clear(&f->text);
    record_encode(r, RECORD_WITH_KEY, &f->text);
    return lmdb_put(f->t, TABLE_HISTORY, (struct bytes){ key, sizeof(key) }, buffer_bytes(&f->text),
                    err);
}

static int read_old(struct flush *f, const struct row *row, struct record *out, struct error *err)
{
    if (row->old) {
        *out = *row->old;
        return 0;
    }
    int got = latest_get(f->t, row->version->r.key, out, err);
    if (got < 0)
        return -1;
    if (!got || out->mod_revision != row->revision || out->sub != row->sub)
        return error_set(err, ERR_IO, "corrupt database: it has lost revision %lld of a key",
                         (long long)row->revision);
    return 0;
}

/* A replaced version that nobody may ask for any more. */
static bool is_forgotten(const struct flush *f, const struct row *row)
{
    return row->next && row->revision < f->compacted && row->next <= f->compacted;
}

static int forget(struct flush *f, const struct row *row, struct error *err)
{
    char key[HISTORY_KEY_BYTES];
    history_key(row->revision, row->sub, key);
    if (row->is_apart && values_delete(f->t, row->revision, row->sub, err) < 0)
        return -1;
    return lmdb_delete(f->t, TABLE_HISTORY, (struct bytes){ key, sizeof(key) }, err);
}

static int put_value(struct flush *f, const struct record *r, struct error *err)
{
    char key[HISTORY_KEY_BYTES];
    history_key(r->mod_revision, r->sub, key);
    bool is_last = memcmp(key, f->last_value, sizeof(key)) > 0;
    return is_last ? values_append(f->t, r, err) : values_insert(f->t, r, err);
}

static int write_row(struct flush *f, const struct row *row, struct error *err)
{
    struct record r = row->version->r;
    if (is_forgotten(f, row))
        return forget(f, row, err);
    if (row->is_old && read_old(f, row, &r, err) < 0)
        return -1;
    r.is_apart = row->is_apart;
    r.value_crc = row->value_crc;
    r.is_pointer = !row->next;
    r.next_revision = row->next;
    if (r.is_apart && !row->is_old && put_value(f, &r, err) < 0)
        return -1;
    if (r.is_pointer && row->revision < f->compacted)
        return 0; /* who may ask for it finds it without history */
    return put_history(f, &r, err);
}

/* That writing ROW dirties, about. */
static size_t row_bytes(const struct flush *f, const struct row *row)
{
    const struct record *r = row->old ? row->old : &row->version->r;
    bool has_value = row->is_apart ? !row->is_old || is_forgotten(f, row) : row->next;
    /* An old row's place is among others that stay. */
    return (row->is_old ? PAGE_BYTES : RECORD_HEADER_BYTES) + (has_value ? r->value.len : 0);
}

static int write_history(struct flush *f, struct error *err)
{
    for (size_t i = 0; i < f->rows_n; i++)
        if (write_row(f, &f->rows[i], err) < 0 || next_part(f, row_bytes(f, &f->rows[i]), err) < 0)
            return -1;
    return 0;
}

/* ---- newest versions, and the keys of leases ---- */

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
    struct lease_row row = { .len = 0 };
    name_lease_row(key, &row);
    struct bytes name = { row.name, row.len };
    memcpy(row.name, &from, sizeof(from));
    if (from && lmdb_delete(f->t, TABLE_LEASE_KEYS, name, err) < 0)
        return -1;
    memcpy(row.name, &to, sizeof(to));
    return to ? lmdb_put(f->t, TABLE_LEASE_KEYS, name, row.value, err) : 0;
}

static int write_change(struct flush *f, const struct change *c, struct error *err)
{
    struct record r = c->version->r;
    r.is_apart = c->is_apart;
    r.value_crc = c->value_crc;
    int rc = r.is_delete && r.mod_revision < f->compacted ? latest_delete(f->t, r.key, err)
                                                          : latest_put(f->t, &r, err);
    if (rc == 0 && r.is_delete == c->was_there)
        rc = counts_change(f->t, r.key, r.is_delete ? -1 : 1, err);
    return rc < 0 ? -1 : move_lease(f, r.key, c->old_lease, r.is_delete ? 0 : r.lease, err);
}

static int write_latest(struct flush *f, struct error *err)
{
    for (size_t i = 0; i < f->changes_n; i++) {
        const struct change *c = &f->changes[i];
        size_t bytes = PAGE_BYTES + (c->is_apart ? 0 : c->version->r.value.len);
        if (write_change(f, c, err) < 0 || next_part(f, bytes, err) < 0)
            return -1;
    }
    return 0;
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
        old = xgrow(old, old_n, &capacity, sizeof(old[0]));
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

/* ---- the whole ---- */

void mvcc_note_size(struct mvcc *m)
{
    size_t size, in_use;
    struct error ignored = { 0 }; /* only the quota depends on it, and the next one corrects it */
    struct lmdb_env *env = mvcc_env_ref(m);
    if (lmdb_env_size(env, &size, &in_use, &ignored) == 0)
        atomic_store(&m->in_use_bytes, in_use);
    lmdb_env_unref(env);
}

static int flush_all(struct flush *f, const struct mvcc_lease *leases, size_t leases_n,
                     const struct database_state *next, struct error *err)
{
    if (plan(f, err) < 0 || begin_part(f, err) < 0 || write_history(f, err) < 0 ||
        write_latest(f, err) < 0 || put_leases(f, leases, leases_n, err) < 0 ||
        write_state(f->t, next, err) < 0 || unmark_partial(f->t, err) < 0)
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
    struct flush f = { .m = m, .compacted = next.compacted, .arena = arena_new() };
    int rc = flush_all(&f, leases, leases_n, &next, err);
    buffer_free(&f.text);
    free(f.rows);
    free(f.changes);
    arena_free(f.arena);
    if (f.t)
        mvcc_write_abort(m, f.t);
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
    mvcc_note_size(m);
    return 0;
}
