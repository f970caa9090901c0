/* SPDX-License-Identifier: Apache-2.0 */
/* object_tree_test.c - objects at rest: small, true to the text, and sharing what is equal. */
#include "api/object_tree.h"

#include <pthread.h>

#include "api/object.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CONTAINERS                                                                                 \
    "[{\"name\":\"web\",\"image\":\"registry.example.com/shop/web:1.27.3\",\"ports\":[{"           \
    "\"containerPort\":8080}],\"env\":[{\"name\":\"A\",\"value\":\"1\"}]}]"

static struct object *pod(const char *name, const char *containers, int64_t revision)
{
    struct error err = { 0 };
    scoped(buffer) struct buffer text = { 0 };
    buffer_printf(&text,
                  "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\","
                  "\"labels\":{\"my.key\":\"x\"},\"resourceVersion\":\"1\"},\"spec\":{"
                  "\"nodeName\":\"node-of-%s\",\"containers\":%s}}",
                  name, name, containers);
    struct object *o = object_parse(NULL, buffer_bytes(&text), revision, &err);
    if (!o)
        fail_msg("%s", err.message);
    return o;
}

static void assert_says(const struct object *o, const char *text)
{
    scoped(shared_bytes) struct shared_bytes *json = object_json(o);
    assert_non_null(memmem(json->data, json->len, text, strlen(text)));
}

static const void *containers_of(const struct object *o)
{
    return json_at(o->doc, "spec.containers")->items;
}

static void what_is_met_again_is_kept_once(void **state)
{
    (void)state;
    size_t before = tree_parts_n();
    struct object *first = pod("a", CONTAINERS, 1), *second = pod("b", CONTAINERS, 2),
                  *third = pod("c", CONTAINERS, 3);
    assert_ptr_not_equal(containers_of(first), containers_of(second));
    assert_ptr_equal(containers_of(second), containers_of(third));
    assert_int_equal(tree_parts_n(), before + 1);
    assert_true(object_size_bytes(third) + 100 < object_size_bytes(first));

    object_unref(second);
    assert_string_equal(json_str(&json_at(third->doc, "spec.containers")->items[0], "image", ""),
                        "registry.example.com/shop/web:1.27.3");
    object_unref(third);
    assert_int_equal(tree_parts_n(), before);
    object_unref(first);
}

static void parts_have_parts(void **state)
{
    (void)state;
    size_t before = tree_parts_n();
    /* Each spec is of one pod alone, but two versions of it have it in common. */
    scoped(object) struct object *other = pod("x", CONTAINERS, 1),
                                 *another = pod("y", CONTAINERS, 1);
    scoped(object) struct object *first = pod("z", CONTAINERS, 2);
    scoped(object) struct object *second = object_at_revision(first, 3);
    scoped(object) struct object *third = object_at_revision(second, 4);
    assert_ptr_equal(json_at(second->doc, "spec")->members, json_at(third->doc, "spec")->members);
    assert_ptr_equal(containers_of(first), containers_of(third));
    assert_int_equal(tree_parts_n(), before + 2);
}

static void the_order_of_members_is_kept(void **state)
{
    (void)state;
    static const char other[] =
        "[{\"image\":\"registry.example.com/shop/web:1.27.3\",\"name\":\"web\",\"ports\":[{"
        "\"containerPort\":8080}],\"env\":[{\"name\":\"A\",\"value\":\"1\"}]}]";
    for (int i = 0; i < 4; i++) {
        scoped(object) struct object *a = pod("a", CONTAINERS, 1), *b = pod("a", other, 1);
        assert_says(a, CONTAINERS);
        assert_says(b, other);
    }
}

static void every_kind_of_value_survives(void **state)
{
    (void)state;
    static const char values[] =
        "[{\"a\":null,\"b\":[true,false,0,-1,9223372036854775807,1.5,1e+30,\"\",\"x\\u0000y\"],"
        "\"c\":{},\"d\":[],\"e\":{\"f:spec\":{\"f:replicas\":{}}},\"replicas\":[[[]],[{}]],"
        "\"a long name that is in no table of fields at all\":\"and text of some more bytes\"}]";
    for (int i = 0; i < 3; i++) {
        scoped(object) struct object *o = pod("v", values, 1);
        assert_says(o, values);
    }
}

