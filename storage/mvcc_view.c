/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc_view.c - reading: views, iteration over three sources, history. */
#include "storage/counts.h"
#include "storage/latest.h"
#include "storage/values.h"

#include <endian.h>

struct mvcc_iter {
    struct mvcc_view *view;
    int64_t revision;
    struct bytes key, end;
    bool is_one_key, is_done;
    struct version *at[INDEXES];
    struct lmdb_cursor *cursor; /* NULL once it is past the end */
    struct bytes disk_key, disk_value;
};

/* ---- history keys ---- */

void history_key(int64_t revision, uint32_t sub, char out[HISTORY_KEY_BYTES])
{
    uint64_t r = htobe64((uint64_t)revision);
    uint32_t s = htobe32(sub);
    memcpy(out, &r, sizeof(r));
    memcpy(out + sizeof(r), &s, sizeof(s));
}

int64_t history_key_revision(struct bytes key)
{
    uint64_t r = 0;
    if (key.len == HISTORY_KEY_BYTES)
        memcpy(&r, key.data, sizeof(r));
    return (int64_t)be64toh(r);
}

/* ---- views ---- */

/* Beginning a transaction searches a slot under a process-wide lock; renewing a resting one does
 * not. */
static struct lmdb_txn *try_to_take_txn(struct mvcc *m, bool *is_dead, struct error *err)
{
    pthread_mutex_lock(&m->lock);
    struct lmdb_txn *t = m->pool_n ? m->pool[--m->pool_n] : NULL;
    struct lmdb_env *env = lmdb_env_ref(m->env);
    pthread_mutex_unlock(&m->lock);
    if (!t) {
        t = lmdb_read_begin(env, err);
    } else if (lmdb_read_renew(t, err) < 0) {
        lmdb_read_end(t);
        t = NULL;
    }
    *is_dead = !t && lmdb_env_is_dead(env);
    lmdb_env_unref(env);
    return t;
}

static struct lmdb_txn *take_txn(struct mvcc *m, struct error *err)
{
    bool is_dead;
    struct error first = { 0 };
    struct lmdb_txn *t = try_to_take_txn(m, &is_dead, &first);
    if (!t && is_dead) {
        mvcc_revive(m); /* or waits for who does */
        return try_to_take_txn(m, &is_dead, err);
    }
    if (!t)
        *err = first;
    return t;
}

static void give_txn(struct mvcc *m, struct lmdb_txn *t)
{
    lmdb_read_rest(t);
    pthread_mutex_lock(&m->lock);
    bool is_kept = m->pool_n < VIEWS_POOLED_MAX && lmdb_txn_env(t) == m->env;
    if (is_kept)
        m->pool[m->pool_n++] = t;
    pthread_mutex_unlock(&m->lock);
    if (!is_kept)
        lmdb_read_end(t);
}

struct mvcc_view *mvcc_view_open(struct mvcc *m, struct error *err)
{
    struct mvcc_view *v = xcalloc(1, sizeof(*v));
    v->m = m;
    /* The indexes before the database: what a flush moves in between is then seen twice, not never.
     */
    pthread_mutex_lock(&m->lock);
    v->revision = atomic_load(&m->revision);
    v->indexes[ACTIVE] = key_index_ref(m->active);
    v->indexes[FROZEN] = key_index_ref(m->frozen);
    pthread_mutex_unlock(&m->lock);
    struct database_state state;
    v->txn = take_txn(m, err);
    if (!v->txn || read_state(v->txn, &state, err) < 0) {
        mvcc_view_close(v);
        return NULL;
    }
    v->flushed = state.revision;
    return v;
}

void mvcc_view_close(struct mvcc_view *v)
{
    if (!v)
        return;
    lmdb_cursor_close(v->values);
    if (v->txn)
        give_txn(v->m, v->txn);
    for (int i = 0; i < INDEXES; i++)
        key_index_unref(v->indexes[i]);
    free(v);
}

int mvcc_view_check(const struct mvcc_view *v, struct error *err)
{
    return lmdb_read_check(v->txn, err);
}

int64_t mvcc_view_revision(const struct mvcc_view *v)
{
    return v->revision;
}

/* ---- one key ---- */

