/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_power.c - cuts the power behind every single thing that the store does to its files.
 *
 *     storage_power [CUTS | --soak] [SEED]     CUTS of each round; with --soak behind each
 * operation
 *
 * A round records the writes, syncs and names of a store that is written, flushed, compacted and
 * closed.  Behind each of these operations, and for each thing that a disk may do with what was not
 * synced (see disk_recorder.h), the folder is made anew as the cut leaves it, and a store must open
 * on it: with every acknowledged write, none that nobody made, transactions whole, the past as it
 * was, and fit to go on.  What is done while it opens is cut off in turn.
 */
#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "storage/storage.h"
#include "test/fault/disk_recorder.h"
#include "test/fault/effort.h"
#include "test/fault/folder.h"

#define WRITERS     3
#define WRITES      25 /* of each; the first is number 1 */
#define SECOND_CUTS 2  /* while the store recovers from the first */
#define FILLERS     17
#define LEASES      4
#define CUTS        100 /* of a round */
#define JOBS_MAX    8   /* folders that are looked at side by side */
#define QUOTA_BYTES ((size_t)64 << 20)
#define SHORT_BYTES 40
#define LONG_BYTES  9000
#define HUGE_BYTES  120000

/* What was asked for and acknowledged, and how far the disk was then. */
struct promise {
    size_t tried, kept; /* positions; kept 0: never */
    int64_t revision;
};
static struct promise writes[WRITERS][WRITES + 1];
static struct promise grants[LEASES], revocations[LEASES];

static char top[FOLDER_BYTES_MAX];
static struct storage *store;
static int images;

/* ---- what happens in a round ---- */

_Noreturn static void die(const char *what, const char *detail)
{
    printf("not ok - storage_power: %s: %s (%s)\n", what, detail, top);
    fflush(stdout);
    _exit(1);
}

static struct storage *open_store(const char *dir)
{
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = dir,
                                              .quota_bytes = QUOTA_BYTES,
                                              .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, &err);
    if (!s)
        die("open", err.message);
    return s;
}

/* The third key that VALUE goes to, or that it deletes: so that the database's tree grows and
 * shrinks. */
static uint32_t filler_of(int64_t value)
{
    return (uint32_t)(value * 13 % FILLERS);
}

static bool deletes_filler(int64_t value)
{
    return value % 4 == 1;
}

/* In a page, in pages of its own, and more than the log has room for. */
static size_t size_of_value(int64_t value)
{
    return value % 8 == 0 ? HUGE_BYTES : value % 3 == 0 ? LONG_BYTES : SHORT_BYTES;
}

static struct bytes text_of(int64_t value, char out[HUGE_BYTES])
{
    size_t len = size_of_value(value);
    memset(out, (int)('0' + value % 10), len);
    snprintf(out, len, "%lld ", (long long)value);
    return (struct bytes){ out, len };
}

static int put_all(int id, int64_t value, int64_t *revision, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    char text[HUGE_BYTES];
    struct storage_op ops[3];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        ops[i] = (struct storage_op){ .type = STORAGE_PUT, .value = text_of(value, text) };
    ops[0].key = bytes_of(arena_printf(arena, "a/%d", id));
    ops[1].key = bytes_of(arena_printf(arena, "b/%d", id));
    ops[2].key = bytes_of(arena_printf(arena, "f/%d/%02u", id, filler_of(value)));
    if (deletes_filler(value))
        ops[2].type = STORAGE_DELETE;
    struct storage_txn txn = { .success = ops, .success_n = ARRAY_LEN(ops) };
    struct storage_txn_result out;
    if (storage_txn(store, &txn, arena, &out, err) < 0)
        return -1;
    *revision = out.revision;
    return 0;
}

static void *write_all(void *arg)
{
    int id = (int)(intptr_t)arg;
    struct error err = { 0 };
    for (int64_t value = 1; value <= WRITES; value++) {
        struct promise *p = &writes[id][value];
        p->tried = disk_position();
        if (put_all(id, value, &p->revision, &err) < 0)
            die("write", err.message);
        p->kept = disk_position();
    }
    return NULL;
}

