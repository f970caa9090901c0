/* SPDX-License-Identifier: Apache-2.0 */
/* informer_test - the cache stays true, whatever happens to the watch. */
#include "api/informer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/fake_client.h"

#define WAIT_MS 120000

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int added, modified, deleted;
    char last_deleted[64];
};

struct fixture {
    struct fake_client *fake;
    struct informer_set *set;
    struct informer *pods;
    struct seen seen;
};

static void count(const struct informer_event *e)
{
    struct seen *s = e->arg;
    pthread_mutex_lock(&s->lock);
    if (!e->new) {
        s->deleted++;
        snprintf(s->last_deleted, sizeof(s->last_deleted), "%s", e->old->key.name);
    } else if (e->old) {
        s->modified++;
    } else {
        s->added++;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void pod(struct fixture *t, const char *name, const char *node)
{
    char text[256];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'%s'},'spec':{'nodeName':'%s'}}", name,
             node);
    fake_store(t->fake, RESOURCE_PODS, text);
}

static int setup(void **state)
{
    struct fixture *t = calloc(1, sizeof(*t));
    pthread_mutex_init(&t->seen.lock, NULL);
    pthread_cond_init(&t->seen.changed, NULL);
    t->fake = fake_client_new();
    t->set = informer_set_new(fake_client(t->fake));
    t->pods = informer_set_get(t->set, &resources[RESOURCE_PODS], NULL);
    informer_add_handler(t->pods, count, &t->seen);
    informer_add_index(t->pods, "node", informer_index_node);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *t = *state;
    informer_set_free(t->set);
    fake_client_free(t->fake);
    pthread_mutex_destroy(&t->seen.lock);
    pthread_cond_destroy(&t->seen.changed);
    free(t);
    return 0;
}

static void start(struct fixture *t)
{
    struct error err = { 0 };
    informer_set_start(t->set);
    assert_int_equal(informer_set_wait(t->set, WAIT_MS, &err), 0);
}

static void wait_for(struct fixture *t, const int *counter, int n)
{
    pthread_mutex_lock(&t->seen.lock);
    while (*counter < n)
        pthread_cond_wait(&t->seen.changed, &t->seen.lock);
    pthread_mutex_unlock(&t->seen.lock);
}

static size_t on_node(struct fixture *t, const char *node)
{
    scoped(object_list) struct object_list list = { 0 };
    informer_list_by(t->pods, "node", bytes_of(node), &list);
    return list.n;
}

static void the_cache_has_what_was_there_before(void **state)
{
    struct fixture *t = *state;
    pod(t, "a", "one");
    start(t);
    scoped(object) struct object *a = informer_get(t->pods, &(struct object_key){ "default", "a" });
    assert_non_null(a);
    assert_int_equal(t->seen.added, 1);
    assert_null(informer_get(t->pods, &(struct object_key){ "default", "b" }));
}

static void handlers_see_each_change_after_the_cache_has_it(void **state)
{
    struct fixture *t = *state;
    start(t);
    pod(t, "a", "one");
    wait_for(t, &t->seen.added, 1);
    pod(t, "a", "two");
    wait_for(t, &t->seen.modified, 1);
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    wait_for(t, &t->seen.deleted, 1);
    assert_null(informer_get(t->pods, &(struct object_key){ "default", "a" }));
}

static void indexes_follow_changes(void **state)
{
    struct fixture *t = *state;
    pod(t, "a", "one");
    pod(t, "b", "one");
    pod(t, "c", "two");
    start(t);
    assert_int_equal(on_node(t, "one"), 2);
    pod(t, "a", "two");
    wait_for(t, &t->seen.modified, 1);
    assert_int_equal(on_node(t, "one"), 1);
    assert_int_equal(on_node(t, "two"), 2);
    fake_drop(t->fake, RESOURCE_PODS, "default", "b");
    wait_for(t, &t->seen.deleted, 1);
    assert_int_equal(on_node(t, "one"), 0);
}

static void a_lost_watch_resumes_without_a_list(void **state)
{
    struct fixture *t = *state;
    pod(t, "a", "one");
    start(t);
    fake_hold_watches(t->fake, true);
    pod(t, "b", "one");
    fake_break_watches(t->fake);
    pod(t, "c", "one");
    fake_hold_watches(t->fake, false);
    wait_for(t, &t->seen.added, 3);
    assert_int_equal(fake_calls(t->fake, VERB_LIST, RESOURCE_PODS), 1);
    assert_int_equal(on_node(t, "one"), 3);
}

