/* SPDX-License-Identifier: Apache-2.0 */
/*
 * effort.h - how much a fault test does, and a sign of life while it does it.
 *
 *     PROGRAM [COUNT [SEED]]     a short slice without an argument
 *     PROGRAM --soak [SEED]      as much as proves something: each knows its own number
 *
 * Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/scoped.h"

struct effort {
    int count;
    bool is_soak;
    uint64_t seed; /* at random, unless it is given */
};
/* Prints them: a run can be made again. */
struct effort effort_of(int argc, char **argv, int usual, int soak);

/* Prints the line if the last one was a while ago. */
void effort_progress(const char *format, ...) printf_like(1, 2);
