/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.c - libh2o behind base/http_server.h: listening, loop threads, connections, the end.
 *
 * The first loop accepts for all of them.  What a connection brings goes to http_server_request.c.
 */
#include "base/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http_server_internal.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/tls_internal.h"

#define CONNECTIONS_MAX      16384
#define ACCEPTS_PER_TURN     16
#define ACCEPT_PAUSE_MS      100 /* after running out of descriptors */
#define IDLE_TIMEOUT_MS      90000
#define HANDSHAKE_TIMEOUT_MS 10000
#define STOP_SWEEP_MS        50
#define CROWD_MIN            512 /* connections that leave enough behind to care */
/* libh2o resets an HTTP/2 stream whose body passes its own limit, which clients take for a fault
 * and try again.  It gets twice our limit, so that what is a little too large is answered with 413.
 */
#define ENTITY_BYTES_MAX (2 * (size_t)REQUEST_BODY_BYTES_MAX)

_Thread_local struct server_loop *http_server_current_loop;

#ifdef __SANITIZE_ADDRESS__
/* libh2o keeps memory for reuse in each thread and does not give it back when the thread ends. */
const char *__lsan_default_suppressions(void);
__attribute__((weak, visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libh2o-evloop\n";
}
#endif

/* ---- the mailbox ---- */

void http_server_post(struct server_loop *loop, struct mail *m, void (*run)(struct mail *m))
{
    m->run = run;
    m->link.link = (h2o_linklist_t){ NULL, NULL };
    pthread_mutex_lock(&loop->post_lock);
    h2o_multithread_send_message(&loop->mailbox, &m->link);
    pthread_mutex_unlock(&loop->post_lock);
}

static void on_mail(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    while (!h2o_linklist_is_empty(messages)) {
        struct mail *m = container_of(messages->next, struct mail, link.link);
        h2o_linklist_unlink(&m->link.link);
        m->run(m);
    }
    http_server_send_ready(container_of(receiver, struct server_loop, mailbox));
}

/* ---- connections ---- */

void http_server_connection_unref(struct connection *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_free(c->arena);
    free(c);
}

/* On a thread of its own, one at a time: it may take a while, and touches nothing but the heap. */
static atomic_flag is_trimming = ATOMIC_FLAG_INIT;

static void *trim_heap(void *unused)
{
    malloc_trim(0);
    atomic_flag_clear(&is_trimming);
    return unused;
}

static void trim_soon(void)
{
    pthread_t thread;
    if (atomic_flag_test_and_set(&is_trimming))
        return;
    if (pthread_create(&thread, NULL, trim_heap, NULL) == 0)
        pthread_detach(thread);
    else
        atomic_flag_clear(&is_trimming);
}

/* A crowd of watchers leaves its 25 kB each as holes in the heap, which the C library keeps.  When
 * half of a crowd has gone, the system gets the pages back. */
static void connection_gone(struct http_server *s)
{
    int left = atomic_fetch_sub(&s->connections, 1) - 1;
    int crowd = atomic_load(&s->crowd);
    if (crowd >= CROWD_MIN && left < crowd / 2 &&
        atomic_compare_exchange_strong(&s->crowd, &crowd, left))
        trim_soon();
}

static void connection_came(struct http_server *s)
{
    int now = atomic_fetch_add(&s->connections, 1) + 1;
    int crowd = atomic_load(&s->crowd);
    while (now > crowd && !atomic_compare_exchange_weak(&s->crowd, &crowd, now))
        ;
}

static void on_connection_close(void *data)
{
    struct connection *c = data;
    c->sock = NULL;
    list_remove(&c->link);
    connection_gone(c->loop->server);
    if (c->is_expelled)
        trim_soon();
    http_server_connection_unref(c);
}

void http_server_connection_shut(struct connection *c)
{
    if (c->sock)
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

static void on_tls_peer(void *bio_data, const struct tls_peer *peer)
{
    h2o_socket_t *sock = bio_data;
    struct connection *c = sock->on_close.data;
    tls_peer_copy(c->arena, peer, &c->peer);
}

static void remote_ip(int fd, char out[INET6_ADDRSTRLEN])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } sa;
    socklen_t len = sizeof(sa);
    out[0] = 0;
    if (getpeername(fd, &sa.any, &len) < 0)
        return;
    if (sa.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &sa.v4.sin_addr, out, INET6_ADDRSTRLEN);
    else if (sa.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&sa.v6.sin6_addr))
        inet_ntop(AF_INET, sa.v6.sin6_addr.s6_addr + 12, out, INET6_ADDRSTRLEN);
    else if (sa.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &sa.v6.sin6_addr, out, INET6_ADDRSTRLEN);
}

