/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_file.c - writing a bbolt file in one pass. */
#include "storage/snapshot_file.h"

#include <endian.h>
#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "storage/bolt.h"
#include "storage/etcd.pb-c.h"

#define FIRST_DATA_PAGE    3
#define LEVELS_MAX         16 /* far more pages than 2^64 bytes have */
#define WRITE_BYTES        ((size_t)1 << 20)
#define DIGEST_PART_BYTES  ((size_t)256 << 10)
#define DISK_RESERVE_BYTES ((uint64_t)64 << 20) /* two generations of the log, and a flush */
#define FREELIST_PAGE      2
#define PAGE_BYTES         4096

struct bolt_file {
    int fd;
    uint64_t pages; /* that are written or in PENDING */
    struct buffer pending;
};

int snapshot_file_check_room(int fd, struct error *err)
{
    struct statvfs st;
    if (fstatvfs(fd, &st) < 0)
        return error_errno(err, "look for room on the disk");
    if ((uint64_t)st.f_bavail * st.f_frsize >= DISK_RESERVE_BYTES)
        return 0;
    return error_set(err, ERR_NO_SPACE, "no space left on the disk but the last %d MiB",
                     (int)(DISK_RESERVE_BYTES >> 20));
}

static int flush_pending(struct bolt_file *f, struct error *err)
{
    if (snapshot_file_check_room(f->fd, err) < 0)
        return -1;
    int rc = failpoint("storage.snapshot.write")
                 ? error_errno(err, "write")
                 : files_write_all(f->fd, buffer_bytes(&f->pending), err);
    buffer_clear(&f->pending);
    return rc;
}

/* ---- pages ---- */

struct item {
    size_t key_at, key_len, value_len; /* the value follows the key */
    uint64_t page;                     /* of a branch */
    uint32_t flags;
};

/* What the next page of one level of a tree will hold. */
struct page {
    struct buffer data;
    struct item *items;
    size_t n, capacity;
};

static void page_deinit(struct page *p)
{
    buffer_free(&p->data);
    free(p->items);
}

static void page_add(struct page *p, struct bytes key, struct bytes value, uint64_t child,
                     uint32_t flags)
{
    p->items = xgrow(p->items, p->n, &p->capacity, sizeof(p->items[0]));
    p->items[p->n++] = (struct item){ p->data.len, key.len, value.len, child, flags };
    buffer_add_bytes(&p->data, key);
    buffer_add_bytes(&p->data, value);
}

static size_t page_size(const struct page *p)
{
    return sizeof(struct bolt_page) + p->n * sizeof(struct bolt_leaf) + p->data.len;
}

/* Positions count from the item that holds them. */
static void page_encode(const struct page *p, uint64_t id, uint16_t flags, struct buffer *out)
{
    size_t pages = (page_size(p) + PAGE_BYTES - 1) / PAGE_BYTES;
    struct bolt_page head = { id, flags, (uint16_t)p->n, (uint32_t)(pages - 1) };
    buffer_add(out, &head, sizeof(head));
    for (size_t i = 0; i < p->n; i++) {
        const struct item *it = &p->items[i];
        uint32_t pos = (uint32_t)((p->n - i) * sizeof(struct bolt_leaf) + it->key_at);
        struct bolt_leaf leaf = { it->flags, pos, (uint32_t)it->key_len, (uint32_t)it->value_len };
        struct bolt_branch branch = { pos, (uint32_t)it->key_len, it->page };
        buffer_add(out, flags == BOLT_LEAF ? (void *)&leaf : (void *)&branch, sizeof(leaf));
    }
    buffer_add_bytes(out, buffer_bytes(&p->data));
}

static void pad_page(struct buffer *b, size_t start)
{
    static const char zeros[PAGE_BYTES];
    size_t rest = (b->len - start) % PAGE_BYTES;
    if (rest)
        buffer_add(b, zeros, PAGE_BYTES - rest);
}

/* ---- trees ---- */

struct tree {
    struct bolt_file *file;
    struct page levels[LEVELS_MAX]; /* 0: leaves */
    size_t levels_n;
};

static int tree_add(struct tree *t, size_t level, struct bytes key, struct bytes value,
                    uint64_t child, struct error *err);