/* Follows the chain of versions back to REVISION.  AT is the newest version in the database. */
static int follow_chain(struct mvcc_view *v, struct record *at, int64_t revision, struct error *err)
{
    while (at->mod_revision > revision) {
        if (!at->prev_revision)
            return 0;
        char text[HISTORY_KEY_BYTES];
        history_key(at->prev_revision, at->prev_sub, text);
        struct bytes data, key = at->key;
        int got = lmdb_get(v->txn, TABLE_HISTORY, (struct bytes){ text, sizeof(text) }, &data, err);
        if (got <= 0)
            return got; /* compacted away: a deletion, or older than anyone may ask for */
        if (record_decode(data, (struct bytes){ 0 }, RECORD_VERIFY, at, err) < 0)
            return -1;
        if (!bytes_equal(at->key, key))
            return error_set(err, ERR_IO, "corrupt history at revision %lld: another key's version",
                             (long long)at->mod_revision);
    }
    return 1;
}

static struct version *find_in_indexes(struct mvcc_view *v, struct bytes key, int64_t revision)
{
    struct version *at = revision == REVISION_STAGED
                             ? key_index_find_newest(v->indexes[ACTIVE], key)
                             : key_index_find(v->indexes[ACTIVE], key, revision);
    if (!at && v->indexes[FROZEN])
        at = key_index_find(v->indexes[FROZEN], key, revision);
    return at;
}

int mvcc_view_find(struct mvcc_view *v, struct bytes key, int64_t revision, struct record *out,
                   struct error *err)
{
    struct version *at = revision >= v->flushed ? find_in_indexes(v, key, revision) : NULL;
    if (at) {
        *out = at->r;
        return 1;
    }
    if (key.len == 0)
        return 0; /* the database has no place for the empty key, and nothing may write it */
    int got = latest_get(v->txn, key, out, err);
    if (got <= 0)
        return got;
    return follow_chain(v, out, revision, err);
}

int mvcc_view_fetch(struct mvcc_view *v, struct record *r, struct arena *arena, struct error *err)
{
    return values_fetch(v->txn, &v->values, r, arena, err);
}

/* ---- many keys ---- */

static bool is_past_end(const struct mvcc_iter *it, struct bytes key)
{
    if (it->end.len == 1 && it->end.data[0] == '\0')
        return false;
    return bytes_compare(key, it->end) >= 0;
}

static int settle_cursor(struct mvcc_iter *it, int got)
{
    if (got < 0)
        return -1;
    if (got == 0 || is_past_end(it, it->disk_key)) {
        lmdb_cursor_close(it->cursor);
        it->cursor = NULL;
    }
    return 0;
}

static void settle_index(struct mvcc_iter *it, int i)
{
    if (it->at[i] && is_past_end(it, it->at[i]->r.key))
        it->at[i] = NULL;
}

struct mvcc_iter *mvcc_iter_open(struct mvcc_view *v, struct bytes key, struct bytes end,
                                 int64_t revision, struct error *err)
{
    struct mvcc_iter *it = xcalloc(1, sizeof(*it));
    it->view = v;
    it->revision = revision;
    it->key = key;
    it->end = end;
    it->is_one_key = end.len == 0;
    if (it->is_one_key)
        return it;
    if (revision >= v->flushed) {
        for (int i = 0; i < INDEXES; i++) {
            if (v->indexes[i])
                it->at[i] = key_index_seek(v->indexes[i], key, revision);
            settle_index(it, i);
        }
    }
    it->cursor = lmdb_cursor_open(v->txn, TABLE_LATEST, err);
    if (!it->cursor ||
        settle_cursor(it, latest_seek(it->cursor, key, &it->disk_key, &it->disk_value, err)) < 0) {
        mvcc_iter_close(it);
        return NULL;
    }
    return it;
}

void mvcc_iter_close(struct mvcc_iter *it)
{
    if (!it)
        return;
    lmdb_cursor_close(it->cursor);
    free(it);
}

/* The smallest key that any source is at. */
static bool smallest_key(const struct mvcc_iter *it, struct bytes *key)
{
    bool is_found = false;
    for (int i = 0; i < INDEXES; i++) {
        if (it->at[i] && (!is_found || bytes_compare(it->at[i]->r.key, *key) < 0)) {
            *key = it->at[i]->r.key;
            is_found = true;
        }
    }
    if (it->cursor && (!is_found || bytes_compare(it->disk_key, *key) < 0)) {
        *key = it->disk_key;
        is_found = true;
    }
    return is_found;
}

/* Takes KEY's version from the newest source that has it, and moves each that is at it on.  1:
 * there is one as of the revision; 0: there is none; -1. */
