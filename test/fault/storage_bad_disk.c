/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_bad_disk.c - a disk that refuses writes, and takes them again.
 *
 * The store's own file descriptors are made to give EIO, by the kernel and not by a failpoint: each
 * of its files in turn, and all of them.  Writes fail with a clear error or, where the disk is not
 * needed at once, go on; reads go on throughout; writes succeed again by themselves when the disk
 * does; and a restart finds exactly what was acknowledged.  Then a file system that is mounted
 * read-only: the store says so and is not changed.  That part needs root.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "test/fault/acked_keys.h"

#define WRITES      60
#define FILES_MAX   8
#define PATIENCE_NS (30 * NS_PER_S)

static char dir[] = "/tmp/coracle-bad-disk.XXXXXX";
static char store_dir[64];
static struct acked_keys acked = { .program = "storage_bad_disk", .value_bytes = 2000 };

_Noreturn static void die(const char *what, const char *detail)
{
    printf("# the folder is %s\n", dir);
    acked_die(&acked, what, detail);
}

/* ---- descriptors that give EIO ---- */

struct broken {
    int fds[FILES_MAX], kept[FILES_MAX];
    size_t n;
};

/* A write to an address where nothing is mapped is EIO, whatever the size. */
static void break_fd(struct broken *b, int fd)
{
    int bad = open("/proc/self/mem", O_RDWR | O_CLOEXEC), kept = fcntl(fd, F_DUPFD_CLOEXEC, 256);
    if (bad < 0 || kept < 0 || dup2(bad, fd) < 0 || b->n == FILES_MAX)
        die("break", "a descriptor");
    close(bad);
    b->fds[b->n] = fd;
    b->kept[b->n++] = kept;
}

/* Every descriptor of the store's file NAME (NULL: of all) that was opened with FLAG. */
static void break_files(struct broken *b, const char *name, int flag)
{
    for (int fd = 3; fd < 256; fd++) {
        char link[64], path[256];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
            continue;
        path[n] = '\0';
        if (strncmp(path, store_dir, strlen(store_dir)) != 0)
            continue;
        const char *file = strrchr(path, '/') + 1;
        bool is_data = strcmp(file, "data.mdb") == 0 || strncmp(file, "log.", 4) == 0;
        if (is_data && (!name || strcmp(file, name) == 0) && (fcntl(fd, F_GETFL) & flag) == flag)
            break_fd(b, fd);
    }
    if (!b->n)
        die("break", "no such descriptor");
}

/* The store may have closed one, and its number may be another file's by now. */
static bool is_broken(int fd)
{
    char link[64], path[64] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    return n > 4 && strcmp(path + n - 4, "/mem") == 0;
}

static void mend(struct broken *b)
{
    while (b->n) {
        b->n--;
        if (is_broken(b->fds[b->n]) && dup2(b->kept[b->n], b->fds[b->n]) < 0)
            die("mend", "a descriptor");
        close(b->kept[b->n]);
    }
}

/* ---- rounds ---- */

static void write_until_it_works(struct storage *s)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + PATIENCE_NS;
    struct error err = { 0 };
    while (acked_put(&acked, s, &err) < 0 || storage_defragment(s, &err) < 0) {
        if (clock_monotonic_ns(&system_clock) > until_ns)
            die("it does not recover", err.message);
        acked_check(&acked, s);
        usleep(10000);
        err = (struct error){ 0 };
    }
}

/* How many of some writes and flushes failed. */
static int write_through_it(struct storage *s)
{
    int failed = 0;
    for (int i = 0; i < WRITES; i++) {
        struct error err = { 0 };
        int rc = acked_put(&acked, s, &err);
        if (rc == 0 && i % 20 == 10)
            rc = storage_defragment(s, &err);
        if (rc < 0 && err.code != ERR_IO)
            die("a bad disk gave another error", err.message);
        failed += rc < 0;
        acked_check(&acked, s);
    }
    return failed;
}

static void run_round(const char *name, int flag)
{
    struct error err = { 0 };
    struct broken broken = { .n = 0 };
    struct storage *s = acked_open(&acked, store_dir);
    acked_check(&acked, s);
    for (int i = 0; i < WRITES; i++)
        if (acked_put(&acked, s, &err) < 0)
            die("write", err.message);
    break_files(&broken, name, flag);
    int failed = write_through_it(s);
    /* The database is needed now and then only, and is opened anew when it fails. */
    if (!failed && !(name && strcmp(name, "data.mdb") == 0))
        die(name ? name : "all files", "nothing failed: the disk was not bad");
    mend(&broken);
    write_until_it_works(s);
    acked_check(&acked, s);
    storage_close(s);
    printf("# %s%s: %d of %d failed, went on by itself\n", name ? name : "all files",
           flag ? " (its head)" : "", failed, WRITES);
}

static bool read_only(void)
{
    struct error err = { 0 };
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(store_dir, store_dir, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, store_dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return false;
    struct storage_embedded_config config = { .dir = store_dir, .compact_interval_ms = -1 };
    if (storage_open_embedded(&config, &err) || !strstr(err.message, "Read-only file system"))
        die("a read-only folder", err.message);
    umount(store_dir);
    return true;
}

int main(void)
{
    if (!mkdtemp(dir))
        die("mkdtemp", dir);
    snprintf(store_dir, sizeof(store_dir), "%s/store", dir);
    run_round("log.1", 0);
    run_round("log.0", 0);
    run_round("data.mdb", O_DSYNC);
    run_round("data.mdb", 0);
    run_round(NULL, 0);
    bool was_read_only = read_only();
    struct storage *s = acked_open(&acked, store_dir);
    acked_check(&acked, s);
    storage_close(s);
    printf("ok - a bad disk: nothing is lost\n");
    printf("ok - a read-only folder is told%s\n", was_read_only ? "" : " # SKIP no right to mount");
    scoped(str) char *command = xasprintf("rm -rf %s", dir);
    return system(command) != 0;
}
