/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable.h - stored values of one resource that cannot be read: sealed with a key that is gone,
 * or no object at all.
 *
 * Whoever asks for one, or for a list that it belongs to, gets the reason: to leave it out would
 * say that it was deleted.  Everything else is served.
 *
 * Threads: under the owner's lock.
 */
#pragma once

#include "base/error.h"
#include "base/hashmap.h"

struct unreadable { /* zero-initialised is empty and ready */
    struct hashmap by_key;
};

void unreadable_deinit(struct unreadable *u);
void unreadable_note(struct unreadable *u, struct bytes key, const struct error *reason);
void unreadable_forget(struct unreadable *u, struct bytes key);
size_t unreadable_count(const struct unreadable *u);
/* -1: KEY is noted, and ERR is the reason. */
must_check int unreadable_check(const struct unreadable *u, struct bytes key, struct error *err);
/* The same for all keys that begin with PREFIX. */
must_check int unreadable_check_prefix(const struct unreadable *u, struct bytes prefix,
                                       struct error *err);

/* Between the two, everything that is still there is noted again: the rest is forgotten. */
void unreadable_sweep_begin(struct unreadable *u);
void unreadable_sweep_end(struct unreadable *u);
