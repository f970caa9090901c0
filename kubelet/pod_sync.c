/* SPDX-License-Identifier: Apache-2.0 */
/* pod_sync.c - compares a pod's spec with what runs and does the next thing. */
#include "kubelet/pod_sync.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "kubelet/container_spec.h"
#include "kubelet/pod_labels.h"
#include "kubelet/pod_sandbox.h"
#include "kubelet/probe.h"

#define DEFAULT_GRACE_S 30
#define ORPHAN_GRACE_S  30
#define MINIMUM_GRACE_S 1

void pod_sync_wake_in(struct pod_sync *s, int64_t ms)
{
    if (ms < 1)
        ms = 1;
    if (!s->wake_after_ms || ms < s->wake_after_ms)
        s->wake_after_ms = ms;
}

static int read_state(struct pod_sync *s)
{
    struct error err = { 0 };
    if (pod_state_read(s->k->cri, s->entry->uid, s->a, &s->state, &err) == 0)
        return 0;
    log_warn("kubelet", "state of pod %s: %s", s->entry->uid, err.message);
    s->needs_retry = true;
    return -1;
}

/* ---- sandbox ---- */

static bool is_sandbox_usable(const struct pod_sync *s)
{
    const struct cri_sandbox *sandbox = s->state.sandbox;
    if (!sandbox || !sandbox->is_ready)
        return false;
    bool wants_host = json_bool(s->pod->doc, "spec.hostNetwork", false);
    return wants_host ? sandbox->is_host_network : sandbox->ips.n > 0;
}

static bool is_in_sandbox(const struct pod_sync *s, const struct cri_container *c)
{
    return c && s->state.sandbox && str_equal(c->sandbox_id, s->state.sandbox->id);
}

static bool is_over(const struct cri_container *c)
{
    return c && c->state == CRI_CONTAINER_EXITED;
}

/* Made and never started, or of a runtime that has lost track of it: started (again), whatever the
 * restart policy. */
static bool is_half_done(const struct cri_container *c)
{
    return c->state == CRI_CONTAINER_CREATED || c->state == CRI_CONTAINER_UNKNOWN;
}

/* Is there anything that a (new) sandbox would be for? */
static bool wants_any_container(const struct pod_sync *s)
{
    if (s->state.containers_n == 0)
        return true;
    json_each_item (json_at(s->pod->doc, "spec.containers"), spec) {
        const struct cri_container *c =
            pod_state_container(&s->state, json_str(spec, "name", ""), 0);
        if (!c) {
            /* Not started yet: unless an init container has failed for good, it will be. */
            bool has_failed = false;
            json_each_item (json_at(s->pod->doc, "spec.initContainers"), init) {
                const struct cri_container *i =
                    pod_state_container(&s->state, json_str(init, "name", ""), 0);
                has_failed |= is_over(i) && i->exit_code != 0 &&
                              !container_restarts(s->pod, init, true, i->exit_code);
            }
            if (!has_failed)
                return true;
        } else if (!is_over(c) || container_restarts(s->pod, spec, false, c->exit_code)) {
            return true;
        }
    }
    return false;
}

static void stop_sandboxes(struct pod_sync *s)
{
    for (size_t i = 0; i < s->state.sandboxes_n; i++) {
        struct error err = { 0 };
        if (!s->state.sandboxes[i].is_ready && !(i == 0 && s->state.sandbox))
            continue;
        if (cri_stop_sandbox(s->k->cri, s->state.sandboxes[i].id, &err) < 0 &&
            err.code != ERR_NOT_FOUND) {
            log_warn("kubelet", "stop sandbox of pod %s: %s", s->entry->uid, err.message);
            if (s->pod)
                pod_event(s, NULL, "Warning", "FailedKillPod",
                          "error killing pod: failed to \"KillPodSandbox\" for \"%s\" with "
                          "KillPodSandboxError: \"%s\"",
                          s->entry->uid, err.message);
            s->needs_retry = true;
        }
        s->has_changed = true;
    }
}

static int make_log_dir(struct pod_sync *s, struct error *err)
{
    if (files_make_dirs(CONTAINER_LOGS_DIR, 0755, err) < 0)
        return -1;
    return files_make_dirs(pod_log_dir(s->pod, s->a), 0755, err);
}

