/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_load.c - HTTP/2 as a client of gRPC needs it, by hand. */
#include "test/bench/grpc_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/socket.h"

#define FRAME_HEADER_BYTES 9
#define GRPC_HEADER_BYTES  5
#define READ_BYTES         ((size_t)1 << 18)
#define STREAMS_MAX        4096u /* of a connection at once; a power of two */
#define WINDOW_BYTES       0x7fffffffu
#define WINDOW_MORE_BYTES  ((size_t)1 << 24) /* given back at once */

enum frame_type {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
};
#define FLAG_END_STREAM  0x1
#define FLAG_ACK         0x1
#define FLAG_END_HEADERS 0x4
#define SETTING_WINDOW   4

struct load_connection {
    struct load *load;
    const char *method;
    int fd;
    uint32_t next_id;
    struct load_call *calls[STREAMS_MAX]; /* by stream: (id / 2) % STREAMS_MAX */
    bool has_indexed_headers;
    size_t window; /* what the server takes */
    size_t taken;  /* of ours, not given back yet */
    struct buffer out;
    struct load_call *waiting, **waiting_last; /* for the window */
    char in[READ_BYTES];
    size_t in_n;
    bool is_touched;
};

struct load_call {
    struct load_connection *connection;
    int place;
    uint32_t id; /* 0: no call runs */
    size_t messages;
    uint8_t head[GRPC_HEADER_BYTES];
    size_t head_n, missing, len;
    struct buffer partial;
    struct buffer request; /* waits for the window */
    enum load_stream stream;
    struct load_call *next_waiting;
};

struct load {
    struct load_config config;
    int epoll_fd;
    struct load_connection **connections;
    int connections_n;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "grpc_load: %s: %s\n", what, why);
    exit(1);
}

static uint32_t read_u32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void add_u32(struct buffer *b, uint32_t v)
{
    const uint8_t text[] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
                             (uint8_t)v };
    buffer_add(b, text, sizeof(text));
}

