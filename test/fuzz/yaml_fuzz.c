/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_fuzz.c - documents that read print, and read again to the same. */
#include "base/yaml.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct bytes text = { (const char *)data, size };
    struct json *v;
    while (yaml_next(&text, a, &v, &err) == 1) {
        if (!v)
            continue;
        scoped(buffer) struct buffer printed = { 0 };
        yaml_print(v, &printed);
        struct bytes rest = buffer_bytes(&printed);
        struct json *again;
        ensure(yaml_next(&rest, a, &again, &err) == 1);
        ensure(json_equal(v, again));
    }
    return 0;
}
