/* SPDX-License-Identifier: Apache-2.0 */
/* linearizability_test.c - histories that are known to be good or bad, and random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "test/fault/linearizability.h"

#define READ(from, to, v)                                                                          \
    {                                                                                              \
        .type = LIN_READ, .start_ns = from, .end_ns = to, .value = v                               \
    }
#define WRITE(from, to, v)                                                                         \
    {                                                                                              \
        .type = LIN_WRITE, .start_ns = from, .end_ns = to, .value = v                              \
    }
#define DELETE(from, to, ok)                                                                       \
    {                                                                                              \
        .type = LIN_DELETE, .start_ns = from, .end_ns = to, .applied = ok                          \
    }
#define SWAP(from, to, e, v, ok)                                                                   \
    {                                                                                              \
        .type = LIN_SWAP, .start_ns = from, .end_ns = to, .expected = e, .value = v, .applied = ok \
    }
#define LOST_WRITE(from, v)                                                                        \
    {                                                                                              \
        .type = LIN_WRITE, .start_ns = from, .value = v, .is_unknown = true                        \
    }
#define LOST_DELETE(from)                                                                          \
    {                                                                                              \
        .type = LIN_DELETE, .start_ns = from, .is_unknown = true                                   \
    }
#define LOST_SWAP(from, e, v)                                                                      \
    {                                                                                              \
        .type = LIN_SWAP, .start_ns = from, .expected = e, .value = v, .is_unknown = true          \
    }

struct known {
    const char *name;
    enum lin_verdict verdict;
    struct lin_op ops[8];
    size_t n;
};

#define CASE(name, verdict, ...)                                                                   \
    {                                                                                              \
        name, verdict, { __VA_ARGS__ },                                                            \
            sizeof((struct lin_op[]){ __VA_ARGS__ }) / sizeof(struct lin_op)                       \
    }
static const struct known known[] = {
    CASE("one after the other", LIN_YES, WRITE(1, 2, 5), READ(3, 4, 5), DELETE(5, 6, true),
         READ(7, 8, 0)),
    CASE("a stale read", LIN_NO, WRITE(1, 2, 5), WRITE(3, 4, 6), READ(5, 6, 5)),
    CASE("a read beside a write sees either", LIN_YES, WRITE(1, 10, 5), READ(2, 3, 0),
         READ(4, 5, 5)),
    CASE("but not first the new and then the old", LIN_NO, WRITE(1, 10, 5), READ(2, 3, 5),
         READ(4, 5, 0)),
    CASE("a lost write", LIN_NO, WRITE(1, 2, 5), READ(3, 4, 0)),
    CASE("a value from nowhere", LIN_NO, WRITE(1, 2, 5), READ(3, 4, 9)),
    CASE("two swaps of the same value cannot both apply", LIN_NO, WRITE(1, 2, 5),
         SWAP(3, 9, 5, 6, true), SWAP(4, 8, 5, 7, true)),
    CASE("one of them can", LIN_YES, WRITE(1, 2, 5), SWAP(3, 9, 5, 6, true),
         SWAP(4, 8, 5, 7, false), READ(10, 11, 6)),
    CASE("a swap that should have applied", LIN_NO, WRITE(1, 2, 5), SWAP(3, 4, 5, 6, false)),
    CASE("two deletions of one key", LIN_NO, WRITE(1, 2, 5), DELETE(3, 4, true),
         DELETE(5, 6, true)),
    CASE("a write of unknown outcome may be seen", LIN_YES, LOST_WRITE(1, 5), READ(3, 4, 5)),
    CASE("or not", LIN_YES, LOST_WRITE(1, 5), READ(3, 4, 0)),
    CASE("or later", LIN_YES, LOST_WRITE(1, 5), READ(3, 4, 0), READ(5, 6, 5)),
    CASE("but not twice", LIN_NO, LOST_WRITE(1, 5), WRITE(3, 4, 6), READ(5, 6, 5), WRITE(7, 8, 7),
         READ(9, 10, 5)),
    CASE("and not before it began", LIN_NO, READ(1, 2, 5), LOST_WRITE(3, 5)),
    CASE("a deletion of unknown outcome", LIN_YES, WRITE(1, 2, 5), LOST_DELETE(3), READ(4, 5, 5),
         READ(6, 7, 0)),
    CASE("a swap of unknown outcome that does not match", LIN_NO, WRITE(1, 2, 5),
         LOST_SWAP(3, 4, 6), READ(4, 5, 6)),
    CASE("what touches overlaps", LIN_YES, WRITE(1, 5, 5), READ(5, 6, 0)),
};

static void known_histories_are_judged_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        uint64_t initial = LIN_NOTHING;
        uint32_t key;
        if (lin_check(known[i].ops, known[i].n, &initial, 1, &key) != known[i].verdict)
            fail_msg("%s", known[i].name);
    }
}

static void keys_are_judged_each_on_its_own(void **state)
{
    (void)state;
    struct lin_op ops[] = { WRITE(1, 2, 5), WRITE(3, 4, 6), READ(5, 6, 5), READ(7, 8, 9) };
    uint64_t initial[] = { 0, 0, 9 };
    uint32_t key;
    ops[0].key = ops[2].key = 1;
    ops[3].key = 2;
    assert_int_equal(lin_check(ops, 4, initial, 3, &key), LIN_YES);
    initial[2] = 8;
    assert_int_equal(lin_check(ops, 4, initial, 3, &key), LIN_NO);
    assert_int_equal(key, 2);
}

/* ---- random histories, also judged by trying every order ---- */

