/* SPDX-License-Identifier: Apache-2.0 */
/* pod_status.c - status of a pod from its spec and the runtime's state. */
#include "kubelet/pod_status.h"

#include "base/clock.h"
#include "base/files.h"
#include "kubelet/container_resources.h"
#include "kubelet/pod_labels.h"

/* Upstream's: a message file is read up to 4 KiB; from logs 2 KiB or 80 lines. */
#define MESSAGE_BYTES_MAX     4096
#define LOG_MESSAGE_BYTES_MAX 2048
#define LOG_MESSAGE_LINES_MAX 80
#define LOG_READ_BYTES_MAX    (64 * 1024 * 1024)

struct build {
    const struct pod_status_input *in;
    struct arena *a;
    const struct json *old; /* the status that is there */
    /* counted while container statuses are made */
    int pending_init, failed_init;
    int running, waiting, stopped, succeeded, restarting;
};

bool container_is_sidecar(const struct json *init_container)
{
    return str_equal(json_str(init_container, "restartPolicy", ""), "Always");
}

/* Whether a rule of restartPolicyRules tells to restart: the first whose exit codes match. */
static bool has_rule(const struct json *container, int exit_code)
{
    json_each_item (json_get(container, "restartPolicyRules"), rule) {
        bool is_listed = false;
        json_each_item (json_at(rule, "exitCodes.values"), value)
            is_listed |= json_is(value, JSON_INT) && value->integer == exit_code;
        bool wants_listed = str_equal(json_str(rule, "exitCodes.operator", ""), "In");
        if (str_equal(json_str(rule, "action", ""), "Restart") && is_listed == wants_listed)
            return true;
    }
    return false;
}

bool container_restarts(const struct object *pod, const struct json *container, bool is_init,
                        int exit_code)
{
    const char *policy = json_str(pod->doc, "spec.restartPolicy", "Always");
    const char *own = json_str(container, "restartPolicy", "");
    if (has_rule(container, exit_code))
        return true;
    if (!str_empty(own))
        policy = own;
    else if (is_init && str_equal(policy, "Always"))
        policy = "OnFailure";
    if (str_equal(policy, "Never"))
        return false;
    return !str_equal(policy, "OnFailure") || exit_code != 0;
}

static const struct container_note *find_note(const struct pod_status_input *in, const char *name)
{
    static const struct container_note nothing;
    for (size_t i = 0; i < in->notes_n; i++)
        if (str_equal(in->notes[i].name, name))
            return &in->notes[i];
    return &nothing;
}

static void put_time(struct build *b, struct json *to, const char *name, int64_t ns)
{
    char text[TIME_TEXT_BYTES];
    time_format(ns, text);
    json_put_str(b->a, to, name, text);
}

/* ---- termination messages ---- */

/* The last lines of a CRI log without their prefixes ("TIME stdout F text"). */
static const char *log_tail(struct build *b, const char *path)
{
    struct error err = { 0 };
    scoped(arena) struct arena *own = arena_new();
    struct bytes log;
    if (str_empty(path) || files_read(path, LOG_READ_BYTES_MAX, own, &log, &err) < 0)
        return "";
    __attribute__((cleanup(buffer_scoped))) struct buffer text = { 0 };
    for (const char *p = log.data, *end = log.data + log.len; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        eol = eol ? eol : end;
        const char *field = p;
        for (int skip = 0; skip < 3 && field; skip++) {
            field = memchr(field, ' ', (size_t)(eol - field));
            field = field ? field + 1 : NULL;
        }
        if (field) {
            buffer_add(&text, field, (size_t)(eol - field));
            if (field[-2] == 'F')
                buffer_add_char(&text, '\n');
        }
        p = eol + 1;
    }
    size_t from = text.len > LOG_MESSAGE_BYTES_MAX ? text.len - LOG_MESSAGE_BYTES_MAX : 0;
    int lines = 0;
    for (size_t i = text.len; i > from; i--)
        if (text.data[i - 1] == '\n' && lines++ == LOG_MESSAGE_LINES_MAX)
            from = i;
    return text.len ? arena_strndup(b->a, text.data + from, text.len - from) : "";
}

