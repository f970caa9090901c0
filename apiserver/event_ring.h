/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_ring.h - what happened to a resource's objects a short while ago, for watches that resume
 * and for lists of a moment ago.
 *
 *     add -> [ newest ... e3 e2 e1 ] -> gone: too many, too large together, or too old
 *
 * A write leaves its object with the JSON text that it had to print.  The writer and the watchers
 * get it; then it goes, from what is as from what was: it is most of what an object costs, and who
 * asks has it printed again.
 *
 * Threads: under the owner's lock for writing, and event_ring_at() for reading.
 */
#pragma once

#include "apiserver/watch_cache.h"
#include "base/clock.h"

#define RING_EVENTS_FIRST 128 /* room for so many; doubled up to RING_EVENTS_MAX */
#define RING_EVENTS_MIN   100 /* kept whatever their age, as upstream does */
#define RING_EVENTS_MAX   4096
#define RING_BYTES_MAX    ((size_t)16 << 20) /* counted when an event comes */
/* A client that lost its connection comes back within a minute or so and should not have to list
 * again: events that are younger stay if they may, older ones go but for RING_EVENTS_MIN. */
#define RING_KEPT_NS (75 * NS_PER_S)

struct event_ring { /* zero-initialised is empty and ready */
    struct cache_event **events;
    size_t first, n, capacity;
    size_t bytes;
    int64_t since; /* every change after this revision is in the ring */
};

/* The I-th event, the oldest first. */
static inline struct cache_event *event_ring_at(const struct event_ring *r, size_t i)
{
    return r->events[(r->first + i) % r->capacity];
}
size_t event_ring_after(const struct event_ring *r, int64_t revision); /* the first such event */

/* These return what had to go, to be released with cache_events_release() without the lock. */
struct cache_event *event_ring_add(struct event_ring *r, struct cache_event *e); /* takes no ref */
struct cache_event *event_ring_expire(struct event_ring *r, int64_t now_ns);
struct cache_event *event_ring_clear(struct event_ring *r, int64_t since);
void event_ring_deinit(struct event_ring *r);

/* Releases a chain of events; the bytes that they counted for. */
size_t cache_events_release(struct cache_event *chain);
