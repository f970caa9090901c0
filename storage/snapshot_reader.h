/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_reader.h - rows of a snapshot: one of ours or etcd's, also inside a .zip archive.
 *
 * The file comes from outside: its sum is checked, and so is every page number, position and
 * order of keys on the way, so that a damaged or hostile file is an error and nothing worse.
 *
 * Threads: one at a time.
 */
#pragma once

#include "storage/storage.h"

struct snapshot_reader;

struct snapshot_reader *snapshot_reader_open(const char *path, enum storage_snapshot_check check,
                                             struct error *err);
void snapshot_reader_close(struct snapshot_reader *r); /* NULL is fine */
DEFINE_SCOPED(snapshot_reader, struct snapshot_reader *, snapshot_reader_close)
/* Must be asked before anything that was read is believed: ERR_IO if the disk could not read all.
 */
must_check int snapshot_reader_check(const struct snapshot_reader *r, struct error *err);
uint64_t snapshot_reader_size(const struct snapshot_reader *r); /* without the sum */

typedef int snapshot_row_fn(struct bytes key, struct bytes value, void *arg, struct error *err);
/* FN for each row of a bucket, keys ascending; both are borrowed from the reader.  A bucket that is
 * not there has no rows. */
must_check int snapshot_reader_each(struct snapshot_reader *r, const char *bucket,
                                    snapshot_row_fn *fn, void *arg, struct error *err);
/* FN for each bucket: its name as KEY. */
must_check int snapshot_reader_each_bucket(struct snapshot_reader *r, snapshot_row_fn *fn,
                                           void *arg, struct error *err);

/* The reverse of snapshot_version_key() and snapshot_version_value(); OUT borrows, or lives in
 * ARENA. */
must_check int snapshot_version_parse(struct bytes key, struct bytes value,
                                      struct storage_version *out, struct error *err);
