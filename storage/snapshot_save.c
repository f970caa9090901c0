/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_save.c - a snapshot that is there as a whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "base/grpc.h"
#include "base/zip.h"
#include "storage/etcd.pb-c.h"
#include "storage/snapshot_file.h"

/* Files without a name: when the process dies, or anything fails, there is nothing to clean up. */
static int open_unnamed(const char *dir, struct error *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        error_errno(err, "make a file in %s", dir);
    return fd;
}

/* Reads back what the disk has, not what the cache of the file system remembers. */
static int verify(int fd, enum storage_snapshot_form form, struct error *err)
{
    struct stat st;
    uint8_t made[SHA256_BYTES], kept[SHA256_BYTES];
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (form == STORAGE_SNAPSHOT_ZIP) {
        scoped(fd) int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        return nowhere < 0 ? error_errno(err, "open /dev/null") : zip_read(fd, nowhere, err);
    }
    if (fstat(fd, &st) < 0)
        return error_errno(err, "stat");
    if (st.st_size <= SHA256_BYTES)
        return error_set(err, ERR_IO, "what came is no snapshot");
    uint64_t size = (uint64_t)st.st_size - SHA256_BYTES;
    if (pread(fd, kept, sizeof(kept), (off_t)size) != (ssize_t)sizeof(kept))
        return error_errno(err, "read it back");
    if (snapshot_file_digest(fd, size, made, err) < 0)
        return -1;
    return memcmp(made, kept, sizeof(made)) ? error_set(err, ERR_IO, "its sum does not match") : 0;
}

static int put_in_place(int fd, const char *path, struct error *err)
{
    char self[64];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    (void)failpoint("storage.snapshot.before_link");
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    bool is_there = errno == EEXIST;
    error_errno(err, "give it its name");
    if (is_there)
        err->code = ERR_ALREADY_EXISTS;
    return -1;
}

static int finish(int fd, const char *dir, const char *path, enum storage_snapshot_form form,
                  struct error *err)
{
    (void)failpoint("storage.snapshot.before_sync");
    if (fsync(fd) < 0)
        return error_errno(err, "sync");
    if (verify(fd, form, err) < 0 || put_in_place(fd, path, err) < 0)
        return -1;
    return files_sync_dir(dir, err);
}

static int pack(int fd, const char *dir, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    scoped(str) char *name = xstrdup(slash ? slash + 1 : path);
    if (str_has_suffix(name, ".zip"))
        name[strlen(name) - strlen(".zip")] = '\0';
    scoped(fd) int archive = open_unnamed(dir, err);
    if (archive < 0 || verify(fd, STORAGE_SNAPSHOT_PLAIN, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_errno(err, "read it back");
    if (zip_write(fd, name, archive, err) < 0)
        return -1;
    return finish(archive, dir, path, STORAGE_SNAPSHOT_ZIP, err);
}

typedef int produce_fn(int fd, const void *from, struct error *err);

static int save(produce_fn *produce, const void *from, const char *path,
                enum storage_snapshot_form form, struct error *err)
{
    scoped(str) char *copy = xstrdup(path);
    const char *dir = dirname(copy);
    if (files_make_dirs(dir, 0700, err) < 0)
        return -1;
    scoped(fd) int fd = open_unnamed(dir, err);
    if (fd < 0 || produce(fd, from, err) < 0)
        return error_wrap(err, "save %s", path);
    int rc =
        form == STORAGE_SNAPSHOT_ZIP ? pack(fd, dir, path, err) : finish(fd, dir, path, form, err);
    return rc < 0 ? error_wrap(err, "save %s", path) : 0;
}

/* ---- from a store ---- */

static int write_store(int fd, const void *from, struct error *err)
{
    return snapshot_file_write((struct storage *)(uintptr_t)from, fd, err);
}

int storage_snapshot_save(struct storage *s, const char *path, enum storage_snapshot_form form,
                          struct error *err)
{
    return save(write_store, s, path, form, err);
}

/* ---- from a server ---- */

static int write_part(int fd, struct bytes message, uint64_t *left, struct error *err)
{
    Etcd__SnapshotResponse *part =
        etcd__snapshot_response__unpack(NULL, message.len, (const uint8_t *)message.data);
    if (!part)
        return error_set(err, ERR_IO, "the server's answer cannot be read");
    struct bytes blob = { (const char *)part->blob.data, part->blob.len };
    *left = part->remaining_bytes;
    int rc = snapshot_file_check_room(fd, err);
    if (rc == 0)
        rc = files_write_all(fd, blob, err);
    etcd__snapshot_response__free_unpacked(part, NULL);
    return rc;
}

static int receive_all(struct grpc_stream *stream, int fd, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct bytes message;
    uint64_t left = 0;
    int got;
    while ((got = grpc_stream_receive(stream, arena, &message, err)) == 1) {
        if (write_part(fd, message, &left, err) < 0)
            return -1;
        arena_reset(arena);
    }
    if (got == 0 && left)
        return error_set(err, ERR_IO, "the server stopped %llu bytes before the end",
                         (unsigned long long)left);
    return got;
}

static int fetch(int fd, const void *from, struct error *err)
{
    struct grpc_channel *channel = grpc_channel_new(from, NULL, err);
    if (!channel)
        return -1;
    struct grpc_stream *stream =
        grpc_stream_open(channel, "/etcdserverpb.Maintenance/Snapshot", NULL, err);
    int rc = stream ? grpc_stream_send(stream, (struct bytes){ "", 0 }, err) : -1;
    if (rc == 0) {
        grpc_stream_end_send(stream);
        rc = receive_all(stream, fd, err);
    }
    if (stream)
        grpc_stream_close(stream);
    grpc_channel_free(channel);
    return rc;
}

int storage_snapshot_fetch(const char *target, const char *path, enum storage_snapshot_form form,
                           struct error *err)
{
    return save(fetch, target, path, form, err);
}
