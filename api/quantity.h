/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quantity.h - resource quantities: "100m", "1.5Gi", "12e6".
 *
 * Threads: any.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* Exact for what fits 64 bits in units of 1e-9; larger ones saturate as upstream's int64 does. */
struct quantity {
    __int128 nano;  /* value * 1e9 */
    uint8_t format; /* enum quantity_format */
};
enum quantity_format { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT };

must_check int quantity_parse(const char *text, struct quantity *out); /* -1: not a quantity */
/* Canonical form, as upstream prints it. */
char *quantity_print(const struct quantity *q, struct arena *a);
int quantity_compare(const struct quantity *a, const struct quantity *b);
void quantity_add(struct quantity *a, const struct quantity *b);
int64_t quantity_value(const struct quantity *q);       /* whole units, rounded up */
int64_t quantity_milli_value(const struct quantity *q); /* thousandths, rounded up */
