/* SPDX-License-Identifier: Apache-2.0 */
/* uid.c - random identities: version 4 UUIDs in text form. */
#include "apiserver/uid.h"

const char *uid_new(struct rng *rng, struct arena *a)
{
    uint64_t high = rng_next(rng), low = rng_next(rng);
    return arena_printf(a, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(high >> 32),
                        (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xfff,
                        0x8000 | ((unsigned)(low >> 48) & 0x3fff),
                        (unsigned long long)(low & 0xffffffffffffULL));
}
