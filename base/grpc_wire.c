/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_wire.c - frames, queues and the HTTP/2 session under both sides of gRPC. */
#include "base/grpc_wire.h"

#include <stdlib.h>

/* What one connection may read before others get their turn, and what is gathered for one write. */
#define READ_BYTES_PER_TURN (256 * 1024)
#define READ_BYTES          (32 * 1024)
#define WRITE_GATHER_BYTES  (64 * 1024)
#define COPIED_BYTES_MAX    1024 /* a copy costs less than counting who shares it */

static size_t message_length(const uint8_t header[GRPC_FRAME_HEADER_BYTES])
{
    return (size_t)header[1] << 24 | (size_t)header[2] << 16 | (size_t)header[3] << 8 | header[4];
}

/* Takes bytes of the frame header; 1 once it is whole and acceptable. */
static int take_header(struct grpc_deframer *d, struct bytes *data, struct error *err)
{
    while (d->header_n < GRPC_FRAME_HEADER_BYTES && data->len > 0) {
        d->header[d->header_n++] = (uint8_t)*data->data++;
        data->len--;
    }
    if (d->header_n < GRPC_FRAME_HEADER_BYTES)
        return 0;
    if (d->header[0] != 0)
        return error_set(err, ERR_BAD_REQUEST, "grpc: compressed message was not negotiated");
    size_t max = d->message_bytes_max ? d->message_bytes_max : GRPC_MESSAGE_BYTES_MAX;
    if (message_length(d->header) > max)
        return error_set(err, ERR_TOO_LARGE, "grpc: received message larger than max (%zu vs. %zu)",
                         message_length(d->header), max);
    return 1;
}

int grpc_deframe(struct grpc_deframer *d, struct bytes data,
                 void (*on_message)(struct bytes message, void *arg), void *arg, struct error *err)
{
    for (;;) {
        int whole = take_header(d, &data, err);
        if (whole <= 0)
            return whole;
        size_t missing = message_length(d->header) - d->partial.len;
        if (data.len < missing) {
            buffer_add(&d->partial, data.data, data.len);
            return 0;
        }
        if (d->partial.len == 0) {
            on_message((struct bytes){ data.data, missing }, arg);
        } else {
            buffer_add(&d->partial, data.data, missing);
            on_message(buffer_bytes(&d->partial), arg);
            buffer_free(&d->partial); /* a big one must not stay with an idle stream */
        }
        d->header_n = 0;
        data.data += missing;
        data.len -= missing;
    }
}

void grpc_deframer_deinit(struct grpc_deframer *d)
{
    buffer_free(&d->partial);
}

static struct grpc_chunk *chunk_new(size_t bytes)
{
    struct grpc_chunk *c = xmalloc(sizeof(*c) + bytes);
    *c = (struct grpc_chunk){ .len = bytes };
    return c;
}

/* The header of a message of MESSAGE_LEN bytes, its START, and room for MORE. */
static struct grpc_chunk *message_new(size_t message_len, struct bytes start, size_t more)
{
    ensure(message_len <= UINT32_MAX);
    struct grpc_chunk *c = chunk_new(GRPC_FRAME_HEADER_BYTES + start.len + more);
    c->data[0] = 0;
    for (int i = 0; i < 4; i++)
        c->data[1 + i] = (char)(message_len >> (24 - 8 * i));
    if (start.len > 0)
        memcpy(c->data + GRPC_FRAME_HEADER_BYTES, start.data, start.len);
    return c;
}

static void chunk_free(struct grpc_chunk *c)
{
    free(c->owned);
    shared_bytes_unref(c->shared);
    free(c);
}

static void add_chunk(struct grpc_outbox *o, struct grpc_chunk *c)
{
    struct grpc_outbox one = { c, c };
    grpc_outbox_move(o, &one);
}

void grpc_outbox_add_take(struct grpc_outbox *o, char *message, size_t len)
{
    struct grpc_chunk *c = message_new(len, (struct bytes){ 0 }, 0);
    c->owned = message;
    c->tail = (struct bytes){ message, len };
    add_chunk(o, c);
}

void grpc_outbox_add_shared(struct grpc_outbox *o, struct bytes start, struct shared_bytes *rest)
{
    size_t len = start.len + rest->len;
    bool is_small = rest->len <= COPIED_BYTES_MAX;
    struct grpc_chunk *c = message_new(len, start, is_small ? rest->len : 0);
    if (is_small) {
        memcpy(c->data + GRPC_FRAME_HEADER_BYTES + start.len, rest->data, rest->len);
    } else {
        c->shared = shared_bytes_ref(rest);
        c->tail = shared_bytes_view(rest);
    }
    add_chunk(o, c);
}

void grpc_outbox_add_header(struct grpc_outbox *o, size_t len)
{
    add_chunk(o, message_new(len, (struct bytes){ 0 }, 0));
}

void grpc_outbox_add_part_take(struct grpc_outbox *o, char *part, size_t len)
{
    struct grpc_chunk *c = chunk_new(0);
    c->owned = part;
    c->tail = (struct bytes){ part, len };
    add_chunk(o, c);
}

void grpc_outbox_add(struct grpc_outbox *o, struct bytes message)
{
    add_chunk(o, message_new(message.len, message, 0));
}

void grpc_outbox_move(struct grpc_outbox *to, struct grpc_outbox *from)
{
    if (!from->head)
        return;
    if (to->tail)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    *from = (struct grpc_outbox){ 0 };
}

