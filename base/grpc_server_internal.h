/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_server_internal.h - what the loop (grpc_server.c) and the users of calls (grpc_call.c)
 * share. */
#pragma once

#include <pthread.h>

#include "base/grpc_wire.h"
#include "base/hashmap.h"

#ifdef __SANITIZE_ADDRESS__
#define SPARE_ARENAS 1 /* who uses a call after its end shall be found */
#else
#define SPARE_ARENAS 256
#endif

struct connection {
    struct grpc_server *server;
    struct grpc_link link;
    struct arena *arena;
    struct tls_peer peer;
    bool knows_peer;
    bool is_touched;   /* has something to write, or to be closed for */
    bool is_doomed;    /* closed at the end of the turn */
    bool has_answered; /* in HTTP/1.1: closed once that is written */
    uint32_t events;   /* what epoll watches for */
    struct grpc_server_call *calls;
    struct connection *prev, *next; /* server->connections */
    struct connection *next_touched;
};

struct grpc_server_call {
    struct grpc_server *server;
    struct arena *arena;

    pthread_mutex_t lock; /* guards what follows; before the server's */
    struct grpc_outbox pending;
    atomic_bool is_finished; /* may be looked at without */
    bool is_dirty;           /* it is in the server's list */
    enum grpc_status status;

    /* guarded by server->lock */
    bool is_gone;
    pthread_cond_t *room; /* of who waits: the queue is short enough, or the client left */
    struct grpc_server_call *next_dirty;

    atomic_size_t queued_bytes;
    atomic_size_t room_below; /* who waits wants fewer to be queued; 0: nobody waits */

    /* the loop's */
    struct connection *connection; /* NULL once the stream is closed */
    int32_t id;
    const struct grpc_server_handler *handler;
    void *state;
    const char *method, *content_type, *message;
    struct grpc_metadata *metadata;
    size_t metadata_n, metadata_capacity, metadata_bytes;
    struct tls_peer peer;
    struct grpc_deframer deframer;
    struct grpc_outbox sending;
    bool is_open, has_head, has_half_closed, is_ending;
    struct grpc_server_call *prev, *next; /* connection->calls */
};

struct grpc_server {
    struct hashmap handlers;
    struct grpc_server_handler *handler_list;
    const char *(*http_get)(const char *path, const struct tls_peer *peer, struct buffer *body,
                            void *arg);
    void (*turn_end)(void *arg);
    void *arg;
    struct tls *tls;
    int port, listen_fd, epoll_fd, wake_fd;
    pthread_t thread;

    /* the loop's */
    struct connection *connections, *touched;
    size_t connections_n, calls_n;
    struct arena *spare[SPARE_ARENAS]; /* of calls that are over: most calls are short */
    size_t spare_n;
    bool is_accepting;

    pthread_mutex_t lock; /* guards what follows, and a little of each call */
    struct grpc_server_call *dirty, **dirty_last;
    size_t dirty_n;
    bool is_woken; /* the loop will look at the list */
    bool is_stopping;
};

/* From then on no callback runs any more. */
static inline bool grpc_call_is_finished(struct grpc_server_call *call)
{
    return atomic_load_explicit(&call->is_finished, memory_order_acquire);
}

/* The server whose loop this thread does not wake for the moment; the loop itself need not at all
 * while it is about to look. */
extern _Thread_local struct grpc_server *grpc_held;
