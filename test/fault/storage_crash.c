/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_crash.c - kills a writing process again and again and checks what is left.
 *
 *     storage_crash [KILLS] [SEED]      default: 20 kills, a random seed
 *
 * A child writes with several threads, compacts, defragments, and notes in shared memory what it
 * tried, what was acknowledged and what its watch saw.  It dies by SIGKILL at a random time or
 * inside a failpoint. Then the parent opens the store and checks:
 *   - each key holds the last acknowledged value or one that was tried after it;
 *   - the keys of one transaction agree;
 *   - the store's revision is not below any that was acknowledged, watched or seen before;
 *   - a read at an old revision that was acknowledged answers what was written then.
 */
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "storage/storage.h"

#define WRITERS    6
#define RUN_US_MAX 200000

static const char *const crash_points[] = {
    "storage.log.before_write",   "storage.log.torn_write",
    "storage.log.before_sync",    "storage.log.after_sync",
    "storage.log.rotate",         "storage.flush.before_commit",
    "storage.flush.after_commit", "storage.compact.before_commit",
    "storage.watch.before_send",  "storage.defragment.copied",
    "storage.defragment.renamed", "storage.defragment.end",
};

/* One writer's notes; each field is written by its thread alone. */
struct notes {
    _Atomic int64_t tried, acked, acked_revision;
};
struct shared {
    struct notes writers[WRITERS];
    _Atomic int64_t watched_revision;
    _Atomic int64_t watch_faults;
};

static struct shared *shared;
static struct storage *store;
static char dir[] = "/tmp/coracle-storage-crash.XXXXXX";

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "storage_crash: %s: %s (the folder is %s)\n", what, detail, dir);
    exit(1);
}

static struct storage *open_store(void)
{
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, &err);
    if (!s)
        die("open", err.message);
    return s;
}

/* ---- the child ---- */

static void write_pair(int id, int64_t value, struct arena *arena)
{
    struct notes *n = &shared->writers[id];
    char first[32], second[32], text[600];
    snprintf(first, sizeof(first), "a/%d", id);
    snprintf(second, sizeof(second), "b/%d", id);
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    memset(text + len, ' ', sizeof(text) - (size_t)len); /* so that frames span blocks */
    struct bytes bytes = { text, sizeof(text) };
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = bytes_of(first), .value = bytes },
        { .type = STORAGE_PUT, .key = bytes_of(second), .value = bytes },
    };
    struct storage_txn txn = { .success = ops, .success_n = 2 };
    struct storage_txn_result out;
    struct error err = { 0 };
    atomic_store(&n->tried, value);
    if (storage_txn(store, &txn, arena, &out, &err) < 0)
        die("write", err.message);
    atomic_store(&n->acked_revision, out.revision);
    atomic_store(&n->acked, value);
}

static void *write_forever(void *arg)
{
    int id = (int)(intptr_t)arg;
    struct arena *arena = arena_new();
    for (int64_t value = atomic_load(&shared->writers[id].tried) + 1;; value++) {
        write_pair(id, value, arena);
        arena_reset(arena);
        struct error err = { 0 };
        int64_t revision = storage_revision(store);
        if (id == 0 && value % 100 == 0 && storage_compact(store, revision - 50, &err) < 0 &&
            err.code != ERR_COMPACTED)
            die("compact", err.message);
        if (id == 1 && value % 200 == 0 && storage_defragment(store, &err) < 0)
            die("defragment", err.message);
    }
    return NULL;
}

static void on_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    (void)events;
    (void)arg;
    int64_t last = atomic_exchange(&shared->watched_revision, revision);
    if (n != 2 || (last && revision <= last))
        atomic_fetch_add(&shared->watch_faults, 1);
}

static void on_failed(const struct error *err, int64_t compacted, void *arg)
{
    (void)compacted;
    (void)arg;
    die("watch", err->message);
}