#define RANDOM_OPS 6

static bool apply(const struct lin_op *op, uint64_t *v)
{
    bool hit = op->type == LIN_DELETE ? *v != 0 : *v == op->expected;
    if (op->type == LIN_READ)
        return *v == op->value;
    if (op->type == LIN_WRITE || hit)
        *v = op->type == LIN_DELETE ? 0 : op->value;
    return op->type == LIN_WRITE || op->is_unknown || op->applied == hit;
}

/* Is there an order of the calls that are not in USED? */
static bool any_order(const struct lin_op *ops, size_t n, unsigned used, uint64_t value)
{
    int64_t earliest_end = INT64_MAX;
    for (size_t i = 0; i < n; i++)
        if (!(used & 1u << i) && !ops[i].is_unknown && ops[i].end_ns < earliest_end)
            earliest_end = ops[i].end_ns;
    if (earliest_end == INT64_MAX)
        return true;
    for (size_t i = 0; i < n; i++) {
        uint64_t after = value;
        if (used & 1u << i || ops[i].start_ns > earliest_end || !apply(&ops[i], &after))
            continue;
        if (any_order(ops, n, used | 1u << i, after))
            return true;
    }
    return false;
}

static struct lin_op random_op(struct rng *rng)
{
    struct lin_op op = {
        .type = (enum lin_type)rng_below(rng, 4),
        .start_ns = (int64_t)rng_below(rng, 20),
        .expected = rng_below(rng, 3),
        .value = 1 + rng_below(rng, 2),
        .applied = rng_below(rng, 2),
    };
    op.end_ns = op.start_ns + 1 + (int64_t)rng_below(rng, 8);
    if (op.type == LIN_READ)
        op.value = rng_below(rng, 3);
    else
        op.is_unknown = rng_below(rng, 5) == 0;
    return op;
}

static void random_histories_are_judged_as_by_trying_every_order(void **state)
{
    (void)state;
    struct rng rng;
    seeded_rng_init(&rng, 20261120);
    int verdicts[2] = { 0 };
    for (int round = 0; round < 20000; round++) {
        struct lin_op ops[RANDOM_OPS];
        size_t n = 1 + rng_below(&rng, RANDOM_OPS);
        for (size_t i = 0; i < n; i++)
            ops[i] = random_op(&rng);
        uint64_t initial = rng_below(&rng, 3);
        uint32_t key;
        enum lin_verdict expected = any_order(ops, n, 0, initial) ? LIN_YES : LIN_NO;
        verdicts[expected]++;
        if (lin_check(ops, n, &initial, 1, &key) != expected)
            fail_msg("round %d", round);
    }
    assert_in_range(verdicts[LIN_YES], 1000, 19000); /* both occur */
}

static void a_long_history_of_many_clients_is_no_trouble(void **state)
{
    (void)state;
    enum { CLIENTS = 8, CALLS = 4000 };
    struct lin_op *ops = xcalloc(CALLS, sizeof(ops[0]));
    struct rng rng;
    seeded_rng_init(&rng, 7);
    uint64_t value = 0;
    for (int i = 0; i < CALLS; i++) { /* each happens at its middle */
        bool is_read = rng_below(&rng, 2);
        value = is_read ? value : (uint64_t)i + 1;
        ops[i] = (struct lin_op){ .type = is_read ? LIN_READ : LIN_WRITE, .value = value };
        ops[i].start_ns = 10 * i - (int64_t)rng_below(&rng, 10 * CLIENTS / 2);
        ops[i].end_ns = 10 * i + (int64_t)rng_below(&rng, 10 * CLIENTS / 2);
        ops[i].is_unknown = !is_read && rng_below(&rng, 500) == 0;
    }
    uint64_t initial = 0;
    uint32_t key;
    assert_int_equal(lin_check(ops, CALLS, &initial, 1, &key), LIN_YES);
    ops[CALLS - 1] = (struct lin_op){ .type = LIN_READ, .value = CALLS + 9 };
    ops[CALLS - 1].start_ns = 10 * CALLS;
    ops[CALLS - 1].end_ns = 10 * CALLS + 1;
    assert_int_equal(lin_check(ops, CALLS, &initial, 1, &key), LIN_NO);
    free(ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_histories_are_judged_right),
        cmocka_unit_test(keys_are_judged_each_on_its_own),
        cmocka_unit_test(random_histories_are_judged_as_by_trying_every_order),
        cmocka_unit_test(a_long_history_of_many_clients_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
