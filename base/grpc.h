/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.h - gRPC framing over HTTP/2 (nghttp2), both sides.  Messages are bytes: packing is the
 * caller's.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/tls.h"

#define GRPC_MESSAGE_BYTES_MAX (16 * 1024 * 1024)

enum grpc_status { /* the numbers of the protocol */
                   GRPC_OK = 0,
                   GRPC_CANCELLED = 1,
                   GRPC_UNKNOWN = 2,
                   GRPC_INVALID_ARGUMENT = 3,
                   GRPC_DEADLINE_EXCEEDED = 4,
                   GRPC_NOT_FOUND = 5,
                   GRPC_ALREADY_EXISTS = 6,
                   GRPC_PERMISSION_DENIED = 7,
                   GRPC_RESOURCE_EXHAUSTED = 8,
                   GRPC_FAILED_PRECONDITION = 9,
                   GRPC_ABORTED = 10,
                   GRPC_OUT_OF_RANGE = 11,
                   GRPC_UNIMPLEMENTED = 12,
                   GRPC_INTERNAL = 13,
                   GRPC_UNAVAILABLE = 14,
                   GRPC_DATA_LOSS = 15,
                   GRPC_UNAUTHENTICATED = 16,
};
const char *grpc_status_name(enum grpc_status status); /* "NotFound", as clients in Go print it */

/* ---- client.  Threads: any; calls share one connection, which is made anew when lost ---- */

struct grpc_channel;

struct grpc_channel_config {
    const char *target; /* "unix:/run/containerd/containerd.sock" or "host:port" */
    struct tls *tls;
    int connect_timeout_ms;   /* 0: 10 seconds */
    size_t message_bytes_max; /* of what the peer may send; 0: GRPC_MESSAGE_BYTES_MAX */
    /* A peer with calls open that is silent for PING_AFTER_MS is asked whether it is there, and
     * after a second already if it owes an answer for which nobody waits; if it stays silent for
     * PING_TIMEOUT_MS more, the connection is given up.  It is not asked twice within
     * PING_AFTER_MS.  0: never. */
    int ping_after_ms, ping_timeout_ms;
};
struct grpc_channel *grpc_channel_open(const struct grpc_channel_config *config, struct error *err);
/* With the defaults. */
struct grpc_channel *grpc_channel_new(const char *target, struct tls *tls, struct error *err);
void grpc_channel_free(struct grpc_channel *c);

struct grpc_metadata {
    const char *name;
    const char *value;
};

struct grpc_call_options {
    int timeout_ms; /* 0: none */
    const struct grpc_metadata *metadata;
    size_t metadata_n;
};

/* One request, one response (its bytes in ARENA).  The error's message is the peer's grpc-message
 * and *STATUS (may be NULL) its code; ERR_UNAVAILABLE when there is no connection. */
must_check int grpc_unary(struct grpc_channel *c, const char *method, struct bytes request,
                          const struct grpc_call_options *options, struct arena *arena,
                          struct bytes *response, enum grpc_status *status, struct error *err);

/* Streams, both directions. */
struct grpc_stream;
struct grpc_stream *grpc_stream_open(struct grpc_channel *c, const char *method,
                                     const struct grpc_call_options *options, struct error *err);
must_check int grpc_stream_send(struct grpc_stream *s, struct bytes message, struct error *err);
void grpc_stream_end_send(struct grpc_stream *s);
/* 1: a message is in *OUT (in ARENA); 0: the peer ended with OK; -1: failed or ended with an error.
 */
must_check int grpc_stream_receive(struct grpc_stream *s, struct arena *arena, struct bytes *out,
                                   struct error *err);
enum grpc_status
grpc_stream_status(struct grpc_stream *s);      /* the peer's, after a receive that gave 0 or -1 */
void grpc_stream_cancel(struct grpc_stream *s); /* wakes the receiver; Threads: any */
void grpc_stream_close(struct grpc_stream *s);

/* The same without waiting: what happens is told on the channel's thread, which must not block. */
struct grpc_events {
    void (*message)(struct bytes message, void *arg); /* the bytes live for the call */
    /* Once, and the last; ERR's code is ERR_NONE when the peer ended with OK.  NOT_SENT: the peer
     * has certainly not acted on the call.  The channel is still there. */
    void (*end)(enum grpc_status status, bool not_sent, const struct error *err, void *arg);
    void *arg;
};
/* END comes in every case, also when it is canceled or the channel is freed before.  To be closed
 * in END at the latest, while the channel is still there. */
