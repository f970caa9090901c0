/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate.c - everything from one store to another.
 *
 *     source, at one revision  --pages-->  a new folder            in place under one rename
 *                              \-pages-->  etcd, or any store      under a mark until it is whole
 *
 * Revisions cannot be set in a store that runs; they are used up, by writing the mark again and
 * again, until the target stands where the source does.  The keys come after that.
 */
#include <pthread.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/failpoint.h"
#include "base/hashmap.h"
#include "storage/storage.h"

#define MARK                BYTES("coracle.io/migration")
#define AFTER_MARK          BYTES("coracle.io/migration\0")
#define EVERYTHING          BYTES("\0")
#define PAGE_KEYS_FIRST     64
#define PAGE_KEYS_MAX       1000
#define PAGE_BYTES_AIM      ((int64_t)4 << 20)
#define TXN_OPS_MAX         100 /* etcd takes 128 */
#define TXN_BYTES_MAX       ((size_t)1 << 20)
#define STEPS_IN_FLIGHT_MAX 256
#define STEPS_PER_COMPACT   100000   /* the mark's old versions must not fill the target's quota */
#define STEPS_MAX           20000000 /* half an hour or so */
#define ENDED_LEASE_TTL_S   60       /* of one that ended at the source while its keys were read */
#define WIPE_KEYS           1000

/* ---- reading a store page by page ---- */

struct pages {
    struct storage *s;
    int64_t revision;
    int64_t limit;
    struct buffer next; /* the key where the next page starts; empty: at the first */
    struct arena *arena;
};

static void pages_init(struct pages *p, struct storage *s, int64_t revision)
{
    *p = (struct pages){ .s = s, .revision = revision, .limit = PAGE_KEYS_FIRST };
    p->arena = arena_new();
    buffer_add_bytes(&p->next, EVERYTHING);
}

static void pages_deinit(struct pages *p)
{
    buffer_free(&p->next);
    arena_free(p->arena);
}

/* Pages of some megabytes, whatever the values' sizes are. */
static int64_t next_limit(const struct storage_range_result *page)
{
    int64_t bytes = 1;
    for (size_t i = 0; i < page->n; i++)
        bytes += (int64_t)(page->kvs[i].key.len + page->kvs[i].value.len);
    int64_t limit = PAGE_BYTES_AIM * (int64_t)page->n / bytes;
    return limit < 1 ? 1 : limit > PAGE_KEYS_MAX ? PAGE_KEYS_MAX : limit;
}

/* 1: a page, valid until the next; 0: there is no more; -1. */
static int pages_next(struct pages *p, struct storage_range_result *out, struct error *err)
{
    if (!p->next.len)
        return 0;
    arena_reset(p->arena);
    struct storage_range range = {
        .key = buffer_bytes(&p->next),
        .end = EVERYTHING,
        .revision = p->revision,
        .limit = p->limit,
        .is_count_unwanted = true,
    };
    if (storage_range(p->s, &range, p->arena, out, err) < 0)
        return -1;
    buffer_clear(&p->next);
    if (!out->n)
        return 0;
    if (out->more) {
        buffer_add_bytes(&p->next, out->kvs[out->n - 1].key);
        buffer_add_char(&p->next, '\0');
    }
    p->limit = next_limit(out);
    return 1;
}

static bool is_mark(const struct storage_kv *kv)
{
    return bytes_equal(kv->key, MARK);
}

static void digest_kv(struct sha256 *sum, const struct storage_kv *kv)
{
    uint64_t head[] = { kv->key.len, kv->value.len, (uint64_t)kv->lease };
    sha256_add(sum, (struct bytes){ (char *)head, sizeof(head) });
    sha256_add(sum, kv->key);
    sha256_add(sum, kv->value);
}

/* ---- the migration ---- */

struct lease {
    struct lease *next;
    int64_t id, ttl_s;
    int64_t alive_ns; /* when the target last heard of it */
};

struct migration {
    const struct storage_migrate_config *config;
    struct storage_import *import; /* NULL: the target is a store that runs */
    struct storage_migrate_result *out;
    int64_t total;       /* keys at the source */
    struct arena *arena; /* of the leases */
    struct lease *leases;
    struct hashmap leases_by_id;
};

