/* SPDX-License-Identifier: Apache-2.0 */
/* watch_cache_test.c - the caches over a real store: now, and as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "apiserver/server.h"
#include "apiserver/store_access.h"

struct world {
    char dir[64];
    struct apiserver server;
};

static int start(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err = { 0 };
    snprintf(w->dir, sizeof(w->dir), "/tmp/coracle-cache.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->server.clock = &system_clock;
    w->server.rng = system_rng;
    w->server.storage =
        storage_open_embedded(&(struct storage_embedded_config){ .dir = w->dir }, &err);
    assert_non_null(w->server.storage);
    assert_non_null(watch_caches_start(&w->server, &err));
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    char command[128];
    watch_caches_stop(w->server.caches);
    storage_close(w->server.storage);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    int rc = system(command);
    free(w);
    return rc;
}

static struct watch_cache *cache(struct world *w)
{
    return watch_cache_of(&w->server, &resources[RESOURCE_CONFIGMAPS]);
}

/* Writes NAME whatever is there, and returns the revision. */
static int64_t put(struct world *w, const char *ns, const char *name, const char *value)
{
    struct error err = { 0 };
    struct object_key key = { ns, name };
    scoped(object) struct object *old = watch_cache_get(cache(w), &key), *new = NULL;
    struct draft *d = draft_new(&resources[RESOURCE_CONFIGMAPS]);
    json_put_str(d->arena, d->doc, "metadata.name", name);
    json_put_str(d->arena, d->doc, "metadata.namespace", ns);
    json_put_str(d->arena, d->doc, "data.x", value);
    enum store_result rc =
        store_put(&w->server, &key, d, old ? old->resource_version : 0, 0, &new, &err);
    assert_int_equal(rc, STORE_DONE);
    return new->resource_version;
}

static int64_t drop(struct world *w, const char *ns, const char *name)
{
    struct error err = { 0 };
    int64_t revision;
    struct object_key key = { ns, name };
    scoped(object) struct object *old = watch_cache_get(cache(w), &key);
    assert_non_null(old);
    assert_int_equal(store_delete(&w->server, old, &revision, &err), STORE_DONE);
    return revision;
}

/* "a=1 b=2" of a page at REVISION. */
static void page_text(struct world *w, const char *ns, int64_t revision, int64_t limit,
                      struct buffer *out, int64_t *remaining)
{
    scoped(object_list) struct object_list list = { 0 };
    struct watch_cache_page page = { .ns = ns, .limit = limit, .exact_revision = revision };
    int64_t at;
    bool more;
    assert_true(watch_cache_read_page(cache(w), &page, &list, &at, remaining, &more));
    assert_int_equal(at, revision);
    object_list_each (&list, o)
        buffer_printf(out, "%s%s=%s", out->len ? " " : "", o->key.name,
                      json_str(o->doc, "data.x", ""));
}

static void assert_page(struct world *w, const char *ns, int64_t revision, int64_t limit,
                        const char *wanted, int64_t remaining)
{
    struct buffer text = { 0 };
    int64_t left;
    page_text(w, ns, revision, limit, &text, &left);
    assert_string_equal(text.len ? text.data : "", wanted);
    assert_int_equal(left, remaining);
    buffer_free(&text);
}

static void an_older_state_is_read_by_undoing(void **state)
{
    struct world *w = *state;
    put(w, "n", "a", "1");
    put(w, "n", "b", "1");
    int64_t then = put(w, "n", "c", "1");
    drop(w, "n", "a");
    put(w, "n", "b", "2");
    put(w, "n", "b", "3");
    int64_t later = put(w, "n", "bb", "1");
    drop(w, "n", "c");

    assert_page(w, "n", then, 0, "a=1 b=1 c=1", 0);
    assert_page(w, "n", then, 2, "a=1 b=1", 1);
    assert_page(w, "n", later, 0, "b=3 bb=1 c=1", 0);
    assert_page(w, "m", then, 0, "", 0);
}

static void what_came_back_is_told_from_what_stayed(void **state)
{
    struct world *w = *state;
    int64_t first = put(w, "n", "a", "1");
    int64_t gone = drop(w, "n", "a");
    int64_t back = put(w, "n", "a", "2");
    put(w, "n", "a", "3");

    assert_page(w, "n", first, 0, "a=1", 0);
    assert_page(w, "n", gone, 0, "", 0);
    assert_page(w, "n", back, 0, "a=2", 0);
}

static void what_the_ring_has_forgotten_is_left_to_the_store(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    int64_t then = put(w, "n", "a", "1");
    put(w, "n", "a", "2");
    watch_caches_stop(w->server.caches);
    assert_non_null(watch_caches_start(&w->server, &err));
    put(w, "n", "a", "3");

    scoped(object_list) struct object_list list = { 0 };
    struct watch_cache_page page = { .ns = "n", .exact_revision = then };
    int64_t at, remaining;
    bool more;
    assert_false(watch_cache_read_page(cache(w), &page, &list, &at, &remaining, &more));
}

/* ---- any history ---- */

#define NAMES 12
#define STEPS 300

static void any_past_state_is_what_it_was(void **state)
{
    struct world *w = *state;
    static struct {
        int64_t revision;
        int values[NAMES]; /* 0: not there */
    } history[STEPS];
    struct rng rng;
    int values[NAMES] = { 0 };
    seeded_rng_init(&rng, 7);
    for (int i = 0; i < STEPS; i++) {
        int n = (int)rng_below(&rng, NAMES);
        char name[16], value[16];
        snprintf(name, sizeof(name), "k%02d", n);
        snprintf(value, sizeof(value), "%d", i + 1);
        bool drops = values[n] && rng_below(&rng, 3) == 0;
        history[i].revision = drops ? drop(w, "n", name) : put(w, "n", name, value);
        values[n] = drops ? 0 : i + 1;
        memcpy(history[i].values, values, sizeof(values));
    }
    for (int i = 0; i < STEPS; i += 7) {
        struct buffer wanted = { 0 };
        int all = 0, shown = 0;
        int64_t limit = (int64_t)rng_below(&rng, NAMES) + 1;
        for (int n = 0; n < NAMES; n++) {
            if (!history[i].values[n] || all++ >= limit)
                continue;
            buffer_printf(&wanted, "%sk%02d=%d", shown++ ? " " : "", n, history[i].values[n]);
        }
        assert_page(w, "n", history[i].revision, limit, wanted.len ? wanted.data : "", all - shown);
        buffer_free(&wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_older_state_is_read_by_undoing, start, stop),
        cmocka_unit_test_setup_teardown(what_came_back_is_told_from_what_stayed, start, stop),
        cmocka_unit_test_setup_teardown(what_the_ring_has_forgotten_is_left_to_the_store, start,
                                        stop),
        cmocka_unit_test_setup_teardown(any_past_state_is_what_it_was, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
