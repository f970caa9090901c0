/* SPDX-License-Identifier: Apache-2.0 */
/* watch_hub_test.c - watches: ordered, whole, nothing twice, nothing left out. */
#include "test/unit/storage/fixture.h"

#include <pthread.h>

/* What a watch was told, as text: "3:a=1,b=2 4:-a" */
struct watcher {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buffer text;
    int64_t last_revision;
    size_t events_n;
    enum error_code failed;
    int64_t compacted;
    void *attachment;
    struct storage_watch *watch;
    bool is_out_of_order;
};

static void on_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    struct watcher *w = arg;
    pthread_mutex_lock(&w->lock);
    buffer_printf(&w->text, "%s%lld:", w->text.len ? " " : "", (long long)revision);
    for (size_t i = 0; i < n; i++) {
        const struct storage_event *e = &events[i];
        buffer_printf(&w->text, "%s%s%.*s", i ? "," : "", e->is_delete ? "-" : "",
                      (int)e->kv.key.len, e->kv.key.data);
        if (!e->is_delete)
            buffer_printf(&w->text, "=%.*s", (int)e->kv.value.len, e->kv.value.data);
        if (e->prev.mod_revision)
            buffer_printf(&w->text, "(%.*s)", (int)e->prev.value.len, e->prev.value.data);
        w->is_out_of_order |= e->kv.mod_revision != revision;
        w->attachment = e->attachment;
    }
    w->is_out_of_order |= revision <= w->last_revision;
    w->last_revision = revision;
    w->events_n += n;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void on_failed(const struct error *err, int64_t compacted, void *arg)
{
    struct watcher *w = arg;
    pthread_mutex_lock(&w->lock);
    w->failed = err->code;
    w->compacted = compacted;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void watch_open(struct fixture *f, struct watcher *w, const char *key, const char *end,
                       int64_t start, bool prev_kv)
{
    *w = (struct watcher){ 0 };
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    struct storage_watch_config config = { .key = bytes_of(key),
                                           .end = bytes_of(end),
                                           .start_revision = start,
                                           .prev_kv = prev_kv,
                                           .events = on_events,
                                           .failed = on_failed,
                                           .arg = w };
    struct error err = { 0 };
    w->watch = storage_watch(f->s, &config, &err);
    assert_non_null(w->watch);
}

static void watch_close(struct watcher *w)
{
    storage_watch_close(w->watch);
    buffer_free(&w->text);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

static void wait_for_revision(struct watcher *w, int64_t revision)
{
    pthread_mutex_lock(&w->lock);
    while (w->last_revision < revision && !w->failed)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    assert_int_equal(w->failed, ERR_NONE);
    assert_false(w->is_out_of_order);
}

static void wait_for_failure(struct watcher *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->failed)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void a_write_is_seen_before_it_is_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    watch_open(f, &w, "a", "b", 0, false);
    put(f, "a1", "x");
    put(f, "b1", "not watched");
    del(f, "a1");
    assert_string_equal(w.text.data, "2:a1=x 4:-a1"); /* without waiting */
    assert_int_equal(storage_watch_revision(w.watch), 4);
    watch_close(&w);
}

static void all_events_of_a_transaction_come_in_one_call(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    watch_open(f, &w, "a", "z", 0, false);
    struct storage_op ops[] = {
        { .type = STORAGE_PUT, .key = BYTES("b"), .value = BYTES("1") },
        { .type = STORAGE_PUT, .key = BYTES("a"), .value = BYTES("2") },
        { .type = STORAGE_DELETE, .key = BYTES("b") },
    };
    struct storage_txn txn = { .success = ops, .success_n = 3 };
    apply(f, &txn, NULL);
    assert_string_equal(w.text.data, "2:b=1,a=2,-b");
    watch_close(&w);
}

static void a_watch_may_start_in_the_past(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "2");
    put(f, "a", "3");
    struct watcher w;
    for (int i = 0; i < 3; i++) { /* from memory, after a restart, from the database */
        watch_open(f, &w, "a", "z", 3, false);
        wait_for_revision(&w, 4);
        assert_string_equal(w.text.data, "3:b=2 4:a=3");
        watch_close(&w);
        if (i == 1)
            failpoints_set("storage.index.freeze=error");
        if (i == 1)
            put(f, "zz", "flush");
        reopen(f);
    }
}