static const char *termination_message(struct build *b, const struct cri_container *c)
{
    struct error err = { 0 };
    const char *uid = b->in->source_uid;
    struct bytes text = BYTES("");
    const char *path =
        arena_printf(b->a, "%s/%s/containers/%s/%u", b->in->pods_dir, uid, c->name, c->attempt);
    if (files_read(path, MESSAGE_BYTES_MAX, b->a, &text, &err) < 0 && err.code == ERR_TOO_LARGE)
        text = BYTES("");
    if (text.len)
        return text.data;
    const char *policy = cri_pairs_get(&c->annotations, ANNOTATION_MESSAGE_POLICY);
    if (str_equal(policy, "FallbackToLogsOnError") && c->exit_code != 0)
        return log_tail(b, c->log_path);
    return "";
}

/* ---- states ---- */

static void put_terminated(struct build *b, struct json *state, const struct cri_container *c)
{
    struct json *t = json_make(b->a, state, "terminated");
    json_put_int(b->a, t, "exitCode", c->exit_code);
    const char *reason = !str_empty(c->reason) ? c->reason
                         : c->exit_code == 0   ? "Completed"
                                               : "Error";
    json_put_str(b->a, t, "reason", reason);
    const char *message = termination_message(b, c);
    if (str_empty(message) && !str_empty(c->message))
        message = c->message;
    if (!str_empty(message))
        json_put_str(b->a, t, "message", message);
    /* One that never started has no start: upstream writes the epoch then. */
    put_time(b, t, "startedAt", c->started_ns > 0 ? c->started_ns : 0);
    put_time(b, t, "finishedAt", c->finished_ns > 0 ? c->finished_ns : 0);
    json_put_str(b->a, t, "containerID", arena_printf(b->a, "containerd://%s", c->id));
}

static void put_waiting(struct build *b, struct json *state, const char *reason,
                        const char *message)
{
    struct json *w = json_make(b->a, state, "waiting");
    json_put_str(b->a, w, "reason", reason);
    if (!str_empty(message))
        json_put_str(b->a, w, "message", message);
}

static bool is_exited(const struct cri_container *c)
{
    return c && (c->state == CRI_CONTAINER_EXITED || c->state == CRI_CONTAINER_UNKNOWN);
}

/* What the amounts of the spec are, as far as anybody has changed them: they cannot change here. */
static void put_resources(struct build *b, struct json *s, const struct json *spec)
{
    const struct json *amounts = json_get(spec, "resources");
    if (!json_len(amounts, ""))
        return;
    const struct json *requests = json_get(amounts, "requests");
    if (json_len(requests, ""))
        json_put(b->a, s, "allocatedResources", json_clone_value(requests, b->a));
    json_put(b->a, s, "resources", json_clone_value(amounts, b->a));
    json_drop(s, "resources.claims");
}

static void put_volume_mounts(struct build *b, struct json *s, const struct json *spec)
{
    if (!json_len(spec, "volumeMounts"))
        return;
    struct json *list = json_set_static(b->a, s, "volumeMounts", *json_new(b->a, JSON_ARRAY));
    json_each_item (json_get(spec, "volumeMounts"), mount) {
        struct json *m = json_append(b->a, list, *json_new(b->a, JSON_OBJECT));
        json_put_str(b->a, m, "name", json_str(mount, "name", ""));
        json_put_str(b->a, m, "mountPath", json_str(mount, "mountPath", ""));
        if (json_bool(mount, "readOnly", false)) {
            json_put_bool(b->a, m, "readOnly", true);
            json_put_str(b->a, m, "recursiveReadOnly", "Disabled");
        }
    }
}

