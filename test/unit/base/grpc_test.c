/* SPDX-License-Identifier: Apache-2.0 */
/* grpc_test.c - our gRPC client against our gRPC server, over real sockets. */
#include "base/grpc.h"

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/socket.h"
#include "test/unit/base/net_fixture.h"

struct server {
    struct net_fixture *fixture;
    struct grpc_server *grpc;
    struct grpc_channel *channel;
    char target[64];
    sem_t has_call, has_closed;
    struct grpc_server_call *parked;
    pthread_t worker;
    atomic_int closed, turns;
};

static void *open_call(struct grpc_server_call *call, void *arg)
{
    (void)call;
    return arg;
}

/* Answers with what it got. */
static void echo_message(struct grpc_server_call *call, struct bytes message, void *state)
{
    (void)state;
    grpc_call_send(call, message);
}

static void echo_end(struct grpc_server_call *call, void *state)
{
    (void)state;
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void just_finish(struct grpc_server_call *call, void *state)
{
    struct server *s = state;
    atomic_fetch_add(&s->closed, 1);
    grpc_call_finish(call, GRPC_CANCELLED, "gone");
    sem_post(&s->has_closed);
}

static void *fail_open(struct grpc_server_call *call, void *arg)
{
    grpc_call_finish(call, GRPC_NOT_FOUND, "no \"key\" 100% h\xc3\xa9re\n");
    return arg;
}

static void describe_end(struct grpc_server_call *call, void *state)
{
    (void)state;
    const struct tls_peer *peer = grpc_call_peer(call);
    const char *token = grpc_call_metadata(call, "token");
    char text[200];
    int n =
        snprintf(text, sizeof(text), "%s %zu %s", peer->common_name ? peer->common_name : "nobody",
                 peer->organizations_n, token ? token : "-");
    grpc_call_send(call, (struct bytes){ text, (size_t)n });
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void park(struct grpc_server_call *call, void *state)
{
    struct server *s = state;
    s->parked = call;
    sem_post(&s->has_call);
}

static void *work(void *arg)
{
    struct grpc_server_call *call = arg;
    grpc_call_send(call, BYTES("from a worker"));
    grpc_call_finish(call, GRPC_OK, NULL);
    return NULL;
}

static void to_worker(struct grpc_server_call *call, void *state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, call), 0);
    pthread_detach(thread);
}

static void answer_data(struct grpc_server_call *call, void *state)
{
    (void)state;
    grpc_call_answer(call, bytes_of(grpc_call_data(call)));
}

/* After the messages of a turn. */
static void note_turn(void *arg)
{
    struct server *s = arg;
    atomic_fetch_add(&s->turns, 1);
}

static const struct grpc_server_handler handlers[] = {
    { "/test/Echo", open_call, echo_message, echo_end, just_finish, NULL, NULL },
    { "/test/Fail", fail_open, NULL, NULL, NULL, NULL, NULL },
    { "/test/Describe", open_call, NULL, describe_end, just_finish, NULL, NULL },
    { "/test/Park", open_call, NULL, park, just_finish, NULL, NULL },
    { "/test/Worker", open_call, NULL, to_worker, just_finish, NULL, NULL },
    { "/test/Data", open_call, NULL, answer_data, just_finish, NULL, "the handler's own" },
};

static void start(struct server *s, struct tls *tls, int port)
{
    struct error err = { 0 };
    s->grpc = grpc_server_start(&(struct grpc_server_config){ .bind_address = "127.0.0.1",
                                                              .port = port,
                                                              .tls = tls,
                                                              .handlers = handlers,
                                                              .handlers_n = ARRAY_LEN(handlers),
                                                              .turn_end = note_turn,
                                                              .arg = s },
                                &err);
    if (!s->grpc)
        fail_msg("%s", err.message);
    snprintf(s->target, sizeof(s->target), "127.0.0.1:%d", grpc_server_port(s->grpc));
}

