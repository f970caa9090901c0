/* SPDX-License-Identifier: Apache-2.0 */
/* object_test.c - objects and drafts. */
#include "api/object.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char pod_text[] =
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"web-0\",\"namespace\":"
    "\"default\","
    "\"uid\":\"u1\",\"resourceVersion\":\"7\",\"generation\":3,\"creationTimestamp\":"
    "\"1970-01-01T00:00:01Z\",\"labels\":{\"app.kubernetes.io/"
    "name\":\"web\"},\"annotations\":{\"a\":"
    "\"b\"},\"finalizers\":[\"f1\",\"f2\"],\"ownerReferences\":[{\"uid\":\"o1\"},{\"uid\":\"o2\","
    "\"controller\":true}]},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}"
    "}";

static struct object *pod(int64_t revision)
{
    struct error err = { 0 };
    struct object *o = object_parse(NULL, bytes_of(pod_text), revision, &err);
    if (!o)
        fail_msg("%s", err.message);
    return o;
}

static void assert_text(const struct object *o, const char *text)
{
    scoped(shared_bytes) struct shared_bytes *json = object_json(o);
    assert_true(bytes_equal_str(shared_bytes_view(json), text));
}

static void what_the_text_says_can_be_read(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(0);
    assert_ptr_equal(o->resource, &resources[RESOURCE_PODS]);
    assert_string_equal(o->key.ns, "default");
    assert_string_equal(o->key.name, "web-0");
    assert_string_equal(o->uid, "u1");
    assert_int_equal(o->resource_version, 7);
    assert_string_equal(object_label(o, "app.kubernetes.io/name"), "web");
    assert_null(object_label(o, "app"));
    assert_string_equal(object_annotation(o, "a"), "b");
    assert_false(object_is_deleting(o));
    assert_int_equal(object_generation(o), 3);
    assert_int_equal(object_created_ns(o), NS_PER_S);
    assert_true(object_has_finalizer(o, "f2"));
    assert_false(object_has_finalizer(o, "f"));
    assert_string_equal(json_str(object_controller(o), "uid", ""), "o2");
    assert_true(object_condition_is_true(o, "Ready"));
    assert_null(object_condition(o, "Other"));
    assert_text(o, pod_text);
}

static void a_revision_becomes_the_resource_version(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(42);
    assert_int_equal(o->resource_version, 42);
    assert_string_equal(json_str(o->doc, "metadata.resourceVersion", ""), "42");
}

static void an_edit_leaves_the_object_alone(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(1);
    struct draft *d = object_edit(o);
    json_put_str(d->arena, d->doc, "metadata.labels.x", "y");
    json_put_str(d->arena, d->doc, "metadata.name", "web-1");
    scoped(object) struct object *n = draft_publish(d, 2);
    assert_string_equal(n->key.name, "web-1");
    assert_string_equal(object_label(n, "x"), "y");
    assert_null(object_label(o, "x"));
    assert_string_equal(o->key.name, "web-0");
    assert_int_equal(n->resource_version, 2);
}

static void an_object_does_not_keep_what_its_making_needed(void **state)
{
    (void)state;
    struct draft *d = draft_new(&resources[RESOURCE_DEPLOYMENTS]);
    arena_alloc(d->arena, 1 << 20);
    json_put_str(d->arena, d->doc, "metadata.name", "x");
    scoped(object) struct object *o = draft_publish(d, 1);
    assert_true(object_size_bytes(o) < 1024);
    assert_text(o, "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{"
                   "\"name\":\"x\",\"resourceVersion\":\"1\"}}");
}

static void a_text_is_kept_when_it_is_asked_for_again(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(7);
    assert_text(o, pod_text);
    assert_false(object_has_json(o));
    scoped(shared_bytes) struct shared_bytes *second = object_json(o);
    assert_true(object_has_json(o));
    scoped(shared_bytes) struct shared_bytes *third = object_json(o);
    assert_ptr_equal(second, third);
}

static void who_got_a_text_has_it_after_the_object_let_go_of_it(void **state)
{
    (void)state;
    struct object *o = pod(7);
    size_t without = object_size_bytes(o);
    object_keep_json_take(o, shared_bytes_new(BYTES(pod_text)));
    scoped(shared_bytes) struct shared_bytes *text = object_json(o);
    size_t with = object_size_bytes(o);
    assert_int_equal(object_drop_json(o), with - without);
    assert_int_equal(object_size_bytes(o), without);
    assert_int_equal(object_drop_json(o), 0);
    assert_text(o, pod_text);
    object_unref(o);
    assert_true(bytes_equal_str(shared_bytes_view(text), pod_text));
}

static void a_text_that_nobody_asks_for_goes(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(7);
    for (int i = 0; i < 3; i++)
        assert_text(o, pod_text);
    assert_int_equal(object_age_json(o), 0); /* it was asked for */
    assert_text(o, pod_text);
    assert_int_equal(object_age_json(o), 0);
    assert_true(object_has_json(o));
    assert_true(object_age_json(o) > sizeof(pod_text));
    assert_false(object_has_json(o));
}

/* One asks all the time, the other one drops. */
static void *ask(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        scoped(shared_bytes) struct shared_bytes *text = object_json(arg);
        ensure(text->data[0] == '{');
    }
    return NULL;
}

