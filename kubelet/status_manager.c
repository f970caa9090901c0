/* SPDX-License-Identifier: Apache-2.0 */
/* status_manager.c - a pod's status into the API, and events about it. */
#include <stdarg.h>

#include "base/log.h"
#include "kubelet/pod_labels.h"
#include "kubelet/pod_sync.h"
#include "kubelet/probe.h"

#define CONFLICT_TRIES_MAX 5
#define MESSAGE_BYTES_MAX  1024

/* The object that the API has of this pod: itself, or the mirror of a static one. */
static struct object *api_object(struct pod_sync *s)
{
    if (!s->is_static)
        return object_ref(s->pod);
    struct object *mirror = informer_get(s->k->pods, &s->pod->key);
    if (mirror && !object_annotation(mirror, ANNOTATION_CONFIG_MIRROR)) {
        object_unref(mirror);
        return NULL;
    }
    return mirror;
}

struct object *pod_with_status(struct pod_sync *s, struct object *pod)
{
    s->pod = pod;
    scoped(object) struct object *mirror = pod && s->is_static ? api_object(s) : NULL;
    const struct json *status = mirror ? json_get(mirror->doc, "status") : NULL;
    if (!status || !str_equal(object_annotation(mirror, ANNOTATION_CONFIG_MIRROR), pod->uid))
        return object_ref(pod);
    struct arena *a = arena_new();
    struct json *doc = json_clone(pod->doc, a);
    json_put(a, doc, "status", json_clone_value(status, a));
    return draft_publish(draft_from_take(pod->resource, a, doc), 0);
}

static void add_notes(struct pod_sync *s, const char *list, bool is_init,
                      struct pod_status_input *in, struct container_note *notes)
{
    json_each_item (json_get(json_get(s->pod->doc, "spec"), list), spec) {
        const char *name = json_str(spec, "name", "");
        struct container_memory *m = container_memory(s->entry, name);
        const struct cri_container *c = pod_state_container(&s->state, name, 0);
        struct probe_verdict verdict = { .is_started = true, .is_ready = true };
        if (c && c->state == CRI_CONTAINER_RUNNING)
            probes_verdict(s->k->probes, spec, c->id, s->a, &verdict);
        notes[in->notes_n++] = (struct container_note){
            .name = name,
            .reason = m->reason,
            .message = m->message,
            .is_ready = verdict.is_ready,
            .is_started = verdict.is_started,
            .will_restart = !c || container_restarts(s->pod, spec, is_init, c->exit_code),
        };
    }
}

static struct json *build(struct pod_sync *s, const struct object *pod, bool is_terminating)
{
    const struct json *spec = json_get(s->pod->doc, "spec");
    size_t n = json_len(spec, "containers") + json_len(spec, "initContainers") +
               json_len(spec, "ephemeralContainers");
    struct container_note *notes = arena_zalloc(s->a, (n + 1) * sizeof(*notes));
    struct pod_status_input in = {
        .pod = pod,
        .state = &s->state,
        .notes = notes,
        .host_ip = s->k->node_ip,
        .pods_dir = s->k->pods_dir,
        .now_ns = clock_wall_ns(s->k->clock),
        .is_terminating = is_terminating,
        .failed_reason = s->entry->failed_reason,
        .failed_message = s->entry->failed_message,
        .source_uid = s->pod->uid,
    };
    add_notes(s, "containers", false, &in, notes);
    add_notes(s, "initContainers", true, &in, notes);
    add_notes(s, "ephemeralContainers", false, &in, notes);
    return pod_status_build(&in, s->a);
}

/* What upstream's API object says after a status write of its kubelet: everything but the status as
 * it was. */
static int write_status(struct pod_sync *s, const struct object *pod, const struct json *status,
                        struct error *err)
{
    struct json *doc = json_clone(pod->doc, s->a);
    json_put(s->a, doc, "status", *status);
    return client_update_status(s->k->client, &resources[RESOURCE_PODS], &pod->key, doc, NULL, err);
}

/* Replaces *POD by a newer version that has come meanwhile; false if there is none. */
static bool take_newest(struct pod_sync *s, struct object **pod)
{
    scoped(object) struct object *newest =
        s->is_static ? api_object(s) : pod_worker_newest(s->entry->worker, s->entry);
    if (!newest || newest->resource_version <= (*pod)->resource_version)
        return false;
    object_unref(*pod);
    *pod = take_ptr(&newest);
    return true;
}

const char *status_update(struct pod_sync *s, bool is_terminating)
{
    scoped(object) struct object *pod = api_object(s);
    struct json *status = build(s, pod ? pod : s->pod, is_terminating);
    const char *phase = json_str(status, "phase", "");
    if (cri_client_is_interrupted(s->k->cri))
        return phase; /* what failed for our own end is nobody's status */
    for (int try = 0; pod && try < CONFLICT_TRIES_MAX; try++) {
        /* First what we say, then what there is: an event that comes in between is seen to say
         * something else (pod_worker_note), one that came before is in the newest.  A view older
         * than our own last write may equal STATUS, which would then never be written. */
        pod_worker_says(s->entry->worker, s->entry, status);
        if (take_newest(s, &pod))
            status = build(s, pod, is_terminating);
        if (json_equal(status, json_get(pod->doc, "status")))
            return phase;
        struct error err = { 0 };
        if (write_status(s, pod, status, &err) == 0 || err.code == ERR_NOT_FOUND)
            return phase;
        if (err.code != ERR_CONFLICT) {
            log_warn("kubelet", "status of pod %s/%s: %s", pod->key.ns, pod->key.name, err.message);
            s->needs_retry = true;
            return phase;
        }
        struct object *newer = NULL;
        if (client_get(s->k->client, &resources[RESOURCE_PODS], &pod->key, &newer, &err) < 0) {
            if (err.code != ERR_NOT_FOUND)
                s->needs_retry = true;
            return phase;
        }
        bool is_same = str_equal(newer->uid, pod->uid);
        object_unref(pod);
        pod = newer;
        if (!is_same)
            return phase;
        status = build(s, pod, is_terminating);
        phase = json_str(status, "phase", "");
    }
    if (pod) /* others write it faster than we can */
        s->needs_retry = true;
    return phase;
}

void status_delete_pod(struct pod_sync *s)
{
    struct error err = { 0 };
    struct client_delete_options options = { .grace_period_s = 0, .uid = s->pod->uid };
    if (client_delete(s->k->client, &resources[RESOURCE_PODS], &s->pod->key, &options, &err) < 0 &&
        err.code != ERR_NOT_FOUND && err.code != ERR_CONFLICT) {
        log_warn("kubelet", "delete pod %s/%s: %s", s->pod->key.ns, s->pod->key.name, err.message);
        s->entry->is_finished = false;
        s->needs_retry = true;
    }
}

void pod_event(struct pod_sync *s, const char *container, const char *type, const char *reason,
               const char *fmt, ...)
{
    char message[MESSAGE_BYTES_MAX];
    if (cri_client_is_interrupted(s->k->cri))
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    const char *path = container ? container_field_path(s->pod, container, s->a) : NULL;
    if (path)
        event_record_field(s->k->events, s->pod, path, type, reason, "%s", message);
    else
        event_record(s->k->events, s->pod, type, reason, "%s", message);
}
