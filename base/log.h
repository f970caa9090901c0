/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one logfmt line per event on standard error:
 *
 *     time="2026-11-20T20:15:05Z" level=info component=kubelet msg="pod default/web-0 started"
 *
 * Threads: any.  A line is one write(2); more than LOG_LINE_BYTES_MAX is cut.
 */
#pragma once

#include <stdbool.h>

#include "base/scoped.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

#define LOG_LINE_BYTES_MAX 4096

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *component, const char *fmt, ...) printf_like(3, 4);

#define log_debug(component, ...)                                                                  \
    (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, component, __VA_ARGS__) : (void)0)
#define log_info(component, ...)  log_write(LOG_INFO, component, __VA_ARGS__)
#define log_warn(component, ...)  log_write(LOG_WARN, component, __VA_ARGS__)
#define log_error(component, ...) log_write(LOG_ERROR, component, __VA_ARGS__)
