/* SPDX-License-Identifier: Apache-2.0 */
/* commit_log.c - frames in two files that take turns. */
#include "storage/commit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "storage/record.h"

#define FRAME_MAGIC 0x6c63726fu
#define GROW_BYTES                                                                                 \
    ((off_t)4 << 20) /* room is taken in steps, so that few syncs change the file's size */
#define BUFFER_KEPT ((size_t)1 << 20) /* a larger buffer is given back after its group */
#define FILES       2

struct frame {
    uint32_t magic;
    uint32_t crc; /* of all that follows, payload included */
    uint64_t generation;
    uint64_t seq;
    uint32_t payload_len;
    uint32_t salt;
};
_Static_assert(sizeof(struct frame) == 32, "frame header has no padding");

struct log_file {
    int fd;
    off_t allocated;
};

struct commit_log {
    struct log_file files[FILES];
    uint32_t salt;
    uint64_t generation; /* being written; its file is generation % FILES */
    uint64_t seq;        /* of the last durable frame */
    off_t offset;        /* where the next frame goes */
    bool is_replayed;
    struct buffer frame;
};

static uint32_t frame_crc(const struct frame *f, const char *payload)
{
    size_t skip = offsetof(struct frame, generation);
    uint32_t crc = crc32c(0, (const char *)f + skip, sizeof(*f) - skip);
    return crc32c(crc, payload, f->payload_len);
}

static off_t frame_end(off_t offset, const struct frame *f)
{
    return offset + (off_t)((sizeof(*f) + f->payload_len + 7) & ~(size_t)7);
}

static int open_file(struct commit_log *l, const char *dir, int i, struct error *err)
{
    scoped(str) char *path = xasprintf("%s/log.%d", dir, i);
    l->files[i].fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (l->files[i].fd < 0)
        return error_errno(err, "open %s", path);
    struct stat st;
    if (fstat(l->files[i].fd, &st) < 0)
        return error_errno(err, "stat %s", path);
    l->files[i].allocated = st.st_size;
    return 0;
}

bool commit_log_exists(const char *dir)
{
    bool exists = false;
    for (int i = 0; i < FILES; i++) {
        scoped(str) char *path = xasprintf("%s/log.%d", dir, i);
        struct stat st;
        exists |= stat(path, &st) == 0 && st.st_size > 0;
    }
    return exists;
}

static int sync_dir(const char *dir, struct error *err)
{
    scoped(fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, "sync %s", dir);
    return 0;
}

struct commit_log *commit_log_open(const struct commit_log_config *config, struct error *err)
{
    struct commit_log *l = xcalloc(1, sizeof(*l));
    l->salt = config->salt;
    l->generation = config->generation + 1;
    l->seq = config->seq;
    for (int i = 0; i < FILES; i++)
        l->files[i].fd = -1;
    for (int i = 0; i < FILES; i++) {
        if (open_file(l, config->dir, i, err) < 0) {
            commit_log_close(l);
            return NULL;
        }
    }
    if (sync_dir(config->dir, err) < 0) {
        commit_log_close(l);
        return NULL;
    }
    return l;
}

/* An empty frame, so that the last one with something in it has a follower: the next start can tell
 * damage to it from a torn end.  Nothing depends on its getting to disk. */
static void mark_end(struct commit_log *l)
{
    struct log_file *file = &l->files[l->generation % FILES];
    struct frame f = {
        .magic = FRAME_MAGIC, .generation = l->generation, .seq = l->seq + 1, .salt = l->salt
    };
    f.crc = frame_crc(&f, "");
    if (l->is_replayed && l->offset && frame_end(l->offset, &f) <= file->allocated)
        (void)!pwrite(file->fd, &f, sizeof(f), l->offset);
}

void commit_log_close(struct commit_log *l)
{
    if (!l)
        return;
    mark_end(l);
    for (int i = 0; i < FILES; i++)
        if (l->files[i].fd >= 0)
            close(l->files[i].fd);
    buffer_free(&l->frame);
    free(l);
}

uint64_t commit_log_generation(const struct commit_log *l)
{
    return l->generation;
}

uint64_t commit_log_seq(const struct commit_log *l)
{
    return l->seq;
}

/* ---- reading ---- */

