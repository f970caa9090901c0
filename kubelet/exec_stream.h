/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_stream.h - exec, attach and port-forward: the upgrade that a client asks of us is asked of
 * the runtime's own streaming server; then bytes go both ways as they are, SPDY or WebSocket.
 *
 *     API server <-- HTTP/1.1 Upgrade --> exec_stream <-- HTTP/1.1 Upgrade --> containerd on
 * 127.0.0.1
 *
 * Threads: a worker thread; it blocks while it dials, not while the session lasts.
 */
#pragma once

#include "base/http_server.h"

/* Answers REQ in every case.  URL: what the runtime gave; QUERY is passed on to it. */
void exec_stream_serve(struct http_request *req, const char *url, struct bytes query);
