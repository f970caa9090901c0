/* SPDX-License-Identifier: Apache-2.0 */
/* watch_delivery_test.c - who is told of which change, in which order, and when it goes out. */
#include "apiserver/watch_delivery.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "apiserver/server.h"

#define REVISION_FIRST INT64_C(1000000) /* far behind what the store has */

struct world {
    char dir[64];
    struct apiserver server;
    struct watch_delivery *delivery;
    int64_t revision;
    struct buffer log; /* the delivery thread's while it works */
    sem_t may_go_on, has_reached;
};

struct recorder {
    struct watcher watcher; /* first */
    struct world *world;
    char letter;
    bool is_slow;
    const char *holds_at; /* waits when it is told of this object */
    sem_t started, freed;
};

static void on_event(struct watcher *w, enum watch_type type, const struct object *o,
                     struct watch_frames *frames)
{
    struct recorder *r = (struct recorder *)w;
    (void)type, (void)frames;
    buffer_printf(&r->world->log, "%c%s ", r->letter, o->key.name);
    if (!str_equal(r->holds_at, o->key.name))
        return;
    sem_post(&r->world->has_reached);
    sem_wait(&r->world->may_go_on);
}

static void on_flush(struct watcher *w)
{
    struct recorder *r = (struct recorder *)w;
    buffer_printf(&r->world->log, "%c! ", r->letter);
}

static void on_initial_done(struct watcher *w)
{
    sem_post(&((struct recorder *)w)->started);
}

static void on_bookmark(struct watcher *w, int64_t revision, bool ends_initial_events)
{
    (void)w, (void)revision, (void)ends_initial_events;
}

static bool is_slow(struct watcher *w)
{
    return ((struct recorder *)w)->is_slow;
}

static void on_ended(struct watcher *w, const struct error *err)
{
    struct recorder *r = (struct recorder *)w;
    assert_int_equal(err->code, ERR_UNAVAILABLE);
    buffer_printf(&r->world->log, "%c. ", r->letter);
}

static void on_free(struct watcher *w)
{
    sem_post(&((struct recorder *)w)->freed);
}

static const struct watcher_ops recorder_ops = {
    .event = on_event,
    .initial_done = on_initial_done,
    .bookmark = on_bookmark,
    .flush = on_flush,
    .is_slow = is_slow,
    .ended = on_ended,
    .free = on_free,
};

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err = { 0 };
    snprintf(w->dir, sizeof(w->dir), "/tmp/coracle-delivery.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->server.clock = &system_clock;
    w->server.rng = system_rng;
    w->server.storage =
        storage_open_embedded(&(struct storage_embedded_config){ .dir = w->dir }, &err);
    assert_non_null(w->server.storage);
    assert_non_null(watch_caches_start(&w->server, &err));
    w->delivery = watch_caches_delivery(w->server.caches);
    w->revision = REVISION_FIRST;
    sem_init(&w->has_reached, 0, 0);
    sem_init(&w->may_go_on, 0, 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];
    watch_caches_stop(w->server.caches);
    storage_close(w->server.storage);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    int rc = system(command);
    buffer_free(&w->log);
    free(w);
    return rc;
}

static struct watch_cache *cache(struct world *w)
{
    return watch_cache_of(&w->server, &resources[RESOURCE_CONFIGMAPS]);
}

static void watch(struct world *w, struct recorder *r, char letter, const char *ns,
                  const char *name)
{
    r->world = w;
    r->letter = letter;
    r->watcher = (struct watcher){ .ops = &recorder_ops,
                                   .cache = cache(w),
                                   .resource = &resources[RESOURCE_CONFIGMAPS],
                                   .ns = ns,
                                   .name = name,
                                   .node = "",
                                   .resource_version = REVISION_FIRST };
    sem_init(&r->started, 0, 0);
    sem_init(&r->freed, 0, 0);
    watch_delivery_add(w->delivery, &r->watcher);
    sem_wait(&r->started);
}

static void unwatch(struct world *w, struct recorder *r)
{
    watch_delivery_remove_wait(w->delivery, &r->watcher);
    sem_wait(&r->freed);
}