static int take_key(struct mvcc_iter *it, struct bytes key, enum mvcc_iter_mode mode,
                    struct record *out, struct error *err)
{
    int found = 0;
    for (int i = 0; i < INDEXES; i++) {
        if (!it->at[i] || !bytes_equal(it->at[i]->r.key, key))
            continue;
        if (!found)
            *out = it->at[i]->r;
        found = 1;
        it->at[i] = key_index_next_key(it->at[i], it->revision);
        settle_index(it, i);
    }
    if (!it->cursor || !bytes_equal(it->disk_key, key))
        return found;
    if (!found) {
        enum record_check check = mode == MVCC_COUNT ? RECORD_TRUST : RECORD_VERIFY;
        if (record_decode(it->disk_value, it->disk_key, check, out, err) < 0)
            return -1;
        found = follow_chain(it->view, out, it->revision, err);
        if (found < 0)
            return -1;
    }
    int got = latest_next(it->cursor, &it->disk_key, &it->disk_value, err);
    return settle_cursor(it, got) < 0 ? -1 : found;
}

int mvcc_iter_next(struct mvcc_iter *it, enum mvcc_iter_mode mode, struct record *out,
                   struct error *err)
{
    if (it->is_one_key) {
        if (it->is_done)
            return 0;
        it->is_done = true;
        int got = mvcc_view_find(it->view, it->key, it->revision, out, err);
        return got == 1 && out->is_delete ? 0 : got;
    }
    struct bytes key;
    while (smallest_key(it, &key)) {
        int got = take_key(it, key, mode, out, err);
        if (got < 0)
            return -1;
        if (got && !out->is_delete)
            return 1;
    }
    return 0;
}

/* ---- storage_range ---- */

/* A value that lies apart is in the arena already. */
static struct storage_kv range_kv(const struct record *r, bool keys_only,
                                  enum mvcc_range_bytes bytes, struct arena *a)
{
    struct storage_kv kv = record_kv(r);
    if (keys_only)
        kv.value = (struct bytes){ 0 };
    if (bytes == MVCC_COPIED) {
        kv.key = arena_bytes(a, kv.key);
        kv.value = keys_only || r->is_apart ? kv.value : arena_bytes(a, kv.value);
    }
    return kv;
}

static bool is_within(const struct storage_range *range, const struct record *r)
{
    return (!range->min_mod_revision || r->mod_revision >= range->min_mod_revision) &&
           (!range->max_mod_revision || r->mod_revision <= range->max_mod_revision) &&
           (!range->min_create_revision || r->create_revision >= range->min_create_revision) &&
           (!range->max_create_revision || r->create_revision <= range->max_create_revision);
}

static bool is_sorted(const struct storage_range *range)
{
    return range->sort_target != STORAGE_SORT_KEY || range->sort_order == STORAGE_DESCENDING;
}

static bool has_bounds(const struct storage_range *range)
{
    return range->min_mod_revision || range->max_mod_revision || range->min_create_revision ||
           range->max_create_revision;
}

/* How many are needed of those that come first by key. */
static int64_t page_size(const struct storage_range *range)
{
    if (range->limit <= 0)
        return INT64_MAX;
    if (!is_sorted(range))
        return range->limit;
    bool is_in_page = range->sort_order == STORAGE_ASCENDING_IN_PAGE && !has_bounds(range);
    return is_in_page && range->limit < INT64_MAX ? range->limit + 1 : INT64_MAX;
}

/* What VERSION did to the number of keys. */
static int count_change(const struct record *r)
{
    return r->is_delete ? -1 : r->version == 1;
}

/* How many keys the versions that the database has not, up to REVISION, add to its own. */
static int64_t count_index(struct mvcc_iter *it, struct key_index *index, struct bytes from)
{
    int64_t count = 0;
    struct version *v = key_index_seek(index, from, it->revision);
    for (; v && !is_past_end(it, v->r.key); v = key_index_next(v))
        if (v->r.mod_revision > it->view->flushed && v->r.mod_revision <= it->revision)
            count += count_change(&v->r);
    return count;
}

/* The keys of IT's range from FROM on, without a look at each.  1; 0: that cannot be known for this
 * revision, or while a flush is half done; -1. */
