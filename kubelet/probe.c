/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - when each probe is due, and what its results add up to. */
#include "kubelet/probe.h"

#include <inttypes.h>

#include "base/cond.h"
#include "base/log.h"
#include "base/worker_pool.h"
#include "kubelet/pod_sync.h"

#define PROBE_THREADS_MAX 32
#define PROBE_QUEUED_MAX  4096
/* While a container is not ready, it is asked more often than its period says, so that it is so
 * sooner; upstream reserves the right. */
#define EARLY_FIRST_MS 100

enum probe_kind { PROBE_STARTUP, PROBE_READINESS, PROBE_LIVENESS, PROBE_KINDS };

static const struct {
    const char *field, *word;
} kinds[PROBE_KINDS] = {
    [PROBE_STARTUP] = { "startupProbe", "Startup" },
    [PROBE_READINESS] = { "readinessProbe", "Readiness" },
    [PROBE_LIVENESS] = { "livenessProbe", "Liveness" },
};

struct prober { /* one probe of one running container */
    struct prober *next;
    struct probes *owner;
    enum probe_kind kind;
    struct object *pod;
    char *container, *container_id, *pod_ip;
    int64_t due_ns;          /* monotonic */
    int64_t early_ms;        /* until the next early attempt; 0: the period counts */
    int successes, failures; /* in a row */
    bool is_good;            /* the verdict so far */
    bool is_bad;             /* failed for good: startup and liveness */
    bool is_busy;            /* on the pool: who removes it leaves freeing to the job */
    bool is_removed;
};

struct probes {
    struct kubelet_context *k;
    void (*changed)(const char *uid, void *arg);
    void *arg;
    struct worker_pool *pool;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows; no other lock is taken under it */
    pthread_cond_t wake;
    bool is_stopping;
    struct prober *all;
};

static const struct json *prober_spec(const struct prober *p)
{
    return json_get(pod_container(p->pod, p->container), kinds[p->kind].field);
}

static void prober_free(struct prober *p)
{
    object_unref(p->pod);
    free(p->container);
    free(p->container_id);
    free(p->pod_ip);
    free(p);
}

/* ---- results ---- */

static bool is_started_locked(const struct probes *probes, const char *container_id)
{
    for (const struct prober *p = probes->all; p; p = p->next)
        if (p->kind == PROBE_STARTUP && str_equal(p->container_id, container_id))
            return p->is_good;
    return true;
}

/* Counts a result; true if the verdict is another one now. */
static bool count_locked(struct prober *p, const struct json *spec, bool is_success)
{
    bool was_good = p->is_good, was_bad = p->is_bad;
    p->successes = is_success ? p->successes + 1 : 0;
    p->failures = is_success ? 0 : p->failures + 1;
    if (is_success && p->successes >= json_int(spec, "successThreshold", 1))
        p->is_good = true;
    if (!is_success && p->failures >= json_int(spec, "failureThreshold", 3)) {
        p->is_good = false;
        p->is_bad = p->kind != PROBE_READINESS;
    }
    return p->is_good != was_good || p->is_bad != was_bad;
}

static void set_next_locked(struct prober *p, const struct json *spec, int64_t now_ns)
{
    int64_t period_ms = json_int(spec, "periodSeconds", 10) * 1000;
    int64_t wait_ms = period_ms;
    if (p->kind != PROBE_LIVENESS && !p->is_good && p->early_ms) {
        wait_ms = p->early_ms;
        p->early_ms = p->early_ms * 2 < period_ms ? p->early_ms * 2 : 0;
    } else {
        p->early_ms = 0;
    }
    bool is_over = p->is_bad || (p->kind == PROBE_STARTUP && p->is_good);
    p->due_ns = is_over ? INT64_MAX : now_ns + wait_ms * NS_PER_MS;
}

static void tell_failure(struct prober *p, enum probe_result result, const char *output)
{
    scoped(arena) struct arena *a = arena_new();
    event_record_field(p->owner->k->events, p->pod, container_field_path(p->pod, p->container, a),
                       "Warning", "Unhealthy", "%s probe %s: %s", kinds[p->kind].word,
                       result == PROBE_ERROR ? "errored and resulted in unknown state" : "failed",
                       output);
}