/* One container's status; the newest of that name is what it is now, the one before what it was. */
static struct json *container_status(struct build *b, const struct json *spec,
                                     const char *waiting_default)
{
    struct arena *a = b->a;
    const char *name = json_str(spec, "name", "");
    const struct container_note *note = find_note(b->in, name);
    const struct cri_container *now = pod_state_container(b->in->state, name, 0);
    const struct cri_container *before = pod_state_container(b->in->state, name, 1);
    struct json *s = json_new(a, JSON_OBJECT);
    json_put_str(a, s, "name", name);
    struct json *state = json_new(a, JSON_OBJECT), *last = json_new(a, JSON_OBJECT);

    bool is_running = now && now->state == CRI_CONTAINER_RUNNING;
    if (is_running) {
        put_time(b, json_make(a, state, "running"), "startedAt", now->started_ns);
    } else if (is_exited(now) && !(note->reason && note->will_restart)) {
        put_terminated(b, state, now);
    } else {
        put_waiting(b, state, note->reason ? note->reason : waiting_default,
                    note->reason ? note->message : NULL);
        if (is_exited(now))
            before = now; /* it waits for its next start: what ended is history */
    }
    if (is_exited(before) && (before != now || json_get(state, "waiting")))
        put_terminated(b, last, before);
    json_put(a, s, "state", *state);
    json_put(a, s, "lastState", *last);
    json_put_bool(a, s, "ready", is_running && note->is_ready);
    json_put_int(a, s, "restartCount", now ? container_restart_count(now) : 0);
    json_put_str(a, s, "image", now ? now->image : json_str(spec, "image", ""));
    json_put_str(a, s, "imageID", now ? now->image_ref : "");
    if (now)
        json_put_str(a, s, "containerID", arena_printf(a, "containerd://%s", now->id));
    json_put_bool(a, s, "started", is_running && note->is_started);
    if (now) {
        put_resources(b, s, spec);
        put_volume_mounts(b, s, spec);
    }
    return s;
}

/* ---- lists ---- */

static void init_statuses(struct build *b, struct json *status)
{
    const struct json *specs = json_at(b->in->pod->doc, "spec.initContainers");
    if (!json_len(specs, ""))
        return;
    bool has_main = false;
    json_each_item (json_at(b->in->pod->doc, "spec.containers"), c)
        has_main |= pod_state_container(b->in->state, json_str(c, "name", ""), 0) != NULL;
    struct json *list =
        json_set_static(b->a, status, "initContainerStatuses", *json_new(b->a, JSON_ARRAY));
    json_each_item (specs, spec) {
        const char *name = json_str(spec, "name", "");
        const struct cri_container *now = pod_state_container(b->in->state, name, 0);
        struct json *s = container_status(b, spec, "PodInitializing");
        bool is_done;
        if (container_is_sidecar(spec)) {
            is_done = json_bool(s, "started", false) || (is_exited(now) && has_main);
        } else {
            is_done = is_exited(now) && now->exit_code == 0 && !json_at(s, "state.waiting");
            json_put_bool(b->a, s, "ready", is_done);
            json_put_bool(b->a, s, "started", now && now->state == CRI_CONTAINER_RUNNING);
            if (is_exited(now) && now->exit_code != 0 &&
                !container_restarts(b->in->pod, spec, true, now->exit_code))
                b->failed_init++;
        }
        /* Once main containers exist, initialization is over, whatever was cleaned up since. */
        if (!is_done && !has_main)
            b->pending_init++;
        json_append(b->a, list, *s);
    }
}

