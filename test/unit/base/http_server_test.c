/* SPDX-License-Identifier: Apache-2.0 */
/* http_server_test.c - the HTTP server over real sockets. */
#include "base/http_server.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "base/http_client.h"
#include "base/limits.h"
#include "base/socket.h"
#include "base/tls_internal.h"
#include "test/unit/base/net_fixture.h"

#define BIG_PART_BYTES 1000000
#define BIG_PARTS      9
#define CROWD          200 /* streams at once: more than one turn of a loop serves */

struct server {
    struct net_fixture *fixture;
    struct http_server *http;
    struct http_client *client; /* with the client certificate */
    char address[64];
    char *big;
    atomic_int released, closed;
    struct http_request *slow;
    pthread_t worker;
    sem_t may_answer, has_request, has_closed;
    struct http_stream *stream;
    struct http_stream *crowd[CROWD];
    atomic_int crowd_n;
};

static void count_release(void *arg)
{
    struct server *s = arg;
    atomic_fetch_add(&s->released, 1);
}

static void on_stream_close(void *arg)
{
    struct server *s = arg;
    atomic_fetch_add(&s->closed, 1);
    sem_post(&s->has_closed);
}

static void respond(struct http_request *r, int status, const char *text)
{
    struct bytes part = bytes_of(text);
    struct http_header h = { "content-type", "text/plain" };
    http_respond(
        r, &(struct http_response){
               .status = status, .headers = &h, .headers_n = 1, .parts = &part, .parts_n = 1 });
}

/* A worker that answers with what it can read of the request, once it is told to. */
static void *slow_worker(void *arg)
{
    struct server *s = arg;
    struct http_request *r = s->slow;
    sem_post(&s->has_request);
    sem_wait(&s->may_answer);
    struct bytes path = http_request_path(r), body = http_request_body(r);
    const char *text =
        arena_printf(http_request_arena(r), "%.*s %zu", (int)path.len, path.data, body.len);
    struct bytes part = bytes_of(text);
    http_respond(
        r, &(struct http_response){
               .status = 201, .parts = &part, .parts_n = 1, .release = count_release, .arg = s });
    return NULL;
}

static void start_stream(struct http_request *r, struct server *s)
{
    struct http_header h = { "content-type", "application/json" };
    s->stream = http_stream_start(
        r, &(struct http_response){ .status = 200, .headers = &h, .headers_n = 1 }, on_stream_close,
        s);
    sem_post(&s->has_request);
}

static void join_crowd(struct http_request *r, struct server *s)
{
    http_request_detach(r);
    s->crowd[atomic_fetch_add(&s->crowd_n, 1)] =
        http_stream_start(r, &(struct http_response){ .status = 200 }, on_stream_close, s);
    sem_post(&s->has_request);
}

static void on_reset(void *arg)
{
    struct http_stream **stream = arg;
    http_stream_end(*stream);
}

static void start_stream_that_ends_with_its_client(struct http_request *r)
{
    struct http_stream **stream = arena_alloc(http_request_arena(r), sizeof(*stream));
    *stream = http_stream_start(r, &(struct http_response){ .status = 200 }, on_reset, stream);
}

static void echo(struct http_socket *socket, void *arg)
{
    (void)arg;
    char buf[10000];
    struct error err = { 0 };
    ssize_t n;
    while (socket && (n = http_socket_read(socket, buf, sizeof(buf), &err)) > 0) {
        if (http_socket_write(socket, buf, (size_t)n, &err) < 0)
            break;
    }
}

static void add_header(struct bytes name, struct bytes value, void *arg)
{
    struct buffer *b = arg;
    buffer_printf(b, "%.*s=%.*s;", (int)name.len, name.data, (int)value.len, value.data);
}

