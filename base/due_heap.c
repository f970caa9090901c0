/* SPDX-License-Identifier: Apache-2.0 */
/* due_heap.c - parents are due no later than their children at 2i and 2i + 1 (counted from 1). */
#include "base/due_heap.h"

#include "base/scoped.h"

static void put(struct due_heap *h, size_t place, struct due_node *node)
{
    h->nodes[place - 1] = node;
    node->place = place;
}

static void sift_up(struct due_heap *h, struct due_node *node)
{
    size_t place = node->place;
    while (place > 1 && h->nodes[place / 2 - 1]->due_ns > node->due_ns) {
        put(h, place, h->nodes[place / 2 - 1]);
        place /= 2;
    }
    put(h, place, node);
}

static void sift_down(struct due_heap *h, struct due_node *node)
{
    size_t place = node->place;
    for (;;) {
        size_t child = 2 * place;
        if (child > h->n)
            break;
        if (child < h->n && h->nodes[child]->due_ns < h->nodes[child - 1]->due_ns)
            child++;
        if (h->nodes[child - 1]->due_ns >= node->due_ns)
            break;
        put(h, place, h->nodes[child - 1]);
        place = child;
    }
    put(h, place, node);
}

void due_heap_add(struct due_heap *h, struct due_node *node, int64_t due_ns)
{
    ensure(node->place == 0);
    h->nodes = xgrow(h->nodes, h->n, &h->capacity, sizeof(h->nodes[0]));
    node->due_ns = due_ns;
    node->place = ++h->n;
    sift_up(h, node);
}

void due_heap_remove(struct due_heap *h, struct due_node *node)
{
    if (node->place == 0)
        return;
    struct due_node *last = h->nodes[--h->n];
    if (last != node) {
        put(h, node->place, last);
        sift_up(h, last);
        sift_down(h, last);
    }
    node->place = 0;
}

struct due_node *due_heap_first(const struct due_heap *h)
{
    return h->n ? h->nodes[0] : NULL;
}

void due_heap_deinit(struct due_heap *h)
{
    free(h->nodes);
    *h = (struct due_heap){ 0 };
}
