/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf_test.c - bodies as client-go writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/protobuf.h"
#include "api/resource.h"

/* Builds messages inside out: text fields and nested messages of up to 127 bytes. */
static void put(struct buffer *b, int number, struct bytes v)
{
    assert_true(v.len < 128);
    buffer_add_char(b, (char)(number << 3 | 2));
    buffer_add_char(b, (char)v.len);
    buffer_add_bytes(b, v);
}

static void put_int(struct buffer *b, int number, char v)
{
    buffer_add_char(b, (char)(number << 3));
    buffer_add_char(b, v);
}

static void put_take(struct buffer *b, int number, struct buffer *message)
{
    put(b, number, buffer_bytes(message));
    buffer_free(message);
}

static struct json *decode(enum resource_id id, const char *api_version, const char *kind,
                           struct buffer *raw, struct arena *a, struct error *err)
{
    struct buffer meta = { 0 }, envelope = { 0 };
    put(&meta, 1, bytes_of(api_version));
    put(&meta, 2, bytes_of(kind));
    buffer_add(&envelope, "k8s\0", 4);
    put_take(&envelope, 1, &meta);
    put_take(&envelope, 2, raw);
    struct json *v =
        protobuf_decode(resources[id].type, resources[id].kind, buffer_bytes(&envelope), a, err);
    buffer_free(&envelope);
    return v;
}

static void assert_json(const struct json *v, const char *wanted)
{
    struct buffer b = { 0 };
    json_print(v, &b);
    assert_string_equal(b.data, wanted);
    buffer_free(&b);
}

static void a_config_map_has_its_maps(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer meta = { 0 }, entry = { 0 }, raw = { 0 };
    put(&meta, 1, BYTES("name"));
    put_take(&raw, 1, &meta);
    put(&entry, 1, BYTES("k"));
    put(&entry, 2, BYTES("v"));
    put_take(&raw, 2, &entry);

    struct json *v = decode(RESOURCE_CONFIGMAPS, "v1", "ConfigMap", &raw, a, &err);

    assert_json(v, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"name\"},"
                   "\"data\":{\"k\":\"v\"}}");
}

static void bytes_become_base64(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer entry = { 0 }, raw = { 0 };
    put(&entry, 1, BYTES("k"));
    put(&entry, 2, BYTES("value"));
    put_take(&raw, 2, &entry);

    struct json *v = decode(RESOURCE_SECRETS, "v1", "Secret", &raw, a, &err);

    assert_string_equal(json_str(v, "data.k", ""), "dmFsdWU=");
}

static void inline_messages_join_their_parent(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer path = { 0 }, source = { 0 }, volume = { 0 }, spec = { 0 }, raw = { 0 };
    put(&path, 1, BYTES("/p"));
    put_take(&source, 1, &path); /* VolumeSource.hostPath */
    put(&volume, 1, BYTES("v"));
    put_take(&volume, 2, &source);
    put_take(&spec, 1, &volume);
    put_int(&spec, 4, 9); /* terminationGracePeriodSeconds */
    put_take(&raw, 2, &spec);

    struct json *v = decode(RESOURCE_PODS, "v1", "Pod", &raw, a, &err);

    assert_json(json_get(v, "spec"),
                "{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/p\"}}],"
                "\"terminationGracePeriodSeconds\":9}");
}

static void ports_are_numbers_or_names(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer target = { 0 }, port = { 0 }, spec = { 0 }, raw = { 0 };
    put_int(&target, 1, 1);
    put(&target, 3, BYTES("http"));
    put_int(&port, 3, 80);
    put_take(&port, 4, &target);
    put_take(&spec, 1, &port);
    put_take(&raw, 2, &spec);

    struct json *v = decode(RESOURCE_SERVICES, "v1", "Service", &raw, a, &err);

    assert_json(json_at(v, "spec.ports"), "[{\"port\":80,\"targetPort\":\"http\"}]");
}

static void no_time_is_no_member(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer meta = { 0 }, raw = { 0 };
    put(&meta, 8, BYTES("")); /* creationTimestamp */
    put_take(&raw, 1, &meta);

    struct json *v = decode(RESOURCE_CONFIGMAPS, "v1", "ConfigMap", &raw, a, &err);

    assert_null(json_at(v, "metadata.creationTimestamp"));
}

static void another_kind_is_left_to_the_caller(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct buffer raw = { 0 };
    put(&raw, 1, BYTES("\xff\xff"));

    struct json *v = decode(RESOURCE_CONFIGMAPS, "v1", "Secret", &raw, a, &err);

    assert_json(v, "{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}");
}

static void broken_bytes_are_refused(void **state)
{
    (void)state;
    static const struct bytes bodies[] = {
        { "", 0 },
        { "k8s", 3 },
        { "json{}", 6 },
        { "k8s\0\x0a\x7f", 6 },                  /* a message longer than the body */
        { "k8s\0\x12\x02\x0a\x7f", 8 },          /* the same one level down */
        { "k8s\0\xff\xff\xff\xff\xff\xff", 10 }, /* a number without an end */
        { "k8s\0\x12\x01\x0b", 7 },              /* a wire type that does not exist */
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        const struct resource *r = &resources[RESOURCE_CONFIGMAPS];
        assert_null(protobuf_decode(r->type, r->kind, bodies[i], a, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_map_has_its_maps),
        cmocka_unit_test(bytes_become_base64),
        cmocka_unit_test(inline_messages_join_their_parent),
        cmocka_unit_test(ports_are_numbers_or_names),
        cmocka_unit_test(no_time_is_no_member),
        cmocka_unit_test(another_kind_is_left_to_the_caller),
        cmocka_unit_test(broken_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
