/* SPDX-License-Identifier: Apache-2.0 */
/* selector_fuzz.c - selectors, and objects that they are put to. */
#include "api/selector.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes text, labels_text;
    fuzz_split(data, size, &text, &labels_text);
    const char *terminated = arena_strndup(a, text.data, text.len);
    const struct json *labels = json_parse(labels_text, a, NULL, &err);

    const struct selector *s = selector_parse(terminated, a, &err);
    if (s) {
        scoped(buffer) struct buffer printed = { 0 };
        selector_print(s, &printed);
        const struct selector *again = selector_parse(printed.data ? printed.data : "", a, &err);
        ensure(again && selector_matches(s, labels) == selector_matches(again, labels));
    }
    if (selector_from_json(labels, a, &err))
        selector_matches(selector_from_map(labels, a), labels);
    const struct field_selector *f =
        field_selector_parse(&resources[RESOURCE_PODS], terminated, a, &err);
    scoped(object) struct object *o = object_parse(&resources[RESOURCE_PODS], labels_text, 0, &err);
    if (f && o)
        field_selector_matches(f, o);
    return 0;
}