static int set_up(void **state)
{
    struct server *s = xcalloc(1, sizeof(*s));
    struct error err = { 0 };
    s->fixture = fixture_new();
    sem_init(&s->has_call, 0, 0);
    sem_init(&s->has_closed, 0, 0);
    scoped(tls) struct tls *server = fixture_server_tls(s->fixture);
    start(s, server, 0);
    struct tls_client_config config = fixture_client_config(s->fixture);
    scoped(tls) struct tls *client = tls_client_new(&config, &err);
    s->channel = grpc_channel_new(s->target, client, &err);
    assert_non_null(s->channel);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct server *s = *state;
    grpc_channel_free(s->channel);
    grpc_server_stop(s->grpc);
    fixture_free(s->fixture);
    free(s);
    return 0;
}

static void a_message_of_any_size_comes_back(void **state)
{
    struct server *s = *state;
    static const size_t sizes[] = { 0, 1, 16379, 16384, 100000, 5000000, GRPC_MESSAGE_BYTES_MAX };
    char *data = xmalloc(GRPC_MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < GRPC_MESSAGE_BYTES_MAX; i++)
        data[i] = (char)(i % 251);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct error err = { 0 };
        struct bytes out;
        enum grpc_status status;
        if (grpc_unary(s->channel, "/test/Echo", (struct bytes){ data, sizes[i] }, NULL,
                       s->fixture->arena, &out, &status, &err) < 0)
            fail_msg("%s", err.message);
        assert_int_equal(status, GRPC_OK);
        assert_true(bytes_equal(out, (struct bytes){ data, sizes[i] }));
    }
    free(data);
}

static void a_message_over_the_limit_is_refused_before_it_is_sent(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    char *data = xcalloc(1, GRPC_MESSAGE_BYTES_MAX + 1);
    assert_int_equal(grpc_unary(s->channel, "/test/Echo",
                                (struct bytes){ data, GRPC_MESSAGE_BYTES_MAX + 1 }, NULL,
                                s->fixture->arena, &out, NULL, &err),
                     -1);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    free(data);
}

static void a_failure_carries_its_status_and_any_text(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    enum grpc_status status;
    assert_int_equal(grpc_unary(s->channel, "/test/Fail", BYTES("x"), NULL, s->fixture->arena, &out,
                                &status, &err),
                     -1);
    assert_int_equal(status, GRPC_NOT_FOUND);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.message, "no \"key\" 100% h\xc3\xa9re\n");
}

static void an_unknown_method_is_unimplemented(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    enum grpc_status status;
    assert_int_equal(grpc_unary(s->channel, "/test/None", BYTES("x"), NULL, s->fixture->arena, &out,
                                &status, &err),
                     -1);
    assert_int_equal(status, GRPC_UNIMPLEMENTED);
}

static void the_server_knows_the_client_and_its_metadata(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    struct grpc_metadata metadata = { "token", "secret" };
    assert_int_equal(
        grpc_unary(s->channel, "/test/Describe", BYTES(""),
                   &(struct grpc_call_options){ .metadata = &metadata, .metadata_n = 1 },
                   s->fixture->arena, &out, NULL, &err),
        0);
    assert_true(bytes_equal_str(out, "admin 2 secret"));
}

/* On a busy machine a deadline may pass before the server has heard of the call, or before there is
 * a connection: the next attempt has a later one. */
#define DEADLINE_MS_MIN 20
#define DEADLINE_MS_MAX 60000
static int later_deadline(struct server *s, int deadline_ms)
{
    if (sem_trywait(&s->has_call) == 0)
        return 0;
    assert_true(deadline_ms < DEADLINE_MS_MAX);
    return 2 * deadline_ms;
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    struct server *s = *state;
    struct bytes out;
    enum grpc_status status;
    for (int ms = DEADLINE_MS_MIN; ms; ms = later_deadline(s, ms)) {
        struct error err = { 0 };
        struct grpc_call_options options = { .timeout_ms = ms };
        assert_int_equal(grpc_unary(s->channel, "/test/Park", BYTES("x"), &options,
                                    s->fixture->arena, &out, &status, &err),
                         -1);
        assert_int_equal(status, GRPC_DEADLINE_EXCEEDED);
        assert_int_equal(err.code, ERR_TIMEOUT);
    }
    sem_wait(&s->has_closed);
}