static void grant_and_revoke(int i)
{
    struct error err = { 0 };
    int64_t id = i + 1;
    grants[i].tried = disk_position();
    if (storage_lease_grant(store, id, 1000, &id, &err) < 0)
        die("grant", err.message);
    grants[i].kept = disk_position();
    if (i % 2)
        return;
    revocations[i].tried = disk_position();
    if (storage_lease_revoke(store, id, &err) < 0)
        die("revoke", err.message);
    revocations[i].kept = disk_position();
}

static void *look_after(void *arg)
{
    struct error err = { 0 };
    (void)arg;
    for (int i = 0; i < LEASES; i++) {
        grant_and_revoke(i);
        int64_t revision = storage_revision(store) - 5;
        if (revision > 1 && storage_compact(store, revision, &err) < 0 && err.code != ERR_COMPACTED)
            die("compact", err.message);
        if (i % 2 && storage_defragment(store, &err) < 0)
            die("defragment", err.message);
    }
    return NULL;
}

static void record_round(const char *dir, const char *failpoints)
{
    pthread_t threads[WRITERS + 1];
    memset(writes, 0, sizeof(writes));
    memset(grants, 0, sizeof(grants));
    memset(revocations, 0, sizeof(revocations));
    disk_record(dir);
    failpoints_set(failpoints);
    store = open_store(dir);
    for (intptr_t i = 0; i <= WRITERS; i++)
        ensure(pthread_create(&threads[i], NULL, i < WRITERS ? write_all : look_after, (void *)i) ==
               0);
    for (int i = 0; i <= WRITERS; i++)
        pthread_join(threads[i], NULL);
    storage_close(store);
    failpoints_set(NULL);
    disk_record_stop();
}

/* ---- what must be there after a cut ---- */

struct expected {
    int64_t least[WRITERS], most[WRITERS]; /* acknowledged, and tried */
    int64_t revision;
    bool has_lease[LEASES], lacks_lease[LEASES];
    bool has_own; /* the first check's write */
};

static struct expected expected_at(size_t position)
{
    struct expected e = { 0 };
    for (int w = 0; w < WRITERS; w++) {
        for (int64_t v = 1; v <= WRITES; v++) {
            const struct promise *p = &writes[w][v];
            if (p->kept && p->kept <= position) {
                e.least[w] = v;
                e.revision = p->revision > e.revision ? p->revision : e.revision;
            }
            if (p->kept && p->tried <= position)
                e.most[w] = v;
        }
    }
    for (int i = 0; i < LEASES; i++) {
        bool is_ending = revocations[i].kept && revocations[i].tried <= position;
        e.has_lease[i] = grants[i].kept && grants[i].kept <= position && !is_ending;
        e.lacks_lease[i] = revocations[i].kept && revocations[i].kept <= position;
    }
    return e;
}

/* 0: there is none, or nobody wrote it. */
static int64_t number_in(struct bytes value)
{
    int64_t number = 0;
    size_t digits = 0;
    for (; digits < value.len && value.data[digits] != ' '; digits++)
        number = 10 * number + value.data[digits] - '0';
    if (!number)
        return 0;
    if (value.len != size_of_value(number))
        return 0;
    for (size_t i = digits + 2; i < value.len; i++)
        if (value.data[i] != '0' + number % 10)
            return 0;
    return number;
}

static int64_t read_key(const char *key, int64_t revision)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range r = { .key = bytes_of(key), .revision = revision };
    struct storage_range_result out;
    struct error err = { 0 };
    if (storage_range(store, &r, arena, &out, &err) < 0)
        die("read", err.message);
    int64_t number = out.n ? number_in(out.kvs[0].value) : 0;
    if (out.n && !number)
        die("a value that nobody wrote", key);
    return number;
}

static int64_t read_value(const char *prefix, int id, int64_t revision)
{
    char key[32];
    snprintf(key, sizeof(key), "%s/%d", prefix, id);
    return read_key(key, revision);
}

/* After its writer's first so many writes. */
static void check_fillers(int id, int64_t written)
{
    for (uint32_t f = 0; f < FILLERS; f++) {
        char key[32];
        int64_t last = written;
        while (last && filler_of(last) != f)
            last--;
        snprintf(key, sizeof(key), "f/%d/%02u", id, f);
        if (read_key(key, 0) != (deletes_filler(last) ? 0 : last))
            die("a part of a transaction is missing", key);
    }
}

