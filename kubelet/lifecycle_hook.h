/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle_hook.h - postStart and preStop: exec, httpGet, tcpSocket, sleep.
 *
 * Blocks for as long as the hook does, at most TIMEOUT_S.
 */
#pragma once

#include "kubelet/probe.h"

must_check int lifecycle_hook_run(const struct probe_target *t, const struct json *handler,
                                  int64_t timeout_s, struct error *err);