/* Writes the page of LEVEL and empties it.  *ID: where it is. */
static int write_page(struct tree *t, size_t level, uint64_t *id, struct error *err)
{
    struct bolt_file *f = t->file;
    struct page *p = &t->levels[level];
    size_t start = f->pending.len;
    *id = f->pages;
    page_encode(p, *id, level ? BOLT_BRANCH : BOLT_LEAF, &f->pending);
    pad_page(&f->pending, start);
    f->pages += (f->pending.len - start) / PAGE_BYTES;
    p->n = 0;
    buffer_clear(&p->data);
    return f->pending.len >= WRITE_BYTES ? flush_pending(f, err) : 0;
}

static int push_up(struct tree *t, size_t level, struct error *err)
{
    struct page *p = &t->levels[level];
    char first[64]; /* keys of a tree are revisions or numbers */
    struct bytes key = { first, p->items[0].key_len };
    ensure(key.len <= sizeof(first));
    memcpy(first, p->data.data + p->items[0].key_at, key.len);
    uint64_t id;
    if (write_page(t, level, &id, err) < 0)
        return -1;
    return tree_add(t, level + 1, key, (struct bytes){ 0 }, id, err);
}

static int tree_add(struct tree *t, size_t level, struct bytes key, struct bytes value,
                    uint64_t child, struct error *err)
{
    ensure(level < LEVELS_MAX);
    struct page *p = &t->levels[level];
    if (level >= t->levels_n)
        t->levels_n = level + 1;
    size_t more = sizeof(struct bolt_leaf) + key.len + value.len;
    if (p->n && page_size(p) + more > PAGE_BYTES && push_up(t, level, err) < 0)
        return -1;
    page_add(p, key, value, child, 0);
    return 0;
}

/* Writes what is left.  *ROOT: the tree's page. */
static int tree_end(struct tree *t, uint64_t *root, struct error *err)
{
    size_t top = t->levels_n ? t->levels_n - 1 : 0;
    for (size_t level = 0; level < top; level++) {
        if (push_up(t, level, err) < 0)
            return -1;
        top = t->levels_n - 1;
    }
    return write_page(t, top, root, err);
}

static void tree_deinit(struct tree *t)
{
    for (size_t i = 0; i < LEVELS_MAX; i++)
        page_deinit(&t->levels[i]);
}

/* ---- rows ---- */

static void revision_key(int64_t revision, uint32_t sub, char out[17])
{
    uint64_t r = htobe64((uint64_t)revision), s = htobe64(sub);
    memcpy(out, &r, sizeof(r));
    out[8] = '_';
    memcpy(out + 9, &s, sizeof(s));
}

size_t snapshot_version_key(const struct storage_version *v, char out[SNAPSHOT_VERSION_KEY_BYTES])
{
    revision_key(v->kv.mod_revision, v->sub, out);
    out[17] = 't';
    return v->is_delete ? 18 : 17;
}

void snapshot_version_value(const struct storage_version *v, struct buffer *out)
{
    Etcd__KeyValue kv = ETCD__KEY_VALUE__INIT;
    kv.key = (ProtobufCBinaryData){ v->kv.key.len, (uint8_t *)(uintptr_t)v->kv.key.data };
    if (!v->is_delete) {
        kv.value = (ProtobufCBinaryData){ v->kv.value.len, (uint8_t *)(uintptr_t)v->kv.value.data };
        kv.create_revision = v->kv.create_revision;
        kv.mod_revision = v->kv.mod_revision;
        kv.version = v->kv.version;
        kv.lease = v->kv.lease;
    }
    size_t len = etcd__key_value__get_packed_size(&kv);
    buffer_reserve(out, len);
    etcd__key_value__pack(&kv, (uint8_t *)out->data + out->len);
    out->len += len;
}

struct versions {
    struct tree tree;
    struct buffer value;
};

static int add_version(const struct storage_version *v, void *arg, struct error *err)
{
    struct versions *to = arg;
    char key[SNAPSHOT_VERSION_KEY_BYTES];
    size_t len = snapshot_version_key(v, key);
    buffer_clear(&to->value);
    snapshot_version_value(v, &to->value);
    return tree_add(&to->tree, 0, (struct bytes){ key, len }, buffer_bytes(&to->value), 0, err);
}

