/* SPDX-License-Identifier: Apache-2.0 */
/* object_cache_test.c - the ConfigMaps and Secrets that this node's pods refer to. */
#include "kubelet/object_cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/fake_client.h"

struct fixture {
    struct fake_client *api;
    struct object_cache *cache;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int changes;
};

static void on_change(enum object_change change, const struct object_key *key, void *arg)
{
    (void)change;
    (void)key;
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    f->changes++;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->api = fake_client_new();
    f->cache = object_cache_new(fake_client(f->api), on_change, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    object_cache_free(f->cache);
    fake_client_free(f->api);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f);
    return 0;
}

static enum error_code get(struct fixture *f, const char *name, char value[64])
{
    struct error err = { 0 };
    scoped(object) struct object *o = NULL;
    struct object_key key = { "ns", name };
    value[0] = '\0';
    if (object_cache_get(f->cache, &resources[RESOURCE_CONFIGMAPS], &key, &o, &err) < 0)
        return err.code;
    snprintf(value, 64, "%s", json_str(o->doc, "data.k", ""));
    return ERR_NONE;
}

/* Reads again after each change that is told until the answer is the one expected. */
static void wait_for(struct fixture *f, enum error_code code, const char *value)
{
    char now[64];
    for (int seen = 0; get(f, "cm", now) != code || !str_equal(now, value);) {
        pthread_mutex_lock(&f->lock);
        while (f->changes == seen)
            pthread_cond_wait(&f->changed, &f->lock);
        seen = f->changes;
        pthread_mutex_unlock(&f->lock);
    }
}

static void the_second_read_asks_nobody(void **state)
{
    struct fixture *f = *state;
    char value[64];
    fake_store(f->api, RESOURCE_CONFIGMAPS,
               "{'metadata':{'namespace':'ns','name':'cm'},'data':{'k':'v'}}");
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    assert_string_equal(value, "v");
    size_t lists = fake_calls(f->api, VERB_LIST, RESOURCE_CONFIGMAPS);
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    assert_int_equal(fake_calls(f->api, VERB_LIST, RESOURCE_CONFIGMAPS), lists);
}

static void an_update_is_told_and_read(void **state)
{
    struct fixture *f = *state;
    char value[64];
    fake_store(f->api, RESOURCE_CONFIGMAPS,
               "{'metadata':{'namespace':'ns','name':'cm'},'data':{'k':'v'}}");
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    fake_merge(f->api, RESOURCE_CONFIGMAPS, "ns", "cm", "{'data':{'k':'new'}}");
    wait_for(f, ERR_NONE, "new");
}

static void what_is_missing_may_come_and_go(void **state)
{
    struct fixture *f = *state;
    char value[64];
    assert_int_equal(get(f, "cm", value), ERR_NOT_FOUND);
    fake_store(f->api, RESOURCE_CONFIGMAPS,
               "{'metadata':{'namespace':'ns','name':'cm'},'data':{'k':'new'}}");
    wait_for(f, ERR_NONE, "new");
    fake_drop(f->api, RESOURCE_CONFIGMAPS, "ns", "cm");
    wait_for(f, ERR_NOT_FOUND, "");
}

static void a_lost_watch_is_made_anew_by_the_next_read(void **state)
{
    struct fixture *f = *state;
    char value[64];
    fake_store(f->api, RESOURCE_CONFIGMAPS,
               "{'metadata':{'namespace':'ns','name':'cm'},'data':{'k':'v'}}");
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    fake_break_watches(f->api);
    fake_merge(f->api, RESOURCE_CONFIGMAPS, "ns", "cm", "{'data':{'k':'new'}}");
    wait_for(f, ERR_NONE, "new");
}

static void what_nobody_reads_is_dropped(void **state)
{
    struct fixture *f = *state;
    char value[64];
    fake_store(f->api, RESOURCE_CONFIGMAPS,
               "{'metadata':{'namespace':'ns','name':'cm'},'data':{'k':'v'}}");
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    size_t lists = fake_calls(f->api, VERB_LIST, RESOURCE_CONFIGMAPS);
    object_cache_sweep(f->cache, 0);
    assert_int_equal(get(f, "cm", value), ERR_NONE);
    assert_int_equal(fake_calls(f->api, VERB_LIST, RESOURCE_CONFIGMAPS), lists + 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_second_read_asks_nobody),     T(an_update_is_told_and_read),
        T(what_is_missing_may_come_and_go), T(a_lost_watch_is_made_anew_by_the_next_read),
        T(what_nobody_reads_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
