/* SPDX-License-Identifier: Apache-2.0 */
/* due_heap.h - what is due next: a binary heap of nodes that their owners embed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct due_node {
    int64_t due_ns;
    size_t place; /* in the heap + 1; 0: not in it */
};

struct due_heap { /* zero-initialised is empty */
    struct due_node **nodes;
    size_t n, capacity;
};

void due_heap_add(struct due_heap *h, struct due_node *node,
                  int64_t due_ns);                               /* not in a heap yet */
void due_heap_remove(struct due_heap *h, struct due_node *node); /* fine if not in it */
struct due_node *due_heap_first(const struct due_heap *h);       /* NULL: empty */
void due_heap_deinit(struct due_heap *h);                        /* nodes stay */