static int count_quickly(struct mvcc_iter *it, struct bytes from, int64_t *out, struct error *err)
{
    struct mvcc_view *v = it->view;
    if (it->is_one_key || it->revision < v->flushed)
        return 0;
    int is_half_done = is_partial(v->txn, err);
    if (is_half_done)
        return is_half_done < 0 ? -1 : 0;
    if (counts_range(v->txn, from, it->end, out, err) < 0)
        return -1;
    for (int i = 0; i < INDEXES; i++)
        if (v->indexes[i])
            *out += count_index(it, v->indexes[i], from);
    return 1;
}

/* Counts what follows the last of OUT, if that can be done quickly: 1, 0, -1. */
static int count_rest(struct mvcc_iter *it, const struct storage_range *range, struct arena *arena,
                      struct storage_range_result *out, struct error *err)
{
    struct bytes from = it->key;
    int64_t rest;
    bool has_bounds = range->min_mod_revision || range->max_mod_revision ||
                      range->min_create_revision || range->max_create_revision;
    if (has_bounds) /* each key must be looked at to know whether there are more */
        return 0;
    if (out->n) {
        struct bytes last = out->kvs[out->n - 1].key;
        char *after = arena_zalloc(arena, last.len + 1);
        memcpy(after, last.data, last.len);
        from = (struct bytes){ after, last.len + 1 };
    }
    int got = count_quickly(it, from, &rest, err);
    if (got == 1) {
        out->count = (int64_t)out->n + rest;
        out->more = !range->count_only && rest > 0;
    }
    return got;
}

static int collect(struct mvcc_iter *it, const struct storage_range *range,
                   enum mvcc_range_bytes bytes, struct arena *arena,
                   struct storage_range_result *out, struct error *err)
{
    size_t capacity = 0;
    struct record r;
    int64_t limit = page_size(range);
    bool has_values = !range->keys_only || range->sort_target == STORAGE_SORT_VALUE;
    bool may_count = !range->is_count_unwanted;
    for (;;) {
        bool is_wanted = !range->count_only && (int64_t)out->n < limit;
        if (!is_wanted && may_count) {
            int counted = count_rest(it, range, arena, out, err);
            if (counted)
                return counted < 0 ? -1 : 0;
            may_count = false;
        }
        int got = mvcc_iter_next(it, is_wanted && has_values ? MVCC_WHOLE : MVCC_COUNT, &r, err);
        if (got <= 0)
            return got;
        out->count++;
        if (range->count_only || !is_within(range, &r))
            continue;
        out->more |= !is_wanted;
        if (!is_wanted && range->is_count_unwanted)
            return 0;
        if (!is_wanted)
            continue;
        if (has_values && mvcc_view_fetch(it->view, &r, arena, err) < 0)
            return -1;
        if (out->n == capacity)
            out->kvs = arena_grow(arena, out->kvs, out->n, &capacity, sizeof(out->kvs[0]));
        out->kvs[out->n++] = range_kv(&r, !has_values, bytes, arena);
    }
}

