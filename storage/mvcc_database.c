/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc_database.c - which database file is the one: after a failure, and when it is made smaller.
 */
#include "base/failpoint.h"
#include "base/log.h"
#include "storage/mvcc_internal.h"

static void use_env(struct mvcc *m, struct lmdb_env *env)
{
    pthread_mutex_lock(&m->lock);
    struct lmdb_env *old = m->env;
    m->env = env;
    while (m->pool_n) /* they rest, so ending them is quick */
        lmdb_read_end(m->pool[--m->pool_n]);
    pthread_mutex_unlock(&m->lock);
    lmdb_env_unref(old);
}

struct lmdb_env *mvcc_env_ref(struct mvcc *m)
{
    pthread_mutex_lock(&m->lock);
    struct lmdb_env *env = lmdb_env_ref(m->env);
    pthread_mutex_unlock(&m->lock);
    return env;
}

/* Under the write lock. */
static void revive_if_dead(struct mvcc *m)
{
    struct error err = { 0 };
    struct lmdb_env *env = lmdb_env_is_dead(m->env) ? lmdb_env_revive(m->env, &err) : NULL;
    if (env)
        use_env(m, env);
    if (err.code && !m->was_revival_refused) /* the next transaction tries again */
        log_error("storage", "open the database again: %s", err.message);
    m->was_revival_refused = err.code;
}

void mvcc_revive(struct mvcc *m)
{
    pthread_mutex_lock(&m->write_lock);
    revive_if_dead(m);
    pthread_mutex_unlock(&m->write_lock);
}

struct lmdb_txn *mvcc_write_begin(struct mvcc *m, struct error *err)
{
    pthread_mutex_lock(&m->write_lock);
    struct lmdb_txn *t = lmdb_write_begin(m->env, err);
    if (t)
        return t;
    revive_if_dead(m);
    pthread_mutex_unlock(&m->write_lock);
    return NULL;
}

int mvcc_write_commit(struct mvcc *m, struct lmdb_txn *t, struct error *err)
{
    int rc = lmdb_write_commit(t, err);
    if (rc < 0)
        revive_if_dead(m);
    pthread_mutex_unlock(&m->write_lock);
    return rc;
}

void mvcc_write_abort(struct mvcc *m, struct lmdb_txn *t)
{
    lmdb_write_abort(t);
    pthread_mutex_unlock(&m->write_lock);
}

int mvcc_defragment(struct mvcc *m, struct error *err)
{
    pthread_mutex_lock(&m->write_lock);
    struct lmdb_env *env = lmdb_env_compact(m->env, err);
    if (env)
        use_env(m, env);
    pthread_mutex_unlock(&m->write_lock);
    if (!env)
        return error_wrap(err, "defragment the database");
    mvcc_note_size(m);
    (void)failpoint("storage.defragment.end");
    return 0;
}
