/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_churn.c - a long time of puts on few keys while history is compacted behind them.
 *
 *     storage_churn FOLDER [SECONDS [HISTORY_MS]]     default: 60 s, 5 s of history
 *
 * Prints for each tenth of the time what puts took, and what memory and disk the store has: none of
 * them may grow.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/storage.h"

#define WRITERS       16
#define KEYS          200
#define VALUE_BYTES   2048
#define LATENCIES_MAX (1 << 22)

static struct storage *store;
static uint32_t *latencies_us;
static atomic_size_t latencies_n;
static atomic_bool is_over;

static void die(const struct error *err)
{
    fprintf(stderr, "storage_churn: %s\n", err->message);
    exit(1);
}

static void *write_keys(void *arg)
{
    int id = (int)(intptr_t)arg;
    struct arena *arena = arena_new();
    static char value[VALUE_BYTES];
    for (int i = 0; !atomic_load(&is_over); i++) {
        char key[32];
        snprintf(key, sizeof(key), "key-%d", (i * WRITERS + id) % KEYS);
        struct storage_op op = { .type = STORAGE_PUT,
                                 .key = bytes_of(key),
                                 .value = { value, sizeof(value) } };
        struct storage_txn txn = { .success = &op, .success_n = 1 };
        struct storage_txn_result out;
        struct error err = { 0 };
        int64_t start = clock_monotonic_ns(&system_clock);
        if (storage_txn(store, &txn, arena, &out, &err) < 0)
            die(&err);
        size_t at = atomic_fetch_add(&latencies_n, 1);
        if (at < LATENCIES_MAX)
            latencies_us[at] = (uint32_t)((clock_monotonic_ns(&system_clock) - start) / 1000);
        arena_reset(arena);
    }
    arena_free(arena);
    return NULL;
}

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int own_memory_mb(void)
{
    scoped(file) FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    int kb = 0;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %d", &kb) == 1)
            break;
    return kb / 1024;
}

static void report(double seconds)
{
    size_t n = atomic_load(&latencies_n);
    n = n < LATENCIES_MAX ? n : LATENCIES_MAX;
    uint32_t *l = latencies_us;
    qsort(l, n, sizeof(l[0]), compare_latencies);
    struct storage_status status;
    struct error err = { 0 };
    if (storage_status(store, &status, &err) < 0)
        die(&err);
    printf(
        "%8.0f puts/s   p50 %5u us   p99 %6u us   most %7u us   own memory %4d MB   file %4zu MB "
        "  history %lld\n",
        (double)n / seconds, n ? l[n / 2] : 0, n ? l[n * 99 / 100] : 0, n ? l[n - 1] : 0,
        own_memory_mb(), status.size_bytes >> 20,
        (long long)(status.revision - status.compacted_revision));
    fflush(stdout);
    atomic_store(&latencies_n, 0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: storage_churn FOLDER [SECONDS [HISTORY_MS]]\n");
        return 2;
    }
    double seconds = argc > 2 ? atof(argv[2]) : 60;
    struct storage_embedded_config config = { .dir = argv[1],
                                              .compact_interval_ms =
                                                  argc > 3 ? atoi(argv[3]) : 5000 };
    struct error err = { 0 };
    latencies_us = xmalloc(LATENCIES_MAX * sizeof(latencies_us[0]));
    memset(latencies_us, 0, LATENCIES_MAX * sizeof(latencies_us[0]));
    if (!(store = storage_open_embedded(&config, &err)))
        die(&err);
    pthread_t threads[WRITERS];
    for (intptr_t i = 0; i < WRITERS; i++)
        if (pthread_create(&threads[i], NULL, write_keys, (void *)i) != 0)
            return 1;
    for (int i = 0; i < 10; i++) {
        usleep((useconds_t)(seconds * 1e5));
        report(seconds / 10);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    storage_close(store);
    free(latencies_us);
    return 0;
}
