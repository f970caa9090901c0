/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapped.h - files that are read through a map, on a disk that may fail.
 *
 * What the disk cannot read is a bus error, by which a process ends.  In a map that is known here:
 *
 *     a call into a library, trapped     returns to the trap; nothing is changed
 *     any other code                     reads a blank page instead, and the map is torn for ever:
 *                                        who has read in it asks so before believing anything
 *
 * A library that writes to what it has read must not find a blank page there: a map is torn only
 * between such calls, and none begins in a torn one.
 *
 * Other bus errors have the effect they had before.
 *
 * Threads: any.  A trap is its thread's; they do not nest.
 */
#pragma once

#include <setjmp.h>

#include "base/bytes.h"
#include "base/error.h"

struct mapped;

/* LEN bytes from START on, where other code than trapped calls may read from now on.  A blank page
 * begins with BLANK and goes on in zeros.  ERR_UNAVAILABLE: there are too many. */
struct mapped *mapped_new(const void *start, size_t len, struct bytes blank, struct error *err);
void mapped_end(struct mapped *m); /* nobody reads it any more; NULL is fine */
bool mapped_is_torn(const struct mapped *m);

enum mapped_use { MAPPED_READ, MAPPED_READ_AND_WRITE };
struct mapped_trap {
    sigjmp_buf back; /* mapped_trap_begin()'s caller calls sigsetjmp(trap.back, 0) next */
    struct mapped *map;
    enum mapped_use use;
    const void *fault; /* after a return with MAPPED_UNREADABLE: what could not be read */
};
/* How sigsetjmp() returns; other numbers are whose siglongjmp() it was. */
#define MAPPED_UNREADABLE 1

/* MAP is NULL while its place is not known: any bus error is its.  False: it is torn. */
must_check bool mapped_trap_begin(struct mapped_trap *t, struct mapped *map, enum mapped_use use);
void mapped_trap_end(struct mapped_trap *t);
/* The thread's, for a library that gives up in another way: siglongjmp(trap->back, 2). */
struct mapped_trap *mapped_trap_current(void);
