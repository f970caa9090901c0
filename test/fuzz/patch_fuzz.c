/* SPDX-License-Identifier: Apache-2.0 */
/* patch_fuzz.c - a patch and a document, with a NUL between them. */
#include "api/patch.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes patch_text, doc_text;
    fuzz_split(data, size, &patch_text, &doc_text);
    struct json *patch = json_parse(patch_text, a, NULL, &err);
    struct json *doc = json_parse(doc_text, a, NULL, &err);
    if (!patch || !doc)
        return 0;
    struct json *before = json_clone(doc, a);
    scoped(buffer) struct buffer out = { 0 };
    struct json *v = patch_json(doc, patch, a, &err);
    if (v)
        json_print(v, &out);
    json_print(patch_merge(doc, patch, a), &out);
    ensure(json_equal(before, doc));
    return 0;
}
