/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alone.h - one part in a process of its own, against the API server that a kubeconfig names.
 */
#pragma once

#include "cmd/config.h"

struct alone;

struct alone *alone_start(const struct config *config, enum config_command part, struct error *err);
void alone_stop(struct alone *a);
