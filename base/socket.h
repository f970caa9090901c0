/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.h - dialling and listening: non-blocking, close-on-exec descriptors.
 *
 * Threads: any.
 */
#pragma once

#include "base/error.h"

/* Connects to "host:port", "[::1]:80" or "unix:/path" within TIMEOUT_MS.  WAKE_FD (or -1): gives up
 * with ERR_CANCELED as soon as it is readable.  ERR_UNAVAILABLE if nobody answers there, in Go's
 * words: "dial tcp 10.0.0.1:80: connect: connection refused". */
int socket_dial(const char *address, int timeout_ms, int wake_fd, struct error *err);

/* Listens on an IP address or "unix:/path"; *PORT is the one chosen.  A socket that a killed
 * process left at the path is replaced, anything else that is there is an error. */
int socket_listen(const char *bind_address, int *port, struct error *err);
void socket_listen_end(int fd); /* closes it, and removes its path */

/* The host of "host:port" without brackets, for certificate checks; malloc'ed.  "localhost" for
 * unix. */
char *socket_address_host(const char *address);

/* strerror() as Go has it, which is what clients know from events: "connection refused"; malloc'ed.
 */
char *socket_errno_text(int code);

/* No delay, keep-alive, and an end to peers that stop taking data; nothing for unix sockets. */
void socket_tune(int fd);
