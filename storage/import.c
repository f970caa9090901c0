/* SPDX-License-Identifier: Apache-2.0 */
/* import.c - a store made in one go from what another one held. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "storage/writer.h"

#define UNFINISHED     "unfinished" /* a file in a folder that is still being made */
#define OLD_STORES_MAX 1000         /* replaced within as many seconds */

struct storage_import {
    char *dir, *partial; /* it is made as PARTIAL */
    enum storage_import_mode mode;
    int old_lock_fd; /* of the store that is replaced, -1: none */
    struct mvcc *mvcc;
    struct mvcc_lease *leases;
    size_t leases_n, leases_capacity;
    bool has_keys;
};

/* A new folder holds nothing to load. */
static void no_lease(int64_t id, int64_t ttl_s, void *arg)
{
    (void)id, (void)ttl_s, (void)arg;
}
static void no_revocation(int64_t id, void *arg)
{
    (void)id, (void)arg;
}
static void no_leased_key(int64_t id, struct bytes key, void *arg)
{
    (void)id, (void)key, (void)arg;
}
static void no_flush(int64_t revision, void *arg)
{
    (void)revision, (void)arg;
}
static void no_transaction(struct version *const *versions, size_t n, int64_t revision, void *arg)
{
    (void)versions, (void)n, (void)revision, (void)arg;
}

