/* SPDX-License-Identifier: Apache-2.0 */
/* socket.c - dialling and listening. */
#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define LISTEN_BACKLOG       1024
#define KEEPALIVE_IDLE_S     30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES     3
/* A peer that acknowledges nothing, or keeps its window shut, for this long is gone. */
#define USER_TIMEOUT_MS 60000

static int unix_address(const char *path, struct sockaddr_un *out, struct error *err)
{
    if (strlen(path) >= sizeof(out->sun_path))
        return error_set(err, ERR_BAD_REQUEST, "unix socket path %s is too long", path);
    *out = (struct sockaddr_un){ .sun_family = AF_UNIX };
    strcpy(out->sun_path, path);
    return 0;
}

/* Splits "host:port" or "[v6]:port"; both results are malloc'ed. */
static int split_host_port(const char *address, char **host, char **port, struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (!colon || !colon[1])
        return error_set(err, ERR_BAD_REQUEST, "address %s: missing port in address", address);
    const char *start = address, *end = colon;
    if (*start == '[' && end > start && end[-1] == ']') {
        start++;
        end--;
    }
    if (end <= start)
        return error_set(err, ERR_BAD_REQUEST, "address %s: missing host in address", address);
    *host = xasprintf("%.*s", (int)(end - start), start);
    *port = xstrdup(colon + 1);
    return 0;
}

char *socket_address_host(const char *address)
{
    scoped(str) char *host = NULL;
    scoped(str) char *port = NULL;
    struct error ignored;
    if (str_has_prefix(address, "unix:") || split_host_port(address, &host, &port, &ignored) < 0)
        return xstrdup("localhost");
    return take_ptr(&host);
}

static int64_t now_ms(void)
{
    return clock_monotonic_ns(&system_clock) / NS_PER_MS;
}

char *socket_errno_text(int code)
{
    char *text = xstrdup(strerror(code));
    if (text[0] >= 'A' && text[0] <= 'Z')
        text[0] = (char)(text[0] - 'A' + 'a');
    return text;
}

static int connect_failed(int code, struct error *err)
{
    scoped(str) char *why = socket_errno_text(code);
    return error_set(err, ERR_UNAVAILABLE, "connect: %s", why);
}

/* Waits until FD is writable: 0, or -1 when the deadline passed or WAKE_FD became readable. */
static int wait_connected(int fd, int64_t deadline_ms, int wake_fd, struct error *err)
{
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        if (left <= 0)
            return error_set(err, ERR_UNAVAILABLE, "i/o timeout");
        struct pollfd fds[] = { { .fd = fd, .events = POLLOUT },
                                { .fd = wake_fd, .events = POLLIN } };
        int n = poll(fds, 2, (int)left);
        if (n < 0 && errno != EINTR)
            return error_errno(err, "poll");
        if (n > 0 && fds[1].revents)
            return error_set(err, ERR_CANCELED, "operation was canceled");
        if (n > 0 && fds[0].revents)
            break;
    }
    int code = 0;
    socklen_t len = sizeof(code);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len);
    return code ? connect_failed(code, err) : 0;
}

static int connect_one(const struct sockaddr *sa, socklen_t len, int64_t deadline_ms, int wake_fd,
                       struct error *err)
{
    scoped(fd) int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, "socket");
    if (connect(fd, sa, len) < 0) {
        if (errno != EINPROGRESS && errno != EAGAIN)
            return connect_failed(errno, err);
        if (wait_connected(fd, deadline_ms, wake_fd, err) < 0)
            return -1;
    }
    socket_tune(fd);
    int connected = fd;
    fd = -1;
    return connected;
}

