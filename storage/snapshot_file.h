/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_file.h - the store as etcd keeps it on disk: a bbolt file that etcdctl and etcd read.
 *
 *     page 0, 1   meta: where the root bucket is          page 2   free list: empty
 *     page 3...   the trees of the buckets "key" and "lease", leaves before branches
 *     last        root bucket: every bucket's name; small buckets lie inside it
 *     after that  SHA-256 of all before it, as etcd appends it to snapshots
 *
 * The trees are written in one pass, since revisions come in order.
 *
 * Threads: any.
 */
#pragma once

#include "base/crypto.h"
#include "storage/storage.h"

#define SNAPSHOT_VERSION_KEY_BYTES 18

/* A version's row in the bucket "key": revision, sub, and a mark on deletions.  Returns its length.
 */
size_t snapshot_version_key(const struct storage_version *v, char out[SNAPSHOT_VERSION_KEY_BYTES]);
void snapshot_version_value(const struct storage_version *v, struct buffer *out);

/* Writes S as it is now to FD, an empty file open for reading and writing. */
must_check int snapshot_file_write(struct storage *s, int fd, struct error *err);

/* SHA-256 of the first BYTES of FD. */
must_check int snapshot_file_digest(int fd, uint64_t bytes, uint8_t out[SHA256_BYTES],
                                    struct error *err);

/* ERR_NO_SPACE when the disk of FD is all but full: the store writes to the same one as a rule, and
 * must not fail because of a snapshot. */
must_check int snapshot_file_check_room(int fd, struct error *err);
