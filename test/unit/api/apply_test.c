/* SPDX-License-Identifier: Apache-2.0 */
/* apply_test.c - server-side apply: merging, removing, conflicts, coming from client-side apply. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/apply.h"
#include "api/resource.h"

/* An object and its managers, as writes go by. */
struct world {
    struct arena *a;
    enum resource_id id;
    const struct json *doc;
    struct managed_fields m;
    int now;
    struct apply_result result;
    struct error err;
};

static struct json *tree(const char *text, struct arena *a)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static void begin(struct world *w, enum resource_id id)
{
    *w = (struct world){ .a = arena_new(), .id = id };
    w->doc = tree("{\"metadata\":{}}", w->a);
}

static void end(struct world *w)
{
    arena_free(w->a);
}

static struct field_write write_by(struct world *w, const char *manager)
{
    const char *now = arena_printf(w->a, "2026-01-01T00:00:%02dZ", ++w->now);
    return (struct field_write){ .type = resources[w->id].type,
                                 .api_version = w->id == RESOURCE_DEPLOYMENTS ? "apps/v1" : "v1",
                                 .manager = manager,
                                 .subresource = "",
                                 .now = now,
                                 .ignored = field_set_of_paths(managed_never_owned, w->a),
                                 .arena = w->a };
}

static void update(struct world *w, const char *manager, const char *doc)
{
    struct field_write write = write_by(w, manager);
    const struct json *new = tree(doc, w->a);
    managed_fields_update(&write, w->doc, new, &w->m);
    w->doc = new;
}

static int try(struct world *w, const char *manager, bool force, const char *config)
{
    struct field_write write = write_by(w, manager);
    const struct json *empty = tree("{\"metadata\":{}}", w->a);
    int rc =
        apply_config(&write, w->doc, empty, tree(config, w->a), force, &w->m, &w->result, &w->err);
    if (rc == 0 && w->result.conflicts_n == 0)
        w->doc = w->result.doc;
    return rc;
}

static void apply(struct world *w, const char *manager, const char *config)
{
    if (try(w, manager, false, config) < 0)
        fail_msg("%s", w->err.message);
    if (w->result.conflicts_n)
        fail_msg("%s", apply_conflict_message(&w->result, w->a));
}

static void assert_conflict(struct world *w, const char *manager, const char *config,
                            const char *message)
{
    size_t before = w->m.n;
    assert_int_equal(try(w, manager, false, config), 0);
    assert_true(w->result.conflicts_n > 0);
    assert_string_equal(apply_conflict_message(&w->result, w->a), message);
    assert_int_equal(w->m.n, before);
}

static void assert_doc(struct world *w, const char *expected)
{
    scoped(buffer) struct buffer text = { 0 };
    json_print(w->doc, &text);
    assert_string_equal(text.data, expected);
}

static void assert_owns(struct world *w, const char *manager, bool is_apply, const char *expected)
{
    struct managed_entry like = { .manager = manager,
                                  .api_version = w->id == RESOURCE_DEPLOYMENTS ? "apps/v1" : "v1",
                                  .subresource = "",
                                  .is_apply = is_apply };
    const struct managed_entry *e = managed_fields_find(&w->m, &like);
    scoped(buffer) struct buffer text = { 0 };
    if (e)
        json_print(e->fields, &text);
    assert_string_equal(e ? text.data : "", expected);
}

/* ---- merging and removing ---- */

static void an_apply_owns_what_it_names(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    apply(&w, "a",
          "{\"metadata\":{\"name\":\"x\",\"labels\":{\"l\":\"1\"}},\"data\":{\"k\":\"1\"}}");
    assert_doc(&w,
               "{\"metadata\":{\"name\":\"x\",\"labels\":{\"l\":\"1\"}},\"data\":{\"k\":\"1\"}}");
    assert_owns(&w, "a", true,
                "{\"f:data\":{\"f:k\":{}},\"f:metadata\":{\"f:labels\":{\"f:l\":{}}}}");
    assert_string_equal(w.m.items[0].time, "2026-01-01T00:00:01Z");
    end(&w);
}

