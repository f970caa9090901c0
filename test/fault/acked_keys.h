/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acked_keys.h - some keys that are written over and over, and what was acknowledged of each.
 *
 * Threads: one.
 */
#pragma once

#include "storage/storage.h"

#define ACKED_KEYS 50

struct acked_keys {
    const char *program;         /* for what is printed before it ends */
    size_t value_bytes;          /* of each value */
    int64_t last;                /* the number that was written last, acknowledged or not */
    int64_t numbers[ACKED_KEYS]; /* that each key holds; 0: it is not there */
};

/* Prints what is wrong and ends the program. */
_Noreturn void acked_die(const struct acked_keys *a, const char *what, const char *detail);

struct storage *acked_open(const struct acked_keys *a, const char *dir); /* or ends the program */
/* The next number to the next key. */
must_check int acked_put(struct acked_keys *a, struct storage *s, struct error *err);
/* Every key holds what was acknowledged, or the program ends. */
void acked_check(const struct acked_keys *a, struct storage *s);
