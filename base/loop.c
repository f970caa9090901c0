/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c - epoll for descriptors, an eventfd for the mailbox, a heap for the timers. */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/due_heap.h"

#define EVENTS_PER_TURN 64

struct message {
    void (*fn)(void *arg);
    void *arg;
};

struct mailbox {
    struct message *messages;
    size_t n, capacity;
};

struct loop_timer {
    struct due_node due; /* first: a due_node * in the heap is a loop_timer * */
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

struct loop_watch {
    struct loop *loop;
    struct loop_watch *next, **link; /* of all watches, so that loop_stop() finds them */
    struct loop_watch *next_dead;
    int fd;
    bool is_dead; /* cancelled in this turn; epoll may still have an event for it */
    void (*fn)(int fd, void *arg);
    void *arg;
};

struct loop {
    char name[16];
    pthread_t thread;
    int epoll_fd, wake_fd;
    struct due_heap timers;
    struct loop_watch *watches, *dead;
    bool is_stopping;
    pthread_mutex_t lock; /* guards mailbox */
    struct mailbox mailbox;
};

/* ---- mailbox ---- */

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->lock);
    struct mailbox *m = &l->mailbox;
    if (m->n == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 16;
        m->messages = xrealloc(m->messages, m->capacity * sizeof(*m->messages));
    }
    m->messages[m->n++] = (struct message){ fn, arg };
    bool was_empty = m->n == 1;
    pthread_mutex_unlock(&l->lock);
    if (was_empty) /* else the loop has been woken already */
        eventfd_write(l->wake_fd, 1);
}

static void run_mailbox(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct mailbox m = l->mailbox;
    l->mailbox = (struct mailbox){ 0 };
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < m.n; i++)
        m.messages[i].fn(m.messages[i].arg);
    free(m.messages);
}

/* ---- timers ---- */

struct loop_timer *loop_timer_start(struct loop *l, int64_t after_ms, void (*fn)(void *arg),
                                    void *arg)
{
    struct loop_timer *t = xcalloc(1, sizeof(*t));
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    due_heap_add(&l->timers, &t->due, clock_monotonic_ns(&system_clock) + after_ms * NS_PER_MS);
    return t;
}

void loop_timer_cancel(struct loop_timer *t)
{
    if (!t)
        return;
    due_heap_remove(&t->loop->timers, &t->due);
    free(t);
}

static void run_timers(struct loop *l)
{
    if (!due_heap_first(&l->timers))
        return;
    int64_t now = clock_monotonic_ns(&system_clock);
    for (struct due_node *d; (d = due_heap_first(&l->timers)) && d->due_ns <= now;) {
        struct loop_timer fired = *(struct loop_timer *)d;
        loop_timer_cancel((struct loop_timer *)d);
        fired.fn(fired.arg);
    }
}

static int wait_ms(const struct loop *l)
{
    const struct due_node *d = due_heap_first(&l->timers);
    if (!d)
        return -1;
    int64_t ns = d->due_ns - clock_monotonic_ns(&system_clock);
    if (ns <= 0)
        return 0;
    int64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS; /* not early: that would be a busy turn */
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* ---- descriptors ---- */

struct loop_watch *loop_watch_readable(struct loop *l, int fd, void (*fn)(int fd, void *arg),
                                       void *arg)
{
    struct loop_watch *w = xcalloc(1, sizeof(*w));
    *w = (struct loop_watch){
        .loop = l, .next = l->watches, .link = &l->watches, .fd = fd, .fn = fn, .arg = arg
    };
    if (w->next)
        w->next->link = &w->next;
    l->watches = w;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = w };
    ensure(epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
    return w;
}

void loop_watch_cancel(struct loop_watch *w)
{
    if (!w)
        return;
    struct loop *l = w->loop;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->is_dead = true;
    w->next_dead = l->dead;
    l->dead = w;
}

static void free_dead(struct loop *l)
{
    while (l->dead) {
        struct loop_watch *w = l->dead;
        l->dead = w->next_dead;
        free(w);
    }
}

/* ---- the thread ---- */

static void turn(struct loop *l)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int n = epoll_wait(l->epoll_fd, events, EVENTS_PER_TURN, wait_ms(l));
    ensure(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        struct loop_watch *w = events[i].data.ptr;
        if (!w) {
            eventfd_t ignored;
            eventfd_read(l->wake_fd, &ignored);
            run_mailbox(l);
        } else if (!w->is_dead) {
            w->fn(w->fd, w->arg);
        }
    }
    run_timers(l);
    free_dead(l);
}

static void *run(void *arg)
{
    struct loop *l = arg;
    pthread_setname_np(pthread_self(), l->name);
    while (!l->is_stopping)
        turn(l);
    return NULL;
}

static void loop_free(struct loop *l)
{
    while (l->watches)
        loop_watch_cancel(l->watches);
    free_dead(l);
    for (struct due_node *d; (d = due_heap_first(&l->timers));)
        loop_timer_cancel((struct loop_timer *)d);
    due_heap_deinit(&l->timers);
    free(l->mailbox.messages);
    pthread_mutex_destroy(&l->lock);
    fd_scoped(&l->epoll_fd);
    fd_scoped(&l->wake_fd);
    free(l);
}

struct loop *loop_start(const char *name, struct error *err)
{
    struct loop *l = xcalloc(1, sizeof(*l));
    snprintf(l->name, sizeof(l->name), "%s", name);
    pthread_mutex_init(&l->lock, NULL);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = NULL };
    if (l->epoll_fd < 0 || l->wake_fd < 0 ||
        epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &wake) < 0) {
        error_errno(err, "event loop %s", name);
        loop_free(l);
        return NULL;
    }
    int rc = pthread_create(&l->thread, NULL, run, l);
    if (rc != 0) {
        errno = rc;
        error_errno(err, "event loop %s: thread", name);
        loop_free(l);
        return NULL;
    }
    return l;
}

static void stop(void *arg)
{
    ((struct loop *)arg)->is_stopping = true;
}

void loop_stop(struct loop *l)
{
    if (!l)
        return;
    ensure(!pthread_equal(l->thread, pthread_self()));
    loop_post(l, stop, l);
    pthread_join(l->thread, NULL);
    loop_free(l);
}
