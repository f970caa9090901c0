/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failpoint.h - named places where a test can make the process crash, fail or be slow.
 *
 *     CORACLE_FAILPOINTS="storage.log.before_sync=crash@3,storage.flush.commit=error" coracle
 * server
 *
 * Actions: crash (SIGKILL to itself), error and nospace (the place behaves as if its system call
 * failed with EIO or ENOSPC), delay:MS, hold (until the points are set anew).  "@N": only at the
 * Nth time (from 1); without it every time. Costs one predictable branch when the variable is not
 * set.
 *
 * Threads: any.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#define FAILPOINTS_MAX 32

extern atomic_bool failpoints_enabled;

bool failpoint_hit(const char *name);

/* True: behave as if what follows failed; errno is set. */
static inline bool failpoint(const char *name)
{
    return __builtin_expect(atomic_load_explicit(&failpoints_enabled, memory_order_relaxed), 0) &&
           failpoint_hit(name);
}

/* Replaces what the environment said, for unit tests.  NULL: off. */
void failpoints_set(const char *text);

/* Waits until somebody is held at NAME. */
void failpoint_await(const char *name);
