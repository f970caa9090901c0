/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_env.c - the only file that knows LMDB. */
#include "storage/lmdb_env.h"

#include <errno.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/failpoint.h"

/* Read transactions open at once: worker threads, and watches that catch up. */
#define READERS_MAX     2048
/* The commit log asks for 4 MiB at a time; a file system may take them, and give them back when they
 * are not enough, while the database is being written. */
#define DISK_FULL_BYTES (8 << 20)

static const char *const table_names[TABLES] = {
    [TABLE_META] = "meta",     [TABLE_LATEST] = "latest",         [TABLE_HISTORY] = "history",
    [TABLE_LEASES] = "leases", [TABLE_LEASE_KEYS] = "lease_keys",
};

struct lmdb_env {
    MDB_env *env;
    MDB_dbi dbi[TABLES];
};

struct lmdb_txn {
    struct lmdb_env *env;
    MDB_txn *txn;
};

struct lmdb_cursor {
    MDB_cursor *cursor;
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

/* Reading a page that a truncated file no longer has would be a SIGBUS. */
static int check_length(MDB_env *env, struct error *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_filehandle_t fd;
    struct stat st;
    mdb_env_info(env, &info);
    mdb_env_stat(env, &stat);
    mdb_env_get_fd(env, &fd);
    if (fstat(fd, &st) < 0)
        return error_errno(err, "stat the database");
    if ((size_t)st.st_size < (info.me_last_pgno + 1) * stat.ms_psize)
        return error_set(err, ERR_IO, "the database is corrupt: it ends before its last page");
    return 0;
}

struct lmdb_env *lmdb_env_open(const char *dir, size_t map_bytes, struct error *err)
{
    struct lmdb_env *e = xcalloc(1, sizeof(*e));
    int rc = mdb_env_create(&e->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(e->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(e->env, dir, MDB_NOTLS, 0600);
    if (rc) {
        fail(err, rc, "open the database");
        lmdb_env_close(e);
        return NULL;
    }
    int dead = 0;
    mdb_reader_check(e->env, &dead); /* slots of a process that was killed */
    if (check_length(e->env, err) < 0 || open_tables(e, err) < 0) {
        lmdb_env_close(e);
        return NULL;
    }
    return e;
}

void lmdb_env_close(struct lmdb_env *e)
{
    if (!e)
        return;
    if (e->env)
        mdb_env_close(e->env);
    free(e);
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
    *t = (struct lmdb_txn){ e, txn };
    return t;
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
    free(t);
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
    return begin(e, 0, err);
}

/* LMDB calls a write that was cut short EIO; a full disk is what cuts writes short. */
static bool is_disk_full(MDB_env *env)
{
    mdb_filehandle_t fd;
    struct statvfs fs;
    mdb_env_get_fd(env, &fd);
    return fstatvfs(fd, &fs) == 0 && fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

int lmdb_write_commit(struct lmdb_txn *t, struct error *err)
{
    if (failpoint("storage.database.commit")) {
        int number = errno;
        lmdb_write_abort(t);
        return fail(err, number, "commit to the database");
    }
    int rc = mdb_txn_commit(t->txn);
    if (rc == EIO && is_disk_full(t->env->env))
        rc = ENOSPC;
    (void)failpoint("storage.database.committed");
    free(t);
    return rc ? fail(err, rc, "commit to the database") : 0;
}

void lmdb_write_abort(struct lmdb_txn *t)
{
    mdb_txn_abort(t->txn);
    free(t);
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
    MDB_val k = to_val(key), v = to_val(value);
    int rc = mdb_put(t->txn, t->env->dbi[table], &k, &v, 0);
    return rc ? fail(err, rc, "write to the database") : 0;
}

int lmdb_delete(struct lmdb_txn *t, enum lmdb_table table, struct bytes key, struct error *err)
{
    MDB_val k = to_val(key);
    int rc = mdb_del(t->txn, t->env->dbi[table], &k, NULL);
    return rc && rc != MDB_NOTFOUND ? fail(err, rc, "delete from the database") : 0;
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
    c->cursor = cursor;
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
