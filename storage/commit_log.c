/* SPDX-License-Identifier: Apache-2.0 */
/* commit_log.c - frames in two files that take turns. */
#include "storage/commit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "storage/log_file.h"
#include "storage/record.h"

#define FRAME_MAGIC 0x6c63726fu
#define IMAGE_BYTES ((size_t)8 << 20) /* room for the usual group; touched as far as it is used */
#define IMAGE_KEPT                                                                                 \
    ((size_t)1 << 20) /* what a larger group touched is given back when a smaller one follows */
#define FILES 2

struct frame {
    uint32_t magic;
    uint32_t crc; /* of all that follows, payload included */
    uint64_t generation;
    uint64_t seq;
    uint32_t payload_len;
    uint32_t salt;
};
_Static_assert(sizeof(struct frame) == 32, "frame header has no padding");

struct commit_log {
    struct log_file files[FILES];
    uint32_t salt;
    uint64_t generation; /* being written; its file is generation % FILES */
    uint64_t seq;        /* of the last durable frame */
    off_t offset;        /* where the next frame goes */
    bool is_replayed;
    /* What is written next, in whole blocks: the end of the frame before it, which shares a block
     * with the new one, the new frame, and zeros.
     *
     *     | ...seq 41 | seq 42 .................... | 0 |
     *     ^ block     ^ offset                          ^ block
     */
    struct buffer image;
    bool is_large;              /* more than IMAGE_KEPT of it may be in memory */
    size_t shared;              /* bytes before the frame */
    char tail[LOG_BLOCK_BYTES]; /* the block in which the last durable frame ends, up to there */
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

struct commit_log *commit_log_open(const struct commit_log_config *config, struct error *err)
{
    struct commit_log *l = xcalloc(1, sizeof(*l));
    l->salt = config->salt;
    l->generation = config->generation + 1;
    l->seq = config->seq;
    for (int i = 0; i < FILES; i++)
        l->files[i].fd = -1;
    for (int i = 0; i < FILES; i++) {
        scoped(str) char *path = xasprintf("%s/log.%d", config->dir, i);
        if (log_file_open(&l->files[i], path, err) < 0) {
            commit_log_close(l);
            return NULL;
        }
    }
    if (files_sync_dir(config->dir, err) < 0) {
        commit_log_close(l);
        return NULL;
    }
    return l;
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

/* 1: a whole frame of this generation, its payload in OUT; 0: there is none; -1. */
static int read_frame(struct commit_log *l, uint64_t generation, off_t offset, struct frame *f,
                      struct buffer *out, struct error *err)
{
    struct log_file *file = &l->files[generation % FILES];
    buffer_clear(out);
    if (offset + (off_t)sizeof(*f) > file->allocated)
        return 0;
    int got = log_file_read(file, f, sizeof(*f), offset, err);
    if (got <= 0)
        return got;
    if (f->magic != FRAME_MAGIC || f->generation != generation || f->salt != l->salt ||
        f->payload_len > LOG_FRAME_BYTES_MAX ||
        offset + (off_t)(sizeof(*f) + f->payload_len) > file->allocated)
        return 0;
    buffer_reserve(out, f->payload_len);
    got = log_file_read(file, out->data, f->payload_len, offset + (off_t)sizeof(*f), err);
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
        int got = log_file_read(file, window, len, at, err);
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
        int got = l->files[i].allocated ? log_file_read(&l->files[i], &f, sizeof(f), 0, err) : 0;
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
    size_t shared = (size_t)l->offset % LOG_BLOCK_BYTES;
    struct log_file *file = &l->files[l->generation % FILES];
    int got = log_file_read(file, l->tail, shared, l->offset - (off_t)shared, err);
    if (got <= 0)
        return got < 0 ? -1 : error_set(err, ERR_IO, "the commit log ends before its last frame");
    for (int i = 0; i < FILES; i++)
        log_file_bypass_cache(&l->files[i]);
    l->is_replayed = true;
    return 0;
}

/* ---- writing ---- */

/* Aligned, as long as nothing needs more. */
static void make_image(struct buffer *image, size_t capacity)
{
    char *data = aligned_alloc(LOG_BLOCK_BYTES, capacity);
    ensure(data);
    if (image->len)
        memcpy(data, image->data, image->len);
    free(image->data);
    *image = (struct buffer){ data, image->len, capacity };
}

struct buffer *commit_log_begin(struct commit_log *l)
{
    static const struct frame empty;
    struct buffer *image = &l->image;
    size_t used = image->len;
    buffer_clear(image);
    if (image->capacity != IMAGE_BYTES) {
        make_image(image, IMAGE_BYTES);
    } else if (used > IMAGE_KEPT) {
        l->is_large = true;
    } else if (l->is_large) {
        l->is_large = false;
        madvise(image->data + IMAGE_KEPT, IMAGE_BYTES - IMAGE_KEPT, MADV_DONTNEED);
    }
    l->shared = (size_t)l->offset % LOG_BLOCK_BYTES;
    buffer_add(image, l->tail, l->shared);
    buffer_add(image, &empty, sizeof(empty));
    return image;
}

/* Fills the last block up with zeros. */
static void pad_image(struct buffer *image)
{
    size_t whole = (image->len + LOG_BLOCK_BYTES - 1) / LOG_BLOCK_BYTES * LOG_BLOCK_BYTES;
    /* It grew as buffers do, which is not in blocks. */
    if (image->capacity != IMAGE_BYTES)
        make_image(image, whole);
    memset(image->data + image->len, 0, whole - image->len);
    image->len = whole;
}

static int write_image(struct commit_log *l, struct log_file *file, struct error *err)
{
    return log_file_write(file, l->image.data, l->image.len, l->offset - (off_t)l->shared, err);
}

static int write_durably(struct commit_log *l, struct log_file *file, struct error *err)
{
    if (failpoint("storage.log.before_write"))
        return log_file_error(err, "write the commit log");
    if (failpoint("storage.log.torn_write")) { /* die half-way */
        size_t half = l->shared + (l->image.len - l->shared) / 2;
        memset(l->image.data + half, 0, l->image.len - half);
        (void)!write_image(l, file, err);
        kill(getpid(), SIGKILL);
    }
    if (write_image(l, file, err) < 0)
        return -1;
    if (failpoint("storage.log.before_sync"))
        return log_file_error(err, "sync the commit log");
    if (log_file_sync(file, err) < 0)
        return -1;
    (void)failpoint("storage.log.after_sync");
    return 0;
}

/* Nobody was promised this frame, so a restart should not find it either.  The place is written
 * over by the next frame in any case: its header is all that matters. */
static void erase(struct commit_log *l, struct log_file *file)
{
    (void)failpoint("storage.log.before_erase");
    struct error ignored = { 0 };
    l->image.len = l->shared + sizeof(struct frame);
    memset(l->image.data + l->shared, 0, sizeof(struct frame));
    pad_image(&l->image);
    (void)!write_image(l, file, &ignored);
}

/* The image holds the payload: makes a frame of it.  Returns where that ends. */
static off_t finish_image(struct commit_log *l)
{
    char *start = l->image.data + l->shared;
    size_t payload_len = l->image.len - l->shared - sizeof(struct frame);
    ensure(payload_len <= LOG_FRAME_BYTES_MAX);
    struct frame f = {
        .magic = FRAME_MAGIC,
        .generation = l->generation,
        .seq = l->seq + 1,
        .payload_len = (uint32_t)payload_len,
        .salt = l->salt,
    };
    f.crc = frame_crc(&f, start + sizeof(f));
    memcpy(start, &f, sizeof(f));
    pad_image(&l->image);
    return frame_end(l->offset, &f);
}

int commit_log_sync(struct commit_log *l, struct error *err)
{
    struct log_file *file = &l->files[l->generation % FILES];
    off_t end = finish_image(l);
    if (log_file_make_room(file, end, err) < 0)
        return -1;
    if (write_durably(l, file, err) < 0) {
        erase(l, file);
        return -1;
    }
    size_t tail = (size_t)end % LOG_BLOCK_BYTES;
    memcpy(l->tail, l->image.data + l->shared + (end - l->offset) - tail, tail);
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

/* ---- closing ---- */

/* An empty frame, so that the last one with something in it has a follower: the next start can tell
 * damage to it from a torn end.  Nothing depends on its getting to disk. */
static void mark_end(struct commit_log *l)
{
    struct log_file *file = &l->files[l->generation % FILES];
    struct error ignored = { 0 };
    if (!l->is_replayed || !l->offset)
        return;
    commit_log_begin(l);
    if (finish_image(l) <= file->allocated)
        (void)!write_image(l, file, &ignored);
}

void commit_log_close(struct commit_log *l)
{
    if (!l)
        return;
    mark_end(l);
    for (int i = 0; i < FILES; i++)
        log_file_close(&l->files[i]);
    buffer_free(&l->image);
    free(l);
}