static void run_child(const char *failpoints)
{
    failpoints_set(failpoints);
    store = open_store();
    struct error err = { 0 };
    struct storage_watch_config watch = {
        .key = BYTES("\0"), .end = BYTES("\0"), .events = on_events, .failed = on_failed
    };
    if (!storage_watch(store, &watch, &err))
        die("watch", err.message);
    pthread_t thread;
    for (intptr_t i = 0; i < WRITERS; i++)
        if (pthread_create(&thread, NULL, write_forever, (void *)i) != 0)
            die("start", "a thread");
    for (;;)
        pause();
}

/* ---- the checks ---- */

static int64_t read_value(struct storage *s, const char *prefix, int id, int64_t revision,
                          struct arena *arena)
{
    char key[32];
    snprintf(key, sizeof(key), "%s/%d", prefix, id);
    struct storage_range r = { .key = bytes_of(key), .revision = revision };
    struct storage_range_result out;
    struct error err = { 0 };
    if (storage_range(s, &r, arena, &out, &err) < 0)
        die("read", err.message);
    return out.n ? atoll(out.kvs[0].value.data) : 0;
}

static void check_writer(struct storage *s, int id, struct arena *arena)
{
    struct notes *n = &shared->writers[id];
    int64_t first = read_value(s, "a", id, 0, arena), second = read_value(s, "b", id, 0, arena);
    if (first != second)
        die("a transaction is half there", "the keys of one writer differ");
    if (first < n->acked)
        die("an acknowledged write is lost", "its value is gone");
    if (first > n->tried)
        die("a value from nowhere", "nobody wrote it");
    int64_t revision = n->acked_revision;
    if (revision > storage_revision(s))
        die("the revision went back", "below an acknowledged one");
    if (revision && revision >= storage_compacted_revision(s)) {
        /* It may have died between its two notes: the revision is then of the next value. */
        int64_t then = read_value(s, "a", id, revision, arena);
        if (then != n->acked && then != n->acked + 1)
            die("an old revision changed", "it does not answer what was written");
    }
    n->tried = n->acked = first;
    n->acked_revision = storage_revision(s);
}

static int64_t check(int64_t revision_before)
{
    struct storage *s = open_store();
    scoped(arena) struct arena *arena = arena_new();
    for (int i = 0; i < WRITERS; i++)
        check_writer(s, i, arena);
    int64_t revision = storage_revision(s);
    if (revision < revision_before)
        die("the revision went back", "below what the last check saw");
    if (revision < shared->watched_revision)
        die("the revision went back", "below a watched one");
    if (shared->watch_faults)
        die("the watch", "events out of order or incomplete");
    shared->watched_revision = 0;
    storage_close(s);
    return revision;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* How this round ends: half by a failpoint, with frequent flushes in some. */
static void choose_failpoints(struct rng *rng, char *out, size_t size)
{
    const char *flushes = rng_below(rng, 3) == 0 ? "storage.index.freeze=error" : "";
    if (rng_below(rng, 2)) {
        snprintf(out, size, "%s", flushes);
        return;
    }
    const char *point = crash_points[rng_below(rng, ARRAY_LEN(crash_points))];
    bool is_torn = strcmp(point, "storage.log.torn_write") == 0;
    snprintf(out, size, "%s=%s@%d%s%s", point, is_torn ? "error" : "crash",
             1 + (int)rng_below(rng, 60), *flushes ? "," : "", flushes);
}

int main(int argc, char **argv)
{
    int kills = argc > 1 ? atoi(argv[1]) : 20;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : rng_next(system_rng) % 1000000;
    struct rng rng;
    seeded_rng_init(&rng, seed);
    if (!mkdtemp(dir))
        die("mkdtemp", dir);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap", "shared memory");
    printf("storage_crash: %d kills, seed %llu\n", kills, (unsigned long long)seed);
    fflush(stdout);

    int64_t revision = 0;
    for (int i = 0; i < kills; i++) {
        char failpoints[160];
        choose_failpoints(&rng, failpoints, sizeof(failpoints));
        pid_t child = fork();
        if (child == 0)
            run_child(failpoints);
        usleep((useconds_t)rng_below(&rng, RUN_US_MAX));
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            die("the writing process ended by itself", failpoints);
        revision = check(revision);
    }
    printf("storage_crash: nothing acknowledged was lost in %d kills, %lld revisions\n", kills,
           (long long)revision);
    nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
