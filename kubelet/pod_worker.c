/* SPDX-License-Identifier: Apache-2.0 */
/* pod_worker.c - one keyed queue of pods. */
#include "kubelet/pod_worker.h"

#include <dirent.h>

#include "base/cond.h"
#include "base/log.h"
#include "kubelet/image_gc.h"
#include "kubelet/log_rotation.h"
#include "kubelet/object_cache.h"
#include "kubelet/pod_status.h"

/* Logs can outgrow their limit by what is written within one period. */
#define HOUSEKEEPING_S 10
/* Events tell of every change; looking at everything again finds what an event missed. */
#define RELIST_EVERY     30 /* periods: 5 minutes */
#define OBJECT_UNUSED_NS (3 * RELIST_EVERY * HOUSEKEEPING_S * NS_PER_S)
#define RETRY_FIRST_MS   500
#define RETRY_MAX_MS     60000

struct job {
    struct pod_entry *entry;
    void (*fn)(struct pod_entry *e, void *arg);
    void *arg;
};

static struct bytes uid_key(const char *uid)
{
    return bytes_of(uid);
}

/* ---- entries ---- */

static struct pod_entry *entry_make_locked(struct pod_worker *w, const char *uid)
{
    struct pod_entry *e = hashmap_get(&w->entries, uid_key(uid));
    if (e)
        return e;
    e = xcalloc(1, sizeof(*e));
    e->worker = w;
    e->uid = xstrdup(uid);
    hashmap_put(&w->entries, uid_key(e->uid), e);
    return e;
}

static void container_memory_free(struct container_memory *m)
{
    free(m->name);
    free(m->reason);
    free(m->message);
    free(m->pull_failure_reason);
    free(m->pull_error);
    free(m->stop_id);
    free(m->stop_error);
    free(m->hooked_id);
    free(m);
}

static void entry_free(struct pod_entry *e)
{
    while (e->containers) {
        struct container_memory *m = e->containers;
        e->containers = m->next;
        container_memory_free(m);
    }
    object_unref(e->pod);
    free(e->uid);
    free(e);
}

struct container_memory *container_memory(struct pod_entry *e, const char *name)
{
    for (struct container_memory *m = e->containers; m; m = m->next)
        if (str_equal(m->name, name))
            return m;
    struct container_memory *m = xcalloc(1, sizeof(*m));
    m->name = xstrdup(name);
    m->next = e->containers;
    pthread_mutex_lock(&e->worker->lock); /* jobs walk the list */
    e->containers = m;
    pthread_mutex_unlock(&e->worker->lock);
    return m;
}

void pod_worker_update(struct pod_worker *w, const struct object *pod, bool is_static)
{
    pthread_mutex_lock(&w->lock);
    struct pod_entry *e = entry_make_locked(w, pod->uid);
    struct object *old = e->pod;
    e->pod = object_ref(pod);
    e->is_static = is_static;
    e->is_gone = false;
    pthread_mutex_unlock(&w->lock);
    object_unref(old);
    pod_worker_wake(w, pod->uid);
}

void pod_worker_note(struct pod_worker *w, const struct object *pod)
{
    struct object *old = NULL;
    uint64_t digest = pod_status_digest(json_get(pod->doc, "status"));
    pthread_mutex_lock(&w->lock);
    struct pod_entry *e = hashmap_get(&w->entries, uid_key(pod->uid));
    bool is_foreign = e && e->said != digest;
    if (e) {
        old = e->pod;
        e->pod = object_ref(pod);
    }
    pthread_mutex_unlock(&w->lock);
    object_unref(old);
    if (is_foreign)
        pod_worker_wake(w, pod->uid);
}

struct object *pod_worker_newest(struct pod_worker *w, struct pod_entry *e)
{
    pthread_mutex_lock(&w->lock);
    struct object *pod = e->pod ? object_ref(e->pod) : NULL;
    pthread_mutex_unlock(&w->lock);
    return pod;
}

void pod_worker_says(struct pod_worker *w, struct pod_entry *e, const struct json *status)
{
    uint64_t digest = pod_status_digest(status);
    pthread_mutex_lock(&w->lock);
    e->said = digest;
    pthread_mutex_unlock(&w->lock);
}

