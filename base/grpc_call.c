/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_call.c - what users of calls do on any thread: it is left for the loop to carry out. */
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/grpc_server_internal.h"

#define HELD_CALLS_MAX 64 /* wake a loop that a thread holds: it has work for a while */

_Thread_local struct grpc_server *grpc_held;

const struct tls_peer *grpc_call_peer(struct grpc_server_call *call)
{
    return &call->peer;
}

const void *grpc_call_data(struct grpc_server_call *call)
{
    return call->handler->data;
}

struct arena *grpc_call_arena(struct grpc_server_call *call)
{
    return call->arena;
}

const char *grpc_call_metadata(struct grpc_server_call *call, const char *name)
{
    for (size_t i = 0; i < call->metadata_n; i++) {
        if (str_equal(call->metadata[i].name, name))
            return call->metadata[i].value;
    }
    return NULL;
}

static void wake(struct grpc_server *s)
{
    eventfd_write(s->wake_fd, 1);
}

/* Under the call's lock, after which the loop may end the call, and with the last one the server.
 * So what is done with the server is done here. */
static void mark_dirty(struct grpc_server_call *call)
{
    struct grpc_server *s = call->server;
    if (call->is_dirty)
        return;
    call->is_dirty = true;
    call->next_dirty = NULL;
    pthread_mutex_lock(&s->lock);
    *s->dirty_last = call;
    s->dirty_last = &call->next_dirty;
    s->dirty_n++;
    bool must_wake = !s->is_woken && (grpc_held != s || s->dirty_n >= HELD_CALLS_MAX);
    s->is_woken |= must_wake;
    pthread_mutex_unlock(&s->lock);
    if (must_wake)
        wake(s);
}

static void queue(struct grpc_server_call *call, struct grpc_outbox *one, size_t len)
{
    atomic_fetch_add(&call->queued_bytes, len);
    pthread_mutex_lock(&call->lock);
    ensure(!grpc_call_is_finished(call));
    grpc_outbox_move(&call->pending, one);
    mark_dirty(call);
    pthread_mutex_unlock(&call->lock);
}

void grpc_call_send(struct grpc_server_call *call, struct bytes message)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add(&one, message);
    queue(call, &one, message.len + GRPC_FRAME_HEADER_BYTES);
}

void grpc_call_send_take(struct grpc_server_call *call, char *message, size_t len)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add_take(&one, message, len);
    queue(call, &one, len + GRPC_FRAME_HEADER_BYTES);
}

void grpc_call_send_shared(struct grpc_server_call *call, struct bytes start,
                           struct shared_bytes *rest)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add_shared(&one, start, rest);
    queue(call, &one, start.len + rest->len + GRPC_FRAME_HEADER_BYTES);
}

void grpc_call_send_header(struct grpc_server_call *call, size_t len)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add_header(&one, len);
    queue(call, &one, GRPC_FRAME_HEADER_BYTES);
}

void grpc_call_send_part_take(struct grpc_server_call *call, char *part, size_t len)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add_part_take(&one, part, len);
    queue(call, &one, len);
}

size_t grpc_call_queued_bytes(struct grpc_server_call *call)
{
    return atomic_load(&call->queued_bytes);
}

bool grpc_call_wait_room(struct grpc_server_call *call, size_t bytes, int timeout_ms)
{
    struct grpc_server *s = call->server;
    int64_t until_ns =
        timeout_ms < 0 ? INT64_MAX : clock_monotonic_ns(&system_clock) + timeout_ms * NS_PER_MS;
    pthread_cond_t room;
    cond_init(&room);
    pthread_mutex_lock(&s->lock);
    call->room = &room;
    while (!call->is_gone) {
        atomic_store(&call->room_below, bytes + 1); /* before the look: see send_data */
        if (grpc_call_queued_bytes(call) <= bytes || !cond_wait_until(&room, &s->lock, until_ns))
            break;
    }
    atomic_store(&call->room_below, 0);
    call->room = NULL;
    bool is_gone = call->is_gone;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&room);
    return !is_gone;
}

static void finish(struct grpc_server_call *call, struct grpc_outbox *last, enum grpc_status status,
                   const char *message)
{
    /* The call's arena is its user's until now and the loop's from here on. */
    const char *text = arena_strdup(call->arena, message);
    pthread_mutex_lock(&call->lock);
    ensure(!grpc_call_is_finished(call));
    grpc_outbox_move(&call->pending, last);
    call->status = status;
    call->message = text;
    atomic_store_explicit(&call->is_finished, true, memory_order_release);
    mark_dirty(call);
    pthread_mutex_unlock(&call->lock);
}

void grpc_call_finish(struct grpc_server_call *call, enum grpc_status status, const char *message)
{
    struct grpc_outbox none = { 0 };
    finish(call, &none, status, message);
}

void grpc_call_answer(struct grpc_server_call *call, struct bytes message)
{
    struct grpc_outbox one = { 0 };
    grpc_outbox_add(&one, message);
    atomic_fetch_add(&call->queued_bytes, message.len + GRPC_FRAME_HEADER_BYTES);
    finish(call, &one, GRPC_OK, NULL);
}

void grpc_server_hold(struct grpc_server *s)
{
    grpc_held = s;
}

void grpc_server_release(struct grpc_server *s)
{
    grpc_held = NULL;
    pthread_mutex_lock(&s->lock);
    bool must_wake = s->dirty && !s->is_woken;
    s->is_woken |= must_wake;
    pthread_mutex_unlock(&s->lock);
    if (must_wake)
        wake(s);
}
