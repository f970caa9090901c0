/* SPDX-License-Identifier: Apache-2.0 */
/* generated_name.c - the parts of names that nobody chose. */
#include "api/generated_name.h"

#include <inttypes.h>

static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
#define LETTERS_N (sizeof(letters) - 1)

const char *generated_suffix(struct rng *rng, size_t n, struct arena *a)
{
    char *text = arena_zalloc(a, n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = letters[rng_below(rng, LETTERS_N)];
    return text;
}

const char *generated_from_hash(uint64_t hash, struct arena *a)
{
    char *text = arena_printf(a, "%" PRIu64, hash);
    for (char *p = text; *p; p++)
        *p = letters[(unsigned char)*p % LETTERS_N];
    return text;
}
