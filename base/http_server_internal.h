/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server_internal.h - what the files of the HTTP server share: loops, connections, handles.
 *
 * Everything that touches libh2o runs on the loop thread that owns the connection.  Other threads
 * leave a letter in the loop's mailbox:
 *
 *     worker --struct mail--> server_loop.mailbox --> loop thread --> h2o_req_t
 *
 * A handle (request, stream, socket) outlives its h2o_req_t: libh2o disposes of that one when the
 * client leaves, and the handle's h2o pointer becomes NULL then.
 */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define H2O_USE_LIBUV 0 /* its headers do not know for which loop the library was built */
#include <h2o.h>
#include <h2o/http1.h>

#include "base/http_server.h"

#define LOOPS_MAX           64
#define STREAM_BATCH_CHUNKS 128
#define STREAM_BATCH_BYTES  (256 * 1024) /* no further chunk after so many */

/* HTTP/2 rapid reset: a connection may give up this many requests before they are answered, earns
 * one more with each answer and with time, and is closed when it has none left. */
#define EARLY_ENDS_MAX        200
#define EARLY_ENDS_PER_SECOND 20

struct mail {
    h2o_multithread_message_t link; /* first: libh2o hands it back */
    void (*run)(struct mail *m);
};

struct list {
    struct list *prev, *next;
};

struct server_loop {
    struct http_server *server;
    pthread_t thread;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept;
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t mailbox;
    pthread_mutex_t post_lock; /* held while posting, so that the loop does not go away under it */

    h2o_socket_t *listener; /* the first loop's */
    h2o_socket_t *hangups;  /* http_server_hangup.c: an epoll set; NULL: there is none */
    h2o_timeout_t accept_pause;
    h2o_timeout_entry_t accept_pause_entry;

    struct list connections, streams, sockets;
    struct list ready; /* streams in line to send; outside the mailbox's turn READY_MAIL is on its
                          way while there are any */
    struct mail ready_mail;
    bool is_ready_posted;
    size_t handles; /* requests, streams and sockets that somebody still holds */
    bool stopping, stopped;
    uint64_t stop_deadline;
    h2o_timeout_t sweep;
    h2o_timeout_entry_t sweep_entry;
    struct mail start_mail, stop_mail;
};

struct http_server {
    struct http_server_config config;
    int listen_fd, port;
    int grace_ms;
    sem_t started;
    h2o_globalconf_t globalconf;
    int loops_n;
    struct server_loop loops[LOOPS_MAX];
    int next_loop;
    atomic_int connections;
    atomic_int crowd; /* the most connections since memory was given back */
    atomic_int upgraded;
};

struct connection {
    struct list link;
    atomic_uint refs; /* the socket's, and one for each request */
    struct server_loop *loop;
    h2o_socket_t *sock; /* NULL once closed */
    struct arena *arena;
    struct tls_peer peer;
    char remote_ip[INET6_ADDRSTRLEN];
    size_t open_requests;
    struct http_request *waiting; /* whose client's end is to be noticed; NULL: none */
    int early_ends_left;
    uint64_t refilled_at_ms;
    bool idle_at_sweep, is_expelled;
};

struct header {
    struct bytes name, value;
};

enum request_state {
    REQUEST_OPEN,      /* the handler or a worker has it */
    REQUEST_ANSWERED,  /* http_respond() was called: libh2o ends it */
    REQUEST_STREAMING, /* a stream owns it */
    REQUEST_UPGRADED,  /* a socket owns it */
};

struct http_request {
    struct mail mail;
    h2o_generator_t generator; /* what libh2o hands back when it wants more */
    struct server_loop *loop;
    struct connection *connection;
    h2o_req_t *h2o; /* the loop's; NULL once the client has left */
    struct arena *arena;
    struct bytes method, path, query, body;
    struct header *headers;
    size_t headers_n;
    bool is_upgrade, is_detached, is_complete;
    int left_fd; /* -1: nobody asked for it */
    enum request_state state;
    struct http_response response; /* its arrays are in the arena */

