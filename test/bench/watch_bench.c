/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_bench.c - fan-out: how fast changes reach many watchers.
 *
 *     watch_bench [-w WATCHERS] [-e CHANGES] [-c WRITERS] [-p SERVER_PID] URL TOKEN
 *
 * Watches the ConfigMaps of the namespace default, each watcher over an HTTP/2 connection of its
 * own, and changes them from a few threads at once.  The time of a change travels in it, so that
 * the latency is that from the request to the watcher.
 *
 *     writers --PATCH--> server --DATA frames--> one thread for all watchers
 *
 * The server shares the machine with this program.  So this side does as little as it can: it
 * speaks HTTP/2 by hand, with windows that never have to be opened again, and of an event it looks
 * at its end and its time.  With SERVER_PID it also says what the server used, memory for each
 * idle watcher included.
 */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/socket.h"
#include "base/tls_internal.h"

#define EVENTS_MAX       50000000
#define WRITERS_MAX      64
#define MARK             "\"at\":\""
#define TAIL_BYTES       64 /* an event ends in its data: the mark is in here */
#define GIVE_UP_NS       (60 * NS_PER_S)
#define DIAL_TIMEOUT_MS  10000
#define READ_BYTES       (256 * 1024)
#define EVENT_BYTES_MAX  65536
#define ANSWER_BYTES_MAX 65536
#define READY_PER_TURN   256
#define WINDOW           0x7fffffff
#define WINDOW_AT_START  65535
#define FRAME_HEAD_BYTES 9
#define COLLECTION       "/api/v1/namespaces/default/configmaps"

enum frame_type { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_SETTINGS = 4, FRAME_WINDOW_UPDATE = 8 };
enum { FLAG_ACK = 1, FLAGS_END_STREAM_AND_HEADERS = 5, FLAG_PADDED = 8 };

struct watcher {
    struct transport *transport;
    unsigned char head[FRAME_HEAD_BYTES];
    size_t head_n, payload_left;
    struct buffer event; /* one whose end has not come yet */
};

static const char *address, *token;
static struct tls *tls;
static struct watcher *watchers;
static int watchers_n = 100, writers_n = 4;
static size_t changes = 500;
static atomic_size_t opened, received, sent;
static float *latency_ms; /* one per event received */

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void die(const struct error *err)
{
    fprintf(stderr, "watch_bench: %s\n", err->message);
    exit(1);
}

/* ---- a writer: HTTP/1.1, one request after the other ---- */

/* Sends a request and reads its answer into ANSWER; returns the status. */
static int call(struct stream *s, const char *method, const char *path, const char *type,
                const char *body, struct buffer *answer)
{
    struct error err = { 0 };
    struct buffer request = { 0 };
    size_t head_len = 0;
    char piece[4096];
    buffer_printf(&request,
                  "%s " COLLECTION "%s HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %s\r\n"
                  "content-type: %s\r\ncontent-length: %zu\r\n\r\n%s",
                  method, path, token, type, strlen(body), body);
    buffer_clear(answer);
    if (stream_write(s, request.data, request.len, &err) < 0 ||
        stream_read_head(s, ANSWER_BYTES_MAX, answer, &head_len, &err) < 0)
        die(&err);
    buffer_free(&request);

    const char *length = strcasestr(answer->data, "\r\ncontent-length: ");
    size_t end = head_len + (length ? strtoul(length + 18, NULL, 10) : 0);
    while (answer->len < end) {
        ssize_t n = stream_read(s, piece, sizeof(piece), &err);
        if (n <= 0)
            die(&err);
        buffer_add(answer, piece, (size_t)n);
    }
    return atoi(answer->data + strlen("HTTP/1.1 "));
}

static struct stream *dial_writer(void)
{
    struct error err = { 0 };
    struct stream *s = stream_dial(address, tls, DIAL_TIMEOUT_MS, &err);
    if (!s)
        die(&err);
    return s;
}

static void *write_changes(void *arg)
{
    char path[64], body[96];
    struct buffer answer = { 0 };
    struct stream *s = dial_writer();
    snprintf(path, sizeof(path), "/watch-bench-%d", (int)(intptr_t)arg);
    while (atomic_fetch_add(&sent, 1) < changes) {
        snprintf(body, sizeof(body), "{\"data\":{\"at\":\"%lld\"}}", (long long)now_ns());
        int status = call(s, "PATCH", path, "application/merge-patch+json", body, &answer);
        if (status != 200)
            fprintf(stderr, "watch_bench: patch answered %d\n", status);
    }
    stream_close(s);
    buffer_free(&answer);
    return NULL;
}

