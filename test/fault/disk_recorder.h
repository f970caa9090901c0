/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_recorder.h - what a process does to the files of one folder, and what a power cut leaves.
 *
 *     write 7 | write 8 | sync begins | write 9 | sync ends | write 10 | cut
 *     ---------- on disk for sure ----            -------- each block may be there, or not
 *
 * The program's own write, fdatasync and so on stand in for libc's, for LMDB too.  A file's bytes
 * and its size, and a folder's names, are durable only once that file, or that folder, was synced;
 * until then each may survive without the others, in any order, torn at the edges of sectors.
 * What is written through a map is not seen; the store has no such file.
 *
 * Threads: the hooks any; the rest while nobody else uses the folder.
 */
#pragma once

#include <stddef.h>

#include "base/clock.h"

/* Forgets all before.  What lies in FOLDER now is on disk; it may not exist yet, what is above it
 * is.  Its parent counts too. */
void disk_record(const char *folder);
void disk_record_stop(void);
size_t disk_position(void); /* operations so far */

/* What comes of the bytes, sizes and names that were not synced. */
enum disk_fate {
    DISK_LOSES_ALL,
    DISK_KEEPS_ALL,
    DISK_LOSES_BYTES,   /* sizes and names are kept: blocks that were new are zeros */
    DISK_LOSES_NAMES,   /* sizes and bytes are kept */
    DISK_KEEPS_LAST,    /* of the bytes, only the last write's */
    DISK_LOSES_LAST,    /* all but the last write's */
    DISK_TEARS,         /* the last write is cut at a sector; what was before it is kept */
    DISK_MIXES_SECTORS, /* 512 bytes here, 512 bytes there */
    DISK_MIXES_PAGES,
    DISK_FATES,
};
/* Makes in INTO, which must not exist, what FOLDER is after a cut behind POSITION operations. */
void disk_make(const char *into, size_t position, enum disk_fate fate, struct rng *rng);