static void what_is_named_no_more_is_removed(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    apply(&w, "a", "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}");
    apply(&w, "a", "{\"data\":{\"l\":\"1\"}}");
    assert_doc(&w, "{\"metadata\":{},\"data\":{\"l\":\"1\"}}");
    assert_owns(&w, "a", true, "{\"f:data\":{\"f:l\":{}}}");
    apply(&w, "a", "{}");
    assert_doc(&w, "{\"metadata\":{}}");
    assert_int_equal(w.m.n, 0);
    end(&w);
}

static void what_another_owns_too_stays(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    apply(&w, "a", "{\"data\":{\"k\":\"1\",\"l\":\"1\"}}");
    apply(&w, "b", "{\"data\":{\"k\":\"1\"}}");
    apply(&w, "a", "{\"data\":{}}");
    assert_doc(&w, "{\"metadata\":{},\"data\":{\"k\":\"1\"}}");
    assert_owns(&w, "b", true, "{\"f:data\":{\"f:k\":{}}}");
    end(&w);
}

static void what_nobody_owned_stays(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_PODS);
    apply(&w, "a", "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    /* as defaulting would */
    w.doc = tree("{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\","
                 "\"imagePullPolicy\":\"Always\"}]}}",
                 w.a);
    apply(&w, "a", "{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}");
    assert_doc(&w, "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"imagePullPolicy\":"
                   "\"Always\"}]}}");
    end(&w);
}

static void an_item_goes_with_all_that_is_in_it(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_PODS);
    apply(&w, "a",
          "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"},{\"name\":\"d\"}]}}");
    w.doc = tree("{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\","
                 "\"imagePullPolicy\":\"Always\"},{\"name\":\"d\"}]}}",
                 w.a);
    apply(&w, "a", "{\"spec\":{\"containers\":[{\"name\":\"d\"}]}}");
    assert_doc(&w, "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"d\"}]}}");
    end(&w);
}

/* Who owns the item itself decides, and not who has put something into it. */
static void an_item_goes_though_an_updater_owns_part_of_it(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_PODS);
    apply(&w, "a", "{\"spec\":{\"containers\":[{\"name\":\"c\"},{\"name\":\"d\"}]}}");
    update(&w, "u",
           "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"},"
           "{\"name\":\"d\"}]}}");
    apply(&w, "a", "{\"spec\":{\"containers\":[{\"name\":\"d\"}]}}");
    assert_doc(&w, "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"d\"}]}}");
    end(&w);
}

static void applying_the_same_again_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    apply(&w, "a", "{\"data\":{\"k\":\"1\"}}");
    apply(&w, "a", "{\"data\":{\"k\":\"1\"}}");
    assert_true(w.result.is_unchanged);
    assert_string_equal(w.m.items[0].time, "2026-01-01T00:00:01Z");
    end(&w);
}

/* ---- conflicts ---- */

static void another_value_of_anothers_field_is_a_conflict(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_DEPLOYMENTS);
    apply(&w, "a", "{\"spec\":{\"replicas\":1,\"paused\":true}}");
    assert_conflict(&w, "b", "{\"spec\":{\"replicas\":2}}",
                    "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    assert_conflict(&w, "b", "{\"spec\":{\"replicas\":2,\"paused\":false}}",
                    "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n"
                    "- .spec.replicas");
    apply(&w, "b", "{\"spec\":{\"replicas\":1}}"); /* the same value is shared */
    update(&w, "u", "{\"metadata\":{},\"spec\":{\"replicas\":5,\"paused\":true}}");
    assert_conflict(&w, "b", "{\"spec\":{\"replicas\":2,\"paused\":false}}",
                    "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n"
                    "conflicts with \"u\" using apps/v1:\n- .spec.replicas");
    end(&w);
}

static void force_takes_it(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_DEPLOYMENTS);
    apply(&w, "a", "{\"spec\":{\"replicas\":1,\"paused\":true}}");
    assert_int_equal(try(&w, "b", true, "{\"spec\":{\"replicas\":2}}"), 0);
    assert_int_equal(w.result.conflicts_n, 0);
    assert_owns(&w, "a", true, "{\"f:spec\":{\"f:paused\":{}}}");
    assert_owns(&w, "b", true, "{\"f:spec\":{\"f:replicas\":{}}}");
    end(&w);
}

