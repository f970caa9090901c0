/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_bench.c - fan-out: how fast changes reach many watchers.
 *
 *     watch_bench URL TOKEN [WATCHERS] [EVENTS]      default 100 watchers, 500 changes
 *
 * Watches the ConfigMaps of the namespace default and changes one of them from a few threads at
 * once.  The time of a change travels in it, so that the latency is that from the request to the
 * watcher.  Watchers only look for the time in the bytes: what is measured is the server.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/http_client.h"

#define EVENTS_MAX  10000000
#define WRITERS     4
#define MARK        "\"at\":\""
#define GIVE_UP_NS  (60 * NS_PER_S)
#define PENDING_MAX 65536 /* bytes of a line whose end has not come yet */

static const char *url, *token;
static struct http_client *client;
static atomic_size_t received, sent;
static atomic_bool is_over;
static float *latency_ms; /* one per event received */
static size_t room, changes;

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void die(const struct error *err)
{
    fprintf(stderr, "watch_bench: %s\n", err->message);
    exit(1);
}

static int call(const char *method, const char *path, const char *type, struct bytes body,
                int (*on_body)(struct bytes piece, void *arg), void *arg, int *status)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct http_header headers[] = {
        { "authorization", arena_printf(a, "Bearer %s", token) },
        { "content-type", type },
    };
    struct http_client_request r = {
        .method = method,
        .url = arena_printf(a, "%s/api/v1/namespaces/default/configmaps%s", url, path),
        .headers = headers,
        .headers_n = 2,
        .body = body,
        .cancel = on_body ? &is_over : NULL,
    };
    struct http_client_response answer;
    if (http_client_do(client, &r, on_body, arg, a, &answer, &err) < 0) {
        if (err.code == ERR_CANCELED)
            return -1;
        die(&err);
    }
    *status = answer.status;
    return 0;
}

static void on_line(const char *line, size_t len)
{
    const char *mark = memmem(line, len, MARK, sizeof(MARK) - 1);
    if (!mark)
        return;
    size_t i = atomic_fetch_add(&received, 1);
    if (i < room)
        latency_ms[i] =
            (float)((double)(now_ns() - strtoll(mark + sizeof(MARK) - 1, NULL, 10)) / 1e6);
}

static int on_body(struct bytes piece, void *arg)
{
    struct buffer *pending = arg;
    buffer_add_bytes(pending, piece);
    char *at = pending->data, *end = pending->data + pending->len, *eol;
    while ((eol = memchr(at, '\n', (size_t)(end - at)))) {
        on_line(at, (size_t)(eol - at));
        at = eol + 1;
    }
    pending->len = (size_t)(end - at);
    memmove(pending->data, at, pending->len);
    return pending->len > PENDING_MAX ? -1 : 0;
}

static void *watch(void *arg)
{
    scoped(buffer) struct buffer pending = { 0 };
    int status;
    (void)arg;
    call("GET", "?watch=1", "application/json", (struct bytes){ 0 }, on_body, &pending, &status);
    return NULL;
}

static void *write_changes(void *arg)
{
    char path[64], body[96];
    int status, writer = (int)(intptr_t)arg;
    snprintf(path, sizeof(path), "/watch-bench-%d", writer);
    while (atomic_fetch_add(&sent, 1) < changes) {
        int n = snprintf(body, sizeof(body), "{\"data\":{\"at\":\"%lld\"}}", (long long)now_ns());
        call("PATCH", path, "application/merge-patch+json", (struct bytes){ body, (size_t)n }, NULL,
             NULL, &status);
        if (status != 200)
            fprintf(stderr, "watch_bench: patch answered %d\n", status);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void make_or_remove_maps(bool make)
{
    char text[96];
    int status;
    for (int i = 0; i < WRITERS; i++) {
        int n =
            make ? snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"watch-bench-%d\"}}", i)
                 : 0;
        char path[64] = "";
        if (!make)
            snprintf(path, sizeof(path), "/watch-bench-%d", i);
        call(make ? "POST" : "DELETE", path, "application/json", (struct bytes){ text, (size_t)n },
             NULL, NULL, &status);
    }
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    int watchers = argc > 3 ? atoi(argv[3]) : 100;
    changes = argc > 4 ? (size_t)atoi(argv[4]) : 500;
    room = (size_t)watchers * changes;
    if (argc < 3 || watchers < 1 || changes < 1 || room > EVENTS_MAX) {
        fprintf(stderr, "usage: watch_bench URL TOKEN [WATCHERS] [EVENTS]\n");
        return 2;
    }
    url = argv[1];
    token = argv[2];
    client = http_client_new(&(struct tls_client_config){ .insecure_skip_verify = true }, &err);
    if (!client)
        die(&err);
    latency_ms = xcalloc(room, sizeof(*latency_ms));
    make_or_remove_maps(true);
    pthread_t *threads = xcalloc((size_t)watchers, sizeof(*threads)), writers[WRITERS];
    for (int i = 0; i < watchers; i++)
        pthread_create(&threads[i], NULL, watch, NULL);
    sleep(2); /* every watch has had its first events */

    int64_t begin = now_ns();
    for (intptr_t i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, write_changes, (void *)i);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    while (atomic_load(&received) < room && now_ns() - begin < GIVE_UP_NS)
        usleep(200);
    double seconds = (double)(now_ns() - begin) / 1e9;
    size_t n = atomic_load(&received) < room ? atomic_load(&received) : room;
    qsort(latency_ms, n, sizeof(*latency_ms), by_value);
    printf("%d watchers, %zu changes: %zu events, %.0f per second, p50 %.1f ms, p99 %.1f ms\n",
           watchers, changes, n, (double)n / seconds, n ? (double)latency_ms[n / 2] : 0,
           n ? (double)latency_ms[n * 99 / 100] : 0);
    atomic_store(&is_over, true);
    http_client_wake(client);
    for (int i = 0; i < watchers; i++)
        pthread_join(threads[i], NULL);
    make_or_remove_maps(false);
    http_client_free(client);
    free(threads);
    free(latency_ms);
    return n == room ? 0 : 1;
}
