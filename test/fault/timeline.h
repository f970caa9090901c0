/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeline.h - what a store did at each revision, put together from all who saw a part of it.
 *
 * Clients know what they wrote and at which revision, watchers what they were told, readers what
 * they found.  Whatever two of them know must agree; revisions have no gap; versions and creation
 * follow from what came before.  Once a stretch is sealed, watchers and old reads are held against
 * it.
 *
 * Keys are numbered in the order of their names, values are numbers: 0 is none.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct change {
    int64_t revision;
    uint32_t key;
    uint64_t value; /* 0: the key was deleted */
    int64_t lease;
    int64_t create_revision, version; /* 0: who noted it was not told; of a deletion */
};

struct timeline;

#define TIMELINE_FIRST_REVISION 2 /* the empty store is at 1 */

struct timeline *timeline_new(uint32_t keys_n);
void timeline_free(struct timeline *t);

/* Somebody saw these changes at REVISION, one per key. */
enum timeline_extent { TIMELINE_PART, TIMELINE_WHOLE }; /* whole: and no others */
must_check int timeline_note(struct timeline *t, int64_t revision, const struct change *changes,
                             size_t n, enum timeline_extent extent, struct error *err);
/* Has somebody seen all of REVISION? */
bool timeline_is_whole(const struct timeline *t, int64_t revision);
/* All up to REVISION has been noted: from here on it is what happened. */
must_check int timeline_seal(struct timeline *t, int64_t revision, struct error *err);
int64_t timeline_sealed(const struct timeline *t);

/* ---- of what is sealed ---- */

/* The last change of KEY up to REVISION; NULL: there was none. */
const struct change *timeline_last(const struct timeline *t, uint32_t key, int64_t revision);
/* The same if the key existed then. */
const struct change *timeline_find(const struct timeline *t, uint32_t key, int64_t revision);
const struct change *timeline_changes(const struct timeline *t, int64_t revision, size_t *n);

/* ---- a watcher ---- */

struct watched_event {
    struct change now;
    struct change before; /* revision 0: none was sent */
};
struct watched_message {
    int64_t header_revision;
    const struct watched_event *events; /* none: progress */
    size_t n;
};
struct watcher {
    uint32_t first_key, keys_n; /* a prefix, a single key, or all */
    bool has_puts, has_deletes; /* false: filtered out */
    bool has_before;
    int64_t next; /* the first revision that it may still be told of */
};
/* Takes the next message: is it in order, is nothing missing, told twice or split, and is every
 * event right?  What an event replaced may be missing if its revision is not above COMPACTED. */
must_check int watcher_take(struct watcher *w, const struct timeline *t,
                            const struct watched_message *m, int64_t compacted, struct error *err);
