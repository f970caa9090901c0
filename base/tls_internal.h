/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_internal.h - what the network modules of this folder share: non-blocking TLS, and the hook
 * that libh2o needs to learn who a client is.
 */
#pragma once

#include <sys/types.h>

#include "base/tls.h"

/* A non-blocking connection, with or without TLS.  The handshake happens inside the first reads and
 * writes.  Threads: one at a time. */
struct transport;

enum transport_protocol {                /* what is offered in the handshake */
                          TRANSPORT_ANY, /* nothing: protocols that are upgraded by hand */
                          TRANSPORT_H2,
};

/* Both own FD from the call on, also when they fail.  TLS NULL: plain.  HOST: whose certificate is
 * expected. */
struct transport *transport_client_take(int fd, struct tls *tls, const char *host,
                                        enum transport_protocol protocol, struct error *err);
struct transport *transport_server_take(int fd, struct tls *tls);
void transport_close(struct transport *t); /* NULL is fine */
DEFINE_SCOPED(transport, struct transport *, transport_close)

#define TRANSPORT_AGAIN (-2)
/* Bytes moved; 0: end (read only); -1 with ERR; TRANSPORT_AGAIN: wait for transport_events(). */
ssize_t transport_read(struct transport *t, void *buf, size_t n, struct error *err);
ssize_t transport_write(struct transport *t, const void *buf, size_t n, struct error *err);
/* For a reader that always reads until TRANSPORT_AGAIN: TLS takes from the socket what is there,
 * not a record at a time, which saves system calls. */
void transport_read_ahead(struct transport *t);
int transport_fd(const struct transport *t);
/* POLLIN, and POLLOUT when WANT_WRITE or when the handshake itself waits for room. */
short transport_events(const struct transport *t, bool want_write);
/* The client's certificate, once the handshake is over: names in ARENA. */
void transport_peer(struct transport *t, struct arena *arena, struct tls_peer *out);

/* libh2o keeps its SSL object to itself.  HOOK runs on the loop thread, inside the handshake, once
 * a client's certificate has been verified; BIO_DATA is libh2o's socket.  PEER lives for the call.
 */
typedef void tls_peer_hook(void *bio_data, const struct tls_peer *peer);
struct ssl_ctx_st *tls_server_ctx(struct tls *t, tls_peer_hook *hook);

void tls_peer_copy(struct arena *arena, const struct tls_peer *from, struct tls_peer *to);

/* Writing to a socket whose peer has left must be an error, not the end of the process. */
void ignore_sigpipe(void);
