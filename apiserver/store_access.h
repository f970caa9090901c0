/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_access.h - objects in the store: keys, and writes that hand their parsed form to the watch
 * cache.
 *
 *     /registry/<group, or core>/<plural>/<namespace>/<name>   ->   the object's JSON without its
 *                                                                    resourceVersion, sealed for
 *                                                                    resources that encryption.h
 *                                                                    covers
 *
 * A write prints the draft once.  The store's publisher makes the draft an object at its revision
 * (store_write_object), puts the revision into the printed text, and the cache, the writer's answer
 * and the watchers share both.
 *
 * Threads: any; the writes block (worker threads).
 */
#pragma once

#include "apiserver/request.h"
#include "storage/storage.h"

#define STORE_ROOT "/registry/"

char *store_prefix(const struct resource *r, struct arena *a); /* "/registry/apps/deployments/" */
struct bytes store_key(const struct resource *r, const struct object_key *key, struct arena *a);
struct bytes store_prefix_end(struct bytes prefix,
                              struct arena *a); /* the first key after all of PREFIX */

enum store_result {
    STORE_FAILED = -1, /* err says why */
    STORE_DONE = 0,
    STORE_CONFLICT = 1, /* the key is not at the revision expected; nothing was written */
};

/* Writes NEW under KEY, if that is at EXPECTED_REVISION (0: is absent).  Takes NEW in every case.
 * On STORE_DONE *OUT is the object that readers see, a reference for the caller.  TTL_S 0: for
 * ever. */
must_check enum store_result store_put(struct apiserver *a, const struct object_key *key,
                                       struct draft *new_take, int64_t expected_revision,
                                       int64_t ttl_s, struct object **out, struct error *err);
/* The same for an object that holds what must not be given twice (cluster addresses, node ports).
 * What is taken is read off the caches, so the write is done only if no server has written such an
 * object since R->seen_revision; otherwise it has failed, and R->is_contended is set. */
must_check enum store_result store_put_allocated(struct request *r, const struct object_key *key,
                                                 struct draft *new_take, int64_t expected_revision,
                                                 struct object **out, struct error *err);
/* Removes O if it has not changed. */
must_check enum store_result store_delete(struct apiserver *a, const struct object *o,
                                          int64_t *revision, struct error *err);

/* What is stored for TEXT under KEY, in ARENA. */
must_check int store_seal(const struct apiserver *a, const struct resource *r, struct bytes key,
                          struct bytes text, struct arena *arena, struct bytes *out,
                          struct error *err);
/* The object that is stored as KV: opened if it is sealed, then parsed. */
struct object *store_parse(const struct apiserver *a, const struct resource *r,
                           const struct storage_kv *kv, struct error *err);
/* O is stored under a key that is no longer the one to write with: a write of it as it is, is one.
 */
bool store_is_stale(const struct apiserver *a, const struct object *o);

/* The object behind an attachment of a storage event at REVISION: a reference; NULL if ATTACHMENT
 * is. */
struct object *store_write_object(void *attachment, int64_t revision);
