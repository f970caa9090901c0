/* SPDX-License-Identifier: Apache-2.0 */
/* time_zone - offsets from UTC, read from the system's zone files (RFC 8536). */
#include "base/time_zone.h"

#include "base/files.h"

#define ZONES          "/usr/share/zoneinfo"
#define FILE_BYTES_MAX (256 * 1024)
#define HEADER_BYTES   44

struct time_zone {
    size_t n;                     /* changes */
    const unsigned char *at;      /* 8 bytes each, big endian: seconds since 1970 */
    const unsigned char *type_of; /* one byte each */
    const unsigned char *types;   /* 6 bytes each: offset (4), is summer time, abbreviation */
    size_t types_n;
};

struct header { /* the counts of a block, in the file's order */
    size_t isutc, isstd, leap, changes, types, chars;
};

static int64_t big_endian(const unsigned char *p, int bytes)
{
    uint64_t v = p[0] & 0x80 ? ~UINT64_C(0) : 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static bool read_header(struct bytes file, struct header *h)
{
    const unsigned char *p = (const unsigned char *)file.data;
    if (file.len < HEADER_BYTES || memcmp(p, "TZif", 4) != 0)
        return false;
    size_t *counts[] = { &h->isutc, &h->isstd, &h->leap, &h->changes, &h->types, &h->chars };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        int64_t v = big_endian(p + 20 + 4 * i, 4);
        if (v < 0 || v > FILE_BYTES_MAX)
            return false;
        *counts[i] = (size_t)v;
    }
    return true;
}

static size_t block_bytes(const struct header *h, size_t time_bytes)
{
    return h->changes * (time_bytes + 1) + h->types * 6 + h->chars + h->leap * (time_bytes + 4) +
           h->isstd + h->isutc;
}

/* The file holds its data twice; the second block has 64-bit times. */
static const struct time_zone *parse(struct bytes file, struct arena *a)
{
    struct header h;
    const unsigned char *p = (const unsigned char *)file.data;
    if (!read_header(file, &h) || p[4] < '2')
        return NULL;
    size_t skip = HEADER_BYTES + block_bytes(&h, 4);
    if (file.len < skip)
        return NULL;
    struct bytes second = { file.data + skip, file.len - skip };
    if (!read_header(second, &h) || h.types == 0 || second.len < HEADER_BYTES + block_bytes(&h, 8))
        return NULL;
    struct time_zone *z = arena_zalloc(a, sizeof(*z));
    z->n = h.changes;
    z->at = (const unsigned char *)second.data + HEADER_BYTES;
    z->type_of = z->at + 8 * z->n;
    z->types = z->type_of + z->n;
    z->types_n = h.types;
    return z;
}

static bool is_safe_name(const char *name)
{
    return *name && *name != '/' && *name != '.' && !strstr(name, "..") && strlen(name) < 128;
}

static int read_file(const char *path, struct arena *a, struct bytes *out)
{
    struct error absent = { 0 };
    return files_read(path, FILE_BYTES_MAX, a, out, &absent);
}

const struct time_zone *time_zone_open(const char *name, struct arena *a, struct error *err)
{
    struct bytes file;
    const struct time_zone *z;
    struct time_zone *utc = arena_zalloc(a, sizeof(*utc));
    if (!name)
        return read_file("/etc/localtime", a, &file) == 0 && (z = parse(file, a)) ? z : utc;
    if (str_equal(name, "UTC") || str_equal(name, "Etc/UTC"))
        return utc;
    if (is_safe_name(name) && read_file(arena_printf(a, ZONES "/%s", name), a, &file) == 0 &&
        (z = parse(file, a)))
        return z;
    error_set(err, ERR_NOT_FOUND, "unknown time zone %s", name);
    return NULL;
}

int64_t time_zone_offset_s(const struct time_zone *z, int64_t utc_s)
{
    size_t low = 0, high = z->n; /* the last change that is not after UTC_S lies before LOW */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (big_endian(z->at + 8 * middle, 8) <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    size_t type = low ? z->type_of[low - 1] : 0;
    return type < z->types_n ? big_endian(z->types + 6 * type, 4) : 0;
}
