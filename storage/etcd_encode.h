/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_encode.h - the two messages whose size is their contents': ranges and watch events.
 *
 * They are written straight from the store's bytes to where they are sent from.  Everything else is
 * packed by protobuf-c.
 *
 * Threads: any.
 */
#pragma once

#include "storage/etcd_server.h"

/* Answers a Range with RESULT of HOLD, a part at a time, and finishes the call. */
void etcd_encode_range(struct etcd_request *rq, const struct storage_range_result *result,
                       const struct storage_hold *hold);

/* EVENTS as fields of a WatchResponse. */
size_t etcd_event_size(const struct storage_event *e);
struct shared_bytes *etcd_encode_events(const struct storage_event *const *events, size_t n);

/* What stands before the events in a WatchResponse; OUT has room for ETCD_WATCH_START_BYTES. */
#define ETCD_WATCH_START_BYTES 96
struct bytes etcd_encode_watch_start(const struct etcd_server *s, int64_t revision,
                                     int64_t watch_id, bool is_fragment, char *out);
