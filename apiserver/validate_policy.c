/* SPDX-License-Identifier: Apache-2.0 */
/* validate_policy.c - kinds that bound, scale and rank pods. */

#include "api/quantity.h"
#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define SYSTEM_PREFIX     "system-"
#define USER_PRIORITY_MAX 1000000000

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

static bool parse_amount(const struct json *value, struct quantity *q)
{
    return json_text(value) && quantity_parse(value->string, q) == 0;
}

static bool is_among(const char *text, const char *const *values)
{
    for (; *values; values++) {
        if (str_equal(text, *values))
            return true;
    }
    return false;
}

/* ---- LimitRange ---- */

struct limit_pair {
    const char *low, *high; /* fields of the limit; low must not be above high */
    const char *at;         /* where it is reported */
    const char *format;     /* of the low and the high amount */
};

static void compare_limits(struct field_errors *v, const struct place *at, const struct json *limit,
                           const struct limit_pair *pair)
{
    struct place list = place_in(at, pair->at);
    json_each_member (json_get(limit, pair->low), m) {
        const struct json *high_value = json_get(json_get(limit, pair->high), m->name);
        struct quantity low, high;
        struct place p = place_key(&list, m->name);
        if (!parse_amount(&m->value, &low) || !parse_amount(high_value, &high) ||
            quantity_compare(&low, &high) <= 0)
            continue;
        char detail[256];
        snprintf(detail, sizeof(detail), "%s value %s is greater than %s value %s",
                 str_equal(pair->low, "defaultRequest") ? "default request" : pair->low,
                 m->value.string, pair->format, high_value->string);
        const struct json *shown = json_get(json_get(limit, pair->at), m->name);
        fail(v, &p, FIELD_INVALID, shown, detail);
    }
}

static void check_limit(struct field_errors *v, const struct place *at, const struct json *limit)
{
    static const struct limit_pair pairs[] = {
        { "min", "max", "min", "max" },
        { "min", "defaultRequest", "defaultRequest", "default request" },
        { "defaultRequest", "max", "defaultRequest", "max" },
        { "defaultRequest", "default", "defaultRequest", "default limit" },
        { "min", "default", "default", "default" },
        { "default", "max", "default", "max" },
    };
    struct quantity ratio;
    struct place ratios = place_in(at, "maxLimitRequestRatio");
    const char *type = json_str(limit, "type", "");
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        compare_limits(v, at, limit, &pairs[i]);
    json_each_member (json_get(limit, "maxLimitRequestRatio"), m) {
        struct place p = place_key(&ratios, m->name);
        char detail[128];
        if (!parse_amount(&m->value, &ratio) || quantity_milli_value(&ratio) >= 1000)
            continue;
        snprintf(detail, sizeof(detail), "ratio %.64s is less than 1", m->value.string);
        fail(v, &p, FIELD_INVALID, &m->value, detail);
    }
    if (str_equal(type, "Pod")) {
        static const struct rule pod_limit_rules[] = {
            FORBIDDEN("default", "may not be specified when `type` is 'Pod'"),
            FORBIDDEN("defaultRequest", "may not be specified when `type` is 'Pod'"),
            RULES_END,
        };
        check_rules(v, at, NULL, limit, pod_limit_rules);
    } else if (str_equal(type, "PersistentVolumeClaim") &&
               !json_get(json_get(limit, "min"), "storage") &&
               !json_get(json_get(limit, "max"), "storage")) {
        fail_field(v, at, "limits", FIELD_REQUIRED, NULL,
                   "either minimum or maximum storage value is required, but neither was provided");
    }
}

static const char *limit_type_fault(const char *type)
{
    static const char *const standard[] = { "Container", "PersistentVolumeClaim", "Pod", NULL };
    const char *wrong = label_key_fault(type);
    if (!wrong && !strchr(type, '/') && !is_among(type, standard))
        return "must be a standard limit type or fully qualified";
    return wrong;
}

const struct rule limit_range_rules[] = {
    UNIQUE("spec.limits", "type"),
    FORMAT("spec.limits[*].type", limit_type_fault),
    BLOCK("spec.limits[*]", check_limit),
    RULES_END,
};

