/* SPDX-License-Identifier: Apache-2.0 */
/* http_client_test.c - the HTTP client against our server. */
#include "base/http_client.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/socket.h"
#include "test/unit/base/net_fixture.h"

#define PARKED_MAX 16

struct world {
    struct net_fixture *fixture;
    struct http_server *server;
    struct http_client *client;
    struct http_stream *stream;
    sem_t has_stream, has_parked;
    pthread_mutex_t lock;
    struct http_request *parked[PARKED_MAX];
    size_t parked_n;
    bool is_over; /* nothing is parked any more */
    int cancel_fd;
};

static void echo(struct http_request *r, int status)
{
    struct bytes method = http_request_method(r), body = http_request_body(r);
    struct bytes type = http_request_header(r, "content-type"),
                 host = http_request_header(r, "host");
    char *text = arena_printf(http_request_arena(r), "%.*s [%.*s] type=%.*s host=%.*s",
                              (int)method.len, method.data, (int)body.len, body.data, (int)type.len,
                              type.data, (int)host.len, host.data);
    struct bytes part = bytes_of(text);
    struct http_header h = { "content-type", "text/x-test" };
    http_respond(
        r, &(struct http_response){
               .status = status, .headers = &h, .headers_n = 1, .parts = &part, .parts_n = 1 });
}

static void park(struct world *w, struct http_request *r)
{
    http_request_detach(r);
    pthread_mutex_lock(&w->lock);
    bool stays = !w->is_over && w->parked_n < PARKED_MAX;
    if (stays)
        w->parked[w->parked_n++] = r;
    pthread_mutex_unlock(&w->lock);
    if (!stays)
        http_respond(r, &(struct http_response){ .status = 200 });
    sem_post(&w->has_parked);
}

static void unpark(struct world *w)
{
    pthread_mutex_lock(&w->lock);
    w->is_over = true;
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->parked_n; i++)
        http_respond(w->parked[i], &(struct http_response){ .status = 200 });
}

static void handle(struct http_request *r, void *arg)
{
    struct world *w = arg;
    struct bytes path = http_request_path(r);
    if (bytes_equal_str(path, "/stream")) {
        w->stream = http_stream_start(r, &(struct http_response){ .status = 200 }, NULL, NULL);
        sem_post(&w->has_stream);
    } else if (bytes_equal_str(path, "/park")) {
        park(w, r);
    } else {
        echo(r, bytes_equal_str(path, "/missing") ? 404 : 200);
    }
}

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err = { 0 };
    w->fixture = fixture_new();
    sem_init(&w->has_stream, 0, 0);
    sem_init(&w->has_parked, 0, 0);
    pthread_mutex_init(&w->lock, NULL);
    scoped(tls) struct tls *tls = fixture_server_tls(w->fixture);
    w->server = http_server_start(
        &(struct http_server_config){
            .bind_address = "127.0.0.1", .tls = tls, .loops = 1, .handle = handle, .arg = w },
        &err);
    assert_non_null(w->server);
    struct tls_client_config config = fixture_client_config(w->fixture);
    w->client = http_client_new(&config, &err);
    w->cancel_fd = eventfd(0, EFD_CLOEXEC);
    assert_non_null(w->client);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    unpark(w);
    if (w->stream)
        http_stream_end(w->stream);
    http_client_free(w->client);
    close(w->cancel_fd);
    http_server_stop(w->server, 1000);
    fixture_free(w->fixture);
    free(w);
    return 0;
}

static const char *url_of(struct world *w, const char *host, const char *path)
{
    return arena_printf(w->fixture->arena, "https://%s:%d%s", host, http_server_port(w->server),
                        path);
}

static int do_it(struct world *w, const struct http_client_request *r,
                 struct http_client_response *out, struct error *err)
{
    return http_client_do(w->client, r, NULL, NULL, w->fixture->arena, out, err);
}

static void every_method_carries_its_body_and_headers(void **state)
{
    struct world *w = *state;
    static const char *methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
    for (size_t i = 0; i < 2 * ARRAY_LEN(methods); i++) {
        struct error err = { 0 };
        struct http_client_response out;
        const char *method = methods[i / 2];
        bool has_body = i % 2;
        struct http_header h = { "content-type", "application/json" };
        struct http_client_request r = { .method = method,
                                         .url = url_of(w, "127.0.0.1", "/"),
                                         .headers = &h,
                                         .headers_n = has_body,
                                         .body = has_body ? BYTES("{}") : (struct bytes){ 0 } };
        if (do_it(w, &r, &out, &err) < 0)
            fail_msg("%s", err.message);
        assert_int_equal(out.status, 200);
        assert_true(bytes_equal_str(out.content_type, "text/x-test"));
        const char *expected = arena_printf(
            w->fixture->arena, "%s [%s] type=%s host=127.0.0.1:%d", method, has_body ? "{}" : "",
            has_body ? "application/json" : "", http_server_port(w->server));
        assert_string_equal(out.body.data, expected);
    }
}

static void any_status_is_an_answer(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    struct http_client_request r = { .method = "GET", .url = url_of(w, "127.0.0.1", "/missing") };
    assert_int_equal(do_it(w, &r, &out, &err), 0);
    assert_int_equal(out.status, 404);
    assert_int_equal(out.body.data[0], 'G');
}

