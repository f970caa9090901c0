/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linearizability.h - can what clients saw of some keys be explained by one order of their calls?
 *
 *     client 1:   |--- write 5 ---|              |- read: 5 -|
 *     client 2:          |- read: 5 -|   |-- swap 5 -> 7: unknown ...
 *
 * Every key is a register of its own, so a history falls apart into one per key.  Each is searched
 * as Wing and Gong do, one call after the other, and as Lowe does: a set of calls that led to a
 * value once is not tried again.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN_NOTHING 0u /* the value of a key that does not exist */

enum lin_type {
    LIN_READ,   /* saw VALUE */
    LIN_WRITE,  /* of VALUE */
    LIN_DELETE, /* APPLIED: there was something to delete */
    LIN_SWAP,   /* EXPECTED for VALUE; APPLIED: the key held what was expected */
};
struct lin_op {
    uint32_t key;
    enum lin_type type;
    /* Nobody knows what came of it: it may have happened at any time after its start, or never.
     * END_NS, APPLIED, and a read's VALUE mean nothing then. */
    bool is_unknown;
    bool applied;
    int64_t start_ns, end_ns;
    uint64_t expected, value;
};

enum lin_verdict {
    LIN_YES,
    LIN_NO,
    LIN_TOO_HARD, /* what was tried fills LIN_CACHE_BYTES_MAX: many unknown calls */
};
#define LIN_CACHE_BYTES_MAX ((size_t)256 << 20)

/* INITIAL[key] is what each of KEYS_N keys held before the first call.  *KEY: whose history it is
 * that was not explained. */
enum lin_verdict lin_check(const struct lin_op *ops, size_t n, const uint64_t *initial,
                           uint32_t keys_n, uint32_t *key);
