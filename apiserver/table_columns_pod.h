/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_columns_pod.h - what `kubectl get pods` says of a pod.
 */
#pragma once

#include "apiserver/table_cells.h"

void pod_print_status(const struct json *pod,
                      struct buffer *out); /* "Init:0/1", "CrashLoopBackOff" */
void pod_print_ready(const struct json *pod, struct buffer *out); /* "1/2" */
void pod_print_restarts(const struct json *pod, int64_t now_ns,
                        struct buffer *out); /* "3 (5m ago)" */
void pod_print_gates(const struct json *pod, struct buffer *out);
