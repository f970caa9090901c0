/* SPDX-License-Identifier: Apache-2.0 */
/* managed_fields_test.c - who owns which fields after creates and updates. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/managed_fields.h"
#include "api/resource.h"

static struct json *tree(const char *text, struct arena *a)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static struct field_write write_of(const char *manager, const char *subresource, const char *now,
                                   struct arena *a)
{
    return (struct field_write){ .type = resources[RESOURCE_CONFIGMAPS].type,
                                 .api_version = "v1",
                                 .manager = manager,
                                 .subresource = subresource,
                                 .now = now,
                                 .ignored = field_set_of_paths(managed_never_owned, a),
                                 .arena = a };
}

/* One update per call, by MANAGER at the second NOW. */
static void update(struct managed_fields *m, const char *manager, int now, const char *old,
                   const char *new, struct arena *a)
{
    const char *time = arena_printf(a, "2026-01-01T00:00:%02dZ", now);
    struct field_write w = write_of(manager, "", time, a);
    managed_fields_update(&w, tree(old, a), tree(new, a), m);
}

/* `manager@second {set}` for each entry, in the order of the list. */
static void assert_managers(struct managed_fields *m, const char *expected, struct arena *a)
{
    scoped(buffer) struct buffer text = { 0 };
    struct json list = managed_fields_json(m, a);
    for (size_t i = 0; i < list.len; i++) {
        const struct json *e = &list.items[i];
        const char *time = json_str(e, "time", "2026-01-01T00:00:--Z");
        buffer_printf(&text, "%s%s@%.2s ", i ? "\n" : "", json_str(e, "manager", ""), time + 17);
        json_print(json_get(e, "fieldsV1"), &text);
    }
    assert_string_equal(text.len ? text.data : "", expected);
}

static void who_creates_owns_what_is_there(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(
        &m, "a", 1, "{\"metadata\":{}}",
        "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"uid\":\"1\","
        "\"labels\":{\"l\":\"1\"}},\"data\":{\"k\":\"1\"}}",
        a);
    assert_managers(&m,
                    "a@01 {\"f:data\":{\".\":{},\"f:k\":{}},\"f:metadata\":{\"f:labels\":{\".\":{},"
                    "\"f:l\":{}}}}",
                    a);
}

static void a_field_goes_to_who_changes_it_last(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(&m, "a", 1, "{}", "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", a);
    update(&m, "b", 2, "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}",
           "{\"data\":{\"k\":\"2\",\"l\":\"1\"}}", a);
    assert_managers(&m,
                    "a@01 {\"f:data\":{\".\":{},\"f:l\":{}}}\n"
                    "b@02 {\"f:data\":{\"f:k\":{}}}",
                    a);
}

static void what_is_gone_is_nobodys(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(&m, "a", 1, "{}", "{\"data\":{\"k\":\"1\"}}", a);
    update(&m, "b", 2, "{\"data\":{\"k\":\"1\"}}", "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", a);
    update(&m, "c", 3, "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", "{\"data\":{\"k\":\"1\"}}", a);
    assert_managers(&m, "a@01 {\"f:data\":{\".\":{},\"f:k\":{}}}", a);
}

static void a_time_moves_only_with_a_change(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(&m, "a", 1, "{}", "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", a);
    update(&m, "a", 2, "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}",
           "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", a);
    assert_managers(&m, "a@01 {\"f:data\":{\".\":{},\"f:k\":{},\"f:l\":{}}}", a);
    update(&m, "a", 3, "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}", "{\"data\":{\"k\":\"1\"}}", a);
    assert_managers(&m, "a@01 {\"f:data\":{\".\":{},\"f:k\":{}}}", a);
    update(&m, "a", 4, "{\"data\":{\"k\":\"1\"}}", "{\"data\":{\"k\":\"2\"}}", a);
    assert_managers(&m, "a@04 {\"f:data\":{\".\":{},\"f:k\":{}}}", a);
}

static void a_subresource_and_a_version_are_entries_of_their_own(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(&m, "a", 1, "{}", "{\"data\":{\"k\":\"1\"}}", a);
    struct field_write w = write_of("a", "status", "2026-01-01T00:00:02Z", a);
    managed_fields_update(&w, tree("{\"data\":{\"k\":\"1\"}}", a),
                          tree("{\"data\":{\"k\":\"2\"}}", a), &m);
    assert_int_equal(m.n, 2);
    assert_string_equal(m.items[1].subresource, "status");

    /* an entry of a version that is not served any more goes with the next change */
    m.items[0].api_version = "v0";
    update(&m, "b", 3, "{}", "{\"data\":{\"x\":\"1\"}}", a);
    assert_managers(&m,
                    "a@02 {\"f:data\":{\"f:k\":{}}}\n"
                    "b@03 {\"f:data\":{\".\":{},\"f:x\":{}}}",
                    a);
}