static int read_at(int fd, void *out, size_t len, off_t offset, struct error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)out + done, len - done, offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "read the commit log");
        if (n == 0)
            return 0;
        done += (size_t)n;
    }
    return 1;
}

/* 1: a whole frame of this generation, its payload in OUT; 0: there is none; -1. */
static int read_frame(struct commit_log *l, uint64_t generation, off_t offset, struct frame *f,
                      struct buffer *out, struct error *err)
{
    struct log_file *file = &l->files[generation % FILES];
    buffer_clear(out);
    if (offset + (off_t)sizeof(*f) > file->allocated)
        return 0;
    int got = read_at(file->fd, f, sizeof(*f), offset, err);
    if (got <= 0)
        return got;
    if (f->magic != FRAME_MAGIC || f->generation != generation || f->salt != l->salt ||
        f->payload_len > LOG_FRAME_BYTES_MAX ||
        offset + (off_t)(sizeof(*f) + f->payload_len) > file->allocated)
        return 0;
    buffer_reserve(out, f->payload_len);
    got = read_at(file->fd, out->data, f->payload_len, offset + (off_t)sizeof(*f), err);
    if (got <= 0)
        return got;
    out->len = f->payload_len;
    return frame_crc(f, out->data) == f->crc ? 1 : 0;
}

/* After the end: is there a frame that can only have been written when the missing one was durable?
 */
static int check_nothing_follows(struct commit_log *l, uint64_t generation, off_t offset,
                                 struct error *err)
{
    struct log_file *file = &l->files[generation % FILES];
    enum { WINDOW_BYTES = 1 << 20 };
    scoped(mem) void *window_mem = xmalloc(WINDOW_BYTES);
    char *window = window_mem;
    struct buffer payload __attribute__((cleanup(buffer_scoped))) = { 0 };
    for (off_t at = offset; at < file->allocated; at += WINDOW_BYTES) {
        size_t len =
            (size_t)(file->allocated - at < WINDOW_BYTES ? file->allocated - at : WINDOW_BYTES);
        int got = read_at(file->fd, window, len, at, err);
        if (got < 0)
            return -1;
        for (size_t i = 0; got && i + sizeof(uint32_t) <= len; i += 8) {
            uint32_t magic;
            memcpy(&magic, window + i, sizeof(magic));
            struct frame f;
            if (magic != FRAME_MAGIC)
                continue;
            int found = read_frame(l, generation, at + (off_t)i, &f, &payload, err);
            if (found < 0)
                return -1;
            if (found && f.seq > l->seq + 1)
                return error_set(
                    err, ERR_IO,
                    "the commit log is corrupt: group %llu is unreadable but group %llu "
                    "follows it",
                    (unsigned long long)l->seq + 1, (unsigned long long)f.seq);
        }
    }
    return 0;
}

static int replay_generation(struct commit_log *l, uint64_t generation, commit_log_fn *fn,
                             void *arg, struct error *err)
{
    struct buffer payload __attribute__((cleanup(buffer_scoped))) = { 0 };
    struct frame f;
    l->offset = 0;
    for (;;) {
        int got = read_frame(l, generation, l->offset, &f, &payload, err);
        if (got < 0)
            return -1;
        if (!got || f.seq != l->seq + 1)
            break;
        if (fn(buffer_bytes(&payload), generation, arg, err) < 0)
            return -1;
        l->seq = f.seq;
        l->offset = frame_end(l->offset, &f);
    }
    if (check_nothing_follows(l, generation, l->offset, err) < 0)
        return -1;
    /* After a kill the frames may be in the page cache only; readers are about to see them. */
    if (l->offset &&
        (failpoint("storage.recover.sync") || fdatasync(l->files[generation % FILES].fd) < 0))
        return error_errno(err, "sync the commit log");
    return 0;
}

/* A database from before its last flushes would miss what is written over in the log. */
static int check_not_younger(struct commit_log *l, struct error *err)
{
    struct buffer payload __attribute__((cleanup(buffer_scoped))) = { 0 };
    for (int i = 0; i < FILES; i++) {
        struct frame f;
        int got = l->files[i].allocated ? read_at(l->files[i].fd, &f, sizeof(f), 0, err) : 0;
        if (got == 1 && f.magic == FRAME_MAGIC && f.generation > l->generation &&
            f.generation % FILES == (uint64_t)i)
            got = read_frame(l, f.generation, 0, &f, &payload, err);
        else if (got == 1)
            got = 0;
        if (got < 0)
            return -1;
        if (got)
            return error_set(err, ERR_IO,
                             "the database is corrupt: the commit log is at generation %llu, and "
                             "it is older than generation %llu",
                             (unsigned long long)f.generation, (unsigned long long)l->generation);
    }
    return 0;
}

