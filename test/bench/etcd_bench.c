/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_bench.c - load on a server of etcd's API: puts, ranges, transactions, watches, over gRPC.
 *
 *     etcd_bench ADDRESS:PORT [SECONDS]     the same for etcd and for us, see etcd.sh
 *
 * A client is a thread that waits for each answer; CLIENTS_PER_CONNECTION share a connection.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grpc.h"
#include "storage/etcd.pb-c.h"

#define CLIENTS_PER_CONNECTION 32
#define CONNECTIONS_MAX        32
#define LATENCIES_MAX          (1 << 20)
#define FILL_KEYS              10000
#define FANOUT_EVENTS          200

static struct grpc_channel *channels[CONNECTIONS_MAX];
static int64_t run_ns = 3 * NS_PER_S;

struct client {
    pthread_t thread;
    int id;
    struct grpc_channel *channel;
    size_t value_bytes;
    int64_t until_ns, done;
    uint32_t *latencies_us;
    size_t latencies_n;
    const char *method;
    size_t (*request)(struct client *c, uint8_t *out); /* packs it into OUT */
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void die(const struct error *err)
{
    fprintf(stderr, "etcd_bench: %s\n", err->message);
    exit(1);
}

static void call(struct client *c, struct arena *arena, uint8_t *space)
{
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct bytes response;
    struct bytes request = { (char *)space, c->request(c, space) };
    if (grpc_unary(c->channel, c->method, request, &options, arena, &response, NULL, &err) < 0)
        die(&err);
    arena_reset(arena);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct arena *arena = arena_new();
    uint8_t *space = xmalloc(c->value_bytes + 4096);
    c->latencies_us = xmalloc(LATENCIES_MAX / 16 * sizeof(c->latencies_us[0]));
    for (int64_t start = now_ns(); start < c->until_ns;) {
        call(c, arena, space);
        int64_t end = now_ns();
        if (c->latencies_n < LATENCIES_MAX / 16)
            c->latencies_us[c->latencies_n++] = (uint32_t)((end - start) / 1000);
        c->done++;
        start = end;
    }
    free(space);
    arena_free(arena);
    return NULL;
}

/* ---- requests ---- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

static size_t put_request(struct client *c, uint8_t *out)
{
    static uint8_t value[65536];
    char key[64];
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    snprintf(key, sizeof(key), "/bench/%d/%lld", c->id, (long long)(c->done % 1000));
    r.key = text(key);
    r.value = (ProtobufCBinaryData){ c->value_bytes, value };
    return etcd__put_request__pack(&r, out);
}

static size_t fill_request(struct client *c, uint8_t *out)
{
    static uint8_t value[65536];
    char key[64];
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    snprintf(key, sizeof(key), "/fill/%02d/%05lld", c->id, (long long)c->done);
    r.key = text(key);
    r.value = (ProtobufCBinaryData){ c->value_bytes, value };
    return etcd__put_request__pack(&r, out);
}

static size_t get_request(struct client *c, uint8_t *out)
{
    char key[64];
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    snprintf(key, sizeof(key), "/fill/%02d/%05d", (int)(c->done % 16),
             (int)(c->done * 7919 % (FILL_KEYS / 16)));
    r.key = text(key);
    return etcd__range_request__pack(&r, out);
}

static size_t list_request(struct client *c, uint8_t *out)
{
    (void)c;
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    r.key = text("/fill/");
    r.range_end = text("/fill0");
    return etcd__range_request__pack(&r, out);
}

/* An update as an apiserver writes it: if the key is unchanged put it, else read it. */
static size_t update_request(struct client *c, uint8_t *out)
{
    static uint8_t value[65536];
    char key[64];
    snprintf(key, sizeof(key), "/update/%d/%lld", c->id, (long long)(c->done % 1000));
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    compare.target = ETCD__COMPARE__TARGET__MOD;
    compare.result = c->done < 1000 ? ETCD__COMPARE__RESULT__EQUAL : ETCD__COMPARE__RESULT__GREATER;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.key = text(key);
    Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
    put.key = text(key);
    put.value = (ProtobufCBinaryData){ c->value_bytes, value };
    Etcd__RangeRequest get = ETCD__RANGE_REQUEST__INIT;
    get.key = text(key);
    Etcd__RequestOp success = ETCD__REQUEST_OP__INIT, *successes[] = { &success };
    success.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    success.request_put = &put;
    Etcd__RequestOp failure = ETCD__REQUEST_OP__INIT, *failures[] = { &failure };
    failure.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    failure.request_range = &get;
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    r.n_compare = r.n_success = r.n_failure = 1;
    r.compare = compares;
    r.success = successes;
    r.failure = failures;
    return etcd__txn_request__pack(&r, out);
}

/* ---- runs ---- */

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, struct client *clients, int n, int64_t took_ns)
{
    size_t total = 0;
    int64_t done = 0;
    for (int i = 0; i < n; i++) {
        total += clients[i].latencies_n;
        done += clients[i].done;
    }
    uint32_t *all = xmalloc((total + 1) * sizeof(all[0]));
    total = 0;
    for (int i = 0; i < n; i++) {
        memcpy(all + total, clients[i].latencies_us, clients[i].latencies_n * sizeof(all[0]));
        total += clients[i].latencies_n;
        free(clients[i].latencies_us);
    }
    qsort(all, total, sizeof(all[0]), compare_latencies);
    printf("%-14s %5zu B %5d clients %9.0f /s   p50 %6u us   p99 %6u us\n", what,
           clients[0].value_bytes, n, (double)done * 1e9 / (double)took_ns,
           total ? all[total / 2] : 0, total ? all[total * 99 / 100] : 0);
    fflush(stdout);
    free(all);
}