static void a_stream_goes_both_ways(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    struct grpc_stream *stream = grpc_stream_open(s->channel, "/test/Echo", NULL, &err);
    for (int i = 0; i < 100; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "m%d", i);
        assert_int_equal(grpc_stream_send(stream, (struct bytes){ text, (size_t)n }, &err), 0);
        assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 1);
        assert_true(bytes_equal_str(out, text));
    }
    grpc_stream_end_send(stream);
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 0);
    assert_int_equal(grpc_stream_status(stream), GRPC_OK);
    grpc_stream_close(stream);
}

static void *cancel_it(void *arg)
{
    grpc_stream_cancel(arg);
    return NULL;
}

static void canceling_wakes_the_receiver_and_tells_the_server(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    struct grpc_stream *stream = grpc_stream_open(s->channel, "/test/Echo", NULL, &err);
    assert_int_equal(grpc_stream_send(stream, BYTES("x"), &err), 0);
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_it, stream), 0);
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), -1);
    assert_int_equal(err.code, ERR_CANCELED);
    pthread_join(thread, NULL);
    grpc_stream_close(stream);
    sem_wait(&s->has_closed);
}

static void a_slow_receiver_holds_the_server_back_and_loses_nothing(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct bytes out;
    struct grpc_stream *stream = grpc_stream_open(s->channel, "/test/Park", NULL, &err);
    grpc_stream_end_send(stream);
    sem_wait(&s->has_call);
    size_t size = 1000000;
    char *data = xcalloc(1, size);
    for (int i = 0; i < 64; i++) {
        data[0] = (char)i;
        grpc_call_send(s->parked, (struct bytes){ data, size });
    }
    usleep(200000); /* as much as will go is on its way; the rest must not be */
    assert_true(grpc_call_queued_bytes(s->parked) > 30 * size);
    grpc_call_finish(s->parked, GRPC_OK, NULL);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(grpc_stream_receive(stream, a, &out, &err), 1);
        assert_int_equal(out.len, size);
        assert_int_equal(out.data[0], i);
        arena_reset(a);
    }
    assert_int_equal(grpc_stream_receive(stream, a, &out, &err), 0);
    grpc_stream_close(stream);
    free(data);
}

static struct grpc_stream *open_parked(struct server *s)
{
    struct error err = { 0 };
    struct grpc_stream *stream = grpc_stream_open(s->channel, "/test/Park", NULL, &err);
    assert_non_null(stream);
    grpc_stream_end_send(stream);
    sem_wait(&s->has_call);
    return stream;
}

static void assert_next(struct server *s, struct grpc_stream *stream, const char *text, size_t len)
{
    struct error err = { 0 };
    struct bytes out;
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 1);
    assert_true(bytes_equal(out, (struct bytes){ text, len }));
}

static void an_answer_and_a_handler_have_their_own_data(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    assert_int_equal(
        grpc_unary(s->channel, "/test/Data", BYTES("?"), NULL, s->fixture->arena, &out, NULL, &err),
        0);
    assert_true(bytes_equal_str(out, "the handler's own"));
    assert_true(atomic_load(&s->turns) > 0);
}

