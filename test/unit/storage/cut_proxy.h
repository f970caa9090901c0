/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut_proxy.h - a wire between two unix sockets that can be cut, held, or speak nonsense.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/scoped.h"

#define PROXY_LINKS_MAX 16

enum proxy_mode {
    PROXY_PASS,
    PROXY_REFUSE,  /* nobody listens, and what is open ends */
    PROXY_HOLD,    /* nothing goes through, in either direction */
    PROXY_SWALLOW, /* requests go through, answers do not */
    PROXY_GARBAGE, /* answers are something else */
};

struct proxy {
    struct sockaddr_un from, to;
    int listener;
    pthread_t thread;
    _Atomic enum proxy_mode mode, applied;
    atomic_bool is_cut, is_stopping; /* cut: once, all that is open */
    atomic_int links_n;              /* opened so far */
    atomic_size_t requested;         /* bytes that have gone to the server */
    atomic_int delay_ms;             /* of all that is answered */
    struct {
        int client, server;
    } links[PROXY_LINKS_MAX];
    size_t n;
};

static inline void proxy_drop(struct proxy *p, size_t i)
{
    close(p->links[i].client);
    close(p->links[i].server);
    p->links[i] = p->links[--p->n];
}

static inline void proxy_accept(struct proxy *p)
{
    int client = accept(p->listener, NULL, NULL);
    if (client < 0)
        return;
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->n == PROXY_LINKS_MAX || connect(server, (struct sockaddr *)&p->to, sizeof(p->to)) < 0) {
        close(client);
        close(server);
        return;
    }
    atomic_fetch_add(&p->links_n, 1);
    p->links[p->n].client = client;
    p->links[p->n++].server = server;
}

/* False: this link is over. */
static inline bool proxy_move(struct proxy *p, int from, int to, bool is_answer)
{
    static const char nonsense[64] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    char buf[65536];
    ssize_t n = read(from, buf, sizeof(buf));
    if (n <= 0)
        return false;
    enum proxy_mode mode = atomic_load(&p->mode);
    if (!is_answer)
        atomic_fetch_add(&p->requested, (size_t)n);
    if (is_answer && mode == PROXY_SWALLOW)
        return true;
    if (is_answer && mode == PROXY_GARBAGE)
        return send(to, nonsense, sizeof(nonsense), MSG_NOSIGNAL) > 0;
    if (is_answer)
        usleep((useconds_t)atomic_load(&p->delay_ms) * 1000);
    for (ssize_t at = 0, done; at < n; at += done)
        if ((done = send(to, buf + at, (size_t)(n - at), MSG_NOSIGNAL)) < 0)
            return false;
    return true;
}

static inline void proxy_listen(struct proxy *p)
{
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ensure(bind(p->listener, (struct sockaddr *)&p->from, sizeof(p->from)) == 0 &&
           listen(p->listener, 16) == 0);
}

static inline void proxy_apply(struct proxy *p)
{
    enum proxy_mode mode = atomic_load(&p->mode);
    if (mode == PROXY_REFUSE && p->listener >= 0) {
        close(p->listener);
        unlink(p->from.sun_path);
        p->listener = -1;
    } else if (mode != PROXY_REFUSE && p->listener < 0) {
        proxy_listen(p);
    }
    bool is_cut = atomic_load(&p->is_cut) || mode == PROXY_REFUSE;
    while (is_cut && p->n > 0)
        proxy_drop(p, p->n - 1);
    atomic_store(&p->is_cut, false);
    atomic_store(&p->applied, mode);
}

static inline void *proxy_run(void *arg)
{
    struct proxy *p = arg;
    while (!atomic_load(&p->is_stopping)) {
        proxy_apply(p);
        struct pollfd fds[2 * PROXY_LINKS_MAX + 1] = { { .fd = p->listener, .events = POLLIN } };
        size_t links = p->n;
        bool holds = atomic_load(&p->applied) == PROXY_HOLD;
        for (size_t i = 0; i < links; i++) {
            fds[1 + 2 * i] =
                (struct pollfd){ .fd = holds ? -1 : p->links[i].client, .events = POLLIN };
            fds[2 + 2 * i] =
                (struct pollfd){ .fd = holds ? -1 : p->links[i].server, .events = POLLIN };
        }
        poll(fds, 2 * links + 1, 2);
        for (size_t i = links; i-- > 0;) {
            int client = p->links[i].client, server = p->links[i].server;
            if ((fds[1 + 2 * i].revents && !proxy_move(p, client, server, false)) ||
                (fds[2 + 2 * i].revents && !proxy_move(p, server, client, true)))
                proxy_drop(p, i);
        }
        if (fds[0].revents)
            proxy_accept(p);
    }
    while (p->n > 0)
        proxy_drop(p, p->n - 1);
    return NULL;
}

static inline void proxy_start(struct proxy *p, const char *from, const char *to)
{
    *p = (struct proxy){ .from = { .sun_family = AF_UNIX }, .to = { .sun_family = AF_UNIX } };
    snprintf(p->from.sun_path, sizeof(p->from.sun_path), "%s", from);
    snprintf(p->to.sun_path, sizeof(p->to.sun_path), "%s", to);
    proxy_listen(p);
    ensure(pthread_create(&p->thread, NULL, proxy_run, p) == 0);
}

/* Returns once it is so. */
static inline void proxy_set(struct proxy *p, enum proxy_mode mode)
{
    atomic_store(&p->mode, mode);
    while (atomic_load(&p->applied) != mode)
        usleep(500);
}

static inline void proxy_stop(struct proxy *p)
{
    atomic_store(&p->is_stopping, true);
    pthread_join(p->thread, NULL);
    if (p->listener >= 0)
        close(p->listener);
    unlink(p->from.sun_path);
}