int commit_log_replay(struct commit_log *l, commit_log_fn *fn, void *arg, struct error *err)
{
    uint64_t first = l->generation;
    if (replay_generation(l, first, fn, arg, err) < 0)
        return -1;
    off_t first_end = l->offset;
    uint64_t seq = l->seq;
    if (replay_generation(l, first + 1, fn, arg, err) < 0)
        return -1;
    if (l->seq > seq)
        l->generation = first + 1;
    else
        l->offset = first_end;
    if (check_not_younger(l, err) < 0)
        return -1;
    l->is_replayed = true;
    return 0;
}

/* ---- writing ---- */

struct buffer *commit_log_begin(struct commit_log *l)
{
    static const struct frame empty;
    if (l->frame.capacity > BUFFER_KEPT)
        buffer_free(&l->frame);
    buffer_clear(&l->frame);
    buffer_add(&l->frame, &empty, sizeof(empty));
    return &l->frame;
}

static int disk_error(struct error *err, const char *what)
{
    enum error_code code = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    error_errno(err, "%s", what);
    err->code = code;
    return -1;
}

static int make_room(struct log_file *file, off_t end, struct error *err)
{
    if (end <= file->allocated)
        return 0;
    off_t want = (end + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES;
    if (failpoint("storage.log.allocate") || (errno = posix_fallocate(file->fd, 0, want)))
        return disk_error(err, "make room in the commit log");
    file->allocated = want;
    return 0;
}

static int write_at(int fd, const char *data, size_t len, off_t offset, struct error *err)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return disk_error(err, "write the commit log");
        data += n;
        len -= (size_t)n;
        offset += n;
    }
    return 0;
}

static int write_durably(struct commit_log *l, struct log_file *file, struct error *err)
{
    if (failpoint("storage.log.before_write"))
        return disk_error(err, "write the commit log");
    if (failpoint("storage.log.torn_write")) { /* die half-way */
        (void)!write_at(file->fd, l->frame.data, l->frame.len / 2, l->offset, err);
        kill(getpid(), SIGKILL);
    }
    if (write_at(file->fd, l->frame.data, l->frame.len, l->offset, err) < 0)
        return -1;
    if (failpoint("storage.log.before_sync") || fdatasync(file->fd) < 0)
        return disk_error(err, "sync the commit log");
    (void)failpoint("storage.log.after_sync");
    return 0;
}

int commit_log_sync(struct commit_log *l, struct error *err)
{
    size_t payload_len = l->frame.len - sizeof(struct frame);
    ensure(payload_len <= LOG_FRAME_BYTES_MAX);
    struct frame f = {
        .magic = FRAME_MAGIC,
        .generation = l->generation,
        .seq = l->seq + 1,
        .payload_len = (uint32_t)payload_len,
        .salt = l->salt,
    };
    f.crc = frame_crc(&f, l->frame.data + sizeof(f));
    memcpy(l->frame.data, &f, sizeof(f));

    struct log_file *file = &l->files[l->generation % FILES];
    off_t end = frame_end(l->offset, &f);
    if (make_room(file, end, err) < 0)
        return -1;
    if (write_durably(l, file, err) < 0) {
        /* Nobody was promised this frame, so a restart should not find it either.  The place is
         * written over by the next frame in any case: its header is all that matters. */
        static const struct frame nothing;
        (void)failpoint("storage.log.before_erase");
        struct error ignored = { 0 };
        (void)!write_at(file->fd, (const char *)&nothing, sizeof(nothing), l->offset, &ignored);
        return -1;
    }
    l->seq++;
    l->offset = end;
    return 0;
}

void commit_log_rotate(struct commit_log *l)
{
    (void)failpoint("storage.log.rotate");
    /* Nothing is erased: the frames that lie there carry their own, older generation. */
    l->generation++;
    l->offset = 0;
}