static void a_message_may_come_in_parts(void **state)
{
    struct server *s = *state;
    struct grpc_stream *stream = open_parked(s);
    enum { PARTS = 40, PART_BYTES = 50000 };
    scoped(str) char *whole = xmalloc(PARTS * PART_BYTES);
    grpc_call_send(s->parked, BYTES("before"));
    grpc_call_send_header(s->parked, PARTS * PART_BYTES);
    for (int i = 0; i < PARTS; i++) {
        char *part = xmalloc(PART_BYTES);
        memset(part, 'a' + i % 26, PART_BYTES);
        memcpy(whole + i * PART_BYTES, part, PART_BYTES);
        grpc_call_send_part_take(s->parked, part, PART_BYTES);
    }
    grpc_call_answer(s->parked, BYTES("after"));
    assert_next(s, stream, "before", 6);
    assert_next(s, stream, whole, PARTS * PART_BYTES);
    assert_next(s, stream, "after", 5);
    grpc_stream_close(stream);
}

static void bytes_are_shared_by_messages_with_different_starts(void **state)
{
    struct server *s = *state;
    struct grpc_stream *stream = open_parked(s);
    const size_t sizes[] = { 0, 10, 1024, 1025, 100000 }; /* small ones are copied */
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct shared_bytes *rest = shared_bytes_new_sized(sizes[i]);
        memset(rest->data, 'x', sizes[i]);
        grpc_call_send_shared(s->parked, BYTES("one"), rest);
        grpc_call_send_shared(s->parked, (struct bytes){ 0 }, rest);
        shared_bytes_unref(rest);
    }
    grpc_call_finish(s->parked, GRPC_OK, NULL);
    scoped(str) char *text = xmalloc(100004);
    memset(text, 'x', 100004);
    memcpy(text, "one", 3);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_next(s, stream, text, 3 + sizes[i]);
        assert_next(s, stream, text + 3, sizes[i]);
    }
    grpc_stream_close(stream);
}

static void what_is_held_back_goes_out_at_the_release(void **state)
{
    struct server *s = *state;
    struct grpc_stream *stream = open_parked(s);
    grpc_server_hold(s->grpc);
    grpc_call_send(s->parked, BYTES("one"));
    grpc_call_send(s->parked, BYTES("two"));
    grpc_server_release(s->grpc);
    assert_next(s, stream, "one", 3);
    assert_next(s, stream, "two", 3);
    grpc_server_hold(s->grpc);
    grpc_call_finish(s->parked, GRPC_OK, NULL);
    grpc_server_release(s->grpc);
    struct error err = { 0 };
    struct bytes out;
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 0);
    grpc_stream_close(stream);
}

static void waiting_for_room_ends_with_room_or_with_its_time(void **state)
{
    struct server *s = *state;
    struct grpc_stream *stream = open_parked(s);
    size_t size = 60 * 1000 * 1000 / 4; /* more than the windows take */
    for (int i = 0; i < 4; i++)
        grpc_call_send_take(s->parked, xcalloc(1, size), size);
    assert_true(grpc_call_wait_room(s->parked, 0, 1));
    assert_true(grpc_call_queued_bytes(s->parked) > 0);
    struct error err = { 0 };
    for (int i = 0; i < 4; i++) {
        scoped(arena) struct arena *a = arena_new();
        struct bytes out;
        assert_int_equal(grpc_stream_receive(stream, a, &out, &err), 1);
    }
    assert_true(grpc_call_wait_room(s->parked, 0, -1));
    assert_int_equal(grpc_call_queued_bytes(s->parked), 0);
    grpc_call_finish(s->parked, GRPC_OK, NULL);
    grpc_stream_close(stream);
}

struct caller {
    struct server *s;
    int failures;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 300; i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        struct bytes out;
        bool to_worker = i % 3 == 0;
        if (grpc_unary(c->s->channel, to_worker ? "/test/Worker" : "/test/Echo", BYTES("hello"),
                       NULL, a, &out, NULL, &err) < 0 ||
            !bytes_equal_str(out, to_worker ? "from a worker" : "hello"))
            c->failures++;
    }
    return NULL;
}

static void many_threads_share_one_channel(void **state)
{
    pthread_t threads[8];
    struct caller callers[8];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        callers[i] = (struct caller){ *state, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].failures, 0);
    }
}

