/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_env.c - the only file that knows LMDB. */
#include "storage/lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "storage/lmdb_check.h"
#include "storage/mapped.h"

/* Read transactions open at once: worker threads, and watches that catch up. */
#define READERS_MAX 2048
/* The commit log asks for 4 MiB at a time; a file system may take them, and give them back when
 * they are not enough, while the database is being written. */
#define DISK_FULL_BYTES (8 << 20)

#define COPY_PART_BYTES  ((size_t)4 << 20)
#define COPY_SPARE_BYTES ((size_t)64 << 20) /* for the log, while a copy is made */

/* A smaller file may stay in the process's memory as a whole. */
#define MAPPED_BYTES_KEPT ((size_t)64 << 20)

/* What LMDB has in memory for a transaction that it was torn out of is lost: some MB each time. */
#define LOST_MAX 16

#define FILE_NAME     "data.mdb"
#define LOCK_NAME     "lock.mdb"
#define NEW_FILE_NAME "data.new"
#define NEW_LOCK_NAME NEW_FILE_NAME "-lock"

/* LMDB's own bytes in a page, and those of a row. */
#define PAGE_HEAD_BYTES 16
#define NODE_HEAD_BYTES 8
#define NODE_LINK_BYTES 2

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
    struct mapped *map; /* NULL until it is known where that is */
    const char *map_start;
    size_t map_len;
    struct lmdb_env *before; /* counted; writing must wait until it has no readers */
    /* A call that cannot be undone was left in its middle: nothing is written any more. */
    atomic_bool is_lost;
    atomic_size_t unreadable_at; /* the place in the file, the last one before IS_LOST */
    atomic_bool was_unreadable;  /* and that has been logged */
    unsigned losses;             /* before this one */
    bool is_folder_unsynced;     /* writing transactions': the file's name may not be on disk yet */
};

struct lmdb_txn {
    struct lmdb_env *env; /* counted */
    MDB_txn *txn;
    bool is_writing, has_changed;
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

/* ---- calls of LMDB, which read in its map ----
 *
 * Where the disk cannot read a page they are left in their middle.  For one that only reads that is
 * as if it had not been made.  One that writes leaves LMDB's own memory half changed, so nothing is
 * asked of it any more; the file is as after the last commit, or after this one.
 */

#define UNKNOWN_PLACE SIZE_MAX
#define GAVE_UP       2 /* LMDB found what its code cannot go on with */

static void give_up(MDB_env *env, const char *what)
{
    (void)env;
    struct mapped_trap *trap = mapped_trap_current();
    log_error("storage", "the database is corrupt: %s", what);
    if (trap)
        siglongjmp(trap->back, GAVE_UP);
}

static bool begin_call(struct lmdb_env *e, struct mapped_trap *trap, enum mapped_use use)
{
    bool is_lost = use == MAPPED_READ_AND_WRITE && atomic_load(&e->is_lost);
    return !is_lost && mapped_trap_begin(trap, e->map, use);
}

static void note_unreadable(struct lmdb_env *e, const struct mapped_trap *trap, size_t place)
{
    if (!atomic_load(&e->is_lost))
        atomic_store(&e->unreadable_at, place);
    if (trap->use == MAPPED_READ_AND_WRITE)
        atomic_store(&e->is_lost, true);
    if (!atomic_exchange(&e->was_unreadable, true) && place != UNKNOWN_PLACE)
        log_error("storage", "the disk cannot read the database in %s at byte %zu", e->dir, place);
}

static int end_call(struct lmdb_env *e, struct mapped_trap *trap, int left, int rc)
{
    mapped_trap_end(trap);
    bool is_placed = left == MAPPED_UNREADABLE && e->map;
    if (left)
        note_unreadable(e, trap,
                        is_placed ? (size_t)((const char *)trap->fault - e->map_start)
                                  : UNKNOWN_PLACE);
    if (left)
        return left == GAVE_UP ? MDB_CORRUPTED : EIO;
    return rc == 0 && e->map && mapped_is_torn(e->map) ? EIO : rc;
}

/* What a call takes and gives. */
struct call {
    struct lmdb_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_cursor_op op;
    MDB_val key, value;
    unsigned flags;
    const char *path;
    MDB_stat *stat;
    MDB_envinfo *info;
    size_t n;
};
typedef int call_fn(struct call *c);

/* Not inlined: what its caller has in registers is not seen to change by a jump. */
__attribute__((noinline)) static int run(struct lmdb_env *e, enum mapped_use use, call_fn *fn,
                                         struct call *c)
{
    struct mapped_trap trap;
    if (!begin_call(e, &trap, use))
        return EIO;
    switch (sigsetjmp(trap.back, 0)) {
    case 0:
        return end_call(e, &trap, 0, fn(c));
    case MAPPED_UNREADABLE:
        return end_call(e, &trap, MAPPED_UNREADABLE, 0);
    default:
        return end_call(e, &trap, GAVE_UP, 0);
    }
}

/* ---- opening ---- */

static int create_tables(struct call *c)
{
    struct lmdb_env *e = c->env;
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->env, NULL, 0, &txn);
    for (int i = 0; i < TABLES && rc == 0; i++)
        rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &e->dbi[i]);
    if (rc == 0)
        return mdb_txn_commit(txn);
    if (txn)
        mdb_txn_abort(txn);
    return rc;
}