static int compare_numbers(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_kvs(const void *left, const void *right, void *arg)
{
    const struct storage_kv *a = left, *b = right;
    const struct storage_range *range = arg;
    int order = 0;
    switch (range->sort_target) {
    case STORAGE_SORT_KEY:
        break;
    case STORAGE_SORT_VERSION:
        order = compare_numbers(a->version, b->version);
        break;
    case STORAGE_SORT_CREATE_REVISION:
        order = compare_numbers(a->create_revision, b->create_revision);
        break;
    case STORAGE_SORT_MOD_REVISION:
        order = compare_numbers(a->mod_revision, b->mod_revision);
        break;
    case STORAGE_SORT_VALUE:
        order = bytes_compare(a->value, b->value);
        break;
    }
    if (range->sort_target == STORAGE_SORT_KEY)
        order = bytes_compare(a->key, b->key);
    if (range->sort_order == STORAGE_DESCENDING)
        order = -order;
    return order ? order : bytes_compare(a->key, b->key); /* ties ascend either way, as with etcd */
}

static void sort(const struct storage_range *range, struct storage_range_result *out)
{
    if (out->n)
        qsort_r(out->kvs, out->n, sizeof(out->kvs[0]), compare_kvs, (void *)(uintptr_t)range);
    if (range->limit > 0 && (int64_t)out->n > range->limit) {
        out->n = (size_t)range->limit;
        out->more = true;
    }
    for (size_t i = 0; range->keys_only && i < out->n; i++)
        out->kvs[i].value = (struct bytes){ 0 };
}

int mvcc_range(struct mvcc_view *v, const struct storage_range *range, int64_t newest,
               enum mvcc_range_bytes bytes, struct arena *arena, struct storage_range_result *out,
               struct error *err)
{
    int64_t store_revision = newest == REVISION_STAGED ? v->revision : newest;
    if (range->revision > store_revision)
        return error_set(err, ERR_FUTURE_REVISION,
                         "revision %lld lies in the future, the store is at %lld",
                         (long long)range->revision, (long long)store_revision);
    /* After the view was opened: what is compacted later is still in the view. */
    int64_t compacted = mvcc_compacted_revision(v->m);
    if (range->revision > 0 && range->revision < compacted)
        return error_set(err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                         (long long)range->revision, (long long)compacted);
    *out = (struct storage_range_result){ .revision = store_revision };
    struct mvcc_iter *it = mvcc_iter_open(v, range->key, range->end,
                                          range->revision > 0 ? range->revision : newest, err);
    if (!it)
        return -1;
    int rc = collect(it, range, bytes, arena, out, err);
    mvcc_iter_close(it);
    if (is_sorted(range))
        sort(range, out);
    return rc < 0 ? -1 : mvcc_view_check(v, err);
}

/* ---- history ---- */

int history_record(struct lmdb_txn *t, struct lmdb_cursor **values, struct bytes data,
                   struct arena *arena, struct record *out, struct error *err)
{
    if (record_decode(data, (struct bytes){ 0 }, RECORD_VERIFY, out, err) < 0)
        return -1;
    if (out->is_apart)
        return values_fetch(t, values, out, arena, err);
    if (!out->is_pointer)
        return 0;
    int64_t revision = out->mod_revision;
    int got = latest_get(t, out->key, out, err);
    if (got < 0)
        return -1;
    if (got == 0 || out->mod_revision != revision)
        return error_set(err, ERR_IO, "corrupt history: revision %lld has lost its value",
                         (long long)revision);
    return 0;
}

/* Up to *THROUGH: rows after it may be part of a flush that is not done. */
static int read_history(struct lmdb_cursor *c, struct lmdb_txn *t, int64_t from, size_t limit,
                        struct lmdb_cursor **values, struct arena *arena, struct record **out,
                        size_t *n, int64_t *through, struct error *err)
{
    size_t capacity = 0;
    char start[HISTORY_KEY_BYTES];
    history_key(from, 0, start);
    struct bytes key, data;
    int got = lmdb_cursor_seek(c, (struct bytes){ start, sizeof(start) }, &key, &data, err);
    for (; got == 1; got = lmdb_cursor_next(c, &key, &data, err)) {
        int64_t revision = history_key_revision(key);
        if (revision > *through)
            return 0;
        if (*n >= limit && revision != (*out)[*n - 1].mod_revision) {
            *through = revision - 1;
            return 0;
        }
        struct record r;
        if (history_record(t, values, data, arena, &r, err) < 0)
            return -1;
        r.key = arena_bytes(arena, r.key);
        if (!r.is_apart)
            r.value = arena_bytes(arena, r.value);
        if (*n == capacity)
            *out = arena_grow(arena, *out, *n, &capacity, sizeof((*out)[0]));
        (*out)[(*n)++] = r;
    }
    return got;
}

int mvcc_history(struct mvcc *m, int64_t from, size_t limit, struct arena *arena,
                 struct record **out, size_t *n, int64_t *through, struct error *err)
{
    *out = NULL;
    *n = 0;
    struct lmdb_txn *t = take_txn(m, err);
    if (!t)
        return -1;
    struct database_state state = { 0 };
    int rc = read_state(t, &state, err) < 0 ? -1 : 0;
    *through = state.revision;
    int64_t compacted = mvcc_compacted_revision(m);
    if (rc == 0 && from < compacted)
        rc = error_set(err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                       (long long)from, (long long)compacted);
    if (rc == 0 && from > state.revision) {
        *through = from - 1;
    } else if (rc == 0) {
        struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_HISTORY, err), *values = NULL;
        rc = c ? read_history(c, t, from, limit, &values, arena, out, n, through, err) : -1;
        lmdb_cursor_close(values);
        lmdb_cursor_close(c);
    }
    if (rc == 0)
        rc = lmdb_read_check(t, err);
    give_txn(m, t);
    return rc;
}