static void a_lost_connection_fails_its_calls_and_is_made_anew(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    enum grpc_status status;
    int port = grpc_server_port(s->grpc);
    struct grpc_stream *stream = grpc_stream_open(s->channel, "/test/Echo", NULL, &err);
    assert_int_equal(grpc_stream_send(stream, BYTES("x"), &err), 0);
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), 1);
    grpc_server_stop(s->grpc);
    assert_int_equal(grpc_stream_receive(stream, s->fixture->arena, &out, &err), -1);
    grpc_stream_close(stream);
    while (grpc_unary(s->channel, "/test/Echo", BYTES("x"), NULL, s->fixture->arena, &out, &status,
                      &err) == 0)
        ;
    assert_int_equal(status, GRPC_UNAVAILABLE);
    assert_int_equal(err.code, ERR_UNAVAILABLE);

    scoped(tls) struct tls *tls = fixture_server_tls(s->fixture);
    start(s, tls, port);
    assert_int_equal(
        grpc_unary(s->channel, "/test/Echo", BYTES("x"), NULL, s->fixture->arena, &out, NULL, &err),
        0);
}

static void garbage_and_plain_text_do_not_harm_the_server(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    scoped(tls) struct tls *tls =
        tls_client_new(&(struct tls_client_config){ .ca_pem = s->fixture->ca }, &err);
    for (int i = 0; i < 4; i++) {
        scoped(stream) struct stream *stream =
            stream_dial(s->target, i % 2 ? tls : NULL, 60000, &err);
        scoped(buffer) struct buffer b = { 0 };
        const char *text = i < 2 ? "GET / HTTP/1.1\r\n\r\n"
                                 : "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\1\1\1\1\1\1\1";
        assert_int_equal(stream_write(stream, text, strlen(text), &err), 0);
        assert_false(read_until(stream, &b, "never"));
    }
    assert_int_equal(
        grpc_unary(s->channel, "/test/Echo", BYTES("x"), NULL, s->fixture->arena, &out, NULL, &err),
        0);
}

static void wait_for_turn(struct server *s, int after)
{
    while (atomic_load(&s->turns) == after)
        usleep(1000);
}

static void a_server_that_ran_out_of_descriptors_recovers_without_a_client(void **state)
{
    struct server *s = *state;
    struct error err = { 0 };
    struct bytes out;
    struct rlimit old, none;
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)grpc_server_port(s->grpc)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    scoped(fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int next = dup(fd), turns = atomic_load(&s->turns);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){ .rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    wait_for_turn(s, turns);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(
        grpc_unary(s->channel, "/test/Echo", BYTES("x"), NULL, s->fixture->arena, &out, NULL, &err),
        0);
}

static void nobody_there_is_unavailable(void **state)
{
    (void)state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct bytes out;
    enum grpc_status status;
    struct grpc_channel *c = grpc_channel_new("unix:/tmp/there-is-no-such-socket", NULL, &err);
    assert_int_equal(grpc_unary(c, "/test/Echo", BYTES("x"), NULL, a, &out, &status, &err), -1);
    assert_int_equal(status, GRPC_UNAVAILABLE);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    grpc_channel_free(c);
    assert_null(grpc_channel_new("no-port", NULL, &err));
}

static void a_unix_socket_without_tls_works_too(void **state)
{
    (void)state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct bytes out;
    char *address = arena_printf(a, "unix:/tmp/coracle-grpc-test-%d.sock", (int)getpid());
    struct server s = { 0 };
    sem_init(&s.has_closed, 0, 0);
    struct grpc_server *server =
        grpc_server_start(&(struct grpc_server_config){ .bind_address = address,
                                                        .handlers = handlers,
                                                        .handlers_n = ARRAY_LEN(handlers),
                                                        .arg = &s },
                          &err);
    assert_non_null(server);
    struct grpc_channel *c = grpc_channel_new(address, NULL, &err);
    assert_int_equal(grpc_unary(c, "/test/Describe", BYTES("x"), NULL, a, &out, NULL, &err), 0);
    assert_true(bytes_equal_str(out, "nobody 0 -"));
    grpc_channel_free(c);
    grpc_server_stop(server);
    assert_int_equal(access(address + strlen("unix:"), F_OK), -1);
}

