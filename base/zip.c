/* SPDX-License-Identifier: Apache-2.0 */
/* zip.c - one deflated file with the headers of an archive around it. */
#include "base/zip.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/files.h"

#define CHUNK_BYTES      ((size_t)64 * 1024)
#define ZIP_BYTES_MAX    UINT32_MAX
#define LOCAL_MARK       0x04034b50u
#define CENTRAL_MARK     0x02014b50u
#define END_MARK         0x06054b50u
#define SIZES_MARK       0x08074b50u
#define VERSION_DEFLATE  20
#define METHOD_STORED    0
#define METHOD_DEFLATE   8
#define FLAG_SIZES_AFTER 0x08   /* the sizes follow the data: a writer that could not go back */
#define DATE_1980_01_01  0x0021 /* the zero of its calendar: the file's own time says more */
#define UNIX_MODE_0600   (0100600u << 16)
#define MADE_ON_UNIX     (3 << 8)

struct __attribute__((packed)) local_header {
    uint32_t mark;
    uint16_t version, flags, method, time, date;
    uint32_t crc, packed_bytes, bytes;
    uint16_t name_bytes, extra_bytes;
};
struct __attribute__((packed)) central_header {
    uint32_t mark;
    uint16_t made_by, version, flags, method, time, date;
    uint32_t crc, packed_bytes, bytes;
    uint16_t name_bytes, extra_bytes, comment_bytes, disk, attributes;
    uint32_t unix_attributes, local_at;
};
struct __attribute__((packed)) end_header {
    uint32_t mark;
    uint16_t disk, central_disk, entries_here, entries;
    uint32_t central_bytes, central_at;
    uint16_t comment_bytes;
};
_Static_assert(sizeof(struct local_header) == 30 && sizeof(struct central_header) == 46 &&
                   sizeof(struct end_header) == 22,
               "as the format has them");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

struct stream {
    z_stream z;
    int from, to;
    uint32_t crc;
    uint64_t in_bytes, out_bytes;
    unsigned char in[CHUNK_BYTES], out[CHUNK_BYTES];
};

static int put(struct stream *s, const void *data, size_t len, struct error *err)
{
    s->out_bytes += len;
    if (s->out_bytes > ZIP_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "the archive would be larger than 4 GiB");
    return files_write_all(s->to, (struct bytes){ data, len }, err);
}

