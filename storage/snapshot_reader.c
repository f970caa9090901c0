/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_reader.c - walking the trees of a bbolt file that nobody vouches for. */
#include "storage/snapshot_reader.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/varint.h"
#include "base/zip.h"
#include "storage/bolt.h"
#include "storage/mapped.h"
#include "storage/snapshot_file.h"

#define PAGE_BYTES_MIN 512
#define PAGE_BYTES_MAX (64 * 1024)
#define DEPTH_MAX      32
#define SUM_GRAIN      512 /* etcd's files are multiples of it, so that a rest can be the sum */

struct snapshot_reader {
    char *data;
    struct mapped *map;
    size_t len;    /* of the map */
    uint64_t size; /* of the database in it */
    struct bolt_meta meta;
};

static int damaged(struct error *err, const char *what)
{
    return error_set(err, ERR_IO, "the snapshot is corrupt: %s", what);
}

/* ---- pages ---- */

struct page {
    const char *data; /* the head and all that belongs to it */
    size_t len;
    struct bolt_page head;
};

static int page_set(struct page *p, const char *data, size_t len, struct error *err)
{
    if (len < sizeof(p->head))
        return damaged(err, "a page is cut short");
    memcpy(&p->head, data, sizeof(p->head));
    p->data = data;
    p->len = len;
    bool is_tree = p->head.flags == BOLT_LEAF || p->head.flags == BOLT_BRANCH;
    if (!is_tree || p->head.count > (len - sizeof(p->head)) / sizeof(struct bolt_leaf))
        return damaged(err, "a page is none of a tree");
    return 0;
}

static int page_read(const struct snapshot_reader *r, uint64_t id, struct page *p,
                     struct error *err)
{
    uint64_t pages = r->size / r->meta.page_bytes;
    if (id < 2 || id >= pages)
        return damaged(err, "a page lies outside of it");
    const char *data = r->data + id * r->meta.page_bytes;
    struct bolt_page head;
    memcpy(&head, data, sizeof(head));
    if (head.id != id || head.overflow >= pages - id)
        return damaged(err, "a page is not where it should be");
    return page_set(p, data, ((size_t)head.overflow + 1) * r->meta.page_bytes, err);
}

/* Bytes at POS from item I. */
static int item_bytes(const struct page *p, size_t i, uint64_t pos, uint64_t len, struct bytes *out,
                      struct error *err)
{
    uint64_t at = sizeof(p->head) + i * sizeof(struct bolt_leaf) + pos;
    if (at > p->len || len > p->len - at)
        return damaged(err, "an item reaches beyond its page");
    *out = (struct bytes){ p->data + at, len };
    return 0;
}

static void item_read(const struct page *p, size_t i, void *out)
{
    memcpy(out, p->data + sizeof(p->head) + i * sizeof(struct bolt_leaf), sizeof(struct bolt_leaf));
}

/* ---- trees ---- */

enum row_kind { ROW_VALUE, ROW_BUCKET };
struct walk {
    const struct snapshot_reader *r;
    enum row_kind kind; /* the other kind is passed over */
    snapshot_row_fn *fn;
    void *arg;
    struct bytes last; /* key: each must be greater than the one before */
};

static int walk_page(struct walk *w, const struct page *p, int depth, struct error *err);

static int walk_leaf(struct walk *w, const struct page *p, size_t i, struct error *err)
{
    struct bolt_leaf leaf;
    struct bytes key, value;
    item_read(p, i, &leaf);
    if (item_bytes(p, i, leaf.pos, leaf.key_len, &key, err) < 0 ||
        item_bytes(p, i, (uint64_t)leaf.pos + leaf.key_len, leaf.value_len, &value, err) < 0)
        return -1;
    if (w->last.data && bytes_compare(key, w->last) <= 0)
        return damaged(err, "keys are not in order");
    w->last = key;
    enum row_kind kind = leaf.flags & BOLT_IS_BUCKET ? ROW_BUCKET : ROW_VALUE;
    return kind == w->kind ? w->fn(key, value, w->arg, err) : 0;
}

/* A child without items would let a small file name endless empty pages. */
static int walk_branch(struct walk *w, const struct page *p, size_t i, int depth, struct error *err)
{
    struct bolt_branch branch;
    struct page child;
    item_read(p, i, &branch);
    if (page_read(w->r, branch.page, &child, err) < 0)
        return -1;
    if (child.head.count == 0)
        return damaged(err, "a tree has an empty page");
    return walk_page(w, &child, depth + 1, err);
}

