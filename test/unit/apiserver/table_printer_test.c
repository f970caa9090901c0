/* SPDX-License-Identifier: Apache-2.0 */
/* table_printer_test.c - rows as kubectl get shows them. */
#include "apiserver/table_printer.h"

#include "apiserver/table_cells.h"
#include "apiserver/table_columns_pod.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct json *parse(const char *text, struct arena *a)
{
    struct error err = { 0 };
    struct json *v = json_parse(bytes_of(text), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static void durations_are_as_short_as_people_read_them(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        { -5, "<invalid>" },
        { -1, "0s" },
        { 0, "0s" },
        { 119, "119s" },
        { 120, "2m" },
        { 192, "3m12s" },
        { 600, "10m" },
        { 179 * 60, "179m" },
        { 3 * 3600, "3h" },
        { 3 * 3600 + 60, "3h1m" },
        { 8 * 3600, "8h" },
        { 47 * 3600, "47h" },
        { 48 * 3600, "2d" },
        { 51 * 3600, "2d3h" },
        { 8 * 86400, "8d" },
        { 729 * 86400, "729d" },
        { 730 * 86400, "2y" },
        { 735 * 86400, "2y5d" },
        { INT64_C(2920) * 86400, "8y" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(buffer) struct buffer out = { 0 };
        print_human_duration(cases[i].s * NS_PER_S, &out);
        assert_string_equal(out.data, cases[i].text);
    }
}

static void every_kind_has_as_many_cells_as_columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < RESOURCES; i++) {
        const struct resource *r = &resources[i];
        if (!r->is_stored)
            continue;
        scoped(arena) struct arena *a = arena_new();
        scoped(draft) struct draft *d = draft_new(r);
        json_put_str(d->arena, d->doc, "metadata.name", "x");
        scoped(object) struct object *o = draft_publish(take_ptr(&d), 1);
        scoped(buffer) struct buffer columns = { 0 };
        scoped(buffer) struct buffer row = { 0 };
        table_print_columns(r, &columns);
        table_print_row(o, TABLE_INCLUDE_NONE, 0, &row);
        size_t n = json_len(parse(row.data, a), "cells");
        if (parse(columns.data, a)->len != n)
            fail_msg("%s.%s: %u columns, %zu cells", r->plural, r->group,
                     parse(columns.data, a)->len, n);
    }
}

static void a_pods_status_is_what_matters_most(void **state)
{
    (void)state;
    static const struct {
        const char *pod, *status;
    } cases[] = {
        { "{\"status\":{\"phase\":\"Pending\"}}", "Pending" },
        { "{\"status\":{\"phase\":\"Failed\",\"reason\":\"Evicted\"}}", "Evicted" },
        { "{\"spec\":{\"initContainers\":[{\"name\":\"a\"},{\"name\":\"b\"}]},\"status\":{"
          "\"phase\":"
          "\"Pending\",\"initContainerStatuses\":[{\"name\":\"a\",\"state\":{\"terminated\":{"
          "\"exitCode\":"
          "0}}},{\"name\":\"b\",\"state\":{\"waiting\":{\"reason\":\"PodInitializing\"}}}]}}",
          "Init:1/2" },
        { "{\"spec\":{\"initContainers\":[{\"name\":\"a\"}]},\"status\":{\"phase\":\"Pending\","
          "\"initContainerStatuses\":[{\"name\":\"a\",\"state\":{\"terminated\":{\"exitCode\":2}}}]"
          "}}",
          "Init:ExitCode:2" },
        { "{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"waiting\":{"
          "\"reason\":"
          "\"CrashLoopBackOff\"}}}]}}",
          "CrashLoopBackOff" },
        { "{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"terminated\":{"
          "\"exitCode\":0,\"reason\":\"Completed\"}}},{\"ready\":true,\"state\":{\"running\":{}}}],"
          "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
          "Running" },
        { "{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"terminated\":{"
          "\"exitCode\":0,\"reason\":\"Completed\"}}},{\"ready\":true,\"state\":{\"running\":{}}}]}"
          "}",
          "NotReady" },
        { "{\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"state\":{\"terminated\":{"
          "\"exitCode\":137,\"signal\":9}}}]}}",
          "Signal:9" },
        { "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"},\"status\":{\"phase\":"
          "\"Running\"}}",
          "Terminating" },
        { "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"},\"status\":{\"phase\":"
          "\"Succeeded\",\"containerStatuses\":[{\"state\":{\"terminated\":{\"exitCode\":0,"
          "\"reason\":"
          "\"Completed\"}}}]}}",
          "Completed" },
        { "{\"status\":{\"phase\":\"Pending\",\"conditions\":[{\"type\":\"PodScheduled\","
          "\"reason\":"
          "\"SchedulingGated\"}]}}",
          "SchedulingGated" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        scoped(buffer) struct buffer out = { 0 };
        pod_print_status(parse(cases[i].pod, a), &out);
        assert_string_equal(out.data, cases[i].status);
    }
}

