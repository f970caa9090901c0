/* SPDX-License-Identifier: Apache-2.0 */
/* container_start.c - image, configuration, create, start, postStart; and the back-off between
 * starts. */
#include <inttypes.h>
#include <unistd.h>

#include "base/log.h"
#include "kubelet/container_spec.h"
#include "kubelet/lifecycle_hook.h"
#include "kubelet/object_cache.h"
#include "kubelet/pod_sync.h"

/* Upstream's: 10 s, doubling to 5 min; forgotten when a container has run for twice that. */
#define BACKOFF_FIRST_MS  10000
#define BACKOFF_MAX_MS    300000
#define BACKOFF_FORGET_NS (2 * BACKOFF_MAX_MS * NS_PER_MS)
#define CONFIG_RETRY_MS   10000
#define HOOK_TIMEOUT_S    3600
#define FIELD_PATH_LISTS  3

const char *container_field_path(const struct object *pod, const char *name, struct arena *a)
{
    static const char *const lists[FIELD_PATH_LISTS] = { "containers", "initContainers",
                                                         "ephemeralContainers" };
    for (size_t i = 0; i < FIELD_PATH_LISTS; i++)
        json_each_item (json_get(json_get(pod->doc, "spec"), lists[i]), c)
            if (str_equal(json_str(c, "name", ""), name))
                return arena_printf(a, "spec.%s{%s}", lists[i], name);
    return NULL;
}

void container_set_note(struct pod_sync *s, const char *name, const char *reason,
                        const char *message)
{
    struct container_memory *m = container_memory(s->entry, name);
    free(m->reason);
    free(m->message);
    m->reason = reason ? xstrdup(reason) : NULL;
    m->message = message ? xstrdup(message) : NULL;
}

bool container_may_restart(struct pod_sync *s, const struct cri_container *ended)
{
    struct container_memory *m = container_memory(s->entry, ended->name);
    int64_t now_ns = clock_wall_ns(s->k->clock);
    int64_t since_ns = ended->finished_ns > 0 ? ended->finished_ns : ended->created_ns;
    bool is_known = m->backoff_ms && since_ns - m->backoff_updated_ns <= BACKOFF_FORGET_NS;
    int64_t left_ns = is_known ? since_ns + m->backoff_ms * NS_PER_MS - now_ns : 0;
    if (left_ns > 0) {
        char text[TIME_TEXT_BYTES];
        duration_format(m->backoff_ms * NS_PER_MS, text);
        const char *message =
            arena_printf(s->a, "back-off %s restarting failed container=%s pod=%s_%s(%s)", text,
                         ended->name, s->pod->key.name, s->pod->key.ns, s->pod->uid);
        if (!str_equal(m->reason, "CrashLoopBackOff"))
            pod_event(s, ended->name, "Warning", "BackOff",
                      "Back-off restarting failed container %s in pod %s_%s(%s)", ended->name,
                      s->pod->key.name, s->pod->key.ns, s->pod->uid);
        container_set_note(s, ended->name, "CrashLoopBackOff", message);
        pod_sync_wake_in(s, left_ns / NS_PER_MS + 1);
        return false;
    }
    m->backoff_ms = !is_known                            ? BACKOFF_FIRST_MS
                    : m->backoff_ms * 2 < BACKOFF_MAX_MS ? m->backoff_ms * 2
                                                         : BACKOFF_MAX_MS;
    m->backoff_updated_ns = now_ns;
    return true;
}

/* ---- postStart ---- */

struct post_start {
    struct object *pod;
    char *name, *container_id, *pod_ip;
};

static void fail_post_start(struct pod_entry *e, struct post_start *p, const char *why)
{
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct pod_sync s = {
        .entry = e, .worker = e->worker, .k = e->worker->k, .a = a, .pod = p->pod
    };
    pod_event(&s, p->name, "Warning", "FailedPostStartHook", "PostStartHook failed");
    log_warn("kubelet", "postStart of %s in pod %s/%s: %s", p->name, p->pod->key.ns,
             p->pod->key.name, why);
    int64_t grace_s = json_int(p->pod->doc, "spec.terminationGracePeriodSeconds", 30);
    pod_event(&s, p->name, "Normal", "Killing", "FailedPostStartHook");
    if (cri_stop_container(e->worker->k->cri, p->container_id, grace_s, &err) < 0)
        log_warn("kubelet", "%s", err.message);
}