/* ---- ResourceQuota ---- */

static const char *quota_name_fault(const char *name)
{
    static const char *const standard[] = { "cpu",
                                            "memory",
                                            "ephemeral-storage",
                                            "requests.cpu",
                                            "requests.memory",
                                            "requests.storage",
                                            "requests.ephemeral-storage",
                                            "limits.cpu",
                                            "limits.memory",
                                            "limits.ephemeral-storage",
                                            "pods",
                                            "services",
                                            "replicationcontrollers",
                                            "resourcequotas",
                                            "secrets",
                                            "configmaps",
                                            "persistentvolumeclaims",
                                            "services.nodeports",
                                            "services.loadbalancers",
                                            NULL };
    const char *wrong = label_key_fault(name);
    if (wrong)
        return wrong;
    if (strchr(name, '/') || is_among(name, standard) || str_has_prefix(name, "hugepages-") ||
        str_has_prefix(name, "requests.hugepages-"))
        return NULL;
    return "must be a standard resource for quota";
}

/* Things that are counted come in whole numbers. */
static bool is_counted(const char *name)
{
    static const char *const measured[] = { "cpu", "memory", "storage", "ephemeral-storage", NULL };
    const char *dot = strrchr(name, '.');
    if (str_has_prefix(name, "count/"))
        return true;
    return !strchr(name, '/') && !is_among(name, measured) && !strstr(name, "hugepages-") &&
           !(dot && is_among(dot + 1, measured));
}

static void check_hard(struct field_errors *v, const struct place *at, const struct json *hard)
{
    struct quantity q, zero = { 0 };
    json_each_member (hard, m) {
        struct place p = place_key(at, m->name);
        struct json name = { .type = JSON_STRING,
                             .len = (uint32_t)strlen(m->name),
                             .string = m->name };
        if (quota_name_fault(m->name))
            fail(v, &p, FIELD_INVALID, &name, quota_name_fault(m->name));
        if (!parse_amount(&m->value, &q))
            continue;
        if (quantity_compare(&q, &zero) < 0)
            fail(v, &p, FIELD_INVALID, &m->value, "must be greater than or equal to 0");
        if (is_counted(m->name) && quantity_milli_value(&q) % 1000)
            fail(v, &p, FIELD_INVALID, &m->value, "must be an integer");
    }
}

static const char *const scope_names[] = { "Terminating",
                                           "NotTerminating",
                                           "BestEffort",
                                           "NotBestEffort",
                                           "PriorityClass",
                                           "CrossNamespacePodAffinity",
                                           "VolumeAttributesClass",
                                           NULL };

static void check_scopes(struct field_errors *v, const struct place *at, const struct json *scopes)
{
    json_each_item (scopes, scope) {
        if (!is_among(json_text(scope), scope_names))
            fail(v, at, FIELD_INVALID, scopes, "unsupported scope");
    }
    if ((json_has_text(scopes, "BestEffort") && json_has_text(scopes, "NotBestEffort")) ||
        (json_has_text(scopes, "Terminating") && json_has_text(scopes, "NotTerminating")))
        fail(v, at, FIELD_INVALID, scopes, "conflicting scopes");
}

