/* SPDX-License-Identifier: Apache-2.0 */
/* timeline_test.c - witnesses that agree or not, and watchers that are told right or wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/fault/timeline.h"

enum { KEYS = 3 };

static void note(struct timeline *t, struct change c, enum timeline_extent extent)
{
    struct error err = { 0 };
    if (timeline_note(t, c.revision, &c, 1, extent, &err) < 0)
        fail_msg("%s", err.message);
}

static void refuse(struct timeline *t, struct change c, enum timeline_extent extent)
{
    struct error err = { 0 };
    assert_int_equal(timeline_note(t, c.revision, &c, 1, extent, &err), -1);
}

/* Key 0 is written twice and deleted, key 1 beside it at revision 3. */
static struct timeline *make(void)
{
    struct timeline *t = timeline_new(KEYS);
    struct error err = { 0 };
    note(t, (struct change){ .revision = 2, .key = 0, .value = 11 }, TIMELINE_WHOLE);
    note(t, (struct change){ .revision = 3, .key = 0, .value = 12 }, TIMELINE_PART);
    note(t, (struct change){ .revision = 3, .key = 1, .value = 13 }, TIMELINE_PART);
    note(t, (struct change){ .revision = 4, .key = 0 }, TIMELINE_WHOLE);
    note(t, (struct change){ .revision = 5, .key = 0, .value = 14 }, TIMELINE_WHOLE);
    if (timeline_seal(t, 5, &err) < 0)
        fail_msg("%s", err.message);
    return t;
}

static void what_is_sealed_can_be_asked_for(void **state)
{
    (void)state;
    struct timeline *t = make();
    assert_null(timeline_find(t, 1, 2));
    assert_int_equal(timeline_find(t, 0, 3)->value, 12);
    assert_int_equal(timeline_find(t, 0, 3)->version, 2);
    assert_int_equal(timeline_find(t, 0, 3)->create_revision, 2);
    assert_null(timeline_find(t, 0, 4));
    assert_int_equal(timeline_last(t, 0, 4)->revision, 4);
    assert_int_equal(timeline_find(t, 0, 5)->version, 1);
    assert_int_equal(timeline_find(t, 0, 5)->create_revision, 5);
    timeline_free(t);
}

static void witnesses_must_agree(void **state)
{
    (void)state;
    struct timeline *t = timeline_new(KEYS);
    struct error err = { 0 };
    note(t, (struct change){ .revision = 2, .key = 0, .value = 11 }, TIMELINE_PART);
    note(t, (struct change){ .revision = 2, .key = 0, .value = 11, .version = 1 }, TIMELINE_PART);
    refuse(t, (struct change){ .revision = 2, .key = 0, .value = 12 }, TIMELINE_PART);
    refuse(t, (struct change){ .revision = 2, .key = 0, .value = 11, .version = 2 }, TIMELINE_PART);
    refuse(t, (struct change){ .revision = 2, .key = 1, .value = 13 }, TIMELINE_WHOLE);
    note(t, (struct change){ .revision = 3, .key = 1, .value = 14 }, TIMELINE_WHOLE);
    refuse(t, (struct change){ .revision = 3, .key = 2, .value = 15 }, TIMELINE_PART);
    assert_true(timeline_is_whole(t, 3));
    assert_false(timeline_is_whole(t, 2));
    note(t, (struct change){ .revision = 5, .key = 1, .value = 16 }, TIMELINE_WHOLE);
    assert_int_equal(timeline_seal(t, 5, &err), -1); /* what happened at 4? */
    timeline_free(t);
}

static void versions_must_follow_from_what_came_before(void **state)
{
    (void)state;
    static const struct change wrong[] = {
        { .revision = 3, .key = 0, .value = 12, .version = 3 },
        { .revision = 3, .key = 0, .value = 12, .create_revision = 3 },
        { .revision = 3, .key = 1 }, /* deleted, but never there */
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct timeline *t = timeline_new(KEYS);
        struct error err = { 0 };
        note(t, (struct change){ .revision = 2, .key = 0, .value = 11 }, TIMELINE_WHOLE);
        note(t, wrong[i], TIMELINE_WHOLE);
        assert_int_equal(timeline_seal(t, 3, &err), -1);
        timeline_free(t);
    }
}

