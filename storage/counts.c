/* SPDX-License-Identifier: Apache-2.0 */
/* counts.c - runs of keys, and their lengths. */
#include "storage/counts.h"

#include "storage/latest.h"

#define RUN_KEYS 512 /* a run of twice as many is divided */

/* A run's row is named by 'k' and where it begins: a key, or what fits of it.  All keys that begin
 * so are in the run or after it. */
struct run {
    char name[1 + KEY_IN_ROW_BYTES_MAX];
    size_t len;
    int64_t count;
};

static struct bytes run_begin(const struct run *r)
{
    return (struct bytes){ r->name + 1, r->len - 1 };
}

static void name_run(struct bytes key, struct run *r)
{
    r->len = 1 + (key.len < KEY_IN_ROW_BYTES_MAX ? key.len : KEY_IN_ROW_BYTES_MAX);
    r->name[0] = 'k';
    memcpy(r->name + 1, key.data, r->len - 1);
}

static int read_run(struct bytes name, struct bytes value, struct run *r, struct error *err)
{
    if (!name.len || name.len > sizeof(r->name) || value.len != sizeof(r->count))
        return error_set(err, ERR_IO, "corrupt database: a count of keys cannot be read");
    memcpy(r->name, name.data, name.len);
    r->len = name.len;
    memcpy(&r->count, value.data, sizeof(r->count));
    return 1;
}

static int put_run(struct lmdb_txn *t, const struct run *r, struct error *err)
{
    return lmdb_put(t, TABLE_COUNTS, (struct bytes){ r->name, r->len },
                    (struct bytes){ (const char *)&r->count, sizeof(r->count) }, err);
}

/* The run that KEY belongs to.  1; 0: there is none, the table is empty; -1. */
static int find_run(struct lmdb_cursor *c, struct bytes key, struct run *out, struct error *err)
{
    struct run wanted;
    struct bytes name, value;
    name_run(key, &wanted);
    struct bytes wanted_name = { wanted.name, wanted.len };
    int got = lmdb_cursor_seek(c, wanted_name, &name, &value, err);
    if (got == 0 || (got == 1 && !bytes_equal(name, wanted_name)))
        got = got ? lmdb_cursor_previous(c, &name, &value, err)
                  : lmdb_cursor_last(c, &name, &value, err);
    return got == 1 ? read_run(name, value, out, err) : got;
}

static bool is_before_end(struct bytes key, struct bytes end)
{
    return (end.len == 1 && end.data[0] == '\0') || bytes_compare(key, end) < 0;
}

/* ---- looking at each key ---- */

/* Counts keys that are there from FROM on, to before END or until there are MOST; *LAST (if not
 * NULL) is the last one's run. */
static int walk(struct lmdb_txn *t, struct bytes from, struct bytes end, int64_t most,
                struct run *last, int64_t *out, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_LATEST, err);
    if (!c)
        return -1;
    struct bytes key, data;
    *out = 0;
    int got = latest_seek(c, from, &key, &data, err);
    while (got == 1 && *out < most && is_before_end(key, end)) {
        struct record r;
        if (record_decode(data, key, RECORD_TRUST, &r, err) < 0) {
            got = -1;
            break;
        }
        *out += !r.is_delete;
        if (last)
            name_run(key, last);
        got = latest_next(c, &key, &data, err);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : 0;
}

/* ---- changes ---- */

/* The second half of R becomes a run of its own, unless all of R begins with the same bytes. */
static int divide(struct lmdb_txn *t, struct run *r, struct error *err)
{
    struct run second = { .len = 0 };
    int64_t first_half;
    if (walk(t, run_begin(r), BYTES("\0"), r->count / 2 + 1, &second, &first_half, err) < 0)
        return -1;
    bool is_same = second.len == r->len && memcmp(second.name, r->name, r->len) == 0;
    if (first_half <= r->count / 2 || is_same)
        return 0;
    /* What lies before the cut counts, all of it: keys may share the bytes that name the cut. */
    if (walk(t, run_begin(r), run_begin(&second), INT64_MAX, NULL, &first_half, err) < 0)
        return -1;
    second.count = r->count - first_half;
    r->count = first_half;
    return put_run(t, &second, err);
}

