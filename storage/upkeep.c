/* SPDX-License-Identifier: Apache-2.0 */
/* upkeep.c - flush, compaction and lease expiry, each when due. */
#include "storage/upkeep.h"

#include <pthread.h>

#include "base/cond.h"
#include "base/failpoint.h"
#include "base/log.h"

#define RETRY_NS                                                                                   \
    (INT64_C(1) * NS_PER_S) /* after a failed flush or compaction: the disk may be full */

struct upkeep {
    struct upkeep_config config;
    struct writer *writer;
    pthread_t thread;
    bool is_started;

    /* The thread's own. */
    int64_t mark_revision; /* the store's at the last mark */
    int64_t mark_due_ns;   /* when it is to be compacted; 0: nothing was written since */
    int64_t retry_ns;      /* 0: the last attempt went well */
    bool was_failing;

    atomic_bool is_timer_armed; /* or will never be: plain writes need not wake the thread */

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t work;
    pthread_cond_t turn_done;
    bool is_woken, is_stopping;
    bool has_failed; /* the last turn */
    bool has_more;   /* the next turn follows at once */
    bool wants_defragment;
    struct error defragment_err; /* of the last one */
    uint64_t turns;
};

static void report(struct upkeep *u, const struct error *err)
{
    if (!u->was_failing)
        log_error("storage", "%s", err->message);
    u->was_failing = true;
    u->retry_ns = clock_monotonic_ns(u->config.clock) + RETRY_NS;
}

static void flush(struct upkeep *u)
{
    if (!mvcc_has_frozen(u->config.mvcc))
        return;
    struct error err = { 0 };
    size_t n;
    scoped(mem) void *leases = lease_list(u->config.leases, &n);
    if (mvcc_flush(u->config.mvcc, leases, n, &err) < 0) {
        report(u, &err);
    } else {
        if (u->was_failing)
            log_info("storage", "the database can be written again");
        u->was_failing = false;
        watch_hub_set_flushed(u->config.hub, mvcc_flushed_revision(u->config.mvcc));
    }
    writer_flushed(u->writer, &err);
}

/* One part.  True: there is more. */
static bool prune(struct upkeep *u)
{
    struct error err = { 0 };
    switch (mvcc_prune_state(u->config.mvcc)) {
    case MVCC_PRUNED:
        return false;
    case MVCC_PRUNE_AFTER_FLUSH:
        if (!mvcc_has_frozen(u->config.mvcc))
            writer_post_freeze(u->writer); /* and wakes us */
        return false;
    case MVCC_CAN_PRUNE:
        break;
    }
    int more = mvcc_prune(u->config.mvcc, &err);
    if (more < 0)
        report(u, &err);
    return more > 0;
}

/* What was newest at a mark is compacted an interval later, so at least that much history is kept.
 */
static void compact_by_time(struct upkeep *u)
{
    int64_t now = clock_monotonic_ns(u->config.clock);
    if (u->config.compact_interval_ms < 0 || (u->mark_due_ns && now < u->mark_due_ns))
        return;
    if (u->mark_due_ns && u->mark_revision > mvcc_compacted_revision(u->config.mvcc))
        writer_post_compact(u->writer, u->mark_revision);
    /* In this order: a write that comes after the look at the revision finds the timer off. */
    atomic_store(&u->is_timer_armed, false);
    int64_t revision = mvcc_revision(u->config.mvcc);
    u->mark_due_ns = 0;
    if (revision > u->mark_revision) {
        atomic_store(&u->is_timer_armed, true);
        u->mark_revision = revision;
        u->mark_due_ns = now + u->config.compact_interval_ms * NS_PER_MS;
    }
}

static int64_t expire_leases(struct upkeep *u)
{
    int64_t next_ns, id;
    while ((id = lease_next_expired(u->config.leases, &next_ns))) {
        (void)failpoint("storage.lease.before_expiry");
        writer_post_lease_revoke(u->writer, id);
    }
    return next_ns;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return !a ? b : !b ? a : a < b ? a : b;
}

/* On this thread, which alone writes to the database. */
static void defragment(struct upkeep *u)
{
    pthread_mutex_lock(&u->lock);
    bool is_wanted = u->wants_defragment;
    pthread_mutex_unlock(&u->lock);
    if (!is_wanted)
        return;
    struct error err = { 0 };
    if (mvcc_defragment(u->config.mvcc, &err) < 0)
        log_warn("storage", "%s", err.message);
    pthread_mutex_lock(&u->lock);
    u->wants_defragment = false;
    u->defragment_err = err;
    pthread_mutex_unlock(&u->lock);
}