static void add_frame(struct buffer *b, size_t len, enum frame_type type, uint8_t flags,
                      uint32_t stream)
{
    const uint8_t head[] = { (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, (uint8_t)type,
                             flags };
    buffer_add(b, head, sizeof(head));
    add_u32(b, stream);
}

/* ---- calls going out ---- */

static void touch(struct load_connection *c)
{
    c->is_touched = true;
}

static void flush(struct load_connection *c)
{
    size_t at = 0;
    c->is_touched = false;
    while (at < c->out.len) {
        ssize_t n = write(c->fd, c->out.data + at, c->out.len - at);
        if (n < 0 && errno == EAGAIN)
            usleep(50); /* its buffer is full: the server is behind, so there is time */
        else if (n < 0 && errno != EINTR)
            die("write", strerror(errno));
        else if (n > 0)
            at += (size_t)n;
    }
    buffer_clear(&c->out);
}

static void add_literal(struct buffer *b, uint8_t name_index, const char *name, const char *value)
{
    buffer_add_char(b, (char)(0x40 | name_index)); /* with indexing, so that it is sent once */
    if (!name_index) {
        buffer_add_char(b, (char)strlen(name));
        buffer_add_str(b, name);
    }
    buffer_add_char(b, (char)strlen(value));
    buffer_add_str(b, value);
}

/* :method POST and :scheme http stand in HPACK's static table; the others are sent in full once and
 * then have the numbers from 62 on, newest first. */
static void add_headers(struct load_connection *c, uint32_t id)
{
    static const uint8_t indexed[] = { 0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe };
    if (c->has_indexed_headers) {
        add_frame(&c->out, sizeof(indexed), FRAME_HEADERS, FLAG_END_HEADERS, id);
        buffer_add(&c->out, indexed, sizeof(indexed));
        return;
    }
    c->has_indexed_headers = true;
    struct buffer block = { 0 };
    buffer_add(&block, indexed, 2);
    add_literal(&block, 4, NULL, c->method);
    add_literal(&block, 1, NULL, c->load->config.address);
    add_literal(&block, 31, NULL, "application/grpc");
    add_literal(&block, 58, NULL, "grpc-load/1");
    add_literal(&block, 0, "te", "trailers");
    add_frame(&c->out, block.len, FRAME_HEADERS, FLAG_END_HEADERS, id);
    buffer_add_bytes(&c->out, buffer_bytes(&block));
    buffer_free(&block);
}

static void send_call(struct load_connection *c, struct load_call *call, struct bytes message)
{
    call->id = c->next_id;
    c->next_id += 2;
    struct load_call **place = &c->calls[call->id / 2 % STREAMS_MAX];
    if (*place)
        die("start a call", "one of the connection's calls is far behind the others");
    *place = call;
    size_t len = GRPC_HEADER_BYTES + message.len;
    c->window -= len;
    add_headers(c, call->id);
    add_frame(&c->out, len, FRAME_DATA, call->stream == LOAD_UNARY ? FLAG_END_STREAM : 0, call->id);
    buffer_add_char(&c->out, 0);
    add_u32(&c->out, (uint32_t)message.len);
    buffer_add_bytes(&c->out, message);
    touch(c);
}

void load_call_start(struct load_call *call, enum load_stream stream, struct bytes message)
{
    struct load_connection *c = call->connection;
    call->messages = call->head_n = call->missing = 0;
    call->stream = stream;
    if (!c->waiting && c->window >= message.len + GRPC_HEADER_BYTES) {
        send_call(c, call, message);
        return;
    }
    buffer_clear(&call->request);
    buffer_add_bytes(&call->request, message);
    call->next_waiting = NULL;
    *c->waiting_last = call;
    c->waiting_last = &call->next_waiting;
}

static void send_waiting(struct load_connection *c)
{
    struct load_call *call;
    while ((call = c->waiting) && c->window >= call->request.len + GRPC_HEADER_BYTES) {
        c->waiting = call->next_waiting;
        if (!c->waiting)
            c->waiting_last = &c->waiting;
        send_call(c, call, buffer_bytes(&call->request));
    }
}

/* ---- frames coming in ---- */

static struct load_call *call_of(struct load_connection *c, uint32_t id)
{
    struct load_call *call = c->calls[id / 2 % STREAMS_MAX];
    if (!call || call->id != id)
        die("read", "a frame of no call of ours");
    return call;
}

static void end_call(struct load_connection *c, struct load_call *call)
{
    if (!call->messages)
        die(c->method, "a call ended without an answer");
    c->calls[call->id / 2 % STREAMS_MAX] = NULL;
    call->id = 0;
    c->load->config.ended(call, c->load->config.arg);
}

static void end_message(struct load_connection *c, struct load_call *call, const char *data)
{
    const struct load_config *config = &c->load->config;
    call->messages++;
    call->head_n = 0;
    if (config->message)
        config->message(call, (struct bytes){ data, call->len }, config->arg);
    buffer_clear(&call->partial);
}

static void take_head(struct load_call *call, struct bytes *data)
{
    while (call->head_n < GRPC_HEADER_BYTES && data->len) {
        call->head[call->head_n++] = (uint8_t)*data->data++;
        data->len--;
    }
    call->len = call->missing = read_u32((const char *)call->head + 1);
}

static void take_data(struct load_connection *c, struct load_call *call, struct bytes data)
{
    do {
        if (call->head_n < GRPC_HEADER_BYTES)
            take_head(call, &data);
        if (call->head_n < GRPC_HEADER_BYTES)
            return;
        bool is_kept = call->len <= LOAD_MESSAGE_KEPT, is_whole = call->missing == call->len;
        size_t n = data.len < call->missing ? data.len : call->missing;
        if (is_kept && (!is_whole || n < call->len))
            buffer_add(&call->partial, data.data, n);
        call->missing -= n;
        if (!call->missing)
            end_message(c, call,
                        !is_kept            ? NULL
                        : call->partial.len ? call->partial.data
                                            : data.data);
        data.data += n;
        data.len -= n;
    } while (data.len);
}

static void take_settings(struct load_connection *c, struct bytes payload, uint8_t flags)
{
    (void)payload; /* limits that no call here comes near */
    if (flags & FLAG_ACK)
        return;
    add_frame(&c->out, 0, FRAME_SETTINGS, FLAG_ACK, 0);
    touch(c);
}

static void take_frame(struct load_connection *c, uint8_t type, uint8_t flags, uint32_t id,
                       struct bytes payload)
{
    switch (type) {
    case FRAME_DATA:
        c->taken += payload.len;
        take_data(c, call_of(c, id), payload);
        break;
    case FRAME_SETTINGS:
        take_settings(c, payload, flags);
        break;
    case FRAME_PING:
        if (flags & FLAG_ACK)
            break;
        add_frame(&c->out, payload.len, FRAME_PING, FLAG_ACK, 0);
        buffer_add_bytes(&c->out, payload);
        touch(c);
        break;
    case FRAME_RST_STREAM:
        die(c->method, "the call was reset");
    case FRAME_GOAWAY:
        die(c->method, "the server closes the connection");
    case FRAME_WINDOW_UPDATE:
        if (id == 0)
            c->window += read_u32(payload.data);
        send_waiting(c);
        break;
    default:
        break;
    }
    if ((type == FRAME_DATA || type == FRAME_HEADERS) && flags & FLAG_END_STREAM)
        end_call(c, call_of(c, id));
}

static void give_window_back(struct load_connection *c)
{
    if (c->taken < WINDOW_MORE_BYTES)
        return;
    add_frame(&c->out, 4, FRAME_WINDOW_UPDATE, 0, 0);
    add_u32(&c->out, (uint32_t)c->taken);
    c->taken = 0;
    touch(c);
}

static void receive(struct load_connection *c)
{
    ssize_t n = read(c->fd, c->in + c->in_n, sizeof(c->in) - c->in_n);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        die("read", n ? strerror(errno) : "the server closed the connection");
    if (n < 0)
        return;
    c->in_n += (size_t)n;
    size_t at = 0;
    while (c->in_n - at >= FRAME_HEADER_BYTES) {
        const char *head = c->in + at;
        size_t len = read_u32(head) >> 8;
        if (c->in_n - at - FRAME_HEADER_BYTES < len)
            break;
        take_frame(c, (uint8_t)head[3], (uint8_t)head[4], read_u32(head + 5) & 0x7fffffff,
                   (struct bytes){ head + FRAME_HEADER_BYTES, len });
        at += FRAME_HEADER_BYTES + len;
    }
    c->in_n -= at;
    memmove(c->in, c->in + at, c->in_n);
    give_window_back(c);
}

void load_turn(struct load *l)
{
    struct epoll_event events[64];
    for (int i = 0; i < l->connections_n; i++)
        if (l->connections[i]->is_touched)
            flush(l->connections[i]);
    int n = epoll_wait(l->epoll_fd, events, ARRAY_LEN(events), -1);
    for (int i = 0; i < n; i++) {
        struct load_connection *c = events[i].data.ptr;
        receive(c);
        if (c->is_touched)
            flush(c);
    }
}

/* ---- opening and closing ---- */

static struct load_connection *connect_to(struct load *l, const char *method)
{
    struct error err = { 0 };
    struct load_connection *c = xcalloc(1, sizeof(*c));
    c->load = l;
    c->method = method;
    c->next_id = 1;
    c->window = 65535; /* what a server takes unless it says otherwise */
    c->waiting_last = &c->waiting;
    c->fd = socket_dial(l->config.address, 5000, -1, &err);
    if (c->fd < 0)
        die("connect", err.message);
    socket_tune(c->fd);
    buffer_add_str(&c->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    add_frame(&c->out, 6, FRAME_SETTINGS, 0, 0);
    buffer_add(&c->out, (const char[]){ 0, SETTING_WINDOW }, 2);
    add_u32(&c->out, WINDOW_BYTES);
    add_frame(&c->out, 4, FRAME_WINDOW_UPDATE, 0, 0);
    add_u32(&c->out, WINDOW_BYTES - 65535);
    touch(c);
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll", strerror(errno));
    return c;
}

struct load *load_open(const struct load_config *config)
{
    struct load *l = xcalloc(1, sizeof(*l));
    l->config = *config;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->connections = xcalloc((size_t)config->connections + 1, sizeof(*l->connections));
    while (l->connections_n < config->connections)
        l->connections[l->connections_n++] = connect_to(l, config->method);
    if (config->other_method)
        l->connections[l->connections_n++] = connect_to(l, config->other_method);
    return l;
}

void load_close(struct load *l)
{
    for (int i = 0; i < l->connections_n; i++) {
        close(l->connections[i]->fd);
        buffer_free(&l->connections[i]->out);
        free(l->connections[i]);
    }
    close(l->epoll_fd);
    free(l->connections);
    free(l);
}

static struct load_call *call_new(struct load_connection *c, int place)
{
    struct load_call *call = xcalloc(1, sizeof(*call));
    call->connection = c;
    call->place = place;
    return call;
}

struct load_call *load_call_new(struct load *l, int place)
{
    return call_new(l->connections[place % l->config.connections], place);
}

struct load_call *load_other_call_new(struct load *l)
{
    return call_new(l->connections[l->config.connections], LOAD_OTHER_PLACE);
}

void load_call_free(struct load_call *call)
{
    buffer_free(&call->partial);
    buffer_free(&call->request);
    free(call);
}

int load_call_place(const struct load_call *call)
{
    return call->place;
}
