/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - logfmt lines. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"

static atomic_int level_min = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&level_min, memory_order_relaxed);
}

/* Quotes TEXT into LINE, so that one event stays one line whatever a peer put into a name. */
static size_t add_quoted(char *line, size_t n, size_t room, const char *text)
{
    line[n++] = '"';
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 8 < room; p++) {
        if (*p == '"' || *p == '\\') {
            line[n++] = '\\';
            line[n++] = (char)*p;
        } else if (*p == '\n') {
            line[n++] = '\\';
            line[n++] = 'n';
        } else if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(line + n, room - n, "\\x%02x", *p);
        } else {
            line[n++] = (char)*p;
        }
    }
    line[n++] = '"';
    return n;
}

void log_write(enum log_level level, const char *component, const char *fmt, ...)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    if (!log_enabled(level))
        return;

    char message[LOG_LINE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    char now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(&system_clock), now);
    char line[LOG_LINE_BYTES_MAX];
    int head = snprintf(line, sizeof(line) / 2, "time=\"%s\" level=%s component=%s msg=", now,
                        names[level], component);
    size_t n = (size_t)head < sizeof(line) / 2 ? (size_t)head : sizeof(line) / 2 - 1;
    n = add_quoted(line, n, sizeof(line) - 1, message);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nobody is left to tell */
}