/* The runtime that the pod's RuntimeClass names. */
static int find_runtime(struct pod_sync *s, struct error *err)
{
    struct object_key key = { "", json_str(s->pod->doc, "spec.runtimeClassName", "") };
    if (!*key.name)
        return 0;
    scoped(object) struct object *class = NULL;
    if (client_get(s->k->client, &resources[RESOURCE_RUNTIMECLASSES], &key, &class, err) < 0)
        return error_wrap(err, "get the runtime class");
    s->sandbox_config.runtime_handler = arena_strdup(s->a, json_str(class->doc, "handler", ""));
    return 0;
}

static int start_sandbox(struct pod_sync *s)
{
    struct error err = { 0 };
    unsigned attempt = s->state.sandboxes_n ? s->state.sandboxes[0].attempt + 1 : 0;
    const char *id;
    if (s->state.sandboxes_n) {
        pod_event(s, NULL, "Normal", "SandboxChanged",
                  "Pod sandbox changed, it will be killed and re-created.");
        for (size_t i = 0; i < s->state.containers_n; i++)
            if (s->state.containers[i].state == CRI_CONTAINER_RUNNING &&
                cri_stop_container(s->k->cri, s->state.containers[i].id, MINIMUM_GRACE_S, &err) < 0)
                log_warn("kubelet", "%s", err.message);
        stop_sandboxes(s);
    }
    s->has_changed = true;
    if (make_log_dir(s, &err) < 0 ||
        pod_sandbox_config(s->k, s->pod, attempt, s->a, &s->sandbox_config, &err) < 0 ||
        find_runtime(s, &err) < 0 ||
        cri_run_sandbox(s->k->cri, &s->sandbox_config, s->a, &id, &err) < 0) {
        pod_event(s, NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s",
                  err.message);
        log_warn("kubelet", "sandbox of pod %s/%s: %s", s->pod->key.ns, s->pod->key.name,
                 err.message);
        s->needs_retry = true;
        return -1;
    }
    return read_state(s);
}

/* The configuration that goes with each container of the sandbox there is. */
static int ensure_sandbox(struct pod_sync *s)
{
    struct error err = { 0 };
    if (!is_sandbox_usable(s))
        return start_sandbox(s) < 0 || !is_sandbox_usable(s) ? -1 : 0;
    if (pod_sandbox_config(s->k, s->pod, s->state.sandbox->attempt, s->a, &s->sandbox_config,
                           &err) < 0) {
        log_warn("kubelet", "%s", err.message);
        return -1;
    }
    return make_log_dir(s, &err);
}

/* ---- containers ---- */

static const char *container_ip(struct pod_sync *s)
{
    if (s->state.sandbox && s->state.sandbox->ips.n)
        return s->state.sandbox->ips.items[0];
    return s->k->node_ip;
}

/* What its probes demand, and a spec that changed under it. */
static void check_running(struct pod_sync *s, const struct json *spec,
                          const struct cri_container *c)
{
    const char *name = c->name;
    const char *hash = cri_pairs_get(&c->annotations, ANNOTATION_HASH);
    int64_t grace_s = json_int(s->pod->doc, "spec.terminationGracePeriodSeconds", DEFAULT_GRACE_S);
    if (hash && !str_equal(hash, container_hash(spec, s->a))) {
        container_stop(
            s, spec, c, grace_s,
            arena_printf(s->a, "Container %s definition changed, will be restarted", name));
        return;
    }
    struct probe_verdict verdict;
    probes_verdict(s->k->probes, spec, c->id, s->a, &verdict);
    if (verdict.kill_message) {
        if (verdict.kill_grace_s >= 0)
            grace_s = verdict.kill_grace_s;
        container_stop(s, spec, c, grace_s, verdict.kill_message);
    }
}

static bool is_hook_running(struct pod_sync *s, const struct cri_container *c)
{
    struct container_memory *m = container_memory(s->entry, c->name);
    pthread_mutex_lock(&s->worker->lock);
    bool is_running = str_equal(m->hooked_id, c->id);
    pthread_mutex_unlock(&s->worker->lock);
    return is_running;
}