static void an_expired_watch_lists_again_and_tells_what_has_gone(void **state)
{
    struct fixture *t = *state;
    pod(t, "a", "one");
    pod(t, "b", "one");
    start(t);
    fake_hold_watches(t->fake, true);
    fake_break_watches(t->fake);
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    pod(t, "c", "two");
    fake_compact(t->fake);
    fake_hold_watches(t->fake, false);
    wait_for(t, &t->seen.deleted, 1);
    wait_for(t, &t->seen.added, 3);
    assert_string_equal(t->seen.last_deleted, "a");
    assert_int_equal(t->seen.modified, 0); /* b has not changed: nobody is told */
    assert_int_equal(on_node(t, "one"), 1);
}

static void a_list_that_fails_is_tried_again(void **state)
{
    struct fixture *t = *state;
    pod(t, "a", "one");
    fake_fail(t->fake, VERB_LIST, RESOURCE_PODS, 1, ERR_UNAVAILABLE, "not yet");
    start(t);
    assert_int_equal(on_node(t, "one"), 1);
}

static void a_reader_can_wait_for_its_own_write(void **state)
{
    struct fixture *t = *state;
    start(t);
    scoped(object) struct object *a =
        fake_put(t->fake, RESOURCE_PODS, "{'metadata':{'namespace':'default','name':'a'}}");
    assert_true(informer_wait_revision(t->pods, a->resource_version, WAIT_MS));
    scoped(object) struct object *cached = informer_get(t->pods, &a->key);
    assert_non_null(cached);
    assert_false(informer_wait_revision(t->pods, a->resource_version + 1, 1));
}

static void a_reader_can_wait_for_its_own_deletion(void **state)
{
    struct fixture *t = *state;
    scoped(object) struct object *a =
        fake_put(t->fake, RESOURCE_PODS, "{'metadata':{'namespace':'default','name':'a'}}");
    start(t);
    assert_false(informer_wait_deleted(t->pods, &a->key, a->uid, 1));
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    assert_true(informer_wait_deleted(t->pods, &a->key, a->uid, WAIT_MS));
}

static void parts_that_ask_for_the_same_share_a_cache(void **state)
{
    struct fixture *t = *state;
    const struct resource *pods = &resources[RESOURCE_PODS];
    assert_ptr_equal(informer_set_get(t->set, pods, NULL), t->pods);
    assert_ptr_not_equal(informer_set_get(t->set, pods, "spec.nodeName=one"), t->pods);
}

static void a_field_selector_limits_the_cache(void **state)
{
    struct fixture *t = *state;
    struct informer *mine =
        informer_set_get(t->set, &resources[RESOURCE_PODS], "spec.nodeName=one");
    struct seen seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    informer_add_handler(mine, count, &seen);
    pod(t, "a", "one");
    pod(t, "b", "two");
    start(t);
    pod(t, "c", "two");
    pod(t, "d", "one");
    wait_for(t, &t->seen.added, 4);
    pthread_mutex_lock(&seen.lock);
    while (seen.added < 2)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
    scoped(object_list) struct object_list list = { 0 };
    informer_list(mine, &list);
    assert_int_equal(list.n, 2);
}

static void waiting_ends_when_the_set_stops(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    start(t);
    informer_set_stop(t->set);
    assert_false(informer_wait_revision(t->pods, INT64_MAX, WAIT_MS));
    assert_int_equal(informer_set_wait(t->set, WAIT_MS, &err), -1);
    assert_int_equal(err.code, ERR_CANCELED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_cache_has_what_was_there_before),
        TEST(handlers_see_each_change_after_the_cache_has_it),
        TEST(indexes_follow_changes),
        TEST(a_lost_watch_resumes_without_a_list),
        TEST(an_expired_watch_lists_again_and_tells_what_has_gone),
        TEST(a_list_that_fails_is_tried_again),
        TEST(a_reader_can_wait_for_its_own_write),
        TEST(a_reader_can_wait_for_its_own_deletion),
        TEST(parts_that_ask_for_the_same_share_a_cache),
        TEST(a_field_selector_limits_the_cache),
        TEST(waiting_ends_when_the_set_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
