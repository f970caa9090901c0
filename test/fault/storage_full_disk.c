/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_full_disk.c - a file system that really fills up, and empties again.
 *
 * In a mount namespace of its own, on a small tmpfs: writes fail with a clear error and change
 * nothing, reads go on, writes succeed again by themselves when there is space, and a restart finds
 * exactly what was acknowledged.  Needs root.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "test/fault/acked_keys.h"

#define DISK_OPTIONS  "size=96m,mode=0700"
#define BALLAST_BYTES (48 << 20)
#define PATIENCE_NS   (30 * NS_PER_S)

static char dir[] = "/tmp/coracle-full-disk.XXXXXX";
static struct acked_keys acked = { .program = "storage_full_disk", .value_bytes = 64 << 10 };

static void make_ballast(const char *path)
{
    scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, BALLAST_BYTES) != 0)
        acked_die(&acked, "ballast", path);
}

static void write_until_full(struct storage *s)
{
    struct error err = { 0 };
    while (acked_put(&acked, s, &err) == 0)
        continue;
    if (err.code != ERR_NO_SPACE)
        acked_die(&acked, "a full disk gave another error", err.message);
    acked_check(&acked, s);
}

static void write_until_it_works(struct storage *s)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + PATIENCE_NS;
    struct error err = { 0 };
    while (acked_put(&acked, s, &err) < 0) {
        if (err.code != ERR_NO_SPACE || clock_monotonic_ns(&system_clock) > until_ns)
            acked_die(&acked, "writes do not recover", err.message);
        usleep(10000);
        err = (struct error){ 0 };
    }
    acked_check(&acked, s);
}

int main(void)
{
    if (!mkdtemp(dir))
        acked_die(&acked, "mkdtemp", dir);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, DISK_OPTIONS) < 0) {
        printf("ok - a full disk # SKIP no right to mount\n");
        rmdir(dir);
        return 0;
    }
    scoped(str) char *ballast = xasprintf("%s/ballast", dir);
    scoped(str) char *store_dir = xasprintf("%s/store", dir);
    make_ballast(ballast);
    struct storage *s = acked_open(&acked, store_dir);

    write_until_full(s);
    int64_t full_at = acked.last;
    unlink(ballast);
    write_until_it_works(s);
    write_until_full(s);
    storage_close(s);

    s = acked_open(&acked, store_dir);
    acked_check(&acked, s);
    storage_close(s);
    printf("ok - a disk that was full at write %lld, went on, was full again at %lld: nothing is "
           "lost\n",
           (long long)full_at, (long long)acked.last);
    umount(dir);
    rmdir(dir);
    return 0;
}
