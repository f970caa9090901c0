/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strategy_service.h - the part of the service strategy that lives as long as the server.
 */
#pragma once

#include "base/error.h"

struct apiserver;

/* Makes the allocator and keeps it true to the Services in the watch cache: after the caches have
 * started, before the first request. */
must_check int service_strategy_start(struct apiserver *a, struct error *err);
