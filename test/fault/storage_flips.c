/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_flips.c - changes bytes in a store's files and looks what the store makes of it.
 *
 *     storage_flips [ROUNDS | --soak] [SEED]
 *
 * A store with a bit of everything is written, by a seed, and closed.  In each round a copy of it
 * gets one or a few random bytes changed, in the database or in the log, and a child opens it.  It
 * must refuse with an error that says so, or read every key at every revision as it was written.
 * What opens must also be good for further writes and another start.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "storage/storage.h"
#include "test/fault/effort.h"
#include "test/fault/folder.h"

#define ROUNDS       150
#define SOAK_ROUNDS  3000
#define KEYS         60
#define KEY_BYTES    2048
#define VALUE_BYTES  6000
#define STEPS        400
#define LATER_WRITES 40

enum verdict { VERDICT_RIGHT = 10, VERDICT_REPORTED, VERDICT_WRONG };

static const char *const files[] = { "data.mdb", "log.0", "log.1" };

static char dir[FOLDER_BYTES_MAX];
static char original[FOLDER_BYTES_MAX + 16], copy[FOLDER_BYTES_MAX + 16];
/* model[r][k]: the number of the value that key k has as of revision r, 0: none. */
static int model[STEPS + LATER_WRITES + 3][KEYS];

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "storage_flips: %s: %s (the folder is %s)\n", what, detail, dir);
    exit(1);
}

static struct bytes key_of(int k, char buf[KEY_BYTES])
{
    int tail = k % 5 == 0 ? 800 : k % 7;
    int len = snprintf(buf, KEY_BYTES, "key-%0*d-%02d", k % 3 == 0 ? 600 : 1, 0, k);
    memset(buf + len, 'x', (size_t)tail);
    return (struct bytes){ buf, (size_t)(len + tail) };
}

static struct bytes value_of(int number, char buf[VALUE_BYTES])
{
    static const size_t sizes[] = { 10, 100, 900, 2500, 5900 };
    size_t len = sizes[(size_t)number % ARRAY_LEN(sizes)];
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)((size_t)number * 31 + i * 7);
    return (struct bytes){ buf, len };
}

static struct storage *open_store(const char *in, struct error *err)
{
    struct storage_embedded_config config = { .dir = in, .compact_interval_ms = -1 };
    return storage_open_embedded(&config, err);
}

static int write_step(struct storage *s, int k, int number, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    char key[KEY_BYTES], value[VALUE_BYTES];
    struct storage_op op = { .type = number ? STORAGE_PUT : STORAGE_DELETE, .key = key_of(k, key) };
    if (number)
        op.value = value_of(number, value);
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    int64_t before = storage_revision(s);
    if (storage_txn(s, &txn, arena, &out, err) < 0)
        return -1;
    if (out.revision > before)
        memcpy(model[out.revision], model[before], sizeof(model[0]));
    model[out.revision][k] = number;
    return 0;
}

/* What is asked for by a helper that may fail only on an undamaged store. */
static void must(int rc, const struct error *err)
{
    if (rc < 0)
        die("the undamaged store", err->message);
}

static void write_original(struct rng *rng)
{
    struct error err = { 0 };
    struct storage *s = open_store(original, &err);
    if (!s)
        die("open", err.message);
    for (int i = 1; i <= STEPS; i++) {
        int k = (int)rng_below(rng, KEYS);
        must(write_step(s, k, rng_below(rng, 6) ? i : 0, &err), &err);
        if (i == STEPS / 2)
            must(storage_compact(s, storage_revision(s) - 100, &err), &err);
        if (i % 150 == 0)
            must(storage_defragment(s, &err), &err);
    }
    storage_close(s);
}

static int read_key(struct storage *s, int k, int64_t revision, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    char key[KEY_BYTES], value[VALUE_BYTES];
    int number = model[revision][k];
    struct storage_range r = { .key = key_of(k, key), .revision = revision };
    struct storage_range_result out;
    if (storage_range(s, &r, arena, &out, err) < 0)
        return VERDICT_REPORTED;
    if (out.n != (number != 0))
        return VERDICT_WRONG;
    return !number || bytes_equal(out.kvs[0].value, value_of(number, value)) ? VERDICT_RIGHT
                                                                             : VERDICT_WRONG;
}

static int read_range(struct storage *s, int64_t revision, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct storage_range r = { .key = BYTES("\0"), .end = BYTES("\0"), .revision = revision };
    struct storage_range_result out;
    if (storage_range(s, &r, arena, &out, err) < 0)
        return VERDICT_REPORTED;
    size_t n = 0;
    for (int k = 0; k < KEYS; k++)
        n += model[revision][k] != 0;
    return out.n == n ? VERDICT_RIGHT : VERDICT_WRONG;
}

