/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology.h - counts per topology domain: ("topology.kubernetes.io/zone", "a") -> 3.
 *
 * Threads: one at a time.
 */
#pragma once

#include "scheduler/snapshot.h"

struct domain_counts {     /* zero-initialised is empty */
    struct hashmap counts; /* "key=value" -> int64_t *, in the arena */
};
void domain_counts_deinit(struct domain_counts *d);

/* Adds N to the domain that the node is in; a node without the label is in none. */
void domain_add(struct domain_counts *d, struct arena *a, const struct node_info *node,
                const char *topology_key, int64_t n);
int64_t domain_count(const struct domain_counts *d, const struct node_info *node,
                     const char *topology_key);
