/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.h - a store in a temporary folder, for the tests of this folder. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "storage/storage.h"

/* The remote store is tested against the embedded one, served as etcd in this process. */
struct fixture {
    char dir[64];
    struct storage *s; /* the one under test */
    struct arena *arena;
    int64_t compact_interval_ms;
    bool is_remote;
    struct storage *served; /* behind the remote one */
    struct storage_etcd_server *server;
};

static inline void shut(struct fixture *f)
{
    storage_close(f->s);
    f->s = NULL;
    if (f->server)
        storage_etcd_stop(f->server);
    f->server = NULL;
    storage_close(f->served);
    f->served = NULL;
}

static inline void open_server(struct fixture *f)
{
    struct error err = { 0 };
    scoped(str) char *address = xasprintf("unix:%s/etcd", f->dir);
    struct storage_etcd_config config = { .storage = f->served,
                                          .bind_address = address,
                                          .scratch_dir = f->dir };
    f->server = storage_etcd_start(&config, &err);
    if (!f->server)
        fail_msg("%s", err.message);
}

static inline void open_remote(struct fixture *f)
{
    struct error err = { 0 };
    f->served = f->s;
    open_server(f);
    scoped(str) char *url = xasprintf("unix://%s/etcd", f->dir);
    struct storage_remote_config remote = { .endpoints = url, .compact_interval_ms = -1 };
    f->s = storage_open_remote(&remote, &err);
    if (!f->s)
        fail_msg("%s", err.message);
}

static inline void reopen(struct fixture *f)
{
    struct error err = { 0 };
    shut(f);
    struct storage_embedded_config config = { .dir = f->dir,
                                              .compact_interval_ms = f->compact_interval_ms };
    f->s = storage_open_embedded(&config, &err);
    if (!f->s)
        fail_msg("%s", err.message);
    if (f->is_remote)
        open_remote(f);
}

static inline int setup_of(void **state, bool is_remote)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->is_remote = is_remote;
    snprintf(f->dir, sizeof(f->dir), "/tmp/coracle-storage-test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->arena = arena_new();
    f->compact_interval_ms = -1;
    reopen(f);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_of(state, false);
}

static inline int setup_remote(void **state)
{
    return setup_of(state, true);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    failpoints_set(NULL);
    shut(f);
    arena_free(f->arena);
    nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static inline int64_t apply(struct fixture *f, const struct storage_txn *txn,
                            struct storage_txn_result *out)
{
    struct error err = { 0 };
    struct storage_txn_result result;
    if (storage_txn(f->s, txn, f->arena, out ? out : &result, &err) < 0)
        fail_msg("%s", err.message);
    return out ? out->revision : result.revision;
}

static inline int64_t apply_op(struct fixture *f, const struct storage_op *op,
                               struct storage_txn_result *out)
{
    struct storage_txn txn = { .success = op, .success_n = 1 };
    return apply(f, &txn, out);
}

static inline int64_t put(struct fixture *f, const char *key, const char *value)
{
    struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .value = bytes_of(value) };
    return apply_op(f, &op, NULL);
}

static inline int64_t del(struct fixture *f, const char *key)
{
    struct storage_op op = { .type = STORAGE_DELETE, .key = bytes_of(key) };
    return apply_op(f, &op, NULL);
}

static inline struct storage_range_result range(struct fixture *f, const char *key, const char *end,
                                                int64_t revision)
{
    struct error err = { 0 };
    struct storage_range_result out;
    struct storage_range r = { .key = bytes_of(key), .end = bytes_of(end), .revision = revision };
    if (storage_range(f->s, &r, f->arena, &out, &err) < 0)
        fail_msg("%s", err.message);
    return out;
}
