/* SPDX-License-Identifier: Apache-2.0 */
/* cni_config.h - the pod network: a bridge with addresses from the node's pod range. */
#pragma once

#include "base/error.h"

/* Writes DIR/10-coracle.conflist for POD_CIDR unless it says so already. */
must_check int cni_config_write(const char *dir, const char *pod_cidr, struct error *err);
