/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uid.h - random identities: version 4 UUIDs in text form.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"

const char *uid_new(struct rng *rng, struct arena *a);