static void tell(struct migration *m, const char *what, int64_t done, int64_t total)
{
    if (m->config->progress)
        m->config->progress(what, done, total, m->config->arg);
}

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static int add_lease(struct migration *m, int64_t id, int64_t ttl_s, struct error *err)
{
    int64_t granted;
    struct lease *l = arena_alloc(m->arena, sizeof(*l));
    *l = (struct lease){ m->leases, id, ttl_s, now_ns() };
    m->leases = l;
    hashmap_put(&m->leases_by_id, (struct bytes){ (char *)&l->id, sizeof(l->id) }, l);
    m->out->leases++;
    if (m->import)
        storage_import_lease(m->import, id, ttl_s);
    else if (storage_lease_grant(m->config->to, id, ttl_s, &granted, err) < 0)
        return error_wrap(err, "grant lease %llx", (unsigned long long)id);
    return 0;
}

static int copy_leases(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_lease *leases;
    size_t n;
    if (storage_lease_list(m->config->from, arena, &leases, &n, err) < 0)
        return error_wrap(err, "list the source's leases");
    for (size_t i = 0; i < n; i++)
        if (add_lease(m, leases[i].id, leases[i].granted_s, err) < 0)
            return -1;
    return 0;
}

static int want_lease(struct migration *m, int64_t id, struct error *err)
{
    if (!id || hashmap_get(&m->leases_by_id, (struct bytes){ (char *)&id, sizeof(id) }))
        return 0;
    return add_lease(m, id, ENDED_LEASE_TTL_S, err);
}

/* What was granted first must not end before the last key is there. */
static int keep_leases(struct migration *m, struct error *err)
{
    int64_t now = now_ns(), ttl_s;
    for (struct lease *l = m->leases; l && !m->import; l = l->next) {
        if (now - l->alive_ns < l->ttl_s * NS_PER_S / 3)
            continue;
        if (storage_lease_keep_alive(m->config->to, l->id, &ttl_s, err) < 0)
            return -1;
        l->alive_ns = now;
    }
    return 0;
}

/* ---- writing ---- */

struct batch {
    struct storage_op ops[TXN_OPS_MAX];
    size_t n, bytes;
};

static int write_batch(struct migration *m, struct batch *b, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_txn txn = { .success = b->ops, .success_n = b->n };
    struct storage_txn_result result;
    if (b->n && storage_txn(m->config->to, &txn, arena, &result, err) < 0)
        return error_wrap(err, "write to the target");
    b->n = b->bytes = 0;
    return 0;
}

static int add_to_batch(struct migration *m, struct batch *b, const struct storage_kv *kv,
                        struct error *err)
{
    size_t bytes = kv->key.len + kv->value.len;
    bool is_full = b->n == TXN_OPS_MAX || b->bytes + bytes > TXN_BYTES_MAX;
    if (is_full && write_batch(m, b, err) < 0)
        return -1;
    b->bytes += bytes;
    b->ops[b->n++] = (struct storage_op){
        .type = STORAGE_PUT, .key = kv->key, .value = kv->value, .lease = kv->lease
    };
    return 0;
}

static int copy_page(struct migration *m, const struct storage_range_result *page,
                     struct sha256 *sum, struct error *err)
{
    struct batch batch = { .n = 0 };
    for (size_t i = 0; i < page->n; i++) {
        const struct storage_kv *kv = &page->kvs[i];
        if (is_mark(kv))
            return error_set(err, ERR_BAD_REQUEST,
                             "the source is the target of a migration that was not finished");
        if (want_lease(m, kv->lease, err) < 0)
            return -1;
        /* A number of its own for each: which keys shared a revision is not known here. */
        int rc = m->import ? storage_import_put(m->import, kv, (uint32_t)m->out->keys, err)
                           : add_to_batch(m, &batch, kv, err);
        if (rc < 0)
            return -1;
        digest_kv(sum, kv);
        m->out->keys++;
    }
    if (write_batch(m, &batch, err) < 0)
        return -1;
    (void)failpoint("storage.migrate.page");
    tell(m, "copied keys", m->out->keys, m->total);
    return keep_leases(m, err);
}

