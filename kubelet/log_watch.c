/* SPDX-License-Identifier: Apache-2.0 */
/* log_watch.c - one inotify instance for all who follow logs. */
#include "kubelet/log_watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"

struct log_watch {
    int notify_fd, stop_fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows; held from one event to the next follower's wake */
    struct log_follower *followers;
};

static void wake(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_warn("kubelet", "wake the follower of a log: %m");
}

static void tell(struct log_watch *w, const struct inotify_event *e)
{
    bool is_for_all = e->mask & IN_Q_OVERFLOW; /* some were lost: whoever missed a close asks */
    bool was_closed = e->mask & (IN_CLOSE_WRITE | IN_Q_OVERFLOW);
    pthread_mutex_lock(&w->lock);
    for (struct log_follower *f = w->followers; f; f = f->next) {
        if (!is_for_all && f->folder != e->wd)
            continue;
        if (was_closed)
            atomic_store(&f->was_closed, true);
        wake(f->wake_fd);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct log_watch *w = arg;
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    for (;;) {
        struct pollfd p[2] = { { .fd = w->notify_fd, .events = POLLIN },
                               { .fd = w->stop_fd, .events = POLLIN } };
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            log_error("kubelet", "wait for logs: %m");
        if (p[1].revents)
            return NULL;
        ssize_t n = read(w->notify_fd, events, sizeof(events));
        for (char *at = events; at < events + n;) {
            const struct inotify_event *e = (const struct inotify_event *)at;
            tell(w, e);
            at += sizeof(*e) + e->len;
        }
    }
}

struct log_watch *log_watch_new(struct error *err)
{
    struct log_watch *w = xcalloc(1, sizeof(*w));
    w->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    if (w->notify_fd < 0 || w->stop_fd < 0) {
        error_errno(err, "watch logs");
    } else if (pthread_create(&w->thread, NULL, run, w) == 0) {
        return w;
    } else {
        error_set(err, ERR_INTERNAL, "start the thread that watches logs");
    }
    if (w->notify_fd >= 0)
        close(w->notify_fd);
    if (w->stop_fd >= 0)
        close(w->stop_fd);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

void log_watch_free(struct log_watch *w)
{
    if (!w)
        return;
    wake(w->stop_fd);
    pthread_join(w->thread, NULL);
    close(w->notify_fd);
    close(w->stop_fd);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int log_watch_begin(struct log_watch *w, struct log_follower *f, const char *dir, struct error *err)
{
    *f = (struct log_follower){ .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (f->wake_fd < 0)
        return error_errno(err, "watch %s", dir);
    pthread_mutex_lock(&w->lock);
    /* The same folder has the same number, however many follow it. */
    f->folder =
        inotify_add_watch(w->notify_fd, dir, IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO);
    int saved = errno;
    if (f->folder >= 0) {
        f->next = w->followers;
        w->followers = f;
    }
    pthread_mutex_unlock(&w->lock);
    if (f->folder >= 0)
        return 0;
    close(f->wake_fd);
    errno = saved;
    return error_errno(err, "watch %s", dir);
}

void log_watch_end(struct log_watch *w, struct log_follower *f)
{
    bool is_shared = false;
    pthread_mutex_lock(&w->lock);
    struct log_follower **at = &w->followers;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    for (const struct log_follower *other = w->followers; other; other = other->next)
        is_shared |= other->folder == f->folder;
    if (!is_shared)
        inotify_rm_watch(w->notify_fd, f->folder); /* fails when the folder has gone */
    pthread_mutex_unlock(&w->lock);
    close(f->wake_fd);
}