static int write_versions(struct storage *s, struct bolt_file *f, uint64_t *root,
                          struct storage_history *history, struct error *err)
{
    struct versions to = { .tree = { .file = f } };
    int rc = storage_each_version(s, 0, history, add_version, &to, err);
    if (rc == 0)
        rc = tree_end(&to.tree, root, err);
    tree_deinit(&to.tree);
    buffer_free(&to.value);
    return rc;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = (uint64_t)((const struct storage_lease *)a)->id;
    uint64_t y = (uint64_t)((const struct storage_lease *)b)->id;
    return x < y ? -1 : x > y;
}

/* Leases come and go while the versions are written: those from before and those from after are
 * all there are keys for. */
struct leases {
    struct arena *arena;
    struct storage_lease *before, *all;
    size_t before_n, n;
};

static int list_leases(struct storage *s, struct leases *l, struct error *err)
{
    struct storage_lease *after;
    size_t after_n;
    if (storage_lease_list(s, l->arena, &after, &after_n, err) < 0)
        return -1;
    l->all = arena_alloc(l->arena, (l->before_n + after_n + 1) * sizeof(l->all[0]));
    for (size_t i = 0; i < l->before_n; i++)
        l->all[l->n++] = l->before[i];
    for (size_t i = 0; i < after_n; i++)
        l->all[l->n++] = after[i];
    qsort(l->all, l->n, sizeof(l->all[0]), compare_ids);
    return 0;
}

static int write_leases(const struct leases *l, struct bolt_file *f, uint64_t *root,
                        struct error *err)
{
    struct tree tree = { .file = f };
    int rc = 0;
    for (size_t i = 0; i < l->n && rc == 0; i++) {
        uint64_t id = htobe64((uint64_t)l->all[i].id);
        Etcd__Lease lease = ETCD__LEASE__INIT;
        uint8_t value[64];
        if (i && l->all[i].id == l->all[i - 1].id)
            continue;
        lease.id = l->all[i].id;
        lease.ttl = l->all[i].granted_s;
        size_t len = etcd__lease__pack(&lease, value);
        rc = tree_add(&tree, 0, (struct bytes){ (char *)&id, sizeof(id) },
                      (struct bytes){ (char *)value, len }, 0, err);
    }
    if (rc == 0)
        rc = tree_end(&tree, root, err);
    tree_deinit(&tree);
    return rc;
}

/* ---- the root bucket ---- */

static void add_bucket(struct page *root, const char *name, uint64_t tree)
{
    struct bolt_bucket head = { .root = tree };
    page_add(root, bytes_of(name), (struct bytes){ (char *)&head, sizeof(head) }, 0,
             BOLT_IS_BUCKET);
}

/* A bucket that lies inside the root bucket. */
static void add_small_bucket(struct page *root, const char *name, const struct page *rows)
{
    struct buffer value = { 0 };
    struct bolt_bucket head = { 0 };
    buffer_add(&value, &head, sizeof(head));
    page_encode(rows, 0, BOLT_LEAF, &value);
    page_add(root, bytes_of(name), buffer_bytes(&value), 0, BOLT_IS_BUCKET);
    buffer_free(&value);
}

static void fill_meta_rows(const struct storage_history *h, struct page *rows)
{
    /* The revision stands for the raft log's index: it only ever grows, too. */
    uint64_t index = htobe64((uint64_t)h->revision);
    char compacted[17];
    revision_key(h->compacted_revision, 0, compacted);
    page_add(rows, BYTES("consistent_index"), (struct bytes){ (char *)&index, sizeof(index) }, 0,
             0);
    if (!h->compacted_revision)
        return;
    page_add(rows, BYTES("finishedCompactRev"), (struct bytes){ compacted, sizeof(compacted) }, 0,
             0);
    page_add(rows, BYTES("scheduledCompactRev"), (struct bytes){ compacted, sizeof(compacted) }, 0,
             0);
}

static int write_root(struct bolt_file *f, uint64_t keys, uint64_t leases,
                      const struct storage_history *h, uint64_t *id, struct error *err)
{
    struct tree tree = { .file = f, .levels_n = 1 };
    struct page *root = &tree.levels[0], none = { 0 }, meta = { 0 };
    fill_meta_rows(h, &meta);
    /* In order of their names. */
    add_small_bucket(root, "alarm", &none);
    add_small_bucket(root, "auth", &none);
    add_small_bucket(root, "authRoles", &none);
    add_small_bucket(root, "authUsers", &none);
    add_small_bucket(root, "cluster", &none);
    add_bucket(root, "key", keys);
    add_bucket(root, "lease", leases);
    add_small_bucket(root, "members", &none);
    add_small_bucket(root, "members_removed", &none);
    add_small_bucket(root, "meta", &meta);
    int rc = write_page(&tree, 0, id, err);
    tree_deinit(&tree);
    page_deinit(&meta);
    return rc;
}