static void main_statuses(struct build *b, struct json *status)
{
    const char *waiting = json_len(b->in->pod->doc, "spec.initContainers") && b->pending_init
                              ? "PodInitializing"
                              : "ContainerCreating";
    struct json *list =
        json_set_static(b->a, status, "containerStatuses", *json_new(b->a, JSON_ARRAY));
    json_each_item (json_at(b->in->pod->doc, "spec.containers"), spec) {
        struct json *s = container_status(b, spec, waiting);
        if (json_at(s, "state.running")) {
            b->running++;
        } else if (json_at(s, "state.terminated")) {
            int code = (int)json_int(s, "state.terminated.exitCode", 1);
            b->stopped++;
            b->succeeded += code == 0;
            b->restarting += container_restarts(b->in->pod, spec, false, code);
        } else if (json_at(s, "lastState.terminated")) {
            b->stopped++;
            b->restarting++;
        } else {
            b->waiting++;
        }
        json_append(b->a, list, *s);
    }
    /* In the order of their names, as upstream. */
    for (uint32_t i = 1; i < list->len; i++)
        for (uint32_t j = i; j > 0 && strcmp(json_str(&list->items[j - 1], "name", ""),
                                             json_str(&list->items[j], "name", "")) > 0;
             j--) {
            struct json swapped = list->items[j];
            list->items[j] = list->items[j - 1];
            list->items[j - 1] = swapped;
        }
}

static void ephemeral_statuses(struct build *b, struct json *status)
{
    const struct json *specs = json_at(b->in->pod->doc, "spec.ephemeralContainers");
    if (!json_len(specs, ""))
        return;
    struct json *list =
        json_set_static(b->a, status, "ephemeralContainerStatuses", *json_new(b->a, JSON_ARRAY));
    json_each_item (specs, spec) {
        struct json *s = container_status(b, spec, "ContainerCreating");
        json_put_bool(b->a, s, "ready", false);
        json_remove(s, "started");
        json_append(b->a, list, *s);
    }
}

/* ---- phase and conditions ---- */

static const char *phase_of_main(const struct build *b)
{
    const char *old = json_str(b->old, "phase", "");
    if (b->in->failed_reason)
        return "Failed";
    if (str_equal(old, "Succeeded") || str_equal(old, "Failed"))
        return old; /* an end is final */
    if (b->failed_init)
        return "Failed";
    if (b->in->is_terminating && b->running == 0 && !pod_state_is_running(b->in->state))
        return b->stopped && b->succeeded == b->stopped && !b->waiting && !b->pending_init
                   ? "Succeeded"
                   : "Failed";
    if (b->pending_init || b->waiting)
        return "Pending";
    if (b->running || b->restarting)
        return "Running";
    if (b->stopped)
        return b->stopped == b->succeeded ? "Succeeded" : "Failed";
    return "Pending";
}

/* An end is shown only when nothing runs any more: sidecars are stopped after the others. */
static const char *phase(const struct build *b)
{
    const char *main = phase_of_main(b);
    bool is_end = str_equal(main, "Succeeded") || str_equal(main, "Failed");
    const char *old = json_str(b->old, "phase", "");
    if (!is_end || b->in->failed_reason || str_equal(old, main))
        return main;
    for (size_t i = 0; i < b->in->state->containers_n; i++)
        if (b->in->state->containers[i].state == CRI_CONTAINER_RUNNING)
            return "Running";
    return main;
}

struct condition {
    const char *type, *status, *reason, *message;
};

static struct json *find_condition(struct json *list, const char *type)
{
    for (uint32_t i = 0; i < list->len; i++)
        if (str_equal(json_str(&list->items[i], "type", ""), type))
            return &list->items[i];
    return NULL;
}

static void put_condition(struct build *b, struct json *list, struct condition c)
{
    struct json *to = find_condition(list, c.type);
    if (!to) {
        to = json_append(b->a, list, *json_new(b->a, JSON_OBJECT));
        json_put_str(b->a, to, "type", c.type);
        json_put(b->a, to, "lastProbeTime", *json_new(b->a, JSON_NULL));
    }
    if (!str_equal(json_str(to, "status", ""), c.status)) {
        json_put_str(b->a, to, "status", c.status);
        put_time(b, to, "lastTransitionTime", b->in->now_ns);
    }
    json_remove(to, "reason");
    json_remove(to, "message");
    if (c.reason)
        json_put_str(b->a, to, "reason", c.reason);
    if (c.message)
        json_put_str(b->a, to, "message", c.message);
    int64_t generation = object_generation(b->in->pod);
    if (generation)
        json_put_int(b->a, to, "observedGeneration", generation);
}