static void restarts_say_when_the_last_one_was(void **state)
{
    (void)state;
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer out = { 0 };
    const struct json *pod = parse(
        "{\"status\":{\"containerStatuses\":[{\"restartCount\":3,\"lastState\":{\"terminated\":{"
        "\"finishedAt\":\"1970-01-01T00:01:00Z\"}}},{\"restartCount\":1}]}}",
        a);
    pod_print_restarts(pod, 360 * NS_PER_S, &out);
    assert_string_equal(out.data, "4 (5m ago)");
}

static void assert_cells(const char *object, const char *cells)
{
    struct error err = { 0 };
    scoped(object) struct object *o = object_parse(NULL, bytes_of(object), 1, &err);
    scoped(buffer) struct buffer row = { 0 };
    scoped(str) char *start = xasprintf("{\"cells\":%s", cells);
    assert_non_null(o);
    table_print_row(o, TABLE_INCLUDE_NONE, 3600 * NS_PER_S, &row);
    if (!str_has_prefix(row.data, start))
        fail_msg("%s\nis not %s", row.data, start);
}

static void a_service_shows_its_addresses_and_ports(void **state)
{
    (void)state;
    assert_cells(
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\","
        "\"creationTimestamp\":\"1970-01-01T00:00:00Z\"},\"spec\":{\"type\":\"LoadBalancer\","
        "\"clusterIPs\":[\"10.43.0.9\"],\"selector\":{\"b\":\"2\",\"a\":\"1\"},\"ports\":[{"
        "\"port\":80,"
        "\"nodePort\":30080,\"protocol\":\"TCP\"},{\"port\":53,\"protocol\":\"UDP\"}]}}",
        "[\"web\",\"LoadBalancer\",\"10.43.0.9\",\"\\u003cpending\\u003e\",\"80:30080/TCP,53/UDP\","
        "\"60m\",\"a=1,b=2\"]");
}

static void a_node_shows_its_state_and_roles(void **state)
{
    (void)state;
    assert_cells(
        "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n\",\"labels\":{"
        "\"node-role.kubernetes.io/control-plane\":\"\",\"kubernetes.io/role\":\"agent\"},"
        "\"creationTimestamp\":\"1970-01-01T00:00:00Z\"},\"spec\":{\"unschedulable\":true},"
        "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\":[{"
        "\"type\":"
        "\"InternalIP\",\"address\":\"192.0.2.1\"}],\"nodeInfo\":{\"kubeletVersion\":\"v1\","
        "\"kernelVersion\":\"6\",\"architecture\":\"amd64\"}}}",
        "[\"n\",\"Ready,SchedulingDisabled\",\"agent,control-plane\",\"60m\",\"v1\",\"192.0.2.1\","
        "\"\\u003cnone\\u003e\",\"\\u003cunknown\\u003e\",\"6 "
        "(amd64)\",\"\\u003cunknown\\u003e\"]");
}

static void a_kind_without_columns_of_its_own_shows_its_name_and_time(void **state)
{
    (void)state;
    assert_cells(
        "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\",\"metadata\":{\"name\":"
        "\"r\",\"namespace\":\"d\",\"creationTimestamp\":\"1970-01-01T00:00:00Z\"}}",
        "[\"r\",\"1970-01-01T00:00:00Z\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_as_short_as_people_read_them),
        cmocka_unit_test(every_kind_has_as_many_cells_as_columns),
        cmocka_unit_test(a_pods_status_is_what_matters_most),
        cmocka_unit_test(restarts_say_when_the_last_one_was),
        cmocka_unit_test(a_service_shows_its_addresses_and_ports),
        cmocka_unit_test(a_node_shows_its_state_and_roles),
        cmocka_unit_test(a_kind_without_columns_of_its_own_shows_its_name_and_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