static void describe(struct http_request *r)
{
    const struct tls_peer *peer = http_request_peer(r);
    scoped(buffer) struct buffer b = { 0 };
    struct bytes method = http_request_method(r), query = http_request_query(r);
    buffer_printf(&b, "%.*s query=%.*s user=%s", (int)method.len, method.data, (int)query.len,
                  query.data, peer->common_name ? peer->common_name : "nobody");
    for (size_t i = 0; i < peer->organizations_n; i++)
        buffer_printf(&b, " group=%s", peer->organizations[i]);
    buffer_add_char(&b, ' ');
    http_request_each_header(r, add_header, &b);
    respond(r, 200, arena_strdup(http_request_arena(r), b.data));
}

static void handle(struct http_request *r, void *arg)
{
    struct server *s = arg;
    struct bytes path = http_request_path(r);
    if (bytes_equal_str(path, "/describe")) {
        describe(r);
    } else if (bytes_equal_str(path, "/big")) {
        struct bytes parts[BIG_PARTS];
        for (size_t i = 0; i < BIG_PARTS; i++)
            parts[i] = (struct bytes){ s->big + i * BIG_PART_BYTES, BIG_PART_BYTES };
        http_respond(r, &(struct http_response){ .status = 200,
                                                 .parts = parts,
                                                 .parts_n = BIG_PARTS,
                                                 .release = count_release,
                                                 .arg = s });
    } else if (bytes_has_prefix(path, BYTES("/slow"))) {
        s->slow = r;
        http_request_detach(r);
        assert_int_equal(pthread_create(&s->worker, NULL, slow_worker, s), 0);
    } else if (bytes_equal_str(path, "/stream")) {
        http_request_detach(r);
        start_stream(r, s);
    } else if (bytes_equal_str(path, "/crowd")) {
        join_crowd(r, s);
    } else if (bytes_equal_str(path, "/reset")) {
        start_stream_that_ends_with_its_client(r);
    } else if (bytes_equal_str(path, "/echo") && http_request_is_upgrade(r)) {
        struct http_header h = { "upgrade", "echo" };
        http_upgrade(r, &(struct http_response){ .headers = &h, .headers_n = 1 }, echo, s);
    } else {
        respond(r, 404, "not here");
    }
}

static int set_up(void **state)
{
    struct server *s = xcalloc(1, sizeof(*s));
    struct error err = { 0 };
    s->fixture = fixture_new();
    s->big = xmalloc(BIG_PARTS * BIG_PART_BYTES);
    for (size_t i = 0; i < BIG_PARTS * BIG_PART_BYTES; i++)
        s->big[i] = (char)('a' + i % 23);
    sem_init(&s->may_answer, 0, 0);
    sem_init(&s->has_request, 0, 0);
    sem_init(&s->has_closed, 0, 0);
    scoped(tls) struct tls *tls = fixture_server_tls(s->fixture);
    s->http = http_server_start(&(struct http_server_config){ .bind_address = "127.0.0.1",
                                                              .tls = tls,
                                                              .loops = 2,
                                                              .too_large_json = "{\"code\":413}",
                                                              .handle = handle,
                                                              .arg = s },
                                &err);
    assert_non_null(s->http);
    snprintf(s->address, sizeof(s->address), "127.0.0.1:%d", http_server_port(s->http));
    struct tls_client_config client = fixture_client_config(s->fixture);
    s->client = http_client_new(&client, &err);
    assert_non_null(s->client);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct server *s = *state;
    http_client_free(s->client);
    http_server_stop(s->http, 1000);
    fixture_free(s->fixture);
    free(s->big);
    free(s);
    return 0;
}

/* Status of METHOD on PATH, the body in *BODY. */
static int ask(struct server *s, const char *method, const char *path, struct bytes body,
               struct bytes *answer)
{
    struct error err = { 0 };
    struct http_client_response out;
    const char *url = arena_printf(s->fixture->arena, "https://%s%s", s->address, path);
    if (http_client_do(s->client,
                       &(struct http_client_request){ .method = method, .url = url, .body = body },
                       NULL, NULL, s->fixture->arena, &out, &err) < 0)
        fail_msg("%s", err.message);
    if (answer)
        *answer = out.body;
    return out.status;
}