static int read_all(struct storage *s, int64_t now, struct error *err)
{
    if (storage_revision(s) != now)
        return VERDICT_WRONG;
    for (int64_t revision = storage_compacted_revision(s); revision <= now; revision += 7) {
        for (int k = 0; k < KEYS; k++) {
            int verdict = read_key(s, k, revision, err);
            if (verdict != VERDICT_RIGHT)
                return verdict;
        }
        int verdict = read_range(s, revision, err);
        if (verdict != VERDICT_RIGHT)
            return verdict;
    }
    return VERDICT_RIGHT;
}

/* In the child. */
static int judge(int64_t now, struct error *err)
{
    struct storage *s = open_store(copy, err);
    if (!s)
        return VERDICT_REPORTED;
    int verdict = read_all(s, now, err);
    for (int i = 0; i < LATER_WRITES && verdict == VERDICT_RIGHT; i++)
        if (write_step(s, i, STEPS + 1 + i, err) < 0)
            verdict = VERDICT_REPORTED;
    if (verdict == VERDICT_RIGHT && storage_defragment(s, err) < 0)
        verdict = VERDICT_REPORTED;
    storage_close(s);
    if (verdict != VERDICT_RIGHT)
        return verdict;
    s = open_store(copy, err);
    return s ? read_all(s, now + LATER_WRITES, err) : VERDICT_WRONG;
}

static void copy_file(const char *name)
{
    scoped(str) char *command =
        xasprintf("cp --sparse=always %s/%s %s/%s", original, name, copy, name);
    if (system(command) != 0)
        die("copy", name);
}

/* Where there is something: the log's files end in zeros. */
static off_t used_bytes(int fd)
{
    static char block[4096];
    off_t used = 0;
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, block, sizeof(block), at)) > 0; at += n)
        for (ssize_t i = 0; i < n; i++)
            if (block[i])
                used = at + i + 1;
    return used;
}

static void flip(struct rng *rng, char *what, size_t size)
{
    const char *name = files[rng_below(rng, 4) ? 0 : 1 + rng_below(rng, 2)];
    scoped(str) char *path = xasprintf("%s/%s", copy, name);
    scoped(fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t used = fd < 0 ? 0 : used_bytes(fd);
    size_t n = rng_below(rng, 4) ? 1 : 1 + rng_below(rng, 16);
    /* The first bytes of each page steer LMDB. */
    off_t at = (off_t)rng_below(rng, (uint64_t)used);
    if (rng_below(rng, 3) == 0)
        at = at / 4096 * 4096 + (off_t)rng_below(rng, 64);
    for (size_t i = 0; i < n && at + (off_t)i < used; i++) {
        char byte;
        if (pread(fd, &byte, 1, at + (off_t)i) != 1)
            die("read", path);
        byte ^= (char)(1 + rng_below(rng, 255));
        if (pwrite(fd, &byte, 1, at + (off_t)i) != 1)
            die("change", path);
    }
    snprintf(what, size, "%s at %lld, %zu bytes", name, (long long)at, n);
}

static int run_round(struct rng *rng, int64_t now)
{
    char what[100];
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        copy_file(files[i]);
    flip(rng, what, sizeof(what));
    pid_t child = fork();
    if (child == 0) {
        struct error err = { 0 };
        int verdict = judge(now, &err);
        if (verdict == VERDICT_WRONG)
            fprintf(stderr, "storage_flips: %s\n", err.code ? err.message : "wrong data");
        _exit(verdict);
    }
    int status;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) < VERDICT_RIGHT ||
        WEXITSTATUS(status) >= VERDICT_WRONG)
        die(WIFSIGNALED(status) ? "it crashed" : "wrong data was served", what);
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    struct effort effort = effort_of(argc, argv, ROUNDS, SOAK_ROUNDS);
    int reported = 0;
    struct rng rng;
    seeded_rng_init(&rng, effort.seed);
    folder_make(dir, "flips");
    snprintf(original, sizeof(original), "%s/original", dir);
    snprintf(copy, sizeof(copy), "%s/copy", dir);
    if (mkdir(copy, 0700) < 0)
        die("mkdir", copy);
    write_original(&rng);
    struct error err = { 0 };
    struct storage *s = open_store(original, &err);
    int64_t now = s ? storage_revision(s) : 0;
    if (!s || read_all(s, now, &err) != VERDICT_RIGHT)
        die("the undamaged store", err.message);
    storage_close(s);
    for (int i = 0; i < effort.count; i++) {
        reported += run_round(&rng, now) == VERDICT_REPORTED;
        effort_progress("# %d of %d rounds\n", i + 1, effort.count);
    }
    printf("ok - %d rounds of changed bytes: %d reported, %d read right, none wrong\n",
           effort.count, reported, effort.count - reported);
    folder_remove(dir);
    return 0;
}
