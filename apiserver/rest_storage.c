/* SPDX-License-Identifier: Apache-2.0 */
/* rest_storage.c - one row per stored kind. */
#include "apiserver/rest_storage.h"

#include "apiserver/strategies.h"

/* Upstream keeps events for an hour. */
#define EVENT_TTL_S 3600

/* clang-format off */
static const struct rest_storage rows[RESOURCES] = {
    [RESOURCE_PODS]                   = { .strategy = &pod_strategy, .status = &pod_status_strategy, .status_update = STATUS_KEEPS_OWNERS,
                                          .generation = GENERATION_CONTENT, .returns_deleted = true },
    [RESOURCE_NAMESPACES]             = { .strategy = &namespace_strategy, .name = NAME_DNS_LABEL },
    [RESOURCE_SERVICES]               = { .strategy = &service_strategy, .creates_on_update = true, .name = NAME_DNS_1035_LABEL, .returns_deleted = true },
    [RESOURCE_SERVICEACCOUNTS]        = { .strategy = &service_account_strategy, .returns_deleted = true },
    [RESOURCE_SECRETS]                = { .strategy = &secret_strategy },
    [RESOURCE_CONFIGMAPS]             = { .strategy = &config_map_strategy },
    [RESOURCE_NODES]                  = { .strategy = &node_strategy },
    [RESOURCE_ENDPOINTS]              = { .creates_on_update = true },
    [RESOURCE_EVENTS]                 = { .creates_on_update = true, .ttl_s = EVENT_TTL_S },
    [RESOURCE_LIMITRANGES]            = { .creates_on_update = true },
    [RESOURCE_PERSISTENTVOLUMES]      = { .strategy = &persistent_volume_strategy, .returns_deleted = true },
    [RESOURCE_PERSISTENTVOLUMECLAIMS] = { .strategy = &persistent_volume_claim_strategy, .returns_deleted = true },
    [RESOURCE_PODTEMPLATES]           = { .generation = GENERATION_CONTENT, .returns_deleted = true },
    [RESOURCE_REPLICATIONCONTROLLERS] = { .strategy = &replication_controller_strategy, .generation = GENERATION_CONTENT, .propagation = PROPAGATION_ORPHAN },
    [RESOURCE_RESOURCEQUOTAS]         = { .returns_deleted = true },

    [RESOURCE_DEPLOYMENTS]            = { .strategy = &deployment_strategy, .generation = GENERATION_CONTENT_ANNOTATIONS, .status_update = STATUS_KEEPS_LABELS },
    [RESOURCE_REPLICASETS]            = { .strategy = &replicaset_strategy, .generation = GENERATION_CONTENT },
    [RESOURCE_STATEFULSETS]           = { .strategy = &statefulset_strategy, .generation = GENERATION_CONTENT },
    [RESOURCE_DAEMONSETS]             = { .strategy = &daemonset_strategy, .generation = GENERATION_CONTENT },
    [RESOURCE_JOBS]                   = { .strategy = &job_strategy, .generation = GENERATION_CONTENT, .propagation = PROPAGATION_ORPHAN },
    [RESOURCE_CRONJOBS]               = { .strategy = &cronjob_strategy, .generation = GENERATION_CONTENT },

    [RESOURCE_CERTIFICATESIGNINGREQUESTS] = { .strategy = &certificate_request_strategy },
    [RESOURCE_PODDISRUPTIONBUDGETS]   = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_INGRESSES]              = { .generation = GENERATION_CONTENT },
    [RESOURCE_INGRESSCLASSES]         = { .generation = GENERATION_CONTENT },
    [RESOURCE_NETWORKPOLICIES]        = { .generation = GENERATION_CONTENT },
    [RESOURCE_SERVICECIDRS]           = { .status_update = STATUS_KEEPS_METADATA },

    [RESOURCE_ROLES]                  = { .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_CLUSTERROLES]           = { .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_ROLEBINDINGS]           = { .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_CLUSTERROLEBINDINGS]    = { .creates_on_update = true, .name = NAME_PATH_SEGMENT },

    [RESOURCE_STORAGECLASSES]         = { .returns_deleted = true },
    [RESOURCE_VOLUMEATTRIBUTESCLASSES] = { .returns_deleted = true },
    [RESOURCE_CSIDRIVERS]             = { .generation = GENERATION_UPDATE, .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_CSINODES]               = { .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_CSISTORAGECAPACITIES]   = { .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_VOLUMEATTACHMENTS]      = { .needs_resource_version = true, .returns_deleted = true,
                                          .status_update = STATUS_KEEPS_METADATA },

    [RESOURCE_PRIORITYCLASSES]        = { .generation = GENERATION_CREATE },
    [RESOURCE_LEASES]                 = { .creates_on_update = true, .needs_resource_version = true },
    [RESOURCE_ENDPOINTSLICES]         = { .generation = GENERATION_CONTENT_LABELS },
    [RESOURCE_RUNTIMECLASSES]         = { .creates_on_update = true, .needs_resource_version = true },

    [RESOURCE_MUTATINGWEBHOOKCONFIGURATIONS]     = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_VALIDATINGWEBHOOKCONFIGURATIONS]   = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_VALIDATINGADMISSIONPOLICIES]       = { .generation = GENERATION_CONTENT, .needs_resource_version = true,
                                                     .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_VALIDATINGADMISSIONPOLICYBINDINGS] = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_MUTATINGADMISSIONPOLICIES]         = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_MUTATINGADMISSIONPOLICYBINDINGS]   = { .generation = GENERATION_CONTENT, .needs_resource_version = true },

    [RESOURCE_FLOWSCHEMAS]                 = { .generation = GENERATION_CONTENT, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_PRIORITYLEVELCONFIGURATIONS] = { .generation = GENERATION_CONTENT, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_DEVICECLASSES]               = { .generation = GENERATION_CONTENT },
    [RESOURCE_RESOURCESLICES]              = { .generation = GENERATION_CONTENT },
    [RESOURCE_RESOURCECLAIMS]              = { .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_APISERVICES]                 = { .needs_resource_version = true, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_CUSTOMRESOURCEDEFINITIONS]   = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
};
/* clang-format on */

const struct rest_storage *rest_storage_of(const struct resource *r)
{
    const struct resource *stored = r->storage ? r->storage : r;
    ensure(stored->id < RESOURCES);
    return &rows[stored->id];
}

bool resource_has_status(const struct resource *r)
{
    return resource_subresource(r, "status") != NULL;
}