/* A connection that speaks no more than it is told to. */
static struct stream *dial(struct server *s)
{
    struct error err = { 0 };
    scoped(tls) struct tls *tls =
        tls_client_new(&(struct tls_client_config){ .ca_pem = s->fixture->ca }, &err);
    struct stream *stream = stream_dial(s->address, tls, 60000, &err);
    assert_non_null(stream);
    return stream;
}

static void say(struct stream *stream, const char *text)
{
    struct error err = { 0 };
    assert_int_equal(stream_write(stream, text, strlen(text), &err), 0);
}

static void a_request_shows_its_parts_and_its_peer(void **state)
{
    struct server *s = *state;
    struct bytes answer;
    assert_int_equal(ask(s, "GET", "/describe?a=b&c=d", (struct bytes){ 0 }, &answer), 200);
    assert_non_null(strstr(answer.data, "GET query=a=b&c=d user=admin group=system:masters "
                                        "group=second"));
    assert_non_null(strstr(answer.data, "host=127.0.0.1:"));
}

static void a_client_without_a_certificate_is_nobody(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "GET /describe HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n");
    assert_true(read_until(stream, &b, "x-two=1;x-two=2;"));
    assert_non_null(strstr(b.data, "user=nobody"));
}

static void many_parts_arrive_whole_and_are_released_once(void **state)
{
    struct server *s = *state;
    for (int i = 1; i <= 3; i++) {
        struct bytes answer;
        assert_int_equal(ask(s, "GET", "/big", (struct bytes){ 0 }, &answer), 200);
        assert_int_equal(answer.len, BIG_PARTS * BIG_PART_BYTES);
        assert_memory_equal(answer.data, s->big, answer.len);
    }
    http_client_free(s->client);
    s->client = NULL;
    http_server_stop(s->http, 1000);
    s->http = NULL;
    assert_int_equal(atomic_load(&s->released), 3);
}

static void head_has_the_length_and_no_body(void **state)
{
    struct server *s = *state;
    struct bytes answer;
    assert_int_equal(ask(s, "HEAD", "/big", (struct bytes){ 0 }, &answer), 200);
    assert_int_equal(answer.len, 0);
}

static void a_worker_answers_from_another_thread(void **state)
{
    struct server *s = *state;
    struct bytes answer;
    sem_post(&s->may_answer);
    assert_int_equal(ask(s, "POST", "/slow/a", BYTES("12345"), &answer), 201);
    assert_true(bytes_equal_str(answer, "/slow/a 5"));
    pthread_join(s->worker, NULL);
}

static void a_body_over_the_limit_is_413(void **state)
{
    struct server *s = *state;
    struct bytes answer;
    assert_int_equal(
        ask(s, "POST", "/slow", (struct bytes){ s->big, REQUEST_BODY_BYTES_MAX + 1 }, &answer),
        413);
    assert_true(bytes_equal_str(answer, "{\"code\":413}"));
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
}

static void too_many_header_bytes_are_431(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "GET /describe HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 40; i++) {
        scoped(str) char *line = xasprintf("x-%d: %.*s\r\n", i, 2000, s->big);
        say(stream, line);
    }
    say(stream, "\r\n");
    assert_true(read_until(stream, &b, "HTTP/1.1 431 "));
}

static void garbage_closes_only_its_own_connection(void **state)
{
    struct server *s = *state;
    const char *cases[] = { "\x01\x02\x03\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\n bad\r\n\r\n",
                            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(stream) struct stream *stream = dial(s);
        scoped(buffer) struct buffer b = { 0 };
        say(stream, cases[i]);
        assert_false(
            read_until(stream, &b, "HTTP/1.1 200")); /* 400, or the end of the connection */
    }
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
}

