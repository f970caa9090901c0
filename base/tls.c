/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - TLS contexts, non-blocking transports and blocking streams. */
#include "base/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto_internal.h"
#include "base/socket.h"
#include "base/tls_internal.h"

#define TLS12_CIPHERS                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define ORGANIZATIONS_MAX 64

/* What we show of ourselves. */
struct own_certificate {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};

struct tls {
    atomic_uint refs;
    SSL_CTX *ctx;
    char *server_name; /* clients: overrides the host dialled */
    bool insecure_skip_verify;
    _Atomic(tls_peer_hook *) hook;

    pthread_mutex_t lock;       /* guards what follows; a leaf of the lock order */
    struct own_certificate own; /* servers: for the handshakes to come */
};

void ignore_sigpipe(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

/* Fills ERR from OpenSSL's queue, whose first entry is the cause. */
static int tls_error(struct error *err, enum error_code code, const char *what)
{
    unsigned long e = ERR_get_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    if (e && ERR_SYSTEM_ERROR(e))
        reason = strerror(ERR_GET_REASON(e));
    ERR_clear_error();
    return error_set(err, code, "%s: %s", what, reason ? reason : "unknown error");
}

/* ---- contexts ---- */

static BIO *bio_of(struct bytes pem)
{
    ensure(pem.len <= INT32_MAX);
    BIO *bio = BIO_new_mem_buf(pem.data ? pem.data : "", (int)pem.len);
    ensure(bio);
    return bio;
}

static void own_certificate_deinit(struct own_certificate *own)
{
    X509_free(own->leaf);
    sk_X509_pop_free(own->chain, X509_free);
    EVP_PKEY_free(own->key);
}

static void read_chain(struct own_certificate *own, struct bytes pem)
{
    BIO *bio = bio_of(pem);
    own->leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    own->chain = sk_X509_new_null();
    ensure(own->chain);
    X509 *next;
    while (own->leaf && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        ensure(sk_X509_push(own->chain, next) > 0);
    BIO_free(bio);
    if (own->leaf)
        ERR_clear_error(); /* the end of the text counts as an error there */
}

static int own_certificate_read(struct own_certificate *own, struct bytes certificate_pem,
                                struct bytes key_pem, struct error *err)
{
    *own = (struct own_certificate){ 0 };
    read_chain(own, certificate_pem);
    if (!own->leaf) {
        tls_error(err, ERR_BAD_REQUEST, "read certificate");
        goto fail;
    }
    BIO *bio = bio_of(key_pem);
    own->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, PEM_NO_PASSWORD);
    BIO_free(bio);
    if (own->key && X509_check_private_key(own->leaf, own->key) == 1)
        return 0;
    tls_error(err, ERR_BAD_REQUEST, "read private key");
fail:
    own_certificate_deinit(own);
    return -1;
}

/* Asked in each handshake, so that a certificate may be replaced while others shake hands. */
static int on_certificate_wanted(SSL *ssl, void *arg)
{
    struct tls *t = arg;
    pthread_mutex_lock(&t->lock);
    int ok = SSL_use_cert_and_key(ssl, t->own.leaf, t->own.key, t->own.chain, 1);
    pthread_mutex_unlock(&t->lock);
    return ok == 1;
}

int tls_server_renew(struct tls *t, struct bytes certificate_pem, struct bytes key_pem,
                     struct error *err)
{
    struct own_certificate own;
    if (own_certificate_read(&own, certificate_pem, key_pem, err) < 0)
        return -1;
    pthread_mutex_lock(&t->lock);
    struct own_certificate old = t->own;
    t->own = own;
    pthread_mutex_unlock(&t->lock);
    own_certificate_deinit(&old);
    return 0;
}

static int trust(SSL_CTX *ctx, struct bytes pem, bool name_to_clients, struct error *err)
{
    BIO *bio = bio_of(pem);
    int n = 0;
    X509 *ca;
    while ((ca = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca);
        if (name_to_clients)
            SSL_CTX_add_client_CA(ctx, ca);
        X509_free(ca);
        n++;
    }
    BIO_free(bio);
    if (n == 0)
        return tls_error(err, ERR_BAD_REQUEST, "read certificate authority");
    ERR_clear_error();
    return 0;
}

static struct tls *tls_new(const SSL_METHOD *method)
{
    ignore_sigpipe();
    struct tls *t = xcalloc(1, sizeof(*t));
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    t->ctx = SSL_CTX_new(method);
    ensure(t->ctx);
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(t->ctx, TLS12_CIPHERS);
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS); /* idle connections are many */
    SSL_CTX_set_app_data(t->ctx, t);
    return t;
}

