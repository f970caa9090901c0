/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.h - HTTP/1.1 and HTTP/2 with TLS on a few loop threads.
 *
 * The handler runs on a loop thread and must not block.  It answers at once, or it calls
 * http_request_detach() and answers later from any thread:
 *
 *     handle(req)  --detach-->  worker  --http_respond()-->  mailbox  -->  loop  -->  client
 *
 * A request whose client has left is still a valid handle until it is answered: the answer is
 * dropped and its release function runs.  Every request is answered exactly once.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/tls.h"

struct http_server;
struct http_request;
struct http_stream;
struct http_socket;

struct http_server_config {
    const char *bind_address; /* "0.0.0.0", "::", "127.0.0.1", or "unix:/path" */
    int port;                 /* 0: any free one, see http_server_port() */
    struct tls *tls;          /* counted; NULL: plain text */
    int loops;                /* threads */
    /* Body of the 413 for more than REQUEST_BODY_BYTES_MAX, JSON text; NULL: a line of plain text.
     * Such a request never reaches HANDLE. */
    const char *too_large_json;
    void (*handle)(struct http_request *req, void *arg);
    void *arg;
};

struct http_server *http_server_start(const struct http_server_config *config, struct error *err);
int http_server_port(const struct http_server *s);
/* Stops accepting, ends streams, lets requests end for GRACE_MS, then closes what is left.  Returns
 * once every request was answered, every stream was ended and every upgraded socket's function has
 * returned. */
void http_server_stop(struct http_server *s, int grace_ms);

/* ---- the request: readable on the loop thread; from any thread once detached ---- */

struct arena *http_request_arena(struct http_request *req); /* lives as long as the handle */
struct bytes http_request_method(const struct http_request *req);
struct bytes http_request_path(const struct http_request *req);  /* undecoded, without the query */
struct bytes http_request_query(const struct http_request *req); /* without '?'; empty if none */
struct bytes http_request_header(const struct http_request *req, const char *lower_case_name);
/* Each value of a repeated header in turn, from INDEX 0; data NULL after the last. */
struct bytes http_request_header_nth(const struct http_request *req, const char *lower_case_name,
                                     size_t index);
void http_request_each_header(const struct http_request *req,
                              void (*fn)(struct bytes name, struct bytes value, void *arg),
                              void *arg);
struct bytes http_request_body(const struct http_request *req);           /* whole */
const struct tls_peer *http_request_peer(const struct http_request *req); /* never NULL */
/* "10.0.0.7"; "" if it is not known. */
const char *http_request_remote_ip(const struct http_request *req);
/* An eventfd of the request's own that is readable once the client has left; -1: there is none.  To
 * be asked for on the loop thread, before the request is handed on; valid until it is answered, of
 * a stream until its end. */
int http_request_left_fd(struct http_request *req);
bool http_request_is_upgrade(const struct http_request *req); /* HTTP/1.1 with Upgrade */
bool http_request_is_websocket(const struct http_request *req);

void http_request_detach(struct http_request *req);
bool http_request_is_detached(const struct http_request *req);

/* ---- answers; Threads: any ---- */

struct http_header {
    const char *name; /* lower case */
    const char *value;
};

/* What to send: PARTS are sent one after the other without a copy and stay valid until RELEASE(ARG)
 * runs, which it does exactly once, on a loop thread.  Headers are copied. */
struct http_response {
    int status;
    const struct http_header *headers;
    size_t headers_n;
    const struct bytes *parts;
    size_t parts_n;
    size_t body_bytes; /* of a stream, or what a HEAD is about: its Content-Length; 0: not known */
    void (*release)(void *arg); /* NULL: PARTS live in the request's arena or forever */
    void *arg;
};
void http_respond(struct http_request *req, const struct http_response *response);

/* A body without a known end: watches, logs.  Chunks are shared, not copied.  ON_CLOSE(ARG) runs
 * once, on a loop thread, when the client has left or the stream was ended; the stream handle stays
 * valid until http_stream_end(). */
struct http_stream *http_stream_start(struct http_request *req, const struct http_response *head,
                                      void (*on_close)(void *arg), void *arg);
void http_stream_write(struct http_stream *s,
                       struct shared_bytes *chunk); /* takes its own reference */
/* The same without telling the loop, which may wait for http_stream_flush(): so several chunks
 * cross over at once. */
void http_stream_add(struct http_stream *s, struct shared_bytes *chunk);
void http_stream_flush(struct http_stream *s);
size_t http_stream_queued(struct http_stream *s); /* chunks not yet written */
size_t http_stream_queued_bytes(struct http_stream *s);
/* For a producer that is faster than its client: waits until at most QUEUED_MAX chunks are not yet
 * written.  False: the client has left.  Not on a loop thread. */
bool http_stream_wait(struct http_stream *s, size_t queued_max);
void http_stream_end(struct http_stream *s); /* orderly end; frees the handle */
/* Forgets what is not on its way yet and resets; frees the handle. */
void http_stream_abort(struct http_stream *s);

/* HTTP/1.1 Upgrade: answers 101 with HEAD's headers and turns the connection into a duplex byte
 * stream, which ON_SOCKET gets on a worker thread of the server made for it; the function may block
 * and closes the socket by returning.  If the client has left, or there are too many sockets, it
 * gets NULL instead, to release ARG, and must not block. */
void http_upgrade(struct http_request *req, const struct http_response *head,
                  void (*on_socket)(struct http_socket *s, void *arg), void *arg);
ssize_t http_socket_read(struct http_socket *s, void *buf, size_t n,
                         struct error *err); /* 0: end */
must_check int http_socket_write(struct http_socket *s, const void *buf, size_t n,
                                 struct error *err);
void http_socket_shutdown(struct http_socket *s); /* wakes reader and writer; Threads: any */

/* ---- query and path helpers ---- */

/* Percent-decodes ('+' is a space in queries only). -1 if malformed. */
must_check int url_decode(struct bytes in, bool is_query, struct arena *a, struct bytes *out);
char *url_encode(struct bytes in, struct arena *a);
/* The INDEXth value of NAME in a query, decoded; NULL if absent. */
const char *query_get(struct bytes query, const char *name, size_t index, struct arena *a);
/* There and neither "0" nor "false" in any case: how the API reads its options. */
bool query_is_true(struct bytes query, const char *name, struct arena *a);
/* A number in a query; OUT stays if it is absent.  ERR_BAD_REQUEST in the API's words. */
must_check int query_int(struct bytes query, const char *name, struct arena *a, int64_t *out,
                         struct error *err);
