/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate_kinds.h - the rules of the kinds: tables for rest_storage.c's rows, and `validate` and
 * `validate_update` hooks for the strategies of kinds whose rules are more than a table.
 *
 * An update is checked as a create is; validate_update adds what only an update can do wrong.
 */
#pragma once

#include "apiserver/strategy.h"
#include "apiserver/validate_rules.h"

#define VALIDATOR(name)                                                                            \
    void name(struct strategy_call *c, const struct json *doc, struct field_errors *v)
#define UPDATE_VALIDATOR(name)                                                                     \
    void name(struct strategy_call *c, const struct object *old, const struct json *doc,           \
              struct field_errors *v)

/* validate_workloads.c */
VALIDATOR(validate_pod);
UPDATE_VALIDATOR(validate_pod_update);
UPDATE_VALIDATOR(validate_pod_ephemeral_update);
UPDATE_VALIDATOR(validate_pod_resize);
extern const struct rule pod_rules[], statefulset_rules[];
extern const struct rule volume_rules[]; /* validate_volume.c: of one volume */
VALIDATOR(validate_deployment);
VALIDATOR(validate_replicaset);
VALIDATOR(validate_replication_controller);
VALIDATOR(validate_statefulset);
UPDATE_VALIDATOR(validate_statefulset_update);
VALIDATOR(validate_daemonset);
VALIDATOR(validate_job);
UPDATE_VALIDATOR(validate_job_update);
VALIDATOR(validate_cronjob);
UPDATE_VALIDATOR(validate_selector_kept); /* Deployment, ReplicaSet, DaemonSet */

/* validate_core.c */
VALIDATOR(validate_service);
UPDATE_VALIDATOR(validate_service_update);
VALIDATOR(validate_config_map);
VALIDATOR(validate_secret);
UPDATE_VALIDATOR(validate_config_map_update);
UPDATE_VALIDATOR(validate_secret_update);
VALIDATOR(validate_node);
UPDATE_VALIDATOR(validate_node_update);

/* validate_networking.c */
extern const struct rule ingress_rules[], ingress_status_rules[], ingress_class_rules[];
extern const struct rule network_policy_rules[], ip_address_rules[], service_cidr_rules[];
extern const struct rule endpoints_rules[], endpoint_slice_rules[];

/* validate_rbac.c */
extern const struct rule role_rules[], cluster_role_rules[];
extern const struct rule role_binding_rules[], cluster_role_binding_rules[];

/* validate_storage.c */
extern const struct rule persistent_volume_rules[], persistent_volume_claim_rules[];
extern const struct rule persistent_volume_claim_status_rules[];
extern const struct rule claim_spec_rules[]; /* of a claim's spec, also in templates */
extern const struct rule storage_class_rules[], volume_attributes_class_rules[];
extern const struct rule volume_attachment_rules[], csi_node_rules[], csi_driver_rules[];
extern const struct rule csi_storage_capacity_rules[];

/* validate_policy.c: what bounds and ranks pods */
extern const struct rule limit_range_rules[];
extern const struct rule resource_quota_rules[], resource_quota_status_rules[];
extern const struct rule disruption_budget_rules[], disruption_budget_status_rules[];
extern const struct rule autoscaler_rules[], autoscaler_status_rules[];
extern const struct rule priority_class_rules[], runtime_class_rules[];

/* validate_admission.c */
extern const struct rule validating_webhook_rules[], mutating_webhook_rules[];
extern const struct rule validating_policy_rules[], validating_policy_binding_rules[];
extern const struct rule mutating_policy_rules[], mutating_policy_binding_rules[];

/* validate_cluster.c: what runs the cluster itself */
extern const struct rule namespace_rules[], namespace_status_rules[];
extern const struct rule event_rules[], lease_rules[];
extern const struct rule controller_revision_rules[], pod_template_rules[];
extern const struct rule certificate_request_rules[], api_service_rules[];
extern const struct rule flow_schema_rules[], priority_level_rules[];

/* validate_device.c */
extern const struct rule device_class_rules[], resource_slice_rules[];
extern const struct rule resource_claim_rules[], resource_claim_template_rules[];

/* validate_status.c */
extern const struct rule deployment_status_rules[], replicaset_status_rules[];
extern const struct rule statefulset_status_rules[], daemonset_status_rules[];
extern const struct rule replication_controller_status_rules[], job_status_rules[];
extern const struct rule pod_status_rules[], service_status_rules[];
