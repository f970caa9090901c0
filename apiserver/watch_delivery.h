/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_delivery.h - one thread that hands changes to watchers.
 *
 * The store's publisher only appends to a queue; here each change meets the watchers that may care
 * for it: watchers are indexed by resource and name, spec.nodeName or namespace, so a change costs
 * what its interested watchers cost.  Everything a watcher is told comes from this thread, in
 * revision order.
 *
 * Threads: any for the functions; a watcher's ops run on the delivery thread only.
 */
#pragma once

#include "apiserver/watch_cache.h"
#include "base/due_heap.h"

struct watch_delivery;
struct watcher;

enum watch_encoding {
    WATCH_AS_OBJECT,
    WATCH_AS_METADATA,
    WATCH_AS_TABLE_METADATA, /* a row with the object's metadata, ... */
    WATCH_AS_TABLE_NONE,
    WATCH_AS_TABLE_OBJECT,
    WATCH_ENCODINGS,
};

/* What was encoded for a change, by the type that a watcher sees and the encoding: made by the
 * first watcher that needs it, shared by the others. */
struct watch_frames {
    struct object *left; /* the state that a watcher sees as deleted when it leaves a selection */
    struct shared_bytes *frames[WATCH_BOOKMARK][WATCH_ENCODINGS];
};

struct watcher_ops {
    /* FRAMES is NULL for what existed when the watch began. */
    void (*event)(struct watcher *w, enum watch_type type, const struct object *o,
                  struct watch_frames *frames);
    void (*initial_done)(
        struct watcher *w); /* may be NULL: the events of the beginning are complete */
    void (*bookmark)(struct watcher *w, int64_t revision, bool ends_initial_events);
    /* May be NULL: the last of a batch has been told, so it may go out. */
    void (*flush)(struct watcher *w);
    bool (*is_slow)(struct watcher *w); /* asked after flush; true: it is closed */
    /* No call follows but free.  ERR NULL: its time is over. */
    void (*ended)(struct watcher *w, const struct error *err);
    void (*free)(struct watcher *w);
};

struct watcher { /* first member of every implementation */
    const struct watcher_ops *ops;
    struct watch_cache *cache;
    const struct resource *resource;     /* the version that is wanted */
    const char *ns, *name;               /* "": every one */
    const char *node;                    /* what spec.nodeName must be; "": anything */
    const struct selector *labels;       /* NULL: none */
    const struct field_selector *fields; /* NULL: none */
    int64_t resource_version;            /* events after it, unless WITH_INITIAL_EVENTS */
    bool with_initial_events;            /* first an ADDED for everything there is */
    bool with_initial_end;               /* then a bookmark that says so */
    bool with_bookmarks;
    int64_t timeout_ns; /* 0: none */

    /* The delivery thread's own. */
    int64_t since;         /* it knows everything up to here from when it began */
    int64_t told_revision; /* of the last event: others of the same revision may follow */
    int64_t deadline_ns, bookmark_ns; /* monotonic */
    struct due_node due;              /* the sooner of them */
    size_t bucket_index;
    struct watch_bucket *bucket;
    bool is_told; /* events that were not flushed yet */
    bool is_ended;
};

struct watch_delivery *watch_delivery_start(struct apiserver *a, int64_t revision,
                                            struct error *err);
void watch_delivery_stop(struct watch_delivery *d); /* ends and frees every watcher */

void watch_delivery_push_take(struct watch_delivery *d, struct cache_event *e);
void watch_delivery_advance(struct watch_delivery *d,
                            int64_t revision); /* pushed up to here: deliver */

void watch_delivery_add(struct watch_delivery *d, struct watcher *w); /* takes W */
/* W gets no call but free, soon. */
void watch_delivery_remove(struct watch_delivery *d, struct watcher *w);
/* The same, and waits until it has happened: not from a watcher's own ops. */
void watch_delivery_remove_wait(struct watch_delivery *d, struct watcher *w);
/* Ends every watcher that is over a socket (that has a timeout): the server is stopping. */
void watch_delivery_end_all(struct watch_delivery *d);
/* Ends every watcher with ERR_COMPACTED: there are changes that none was told of. */
void watch_delivery_expire_all(struct watch_delivery *d);
