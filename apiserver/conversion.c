/* SPDX-License-Identifier: Apache-2.0 */
/* conversion.c - events and horizontal pod autoscalers between their two versions. */
#include "apiserver/conversion.h"

/* ---- events: core/v1 and events.k8s.io/v1 name some fields differently ---- */

static const struct {
    const char *core, *events;
} event_fields[] = {
    { "involvedObject", "regarding" },
    { "message", "note" },
    { "source", "deprecatedSource" },
    { "firstTimestamp", "deprecatedFirstTimestamp" },
    { "lastTimestamp", "deprecatedLastTimestamp" },
    { "count", "deprecatedCount" },
    { "reportingComponent", "reportingController" },
};

static void rename_member(struct json *doc, const char *from, const char *to)
{
    for (uint32_t i = 0; i < doc->len; i++)
        if (strcmp(doc->members[i].name, from) == 0)
            doc->members[i].name = to;
}

static void convert_event(struct json *doc, bool to_core)
{
    for (size_t i = 0; i < ARRAY_LEN(event_fields); i++)
        rename_member(doc, to_core ? event_fields[i].events : event_fields[i].core,
                      to_core ? event_fields[i].core : event_fields[i].events);
}

/* ---- autoscalers: v1 knows one metric, v2 a list of them ---- */

static bool is_cpu_utilization(const struct json *metric)
{
    return str_equal(json_str(metric, "type", ""), "Resource") &&
           str_equal(json_str(metric, "resource.name", ""), "cpu");
}

static void autoscaler_to_v2(struct json *doc, struct arena *a)
{
    const struct json *target = json_at(doc, "spec.targetCPUUtilizationPercentage");
    if (target) {
        struct json *metrics = json_make(a, doc, "spec.metrics");
        *metrics = *json_new(a, JSON_ARRAY);
        struct json *metric = json_append(a, metrics, *json_new(a, JSON_OBJECT));
        json_put_str(a, metric, "type", "Resource");
        json_put_str(a, metric, "resource.name", "cpu");
        json_put_str(a, metric, "resource.target.type", "Utilization");
        json_put(a, metric, "resource.target.averageUtilization", *target);
        json_drop(doc, "spec.targetCPUUtilizationPercentage");
    }
    const struct json *current = json_at(doc, "status.currentCPUUtilizationPercentage");
    if (current) {
        struct json *metrics = json_make(a, doc, "status.currentMetrics");
        *metrics = *json_new(a, JSON_ARRAY);
        struct json *metric = json_append(a, metrics, *json_new(a, JSON_OBJECT));
        json_put_str(a, metric, "type", "Resource");
        json_put_str(a, metric, "resource.name", "cpu");
        json_put(a, metric, "resource.current.averageUtilization", *current);
        json_drop(doc, "status.currentCPUUtilizationPercentage");
    }
}

static void autoscaler_to_v1(struct json *doc, struct arena *a)
{
    json_each_item (json_at(doc, "spec.metrics"), metric) {
        const struct json *target = json_at(metric, "resource.target.averageUtilization");
        if (is_cpu_utilization(metric) && target)
            json_put(a, doc, "spec.targetCPUUtilizationPercentage", *target);
    }
    json_each_item (json_at(doc, "status.currentMetrics"), metric) {
        const struct json *current = json_at(metric, "resource.current.averageUtilization");
        if (is_cpu_utilization(metric) && current)
            json_put(a, doc, "status.currentCPUUtilizationPercentage", *current);
    }
    json_drop(doc, "spec.metrics");
    json_drop(doc, "spec.behavior");
    json_drop(doc, "status.currentMetrics");
    json_drop(doc, "status.conditions");
}

void conversion_draft(struct draft *d, const struct resource *to)
{
    if (d->resource == to)
        return;
    char api_version[128];
    if (strcmp(to->kind, "Event") == 0)
        convert_event(d->doc, *to->group == '\0');
    else if (strcmp(to->kind, "HorizontalPodAutoscaler") == 0 && strcmp(to->version, "v1") == 0)
        autoscaler_to_v1(d->doc, d->arena);
    else if (strcmp(to->kind, "HorizontalPodAutoscaler") == 0)
        autoscaler_to_v2(d->doc, d->arena);
    d->resource = to;
    json_put_str(d->arena, d->doc, "apiVersion",
                 resource_api_version(to, api_version, sizeof(api_version)));
}

struct object *conversion_object(const struct object *o, const struct resource *to)
{
    if (o->resource == to)
        return object_ref(o);
    struct draft *d = object_edit(o);
    conversion_draft(d, to);
    schema_complete(to->type, d->doc, d->arena);
    return draft_publish(d, o->resource_version);
}
