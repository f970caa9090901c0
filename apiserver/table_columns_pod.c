/* SPDX-License-Identifier: Apache-2.0 */
/* table_columns_pod.c - what `kubectl get pods` says of a pod. */
#include "apiserver/table_columns_pod.h"

#include "base/clock.h"

static bool is_restartable_init(const struct json *pod, const char *name)
{
    json_each_item (json_at(pod, "spec.initContainers"), c) {
        if (str_equal(json_str(c, "name", ""), name))
            return str_equal(json_str(c, "restartPolicy", ""), "Always");
    }
    return false;
}

static bool has_condition(const struct json *pod, const char *type)
{
    json_each_item (json_at(pod, "status.conditions"), c) {
        if (str_equal(json_str(c, "type", ""), type))
            return str_equal(json_str(c, "status", ""), "True");
    }
    return false;
}

/* A restartable init container that has started no longer holds the others up. */
static bool is_through(const struct json *pod, const struct json *status)
{
    const struct json *terminated = json_at(status, "state.terminated");
    if (terminated)
        return json_int(terminated, "exitCode", 0) == 0;
    return is_restartable_init(pod, json_str(status, "name", "")) &&
           json_bool(status, "started", false);
}

static void print_init_status(const struct json *pod, const struct json *status, size_t index,
                              struct buffer *out)
{
    const struct json *terminated = json_at(status, "state.terminated");
    const char *waiting = json_str(status, "state.waiting.reason", "");
    buffer_clear(out);
    if (terminated && *json_str(terminated, "reason", ""))
        buffer_printf(out, "Init:%s", json_str(terminated, "reason", ""));
    else if (terminated && json_int(terminated, "signal", 0))
        buffer_printf(out, "Init:Signal:%lld", (long long)json_int(terminated, "signal", 0));
    else if (terminated)
        buffer_printf(out, "Init:ExitCode:%lld", (long long)json_int(terminated, "exitCode", 0));
    else if (*waiting && strcmp(waiting, "PodInitializing") != 0)
        buffer_printf(out, "Init:%s", waiting);
    else
        buffer_printf(out, "Init:%zu/%zu", index, json_len(pod, "spec.initContainers"));
}

/* The init container that the pod waits for or failed at; NULL when all are through. */
static const struct json *blocking_init(const struct json *pod, size_t *index)
{
    *index = 0;
    json_each_item (json_at(pod, "status.initContainerStatuses"), status) {
        if (!is_through(pod, status))
            return status;
        ++*index;
    }
    return NULL;
}

static void print_termination(const struct json *terminated, struct buffer *out)
{
    if (*json_str(terminated, "reason", ""))
        buffer_add_str(out, json_str(terminated, "reason", ""));
    else if (json_int(terminated, "signal", 0))
        buffer_printf(out, "Signal:%lld", (long long)json_int(terminated, "signal", 0));
    else
        buffer_printf(out, "ExitCode:%lld", (long long)json_int(terminated, "exitCode", 0));
}

/* Containers from last to first, so that the first one has the last word. */
static void print_container_status(const struct json *pod, struct buffer *out)
{
    const struct json *statuses = json_at(pod, "status.containerStatuses");
    scoped(buffer) struct buffer failure = { 0 };
    bool one_runs = false;
    for (size_t i = statuses ? statuses->len : 0; i-- > 0;) {
        const struct json *s = &statuses->items[i];
        const struct json *terminated = json_at(s, "state.terminated");
        const char *waiting = json_str(s, "state.waiting.reason", "");
        if (*waiting) {
            buffer_clear(out);
            buffer_add_str(out, waiting);
        } else if (terminated) {
            buffer_clear(out);
            print_termination(terminated, out);
            if (json_int(terminated, "exitCode", 0)) {
                buffer_clear(&failure);
                buffer_add_bytes(&failure, buffer_bytes(out));
            }
        } else if (json_bool(s, "ready", false) && json_at(s, "state.running")) {
            one_runs = true;
        }
    }
    if (!bytes_equal_str(buffer_bytes(out), "Completed"))
        return;
    if (one_runs || failure.len)
        buffer_clear(out);
    if (one_runs && has_condition(pod, "Ready"))
        buffer_add_str(out, "Running");
    else if (failure.len)
        buffer_add_bytes(out, buffer_bytes(&failure));
    else if (one_runs)
        buffer_add_str(out, "NotReady");
}