static int walk_page(struct walk *w, const struct page *p, int depth, struct error *err)
{
    if (depth > DEPTH_MAX)
        return damaged(err, "a tree is too deep");
    int rc = 0;
    for (size_t i = 0; i < p->head.count && rc == 0; i++)
        rc =
            p->head.flags == BOLT_LEAF ? walk_leaf(w, p, i, err) : walk_branch(w, p, i, depth, err);
    return rc;
}

int snapshot_reader_each_bucket(struct snapshot_reader *r, snapshot_row_fn *fn, void *arg,
                                struct error *err)
{
    struct walk w = { .r = r, .kind = ROW_BUCKET, .fn = fn, .arg = arg };
    struct page root;
    return page_read(r, r->meta.root.root, &root, err) < 0 ? -1 : walk_page(&w, &root, 0, err);
}

struct find {
    struct bytes name, value;
};

static int find_bucket(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    (void)err;
    struct find *f = arg;
    if (bytes_equal(key, f->name))
        f->value = value;
    return 0;
}

int snapshot_reader_each(struct snapshot_reader *r, const char *bucket, snapshot_row_fn *fn,
                         void *arg, struct error *err)
{
    struct find f = { .name = bytes_of(bucket) };
    struct bolt_bucket head;
    struct page root;
    if (snapshot_reader_each_bucket(r, find_bucket, &f, err) < 0)
        return -1;
    if (!f.value.data)
        return 0;
    if (f.value.len < sizeof(head))
        return damaged(err, "a bucket is cut short");
    memcpy(&head, f.value.data, sizeof(head));
    int rc = head.root
                 ? page_read(r, head.root, &root, err)
                 : page_set(&root, f.value.data + sizeof(head), f.value.len - sizeof(head), err);
    struct walk w = { .r = r, .kind = ROW_VALUE, .fn = fn, .arg = arg };
    return rc < 0 ? -1 : walk_page(&w, &root, 0, err);
}

/* ---- rows ---- */

/* Protobuf, by hand: a message is walked without a copy of what it holds. */
static int read_field(struct bytes *b, uint64_t *number, uint64_t *value, struct bytes *text)
{
    uint64_t tag;
    if (!varint_read(b, &tag) || !varint_read(b, value))
        return -1;
    *number = tag >> 3;
    *text = (struct bytes){ 0 };
    if ((tag & 7) == 0)
        return 0;
    if ((tag & 7) != 2 || *value > b->len)
        return -1;
    *text = (struct bytes){ b->data, *value };
    b->data += *value;
    b->len -= *value;
    return 0;
}

static int parse_kv(struct bytes message, struct storage_kv *kv)
{
    while (message.len) {
        uint64_t number, value;
        struct bytes text;
        if (read_field(&message, &number, &value, &text) < 0)
            return -1;
        switch (number) {
        case 1:
            kv->key = text;
            break;
        case 2:
            kv->create_revision = (int64_t)value;
            break;
        case 3:
            kv->mod_revision = (int64_t)value;
            break;
        case 4:
            kv->version = (int64_t)value;
            break;
        case 5:
            kv->value = text;
            break;
        case 6:
            kv->lease = (int64_t)value;
            break;
        }
    }
    return kv->key.len ? 0 : -1;
}

/* "revision _ sub", all of it big-endian, and a mark on deletions. */
int snapshot_version_parse(struct bytes key, struct bytes value, struct storage_version *out,
                           struct error *err)
{
    uint64_t revision, sub;
    *out = (struct storage_version){ .is_delete = key.len == 18 };
    if ((key.len != 17 && key.len != 18) || key.data[8] != '_' ||
        (out->is_delete && key.data[17] != 't'))
        return damaged(err, "a revision cannot be read");
    memcpy(&revision, key.data, sizeof(revision));
    memcpy(&sub, key.data + 9, sizeof(sub));
    revision = be64toh(revision);
    sub = be64toh(sub);
    if (revision > INT64_MAX || sub > UINT32_MAX || parse_kv(value, &out->kv) < 0)
        return damaged(err, "a key-value pair cannot be read");
    out->sub = (uint32_t)sub;
    bool is_whole = out->is_delete ||
                    (out->kv.mod_revision == (int64_t)revision && out->kv.create_revision > 0 &&
                     out->kv.create_revision <= out->kv.mod_revision && out->kv.version > 0);
    if (!is_whole)
        return damaged(err, "a key-value pair contradicts its revision");
    out->kv.mod_revision = (int64_t)revision;
    return 0;
}

/* ---- opening ---- */

