/* SPDX-License-Identifier: Apache-2.0 */
/* table_columns_apps.c - printed columns of the kinds that run pods: apps, batch, autoscaling. */
#include <ctype.h>

#include "apiserver/table_cells.h"
#include "base/clock.h"

#define TEMPLATE "spec.template.spec."

static void ready_of_desired(const struct cell_context *c, const struct cell *cell,
                             struct buffer *out)
{
    (void)cell;
    buffer_printf(out, "%lld/%lld", (long long)json_int(c->object->doc, "status.readyReplicas", 0),
                  (long long)json_int(c->object->doc, "spec.replicas", 0));
}

static void revision_owner(const struct cell_context *c, const struct cell *cell,
                           struct buffer *out)
{
    (void)cell;
    const struct json *owner = object_controller(c->object);
    if (!owner) {
        buffer_add_str(out, "<none>");
        return;
    }
    for (const char *k = json_str(owner, "kind", ""); *k; k++)
        buffer_add_char(out, (char)tolower((unsigned char)*k));
    const char *version = json_str(owner, "apiVersion", "");
    const char *slash = strchr(version, '/');
    if (slash)
        buffer_printf(out, ".%.*s", (int)(slash - version), version);
    buffer_printf(out, "/%s", json_str(owner, "name", ""));
}

/* ---- jobs ---- */

static void job_status(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    static const char *const early[] = { "Complete", "Failed" };
    static const char *const late[] = { "Suspended", "FailureTarget", "SuccessCriteriaMet" };
    const char *status = NULL;
    for (size_t i = 0; i < ARRAY_LEN(early) && !status; i++)
        if (object_condition_is_true(c->object, early[i]))
            status = early[i];
    if (!status && object_is_deleting(c->object))
        status = "Terminating";
    for (size_t i = 0; i < ARRAY_LEN(late) && !status; i++)
        if (object_condition_is_true(c->object, late[i]))
            status = late[i];
    buffer_add_str(out, status ? status : "Running");
}

static void job_completions(const struct cell_context *c, const struct cell *cell,
                            struct buffer *out)
{
    (void)cell;
    int64_t succeeded = json_int(c->object->doc, "status.succeeded", 0);
    int64_t parallelism = json_int(c->object->doc, "spec.parallelism", 0);
    const struct json *completions = cell_at(c, "spec.completions");
    if (json_is(completions, JSON_INT))
        buffer_printf(out, "%lld/%lld", (long long)succeeded, (long long)completions->integer);
    else if (parallelism > 1)
        buffer_printf(out, "%lld/1 of %lld", (long long)succeeded, (long long)parallelism);
    else
        buffer_printf(out, "%lld/1", (long long)succeeded);
}

static void job_duration(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    int64_t start, end = c->now_ns;
    const char *started = json_str(c->object->doc, "status.startTime", "");
    const char *completed = json_str(c->object->doc, "status.completionTime", "");
    if (!*started || time_parse(started, &start) < 0)
        return;
    if (*completed && time_parse(completed, &end) < 0)
        return;
    print_human_duration(end - start, out);
}

static void cron_suspend(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *v = cell_at(c, "spec.suspend");
    buffer_add_str(out, !json_is(v, JSON_BOOL) ? "<unset>" : v->boolean ? "True" : "False");
}

/* ---- autoscalers ---- */

/* A percentage of what is asked for, as "N%"; FALLBACK where there is none. */
static void print_percent(const struct json *v, const char *fallback, struct buffer *out)
{
    if (json_is(v, JSON_INT))
        buffer_printf(out, "%lld%%", (long long)v->integer);
    else
        buffer_add_str(out, fallback);
}

static void print_resource_target(const struct json *target, const struct json *current,
                                  struct buffer *out)
{
    buffer_printf(out, "%s: ", json_str(target, "name", ""));
    const char *average = json_str(target, "target.averageValue", "");
    if (*average) {
        buffer_printf(out, "%s/%s", json_str(current, "current.averageValue", "<unknown>"),
                      average);
        return;
    }
    print_percent(json_at(current, "current.averageUtilization"), "<unknown>", out);
    buffer_add_char(out, '/');
    print_percent(json_at(target, "target.averageUtilization"), "<auto>", out);
}

static void print_target(const struct json *metric, const struct json *current, struct buffer *out)
{
    static const struct {
        const char *type, *member;
    } members[] = { { "External", "external" },
                    { "Object", "object" },
                    { "Pods", "pods" },
                    { "Resource", "resource" },
                    { "ContainerResource", "containerResource" } };
    const char *type = json_str(metric, "type", ""), *member = NULL;
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(members[i].type, type) == 0)
            member = members[i].member;
    if (!member) {
        buffer_add_str(out, "<unknown type>");
        return;
    }
    const struct json *target = json_get(metric, member);
    const struct json *now = current ? json_get(current, member) : NULL;
    const char *average = json_str(target, "target.averageValue", "");
    if (strstr(type, "Resource"))
        print_resource_target(target, now, out);
    else if (strcmp(type, "Pods") == 0)
        buffer_printf(out, "%s/%s", json_str(now, "current.averageValue", "<unknown>"), average);
    else if (*average)
        buffer_printf(out, "%s/%s (avg)", json_str(now, "current.averageValue", "<unknown>"),
                      average);
    else
        buffer_printf(out, "%s/%s", json_str(now, "current.value", "<unknown>"),
                      json_str(target, "target.value", ""));
}