/* ---- without waiting ---- */

struct heard {
    sem_t has_ended;
    struct buffer text; /* of the messages */
    enum grpc_status status;
    bool not_sent;
    struct error err;
};

static void hear_message(struct bytes message, void *arg)
{
    struct heard *h = arg;
    buffer_add_bytes(&h->text, message);
}

static void hear_end(enum grpc_status status, bool not_sent, const struct error *err, void *arg)
{
    struct heard *h = arg;
    h->status = status;
    h->not_sent = not_sent;
    h->err = *err;
    sem_post(&h->has_ended);
}

static struct grpc_events hear(struct heard *h)
{
    *h = (struct heard){ 0 };
    sem_init(&h->has_ended, 0, 0);
    return (struct grpc_events){ hear_message, hear_end, h };
}

static void calls_need_no_thread_that_waits(void **state)
{
    enum { CALLS = 100 };
    struct server *s = *state;
    struct heard heard[CALLS];
    for (int i = 0; i < CALLS; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        struct grpc_events events = hear(&heard[i]);
        grpc_unary_start(s->channel, "/test/Echo", bytes_of(text), NULL, &events);
    }
    for (int i = 0; i < CALLS; i++) {
        sem_wait(&heard[i].has_ended);
        assert_int_equal(heard[i].status, GRPC_OK);
        assert_int_equal(heard[i].err.code, ERR_NONE);
        assert_int_equal(atoi(heard[i].text.data), i);
        buffer_free(&heard[i].text);
    }
}

static void a_call_for_which_nobody_waits_ends_at_its_deadline(void **state)
{
    struct server *s = *state;
    struct heard h;
    bool was_sent = false;
    for (int ms = DEADLINE_MS_MIN; ms; ms = later_deadline(s, ms)) {
        struct grpc_events events = hear(&h);
        struct grpc_call_options options = { .timeout_ms = ms };
        grpc_unary_start(s->channel, "/test/Park", BYTES("x"), &options, &events);
        sem_wait(&h.has_ended);
        assert_int_equal(h.status, GRPC_DEADLINE_EXCEEDED);
        assert_int_equal(h.err.code, ERR_TIMEOUT);
        was_sent |= !h.not_sent;
    }
    assert_true(was_sent);
    sem_wait(&s->has_closed);
}

static void a_channel_that_is_freed_ends_its_calls(void **state)
{
    struct server *s = *state;
    struct heard h;
    struct grpc_events events = hear(&h);
    grpc_unary_start(s->channel, "/test/Park", BYTES("x"), NULL, &events);
    sem_wait(&s->has_call);
    grpc_channel_free(take_ptr(&s->channel));
    sem_wait(&h.has_ended);
    assert_int_equal(h.status, GRPC_UNAVAILABLE);
    sem_wait(&s->has_closed);
}

static void what_was_never_sent_is_known(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct heard h;
    struct grpc_events events = hear(&h);
    struct grpc_channel *c = grpc_channel_new("127.0.0.1:1", NULL, &err);
    grpc_unary_start(c, "/test/Echo", BYTES("x"), NULL, &events);
    sem_wait(&h.has_ended);
    assert_int_equal(h.status, GRPC_UNAVAILABLE);
    assert_true(h.not_sent);
    grpc_channel_free(c);
}

/* The kernel accepts for a process that is stopped: the connection is there, and nobody behind it.
 */