static void push(struct world *w, const char *ns, const char *name)
{
    struct draft *d = draft_new(&resources[RESOURCE_CONFIGMAPS]);
    json_put_str(d->arena, d->doc, "metadata.name", name);
    json_put_str(d->arena, d->doc, "metadata.namespace", ns);
    struct cache_event *e = xcalloc(1, sizeof(*e));
    atomic_init(&e->refs, 1);
    e->type = WATCH_ADDED;
    e->revision = ++w->revision;
    e->cache = cache(w);
    e->object = draft_publish(d, e->revision);
    watch_delivery_push_take(w->delivery, e);
    watch_delivery_advance(w->delivery, e->revision);
}

/* Has the delivery thread wait inside a first change, so that what is pushed next comes together.
 */
static void hold(struct world *w)
{
    push(w, "held", "held");
    sem_wait(&w->has_reached);
    buffer_clear(&w->log);
}

static void let_go(struct world *w)
{
    sem_post(&w->may_go_on);
}

static void changes_that_come_together_go_out_together(void **state)
{
    struct world *w = *state;
    struct recorder gate = { .holds_at = "held" }, a = { 0 }, b = { 0 };
    watch(w, &gate, 'g', "held", "");
    watch(w, &a, 'a', "n", "");
    watch(w, &b, 'b', "n", "");
    hold(w);
    push(w, "n", "1");
    push(w, "n", "2");
    push(w, "n", "3");
    let_go(w);
    unwatch(w, &gate);
    unwatch(w, &a);
    unwatch(w, &b);
    assert_string_equal(w->log.data, "g! a1 b1 a2 b2 a3 b3 a! b! ");
}

static void who_is_not_concerned_hears_nothing(void **state)
{
    struct world *w = *state;
    struct recorder gate = { .holds_at = "held" }, one = { 0 }, other = { 0 }, all = { 0 };
    watch(w, &gate, 'g', "held", "");
    watch(w, &one, 'a', "n", "1");
    watch(w, &other, 'b', "m", "");
    watch(w, &all, 'c', "", "");
    hold(w);
    push(w, "n", "1");
    push(w, "n", "2");
    let_go(w);
    unwatch(w, &gate);
    unwatch(w, &one);
    unwatch(w, &other);
    unwatch(w, &all);
    assert_string_equal(w->log.data, "c! g! c1 a1 c2 c! a! ");
}

static void a_storm_of_changes_does_not_hold_up_its_first(void **state)
{
    struct world *w = *state;
    struct recorder gate = { .holds_at = "held" }, a = { 0 };
    watch(w, &gate, 'g', "held", "");
    watch(w, &a, 'a', "n", "");
    hold(w);
    for (int i = 0; i < 200; i++)
        push(w, "n", "1");
    let_go(w);
    unwatch(w, &gate);
    unwatch(w, &a);
    int flushes = 0;
    for (const char *at = w->log.data; (at = strstr(at, "a!")); at++)
        flushes++;
    assert_int_equal(flushes, 4);
}

static void a_slow_watcher_is_ended_and_holds_up_nobody(void **state)
{
    struct world *w = *state;
    struct recorder gate = { .holds_at = "held" }, a = { 0 }, b = { 0 };
    watch(w, &gate, 'g', "held", "");
    watch(w, &a, 'a', "n", "");
    watch(w, &b, 'b', "n", "");
    hold(w);
    a.is_slow = true;
    push(w, "n", "1");
    push(w, "n", "2");
    let_go(w);
    unwatch(w, &gate);
    push(w, "n", "3");
    unwatch(w, &a);
    unwatch(w, &b);
    assert_string_equal(w->log.data, "g! a1 b1 a2 b2 a! a. b! b3 b! ");
}

#define DELIVERY_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELIVERY_TEST(changes_that_come_together_go_out_together),
        DELIVERY_TEST(who_is_not_concerned_hears_nothing),
        DELIVERY_TEST(a_storm_of_changes_does_not_hold_up_its_first),
        DELIVERY_TEST(a_slow_watcher_is_ended_and_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
