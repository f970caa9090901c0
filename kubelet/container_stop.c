/* SPDX-License-Identifier: Apache-2.0 */
/* container_stop.c - preStop, SIGTERM, SIGKILL: as jobs, so that a sync waits for no grace period.
 */
#include "base/log.h"
#include "kubelet/lifecycle_hook.h"
#include "kubelet/pod_sync.h"

#define MINIMUM_GRACE_S 2 /* upstream's: what is left for SIGTERM after a preStop that took all */

struct stop {
    struct object *pod;
    char *name, *id, *pod_ip;
    int64_t grace_s;
    bool runs_hook;
};

static void stop_free(struct stop *t)
{
    object_unref(t->pod);
    free(t->name);
    free(t->id);
    free(t->pod_ip);
    free(t);
}

/* Runs preStop within the grace period; what is left of it. */
static int64_t run_pre_stop(struct pod_entry *e, const struct stop *t)
{
    struct kubelet_context *k = e->worker->k;
    const struct json *container = t->pod ? pod_container(t->pod, t->name) : NULL;
    const struct json *hook = json_at(container, "lifecycle.preStop");
    if (!hook || !t->runs_hook)
        return t->grace_s;
    struct probe_target target = {
        .k = k, .container_id = t->id, .pod_ip = t->pod_ip, .container = container
    };
    struct error err = { 0 };
    int64_t began_ns = clock_monotonic_ns(k->clock);
    if (lifecycle_hook_run(&target, hook, t->grace_s, &err) < 0) {
        scoped(arena) struct arena *a = arena_new();
        struct pod_sync s = { .entry = e, .worker = e->worker, .k = k, .a = a, .pod = t->pod };
        pod_event(&s, t->name, "Warning", "FailedPreStopHook", "PreStopHook failed");
        log_warn("kubelet", "preStop of %s in pod %s/%s: %s", t->name, t->pod->key.ns,
                 t->pod->key.name, err.message);
    }
    int64_t left_s = t->grace_s - (clock_monotonic_ns(k->clock) - began_ns) / NS_PER_S;
    return left_s < MINIMUM_GRACE_S ? MINIMUM_GRACE_S : left_s;
}

static void run_stop(struct pod_entry *e, void *arg)
{
    struct stop *t = arg;
    struct error err = { 0 };
    int64_t grace_s = run_pre_stop(e, t);
    bool has_failed = cri_stop_container(e->worker->k->cri, t->id, grace_s, &err) < 0 &&
                      err.code != ERR_NOT_FOUND;
    if (has_failed)
        log_warn("kubelet", "stop container %s of pod %s: %s", t->name, e->uid, err.message);

    pthread_mutex_lock(&e->worker->lock);
    for (struct container_memory *m = e->containers; m; m = m->next) {
        if (!str_equal(m->name, t->name) || !str_equal(m->stop_id, t->id))
            continue;
        free(m->stop_error);
        m->stop_error = has_failed ? xstrdup(err.message) : NULL;
        if (--m->stops == 0) {
            free(m->stop_id);
            m->stop_id = NULL;
        }
    }
    pthread_mutex_unlock(&e->worker->lock);
    stop_free(t);
}

/* True once after a stop that failed: the next one waits for the queue's back-off. */
static bool has_failed(struct pod_sync *s, struct container_memory *m)
{
    pthread_mutex_lock(&s->worker->lock);
    char *why = m->stop_error;
    m->stop_error = NULL;
    pthread_mutex_unlock(&s->worker->lock);
    if (!why)
        return false;
    if (s->pod && (s->is_gone || s->is_deleting || s->entry->failed_reason))
        pod_event(s, NULL, "Warning", "FailedKillPod",
                  "error killing pod: failed to \"KillContainer\" for \"%s\" with "
                  "KillContainerError: \"%s\"",
                  m->name, why);
    free(why);
    s->needs_retry = true;
    return true;
}

void container_stop(struct pod_sync *s, const struct json *spec, const struct cri_container *c,
                    int64_t grace_s, const char *message)
{
    struct container_memory *m = container_memory(s->entry, c->name);
    int64_t deadline_ns = clock_monotonic_ns(s->k->clock) + grace_s * NS_PER_S;
    if (has_failed(s, m))
        return;
    pthread_mutex_lock(&s->worker->lock);
    bool is_stopping = m->stops && str_equal(m->stop_id, c->id);
    /* A shorter grace period (kubectl delete --force after delete) makes a second job. */
    if (is_stopping && m->stop_deadline_ns <= deadline_ns + NS_PER_S) {
        pthread_mutex_unlock(&s->worker->lock);
        return;
    }
    if (!is_stopping) {
        free(m->stop_id);
        m->stop_id = xstrdup(c->id);
        m->stops = 0;
    }
    m->stops++;
    m->stop_deadline_ns = deadline_ns;
    pthread_mutex_unlock(&s->worker->lock);
    if (!is_stopping && s->pod)
        pod_event(s, c->name, "Normal", "Killing", "%s", message);

    const struct cri_sandbox *sandbox = s->state.sandbox;
    struct stop *t = xcalloc(1, sizeof(*t));
    *t = (struct stop){
        .pod = s->pod ? object_ref(s->pod) : NULL,
        .name = xstrdup(c->name),
        .id = xstrdup(c->id),
        .pod_ip = xstrdup(sandbox && sandbox->ips.n ? sandbox->ips.items[0] : s->k->node_ip),
        .grace_s = grace_s,
        .runs_hook = !is_stopping && spec != NULL,
    };
    struct error err = { 0 };
    if (pod_worker_job(s->entry, run_stop, t, &err) < 0)
        run_stop(s->entry, t); /* the pool is full: this sync can as well do it itself */
}
