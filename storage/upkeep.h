/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upkeep.h - the thread that flushes, compacts and ends leases.
 *
 * It sleeps until there is something to do: the automatic compaction's timer runs only while
 * there is history that it would remove, a lease's only while there are leases.
 *
 * Threads: any.
 */
#pragma once

#include "storage/writer.h"

struct upkeep;

struct upkeep_config {
    struct mvcc *mvcc;
    struct watch_hub *hub;
    struct lease_table *leases;
    const struct clock *clock;
    int64_t compact_interval_ms; /* < 0: never by itself */
};
struct upkeep *upkeep_new(const struct upkeep_config *config);
must_check int upkeep_start(struct upkeep *u, struct writer *w, struct error *err);
void upkeep_stop(struct upkeep *u); /* joins; before the writer stops */
void upkeep_free(struct upkeep *u);

/* Flushes what is in memory and removes what is compacted, and waits for it. */
must_check int upkeep_run(struct upkeep *u, struct error *err);

/* The same, and then gives the database's free pages back to the file system. */
must_check int upkeep_defragment(struct upkeep *u, struct error *err);

/* The writer's news; wakes the thread only if it has to know. */
void upkeep_notify(struct upkeep *u, enum writer_news news);
