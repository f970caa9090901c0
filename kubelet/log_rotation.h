/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_rotation.h - keeps container logs from filling the disk: past LOG_FILE_BYTES_MAX a log is
 * renamed to N.log.TIME and the runtime opens a new one; LOG_FILES_MAX are kept.
 *
 * Threads: one at a time.
 */
#pragma once

#include "kubelet/kubelet_context.h"

#define LOG_FILE_BYTES_MAX (10 * 1024 * 1024)
#define LOG_FILES_MAX      5

/* Looks at the logs of these pods; asks the runtime only about a log that has grown too large. */
void log_rotation_check(struct kubelet_context *k, const struct object_list *pods);
