/* SPDX-License-Identifier: Apache-2.0 */
/* event_ring_test.c - how much of the past is kept, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/event_ring.h"

struct world {
    struct event_ring ring;
    struct object *now; /* as a cache has it */
    int64_t revision, at_ns;
};

static int start(void **state)
{
    *state = xcalloc(1, sizeof(struct world));
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    event_ring_deinit(&w->ring);
    object_unref(w->now);
    free(w);
    return 0;
}

static struct object *version(int64_t revision, size_t bytes)
{
    struct draft *d = draft_new(&resources[RESOURCE_CONFIGMAPS]);
    char *value = arena_alloc(d->arena, bytes + 1);
    memset(value, 'x', bytes);
    value[bytes] = '\0';
    json_put_str(d->arena, d->doc, "metadata.name", "a");
    json_put_str(d->arena, d->doc, "data.value", value);
    return draft_publish(d, revision);
}

/* The object changes; whoever wrote it has left its text. */
static void change(struct world *w, size_t bytes)
{
    struct cache_event *e = xcalloc(1, sizeof(*e));
    atomic_init(&e->refs, 1);
    e->type = w->now ? WATCH_MODIFIED : WATCH_ADDED;
    e->revision = ++w->revision;
    e->at_ns = w->at_ns;
    e->previous = w->now;
    w->now = version(e->revision, bytes);
    e->object = object_ref(w->now);
    object_keep_json_take(w->now, shared_bytes_new_sized(bytes));
    cache_events_release(event_ring_add(&w->ring, e));
    cache_event_unref(e);
}

static void changes(struct world *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        change(w, 10);
}

static void young_events_stay_and_old_ones_give_way(void **state)
{
    struct world *w = *state;
    changes(w, 1000);
    assert_int_equal(w->ring.n, 1000);
    w->at_ns = RING_KEPT_NS;
    changes(w, 100); /* no room is made for more while the oldest may go */
    assert_true(w->ring.n <= 1024);
    assert_int_equal(event_ring_at(&w->ring, w->ring.n - 1)->revision, 1100);
    assert_int_equal(w->ring.since, event_ring_at(&w->ring, 0)->revision - 1);
    changes(w, 2 * RING_EVENTS_MAX);
    assert_int_equal(w->ring.n, RING_EVENTS_MAX);
}

static void what_is_old_goes_but_for_a_few(void **state)
{
    struct world *w = *state;
    changes(w, 300);
    w->at_ns = 50 * NS_PER_S;
    changes(w, 150);
    assert_null(event_ring_expire(&w->ring, RING_KEPT_NS - 1));
    assert_true(cache_events_release(event_ring_expire(&w->ring, RING_KEPT_NS)) > 0);
    assert_int_equal(w->ring.n, 150);
    assert_int_equal(w->ring.since, 300);
    cache_events_release(event_ring_expire(&w->ring, INT64_MAX));
    assert_int_equal(w->ring.n, 100); /* as upstream, whatever their age */
    assert_int_equal(event_ring_at(&w->ring, 0)->revision, 351);
}

static void rare_changes_stay_too(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 300; i++) {
        change(w, 10);
        w->at_ns += RING_KEPT_NS;
        cache_events_release(event_ring_expire(&w->ring, w->at_ns));
        assert_int_equal(w->ring.n, i < 100 ? i + 1 : 100);
    }
}

static void large_states_are_fewer(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 40; i++)
        change(w, 1 << 19);
    assert_true(w->ring.bytes <= RING_BYTES_MAX);
    assert_true(w->ring.n > 10 && w->ring.n < 32);
    assert_int_equal(w->ring.since, event_ring_at(&w->ring, 0)->revision - 1);
}

static void the_first_after_a_revision_is_found(void **state)
{
    struct world *w = *state;
    changes(w, 100);
    assert_int_equal(event_ring_after(&w->ring, 0), 0);
    assert_int_equal(event_ring_after(&w->ring, 40), 40);
    assert_int_equal(event_ring_after(&w->ring, 100), 100);
    cache_events_release(event_ring_clear(&w->ring, 100));
    assert_int_equal(w->ring.n, 0);
    assert_int_equal(w->ring.bytes, 0);
    assert_int_equal(event_ring_after(&w->ring, 0), 0);
}

static void only_what_has_just_changed_keeps_its_text(void **state)
{
    struct world *w = *state;
    changes(w, 600);
    const struct cache_event *old = event_ring_at(&w->ring, 100),
                             *young = event_ring_at(&w->ring, 590);
    assert_false(object_has_json(old->previous));
    assert_true(object_has_json(young->previous));
    size_t bytes = 0;
    for (size_t i = 0; i < w->ring.n; i++)
        bytes += event_ring_at(&w->ring, i)->bytes;
    assert_int_equal(w->ring.bytes, bytes);
    scoped(shared_bytes) struct shared_bytes *again = object_json(old->previous);
    assert_non_null(memmem(again->data, again->len, BYTES("\"resourceVersion\":\"100\"").data, 23));
}

static void what_is_still_there_loses_its_text_too(void **state)
{
    struct world *w = *state;
    changes(w, 1);
    scoped(object) struct object *quiet = take_ptr(&w->now);
    changes(w, 300);
    assert_false(object_has_json(quiet));
    assert_true(object_has_json(w->now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(young_events_stay_and_old_ones_give_way, start, stop),
        cmocka_unit_test_setup_teardown(what_is_old_goes_but_for_a_few, start, stop),
        cmocka_unit_test_setup_teardown(rare_changes_stay_too, start, stop),
        cmocka_unit_test_setup_teardown(large_states_are_fewer, start, stop),
        cmocka_unit_test_setup_teardown(the_first_after_a_revision_is_found, start, stop),
        cmocka_unit_test_setup_teardown(only_what_has_just_changed_keeps_its_text, start, stop),
        cmocka_unit_test_setup_teardown(what_is_still_there_loses_its_text_too, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