static int fill(struct stream *s, struct error *err)
{
    ssize_t n;
    do {
        n = read(s->from, s->in, sizeof(s->in));
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_errno(err, "read what is archived");
    s->z.next_in = s->in;
    s->z.avail_in = (unsigned)n;
    return 0;
}

/* ---- writing ---- */

static int deflate_all(struct stream *s, struct error *err)
{
    int got = Z_OK;
    while (got != Z_STREAM_END) {
        if (fill(s, err) < 0)
            return -1;
        int flush = s->z.avail_in ? Z_NO_FLUSH : Z_FINISH;
        s->crc = (uint32_t)crc32(s->crc, s->in, s->z.avail_in);
        s->in_bytes += s->z.avail_in;
        if (s->in_bytes > ZIP_BYTES_MAX)
            return error_set(err, ERR_TOO_LARGE, "the file is larger than 4 GiB");
        do {
            s->z.next_out = s->out;
            s->z.avail_out = sizeof(s->out);
            got = deflate(&s->z, flush);
            if (put(s, s->out, sizeof(s->out) - s->z.avail_out, err) < 0)
                return -1;
        } while (s->z.avail_out == 0);
    }
    return 0;
}

static int put_end(struct stream *s, const struct local_header *local, const char *name,
                   struct error *err)
{
    struct central_header central = {
        .mark = CENTRAL_MARK,
        .made_by = MADE_ON_UNIX | VERSION_DEFLATE,
        .version = VERSION_DEFLATE,
        .method = METHOD_DEFLATE,
        .date = local->date,
        .crc = local->crc,
        .packed_bytes = local->packed_bytes,
        .bytes = local->bytes,
        .name_bytes = local->name_bytes,
        .unix_attributes = UNIX_MODE_0600,
    };
    struct end_header end = {
        .mark = END_MARK,
        .entries_here = 1,
        .entries = 1,
        .central_bytes = (uint32_t)sizeof(central) + central.name_bytes,
        .central_at = (uint32_t)s->out_bytes,
    };
    if (put(s, &central, sizeof(central), err) < 0 || put(s, name, local->name_bytes, err) < 0)
        return -1;
    return put(s, &end, sizeof(end), err);
}

static int write_archive(struct stream *s, const char *name, struct error *err)
{
    struct local_header local = {
        .mark = LOCAL_MARK,
        .version = VERSION_DEFLATE,
        .method = METHOD_DEFLATE,
        .date = DATE_1980_01_01,
        .name_bytes = (uint16_t)strlen(name),
    };
    size_t head = sizeof(local) + local.name_bytes;
    if (put(s, &local, sizeof(local), err) < 0 || put(s, name, local.name_bytes, err) < 0 ||
        deflate_all(s, err) < 0)
        return -1;
    local.crc = s->crc;
    local.bytes = (uint32_t)s->in_bytes;
    local.packed_bytes = (uint32_t)(s->out_bytes - head);
    if (put_end(s, &local, name, err) < 0)
        return -1;
    if (pwrite(s->to, &local, sizeof(local), 0) != (ssize_t)sizeof(local))
        return error_errno(err, "write the archive's head");
    return 0;
}

int zip_write(int from, const char *name, int to, struct error *err)
{
    struct stream *s = xcalloc(1, sizeof(*s));
    s->from = from;
    s->to = to;
    /* Negative: no header of zlib's own. */
    ensure(deflateInit2(&s->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                        Z_DEFAULT_STRATEGY) == Z_OK);
    int rc = write_archive(s, name, err);
    deflateEnd(&s->z);
    free(s);
    return rc;
}

/* ---- reading ---- */

static int damaged(struct error *err)
{
    return error_set(err, ERR_IO, "the archive is damaged or cut short");
}

static int inflate_all(struct stream *s, struct error *err)
{
    for (int got = Z_OK; got != Z_STREAM_END;) {
        if (s->z.avail_in == 0 && fill(s, err) < 0)
            return -1;
        if (s->z.avail_in == 0)
            return damaged(err);
        s->z.next_out = s->out;
        s->z.avail_out = sizeof(s->out);
        got = inflate(&s->z, Z_NO_FLUSH);
        if (got != Z_OK && got != Z_STREAM_END)
            return damaged(err);
        size_t n = sizeof(s->out) - s->z.avail_out;
        s->crc = (uint32_t)crc32(s->crc, s->out, (unsigned)n);
        if (put(s, s->out, n, err) < 0)
            return -1;
    }
    return 0;
}

static int copy_stored(struct stream *s, uint64_t bytes, struct error *err)
{
    while (bytes) {
        if (fill(s, err) < 0)
            return -1;
        if (s->z.avail_in == 0)
            return damaged(err);
        size_t n = s->z.avail_in < bytes ? s->z.avail_in : (size_t)bytes;
        s->crc = (uint32_t)crc32(s->crc, s->in, (unsigned)n);
        if (put(s, s->in, n, err) < 0)
            return -1;
        bytes -= n;
    }
    return 0;
}

/* The sizes are where a writer in one pass left them: behind the data, after an optional mark. */
static bool sums_match(const struct stream *s, const struct local_header *h)
{
    uint32_t crc = h->crc;
    if (h->flags & FLAG_SIZES_AFTER) {
        uint32_t after[2] = { 0 };
        off_t at = lseek(s->from, 0, SEEK_CUR) - (off_t)s->z.avail_in;
        if (pread(s->from, after, sizeof(after), at) != (ssize_t)sizeof(after))
            return false;
        crc = after[0] == SIZES_MARK ? after[1] : after[0];
    }
    return s->crc == crc;
}

static int read_archive(struct stream *s, struct error *err)
{
    struct local_header h;
    if (pread(s->from, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.mark != LOCAL_MARK)
        return error_set(err, ERR_BAD_REQUEST, "not a zip archive");
    if (lseek(s->from, (off_t)sizeof(h) + h.name_bytes + h.extra_bytes, SEEK_SET) < 0)
        return error_errno(err, "read the archive");
    if (h.method == METHOD_STORED && !(h.flags & FLAG_SIZES_AFTER)) {
        if (copy_stored(s, h.bytes, err) < 0)
            return -1;
    } else if (h.method == METHOD_DEFLATE) {
        if (inflate_all(s, err) < 0)
            return -1;
    } else {
        return error_set(err, ERR_BAD_REQUEST, "the archive is packed with method %d, not deflate",
                         h.method);
    }
    return sums_match(s, &h) ? 0 : damaged(err);
}

int zip_read(int from, int to, struct error *err)
{
    struct stream *s = xcalloc(1, sizeof(*s));
    s->from = from;
    s->to = to;
    ensure(inflateInit2(&s->z, -MAX_WBITS) == Z_OK);
    int rc = read_archive(s, err);
    inflateEnd(&s->z);
    free(s);
    return rc;
}