/* ---- watchers ---- */

static const struct change c2 = { 2, 0, 11, 0, 2, 1 }, c3 = { 3, 0, 12, 0, 2, 2 },
                           d3 = { 3, 1, 13, 0, 3, 1 }, c4 = { .revision = 4 },
                           c5 = { 5, 0, 14, 0, 5, 1 };

static int take(struct watcher *w, const struct timeline *t, const struct watched_event *events,
                size_t n, int64_t header_revision)
{
    struct error err = { 0 };
    struct watched_message m = { header_revision, events, n };
    return watcher_take(w, t, &m, 0, &err);
}

static struct watcher all_from(int64_t revision)
{
    return (struct watcher){
        .keys_n = KEYS, .has_puts = true, .has_deletes = true, .has_before = true, .next = revision
    };
}

static void a_watcher_that_is_told_right(void **state)
{
    (void)state;
    struct timeline *t = make();
    struct watcher w = all_from(2);
    struct watched_event first[] = { { .now = c2 }, { .now = c3, .before = c2 }, { .now = d3 } };
    struct watched_event second[] = { { .now = c4, .before = c3 }, { .now = c5 } };
    assert_int_equal(take(&w, t, first, 3, 3), 0);
    assert_int_equal(take(&w, t, NULL, 0, 3), 0);
    assert_int_equal(take(&w, t, second, 2, 5), 0);
    assert_int_equal(w.next, 6);

    struct watcher one = { .first_key = 1, .keys_n = 1, .has_puts = true, .next = 2 };
    assert_int_equal(take(&one, t, NULL, 0, 2), 0); /* a bookmark */
    assert_int_equal(one.next, 3);
    struct watched_event only[] = { { .now = d3 } };
    assert_int_equal(take(&one, t, only, 1, 3), 0);
    timeline_free(t);
}

static void a_watcher_that_is_told_wrong(void **state)
{
    (void)state;
    struct timeline *t = make();
    struct change bad_value = c2, bad_before = c2;
    bad_value.value = 99;
    bad_before.version = 7;
    const struct {
        const char *what;
        int64_t from, header;
        struct watched_event events[3];
        size_t n;
    } cases[] = {
        { "a gap", 2, 3, { { .now = c3, .before = c2 }, { .now = d3 } }, 2 },
        { "half a revision", 3, 3, { { .now = c3, .before = c2 } }, 1 },
        { "out of order", 2, 3, { { .now = d3 }, { .now = c2 } }, 2 },
        { "twice", 2, 3, { { .now = c2 }, { .now = c2 } }, 2 },
        { "before its start", 3, 3, { { .now = c2 } }, 1 },
        { "a wrong value", 2, 3, { { .now = bad_value } }, 1 },
        { "no value before", 4, 4, { { .now = c4 } }, 1 },
        { "a wrong value before", 3, 3, { { .now = c3, .before = bad_before }, { .now = d3 } }, 2 },
        { "a value before that was deleted", 5, 5, { { .now = c5, .before = c3 } }, 1 },
        { "progress ahead of events", 2, 2, { { .now = c2 } }, 0 },
        { "progress from the future", 6, 6, { { .now = c2 } }, 0 },
        { "ahead of its header", 2, 1, { { .now = c2 } }, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct watcher w = all_from(cases[i].from);
        if (take(&w, t, cases[i].events, cases[i].n, cases[i].header) == 0)
            fail_msg("%s", cases[i].what);
    }
    timeline_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_can_be_asked_for),
        cmocka_unit_test(witnesses_must_agree),
        cmocka_unit_test(versions_must_follow_from_what_came_before),
        cmocka_unit_test(a_watcher_that_is_told_right),
        cmocka_unit_test(a_watcher_that_is_told_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