/* Starts one container if the time has come; false while its postStart holds back those after it.
 */
static bool bring_container(struct pod_sync *s, const struct json *spec, bool is_init)
{
    const char *name = json_str(spec, "name", "");
    const struct cri_container *c = pod_state_container(&s->state, name, 0);
    if (!c) {
        container_start(s, spec, 0);
        c = pod_state_container(&s->state, name, 0);
        return true;
    }
    if (c->state == CRI_CONTAINER_RUNNING && is_in_sandbox(s, c)) {
        container_set_note(s, name, NULL, NULL);
        check_running(s, spec, c);
        return !is_hook_running(s, c);
    }
    unsigned next = container_restart_count(c) + 1;
    if (is_half_done(c)) {
        struct error err = { 0 }; /* what is lost may still run */
        if (c->state == CRI_CONTAINER_UNKNOWN &&
            cri_stop_container(s->k->cri, c->id, MINIMUM_GRACE_S, &err) < 0)
            log_warn("kubelet", "stop container %s: %s", c->id, err.message);
        container_start(s, spec, next);
        return true;
    }
    /* An init container of an earlier sandbox runs again in the new one, whatever it ended with. */
    bool is_rerun = is_init && !is_in_sandbox(s, c);
    if (!is_rerun && !container_restarts(s->pod, spec, is_init, c->exit_code)) {
        container_set_note(s, name, NULL, NULL);
        return true;
    }
    if (is_rerun || container_may_restart(s, c))
        container_start(s, spec, next);
    return true;
}

/* Init containers, one after the other; true when the others may start. */
static bool bring_init_containers(struct pod_sync *s)
{
    bool is_initialized = false;
    json_each_item (json_at(s->pod->doc, "spec.containers"), spec)
        is_initialized |=
            is_in_sandbox(s, pod_state_container(&s->state, json_str(spec, "name", ""), 0));
    json_each_item (json_at(s->pod->doc, "spec.initContainers"), spec) {
        bool is_sidecar = container_is_sidecar(spec);
        if (is_initialized && !is_sidecar)
            continue;
        const struct cri_container *c =
            pod_state_container(&s->state, json_str(spec, "name", ""), 0);
        if (!is_sidecar && is_in_sandbox(s, c) && c->state == CRI_CONTAINER_EXITED &&
            c->exit_code == 0)
            continue;
        bring_container(s, spec, true);
        if (is_initialized)
            continue;
        if (!is_sidecar || !c || c->state != CRI_CONTAINER_RUNNING || !is_in_sandbox(s, c))
            return false;
        struct probe_verdict verdict;
        probes_verdict(s->k->probes, spec, c->id, s->a, &verdict);
        if (!verdict.is_started || is_hook_running(s, c))
            return false;
    }
    return true;
}

static void bring_ephemeral_containers(struct pod_sync *s)
{
    json_each_item (json_at(s->pod->doc, "spec.ephemeralContainers"), spec)
        if (!pod_state_container(&s->state, json_str(spec, "name", ""), 0))
            container_start(s, spec, 0);
}

/* Keeps the one before the newest, for logs --previous and lastState; older ones go. */
static void collect_old_containers(struct pod_sync *s)
{
    for (size_t i = 0; i < s->state.containers_n; i++) {
        const struct cri_container *c = &s->state.containers[i];
        const struct cri_container *second = pod_state_container(&s->state, c->name, 1);
        if (c == pod_state_container(&s->state, c->name, 0) || c == second ||
            c->state == CRI_CONTAINER_RUNNING)
            continue;
        struct error err = { 0 };
        if (!str_empty(c->log_path))
            unlink(c->log_path);
        unlink(arena_printf(s->a, CONTAINER_LOGS_DIR "/%s_%s_%s-%s.log", s->pod->key.name,
                            s->pod->key.ns, c->name, c->id));
        unlink(termination_log_path(s->k, s->pod->uid, c->name, c->attempt, s->a));
        if (cri_remove_container(s->k->cri, c->id, &err) < 0 && err.code != ERR_NOT_FOUND)
            log_warn("kubelet", "remove container %s: %s", c->id, err.message);
    }
    for (size_t i = 1; i < s->state.sandboxes_n; i++) {
        bool is_used = s->state.sandboxes[i].is_ready;
        for (size_t j = 0; j < s->state.containers_n; j++)
            is_used |= str_equal(s->state.containers[j].sandbox_id, s->state.sandboxes[i].id);
        struct error err = { 0 };
        if (!is_used && cri_remove_sandbox(s->k->cri, s->state.sandboxes[i].id, &err) < 0)
            log_debug("kubelet", "remove old sandbox: %s", err.message);
    }
}

