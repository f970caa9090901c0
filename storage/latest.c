/* SPDX-License-Identifier: Apache-2.0 */
/* latest.c - rows of keys that fit in a row's name, and of keys that do not. */
#include "storage/latest.h"

#include <endian.h>

/* Between the labels of keys that are added in order: room for 32 more in between. */
#define LABEL_STEP (UINT64_C(1) << 32)

struct row_name {
    char text[LMDB_KEY_BYTES_MAX];
};

static bool is_long(struct bytes key)
{
    return key.len > KEY_IN_ROW_BYTES_MAX;
}

static struct bytes long_row(struct bytes key, uint64_t label, struct row_name *name)
{
    uint64_t big_endian = htobe64(label);
    memcpy(name->text, key.data, ROW_PREFIX_BYTES);
    memcpy(name->text + ROW_PREFIX_BYTES, &big_endian, sizeof(big_endian));
    return (struct bytes){ name->text, sizeof(name->text) };
}

static uint64_t row_label(struct bytes row)
{
    uint64_t big_endian;
    memcpy(&big_endian, row.data + ROW_PREFIX_BYTES, sizeof(big_endian));
    return be64toh(big_endian);
}

static bool is_row_beside(struct bytes row, struct bytes key)
{
    return row.len == LMDB_KEY_BYTES_MAX && memcmp(row.data, key.data, ROW_PREFIX_BYTES) == 0;
}

/* From ROW's name to the whole key.  -1: the record is corrupt. */
static int whole_key(struct bytes row, struct bytes data, struct bytes *key, struct error *err)
{
    struct record r;
    *key = row;
    if (!is_long(row))
        return 0;
    if (record_decode(data, (struct bytes){ 0 }, RECORD_TRUST, &r, err) < 0)
        return -1;
    if (!is_long(r.key) || !is_row_beside(row, r.key))
        return error_set(err, ERR_IO, "corrupt record: it lies under another key's row");
    *key = r.key;
    return 0;
}

/* ---- the place of a long key ---- */

struct place {
    uint64_t before, after; /* the labels beside it; 0: none */
    uint64_t label;         /* its own, or the first that might be */
    bool is_found;
};

/* Halves the labels that are left until there is only the key's place: at most 64 steps, however
 * many keys share the prefix. */
static int find_place(struct lmdb_cursor *c, struct bytes key, struct place *out, struct error *err)
{
    uint64_t low = 1, high = UINT64_MAX;
    *out = (struct place){ 0 };
    while (low <= high) {
        uint64_t middle = low + (high - low) / 2;
        struct row_name name;
        struct bytes row, data, there;
        int got = lmdb_cursor_seek(c, long_row(key, middle, &name), &row, &data, err);
        if (got < 0)
            return -1;
        if (!got || !is_row_beside(row, key)) {
            high = middle - 1;
            continue;
        }
        if (whole_key(row, data, &there, err) < 0)
            return -1;
        int order = bytes_compare(there, key);
        out->label = row_label(row);
        if (order == 0) {
            out->is_found = true;
            return 0;
        }
        if (order > 0) {
            out->after = out->label;
            high = middle - 1;
            continue;
        }
        out->before = out->label;
        if (out->label == UINT64_MAX)
            break;
        low = out->label + 1;
    }
    out->label = low;
    return 0;
}

/* A label between those of P; 0: there is no room. */
static uint64_t label_between(const struct place *p)
{
    uint64_t room = (p->after ? p->after : UINT64_MAX) - p->before;
    if (!p->before && !p->after)
        return UINT64_MAX / 2;
    if (room < 2)
        return 0;
    uint64_t step = room / 2 < LABEL_STEP ? room / 2 : LABEL_STEP;
    return p->before ? p->before + step : p->after - step;
}

/* ---- spreading labels, when there is no room between two ---- */

static int move_row(struct lmdb_txn *t, struct bytes key, uint64_t from, uint64_t to,
                    struct error *err)
{
    struct row_name old_name, new_name;
    struct bytes old = long_row(key, from, &old_name), data;
    int got = lmdb_get(t, TABLE_LATEST, old, &data, err);
    if (got <= 0)
        return got;
    scoped(mem) void *copy = xmalloc(data.len + 1);
    memcpy(copy, data.data, data.len);
    if (lmdb_delete(t, TABLE_LATEST, old, err) < 0)
        return -1;
    return lmdb_put(t, TABLE_LATEST, long_row(key, to, &new_name), (struct bytes){ copy, data.len },
                    err);
}