/* The first three pages, now that it is known where the rest is. */
static int write_front(struct bolt_file *f, uint64_t root, struct error *err)
{
    char front[FIRST_DATA_PAGE * PAGE_BYTES] = { 0 };
    for (uint64_t i = 0; i < 2; i++) {
        struct bolt_page head = { .id = i, .flags = BOLT_META };
        struct bolt_meta meta = {
            .magic = BOLT_MAGIC,
            .version = BOLT_FORMAT,
            .page_bytes = PAGE_BYTES,
            .root = { .root = root },
            .freelist = FREELIST_PAGE,
            .pages = f->pages,
            .txid = i,
        };
        meta.checksum = bolt_meta_checksum(&meta);
        memcpy(front + i * PAGE_BYTES, &head, sizeof(head));
        memcpy(front + i * PAGE_BYTES + sizeof(head), &meta, sizeof(meta));
    }
    struct bolt_page freelist = { .id = FREELIST_PAGE, .flags = BOLT_FREELIST };
    memcpy(front + FREELIST_PAGE * PAGE_BYTES, &freelist, sizeof(freelist));
    (void)failpoint("storage.snapshot.front");
    ssize_t n = pwrite(f->fd, front, sizeof(front), 0);
    if (n < 0)
        return error_errno(err, "write the snapshot");
    return n == sizeof(front) ? 0 : error_set(err, ERR_IO, "write the snapshot: cut short");
}

/* In parts, not through a map: a snapshot in the making must not count as the program's memory. */
int snapshot_file_digest(int fd, uint64_t bytes, uint8_t out[SHA256_BYTES], struct error *err)
{
    scoped(mem) void *part = xmalloc(DIGEST_PART_BYTES);
    struct sha256 *sum = sha256_new();
    for (uint64_t at = 0; at < bytes;) {
        size_t want = bytes - at < DIGEST_PART_BYTES ? bytes - at : DIGEST_PART_BYTES;
        ssize_t n = pread(fd, part, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            sha256_end(sum, NULL);
            return n < 0 ? error_errno(err, "read the snapshot")
                         : error_set(err, ERR_IO, "the snapshot is cut short");
        }
        sha256_add(sum, (struct bytes){ part, (size_t)n });
        at += (size_t)n;
    }
    sha256_end(sum, out);
    return 0;
}

static int append_digest(struct bolt_file *f, struct error *err)
{
    (void)failpoint("storage.snapshot.digest");
    uint8_t digest[SHA256_BYTES];
    if (snapshot_file_digest(f->fd, f->pages * PAGE_BYTES, digest, err) < 0)
        return -1;
    return files_write_all(f->fd, (struct bytes){ (char *)digest, sizeof(digest) }, err);
}

static int write_trees(struct storage *s, struct bolt_file *f, uint64_t *root, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct leases leases = { .arena = arena };
    struct storage_history history;
    uint64_t key_root, lease_root;
    if (storage_lease_list(s, arena, &leases.before, &leases.before_n, err) < 0 ||
        write_versions(s, f, &key_root, &history, err) < 0 || list_leases(s, &leases, err) < 0 ||
        write_leases(&leases, f, &lease_root, err) < 0)
        return -1;
    return write_root(f, key_root, lease_root, &history, root, err);
}

int snapshot_file_write(struct storage *s, int fd, struct error *err)
{
    struct bolt_file f = { .fd = fd, .pages = FIRST_DATA_PAGE };
    uint64_t root;
    if (lseek(fd, FIRST_DATA_PAGE * PAGE_BYTES, SEEK_SET) < 0)
        return error_errno(err, "write the snapshot");
    int rc = write_trees(s, &f, &root, err);
    if (rc == 0)
        rc = flush_pending(&f, err);
    if (rc == 0)
        rc = write_front(&f, root, err);
    if (rc == 0)
        rc = append_digest(&f, err);
    buffer_free(&f.pending);
    return rc;
}
