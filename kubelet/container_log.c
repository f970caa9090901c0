/* SPDX-License-Identifier: Apache-2.0 */
/* container_log.c - reads a container's log. */
#include "kubelet/container_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define BLOCK_BYTES    (64 * 1024)
#define LINE_BYTES_MAX (1024 * 1024) /* the runtime splits at 16 KiB; more is not a log of its */
#define PIECE_BYTES    (32 * 1024)
/* After the log was closed the runtime may need this long, and so many times, to say that the
 * container has ended; what runs on then will close it once more. */
#define ENDING_CHECK_MS   50
#define ENDING_CHECKS_MAX 200

struct reader {
    const struct container_log_options *o;
    const char *path;
    int fd;
    struct log_follower follower;
    struct buffer in;  /* read, not yet made into lines */
    struct buffer out; /* made, not yet written */
    int64_t written;
    bool is_in_line;  /* the last line was partial */
    bool is_recent;   /* lines are younger than SINCE from here on */
    bool is_finished; /* LIMIT_BYTES is reached */
};

/* ---- where to begin ---- */

/* The offset of the Nth line from the end. */
static off_t tail_offset(int fd, int64_t lines)
{
    char block[BLOCK_BYTES];
    off_t end = lseek(fd, 0, SEEK_END);
    if (lines == 0)
        return end;
    /* One more newline than lines: the last one ends the last line. */
    int64_t seen = 0;
    for (off_t at = end; at > 0;) {
        size_t len = at < BLOCK_BYTES ? (size_t)at : BLOCK_BYTES;
        at -= (off_t)len;
        ssize_t n = pread(fd, block, len, at);
        if (n != (ssize_t)len)
            return 0;
        for (ssize_t i = n - 1; i >= 0; i--) {
            bool is_last_byte = at + i == end - 1;
            if (block[i] == '\n' && !is_last_byte && ++seen == lines)
                return at + i + 1;
        }
    }
    return 0;
}

/* ---- lines ---- */

static int flush(struct reader *r)
{
    if (r->out.len == 0)
        return 0;
    int rc = r->o->write(r->o->arg, buffer_bytes(&r->out));
    buffer_clear(&r->out);
    return rc;
}

static void add_output(struct reader *r, const char *data, size_t len)
{
    if (r->o->limit_bytes >= 0) {
        int64_t room = r->o->limit_bytes - r->written;
        if ((int64_t)len >= room) {
            len = room > 0 ? (size_t)room : 0;
            r->is_finished = true;
        }
    }
    buffer_add(&r->out, data, len);
    r->written += (int64_t)len;
}

static void add_timestamp(struct reader *r, const char *text)
{
    int64_t ns;
    char formatted[TIME_TEXT_BYTES + 1];
    if (time_parse(text, &ns) < 0)
        return;
    time_format_nano(ns, formatted);
    strcat(formatted, " ");
    add_output(r, formatted, strlen(formatted));
}

/* The next field of a line, ended by a space that becomes a NUL; NULL if there is none. */
static char *next_field(char **at, char *end)
{
    char *field = *at;
    char *space = memchr(field, ' ', (size_t)(end - field));
    if (!space)
        return NULL;
    *space = '\0';
    *at = space + 1;
    return field;
}

static void add_line(struct reader *r, char *line, char *end)
{
    char *at = line;
    char *time = next_field(&at, end);
    char *stream = time ? next_field(&at, end) : NULL;
    char *tag = stream ? next_field(&at, end) : NULL;
    if (!tag)
        return;
    int64_t ns;
    if (!r->is_recent && r->o->since_ns) {
        if (time_parse(time, &ns) < 0 || ns < r->o->since_ns)
            return;
        r->is_recent = true;
    }
    unsigned which = str_equal(stream, "stderr") ? LOG_STREAM_STDERR : LOG_STREAM_STDOUT;
    if (!(r->o->streams & which))
        return;
    bool is_partial = tag[0] == 'P';
    if (r->o->timestamps && !r->is_in_line)
        add_timestamp(r, time);
    add_output(r, at, (size_t)(end - at));
    if (!is_partial)
        add_output(r, "\n", 1);
    r->is_in_line = is_partial;
}