static void without_a_name_it_is_unknown(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    update(&m, "", 1, "{}", "{\"data\":{\"k\":\"1\"}}", a);
    assert_managers(&m, "unknown@01 {\"f:data\":{\".\":{},\"f:k\":{}}}", a);
}

static void old_updaters_become_one(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    const char *was = "{\"data\":{\"a\":\"\"}}";
    for (int i = 0; i < 13; i++) {
        const char *is = arena_printf(a, "%.*s,\"k%02d\":\"1\"}}", (int)strlen(was) - 2, was, i);
        update(&m, arena_printf(a, "m%02d", i), i, was, is, a);
        was = is;
    }
    assert_int_equal(m.n, MANAGED_UPDATERS_MAX);
    struct json list = managed_fields_json(&m, a);
    assert_string_equal(json_str(&list.items[0], "manager", ""), "ancient-changes");
    assert_string_equal(json_str(&list.items[0], "time", ""), "2026-01-01T00:00:03Z");
    assert_int_equal(json_len(&list.items[0], "fieldsV1.f:data"), 4); /* m00 to m03 */
    assert_string_equal(json_str(&list.items[9], "manager", ""), "m12");
}

static void applies_come_first_and_then_the_oldest(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct managed_fields m = { 0 };
    const struct json *set = tree("{\"f:data\":{}}", a);
    static const struct managed_entry entries[] = {
        { .manager = "b", .api_version = "v1", .subresource = "", .time = "2026-01-01T00:00:02Z" },
        { .manager = "a", .api_version = "v1", .subresource = "", .time = "2026-01-01T00:00:02Z" },
        { .manager = "c", .api_version = "v1", .subresource = "", .time = "2026-01-01T00:00:01Z" },
        { .manager = "z",
          .api_version = "v1",
          .subresource = "",
          .is_apply = true,
          .time = "2026-01-01T00:00:03Z" },
        { .manager = "d", .api_version = "v1", .subresource = "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        managed_fields_add(&m, entries[i], a)->fields = set;
    assert_managers(&m,
                    "z@03 {\"f:data\":{}}\nd@-- {\"f:data\":{}}\nc@01 {\"f:data\":{}}\n"
                    "a@02 {\"f:data\":{}}\nb@02 {\"f:data\":{}}",
                    a);
}

/* ---- what a client says ---- */

static const char live_list[] =
    "[{\"manager\":\"live\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":"
    "\"FieldsV1\",\"fieldsV1\":{\"f:data\":{}}}]";

static void what_a_client_says_counts_if_it_can_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *manager;
    } cases[] = {
        { "[{\"manager\":\"sent\",\"operation\":\"Apply\",\"apiVersion\":\"v1\",\"fieldsType\":"
          "\"FieldsV1\",\"fieldsV1\":{\"f:data\":{}}}]",
          "sent" },
        { live_list, "live" },
        { "[]", NULL },
        { "[{}]", NULL },
        { "[{\"manager\":\"sent\",\"operation\":\"Delete\",\"apiVersion\":\"v1\",\"fieldsType\":"
          "\"FieldsV1\",\"fieldsV1\":{\"f:data\":{}}}]",
          "live" },
        { "[{\"manager\":\"sent\",\"operation\":\"Update\",\"fieldsType\":\"FieldsV1\"}]", "live" },
        { "[{\"manager\":\"sent\",\"operation\":\"Update\",\"apiVersion\":\"v1\"}]", "live" },
        { "[{\"manager\":\"sent\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":"
          "\"FieldsV1\",\"fieldsV1\":{\"data\":{}}}]",
          "live" },
        { "[{},{}]", "live" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct managed_fields m;
        managed_fields_read(tree(live_list, a), tree(cases[i].sent, a), a, &m);
        assert_int_equal(m.n, cases[i].manager ? 1 : 0);
        if (m.n)
            assert_string_equal(m.items[0].manager, cases[i].manager);
    }
}

static void lists_are_compared_without_their_times(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct json *one = tree(live_list, a), *other = tree(live_list, a);
    json_put_str(a, &other->items[0], "time", "2026-01-01T00:00:01Z");
    assert_true(managed_fields_equal(one, other));
    json_put_str(a, &other->items[0], "subresource", "status");
    assert_false(managed_fields_equal(one, other));
    assert_false(managed_fields_equal(one, NULL));
    assert_true(managed_fields_equal(NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_creates_owns_what_is_there),
        cmocka_unit_test(a_field_goes_to_who_changes_it_last),
        cmocka_unit_test(what_is_gone_is_nobodys),
        cmocka_unit_test(a_time_moves_only_with_a_change),
        cmocka_unit_test(a_subresource_and_a_version_are_entries_of_their_own),
        cmocka_unit_test(without_a_name_it_is_unknown),
        cmocka_unit_test(old_updaters_become_one),
        cmocka_unit_test(applies_come_first_and_then_the_oldest),
        cmocka_unit_test(what_a_client_says_counts_if_it_can_be_read),
        cmocka_unit_test(lists_are_compared_without_their_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
