/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_watch.h - tells those who follow logs that something happened in the folder of theirs.
 *
 * One inotify instance and one thread for all of them: a user has 128 instances by default, and
 * other programs want some.
 *
 *     the runtime writes --inotify--> thread --eventfd--> each follower of that folder
 *
 * Threads: any.
 */
#pragma once

#include <stdatomic.h>

#include "base/error.h"

struct log_watch;

struct log_follower { /* on the stack of who follows */
    struct log_follower *next;
    int folder;
    int wake_fd;            /* readable: look at the files */
    atomic_bool was_closed; /* a writer of a file in the folder has gone; who reads it resets it */
};

struct log_watch *log_watch_new(struct error *err);
void log_watch_free(struct log_watch *w); /* nobody follows any more */

/* What happens in DIR from now on is told, until log_watch_end(). */
must_check int log_watch_begin(struct log_watch *w, struct log_follower *f, const char *dir,
                               struct error *err);
void log_watch_end(struct log_watch *w, struct log_follower *f);
