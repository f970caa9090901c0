/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugins.h - the rules of scheduling: which nodes a pod may run on, and which of them it should.
 *
 * plugins.c lists them in upstream's order.  A filter says no with reasons in upstream's words; a
 * score is 0 to SCORE_MAX after its normalization, times its weight.
 *
 * Threads: one at a time, or under the owner's lock.
 */
#pragma once

#include "api/node_selector.h"
#include "scheduler/pod_queue.h"
#include "scheduler/snapshot.h"

#define SCORE_MAX        100
#define NODE_REASONS_MAX 16

enum verdict {
    NODE_FITS,
    NODE_UNSCHEDULABLE, /* not as it is, but with fewer pods on it */
    NODE_UNRESOLVABLE,  /* whatever is taken off it */
};

struct reasons {
    const char *text[NODE_REASONS_MAX]; /* static, or in the cycle's arena */
    size_t n;
};

/* One pod's scheduling. */
struct cycle {
    const struct pod_info *pod;
    struct snapshot *snapshot;
    struct arena *arena;
    /* NULL: none; else a changed copy of one node, to be taken for it. */
    const struct node_info *trial;
    /* NULL: neither the pod nor any other has such rules for it. */
    struct pod_affinity_state *affinity;
    struct spread_state *spread; /* NULL: no constraints */
};

struct filter_plugin {
    const char *name;
    unsigned events;                  /* enum cluster_event: what may change its mind */
    void (*prepare)(struct cycle *c); /* NULL: nothing to prepare */
    /* Why no node at all will do; NULL: one may.  May be NULL. */
    const char *(*refuse)(const struct cycle *c);
    enum verdict (*filter)(const struct cycle *c, const struct node_info *n, struct reasons *out);
    void (*finish)(struct cycle *c); /* releases what prepare made outside the arena; may be NULL */
};

enum normalize { NORMALIZE_NONE, NORMALIZE_MAX, NORMALIZE_REVERSED, NORMALIZE_OWN };

struct score_plugin {
    const char *name;
    int64_t weight;
    enum normalize normalize; /* max: the best gets SCORE_MAX; reversed: the worst gets 0 */
    bool (*applies)(const struct cycle *c); /* NULL: always */
    int64_t (*score)(const struct cycle *c, const struct node_info *n);
    void (*normalize_own)(const struct cycle *c, struct node_info *const *nodes, int64_t *scores,
                          size_t n);
};

extern const struct filter_plugin *const filter_plugins[];
extern const size_t filter_plugins_n;
extern const struct score_plugin *const score_plugins[];
extern const size_t score_plugins_n;

extern const struct filter_plugin filter_unschedulable, filter_node_name, filter_taints,
    filter_node_affinity, filter_ports, filter_resources, filter_volumes, filter_topology_spread,
    filter_pod_affinity;
extern const struct score_plugin score_taints, score_node_affinity, score_least_allocated,
    score_balanced_allocation, score_image_locality, score_topology_spread, score_pod_affinity;

void reasons_add(struct reasons *r, const char *text);
/* The node at INDEX of the snapshot, or its trial. */
const struct node_info *cycle_node(const struct cycle *c, size_t index);
/* False for a pod that the trial has taken off its node. */
bool cycle_has(const struct cycle *c, const struct placed_pod *pod);

/* ---- volumes: filter_volumes.c ---- */

#define ANNOTATION_SELECTED_NODE "volume.kubernetes.io/selected-node"

/* The claim waits for its first consumer's node before it gets a volume. */
bool claim_waits_for_node(const struct snapshot *s, const struct pod_claim *claim);

/* ---- shared by plugins: node_match.c ---- */

bool tolerates(const struct toleration *t, const struct taint *taint);
/* The first taint with a scheduling effect that the pod does not tolerate; NULL: none. */
const struct taint *untolerated_taint(const struct pod_info *pod, const struct node_info *n);
/* spec.nodeSelector and required node affinity. */
bool node_affinity_matches(const struct pod_info *pod, const struct node_info *n);