static void check_writer(struct expected *e, int id)
{
    int64_t now = storage_revision(store);
    int64_t first = read_value("a", id, 0), second = read_value("b", id, 0);
    if (first != second)
        die("half a transaction", "the keys of one writer differ");
    if (first < e->least[id])
        die("an acknowledged write is lost", "its value is older");
    if (first > e->most[id])
        die("a value from nowhere", "nobody wrote it yet");
    for (int64_t v = 1; v <= e->least[id]; v++) {
        int64_t revision = writes[id][v].revision;
        if (revision >= storage_compacted_revision(store) && revision <= now &&
            read_value("a", id, revision) != v)
            die("an old revision changed", "it does not answer what was written");
    }
    check_fillers(id, first);
    e->least[id] = e->most[id] = first; /* once it was read it must stay */
}

static void check_leases(const struct expected *e)
{
    scoped(arena) struct arena *arena = arena_new();
    for (int i = 0; i < LEASES; i++) {
        struct storage_lease lease;
        struct error err = { 0 };
        bool is_there = storage_lease_find(store, i + 1, arena, &lease, &err) == 0;
        if (e->has_lease[i] && !is_there)
            die("a lease is lost", err.message);
        if (e->lacks_lease[i] && is_there)
            die("a lease", "it was revoked and is back");
    }
}

static int pass_by(const struct storage_version *v, void *arg, struct error *err)
{
    int64_t *last = arg;
    if (v->kv.mod_revision < *last)
        return error_set(err, ERR_CONFLICT, "history is out of order");
    *last = v->kv.mod_revision;
    return 0;
}

/* Every row's checksum is looked at. */
static void check_history(void)
{
    struct storage_history history;
    struct error err = { 0 };
    int64_t last = 0;
    if (storage_each_version(store, 0, &history, pass_by, &last, &err) < 0)
        die("history", err.message);
}

static void check_all(struct expected *e)
{
    if (storage_revision(store) < e->revision)
        die("the revision went back", "below an acknowledged one");
    for (int i = 0; i < WRITERS; i++)
        check_writer(e, i);
    check_leases(e);
    check_history();
    if (e->has_own && read_value("a", WRITERS, 0) != 1)
        die("a write after recovery is lost", "the first check's own");
    e->revision = storage_revision(store);
}

/* It must be fit to go on: writing, flushing, and starting again. */
static void check_life(const char *dir, struct expected *e, size_t *kept)
{
    struct error err = { 0 };
    int64_t revision;
    if (put_all(WRITERS, 1, &revision, &err) < 0)
        die("write after recovery", err.message);
    *kept = disk_position();
    if (revision != e->revision + 1)
        die("write after recovery", "its revision is not the next one");
    if (storage_defragment(store, &err) < 0)
        die("flush after recovery", err.message);
    storage_close(store);
    store = open_store(dir);
    struct expected again = *e;
    again.has_own = true;
    check_all(&again);
}

/* ---- images ---- */

/* In a process of its own: whatever the image does to it, it ends there. */
static pid_t start_child(void (*run)(void *arg), void *arg)
{
    fflush(stdout);
    pid_t child = fork();
    ensure(child >= 0);
    if (child == 0) {
        run(arg);
        _exit(0);
    }
    return child;
}

