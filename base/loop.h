/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - an event-loop thread with a mailbox and timers.
 *
 * What runs on a loop never blocks.  Everything else gets there by loop_post().
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct loop;

struct loop *loop_start(const char *name, struct error *err); /* a thread of its own */
void loop_stop(struct loop *l); /* runs what was posted before, joins the thread, frees */

/* Runs fn(arg) on the loop's thread, in the order of the calls.  Threads: any. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* One-shot timers.  Threads: the loop's own. */
struct loop_timer;
struct loop_timer *loop_timer_start(struct loop *l, int64_t after_ms, void (*fn)(void *arg),
                                    void *arg);
void loop_timer_cancel(struct loop_timer *t); /* NULL is fine; not after it has fired */

/* Watches a descriptor for reading.  Threads: the loop's own. */
struct loop_watch;
struct loop_watch *loop_watch_readable(struct loop *l, int fd, void (*fn)(int fd, void *arg),
                                       void *arg);
void loop_watch_cancel(struct loop_watch *w);
