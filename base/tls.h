/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - TLS contexts for servers and clients, over OpenSSL.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"

struct tls; /* counted */

/* PEM text; CA_PEM and the client pair may be empty.  A server with CLIENT_CA_PEM asks for a client
 * certificate and accepts none; one that does not verify fails the handshake. */
struct tls_server_config {
    struct bytes certificate_pem; /* leaf first, then its chain */
    struct bytes key_pem;
    struct bytes client_ca_pem;
};
struct tls_client_config {
    struct bytes ca_pem; /* empty: the system's */
    struct bytes certificate_pem;
    struct bytes key_pem;
    const char *server_name; /* NULL: the host dialled */
    bool insecure_skip_verify;
};
struct tls *tls_server_new(const struct tls_server_config *config, struct error *err);
/* Another certificate, for the handshakes to come.  T keeps what it has if it fails. */
must_check int tls_server_renew(struct tls *t, struct bytes certificate_pem, struct bytes key_pem,
                                struct error *err);
struct tls *tls_client_new(const struct tls_client_config *config, struct error *err);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t);
DEFINE_SCOPED(tls, struct tls *, tls_unref)

/* Who a verified client certificate names. */
struct tls_peer {
    const char *common_name; /* NULL: no certificate was shown */
    const char **organizations;
    size_t organizations_n;
    int64_t not_after_ns; /* wall: a connection may outlive its certificate */
    uint8_t sha256[32];   /* of the certificate */
};

/* A blocking byte stream, for protocols that are not HTTP (exec, attach and port-forward once they
 * are upgraded).  One thread may read while another writes. */
struct stream;
/* TLS NULL: plain TCP.  ADDRESS: "10.0.0.1:10250", "[::1]:80" or "unix:/path". */
struct stream *stream_dial(const char *address, struct tls *tls, int timeout_ms, struct error *err);
ssize_t stream_read(struct stream *s, void *buf, size_t n, struct error *err); /* 0: end */
must_check int stream_write(struct stream *s, const void *buf, size_t n,
                            struct error *err); /* all of it */
/* Reads the head of an HTTP answer into HEAD, which may get a part of the body as well: that begins
 * at *HEAD_LEN.  ERR_UNAVAILABLE if no empty line is in the first BYTES_MAX. */
must_check int stream_read_head(struct stream *s, size_t bytes_max, struct buffer *head,
                                size_t *head_len, struct error *err);
void stream_shutdown(struct stream *s); /* wakes the reader and the writer; Threads: any */
void stream_close(struct stream *s);
DEFINE_SCOPED(stream, struct stream *, stream_close)
