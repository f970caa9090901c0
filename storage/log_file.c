/* SPDX-License-Identifier: Apache-2.0 */
/* log_file.c - blocks past the page cache, and room ahead of them. */
#include "storage/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"

#define GROW_BYTES ((off_t)1 << 20) /* one sync in a thousand or so waits for these zeros */
#define ZERO_BYTES ((off_t)256 << 10)
#define BLOCK      ((off_t)LOG_BLOCK_BYTES)

int log_file_open(struct log_file *f, const char *path, struct error *err)
{
    struct stat st;
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return error_errno(err, "open %s", path);
    if (fstat(f->fd, &st) < 0)
        return error_errno(err, "stat %s", path);
    f->allocated = st.st_size;
    return 0;
}

void log_file_close(struct log_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

int log_file_read(struct log_file *f, void *out, size_t len, off_t offset, struct error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(f->fd, (char *)out + done, len - done, offset + (off_t)done);
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

static bool set_direct(struct log_file *f, bool is_direct)
{
    int flags = fcntl(f->fd, F_GETFL);
    int wanted = is_direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    return flags >= 0 && flags != wanted && fcntl(f->fd, F_SETFL, wanted) == 0;
}

void log_file_bypass_cache(struct log_file *f)
{
    (void)set_direct(f, true);
}

int log_file_error(struct error *err, const char *what)
{
    enum error_code code = errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    error_errno(err, "%s", what);
    err->code = code;
    return -1;
}

int log_file_write(struct log_file *f, const char *blocks, size_t len, off_t offset,
                   struct error *err)
{
    while (len) {
        ssize_t n = pwrite(f->fd, blocks, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        /* Some file systems take the flag and then refuse the writes, or want larger blocks. */
        if (n < 0 && errno == EINVAL && set_direct(f, false))
            continue;
        if (n < 0)
            return log_file_error(err, "write the commit log");
        if ((size_t)n % LOG_BLOCK_BYTES)
            set_direct(f, false); /* cut short inside a block: the rest is not aligned */
        blocks += n;
        len -= (size_t)n;
        offset += n;
    }
    return 0;
}

int log_file_make_room(struct log_file *f, off_t end, struct error *err)
{
    static alignas(LOG_BLOCK_BYTES) char zeros[ZERO_BYTES];
    if (end <= f->allocated)
        return 0;
    off_t want = (end + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES;
    if (failpoint("storage.log.allocate") || (errno = posix_fallocate(f->fd, 0, want)))
        return log_file_error(err, "make room in the commit log");
    off_t at = (f->allocated + BLOCK - 1) / BLOCK * BLOCK;
    for (; at < want; at += ZERO_BYTES) {
        off_t len = want - at < ZERO_BYTES ? want - at : ZERO_BYTES;
        if (log_file_write(f, zeros, (size_t)len, at, err) < 0)
            return -1;
    }
    f->allocated = want;
    return 0;
}

int log_file_sync(struct log_file *f, struct error *err)
{
    return fdatasync(f->fd) < 0 ? log_file_error(err, "sync the commit log") : 0;
}