static void plain_text_to_a_tls_port_is_harmless(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    scoped(stream) struct stream *stream = stream_dial(s->address, NULL, 60000, &err);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_false(read_until(stream, &b, "HTTP/1.1 200"));
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
}

static void a_client_may_leave_while_a_worker_has_its_request(void **state)
{
    struct server *s = *state;
    struct stream *stream = dial(s);
    say(stream, "POST /slow/gone HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    sem_wait(&s->has_request);
    stream_close(stream);
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
    sem_post(&s->may_answer);
    pthread_join(s->worker, NULL);
    http_server_stop(s->http, 1000);
    s->http = NULL;
    assert_int_equal(atomic_load(&s->released), 1);
}

static void write_text(struct http_stream *stream, const char *text)
{
    scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(bytes_of(text));
    http_stream_write(stream, chunk);
}

static void a_stream_sends_its_head_at_once_and_chunks_in_order(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(read_until(stream, &b, "\r\n\r\n"));
    sem_wait(&s->has_request);
    for (int i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "chunk-%d;", i);
        write_text(s->stream, text);
    }
    assert_true(read_until(stream, &b, "chunk-999;"));
    assert_true(http_stream_wait(s->stream, 0));
    char *at = b.data;
    for (int i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "chunk-%d;", i);
        at = strstr(at, text);
        assert_non_null(at);
    }
    http_stream_end(s->stream);
    assert_true(read_until(stream, &b, "\r\n0\r\n\r\n"));
    sem_wait(&s->has_closed);
    assert_int_equal(atomic_load(&s->closed), 1);
}

static void chunks_that_were_added_go_out_with_the_flush(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    sem_wait(&s->has_request);
    http_stream_flush(s->stream); /* nothing is there yet */
    static const char *const texts[] = { "one,", "two,", "three." };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(bytes_of(texts[i]));
        http_stream_add(s->stream, chunk);
    }
    http_stream_flush(s->stream);
    assert_true(read_until(stream, &b, "three."));
    assert_non_null(strstr(b.data, "one,"));
    assert_non_null(strstr(b.data, "two,"));
    http_stream_end(s->stream);
    assert_true(read_until(stream, &b, "\r\n0\r\n\r\n"));
    sem_wait(&s->has_closed);
}

static void a_crowd_of_streams_is_served_in_turns(void **state)
{
    struct server *s = *state;
    struct stream *clients[CROWD];
    for (int i = 0; i < CROWD; i++) {
        clients[i] = dial(s);
        say(clients[i], "GET /crowd HTTP/1.1\r\nHost: a\r\n\r\n");
        sem_wait(&s->has_request);
    }
    for (int round = 0; round < 50; round++) {
        char text[32];
        snprintf(text, sizeof(text), "round-%d;", round);
        for (int i = 0; i < CROWD; i++)
            write_text(s->crowd[i], text);
    }
    for (int i = 0; i < CROWD; i++)
        http_stream_end(s->crowd[i]);
    for (int i = 0; i < CROWD; i++) {
        scoped(buffer) struct buffer b = { 0 };
        assert_true(read_until(clients[i], &b, "\r\n0\r\n\r\n"));
        const char *at = b.data;
        for (int round = 0; round < 50; round++) {
            char text[32];
            snprintf(text, sizeof(text), "round-%d;", round);
            at = strstr(at, text);
            assert_non_null(at);
        }
        stream_close(clients[i]);
    }
    for (int i = 0; i < CROWD; i++)
        sem_wait(&s->has_closed);
}

static void a_stream_learns_that_its_client_has_left(void **state)
{
    struct server *s = *state;
    struct stream *stream = dial(s);
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    sem_wait(&s->has_request);
    stream_close(stream);
    sem_wait(&s->has_closed); /* without a word being written */
    assert_false(http_stream_wait(s->stream, SIZE_MAX));
    http_stream_end(s->stream);
    assert_int_equal(atomic_load(&s->closed), 1);
}