/* Upstream leaves the index out of these paths. */
static void check_scope_expressions(struct field_errors *v, const struct place *at,
                                    const struct json *expressions)
{
    static const char *const operators[] = { "In", "NotIn", "Exists", "DoesNotExist", NULL };
    json_each_item (expressions, e) {
        const struct json *scope = json_get(e, "scopeName"), *op = json_get(e, "operator");
        const char *op_text = json_text(op) ? json_text(op) : "";
        bool has_any_operator = str_equal(json_text(scope), "PriorityClass") ||
                                str_equal(json_text(scope), "VolumeAttributesClass");
        bool takes_values = str_equal(op_text, "In") || str_equal(op_text, "NotIn");
        size_t values = json_len(e, "values");
        if (!is_among(json_text(scope), scope_names))
            fail_field(v, at, "scopeName", FIELD_INVALID, scope ? scope : &empty_text,
                       "unsupported scope");
        else if (!has_any_operator && !str_equal(op_text, "Exists"))
            fail_field(v, at, "operator", FIELD_INVALID, op ? op : &empty_text,
                       "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
                       "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                       "ResourceQuotaScopeNotBestEffort or "
                       "ResourceQuotaScopeCrossNamespacePodAffinity");
        if (takes_values && values == 0)
            fail_field(v, at, "values", FIELD_REQUIRED, NULL,
                       "must be at least one value when `operator` is 'In' or 'NotIn' for scope "
                       "selector");
        else if (!takes_values && is_among(op_text, operators) && values > 0)
            fail_field(v, at, "values", FIELD_INVALID, json_get(e, "values"),
                       "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope "
                       "selector");
        if (!is_among(op_text, operators))
            fail_field(v, at, "operator", FIELD_INVALID, op ? op : &empty_text,
                       "not a valid selector operator");
    }
}

const struct rule resource_quota_rules[] = {
    BLOCK("spec.hard", check_hard),
    BLOCK("spec.scopes", check_scopes),
    BLOCK("spec.scopeSelector.matchExpressions", check_scope_expressions),
    IMMUTABLE("spec.scopes"),
    RULES_END,
};

const struct rule resource_quota_status_rules[] = {
    BLOCK("status.hard", check_hard),
    BLOCK("status.used", check_hard),
    RULES_END,
};

/* ---- PodDisruptionBudget ---- */

static void check_budget(struct field_errors *v, const struct place *at, const struct json *spec)
{
    static const char *const names[] = { "minAvailable", "maxUnavailable" };
    if (json_get(spec, names[0]) && json_get(spec, names[1]))
        fail(v, at, FIELD_INVALID, spec, "minAvailable and maxUnavailable cannot be both set");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct json *value = json_get(spec, names[i]);
        struct place p = place_in(at, names[i]);
        validate_int_or_percent(v, &p, value);
        if (json_text(value) && !percent_fault(value->string) && atoi(value->string) > 100)
            fail(v, &p, FIELD_INVALID, value, "must not be greater than 100%");
    }
}

const struct rule disruption_budget_rules[] = {
    BLOCK("spec", check_budget),
    BLOCK("spec.selector", validate_label_selector),
    ONE_OF("spec.unhealthyPodEvictionPolicy", "AlwaysAllow", "IfHealthyBudget"),
    RULES_END,
};

const struct rule disruption_budget_status_rules[] = {
    NOT_NEGATIVE("status.disruptionsAllowed"),
    NOT_NEGATIVE("status.currentHealthy"),
    NOT_NEGATIVE("status.desiredHealthy"),
    NOT_NEGATIVE("status.expectedPods"),
    RULES_END,
};

/* ---- HorizontalPodAutoscaler ---- */

static void check_replica_bounds(struct field_errors *v, const struct place *at,
                                 const struct json *spec)
{
    static const struct json zero = { .type = JSON_INT };
    const struct json *min = json_get(spec, "minReplicas"), *max = json_get(spec, "maxReplicas");
    if (json_is(min, JSON_INT) && min->integer < 1)
        fail_field(v, at, "minReplicas", FIELD_INVALID, min, "must be greater than or equal to 1");
    if (!json_is(max, JSON_INT))
        max = &zero;
    if (max->integer == 0)
        fail_field(v, at, "maxReplicas", FIELD_REQUIRED, NULL, "");
    else if (max->integer < 0)
        fail_field(v, at, "maxReplicas", FIELD_INVALID, max, "must be greater than 0");
    if (json_is(min, JSON_INT) && max->integer < min->integer)
        fail_field(v, at, "maxReplicas", FIELD_INVALID, max,
                   "must be greater than or equal to `minReplicas`");
}

static void check_positive_amount(struct field_errors *v, const struct place *at,
                                  const struct json *amount)
{
    struct quantity q, zero = { 0 };
    if (parse_amount(amount, &q) && quantity_compare(&q, &zero) <= 0)
        fail(v, at, FIELD_INVALID, amount, "must be positive");
}

