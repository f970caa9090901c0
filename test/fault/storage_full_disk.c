/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_full_disk.c - a file system that really fills up, and empties again.
 *
 * In a mount namespace of its own, on a small tmpfs: writes fail with a clear error and change
 * nothing, reads go on, writes succeed again by themselves when there is space, and a restart finds
 * exactly what was acknowledged.  Needs root; exits with 77 without.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/storage.h"

#define DISK_OPTIONS  "size=96m,mode=0700"
#define BALLAST_BYTES (48 << 20)
#define VALUE_BYTES   (64 << 10)
#define KEYS          50
#define SKIPPED       77
#define PATIENCE_NS   (30 * NS_PER_S)

static char dir[] = "/tmp/coracle-full-disk.XXXXXX";
static char value[VALUE_BYTES];
static int64_t acked[KEYS]; /* the number each key holds */

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "storage_full_disk: %s: %s\n", what, detail);
    exit(1);
}

static struct storage *open_store(const char *store_dir)
{
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = store_dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, &err);
    if (!s)
        die("open", err.message);
    return s;
}

static int put(struct storage *s, int64_t number, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    char key[32];
    int k = (int)(number % KEYS);
    snprintf(key, sizeof(key), "key-%d", k);
    snprintf(value, sizeof(value), "%lld", (long long)number);
    struct storage_op op = { .type = STORAGE_PUT,
                             .key = bytes_of(key),
                             .value = { value, sizeof(value) } };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    if (storage_txn(s, &txn, arena, &out, err) < 0)
        return -1;
    acked[k] = number;
    return 0;
}

static void check(struct storage *s)
{
    for (int k = 0; k < KEYS; k++) {
        scoped(arena) struct arena *arena = arena_new();
        char key[32];
        snprintf(key, sizeof(key), "key-%d", k);
        struct storage_range r = { .key = bytes_of(key) };
        struct storage_range_result out;
        struct error err = { 0 };
        if (storage_range(s, &r, arena, &out, &err) < 0)
            die("read", err.message);
        if ((out.n ? atoll(out.kvs[0].value.data) : 0) != acked[k])
            die(key, "does not hold what was acknowledged");
    }
}

static void make_ballast(const char *path)
{
    scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, BALLAST_BYTES) != 0)
        die("ballast", path);
}

static int64_t write_until_full(struct storage *s, int64_t number)
{
    struct error err = { 0 };
    while (put(s, number, &err) == 0)
        number++;
    if (err.code != ERR_NO_SPACE)
        die("a full disk gave another error", err.message);
    return number;
}

static int64_t write_until_it_works(struct storage *s, int64_t number)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + PATIENCE_NS;
    struct error err = { 0 };
    while (put(s, number, &err) < 0) {
        if (err.code != ERR_NO_SPACE || clock_monotonic_ns(&system_clock) > until_ns)
            die("writes do not recover", err.message);
        usleep(10000);
        err = (struct error){ 0 };
    }
    return number + 1;
}

int main(void)
{
    if (!mkdtemp(dir))
        die("mkdtemp", dir);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, DISK_OPTIONS) < 0) {
        printf("storage_full_disk: no right to mount, skipped\n");
        rmdir(dir);
        return SKIPPED;
    }
    scoped(str) char *ballast = xasprintf("%s/ballast", dir);
    scoped(str) char *store_dir = xasprintf("%s/store", dir);
    make_ballast(ballast);
    struct storage *s = open_store(store_dir);

    int64_t full_at = write_until_full(s, 1);
    check(s);
    unlink(ballast);
    int64_t next = write_until_it_works(s, full_at);
    check(s);
    next = write_until_full(s, next);
    check(s);
    storage_close(s);

    s = open_store(store_dir);
    check(s);
    storage_close(s);
    printf(
        "storage_full_disk: full after %lld writes, went on, full again after %lld; nothing lost\n",
        (long long)full_at - 1, (long long)next - 1);
    umount(dir);
    rmdir(dir);
    return 0;
}
