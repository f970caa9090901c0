/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statefulset_claims.h - the volume claims of a StatefulSet's pods: made before the pod, and given
 * to whom they end with.
 *
 *     spec.persistentVolumeClaimRetentionPolicy
 *         whenDeleted: Delete   the claims of numbers in use belong to the set
 *         whenScaled: Delete    those of numbers beyond the range belong to the pod, and follow it
 *
 * The garbage collector does the rest.
 *
 * Threads: workers.
 */
#pragma once

#include "controllers/pod_control.h"

struct claims {
    struct controller *c;
    const struct object *set;
    int64_t ordinal;
    const char *pod; /* its name */
};

/* The claims take the place of volumes with their names in D, a draft of the pod. */
void claims_put_volumes(const struct claims *k, struct draft *d);

/* Makes those that are missing.  An error while one is still being deleted. */
int claims_create(const struct claims *k, struct error *err);

/* True if one still belongs to an earlier pod of that name: it goes when the garbage collector
 * comes by. */
bool claims_are_stale(const struct claims *k);

/* Makes their owners those that the policy wants; POD is there, within the range or beyond it. */
int claims_set_owners(const struct claims *k, const struct object *pod, bool is_in_range,
                      struct error *err);
