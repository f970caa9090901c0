/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_bench.c - the embedded store without a network: puts, reads, memory, restart.
 *
 *     storage_bench DIR [KEYS]     KEYS: how many of 1 KB to fill it with (default 100,000)
 */
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/storage.h"

#define RUN_NS (2 * NS_PER_S)

struct worker {
    pthread_t thread;
    struct storage *s;
    int id;
    size_t value_bytes;
    int64_t until_ns;
    int64_t done;
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void die(const struct error *err)
{
    fprintf(stderr, "storage_bench: %s\n", err->message);
    exit(1);
}

static void put(struct storage *s, struct arena *arena, const char *key, struct bytes value)
{
    struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .value = value };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    struct error err = { 0 };
    if (storage_txn(s, &txn, arena, &out, &err) < 0)
        die(&err);
    arena_reset(arena);
}

static void *put_until(void *arg)
{
    struct worker *w = arg;
    struct arena *arena = arena_new();
    char *value = xcalloc(1, w->value_bytes);
    while (now_ns() < w->until_ns) {
        char key[64];
        snprintf(key, sizeof(key), "/bench/%d/%lld", w->id, (long long)(w->done++ % 1000));
        put(w->s, arena, key, (struct bytes){ value, w->value_bytes });
    }
    free(value);
    arena_free(arena);
    return NULL;
}

static void *get_until(void *arg)
{
    struct worker *w = arg;
    struct arena *arena = arena_new();
    while (now_ns() < w->until_ns) {
        char key[64];
        snprintf(key, sizeof(key), "/fill/%07lld", (long long)(w->done++ * 7919 % 10000));
        struct storage_range r = { .key = bytes_of(key) };
        struct storage_range_result out;
        struct error err = { 0 };
        if (storage_range(w->s, &r, arena, &out, &err) < 0)
            die(&err);
        arena_reset(arena);
    }
    arena_free(arena);
    return NULL;
}

static void run(struct storage *s, const char *what, int clients, size_t value_bytes,
                void *(*fn)(void *))
{
    struct worker *workers = xcalloc((size_t)clients, sizeof(workers[0]));
    int64_t start = now_ns(), total = 0;
    for (int i = 0; i < clients; i++) {
        workers[i] = (struct worker){
            .s = s, .id = i, .value_bytes = value_bytes, .until_ns = start + RUN_NS
        };
        if (pthread_create(&workers[i].thread, NULL, fn, &workers[i]) != 0)
            exit(1);
    }
    for (int i = 0; i < clients; i++) {
        pthread_join(workers[i].thread, NULL);
        total += workers[i].done;
    }
    printf("%s %5zu B, %4d clients: %9.0f per second\n", what, value_bytes, clients,
           (double)total * 1e9 / (double)(now_ns() - start));
    fflush(stdout);
    free(workers);
}

static void filled(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    (void)result;
    if (err->code)
        die(err);
    atomic_fetch_sub((atomic_int *)arg, 1);
}

struct fill_slot {
    struct storage_op op;
    struct storage_txn txn;
    char key[32];
};

/* Many in flight, as many writers would have. */
static void fill(struct storage *s, int keys)
{
    enum { BATCH = 1000 };
    static char value[1024];
    struct arena *arena = arena_new();
    struct fill_slot *slots = xcalloc(BATCH, sizeof(slots[0]));
    int64_t start = now_ns();
    for (int done = 0; done < keys; done += BATCH) {
        atomic_int in_flight = BATCH;
        for (int i = 0; i < BATCH; i++) {
            struct fill_slot *f = &slots[i];
            snprintf(f->key, sizeof(f->key), "/fill/%07d", done + i);
            f->op = (struct storage_op){ .type = STORAGE_PUT,
                                         .key = bytes_of(f->key),
                                         .value = { value, sizeof(value) } };
            f->txn = (struct storage_txn){ .success = &f->op, .success_n = 1 };
            storage_txn_submit(s, &f->txn, arena, filled, &in_flight);
        }
        while (atomic_load(&in_flight))
            usleep(100);
        arena_reset(arena);
    }
    printf("fill with %d keys of 1 KB: %.0f per second\n", keys,
           keys * 1e9 / (double)(now_ns() - start));
    free(slots);
    arena_free(arena);
}

static long status_kb(const char *name)
{
    scoped(file) FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = 0;
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name) + 1);
    return kb;
}

static void print_memory(void)
{
    malloc_trim(0);
    printf("resident: %ld MB of its own, %ld MB of the file's pages\n", status_kb("RssAnon") / 1024,
           status_kb("RssFile") / 1024);
}

static void time_range(struct storage *s, const char *end, const char *what)
{
    struct storage_range r = { .key = BYTES("/fill/"), .end = bytes_of(end) };
    struct storage_range_result out;
    struct error err = { 0 };
    int64_t start = now_ns();
    int runs = 0;
    for (; now_ns() < start + RUN_NS / 2; runs++) {
        scoped(arena) struct arena *arena = arena_new();
        if (storage_range(s, &r, arena, &out, &err) < 0)
            die(&err);
    }
    printf("range of %s (%zu): %.2f ms\n", what, out.n, (double)(now_ns() - start) / 1e6 / runs);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    int keys = argc > 2 ? atoi(argv[2]) : 100000;
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = argv[1] };
    struct storage *s = storage_open_embedded(&config, &err);
    if (!s)
        die(&err);
    static const int clients[] = { 1, 16, 256, 1000 };
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        run(s, "put", clients[i], 256, put_until);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        run(s, "put", clients[i], 2048, put_until);
    fill(s, keys);
    print_memory();
    run(s, "get", 1, 1024, get_until);
    run(s, "get", 16, 1024, get_until);
    time_range(s, "/fill/001", "10,000 keys");
    storage_close(s);

    int64_t start = now_ns();
    s = storage_open_embedded(&config, &err);
    if (!s)
        die(&err);
    printf("restart: %.1f ms\n", (double)(now_ns() - start) / 1e6);
    print_memory();
    storage_close(s);
    return 0;
}