static bool is_meta(const struct snapshot_reader *r, uint64_t at, struct bolt_meta *out)
{
    struct bolt_page head;
    if (r->size < sizeof(head) + sizeof(*out) || at > r->size - sizeof(head) - sizeof(*out))
        return false;
    memcpy(&head, r->data + at, sizeof(head));
    memcpy(out, r->data + at + sizeof(head), sizeof(*out));
    return (head.flags & BOLT_META) && out->magic == BOLT_MAGIC && out->version == BOLT_FORMAT &&
           out->checksum == bolt_meta_checksum(out) && out->page_bytes >= PAGE_BYTES_MIN &&
           out->page_bytes <= PAGE_BYTES_MAX && !(out->page_bytes & (out->page_bytes - 1));
}

/* Of the two the one with the last transaction; where the second is depends on the page's size. */
static int find_meta(struct snapshot_reader *r, struct error *err)
{
    struct bolt_meta meta;
    bool is_found = is_meta(r, 0, &r->meta);
    for (uint64_t at = PAGE_BYTES_MIN; at <= PAGE_BYTES_MAX; at *= 2) {
        if (!is_meta(r, at, &meta) || meta.page_bytes != at)
            continue;
        if (!is_found || meta.txid > r->meta.txid)
            r->meta = meta;
        is_found = true;
    }
    if (!is_found)
        return damaged(err, "it has no valid meta page");
    if (r->meta.pages > r->size / r->meta.page_bytes)
        return damaged(err, "it is cut short");
    r->size = r->meta.pages * r->meta.page_bytes;
    return 0;
}

static int check_sum(struct snapshot_reader *r, int fd, enum storage_snapshot_check check,
                     struct error *err)
{
    bool has_sum = r->len % SUM_GRAIN == SHA256_BYTES;
    r->size = has_sum ? r->len - SHA256_BYTES : r->len;
    if (check == STORAGE_SNAPSHOT_SKIP_SUM)
        return 0;
    if (!has_sum)
        return error_set(
            err, ERR_IO,
            "the snapshot has no sum at its end: it is cut short, or a copied database "
            "(--skip-hash-check)");
    uint8_t digest[SHA256_BYTES];
    if (snapshot_file_digest(fd, r->size, digest, err) < 0)
        return -1;
    if (memcmp(digest, r->data + r->size, sizeof(digest)) != 0)
        return damaged(err, "its sum does not match");
    return 0;
}

/* An archive is unpacked into a file without a name beside it. */
static int open_file(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char mark[4];
    if (fd < 0)
        return error_errno(err, "open");
    if (pread(fd, mark, sizeof(mark), 0) != (ssize_t)sizeof(mark) ||
        memcmp(mark, "PK\3\4", sizeof(mark)) != 0)
        return fd;
    scoped(fd) int archive = fd;
    scoped(str) char *copy = xstrdup(path);
    fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "unpack");
    if (zip_read(archive, fd, err) == 0)
        return fd;
    close(fd);
    return -1;
}

static int map_file(struct snapshot_reader *r, int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "stat");
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_BAD_REQUEST, "not a file");
    if (st.st_size < PAGE_BYTES_MIN)
        return damaged(err, "it is cut short");
    r->len = (size_t)st.st_size;
    r->data = mmap(NULL, r->len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (r->data == MAP_FAILED) {
        r->data = NULL;
        return error_errno(err, "map");
    }
    r->map = mapped_new(r->data, r->len, (struct bytes){ 0 }, err);
    return r->map ? 0 : -1;
}

struct snapshot_reader *snapshot_reader_open(const char *path, enum storage_snapshot_check check,
                                             struct error *err)
{
    scoped(snapshot_reader) struct snapshot_reader *r = xcalloc(1, sizeof(*r));
    scoped(fd) int fd = open_file(path, err);
    if (fd >= 0 && map_file(r, fd, err) == 0 && check_sum(r, fd, check, err) == 0 &&
        find_meta(r, err) == 0 && snapshot_reader_check(r, err) == 0)
        return take_ptr(&r);
    error_wrap(err, "read %s", path);
    return NULL;
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    if (r)
        mapped_end(r->map);
    if (r && r->data)
        munmap(r->data, r->len);
    free(r);
}

int snapshot_reader_check(const struct snapshot_reader *r, struct error *err)
{
    return mapped_is_torn(r->map) ? error_set(err, ERR_IO, "the disk cannot read it") : 0;
}

uint64_t snapshot_reader_size(const struct snapshot_reader *r)
{
    return r->size;
}
