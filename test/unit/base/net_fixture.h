/* SPDX-License-Identifier: Apache-2.0 */
/* net_fixture.h - what the tests of the network modules share: certificates and raw HTTP. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/tls.h"

struct net_fixture {
    struct arena *arena;
    struct bytes ca_key, ca;
    struct bytes server_key, server;
    struct bytes client_key, client;
};

static inline void fixture_sign(struct net_fixture *f, struct certificate_request *r,
                                struct bytes *key, struct bytes *cert)
{
    struct error err = { 0 };
    int64_t now = clock_wall_ns(&system_clock);
    r->not_before_ns = now - 60 * NS_PER_S;
    r->not_after_ns = now + 3600 * NS_PER_S;
    assert_int_equal(crypto_new_key(f->arena, key, &err), 0);
    assert_int_equal(crypto_sign_certificate(r, *key, f->ca, f->ca_key, f->arena, cert, &err), 0);
}

static inline struct net_fixture *fixture_new(void)
{
    struct net_fixture *f = xcalloc(1, sizeof(*f));
    f->arena = arena_new();
    struct bytes key, cert;
    fixture_sign(f, &(struct certificate_request){ .common_name = "test ca", .is_ca = true }, &key,
                 &cert);
    f->ca_key = key;
    f->ca = cert;
    static const char *dns[] = { "localhost", "other.example", NULL },
                      *ips[] = { "127.0.0.1", NULL };
    fixture_sign(
        f,
        &(struct certificate_request){
            .common_name = "server", .dns_names = dns, .ip_addresses = ips, .for_server = true },
        &f->server_key, &f->server);
    static const char *groups[] = { "system:masters", "second", NULL };
    fixture_sign(f,
                 &(struct certificate_request){
                     .common_name = "admin", .organizations = groups, .for_client = true },
                 &f->client_key, &f->client);
    return f;
}

static inline void fixture_free(struct net_fixture *f)
{
    arena_free(f->arena);
    free(f);
}

static inline struct tls *fixture_server_tls(struct net_fixture *f)
{
    struct error err = { 0 };
    struct tls *t =
        tls_server_new(&(struct tls_server_config){ f->server, f->server_key, f->ca }, &err);
    assert_non_null(t);
    return t;
}

static inline struct tls_client_config fixture_client_config(struct net_fixture *f)
{
    return (struct tls_client_config){ .ca_pem = f->ca,
                                       .certificate_pem = f->client,
                                       .key_pem = f->client_key };
}

/* Reads from S until TEXT has come by or the peer ends. */
static inline bool read_until(struct stream *s, struct buffer *b, const char *text)
{
    char part[4096];
    struct error err = { 0 };
    while (!b->data || !strstr(b->data, text)) {
        ssize_t n = stream_read(s, part, sizeof(part), &err);
        if (n <= 0)
            return false;
        buffer_add(b, part, (size_t)n);
    }
    return true;
}
