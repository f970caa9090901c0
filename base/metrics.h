/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - counters, gauges and histograms in Prometheus' text format.
 *
 * A metric is declared once, at start, and lives as long as the process.  Label values are
 * given in the order of the declared label names; the combinations of one metric end at
 * METRIC_SERIES_MAX (later ones are counted under "other").
 *
 * Threads: any.
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

#define METRIC_SERIES_MAX 4096

struct metric;

/* NAME, HELP, LABELS (ends with NULL; NULL for none) and BUCKETS are kept, not copied. */
struct metric *metric_counter(const char *name, const char *help, const char *const *labels);
struct metric *metric_gauge(const char *name, const char *help, const char *const *labels);
struct metric *metric_histogram(const char *name, const char *help, const char *const *labels,
                                const double *buckets, size_t n); /* NULL: 5 ms ... 60 s */

/* VALUES holds one string per label, NULL if the metric has none. */
void metric_add(struct metric *m, double v, const char *const *values);
void metric_set(struct metric *m, double v, const char *const *values);
void metric_observe(struct metric *m, double v, const char *const *values);

/* All of them, and the process's own. */
void metrics_print(struct buffer *out);
