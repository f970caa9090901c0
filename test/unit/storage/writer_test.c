/* SPDX-License-Identifier: Apache-2.0 */
/* writer_test.c - writes that are submitted together, and the bursts of what comes back. */
#include "storage/writer.h"

#include <semaphore.h>

#include "test/unit/storage/fixture.h"

enum { WRITES = 100 };

struct write {
    char key[16];
    struct storage_op op;
    struct storage_txn txn;
    struct storage_submission submission;
    struct notes *notes;
    int64_t revision;
    enum error_code code;
};

struct notes { /* the writer's thread makes them; the test reads them after the last answer */
    struct fixture *f;
    struct write writes[WRITES];
    int bursts, answers, events, outside;
    bool is_in_burst;
    sem_t all_answered;
};

static void answered(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct write *w = arg;
    struct notes *n = w->notes;
    w->revision = result->revision;
    w->code = err->code;
    n->outside += !n->is_in_burst;
    if (++n->answers == WRITES)
        sem_post(&n->all_answered);
}

static void event(const struct storage_event *events, size_t events_n, int64_t revision, void *arg)
{
    (void)events, (void)revision;
    struct notes *n = arg;
    n->events += (int)events_n;
    n->outside += !n->is_in_burst;
}

static void failed(const struct error *err, int64_t compacted, void *arg)
{
    (void)err, (void)compacted, (void)arg;
}

static void begin(void *arg)
{
    struct notes *n = arg;
    assert_false(n->is_in_burst);
    n->is_in_burst = true;
    n->bursts++;
}

static void end(void *arg)
{
    ((struct notes *)arg)->is_in_burst = false;
}

static int set_up(void **state)
{
    struct notes *n = xcalloc(1, sizeof(*n));
    setup((void **)&n->f);
    sem_init(&n->all_answered, 0, 0);
    for (int i = 0; i < WRITES; i++) {
        struct write *w = &n->writes[i];
        snprintf(w->key, sizeof(w->key), "k%d", i);
        w->op = (struct storage_op){ .type = STORAGE_PUT, .key = bytes_of(w->key) };
        w->txn = (struct storage_txn){ .success = &w->op, .success_n = 1 };
        w->notes = n;
        w->submission = (struct storage_submission){ &w->txn, arena_new(), answered, w, NULL };
        if (i)
            n->writes[i - 1].submission.next = &w->submission;
    }
    *state = n;
    return 0;
}

static int tear_down(void **state)
{
    struct notes *n = *state;
    for (int i = 0; i < WRITES; i++)
        arena_free(n->writes[i].submission.arena);
    teardown((void **)&n->f);
    sem_destroy(&n->all_answered);
    free(n);
    return 0;
}

static void submit(struct notes *n)
{
    storage_txn_submit_all(n->f->s, &n->writes[0].submission);
    sem_wait(&n->all_answered);
}

static void writes_submitted_together_keep_their_order(void **state)
{
    struct notes *n = *state;
    submit(n);
    for (int i = 0; i < WRITES; i++) {
        assert_int_equal(n->writes[i].code, ERR_NONE);
        assert_int_equal(n->writes[i].revision, 2 + i);
    }
    assert_int_equal(range(n->f, "k", "l", 0).n, WRITES);
}

static void a_bad_write_among_others_fails_alone(void **state)
{
    struct notes *n = *state;
    n->writes[0].op.key = (struct bytes){ 0 };
    n->writes[50].op.lease = 12345;
    n->writes[WRITES - 1].op.key = (struct bytes){ 0 };
    submit(n);
    assert_int_equal(n->writes[0].code, ERR_BAD_REQUEST);
    assert_int_equal(n->writes[50].code, ERR_NOT_FOUND);
    assert_int_equal(n->writes[WRITES - 1].code, ERR_BAD_REQUEST);
    assert_int_equal(storage_revision(n->f->s), 1 + WRITES - 3);
}

static void a_burst_surrounds_the_events_and_answers_of_a_group(void **state)
{
    struct notes *n = *state;
    struct error err = { 0 };
    struct storage_watch_config config = {
        .key = BYTES("\0"), .end = BYTES("\0"), .events = event, .failed = failed, .arg = n
    };
    struct storage_watch *w = storage_watch(n->f->s, &config, &err);
    assert_non_null(w);
    struct storage_burst burst = { begin, end, n };
    storage_on_burst(n->f->s, &burst);
    submit(n);
    storage_on_burst(n->f->s, NULL);
    assert_false(n->is_in_burst);
    assert_int_equal(n->outside, 0);
    assert_int_equal(n->events, WRITES);
    assert_in_range(n->bursts, 1, WRITES);

    int bursts = n->bursts;
    put(n->f, "a", "1");
    assert_int_equal(n->bursts, bursts);
    assert_int_equal(n->outside, 1); /* the event of that one */
    storage_watch_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_submitted_together_keep_their_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_bad_write_among_others_fails_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_burst_surrounds_the_events_and_answers_of_a_group, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
