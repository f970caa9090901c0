/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_bench.c - fan-out: how fast changes reach many watchers.
 *
 *     watch_bench KUBECONFIG [WATCHERS] [EVENTS]      default 100 watchers, 500 changes of one
 * ConfigMap
 *
 * The time of a change travels in it, so that the latency is that from the request to the watcher.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "api/client_http.h"
#include "base/clock.h"

#define EVENTS_MAX 10000000

static atomic_size_t received;
static float *latency_ms; /* one per event received */
static size_t room;

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void die(const struct error *err)
{
    fprintf(stderr, "watch_bench: %s\n", err->message);
    exit(1);
}

static void on_event(const struct watch_event *e, void *arg)
{
    (void)arg;
    const char *sent = e->object ? json_str(e->object->doc, "data.at", NULL) : NULL;
    if (!sent)
        return;
    size_t i = atomic_fetch_add(&received, 1);
    if (i < room)
        latency_ms[i] = (float)((double)(now_ns() - strtoll(sent, NULL, 10)) / 1e6);
}

static void on_end(const struct error *err, void *arg)
{
    (void)arg;
    fprintf(stderr, "watch_bench: a watch ended: %s\n", err->message);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void patch(struct client *c, const struct object_key *key)
{
    struct error err = { 0 };
    char body[64];
    int n = snprintf(body, sizeof(body), "{\"data\":{\"at\":\"%lld\"}}", (long long)now_ns());
    if (client_patch(c, &resources[RESOURCE_CONFIGMAPS], key, NULL, PATCH_MERGE,
                     (struct bytes){ body, (size_t)n }, NULL, &err) < 0)
        die(&err);
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    int watchers = argc > 2 ? atoi(argv[2]) : 100, events = argc > 3 ? atoi(argv[3]) : 500;
    room = (size_t)watchers * (size_t)events;
    if (argc < 2 || watchers < 1 || events < 1 || room > EVENTS_MAX) {
        fprintf(stderr, "usage: watch_bench KUBECONFIG [WATCHERS] [EVENTS]\n");
        return 2;
    }
    latency_ms = xcalloc(room, sizeof(*latency_ms));
    struct client *c = client_http_open(argv[1], &err);
    if (!c)
        die(&err);
    const struct resource *maps = &resources[RESOURCE_CONFIGMAPS];
    const struct object_key key = { "default", "watch-bench" };
    struct draft *d = draft_new(maps);
    json_put_str(d->arena, d->doc, "metadata.name", key.name);
    scoped(object) struct object *made = NULL;
    if (client_create(c, maps, key.ns, d->doc, &made, &err) < 0)
        die(&err);
    draft_free(d);

    struct client_watch **all = xcalloc((size_t)watchers, sizeof(struct client_watch *));
    for (int i = 0; i < watchers; i++) {
        struct client_watch_options o = {
            .ns = key.ns,
            .resource_version = made->resource_version,
            .event = on_event,
            .ended = on_end,
        };
        all[i] = client_watch(c, maps, &o, &err);
        if (!all[i])
            die(&err);
    }
    sleep(1);
    int64_t begin = now_ns();
    for (int i = 0; i < events; i++)
        patch(c, &key);
    while (atomic_load(&received) < room && now_ns() - begin < 60 * NS_PER_S)
        usleep(200);
    double seconds = (double)(now_ns() - begin) / 1e9;
    size_t n = atomic_load(&received);
    qsort(latency_ms, n, sizeof(*latency_ms), by_value);
    printf("%d watchers, %d changes: %zu events, %.0f per second, p50 %.1f ms, p99 %.1f ms\n",
           watchers, events, n, (double)n / seconds, (double)latency_ms[n / 2],
           (double)latency_ms[n * 99 / 100]);
    for (int i = 0; i < watchers; i++)
        client_watch_close(all[i]);
    struct client_delete_options gone = { .grace_period_s = -1 };
    if (client_delete(c, maps, &key, &gone, &err) < 0)
        die(&err);
    client_close(c);
    free(all);
    free(latency_ms);
    return n == room ? 0 : 1;
}