static void texts_are_asked_for_and_dropped_at_once(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod(7);
    pthread_t threads[2];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, o), 0);
    for (int i = 0; i < 20000; i++)
        object_drop_json(o);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_text(o, pod_text);
}

static void references_keep_an_object(void **state)
{
    (void)state;
    struct object *o = pod(0);
    struct object_list list = { 0 };
    for (int i = 0; i < 100; i++)
        object_list_add(&list, o);
    object_list_add_take(&list, o);
    size_t n = 0;
    object_list_each (&list, item) {
        assert_ptr_equal(item, o);
        n++;
    }
    assert_int_equal(n, 101);
    object_list_deinit(&list);
    object_unref(NULL);
}

static void keys_survive_text(void **state)
{
    (void)state;
    static const struct object_key keys[] = { { "ns", "name" }, { "", "node-1" }, { "", "" } };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char text[KEY_TEXT_BYTES_MAX], parts[KEY_TEXT_BYTES_MAX];
        struct object_key again = object_key_parse(object_key_text(&keys[i], text), parts);
        assert_true(object_key_equal(&keys[i], &again));
    }
    char text[KEY_TEXT_BYTES_MAX], longer[2 * KEY_TEXT_BYTES_MAX];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    assert_int_equal(object_key_text(&(struct object_key){ "ns", longer }, text).len,
                     KEY_TEXT_BYTES_MAX - 1);
    object_key_parse(bytes_of(longer), text);
}

static void a_controller_reference_names_its_owner(void **state)
{
    (void)state;
    scoped(object) struct object *owner = pod(0);
    struct draft *d = draft_new(&resources[RESOURCE_PODS]);
    draft_add_controller(d, owner);
    scoped(object) struct object *o = draft_publish(d, 1);
    assert_true(object_is_controlled_by(o, owner));
    assert_false(object_is_controlled_by(owner, owner));
    scoped(buffer) struct buffer text = { 0 };
    json_print(object_controller(o), &text);
    assert_string_equal(text.data,
                        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"web-0\",\"uid\":"
                        "\"u1\",\"controller\":true,\"blockOwnerDeletion\":true}");
}

static void the_transition_time_moves_only_with_the_status(void **state)
{
    (void)state;
    scoped(draft) struct draft *d = draft_new(&resources[RESOURCE_PODS]);
    assert_true(draft_set_condition(d, "Ready", "False", "Starting", "wait", NS_PER_S));
    assert_false(draft_set_condition(d, "Ready", "False", "Starting", "wait", 2 * NS_PER_S));
    assert_true(draft_set_condition(d, "Ready", "False", "Started", NULL, 3 * NS_PER_S));
    const struct json *c = &json_at(d->doc, "status.conditions")->items[0];
    assert_string_equal(json_str(c, "lastTransitionTime", ""), "1970-01-01T00:00:01Z");
    assert_string_equal(json_str(c, "reason", ""), "Started");
    assert_null(json_get(c, "message"));
    assert_true(draft_set_condition(d, "Ready", "True", NULL, NULL, 4 * NS_PER_S));
    assert_string_equal(json_str(c, "lastTransitionTime", ""), "1970-01-01T00:00:04Z");
    assert_true(draft_set_condition(d, "Other", "True", NULL, NULL, 5 * NS_PER_S));
    assert_int_equal(json_len(d->doc, "status.conditions"), 2);
}

#ifdef CORACLE_DEBUG
static void a_write_to_a_shared_object_is_found(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        signal(SIGABRT, SIG_DFL);
        struct object *o = pod(1);
        ((struct json *)json_at(o->doc, "metadata.generation"))->integer++;
        object_unref(o);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
#endif

static void bad_text_is_an_error(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{", "unexpected end of JSON input" },
        { "[]", "an API object must be a JSON object" },
        { "{}", "Object 'Kind' is missing" },
        { "{\"kind\":\"Pod\"}", "Object 'apiVersion' is missing" },
        { "{\"kind\":\"Pod\",\"apiVersion\":\"apps/v1\"}",
          "no kind \"Pod\" is registered for version \"apps/v1\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = { 0 };
        assert_null(object_parse(NULL, bytes_of(cases[i][0]), 0, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i][1]);
    }
    struct error err = { 0 };
    scoped(object) struct object *o =
        object_parse(&resources[RESOURCE_PODS], BYTES("{\"metadata\":{\"name\":\"x\"}}"), 0, &err);
    assert_string_equal(json_str(o->doc, "kind", ""), "Pod");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_text_says_can_be_read),
        cmocka_unit_test(a_revision_becomes_the_resource_version),
        cmocka_unit_test(an_edit_leaves_the_object_alone),
        cmocka_unit_test(an_object_does_not_keep_what_its_making_needed),
        cmocka_unit_test(a_text_is_kept_when_it_is_asked_for_again),
        cmocka_unit_test(who_got_a_text_has_it_after_the_object_let_go_of_it),
        cmocka_unit_test(a_text_that_nobody_asks_for_goes),
        cmocka_unit_test(texts_are_asked_for_and_dropped_at_once),
        cmocka_unit_test(references_keep_an_object),
        cmocka_unit_test(keys_survive_text),
        cmocka_unit_test(a_controller_reference_names_its_owner),
        cmocka_unit_test(the_transition_time_moves_only_with_the_status),
#ifdef CORACLE_DEBUG
        cmocka_unit_test(a_write_to_a_shared_object_is_found),
#endif
        cmocka_unit_test(bad_text_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
