/* SPDX-License-Identifier: Apache-2.0 */
/* controllers - the table of what runs. */
#include "controllers/runtime.h"

/* clang-format off */
extern const struct controller_spec
    namespace_controller,
    service_account_controller,
    root_ca_controller,
    deployment_controller,
    replicaset_controller,
    replicationcontroller_controller,
    endpoints_controller,
    endpointslice_controller,
    endpointslice_mirroring_controller,
    garbage_collector_controller,
    node_ipam_controller,
    node_lifecycle_controller,
    taint_eviction_controller,
    pod_garbage_collector_controller,
    clusterrole_aggregation_controller,
    job_controller,
    daemonset_controller,
    statefulset_controller,
    ttl_after_finished_controller,
    disruption_controller,
    cronjob_controller,
    pvc_protection_controller,
    pv_protection_controller;

static const struct controller_spec *const controllers[] = {
    &namespace_controller,
    &service_account_controller,
    &root_ca_controller,
    &deployment_controller,
    &replicaset_controller,
    &replicationcontroller_controller,
    &endpoints_controller,
    &endpointslice_controller,
    &endpointslice_mirroring_controller,
    &garbage_collector_controller,
    &node_ipam_controller,
    &node_lifecycle_controller,
    &taint_eviction_controller,
    &pod_garbage_collector_controller,
    &clusterrole_aggregation_controller,
    &job_controller,
    &daemonset_controller,
    &statefulset_controller,
    &ttl_after_finished_controller,
    &disruption_controller,
    &cronjob_controller,
    &pvc_protection_controller,
    &pv_protection_controller,
    NULL,
};
/* clang-format on */

struct controllers *controllers_new(const struct controllers_config *config, struct error *err)
{
    return controllers_new_of(config, controllers, err);
}
