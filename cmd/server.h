/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - `coracle server`: the store, the API server and the parts in one process.
 */
#pragma once

#include "cmd/config.h"

struct server;

/* CONFIG outlives the server.  WITH_PARTS false: `coracle apiserver`, the API alone. */
struct server *server_start(const struct config *config, bool with_parts, struct error *err);
void server_stop(struct server *s); /* in order: node, controllers, scheduler, API, store */