struct grpc_stream *grpc_stream_start(struct grpc_channel *c, const char *method,
                                      const struct grpc_call_options *options,
                                      const struct grpc_events *events);
/* One request, and MESSAGE at most once before END. */
void grpc_unary_start(struct grpc_channel *c, const char *method, struct bytes request,
                      const struct grpc_call_options *options, const struct grpc_events *events);

/* ---- server: handlers run on the server's loop thread and must not block; answers from any thread
 * ---- */

struct grpc_server;
struct grpc_server_call; /* valid until finished by grpc_call_finish() */

struct grpc_server_handler { /* one per method */
    const char *method;      /* "/etcdserverpb.KV/Range" */
    /* A new call; returns what the callbacks below get as STATE.  No callback starts once the call
     * is finished.  The message's bytes live for the callback. */
    void *(*open)(struct grpc_server_call *call, void *arg);
    void (*message)(struct grpc_server_call *call, struct bytes message, void *state);
    void (*half_close)(struct grpc_server_call *call, void *state); /* the client has sent all */
    void (*close)(struct grpc_server_call *call,
                  void *state); /* the client is gone; still finish it */
    void (*release)(
        void *state); /* the last callback: the call is finished and its stream closed */
    const void *data; /* for grpc_call_data() */
};
struct grpc_server_config {
    const char *bind_address; /* "127.0.0.1", "unix:/path" */
    int port;
    struct tls *tls;
    const struct grpc_server_handler *handlers;
    size_t handlers_n;
    /* Who speaks HTTP/1.1 to the same port and asks for PATH (health checks, metrics): fills BODY
     * and returns its content type; NULL: 404.  On the loop.  Without it such clients are dropped.
     */
    const char *(*http_get)(const char *path, const struct tls_peer *peer, struct buffer *body,
                            void *arg);
    /* After the messages that one look at the sockets has brought.  NULL: nobody asks. */
    void (*turn_end)(void *arg);
    void *arg;
};
struct grpc_server *grpc_server_start(const struct grpc_server_config *config, struct error *err);
int grpc_server_port(const struct grpc_server *s);
/* Closes all connections; returns once every call was finished. */
void grpc_server_stop(struct grpc_server *s);
const struct tls_peer *grpc_call_peer(struct grpc_server_call *call);
const void *grpc_call_data(struct grpc_server_call *call); /* its handler's */
/* Its user's until the call is finished; what is in it stays until release(). */
struct arena *grpc_call_arena(struct grpc_server_call *call);
const char *grpc_call_metadata(struct grpc_server_call *call, const char *name);
/* Threads: any. */
void grpc_call_send(struct grpc_server_call *call, struct bytes message);           /* copied */
void grpc_call_send_take(struct grpc_server_call *call, char *message, size_t len); /* malloc'ed */
/* START, copied, and REST are one message: what many calls are sent is there once. */
void grpc_call_send_shared(struct grpc_server_call *call, struct bytes start,
                           struct shared_bytes *rest);
/* One message of LEN bytes in parts, each malloc'ed; nothing else is sent in between. */
void grpc_call_send_header(struct grpc_server_call *call, size_t len);
void grpc_call_send_part_take(struct grpc_server_call *call, char *part, size_t len);
size_t grpc_call_queued_bytes(struct grpc_server_call *call);
/* Waits, not on the loop, until no more than BYTES are queued or TIMEOUT_MS (< 0: none) have
 * passed. False: the client is gone.  One thread a call. */
bool grpc_call_wait_room(struct grpc_server_call *call, size_t bytes, int timeout_ms);
/* The last use of CALL, once and always; MESSAGE may be NULL. */
void grpc_call_finish(struct grpc_server_call *call, enum grpc_status status, const char *message);
/* grpc_call_send() and grpc_call_finish() with GRPC_OK. */
void grpc_call_answer(struct grpc_server_call *call, struct bytes message);

/* From hold to release the loop is not woken for every single thing that this thread sends, so that
 * what goes to one connection goes out together.  Short work in between, please: nothing may block.
 */
void grpc_server_hold(struct grpc_server *s);
void grpc_server_release(struct grpc_server *s);
