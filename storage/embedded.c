/* SPDX-License-Identifier: Apache-2.0 */
/* embedded.c - the store in this process: mvcc, writer, watches, leases and upkeep put together. */
#include "base/clock.h"
#include "storage/storage_ops.h"
#include "storage/upkeep.h"

#define COMPACT_INTERVAL_MS (INT64_C(5) * 60 * 1000) /* etcd's in a cluster of kubeadm's */

struct embedded {
    struct storage storage;
    struct mvcc *mvcc;
    struct watch_hub *hub;
    struct lease_table *leases;
    struct writer *writer;
    struct upkeep *upkeep;
};

static struct embedded *embedded(struct storage *s)
{
    return (struct embedded *)s;
}

/* ---- reading ---- */

static int op_range(struct storage *s, const struct storage_range *range, struct arena *arena,
                    struct storage_range_result *out, struct error *err)
{
    scoped(mvcc_view) struct mvcc_view *view = mvcc_view_open(embedded(s)->mvcc, err);
    if (!view)
        return -1;
    return mvcc_range(view, range, mvcc_view_revision(view), MVCC_COPIED, arena, out, err);
}

/* A hold is a view. */
static int op_range_hold(struct storage *s, const struct storage_range *range, struct arena *arena,
                         struct storage_range_result *out, struct storage_hold **hold,
                         struct error *err)
{
    struct mvcc_view *view = mvcc_view_open(embedded(s)->mvcc, err);
    if (!view)
        return -1;
    if (mvcc_range(view, range, mvcc_view_revision(view), MVCC_BORROWED, arena, out, err) < 0) {
        mvcc_view_close(view);
        return -1;
    }
    *hold = (struct storage_hold *)view;
    return 0;
}

static int op_hold_check(struct storage *s, const struct storage_hold *hold, struct error *err)
{
    (void)s;
    return mvcc_view_check((const struct mvcc_view *)hold, err);
}

static void op_hold_release(struct storage *s, struct storage_hold *hold)
{
    (void)s;
    mvcc_view_close((struct mvcc_view *)hold);
}

static int64_t op_revision(struct storage *s)
{
    return mvcc_revision(embedded(s)->mvcc);
}

static int64_t op_compacted_revision(struct storage *s)
{
    return mvcc_compacted_revision(embedded(s)->mvcc);
}

static int op_read_revision(struct storage *s, int64_t *revision, struct error *err)
{
    (void)err;
    *revision = op_revision(s);
    return 0;
}

static int op_status(struct storage *s, struct storage_status *out, struct error *err)
{
    return mvcc_status(embedded(s)->mvcc, out, err);
}

/* ---- writing ---- */

static int op_txn(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                  struct storage_txn_result *out, struct error *err)
{
    return writer_txn(embedded(s)->writer, txn, arena, out, err);
}

static void op_txn_submit(struct storage *s, const struct storage_txn *txn, struct arena *arena,
                          storage_txn_done_fn *done, void *arg)
{
    struct storage_submission one = { txn, arena, done, arg, NULL };
    writer_submit(embedded(s)->writer, &one);
}

static void op_txn_submit_all(struct storage *s, struct storage_submission *first)
{
    writer_submit(embedded(s)->writer, first);
}

static void op_on_burst(struct storage *s, const struct storage_burst *burst)
{
    writer_on_burst(embedded(s)->writer, burst);
}

static int op_lease_grant(struct storage *s, int64_t id, int64_t ttl_s, int64_t *granted_id,
                          struct error *err)
{
    return writer_lease_grant(embedded(s)->writer, id, ttl_s, granted_id, err);
}

static int op_lease_revoke(struct storage *s, int64_t id, struct error *err)
{
    return writer_lease_revoke(embedded(s)->writer, id, err);
}

static int op_lease_keep_alive(struct storage *s, int64_t id, int64_t *ttl_s, struct error *err)
{
    return lease_keep_alive(embedded(s)->leases, id, ttl_s, err);
}

