/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_relay.h - an upgrade passed on: what a client asks of us is asked of a backend; after the
 * backend's 101 the bytes go both ways unread.
 *
 * Threads: any that may block.
 */
#pragma once

#include "base/http_server.h"
#include "base/tls.h"

#define RELAY_HEADERS_MAX   64
#define RELAY_REFUSAL_BYTES (64 * 1024)

/* Adds the headers that an upgrade is about (Upgrade, X-Stream-Protocol-Version, Sec-WebSocket-*,
 * Origin) as the client sent them, and the end of the head. */
void http_relay_add_headers(const struct http_request *req, struct buffer *head);

struct http_relay_answer {
    int status;
    struct http_header headers[RELAY_HEADERS_MAX]; /* lower case; none that are about framing */
    size_t headers_n;
    struct bytes body; /* 101: the first bytes of the new protocol; otherwise why not */
};
/* Sends HEAD and reads the answer, which lies in A. */
must_check int http_relay_ask(struct stream *backend, struct bytes head, struct arena *a,
                              struct http_relay_answer *out, struct error *err);
/* Answers REQ with the backend's 101 and relays until either side ends.  Takes BACKEND. */
void http_relay_start(struct http_request *req, const struct http_relay_answer *answer,
                      struct stream *backend_take);
