/* SPDX-License-Identifier: Apache-2.0 */
/* compactor.c - removes compacted history from the database. */
#include "base/failpoint.h"
#include "storage/latest.h"
#include "storage/values.h"

/* A transaction of some milliseconds: a flush may be waiting. */
#define PRUNE_ROWS_PER_PART  2000
#define PRUNE_BYTES_PER_PART ((size_t)4 << 20) /* of large values */

enum mvcc_prune_state mvcc_prune_state(struct mvcc *m)
{
    int64_t compacted = mvcc_compacted_revision(m);
    if (m->disk_state.pruned >= compacted)
        return MVCC_PRUNED;
    return compacted > m->disk_state.revision ? MVCC_PRUNE_AFTER_FLUSH : MVCC_CAN_PRUNE;
}

/* Removes the row if nobody may ask for it: 1 if it did.  Adds to *BYTES those of large values. */
static int prune_row(struct lmdb_txn *t, struct bytes key, struct bytes data, int64_t compacted,
                     size_t *bytes, struct error *err)
{
    struct record r;
    if (record_decode(data, (struct bytes){ 0 }, RECORD_VERIFY, &r, err) < 0)
        return -1;
    if (!r.is_pointer && r.next_revision > compacted)
        return 0;
    if (r.is_pointer && r.is_delete && latest_delete(t, r.key, err) < 0)
        return -1;
    if (r.is_apart && !r.is_pointer) {
        *bytes += r.value.len;
        if (values_delete(t, r.mod_revision, r.sub, err) < 0)
            return -1;
    }
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
    size_t bytes = 0;
    *is_last = true;
    for (int rows = 0; got == 1 && history_key_revision(key) < compacted; rows++) {
        char at[HISTORY_KEY_BYTES];
        memcpy(at, key.data, sizeof(at)); /* the row may move or go under the cursor */
        struct bytes row = { at, sizeof(at) };
        if (rows == PRUNE_ROWS_PER_PART || bytes >= PRUNE_BYTES_PER_PART ||
            (rows && failpoint("storage.compact.next_part"))) {
            buffer_clear(&m->prune_cursor);
            buffer_add_bytes(&m->prune_cursor, row);
            *is_last = false;
            got = 0;
            break;
        }
        int pruned = prune_row(t, row, data, compacted, &bytes, err);
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
    struct lmdb_txn *t = mvcc_write_begin(m, err);
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
        rc = write_state(t, &next, err);
    if (rc < 0) {
        mvcc_write_abort(m, t);
        return error_wrap(err, "compact the database");
    }
    (void)failpoint("storage.compact.before_commit");
    if (mvcc_write_commit(m, t, err) < 0)
        return error_wrap(err, "compact the database");
    (void)failpoint("storage.compact.after_commit");
    m->disk_state = next;
    if (is_last) {
        buffer_clear(&m->prune_cursor);
        mvcc_note_size(m);
    }
    return is_last ? 0 : 1;
}