static void nobody_there_is_unavailable(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    struct http_client_request r = { .method = "GET", .url = "https://127.0.0.1:1/" };
    assert_int_equal(do_it(w, &r, &out, &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.message, "Get \"https://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: "
                                     "connection refused");
    r.url = "http://no-such-host.invalid/";
    assert_int_equal(
        http_client_round_trip(w->client, &r, NULL, NULL, w->fixture->arena, &out, &err), -1);
    assert_string_equal(err.message, "dial tcp: lookup no-such-host.invalid: no such host");
    r.url = "ftp://127.0.0.1/";
    assert_int_equal(do_it(w, &r, &out, &err), -1);
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

/* The first connection may take longer than that: the next attempt has more time. */
static void a_silent_server_times_out(void **state)
{
    struct world *w = *state;
    struct http_client_response out;
    struct http_client_request r = { .method = "GET",
                                     .url = url_of(w, "127.0.0.1", "/park"),
                                     .timeout_ms = 50 };
    do {
        struct error err = { 0 };
        assert_int_equal(do_it(w, &r, &out, &err), -1);
        assert_int_equal(err.code, ERR_TIMEOUT);
        assert_non_null(strstr(err.message,
                               "\": context deadline exceeded (Client.Timeout exceeded while "
                               "awaiting headers)"));
        r.timeout_ms *= 2;
    } while (sem_trywait(&w->has_parked) < 0);
}

static void an_answer_over_the_limit_is_too_large(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    struct http_client_request r = { .method = "GET",
                                     .url = url_of(w, "127.0.0.1", "/"),
                                     .body_bytes_max = 10 };
    assert_int_equal(do_it(w, &r, &out, &err), -1);
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static int take_piece(struct bytes piece, void *arg)
{
    struct buffer *b = arg;
    buffer_add_bytes(b, piece);
    return strstr(b->data, "stop") ? -1 : 0;
}

static void *feed(void *arg)
{
    struct world *w = arg;
    sem_wait(&w->has_stream);
    static const char *const texts[] = { "one ", "two ", "stop" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(bytes_of(texts[i]));
        http_stream_write(w->stream, chunk);
    }
    return NULL;
}

static void pieces_of_a_stream_arrive_until_the_receiver_stops(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    scoped(buffer) struct buffer b = { 0 };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, feed, w), 0);
    struct http_client_request r = { .method = "GET", .url = url_of(w, "127.0.0.1", "/stream") };
    assert_int_equal(http_client_do(w->client, &r, take_piece, &b, w->fixture->arena, &out, &err),
                     -1);
    assert_int_equal(err.code, ERR_CANCELED);
    assert_string_equal(b.data, "one two stop");
    pthread_join(thread, NULL);
}

static void *cancel_it(void *arg)
{
    struct world *w = arg;
    sem_wait(&w->has_stream);
    eventfd_write(w->cancel_fd, 1);
    return NULL;
}

static void raising_the_flag_ends_a_watch(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    scoped(buffer) struct buffer b = { 0 };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_it, w), 0);
    struct http_client_request r = { .method = "GET",
                                     .url = url_of(w, "127.0.0.1", "/stream"),
                                     .cancel_fd = w->cancel_fd };
    assert_int_equal(http_client_do(w->client, &r, take_piece, &b, w->fixture->arena, &out, &err),
                     -1);
    assert_int_equal(err.code, ERR_CANCELED);
    pthread_join(thread, NULL);
}

static void a_server_name_overrides_the_host_for_the_certificate_alone(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct http_client_response out;
    struct tls_client_config config = fixture_client_config(w->fixture);
    config.server_name = "other.example";
    http_client_free(w->client);
    close(w->cancel_fd);
    w->client = http_client_new(&config, &err);
    struct http_client_request r = { .method = "GET", .url = url_of(w, "127.0.0.1", "/a?b=c") };
    if (do_it(w, &r, &out, &err) < 0)
        fail_msg("%s", err.message);
    assert_non_null(strstr(out.body.data, "host=127.0.0.1:"));
    config.server_name = "wrong.example";
    http_client_free(w->client);
    close(w->cancel_fd);
    w->client = http_client_new(&config, &err);
    assert_int_equal(do_it(w, &r, &out, &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

static void a_bad_certificate_is_found_when_the_client_is_made(void **state)
{
    (void)state;
    struct error err = { 0 };
    assert_null(http_client_new(&(struct tls_client_config){ .ca_pem = BYTES("junk") }, &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(every_method_carries_its_body_and_headers),
        WORLD_TEST(any_status_is_an_answer),
        WORLD_TEST(nobody_there_is_unavailable),
        WORLD_TEST(a_silent_server_times_out),
        WORLD_TEST(an_answer_over_the_limit_is_too_large),
        WORLD_TEST(pieces_of_a_stream_arrive_until_the_receiver_stops),
        WORLD_TEST(raising_the_flag_ends_a_watch),
        WORLD_TEST(a_server_name_overrides_the_host_for_the_certificate_alone),
        cmocka_unit_test(a_bad_certificate_is_found_when_the_client_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