static void run_post_start(struct pod_entry *e, void *arg)
{
    struct post_start *p = arg;
    struct error err = { 0 };
    const struct json *container = pod_container(p->pod, p->name);
    struct probe_target target = {
        .k = e->worker->k,
        .container_id = p->container_id,
        .pod_ip = p->pod_ip,
        .container = container,
    };
    if (lifecycle_hook_run(&target, json_at(container, "lifecycle.postStart"), HOOK_TIMEOUT_S,
                           &err) < 0)
        fail_post_start(e, p, err.message);

    pthread_mutex_lock(&e->worker->lock);
    for (struct container_memory *m = e->containers; m; m = m->next) {
        if (str_equal(m->hooked_id, p->container_id)) {
            free(m->hooked_id);
            m->hooked_id = NULL;
        }
    }
    pthread_mutex_unlock(&e->worker->lock);
    object_unref(p->pod);
    free(p->name);
    free(p->container_id);
    free(p->pod_ip);
    free(p);
}

static void start_post_start(struct pod_sync *s, const struct json *container, const char *id)
{
    if (!json_at(container, "lifecycle.postStart"))
        return;
    const char *name = json_str(container, "name", "");
    struct container_memory *m = container_memory(s->entry, name);
    const struct cri_sandbox *sandbox = s->state.sandbox;
    struct post_start *p = xcalloc(1, sizeof(*p));
    *p = (struct post_start){
        .pod = object_ref(s->pod),
        .name = xstrdup(name),
        .container_id = xstrdup(id),
        .pod_ip = xstrdup(sandbox && sandbox->ips.n ? sandbox->ips.items[0] : s->k->node_ip),
    };
    pthread_mutex_lock(&s->worker->lock);
    free(m->hooked_id);
    m->hooked_id = xstrdup(id);
    pthread_mutex_unlock(&s->worker->lock);
    struct error err = { 0 };
    if (pod_worker_job(s->entry, run_post_start, p, &err) < 0)
        run_post_start(s->entry, p); /* the pool is full: this sync can as well wait itself */
}

/* ---- start ---- */

static void fail(struct pod_sync *s, const char *name, const char *reason, const char *message)
{
    pod_event(s, name, "Warning", "Failed", "Error: %s", message);
    container_set_note(s, name, reason, message);
    pod_sync_wake_in(s, CONFIG_RETRY_MS);
}

static const char *target_id(struct pod_sync *s, const struct json *container)
{
    const char *name = json_str(container, "targetContainerName", NULL);
    const struct cri_container *c = name ? pod_state_container(&s->state, name, 0) : NULL;
    return c && c->state == CRI_CONTAINER_RUNNING ? c->id : NULL;
}

/* Collectors find logs by this name; it points at the file in /var/log/pods. */
static void link_log(struct pod_sync *s, const char *name, const char *id, unsigned attempt)
{
    const char *link = arena_printf(s->a, CONTAINER_LOGS_DIR "/%s_%s_%s-%s.log", s->pod->key.name,
                                    s->pod->key.ns, name, id);
    const char *file =
        arena_printf(s->a, "%s/%s/%u.log", s->sandbox_config.log_directory, name, attempt);
    if (symlink(file, link) < 0)
        log_debug("kubelet", "link %s: %m", link);
}

void container_start(struct pod_sync *s, const struct json *container, unsigned attempt)
{
    const char *name = json_str(container, "name", "");
    struct cri_image image;
    if (image_ensure(s, container, &image) == 0)
        return;

    s->env.container_name = name;
    s->env.get = object_cache_get;
    s->env.get_arg = s->k->objects;
    struct container_spec_input in = {
        .k = s->k,
        .env = &s->env,
        .container = container,
        .attempt = attempt,
        .image = &image,
        .volumes = &s->volumes,
        .target_id = target_id(s, container),
    };
    struct cri_container_config config;
    struct error err = { 0 };
    if (container_spec(&in, s->a, &config, &err) < 0) {
        fail(s, name, "CreateContainerConfigError", err.message);
        return;
    }
    const char *id;
    s->has_changed = true;
    if (cri_create_container(s->k->cri, s->state.sandbox->id, &config, &s->sandbox_config, s->a,
                             &id, &err) < 0) {
        fail(s, name, "CreateContainerError", cri_error_message(&err));
        return;
    }
    pod_event(s, name, "Normal", "Created", "Container created");
    link_log(s, name, id, attempt);
    if (cri_start_container(s->k->cri, id, &err) < 0) {
        fail(s, name, "RunContainerError", cri_error_message(&err));
        return;
    }
    pod_event(s, name, "Normal", "Started", "Container started");
    container_set_note(s, name, NULL, NULL);
    start_post_start(s, container, id);
}
