/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_hub.h - who watches what, and a ring of recent events.
 *
 *     ring:  rev 101 | rev 102 | ... | rev 160        older ones: in the database
 *
 * A watch that starts in the past is brought up by the hub's own thread, from the database and then
 * from the ring, and joins the others at the newest revision; from there the writer's thread
 * publishes to it.
 *
 * Threads: any, except that hub_publish() belongs to the writer.
 */
#pragma once

#include "storage/key_index.h"

struct watch_hub;

/* How the hub reads what its ring no longer has. */
struct watch_hub_source {
    int (*history)(int64_t from, size_t limit, struct arena *arena, struct record **out, size_t *n,
                   int64_t *through, void *arg, struct error *err);
    /* KEY as it was at REVISION: 1, 0 (it was not there, or is compacted), -1. */
    int (*find)(struct bytes key, int64_t revision, struct arena *arena, struct storage_kv *out,
                void *arg, struct error *err);
    int64_t (*compacted)(void *arg);
    void *arg;
};

struct watch_hub *watch_hub_new(const struct watch_hub_source *source);
must_check int watch_hub_start(struct watch_hub *h, struct error *err);
void watch_hub_free(struct watch_hub *h); /* after every watch is closed */

/* The revision before the first that will be published; all up to it is in the database. */
void watch_hub_set_base(struct watch_hub *h, int64_t revision);
/* The writes of the next revision; ATTACHMENTS (NULL: none) has one per version. */
void watch_hub_publish(struct watch_hub *h, struct version *const *versions, size_t n,
                       int64_t revision, void *const *attachments);
/* The database has everything up to REVISION: the ring may forget it. */
void watch_hub_set_flushed(struct watch_hub *h, int64_t revision);

/* A watch of store S. */
struct storage_watch *watch_hub_watch(struct watch_hub *h, struct storage *s,
                                      const struct storage_watch_config *config, struct error *err);
void watch_hub_close(struct watch_hub *h, struct storage_watch *w);
int64_t watch_hub_revision(struct watch_hub *h, struct storage_watch *w);
