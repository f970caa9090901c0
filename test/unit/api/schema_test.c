/* SPDX-License-Identifier: Apache-2.0 */
/* schema_test.c - finding, shaping and completing by the tables. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/resource.h"

struct shaped {
    struct arena *arena;
    struct json *doc;
    struct schema_warnings warnings;
    struct error err;
    int rc;
};

static const struct schema_type *type_named(const char *name)
{
    char full[256];
    snprintf(full, sizeof(full), "io.k8s.api.%s", name);
    const struct schema_type *t = schema_type_find(full);
    assert_non_null(t);
    return t;
}

static struct shaped shape(const char *type, const char *text)
{
    struct shaped s = { .arena = arena_new() };
    s.doc = json_parse(bytes_of(text), s.arena, NULL, &s.err);
    assert_non_null(s.doc);
    s.rc = schema_shape(type_named(type), s.doc, s.arena, &s.warnings, &s.err);
    return s;
}

static void assert_prints(const struct json *v, const char *text)
{
    scoped(buffer) struct buffer out = { 0 };
    json_print(v, &out);
    assert_string_equal(out.data, text);
}

static void a_field_is_found_by_its_json_name_also_inside_inlined_types(void **state)
{
    (void)state;
    const struct schema_type *volume = type_named("core.v1.Volume");
    assert_string_equal(schema_field_find(volume, BYTES("name"))->name, "name");
    assert_string_equal(schema_field_find(volume, BYTES("emptyDir"))->type->go_name,
                        "EmptyDirVolumeSource");
    assert_null(schema_field_find(volume, BYTES("volumeSource")));
    assert_null(schema_field_find(volume, BYTES("emptydir")));
    assert_null(schema_field_find(volume, BYTES("")));
}

static void every_field_of_every_type_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_types_n; i++)
        for (size_t k = 0; k < schema_types[i].fields_n; k++) {
            const struct schema_field *f = &schema_types[i].fields[k];
            if (!(f->flags & SCHEMA_INLINE))
                assert_ptr_equal(schema_field_find(&schema_types[i], bytes_of(f->name)), f);
        }
}

static void a_table_without_slots_is_searched_too(void **state)
{
    (void)state;
    struct schema_type bare = *type_named("core.v1.Volume");
    bare.slots = NULL;
    assert_non_null(schema_field_find(&bare, BYTES("name")));
    assert_non_null(schema_field_find(&bare, BYTES("secret")));
    assert_null(schema_field_find(&bare, BYTES("x")));
}

static void unknown_fields_go_and_are_reported_with_their_place(void **state)
{
    (void)state;
    struct shaped s = shape("core.v1.Pod", "{\"foo\":1,\"spec\":{\"containers\":[{\"name\":\"a\"},"
                                           "{\"name\":\"b\",\"imagee\":\"x\"}]}}");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.warnings.n, 2);
    assert_string_equal(s.warnings.items[0], "unknown field \"foo\"");
    assert_string_equal(s.warnings.items[1], "unknown field \"spec.containers[1].imagee\"");
    assert_prints(s.doc, "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}");
    arena_free(s.arena);
}

static void values_of_the_wrong_type_are_refused_in_the_words_of_gos_decoder(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text, *message;
    } cases[] = {
        { "apps.v1.Deployment", "{\"spec\":{\"replicas\":\"3\"}}",
          "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type "
          "int32" },
        { "apps.v1.Deployment", "{\"spec\":{\"replicas\":1.5}}",
          "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of "
          "type int32" },
        { "apps.v1.Deployment", "{\"spec\":{\"replicas\":4294967296}}",
          "json: cannot unmarshal number 4294967296 into Go struct field "
          "DeploymentSpec.spec.replicas of type int32" },
        { "apps.v1.Deployment", "{\"spec\":[]}",
          "json: cannot unmarshal array into Go struct field Deployment.spec of type "
          "v1.DeploymentSpec" },
        { "core.v1.Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod" },
        { "core.v1.Pod", "{\"spec\":{\"containers\":{}}}",
          "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
          "[]v1.Container" },
        { "core.v1.Pod", "{\"spec\":{\"containers\":[{\"image\":5}]}}",
          "json: cannot unmarshal number into Go struct field Container.spec.containers.image of "
          "type string" },
        { "core.v1.Pod", "{\"metadata\":{\"labels\":{\"a\":true}}}",
          "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type "
          "string" },
        { "core.v1.Pod", "{\"spec\":{\"restartPolicy\":1}}",
          "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type "
          "v1.RestartPolicy" },
        { "core.v1.Pod", "{\"spec\":{\"containers\":[{\"resources\":{\"limits\":[]}}]}}",
          "json: cannot unmarshal array into Go struct field "
          "ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList" },
        { "core.v1.Pod",
          "{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1x y\"}}}]}}",
          "quantities must match the regular expression "
          "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
        { "core.v1.Service", "{\"spec\":{\"ports\":[{\"targetPort\":true}]}}",
          "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of "
          "type int32" },
        { "core.v1.Secret", "{\"data\":{\"a\":\"!\"}}", "illegal base64 data at input byte 0" },
        { "core.v1.Secret", "{\"data\":{\"a\":\"YWJj=\"}}", "illegal base64 data at input byte 4" },
        { "core.v1.Secret", "{\"data\":{\"a\":\"YWJjZA\"}}",
          "illegal base64 data at input byte 4" },
        { "core.v1.Pod", "{\"metadata\":{\"creationTimestamp\":\"x\"}}",
          "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"" },
        { "core.v1.Pod", "{\"metadata\":{\"creationTimestamp\":\"2024-13-01T00:00:00Z\"}}",
          "parsing time \"2024-13-01T00:00:00Z\": month out of range" },
        { "core.v1.Pod", "{\"metadata\":{\"creationTimestamp\":5}}",
          "json: cannot unmarshal number into Go struct field "
          "ObjectMeta.metadata.creationTimestamp "
          "of type string" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shaped s = shape(cases[i].type, cases[i].text);
        assert_int_equal(s.rc, -1);
        assert_int_equal(s.err.code, ERR_BAD_REQUEST);
        assert_string_equal(s.err.message, cases[i].message);
        arena_free(s.arena);
    }
}

static void what_an_encoder_would_leave_out_is_gone_after_shaping(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text, *shaped;
    } cases[] = {
        { "core.v1.Pod", "{\"metadata\":{\"labels\":{},\"name\":\"\"},\"spec\":null}",
          "{\"metadata\":{}}" },
        { "core.v1.Pod", "{\"spec\":{\"hostNetwork\":false,\"containers\":[]}}",
          "{\"spec\":{\"containers\":[]}}" },
        { "apps.v1.Deployment", "{\"spec\":{\"replicas\":0,\"paused\":false}}",
          "{\"spec\":{\"replicas\":0}}" },
        { "core.v1.Pod", "{\"spec\":{\"volumes\":[{\"name\":\"a\",\"emptyDir\":{}}]}}",
          "{\"spec\":{\"volumes\":[{\"name\":\"a\",\"emptyDir\":{}}]}}" },
        { "core.v1.ConfigMap", "{\"data\":{\"a\":null}}", "{\"data\":{\"a\":\"\"}}" },
        { "core.v1.Pod", "{\"spec\":{\"containers\":[null]}}", "{\"spec\":{\"containers\":[{}]}}" },
        { "core.v1.Pod", "{\"metadata\":{\"creationTimestamp\":\"2024-01-01T02:00:00.5+02:00\"}}",
          "{\"metadata\":{\"creationTimestamp\":\"2024-01-01T00:00:00Z\"}}" },
        { "coordination.v1.Lease", "{\"spec\":{\"renewTime\":\"2024-01-01T00:00:00Z\"}}",
          "{\"spec\":{\"renewTime\":\"2024-01-01T00:00:00.000000Z\"}}" },
        { "core.v1.Secret", "{\"data\":{\"a\":\"YW\\nJj\"}}", "{\"data\":{\"a\":\"YWJj\"}}" },
        { "apps.v1.ControllerRevision", "{\"data\":{\"a\":[null]},\"revision\":0}",
          "{\"data\":{\"a\":[null]},\"revision\":0}" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shaped s = shape(cases[i].type, cases[i].text);
        assert_int_equal(s.rc, 0);
        assert_prints(s.doc, cases[i].shaped);
        arena_free(s.arena);
    }
}

static void quantities_become_canonical_and_resource_lists_count_in_thousandths(void **state)
{
    (void)state;
    struct shaped s =
        shape("core.v1.ResourceQuota", "{\"spec\":{\"hard\":{\"cpu\":\"0.5\",\"memory\":\"1024Mi\","
                                       "\"pods\":3,\"x\":\"1500n\"}}}");
    assert_int_equal(s.rc, 0);
    assert_prints(s.doc, "{\"spec\":{\"hard\":{\"cpu\":\"500m\",\"memory\":\"1Gi\",\"pods\":\"3\","
                         "\"x\":\"1m\"}}}");
    arena_free(s.arena);
}

static void member_names_become_the_tables_own(void **state)
{
    (void)state;
    struct shaped s = shape("core.v1.Pod", "{\"metadata\":{\"name\":\"a\"}}");
    const struct schema_field *f = schema_field_find(type_named("core.v1.Pod"), BYTES("metadata"));
    assert_ptr_equal(s.doc->members[0].name, f->name);
    arena_free(s.arena);
}

static void completing_adds_what_an_encoder_always_writes(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text, *completed;
    } cases[] = {
        { "core.v1.Pod",
          "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]}}",
          "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"resources\":{"
          "}}]},"
          "\"status\":{}}" },
        { "core.v1.Service", "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"ports\":[{\"port\":80}]}}",
          "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":0}]},"
          "\"status\":{\"loadBalancer\":{}}}" },
        { "rbac.v1.ClusterRole", "{\"metadata\":{}}", "{\"metadata\":{},\"rules\":null}" },
        { "core.v1.ConfigMap", "{\"metadata\":{}}", "{\"metadata\":{}}" },
        { "core.v1.PodCondition", "{\"type\":\"Ready\",\"status\":\"True\"}",
          "{\"type\":\"Ready\",\"status\":\"True\",\"lastProbeTime\":null,"
          "\"lastTransitionTime\":null}" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shaped s = shape(cases[i].type, cases[i].text);
        assert_int_equal(s.rc, 0);
        schema_complete(type_named(cases[i].type), s.doc, s.arena);
        assert_prints(s.doc, cases[i].completed);
        arena_free(s.arena);
    }
}

static void everything_is_documented(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_types_n; i++) {
        const struct schema_type *t = &schema_types[i];
        if (t->scalar == SCHEMA_OBJECT && !*t->doc)
            fail_msg("%s has no documentation", t->name);
        for (size_t k = 0; k < t->fields_n; k++)
            if (!*t->fields[k].doc)
                fail_msg("%s.%s has no documentation", t->name, t->fields[k].name);
    }
    for (size_t i = 0; i < RESOURCES; i++)
        for (size_t k = 0; k < resources[i].columns_n; k++)
            assert_true(*resources[i].columns[k].description);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_is_found_by_its_json_name_also_inside_inlined_types),
        cmocka_unit_test(every_field_of_every_type_is_found),
        cmocka_unit_test(a_table_without_slots_is_searched_too),
        cmocka_unit_test(unknown_fields_go_and_are_reported_with_their_place),
        cmocka_unit_test(values_of_the_wrong_type_are_refused_in_the_words_of_gos_decoder),
        cmocka_unit_test(what_an_encoder_would_leave_out_is_gone_after_shaping),
        cmocka_unit_test(quantities_become_canonical_and_resource_lists_count_in_thousandths),
        cmocka_unit_test(member_names_become_the_tables_own),
        cmocka_unit_test(completing_adds_what_an_encoder_always_writes),
        cmocka_unit_test(everything_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