static void run_probe(void *arg)
{
    struct prober *p = arg;
    struct probes *probes = p->owner;
    const struct json *spec = prober_spec(p);
    scoped(arena) struct arena *a = arena_new();
    struct probe_target target = {
        .k = probes->k,
        .container_id = p->container_id,
        .pod_ip = p->pod_ip,
        .container = pod_container(p->pod, p->container),
    };
    const char *output;
    enum probe_result result =
        probe_run(&target, spec, json_int(spec, "timeoutSeconds", 1), a, &output);
    bool is_success = result == PROBE_SUCCESS;

    pthread_mutex_lock(&probes->lock);
    bool is_removed = p->is_removed;
    bool is_early = p->early_ms > 0;
    bool has_changed = false;
    if (!is_removed) {
        /* An early attempt that fails is not held against the container. */
        if (is_success || !is_early)
            has_changed = count_locked(p, spec, is_success);
        set_next_locked(p, spec, clock_monotonic_ns(probes->k->clock));
    }
    pthread_mutex_unlock(&probes->lock);
    if (!is_removed && !is_success && !is_early)
        tell_failure(p, result, output);
    if (has_changed)
        probes->changed(p->pod->uid, probes->arg);

    pthread_mutex_lock(&probes->lock);
    p->is_busy = false;
    is_removed = p->is_removed;
    pthread_cond_signal(&probes->wake);
    pthread_mutex_unlock(&probes->lock);
    if (is_removed)
        prober_free(p);
}

/* ---- the clock ---- */

/* Liveness and readiness wait until startup has passed. */
static bool is_held_locked(const struct probes *probes, const struct prober *p)
{
    return p->kind != PROBE_STARTUP && !is_started_locked(probes, p->container_id);
}

/* NULL: nothing will be due. */
static struct prober *first_due_locked(const struct probes *probes)
{
    struct prober *first = NULL;
    for (struct prober *p = probes->all; p; p = p->next) {
        bool is_sooner = p->due_ns < (first ? first->due_ns : INT64_MAX);
        if (is_sooner && !p->is_busy && !is_held_locked(probes, p)) /* the dearest question last */
            first = p;
    }
    return first;
}

static void submit_locked(struct probes *probes, struct prober *p)
{
    struct error err = { 0 };
    p->is_busy = true;
    if (worker_pool_submit(probes->pool, run_probe, p, &err) == 0)
        return;
    p->is_busy = false;
    p->due_ns += NS_PER_S; /* too many at once: this one later */
    log_warn("kubelet", "probe: %s", err.message);
}

static void *run(void *arg)
{
    struct probes *probes = arg;
    pthread_mutex_lock(&probes->lock);
    while (!probes->is_stopping) {
        struct prober *p = first_due_locked(probes);
        if (p && p->due_ns <= clock_monotonic_ns(probes->k->clock))
            submit_locked(probes, p);
        else
            cond_wait_clock(&probes->wake, &probes->lock, probes->k->clock,
                            p ? p->due_ns : INT64_MAX);
    }
    pthread_mutex_unlock(&probes->lock);
    return NULL;
}

/* ---- what runs ---- */

static struct prober **find_locked(struct probes *probes, enum probe_kind kind,
                                   const char *container_id)
{
    struct prober **at = &probes->all;
    while (*at && ((*at)->kind != kind || !str_equal((*at)->container_id, container_id)))
        at = &(*at)->next;
    return at;
}

/* "containerd://ID" -> "ID" */
static const char *without_runtime(const char *id)
{
    const char *end = strstr(id, "://");
    return end ? end + strlen("://") : id;
}

/* What the pod's status says of the container that runs now: true only after a kubelet before this
 * one has published it.  A restart of the kubelet takes nobody out of the Services. */
static bool has_passed(enum probe_kind kind, const struct object *pod, const char *container_id)
{
    static const char *const lists[] = { "status.containerStatuses",
                                         "status.initContainerStatuses" };
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_each_item (json_at(pod->doc, lists[l]), status)
            if (str_equal(without_runtime(json_str(status, "containerID", "")), container_id))
                return json_bool(status, kind == PROBE_STARTUP ? "started" : "ready", false);
    return false;
}

static void add_locked(struct probes *probes, enum probe_kind kind, const struct object *pod,
                       const char *pod_ip, const struct probe_container *c)
{
    const struct json *spec = json_get(c->spec, kinds[kind].field);
    if (!spec || *find_locked(probes, kind, c->id))
        return;
    int64_t age_ns = clock_wall_ns(probes->k->clock) - c->started_ns;
    int64_t delay_ns = json_int(spec, "initialDelaySeconds", 0) * NS_PER_S - age_ns;
    bool was_good = kind != PROBE_LIVENESS && has_passed(kind, pod, c->id);
    bool is_over = kind == PROBE_STARTUP && was_good;
    struct prober *p = xcalloc(1, sizeof(*p));
    *p = (struct prober){
        .next = probes->all,
        .owner = probes,
        .kind = kind,
        .pod = object_ref(pod),
        .container = xstrdup(json_str(c->spec, "name", "")),
        .container_id = xstrdup(c->id),
        .pod_ip = xstrdup(pod_ip),
        .due_ns = is_over ? INT64_MAX
                          : clock_monotonic_ns(probes->k->clock) + (delay_ns > 0 ? delay_ns : 0),
        .early_ms = kind == PROBE_LIVENESS || was_good ? 0 : EARLY_FIRST_MS,
        .is_good = kind == PROBE_LIVENESS || was_good,
    };
    probes->all = p;
}

