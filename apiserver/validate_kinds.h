/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate_kinds.h - the `validate` and `validate_update` hooks of the kinds, for the strategies.
 *
 * An update is checked as a create is; validate_update adds what only an update can do wrong.
 */
#pragma once

#include "apiserver/strategy.h"

#define VALIDATOR(name)                                                                            \
    void name(struct strategy_call *c, const struct json *doc, struct field_errors *v)
#define UPDATE_VALIDATOR(name)                                                                     \
    void name(struct strategy_call *c, const struct object *old, const struct json *doc,           \
              struct field_errors *v)

/* validate_workloads.c */
VALIDATOR(validate_pod);
UPDATE_VALIDATOR(validate_pod_update);
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
