/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_env.c - the only file that knows LMDB. */
#include "storage/lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "storage/lmdb_check.h"

/* Read transactions open at once: worker threads, and watches that catch up. */
#define READERS_MAX 2048
/* The commit log asks for 4 MiB at a time; a file system may take them, and give them back when
 * they are not enough, while the database is being written. */
#define DISK_FULL_BYTES (8 << 20)

#define COPY_PART_BYTES  ((size_t)4 << 20)
#define COPY_SPARE_BYTES ((size_t)64 << 20) /* for the log, while a copy is made */

/* A smaller file may stay in the process's memory as a whole. */
#define MAPPED_BYTES_KEPT ((size_t)64 << 20)

#define FILE_NAME     "data.mdb"
#define LOCK_NAME     "lock.mdb"
#define NEW_FILE_NAME "data.new"
#define NEW_LOCK_NAME NEW_FILE_NAME "-lock"

static const char *const table_names[TABLES] = {
    [TABLE_META] = LMDB_SUM_TABLE, [TABLE_LATEST] = "latest",         [TABLE_HISTORY] = "history",
    [TABLE_LEASES] = "leases",     [TABLE_LEASE_KEYS] = "lease_keys", [TABLE_COUNTS] = "counts",
    [TABLE_VALUES] = "values",
};

struct lmdb_env {
    atomic_uint refs;
    char *dir;
    size_t map_bytes;
    MDB_env *env;
    MDB_dbi dbi[TABLES];
    struct lmdb_env *before; /* counted; writing must wait until it has no readers */
    bool is_folder_unsynced; /* writing transactions': the file's name may not be on disk yet */
};

struct lmdb_txn {
    struct lmdb_env *env; /* counted */
    MDB_txn *txn;
    bool has_changed;
    uint64_t sum;               /* over all rows, of a writing transaction */
    size_t append_room[TABLES]; /* in the page that the last row appended began; 0: not known */
};

struct lmdb_cursor {
    MDB_cursor *cursor;
    struct lmdb_txn *txn; /* its own */
    enum lmdb_table table;
};

static int fail(struct error *err, int rc, const char *what)
{
    enum error_code code = ERR_IO;
    if (rc == MDB_MAP_FULL || rc == ENOSPC || rc == EDQUOT || rc == MDB_TXN_FULL)
        code = ERR_NO_SPACE;
    else if (rc == MDB_READERS_FULL)
        code = ERR_UNAVAILABLE;
    return error_set(err, code, "%s: %s", what, mdb_strerror(rc));
}

static MDB_val to_val(struct bytes b)
{
    return (MDB_val){ b.len, (void *)(uintptr_t)b.data };
}

static struct bytes from_val(const MDB_val *v)
{
    return (struct bytes){ v->mv_data, v->mv_size };
}

static int open_tables(struct lmdb_env *e, struct error *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->env, NULL, 0, &txn);
    if (rc)
        return fail(err, rc, "begin");
    for (int i = 0; i < TABLES; i++) {
        rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &e->dbi[i]);
        if (rc) {
            mdb_txn_abort(txn);
            return fail(err, rc, "open a table");
        }
    }
    rc = mdb_txn_commit(txn);
    return rc ? fail(err, rc, "commit") : 0;
}

/* The first sum of a file that has none yet; without rows it begins at 0, as the next commit does.
 */
static int adopt_sum(struct lmdb_env *e, const struct lmdb_check *check, struct error *err)
{
    if (check->has_sum || !check->sum)
        return 0;
    struct lmdb_txn *t = lmdb_write_begin(e, err);
    if (!t)
        return -1;
    t->sum = check->sum;
    t->has_changed = true;
    return lmdb_write_commit(t, err);
}

/* LMDB keeps its readers in a map of the file LOCK, which it writes to: when the disk turns
 * read-only that would be a bus error.  Nobody else has the folder, so the file may be one in
 * memory, and its name may go as soon as it is open. */
static int open_env(MDB_env *env, const char *path, const char *lock, unsigned flags)
{
    char memory[32];
    scoped(fd) int fd = memfd_create(LOCK_NAME, MFD_CLOEXEC);
    if (fd < 0)
        return errno;
    snprintf(memory, sizeof(memory), "/proc/self/fd/%d", fd);
    unlink(lock); /* left over */
    if (symlink(memory, lock) < 0)
        return errno;
    int rc = mdb_env_open(env, path, MDB_NOTLS | flags, 0600);
    unlink(lock);
    return rc;
}

