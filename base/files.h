/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.h - small things with files that several modules do.
 *
 * Threads: any.
 */
#pragma once

#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

must_check int files_make_dirs(const char *path, mode_t mode, struct error *err); /* mkdir -p */
/* The folders above PATH, not PATH itself. */
must_check int files_make_parents(const char *path, mode_t mode, struct error *err);
/* Written beside PATH and renamed over it: readers see the old or the new text, never half of one.
 */
must_check int files_write(const char *path, struct bytes text, mode_t mode, struct error *err);
/* The same, and on disk before it returns: for what cannot be made again. */
must_check int files_write_durably(const char *path, struct bytes text, mode_t mode,
                                   struct error *err);
must_check int files_write_all(int fd, struct bytes text, struct error *err);
/* Makes what was done to the entries of a folder last: files made, renamed, removed. */
must_check int files_sync_dir(const char *dir, struct error *err);
/* The same for all folders above PATH: somebody may just have made them. */
must_check int files_sync_parents(const char *path, struct error *err);
/* Whole file, at most LIMIT bytes.  ERR_NOT_FOUND, ERR_TOO_LARGE. */
must_check int files_read(const char *path, size_t limit, struct arena *a, struct bytes *out,
                          struct error *err);
/* The first line without its end; "" if it cannot be read: for /proc and /sys. */
const char *files_line(const char *path, struct arena *a);
/* rm -rf that does not cross mounts and does not follow symbolic links. */
must_check int files_remove_tree(const char *path, struct error *err);
/* "a/../.." escapes: true if PATH is relative and stays below where it starts. */
bool files_is_below(const char *relative);
bool files_is_mount_point(const char *path);

/* The program's path if one of PATH's folders (or the usual ones) has it; NULL. */
const char *files_find_program(const char *name, struct arena *a);