static bool is_listed(const struct probe_container *containers, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (str_equal(containers[i].id, id))
            return true;
    return false;
}

static void remove_others_locked(struct probes *probes, const char *uid,
                                 const struct probe_container *containers, size_t n)
{
    for (struct prober **at = &probes->all; *at;) {
        struct prober *p = *at;
        if (!str_equal(p->pod->uid, uid) || is_listed(containers, n, p->container_id)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->is_removed = true;
        if (!p->is_busy)
            prober_free(p);
    }
}

void probes_set(struct probes *probes, const struct object *pod, const char *pod_ip,
                const struct probe_container *containers, size_t n)
{
    pthread_mutex_lock(&probes->lock);
    remove_others_locked(probes, pod->uid, containers, n);
    for (size_t i = 0; i < n; i++)
        for (enum probe_kind kind = 0; kind < PROBE_KINDS; kind++)
            add_locked(probes, kind, pod, pod_ip, &containers[i]);
    pthread_cond_signal(&probes->wake);
    pthread_mutex_unlock(&probes->lock);
}

void probes_forget(struct probes *probes, const char *uid)
{
    pthread_mutex_lock(&probes->lock);
    remove_others_locked(probes, uid, NULL, 0);
    pthread_mutex_unlock(&probes->lock);
}

void probes_verdict(struct probes *probes, const struct json *container, const char *container_id,
                    struct arena *a, struct probe_verdict *out)
{
    const char *name = json_str(container, "name", "");
    *out = (struct probe_verdict){ .kill_grace_s = -1 };
    /* A probe that has not begun yet has not passed; liveness is innocent until proven. */
    out->is_started = !json_get(container, "startupProbe");
    out->is_ready = !json_get(container, "readinessProbe");
    pthread_mutex_lock(&probes->lock);
    for (const struct prober *p = probes->all; p; p = p->next) {
        if (!str_equal(p->container_id, container_id))
            continue;
        if (p->kind == PROBE_STARTUP)
            out->is_started = p->is_good;
        else if (p->kind == PROBE_READINESS)
            out->is_ready = p->is_good;
        if (p->is_bad) {
            out->kill_message =
                arena_printf(a, "Container %s failed %s probe, will be restarted", name,
                             p->kind == PROBE_STARTUP ? "startup" : "liveness");
            out->kill_grace_s = json_int(prober_spec(p), "terminationGracePeriodSeconds", -1);
        }
    }
    pthread_mutex_unlock(&probes->lock);
    out->is_ready = out->is_ready && out->is_started;
}

/* ---- life ---- */

struct probes *probes_new(struct kubelet_context *k, void (*changed)(const char *uid, void *arg),
                          void *arg, struct error *err)
{
    struct worker_pool *pool = worker_pool_new("probe", PROBE_THREADS_MAX, PROBE_QUEUED_MAX, err);
    if (!pool)
        return NULL;
    struct probes *probes = xcalloc(1, sizeof(*probes));
    *probes = (struct probes){ .k = k, .changed = changed, .arg = arg, .pool = pool };
    pthread_mutex_init(&probes->lock, NULL);
    cond_init(&probes->wake);
    if (pthread_create(&probes->thread, NULL, run, probes) == 0)
        return probes;
    error_set(err, ERR_INTERNAL, "start the thread of the probes");
    worker_pool_free(pool);
    free(probes);
    return NULL;
}

void probes_free(struct probes *probes)
{
    if (!probes)
        return;
    pthread_mutex_lock(&probes->lock);
    probes->is_stopping = true;
    pthread_cond_signal(&probes->wake);
    pthread_mutex_unlock(&probes->lock);
    pthread_join(probes->thread, NULL);
    worker_pool_free(probes->pool);
    while (probes->all) {
        struct prober *p = probes->all;
        probes->all = p->next;
        prober_free(p);
    }
    pthread_mutex_destroy(&probes->lock);
    pthread_cond_destroy(&probes->wake);
    free(probes);
}
