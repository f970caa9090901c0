/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_restore.c - what a snapshot says, and a store made of it. */
#include <endian.h>

#include "storage/etcd.pb-c.h"
#include "storage/record.h"
#include "storage/snapshot_reader.h"

/* ---- the newest version of each key ---- */

struct contents {
    struct storage_version *versions;
    size_t n, capacity;
    int64_t revision;
};

static int note_version(struct contents *c, struct bytes key, struct bytes value,
                        struct storage_version *out, struct error *err)
{
    if (snapshot_version_parse(key, value, out, err) < 0)
        return -1;
    if (out->kv.mod_revision > c->revision)
        c->revision = out->kv.mod_revision;
    return 0;
}

static int check_version(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    struct storage_version v;
    return note_version(arg, key, value, &v, err);
}

static int add_version(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    struct contents *c = arg;
    c->versions = xgrow(c->versions, c->n, &c->capacity, sizeof(c->versions[0]));
    return note_version(c, key, value, &c->versions[c->n++], err);
}

/* After a compaction at the newest revision nothing else may name that revision. */
static int note_compaction(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    (void)err;
    struct contents *c = arg;
    uint64_t revision;
    bool is_one =
        bytes_equal_str(key, "finishedCompactRev") || bytes_equal_str(key, "scheduledCompactRev");
    if (!is_one || value.len < sizeof(revision))
        return 0;
    memcpy(&revision, value.data, sizeof(revision));
    if ((int64_t)be64toh(revision) > c->revision)
        c->revision = (int64_t)be64toh(revision);
    return 0;
}

static int compare_versions(const void *a, const void *b)
{
    const struct storage_version *x = a, *y = b;
    int order = bytes_compare(x->kv.key, y->kv.key);
    if (order)
        return order;
    if (x->kv.mod_revision != y->kv.mod_revision)
        return x->kv.mod_revision > y->kv.mod_revision ? -1 : 1;
    return x->sub > y->sub ? -1 : x->sub < y->sub;
}

/* Leaves the newest version of each key that is not deleted. */
static void keep_newest(struct contents *c)
{
    size_t kept = 0;
    struct bytes last = { 0 };
    if (c->n)
        qsort(c->versions, c->n, sizeof(c->versions[0]), compare_versions);
    for (size_t i = 0; i < c->n; i++) {
        const struct storage_version *v = &c->versions[i];
        bool is_newest = i == 0 || !bytes_equal(v->kv.key, last);
        last = v->kv.key;
        if (is_newest && !v->is_delete)
            c->versions[kept++] = *v;
    }
    c->n = kept;
}

/* ---- status ---- */

struct count {
    struct snapshot_reader *reader;
    struct storage_snapshot_status *out;
};

static int count_row(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    (void)err;
    struct storage_snapshot_status *out = arg;
    out->hash = crc32c(out->hash, key.data, key.len);
    out->hash = crc32c(out->hash, value.data, value.len);
    out->keys++;
    return 0;
}

static int count_bucket(struct bytes name, struct bytes value, void *arg, struct error *err)
{
    (void)value;
    struct count *c = arg;
    char text[64];
    if (name.len >= sizeof(text))
        return error_set(err, ERR_IO, "the snapshot is corrupt: a bucket's name is too long");
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    c->out->hash = crc32c(c->out->hash, name.data, name.len);
    return snapshot_reader_each(c->reader, text, count_row, c->out, err);
}

int storage_snapshot_status(const char *path, enum storage_snapshot_check check,
                            struct storage_snapshot_status *out, struct error *err)
{
    scoped(snapshot_reader) struct snapshot_reader *r = snapshot_reader_open(path, check, err);
    if (!r)
        return -1;
    struct contents contents = { 0 };
    *out = (struct storage_snapshot_status){ .size_bytes = snapshot_reader_size(r) };
    struct count c = { r, out };
    if (snapshot_reader_each_bucket(r, count_bucket, &c, err) < 0 ||
        snapshot_reader_each(r, "key", check_version, &contents, err) < 0 ||
        snapshot_reader_each(r, "meta", note_compaction, &contents, err) < 0 ||
        snapshot_reader_check(r, err) < 0)
        return error_wrap(err, "read %s", path);
    out->revision = contents.revision;
    return 0;
}

/* ---- restoring ---- */

static int import_lease(struct bytes key, struct bytes value, void *arg, struct error *err)
{
    (void)key;
    Etcd__Lease *lease = etcd__lease__unpack(NULL, value.len, (const uint8_t *)value.data);
    if (!lease)
        return error_set(err, ERR_IO, "the snapshot is corrupt: a lease cannot be read");
    storage_import_lease(arg, lease->id, lease->ttl);
    etcd__lease__free_unpacked(lease, NULL);
    return 0;
}

static int import_all(struct storage_import *im, struct snapshot_reader *r,
                      const struct contents *c, struct error *err)
{
    if (snapshot_reader_each(r, "lease", import_lease, im, err) < 0)
        return -1;
    for (size_t i = 0; i < c->n; i++)
        if (storage_import_put(im, &c->versions[i].kv, c->versions[i].sub, err) < 0)
            return -1;
    return snapshot_reader_check(r, err) < 0 ? -1 : storage_import_finish(im, err);
}

static int restore_contents(const struct storage_restore *restore, struct snapshot_reader *r,
                            const struct contents *c, int64_t *revision, struct error *err)
{
    if (restore->bump_revision < 0 || restore->bump_revision > INT64_MAX / 2 ||
        c->revision > INT64_MAX / 2)
        return error_set(err, ERR_BAD_REQUEST, "no revision can be %lld after %lld",
                         (long long)restore->bump_revision, (long long)c->revision);
    *revision = c->revision + restore->bump_revision;
    struct storage_import *im = storage_import_open(restore->dir, restore->mode, *revision, err);
    if (!im)
        return -1;
    int rc = import_all(im, r, c, err);
    storage_import_close(im);
    return rc;
}

int storage_snapshot_restore(const struct storage_restore *restore, int64_t *revision,
                             int64_t *keys, struct error *err)
{
    scoped(snapshot_reader) struct snapshot_reader *r =
        snapshot_reader_open(restore->path, restore->check, err);
    struct contents contents = { .revision = 1 }; /* of an empty store */
    int rc = r ? snapshot_reader_each(r, "key", add_version, &contents, err) : -1;
    if (rc == 0)
        rc = snapshot_reader_each(r, "meta", note_compaction, &contents, err);
    if (rc == 0) {
        keep_newest(&contents);
        rc = restore_contents(restore, r, &contents, revision, err);
    }
    *keys = (int64_t)contents.n;
    free(contents.versions);
    return rc < 0 ? error_wrap(err, "restore %s", restore->path) : 0;
}