static struct lmdb_env *open_unchecked(const struct lmdb_env *like, const char *path,
                                       const char *lock, unsigned flags, struct error *err)
{
    struct lmdb_env *e = xcalloc(1, sizeof(*e));
    atomic_init(&e->refs, 1);
    e->dir = xstrdup(like->dir);
    e->map_bytes = like->map_bytes;
    int rc = mdb_env_create(&e->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, e->map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(e->env, READERS_MAX);
    if (rc == 0)
        rc = open_env(e->env, path, lock, flags);
    if (rc == 0 ? open_tables(e, err) : fail(err, rc, "open the database")) {
        lmdb_env_unref(e);
        return NULL;
    }
    return e;
}

static struct lmdb_env *open_file(const struct lmdb_env *like, const char *path, const char *lock,
                                  unsigned flags, struct error *err)
{
    struct lmdb_check check;
    scoped(str) char *file =
        flags & MDB_NOSUBDIR ? xstrdup(path) : xasprintf("%s/" FILE_NAME, path);
    if (lmdb_check_file(file, &check, err) < 0)
        return NULL;
    struct lmdb_env *e = open_unchecked(like, path, lock, flags, err);
    if (e && adopt_sum(e, &check, err) < 0)
        lmdb_env_unref(take_ptr(&e));
    return e;
}

/* A power cut may leave any part of a file that was never synced, and LMDB refuses most of them. So
 * a database is made beside its place, and gets its name when it is on disk, and all folders above
 * it are. */
static int create(const struct lmdb_env *like, const char *path, const char *new_path,
                  struct error *err)
{
    scoped(str) char *lock = xasprintf("%s/" NEW_LOCK_NAME, like->dir);
    struct lmdb_env *e = open_file(like, new_path, lock, MDB_NOSUBDIR, err);
    if (!e)
        return -1;
    lmdb_env_unref(e);
    if (files_sync_parents(path, err) < 0)
        return -1;
    (void)failpoint("storage.database.before_name");
    if (rename(new_path, path) < 0)
        return error_errno(err, "rename %s", new_path);
    return files_sync_dir(like->dir, err);
}

struct lmdb_env *lmdb_env_open(const char *dir, size_t map_bytes, struct error *err)
{
    struct lmdb_env like = { .dir = (char *)(uintptr_t)dir, .map_bytes = map_bytes };
    scoped(str) char *lock = xasprintf("%s/" LOCK_NAME, dir);
    scoped(str) char *path = xasprintf("%s/" FILE_NAME, dir);
    scoped(str) char *new_path = xasprintf("%s/" NEW_FILE_NAME, dir);
    unlink(new_path); /* left over */
    if (access(path, F_OK) < 0 && create(&like, path, new_path, err) < 0)
        return NULL;
    return open_file(&like, dir, lock, 0, err);
}

struct lmdb_env *lmdb_env_ref(struct lmdb_env *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void lmdb_env_unref(struct lmdb_env *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (e->env)
        mdb_env_close(e->env);
    lmdb_env_unref(e->before);
    free(e->dir);
    free(e);
}

/* ---- after a failure ---- */

bool lmdb_env_is_dead(struct lmdb_env *e)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        mdb_txn_abort(txn);
    return rc == MDB_PANIC;
}

struct lmdb_env *lmdb_env_revive(struct lmdb_env *e, struct error *err)
{
    scoped(str) char *lock = xasprintf("%s/" LOCK_NAME, e->dir);
    struct lmdb_env *fresh = open_unchecked(e, e->dir, lock, 0, err);
    if (!fresh)
        return NULL;
    fresh->is_folder_unsynced = e->is_folder_unsynced;
    fresh->before = lmdb_env_ref(e);
    return fresh;
}

/* The file's older readers are not in the new list of readers: their pages must not be reused. */
static int wait_for_readers(struct lmdb_env *e, struct error *err)
{
    if (!e->before)
        return 0;
    if (atomic_load_explicit(&e->before->refs, memory_order_acquire) > 1)
        return error_set(err, ERR_IO, "the database failed, and is still being read as it was");
    lmdb_env_unref(take_ptr(&e->before));
    return 0;
}

/* ---- a smaller file ---- */

static int sync_folder(struct lmdb_env *e, struct error *err)
{
    scoped(fd) int fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (failpoint("storage.defragment.sync_folder") || fd < 0 || fsync(fd) < 0)
        return error_errno(err, "sync %s", e->dir);
    e->is_folder_unsynced = false;
    return 0;
}

/* A copy that fills the disk would make writes fail for its sake. */
static int check_room(struct lmdb_env *e, struct error *err)
{
    struct statvfs fs;
    size_t size, in_use;
    if (lmdb_env_size(e, &size, &in_use, err) < 0)
        return -1;
    if (statvfs(e->dir, &fs) < 0)
        return error_errno(err, "ask for the free space of %s", e->dir);
    size_t free_bytes = (size_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes < in_use + COPY_SPARE_BYTES)
        return error_set(err, ERR_NO_SPACE,
                         "the copy needs %zu bytes of disk, and %zu are free: nothing was changed",
                         in_use + COPY_SPARE_BYTES, free_bytes);
    return 0;
}

struct copying {
    struct lmdb_txn *from, *to;
    struct lmdb_env *env; /* TO's */
    size_t part_bytes;
    uint64_t sum;
};

/* Rows come in order, so each page is filled before the next is begun. */
static int copy_row(struct copying *c, enum lmdb_table table, struct bytes key, struct bytes value,
                    struct error *err)
{
    MDB_val k = to_val(key), v = to_val(value);
    if (table == TABLE_META && bytes_equal(key, LMDB_SUM_KEY))
        return 0;
    c->sum += lmdb_row_sum(table_names[table], key, value);
    int rc = mdb_put(c->to->txn, c->env->dbi[table], &k, &v, MDB_APPEND);
    if (rc)
        return fail(err, rc, "copy the database");
    c->part_bytes += key.len + value.len;
    if (c->part_bytes < COPY_PART_BYTES)
        return 0;
    c->part_bytes = 0;
    lmdb_env_release(c->from->env);
    if (lmdb_write_commit(take_ptr(&c->to), err) < 0)
        return -1;
    c->to = lmdb_write_begin(c->env, err);
    return c->to ? 0 : -1;
}

static int copy_table(struct copying *c, enum lmdb_table table, struct error *err)
{
    struct lmdb_cursor *cursor = lmdb_cursor_open(c->from, table, err);
    if (!cursor)
        return -1;
    struct bytes key, value;
    int got = lmdb_cursor_seek(cursor, (struct bytes){ 0 }, &key, &value, err);
    while (got == 1 && (got = copy_row(c, table, key, value, err)) == 0)
        got = lmdb_cursor_next(cursor, &key, &value, err);
    lmdb_cursor_close(cursor);
    return got;
}

static int copy_tables(struct copying *c, struct error *err)
{
    for (int table = 0; table < TABLES; table++)
        if (copy_table(c, table, err) < 0)
            return -1;
    struct bytes sum;
    int got = lmdb_get(c->from, TABLE_META, LMDB_SUM_KEY, &sum, err);
    if (got < 0)
        return -1;
    if (got == 0 || memcmp(sum.data, &c->sum, sizeof(c->sum)) != 0)
        return error_set(err, ERR_IO,
                         "the database is corrupt: the sum over its rows is not the one it holds");
    c->to->sum = c->sum;
    c->to->has_changed = true;
    return lmdb_write_commit(take_ptr(&c->to), err);
}

/* The parts are synced at once.  One more commit then: both of the copy's heads are good. */
static int sync_copy(struct lmdb_env *copy, struct error *err)
{
    int rc = mdb_env_set_flags(copy->env, MDB_NOSYNC, 0);
    if (rc == 0)
        rc = mdb_env_sync(copy->env, 1);
    if (rc)
        return fail(err, rc, "sync the copy of the database");
    struct lmdb_txn *t = lmdb_write_begin(copy, err);
    if (!t)
        return -1;
    t->has_changed = true;
    return lmdb_write_commit(t, err);
}

static int fill_copy(struct lmdb_env *e, struct lmdb_env *copy, struct error *err)
{
    if (failpoint("storage.defragment.copy"))
        return fail(err, errno, "copy the database");
    struct copying c = { .env = copy, .from = lmdb_read_begin(e, err) };
    c.to = c.from ? lmdb_write_begin(copy, err) : NULL;
    int rc = c.to ? copy_tables(&c, err) : -1;
    if (c.to)
        lmdb_write_abort(c.to);
    lmdb_read_end(c.from);
    return rc < 0 ? -1 : sync_copy(copy, err);
}

static struct lmdb_env *make_copy(struct lmdb_env *e, const char *path, struct error *err)
{
    scoped(str) char *lock = xasprintf("%s/" NEW_LOCK_NAME, e->dir);
    unlink(path);
    struct lmdb_env *copy = open_unchecked(e, path, lock, MDB_NOSUBDIR | MDB_NOSYNC, err);
    if (copy && fill_copy(e, copy, err) < 0)
        lmdb_env_unref(take_ptr(&copy));
    return copy;
}

struct lmdb_env *lmdb_env_compact(struct lmdb_env *e, struct error *err)
{
    scoped(str) char *path = xasprintf("%s/" FILE_NAME, e->dir);
    scoped(str) char *new_path = xasprintf("%s/" NEW_FILE_NAME, e->dir);
    if (check_room(e, err) < 0)
        return NULL;
    struct lmdb_env *copy = make_copy(e, new_path, err);
    (void)failpoint("storage.defragment.copied");
    if (copy && (failpoint("storage.defragment.rename") || rename(new_path, path) < 0)) {
        error_errno(err, "rename %s", new_path);
        lmdb_env_unref(take_ptr(&copy));
    }
    if (!copy) {
        unlink(new_path);
        return NULL;
    }
    (void)failpoint("storage.defragment.renamed");
    /* From here the copy is the database.  Nothing may be committed to it before a crash would find
     * it under its name. */
    copy->is_folder_unsynced = true;
    struct error later = { 0 }; /* the next transaction tries again */
    (void)sync_folder(copy, &later);
    return copy;
}

/* LMDB keeps freed pages in table 0: each entry is a count followed by that many page numbers. */
static int count_free_pages(MDB_txn *txn, size_t *pages)
{
    MDB_cursor *c = NULL;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, 0, &c);
    if (rc)
        return rc;
    *pages = 0;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        size_t n;
        memcpy(&n, v.mv_data, sizeof(n));
        *pages += n;
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int lmdb_env_size(struct lmdb_env *e, size_t *size_bytes, size_t *in_use_bytes, struct error *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return fail(err, rc, "begin reading");
    MDB_stat stat;
    MDB_envinfo info;
    size_t free_pages = 0;
    mdb_env_stat(e->env, &stat);
    mdb_env_info(e->env, &info);
    rc = count_free_pages(txn, &free_pages);
    mdb_txn_abort(txn);
    if (rc)
        return fail(err, rc, "read the list of free pages");
    *size_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
    *in_use_bytes = *size_bytes - free_pages * stat.ms_psize;
    return 0;
}

/* LMDB does not tell where it has mapped the file, but each page begins with its number. */
static void release_around(struct lmdb_env *e, const char *in_page)
{
    MDB_stat stat;
    MDB_envinfo info;
    mdb_env_stat(e->env, &stat);
    mdb_env_info(e->env, &info);
    const char *page = in_page - (uintptr_t)in_page % stat.ms_psize;
    uint64_t number;
    memcpy(&number, page, sizeof(number));
    size_t size = (info.me_last_pgno + 1) * stat.ms_psize;
    if (size >= MAPPED_BYTES_KEPT && number <= info.me_last_pgno)
        madvise((void *)(uintptr_t)(page - number * stat.ms_psize), size, MADV_DONTNEED);
}

void lmdb_env_release(struct lmdb_env *e)
{
    struct error ignored = { 0 }; /* it is only memory */
    struct lmdb_txn *t = lmdb_read_begin(e, &ignored);
    struct bytes sum;
    if (t && lmdb_get(t, TABLE_META, LMDB_SUM_KEY, &sum, &ignored) == 1)
        release_around(e, sum.data); /* a short row lies in a leaf, which is one page */
    lmdb_read_end(t);
}

/* ---- transactions ---- */

static struct lmdb_txn *begin(struct lmdb_env *e, unsigned flags, struct error *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->env, NULL, flags, &txn);
    if (rc) {
        fail(err, rc, "begin a database transaction");
        return NULL;
    }
    struct lmdb_txn *t = xmalloc(sizeof(*t));
    *t = (struct lmdb_txn){ .env = lmdb_env_ref(e), .txn = txn };
    return t;
}

