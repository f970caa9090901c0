/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_clients.h - clients that write, read and look after a store until it dies.
 *
 * Each is a thread that keeps what it asked for, when, and what was answered.  Nothing is judged
 * here.
 *
 * Threads: one at a time.
 */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "base/grpc.h"
#include "test/fault/crash_keys.h"
#include "test/fault/linearizability.h"

#define CLIENTS 6

/* An answer's revision: none may be below what was seen before its call began. */
struct seen_revision {
    int64_t start_ns, end_ns, revision;
    bool is_write; /* and a write's is above it */
};

/* All keys as they were at an old revision. */
struct old_read {
    int64_t revision;
    struct change *found; /* on the heap */
    size_t n;
};

#define VECTOR(type)                                                                               \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t n, capacity;                                                                        \
    }
#define vector_add(v)                                                                              \
    ((v)->items = xgrow((v)->items, (v)->n, &(v)->capacity, sizeof((v)->items[0])),                \
     &(v)->items[(v)->n++])

struct lease_note {
    int64_t id;
    enum { LEASE_ASKED, LEASE_LIVE, LEASE_ENDING, LEASE_GONE } state;
    bool is_short; /* nobody keeps it alive */
};

/* What the clients share, over crashes. */
struct crash_world {
    atomic_ulong last_value;
    _Atomic int64_t revision;      /* the newest that anybody was told */
    _Atomic int64_t watched;       /* the newest that the watch of all keys was told */
    _Atomic int64_t compact_asked; /* the highest that a compaction was asked for */
    VECTOR(struct lease_note) leases;
    atomic_ulong calls, refused, snapshots;
};

enum crash_upkeep {
    UPKEEP_COMPACT = 1,
    UPKEEP_DEFRAGMENT = 2,
    UPKEEP_SNAPSHOT = 4,
    UPKEEP_LEASES = 8,
    UPKEEP_SHORT_LEASES = 16, /* that end by themselves */
};

struct crash_client {
    pthread_t thread;
    struct crash_world *world;
    struct grpc_channel *channel;
    atomic_bool *is_over;
    bool is_cut_off; /* a call's outcome is unknown: the server is dead */
    enum crash_upkeep upkeep;
    struct arena *arena; /* of one call */
    struct rng rng;
    VECTOR(struct lin_op) ops;
    VECTOR(struct change) changes; /* those of one revision together: all of it */
    VECTOR(struct seen_revision) revisions;
    VECTOR(struct old_read) old_reads;
    struct error err; /* an answer that cannot be */
};

struct crash_clients {
    struct crash_client clients[CLIENTS];
    struct crash_client lessor, upkeeper;
    struct grpc_channel *channel;
    atomic_bool is_over;
};

void crash_clients_start(struct crash_clients *c, struct crash_world *world, const char *target,
                         enum crash_upkeep upkeep, uint64_t seed);
void crash_clients_join(struct crash_clients *c); /* the server is dead, or it is told to be over */
void crash_clients_free(struct crash_clients *c); /* what they kept */

/* All keys at REVISION (0: the newest), for the judge. */
enum outcome crash_read_all(struct grpc_channel *channel, int64_t revision, struct arena *arena,
                            Etcd__RangeResponse **out);
