/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_watchers.h - watches that go on over crashes, and what they were told.
 *
 * Each is opened again where it was: after the last event, or after the last revision that its
 * progress was told to be.  Their messages are kept and judged once it is known what happened.
 *
 * Threads: one at a time.
 */
#pragma once

#include <pthread.h>

#include "test/fault/crash_keys.h"
#include "test/fault/etcd_calls.h"

enum {
    WATCH_ALL,      /* with what was there before */
    WATCH_PREFIX,   /* the same */
    WATCH_KEY,      /* a single one */
    WATCH_PUTS,     /* a prefix, without deletions, with progress by itself */
    WATCH_REPLAY,   /* not the same watch: each time from some old revision */
    WATCH_TOO_LATE, /* nor this: from a compacted revision, to be told so */
    WATCHES,
    WATCHES_RESUMED = WATCH_REPLAY,
};

struct watch_message {
    int id; /* of the watch, or WATCHES for what concerns all of the stream */
    bool is_canceled;
    int64_t compacted;
    struct watched_message told;
};

/* One call; its watches share its progress. */
struct watch_stream {
    struct grpc_stream *stream;
    pthread_t thread;
    _Atomic int64_t *watched;
    struct arena *arena; /* of the messages */
    struct watch_message *messages;
    size_t n, capacity;
    struct error err;         /* a message that cannot be */
    _Atomic int64_t progress; /* every watch of it has been told all up to there */
};

struct crash_watchers {
    struct watcher watchers[WATCHES];
    bool is_canceled[WATCHES]; /* while judging */
    struct watch_stream streams[2];
    struct grpc_channel *channel;
    _Atomic int64_t *watched;
};

/* WATCHED is told how far the watch of all keys has got. */
void crash_watchers_init(struct crash_watchers *w, _Atomic int64_t *watched);
/* REPLAY_FROM and TOO_LATE_FROM: 0: without. */
void crash_watchers_open(struct crash_watchers *w, const char *target, int64_t replay_from,
                         int64_t too_late_from);
void crash_watchers_ask_progress(struct crash_watchers *w);
int64_t crash_watchers_progress(struct crash_watchers *w); /* every watch has got that far */
void crash_watchers_join(struct crash_watchers *w);        /* the server is dead, or closes them */
/* All they know about revisions. */
must_check int crash_watchers_note(struct crash_watchers *w, struct timeline *t, struct error *err);
/* Judges the messages against what is sealed, and drops them.  COMPACTED: the highest revision
 * that was asked to be. */
must_check int crash_watchers_judge(struct crash_watchers *w, const struct timeline *t,
                                    int64_t compacted, struct error *err);