/* Returns the revision to watch from. */
static long long make_maps(void)
{
    char body[96];
    const char *version = NULL;
    struct buffer answer = { 0 };
    struct stream *s = dial_writer();
    for (int i = 0; i < writers_n; i++) {
        snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"watch-bench-%d\"}}", i);
        call(s, "POST", "", "application/json", body, &answer);
        version = strstr(answer.data, "\"resourceVersion\":\"");
        if (!version) {
            fprintf(stderr, "watch_bench: create answered %s\n", answer.data);
            exit(1);
        }
    }
    long long revision = strtoll(version + 19, NULL, 10);
    stream_close(s);
    buffer_free(&answer);
    return revision;
}

static void remove_maps(void)
{
    char path[64];
    struct buffer answer = { 0 };
    struct stream *s = dial_writer();
    for (int i = 0; i < writers_n; i++) {
        snprintf(path, sizeof(path), "/watch-bench-%d", i);
        call(s, "DELETE", path, "application/json", "", &answer);
    }
    stream_close(s);
    buffer_free(&answer);
}

/* ---- a watcher: HTTP/2, one request ---- */

static void add_number(struct buffer *b, uint32_t value, int bytes)
{
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        buffer_add_char(b, (char)(value >> shift));
}

static void add_frame_head(struct buffer *b, size_t len, enum frame_type type, int flags, int id)
{
    add_number(b, (uint32_t)len, 3);
    buffer_add_char(b, (char)type);
    buffer_add_char(b, (char)flags);
    add_number(b, (uint32_t)id, 4);
}

/* A header that is not to be indexed: its name as HPACK's static table numbers it, its value. */
static void add_header(struct buffer *b, unsigned name, const char *value)
{
    size_t len = strlen(value);
    buffer_add_char(b, (char)(name < 15 ? name : 15));
    if (name >= 15)
        buffer_add_char(b, (char)(name - 15));
    buffer_add_char(b, (char)(len < 127 ? len : 127));
    if (len >= 127) {
        for (len -= 127; len >= 128; len /= 128)
            buffer_add_char(b, (char)(len % 128 + 128));
        buffer_add_char(b, (char)len);
    }
    buffer_add_str(b, value);
}