/* "[a b]" of the names in a status list for which FIELD is false. */
static const char *names_without(struct build *b, const struct json *list, bool only_sidecars)
{
    __attribute__((cleanup(buffer_scoped))) struct buffer text = { 0 };
    json_each_item (list, s) {
        if (json_bool(s, "ready", false))
            continue;
        if (only_sidecars) {
            const struct json *found = NULL;
            json_each_item (json_at(b->in->pod->doc, "spec.initContainers"), spec)
                if (str_equal(json_str(spec, "name", ""), json_str(s, "name", "")))
                    found = spec;
            if (!found || !container_is_sidecar(found))
                continue;
        }
        if (text.len)
            buffer_add_char(&text, ' ');
        buffer_add_str(&text, json_str(s, "name", ""));
    }
    return text.len ? arena_strndup(b->a, text.data, text.len) : NULL;
}

static struct condition containers_ready(struct build *b, const struct json *status)
{
    const char *now = json_str(status, "phase", "");
    struct condition c = { .type = "ContainersReady", .status = "False" };
    if (str_equal(now, "Succeeded")) {
        c.reason = "PodCompleted";
        return c;
    }
    if (str_equal(now, "Failed")) {
        c.reason = "PodFailed";
        return c;
    }
    const char *sidecars = names_without(b, json_get(status, "initContainerStatuses"), true);
    const char *names = names_without(b, json_get(status, "containerStatuses"), false);
    if (sidecars)
        names = names ? arena_printf(b->a, "%s %s", sidecars, names) : sidecars;
    if (!names) {
        c.status = "True";
        return c;
    }
    c.reason = "ContainersNotReady";
    c.message = arena_printf(b->a, "containers with unready status: [%s]", names);
    return c;
}

static struct condition pod_ready(struct build *b, const struct json *conditions,
                                  const struct condition *containers)
{
    struct condition c = *containers;
    c.type = "Ready";
    if (!str_equal(c.status, "True"))
        return c;
    json_each_item (json_at(b->in->pod->doc, "spec.readinessGates"), gate) {
        const char *type = json_str(gate, "conditionType", "");
        const struct json *found = find_condition((struct json *)conditions, type);
        if (found && str_equal(json_str(found, "status", ""), "True"))
            continue;
        c.status = "False";
        c.reason = "ReadinessGatesNotReady";
        c.message = arena_printf(b->a,
                                 found ? "the status of pod readiness gate \"%s\" is not \"True\", "
                                         "but %s"
                                       : "corresponding condition of pod readiness gate \"%s\" "
                                         "does not exist.",
                                 type, found ? json_str(found, "status", "") : "");
        return c;
    }
    return c;
}

static struct condition initialized(struct build *b, const struct json *status)
{
    struct condition c = { .type = "Initialized", .status = "True" };
    const char *now = json_str(status, "phase", "");
    if (str_equal(now, "Succeeded")) {
        c.reason = "PodCompleted";
        return c;
    }
    if (!b->pending_init)
        return c;
    c.status = "False";
    c.reason = "ContainersNotInitialized";
    const char *names = names_without(b, json_get(status, "initContainerStatuses"), false);
    c.message = arena_printf(b->a, "containers with incomplete status: [%s]", names ? names : "");
    return c;
}

static bool has_ready_sandbox(const struct pod_state *s)
{
    return s->sandbox && s->sandbox->is_ready && (s->sandbox->ips.n || s->sandbox->is_host_network);
}

static void put_conditions(struct build *b, struct json *status)
{
    const struct json *old = json_get(b->old, "conditions");
    struct json *list =
        json_set_static(b->a, status, "conditions",
                        old ? json_clone_value(old, b->a) : *json_new(b->a, JSON_ARRAY));
    struct condition containers = containers_ready(b, status);
    put_condition(
        b, list,
        (struct condition){ .type = "PodReadyToStartContainers",
                            .status = has_ready_sandbox(b->in->state) ? "True" : "False" });
    put_condition(b, list, initialized(b, status));
    put_condition(b, list, pod_ready(b, list, &containers));
    put_condition(b, list, containers);
    put_condition(b, list, (struct condition){ .type = "PodScheduled", .status = "True" });
}

