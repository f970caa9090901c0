/* SPDX-License-Identifier: Apache-2.0 */
/* rest_storage.c - one row per stored kind. */
#include "apiserver/rest_storage.h"

#include "apiserver/strategies.h"
#include "apiserver/validate_kinds.h"

/* Upstream keeps events for an hour. */
#define EVENT_TTL_S 3600

static const struct part_strategy pod_parts[] = {
    { "ephemeralcontainers", &pod_ephemeral_strategy },
    { "resize", &pod_resize_strategy },
    { NULL, NULL },
};

/* clang-format off */
static const struct rest_storage rows[RESOURCES] = {
    [RESOURCE_PODS]                   = { .rules = pod_rules, .status_rules = pod_status_rules, .parts = pod_parts, .strategy = &pod_strategy, .status = &pod_status_strategy, .status_update = STATUS_KEEPS_OWNERS,
                                          .generation = GENERATION_CONTENT, .returns_deleted = true },
    [RESOURCE_NAMESPACES]             = { .rules = namespace_rules, .status_rules = namespace_status_rules, .strategy = &namespace_strategy, .name = NAME_DNS_LABEL },
    [RESOURCE_SERVICES]               = { .status_rules = service_status_rules, .strategy = &service_strategy, .creates_on_update = true, .name = NAME_DNS_LABEL, .returns_deleted = true },
    [RESOURCE_SERVICEACCOUNTS]        = { .strategy = &service_account_strategy, .returns_deleted = true },
    [RESOURCE_SECRETS]                = { .strategy = &secret_strategy },
    [RESOURCE_CONFIGMAPS]             = { .strategy = &config_map_strategy },
    [RESOURCE_NODES]                  = { .strategy = &node_strategy },
    [RESOURCE_ENDPOINTS]              = { .rules = endpoints_rules, .creates_on_update = true },
    [RESOURCE_EVENTS]                 = { .rules = event_rules, .creates_on_update = true, .ttl_s = EVENT_TTL_S },
    [RESOURCE_LIMITRANGES]            = { .rules = limit_range_rules, .creates_on_update = true },
    [RESOURCE_PERSISTENTVOLUMES]      = { .rules = persistent_volume_rules, .strategy = &persistent_volume_strategy, .returns_deleted = true },
    [RESOURCE_PERSISTENTVOLUMECLAIMS] = { .rules = persistent_volume_claim_rules, .status_rules = persistent_volume_claim_status_rules, .strategy = &persistent_volume_claim_strategy, .returns_deleted = true },
    [RESOURCE_PODTEMPLATES]           = { .rules = pod_template_rules, .generation = GENERATION_CONTENT, .returns_deleted = true },
    [RESOURCE_REPLICATIONCONTROLLERS] = { .status_rules = replication_controller_status_rules, .strategy = &replication_controller_strategy, .generation = GENERATION_CONTENT, .propagation = PROPAGATION_ORPHAN },
    [RESOURCE_RESOURCEQUOTAS]         = { .rules = resource_quota_rules, .status_rules = resource_quota_status_rules, .returns_deleted = true },

    [RESOURCE_DEPLOYMENTS]            = { .status_rules = deployment_status_rules, .strategy = &deployment_strategy, .generation = GENERATION_CONTENT_ANNOTATIONS, .status_update = STATUS_KEEPS_LABELS },
    [RESOURCE_REPLICASETS]            = { .status_rules = replicaset_status_rules, .strategy = &replicaset_strategy, .generation = GENERATION_CONTENT },
    [RESOURCE_STATEFULSETS]           = { .rules = statefulset_rules, .status_rules = statefulset_status_rules, .strategy = &statefulset_strategy, .name = NAME_DNS_LABEL, .generation = GENERATION_CONTENT },
    [RESOURCE_DAEMONSETS]             = { .status_rules = daemonset_status_rules, .strategy = &daemonset_strategy, .generation = GENERATION_CONTENT },
    [RESOURCE_JOBS]                   = { .status_rules = job_status_rules, .strategy = &job_strategy, .generation = GENERATION_CONTENT, .propagation = PROPAGATION_ORPHAN },
    [RESOURCE_CONTROLLERREVISIONS]    = { .rules = controller_revision_rules },
    [RESOURCE_CRONJOBS]               = { .strategy = &cronjob_strategy, .generation = GENERATION_CONTENT },

    [RESOURCE_HORIZONTALPODAUTOSCALERS] = { .rules = autoscaler_rules, .status_rules = autoscaler_status_rules },
    [RESOURCE_CERTIFICATESIGNINGREQUESTS] = { .rules = certificate_request_rules, .status_rules = certificate_request_rules, .strategy = &certificate_request_strategy },
    [RESOURCE_PODDISRUPTIONBUDGETS]   = { .rules = disruption_budget_rules, .status_rules = disruption_budget_status_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_INGRESSES]              = { .rules = ingress_rules, .status_rules = ingress_status_rules, .generation = GENERATION_CONTENT },
    [RESOURCE_INGRESSCLASSES]         = { .rules = ingress_class_rules, .generation = GENERATION_CONTENT },
    [RESOURCE_NETWORKPOLICIES]        = { .rules = network_policy_rules, .generation = GENERATION_CONTENT },
    [RESOURCE_IPADDRESSES]            = { .rules = ip_address_rules },
    [RESOURCE_SERVICECIDRS]           = { .rules = service_cidr_rules, .status_update = STATUS_KEEPS_METADATA },

    [RESOURCE_ROLES]                  = { .rules = role_rules, .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_CLUSTERROLES]           = { .rules = cluster_role_rules, .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_ROLEBINDINGS]           = { .rules = role_binding_rules, .creates_on_update = true, .name = NAME_PATH_SEGMENT },
    [RESOURCE_CLUSTERROLEBINDINGS]    = { .rules = cluster_role_binding_rules, .creates_on_update = true, .name = NAME_PATH_SEGMENT },

    [RESOURCE_STORAGECLASSES]         = { .rules = storage_class_rules, .returns_deleted = true },
    [RESOURCE_VOLUMEATTRIBUTESCLASSES] = { .rules = volume_attributes_class_rules, .returns_deleted = true },
    [RESOURCE_CSIDRIVERS]             = { .rules = csi_driver_rules, .generation = GENERATION_UPDATE, .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_CSINODES]               = { .rules = csi_node_rules, .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_CSISTORAGECAPACITIES]   = { .rules = csi_storage_capacity_rules, .needs_resource_version = true, .returns_deleted = true },
    [RESOURCE_VOLUMEATTACHMENTS]      = { .rules = volume_attachment_rules, .needs_resource_version = true, .returns_deleted = true,
                                          .status_update = STATUS_KEEPS_METADATA },

    [RESOURCE_PRIORITYCLASSES]        = { .rules = priority_class_rules, .generation = GENERATION_CREATE },
    [RESOURCE_LEASES]                 = { .rules = lease_rules, .creates_on_update = true, .needs_resource_version = true },
    [RESOURCE_ENDPOINTSLICES]         = { .rules = endpoint_slice_rules, .generation = GENERATION_CONTENT_LABELS },
    [RESOURCE_RUNTIMECLASSES]         = { .rules = runtime_class_rules, .creates_on_update = true, .needs_resource_version = true },

    [RESOURCE_MUTATINGWEBHOOKCONFIGURATIONS]     = { .rules = mutating_webhook_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_VALIDATINGWEBHOOKCONFIGURATIONS]   = { .rules = validating_webhook_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_VALIDATINGADMISSIONPOLICIES]       = { .rules = validating_policy_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true,
                                                     .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_VALIDATINGADMISSIONPOLICYBINDINGS] = { .rules = validating_policy_binding_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_MUTATINGADMISSIONPOLICIES]         = { .rules = mutating_policy_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },
    [RESOURCE_MUTATINGADMISSIONPOLICYBINDINGS]   = { .rules = mutating_policy_binding_rules, .generation = GENERATION_CONTENT, .needs_resource_version = true },

    [RESOURCE_FLOWSCHEMAS]                 = { .rules = flow_schema_rules, .generation = GENERATION_CONTENT, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_PRIORITYLEVELCONFIGURATIONS] = { .rules = priority_level_rules, .generation = GENERATION_CONTENT, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_DEVICECLASSES]               = { .rules = device_class_rules, .generation = GENERATION_CONTENT },
    [RESOURCE_RESOURCESLICES]              = { .rules = resource_slice_rules, .generation = GENERATION_CONTENT },
    [RESOURCE_RESOURCECLAIMS]              = { .rules = resource_claim_rules, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_RESOURCECLAIMTEMPLATES]      = { .rules = resource_claim_template_rules },
    [RESOURCE_APISERVICES]                 = { .rules = api_service_rules, .needs_resource_version = true, .status_update = STATUS_KEEPS_METADATA },
    [RESOURCE_CUSTOMRESOURCEDEFINITIONS]   = { .generation = GENERATION_CONTENT, .needs_resource_version = true },
};
/* clang-format on */

const struct rest_storage *rest_storage_of(const struct resource *r)
{
    const struct resource *stored = r->storage ? r->storage : r;
    ensure(stored->id < RESOURCES);
    return &rows[stored->id];
}

const struct strategy *rest_storage_strategy(const struct rest_storage *row,
                                             const char *subresource)
{
    if (!*subresource)
        return row->strategy;
    if (strcmp(subresource, "status") == 0)
        return row->status;
    for (const struct part_strategy *p = row->parts; p && p->subresource; p++) {
        if (strcmp(subresource, p->subresource) == 0)
            return p->strategy;
    }
    return NULL;
}

bool resource_has_status(const struct resource *r)
{
    return resource_subresource(r, "status") != NULL;
}