static void a_silent_peer_is_given_up(void **state)
{
    (void)state;
    struct error err = { 0 };
    int port = 0, listener = socket_listen("127.0.0.1", &port, &err);
    assert_true(listener >= 0);
    char target[32];
    snprintf(target, sizeof(target), "127.0.0.1:%d", port);
    struct grpc_channel_config config = { .target = target,
                                          .ping_after_ms = 10,
                                          .ping_timeout_ms = 10 };
    struct grpc_channel *c = grpc_channel_open(&config, &err);
    struct heard h;
    struct grpc_events events = hear(&h);
    grpc_unary_start(c, "/test/Echo", BYTES("x"), NULL, &events);
    sem_wait(&h.has_ended);
    assert_int_equal(h.status, GRPC_UNAVAILABLE);
    assert_string_equal(h.err.message, "the peer does not answer");
    assert_false(h.not_sent);
    grpc_channel_free(c);
    close(listener);
}

/* Not after the ten minutes of silence that a watch may keep. */
static void a_peer_that_owes_an_answer_is_asked_soon(void **state)
{
    (void)state;
    struct error err = { 0 };
    int port = 0, listener = socket_listen("127.0.0.1", &port, &err);
    assert_true(listener >= 0);
    char target[32];
    snprintf(target, sizeof(target), "127.0.0.1:%d", port);
    struct grpc_channel_config config = { .target = target,
                                          .ping_after_ms = 600 * 1000,
                                          .ping_timeout_ms = 10 };
    struct grpc_channel *c = grpc_channel_open(&config, &err);
    struct heard watch, call;
    struct grpc_events events = hear(&watch), more = hear(&call);
    struct grpc_call_options options = { .timeout_ms = 600 * 1000 };
    grpc_unary_start(c, "/test/Echo", BYTES("x"), NULL, &events);
    grpc_unary_start(c, "/test/Echo", BYTES("x"), &options, &more);
    sem_wait(&call.has_ended);
    assert_string_equal(call.err.message, "the peer does not answer");
    sem_wait(&watch.has_ended);
    grpc_channel_free(c);
    close(listener);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(a_message_of_any_size_comes_back),
        SERVER_TEST(a_message_over_the_limit_is_refused_before_it_is_sent),
        SERVER_TEST(a_failure_carries_its_status_and_any_text),
        SERVER_TEST(an_unknown_method_is_unimplemented),
        SERVER_TEST(the_server_knows_the_client_and_its_metadata),
        SERVER_TEST(a_deadline_ends_the_call_on_both_sides),
        SERVER_TEST(a_stream_goes_both_ways),
        SERVER_TEST(canceling_wakes_the_receiver_and_tells_the_server),
        SERVER_TEST(a_slow_receiver_holds_the_server_back_and_loses_nothing),
        SERVER_TEST(many_threads_share_one_channel),
        SERVER_TEST(a_lost_connection_fails_its_calls_and_is_made_anew),
        SERVER_TEST(garbage_and_plain_text_do_not_harm_the_server),
        SERVER_TEST(a_server_that_ran_out_of_descriptors_recovers_without_a_client),
        SERVER_TEST(an_answer_and_a_handler_have_their_own_data),
        SERVER_TEST(a_message_may_come_in_parts),
        SERVER_TEST(bytes_are_shared_by_messages_with_different_starts),
        SERVER_TEST(what_is_held_back_goes_out_at_the_release),
        SERVER_TEST(waiting_for_room_ends_with_room_or_with_its_time),
        SERVER_TEST(calls_need_no_thread_that_waits),
        SERVER_TEST(a_call_for_which_nobody_waits_ends_at_its_deadline),
        SERVER_TEST(a_channel_that_is_freed_ends_its_calls),
        cmocka_unit_test(what_was_never_sent_is_known),
        cmocka_unit_test(a_silent_peer_is_given_up),
        cmocka_unit_test(a_peer_that_owes_an_answer_is_asked_soon),
        cmocka_unit_test(nobody_there_is_unavailable),
        cmocka_unit_test(a_unix_socket_without_tls_works_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