static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned int in_len, void *arg)
{
    (void)ssl, (void)arg;
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    if (SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof(ours) - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    return SSL_TLSEXT_ERR_OK;
}

static int on_verify(int ok, X509_STORE_CTX *store);

static int server_setup(struct tls *t, const struct tls_server_config *config, struct error *err)
{
    if (tls_server_renew(t, config->certificate_pem, config->key_pem, err) < 0)
        return -1;
    SSL_CTX_set_cert_cb(t->ctx, on_certificate_wanted, t);
    /* A resumed session verifies no certificate, so that nobody would know who the client is. */
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(t->ctx, 0);
    SSL_CTX_set_alpn_select_cb(t->ctx, select_protocol, NULL);
    if (config->client_ca_pem.len == 0)
        return 0;
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, on_verify);
    return trust(t->ctx, config->client_ca_pem, true, err);
}

struct tls *tls_server_new(const struct tls_server_config *config, struct error *err)
{
    scoped(tls) struct tls *t = tls_new(TLS_server_method());
    if (server_setup(t, config, err) < 0) {
        error_wrap(err, "server tls");
        return NULL;
    }
    return take_ptr(&t);
}

static int client_show(struct tls *t, const struct tls_client_config *config, struct error *err)
{
    struct own_certificate own;
    if (own_certificate_read(&own, config->certificate_pem, config->key_pem, err) < 0)
        return -1;
    int ok = SSL_CTX_use_cert_and_key(t->ctx, own.leaf, own.key, own.chain, 1);
    own_certificate_deinit(&own);
    return ok == 1 ? 0 : tls_error(err, ERR_BAD_REQUEST, "use certificate");
}

static int client_setup(struct tls *t, const struct tls_client_config *config, struct error *err)
{
    if (config->certificate_pem.len > 0 && client_show(t, config, err) < 0)
        return -1;
    if (config->insecure_skip_verify)
        return 0;
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    if (config->ca_pem.len > 0)
        return trust(t->ctx, config->ca_pem, false, err);
    SSL_CTX_set_default_verify_paths(t->ctx);
    return 0;
}

struct tls *tls_client_new(const struct tls_client_config *config, struct error *err)
{
    scoped(tls) struct tls *t = tls_new(TLS_client_method());
    t->insecure_skip_verify = config->insecure_skip_verify;
    t->server_name = config->server_name ? xstrdup(config->server_name) : NULL;
    if (client_setup(t, config, err) < 0) {
        error_wrap(err, "client tls");
        return NULL;
    }
    return take_ptr(&t);
}

struct tls *tls_ref(struct tls *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_unref(struct tls *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    own_certificate_deinit(&t->own);
    pthread_mutex_destroy(&t->lock);
    free(t->server_name);
    free(t);
}

/* ---- who the peer is ---- */

/* An attribute's text, or NULL when it is not text: a NUL inside a name is an old trick. */
static const char *attribute_text(X509_NAME *name, int index, struct arena *arena)
{
    unsigned char *utf8 = NULL;
    int len =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
    if (len < 0)
        return NULL;
    const char *text =
        memchr(utf8, 0, (size_t)len) ? NULL : arena_strndup(arena, (char *)utf8, (size_t)len);
    OPENSSL_free(utf8);
    return text;
}

static void peer_of_certificate(X509 *certificate, struct arena *arena, struct tls_peer *out)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    struct tm end = { 0 };
    *out = (struct tls_peer){ .common_name = "" };
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end))
        out->not_after_ns = (int64_t)timegm(&end) * NS_PER_S;
    X509_digest(certificate, EVP_sha256(), out->sha256, NULL);
    int i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    const char *common_name = i >= 0 ? attribute_text(name, i, arena) : NULL;
    if (common_name)
        out->common_name = common_name;
    out->organizations = arena_alloc(arena, ORGANIZATIONS_MAX * sizeof(char *));
    i = -1;
    while (out->organizations_n < ORGANIZATIONS_MAX &&
           (i = X509_NAME_get_index_by_NID(name, NID_organizationName, i)) >= 0) {
        const char *organization = attribute_text(name, i, arena);
        if (organization)
            out->organizations[out->organizations_n++] = organization;
    }
}

void tls_peer_copy(struct arena *arena, const struct tls_peer *from, struct tls_peer *to)
{
    *to = *from;
    to->common_name = arena_strdup(arena, from->common_name);
    to->organizations = NULL;
    if (from->organizations_n == 0)
        return;
    to->organizations = arena_alloc(arena, from->organizations_n * sizeof(char *));
    for (size_t i = 0; i < from->organizations_n; i++)
        to->organizations[i] = arena_strdup(arena, from->organizations[i]);
}