static int op_lease_find(struct storage *s, int64_t id, struct arena *arena,
                         struct storage_lease *out, struct error *err)
{
    return lease_find(embedded(s)->leases, id, arena, out, err);
}

static int op_lease_list(struct storage *s, struct arena *arena, struct storage_lease **out,
                         size_t *n, struct error *err)
{
    (void)err;
    *out = lease_all(embedded(s)->leases, arena, n);
    return 0;
}

static int op_set_alarm(struct storage *s, bool is_up, struct error *err)
{
    return writer_set_alarm(embedded(s)->writer, is_up, err);
}

static bool op_has_alarm(struct storage *s)
{
    return mvcc_has_alarm(embedded(s)->mvcc);
}

static int op_defragment(struct storage *s, struct error *err)
{
    return upkeep_defragment(embedded(s)->upkeep, err);
}

static int op_each_version(struct storage *s, int64_t revision, struct storage_history *out,
                           int (*fn)(const struct storage_version *v, void *arg, struct error *err),
                           void *arg, struct error *err)
{
    scoped(mvcc_view) struct mvcc_view *view = mvcc_view_open(embedded(s)->mvcc, err);
    return view ? mvcc_each_version(view, revision, out, fn, arg, err) : -1;
}

static int op_compact(struct storage *s, int64_t revision, struct error *err)
{
    return writer_compact(embedded(s)->writer, revision, err);
}

/* ---- watching ---- */

static struct storage_watch *op_watch(struct storage *s, const struct storage_watch_config *config,
                                      struct error *err)
{
    return watch_hub_watch(embedded(s)->hub, s, config, err);
}

static void op_watch_close(struct storage *s, struct storage_watch *w)
{
    watch_hub_close(embedded(s)->hub, w);
}

static int64_t op_watch_revision(struct storage *s, struct storage_watch *w)
{
    return watch_hub_revision(embedded(s)->hub, w);
}

/* A write is delivered before it is acknowledged. */
static int op_watch_sync(struct storage *s, struct storage_watch *w, int64_t revision,
                         struct error *err)
{
    (void)s, (void)w, (void)revision, (void)err;
    return 0;
}

static int source_history(int64_t from, size_t limit, struct arena *arena, struct record **out,
                          size_t *n, int64_t *through, void *arg, struct error *err)
{
    struct embedded *e = arg;
    return mvcc_history(e->mvcc, from, limit, arena, out, n, through, err);
}

static int source_find(struct bytes key, int64_t revision, struct arena *arena,
                       struct storage_kv *out, void *arg, struct error *err)
{
    struct embedded *e = arg;
    scoped(mvcc_view) struct mvcc_view *view = mvcc_view_open(e->mvcc, err);
    struct record r;
    if (!view || revision < mvcc_compacted_revision(e->mvcc))
        return view ? 0 : -1;
    int got = mvcc_view_find(view, key, revision, &r, err);
    if (got < 0 || mvcc_view_check(view, err) < 0)
        return -1;
    if (got == 0 || r.is_delete)
        return 0;
    if (mvcc_view_fetch(view, &r, arena, err) < 0)
        return -1;
    *out = record_kv(&r);
    out->key = arena_bytes(arena, out->key);
    out->value = r.is_apart ? r.value : arena_bytes(arena, r.value);
    return mvcc_view_check(view, err) < 0 ? -1 : 1;
}

static int64_t source_compacted(void *arg)
{
    struct embedded *e = arg;
    return mvcc_compacted_revision(e->mvcc);
}

/* ---- opening: what is on disk goes to the ring and the leases ---- */

static void load_lease(int64_t id, int64_t ttl_s, void *arg)
{
    struct embedded *e = arg;
    lease_grant(e->leases, id, ttl_s);
}

static void load_revocation(int64_t id, void *arg)
{
    struct embedded *e = arg;
    lease_remove(e->leases, id);
}