static int copy_pages(struct migration *m, struct sha256 *sum, struct error *err)
{
    struct pages pages;
    struct storage_range_result page;
    int got;
    pages_init(&pages, m->config->from, m->out->from_revision);
    while ((got = pages_next(&pages, &page, err)) == 1)
        if (copy_page(m, &page, sum, err) < 0) {
            got = -1;
            break;
        }
    pages_deinit(&pages);
    return got;
}

static int copy_keys(struct migration *m, struct error *err)
{
    struct sha256 *sum = sha256_new();
    int rc = copy_pages(m, sum, err);
    sha256_end(sum, rc < 0 ? NULL : m->out->digest);
    return rc;
}

/* ---- comparing ---- */

static int digest_store(struct migration *m, struct storage *s, struct sha256 *sum, int64_t *keys,
                        struct error *err)
{
    struct pages pages;
    struct storage_range_result page;
    int got;
    pages_init(&pages, s, m->out->to_revision);
    while ((got = pages_next(&pages, &page, err)) == 1) {
        for (size_t i = 0; i < page.n; i++) {
            if (is_mark(&page.kvs[i]))
                continue;
            digest_kv(sum, &page.kvs[i]);
            ++*keys;
        }
        tell(m, "compared keys", *keys, m->total);
        if (keep_leases(m, err) < 0) {
            got = -1;
            break;
        }
    }
    pages_deinit(&pages);
    return got;
}

static int compare(struct migration *m, struct storage *s, struct error *err)
{
    uint8_t digest[SHA256_BYTES];
    int64_t keys = 0;
    struct sha256 *sum = sha256_new();
    int rc = digest_store(m, s, sum, &keys, err);
    sha256_end(sum, digest);
    if (rc < 0)
        return error_wrap(err, "read the target back");
    if (keys != m->out->keys || memcmp(digest, m->out->digest, sizeof(digest)) != 0)
        return error_set(err, ERR_IO,
                         "the target is not the same: %lld keys there, %lld at the source",
                         (long long)keys, (long long)m->out->keys);
    return 0;
}

/* Leases may end meanwhile, and their keys with them; nothing may be written. */
static int check_source_rests(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range_result result;
    struct storage_range later = {
        .key = EVERYTHING,
        .end = EVERYTHING,
        .limit = 1,
        .keys_only = true,
        .min_mod_revision = m->out->from_revision + 1,
    };
    if (storage_range(m->config->from, &later, arena, &result, err) < 0)
        return error_wrap(err, "look for later writes at the source");
    if (!result.n)
        return 0;
    return error_set(err, ERR_CONFLICT,
                     "the source was written to after revision %lld: stop what uses it first",
                     (long long)m->out->from_revision);
}

static int read_source(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range all = { .key = EVERYTHING, .end = EVERYTHING, .count_only = true };
    struct storage_range_result result;
    if (storage_range(m->config->from, &all, arena, &result, err) < 0)
        return error_wrap(err, "read the source");
    m->out->from_revision = result.revision;
    m->total = result.count;
    return 0;
}

/* ---- into a new folder ---- */

static int fill_import(struct migration *m, struct error *err)
{
    if (copy_leases(m, err) < 0 || copy_keys(m, err) < 0 || check_source_rests(m, err) < 0)
        return -1;
    return storage_import_finish(m->import, err);
}

static int compare_folder(struct migration *m, struct error *err)
{
    struct storage_embedded_config config = { .dir = m->config->to_dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, err);
    int rc = s ? compare(m, s, err) : -1;
    if (s)
        storage_close(s);
    return rc;
}

static int migrate_to_folder(struct migration *m, struct error *err)
{
    enum storage_import_mode mode =
        m->config->is_overwrite ? STORAGE_IMPORT_REPLACE : STORAGE_IMPORT_NEW;
    m->import = storage_import_open(m->config->to_dir, mode, m->out->from_revision, err);
    if (!m->import)
        return -1;
    m->out->to_revision = m->out->from_revision;
    int rc = fill_import(m, err);
    storage_import_close(m->import);
    return rc < 0 ? -1 : compare_folder(m, err);
}

/* ---- into a store that runs ---- */

static int find_mark(struct storage *s, struct arena *arena, const struct storage_kv **out,
                     struct error *err)
{
    struct storage_range mark = { .key = MARK };
    struct storage_range_result result;
    if (storage_range(s, &mark, arena, &result, err) < 0)
        return -1;
    *out = result.n ? &result.kvs[0] : NULL;
    return 0;
}

