/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iptables_apply.h - runs iptables-restore and keeps our jumps in the kernel's own chains.
 *
 * Threads: one at a time.
 */
#pragma once

#include "proxy/iptables_rules.h"

#define IPTABLES_TIMEOUT_MS 30000

must_check int iptables_restore(struct bytes input, struct error *err);

/* Makes the shared chains (empty) and the hooks, removes chains of services that a former run left,
 * and adds BATCH, all of it in one go per table so that traffic never meets half of it. */
must_check int iptables_reset(const struct rule_batch *batch, struct error *err);

/* Removes every chain and hook of ours. */
must_check int iptables_cleanup(struct error *err);