static bool is_gated(const struct json *pod)
{
    json_each_item (json_at(pod, "status.conditions"), c) {
        if (str_equal(json_str(c, "type", ""), "PodScheduled") &&
            str_equal(json_str(c, "reason", ""), "SchedulingGated"))
            return true;
    }
    return false;
}

void pod_print_status(const struct json *pod, struct buffer *out)
{
    const char *phase = json_str(pod, "status.phase", "");
    const char *reason = json_str(pod, "status.reason", "");
    size_t index;
    const struct json *blocking = blocking_init(pod, &index);
    buffer_add_str(out, is_gated(pod) ? "SchedulingGated" : *reason ? reason : phase);
    if (blocking)
        print_init_status(pod, blocking, index, out);
    if (!blocking || has_condition(pod, "Initialized"))
        print_container_status(pod, out);

    if (!json_at(pod, "metadata.deletionTimestamp"))
        return;
    bool is_lost = strcmp(reason, "NodeLost") == 0;
    if (!is_lost && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0))
        return;
    buffer_clear(out);
    buffer_add_str(out, is_lost ? "Unknown" : "Terminating");
}

void pod_print_ready(const struct json *pod, struct buffer *out)
{
    size_t total = json_len(pod, "spec.containers"), ready = 0;
    json_each_item (json_at(pod, "spec.initContainers"), c)
        total += str_equal(json_str(c, "restartPolicy", ""), "Always");
    json_each_item (json_at(pod, "status.initContainerStatuses"), s)
        ready += is_restartable_init(pod, json_str(s, "name", "")) &&
                 json_bool(s, "started", false) && json_bool(s, "ready", false);
    json_each_item (json_at(pod, "status.containerStatuses"), s)
        ready += json_bool(s, "ready", false) && json_at(s, "state.running") != NULL;
    buffer_printf(out, "%zu/%zu", ready, total);
}

struct restarts {
    int64_t count;
    int64_t last_ns; /* 0: not known */
};

static void add_restarts(struct restarts *r, const struct json *status)
{
    int64_t ns;
    const char *finished = json_str(status, "lastState.terminated.finishedAt", "");
    r->count += json_int(status, "restartCount", 0);
    if (*finished && time_parse(finished, &ns) == 0 && ns > r->last_ns)
        r->last_ns = ns;
}

void pod_print_restarts(const struct json *pod, int64_t now_ns, struct buffer *out)
{
    size_t index;
    bool is_initializing = blocking_init(pod, &index) && !has_condition(pod, "Initialized");
    struct restarts r = { 0 };
    json_each_item (json_at(pod, "status.initContainerStatuses"), s) {
        if (is_initializing || is_restartable_init(pod, json_str(s, "name", "")))
            add_restarts(&r, s);
    }
    if (!is_initializing)
        json_each_item (json_at(pod, "status.containerStatuses"), s)
            add_restarts(&r, s);
    buffer_add_int(out, r.count);
    if (!r.count || !r.last_ns)
        return;
    buffer_add_str(out, " (");
    print_human_duration(now_ns - r.last_ns, out);
    buffer_add_str(out, " ago)");
}

void pod_print_gates(const struct json *pod, struct buffer *out)
{
    size_t all = json_len(pod, "spec.readinessGates"), passed = 0;
    json_each_item (json_at(pod, "spec.readinessGates"), gate)
        passed += has_condition(pod, json_str(gate, "conditionType", ""));
    if (all)
        buffer_printf(out, "%zu/%zu", passed, all);
    else
        buffer_add_str(out, "<none>");
}