/* The store that is there must rest: a server on it would go on with files that nobody finds. */
static int lock_old(struct storage_import *im, struct error *err)
{
    scoped(str) char *path = xasprintf("%s/lock", im->dir);
    im->old_lock_fd = open(path, O_RDWR | O_CLOEXEC);
    if (im->old_lock_fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, "open %s", path);
    if (flock(im->old_lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return error_set(err, ERR_UNAVAILABLE, "%s is in use by another process", im->dir);
}

static int check_place(struct storage_import *im, struct error *err)
{
    struct stat st;
    if (lstat(im->dir, &st) < 0)
        return errno == ENOENT ? 0 : error_errno(err, "look at %s", im->dir);
    if (im->mode == STORAGE_IMPORT_NEW)
        return error_set(err, ERR_ALREADY_EXISTS, "%s exists already", im->dir);
    return lock_old(im, err);
}

/* Gives the replaced store its name: DIR-old-1700000000, or of a later second if that is taken. */
static int put_aside(struct storage_import *im, struct error *err)
{
    int64_t now = time(NULL);
    for (int64_t at = now; at < now + OLD_STORES_MAX; at++) {
        scoped(str) char *old = xasprintf("%s-old-%lld", im->dir, (long long)at);
        if (renameat2(AT_FDCWD, im->partial, AT_FDCWD, old, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return error_errno(err, "put %s aside", im->partial);
}

static int remove_mark(const char *dir, struct error *err)
{
    scoped(str) char *mark = xasprintf("%s/" UNFINISHED, dir);
    return unlink(mark) < 0 && errno != ENOENT && errno != ENOTDIR
               ? error_errno(err, "remove %s", mark)
               : 0;
}

/* What a process that died has left behind: half a store, or, if it was about to end, the one that
 * it had replaced. */
static int clear_partial(struct storage_import *im, const char *mark, struct error *err)
{
    if (access(im->partial, F_OK) < 0)
        return 0;
    return access(mark, F_OK) == 0 ? files_remove_tree(im->partial, err) : put_aside(im, err);
}

static int prepare(struct storage_import *im, int64_t revision, struct error *err)
{
    scoped(str) char *mark = xasprintf("%s/" UNFINISHED, im->partial);
    if (check_place(im, err) < 0 || remove_mark(im->dir, err) < 0 ||
        files_make_parents(im->dir, 0700, err) < 0 || clear_partial(im, mark, err) < 0 ||
        files_make_dirs(im->partial, 0700, err) < 0 ||
        files_write_durably(mark, (struct bytes){ 0 }, 0600, err) < 0)
        return -1;
    struct mvcc_config config = {
        .dir = im->partial,
        .first_revision = revision,
        .loader = { no_lease, no_revocation, no_leased_key, no_flush, no_transaction, NULL },
    };
    im->mvcc = mvcc_open(&config, err);
    return im->mvcc ? 0 : -1;
}

bool storage_import_was_cut_short(const char *dir)
{
    scoped(str) char *mark = xasprintf("%s.partial/" UNFINISHED, dir);
    return access(dir, F_OK) < 0 && access(mark, F_OK) == 0;
}

struct storage_import *storage_import_open(const char *dir, enum storage_import_mode mode,
                                           int64_t revision, struct error *err)
{
    struct storage_import *im = xcalloc(1, sizeof(*im));
    im->dir = xstrdup(dir);
    im->partial = xasprintf("%s.partial", dir);
    im->mode = mode;
    im->old_lock_fd = -1;
    if (prepare(im, revision, err) == 0)
        return im;
    storage_import_close(im);
    return NULL;
}

static int flush(struct storage_import *im, struct error *err)
{
    return mvcc_freeze(im->mvcc) ? mvcc_flush(im->mvcc, im->leases, im->leases_n, err) : 0;
}

int storage_import_put(struct storage_import *im, const struct storage_kv *kv, uint32_t sub,
                       struct error *err)
{
    struct record r = {
        .key = kv->key,
        .value = kv->value,
        .create_revision = kv->create_revision,
        .mod_revision = kv->mod_revision,
        .version = kv->version,
        .lease = kv->lease,
        .sub = sub,
    };
    if (kv->key.len > STORAGE_KEY_BYTES_MAX || kv->value.len > STORAGE_VALUE_BYTES_MAX)
        return error_set(err, ERR_TOO_LARGE, "a key of %zu bytes with %zu of value is too large",
                         kv->key.len, kv->value.len);
    if (!mvcc_has_space(im->mvcc, kv->key.len + kv->value.len))
        return error_set(err, ERR_NO_SPACE, "the database's quota is used up");
    struct version *v = version_new(&r);
    mvcc_stage_import(im->mvcc, v);
    version_unref(v);
    im->has_keys = true;
    return mvcc_fill(im->mvcc) == MVCC_ROOM ? 0 : flush(im, err);
}

void storage_import_lease(struct storage_import *im, int64_t id, int64_t ttl_s)
{
    im->leases = xgrow(im->leases, im->leases_n, &im->leases_capacity, sizeof(im->leases[0]));
    int64_t limited_s = ttl_s < 1 ? 1 : ttl_s > LEASE_TTL_S_MAX ? LEASE_TTL_S_MAX : ttl_s;
    im->leases[im->leases_n++] = (struct mvcc_lease){ id, limited_s };
}

static int put_in_place(struct storage_import *im, struct error *err)
{
    scoped(str) char *copy = xstrdup(im->dir);
    (void)failpoint("storage.import.before_rename");
    bool is_there = im->mode == STORAGE_IMPORT_REPLACE && access(im->dir, F_OK) == 0;
    if (renameat2(AT_FDCWD, im->partial, AT_FDCWD, im->dir,
                  is_there ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
        return error_errno(err, "rename %s to %s", im->partial, im->dir);
    (void)failpoint("storage.import.after_rename");
    if (remove_mark(im->dir, err) < 0 || (is_there && put_aside(im, err) < 0))
        return -1;
    return files_sync_dir(dirname(copy), err);
}

/* Leases that no key belongs to are not part of any flush. */
static int log_leases(struct storage_import *im, struct error *err)
{
    mvcc_group_begin(im->mvcc);
    for (size_t i = 0; i < im->leases_n; i++)
        mvcc_group_lease_grant(im->mvcc, im->leases[i].id, im->leases[i].ttl_s);
    return mvcc_group_sync(im->mvcc, err);
}

int storage_import_finish(struct storage_import *im, struct error *err)
{
    if (im->has_keys ? flush(im, err) < 0 : im->leases_n && log_leases(im, err) < 0)
        return -1;
    mvcc_close(take_ptr(&im->mvcc));
    return put_in_place(im, err);
}

void storage_import_close(struct storage_import *im)
{
    if (!im)
        return;
    bool is_unfinished = im->mvcc;
    struct error ignored = { 0 }; /* what stays is removed by the next import */
    mvcc_close(im->mvcc);
    if (is_unfinished)
        (void)!files_remove_tree(im->partial, &ignored);
    fd_scoped(&im->old_lock_fd);
    free(im->leases);
    free(im->dir);
    free(im->partial);
    free(im);
}