static int connect_inet(const struct addrinfo *to, int64_t deadline_ms, int wake_fd,
                        struct error *err)
{
    char host[INET6_ADDRSTRLEN] = "", port[sizeof("65535")] = "";
    int fd = connect_one(to->ai_addr, to->ai_addrlen, deadline_ms, wake_fd, err);
    if (fd >= 0)
        return fd;
    getnameinfo(to->ai_addr, to->ai_addrlen, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    bool is_v6 = to->ai_family == AF_INET6;
    return error_wrap(err, is_v6 ? "dial tcp [%s]:%s" : "dial tcp %s:%s", host, port);
}

static int dial_inet(const char *address, int64_t deadline_ms, int wake_fd, struct error *err)
{
    scoped(str) char *host = NULL;
    scoped(str) char *port = NULL;
    if (split_host_port(address, &host, &port, err) < 0)
        return error_wrap(err, "dial tcp");
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc)
        return error_set(err, ERR_UNAVAILABLE, "dial tcp: lookup %s: %s", host,
                         rc == EAI_NONAME ? "no such host" : gai_strerror(rc));
    int fd = -1;
    for (struct addrinfo *i = list; i && fd < 0; i = i->ai_next)
        fd = connect_inet(i, deadline_ms, wake_fd, err);
    freeaddrinfo(list);
    return fd;
}

static int dial_unix(const char *path, int64_t deadline_ms, int wake_fd, struct error *err)
{
    struct sockaddr_un sa;
    int fd = unix_address(path, &sa, err);
    if (fd == 0)
        fd = connect_one((struct sockaddr *)&sa, sizeof(sa), deadline_ms, wake_fd, err);
    return fd < 0 ? error_wrap(err, "dial unix %s", path) : fd;
}

int socket_dial(const char *address, int timeout_ms, int wake_fd, struct error *err)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    if (str_has_prefix(address, "unix:"))
        return dial_unix(address + strlen("unix:"), deadline_ms, wake_fd, err);
    return dial_inet(address, deadline_ms, wake_fd, err);
}

/* Under its lock one process at a time looks whose a socket's file is, and removes it. */
static int open_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    scoped(str) char *folder =
        slash ? xasprintf("%.*s", (int)(slash - path + 1), path) : xstrdup(".");
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Nobody listens behind the file.  One that may not be asked counts as somebody's. */
static bool is_left_over(const struct sockaddr_un *sa)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    scoped(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
           errno == ECONNREFUSED;
}

static int listen_unix(const char *path, struct error *err)
{
    struct sockaddr_un sa;
    if (unix_address(path, &sa, err) < 0)
        return -1;
    scoped(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, "socket");
    scoped(fd) int folder = open_folder_of(path);
    flock(folder, LOCK_EX);
    if (is_left_over(&sa))
        unlink(path); /* of a process that was killed */
    fchmod(fd, 0600); /* the name that bind makes takes this mode */
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return error_errno(err, "bind");
    int listening = fd;
    fd = -1;
    return listening;
}

static int listen_inet(const char *host, int *port, struct error *err)
{
    scoped(str) char *service = xasprintf("%d", *port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return error_set(err, ERR_BAD_REQUEST, "%s", gai_strerror(rc));
    struct sockaddr_storage sa = { 0 };
    socklen_t len = list->ai_addrlen;
    memcpy(&sa, list->ai_addr, len);
    freeaddrinfo(list);

    scoped(fd) int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, "socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return error_errno(err, "bind");
    len = sizeof(sa);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    *port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                           : ((struct sockaddr_in *)&sa)->sin_port);
    int listening = fd;
    fd = -1;
    return listening;
}

int socket_listen(const char *bind_address, int *port, struct error *err)
{
    int fd = str_has_prefix(bind_address, "unix:")
                 ? listen_unix(bind_address + strlen("unix:"), err)
                 : listen_inet(bind_address, port, err);
    return fd < 0 ? error_wrap(err, "listen on %s port %d", bind_address, *port) : fd;
}

void socket_listen_end(int fd)
{
    struct sockaddr_un sa = { 0 };
    socklen_t len = sizeof(sa);
    bool has_file = getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
                    sa.sun_family == AF_UNIX && len < sizeof(sa) && sa.sun_path[0];
    close(fd);
    if (!has_file)
        return;
    scoped(fd) int folder = open_folder_of(sa.sun_path);
    flock(folder, LOCK_EX);
    if (is_left_over(&sa)) /* else another process has the name by now */
        unlink(sa.sun_path);
}

void socket_tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS },
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}