static void set_probes(struct pod_sync *s)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    struct probe_container *running =
        arena_alloc(s->a, (s->state.containers_n + 1) * sizeof(*running));
    size_t n = 0;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_each_item (json_at(s->pod->doc, lists[l]), spec) {
            const struct cri_container *c =
                pod_state_container(&s->state, json_str(spec, "name", ""), 0);
            if (c && c->state == CRI_CONTAINER_RUNNING)
                running[n++] = (struct probe_container){ spec, c->id, c->started_ns };
        }
    }
    probes_set(s->k->probes, s->pod, container_ip(s), running, n);
}

/* ---- running ---- */

static void prepare_env(struct pod_sync *s)
{
    informer_list(s->k->services, &s->services);
    s->env = (struct env_context){
        .downward = {
            .pod = s->pod,
            .node_name = s->k->node_name,
            .host_ip = s->k->node_ip,
            .node_cpu_milli = s->k->node_cpu_milli,
            .node_memory_bytes = s->k->node_memory_bytes,
        },
        .services = &s->services,
    };
    const struct cri_sandbox *sandbox = s->state.sandbox;
    if (json_bool(s->pod->doc, "spec.hostNetwork", false)) {
        char **own = arena_alloc(s->a, sizeof(*own));
        own[0] = (char *)s->k->node_ip;
        s->env.downward.pod_ips = own;
        s->env.downward.pod_ips_n = 1;
    } else if (sandbox) {
        s->env.downward.pod_ips = sandbox->ips.items;
        s->env.downward.pod_ips_n = sandbox->ips.n;
    }
}

static int setup_volumes(struct pod_sync *s)
{
    struct error err = { 0 };
    if (volume_setup(s->k, &s->env.downward, s->a, &s->volumes, &err) < 0) {
        pod_event(s, NULL, "Warning", "FailedMount", "%s", err.message);
        s->needs_retry = true;
        return -1;
    }
    if (s->volumes.stale) {
        pod_event(s, NULL, "Warning", "FailedMount", "%s", s->volumes.stale);
        s->needs_retry = true;
    }
    if (s->volumes.refresh_after_ns)
        pod_sync_wake_in(s, s->volumes.refresh_after_ns / NS_PER_MS);
    return 0;
}

/* spec.activeDeadlineSeconds; true when it has passed. */
static bool is_past_deadline(struct pod_sync *s)
{
    int64_t limit_s = json_int(s->pod->doc, "spec.activeDeadlineSeconds", 0);
    const char *start = json_str(s->pod->doc, "status.startTime", NULL);
    int64_t start_ns;
    if (limit_s <= 0)
        return false;
    if (!start || time_parse(start, &start_ns) < 0) {
        /* It starts with this turn, and that we write so wakes nobody. */
        pod_sync_wake_in(s, limit_s * 1000);
        return false;
    }
    int64_t left_ns = start_ns + limit_s * NS_PER_S - clock_wall_ns(s->k->clock);
    if (left_ns <= 0)
        return true;
    pod_sync_wake_in(s, left_ns / NS_PER_MS + 1);
    return false;
}

static void run_containers(struct pod_sync *s)
{
    struct error err = { 0 };
    prepare_env(s);
    if (setup_volumes(s) < 0 || ensure_sandbox(s) < 0)
        return;
    const struct cri_sandbox *sandbox = s->state.sandbox;
    if (!json_bool(s->pod->doc, "spec.hostNetwork", false)) {
        s->env.downward.pod_ips = sandbox->ips.items;
        s->env.downward.pod_ips_n = sandbox->ips.n;
    }
    if (write_hosts_file(s->k, s->pod, s->env.downward.pod_ips, s->env.downward.pod_ips_n, s->a,
                         &err) < 0) {
        log_warn("kubelet", "%s", err.message);
        s->needs_retry = true;
        return;
    }
    bring_ephemeral_containers(s);
    if (!bring_init_containers(s))
        return;
    json_each_item (json_at(s->pod->doc, "spec.containers"), spec)
        if (!bring_container(s, spec, false))
            return;
}