    /* what is still to be sent of a response */
    h2o_iovec_t *parts;
    size_t parts_n, part;
    struct http_stream *stream;
};

struct http_stream {
    struct mail mail;
    struct list link; /* server_loop.streams while the client is there */
    struct http_request *request;
    void (*on_close)(void *arg);
    void *arg;
    atomic_size_t queued, queued_bytes;

    pthread_mutex_t lock;    /* guards what follows; before server_loop.post_lock */
    pthread_cond_t advanced; /* chunks were written, or the client has left */
    struct shared_bytes **pending;
    size_t pending_first, pending_n, pending_capacity;
    bool is_posted, is_ended, is_aborted, is_closed;

    /* the loop's */
    struct list ready; /* server_loop.ready */
    struct shared_bytes *flight[STREAM_BATCH_CHUNKS];
    size_t flight_n, flight_bytes;
    char *gathered; /* the flight in one piece; NULL: it was sent as it is */
    bool is_sending, sent_final;
};

struct http_socket {
    struct mail mail;
    struct list link; /* server_loop.sockets */
    struct http_request *request;
    void (*on_socket)(struct http_socket *s, void *arg);
    void *arg;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows; before server_loop.post_lock */
    pthread_cond_t changed;
    struct buffer in, out;
    size_t in_at;
    bool is_posted, is_shut, is_returned;
    bool input_ended, output_failed;

    /* the loop's */
    h2o_socket_t *sock;
    struct buffer flight;
    bool is_writing;
};

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline void list_add(struct list *head, struct list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline struct bytes bytes_of_iovec(h2o_iovec_t v)
{
    return (struct bytes){ v.base, v.len };
}

/* ---- http_server.c ---- */

/* The loop that runs on this thread; NULL on a thread of somebody else. */
extern _Thread_local struct server_loop *http_server_current_loop;

/* Has RUN(M) called on the loop's thread.  M is the caller's and not in a mailbox yet.  Threads:
 * any. */
void http_server_post(struct server_loop *loop, struct mail *m, void (*run)(struct mail *m));
void http_server_connection_unref(struct connection *c);
/* libh2o owns the socket; with its descriptor shut it finds the end by itself. */
void http_server_connection_shut(struct connection *c);

/* ---- http_server_hangup.c; Threads: the loop's ---- */

void http_server_hangups_open(struct server_loop *loop);
void http_server_hangups_close(struct server_loop *loop);
/* From now on the end of R's client is noticed. */
void http_server_hangup_watch(struct http_request *r);

/* ---- http_server_request.c; Threads: the request's loop ---- */

struct handler {
    h2o_handler_t super;
    struct http_server *server;
};

int http_server_on_request(h2o_handler_t *self, h2o_req_t *req); /* SELF is in a struct handler */
void http_server_request_free(struct http_request *r);           /* runs the response's release */

/* ---- http_server_respond.c; Threads: the request's loop, unless told otherwise ---- */

const char *http_server_reason_phrase(int status); /* "Unknown" if it is; Threads: any */
void http_server_set_head(h2o_req_t *req, const struct http_response *response);
/* RESPONSE's arrays are the caller's: keeps copies of them for the loop thread.  Threads: whose the
 * request is. */
void http_server_keep_response(struct http_request *r, const struct http_response *response);
/* http_respond() with one part, TEXT, which stays valid.  Threads: as http_respond(). */
void http_server_respond_text(struct http_request *r, int status, const char *content_type,
                              const char *text);
/* The client has left: libh2o is told to end the stream. */
void http_server_stream_hang_up(struct http_stream *s);
/* Gives libh2o what has gathered since the last time; false: nothing, or it is still busy. */
bool http_server_stream_send(struct http_stream *s);
/* The same for those who are in line, for one turn of the loop. */
void http_server_send_ready(struct server_loop *loop);
/* The client has left, or all was sent: libh2o's side of the stream is over. */
void http_server_stream_lost(struct http_stream *s);
