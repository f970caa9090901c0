/* SPDX-License-Identifier: Apache-2.0 */
/* event_recorder_test - one event object per thing that happens, however often. */
#include "api/event_recorder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/fake_client.h"

struct fixture {
    struct fake_client *fake;
    struct event_recorder *recorder;
    struct object *pod;
};

static int setup(void **state)
{
    struct fixture *t = calloc(1, sizeof(*t));
    t->fake = fake_client_new();
    t->recorder = event_recorder_new(fake_client(t->fake), "tester", "host-1");
    t->pod = fake_put(t->fake, RESOURCE_PODS,
                      "{'metadata':{'namespace':'shop','name':'web','uid':'u-1'}}");
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *t = *state;
    event_recorder_free(t->recorder);
    object_unref(t->pod);
    fake_client_free(t->fake);
    free(t);
    return 0;
}

/* Frees the recorder, which sends what is queued, and gives the events. */
static void drain(struct fixture *t, struct object_list *out)
{
    event_recorder_free(t->recorder);
    t->recorder = NULL;
    fake_list(t->fake, RESOURCE_EVENTS, out);
}

static const char *text_of(const struct object_list *events, const char *path)
{
    return json_str(events->items[0]->doc, path, NULL);
}

static void an_event_says_who_what_and_about_what(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    event_record_field(t->recorder, t->pod, "spec.containers{web}", "Normal", "Pulled",
                       "got image %s", "nginx");
    drain(t, &events);
    assert_int_equal(events.n, 1);
    assert_string_equal(events.items[0]->key.ns, "shop");
    assert_memory_equal(events.items[0]->key.name, "web.", 4);
    assert_string_equal(text_of(&events, "involvedObject.kind"), "Pod");
    assert_string_equal(text_of(&events, "involvedObject.name"), "web");
    assert_string_equal(text_of(&events, "involvedObject.namespace"), "shop");
    assert_string_equal(text_of(&events, "involvedObject.uid"), "u-1");
    assert_string_equal(text_of(&events, "involvedObject.apiVersion"), "v1");
    assert_string_equal(text_of(&events, "involvedObject.fieldPath"), "spec.containers{web}");
    assert_string_equal(text_of(&events, "reason"), "Pulled");
    assert_string_equal(text_of(&events, "message"), "got image nginx");
    assert_string_equal(text_of(&events, "type"), "Normal");
    assert_string_equal(text_of(&events, "source.component"), "tester");
    assert_string_equal(text_of(&events, "source.host"), "host-1");
    assert_string_equal(text_of(&events, "reportingComponent"), "tester");
    assert_int_equal(json_int(events.items[0]->doc, "count", 0), 1);
}

static void the_same_event_again_counts_up(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    for (int i = 0; i < 3; i++)
        event_record(t->recorder, t->pod, "Warning", "BackOff", "again");
    drain(t, &events);
    assert_int_equal(events.n, 1);
    assert_int_equal(json_int(events.items[0]->doc, "count", 0), 3);
}

static void another_message_is_another_event(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    event_record(t->recorder, t->pod, "Normal", "Created", "one");
    event_record(t->recorder, t->pod, "Normal", "Created", "two");
    drain(t, &events);
    assert_int_equal(events.n, 2);
}

static void many_similar_events_are_combined(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    for (int i = 0; i < 15; i++)
        event_record(t->recorder, t->pod, "Normal", "Created", "number %d", i);
    drain(t, &events);
    assert_int_equal(events.n, 10);
    int combined = 0;
    object_list_each (&events, e)
        combined +=
            str_has_prefix(json_str(e->doc, "message", ""), "(combined from similar events): ");
    assert_int_equal(combined, 1);
}

static void one_of_the_first_similar_events_again_counts_as_itself(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    for (int i = 0; i < 12; i++)
        event_record(t->recorder, t->pod, "Normal", "Created", "number %d", i);
    event_record(t->recorder, t->pod, "Normal", "Created", "number 3");
    drain(t, &events);
    assert_int_equal(events.n, 10);
    object_list_each (&events, e) {
        if (str_equal(json_str(e->doc, "message", ""), "number 3"))
            assert_int_equal(json_int(e->doc, "count", 0), 2);
        else if (str_has_prefix(json_str(e->doc, "message", ""), "(combined"))
            assert_int_equal(json_int(e->doc, "count", 0), 3);
    }
}

static void a_long_message_ends_with_a_whole_character(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    char message[2000] = "x";
    for (size_t i = 1; i + 3 < sizeof(message); i += 3)
        memcpy(message + i, "\u20ac", 4);
    event_record(t->recorder, t->pod, "Normal", "Created", "%s", message);
    drain(t, &events);
    assert_int_equal(strlen(text_of(&events, "message")), 1 + 3 * 341);
}

static void a_flood_about_one_object_ends(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    for (int i = 0; i < 100; i++)
        event_record(t->recorder, t->pod, "Normal", "Flood", "same");
    drain(t, &events);
    assert_int_equal(events.n, 1);
    assert_int_equal(json_int(events.items[0]->doc, "count", 0), 25);
}

static void an_event_that_has_expired_is_made_anew(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    fake_fail(t->fake, VERB_PATCH, RESOURCE_EVENTS, 1, ERR_NOT_FOUND, "gone");
    event_record(t->recorder, t->pod, "Normal", "Created", "same");
    event_record(t->recorder, t->pod, "Normal", "Created", "same");
    drain(t, &events);
    assert_int_equal(events.n, 2);
}

static void events_about_cluster_scoped_objects_go_to_default(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    scoped(object) struct object *node =
        fake_put(t->fake, RESOURCE_NODES, "{'metadata':{'name':'n1'}}");
    event_record(t->recorder, node, "Normal", "Starting", "hello");
    drain(t, &events);
    assert_int_equal(events.n, 1);
    assert_string_equal(events.items[0]->key.ns, "default");
    assert_null(text_of(&events, "involvedObject.namespace"));
}

static void a_refused_event_is_dropped(void **state)
{
    struct fixture *t = *state;
    scoped(object_list) struct object_list events = { 0 };
    fake_fail(t->fake, VERB_CREATE, RESOURCE_EVENTS, 1, ERR_FORBIDDEN, "no");
    event_record(t->recorder, t->pod, "Normal", "One", "first");
    event_record(t->recorder, t->pod, "Normal", "Two", "second");
    drain(t, &events);
    assert_int_equal(events.n, 1);
    assert_string_equal(text_of(&events, "reason"), "Two");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_event_says_who_what_and_about_what),
        TEST(the_same_event_again_counts_up),
        TEST(another_message_is_another_event),
        TEST(many_similar_events_are_combined),
        TEST(one_of_the_first_similar_events_again_counts_as_itself),
        TEST(a_long_message_ends_with_a_whole_character),
        TEST(a_flood_about_one_object_ends),
        TEST(an_event_that_has_expired_is_made_anew),
        TEST(events_about_cluster_scoped_objects_go_to_default),
        TEST(a_refused_event_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
