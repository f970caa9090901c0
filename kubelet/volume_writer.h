/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_writer.h - files that all change at once.
 *
 *     dir/..2026_11_20_21_15_03.512345678/key     the files
 *     dir/..data -> ..2026_11_20_21_15_03.512345678
 *     dir/key -> ..data/key
 *
 * A new set is written beside the old one, then ..data is renamed over: a reader of two keys
 * through one open of ..data never sees a mixture.  Nothing is written when nothing differs.
 *
 * Threads: one at a time for one folder.
 */
#pragma once

#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

struct volume_file {
    const char *path; /* relative, without ".." */
    struct bytes data;
    mode_t mode;
};
struct volume_files { /* zero-initialised is empty */
    struct volume_file *items;
    size_t n, capacity;
};
#define VOLUME_FILES_MAX 10000

/* ERR_INVALID if the path leaves the volume. */
must_check int volume_files_add(struct volume_files *f, struct arena *a, struct volume_file file,
                                struct error *err);
bool volume_is_written(const char *dir); /* some set of files is there */

/* GROUP -1: none; else it may read everything.  DIR itself is open to everybody, and sticky if it
 * was so before, as upstream's: what is in it is not, and containers see it read-only. */
must_check int volume_write(const char *dir, const struct volume_files *files, int64_t group,
                            struct error *err);