static void a_watch_of_the_future_skips_what_is_before(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    watch_open(f, &w, "a", "z", 4, false);
    put(f, "a", "2");
    put(f, "a", "3");
    put(f, "a", "4");
    wait_for_revision(&w, 4);
    assert_string_equal(w.text.data, "4:a=4");
    watch_close(&w);
}

static void previous_values_come_if_asked_for(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    put(f, "a", "1");
    watch_open(f, &w, "a", NULL, 2, true);
    put(f, "a", "2");
    del(f, "a");
    put(f, "a", "3");
    wait_for_revision(&w, 5);
    assert_string_equal(w.text.data, "2:a=1 3:a=2(1) 4:-a(2) 5:a=3");
    watch_close(&w);
}

static void a_watch_from_a_compacted_revision_fails(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "1");
    put(f, "a", "2");
    put(f, "a", "3");
    assert_int_equal(storage_compact(f->s, 3, &err), 0);
    struct watcher w;
    watch_open(f, &w, "a", NULL, 2, false);
    wait_for_failure(&w);
    assert_int_equal(w.failed, ERR_COMPACTED);
    assert_int_equal(w.compacted, 3);
    watch_close(&w);

    watch_open(f, &w, "a", NULL, 3, false); /* the compacted revision itself is still there */
    wait_for_revision(&w, 4);
    assert_string_equal(w.text.data, "3:a=2 4:a=3");
    watch_close(&w);
}

static int unrefs;

static void unref(void *attachment)
{
    (void)attachment;
    unrefs++;
}

static void attachments_reach_watchers_and_are_released(void **state)
{
    struct fixture *f = *state;
    struct watcher w;
    int here = 0, elsewhere = 0;
    unrefs = 0;
    watch_open(f, &w, "a", NULL, 0, false);
    struct storage_op yes = { .type = STORAGE_PUT, .key = BYTES("a"), .attachment = &here };
    struct storage_op no = { .type = STORAGE_PUT, .key = BYTES("a"), .attachment = &elsewhere };
    struct storage_txn txn = {
        .success = &yes, .success_n = 1, .failure = &no, .failure_n = 1, .attachment_unref = unref
    };
    apply(f, &txn, NULL);
    assert_ptr_equal(w.attachment, &here);
    assert_int_equal(unrefs, 2);
    watch_close(&w);
}

/* ---- many writers, watches that come and go ---- */

#define WRITERS 8
#define PUTS    300

static void *write_some(void *arg)
{
    struct fixture *f = arg;
    struct arena *arena = arena_new();
    for (int i = 0; i < PUTS; i++) {
        char key[32];
        snprintf(key, sizeof(key), "k%d", i % 7);
        struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .value = BYTES("v") };
        struct storage_txn txn = { .success = &op, .success_n = 1 };
        struct storage_txn_result out;
        struct error err = { 0 };
        if (storage_txn(f->s, &txn, arena, &out, &err) < 0)
            abort();
        arena_reset(arena);
    }
    arena_free(arena);
    return NULL;
}

static void late_watches_miss_nothing_while_writers_go_on(void **state)
{
    struct fixture *f = *state;
    failpoints_set("storage.index.freeze=error"); /* flush all the time */
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_some, f);
    enum { WATCHES = 20 };
    struct watcher w[WATCHES];
    for (int i = 0; i < WATCHES; i++) {
        watch_open(f, &w[i], "k", "l", 2, false);
        usleep(2000);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WATCHES; i++) {
        wait_for_revision(&w[i], 1 + WRITERS * PUTS);
        assert_int_equal(w[i].events_n, WRITERS * PUTS);
        watch_close(&w[i]);
    }
}

int main(void)
{
#define T(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BOTH(name) T(name), cmocka_unit_test_setup_teardown(name, setup_remote, teardown)
    const struct CMUnitTest tests[] = {
        T(a_write_is_seen_before_it_is_acknowledged),
        T(all_events_of_a_transaction_come_in_one_call),
        BOTH(a_watch_may_start_in_the_past),
        BOTH(a_watch_of_the_future_skips_what_is_before),
        BOTH(previous_values_come_if_asked_for),
        BOTH(a_watch_from_a_compacted_revision_fails),
        T(attachments_reach_watchers_and_are_released),
        BOTH(late_watches_miss_nothing_while_writers_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