void pod_worker_remove(struct pod_worker *w, const char *uid)
{
    pthread_mutex_lock(&w->lock);
    struct pod_entry *e = hashmap_get(&w->entries, uid_key(uid));
    if (e)
        e->is_gone = true;
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w, uid);
}

struct object *pod_worker_find(struct pod_worker *w, const char *ns, const char *name)
{
    struct object *found = NULL;
    pthread_mutex_lock(&w->lock);
    hashmap_each (&w->entries, entry) {
        struct pod_entry *e = entry->value;
        if (!e->pod || !str_equal(e->pod->key.ns, ns) || !str_equal(e->pod->key.name, name))
            continue;
        /* Of two with one name, the one that is still wanted. */
        if (!found || !e->is_gone) {
            object_unref(found);
            found = object_ref(e->pod);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}

void pod_worker_list(struct pod_worker *w, struct object_list *out)
{
    pthread_mutex_lock(&w->lock);
    hashmap_each (&w->entries, entry) {
        struct pod_entry *e = entry->value;
        if (e->pod)
            object_list_add(out, e->pod);
    }
    pthread_mutex_unlock(&w->lock);
}

/* ---- the queue ---- */

void pod_worker_wake(struct pod_worker *w, const char *uid)
{
    workqueue_add(w->queue, uid_key(uid));
}

void pod_worker_wake_after(struct pod_worker *w, const char *uid, int64_t delay_ms)
{
    workqueue_add_after(w->queue, uid_key(uid), delay_ms);
}

void pod_worker_wake_all(struct pod_worker *w)
{
    scoped(object_list) struct object_list pods = { 0 };
    pod_worker_list(w, &pods);
    object_list_each (&pods, pod)
        pod_worker_wake(w, pod->uid);
}

static void forget_if_finished(struct pod_worker *w, struct pod_entry *e)
{
    bool is_over = false;
    pthread_mutex_lock(&w->lock);
    if (e->is_finished && e->is_gone && e->jobs == 0) {
        hashmap_remove(&w->entries, uid_key(e->uid));
        is_over = true;
    }
    pthread_mutex_unlock(&w->lock);
    if (is_over)
        entry_free(e);
}

struct turn { /* one key on its way to a thread of the pool */
    struct pod_worker *worker;
    struct bytes key;
};

static void run_turn(void *arg)
{
    struct turn *t = arg;
    struct pod_worker *w = t->worker;
    pthread_mutex_lock(&w->lock);
    struct pod_entry *e = hashmap_get(&w->entries, t->key);
    pthread_mutex_unlock(&w->lock);
    if (e) {
        pod_sync(e);
        forget_if_finished(w, e);
    }
    workqueue_done(w->queue, t->key);
    free(t);
}

static void *dispatch(void *arg)
{
    struct pod_worker *w = arg;
    struct bytes key;
    while (workqueue_get(w->queue, &key)) {
        struct turn *t = xcalloc(1, sizeof(*t));
        *t = (struct turn){ w, key };
        struct error err = { 0 };
        if (worker_pool_submit(w->pool, run_turn, t, &err) < 0) {
            log_warn("kubelet", "%s", err.message);
            workqueue_retry(w->queue, key);
            workqueue_done(w->queue, key);
            free(t);
        }
    }
    return NULL;
}

/* ---- jobs ---- */

static void run_job(void *arg)
{
    struct job *j = arg;
    struct pod_entry *e = j->entry;
    struct pod_worker *w = e->worker;
    j->fn(e, j->arg);
    free(j);
    char uid[128];
    snprintf(uid, sizeof(uid), "%s", e->uid);
    pthread_mutex_lock(&w->lock);
    e->jobs--; /* from here on the entry may go */
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w, uid);
}

int pod_worker_job(struct pod_entry *e, void (*fn)(struct pod_entry *e, void *arg), void *arg,
                   struct error *err)
{
    struct pod_worker *w = e->worker;
    struct job *j = xcalloc(1, sizeof(*j));
    *j = (struct job){ e, fn, arg };
    pthread_mutex_lock(&w->lock);
    e->jobs++;
    pthread_mutex_unlock(&w->lock);
    if (worker_pool_submit(w->jobs, run_job, j, err) == 0)
        return 0;
    pthread_mutex_lock(&w->lock);
    e->jobs--;
    pthread_mutex_unlock(&w->lock);
    free(j);
    return -1;
}

/* ---- what is on the node and no source knows: pods deleted while we were away ---- */

static void adopt(struct pod_worker *w, const char *uid)
{
    pthread_mutex_lock(&w->lock);
    bool is_new = !hashmap_get(&w->entries, uid_key(uid));
    if (is_new)
        entry_make_locked(w, uid)->is_gone = true;
    pthread_mutex_unlock(&w->lock);
    if (is_new)
        pod_worker_wake(w, uid);
}

/* Folders whose sandbox has gone before them: secrets may be mounted there. */
static void adopt_folders(struct pod_worker *w)
{
    DIR *dir = opendir(w->k->pods_dir);
    if (!dir)
        return;
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            adopt(w, entry->d_name);
    closedir(dir);
}

static void adopt_orphans(struct pod_worker *w)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct cri_sandbox *sandboxes;
    size_t n;
    adopt_folders(w);
    if (cri_list_sandboxes(w->k->cri, NULL, a, &sandboxes, &n, &err) < 0) {
        log_warn("kubelet", "list what runs: %s", err.message);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (!str_empty(sandboxes[i].uid))
            adopt(w, sandboxes[i].uid);
}

/* False when it is time to end. */
static bool wait_period(struct pod_worker *w)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + HOUSEKEEPING_S * NS_PER_S;
    pthread_mutex_lock(&w->lock);
    while (!w->is_stopping && cond_wait_until(&w->wake, &w->lock, until_ns))
        ;
    bool goes_on = !w->is_stopping;
    pthread_mutex_unlock(&w->lock);
    return goes_on;
}