int storage_check_migrated(struct storage *s, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    const struct storage_kv *mark;
    if (find_mark(s, arena, &mark, err) < 0)
        return -1;
    return mark ? error_set(err, ERR_CONFLICT,
                            "a migration into this store was not finished: run it again")
                : 0;
}

static int write_one(struct storage *s, const struct storage_op *op, int64_t *revision,
                     struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_txn txn = { .success = op, .success_n = 1 };
    struct storage_txn_result result;
    if (storage_txn(s, &txn, arena, &result, err) < 0)
        return error_wrap(err, "write to the target");
    *revision = result.revision;
    return 0;
}

/* Nobody else's keys are there, or they may go; a mark says that all there is are ours. */
static int check_target(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range all = { .key = EVERYTHING, .end = EVERYTHING, .count_only = true };
    struct storage_range_result result;
    const struct storage_kv *mark;
    if (storage_range(m->config->to, &all, arena, &result, err) < 0 ||
        find_mark(m->config->to, arena, &mark, err) < 0)
        return error_wrap(err, "read the target");
    if (result.count && !mark && !m->config->is_overwrite)
        return error_set(err, ERR_ALREADY_EXISTS, "the target holds %lld keys",
                         (long long)result.count);
    if (m->out->from_revision - result.revision > STEPS_MAX)
        return error_set(
            err, ERR_BAD_REQUEST,
            "the target is %lld revisions behind, too many to use up; save a snapshot, and "
            "let `etcdctl snapshot restore` make the cluster of it",
            (long long)(m->out->from_revision - result.revision));
    return 0;
}

/* Before anything is removed: two lists of endpoints may be one cluster. */
static int put_mark(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    const struct storage_kv *seen;
    char value[32];
    snprintf(value, sizeof(value), "%016llx", (unsigned long long)rng_next(system_rng));
    struct storage_op put = { .type = STORAGE_PUT, .key = MARK, .value = bytes_of(value) };
    struct storage_op take = { .type = STORAGE_DELETE, .key = MARK };
    if (write_one(m->config->to, &put, &m->out->to_revision, err) < 0)
        return -1;
    if (find_mark(m->config->from, arena, &seen, err) < 0)
        return error_wrap(err, "read the source");
    if (!seen || !bytes_equal_str(seen->value, value))
        return 0;
    if (write_one(m->config->to, &take, &m->out->to_revision, err) < 0)
        return -1;
    return error_set(err, ERR_BAD_REQUEST, "source and target are the same store");
}