int counts_change(struct lmdb_txn *t, struct bytes key, int change, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_COUNTS, err);
    if (!c)
        return -1;
    struct run r = { .name = "k", .len = 1 };
    int got = find_run(c, key, &r, err);
    lmdb_cursor_close(c);
    if (got < 0)
        return -1;
    r.count += change;
    if (change > 0 && r.count >= 2 * RUN_KEYS && r.count % RUN_KEYS == 0 && divide(t, &r, err) < 0)
        return -1;
    /* An empty run goes to the one before it; the first stays, so that every key has a run. */
    if (r.count == 0 && r.len > 1)
        return lmdb_delete(t, TABLE_COUNTS, (struct bytes){ r.name, r.len }, err);
    return put_run(t, &r, err);
}

int counts_build(struct lmdb_txn *t, struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_LATEST, err);
    if (!c)
        return -1;
    struct bytes key, data;
    struct run r = { .name = "k", .len = 1 };
    int got = latest_seek(c, (struct bytes){ 0 }, &key, &data, err);
    while (got == 1) {
        struct record record;
        struct run next;
        name_run(key, &next);
        bool is_cut = r.count >= RUN_KEYS && bytes_compare(run_begin(&next), run_begin(&r)) > 0 &&
                      key.len <= KEY_IN_ROW_BYTES_MAX;
        if (record_decode(data, key, RECORD_TRUST, &record, err) < 0 ||
            (is_cut && put_run(t, &r, err) < 0)) {
            got = -1;
            break;
        }
        if (is_cut) {
            r = next;
            r.count = 0;
        }
        r.count += !record.is_delete;
        got = latest_next(c, &key, &data, err);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : put_run(t, &r, err);
}

/* ---- ranges ---- */

/* From the run after FIRST on.  *NEXT: where that begins (len 0: there is none); *LAST: the run in
 * which END lies; *OUT: the keys of those between the two. */
static int sum_runs(struct lmdb_cursor *c, const struct run *first, struct bytes end,
                    struct run *next, struct run *last, int64_t *out, struct error *err)
{
    struct bytes name, value;
    next->len = last->len = 0;
    *out = 0;
    int got = lmdb_cursor_seek(c, (struct bytes){ first->name, first->len }, &name, &value, err);
    while (got == 1 && (got = lmdb_cursor_next(c, &name, &value, err)) == 1) {
        struct run r;
        if (read_run(name, value, &r, err) < 0)
            return -1;
        if (!is_before_end(run_begin(&r), end))
            break;
        if (!next->len)
            *next = r;
        *last = r;
        *out += r.count;
    }
    return got < 0 ? -1 : 0;
}

int counts_range(struct lmdb_txn *t, struct bytes key, struct bytes end, int64_t *out,
                 struct error *err)
{
    struct lmdb_cursor *c = lmdb_cursor_open(t, TABLE_COUNTS, err);
    if (!c)
        return -1;
    struct run first, next, last;
    int64_t between = 0, at_begin = 0, at_end = 0;
    next.len = 0;
    int got = find_run(c, key, &first, err);
    if (got == 1)
        got = sum_runs(c, &first, end, &next, &last, &between, err);
    lmdb_cursor_close(c);
    if (got < 0)
        return -1;
    if (!next.len) { /* all in one run */
        return walk(t, key, end, INT64_MAX, NULL, out, err);
    }
    bool is_to_the_last = end.len == 1 && end.data[0] == '\0';
    if (walk(t, key, run_begin(&next), INT64_MAX, NULL, &at_begin, err) < 0)
        return -1;
    if (!is_to_the_last) {
        between -= last.count;
        if (walk(t, run_begin(&last), end, INT64_MAX, NULL, &at_end, err) < 0)
            return -1;
    }
    *out = at_begin + between + at_end;
    return 0;
}