static void free_txn(struct lmdb_txn *t)
{
    lmdb_env_unref(t->env);
    free(t);
}

struct lmdb_env *lmdb_txn_env(const struct lmdb_txn *t)
{
    return t->env;
}

struct lmdb_txn *lmdb_read_begin(struct lmdb_env *e, struct error *err)
{
    return begin(e, MDB_RDONLY, err);
}

void lmdb_read_end(struct lmdb_txn *t)
{
    if (!t)
        return;
    mdb_txn_abort(t->txn);
    free_txn(t);
}

void lmdb_read_rest(struct lmdb_txn *t)
{
    mdb_txn_reset(t->txn);
}

int lmdb_read_renew(struct lmdb_txn *t, struct error *err)
{
    int rc = mdb_txn_renew(t->txn);
    return rc ? fail(err, rc, "renew a database transaction") : 0;
}

struct lmdb_txn *lmdb_write_begin(struct lmdb_env *e, struct error *err)
{
    if (wait_for_readers(e, err) < 0 || (e->is_folder_unsynced && sync_folder(e, err) < 0))
        return NULL;
    struct lmdb_txn *t = begin(e, 0, err);
    struct bytes sum;
    int got = t ? lmdb_get(t, TABLE_META, LMDB_SUM_KEY, &sum, err) : -1;
    if (got < 0) {
        if (t)
            lmdb_write_abort(t);
        return NULL;
    }
    if (got) /* none in a new file: nothing is summed yet */
        memcpy(&t->sum, sum.data, sizeof(t->sum));
    return t;
}

