/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.h - outbound HTTP over libcurl, for worker threads: calls block.
 *
 * Threads: any; connections are kept and shared.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/http_server.h"
#include "base/tls.h"

struct http_client;

struct http_client *http_client_new(const struct tls_client_config *tls, struct error *err);
void http_client_free(struct http_client *c);
DEFINE_SCOPED(http_client, struct http_client *, http_client_free)

/* Names are in lower case.  Valid for the call. */
struct http_client_head {
    int status;
    const struct http_header *headers;
    size_t headers_n;
};

struct http_client_request {
    const char *method;
    const char *url;
    const struct http_header *headers; /* "authorization", "content-type", ... */
    size_t headers_n;
    struct bytes body;
    int timeout_ms;        /* whole exchange; 0: none (watches, logs) */
    size_t body_bytes_max; /* 0: 64 MiB */
    int cancel_fd;         /* 0: none; an eventfd: once it is readable, the call ends */
    /* NULL, or told of the answer's head, with ON_BODY's ARG: then ON_BODY gets the body whatever
     * the status. */
    void (*on_head)(const struct http_client_head *head, void *arg);
};
struct http_client_response {
    int status;
    struct bytes body;         /* in the arena; empty when ON_BODY took it */
    struct bytes content_type; /* in the arena */
};

/* ERR_UNAVAILABLE if the peer cannot be reached, ERR_TIMEOUT, ERR_CANCELED; any status is a success
 * here.  ON_BODY, if given, gets the body of a 2xx answer in pieces; it returns -1 to stop,
 * which ends the call with ERR_CANCELED.  ERR_TOO_LARGE for more than BODY_BYTES_MAX.
 * Messages are those of Go's client: `Get "URL": dial tcp 10.0.0.1:80: connect: connection
 * refused`. */
must_check int http_client_do(struct http_client *c, const struct http_client_request *r,
                              int (*on_body)(struct bytes piece, void *arg), void *arg,
                              struct arena *a, struct http_client_response *out, struct error *err);
/* The same; the messages do not name the request. */
must_check int http_client_round_trip(struct http_client *c, const struct http_client_request *r,
                                      int (*on_body)(struct bytes piece, void *arg), void *arg,
                                      struct arena *a, struct http_client_response *out,
                                      struct error *err);
