/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strategies.h - the strategies there are, for the table in rest_storage.c.
 */
#pragma once

#include "apiserver/strategy.h"

extern const struct strategy pod_strategy, pod_status_strategy; /* strategy_pod.c */
extern const struct strategy pod_ephemeral_strategy, pod_resize_strategy;
extern const struct strategy service_strategy;         /* strategy_service.c */
extern const struct strategy namespace_strategy;       /* strategy_namespace.c */
extern const struct strategy secret_strategy;          /* strategy_secret.c */
extern const struct strategy job_strategy;             /* strategy_job.c */
extern const struct strategy service_account_strategy; /* strategy_small.c */
extern const struct strategy persistent_volume_strategy, persistent_volume_claim_strategy;
extern const struct strategy certificate_request_strategy;
extern const struct strategy deployment_strategy, replicaset_strategy, daemonset_strategy;
extern const struct strategy statefulset_strategy, replication_controller_strategy,
    cronjob_strategy;
extern const struct strategy config_map_strategy, node_strategy;