/* Until woken or, if DUE_NS is not 0, until then. */
static void sleep_until(struct upkeep *u, int64_t due_ns)
{
    while (!u->is_woken && !u->is_stopping) {
        if (due_ns && due_ns <= clock_monotonic_ns(u->config.clock))
            return;
        cond_wait_clock(&u->work, &u->lock, u->config.clock, due_ns ? due_ns : INT64_MAX);
    }
}

static void *upkeep_main(void *arg)
{
    struct upkeep *u = arg;
    pthread_setname_np(pthread_self(), "storage-upkeep");
    pthread_mutex_lock(&u->lock);
    while (!u->is_stopping) {
        u->is_woken = false;
        pthread_mutex_unlock(&u->lock);

        u->retry_ns = 0;
        flush(u);
        bool has_more = prune(u);
        if (!has_more)
            defragment(u);
        compact_by_time(u);
        int64_t due_ns = expire_leases(u);
        due_ns = earlier(earlier(due_ns, u->mark_due_ns), u->retry_ns);

        pthread_mutex_lock(&u->lock);
        u->turns++;
        u->has_failed = u->retry_ns;
        u->has_more = has_more;
        pthread_cond_broadcast(&u->turn_done);
        if (!has_more)
            sleep_until(u, due_ns);
    }
    pthread_cond_broadcast(&u->turn_done);
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

struct upkeep *upkeep_new(const struct upkeep_config *config)
{
    struct upkeep *u = xcalloc(1, sizeof(*u));
    u->config = *config;
    u->mark_revision = mvcc_revision(config->mvcc);
    atomic_init(&u->is_timer_armed, config->compact_interval_ms < 0);
    pthread_mutex_init(&u->lock, NULL);
    cond_init(&u->work);
    pthread_cond_init(&u->turn_done, NULL);
    return u;
}

int upkeep_start(struct upkeep *u, struct writer *w, struct error *err)
{
    u->writer = w;
    int rc = pthread_create(&u->thread, NULL, upkeep_main, u);
    if (rc)
        return error_set(err, ERR_INTERNAL, "start the storage upkeep: %s", strerror(rc));
    u->is_started = true;
    return 0;
}

void upkeep_stop(struct upkeep *u)
{
    if (!u || !u->is_started)
        return;
    pthread_mutex_lock(&u->lock);
    u->is_stopping = true;
    pthread_cond_signal(&u->work);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    u->is_started = false;
}

void upkeep_free(struct upkeep *u)
{
    if (!u)
        return;
    pthread_cond_destroy(&u->work);
    pthread_cond_destroy(&u->turn_done);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

void upkeep_notify(struct upkeep *u, enum writer_news news)
{
    if (news == WRITER_WROTE && atomic_load(&u->is_timer_armed))
        return;
    pthread_mutex_lock(&u->lock);
    u->is_woken = true;
    pthread_cond_signal(&u->work);
    pthread_mutex_unlock(&u->lock);
}

/* A turn that began after this call; the one that is running may have looked already. */
static int wait_for_turn(struct upkeep *u, struct error *err)
{
    pthread_mutex_lock(&u->lock);
    uint64_t until = u->turns + 2;
    while ((u->turns < until || u->has_more) && !u->is_stopping) {
        u->is_woken = true;
        pthread_cond_signal(&u->work);
        pthread_cond_wait(&u->turn_done, &u->lock);
    }
    bool is_stopping = u->is_stopping, has_failed = u->has_failed;
    pthread_mutex_unlock(&u->lock);
    if (is_stopping)
        return error_set(err, ERR_UNAVAILABLE, "the store is shutting down");
    return has_failed ? error_set(err, ERR_IO, "the database cannot be written, see the log") : 0;
}

int upkeep_run(struct upkeep *u, struct error *err)
{
    if (writer_freeze(u->writer, err) < 0)
        return -1;
    do {
        if (wait_for_turn(u, err) < 0)
            return -1;
    } while (mvcc_has_frozen(u->config.mvcc));
    return 0;
}

int upkeep_defragment(struct upkeep *u, struct error *err)
{
    if (upkeep_run(u, err) < 0)
        return -1;
    pthread_mutex_lock(&u->lock);
    u->wants_defragment = true;
    while (u->wants_defragment && !u->is_stopping) {
        u->is_woken = true;
        pthread_cond_signal(&u->work);
        pthread_cond_wait(&u->turn_done, &u->lock);
    }
    bool is_done = !u->wants_defragment;
    if (is_done)
        *err = u->defragment_err;
    else
        error_set(err, ERR_UNAVAILABLE, "the store is shutting down");
    pthread_mutex_unlock(&u->lock);
    return err->code ? -1 : 0;
}