/* OpenSSL walks a chain from its root down to the leaf, so depth 0 comes last. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0)
        return ok;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    tls_peer_hook *hook = atomic_load(&t->hook);
    if (hook) {
        scoped(arena) struct arena *arena = arena_new();
        struct tls_peer peer;
        peer_of_certificate(X509_STORE_CTX_get_current_cert(store), arena, &peer);
        hook(BIO_get_data(SSL_get_rbio(ssl)), &peer);
    }
    return ok;
}

struct ssl_ctx_st *tls_server_ctx(struct tls *t, tls_peer_hook *hook)
{
    atomic_store(&t->hook, hook);
    return t->ctx;
}

/* ---- transports ---- */

struct transport {
    int fd;
    SSL *ssl; /* NULL: plain */
    struct tls *tls;
    bool wants_write; /* TLS waits for room, whatever was asked for */
};

static struct transport *transport_new(int fd, struct tls *tls)
{
    ignore_sigpipe();
    struct transport *t = xcalloc(1, sizeof(*t));
    t->fd = fd;
    if (!tls)
        return t;
    t->tls = tls_ref(tls);
    t->ssl = SSL_new(tls->ctx);
    ensure(t->ssl && SSL_set_fd(t->ssl, fd) == 1);
    SSL_set_mode(t->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return t;
}

static int client_expects(SSL *ssl, const struct tls *tls, const char *host)
{
    const char *name = tls->server_name ? tls->server_name : host;
    unsigned char ip[sizeof(struct in6_addr)];
    bool is_ip = inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
    if (!is_ip && SSL_set_tlsext_host_name(ssl, name) != 1)
        return 0;
    if (tls->insecure_skip_verify)
        return 1;
    return is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name)
                 : SSL_set1_host(ssl, name);
}

struct transport *transport_client_take(int fd, struct tls *tls, const char *host,
                                        enum transport_protocol protocol, struct error *err)
{
    scoped(transport) struct transport *t = transport_new(fd, tls);
    if (!tls)
        return take_ptr(&t);
    SSL_set_connect_state(t->ssl);
    if (!client_expects(t->ssl, tls, host)) {
        tls_error(err, ERR_BAD_REQUEST, "server name for tls");
        return NULL;
    }
    static const unsigned char h2[] = "\x02h2";
    if (protocol == TRANSPORT_H2)
        SSL_set_alpn_protos(t->ssl, h2, sizeof(h2) - 1);
    return take_ptr(&t);
}

struct transport *transport_server_take(int fd, struct tls *tls)
{
    struct transport *t = transport_new(fd, tls);
    if (tls) {
        SSL_set_accept_state(t->ssl);
        /* The context's hook is libh2o's: this BIO is not one of its sockets. */
        SSL_set_verify(t->ssl, SSL_get_verify_mode(t->ssl), NULL);
    }
    return t;
}

void transport_close(struct transport *t)
{
    if (!t)
        return;
    if (t->ssl) {
        if (SSL_is_init_finished(t->ssl))
            SSL_shutdown(t->ssl); /* says goodbye, does not wait for the answer */
        ERR_clear_error();
        SSL_free(t->ssl);
    }
    close(t->fd);
    tls_unref(t->tls);
    free(t);
}

void transport_read_ahead(struct transport *t)
{
    if (t->ssl)
        SSL_set_read_ahead(t->ssl, 1);
}

int transport_fd(const struct transport *t)
{
    return t->fd;
}

short transport_events(const struct transport *t, bool want_write)
{
    /* In a handshake only TLS knows: waiting for room while it waits for the peer would spin. */
    bool handshaking = t->ssl && !SSL_is_init_finished(t->ssl);
    return t->wants_write || (want_write && !handshaking) ? POLLIN | POLLOUT : POLLIN;
}

/* What SSL_read or SSL_write meant by N <= 0. */
static ssize_t ssl_outcome(struct transport *t, int n, struct error *err)
{
    int saved_errno = errno;
    long verified = SSL_get_verify_result(t->ssl);
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return TRANSPORT_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        t->wants_write = true;
        return TRANSPORT_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return error_set(err, ERR_UNAVAILABLE, "%s",
                         saved_errno ? strerror(saved_errno) : "connection closed by the peer");
    default:
        break;
    }
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        if (SSL_is_init_finished(t->ssl))
            return 0; /* many peers close without a goodbye */
        return error_set(err, ERR_UNAVAILABLE, "connection closed in the tls handshake");
    }
    if (!SSL_is_init_finished(t->ssl) && verified != X509_V_OK) {
        ERR_clear_error();
        return error_set(err, ERR_UNAVAILABLE, "tls: %s", X509_verify_cert_error_string(verified));
    }
    return tls_error(err, ERR_UNAVAILABLE, "tls");
}

static ssize_t plain_outcome(ssize_t n, struct error *err)
{
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return TRANSPORT_AGAIN;
    return error_set(err, ERR_UNAVAILABLE, "%s", strerror(errno));
}

