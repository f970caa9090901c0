/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - posix_spawn with three pipes and a poll loop. */

#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define STDERR_BYTES_MAX 4096
#define SEARCH_PATH      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { IN, OUT, ERR, PIPES };

struct child {
    pid_t pid;
    int fds[PIPES]; /* our ends; -1 once closed */
    struct bytes input;
    struct buffer *out;
    struct buffer errors;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The child gets default signals: we block some and ignore SIGPIPE. */
static void spawn_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attr);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(struct child *c, const char *program, const char *const *argv, struct error *err)
{
    int pipes[PIPES][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
    for (int i = 0; i < PIPES; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) < 0) {
            error_errno(err, "run %s: make a pipe", argv[0]);
            for (int k = 0; k < i; k++) {
                close(pipes[k][0]);
                close(pipes[k][1]);
            }
            return -1;
        }
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[IN][0], 0);
    posix_spawn_file_actions_adddup2(&actions, pipes[OUT][1], 1);
    posix_spawn_file_actions_adddup2(&actions, pipes[ERR][1], 2);
    spawn_attributes(&attr);
    errno = posix_spawn(&c->pid, program, &actions, &attr, (char *const *)argv, environ);
    int rc = errno ? error_errno(err, "run %s", program) : 0;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);

    for (int i = 0; i < PIPES; i++) {
        int ours = i == IN ? 1 : 0;
        close(pipes[i][!ours]);
        c->fds[i] = pipes[i][ours];
        if (rc < 0)
            close_fd(&c->fds[i]);
        else
            fcntl(c->fds[i], F_SETFL, O_NONBLOCK);
    }
    return rc;
}

static void feed(struct child *c)
{
    ssize_t n = write(c->fds[IN], c->input.data, c->input.len);
    if (n > 0) {
        c->input.data += n;
        c->input.len -= (size_t)n;
    }
    if (c->input.len == 0 || (n < 0 && errno != EAGAIN))
        close_fd(&c->fds[IN]);
}

static void drain(int *fd, struct buffer *into, size_t max)
{
    char piece[8192];
    ssize_t n = read(*fd, piece, sizeof(piece));
    if (n > 0 && into && into->len < max)
        buffer_add(into, piece, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        close_fd(fd);
}

/* Moves bytes until the child has closed its output.  0, or -1 when it must be killed. */
static int pump(struct child *c, const char *name, int timeout_ms, struct error *err)
{
    int64_t end_ns = clock_monotonic_ns(&system_clock) + timeout_ms * NS_PER_MS;
    if (c->input.len == 0)
        close_fd(&c->fds[IN]);
    while (c->fds[OUT] >= 0 || c->fds[ERR] >= 0) {
        int64_t left_ms = (end_ns - clock_monotonic_ns(&system_clock)) / NS_PER_MS;
        if (left_ms <= 0)
            return error_set(err, ERR_TIMEOUT, "run %s: no end after %d ms", name, timeout_ms);
        struct pollfd polled[PIPES] = {
            { .fd = c->fds[IN], .events = POLLOUT },
            { .fd = c->fds[OUT], .events = POLLIN },
            { .fd = c->fds[ERR], .events = POLLIN },
        };
        if (poll(polled, PIPES, (int)left_ms) < 0 && errno != EINTR)
            return error_errno(err, "run %s: poll", name);
        if (polled[IN].revents)
            feed(c);
        if (polled[OUT].revents)
            drain(&c->fds[OUT], c->out, PROCESS_OUTPUT_BYTES_MAX);
        if (polled[ERR].revents)
            drain(&c->fds[ERR], &c->errors, STDERR_BYTES_MAX);
        if (c->out && c->out->len >= PROCESS_OUTPUT_BYTES_MAX)
            return error_set(err, ERR_TOO_LARGE, "run %s: more than %d bytes of output", name,
                             PROCESS_OUTPUT_BYTES_MAX);
    }
    return 0;
}

static int judge(int status, const char *name, const struct buffer *errors, struct error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    int len = (int)errors->len;
    while (len > 0 && errors->data[len - 1] == '\n')
        len--;
    if (WIFSIGNALED(status))
        return error_set(err, ERR_INTERNAL, "run %s: killed by signal %d: %.*s", name,
                         WTERMSIG(status), len, errors->data ? errors->data : "");
    return error_set(err, ERR_INTERNAL, "run %s: exit status %d: %.*s", name, WEXITSTATUS(status),
                     len, errors->data ? errors->data : "");
}

/* Services are often started with a PATH that lacks sbin, where iptables lives. */
static bool find_program(const char *name, char *out, size_t n)
{
    const char *own = getenv("PATH");
    scoped(str) char *path = xasprintf("%s:%s", own ? own : "", SEARCH_PATH);
    char *state = NULL;
    if (strchr(name, '/')) {
        snprintf(out, n, "%s", name);
        return access(out, X_OK) == 0;
    }
    for (char *dir = strtok_r(path, ":", &state); dir; dir = strtok_r(NULL, ":", &state)) {
        if ((size_t)snprintf(out, n, "%s/%s", dir, name) < n && access(out, X_OK) == 0)
            return true;
    }
    return false;
}

int process_run(const char *const *argv, struct bytes input, struct buffer *out, int timeout_ms,
                struct error *err)
{
    char program[512];
    if (!find_program(argv[0], program, sizeof(program)))
        return error_set(err, ERR_NOT_FOUND, "run %s: no such program in PATH", argv[0]);
    struct child c = { .input = input, .out = out };
    if (spawn(&c, program, argv, err) < 0)
        return -1;
    int rc = pump(&c, argv[0], timeout_ms, err);
    if (rc < 0)
        kill(c.pid, SIGKILL);
    for (int i = 0; i < PIPES; i++)
        close_fd(&c.fds[i]);
    int status;
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0)
        rc = judge(status, argv[0], &c.errors, err);
    buffer_free(&c.errors);
    return rc;
}
