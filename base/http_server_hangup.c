/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server_hangup.c - clients of HTTP/1.1 that leave before they are answered.
 *
 * libh2o reads nothing while a request is under way, so it learns of the end when it writes: a
 * watch without events, or a log without lines, would stay for hours.  The kernel tells of the end
 * without a byte being read:
 *
 *     socket --EPOLLRDHUP--> the loop's epoll set --readable--> on_hangups, on the loop
 */
#include "base/http_server.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/http_server_internal.h"

#define HANGUPS_PER_TURN 64

static void on_hangup(struct connection *c)
{
    struct http_request *r = c->waiting;
    if (!r || !r->h2o)
        return; /* libh2o reads again, and sees it */
    if (r->left_fd >= 0)
        eventfd_write(r->left_fd, 1);
    if (r->state == REQUEST_STREAMING)
        http_server_stream_hang_up(r->stream);
}

static void on_hangups(h2o_socket_t *set, const char *h2o_err)
{
    struct epoll_event events[HANGUPS_PER_TURN];
    int n = h2o_err ? 0 : epoll_wait(h2o_socket_get_fd(set), events, HANGUPS_PER_TURN, 0);
    for (int i = 0; i < n; i++)
        on_hangup(events[i].data.ptr);
}

void http_server_hangups_open(struct server_loop *loop)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return; /* out of descriptors: then the end is seen when it is written to */
    loop->hangups = h2o_evloop_socket_create(loop->ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    h2o_socket_read_start(loop->hangups, on_hangups);
}

void http_server_hangups_close(struct server_loop *loop)
{
    if (loop->hangups)
        h2o_socket_close(loop->hangups);
}

/* A closed socket leaves the set by itself. */
void http_server_hangup_watch(struct http_request *r)
{
    struct connection *c = r->connection;
    if (!r->loop->hangups || !c->sock || !r->h2o || r->h2o->version >= 0x200)
        return; /* HTTP/2 reads all the time */
    int set = h2o_socket_get_fd(r->loop->hangups), fd = h2o_socket_get_fd(c->sock);
    struct epoll_event event = { .events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = c };
    c->waiting = r;
    if (epoll_ctl(set, EPOLL_CTL_MOD, fd, &event) < 0 && errno == ENOENT)
        (void)epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}