static void a_configuration_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_DEPLOYMENTS);
    assert_int_equal(
        try(&w, "a", false,
            "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\",\"namespace\":\"n\"}"
            ",\"spec\":{\"x\":1}}"),
        -1);
    assert_int_equal(w.err.code, ERR_UNKNOWN);
    assert_string_equal(w.err.message, "failed to create typed patch object (n/d; apps/v1, "
                                       "Kind=Deployment): .spec.x: field not declared in schema");
    end(&w);
}

static void the_configuration_must_be_of_the_kind(void **state)
{
    (void)state;
    static const struct {
        const char *config, *message;
    } cases[] = {
        { "{}", "invalid object type: /, Kind=" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", "invalid object type: /v1, Kind=Pod" },
        { "{\"apiVersion\":\"apps/v1\",\"kind\":\"Pod\"}",
          "invalid object type: apps/v1, Kind=Pod" },
        { "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"managedFields\":[]}}",
          "metadata.managedFields must be nil" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        assert_int_equal(apply_check(tree(cases[i].config, a), "apps/v1", "Deployment", &err), -1);
        assert_string_equal(err.message, cases[i].message);
    }
}

/* ---- from other ways of writing ---- */

static void what_was_there_before_belongs_to_the_past(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    w.doc = tree("{\"metadata\":{},\"data\":{\"k\":\"1\",\"l\":\"1\"}}", w.a); /* not tracked */
    assert_conflict(&w, "a", "{\"data\":{\"k\":\"2\"}}",
                    "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: "
                    ".data.k");
    end(&w);
}

#define LAST "kubectl.kubernetes.io/last-applied-configuration"

static void kubectl_takes_over_what_it_applied_itself(void **state)
{
    (void)state;
    struct world w;
    begin(&w, RESOURCE_CONFIGMAPS);
    update(&w, "kubectl-client-side-apply",
           "{\"metadata\":{\"annotations\":{\"" LAST
           "\":\"{\\\"apiVersion\\\":\\\"v1\\\",\\\"kind\\\":\\\"ConfigMap\\\",\\\"data\\\":{"
           "\\\"k\\\":\\\"1\\\"}}\"}},\"data\":{\"k\":\"1\",\"l\":\"1\"}}");
    /* l was not client-side applied; somebody else's name is no excuse */
    assert_conflict(&w, "kubectl", "{\"data\":{\"k\":\"2\",\"l\":\"2\"}}",
                    "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" "
                    "using v1: .data.l");
    assert_conflict(&w, "other", "{\"data\":{\"k\":\"2\"}}",
                    "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" "
                    "using v1: .data.k");
    apply(&w, "kubectl", "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"data\":{\"k\":\"2\"}}");
    assert_string_equal(json_text(json_get(json_at(w.doc, "metadata.annotations"), LAST)),
                        "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"2\"},\"kind\":\"ConfigMap\"}\n");
    assert_string_equal(json_str(w.doc, "data.k", ""), "2");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_apply_owns_what_it_names),
        cmocka_unit_test(what_is_named_no_more_is_removed),
        cmocka_unit_test(what_another_owns_too_stays),
        cmocka_unit_test(what_nobody_owned_stays),
        cmocka_unit_test(an_item_goes_with_all_that_is_in_it),
        cmocka_unit_test(an_item_goes_though_an_updater_owns_part_of_it),
        cmocka_unit_test(applying_the_same_again_changes_nothing),
        cmocka_unit_test(another_value_of_anothers_field_is_a_conflict),
        cmocka_unit_test(force_takes_it),
        cmocka_unit_test(a_configuration_that_does_not_fit_is_refused),
        cmocka_unit_test(the_configuration_must_be_of_the_kind),
        cmocka_unit_test(what_was_there_before_belongs_to_the_past),
        cmocka_unit_test(kubectl_takes_over_what_it_applied_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
