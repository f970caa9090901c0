/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_info.h - a pod as the scheduler sees it: what it asks for, parsed once.
 *
 * Threads: any; immutable and counted.
 */
#pragma once

#include "api/object.h"
#include "api/selector.h"

struct extended_resource {
    const char *name; /* "nvidia.com/gpu", "hugepages-2Mi" */
    int64_t amount;
};
struct pod_resources {
    int64_t milli_cpu, memory, ephemeral_storage;
    struct extended_resource *extended;
    size_t extended_n;
};

struct host_port {
    const char *ip; /* "0.0.0.0": every address */
    const char *protocol;
    int port;
};

struct toleration {
    const char *key, *operator, * value, *effect; /* "" where not given */
};

/* One term of pod (anti-)affinity. */
struct affinity_term {
    const struct selector *selector;
    const struct selector *namespace_selector; /* NULL: none */
    const char **namespaces; /* end with NULL; the pod's own where none are given */
    const char *topology_key;
    int64_t weight; /* of a preferred term */
};
struct affinity_terms {
    struct affinity_term *items;
    size_t n;
};

struct spread_constraint {
    const struct selector *selector;
    const char *topology_key;
    int64_t max_skew, min_domains;
    bool is_required;     /* DoNotSchedule */
    bool honors_affinity; /* nodeAffinityPolicy Honor, the default */
    bool honors_taints;   /* nodeTaintsPolicy; Ignore is the default */
};

struct pod_claim {
    struct bytes key; /* "ns/name" */
    const char *name;
    bool is_ephemeral; /* made for this pod by a controller */
};

struct pod_info {
    atomic_uint refs;
    struct arena *arena; /* this struct too */
    struct object *pod;
    const struct json *spec;
    const struct json *labels;  /* may be NULL */
    struct bytes key;           /* "ns/name" */
    const char *node_name;      /* "" while it has none */
    const char *nominated_node; /* status.nominatedNodeName; "" for none */
    int64_t priority;
    int64_t created_ns;
    bool is_finished; /* Succeeded or Failed: needs nothing any more */
    bool is_gated;    /* has scheduling gates */
    bool may_preempt; /* preemptionPolicy is not Never */

    struct pod_resources requests;
    int64_t nonzero_milli_cpu,
        nonzero_memory; /* for scores: a container that asks for nothing needs something */
    struct host_port *ports;
    size_t ports_n;
    struct toleration *tolerations;
    size_t tolerations_n;
    struct pod_claim *claims; /* PersistentVolumeClaims that its volumes use */
    size_t claims_n;
    const char **images;
    size_t images_n, containers_n;

    const struct json *node_selector;       /* spec.nodeSelector */
    const struct json *required_node_terms; /* NULL: no such affinity */
    const struct json *preferred_node_terms;
    struct affinity_terms required_affinity, required_anti_affinity;
    struct affinity_terms preferred_affinity, preferred_anti_affinity;
    struct spread_constraint *spread;
    size_t spread_n;
};

struct pod_info *pod_info_new(const struct object *pod);
struct pod_info *pod_info_ref(const struct pod_info *p);
void pod_info_unref(struct pod_info *p);
DEFINE_SCOPED(pod_info, struct pod_info *, pod_info_unref)

/* What a container's or pod's requests say, added to OUT. */
void resources_add_json(struct pod_resources *out, const struct json *requests, struct arena *a);
/* A quantity in the unit that this resource is counted in: thousandths for cpu, else one. */
int64_t resource_amount(const char *name, const struct json *quantity);
int64_t resources_extended(const struct pod_resources *r, const char *name);