static void watch_request(long long revision, struct buffer *out)
{
    scoped(str) char *path = xasprintf(COLLECTION "?watch=1&resourceVersion=%lld", revision);
    scoped(str) char *bearer = xasprintf("Bearer %s", token);
    struct buffer headers = { 0 };
    buffer_add_str(&headers, "\x82\x87"); /* :method GET, :scheme https */
    add_header(&headers, 1, "bench");     /* :authority */
    add_header(&headers, 4, path);        /* :path */
    add_header(&headers, 23, bearer);     /* authorization */

    buffer_add_str(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    add_frame_head(out, 6, FRAME_SETTINGS, 0, 0);
    add_number(out, 4, 2); /* the window that streams begin with */
    add_number(out, WINDOW, 4);
    add_frame_head(out, 4, FRAME_WINDOW_UPDATE, 0, 0);
    add_number(out, WINDOW - WINDOW_AT_START, 4);
    add_frame_head(out, headers.len, FRAME_HEADERS, FLAGS_END_STREAM_AND_HEADERS, 1);
    buffer_add_bytes(out, buffer_bytes(&headers));
    buffer_free(&headers);
}

static void send_all(struct transport *t, struct bytes data)
{
    struct error err = { 0 };
    while (data.len > 0) {
        ssize_t n = transport_write(t, data.data, data.len, &err);
        if (n == TRANSPORT_AGAIN) {
            poll(&(struct pollfd){ transport_fd(t), transport_events(t, true), 0 }, 1, -1);
            continue;
        }
        if (n < 0)
            die(&err);
        data.data += n;
        data.len -= (size_t)n;
    }
}

static void open_watcher(struct watcher *w, long long revision, int epoll_fd)
{
    struct error err = { 0 };
    struct buffer request = { 0 };
    int fd = socket_dial(address, DIAL_TIMEOUT_MS, -1, &err);
    if (fd < 0)
        die(&err);
    w->transport = transport_client_take(fd, tls, "bench", TRANSPORT_H2, &err);
    if (!w->transport)
        die(&err);
    transport_read_ahead(w->transport);
    watch_request(revision, &request);
    send_all(w->transport, buffer_bytes(&request));
    buffer_free(&request);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = w };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* EVENT is a line without its end. */
static void on_event(struct bytes event, int64_t now)
{
    size_t tail = event.len < TAIL_BYTES ? event.len : TAIL_BYTES;
    const char *mark = memmem(event.data + event.len - tail, tail, MARK, sizeof(MARK) - 1);
    if (!mark)
        return;
    size_t i = atomic_fetch_add_explicit(&received, 1, memory_order_relaxed);
    if (i < (size_t)watchers_n * changes)
        latency_ms[i] = (float)((double)(now - strtoll(mark + sizeof(MARK) - 1, NULL, 10)) / 1e6);
}

static void on_data(struct watcher *w, struct bytes data, int64_t now)
{
    const char *eol;
    while ((eol = memchr(data.data, '\n', data.len))) {
        struct bytes line = { data.data, (size_t)(eol - data.data) };
        data.data = eol + 1;
        data.len -= line.len + 1;
        if (w->event.len > 0) {
            buffer_add_bytes(&w->event, line);
            line = buffer_bytes(&w->event);
        }
        on_event(line, now);
        buffer_clear(&w->event);
    }
    buffer_add_bytes(&w->event, data);
    if (w->event.len > EVENT_BYTES_MAX)
        die(&(struct error){ .message = "an event without an end" });
}

static void on_frame_head(struct watcher *w)
{
    const unsigned char *h = w->head;
    w->payload_left = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
    if (h[3] == FRAME_DATA && (h[4] & FLAG_PADDED))
        die(&(struct error){ .message = "a padded frame" });
    if (h[3] == FRAME_HEADERS)
        atomic_fetch_add(&opened, 1);
    if (h[3] == FRAME_SETTINGS && !(h[4] & FLAG_ACK)) {
        struct buffer ack = { 0 };
        add_frame_head(&ack, 0, FRAME_SETTINGS, FLAG_ACK, 0);
        send_all(w->transport, buffer_bytes(&ack));
        buffer_free(&ack);
    }
}

/* The bytes of frames, cut anywhere. */
static void on_bytes(struct watcher *w, const char *data, size_t n, int64_t now)
{
    while (n > 0) {
        bool in_head = w->head_n < FRAME_HEAD_BYTES;
        size_t left = in_head ? FRAME_HEAD_BYTES - w->head_n : w->payload_left;
        size_t take = left < n ? left : n;
        if (in_head) {
            memcpy(w->head + w->head_n, data, take);
            w->head_n += take;
            if (w->head_n == FRAME_HEAD_BYTES)
                on_frame_head(w);
        } else {
            if (w->head[3] == FRAME_DATA)
                on_data(w, (struct bytes){ data, take }, now);
            w->payload_left -= take;
        }
        if (w->head_n == FRAME_HEAD_BYTES && w->payload_left == 0)
            w->head_n = 0;
        data += take;
        n -= take;
    }
}

static void read_watcher(struct watcher *w, char *buf, int64_t now)
{
    struct error err = { 0 };
    ssize_t n;
    while ((n = transport_read(w->transport, buf, READ_BYTES, &err)) > 0)
        on_bytes(w, buf, (size_t)n, now);
    if (n == 0)
        error_set(&err, ERR_UNAVAILABLE, "a watch ended");
    if (n != TRANSPORT_AGAIN)
        die(&err);
}

static void *read_watchers(void *arg)
{
    int epoll_fd = (int)(intptr_t)arg;
    struct epoll_event ready[READY_PER_TURN];
    char *buf = xmalloc(READ_BYTES);
    for (;;) {
        int n = epoll_wait(epoll_fd, ready, READY_PER_TURN, -1);
        int64_t now = now_ns();
        for (int i = 0; i < n; i++)
            read_watcher(ready[i].data.ptr, buf, now);
    }
    return NULL;
}

/* ---- what it costs ---- */

static double own_cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* The server's: CPU time in seconds, memory in bytes. */
struct usage {
    double cpu_s;
    size_t resident;
};

static struct usage usage_of(int pid)
{
    struct usage u = { 0 };
    unsigned long user = 0, system = 0;
    long pages = 0;
    if (!pid)
        return u;
    scoped(arena) struct arena *a = arena_new();
    const char *stat = files_line(arena_printf(a, "/proc/%d/stat", pid), a);
    const char *name_end = strrchr(stat, ')');
    if (!name_end || sscanf(name_end,
                            ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu %*s %*s %*s %*s "
                            "%*s %*s %*s %*s %ld",
                            &user, &system, &pages) != 3)
        die(&(struct error){ .message = "there is no such server process" });
    u.cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    u.resident = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    return u;
}

/* ---- a run ---- */

static void open_watchers(long long revision)
{
    pthread_t reader;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pthread_create(&reader, NULL, read_watchers, (void *)(intptr_t)epoll_fd);
    pthread_detach(reader);
    for (int i = 0; i < watchers_n; i++)
        open_watcher(&watchers[i], revision, epoll_fd);
    while (atomic_load(&opened) < (size_t)watchers_n)
        usleep(1000);
}

/* Returns the seconds that it took. */
static double run_changes(void)
{
    pthread_t writers[WRITERS_MAX];
    size_t wanted = (size_t)watchers_n * changes;
    int64_t begin = now_ns();
    for (intptr_t i = 0; i < writers_n; i++)
        pthread_create(&writers[i], NULL, write_changes, (void *)i);
    for (int i = 0; i < writers_n; i++)
        pthread_join(writers[i], NULL);
    while (atomic_load(&received) < wanted && now_ns() - begin < GIVE_UP_NS)
        usleep(200);
    return (double)(now_ns() - begin) / 1e9;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void take_options(int argc, char **argv, int *server_pid)
{
    int option;
    while ((option = getopt(argc, argv, "w:e:c:p:")) != -1) {
        int value = option == '?' ? 0 : atoi(optarg);
        if (option == 'w')
            watchers_n = value;
        else if (option == 'e')
            changes = (size_t)value;
        else if (option == 'c')
            writers_n = value;
        else if (option == 'p')
            *server_pid = value;
        if (value < 1)
            watchers_n = 0;
    }
    if (argc - optind != 2 || watchers_n < 1 || changes > EVENTS_MAX / (size_t)watchers_n ||
        writers_n > WRITERS_MAX) {
        fprintf(stderr, "usage: watch_bench [-w WATCHERS] [-e CHANGES] [-c WRITERS] "
                        "[-p SERVER_PID] URL TOKEN\n");
        exit(2);
    }
    address = argv[optind] + (str_has_prefix(argv[optind], "https://") ? strlen("https://") : 0);
    token = argv[optind + 1];
}

static void may_open_many_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    int server_pid = 0;
    take_options(argc, argv, &server_pid);
    may_open_many_files();
    tls = tls_client_new(&(struct tls_client_config){ .insecure_skip_verify = true }, &err);
    if (!tls)
        die(&err);
    size_t wanted = (size_t)watchers_n * changes;
    watchers = xcalloc((size_t)watchers_n, sizeof(*watchers));
    latency_ms = xcalloc(wanted, sizeof(*latency_ms));

    long long revision = make_maps();
    struct usage before = usage_of(server_pid);
    open_watchers(revision);
    struct usage idle = usage_of(server_pid);
    double own_cpu = own_cpu_s(), seconds = run_changes();
    own_cpu = own_cpu_s() - own_cpu;
    struct usage after = usage_of(server_pid);

    size_t n = atomic_load(&received) < wanted ? atomic_load(&received) : wanted;
    qsort(latency_ms, n, sizeof(*latency_ms), by_value);
    printf("%d watchers, %zu changes: %zu events, %.0f per second, p50 %.1f ms, p99 %.1f ms\n",
           watchers_n, changes, n, (double)n / seconds, n ? (double)latency_ms[n / 2] : 0,
           n ? (double)latency_ms[n * 99 / 100] : 0);
    if (server_pid && n > 0)
        printf("CPU of an event: server %.2f us, this program %.2f us; memory of an idle watcher: "
               "%.1f kB\n",
               (after.cpu_s - idle.cpu_s) * 1e6 / (double)n, own_cpu * 1e6 / (double)n,
               ((double)idle.resident - (double)before.resident) / 1024 / watchers_n);
    remove_maps();
    return n == wanted ? 0 : 1;
}