static void run(const char *what, int n, size_t value_bytes, const char *method,
                size_t (*request)(struct client *, uint8_t *))
{
    struct client *clients = xcalloc((size_t)n, sizeof(clients[0]));
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    int connections = (n + CLIENTS_PER_CONNECTION - 1) / CLIENTS_PER_CONNECTION;
    int64_t start = now_ns();
    for (int i = 0; i < n; i++) {
        clients[i] = (struct client){
            .id = i,
            .channel = channels[i % connections],
            .value_bytes = value_bytes,
            .until_ns = start + run_ns,
            .method = method,
            .request = request,
        };
        if (pthread_create(&clients[i].thread, &attr, client_main, &clients[i]) != 0)
            exit(1);
    }
    for (int i = 0; i < n; i++)
        pthread_join(clients[i].thread, NULL);
    report(what, clients, n, now_ns() - start);
    pthread_attr_destroy(&attr);
    free(clients);
}

/* FILL_KEYS keys of 1 KB, by 16 clients. */
static void *fill_main(void *arg)
{
    struct client *c = arg;
    struct arena *arena = arena_new();
    uint8_t space[4096];
    for (; c->done < FILL_KEYS / 16; c->done++)
        call(c, arena, space);
    arena_free(arena);
    return NULL;
}

static void fill(void)
{
    struct client clients[16];
    for (int i = 0; i < 16; i++) {
        clients[i] = (struct client){
            .id = i,
            .channel = channels[0],
            .value_bytes = 1024,
            .method = "/etcdserverpb.KV/Put",
            .request = fill_request,
        };
        if (pthread_create(&clients[i].thread, NULL, fill_main, &clients[i]) != 0)
            exit(1);
    }
    for (int i = 0; i < 16; i++)
        pthread_join(clients[i].thread, NULL);
}

/* ---- watches: every one of N sees each of FANOUT_EVENTS puts ---- */

static void *watcher_main(void *arg)
{
    struct grpc_stream *s = arg;
    struct arena *arena = arena_new();
    struct bytes message;
    struct error err = { 0 };
    for (int seen = 0; seen < FANOUT_EVENTS; arena_reset(arena)) {
        if (grpc_stream_receive(s, arena, &message, &err) != 1)
            die(&err);
        Etcd__WatchResponse *r =
            etcd__watch_response__unpack(NULL, message.len, (const uint8_t *)message.data);
        seen += (int)r->n_events;
        etcd__watch_response__free_unpacked(r, NULL);
    }
    arena_free(arena);
    return NULL;
}

static struct grpc_stream *open_watch(int i)
{
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct grpc_stream *s = grpc_stream_open(channels[i % CONNECTIONS_MAX],
                                             "/etcdserverpb.Watch/Watch", &options, &err);
    if (!s)
        die(&err);
    uint8_t space[256];
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    create.key = text("/bench/");
    create.range_end = text("/bench0");
    Etcd__WatchRequest r = ETCD__WATCH_REQUEST__INIT;
    r.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    r.create_request = &create;
    struct bytes message = { (char *)space, etcd__watch_request__pack(&r, space) };
    struct arena *arena = arena_new();
    struct bytes created;
    if (grpc_stream_send(s, message, &err) < 0 ||
        grpc_stream_receive(s, arena, &created, &err) != 1)
        die(&err);
    arena_free(arena);
    return s;
}

static void run_watches(int n)
{
    struct grpc_stream **streams = xcalloc((size_t)n, sizeof(streams[0]));
    pthread_t *threads = xcalloc((size_t)n, sizeof(threads[0]));
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    for (int i = 0; i < n; i++)
        streams[i] = open_watch(i);
    int64_t start = now_ns();
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], &attr, watcher_main, streams[i]) != 0)
            exit(1);
    struct client c = {
        .channel = channels[0],
        .value_bytes = 256,
        .method = "/etcdserverpb.KV/Put",
        .request = put_request,
    };
    struct arena *arena = arena_new();
    uint8_t space[4096];
    for (; c.done < FANOUT_EVENTS; c.done++)
        call(&c, arena, space);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    printf("%-14s   256 B %5d clients %9.0f events/s\n", "watch", n,
           (double)n * FANOUT_EVENTS * 1e9 / (double)(now_ns() - start));
    for (int i = 0; i < n; i++)
        grpc_stream_close(streams[i]);
    pthread_attr_destroy(&attr);
    arena_free(arena);
    free(streams);
    free(threads);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: etcd_bench ADDRESS:PORT [SECONDS]\n");
        return 2;
    }
    if (argc > 2)
        run_ns = atoi(argv[2]) * NS_PER_S;
    struct error err = { 0 };
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (!(channels[i] = grpc_channel_new(argv[1], NULL, &err)))
            die(&err);
    static const int clients[] = { 1, 16, 256 };
    for (size_t bytes = 256; bytes <= 2048; bytes *= 8)
        for (size_t i = 0; i < ARRAY_LEN(clients); i++)
            run("put", clients[i], bytes, "/etcdserverpb.KV/Put", put_request);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        run("txn", clients[i], 1024, "/etcdserverpb.KV/Txn", update_request);
    fill();
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        run("range 1", clients[i], 1024, "/etcdserverpb.KV/Range", get_request);
    run("range 10000", 1, 1024, "/etcdserverpb.KV/Range", list_request);
    run("range 10000", 4, 1024, "/etcdserverpb.KV/Range", list_request);
    run_watches(100);
    run_watches(1000);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        grpc_channel_free(channels[i]);
    return 0;
}
