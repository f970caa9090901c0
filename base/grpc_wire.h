/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_wire.h - what both sides of gRPC share: message frames, queues of bytes to send, the HTTP/2
 * session over a transport, and the coding of grpc-message.  Private to base/grpc*.c.
 *
 * Threads: one at a time.
 */
#pragma once

#include <nghttp2/nghttp2.h>

#include "base/grpc.h"
#include "base/tls_internal.h"

#define GRPC_FRAME_HEADER_BYTES 5

/* ---- messages coming in: a compressed flag and a length before each ---- */

struct grpc_deframer { /* zero-initialised is ready */
    uint8_t header[GRPC_FRAME_HEADER_BYTES];
    size_t header_n;
    size_t message_bytes_max; /* 0: GRPC_MESSAGE_BYTES_MAX */
    struct buffer partial;
};
/* Calls ON_MESSAGE for each message that DATA completes; its bytes live for the call.
 * ERR_TOO_LARGE; ERR_BAD_REQUEST for a compressed one, which we never offer to take. */
int grpc_deframe(struct grpc_deframer *d, struct bytes data,
                 void (*on_message)(struct bytes message, void *arg), void *arg, struct error *err);
void grpc_deframer_deinit(struct grpc_deframer *d);

/* ---- messages going out ---- */

struct grpc_chunk { /* some bytes of its own, then some that lie elsewhere */
    struct grpc_chunk *next;
    size_t at; /* taken so far, of both */
    char *owned;
    struct shared_bytes *shared;
    struct bytes tail; /* of one of these two */
    size_t len;        /* of DATA */
    char data[];
};
struct grpc_outbox { /* zero-initialised is empty */
    struct grpc_chunk *head, *tail;
};
void grpc_outbox_add(struct grpc_outbox *o, struct bytes message); /* framed and copied */
void grpc_outbox_add_take(struct grpc_outbox *o, char *message, size_t len);
/* One message: START, copied, and then REST. */
void grpc_outbox_add_shared(struct grpc_outbox *o, struct bytes start, struct shared_bytes *rest);
/* One message of LEN bytes in parts. */
void grpc_outbox_add_header(struct grpc_outbox *o, size_t len);
void grpc_outbox_add_part_take(struct grpc_outbox *o, char *part, size_t len);
void grpc_outbox_move(struct grpc_outbox *to, struct grpc_outbox *from);
size_t grpc_outbox_read(struct grpc_outbox *o, char *buf, size_t n);
size_t grpc_outbox_peek(const struct grpc_outbox *o, size_t max); /* bytes there are, up to MAX */
void grpc_outbox_deinit(struct grpc_outbox *o);

/* ---- HTTP/2 over a transport ---- */

enum grpc_link_speech { GRPC_LINK_HTTP2, GRPC_LINK_UNKNOWN, GRPC_LINK_HTTP1 };
struct grpc_link {
    /* A server that also answers HTTP/1.1 waits for the first byte before it says anything. */
    enum grpc_link_speech speech;
    struct buffer text; /* what came in HTTP/1.1 */
    struct transport *transport;
    nghttp2_session *session;
    struct buffer out; /* made by the session, not taken by the socket yet */
    size_t out_at;
    uint64_t gathered, written; /* bytes that were made so far, and that the socket has taken */
};
/* Enough is in OUT for one write. */
bool grpc_link_is_full(const struct grpc_link *l);
int grpc_link_read(struct grpc_link *l, struct error *err);  /* -1: the connection is over */
int grpc_link_write(struct grpc_link *l, struct error *err); /* all that the socket takes */
bool grpc_link_wants_write(const struct grpc_link *l);
void grpc_link_deinit(struct grpc_link *l);

/* ---- text ---- */

char *grpc_message_encode(const char *text, struct arena *a); /* percent-encoded for a header */
char *grpc_message_decode(struct bytes text);                 /* malloc'ed */
nghttp2_nv grpc_header(const char *name,
                       const char *value); /* borrows both; nghttp2 copies on submit */