/* ---- ending ---- */

static int64_t deletion_grace_s(const struct pod_sync *s)
{
    if (!s->pod)
        return ORPHAN_GRACE_S;
    int64_t spec_s = json_int(s->pod->doc, "spec.terminationGracePeriodSeconds", DEFAULT_GRACE_S);
    int64_t grace_s = json_int(s->pod->doc, "metadata.deletionGracePeriodSeconds", spec_s);
    if (s->is_gone && s->is_deleting)
        grace_s = MINIMUM_GRACE_S; /* the object is gone already: somebody forced it */
    return grace_s < MINIMUM_GRACE_S ? MINIMUM_GRACE_S : grace_s;
}

static bool is_sidecar_name(const struct pod_sync *s, const char *name)
{
    if (s->pod)
        json_each_item (json_at(s->pod->doc, "spec.initContainers"), spec)
            if (str_equal(json_str(spec, "name", ""), name))
                return container_is_sidecar(spec);
    return false;
}

/* Main containers first; sidecars serve them to their end, then go in the reverse of their order.
 * True while anything runs. */
static bool stop_containers(struct pod_sync *s)
{
    int64_t grace_s = deletion_grace_s(s);
    bool is_running = false;
    for (int sidecars = 0; sidecars < 2 && !is_running; sidecars++) {
        for (size_t i = 0; i < s->state.containers_n; i++) {
            const struct cri_container *c = &s->state.containers[i];
            if (c->state != CRI_CONTAINER_RUNNING || is_sidecar_name(s, c->name) != (sidecars == 1))
                continue;
            is_running = true;
            const struct json *spec = s->pod ? pod_container(s->pod, c->name) : NULL;
            container_stop(s, spec, c, grace_s,
                           arena_printf(s->a, "Stopping container %s", c->name));
            if (sidecars == 1)
                break; /* containers come newest first, and sidecars start in order */
        }
    }
    return is_running;
}

static void run_pod(struct pod_sync *s)
{
    /* What the user sees while a first start takes its time. */
    if (!s->entry->has_status && s->state.containers_n == 0)
        status_update(s, false);
    s->entry->has_status = true;

    bool is_over = !wants_any_container(s);
    if (is_over)
        stop_containers(s); /* sidecars have nobody left to serve */
    else
        run_containers(s);
    if (s->has_changed && read_state(s) < 0)
        return;
    set_probes(s);
    const char *phase = status_update(s, false);
    if (str_equal(phase, "Succeeded") || str_equal(phase, "Failed"))
        stop_sandboxes(s);
    collect_old_containers(s);
}

static void remove_log_links(struct pod_sync *s)
{
    const char *suffix =
        s->pod ? arena_printf(s->a, "%s_%s_", s->pod->key.name, s->pod->key.ns) : NULL;
    if (!suffix)
        return;
    for (size_t i = 0; i < s->state.containers_n; i++)
        unlink(arena_printf(s->a, CONTAINER_LOGS_DIR "/%s%s-%s.log", suffix,
                            s->state.containers[i].name, s->state.containers[i].id));
}

/* That of a pod of which only the uid is known; NULL. */
static const char *find_log_dir(struct pod_sync *s)
{
    const char *suffix = arena_printf(s->a, "_%s", s->entry->uid), *found = NULL;
    DIR *dir = opendir(POD_LOGS_DIR);
    struct dirent *entry;
    while (dir && !found && (entry = readdir(dir)))
        if (str_has_suffix(entry->d_name, suffix))
            found = arena_printf(s->a, POD_LOGS_DIR "/%s", entry->d_name);
    if (dir)
        closedir(dir);
    return found;
}