static size_t chunk_left(const struct grpc_chunk *c)
{
    return c->len + c->tail.len - c->at;
}

/* The next piece of C that lies in one place. */
static struct bytes chunk_piece(const struct grpc_chunk *c)
{
    if (c->at < c->len)
        return (struct bytes){ c->data + c->at, c->len - c->at };
    return (struct bytes){ c->tail.data + (c->at - c->len), chunk_left(c) };
}

size_t grpc_outbox_read(struct grpc_outbox *o, char *buf, size_t n)
{
    size_t done = 0;
    while (o->head && (done < n || chunk_left(o->head) == 0)) {
        struct grpc_chunk *c = o->head;
        struct bytes piece = chunk_piece(c);
        size_t part = piece.len < n - done ? piece.len : n - done;
        if (part)
            memcpy(buf + done, piece.data, part);
        done += part;
        c->at += part;
        if (chunk_left(c) == 0) {
            o->head = c->next;
            if (!o->head)
                o->tail = NULL;
            chunk_free(c);
        }
    }
    return done;
}

size_t grpc_outbox_peek(const struct grpc_outbox *o, size_t max)
{
    size_t n = 0;
    for (const struct grpc_chunk *c = o->head; c && n < max; c = c->next)
        n += chunk_left(c);
    return n < max ? n : max;
}

void grpc_outbox_deinit(struct grpc_outbox *o)
{
    while (o->head) {
        struct grpc_chunk *next = o->head->next;
        chunk_free(o->head);
        o->head = next;
    }
    o->tail = NULL;
}

int grpc_link_read(struct grpc_link *l, struct error *err)
{
    uint8_t buf[READ_BYTES];
    for (size_t total = 0; total < READ_BYTES_PER_TURN;) {
        ssize_t n = transport_read(l->transport, buf, sizeof(buf), err);
        if (n == TRANSPORT_AGAIN)
            return 0;
        if (n < 0)
            return -1;
        if (n == 0)
            return error_set(err, ERR_UNAVAILABLE, "connection closed by the peer");
        total += (size_t)n;
        if (l->speech == GRPC_LINK_UNKNOWN)
            l->speech = buf[0] == 'P' ? GRPC_LINK_HTTP2 : GRPC_LINK_HTTP1; /* PRI * HTTP/2.0 */
        if (l->speech == GRPC_LINK_HTTP1) {
            buffer_add(&l->text, buf, (size_t)n);
            continue;
        }
        ssize_t used = nghttp2_session_mem_recv(l->session, buf, (size_t)n);
        if (used < 0)
            return error_set(err, ERR_UNAVAILABLE, "http2: %s", nghttp2_strerror((int)used));
    }
    return 0;
}

bool grpc_link_is_full(const struct grpc_link *l)
{
    return l->out.len >= WRITE_GATHER_BYTES;
}

/* Takes frames from the session until there is enough for one write. */
static int gather(struct grpc_link *l, struct error *err)
{
    buffer_clear(&l->out);
    l->out_at = 0;
    while (!grpc_link_is_full(l)) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(l->session, &data);
        if (n < 0)
            return error_set(err, ERR_UNAVAILABLE, "http2: %s", nghttp2_strerror((int)n));
        if (n == 0)
            break;
        buffer_add(&l->out, data, (size_t)n);
        l->gathered += (uint64_t)n;
    }
    return 0;
}

int grpc_link_write(struct grpc_link *l, struct error *err)
{
    for (;;) {
        if (l->out_at == l->out.len && l->speech != GRPC_LINK_HTTP2)
            return 0;
        if (l->out_at == l->out.len && gather(l, err) < 0)
            return -1;
        if (l->out.len == 0)
            break;
        ssize_t n =
            transport_write(l->transport, l->out.data + l->out_at, l->out.len - l->out_at, err);
        if (n == TRANSPORT_AGAIN)
            return 0;
        if (n < 0)
            return -1;
        l->out_at += (size_t)n;
        l->written += (uint64_t)n;
    }
    if (!nghttp2_session_want_read(l->session) && !nghttp2_session_want_write(l->session))
        return error_set(err, ERR_UNAVAILABLE, "http2 session ended");
    return 0;
}

bool grpc_link_wants_write(const struct grpc_link *l)
{
    return l->out_at < l->out.len;
}

void grpc_link_deinit(struct grpc_link *l)
{
    nghttp2_session_del(l->session);
    transport_close(l->transport);
    buffer_free(&l->out);
    buffer_free(&l->text);
    *l = (struct grpc_link){ 0 };
}

char *grpc_message_encode(const char *text, struct arena *a)
{
    scoped(buffer) struct buffer out = { 0 };
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p >= ' ' && *p <= '~' && *p != '%')
            buffer_add_char(&out, *p);
        else
            buffer_printf(&out, "%%%02X", (unsigned char)*p);
    }
    return arena_strndup(a, out.data ? out.data : "", out.len);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A sequence that is no percent-encoding stays as it is: a bad message is better than none. */
char *grpc_message_decode(struct bytes text)
{
    char *out = xmalloc(text.len + 1), *p = out;
    for (size_t i = 0; i < text.len; i++) {
        int high = i + 2 < text.len && text.data[i] == '%' ? hex_digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
        if (low >= 0) {
            *p++ = (char)(high << 4 | low);
            i += 2;
        } else {
            *p++ = text.data[i];
        }
    }
    *p = 0;
    return out;
}

nghttp2_nv grpc_header(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                         NGHTTP2_NV_FLAG_NONE };
}