static void put_addresses(struct build *b, struct json *status)
{
    struct arena *a = b->a;
    json_put_str(a, status, "hostIP", b->in->host_ip);
    struct json *hosts = json_set_static(a, status, "hostIPs", *json_new(a, JSON_ARRAY));
    json_put_str(a, json_append(a, hosts, *json_new(a, JSON_OBJECT)), "ip", b->in->host_ip);

    const struct cri_sandbox *sandbox = b->in->state->sandbox;
    const struct json *old = json_get(b->old, "podIPs");
    bool is_host_network = json_bool(b->in->pod->doc, "spec.hostNetwork", false);
    if (sandbox && is_host_network) {
        json_put_str(a, status, "podIP", b->in->host_ip);
        json_put(a, status, "podIPs", json_clone_value(hosts, a));
    } else if (sandbox && sandbox->ips.n) {
        json_put_str(a, status, "podIP", sandbox->ips.items[0]);
        struct json *ips = json_set_static(a, status, "podIPs", *json_new(a, JSON_ARRAY));
        for (size_t i = 0; i < sandbox->ips.n; i++)
            json_put_str(a, json_append(a, ips, *json_new(a, JSON_OBJECT)), "ip",
                         sandbox->ips.items[i]);
    } else if (json_len(old, "")) { /* a stopped sandbox forgets; the status remembers */
        json_put_str(a, status, "podIP", json_str(b->old, "podIP", ""));
        json_put(a, status, "podIPs", json_clone_value(old, a));
    }
}

struct json *pod_status_build(const struct pod_status_input *in, struct arena *a)
{
    struct build b = { .in = in, .a = a, .old = json_get(in->pod->doc, "status") };
    struct json *status = json_new(a, JSON_OBJECT);
    init_statuses(&b, status);
    main_statuses(&b, status);
    ephemeral_statuses(&b, status);
    json_put_str(a, status, "phase", phase(&b));
    put_conditions(&b, status);
    put_addresses(&b, status);

    const char *reason = in->failed_reason ? in->failed_reason : json_str(b.old, "reason", NULL);
    const char *message = in->failed_reason ? in->failed_message : json_str(b.old, "message", NULL);
    if (reason)
        json_put_str(a, status, "reason", reason);
    if (message)
        json_put_str(a, status, "message", message);
    const char *start = json_str(b.old, "startTime", NULL);
    if (start)
        json_put_str(a, status, "startTime", start);
    else
        put_time(&b, status, "startTime", in->now_ns);
    json_put_str(a, status, "qosClass", pod_qos_name(pod_qos(in->pod)));
    int64_t generation = object_generation(in->pod);
    if (generation)
        json_put_int(a, status, "observedGeneration", generation);
    static const char *const kept[] = { "nominatedNodeName", "resize", "resourceClaimStatuses" };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *v = json_get(b.old, kept[i]);
        if (v)
            json_put(a, status, kept[i], json_clone_value(v, a));
    }
    return status;
}

uint64_t pod_status_digest(const struct json *status)
{
    static const char *const types[] = { "PodReadyToStartContainers", "Initialized", "Ready",
                                         "ContainersReady" };
    uint64_t digest = bytes_hash(bytes_of(json_str(status, "phase", "")));
    json_each_item (json_get(status, "conditions"), condition) {
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
            char text[64];
            if (!str_equal(json_str(condition, "type", ""), types[i]))
                continue;
            snprintf(text, sizeof(text), "%s=%.20s", types[i], json_str(condition, "status", ""));
            digest += bytes_hash(bytes_of(text)); /* a sum: their order does not matter */
        }
    }
    return digest;
}
