/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - runs an executable and waits for it, for worker threads.
 *
 * Threads: any.
 */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#define PROCESS_OUTPUT_BYTES_MAX (16 * 1024 * 1024) /* more ends the child */

/* Runs ARGV (found in PATH and the sbin folders; ends with NULL) with INPUT on its standard input.
 * OUT (NULL: not wanted) gets its standard output.  ERR_NOT_FOUND: no such program; ERR_TIMEOUT: it
 * was killed after TIMEOUT_MS; ERR_INTERNAL: it ended with a status other than 0, with its own last
 * words. */
must_check int process_run(const char *const *argv, struct bytes input, struct buffer *out,
                           int timeout_ms, struct error *err);
