/* SPDX-License-Identifier: Apache-2.0 */
/* tls_test.c - contexts and blocking streams against a small echo server. */
#include "base/tls.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/socket.h"
#include "base/tls_internal.h"
#include "test/unit/base/net_fixture.h"

struct peer {
    int listen_fd;
    struct tls *tls;
    pthread_t thread;
    struct arena *arena;
    struct tls_peer seen;
    bool is_silent; /* takes the connection and reads nothing */
    sem_t may_end;
};

static void wait_for(struct transport *t, bool want_write)
{
    struct pollfd p = { transport_fd(t), transport_events(t, want_write), 0 };
    poll(&p, 1, -1);
}

/* Serves one connection: what comes in goes out. */
static void *serve(void *arg)
{
    struct peer *p = arg;
    struct pollfd listening = { p->listen_fd, POLLIN, 0 };
    poll(&listening, 1, -1);
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_NONBLOCK);
    scoped(transport) struct transport *t = transport_server_take(fd, p->tls);
    if (p->is_silent) {
        sem_wait(&p->may_end);
        return NULL;
    }
    char buf[4096];
    struct error err = { 0 };
    ssize_t n;
    while ((n = transport_read(t, buf, sizeof(buf), &err)) != 0 && n != -1) {
        if (n == TRANSPORT_AGAIN)
            wait_for(t, false);
        for (ssize_t at = 0; at < n;) {
            ssize_t put = transport_write(t, buf + at, (size_t)(n - at), &err);
            if (put == -1)
                return NULL;
            if (put == TRANSPORT_AGAIN)
                wait_for(t, true);
            else
                at += put;
        }
    }
    transport_peer(t, p->arena, &p->seen);
    return NULL;
}

