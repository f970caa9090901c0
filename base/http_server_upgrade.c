/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server_upgrade.c - connections after 101: a duplex byte stream and its worker thread.
 */
#include "base/http_server.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/http_server_internal.h"

#define LAST_WORDS_MS        2000 /* for a peer that reads nothing to take what is left */
#define UPGRADED_SOCKETS_MAX 1024
#define SOCKET_BUFFER_BYTES  (256 * 1024)

static void socket_free(struct http_socket *s)
{
    buffer_free(&s->in);
    buffer_free(&s->out);
    buffer_free(&s->flight);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    http_server_request_free(s->request);
    free(s);
}

static void on_socket_mail(struct mail *m);

/* Under the socket's lock. */
static void socket_post(struct http_socket *s)
{
    if (s->is_posted)
        return;
    s->is_posted = true;
    http_server_post(s->request->loop, &s->mail, on_socket_mail);
}

/* Under the socket's lock. */
static size_t socket_unread(const struct http_socket *s)
{
    return s->in.len - s->in_at;
}

/* Moves what libh2o has read to where the worker reads.  A worker that lags stops the reading. */
static void socket_take_input(struct http_socket *s)
{
    h2o_socket_t *sock = s->sock;
    pthread_mutex_lock(&s->lock);
    if (s->in_at > 0 && s->in_at == s->in.len) {
        buffer_clear(&s->in);
        s->in_at = 0;
    }
    buffer_add(&s->in, sock->input->bytes, sock->input->size);
    bool is_full = socket_unread(s) >= SOCKET_BUFFER_BYTES;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    h2o_buffer_consume(&sock->input, sock->input->size);
    if (is_full)
        h2o_socket_read_stop(sock);
}