static int add_lines(struct reader *r)
{
    char *p = r->in.data, *all_end = r->in.data + r->in.len;
    char *newline;
    while (!r->is_finished && p < all_end && (newline = memchr(p, '\n', (size_t)(all_end - p)))) {
        add_line(r, p, newline);
        p = newline + 1;
        if (r->out.len >= PIECE_BYTES && flush(r) < 0)
            return -1;
    }
    size_t rest = (size_t)(all_end - p);
    if (rest > LINE_BYTES_MAX)
        rest = 0;
    if (r->in.len)
        memmove(r->in.data, p, rest);
    r->in.len = rest;
    return 0;
}

/* Everything up to the end of the file. */
static int read_rest(struct reader *r, struct error *err)
{
    while (!r->is_finished) {
        buffer_reserve(&r->in, BLOCK_BYTES);
        ssize_t n = read(r->fd, r->in.data + r->in.len, BLOCK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "read %s", r->path);
        if (n == 0)
            break;
        r->in.len += (size_t)n;
        if (add_lines(r) < 0)
            return error_set(err, ERR_CANCELED, "the reader of %s has left", r->path);
    }
    return flush(r) < 0 ? error_set(err, ERR_CANCELED, "the reader of %s has left", r->path) : 0;
}

/* ---- following ---- */

/* True if PATH is another file now: it was rotated, and the new one is open. */
static bool reopen_if_rotated(struct reader *r)
{
    struct stat now, old;
    if (stat(r->path, &now) < 0 || fstat(r->fd, &old) < 0 || now.st_ino == old.st_ino)
        return false;
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(r->fd);
    r->fd = fd;
    return true;
}

static int watch_folder(struct reader *r, struct error *err)
{
    scoped(str) char *dir = xstrdup(r->path);
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    return log_watch_begin(r->o->watch, &r->follower, dir, err);
}

/* Waits for something in the log's folder, at most WAIT_MS; false when it is time to stop. */
static bool wait_for_more(struct reader *r, int wait_ms)
{
    struct pollfd p[2] = { { .fd = r->follower.wake_fd, .events = POLLIN },
                           { .fd = r->o->cancel_fd, .events = POLLIN } };
    uint64_t count;
    if (poll(p, 2, wait_ms) > 0 && p[1].revents)
        return false;
    return read(r->follower.wake_fd, &count, sizeof(count)) >= 0 || errno == EAGAIN;
}

static int follow(struct reader *r, struct error *err)
{
    bool is_ending = !r->o->is_running(r->o->arg);
    int checks = 0;            /* whether it has ended, since the log was closed */
    if (read_rest(r, err) < 0) /* what came between the first read and the watch */
        return -1;
    while (!is_ending && !r->is_finished) {
        if (!wait_for_more(r, checks > 0 ? ENDING_CHECK_MS : -1))
            return 0;
        if (atomic_exchange(&r->follower.was_closed, false))
            checks = ENDING_CHECKS_MAX;
        if (read_rest(r, err) < 0)
            return -1;
        if (reopen_if_rotated(r)) {
            checks = 0;
            if (read_rest(r, err) < 0)
                return -1;
        }
        is_ending = checks > 0 && !r->o->is_running(r->o->arg);
        checks -= checks > 0;
    }
    return read_rest(r, err);
}

int container_log_read(const char *path, const struct container_log_options *o, struct error *err)
{
    struct reader r = { .o = o, .path = path };
    r.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r.fd < 0) {
        error_errno(err, "open %s", path);
        if (errno == ENOENT)
            err->code = ERR_NOT_FOUND;
        return -1;
    }
    off_t from = o->tail_lines >= 0 ? tail_offset(r.fd, o->tail_lines) : 0;
    lseek(r.fd, from, SEEK_SET);
    bool is_watched = o->follow && watch_folder(&r, err) == 0;
    int rc = o->follow && !is_watched ? -1 : read_rest(&r, err);
    if (rc == 0 && o->follow)
        rc = follow(&r, err);
    buffer_free(&r.in);
    buffer_free(&r.out);
    close(r.fd);
    if (is_watched)
        log_watch_end(o->watch, &r.follower);
    return rc;
}
