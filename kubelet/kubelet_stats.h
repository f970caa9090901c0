/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet_stats.h - what pods and the node use, from the runtime's counters: /stats/summary and
 * /metrics/resource.
 *
 * Threads: any; calls block.
 */
#pragma once

#include "kubelet/kubelet_context.h"

must_check int kubelet_stats_summary(struct kubelet_context *k, struct buffer *out,
                                     struct error *err);
must_check int kubelet_stats_metrics(struct kubelet_context *k, struct buffer *out,
                                     struct error *err);
