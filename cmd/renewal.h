/* SPDX-License-Identifier: Apache-2.0 */
/*
 * renewal.h - certificates are replaced while the process runs: something is done at a time of day,
 * however far away, and nothing until then.
 */
#pragma once

#include "base/error.h"

struct renewal;

/* Calls RENEW(ARG) when the wall clock shows AT_NS, and again at the time that it returned. */
struct renewal *renewal_start(int64_t at_ns, int64_t (*renew)(void *arg), void *arg,
                              struct error *err);
void renewal_stop(struct renewal *r); /* waits for a call; NULL is fine */

/* When to renew a certificate that begins to live for LIFE_NS now, and when to try again what has
 * gone wrong. */
int64_t renewal_due_ns(int64_t life_ns);
int64_t renewal_retry_ns(int64_t life_ns);