/* Starts a peer; its address is in ADDRESS. */
static void peer_start(struct peer *p, struct tls *tls, char address[64])
{
    struct error err = { 0 };
    int port = 0;
    p->tls = tls;
    p->arena = arena_new();
    sem_init(&p->may_end, 0, 0);
    p->listen_fd = socket_listen("127.0.0.1", &port, &err);
    assert_true(p->listen_fd >= 0);
    snprintf(address, 64, "localhost:%d", port);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_stop(struct peer *p)
{
    sem_post(&p->may_end);
    pthread_join(p->thread, NULL);
    close(p->listen_fd);
    arena_free(p->arena);
}

static int set_up(void **state)
{
    *state = fixture_new();
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

static void echo_some(struct stream *s)
{
    struct error err = { 0 };
    scoped(buffer) struct buffer b = { 0 };
    if (stream_write(s, "hello there", 11, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(read_until(s, &b, "hello there"));
}

static void a_stream_works_with_and_without_tls(void **state)
{
    struct net_fixture *f = *state;
    struct error err = { 0 };
    struct tls_client_config config = fixture_client_config(f);
    scoped(tls) struct tls *server = fixture_server_tls(f), *client = tls_client_new(&config, &err);
    for (int i = 0; i < 2; i++) {
        struct peer p = { 0 };
        char address[64];
        peer_start(&p, i ? server : NULL, address);
        struct stream *s = stream_dial(address, i ? client : NULL, 60000, &err);
        assert_non_null(s);
        echo_some(s);
        stream_close(s);
        pthread_join(p.thread, NULL);
        if (i) {
            assert_string_equal(p.seen.common_name, "admin");
            assert_int_equal(p.seen.organizations_n, 2);
            assert_string_equal(p.seen.organizations[1], "second");
        } else {
            assert_null(p.seen.common_name);
        }
        close(p.listen_fd);
        arena_free(p.arena);
    }
}

/* What a client that was configured with CONFIG says of SERVER. */
static int handshake_with(struct tls *server, const struct tls_client_config *config,
                          struct error *err)
{
    scoped(tls) struct tls *client = tls_client_new(config, err);
    assert_non_null(client);
    struct peer p = { 0 };
    char address[64], byte;
    peer_start(&p, server, address);
    struct stream *s = stream_dial(address, client, 60000, err);
    assert_non_null(s);
    int rc = stream_write(s, "x", 1, err);
    if (rc == 0 &&
        stream_read(s, &byte, 1, err) != 1) /* TLS 1.3: a refused client learns it here */
        rc = -1;
    stream_close(s);
    peer_stop(&p);
    return rc;
}

/* The same of a server with F's certificate. */
static int handshake(struct net_fixture *f, const struct tls_client_config *config,
                     struct error *err)
{
    scoped(tls) struct tls *server = fixture_server_tls(f);
    return handshake_with(server, config, err);
}

static void only_a_server_of_the_expected_name_and_authority_is_trusted(void **state)
{
    struct net_fixture *f = *state;
    struct net_fixture *stranger = fixture_new();
    struct error err = { 0 };
    struct tls_client_config good = fixture_client_config(f), c = good;
    assert_int_equal(handshake(f, &good, &err), 0);
    c.server_name = "other.example";
    assert_int_equal(handshake(f, &c, &err), 0);
    c.server_name = "127.0.0.1";
    assert_int_equal(handshake(f, &c, &err), 0);
    c.server_name = "wrong.example";
    assert_int_equal(handshake(f, &c, &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "hostname mismatch"));
    c = good;
    c.ca_pem = stranger->ca;
    assert_int_equal(handshake(f, &c, &err), -1);
    c.insecure_skip_verify = true;
    assert_int_equal(handshake(f, &c, &err), 0);
    fixture_free(stranger);
}

static void a_client_certificate_must_verify_but_may_be_missing(void **state)
{
    struct net_fixture *f = *state;
    struct net_fixture *stranger = fixture_new();
    struct error err = { 0 };
    struct tls_client_config c = fixture_client_config(f);
    c.certificate_pem = c.key_pem = (struct bytes){ 0 };
    assert_int_equal(handshake(f, &c, &err), 0);
    c.certificate_pem = stranger->client;
    c.key_pem = stranger->client_key;
    assert_int_equal(handshake(f, &c, &err), -1);
    c.certificate_pem = f->server; /* ours, but not for clients */
    c.key_pem = f->server_key;
    assert_int_equal(handshake(f, &c, &err), -1);
    fixture_free(stranger);
}

static void bad_pem_fails_with_a_message(void **state)
{
    struct net_fixture *f = *state;
    struct error err = { 0 };
    assert_null(
        tls_server_new(&(struct tls_server_config){ BYTES("junk"), f->server_key, f->ca }, &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_null(
        tls_server_new(&(struct tls_server_config){ f->server, f->client_key, f->ca }, &err));
    assert_null(tls_server_new(
        &(struct tls_server_config){ f->server, f->server_key, BYTES("junk") }, &err));
    assert_null(tls_client_new(&(struct tls_client_config){ .ca_pem = BYTES("junk") }, &err));
}

static void a_renewed_certificate_is_shown_from_the_next_handshake_on(void **state)
{
    struct net_fixture *f = *state, *other = fixture_new();
    struct error err = { 0 };
    struct tls_client_config old = fixture_client_config(f), new = old;
    new.ca_pem = other->ca; /* who has signed the next certificate */
    scoped(tls) struct tls *server = fixture_server_tls(f);
    assert_int_equal(handshake_with(server, &new, &err), -1);
    assert_int_equal(tls_server_renew(server, other->server, other->server_key, &err), 0);
    assert_int_equal(handshake_with(server, &new, &err), 0);
    assert_int_equal(handshake_with(server, &old, &err), -1);
    fixture_free(other);
}

static void what_cannot_be_shown_does_not_replace_a_certificate(void **state)
{
    struct net_fixture *f = *state;
    struct error err = { 0 };
    struct tls_client_config client = fixture_client_config(f);
    scoped(tls) struct tls *server = fixture_server_tls(f);
    assert_int_equal(tls_server_renew(server, f->server, f->client_key, &err), -1);
    assert_string_equal(err.message, "read private key: key values mismatch");
    assert_int_equal(tls_server_renew(server, BYTES("junk"), f->server_key, &err), -1);
    assert_int_equal(handshake_with(server, &client, &err), 0);
}

static const char sealed_key[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg1Jer5lWp4kwICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEEiymbYC+SjEIxi2m5+IQM4EgZAQ\n"
    "9r5Y9GL/iEuXNhDAefxaT+5VZBHSaU8Oe0RfveN1P3WQ1eGfrBMJ3yK7tCp8SnSM\n"
    "LqZvooew7pxIqFci0hu18ZeGDeE6v2/gMu1XP79xsH2IbfJ0SFIgdNolw8VYa/ig\n"
    "vRr5NRvp0yufV2uVjzExHj14GodXSTIPxri08FjX7MMhkAPmpxD61oX0pacuKNM=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

static void a_key_with_a_password_is_an_error_and_no_question(void **state)
{
    struct net_fixture *f = *state;
    struct error err = { 0 };
    struct tls_server_config config = { f->server, BYTES(sealed_key), f->ca };
    assert_null(tls_server_new(&config, &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    assert_non_null(strstr(err.message, "read private key"));
}

static void bad_addresses_fail_with_a_message(void **state)
{
    (void)state;
    struct error err = { 0 };
    /* clang-format off */
    static const char *const cases[][2] = {
        { "", "dial tcp: address : missing port in address" },
        { "localhost", "dial tcp: address localhost: missing port in address" },
        { ":80", "dial tcp: address :80: missing host in address" },
        { "localhost:", "dial tcp: address localhost:: missing port in address" },
        { "127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused" },
        { "unix:/tmp/no-such-socket",
          "dial unix /tmp/no-such-socket: connect: no such file or directory" },
        { "no-such-host.invalid:80", "dial tcp: lookup no-such-host.invalid: " },
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_null(stream_dial(cases[i][0], NULL, 1000, &err));
        if (!str_has_prefix(err.message, cases[i][1]))
            fail_msg("%s", err.message);
    }
}

static void *read_forever(void *arg)
{
    char byte;
    struct error err = { 0 };
    assert_int_equal(stream_read(arg, &byte, 1, &err), -1);
    assert_int_equal(err.code, ERR_CANCELED);
    return NULL;
}

static void *write_forever(void *arg)
{
    struct error err = { 0 };
    char *data = xcalloc(1, 1000000);
    while (stream_write(arg, data, 1000000, &err) == 0)
        ;
    assert_int_equal(err.code, ERR_CANCELED);
    free(data);
    return NULL;
}

static void shutting_down_wakes_the_reader_and_the_writer(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct peer p = { .is_silent = true };
    char address[64];
    peer_start(&p, NULL, address);
    struct stream *s = stream_dial(address, NULL, 60000, &err);
    assert_non_null(s);
    pthread_t reader, writer;
    assert_int_equal(pthread_create(&reader, NULL, read_forever, s), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_forever, s), 0);
    usleep(50000); /* so that they are asleep, most of the time */
    stream_shutdown(s);
    pthread_join(reader, NULL);
    pthread_join(writer, NULL);
    stream_close(s);
    peer_stop(&p);
}

#define FIXTURE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_stream_works_with_and_without_tls),
        FIXTURE_TEST(only_a_server_of_the_expected_name_and_authority_is_trusted),
        FIXTURE_TEST(a_client_certificate_must_verify_but_may_be_missing),
        FIXTURE_TEST(bad_pem_fails_with_a_message),
        FIXTURE_TEST(a_renewed_certificate_is_shown_from_the_next_handshake_on),
        FIXTURE_TEST(what_cannot_be_shown_does_not_replace_a_certificate),
        FIXTURE_TEST(a_key_with_a_password_is_an_error_and_no_question),
        cmocka_unit_test(bad_addresses_fail_with_a_message),
        cmocka_unit_test(shutting_down_wakes_the_reader_and_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