static void known_names_are_the_tables_own(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod("n", "[{\"f:image\":1,\"f:my.key\":2,\"my.key\":3}]", 1);
    json_each_member (o->doc, m)
        assert_true(json_name_is_shared(m->name));
    json_each_member (json_at(o->doc, "spec.containers")->items, m)
        assert_int_equal(json_name_is_shared(m->name), strcmp(m->name, "f:image") == 0);
    json_each_member (json_at(o->doc, "metadata.labels"), m)
        assert_false(json_name_is_shared(m->name));
}

static void any_revision_fits(void **state)
{
    (void)state;
    scoped(object) struct object *o = pod("r", "[]", 1);
    scoped(object) struct object *later = object_at_revision(o, INT64_MAX);
    assert_string_equal(json_str(later->doc, "metadata.resourceVersion", ""),
                        "9223372036854775807");
    assert_string_equal(json_str(o->doc, "metadata.resourceVersion", ""), "1");
    assert_int_equal(later->resource_version, INT64_MAX);
    assert_string_equal(later->key.name, "r");
}

static void a_large_object_is_no_exception(void **state)
{
    (void)state;
    scoped(buffer) struct buffer text = { 0 };
    for (int i = 0; i < 3000; i++)
        buffer_printf(&text,
                      "%c{\"name\":\"container-%d\",\"env\":[{\"name\":\"N\",\"value\":\"%d\"}]}",
                      i ? ',' : '[', i, i);
    buffer_add_char(&text, ']');
    size_t before = tree_parts_n();
    for (int i = 0; i < 3; i++) {
        scoped(object) struct object *o = pod("large", text.data, i + 1);
        assert_says(o, text.data);
    }
    assert_int_equal(tree_parts_n(), before);
}

/* Threads that make and drop equal objects meet at every moment of a part's life. */
static void *make_and_drop(void *arg)
{
    struct object *kept = NULL;
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%d", i % 3);
        struct object *o = pod(name, i % 2 ? CONTAINERS : "[]", i + 1);
        if (i % 2)
            ensure(((const struct json *)containers_of(o))->len == 4);
        object_unref(kept);
        kept = o;
    }
    object_unref(kept);
    return arg;
}

static void threads_share_parts(void **state)
{
    (void)state;
    size_t before = tree_parts_n();
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_drop, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(tree_parts_n(), before);
}

/* When the hash had no key, these eight bytes made it forget all that came before them. */
#define FORGET "\x93\xfd\x59\x66\xb8\xfe\xe8\xd6"

static void nobody_can_choose_texts_of_one_hash(void **state)
{
    (void)state;
    size_t before = tree_parts_n();
    struct tree_block blocks[2][3];
    for (int text = 0; text < 2; text++) {
        scoped(arena) struct arena *a = arena_new();
        struct json *doc = json_new(a, JSON_OBJECT);
        struct json *list = json_make_array(a, doc, "list");
        json_append(a, list, json_string_value(a, arena_printf(a, "%080d" FORGET "end", text)));
        for (int i = 0; i < 3; i++)
            blocks[text][i] = tree_pack(doc, 0);
    }
    assert_int_equal(tree_parts_n(), before + 2);
    for (int i = 0; i < 6; i++) {
        struct tree_block *b = &blocks[i / 3][i % 3];
        tree_parts_release(b->parts, b->parts_n);
        free(b->head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_met_again_is_kept_once),
        cmocka_unit_test(parts_have_parts),
        cmocka_unit_test(the_order_of_members_is_kept),
        cmocka_unit_test(every_kind_of_value_survives),
        cmocka_unit_test(known_names_are_the_tables_own),
        cmocka_unit_test(any_revision_fits),
        cmocka_unit_test(a_large_object_is_no_exception),
        cmocka_unit_test(threads_share_parts),
        cmocka_unit_test(nobody_can_choose_texts_of_one_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
