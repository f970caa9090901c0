/* SPDX-License-Identifier: Apache-2.0 */
/* containerd_supervisor.c - our own containerd, with a configuration made for this host. */
#include "kubelet/containerd_supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "kubelet/cri_client.h"
#include "kubelet/registries.h"

#define READY_TIMEOUT_MS   30000
#define READY_CHECK_MS     20 /* between two tries to connect while it starts */
#define RESTART_FIRST_MS   100
#define RESTART_MAX_MS     30000
#define RESTART_FORGIVE_NS (60 * NS_PER_S) /* lived this long: the next failure starts over */

struct containerd_supervisor {
    struct arena *arena;
    const char *dir; /* <data-dir>/agent/containerd */
    const char *config_path, *socket, *endpoint, *pid_path, *log_path;
    const char *program;
    const char *snapshotter;
    int stop_fd, cancel_fd;
    pid_t pid;
    pthread_t thread;
};

extern char **environ;

/* Folders where distributions put the CNI plugins. */
static const char *cni_bin_dir(void)
{
    static const char *const dirs[] = { "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni" };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/bridge", dirs[i]);
        if (access(path, X_OK) == 0)
            return dirs[i];
    }
    return dirs[0];
}

/* Lowering oom_score_adj needs CAP_SYS_RESOURCE; without it runc fails to start every sandbox, so
 * containerd has to be told to keep within what we may set. */
static bool has_sys_resource(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    return data[0].effective & (1u << CAP_SYS_RESOURCE);
}

