/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - glibc's malloc, told to be modest. */
#include "base/heap.h"

#include <malloc.h>

#define ARENAS_MAX 4

void heap_configure(void)
{
    mallopt(M_ARENA_MAX, ARENAS_MAX);
}

void heap_trim(void)
{
    malloc_trim(0);
}
