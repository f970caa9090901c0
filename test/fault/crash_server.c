/* SPDX-License-Identifier: Apache-2.0 */
/* crash_server.c - both sides: starting and killing it, and being it. */
#include "test/fault/crash_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "storage/storage.h"

#define ROLE             "--server"
#define READY_TIMEOUT_MS 60000
#define PROGRESS_MS      20
#define CLOCK_JUMP_MAX_S 86400

/* ---- being it ---- */

static atomic_bool clock_jumps;

/* Stands in for libc's. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *out)
{
    static atomic_ulong looks;
    int rc = (int)syscall(SYS_clock_gettime, id, out);
    if (rc == 0 && id == CLOCK_REALTIME && atomic_load(&clock_jumps)) {
        uint64_t mixed = atomic_fetch_add(&looks, 1) * UINT64_C(0x9e3779b97f4a7c15);
        out->tv_sec += (time_t)((mixed >> 32) % (2 * CLOCK_JUMP_MAX_S)) - CLOCK_JUMP_MAX_S;
    }
    return rc;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "server: %s\n", err->message);
    return 1;
}

static int serve(const char *dir, const char *address, const sigset_t *until)
{
    struct error err = { 0 };
    struct storage_embedded_config embedded = { .dir = dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&embedded, &err);
    if (!s)
        return fail(&err);
    struct storage_etcd_config config = {
        .storage = s,
        .bind_address = address,
        .scratch_dir = dir,
        .progress_notify_interval_ms = PROGRESS_MS,
    };
    struct storage_etcd_server *server = storage_etcd_start(&config, &err);
    if (!server)
        return fail(&err);
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    int got;
    sigwait(until, &got);
    storage_etcd_stop(server);
    storage_close(s);
    return 0;
}

void crash_server_become(int argc, char **argv)
{
    if (argc != 4 || strcmp(argv[1], ROLE) != 0)
        return;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    atomic_store(&clock_jumps, true);
    exit(serve(argv[2], argv[3], &signals));
}

/* ---- starting and killing it ---- */

static void run_child(const char *dir, const char *address, const char *failpoints, int out)
{
    if (failpoints)
        setenv("CORACLE_FAILPOINTS", failpoints, 1);
    dup2(out, STDOUT_FILENO);
    execl("/proc/self/exe", "crash-server", ROLE, dir, address, (char *)NULL);
    _exit(127);
}

int crash_server_start(struct crash_server *s, const char *dir, const char *failpoints,
                       struct error *err)
{
    int ends[2];
    snprintf(s->socket, sizeof(s->socket), "unix:%s.socket", dir);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, "make a pipe");
    s->pid = fork();
    if (s->pid == 0)
        run_child(dir, s->socket, failpoints, ends[1]);
    close(ends[1]);
    struct pollfd wait = { ends[0], POLLIN, 0 };
    char ready;
    bool is_ready =
        s->pid > 0 && poll(&wait, 1, READY_TIMEOUT_MS) == 1 && read(ends[0], &ready, 1) == 1;
    close(ends[0]);
    if (s->pid < 0)
        return error_errno(err, "fork");
    if (is_ready)
        return 1;
    bool has_ended = wait.revents;
    crash_server_end(s, has_ended ? 0 : SIGKILL);
    return has_ended ? 0 : error_set(err, ERR_TIMEOUT, "the server does not start");
}

bool crash_server_is_alive(struct crash_server *s)
{
    if (s->pid && waitpid(s->pid, &s->status, WNOHANG) == s->pid)
        s->pid = 0;
    return s->pid;
}

void crash_server_stand_still(struct crash_server *s, int ms)
{
    kill(s->pid, SIGSTOP);
    usleep((useconds_t)ms * 1000);
    kill(s->pid, SIGCONT);
}

void crash_server_end(struct crash_server *s, int signal)
{
    if (!s->pid)
        return;
    if (signal)
        kill(s->pid, signal);
    while (waitpid(s->pid, &s->status, 0) < 0 && errno == EINTR)
        continue;
    s->pid = 0;
}

bool crash_server_was_killed(const struct crash_server *s)
{
    return WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGKILL;
}
