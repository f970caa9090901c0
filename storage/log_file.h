/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_file.h - a file of whole blocks that are written past the page cache.
 *
 * Compared with writing through the cache, a sync is some 10 us shorter and costs the processor
 * half: nothing is copied, and no page has to be found, marked and cleaned.  Room is taken and
 * filled with zeros ahead of the writes, so that a sync changes neither the file's size nor its
 * extents.
 *
 * Threads: one at a time.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"

#define LOG_BLOCK_BYTES ((size_t)4096)

struct log_file {
    int fd;          /* -1: closed */
    off_t allocated; /* its size */
};

must_check int log_file_open(struct log_file *f, const char *path, struct error *err);
void log_file_close(struct log_file *f);

/* 1; 0: it ends before that; -1.  Only before log_file_bypass_cache(). */
must_check int log_file_read(struct log_file *f, void *out, size_t len, off_t offset,
                             struct error *err);

/* From here on it is only written.  A file system that cannot do it keeps its cache. */
void log_file_bypass_cache(struct log_file *f);
/* ERR_NO_SPACE, ERR_IO, as the next two. */
must_check int log_file_make_room(struct log_file *f, off_t end, struct error *err);
/* BLOCKS, LEN and OFFSET are multiples of LOG_BLOCK_BYTES, within the room. */
must_check int log_file_write(struct log_file *f, const char *blocks, size_t len, off_t offset,
                              struct error *err);
must_check int log_file_sync(struct log_file *f, struct error *err);
/* Tells errno's failure to do WHAT; ERR_NO_SPACE is what goes away with space.  Returns -1. */
int log_file_error(struct error *err, const char *what);
