/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time_zone.h - offsets from UTC, read from the system's zone files (RFC 8536).
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct time_zone;

/* NAME: a file under /usr/share/zoneinfo; "UTC" needs none; NULL: the machine's own
 * (/etc/localtime, UTC if there is none).  Lives in A. */
must_check const struct time_zone *time_zone_open(const char *name, struct arena *a,
                                                  struct error *err);
/* Seconds to add to UTC at that second. */
int64_t time_zone_offset_s(const struct time_zone *z, int64_t utc_s);
