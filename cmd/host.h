/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - what the machine says about itself: the defaults of the node flags.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

/* The host's name in lower case, as a node's name must be. */
must_check int host_name(struct arena *a, const char **name, struct error *err);

/* The IPv4 address of the interface with the default route; without one, the first address that is
 * not loopback; without that, 127.0.0.1. */
must_check int host_address(struct arena *a, const char **address, struct error *err);

/* The Nth address of a network: host_nth_address("10.43.0.0/16", 10) is 10.43.0.10. */
must_check int host_nth_address(const char *cidr, unsigned n, struct arena *a, const char **address,
                                struct error *err);
