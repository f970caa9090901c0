/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_events.c - exits as they happen, from containerd's events service.
 *
 * containerd 1.6 has no GetContainerEvents; its own stream is there in every release.
 */
#include "kubelet/cri_wire.h"

#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "kubelet/containerd_events.pb-c.h"

#define RECONNECT_MS 500

struct cri_events {
    struct grpc_channel *channel;
    void (*event)(enum cri_event_type type, const char *container_id, void *arg);
    void (*connected)(void *arg);
    void *arg;
    pthread_t thread;

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
    if (str_equal(envelope->topic, "/tasks/exit")) {
        const Ctd__TaskExit *exit =
            (const Ctd__TaskExit *)cri_unpack(&ctd__task_exit__descriptor, body, a);
        if (exit && str_equal(exit->container_id, exit->id))
            e->event(CRI_EVENT_CONTAINER_EXITED, exit->container_id, e->arg);
    } else if (str_equal(envelope->topic, "/tasks/oom")) {
        const Ctd__TaskOOM *oom =
            (const Ctd__TaskOOM *)cri_unpack(&ctd__task_oom__descriptor, body, a);
        if (oom)
            e->event(CRI_EVENT_CONTAINER_OOM, oom->container_id, e->arg);
    }
}

static struct grpc_stream *connect_stream(struct cri_events *e, struct error *err)
{
    struct grpc_call_options options = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct grpc_stream *stream = grpc_stream_open(
        e->channel, "/containerd.services.events.v1.Events/Subscribe", &options, err);
    if (!stream)
        return NULL;
    static char *filters[] = {
        (char *)"namespace==k8s.io,topic==\"/tasks/exit\"",
        (char *)"namespace==k8s.io,topic==\"/tasks/oom\"",
    };
    Ctd__SubscribeRequest request = CTD__SUBSCRIBE_REQUEST__INIT;
    request.filters = filters;
    request.n_filters = ARRAY_LEN(filters);
    if (grpc_stream_send(stream, cri_pack(&request.base, a), err) < 0) {
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
        handle(e, message, a);
        arena_reset(a);
    }
    if (rc < 0)
        log_debug("kubelet", "event stream of the runtime: %s", err.message);
}

static void wait_a_little(struct cri_events *e)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += RECONNECT_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&e->lock);
    if (!e->is_closing)
        pthread_cond_timedwait(&e->wake, &e->lock, &until);
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
        .channel = channel, .event = event, .connected = connected, .arg = arg
    };
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
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