static void *keep_house(void *arg)
{
    struct pod_worker *w = arg;
    for (unsigned period = 1; wait_period(w); period++) {
        scoped(object_list) struct object_list pods = { 0 };
        pod_worker_list(w, &pods);
        log_rotation_check(w->k, &pods);
        if (period % RELIST_EVERY)
            continue;
        adopt_orphans(w);
        pod_worker_wake_all(w);
        object_cache_sweep(w->k->objects, OBJECT_UNUSED_NS);
        image_gc_check(w->k);
    }
    return NULL;
}

/* ---- life ---- */

struct pod_worker *pod_worker_new(struct kubelet_context *k, struct error *err)
{
    struct worker_pool *pool = worker_pool_new("pod", POD_THREADS_MAX, POD_QUEUED_MAX, err);
    struct worker_pool *jobs = worker_pool_new("pod-job", POD_JOBS_MAX, POD_QUEUED_MAX, err);
    if (!pool || !jobs) {
        worker_pool_free(pool);
        worker_pool_free(jobs);
        return NULL;
    }
    struct pod_worker *w = xcalloc(1, sizeof(*w));
    struct workqueue_config queue = {
        .clock = k->clock,
        .backoff_first_ms = RETRY_FIRST_MS,
        .backoff_max_ms = RETRY_MAX_MS,
    };
    w->k = k;
    w->pool = pool;
    w->jobs = jobs;
    w->queue = workqueue_new(&queue);
    pthread_mutex_init(&w->lock, NULL);
    cond_init(&w->wake);
    return w;
}

int pod_worker_start(struct pod_worker *w, struct error *err)
{
    adopt_orphans(w);
    if (pthread_create(&w->dispatcher, NULL, dispatch, w) != 0)
        return error_set(err, ERR_INTERNAL, "start the pod dispatcher's thread");
    ensure(pthread_create(&w->housekeeper, NULL, keep_house, w) == 0);
    w->is_started = true;
    return 0;
}

void pod_worker_stop(struct pod_worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    workqueue_shutdown(w->queue);
    if (w->is_started) {
        pthread_join(w->dispatcher, NULL);
        pthread_join(w->housekeeper, NULL);
    }
    worker_pool_free(w->pool); /* turns submit jobs */
    worker_pool_free(w->jobs);
}

void pod_worker_free(struct pod_worker *w)
{
    if (!w)
        return;
    workqueue_free(w->queue);
    for (struct hashmap_entry *e; (e = hashmap_next(&w->entries, NULL));) {
        struct pod_entry *entry = e->value;
        hashmap_remove(&w->entries, e->key);
        entry_free(entry);
    }
    hashmap_deinit(&w->entries);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    free(w);
}
