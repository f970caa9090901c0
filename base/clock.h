/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - time and randomness, passed in so that tests can bring their own.
 *
 * Threads: any.
 */
#pragma once

#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

struct clock {
    int64_t (*monotonic_ns)(const struct clock *c);
    int64_t (*wall_ns)(const struct clock *c); /* since 1970-01-01T00:00:00Z */
};

extern const struct clock system_clock;

static inline int64_t clock_monotonic_ns(const struct clock *c)
{
    return c->monotonic_ns(c);
}
static inline int64_t clock_wall_ns(const struct clock *c)
{
    return c->wall_ns(c);
}

/* A clock that stands still until it is told to move: for tests. */
struct fake_clock {
    struct clock clock; /* first, so that a clock * is a fake_clock * */
    _Atomic int64_t now_ns;
};
void fake_clock_init(struct fake_clock *f, int64_t wall_ns);
void fake_clock_advance(struct fake_clock *f, int64_t ns);

struct rng {
    uint64_t (*next)(struct rng *r);
    uint64_t state[4];
};
extern struct rng *const system_rng; /* getrandom(2); Threads: any */
void seeded_rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

/* RFC 3339 as the API writes it: seconds for Time, microseconds for MicroTime.  The buffer has room
 * for TIME_TEXT_BYTES.  Parsing takes any RFC 3339 offset and fraction; -1 if it is not one. */
#define TIME_TEXT_BYTES 40
void time_format(int64_t wall_ns, char out[TIME_TEXT_BYTES]);
void time_format_micro(int64_t wall_ns, char out[TIME_TEXT_BYTES]);
void time_format_nano(int64_t wall_ns, char out[TIME_TEXT_BYTES]);
int time_parse(const char *text, int64_t *wall_ns);

/* Go's duration text: "1h2m3s", "300ms".  -1 if it is not one. */
int duration_parse(const char *text, int64_t *ns);
void duration_format(int64_t ns, char out[TIME_TEXT_BYTES]);
