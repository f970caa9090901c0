/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc_versions.c - all that a view can still reach, in the order it was written. */
#include "storage/latest.h"
#include "storage/mvcc_internal.h"

/* What was current at the last compaction lies in the order of its keys.  As many as this are put
 * in the order of their revisions at a time, each time in a walk over all keys: so a million keys
 * take eight walks, and no more memory than a thousand. */
#define WINDOW ((size_t)1 << 17)

typedef int version_fn(const struct storage_version *v, void *arg, struct error *err);

struct listing {
    struct mvcc_view *view;
    int64_t compacted, to;
    version_fn *fn;
    void *arg;
    struct arena *arena; /* a version's, until the next one */
};

static int tell(const struct listing *l, const struct record *r, bool is_replaced,
                struct error *err)
{
    struct storage_version version = { record_kv(r), r->sub, r->is_delete, is_replaced };
    if (r->is_delete)
        version.kv = (struct storage_kv){ .key = r->key, .mod_revision = r->mod_revision };
    return l->fn(&version, l->arg, err);
}

/* ---- what was current at the compaction ---- */

struct place {
    int64_t revision;
    uint32_t sub;
    struct bytes key; /* the view's */
};

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->revision != b->revision)
        return a->revision < b->revision ? -1 : 1;
    return a->sub < b->sub ? -1 : a->sub > b->sub;
}

/* The first places of those that were offered: up to twice as many wait to be sorted. */
struct window {
    struct place *items;
    size_t n;
    bool is_cut; /* there are more than fit, all after the last item */
};

static void window_cut(struct window *w)
{
    if (w->n)
        qsort(w->items, w->n, sizeof(w->items[0]), compare_places);
    w->is_cut |= w->n > WINDOW;
    w->n = w->n > WINDOW ? WINDOW : w->n;
}

static void window_offer(struct window *w, const struct place *p)
{
    if (w->is_cut && compare_places(p, &w->items[WINDOW - 1]) > 0)
        return;
    if (w->n == 2 * WINDOW)
        window_cut(w);
    w->items[w->n++] = *p;
}

/* The next places after AFTER. */
static int fill_window(const struct listing *l, const struct place *after, struct window *w,
                       struct error *err)
{
    struct bytes all = BYTES("\0");
    struct mvcc_iter *it = mvcc_iter_open(l->view, all, all, l->compacted, err);
    if (!it)
        return -1;
    struct record r;
    int got;
    w->n = 0;
    w->is_cut = false;
    while ((got = mvcc_iter_next(it, MVCC_COUNT, &r, err)) == 1) {
        struct place p = { r.mod_revision, r.sub, r.key };
        if (compare_places(&p, after) > 0)
            window_offer(w, &p);
    }
    mvcc_iter_close(it);
    window_cut(w);
    return got;
}

/* The version at P, and whether it is still KEY's at the end. */
static int tell_place(const struct listing *l, const struct place *p, struct error *err)
{
    struct record r;
    arena_reset(l->arena);
    int got = mvcc_view_find(l->view, p->key, l->to, &r, err);
    bool is_replaced = got == 0 || (got == 1 && r.mod_revision != p->revision);
    if (is_replaced)
        got = mvcc_view_find(l->view, p->key, l->compacted, &r, err);
    if (got < 0)
        return -1;
    if (got == 0 || r.mod_revision != p->revision)
        return error_set(err, ERR_IO, "corrupt history: revision %lld is lost",
                         (long long)p->revision);
    return mvcc_view_fetch(l->view, &r, l->arena, err) < 0 ? -1 : tell(l, &r, is_replaced, err);
}

static int tell_current(const struct listing *l, struct error *err)
{
    struct place after = { 0 };
    scoped(mem) void *items = xmalloc(2 * WINDOW * sizeof(struct place));
    struct window w = { .items = items };
    do {
        if (fill_window(l, &after, &w, err) < 0)
            return -1;
        for (size_t i = 0; i < w.n; i++)
            if (tell_place(l, &w.items[i], err) < 0)
                return -1;
        if (w.n)
            after = w.items[w.n - 1];
    } while (w.is_cut);
    return 0;
}

/* ---- what came after it ---- */

static int tell_database(const struct listing *l, struct error *err)
{
    struct mvcc_view *v = l->view;
    int64_t through = l->to < v->flushed ? l->to : v->flushed;
    struct lmdb_cursor *c = lmdb_cursor_open(v->txn, TABLE_HISTORY, err);
    if (!c)
        return -1;
    char start[HISTORY_KEY_BYTES];
    history_key(l->compacted + 1, 0, start);
    struct bytes key, data;
    int got = lmdb_cursor_seek(c, (struct bytes){ start, sizeof(start) }, &key, &data, err);
    while (got == 1 && history_key_revision(key) <= through) {
        struct record r;
        arena_reset(l->arena);
        if (history_record(v->txn, &v->values, data, l->arena, &r, err) < 0 ||
            tell(l, &r, false, err) < 0)
            got = -1;
        else
            got = lmdb_cursor_next(c, &key, &data, err);
    }
    lmdb_cursor_close(c);
    return got < 0 ? -1 : 0;
}

static int compare_versions(const void *left, const void *right)
{
    const struct record *a = &(*(struct version *const *)left)->r;
    const struct record *b = &(*(struct version *const *)right)->r;
    if (a->mod_revision != b->mod_revision)
        return a->mod_revision < b->mod_revision ? -1 : 1;
    return a->sub < b->sub ? -1 : a->sub > b->sub;
}

/* An index holds few enough to sort at once. */
static int tell_index(const struct listing *l, struct key_index *index, struct error *err)
{
    int64_t flushed = l->view->flushed;
    int64_t from = l->compacted > flushed ? l->compacted + 1 : flushed + 1;
    struct version **versions = NULL;
    size_t n = 0, capacity = 0;
    for (struct version *at = key_index_first(index); at; at = key_index_next(at)) {
        if (at->r.mod_revision < from || at->r.mod_revision > l->to)
            continue;
        versions = xgrow(versions, n, &capacity, sizeof(versions[0]));
        versions[n++] = at;
    }
    if (n)
        qsort(versions, n, sizeof(versions[0]), compare_versions);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = tell(l, &versions[i]->r, false, err);
    free(versions);
    return rc;
}

int mvcc_each_version(struct mvcc_view *v, int64_t revision, struct storage_history *out,
                      version_fn *fn, void *arg, struct error *err)
{
    int64_t compacted = mvcc_compacted_revision(v->m), to = revision > 0 ? revision : v->revision;
    if (revision <= 0 && compacted > to)
        compacted = to; /* by a compaction since the view was opened, which still has everything */
    if (to < compacted)
        return error_set(err, ERR_COMPACTED, "revision %lld has been compacted, the oldest is %lld",
                         (long long)to, (long long)compacted);
    if (to > v->revision)
        return error_set(err, ERR_FUTURE_REVISION,
                         "revision %lld lies in the future, the store is at %lld", (long long)to,
                         (long long)v->revision);
    *out = (struct storage_history){ to, compacted };
    scoped(arena) struct arena *arena = arena_new();
    struct listing l = { v, compacted, to, fn, arg, arena };
    if ((compacted && tell_current(&l, err) < 0) || tell_database(&l, err) < 0)
        return -1;
    for (int i = INDEXES - 1; i >= 0; i--) /* the frozen one is older */
        if (v->indexes[i] && tell_index(&l, v->indexes[i], err) < 0)
            return -1;
    return mvcc_view_check(v, err);
}