static int open_tables(struct lmdb_env *e, struct error *err)
{
    int rc = run(e, MAPPED_READ_AND_WRITE, create_tables, &(struct call){ .env = e });
    return rc ? fail(err, rc, "open the tables") : 0;
}

/* LMDB does not tell where it has mapped the file, but each page begins with its number, and the
 * names of the tables lie in one. */
static int find_map(struct call *c)
{
    struct lmdb_env *e = c->env;
    MDB_txn *txn = NULL;
    MDB_dbi names;
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    MDB_stat stat;
    MDB_envinfo info;
    int rc = mdb_env_stat(e->env, &stat);
    if (rc == 0)
        rc = mdb_env_info(e->env, &info);
    if (rc == 0)
        rc = mdb_txn_begin(e->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &names);
    if (rc == 0)
        rc = mdb_cursor_open(txn, names, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    if (rc == 0) {
        const char *page = (const char *)k.mv_data - (uintptr_t)k.mv_data % stat.ms_psize;
        uint64_t number;
        memcpy(&number, page, sizeof(number));
        e->map_start = page - number * stat.ms_psize;
        e->map_len = info.me_mapsize;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    if (txn)
        mdb_txn_abort(txn);
    return rc;
}

/* Without rows in it, nor room for any: LMDB walks over it, should one be read by a call that
 * began before the map was torn. */
static int know_map(struct lmdb_env *e, struct error *err)
{
    static const uint16_t blank[] = { 0, 0, 0, 0, 0, 0, PAGE_HEAD_BYTES, PAGE_HEAD_BYTES };
    int rc = run(e, MAPPED_READ, find_map, &(struct call){ .env = e });
    if (rc)
        return fail(err, rc, "read the names of the tables");
    struct bytes head = { (const char *)blank, sizeof(blank) };
    e->map = mapped_new(e->map_start, e->map_len, head, err);
    return e->map ? 0 : -1;
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
static int do_open(struct call *c)
{
    return mdb_env_open(c->env->env, c->path, MDB_NOTLS | c->flags, 0600);
}

static int open_env(struct lmdb_env *e, const char *path, const char *lock, unsigned flags)
{
    struct call call = { .env = e, .path = path, .flags = flags };
    char memory[32];
    scoped(fd) int fd = memfd_create(LOCK_NAME, MFD_CLOEXEC);
    if (fd < 0)
        return errno;
    snprintf(memory, sizeof(memory), "/proc/self/fd/%d", fd);
    unlink(lock); /* left over */
    if (symlink(memory, lock) < 0)
        return errno;
    int rc = run(e, MAPPED_READ_AND_WRITE, do_open, &call);
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
        rc = mdb_env_set_assert(e->env, give_up);
    if (rc == 0)
        rc = open_env(e, path, lock, flags);
    rc = rc ? fail(err, rc, "open the database") : open_tables(e, err);
    if (rc < 0 || know_map(e, err) < 0) {
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

/* LMDB's memory of it stays, as nobody knows what of it is whole; only its map can go. */
static void keep_lost(struct lmdb_env *e)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct lmdb_env *kept;
    if (e->map)
        munmap((void *)(uintptr_t)e->map_start, e->map_len);
    pthread_mutex_lock(&lock);
    e->before = kept;
    kept = e;
    pthread_mutex_unlock(&lock);
}

void lmdb_env_unref(struct lmdb_env *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    lmdb_env_unref(take_ptr(&e->before));
    mapped_end(e->map);
    free(e->dir);
    if (atomic_load(&e->is_lost)) {
        keep_lost(e);
        return;
    }
    if (e->env)
        mdb_env_close(e->env);
    free(e);
}

/* ---- after a failure ---- */

static int do_begin(struct call *c)
{
    return mdb_txn_begin(c->env->env, NULL, c->flags, &c->txn);
}

bool lmdb_env_is_dead(struct lmdb_env *e)
{
    struct call call = { .env = e, .flags = MDB_RDONLY };
    if (atomic_load(&e->is_lost) || mapped_is_torn(e->map))
        return true;
    int rc = run(e, MAPPED_READ, do_begin, &call);
    if (call.txn)
        mdb_txn_abort(call.txn);
    return rc == MDB_PANIC;
}

/* Each new attempt on a disk that is as bad as before would lose some memory. */
static int try_lost_place(const struct lmdb_env *e, struct error *err)
{
    mdb_filehandle_t fd;
    char byte;
    size_t place = atomic_load(&e->unreadable_at);
    if (place == UNKNOWN_PLACE)
        return error_set(err, ERR_IO, "the database is corrupt, nothing can be written to it");
    if (mdb_env_get_fd(e->env, &fd) != 0 || pread(fd, &byte, 1, (off_t)place) != 1)
        return error_set(err, ERR_IO, "the disk still cannot read it at byte %zu", place);
    if (e->losses == LOST_MAX)
        return error_set(err, ERR_IO,
                         "the disk could not read the database %d times: "
                         "nothing can be written to it until a restart",
                         LOST_MAX);
    return 0;
}

struct lmdb_env *lmdb_env_revive(struct lmdb_env *e, struct error *err)
{
    if (atomic_load(&e->is_lost) && try_lost_place(e, err) < 0)
        return NULL;
    scoped(str) char *lock = xasprintf("%s/" LOCK_NAME, e->dir);
    struct lmdb_env *fresh = open_unchecked(e, e->dir, lock, 0, err);
    if (!fresh)
        return NULL;
    fresh->is_folder_unsynced = e->is_folder_unsynced;
    fresh->losses = e->losses + atomic_load(&e->is_lost);
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
    if (lmdb_read_check(c->from, err) < 0)
        return -1;
    c->to->sum = c->sum;
    c->to->has_changed = true;
    return lmdb_write_commit(take_ptr(&c->to), err);
}

/* The parts are synced at once.  One more commit then: both of the copy's heads are good. */
static int do_sync(struct call *c)
{
    return mdb_env_sync(c->env->env, 1);
}

static int sync_copy(struct lmdb_env *copy, struct error *err)
{
    int rc = mdb_env_set_flags(copy->env, MDB_NOSYNC, 0);
    if (rc == 0)
        rc = run(copy, MAPPED_READ_AND_WRITE, do_sync, &(struct call){ .env = copy });
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

static int measure(struct call *c)
{
    int rc = mdb_env_stat(c->env->env, c->stat);
    if (rc == 0)
        rc = mdb_env_info(c->env->env, c->info);
    return rc == 0 && c->txn ? count_free_pages(c->txn, &c->n) : rc;
}

int lmdb_env_size(struct lmdb_env *e, size_t *size_bytes, size_t *in_use_bytes, struct error *err)
{
    struct lmdb_txn *t = lmdb_read_begin(e, err);
    if (!t)
        return -1;
    MDB_stat stat;
    MDB_envinfo info;
    struct call call = { .env = e, .txn = t->txn, .stat = &stat, .info = &info };
    int rc = run(e, MAPPED_READ, measure, &call);
    lmdb_read_end(t);
    if (rc)
        return fail(err, rc, "read the list of free pages");
    *size_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
    *in_use_bytes = *size_bytes - call.n * stat.ms_psize;
    return 0;
}

void lmdb_env_release(struct lmdb_env *e)
{
    MDB_stat stat;
    MDB_envinfo info;
    struct call call = { .env = e, .stat = &stat, .info = &info };
    if (run(e, MAPPED_READ, measure, &call) != 0)
        return;
    size_t size = (info.me_last_pgno + 1) * stat.ms_psize;
    if (size >= MAPPED_BYTES_KEPT)
        madvise((void *)(uintptr_t)e->map_start, size, MADV_DONTNEED);
}

/* ---- transactions ---- */

static struct lmdb_txn *begin(struct lmdb_env *e, unsigned flags, struct error *err)
{
    struct call call = { .env = e, .flags = flags };
    bool is_writing = !(flags & MDB_RDONLY);
    int rc = run(e, is_writing ? MAPPED_READ_AND_WRITE : MAPPED_READ, do_begin, &call);
    if (rc) {
        /* Left in its middle it may stay in the list of readers, and what it pins unused. */
        if (rc == EIO && !mapped_is_torn(e->map))
            atomic_store(&e->is_lost, true);
        fail(err, rc, "begin a database transaction");
        return NULL;
    }
    struct lmdb_txn *t = xmalloc(sizeof(*t));
    *t = (struct lmdb_txn){ .env = lmdb_env_ref(e), .txn = call.txn, .is_writing = is_writing };
    return t;
}

/* Of what LMDB was torn out of nothing is given back. */
static bool is_lost(const struct lmdb_txn *t)
{
    return t->is_writing && atomic_load(&t->env->is_lost);
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

int lmdb_read_check(const struct lmdb_txn *t, struct error *err)
{
    return mapped_is_torn(t->env->map) ? fail(err, EIO, "read the database") : 0;
}

void lmdb_read_rest(struct lmdb_txn *t)
{
    mdb_txn_reset(t->txn);
}

static int do_renew(struct call *c)
{
    return mdb_txn_renew(c->txn);
}

int lmdb_read_renew(struct lmdb_txn *t, struct error *err)
{
    int rc = run(t->env, MAPPED_READ, do_renew, &(struct call){ .txn = t->txn });
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

static struct call row_call(const struct lmdb_txn *t, enum lmdb_table table, struct bytes key)
{
    return (struct call){ .txn = t->txn, .dbi = t->env->dbi[table], .key = to_val(key) };
}

static int do_put(struct call *c)
{
    return mdb_put(c->txn, c->dbi, &c->key, &c->value, 0);
}

static int put_row(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value)
{
    struct call call = row_call(t, table, key);
    call.value = to_val(value);
    return run(t->env, MAPPED_READ_AND_WRITE, do_put, &call);
}

/* LMDB calls a write that was cut short EIO; a full disk is what cuts writes short. */
static bool is_disk_full(const struct lmdb_env *e)
{
    struct statvfs fs;
    return statvfs(e->dir, &fs) == 0 && fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

static void abort_writing(struct lmdb_txn *t)
{
    if (!is_lost(t))
        mdb_txn_abort(t->txn);
}

static int do_commit(struct call *c)
{
    return mdb_txn_commit(take_ptr(&c->txn));
}

static int commit(struct lmdb_txn *t)
{
    struct bytes sum = { (const char *)&t->sum, sizeof(t->sum) };
    int rc = t->has_changed ? put_row(t, TABLE_META, LMDB_SUM_KEY, sum) : 0;
    if (rc) {
        abort_writing(t);
        return rc;
    }
    struct call call = { .txn = t->txn };
    rc = run(t->env, MAPPED_READ_AND_WRITE, do_commit, &call);
    if (call.txn) /* it has not begun */
        abort_writing(t);
    return rc;
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
    abort_writing(t);
    free_txn(t);
}

/* ---- single rows ---- */

/* The first look at pages of a value's own, as long as a failure is only this call's. */
static void touch(const MDB_val *v)
{
    const volatile char *at = v->mv_data;
    for (size_t i = LMDB_ROW_BYTES_MAX; i < v->mv_size; i += LMDB_ROW_BYTES_MAX)
        (void)at[i];
    if (v->mv_size > LMDB_ROW_BYTES_MAX)
        (void)at[v->mv_size - 1];
}

static int do_get(struct call *c)
{
    int rc = mdb_get(c->txn, c->dbi, &c->key, &c->value);
    if (rc == 0)
        touch(&c->value);
    return rc;
}

int lmdb_get(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes *value,
             struct error *err)
{
    struct call call = row_call(t, table, key);
    int rc = run(t->env, MAPPED_READ, do_get, &call);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return fail(err, rc, "read the database");
    *value = from_val(&call.value);
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

static int do_delete(struct call *c)
{
    return mdb_del(c->txn, c->dbi, &c->key, NULL);
}

int lmdb_delete(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct error *err)
{
    struct call call = row_call(t, table, key);
    if (sum_row(t, table, key, NULL, err) < 0)
        return -1;
    int rc = run(t->env, MAPPED_READ_AND_WRITE, do_delete, &call);
    return rc && rc != MDB_NOTFOUND ? fail(err, rc, "delete from the database") : 0;
}

/* ---- rows that come last ---- */

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

static int do_append(struct call *c)
{
    int rc = mdb_stat(c->txn, c->dbi, c->stat);
    c->n = c->stat->ms_leaf_pages;
    if (rc == 0)
        rc = mdb_put(c->txn, c->dbi, &c->key, &c->value, MDB_APPEND);
    return rc ? rc : mdb_stat(c->txn, c->dbi, c->stat);
}

int lmdb_append(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct bytes value,
                struct error *err)
{
    struct call call = row_call(t, table, key);
    MDB_stat stat = { 0 };
    call.value = to_val(value);
    call.stat = &stat;
    int rc = run(t->env, MAPPED_READ_AND_WRITE, do_append, &call);
    if (rc)
        return fail(err, rc, "append to the database");
    note_room(t, table, key.len + value.len, call.n, &stat);
    t->sum += lmdb_row_sum(table_names[table], key, value);
    t->has_changed = true;
    return 0;
}

/* ---- cursors ---- */

static int do_open_cursor(struct call *c)
{
    return mdb_cursor_open(c->txn, c->dbi, &c->cursor);
}

struct lmdb_cursor *lmdb_cursor_open(struct lmdb_txn *t, enum lmdb_table table, struct error *err)
{
    struct call call = row_call(t, table, (struct bytes){ 0 });
    int rc = run(t->env, MAPPED_READ, do_open_cursor, &call);
    if (rc) {
        fail(err, rc, "open a cursor");
        return NULL;
    }
    struct lmdb_cursor *c = xmalloc(sizeof(*c));
    *c = (struct lmdb_cursor){ call.cursor, t, table };
    return c;
}

void lmdb_cursor_close(struct lmdb_cursor *c)
{
    if (!c)
        return;
    if (!is_lost(c->txn))
        mdb_cursor_close(c->cursor);
    free(c);
}

static int do_move(struct call *c)
{
    int rc = mdb_cursor_get(c->cursor, &c->key, &c->value, c->op);
    if (rc == 0)
        touch(&c->value);
    return rc;
}

static int move(struct lmdb_cursor *c, struct bytes from, MDB_cursor_op op, struct bytes *key,
                struct bytes *value, struct error *err)
{
    struct call call = { .cursor = c->cursor, .op = op, .key = to_val(from) };
    int rc = run(c->txn->env, MAPPED_READ, do_move, &call);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return fail(err, rc, "walk the database");
    *key = from_val(&call.key);
    *value = from_val(&call.value);
    return 1;
}

int lmdb_cursor_seek(struct lmdb_cursor *c, struct bytes from, struct bytes *key,
                     struct bytes *value, struct error *err)
{
    /* MDB_SET_RANGE refuses an empty key. */
    return move(c, from, from.len ? MDB_SET_RANGE : MDB_FIRST, key, value, err);
}

int lmdb_cursor_next(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                     struct error *err)
{
    return move(c, (struct bytes){ 0 }, MDB_NEXT, key, value, err);
}

int lmdb_cursor_previous(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                         struct error *err)
{
    return move(c, (struct bytes){ 0 }, MDB_PREV, key, value, err);
}

int lmdb_cursor_last(struct lmdb_cursor *c, struct bytes *key, struct bytes *value,
                     struct error *err)
{
    return move(c, (struct bytes){ 0 }, MDB_LAST, key, value, err);
}

static int do_delete_there(struct call *c)
{
    return mdb_cursor_del(c->cursor, 0);
}

int lmdb_cursor_delete(struct lmdb_cursor *c, struct error *err)
{
    struct bytes key, value;
    int got = move(c, (struct bytes){ 0 }, MDB_GET_CURRENT, &key, &value, err);
    if (got <= 0)
        return got;
    uint64_t sum = lmdb_row_sum(table_names[c->table], key, value);
    int rc = run(c->txn->env, MAPPED_READ_AND_WRITE, do_delete_there,
                 &(struct call){ .cursor = c->cursor });
    if (rc)
        return fail(err, rc, "delete from the database");
    c->txn->sum -= sum;
    c->txn->has_changed = true;
    return 0;
}
