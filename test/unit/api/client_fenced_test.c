/* SPDX-License-Identifier: Apache-2.0 */
/* client_fenced_test.c - who does not lead any more reads, and writes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/client_fenced.h"
#include "test/unit/fake_client.h"

static bool answer(void *arg)
{
    return *(const bool *)arg;
}

static void on_event(const struct watch_event *event, void *arg)
{
    (void)event, (void)arg;
}

static void on_ended(const struct error *err, void *arg)
{
    (void)err, (void)arg;
}

static const struct resource *pods(void)
{
    return &resources[RESOURCE_PODS];
}

static void writes_pass_while_they_may_and_reads_always(void **state)
{
    struct fake_client *f = *state;
    scoped(arena) struct arena *a = arena_new();
    scoped(object_list) struct object_list list = { 0 };
    bool may_write = true;
    struct client *c =
        client_fenced_take(fake_client(f), &(struct client_fence){ answer, &may_write });
    struct error err = { 0 };
    struct object_key key = { "default", "a" };
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "metadata.name", "a");
    struct object *o = NULL;
    int64_t revision;

    assert_int_equal(client_create(c, pods(), "default", doc, NULL, &err), 0);
    may_write = false;

    assert_int_equal(client_get(c, pods(), &key, &o, &err), 0);
    assert_int_equal(client_list(c, pods(), NULL, &list, &revision, &err), 0);
    struct client_watch_options options = { .event = on_event, .ended = on_ended };
    struct client_watch *w = client_watch(c, pods(), &options, &err);
    assert_non_null(w);
    client_watch_close(w);
    object_unref(o);
    client_close(c);
}

static void no_kind_of_write_passes_afterwards(void **state)
{
    struct fake_client *f = *state;
    scoped(arena) struct arena *a = arena_new();
    bool may_write = false;
    struct client *c =
        client_fenced_take(fake_client(f), &(struct client_fence){ answer, &may_write });
    fake_store(f, RESOURCE_PODS, "{'metadata':{'namespace':'default','name':'a'}}");
    struct object_key key = { "default", "a" };
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "metadata.name", "b");
    const struct json *told;
    struct error errs[6] = { 0 };

    assert_int_equal(client_create(c, pods(), "default", doc, NULL, &errs[0]), -1);
    assert_int_equal(client_update(c, pods(), &key, doc, NULL, &errs[1]), -1);
    assert_int_equal(client_update_status(c, pods(), &key, doc, NULL, &errs[2]), -1);
    assert_int_equal(client_patch(c, pods(), &key, NULL, PATCH_MERGE, BYTES("{}"), NULL, &errs[3]),
                     -1);
    assert_int_equal(client_delete(c, pods(), &key, NULL, &errs[4]), -1);
    assert_int_equal(client_post(c, pods(), &key, "binding", doc, a, &told, &errs[5]), -1);

    for (size_t i = 0; i < ARRAY_LEN(errs); i++)
        assert_int_equal(errs[i].code, ERR_CANCELED);
    assert_string_equal(errs[0].message, "create pods b: this process does not lead any more");
    assert_int_equal(fake_count(f, RESOURCE_PODS), 1);
    client_close(c);
}

static int setup(void **state)
{
    *state = fake_client_new();
    return 0;
}

static int teardown(void **state)
{
    fake_client_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_pass_while_they_may_and_reads_always, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_kind_of_write_passes_afterwards, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
