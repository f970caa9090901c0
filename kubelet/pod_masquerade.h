/* SPDX-License-Identifier: Apache-2.0 */
/* pod_masquerade.h - what pods send beyond the pod range carries the node's address. */
#pragma once

#include "base/error.h"

/* Makes the one iptables rule for the pods in POD_CIDR unless it is there.  The bridge plugin could
 * make rules too (ipMasq), but a chain for each pod, in a dozen runs of iptables. */
must_check int pod_masquerade_ensure(const char *pod_cidr, struct error *err);
