/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf_test.c - upstream's own round-trip data, and damage. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>

#include "api/protobuf.h"
#include "api/resource.h"

#define ROUNDTRIP "../shared/testdata/roundtrip"

static struct bytes read_all(const char *path, struct arena *a)
{
    scoped(file) FILE *f = fopen(path, "re");
    if (!f)
        return (struct bytes){ 0 };
    char *data = arena_alloc(a, 1 << 20);
    return (struct bytes){ data, fread(data, 1, 1 << 20, f) };
}

static const struct schema_type *type_of(const struct json *doc)
{
    const char *version = json_str(doc, "apiVersion", ""), *kind = json_str(doc, "kind", "");
    char group[64] = "";
    const char *slash = strchr(version, '/');
    if (slash)
        snprintf(group, sizeof(group), "%.*s", (int)(slash - version), version);
    const struct resource *r = resource_find_kind(group, slash ? slash + 1 : version, kind);
    return r ? r->type : NULL;
}

static int round_trip(const char *dir, const char *name)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer again = { 0 };
    struct error err = { 0 };
    struct bytes pb = read_all(arena_printf(a, "%s/%s", dir, name), a);
    struct bytes text =
        read_all(arena_printf(a, "%s/%.*s.json", dir, (int)strlen(name) - 3, name), a);
    struct json *want = json_parse(text, a, NULL, &err);
    assert_non_null(want);
    const struct schema_type *type = type_of(want);
    if (!type)
        return 0; /* a kind that is not served */
    struct json *doc = protobuf_decode(type, json_str(want, "kind", ""), pb, a, &err);
    if (!doc)
        fail_msg("%s: %s", name, err.message);
    assert_int_equal(schema_shape(type, want, a, NULL, &err), 0);
    if (schema_shape(type, doc, a, NULL, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    schema_complete(type, want, a);
    schema_complete(type, doc, a);
    if (!json_equal(doc, want)) {
        scoped(buffer) struct buffer have = { 0 }, wanted = { 0 };
        json_print(doc, &have);
        json_print(want, &wanted);
        fail_msg("%s decodes to\n%s\nnot to\n%s", name, have.data, wanted.data);
    }
    protobuf_encode(type, want, &again);
    if (!bytes_equal(buffer_bytes(&again), pb)) {
        size_t i = 0;
        while (i < again.len && i < pb.len && again.data[i] == pb.data[i])
            i++;
        fail_msg("%s: encodes to %zu bytes, not %zu, different from byte %zu on", name, again.len,
                 pb.len, i);
    }
    return 1;
}

static void upstreams_data_decodes_and_encodes_to_the_same_bytes(void **state)
{
    (void)state;
    const char *dir = getenv("CORACLE_TESTDATA") ? getenv("CORACLE_TESTDATA") : ROUNDTRIP;
    DIR *d = opendir(dir);
    int n = 0;
    if (!d) {
        print_message("skipped: no %s\n", dir);
        skip();
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (str_has_suffix(e->d_name, ".pb"))
            n += round_trip(dir, e->d_name);
    }
    closedir(d);
    assert_true(n > 10);
}

static void every_cut_of_a_message_is_an_error_or_harmless(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer pb = { 0 };
    struct error err = { 0 };
    struct json *doc = json_parse(
        BYTES("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"labels\":{"
              "\"b\":\"c\"}},"
              "\"spec\":{\"containers\":[{\"name\":\"x\",\"ports\":[{\"containerPort\":80}]}]}}"),
        a, NULL, &err);
    protobuf_encode(resources[RESOURCE_PODS].type, doc, &pb);
    for (size_t n = 0; n < pb.len; n++) {
        scoped(arena) struct arena *scratch = arena_new();
        char *cut = malloc(n + 1); /* of its own, so that the sanitizer sees a read past the end */
        memcpy(cut, pb.data, n);
        struct json *got = protobuf_decode(resources[RESOURCE_PODS].type, "Pod",
                                           (struct bytes){ cut, n }, scratch, &err);
        assert_true(!got || got->type == JSON_OBJECT);
        free(cut);
    }
}

static void what_is_no_envelope_is_refused_as_upstream_says(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    assert_null(protobuf_decode(resources[RESOURCE_PODS].type, "Pod", BYTES("{}{}{}"), a, &err));
    assert_string_equal(err.message,
                        "provided data does not appear to be a protobuf message, expected "
                        "prefix [107 56 115 0]");
    assert_int_equal(err.code, ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstreams_data_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(every_cut_of_a_message_is_an_error_or_harmless),
        cmocka_unit_test(what_is_no_envelope_is_refused_as_upstream_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
