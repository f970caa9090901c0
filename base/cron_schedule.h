/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cron_schedule.h - when something is due: "minute hour day-of-month month day-of-week", or @daily
 * and its like, or "@every 90s"; in a time zone.
 *
 * A wall clock time that a change to summer time leaves out is no time; one that happens twice is
 * due once, the first time.
 *
 * Threads: any for a parsed schedule.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct cron_schedule;

/* ZONE: "Europe/Berlin", "Etc/UTC"; NULL: the machine's.  Lives in A.  ERR_BAD_REQUEST for the
 * text, in the words that clients of CronJobs read; ERR_NOT_FOUND for the zone. */
must_check const struct cron_schedule *cron_schedule_parse(const char *text, const char *zone,
                                                           struct arena *a, struct error *err);
/* The first time after AFTER_NS; 0: never (31 February). */
int64_t cron_schedule_next(const struct cron_schedule *s, int64_t after_ns);
