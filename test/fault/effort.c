/* SPDX-License-Identifier: Apache-2.0 */
/* effort.c - reads the arguments, and counts the seconds between two lines. */
#include "test/fault/effort.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"

#define PROGRESS_NS (20 * NS_PER_S)

struct effort effort_of(int argc, char **argv, int usual, int soak)
{
    struct effort e = { .count = usual };
    e.is_soak = argc > 1 && strcmp(argv[1], "--soak") == 0;
    if (argc > 1)
        e.count = e.is_soak ? soak : atoi(argv[1]);
    e.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : rng_next(system_rng) % 1000000;
    printf("# count %d, seed %llu\n", e.count, (unsigned long long)e.seed);
    fflush(stdout);
    return e;
}

void effort_progress(const char *format, ...)
{
    static int64_t last_ns;
    int64_t now_ns = clock_monotonic_ns(&system_clock);
    if (!last_ns)
        last_ns = now_ns;
    if (now_ns - last_ns < PROGRESS_NS)
        return;
    last_ns = now_ns;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}
