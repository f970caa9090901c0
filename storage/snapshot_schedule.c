/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_schedule.c - the thread that sleeps until the next snapshot is due. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cron_schedule.h"
#include "base/files.h"
#include "base/log.h"
#include "base/metrics.h"
#include "storage/storage.h"

struct storage_schedule {
    struct storage *storage;
    struct storage_snapshot_series series;
    struct arena *arena;
    const struct cron_schedule *cron;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t wake;  /* by the wall clock, which may be set */
    bool is_stopping;
};

static struct metric *saves_total;

static void count_save(bool is_good)
{
    const char *values[] = { is_good ? "success" : "error" };
    metric_add(saves_total, 1, values);
}

static void prune(struct storage_schedule *s, struct arena *arena)
{
    struct error err = { 0 };
    struct storage_snapshot *gone;
    size_t n;
    if (storage_snapshot_prune(&s->series, arena, &gone, &n, &err) < 0)
        log_error("snapshot", "prune: %s", err.message);
    for (size_t i = 0; i < n; i++)
        log_info("snapshot", "deleted %s, which is older than the last %lld", gone[i].path,
                 (long long)s->series.retention);
}

static void save(struct storage_schedule *s)
{
    scoped(arena) struct arena *arena = arena_new();
    struct error err = { 0 };
    const char *path =
        storage_snapshot_path(&s->series, clock_wall_ns(&system_clock) / NS_PER_S, arena);
    int rc = storage_snapshot_save(s->storage, path, s->series.form, &err);
    count_save(rc == 0);
    if (rc < 0) {
        log_error("snapshot", "%s", err.message);
        return;
    }
    log_info("snapshot", "saved %s", path);
    prune(s, arena);
}

/* False: it is time to stop. */
static bool sleep_until(struct storage_schedule *s, int64_t due_ns)
{
    struct timespec due = { due_ns / NS_PER_S, due_ns % NS_PER_S };
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping && rc != ETIMEDOUT)
        rc = due_ns ? pthread_cond_timedwait(&s->wake, &s->lock, &due)
                    : pthread_cond_wait(&s->wake, &s->lock);
    bool goes_on = !s->is_stopping;
    pthread_mutex_unlock(&s->lock);
    return goes_on;
}

static void *run(void *arg)
{
    struct storage_schedule *s = arg;
    while (sleep_until(s, cron_schedule_next(s->cron, clock_wall_ns(&system_clock))))
        save(s);
    return NULL;
}

/* Who mistyped the folder is told now and not by the first snapshot that is missing. */
static void check_folder(const char *dir)
{
    struct error err = { 0 };
    scoped(str) char *inside = xasprintf("%s/.", dir); /* which a file has not */
    if (files_make_dirs(dir, 0700, &err) < 0)
        log_error("snapshot", "scheduled snapshots will fail: %s", err.message);
    else if (access(inside, W_OK) < 0)
        log_error("snapshot", "scheduled snapshots will fail: write to %s: %s", dir,
                  strerror(errno));
}

struct storage_schedule *storage_schedule_start(const struct storage_schedule_config *config,
                                                struct error *err)
{
    static const char *const labels[] = { "result", NULL };
    struct storage_schedule *s = xcalloc(1, sizeof(*s));
    s->storage = config->storage;
    s->series = config->series;
    s->arena = arena_new();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (!saves_total)
        saves_total = metric_counter("coracle_scheduled_snapshots_total",
                                     "Scheduled snapshots of the store by result.", labels);
    check_folder(config->series.dir);
    s->cron = cron_schedule_parse(config->cron, NULL, s->arena, err);
    if (s->cron) {
        int failed = pthread_create(&s->thread, NULL, run, s);
        s->has_thread = !failed;
        errno = failed;
        if (!failed)
            return s;
        error_errno(err, "start a thread");
    }
    storage_schedule_stop(s);
    return NULL;
}

void storage_schedule_stop(struct storage_schedule *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    arena_free(s->arena);
    free(s);
}