/* Everything of the pod on this node, once nothing of it runs. */
static void remove_remains(struct pod_sync *s)
{
    struct error err = { 0 };
    remove_log_links(s);
    for (size_t i = 0; i < s->state.containers_n; i++)
        if (cri_remove_container(s->k->cri, s->state.containers[i].id, &err) < 0 &&
            err.code != ERR_NOT_FOUND)
            log_warn("kubelet", "%s", err.message);
    for (size_t i = 0; i < s->state.sandboxes_n; i++)
        if (cri_remove_sandbox(s->k->cri, s->state.sandboxes[i].id, &err) < 0 &&
            err.code != ERR_NOT_FOUND) {
            log_warn("kubelet", "%s", err.message);
            s->needs_retry = true;
        }
    const char *logs = s->pod ? pod_log_dir(s->pod, s->a) : find_log_dir(s);
    if (logs && files_remove_tree(logs, &err) < 0)
        log_warn("kubelet", "%s", err.message);
    if (files_remove_tree(pod_dir(s->k, s->entry->uid, s->a), &err) < 0) {
        log_warn("kubelet", "%s", err.message);
        s->needs_retry = true;
    }
}

static void end_pod(struct pod_sync *s)
{
    bool was_running = stop_containers(s);
    if (s->pod)
        probes_forget(s->k->probes, s->pod->uid);
    if (was_running) {
        if (s->pod && !s->is_gone)
            status_update(s, true);
        return; /* the jobs bring the key back */
    }
    stop_sandboxes(s);
    if (s->needs_retry || read_state(s) < 0)
        return;
    if (s->pod && !s->is_gone)
        status_update(s, true);
    struct error err = { 0 };
    if (volume_teardown(s->k, s->entry->uid, &err) < 0) {
        log_warn("kubelet", "volumes of pod %s: %s", s->entry->uid, err.message);
        s->needs_retry = true;
        return;
    }
    if (!s->is_gone && !s->is_deleting)
        return; /* we ended it; the object and the logs stay until somebody deletes it */
    remove_remains(s);
    if (s->needs_retry)
        return;
    s->entry->is_finished = true;
    if (!s->is_gone && s->is_deleting)
        status_delete_pod(s);
}

/* ---- one turn ---- */

static bool is_ended_by_us(struct pod_sync *s)
{
    if (!s->entry->failed_reason && is_past_deadline(s)) {
        s->entry->failed_reason = "DeadlineExceeded";
        s->entry->failed_message = "Pod was active on the node longer than the specified deadline";
        pod_event(s, NULL, "Normal", "DeadlineExceeded", "%s", s->entry->failed_message);
    }
    return s->entry->failed_reason != NULL;
}

static bool is_terminal(const struct object *pod)
{
    const char *phase = json_str(pod->doc, "status.phase", "");
    return str_equal(phase, "Succeeded") || str_equal(phase, "Failed");
}

static void one_turn(struct pod_sync *s)
{
    if (read_state(s) < 0)
        return;
    s->is_deleting = s->pod && object_is_deleting(s->pod);
    if (!s->pod || s->is_gone || s->is_deleting || is_ended_by_us(s))
        end_pod(s);
    else if (is_terminal(s->pod) && !s->is_static)
        stop_sandboxes(s);
    else
        run_pod(s);
}

void pod_sync(struct pod_entry *e)
{
    struct pod_worker *w = e->worker;
    scoped(arena) struct arena *a = arena_new();
    struct pod_sync s = { .entry = e, .worker = w, .k = w->k, .a = a };
    pthread_mutex_lock(&w->lock);
    scoped(object) struct object *pod = e->pod ? object_ref(e->pod) : NULL;
    s.is_gone = e->is_gone;
    s.is_static = e->is_static;
    pthread_mutex_unlock(&w->lock);
    s.pod = pod ? pod_with_status(&s, pod) : NULL;
    if (!e->is_finished)
        one_turn(&s);

    struct bytes key = bytes_of(e->uid);
    if (s.needs_retry)
        workqueue_retry(w->queue, key);
    else
        workqueue_forget(w->queue, key);
    if (s.wake_after_ms)
        workqueue_add_after(w->queue, key, s.wake_after_ms);
    object_list_deinit(&s.services);
    object_unref(s.pod);
}