ssize_t transport_read(struct transport *t, void *buf, size_t n, struct error *err)
{
    if (!t->ssl)
        return plain_outcome(recv(t->fd, buf, n, 0), err);
    t->wants_write = false;
    errno = 0;
    ERR_clear_error();
    int got = SSL_read(t->ssl, buf, n > INT32_MAX ? INT32_MAX : (int)n);
    return got > 0 ? got : ssl_outcome(t, got, err);
}

ssize_t transport_write(struct transport *t, const void *buf, size_t n, struct error *err)
{
    if (n == 0)
        return 0;
    if (!t->ssl)
        return plain_outcome(send(t->fd, buf, n, MSG_NOSIGNAL), err);
    t->wants_write = false;
    errno = 0;
    ERR_clear_error();
    int put = SSL_write(t->ssl, buf, n > INT32_MAX ? INT32_MAX : (int)n);
    if (put > 0)
        return put;
    ssize_t rc = ssl_outcome(t, put, err);
    return rc == 0 ? error_set(err, ERR_UNAVAILABLE, "connection closed by the peer") : rc;
}

void transport_peer(struct transport *t, struct arena *arena, struct tls_peer *out)
{
    *out = (struct tls_peer){ 0 };
    X509 *certificate = t->ssl ? SSL_get1_peer_certificate(t->ssl) : NULL;
    if (!certificate)
        return;
    peer_of_certificate(certificate, arena, out);
    X509_free(certificate);
}

/* ---- blocking streams ---- */

struct stream {
    int shutdown_fd;      /* readable once stream_shutdown() was called */
    pthread_mutex_t lock; /* guards transport: OpenSSL takes one thread at a time */
    struct transport *transport;
};

struct stream *stream_dial(const char *address, struct tls *tls, int timeout_ms, struct error *err)
{
    int fd = socket_dial(address, timeout_ms, -1, err);
    if (fd < 0)
        return NULL;
    scoped(str) char *host = socket_address_host(address);
    struct transport *transport = transport_client_take(fd, tls, host, TRANSPORT_ANY, err);
    if (!transport)
        return NULL;
    struct stream *s = xcalloc(1, sizeof(*s));
    s->transport = transport;
    pthread_mutex_init(&s->lock, NULL);
    s->shutdown_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure(s->shutdown_fd >= 0);
    return s;
}

/* Sleeps until the socket may be ready; -1 once the stream was shut down. */
static int stream_wait(struct stream *s, short events, struct error *err)
{
    struct pollfd fds[] = { { .fd = transport_fd(s->transport), .events = events },
                            { .fd = s->shutdown_fd, .events = POLLIN } };
    while (poll(fds, 2, -1) < 0) {
        if (errno != EINTR)
            return error_errno(err, "poll");
    }
    return fds[1].revents ? error_set(err, ERR_CANCELED, "stream was shut down") : 0;
}

ssize_t stream_read(struct stream *s, void *buf, size_t n, struct error *err)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        ssize_t got = transport_read(s->transport, buf, n, err);
        short events = transport_events(s->transport, false);
        pthread_mutex_unlock(&s->lock);
        if (got != TRANSPORT_AGAIN)
            return got;
        if (stream_wait(s, events, err) < 0)
            return -1;
    }
}

int stream_read_head(struct stream *s, size_t bytes_max, struct buffer *head, size_t *head_len,
                     struct error *err)
{
    char piece[2048];
    while (head->len < bytes_max) {
        ssize_t n = stream_read(s, piece, sizeof(piece), err);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        buffer_add(head, piece, (size_t)n);
        const char *end = memmem(head->data, head->len, "\r\n\r\n", 4);
        if (end) {
            *head_len = (size_t)(end - head->data) + 4;
            return 0;
        }
    }
    return error_set(err, ERR_UNAVAILABLE, "the answer is not HTTP");
}

int stream_write(struct stream *s, const void *buf, size_t n, struct error *err)
{
    const char *p = buf;
    while (n > 0) {
        pthread_mutex_lock(&s->lock);
        ssize_t put = transport_write(s->transport, p, n, err);
        /* The reader takes what arrives; the writer looks for it only while it shakes hands. */
        short events = transport_events(s->transport, true);
        if (events & POLLOUT)
            events = POLLOUT;
        pthread_mutex_unlock(&s->lock);
        if (put == TRANSPORT_AGAIN) {
            if (stream_wait(s, events, err) < 0)
                return -1;
            continue;
        }
        if (put < 0)
            return -1;
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

void stream_shutdown(struct stream *s)
{
    uint64_t one = 1;
    ssize_t ignored = write(s->shutdown_fd, &one, sizeof(one));
    (void)ignored; /* it fails only when the counter is full, which is as good */
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    transport_close(s->transport);
    close(s->shutdown_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