static void end_child(pid_t child, const char *what)
{
    int status;
    ensure(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        printf("# it died of signal %d\n", WTERMSIG(status));
    if (status)
        die("cut", what);
}

struct image {
    char dir[96], second_dir[96];
    struct expected expected;
    struct rng rng;
    size_t position;
    enum disk_fate fate;
    bool is_cut_again;
};

static void make_image(struct image *i)
{
    folder_remove(i->dir);
    disk_make(i->dir, i->position, i->fate, &i->rng);
}

static void check_second(void *arg)
{
    struct image *i = arg;
    make_image(i);
    store = open_store(i->dir);
    check_all(&i->expected);
    size_t kept;
    check_life(i->dir, &i->expected, &kept);
    storage_close(store);
    folder_remove(i->dir);
}

/* Cuts off what the first recovery has done, at some moment.  What it read must stay. */
static void cut_again(struct image *i, const struct expected *acknowledged, size_t opened,
                      size_t kept)
{
    size_t end = disk_position();
    for (int k = 0; k < SECOND_CUTS; k++) {
        struct image second = *i;
        second.position = rng_below(&i->rng, end + 1);
        second.fate = (enum disk_fate)rng_below(&i->rng, DISK_FATES);
        memcpy(second.dir, i->second_dir, sizeof(second.dir));
        if (second.position < opened)
            second.expected = *acknowledged;
        second.expected.has_own = second.position >= kept;
        scoped(str) char *what =
            xasprintf("again, behind %zu of %zu, fate %d", second.position, end, second.fate);
        end_child(start_child(check_second, &second), what);
    }
}

static void check_first(void *arg)
{
    struct image *i = arg;
    struct expected acknowledged = i->expected;
    size_t kept;
    make_image(i);
    disk_record(i->dir);
    store = open_store(i->dir);
    size_t opened = disk_position();
    check_all(&i->expected);
    check_life(i->dir, &i->expected, &kept);
    storage_close(store);
    disk_record_stop();
    if (i->is_cut_again)
        cut_again(i, &acknowledged, opened, kept);
    folder_remove(i->dir);
}

/* ---- cuts, as many side by side as there are processors ---- */

static struct job {
    pid_t child; /* 0: none */
    char *what;
} jobs[JOBS_MAX];

static void end_job(struct job *job)
{
    if (!job->child)
        return;
    end_child(job->child, job->what);
    free(job->what);
    *job = (struct job){ 0 };
}

static void end_jobs(void)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        end_job(&jobs[i]);
}

static void check_cut(size_t position, enum disk_fate fate, struct rng *rng)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int turn = images++ % (processors < 1 ? 1 : processors < JOBS_MAX ? (int)processors : JOBS_MAX);
    struct job *job = &jobs[turn];
    end_job(job);
    struct image image = { .expected = expected_at(position), .position = position, .fate = fate };
    seeded_rng_init(&image.rng, rng_next(rng));
    image.is_cut_again = rng_below(rng, 8) == 0;
    snprintf(image.dir, sizeof(image.dir), "%s/image.%d", top, turn);
    snprintf(image.second_dir, sizeof(image.second_dir), "%s/second.%d", top, turn);
    job->what = xasprintf("behind %zu operations, fate %d", position, fate);
    job->child = start_child(check_first, &image);
    effort_progress("# %d folders\n", images);
}

/* The last has a transaction for every few rows, so that it does many times as much: behind each of
 * its operations it gets only some of the fates, which take turns. */
static const struct round {
    const char *failpoints;
    int soak_fates;
} rounds[] = {
    { NULL, DISK_FATES },
    { "storage.index.freeze=error", DISK_FATES },
    { "storage.index.freeze=error,storage.flush.next_part=error,storage.compact.next_part=error",
      1 },
};

/* Behind MOST of the operations or, if there are not more, each. */
static void check_round(int fates, size_t most, struct rng *rng)
{
    size_t n = disk_position(), step = n / most + 1, positions = 0;
    int fate = (int)rng_below(rng, DISK_FATES);
    for (size_t position = rng_below(rng, step); position <= n; position += step, positions++)
        for (int i = 0; i < fates; i++)
            check_cut(position, (enum disk_fate)(fate++ % DISK_FATES), rng);
    end_jobs();
    printf("ok - power cuts behind %zu of %zu operations, %d of %d fates each\n", positions, n + 1,
           fates, DISK_FATES);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct effort effort = effort_of(argc, argv, CUTS, INT_MAX);
    struct rng rng;
    seeded_rng_init(&rng, effort.seed);
    folder_make(top, "power");
    for (size_t i = 0; i < ARRAY_LEN(rounds); i++) {
        scoped(str) char *dir = xasprintf("%s/store", top);
        record_round(dir, rounds[i].failpoints);
        check_round(effort.is_soak ? rounds[i].soak_fates : 1, (size_t)effort.count, &rng);
        folder_remove(dir);
    }
    printf("# storage_power: %d folders\n", images);
    folder_remove(top);
    return 0;
}
