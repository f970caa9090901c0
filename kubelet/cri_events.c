/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_events.c - exits as they happen, from containerd's events service or from CRI's.
 *
 * containerd 1.6 has no GetContainerEvents; its own stream is there in every release.  Another
 * runtime says that it does not know that service, and is asked for CRI's.
 */
#include "kubelet/cri_wire.h"

#include <pthread.h>

#include "base/cond.h"
#include "base/log.h"
#include "kubelet/containerd_events.pb-c.h"
#include "kubelet/cri.pb-c.h"

#define RECONNECT_FIRST_MS 500
#define RECONNECT_MAX_MS   30000

struct cri_events {
    struct grpc_channel *channel;
    void (*event)(enum cri_event_type type, const char *container_id, void *arg);
    void (*connected)(void *arg);
    void *arg;
    pthread_t thread;
    bool speaks_cri; /* the thread's */
    int wait_ms;     /* the thread's: until the next connection */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool is_closing;
    struct grpc_stream *stream; /* NULL between connections */
};

static void handle(struct cri_events *e, struct bytes message, struct arena *a)
{
    const Ctd__Envelope *envelope =
        (const Ctd__Envelope *)cri_unpack(&ctd__envelope__descriptor, message, a);
    if (!envelope || !envelope->event)
        return;
    struct bytes body = { (const char *)envelope->event->value.data, envelope->event->value.len };
    if (str_equal(envelope->topic, "/tasks/delete")) {
        const Ctd__TaskDelete *ended =
            (const Ctd__TaskDelete *)cri_unpack(&ctd__task_delete__descriptor, body, a);
        if (ended)
            e->event(CRI_EVENT_CONTAINER_EXITED, ended->container_id, e->arg);
    } else if (str_equal(envelope->topic, "/tasks/oom")) {
        const Ctd__TaskOOM *oom =
            (const Ctd__TaskOOM *)cri_unpack(&ctd__task_oom__descriptor, body, a);
        if (oom)
            e->event(CRI_EVENT_CONTAINER_OOM, oom->container_id, e->arg);
    }
}

static void handle_cri(struct cri_events *e, struct bytes message, struct arena *a)
{
    const Cri__ContainerEventResponse *event = (const Cri__ContainerEventResponse *)cri_unpack(
        &cri__container_event_response__descriptor, message, a);
    if (event && event->container_event_type == CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT)
        e->event(CRI_EVENT_CONTAINER_EXITED, event->container_id, e->arg);
}

/* Not /tasks/exit: containerd's CRI deletes the task of what has exited, and only then says that it
 * has exited. */
static struct bytes subscription(struct arena *a)
{
    static char *filters[] = {
        (char *)"namespace==k8s.io,topic==\"/tasks/delete\"",
        (char *)"namespace==k8s.io,topic==\"/tasks/oom\"",
    };
    Ctd__SubscribeRequest request = CTD__SUBSCRIBE_REQUEST__INIT;
    request.filters = filters;
    request.n_filters = ARRAY_LEN(filters);
    return cri_pack(&request.base, a);
}

static struct grpc_stream *connect_stream(struct cri_events *e, struct error *err)
{
    static const char ctd[] = "/containerd.services.events.v1.Events/Subscribe";
    static const char cri[] = "/runtime.v1.RuntimeService/GetContainerEvents";
    struct grpc_call_options options = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct grpc_stream *stream =
        grpc_stream_open(e->channel, e->speaks_cri ? cri : ctd, &options, err);
    if (!stream)
        return NULL;
    if (grpc_stream_send(stream, e->speaks_cri ? BYTES("") : subscription(a), err) < 0) {
        grpc_stream_close(stream);
        return NULL;
    }
    grpc_stream_end_send(stream);
    return stream;
}

static void receive_all(struct cri_events *e, struct grpc_stream *stream)
{
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct bytes message;
    int rc;
    while ((rc = grpc_stream_receive(stream, a, &message, &err)) > 0) {
        e->wait_ms = RECONNECT_FIRST_MS;
        if (e->speaks_cri)
            handle_cri(e, message, a);
        else
            handle(e, message, a);
        arena_reset(a);
    }
    if (rc < 0)
        log_debug("kubelet", "event stream of the runtime: %s", err.message);
    if (grpc_stream_status(stream) == GRPC_UNIMPLEMENTED)
        e->speaks_cri = !e->speaks_cri;
}

static void wait_a_little(struct cri_events *e)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + e->wait_ms * NS_PER_MS;
    e->wait_ms = e->wait_ms * 2 < RECONNECT_MAX_MS ? e->wait_ms * 2 : RECONNECT_MAX_MS;
    pthread_mutex_lock(&e->lock);
    if (!e->is_closing)
        cond_wait_until(&e->wake, &e->lock, until_ns);
    pthread_mutex_unlock(&e->lock);
}

static void *run(void *arg)
{
    struct cri_events *e = arg;
    for (;;) {
        struct error err = { 0 };
        struct grpc_stream *stream = connect_stream(e, &err);
        pthread_mutex_lock(&e->lock);
        bool is_closing = e->is_closing;
        e->stream = stream;
        pthread_mutex_unlock(&e->lock);
        if (stream && !is_closing) {
            e->connected(e->arg);
            receive_all(e, stream);
        }
        pthread_mutex_lock(&e->lock);
        e->stream = NULL;
        is_closing = e->is_closing;
        pthread_mutex_unlock(&e->lock);
        if (stream)
            grpc_stream_close(stream);
        if (is_closing)
            return NULL;
        wait_a_little(e);
    }
}

struct cri_events *cri_events_open(const char *endpoint,
                                   void (*event)(enum cri_event_type type, const char *container_id,
                                                 void *arg),
                                   void (*connected)(void *arg), void *arg, struct error *err)
{
    /* A channel of its own: a stream that lives for months should not share flow control with
     * calls. */
    struct grpc_channel *channel = grpc_channel_new(endpoint, NULL, err);
    if (!channel)
        return NULL;
    struct cri_events *e = xcalloc(1, sizeof(*e));
    *e = (struct cri_events){
        .channel = channel,
        .event = event,
        .connected = connected,
        .arg = arg,
        .wait_ms = RECONNECT_FIRST_MS,
    };
    pthread_mutex_init(&e->lock, NULL);
    cond_init(&e->wake);
    if (pthread_create(&e->thread, NULL, run, e) != 0) {
        error_set(err, ERR_INTERNAL, "start the thread for runtime events");
        grpc_channel_free(channel);
        free(e);
        return NULL;
    }
    return e;
}

void cri_events_close(struct cri_events *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->is_closing = true;
    if (e->stream)
        grpc_stream_cancel(e->stream);
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    grpc_channel_free(e->channel);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e);
}