static const char *target_type_fault(const char *type)
{
    static const char *const known[] = { "Utilization", "Value", "AverageValue", NULL };
    return is_among(type, known) ? NULL : "must be either Utilization, Value, or AverageValue";
}

static const struct rule target_rules[] = {
    REQUIRED_BECAUSE("type", "must specify a metric target type"),
    FORMAT("type", target_type_fault),
    BLOCK("value", check_positive_amount),
    BLOCK("averageValue", check_positive_amount),
    RANGE("averageUtilization", 1, INT64_MAX, "must be greater than 0"),
    RULES_END,
};

static const struct rule named_metric_rules[] = {
    REQUIRED_BECAUSE("metric.name", "must specify a metric name"),
    FORMAT("metric.name", path_segment_fault),
    RULES_END,
};

static const struct rule resource_metric_rules[] = {
    REQUIRED_BECAUSE("name", "must specify a resource name"),
    RULES_END,
};

/* Which of the two amounts a target must have, and whether it may have both. */
static void check_amounts(struct field_errors *v, const struct place *at, const struct json *metric,
                          const char *first, const char *missing, const char *both)
{
    const struct json *target = json_get(metric, "target");
    struct place p = place_in(at, "target");
    bool has_first = first && json_get(target, first),
         has_average = json_get(target, "averageValue");
    const char *reported = str_equal(first, "averageUtilization") ? first : "averageValue";
    if (!has_first && !has_average)
        fail_field(v, &p, reported, FIELD_REQUIRED, NULL, missing);
    else if (both && has_first && has_average)
        fail_field(v, &p, str_equal(first, "value") ? "value" : "averageValue", FIELD_FORBIDDEN,
                   NULL, both);
}

static void check_source(struct field_errors *v, const struct place *at, const char *name,
                         const struct json *source)
{
    struct place target = place_in(at, "target");
    bool is_resource = str_equal(name, "resource") || str_equal(name, "containerResource");
    check_rules(v, at, NULL, source, is_resource ? resource_metric_rules : named_metric_rules);
    if (str_equal(name, "containerResource") && str_empty(json_str(source, "container", "")))
        fail_field(v, at, "container", FIELD_REQUIRED, NULL, "must specify a container");
    check_rules(v, &target, NULL, json_get(source, "target"), target_rules);
    if (is_resource)
        check_amounts(v, at, source, "averageUtilization",
                      "must set either a target raw value or a target utilization",
                      "may not set both a target raw value and a target utilization");
    else if (str_equal(name, "external"))
        check_amounts(v, at, source, "value",
                      "must set either a target value for metric or a per-pod target",
                      "may not set both a target value for metric and a per-pod target");
    else if (str_equal(name, "object"))
        check_amounts(v, at, source, "value", "must set either a target value or averageValue",
                      NULL);
    else
        check_amounts(v, at, source, NULL, "must specify a positive target averageValue", NULL);
}

static void check_metric(struct field_errors *v, const struct place *at, const struct json *metric)
{
    static const struct {
        const char *type, *source;
    } sources[] = {
        { "Object", "object" },     { "Pods", "pods" },
        { "Resource", "resource" }, { "ContainerResource", "containerResource" },
        { "External", "external" },
    };
    const char *type = json_str(metric, "type", "");
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        const struct json *source = json_get(metric, sources[i].source);
        struct place p = place_in(at, sources[i].source);
        bool is_own = str_equal(type, sources[i].type);
        if (source)
            check_source(v, &p, sources[i].source, source);
        if (source && !is_own)
            fail(v, &p, FIELD_FORBIDDEN, NULL, "must populate the given metric source only");
        if (!source && is_own)
            fail(v, &p, FIELD_REQUIRED, NULL,
                 "must populate information for the given metric source");
    }
}