/* Adds ROW to the sum, and takes what it replaces out. */
static int sum_row(struct lmdb_txn *t, enum lmdb_table table, struct bytes key,
                   const struct bytes *value, struct error *err)
{
    struct bytes old;
    int got = lmdb_get(t, table, key, &old, err);
    if (got < 0)
        return -1;
    if (got)
        t->sum -= lmdb_row_sum(table_names[table], key, old);
    if (value)
        t->sum += lmdb_row_sum(table_names[table], key, *value);
    t->has_changed = true;
    return 0;
}

static int put_row(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value)
{
    MDB_val k = to_val(key), v = to_val(value);
    return mdb_put(t->txn, t->env->dbi[table], &k, &v, 0);
}

/* LMDB calls a write that was cut short EIO; a full disk is what cuts writes short. */
static bool is_disk_full(const struct lmdb_env *e)
{
    struct statvfs fs;
    return statvfs(e->dir, &fs) == 0 && fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

static int commit(struct lmdb_txn *t)
{
    struct bytes sum = { (const char *)&t->sum, sizeof(t->sum) };
    int rc = t->has_changed ? put_row(t, TABLE_META, LMDB_SUM_KEY, sum) : 0;
    if (rc) {
        mdb_txn_abort(t->txn);
        return rc;
    }
    return mdb_txn_commit(t->txn);
}

int lmdb_write_commit(struct lmdb_txn *t, struct error *err)
{
    if (failpoint("storage.database.commit")) {
        int number = errno;
        lmdb_write_abort(t);
        return fail(err, number, "commit to the database");
    }
    int rc = commit(t);
    if (rc == EIO && is_disk_full(t->env))
        rc = ENOSPC;
    (void)failpoint("storage.database.committed");
    free_txn(t);
    return rc ? fail(err, rc, "commit to the database") : 0;
}

void lmdb_write_abort(struct lmdb_txn *t)
{
    mdb_txn_abort(t->txn);
    free_txn(t);
}

/* ---- single rows ---- */

int lmdb_get(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes *value,
             struct error *err)
{
    MDB_val k = to_val(key), v;
    int rc = mdb_get(t->txn, t->env->dbi[table], &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return fail(err, rc, "read the database");
    *value = from_val(&v);
    return 1;
}

int lmdb_put(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value,
             struct error *err)
{
    if (sum_row(t, table, key, &value, err) < 0)
        return -1;
    int rc = put_row(t, table, key, value);
    return rc ? fail(err, rc, "write to the database") : 0;
}

int lmdb_delete(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct error *err)
{
    MDB_val k = to_val(key);
    if (sum_row(t, table, key, NULL, err) < 0)
        return -1;
    int rc = mdb_del(t->txn, t->env->dbi[table], &k, NULL);
    return rc && rc != MDB_NOTFOUND ? fail(err, rc, "delete from the database") : 0;
}

/* ---- rows that come last ---- */

/* LMDB's own bytes in a page, and those of a row. */
#define PAGE_HEAD_BYTES 16
#define NODE_HEAD_BYTES 8
#define NODE_LINK_BYTES 2

size_t lmdb_append_room(const struct lmdb_txn *t, enum lmdb_table table)
{
    size_t room = t->append_room[table], own = NODE_HEAD_BYTES + NODE_LINK_BYTES;
    return room > own ? room - own : 0;
}

static void note_room(struct lmdb_txn *t, enum lmdb_table table, size_t row_bytes, size_t leaves,
                      const MDB_stat *stat)
{
    size_t *room = &t->append_room[table];
    size_t bytes = (NODE_HEAD_BYTES + row_bytes + 1) / 2 * 2 + NODE_LINK_BYTES;
    if (stat->ms_leaf_pages != leaves) /* it begins a page */
        *room = stat->ms_psize - PAGE_HEAD_BYTES;
    *room = *room > bytes ? *room - bytes : 0;
}

int lmdb_append(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value,
                struct error *err)
{
    MDB_val k = to_val(key), v = to_val(value);
    MDB_dbi dbi = t->env->dbi[table];
    MDB_stat stat = { 0 };
    mdb_stat(t->txn, dbi, &stat);
    size_t leaves = stat.ms_leaf_pages;
    int rc = mdb_put(t->txn, dbi, &k, &v, MDB_APPEND);
    if (rc)
        return fail(err, rc, "append to the database");
    mdb_stat(t->txn, dbi, &stat);
    note_room(t, table, key.len + value.len, leaves, &stat);
    t->sum += lmdb_row_sum(table_names[table], key, value);
    t->has_changed = true;
    return 0;
}

/* ---- cursors ---- */

struct lmdb_cursor *lmdb_cursor_open(struct lmdb_txn *t, enum lmdb_table table, struct error *err)
{
    MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(t->txn, t->env->dbi[table], &cursor);
    if (rc) {
        fail(err, rc, "open a cursor");
        return NULL;
    }
    struct lmdb_cursor *c = xmalloc(sizeof(*c));
    *c = (struct lmdb_cursor){ cursor, t, table };
    return c;
}

void lmdb_cursor_close(struct lmdb_cursor *c)
{
    if (!c)
        return;
    mdb_cursor_close(c->cursor);
    free(c);
}

static int move(struct lmdb_cursor *c, MDB_val *k, MDB_cursor_op op, struct bytes *key,
                struct bytes *value, struct error *err)
{
    MDB_val v;
    int rc = mdb_cursor_get(c->cursor, k, &v, op);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return fail(err, rc, "walk the database");
    *key = from_val(k);
    *value = from_val(&v);
    return 1;
}

int lmdb_cursor_seek(struct lmdb_cursor *c, struct bytes from, struct bytes *key,
                     struct bytes *value, struct error *err)
{
    MDB_val k = to_val(from);
    /* MDB_SET_RANGE refuses an empty key. */
    return move(c, &k, from.len ? MDB_SET_RANGE : MDB_FIRST, key, value, err);
}

int lmdb_cursor_next(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                     struct error *err)
{
    MDB_val k;
    return move(c, &k, MDB_NEXT, key, value, err);
}

int lmdb_cursor_previous(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                         struct error *err)
{
    MDB_val k;
    return move(c, &k, MDB_PREV, key, value, err);
}

int lmdb_cursor_last(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                     struct error *err)
{
    MDB_val k;
    return move(c, &k, MDB_LAST, key, value, err);
}

int lmdb_cursor_delete(struct lmdb_cursor *c, struct error *err)
{
    struct bytes key, value;
    MDB_val k;
    int got = move(c, &k, MDB_GET_CURRENT, &key, &value, err);
    if (got <= 0)
        return got;
    uint64_t sum = lmdb_row_sum(table_names[c->table], key, value);
    int rc = mdb_cursor_del(c->cursor, 0);
    if (rc)
        return fail(err, rc, "delete from the database");
    c->txn->sum -= sum;
    c->txn->has_changed = true;
    return 0;
}
