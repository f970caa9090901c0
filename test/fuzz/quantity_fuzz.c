/* SPDX-License-Identifier: Apache-2.0 */
/* quantity_fuzz.c - the canonical form of a quantity is a quantity of the same value and form. */
#include "api/quantity.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct quantity q, again;
    if (quantity_parse(fuzz_text(a, data, size), &q) < 0)
        return 0;
    const char *text = quantity_print(&q, a);
    ensure(quantity_parse(text, &again) == 0);
    ensure(quantity_value(&again) == quantity_value(&q));
    /* A binary quantity that is no multiple of 1024 is printed without a suffix, in whole units. */
    if (q.format != QUANTITY_BINARY_SI)
        ensure(quantity_compare(&again, &q) == 0 && str_equal(quantity_print(&again, a), text));
    quantity_add(&again, &q);
    ensure(quantity_milli_value(&again) >= quantity_value(&again) || again.nano < 0);
    return 0;
}