static int list_labels(struct lmdb_txn *t, struct bytes key, uint64_t **labels, size_t *n,
                       struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_LATEST, err);
    if (!c)
        return -1;
    struct row_name name;
    struct bytes row, data;
    size_t capacity = 0;
    int got = lmdb_cursor_seek(c, long_row(key, 0, &name), &row, &data, err);
    for (; got == 1 && is_row_beside(row, key); got = lmdb_cursor_next(c, &row, &data, err)) {
        *labels = xgrow(*labels, *n, &capacity, sizeof((*labels)[0]));
        (*labels)[(*n)++] = row_label(row);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : 0;
}

/* Rows that go down are moved from the first on and rows that go up from the last on: so a row
 * always finds its new place empty. */
static int spread_labels(struct lmdb_txn *t, struct bytes key, struct error *err)
{
    uint64_t *labels = NULL;
    size_t n = 0;
    int rc = list_labels(t, key, &labels, &n, err);
    uint64_t step = UINT64_MAX / (n + 1);
    for (size_t i = 0; i < n && rc >= 0; i++)
        if ((i + 1) * step < labels[i])
            rc = move_row(t, key, labels[i], (i + 1) * step, err);
    for (size_t i = n; i-- > 0 && rc >= 0;)
        if ((i + 1) * step > labels[i])
            rc = move_row(t, key, labels[i], (i + 1) * step, err);
    free(labels);
    return rc < 0 ? -1 : 0;
}

/* ---- rows ---- */

static int place_of(struct lmdb_txn *t, struct bytes key, struct place *out, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_LATEST, err);
    if (!c)
        return -1;
    int rc = find_place(c, key, out, err);
    lmdb_cursor_close(c);
    return rc;
}

/* 1: KEY's row may be there, and is called *ROW; 0: it is not; -1. */
static int row_of(struct lmdb_txn *t, struct bytes key, struct row_name *name, struct bytes *row,
                  struct error *err)
{
    struct place place;
    *row = key;
    if (!is_long(key))
        return 1;
    if (place_of(t, key, &place, err) < 0)
        return -1;
    *row = long_row(key, place.label, name);
    return place.is_found;
}

int latest_get(struct lmdb_txn *t, struct bytes key, struct record *out, struct error *err)
{
    struct row_name name;
    struct bytes row, data;
    int got = row_of(t, key, &name, &row, err);
    if (got == 1)
        got = lmdb_get(t, TABLE_LATEST, row, &data, err);
    if (got <= 0)
        return got;
    return record_decode(data, key, RECORD_VERIFY, out, err) < 0 ? -1 : 1;
}

int latest_put(struct lmdb_txn *t, const struct record *r, struct error *err)
{
    struct buffer text __attribute__((cleanup(buffer_scoped))) = { 0 };
    struct row_name name;
    struct bytes row = r->key;
    if (is_long(r->key)) {
        struct place place;
        if (place_of(t, r->key, &place, err) < 0)
            return -1;
        if (!place.is_found && !(place.label = label_between(&place))) {
            if (spread_labels(t, r->key, err) < 0 || place_of(t, r->key, &place, err) < 0)
                return -1;
            place.label = label_between(&place);
            ensure(place.label);
        }
        row = long_row(r->key, place.label, &name);
    }
    record_encode(r, is_long(r->key) ? RECORD_WITH_KEY : RECORD_BARE, &text);
    return lmdb_put(t, TABLE_LATEST, row, buffer_bytes(&text), err);
}

int latest_delete(struct lmdb_txn *t, struct bytes key, struct error *err)
{
    struct row_name name;
    struct bytes row;
    int got = row_of(t, key, &name, &row, err);
    return got == 1 ? lmdb_delete(t, TABLE_LATEST, row, err) : got;
}

static int settle(int got, struct bytes row, struct bytes *key, const struct bytes *data,
                  struct error *err)
{
    return got == 1 && whole_key(row, *data, key, err) < 0 ? -1 : got;
}

int latest_seek(struct lmdb_cursor *c, struct bytes from, struct bytes *key, struct bytes *data,
                struct error *err)
{
    struct row_name name;
    struct bytes row = from;
    if (is_long(from)) {
        struct place place;
        if (find_place(c, from, &place, err) < 0)
            return -1;
        row = long_row(from, place.label, &name);
    }
    return settle(lmdb_cursor_seek(c, row, &row, data, err), row, key, data, err);
}

int latest_next(struct lmdb_cursor *c, struct bytes *key, struct bytes *data, struct error *err)
{
    struct bytes row;
    return settle(lmdb_cursor_next(c, &row, data, err), row, key, data, err);
}
