/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_watch.c - the runtime's exits, turned into keys for the pod worker. */
#include "kubelet/runtime_watch.h"

#include <time.h>

#include "base/log.h"
#include "kubelet/pod_labels.h"

#define SETTLE_MS      5
#define SETTLE_MAX     40 /* 200 ms of waiting; then LATE_MS later once more */
#define SETTLE_LATE_MS 1000

struct runtime_watch {
    struct pod_worker *worker;
    struct cri_events *events;
    bool was_connected;
};

/* An exit event can be faster than the runtime's own book-keeping, by a moment: a container that
 * has ended is still CREATED or RUNNING when its event arrives.  *IS_SETTLED tells whether the
 * runtime agrees by now that it has ended.  The pod's uid, NULL: not one of ours. */
static const char *uid_of_ended(struct cri_client *cri, const char *id, struct arena *a,
                                bool *is_settled)
{
    const struct timespec pause = { 0, SETTLE_MS * 1000000L };
    struct error err = { 0 };
    struct cri_container c;
    for (int i = 0; cri_container_status(cri, id, a, &c, &err) == 0; i++) {
        *is_settled = c.state == CRI_CONTAINER_EXITED;
        if (*is_settled || i == SETTLE_MAX)
            return cri_pairs_get(&c.labels, LABEL_POD_UID);
        nanosleep(&pause, NULL);
    }
    struct cri_sandbox s;
    for (int i = 0; cri_sandbox_status(cri, id, a, &s, &err) == 0; i++) {
        *is_settled = !s.is_ready;
        if (*is_settled || i == SETTLE_MAX)
            return s.uid;
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void on_event(enum cri_event_type type, const char *container_id, void *arg)
{
    struct runtime_watch *r = arg;
    if (type == CRI_EVENT_CONTAINER_OOM) {
        log_warn("kubelet", "container %s ran out of memory", container_id);
        return; /* its exit follows, with the reason */
    }
    scoped(arena) struct arena *a = arena_new();
    bool is_settled;
    const char *uid = uid_of_ended(r->worker->k->cri, container_id, a, &is_settled);
    if (!uid)
        return;
    pod_worker_wake(r->worker, uid);
    if (!is_settled)
        pod_worker_wake_after(r->worker, uid, SETTLE_LATE_MS);
}

static void on_connected(void *arg)
{
    struct runtime_watch *r = arg;
    if (r->was_connected)
        pod_worker_wake_all(r->worker); /* exits meanwhile were not told */
    r->was_connected = true;
}

struct runtime_watch *runtime_watch_start(struct pod_worker *w, const char *endpoint,
                                          struct error *err)
{
    struct runtime_watch *r = xcalloc(1, sizeof(*r));
    r->worker = w;
    r->events = cri_events_open(endpoint, on_event, on_connected, r, err);
    if (r->events)
        return r;
    free(r);
    return NULL;
}

void runtime_watch_stop(struct runtime_watch *r)
{
    if (!r)
        return;
    cri_events_close(r->events);
    free(r);
}