static void connection_start(struct server_loop *loop, int fd)
{
    struct connection *c = xcalloc(1, sizeof(*c));
    atomic_init(&c->refs, 1);
    c->loop = loop;
    c->arena = arena_new_sized(256);
    c->early_ends_left = EARLY_ENDS_MAX;
    c->refilled_at_ms = h2o_now(loop->ctx.loop);
    remote_ip(fd, c->remote_ip);
    socket_tune(fd);
    list_add(&loop->connections, &c->link);
    c->sock = h2o_evloop_socket_create(loop->ctx.loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    c->sock->on_close.cb = on_connection_close;
    c->sock->on_close.data = c;
    h2o_accept(&loop->accept, c->sock);
}

static void on_listener(h2o_socket_t *listener, const char *h2o_err);

/* The first letter of the first loop, once all of them are there to take connections. */
static void on_listen_mail(struct mail *m)
{
    struct server_loop *loop = container_of(m, struct server_loop, start_mail);
    h2o_socket_read_start(loop->listener, on_listener);
}

struct accept_mail {
    struct mail mail;
    struct server_loop *loop;
    int fd;
};

static void on_accept_mail(struct mail *m)
{
    struct accept_mail *a = container_of(m, struct accept_mail, mail);
    if (a->loop->stopping) {
        close(a->fd);
        connection_gone(a->loop->server);
    } else {
        connection_start(a->loop, a->fd);
    }
    free(a);
}

static void on_accept_pause_over(h2o_timeout_entry_t *entry)
{
    struct server_loop *loop = container_of(entry, struct server_loop, accept_pause_entry);
    if (loop->listener)
        h2o_socket_read_start(loop->listener, on_listener);
}

/* The first loop accepts for all of them, in turn: a shared listener would give most connections
 * to whoever wakes first. */
static void on_listener(h2o_socket_t *listener, const char *h2o_err)
{
    struct server_loop *loop = listener->data;
    struct http_server *s = loop->server;
    for (int i = 0; i < ACCEPTS_PER_TURN && !h2o_err; i++) {
        int fd = accept4(h2o_socket_get_fd(listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            log_warn("http", "accept: %s", strerror(errno));
            h2o_socket_read_stop(listener);
            h2o_timeout_link(loop->ctx.loop, &loop->accept_pause, &loop->accept_pause_entry);
            return;
        }
        if (fd < 0)
            return;
        if (atomic_load(&s->connections) >= CONNECTIONS_MAX) { /* nobody else adds any */
            close(fd);
            continue;
        }
        connection_came(s);
        struct server_loop *target = &s->loops[s->next_loop++ % s->loops_n];
        s->next_loop %= s->loops_n;
        if (target == loop) {
            connection_start(loop, fd);
            continue;
        }
        struct accept_mail *a = xcalloc(1, sizeof(*a));
        *a = (struct accept_mail){ .loop = target, .fd = fd };
        http_server_post(target, &a->mail, on_accept_mail);
    }
}

/* ---- start and stop ---- */

/* Closes connections on which nothing has been going on since the last sweep, all of them once the
 * grace is over, and ends the loop when there are none. */
static void on_sweep(h2o_timeout_entry_t *entry)
{
    struct server_loop *loop = container_of(entry, struct server_loop, sweep_entry);
    bool is_late = h2o_now(loop->ctx.loop) >= loop->stop_deadline;
    for (struct list *l = loop->connections.next; l != &loop->connections; l = l->next) {
        struct connection *c = container_of(l, struct connection, link);
        if (is_late || (c->open_requests == 0 && c->idle_at_sweep))
            http_server_connection_shut(c);
        c->idle_at_sweep = c->open_requests == 0;
    }
    for (struct list *l = loop->sockets.next; is_late && l != &loop->sockets; l = l->next)
        http_socket_shutdown(container_of(l, struct http_socket, link));
    if (loop->connections.next == &loop->connections && loop->handles == 0 &&
        !loop->is_ready_posted)
        loop->stopped = true;
    else
        h2o_timeout_link(loop->ctx.loop, &loop->sweep, &loop->sweep_entry);
}

static void on_stop_mail(struct mail *m)
{
    struct server_loop *loop = container_of(m, struct server_loop, stop_mail);
    loop->stopping = true;
    loop->stop_deadline = h2o_now(loop->ctx.loop) + (uint64_t)loop->server->grace_ms;
    if (loop->listener)
        h2o_socket_close(loop->listener);
    loop->listener = NULL;
    h2o_context_request_shutdown(&loop->ctx);
    for (struct list *l = loop->streams.next, *next; l != &loop->streams; l = next) {
        next = l->next; /* sending the end may remove it */
        http_server_stream_send(container_of(l, struct http_stream, link));
    }
    h2o_timeout_link(loop->ctx.loop, &loop->sweep, &loop->sweep_entry);
    /* The others end after the listener, so that no accepted connection is on its way to them. */
    struct http_server *s = loop->server;
    for (int i = 1; loop == &s->loops[0] && i < s->loops_n; i++)
        http_server_post(&s->loops[i], &s->loops[i].stop_mail, on_stop_mail);
}

static void loop_init(struct server_loop *loop)
{
    struct http_server *s = loop->server;
    list_init(&loop->connections);
    list_init(&loop->streams);
    list_init(&loop->ready);
    list_init(&loop->sockets);
    pthread_mutex_init(&loop->post_lock, NULL);
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &s->globalconf);
    struct tls *tls = s->config.tls;
    loop->accept = (h2o_accept_ctx_t){ .ctx = &loop->ctx,
                                       .hosts = s->globalconf.hosts,
                                       .ssl_ctx = tls ? tls_server_ctx(tls, on_tls_peer) : NULL };
    loop->queue = h2o_multithread_create_queue(loop->ctx.loop);
    h2o_multithread_register_receiver(loop->queue, &loop->mailbox, on_mail);
    h2o_timeout_init(loop->ctx.loop, &loop->sweep, STOP_SWEEP_MS);
    h2o_timeout_init(loop->ctx.loop, &loop->accept_pause, ACCEPT_PAUSE_MS);
    http_server_hangups_open(loop);
    loop->sweep_entry.cb = on_sweep;
    loop->accept_pause_entry.cb = on_accept_pause_over;
    if (loop != &s->loops[0])
        return;
    loop->listener =
        h2o_evloop_socket_create(loop->ctx.loop, s->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
    loop->listener->data = loop;
}

static void loop_deinit(struct server_loop *loop)
{
    /* Whoever posted last may still be inside http_server_post(). */
    pthread_mutex_lock(&loop->post_lock);
    pthread_mutex_unlock(&loop->post_lock);
    http_server_hangups_close(loop);
    h2o_timeout_unlink(&loop->accept_pause_entry);
    /* libh2o would send its second GOAWAY a second later; there is nobody left. */
    h2o_timeout_unlink(&loop->ctx.http2._graceful_shutdown_timeout);
    h2o_timeout_dispose(loop->ctx.loop, &loop->accept_pause);
    h2o_timeout_dispose(loop->ctx.loop, &loop->sweep);
    h2o_multithread_unregister_receiver(loop->queue, &loop->mailbox);
    h2o_multithread_destroy_queue(loop->queue);
    h2o_loop_t *h2o = loop->ctx.loop;
    h2o_context_dispose(&loop->ctx);
    h2o_evloop_destroy(h2o);
    pthread_mutex_destroy(&loop->post_lock);
}

/* libh2o keeps free lists in thread-local storage and its sockets remember whose, so that whatever
 * a loop uses has to be made by its own thread. */
static void *loop_thread(void *arg)
{
    struct server_loop *loop = arg;
    struct http_server *s = loop->server;
    http_server_current_loop = loop;
    loop_init(loop);
    sem_post(&s->started);
    while (!loop->stopped)
        h2o_evloop_run(loop->ctx.loop, INT32_MAX);
    loop_deinit(loop);
    return NULL;
}

static void configure(struct http_server *s)
{
    h2o_globalconf_t *g = &s->globalconf;
    h2o_config_init(g);
    g->server_name = h2o_iovec_init(H2O_STRLIT("coracle"));
    g->max_request_entity_size = ENTITY_BYTES_MAX;
    g->handshake_timeout = HANDSHAKE_TIMEOUT_MS;
    g->http1.req_timeout = IDLE_TIMEOUT_MS;
    g->http1.upgrade_to_http2 = 0; /* Upgrade is for exec, attach and port-forward */
    g->http2.idle_timeout = IDLE_TIMEOUT_MS;
    h2o_hostconf_t *host =
        h2o_config_register_host(g, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = http_server_on_request;
    handler->server = s;
}

struct http_server *http_server_start(const struct http_server_config *config, struct error *err)
{
    ignore_sigpipe();
    int port = config->port;
    int fd = socket_listen(config->bind_address, &port, err);
    if (fd < 0)
        return NULL;
    struct http_server *s = xcalloc(1, sizeof(*s));
    s->config = *config;
    s->listen_fd = fd;
    s->port = port;
    s->config.tls = tls_ref(config->tls);
    s->loops_n = config->loops < 1 ? 1 : config->loops > LOOPS_MAX ? LOOPS_MAX : config->loops;
    configure(s);
    sem_init(&s->started, 0, 0);
    for (int i = 0; i < s->loops_n; i++) {
        s->loops[i].server = s;
        ensure(pthread_create(&s->loops[i].thread, NULL, loop_thread, &s->loops[i]) == 0);
    }
    for (int i = 0; i < s->loops_n; i++)
        while (sem_wait(&s->started) < 0)
            ensure(errno == EINTR);
    http_server_post(&s->loops[0], &s->loops[0].start_mail, on_listen_mail);
    return s;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_stop(struct http_server *s, int grace_ms)
{
    if (!s)
        return;
    s->grace_ms = grace_ms;
    http_server_post(&s->loops[0], &s->loops[0].stop_mail, on_stop_mail);
    for (int i = 0; i < s->loops_n; i++)
        pthread_join(s->loops[i].thread, NULL);
    sem_destroy(&s->started);
    h2o_config_dispose(&s->globalconf);
    tls_unref(s->config.tls);
    free(s);
}
