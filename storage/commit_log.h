/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_log.h - what makes a group of transactions durable with one fdatasync.
 *
 * Two files take turns.  Each turn is a generation; a file is written over from its start once all
 * of its older generation has been flushed to the database, so that its blocks are allocated
 * already and a sync writes data only:
 *
 *     log.1   | frame gen 7 seq 40 | frame gen 7 seq 41 | torn | what is left of generation 5 ...
 *     log.0   | frame gen 6 seq 38 | frame gen 6 seq 39 | ...
 *
 * A frame is one group: it is there as a whole or not at all.  A bad frame that a good younger
 * one follows is corruption, since a frame is only written when the one before it is durable;
 * without a follower it is the torn end of a crash, and was never acknowledged.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#define LOG_FRAME_BYTES_MAX ((size_t)1 << 30) /* a deletion of some million keys */

struct commit_log;

struct commit_log_config {
    const char *dir;
    uint32_t salt;       /* the store's own: frames of another store are not ours */
    uint64_t generation; /* the last one that is in the database as a whole */
    uint64_t seq;        /* its last frame */
};
bool commit_log_exists(const char *dir); /* with anything in it */
struct commit_log *commit_log_open(const struct commit_log_config *config, struct error *err);
void commit_log_close(struct commit_log *l);

/* Calls FN for each frame that is not in the database yet, oldest first, and leaves the log ready
 * to append.  FN's failure ends it.  While FN has the first frame of the second generation, the log
 * still tells the generation and the last frame of the first.  ERR_IO: corrupt, or younger than the
 * database that it is to continue. */
typedef int commit_log_fn(struct bytes payload, uint64_t generation, void *arg, struct error *err);
must_check int commit_log_replay(struct commit_log *l, commit_log_fn *fn, void *arg,
                                 struct error *err);

/* The next frame: its payload is added to the buffer, then made durable.  After a failure
 * (ERR_NO_SPACE, ERR_IO) the frame is gone, and the log is as before. */
struct buffer *commit_log_begin(struct commit_log *l);
must_check int commit_log_sync(struct commit_log *l, struct error *err);

/* Starts the next generation in the other file, whose own is in the database. */
void commit_log_rotate(struct commit_log *l);

uint64_t commit_log_generation(const struct commit_log *l);
uint64_t commit_log_seq(const struct commit_log *l);
