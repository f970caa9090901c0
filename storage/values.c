/* SPDX-License-Identifier: Apache-2.0 */
/* values.c - pieces of large values, in pages that they fill. */
#include "storage/values.h"

#include <endian.h>

#define PIECE_KEY_BYTES (HISTORY_KEY_BYTES + sizeof(uint32_t))
#define PIECE_BYTES_MAX (LMDB_ROW_BYTES_MAX - PIECE_KEY_BYTES)
#define PIECE_BYTES_MIN 256 /* less is not worth a row, and stays empty at the end of a page */

/* A shorter one in too long a row is not what makes it long: the key is. */
#define APART_BYTES_MIN 1024

struct piece_key {
    char text[PIECE_KEY_BYTES];
};

static struct bytes piece_key(int64_t revision, uint32_t sub, uint32_t piece, struct piece_key *key)
{
    uint32_t big_endian = htobe32(piece);
    history_key(revision, sub, key->text);
    memcpy(key->text + HISTORY_KEY_BYTES, &big_endian, sizeof(big_endian));
    return (struct bytes){ key->text, sizeof(key->text) };
}

static bool is_same_version(struct bytes key, const struct piece_key *first)
{
    return key.len == PIECE_KEY_BYTES && memcmp(key.data, first->text, HISTORY_KEY_BYTES) == 0;
}

bool values_take(const struct record *r)
{
    size_t row = HISTORY_KEY_BYTES + RECORD_HEADER_BYTES + r->key.len + r->value.len;
    return r->value.len >= APART_BYTES_MIN && row > LMDB_ROW_BYTES_MAX;
}

typedef int put_fn(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value,
                   struct error *err);

static int put_pieces(struct lmdb_txn *t, const struct record *r, put_fn *put, struct error *err)
{
    struct piece_key key;
    struct bytes left = r->value;
    for (uint32_t i = 0; left.len; i++) {
        size_t room = lmdb_append_room(t, TABLE_VALUES), most = PIECE_BYTES_MAX;
        if (room >= PIECE_KEY_BYTES + PIECE_BYTES_MIN && room - PIECE_KEY_BYTES < most)
            most = room - PIECE_KEY_BYTES;
        struct bytes piece = { left.data, left.len < most ? left.len : most };
        if (put(t, TABLE_VALUES, piece_key(r->mod_revision, r->sub, i, &key), piece, err) < 0)
            return -1;
        left.data += piece.len;
        left.len -= piece.len;
    }
    return 0;
}

int values_append(struct lmdb_txn *t, const struct record *r, struct error *err)
{
    return put_pieces(t, r, lmdb_append, err);
}

int values_insert(struct lmdb_txn *t, const struct record *r, struct error *err)
{
    struct piece_key first;
    struct bytes piece;
    int got = lmdb_get(t, TABLE_VALUES, piece_key(r->mod_revision, r->sub, 0, &first), &piece, err);
    return got ? (got < 0 ? -1 : 0) : put_pieces(t, r, lmdb_put, err);
}

int values_delete(struct lmdb_txn *t, int64_t revision, uint32_t sub, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_VALUES, err);
    if (!c)
        return -1;
    struct piece_key first;
    struct bytes key, piece;
    int got = lmdb_cursor_seek(c, piece_key(revision, sub, 0, &first), &key, &piece, err);
    while (got == 1 && is_same_version(key, &first)) {
        got = lmdb_cursor_delete(c, err);
        if (got == 0)
            got = lmdb_cursor_next(c, &key, &piece, err);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : 0;
}

/* OUT has room for R's value; more pieces than fit are left out, and the checksum tells. */
static int join_pieces(struct lmdb_cursor *c, const struct record *r, char *out, size_t *len,
                       struct error *err)
{
    struct piece_key first;
    struct bytes key, piece;
    *len = 0;
    int got = lmdb_cursor_seek(c, piece_key(r->mod_revision, r->sub, 0, &first), &key, &piece, err);
    while (got == 1 && is_same_version(key, &first) && piece.len <= r->value.len - *len) {
        memcpy(out + *len, piece.data, piece.len);
        *len += piece.len;
        got = *len < r->value.len ? lmdb_cursor_next(c, &key, &piece, err) : 0;
    }
    return got < 0 ? -1 : 0;
}

int values_fetch(struct lmdb_txn *t, struct lmdb_cursor **c, struct record *r, struct arena *arena,
                 struct error *err)
{
    if (!r->is_apart || r->value.data)
        return 0;
    if (!*c && !(*c = lmdb_cursor_open(t, TABLE_VALUES, err)))
        return -1;
    char *value = arena_alloc(arena, r->value.len + 1);
    size_t len;
    if (join_pieces(*c, r, value, &len, err) < 0)
        return -1;
    if (len != r->value.len || crc32c(0, value, len) != r->value_crc)
        return error_set(err, ERR_IO, "corrupt database: revision %lld has lost its value",
                         (long long)r->mod_revision);
    value[len] = '\0';
    r->value.data = value;
    return 0;
}

int values_last(struct lmdb_txn *t, char out[HISTORY_KEY_BYTES], struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_VALUES, err);
    if (!c)
        return -1;
    struct bytes key, piece;
    int got = lmdb_cursor_last(c, &key, &piece, err);
    if (got == 1 && key.len != PIECE_KEY_BYTES)
        got = error_set(err, ERR_IO, "corrupt database: a value's name has %zu bytes", key.len);
    if (got == 1)
        memcpy(out, key.data, HISTORY_KEY_BYTES);
    lmdb_cursor_close(c);
    return got;
}