static const struct rule scaling_rules[] = {
    RANGE("stabilizationWindowSeconds", 0, INT64_MAX, "must be greater than or equal to zero"),
    RANGE("stabilizationWindowSeconds", INT64_MIN, 3600, "must be less than or equal to 3600"),
    ONE_OF("selectPolicy", "Disabled", "Max", "Min"),
    REQUIRED_BECAUSE("policies", "must specify at least one Policy"),
    EXACTLY_ONE_OF("policies[*].type", "Percent", "Pods"),
    NUMBER("policies[*].value", 1, INT64_MAX, "must be greater than zero"),
    NUMBER("policies[*].periodSeconds", 1, INT64_MAX, "must be greater than zero"),
    NUMBER("policies[*].periodSeconds", INT64_MIN, 1800, "must be less than or equal to 1800"),
    RULES_END,
};

const struct rule autoscaler_rules[] = {
    BLOCK("spec", check_replica_bounds),
    REQUIRED_FORMAT("spec.scaleTargetRef.kind", path_segment_fault),
    REQUIRED_FORMAT("spec.scaleTargetRef.name", path_segment_fault),
    REQUIRED_ONE_OF("spec.metrics[*].type", "ContainerResource", "External", "Object", "Pods",
                    "Resource"),
    BLOCK("spec.metrics[*]", check_metric),
    RULES("spec.behavior?.scaleUp?", scaling_rules),
    RULES("spec.behavior?.scaleDown?", scaling_rules),
    RULES_END,
};

const struct rule autoscaler_status_rules[] = {
    NOT_NEGATIVE("status.currentReplicas"),
    NOT_NEGATIVE("status.desiredReplicas"),
    RULES_END,
};

/* ---- PriorityClass, RuntimeClass ---- */

static void check_priority(struct field_errors *v, const struct place *at, const struct json *class)
{
    static const struct {
        const char *name;
        int64_t value;
    } systems[] = { { "system-cluster-critical", 2000000000 },
                    { "system-node-critical", 2000001000 } };
    const char *name = json_str(class, "metadata.name", "");
    struct place metadata = place_in(at, "metadata");
    int64_t value = json_int(class, "value", 0);
    if (!str_has_prefix(name, SYSTEM_PREFIX)) {
        if (value > USER_PRIORITY_MAX)
            fail_field(v, at, "value", FIELD_FORBIDDEN, NULL,
                       "maximum allowed value of a user defined priority is 1000000000");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(systems); i++) {
        if (str_equal(name, systems[i].name) && value == systems[i].value)
            return;
    }
    char detail[512];
    snprintf(detail, sizeof(detail),
             "priority class names with '" SYSTEM_PREFIX "' prefix are reserved for system use "
             "only. error: %.253s is not a known system priority class",
             name);
    fail_field(v, &metadata, "name", FIELD_FORBIDDEN, NULL, detail);
}

static void check_priority_kept(struct field_errors *v, const struct place *at,
                                const struct json *old, const struct json *new)
{
    if (json_int(old, "value", 0) != json_int(new, "value", 0))
        fail_field(v, at, "value", FIELD_FORBIDDEN, NULL, "may not be changed in an update.");
}

const struct rule priority_class_rules[] = {
    BLOCK("", check_priority),
    ONE_OF("preemptionPolicy", "Never", "PreemptLowerPriority"),
    UPDATE("", check_priority_kept),
    IMMUTABLE("preemptionPolicy"),
    RULES_END,
};

static void check_overhead(struct field_errors *v, const struct place *at, const struct json *fixed)
{
    struct json_member limits = { .name = "limits" };
    struct json wanted = { .type = JSON_OBJECT, .len = 1, .members = &limits };
    if (fixed) {
        limits.value = *fixed;
        validate_resources(v, at, &wanted);
    }
}

const struct rule runtime_class_rules[] = {
    REQUIRED_FORMAT("handler", dns_label_fault),
    BLOCK("overhead.podFixed", check_overhead),
    BLOCK("scheduling.nodeSelector", validate_labels),
    BLOCK("scheduling.tolerations", validate_tolerations),
    UNIQUE("scheduling.tolerations", ""),
    IMMUTABLE("handler"),
    RULES_END,
};
