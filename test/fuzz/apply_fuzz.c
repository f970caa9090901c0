/* SPDX-License-Identifier: Apache-2.0 */
/* apply_fuzz.c - a configuration and managedFields, with a NUL between them: what a client writes
 * is refused or owned, and sets keep their laws. */
#include "api/apply.h"
#include "api/resource.h"
#include "test/fuzz/fuzz.h"

static void check_set(const struct json *set, struct arena *a)
{
    struct error err = { 0 };
    const struct json *again = NULL;
    if (!set)
        return;
    ensure(field_set_read(set, a, &again, &err) == 0);
    ensure(again && json_equal(again, set));
}

static void check_laws(const struct json *x, const struct json *y, struct arena *a)
{
    const struct json *rest = field_set_difference(x, y, a);
    const struct json *whole = field_set_union(rest, field_set_intersection(x, y, a), a);
    check_set(rest, a);
    check_set(field_set_union(x, y, a), a);
    check_set(field_set_without(x, y, a), a);
    ensure(x && whole ? json_equal(x, whole) : x == whole);
}

static void apply_as(const struct json *config, struct managed_fields *m, struct arena *a)
{
    static const struct json nothing = { .type = JSON_OBJECT };
    const struct schema_type *type = resources[RESOURCE_PODS].type;
    struct field_write w = { .type = type,
                             .api_version = "v1",
                             .manager = "kubectl",
                             .subresource = "",
                             .now = "2026-01-01T00:00:00Z",
                             .arena = a };
    struct apply_result r;
    struct error err = { 0 };
    for (int i = 0; i < 2; i++) {
        if (apply_config(&w, &nothing, &nothing, config, false, m, &r, &err) < 0)
            return;
        if (r.conflicts_n)
            apply_conflict_message(&r, a);
    }
    struct json list = managed_fields_json(m, a);
    ensure(managed_fields_equal(&list, &list));
    for (size_t i = 0; i < m->n; i++)
        check_laws(m->items[i].fields, m->items[0].fields, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes config_text, list_text;
    struct managed_fields m;
    fuzz_split(data, size, &config_text, &list_text);
    struct json *config = json_parse(config_text, a, NULL, &err);
    struct json *list = json_parse(list_text, a, NULL, &err);
    managed_fields_read(NULL, json_is(list, JSON_ARRAY) ? list : NULL, a, &m);
    for (size_t i = 0; i < m.n; i++)
        check_set(m.items[i].fields, a);
    if (json_is(config, JSON_OBJECT))
        apply_as(config, &m, a);
    return 0;
}
