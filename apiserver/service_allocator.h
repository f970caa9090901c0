/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_allocator.h - which cluster addresses and node ports are taken.
 *
 * Two bitmaps in memory, true to the Services in the watch cache, plus what writes under way have
 * reserved.  Automatic addresses come from the upper part of the range first: people who choose one
 * themselves choose a low one (KEP-3070).
 *
 * Threads: any.
 */
#pragma once

#include <netinet/in.h>

#include "base/clock.h"
#include "base/error.h"

struct service_allocator;

#define SERVICE_ADDRESSES_MAX (1u << 20) /* larger networks are used up to here */

/* CIDR: "10.43.0.0/16"; PORTS: "30000-32767". */
struct service_allocator *service_allocator_new(const char *cidr, const char *ports,
                                                struct rng *rng, struct error *err);
void service_allocator_free(struct service_allocator *s);

/* WANTED NULL: any free one.  OUT has room for INET_ADDRSTRLEN.  ERR_INVALID with the detail that
 * upstream gives (`provided IP is already allocated`); the path is the caller's to add. */
must_check int service_allocator_take_address(struct service_allocator *s, const char *wanted,
                                              char *out, struct error *err);
must_check int service_allocator_take_port(struct service_allocator *s, int wanted, int *out,
                                           struct error *err);
void service_allocator_release_address(struct service_allocator *s, const char *address);
void service_allocator_release_port(struct service_allocator *s, int port);

/* What a Service in the cache holds; outside of the range it is ignored. */
void service_allocator_mark_address(struct service_allocator *s, const char *address);
void service_allocator_mark_port(struct service_allocator *s, int port);