/* An overlay on an overlay (a node in a container) does not mount; then files are copied. */
static const char *choose_snapshotter(const char *dir, struct arena *a)
{
    struct error err = { 0 };
    const char *root = arena_printf(a, "%s/overlay-check", dir);
    const char *options =
        arena_printf(a, "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", root, root, root);
    const char *target = arena_printf(a, "%s/merged", root);
    static const char *const parts[] = { "lower", "upper", "work", "merged" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (files_make_dirs(arena_printf(a, "%s/%s", root, parts[i]), 0700, &err) < 0)
            return "native";
    bool works = mount("overlay", target, "overlay", 0, options) == 0;
    if (works)
        umount2(target, MNT_DETACH);
    if (files_remove_tree(root, &err) < 0)
        log_warn("kubelet", "%s", err.message);
    return works ? "overlayfs" : "native";
}

/* State belongs on a file system that a reboot empties; its name comes from the data folder, so
 * that two nodes on one machine do not meet. */
static const char *state_dir(const char *data_dir, struct arena *a)
{
    uint32_t hash = 2166136261u; /* FNV-1a: must be the same at the next start */
    for (const char *p = data_dir; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return arena_printf(a, "/run/coracle/%08x/containerd", hash);
}

static int write_config(struct containerd_supervisor *s, const struct containerd_config *config,
                        struct error *err)
{
    struct arena *a = s->arena;
    const char *etc = arena_printf(a, "%s/agent/etc/containerd", config->data_dir);
    const char *state = state_dir(config->data_dir, a);
    s->config_path = arena_printf(a, "%s/config.toml", etc);
    if (files_make_dirs(etc, 0755, err) < 0 || files_make_dirs(state, 0711, err) < 0)
        return -1;

    __attribute__((cleanup(buffer_scoped))) struct buffer text = { 0 };
    buffer_printf(
        &text,
        "# Written by coracle at every start.\n"
        "version = 2\n"
        "root = \"%s\"\n"
        "state = \"%s\"\n"
        "disabled_plugins = [\"io.containerd.internal.v1.opt\", "
        "\"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", "
        "\"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", "
        "\"io.containerd.tracing.processor.v1.otlp\", \"io.containerd.internal.v1.tracing\"]\n"
        "\n[grpc]\naddress = \"%s\"\n",
        s->dir, state, s->socket);
    buffer_printf(&text,
                  "\n[plugins.\"io.containerd.grpc.v1.cri\"]\n"
                  "sandbox_image = \"%s\"\n"
                  "restrict_oom_score_adj = %s\n"
                  "stream_server_address = \"127.0.0.1\"\n"
                  "stream_server_port = \"0\"\n"
                  "enable_unprivileged_ports = true\n"
                  "enable_unprivileged_icmp = true\n"
                  "max_container_log_line_size = 16384\n"
                  "\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
                  "bin_dir = \"%s\"\n"
                  "conf_dir = \"%s\"\n",
                  config->sandbox_image, has_sys_resource() ? "false" : "true", cni_bin_dir(),
                  config->cni_conf_dir);
    buffer_printf(&text,
                  "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n"
                  "snapshotter = \"%s\"\n"
                  "default_runtime_name = \"runc\"\n"
                  "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n"
                  "runtime_type = \"io.containerd.runc.v2\"\n"
                  "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n"
                  "SystemdCgroup = false\n"
                  "\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
                  "config_path = \"%s/certs.d\"\n",
                  s->snapshotter, etc);
    if (config->registries_path &&
        registries_write(config->registries_path, arena_printf(a, "%s/certs.d", etc), &text, err) <
            0)
        return -1;
    return files_write(s->config_path, buffer_bytes(&text), 0600, err);
}

static bool answers(struct containerd_supervisor *s)
{
    struct stat st;
    if (stat(s->socket, &st) < 0)
        return false;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    scoped(cri_client) struct cri_client *c = cri_client_new(s->endpoint, &err);
    struct cri_version version;
    return c && cri_version(c, a, &version, &err) == 0;
}

/* The process in the pid file, if it is (still) a containerd; 0. */
static pid_t recorded_pid(struct containerd_supervisor *s)
{
    scoped(arena) struct arena *a = arena_new();
    pid_t pid = (pid_t)atoi(files_line(s->pid_path, a));
    if (pid <= 0)
        return 0;
    const char *name = files_line(arena_printf(a, "/proc/%d/comm", pid), a);
    return str_equal(name, "containerd") ? pid : 0;
}

static int spawn(struct containerd_supervisor *s, struct error *err)
{
    const char *argv[] = { s->program, "--config", s->config_path, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, s->log_path, O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int rc = posix_spawn(&s->pid, s->program, &actions, &attr, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (rc != 0) {
        errno = rc;
        return error_errno(err, "start %s", s->program);
    }
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", s->pid);
    return files_write(s->pid_path, (struct bytes){ text, (size_t)len }, 0644, err);
}

/* Waits for MS or for the end of supervision; true for the latter. */
static bool is_stopped_within(struct containerd_supervisor *s, int ms)
{
    struct pollfd p[2] = { { .fd = s->stop_fd, .events = POLLIN },
                           { .fd = s->cancel_fd, .events = POLLIN } };
    return poll(p, 2, ms) > 0;
}

static int wait_ready(struct containerd_supervisor *s, struct error *err)
{
    for (int waited = 0; waited < READY_TIMEOUT_MS; waited += READY_CHECK_MS) {
        if (answers(s))
            return 0;
        int status;
        bool is_dead = waitpid(s->pid, &status, WNOHANG) == s->pid; /* our own child */
        is_dead |= kill(s->pid, 0) < 0 && errno == ESRCH;           /* an adopted one */
        if (is_dead)
            return error_set(err, ERR_UNAVAILABLE, "containerd ended instead of answering, see %s",
                             s->log_path);
        if (is_stopped_within(s, READY_CHECK_MS))
            return error_set(err, ERR_CANCELED, "stopped while containerd started");
    }
    return error_set(err, ERR_TIMEOUT, "containerd does not answer on %s, see %s", s->socket,
                     s->log_path);
}

/* Takes over one that runs, or starts one. */
static int bring_up(struct containerd_supervisor *s, struct error *err)
{
    pid_t pid = recorded_pid(s);
    if (pid) {
        s->pid = pid;
        if (wait_ready(s, err) == 0) {
            log_info("kubelet", "containerd (process %d) is running: adopted", pid);
            return 0;
        }
        if (err->code == ERR_CANCELED)
            return -1;
        if (recorded_pid(s) == pid) {
            log_warn("kubelet", "containerd (process %d) does not answer: replaced", pid);
            kill(pid, SIGKILL);
        }
    }
    if (spawn(s, err) < 0)
        return -1;
    return wait_ready(s, err);
}

/* Blocks until containerd has ended; true if supervision ended first. */
static bool wait_end(struct containerd_supervisor *s)
{
    scoped(fd) int fd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (fd < 0)
        return is_stopped_within(s, 0);
    struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->stop_fd, .events = POLLIN } };
    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    if (p[1].revents)
        return true;
    int status; /* reaps our own child; an adopted one is init's */
    waitpid(s->pid, &status, WNOHANG);
    return false;
}

static void *supervise(void *arg)
{
    struct containerd_supervisor *s = arg;
    int backoff_ms = RESTART_FIRST_MS;
    int64_t started_ns = clock_monotonic_ns(&system_clock);
    while (!wait_end(s)) {
        int64_t now_ns = clock_monotonic_ns(&system_clock);
        if (now_ns - started_ns > RESTART_FORGIVE_NS)
            backoff_ms = RESTART_FIRST_MS;
        log_warn("kubelet", "containerd ended: starting it again in %d ms, see %s", backoff_ms,
                 s->log_path);
        if (is_stopped_within(s, backoff_ms))
            break;
        backoff_ms = backoff_ms * 2 < RESTART_MAX_MS ? backoff_ms * 2 : RESTART_MAX_MS;
        started_ns = now_ns;
        struct error err = { 0 };
        if (bring_up(s, &err) < 0)
            log_error("kubelet", "%s", err.message);
    }
    return NULL;
}

static int prepare(struct containerd_supervisor *s, const struct containerd_config *config,
                   struct error *err)
{
    struct arena *a = s->arena;
    s->program = files_find_program("containerd", a);
    if (!s->program)
        return error_set(err, ERR_UNAVAILABLE, "containerd is not installed (not in PATH)");
    if (!files_find_program("runc", a))
        return error_set(err, ERR_UNAVAILABLE, "runc is not installed (not in PATH)");
    s->dir = arena_printf(a, "%s/agent/containerd", config->data_dir);
    s->socket = arena_printf(a, "%s/containerd.sock", s->dir);
    s->endpoint = arena_printf(a, "unix:%s", s->socket);
    s->pid_path = arena_printf(a, "%s/containerd.pid", s->dir);
    s->log_path = arena_printf(a, "%s/containerd.log", s->dir);
    if (files_make_dirs(s->dir, 0711, err) < 0)
        return -1;
    s->snapshotter = choose_snapshotter(s->dir, a);
    return write_config(s, config, err);
}

struct containerd_supervisor *containerd_start(const struct containerd_config *config,
                                               struct error *err)
{
    struct containerd_supervisor *s = xcalloc(1, sizeof(*s));
    s->arena = arena_new();
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    s->cancel_fd = config->cancel_fd;
    if (prepare(s, config, err) < 0 || bring_up(s, err) < 0)
        goto fail;
    if (pthread_create(&s->thread, NULL, supervise, s) != 0) {
        error_set(err, ERR_INTERNAL, "start the thread that watches containerd");
        goto fail;
    }
    return s;
fail:
    close(s->stop_fd);
    arena_free(s->arena);
    free(s);
    return NULL;
}

const char *containerd_endpoint(const struct containerd_supervisor *s)
{
    return s->endpoint;
}

const char *containerd_socket(const struct containerd_supervisor *s)
{
    return s->socket;
}

const char *containerd_snapshotter(const struct containerd_supervisor *s)
{
    return s->snapshotter;
}

void containerd_release(struct containerd_supervisor *s)
{
    if (!s)
        return;
    uint64_t one = 1;
    if (write(s->stop_fd, &one, sizeof(one)) < 0)
        log_warn("kubelet", "stop watching containerd: %s", strerror(errno));
    pthread_join(s->thread, NULL);
    close(s->stop_fd);
    arena_free(s->arena);
    free(s);
}