static void load_leased_key(int64_t id, struct bytes key, void *arg)
{
    struct embedded *e = arg;
    lease_move_key(e->leases, key, id);
}

static void load_flushed(int64_t revision, void *arg)
{
    struct embedded *e = arg;
    watch_hub_set_base(e->hub, revision);
}

static void load_transaction(struct version *const *versions, size_t n, int64_t revision, void *arg)
{
    struct embedded *e = arg;
    for (size_t i = 0; i < n; i++)
        lease_move_key(e->leases, versions[i]->r.key,
                       versions[i]->r.is_delete ? 0 : versions[i]->r.lease);
    watch_hub_publish(e->hub, versions, n, revision, NULL);
}

static void on_news(enum writer_news news, void *arg)
{
    struct embedded *e = arg;
    upkeep_notify(e->upkeep, news);
}

static void op_close(struct storage *s)
{
    struct embedded *e = embedded(s);
    upkeep_stop(e->upkeep);
    writer_stop(e->writer);
    upkeep_free(e->upkeep);
    watch_hub_free(e->hub);
    lease_table_free(e->leases);
    mvcc_close(e->mvcc);
    free(e);
}

static const struct storage_ops embedded_ops = {
    .close = op_close,
    .range = op_range,
    .range_hold = op_range_hold,
    .hold_check = op_hold_check,
    .hold_release = op_hold_release,
    .revision = op_revision,
    .compacted_revision = op_compacted_revision,
    .read_revision = op_read_revision,
    .txn = op_txn,
    .txn_submit = op_txn_submit,
    .txn_submit_all = op_txn_submit_all,
    .on_burst = op_on_burst,
    .watch = op_watch,
    .watch_close = op_watch_close,
    .watch_revision = op_watch_revision,
    .watch_sync = op_watch_sync,
    .lease_grant = op_lease_grant,
    .lease_revoke = op_lease_revoke,
    .lease_keep_alive = op_lease_keep_alive,
    .compact = op_compact,
    .lease_find = op_lease_find,
    .lease_list = op_lease_list,
    .status = op_status,
    .set_alarm = op_set_alarm,
    .has_alarm = op_has_alarm,
    .defragment = op_defragment,
    .each_version = op_each_version,
};

static int start_threads(struct embedded *e, const struct storage_embedded_config *config,
                         struct error *err)
{
    struct upkeep_config upkeep = {
        .mvcc = e->mvcc,
        .hub = e->hub,
        .leases = e->leases,
        .clock = &system_clock,
        .compact_interval_ms =
            config->compact_interval_ms ? config->compact_interval_ms : COMPACT_INTERVAL_MS,
    };
    e->upkeep = upkeep_new(&upkeep);
    struct writer_config writer = {
        .mvcc = e->mvcc,
        .hub = e->hub,
        .leases = e->leases,
        .news = on_news,
        .arg = e,
    };
    e->writer = writer_start(&writer, err);
    if (!e->writer)
        return -1;
    return watch_hub_start(e->hub, err) < 0 ? -1 : upkeep_start(e->upkeep, e->writer, err);
}

struct storage *storage_open_embedded(const struct storage_embedded_config *config,
                                      struct error *err)
{
    struct embedded *e = xcalloc(1, sizeof(*e));
    e->storage.ops = &embedded_ops;
    e->leases = lease_table_new(&system_clock);
    struct watch_hub_source source = { source_history, source_find, source_compacted, e };
    e->hub = watch_hub_new(&source);
    struct mvcc_config mvcc = {
        .dir = config->dir,
        .quota_bytes = config->quota_bytes,
        .keeps_alarm = config->keeps_alarm,
        .loader = { load_lease, load_revocation, load_leased_key, load_flushed, load_transaction,
                    e },
    };
    e->mvcc = mvcc_open(&mvcc, err);
    if (!e->mvcc || start_threads(e, config, err) < 0) {
        op_close(&e->storage);
        return NULL;
    }
    return &e->storage;
}
