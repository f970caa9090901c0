/* SPDX-License-Identifier: Apache-2.0 */
/* json_fuzz.c - what parses prints, and what was printed parses to the same. */
#include "base/json.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json_duplicates duplicates = { 0 };
    struct bytes text = { (const char *)data, size };
    struct json *v = json_parse(text, a, &duplicates, &err);
    if (!v) {
        ensure(err.code == ERR_BAD_REQUEST && err.message[0]);
        return 0;
    }
    scoped(buffer) struct buffer first = { 0 }, second = { 0 }, third = { 0 }, pretty = { 0 };
    json_print(v, &first);
    struct json *again = json_parse(buffer_bytes(&first), a, NULL, &err);
    ensure(again && json_equal(v, again));
    json_print(again,
               &second); /* "-0.0" is printed "-0", which reads as the integer 0: from here on */
    again = json_parse(buffer_bytes(&second), a, NULL, &err);
    ensure(again && json_equal(v, again));
    json_print(again, &third);
    ensure(bytes_equal(buffer_bytes(&second), buffer_bytes(&third)));
    json_print_pretty(json_clone(v, a), &pretty);
    again = json_parse(buffer_bytes(&pretty), a, NULL, &err);
    ensure(again && json_equal(v, again));
    return 0;
}
