/* SPDX-License-Identifier: Apache-2.0 */
/* roundtrip_test.c - upstream's own objects with every field set come through the schema unchanged.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

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

static void check_file(const char *dir, const char *file)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct schema_type *type = type_of_file(file);
    if (!type)
        fail_msg("no type for %s", file);
    struct json *doc = json_parse(file_read(a, arena_printf(a, "%s/%s", dir, file)), a, NULL, &err);
    assert_non_null(doc);
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

static void every_kind_of_upstreams_test_data_comes_through_unchanged(void **state)
{
    (void)state;
    char dir[4096];
    DIR *d = opendir(data_dir(dir, sizeof(dir)));
    if (!d) {
        print_message("skipped: no %s\n", dir);
        skip();
    }
    size_t files = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (str_has_suffix(e->d_name, ".json")) {
            check_file(dir, e->d_name);
            files++;
        }
    closedir(d);
    assert_true(files >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_upstreams_test_data_comes_through_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