static void on_socket_read(h2o_socket_t *sock, const char *h2o_err)
{
    struct http_socket *s = sock->data;
    socket_take_input(s);
    if (!h2o_err)
        return;
    h2o_socket_read_stop(sock);
    pthread_mutex_lock(&s->lock);
    s->input_ended = true; /* the peer may still read what we write */
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void socket_attend(struct http_socket *s);

static void on_socket_written(h2o_socket_t *sock, const char *h2o_err)
{
    struct http_socket *s = sock->data;
    s->is_writing = false;
    pthread_mutex_lock(&s->lock);
    if (h2o_err) {
        s->output_failed = true;
        s->input_ended = true;
        buffer_clear(&s->out);
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    socket_attend(s);
}

static void socket_write_next(struct http_socket *s)
{
    struct buffer emptied = s->flight;
    pthread_mutex_lock(&s->lock);
    s->flight = s->out;
    buffer_clear(&emptied);
    s->out = emptied;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    h2o_iovec_t buf = h2o_iovec_init(s->flight.data, s->flight.len);
    s->is_writing = true;
    h2o_socket_write(s->sock, &buf, 1, on_socket_written);
}

/* Writes what waits, reads on when there is room again, and closes once the worker is through. */
static void socket_attend(struct http_socket *s)
{
    pthread_mutex_lock(&s->lock);
    bool has_output = s->out.len > 0 && !s->output_failed;
    bool may_read = !s->input_ended && socket_unread(s) < SOCKET_BUFFER_BYTES;
    bool is_returned = s->is_returned && !s->is_posted;
    bool is_shut = s->is_shut;
    pthread_mutex_unlock(&s->lock);

    if (s->is_writing && is_shut && is_returned) { /* the last words go out, if the peer reads */
        unsigned limit = LAST_WORDS_MS;
        setsockopt(h2o_socket_get_fd(s->sock), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit,
                   sizeof(limit));
    }
    if (has_output && !s->is_writing)
        socket_write_next(s);
    if (may_read && !h2o_socket_is_reading(s->sock))
        h2o_socket_read_start(s->sock, on_socket_read);
    if (!is_returned || s->is_writing)
        return;
    pthread_join(s->thread, NULL);
    list_remove(&s->link);
    atomic_fetch_sub(&s->request->loop->server->upgraded, 1);
    h2o_socket_close(s->sock);
    socket_free(s);
}

static void on_socket_mail(struct mail *m)
{
    struct http_socket *s = container_of(m, struct http_socket, mail);
    pthread_mutex_lock(&s->lock);
    s->is_posted = false;
    pthread_mutex_unlock(&s->lock);
    socket_attend(s);
}

static void *socket_thread(void *arg)
{
    struct http_socket *s = arg;
    s->on_socket(s, s->arg);
    pthread_mutex_lock(&s->lock);
    s->is_returned = true;
    socket_post(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void socket_abandon(struct http_socket *s)
{
    atomic_fetch_sub(&s->request->loop->server->upgraded, 1);
    s->on_socket(NULL, s->arg);
    socket_free(s);
}

static void on_upgraded(void *data, h2o_socket_t *sock, size_t request_bytes)
{
    struct http_socket *s = data;
    if (!sock) { /* the client left before the 101 was written */
        socket_abandon(s);
        return;
    }
    s->sock = sock;
    sock->data = s;
    list_add(&s->request->loop->sockets, &s->link);
    /* Behind the request there may be the first bytes of the new protocol. */
    h2o_buffer_consume(&sock->input, request_bytes);
    socket_take_input(s);
    ensure(pthread_create(&s->thread, NULL, socket_thread, s) == 0);
    socket_attend(s);
}

static void upgrade_on_loop(struct http_socket *s, const struct http_response *head)
{
    struct http_request *r = s->request;
    r->state = REQUEST_UPGRADED;
    if (!r->h2o) {
        socket_abandon(s);
        return;
    }
    http_server_set_head(r->h2o, head);
    r->h2o->res.status = 101;
    r->h2o->res.reason = http_server_reason_phrase(101);
    h2o_http1_upgrade(r->h2o, NULL, 0, on_upgraded, s);
}

static void on_upgrade_mail(struct mail *m)
{
    struct http_socket *s = container_of(m, struct http_socket, mail);
    upgrade_on_loop(s, &s->request->response);
}

void http_upgrade(struct http_request *req, const struct http_response *head,
                  void (*on_socket)(struct http_socket *s, void *arg), void *arg)
{
    ensure(req->state == REQUEST_OPEN && req->is_upgrade);
    struct http_server *server = req->loop->server;
    if (atomic_fetch_add(&server->upgraded, 1) >= UPGRADED_SOCKETS_MAX) {
        atomic_fetch_sub(&server->upgraded, 1);
        http_server_respond_text(req, 503, "text/plain", "too many upgraded connections\n");
        on_socket(NULL, arg);
        return;
    }
    struct http_socket *s = xcalloc(1, sizeof(*s));
    list_init(&s->link);
    s->request = req;
    s->on_socket = on_socket;
    s->arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    http_request_detach(req); /* the function may look at the request for as long as it runs */
    if (http_server_current_loop == req->loop) {
        req->response.release = head->release;
        req->response.arg = head->arg;
        upgrade_on_loop(s, head);
        return;
    }
    http_server_keep_response(req, head);
    http_server_post(req->loop, &s->mail, on_upgrade_mail);
}

ssize_t http_socket_read(struct http_socket *s, void *buf, size_t n, struct error *err)
{
    ssize_t rc = 0;
    pthread_mutex_lock(&s->lock);
    while (socket_unread(s) == 0 && !s->input_ended && !s->is_shut)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->is_shut) {
        rc = error_set(err, ERR_CANCELED, "socket was shut down");
    } else if (socket_unread(s) > 0) {
        bool was_full = socket_unread(s) >= SOCKET_BUFFER_BYTES;
        size_t len = n < socket_unread(s) ? n : socket_unread(s);
        memcpy(buf, s->in.data + s->in_at, len);
        s->in_at += len;
        rc = (ssize_t)len;
        if (was_full && socket_unread(s) < SOCKET_BUFFER_BYTES)
            socket_post(s);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int http_socket_write(struct http_socket *s, const void *buf, size_t n, struct error *err)
{
    const char *p = buf;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (n > 0 && rc == 0) {
        if (s->is_shut) {
            rc = error_set(err, ERR_CANCELED, "socket was shut down");
        } else if (s->output_failed) {
            rc = error_set(err, ERR_UNAVAILABLE, "connection closed by the peer");
        } else if (s->out.len >= SOCKET_BUFFER_BYTES) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else {
            size_t room = SOCKET_BUFFER_BYTES - s->out.len;
            size_t len = n < room ? n : room;
            buffer_add(&s->out, p, len);
            p += len;
            n -= len;
            socket_post(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void http_socket_shutdown(struct http_socket *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_shut = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}