#define TARGETS_SHOWN_MAX 2

static void scaler_targets(const struct cell_context *c, const struct cell *cell,
                           struct buffer *out)
{
    (void)cell;
    const struct json *current = cell_at(c, "status.currentMetrics");
    size_t n = 0;
    json_each_item (cell_at(c, "spec.metrics"), metric) {
        if (n < TARGETS_SHOWN_MAX) {
            buffer_add_str(out, n ? ", " : "");
            print_target(metric, current && n < current->len ? &current->items[n] : NULL, out);
        }
        n++;
    }
    if (!n)
        buffer_add_str(out, "<none>");
    if (n > TARGETS_SHOWN_MAX)
        buffer_printf(out, " + %zu more...", n - TARGETS_SHOWN_MAX);
}

/* autoscaling/v1 says the one target in its own words. */
static void scaler_cpu(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *target = cell_at(c, "spec.targetCPUUtilizationPercentage");
    if (!target) {
        buffer_add_str(out, "<none>");
        return;
    }
    buffer_add_str(out, "cpu: ");
    print_percent(cell_at(c, "status.currentCPUUtilizationPercentage"), "<unknown>", out);
    buffer_add_char(out, '/');
    print_percent(target, "<auto>", out);
}

/* ---- the rows ---- */

static const struct cell deployment_cells[] = {
    NAME,
    MADE_BY(ready_of_desired),
    NUMBER("status.updatedReplicas"),
    NUMBER("status.availableReplicas"),
    AGE,
    CELL(cell_containers, TEMPLATE "containers", NULL),
    CELL(cell_images, TEMPLATE "containers", NULL),
    SELECTOR("spec.selector"),
};
static const struct cell replica_set_cells[] = {
    NAME,
    NUMBER("spec.replicas"),
    NUMBER("status.replicas"),
    NUMBER("status.readyReplicas"),
    AGE,
    CELL(cell_containers, TEMPLATE "containers", NULL),
    CELL(cell_images, TEMPLATE "containers", NULL),
    SELECTOR("spec.selector"),
};
static const struct cell stateful_set_cells[] = {
    NAME,
    MADE_BY(ready_of_desired),
    AGE,
    CELL(cell_containers, TEMPLATE "containers", NULL),
    CELL(cell_images, TEMPLATE "containers", NULL),
};
static const struct cell daemon_set_cells[] = {
    NAME,
    NUMBER("status.desiredNumberScheduled"),
    NUMBER("status.currentNumberScheduled"),
    NUMBER("status.numberReady"),
    NUMBER("status.updatedNumberScheduled"),
    NUMBER("status.numberAvailable"),
    LABELS(TEMPLATE "nodeSelector"),
    AGE,
    CELL(cell_containers, TEMPLATE "containers", NULL),
    CELL(cell_images, TEMPLATE "containers", NULL),
    SELECTOR("spec.selector"),
};
static const struct cell revision_cells[] = { NAME, MADE_BY(revision_owner), NUMBER("revision"),
                                              AGE };
static const struct cell job_cells[] = {
    NAME,
    MADE_BY(job_status),
    MADE_BY(job_completions),
    MADE_BY(job_duration),
    AGE,
    CELL(cell_containers, TEMPLATE "containers", NULL),
    CELL(cell_images, TEMPLATE "containers", NULL),
    SELECTOR("spec.selector"),
};
static const struct cell cron_job_cells[] = {
    NAME,
    TEXT("spec.schedule", ""),
    TEXT("spec.timeZone", "<none>"),
    MADE_BY(cron_suspend),
    COUNT("status.active"),
    AGE_OF("status.lastScheduleTime", "<none>"),
    AGE,
    CELL(cell_containers, "spec.jobTemplate.spec.template.spec.containers", NULL),
    CELL(cell_images, "spec.jobTemplate.spec.template.spec.containers", NULL),
    SELECTOR("spec.jobTemplate.spec.selector"),
};
static const struct cell scaler_cells[] = {
    NAME,
    CELL(cell_kind_and_name, "spec.scaleTargetRef", NULL),
    MADE_BY(scaler_targets),
    CELL(cell_int_or_string, "spec.minReplicas", "<unset>"),
    NUMBER("spec.maxReplicas"),
    NUMBER("status.currentReplicas"),
    AGE,
};
static const struct cell scaler_v1_cells[] = {
    NAME,
    CELL(cell_kind_and_name, "spec.scaleTargetRef", NULL),
    MADE_BY(scaler_cpu),
    CELL(cell_int_or_string, "spec.minReplicas", "<unset>"),
    NUMBER("spec.maxReplicas"),
    NUMBER("status.currentReplicas"),
    AGE,
};

const struct cell_row apps_rows[] = {
    ROW(DEPLOYMENTS, deployment_cells),
    ROW(REPLICASETS, replica_set_cells),
    ROW(STATEFULSETS, stateful_set_cells),
    ROW(DAEMONSETS, daemon_set_cells),
    ROW(CONTROLLERREVISIONS, revision_cells),
    ROW(JOBS, job_cells),
    ROW(CRONJOBS, cron_job_cells),
    ROW(HORIZONTALPODAUTOSCALERS, scaler_cells),
    ROW(HORIZONTALPODAUTOSCALERS_AUTOSCALING_V1, scaler_v1_cells),
};
const size_t apps_rows_n = ARRAY_LEN(apps_rows);