static int wipe_leases(struct migration *m, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_lease *leases;
    size_t n;
    if (storage_lease_list(m->config->to, arena, &leases, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct error failure = { 0 };
        if (storage_lease_revoke(m->config->to, leases[i].id, &failure) < 0 &&
            failure.code != ERR_NOT_FOUND) {
            *err = failure;
            return -1;
        }
    }
    return 0;
}

/* In parts: etcd gives a request a few seconds. */
static int wipe_keys(struct migration *m, struct bytes from, struct bytes end, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range_result page;
    struct storage_range range = {
        .key = from,
        .end = end,
        .limit = WIPE_KEYS,
        .keys_only = true,
        .is_count_unwanted = true,
    };
    do {
        arena_reset(arena);
        if (storage_range(m->config->to, &range, arena, &page, err) < 0)
            return -1;
        if (!page.n)
            return 0;
        struct bytes last = page.kvs[page.n - 1].key;
        struct storage_op op = { .type = STORAGE_DELETE,
                                 .key = page.kvs[0].key,
                                 .end = { arena_bytes(arena, last).data, last.len + 1 } };
        if (write_one(m->config->to, &op, &m->out->to_revision, err) < 0)
            return -1;
    } while (page.more);
    return 0;
}

static int wipe_target(struct migration *m, struct error *err)
{
    (void)failpoint("storage.migrate.marked");
    if (wipe_leases(m, err) < 0 || wipe_keys(m, EVERYTHING, MARK, err) < 0 ||
        wipe_keys(m, AFTER_MARK, EVERYTHING, err) < 0)
        return error_wrap(err, "empty the target");
    return 0;
}

/* ---- using up revisions ---- */

struct steps {
    struct storage *s;
    struct storage_op op;
    struct storage_txn txn;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    int64_t in_flight;
    struct error err; /* the first failure */
};

struct step {
    struct steps *all;
    struct arena *arena;
};

static void step_done(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    (void)result;
    struct step *step = arg;
    struct steps *all = step->all;
    pthread_mutex_lock(&all->lock);
    all->in_flight--;
    if (err->code && !all->err.code)
        all->err = *err;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
    arena_free(step->arena);
}

/* Waits until no more than N are in flight.  False: one has failed. */
static bool steps_wait(struct steps *all, int64_t n)
{
    pthread_mutex_lock(&all->lock);
    while (all->in_flight > n)
        pthread_cond_wait(&all->changed, &all->lock);
    bool is_good = !all->err.code;
    pthread_mutex_unlock(&all->lock);
    return is_good;
}

static void step_submit(struct steps *all)
{
    struct arena *arena = arena_new_sized(1024);
    struct step *step = arena_alloc(arena, sizeof(*step));
    *step = (struct step){ all, arena };
    pthread_mutex_lock(&all->lock);
    all->in_flight++;
    pthread_mutex_unlock(&all->lock);
    storage_txn_submit(all->s, &all->txn, arena, step_done, step);
}

static int take_steps(struct steps *all, int64_t n, struct error *err)
{
    bool is_good = true;
    for (int64_t i = 0; i < n && is_good; i++) {
        is_good = steps_wait(all, STEPS_IN_FLIGHT_MAX - 1);
        if (is_good)
            step_submit(all);
    }
    if (steps_wait(all, 0))
        return 0;
    *err = all->err;
    return error_wrap(err, "use up revisions at the target");
}

static int raise_revision(struct migration *m, struct error *err)
{
    struct storage_migrate_result *out = m->out;
    struct steps all = { .s = m->config->to, .op = { .type = STORAGE_PUT, .key = MARK } };
    all.op.ignore_value = true;
    all.txn = (struct storage_txn){ .success = &all.op, .success_n = 1 };
    pthread_mutex_init(&all.lock, NULL);
    pthread_cond_init(&all.changed, NULL);
    int rc = 0;
    while (rc == 0 && out->to_revision < out->from_revision) {
        int64_t left = out->from_revision - out->to_revision;
        rc = take_steps(&all, left < STEPS_PER_COMPACT ? left : STEPS_PER_COMPACT, err);
        if (rc == 0)
            rc = storage_read_revision(m->config->to, &out->to_revision, err);
        if (rc == 0)
            rc = storage_compact(m->config->to, out->to_revision, err);
        tell(m, "raised the target's revision to", out->to_revision, out->from_revision);
    }
    pthread_cond_destroy(&all.changed);
    pthread_mutex_destroy(&all.lock);
    return rc;
}

/* ---- all of it ---- */

static int finish_target(struct migration *m, struct error *err)
{
    struct storage_op take = { .type = STORAGE_DELETE, .key = MARK };
    (void)failpoint("storage.migrate.before_unmark");
    if (write_one(m->config->to, &take, &m->out->to_revision, err) < 0)
        return -1;
    (void)failpoint("storage.migrate.after_unmark");
    return storage_compact(m->config->to, m->out->to_revision, err);
}

static int migrate_to_store(struct migration *m, struct error *err)
{
    if (check_target(m, err) < 0 || put_mark(m, err) < 0 || wipe_target(m, err) < 0 ||
        raise_revision(m, err) < 0 || copy_leases(m, err) < 0 || copy_keys(m, err) < 0 ||
        storage_read_revision(m->config->to, &m->out->to_revision, err) < 0 ||
        compare(m, m->config->to, err) < 0 || check_source_rests(m, err) < 0)
        return -1;
    return finish_target(m, err);
}

int storage_migrate(const struct storage_migrate_config *config, struct storage_migrate_result *out,
                    struct error *err)
{
    struct migration m = { .config = config, .out = out, .arena = arena_new() };
    *out = (struct storage_migrate_result){ 0 };
    int rc = storage_check_migrated(config->from, err);
    if (rc == 0)
        rc = read_source(&m, err);
    if (rc == 0)
        rc = config->to ? migrate_to_store(&m, err) : migrate_to_folder(&m, err);
    hashmap_deinit(&m.leases_by_id);
    arena_free(m.arena);
    return rc;
}
