/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conntrack.h - forgets UDP flows whose endpoint has gone: without that, a client that keeps its
 * source port keeps talking to a dead pod.
 */
#pragma once

#include "proxy/service_ports.h"

/* Flows of OLD's ports to endpoints that NEW's no longer have, and of ports that had no endpoint
 * before. */
void conntrack_forget(const struct service_port *old, size_t old_n, const struct service_port *new,
                      size_t new_n);
