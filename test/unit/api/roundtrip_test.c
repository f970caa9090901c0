/* SPDX-License-Identifier: Apache-2.0 */
/* roundtrip_test.c - upstream's own objects with every field set come through the schema unchanged,
 * and can be owned, applied and taken back field by field. */
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/apply.h"
#include "api/resource.h"

/* ../shared/testdata beside the project, seen from this source file. */
static const char *data_dir(char *buf, size_t n)
{
    const char *slash = strstr(__FILE__, "test/unit/api/");
    int root_len = slash ? (int)(slash - __FILE__) : 0;
    snprintf(buf, n, "%.*s%s../shared/testdata/roundtrip", root_len, __FILE__,
             root_len ? "" : "./");
    return buf;
}

static struct bytes file_read(struct arena *a, const char *path)
{
    scoped(file) FILE *f = fopen(path, "r");
    assert_non_null(f);
    scoped(buffer) struct buffer text = { 0 };
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
        buffer_add(&text, part, n);
    return arena_bytes(a, buffer_bytes(&text));
}

/* "apps.v1.Deployment.json" -> the type; meta's own kinds are filed under core. */
static const struct schema_type *type_of_file(const char *file)
{
    static const char *const prefixes[] = { "io.k8s.api.",
                                            "io.k8s.apimachinery.pkg.apis.meta.v1." };
    char name[256];
    snprintf(name, sizeof(name), "%s%.*s", prefixes[0], (int)strlen(file) - 5, file);
    const struct schema_type *t = schema_type_find(name);
    if (t)
        return t;
    const char *kind = file + strlen("core.v1.");
    snprintf(name, sizeof(name), "%s%.*s", prefixes[1], (int)strlen(kind) - 5, kind);
    return schema_type_find(name);
}

static void comes_through_unchanged(const char *file, const struct schema_type *type,
                                    struct json *doc, struct arena *a)
{
    struct error err = { 0 };
    struct json *expected = json_clone(doc, a);
    struct schema_warnings warnings = { 0 };
    if (schema_shape(type, doc, a, &warnings, &err) < 0)
        fail_msg("%s: %s", file, err.message);
    if (warnings.n)
        fail_msg("%s: %s", file, warnings.items[0]);
    schema_complete(type, doc, a);
    if (!json_equal(doc, expected)) {
        scoped(buffer) struct buffer got = { 0 }, want = { 0 };
        json_print(doc, &got);
        json_print(expected, &want);
        fail_msg("%s changed\n got %s\nwant %s", file, got.data, want.data);
    }
}

/* ---- ownership ---- */

static void assert_same(const char *file, const struct json *got, const struct json *want)
{
    if (got && want ? json_equal(got, want) : got == want)
        return;
    scoped(buffer) struct buffer x = { 0 }, y = { 0 };
    if (got)
        json_print(got, &x);
    if (want)
        json_print(want, &y);
    fail_msg("%s\n got %s\nwant %s", file, x.len ? x.data : "nothing", y.len ? y.data : "nothing");
}

static void is_applied_and_taken_back(const char *file, const struct schema_type *type,
                                      struct json *doc, struct arena *a)
{
    static const struct json nothing = { .type = JSON_OBJECT };
    struct error err = { 0 };
    struct managed_fields m = { 0 };
    struct apply_result r;
    struct field_write w = { .type = type,
                             .api_version = json_str(doc, "apiVersion", ""),
                             .manager = "a",
                             .subresource = "",
                             .now = "2026-01-01T00:00:00Z",
                             .arena = a };
    if (!type->group) /* no object of its own: WatchEvent, ... */
        return;
    if (apply_config(&w, &nothing, &nothing, doc, false, &m, &r, &err) < 0)
        fail_msg("%s: %s", file, err.message);
    assert_same(file, r.doc, doc);
    assert_int_equal(m.n, 1);

    /* The set is canonical. */
    const struct json *read, *set = m.items[0].fields;
    assert_int_equal(field_set_read(set, a, &read, &err), 0);
    assert_same(file, read, set);

    /* Another one applies the same: shared.  Then one after the other lets go. */
    w.manager = "b";
    assert_int_equal(apply_config(&w, doc, &nothing, doc, false, &m, &r, &err), 0);
    assert_int_equal(m.n, 2);
    assert_true(r.is_unchanged);
    const struct json *empty = &nothing;
    assert_int_equal(apply_config(&w, doc, &nothing, empty, false, &m, &r, &err), 0);
    assert_same(file, r.doc, doc);
    w.manager = "a";
    assert_int_equal(apply_config(&w, doc, &nothing, empty, false, &m, &r, &err), 0);
    assert_same(file, r.doc, empty);
    assert_int_equal(m.n, 0);
}

static void is_owned_and_given_away(const char *file, const struct schema_type *type,
                                    struct json *doc, struct arena *a)
{
    static const struct json nothing = { .type = JSON_OBJECT };
    struct managed_fields m = { 0 };
    struct field_write w = { .type = type,
                             .api_version = json_str(doc, "apiVersion", ""),
                             .manager = "a",
                             .subresource = "",
                             .now = "2026-01-01T00:00:00Z",
                             .arena = a };
    managed_fields_update(&w, &nothing, doc, &m);
    assert_int_equal(m.n, 1);
    const struct json *set = m.items[0].fields, *again = NULL;
    struct error err = { 0 };
    assert_int_equal(field_set_read(set, a, &again, &err), 0);
    assert_same(file, again, set);
    managed_fields_update(&w, doc, json_clone(doc, a), &m);
    assert_same(file, m.items[0].fields, set);
    managed_fields_update(&w, doc, &nothing, &m);
    assert_int_equal(m.n, 0);
}

typedef void check_fn(const char *file, const struct schema_type *type, struct json *doc,
                      struct arena *a);

static void check_file(const char *dir, const char *file, check_fn *check)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct schema_type *type = type_of_file(file);
    if (!type)
        fail_msg("no type for %s", file);
    struct json *doc = json_parse(file_read(a, arena_printf(a, "%s/%s", dir, file)), a, NULL, &err);
    assert_non_null(doc);
    check(file, type, doc, a);
}

static void check_every_file(check_fn *check)
{
    char dir[4096];
    DIR *d = opendir(data_dir(dir, sizeof(dir)));
    if (!d) {
        print_message("skipped: no %s\n", dir);
        skip();
    }
    size_t files = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (str_has_suffix(e->d_name, ".json")) {
            check_file(dir, e->d_name, check);
            files++;
        }
    closedir(d);
    assert_true(files >= 40);
}

static void every_kind_of_upstreams_test_data_comes_through_unchanged(void **state)
{
    (void)state;
    check_every_file(comes_through_unchanged);
}

static void every_kind_is_applied_shared_and_taken_back(void **state)
{
    (void)state;
    check_every_file(is_applied_and_taken_back);
}

static void every_kind_is_owned_by_who_updates_it(void **state)
{
    (void)state;
    check_every_file(is_owned_and_given_away);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_upstreams_test_data_comes_through_unchanged),
        cmocka_unit_test(every_kind_is_applied_shared_and_taken_back),
        cmocka_unit_test(every_kind_is_owned_by_who_updates_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