static void a_reader_that_stops_reading_makes_the_queue_grow_and_can_be_cut_off(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    sem_wait(&s->has_request);
    scoped(shared_bytes) struct shared_bytes *chunk =
        shared_bytes_new((struct bytes){ s->big, BIG_PART_BYTES });
    for (int i = 0; i < 200; i++)
        http_stream_write(s->stream, chunk);
    assert_true(http_stream_queued(s->stream) > 50);
    http_stream_abort(s->stream);
    /* The abort waits behind what is being written: the reader has to go or to read on. */
    stream_close(take_ptr(&stream));
    sem_wait(&s->has_closed);
}

static void a_producer_that_waits_for_its_reader_learns_that_it_has_left(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    say(stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    sem_wait(&s->has_request);
    scoped(shared_bytes) struct shared_bytes *chunk =
        shared_bytes_new((struct bytes){ s->big, BIG_PART_BYTES });
    for (int i = 0; i < 200; i++)
        http_stream_write(s->stream, chunk);
    stream_close(take_ptr(&stream));
    assert_false(http_stream_wait(s->stream, 0));
    http_stream_end(s->stream);
    sem_wait(&s->has_closed);
}

static void an_upgraded_connection_loses_no_byte(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    scoped(buffer) struct buffer b = { 0 };
    say(stream, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
                "Content-Length: 0\r\n\r\nearly bird");
    assert_true(read_until(stream, &b, "early bird"));
    assert_memory_equal(b.data, "HTTP/1.1 101 Switching Protocols\r\n", 34);
    struct error err = { 0 };
    for (int i = 0; i < 20; i++) {
        char *back = xmalloc(50000);
        assert_int_equal(stream_write(stream, s->big + i, 50000, &err), 0);
        for (size_t n = 0; n < 50000;) {
            ssize_t got = stream_read(stream, back + n, 50000 - n, &err);
            assert_true(got > 0);
            n += (size_t)got;
        }
        assert_memory_equal(back, s->big + i, 50000);
        free(back);
    }
}

struct flood {
    struct stream *stream;
    const char *data;
};

static void *flooder(void *arg)
{
    struct flood *f = arg;
    struct error err = { 0 };
    for (int i = 0; i < 50; i++) {
        if (stream_write(f->stream, f->data, BIG_PART_BYTES, &err) < 0)
            break;
    }
    return NULL;
}

static void a_peer_that_reads_nothing_holds_up_the_writer_not_the_server(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *stream = dial(s);
    say(stream, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
                "Content-Length: 0\r\n\r\n");
    pthread_t thread;
    struct flood flood = { stream, s->big };
    assert_int_equal(pthread_create(&thread, NULL, flooder, &flood), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
    stream_shutdown(stream);
    pthread_join(thread, NULL);
}

static void stopping_ends_streams_and_upgraded_connections(void **state)
{
    struct server *s = *state;
    scoped(stream) struct stream *watch = dial(s);
    scoped(stream) struct stream *upgraded = dial(s);
    scoped(buffer) struct buffer b = { 0 }, c = { 0 };
    say(watch, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(read_until(watch, &b, "\r\n\r\n"));
    sem_wait(&s->has_request);
    say(upgraded, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
                  "Content-Length: 0\r\n\r\nup");
    assert_true(read_until(upgraded, &c, "\r\n\r\nup"));
    http_stream_end(s->stream);
    http_server_stop(s->http, 3000); /* the upgraded one stays for so long */
    s->http = NULL;
    assert_false(read_until(upgraded, &c, "never"));
    assert_true(read_until(watch, &b, "0\r\n\r\n"));
    assert_int_equal(atomic_load(&s->closed), 1);
}

/* Sends OUT over HTTP/2, until the server has had enough; the alternative is to hang here. */
static void push_until_cut(struct server *s, const struct buffer *out)
{
    struct error err = { 0 };
    scoped(tls) struct tls *tls =
        tls_client_new(&(struct tls_client_config){ .ca_pem = s->fixture->ca }, &err);
    int fd = socket_dial(s->address, 5000, -1, &err);
    scoped(transport) struct transport *t =
        transport_client_take(fd, tls, "127.0.0.1", TRANSPORT_H2, &err);
    char in[4096];
    size_t at = 0;
    for (;;) {
        ssize_t n = at < out->len ? transport_write(t, out->data + at, out->len - at, &err) : 0;
        if (n > 0)
            at += (size_t)n;
        ssize_t got = transport_read(t, in, sizeof(in), &err);
        if (n == -1 || got == 0 || got == -1)
            return;
        struct pollfd p = { transport_fd(t), transport_events(t, at < out->len), 0 };
        if (n == TRANSPORT_AGAIN || at == out->len)
            poll(&p, 1, -1);
    }
}

static void a_request_of_countless_headers_costs_the_connection(void **state)
{
    struct server *s = *state;
    static const char once[] = "\x82\x87\x84\x41\x01"
                               "a\x40\x03x-a\x01v";
    scoped(buffer) struct buffer out = { 0 };
    buffer_add_str(&out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    buffer_add(&out, "\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0", 15); /* no answer is taken */
    buffer_add(&out, "\0\0\x0d\1\1\0\0\0\1", 9);            /* HEADERS, not all of them */
    buffer_add(&out, once, sizeof(once) - 1);
    for (int i = 0; i < 20; i++) {
        buffer_add(&out, "\0\x13\x88\x09", 4); /* CONTINUATION: x-a again, 5,000 times */
        buffer_add(&out, i == 19 ? "\4\0\0\0\1" : "\0\0\0\0\1", 5);
        for (int n = 0; n < 5000; n++)
            buffer_add_char(&out, '\xbe');
    }
    push_until_cut(s, &out);
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
}

static void a_connection_that_resets_every_request_is_closed(void **state)
{
    struct server *s = *state;
    scoped(buffer) struct buffer out = { 0 };
    buffer_add_str(&out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    buffer_add(&out, "\0\0\0\4\0\0\0\0\0", 9); /* SETTINGS */
    for (unsigned id = 1; id < 2 * 2000; id += 2) {
        char stream_id[4] = { 0, 0, (char)(id >> 8), (char)id };
        buffer_add(&out, "\0\0\x0d\1\5", 5); /* HEADERS, all of them, end of stream: GET /reset */
        buffer_add(&out, stream_id, 4);
        buffer_add(&out,
                   "\x82\x87\x04\x06/reset\x41\x01"
                   "a",
                   13);
        buffer_add(&out, "\0\0\4\3\0", 5); /* RST_STREAM, cancel */
        buffer_add(&out, stream_id, 4);
        buffer_add(&out, "\0\0\0\x08", 4);
    }
    push_until_cut(s, &out);
    assert_int_equal(ask(s, "GET", "/describe", (struct bytes){ 0 }, NULL), 200);
}

static void queries_and_paths_are_decoded(void **state)
{
    scoped(arena) struct arena *a = arena_new();
    (void)state;
    struct bytes out;
    assert_int_equal(url_decode(BYTES("a%2Fb+c"), false, a, &out), 0);
    assert_true(bytes_equal_str(out, "a/b+c"));
    assert_int_equal(url_decode(BYTES("a%2fb+c"), true, a, &out), 0);
    assert_true(bytes_equal_str(out, "a/b c"));
    const char *bad[] = { "%", "%2", "%zz", "a%g0" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(url_decode(bytes_of(bad[i]), false, a, &out), -1);
    assert_string_equal(url_encode(BYTES("a b/\xc3\xa9~"), a), "a%20b%2F%C3%A9~");

    struct bytes q =
        BYTES("watch=true&labelSelector=a%3Db&x&command=ls&command=-l&fie%6cd=1&bad=%");
    assert_string_equal(query_get(q, "watch", 0, a), "true");
    assert_string_equal(query_get(q, "labelSelector", 0, a), "a=b");
    assert_string_equal(query_get(q, "x", 0, a), "");
    assert_string_equal(query_get(q, "command", 0, a), "ls");
    assert_string_equal(query_get(q, "command", 1, a), "-l");
    assert_null(query_get(q, "command", 2, a));
    assert_string_equal(query_get(q, "field", 0, a), "1");
    assert_null(query_get(q, "bad", 0, a));
    assert_null(query_get(q, "none", 0, a));
    assert_null(query_get((struct bytes){ 0 }, "none", 0, a));
    struct bytes numbers = BYTES("limit=500&tail=-1&bad=5x&none=&big=99999999999999999999");
    struct error err = { 0 };
    int64_t n = 7;
    assert_int_equal(query_int(numbers, "absent", a, &n, &err), 0);
    assert_int_equal(n, 7);
    assert_int_equal(query_int(numbers, "limit", a, &n, &err), 0);
    assert_int_equal(n, 500);
    assert_int_equal(query_int(numbers, "tail", a, &n, &err), 0);
    assert_int_equal(n, -1);
    assert_int_equal(query_int(numbers, "bad", a, &n, &err), -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_string_equal(err.message, "strconv.ParseInt: parsing \"5x\": invalid syntax");
    assert_int_equal(query_int(numbers, "none", a, &n, &err), -1);
    assert_int_equal(query_int(numbers, "big", a, &n, &err), -1);
    assert_string_equal(err.message,
                        "strconv.ParseInt: parsing \"99999999999999999999\": value out of range");
}

static void a_certificate_from_another_authority_fails_the_handshake(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct net_fixture *stranger = fixture_new();
    struct tls_client_config config = fixture_client_config(stranger);
    config.ca_pem = s->fixture->ca;
    http_client_free(s->client);
    s->client = http_client_new(&config, &err);
    const char *url = arena_printf(s->fixture->arena, "https://%s/describe", s->address);
    struct http_client_response out;
    assert_int_equal(http_client_do(s->client,
                                    &(struct http_client_request){ .method = "GET", .url = url },
                                    NULL, NULL, s->fixture->arena, &out, &err),
                     -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    fixture_free(stranger);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(a_request_shows_its_parts_and_its_peer),
        SERVER_TEST(a_client_without_a_certificate_is_nobody),
        SERVER_TEST(many_parts_arrive_whole_and_are_released_once),
        SERVER_TEST(head_has_the_length_and_no_body),
        SERVER_TEST(a_worker_answers_from_another_thread),
        SERVER_TEST(a_body_over_the_limit_is_413),
        SERVER_TEST(too_many_header_bytes_are_431),
        SERVER_TEST(garbage_closes_only_its_own_connection),
        SERVER_TEST(plain_text_to_a_tls_port_is_harmless),
        SERVER_TEST(a_client_may_leave_while_a_worker_has_its_request),
        SERVER_TEST(a_stream_sends_its_head_at_once_and_chunks_in_order),
        SERVER_TEST(chunks_that_were_added_go_out_with_the_flush),
        SERVER_TEST(a_crowd_of_streams_is_served_in_turns),
        SERVER_TEST(a_stream_learns_that_its_client_has_left),
        SERVER_TEST(a_reader_that_stops_reading_makes_the_queue_grow_and_can_be_cut_off),
        SERVER_TEST(a_producer_that_waits_for_its_reader_learns_that_it_has_left),
        SERVER_TEST(an_upgraded_connection_loses_no_byte),
        SERVER_TEST(a_peer_that_reads_nothing_holds_up_the_writer_not_the_server),
        SERVER_TEST(stopping_ends_streams_and_upgraded_connections),
        SERVER_TEST(a_request_of_countless_headers_costs_the_connection),
        SERVER_TEST(a_connection_that_resets_every_request_is_closed),
        SERVER_TEST(a_certificate_from_another_authority_fails_the_handshake),
        cmocka_unit_test(queries_and_paths_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
