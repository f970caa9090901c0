/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - nodes and what runs on them, kept up to date by events.
 *
 * Nothing is rebuilt per pod: an event changes the one node that it is about.  A pod that was given
 * a node but is not bound yet is assumed: it counts at once.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "base/hashmap.h"
#include "scheduler/pod_info.h"

struct taint {
    const char *key, *value, *effect;
};

struct node_info {
    struct object *node; /* NULL: pods name it, but it is not there (any more) */
    char *name;
    size_t index; /* in the snapshot's list of nodes */

    /* Parsed from the node, in ARENA. */
    struct arena *arena;
    const struct json *labels;
    struct taint *taints;
    size_t taints_n;
    bool is_unschedulable;
    struct pod_resources allocatable;
    int64_t allocatable_pods;
    struct hashmap images; /* name -> struct image_state, counted in the snapshot */

    /* Sums over PODS. */
    struct pod_resources used; /* extended: in the order of allocatable's */
    int64_t nonzero_milli_cpu, nonzero_memory;
    const struct pod_info **pods;
    size_t pods_n, pods_capacity;
    size_t ports_n; /* host ports in use: 0 spares the look at each pod */
};

struct placed_pod {
    struct pod_info *info;
    struct node_info *node;
    bool is_assumed;
};

struct snapshot {
    struct node_info **nodes; /* those that are there */
    size_t nodes_n, nodes_capacity;
    struct hashmap nodes_by_name; /* ghosts too */
    struct hashmap pods;          /* key -> struct placed_pod */
    struct hashmap image_nodes;   /* image name -> struct image_state */
    /* Pods with required anti-affinity, or with terms that scores look at: usually few. */
    const struct pod_info **with_affinity;
    size_t with_affinity_n, with_affinity_capacity;
    /* "name" or "ns/name" -> struct object */
    struct hashmap namespaces, claims, volumes, storage_classes;
    struct hashmap budgets; /* key -> struct budget */
};

/* A PodDisruptionBudget. */
struct budget {
    struct object *object;
    struct arena *arena;
    const struct selector *selector;
    int64_t allowed; /* how many more of its pods may go */
};

struct image_state {
    char *name;
    size_t nodes_n; /* how many nodes have it */
    int64_t size_bytes;
};

void snapshot_deinit(struct snapshot *s); /* zero-initialised is empty */

void snapshot_set_node(struct snapshot *s, const struct object *node);
void snapshot_remove_node(struct snapshot *s, const char *name);
struct node_info *snapshot_node(struct snapshot *s, const char *name); /* NULL: not there */

/* POD runs on, or was given, the node of that name; replaces what was known of it. */
void snapshot_place(struct snapshot *s, struct pod_info *pod, const char *node_name,
                    bool is_assumed);
void snapshot_remove_pod(struct snapshot *s, struct bytes key);
struct placed_pod *snapshot_pod(struct snapshot *s, struct bytes key); /* NULL: none */

/* Adds, replaces or (IS_GONE) removes an object that is kept as it is: MAP is one of the
 * snapshot's. */
void snapshot_set_object(struct hashmap *map, const struct object *o, bool is_gone);
const struct object *snapshot_object(const struct hashmap *map, struct bytes key); /* NULL: none */
void snapshot_set_budget(struct snapshot *s, const struct object *pdb, bool is_gone);

/* Is POD one of those that TERM selects, by its namespace and labels? */
bool affinity_term_matches(const struct snapshot *s, const struct affinity_term *term,
                           const struct pod_info *pod);

/* A copy of one node to try things on: its pods may be taken off and put back. */
struct node_info *node_info_copy(const struct node_info *n);
void node_info_free(struct node_info *n);
void node_info_add(struct node_info *n, const struct pod_info *pod);
void node_info_remove(struct node_info *n, const struct pod_info *pod);

const char *node_label(const struct node_info *n, const char *key); /* NULL: none */
