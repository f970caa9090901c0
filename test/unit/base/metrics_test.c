/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_test.c - counters, gauges and histograms as text. */
#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void metrics_are_printed_in_prometheus_text_format(void **state)
{
    (void)state;
    static const char *const labels[] = { "verb", "code", NULL };
    static const double bounds[] = { 0.1, 1 };
    struct metric *requests = metric_counter("requests_total", "Requests\nby verb.", labels);
    struct metric *heat = metric_gauge("heat", "Heat.", NULL);
    struct metric *seconds = metric_histogram("seconds", "Time.", NULL, bounds, 2);
    metric_gauge("never_set", "Not shown.", NULL);

    metric_add(requests, 1, (const char *const[]){ "GET", "200" });
    metric_add(requests, 2, (const char *const[]){ "GET", "200" });
    metric_add(requests, 1, (const char *const[]){ "P\"\\\n", "500" });
    metric_set(heat, 1.5, NULL);
    metric_observe(seconds, 0.05, NULL);
    metric_observe(seconds, 0.1, NULL);
    metric_observe(seconds, 0.5, NULL);
    metric_observe(seconds, 7, NULL);

    scoped(buffer) struct buffer out = { 0 };
    metrics_print(&out);
    const char *expected = "# HELP requests_total Requests\\nby verb.\n"
                           "# TYPE requests_total counter\n"
                           "requests_total{verb=\"GET\",code=\"200\"} 3\n"
                           "requests_total{verb=\"P\\\"\\\\\\n\",code=\"500\"} 1\n"
                           "# HELP heat Heat.\n"
                           "# TYPE heat gauge\n"
                           "heat 1.5\n"
                           "# HELP seconds Time.\n"
                           "# TYPE seconds histogram\n"
                           "seconds_bucket{le=\"0.1\"} 2\n"
                           "seconds_bucket{le=\"1\"} 3\n"
                           "seconds_bucket{le=\"+Inf\"} 4\n"
                           "seconds_sum 7.65\n"
                           "seconds_count 4\n";
    assert_memory_equal(out.data, expected, strlen(expected));
    assert_non_null(strstr(out.data, "\nprocess_resident_memory_bytes "));
}

static void series_beyond_the_limit_are_counted_together(void **state)
{
    (void)state;
    static const char *const labels[] = { "name", NULL };
    struct metric *m = metric_counter("many", "Many.", labels);
    for (int i = 0; i < METRIC_SERIES_MAX + 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        metric_add(m, 1, (const char *const[]){ name });
    }
    scoped(buffer) struct buffer out = { 0 };
    metrics_print(&out);
    assert_non_null(strstr(out.data, "many{name=\"other\"} 101\n"));
    assert_non_null(strstr(out.data, "many{name=\"4094\"} 1\n"));
    assert_null(strstr(out.data, "many{name=\"4095\"}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_printed_in_prometheus_text_format),
        cmocka_unit_test(series_beyond_the_limit_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
