/* SPDX-License-Identifier: Apache-2.0 */
/* validate.c - places, single fields, and the shared blocks of rules. */

#include "apiserver/validate.h"

#include "api/quantity.h"
#include "api/selector.h"
#include "apiserver/formats.h"

#define ANNOTATIONS_BYTES_MAX (256 * 1024)
#define VALUES_MAX            32 /* of an enumeration */

static void print_place(const struct place *p, struct buffer *out)
{
    if (p->parent)
        print_place(p->parent, out);
    if (p->name)
        buffer_printf(out, "%s%.*s", out->len ? "." : "",
                      (int)(p->name_len ? p->name_len : strlen(p->name)), p->name);
    else if (p->key)
        buffer_printf(out, "[%s]", p->key);
    else
        buffer_printf(out, "[%zu]", p->index);
}

void fail(struct field_errors *v, const struct place *at, enum field_error_type type,
          const struct json *value, const char *detail)
{
    scoped(buffer) struct buffer path = { 0 };
    if (at)
        print_place(at, &path);
    field_error_add(v, type, path.data ? path.data : "", value, detail);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void fail_not_supported(struct field_errors *v, const struct place *at, const struct json *value,
                        const char *const *values)
{
    scoped(buffer) struct buffer path = { 0 };
    const char *sorted[VALUES_MAX + 1];
    size_t n = 0;
    while (n < VALUES_MAX && values[n]) {
        sorted[n] = values[n];
        n++;
    }
    sorted[n] = NULL;
    qsort(sorted, n, sizeof(*sorted), compare_texts);
    print_place(at, &path);
    field_error_not_supported(v, path.data, value, sorted);
}

void fail_field(struct field_errors *v, const struct place *at, const char *name,
                enum field_error_type type, const struct json *value, const char *detail)
{
    struct place p = place_in(at, name);
    fail(v, &p, type, value, detail);
}

/* ---- one field ---- */

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

void check_required(struct field_errors *v, const struct place *at, const struct json *object,
                    const char *name)
{
    if (str_empty(json_text(json_get(object, name))))
        fail_field(v, at, name, FIELD_REQUIRED, NULL, "");
}

void check_format(struct field_errors *v, const struct place *at, const struct json *object,
                  const char *name, const char *(*fault)(const char *))
{
    const struct json *value = json_get(object, name);
    const char *text = json_text(value);
    const char *wrong = str_empty(text) ? NULL : fault(text);
    if (wrong)
        fail_field(v, at, name, FIELD_INVALID, value, wrong);
}

void check_required_format(struct field_errors *v, const struct place *at,
                           const struct json *object, const char *name,
                           const char *(*fault)(const char *))
{
    check_required(v, at, object, name);
    check_format(v, at, object, name, fault);
}

static bool is_one_of(const char *text, const char *const *values)
{
    for (; *values; values++) {
        if (str_equal(text, *values))
            return true;
    }
    return false;
}

void check_one_of(struct field_errors *v, const struct place *at, const struct json *object,
                  const char *name, const char *const *values, bool is_required)
{
    const struct json *value = json_get(object, name);
    const char *text = json_text(value);
    struct place p = place_in(at, name);
    if (str_empty(text)) {
        if (is_required)
            fail(v, &p, FIELD_REQUIRED, NULL, "");
    } else if (!is_one_of(text, values)) {
        fail_not_supported(v, &p, value, values);
    }
}

void check_not_negative(struct field_errors *v, const struct place *at, const struct json *object,
                        const char *name)
{
    const struct json *value = json_get(object, name);
    if (json_is(value, JSON_INT) && value->integer < 0)
        fail_field(v, at, name, FIELD_INVALID, value, "must be greater than or equal to 0");
}

void check_positive(struct field_errors *v, const struct place *at, const struct json *object,
                    const char *name)
{
    const struct json *value = json_get(object, name);
    if (json_is(value, JSON_INT) && value->integer <= 0)
        fail_field(v, at, name, FIELD_INVALID, value, "must be greater than 0");
}

void check_port(struct field_errors *v, const struct place *at, const struct json *object,
                const char *name, bool is_required)
{
    const struct json *value = json_get(object, name);
    int64_t number = json_is(value, JSON_INT) ? value->integer : 0;
    if (number == 0 && is_required)
        fail_field(v, at, name, FIELD_REQUIRED, NULL, "");
    else if (number != 0 && port_number_fault(number))
        fail_field(v, at, name, FIELD_INVALID, value, port_number_fault(number));
}

void check_immutable(struct field_errors *v, const struct place *at, const struct json *old,
                     const struct json *new, const char *name)
{
    static const struct json null = { .type = JSON_NULL };
    const struct json *had = json_get(old, name), *has = json_get(new, name);
    if (had && has ? !json_equal(had, has) : had != has)
        fail_field(v, at, name, FIELD_INVALID, has ? has : &null, "field is immutable");
}

/* ---- labels ---- */

static struct json text_value(const char *s)
{
    return (struct json){ .type = JSON_STRING, .len = (uint32_t)strlen(s), .string = s };
}

static void fail_each(struct field_errors *v, const struct place *at, const struct json *value,
                      const char *const *faults, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fail(v, at, FIELD_INVALID, value, faults[i]);
}

static void check_label_key(struct field_errors *v, const struct place *at, const char *key)
{
    const char *faults[LABEL_FAULTS_MAX];
    struct json shown = text_value(key);
    fail_each(v, at, &shown, faults, label_key_faults(key, faults));
}

static void check_label_value(struct field_errors *v, const struct place *at,
                              const struct json *value)
{
    const char *faults[LABEL_FAULTS_MAX], *text = json_text(value);
    if (text)
        fail_each(v, at, value, faults, label_value_faults(text, faults));
}

void validate_labels(struct field_errors *v, const struct place *at, const struct json *labels)
{
    json_each_member (labels, m) {
        check_label_key(v, at, m->name);
        check_label_value(v, at, &m->value);
    }
}

void validate_annotations(struct field_errors *v, const struct place *at,
                          const struct json *annotations)
{
    size_t bytes = 0;
    json_each_member (annotations, m) {
        const char *wrong = lower_label_key_fault(m->name);
        struct json shown = text_value(m->name);
        if (wrong)
            fail(v, at, FIELD_INVALID, &shown, wrong);
        bytes += shown.len + m->value.len;
    }
    if (bytes > ANNOTATIONS_BYTES_MAX)
        fail(v, at, FIELD_TOO_LONG, NULL, "may not be more than 262144 bytes");
}

static void validate_requirement(struct field_errors *v, const struct place *at,
                                 const struct json *e)
{
    const char *op = json_str(e, "operator", "");
    bool takes_values = str_equal(op, "In") || str_equal(op, "NotIn");
    size_t values = json_len(e, "values");
    if (takes_values && values == 0)
        fail_field(v, at, "values", FIELD_REQUIRED, NULL,
                   "must be specified when `operator` is 'In' or 'NotIn'");
    else if (!takes_values && (str_equal(op, "Exists") || str_equal(op, "DoesNotExist"))) {
        if (values > 0)
            fail_field(v, at, "values", FIELD_FORBIDDEN, NULL,
                       "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (!takes_values) {
        const struct json *value = json_get(e, "operator");
        fail_field(v, at, "operator", FIELD_INVALID, value ? value : &empty_text,
                   "not a valid selector operator");
    }
    struct place list = place_in(at, "values"), key = place_in(at, "key");
    check_label_key(v, &key, json_str(e, "key", ""));
    size_t i = 0;
    json_each_item (json_get(e, "values"), value) {
        struct place p = place_item(&list, i++);
        check_label_value(v, &p, value);
    }
}

void validate_label_selector(struct field_errors *v, const struct place *at,
                             const struct json *selector)
{
    struct place labels = place_in(at, "matchLabels"),
                 expressions = place_in(at, "matchExpressions");
    validate_labels(v, &labels, json_get(selector, "matchLabels"));
    size_t i = 0;
    json_each_item (json_get(selector, "matchExpressions"), e) {
        struct place p = place_item(&expressions, i++);
        validate_requirement(v, &p, e);
    }
}

bool selects_template(const struct json *selector, const struct json *template)
{
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    const struct selector *s = selector_from_json(selector, a, &err);
    return s && selector_matches(s, json_at(template, "metadata.labels"));
}

/* ---- resources ---- */

static bool is_standard_resource(const char *name)
{
    static const char *const names[] = { "cpu", "memory", "ephemeral-storage", NULL };
    return is_one_of(name, names) || str_has_prefix(name, "hugepages-");
}

/* Extended resources and huge pages: what is asked for is what there is. */
static bool may_overcommit(const char *name)
{
    return !str_has_prefix(name, "hugepages-") &&
           (!strchr(name, '/') || strstr(name, "kubernetes.io/"));
}

static void validate_amount(struct field_errors *v, const struct place *at, const char *name,
                            const struct json *value)
{
    struct quantity q, zero = { 0 };
    struct json shown = text_value(name);
    if (label_key_fault(name))
        fail(v, at, FIELD_INVALID, &shown, label_key_fault(name));
    else if (!strchr(name, '/') && !is_standard_resource(name)) {
        fail(v, at, FIELD_INVALID, &shown, "must be a standard resource type or fully qualified");
        fail(v, at, FIELD_INVALID, &shown, "must be a standard resource for containers");
    }
    if (!json_text(value) || quantity_parse(json_text(value), &q) < 0)
        return;
    if (quantity_compare(&q, &zero) < 0)
        fail(v, at, FIELD_INVALID, value, "must be greater than or equal to 0");
    else if (strchr(name, '/') && !strstr(name, "kubernetes.io/") &&
             quantity_milli_value(&q) % 1000)
        fail(v, at, FIELD_INVALID, value, "must be an integer");
}

static void compare_to_limit(struct field_errors *v, const struct place *requests, const char *name,
                             const struct json *request, const struct json *limit)
{
    struct quantity r, l;
    char detail[256];
    if (!json_text(request) || !json_text(limit) || quantity_parse(request->string, &r) < 0 ||
        quantity_parse(limit->string, &l) < 0)
        return;
    if (!may_overcommit(name) && quantity_compare(&r, &l) != 0) {
        snprintf(detail, sizeof(detail), "must be equal to %s limit of %s", name, limit->string);
        fail(v, requests, FIELD_INVALID, request, detail);
    } else if (quantity_compare(&r, &l) > 0) {
        snprintf(detail, sizeof(detail), "must be less than or equal to %s limit of %s", name,
                 limit->string);
        fail(v, requests, FIELD_INVALID, request, detail);
    }
}

void validate_resources(struct field_errors *v, const struct place *at, const struct json *wanted)
{
    struct place limits = place_in(at, "limits"), requests = place_in(at, "requests");
    const struct json *limit_map = json_get(wanted, "limits");
    json_each_member (limit_map, m) {
        struct place p = place_key(&limits, m->name);
        validate_amount(v, &p, m->name, &m->value);
    }
    json_each_member (json_get(wanted, "requests"), m) {
        struct place p = place_key(&requests, m->name);
        const struct json *limit = json_get(limit_map, m->name);
        validate_amount(v, &p, m->name, &m->value);
        if (limit)
            compare_to_limit(v, &requests, m->name, &m->value, limit);
        else if (!may_overcommit(m->name))
            fail(v, &limits, FIELD_REQUIRED, NULL,
                 "Limit must be set for non overcommitable resources");
    }
}

/* ---- nodes: tolerations, taints, affinity ---- */

static const char *const effects[] = { "NoSchedule", "PreferNoSchedule", "NoExecute", NULL };

void validate_tolerations(struct field_errors *v, const struct place *at,
                          const struct json *tolerations)
{
    static const char *const operators[] = { "Equal", "Exists", NULL };
    size_t i = 0;
    json_each_item (tolerations, t) {
        struct place p = place_item(at, i++);
        const char *op = json_str(t, "operator", "");
        const struct json *shown = json_get(t, "operator");
        check_format(v, &p, t, "key", label_key_fault);
        if (str_empty(json_str(t, "key", "")) && !str_equal(op, "Exists"))
            fail_field(
                v, &p, "operator", FIELD_INVALID, shown ? shown : &empty_text,
                "operator must be Exists when `key` is empty, which means \"match all values and "
                "all keys\"");
        if (json_get(t, "tolerationSeconds") &&
            !str_equal(json_str(t, "effect", ""), "NoExecute")) {
            const struct json *effect = json_get(t, "effect");
            fail_field(v, &p, "effect", FIELD_INVALID, effect ? effect : &empty_text,
                       "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        /* Upstream reports a bad value under the operator. */
        struct place operator_at = place_in(&p, "operator");
        if (str_equal(op, "Exists") && !str_empty(json_str(t, "value", "")))
            fail(v, &operator_at, FIELD_INVALID, t,
                 "value must be empty when `operator` is 'Exists'");
        else if (!str_equal(op, "Exists"))
            check_label_value(v, &operator_at, json_get(t, "value"));
        check_one_of(v, &p, t, "operator", operators, false);
        check_one_of(v, &p, t, "effect", effects, false);
    }
}

void validate_taints(struct field_errors *v, const struct place *at, const struct json *taints)
{
    size_t i = 0;
    json_each_item (taints, t) {
        struct place p = place_item(at, i);
        check_required_format(v, &p, t, "key", label_key_fault);
        check_format(v, &p, t, "value", label_value_fault);
        check_one_of(v, &p, t, "effect", effects, true);
        size_t k = 0;
        json_each_item (taints, other) {
            if (k++ == i)
                break;
            if (str_equal(json_str(t, "key", ""), json_str(other, "key", "")) &&
                str_equal(json_str(t, "effect", ""), json_str(other, "effect", "")))
                fail(v, &p, FIELD_DUPLICATE, t, "taints must be unique by key and effect pair");
        }
        i++;
    }
}

static void validate_node_requirement(struct field_errors *v, const struct place *at,
                                      const struct json *e)
{
    const char *op = json_str(e, "operator", "");
    size_t values = json_len(e, "values"), i = 0;
    const struct json *shown = json_get(e, "operator");
    struct place key = place_in(at, "key"), list = place_in(at, "values");
    if (str_equal(op, "In") || str_equal(op, "NotIn")) {
        if (values == 0)
            fail(v, &list, FIELD_REQUIRED, NULL,
                 "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (str_equal(op, "Exists") || str_equal(op, "DoesNotExist")) {
        if (values > 0)
            fail(v, &list, FIELD_FORBIDDEN, NULL,
                 "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (str_equal(op, "Gt") || str_equal(op, "Lt")) {
        if (values != 1)
            fail(v, &list, FIELD_REQUIRED, NULL,
                 "must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else {
        fail_field(v, at, "operator", FIELD_INVALID, shown ? shown : &empty_text,
                   "not a valid selector operator");
    }
    check_label_key(v, &key, json_str(e, "key", ""));
    json_each_item (json_get(e, "values"), value) {
        struct place p = place_item(&list, i++);
        check_label_value(v, &p, value);
    }
}

static void validate_field_requirement(struct field_errors *v, const struct place *at,
                                       const struct json *e)
{
    const struct json *op = json_get(e, "operator"), *key = json_get(e, "key");
    struct place list = place_in(at, "values");
    size_t i = 0;
    if (!str_equal(json_text(op), "In") && !str_equal(json_text(op), "NotIn"))
        fail_field(v, at, "operator", FIELD_INVALID, op ? op : &empty_text,
                   "not a valid selector operator");
    else if (json_len(e, "values") != 1)
        fail(v, &list, FIELD_REQUIRED, NULL,
             "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
    if (!str_equal(json_text(key), "metadata.name")) {
        fail_field(v, at, "key", FIELD_INVALID, key ? key : &empty_text,
                   "not a valid field selector key");
        return;
    }
    json_each_item (json_get(e, "values"), value) {
        struct place p = place_item(&list, i++);
        if (json_text(value) && dns_subdomain_fault(json_text(value)))
            fail(v, &p, FIELD_INVALID, value, dns_subdomain_fault(json_text(value)));
    }
}

static void validate_node_term(struct field_errors *v, const struct place *at,
                               const struct json *term)
{
    struct place expressions = place_in(at, "matchExpressions"),
                 fields = place_in(at, "matchFields");
    size_t i = 0;
    json_each_item (json_get(term, "matchExpressions"), e) {
        struct place p = place_item(&expressions, i++);
        validate_node_requirement(v, &p, e);
    }
    i = 0;
    json_each_item (json_get(term, "matchFields"), f) {
        struct place p = place_item(&fields, i++);
        validate_field_requirement(v, &p, f);
    }
}

void validate_node_selector(struct field_errors *v, const struct place *at,
                            const struct json *selector)
{
    struct place terms = place_in(at, "nodeSelectorTerms");
    if (!selector)
        return;
    if (json_len(selector, "nodeSelectorTerms") == 0)
        fail(v, &terms, FIELD_REQUIRED, NULL, "must have at least one node selector term");
    size_t i = 0;
    json_each_item (json_get(selector, "nodeSelectorTerms"), term) {
        struct place p = place_item(&terms, i++);
        validate_node_term(v, &p, term);
    }
}

static void check_weight(struct field_errors *v, const struct place *at,
                         const struct json *weighted)
{
    const struct json *weight = json_get(weighted, "weight");
    int64_t number = json_is(weight, JSON_INT) ? weight->integer : 0;
    static const struct json zero = { .type = JSON_INT };
    if (number < 1 || number > 100)
        fail_field(v, at, "weight", FIELD_INVALID, weight ? weight : &zero,
                   "must be in the range 1-100");
}

static void validate_pod_term(struct field_errors *v, const struct place *at,
                              const struct json *term)
{
    struct place selector = place_in(at, "labelSelector"),
                 spaces = place_in(at, "namespaceSelector"), names = place_in(at, "namespaces");
    validate_label_selector(v, &selector, json_get(term, "labelSelector"));
    validate_label_selector(v, &spaces, json_get(term, "namespaceSelector"));
    size_t i = 0;
    json_each_item (json_get(term, "namespaces"), ns) {
        struct place p = place_item(&names, i++);
        const char *wrong = dns_label_fault(json_text(ns) ? json_text(ns) : "");
        if (wrong)
            fail(v, &p, FIELD_INVALID, ns, wrong);
    }
    const struct json *key = json_get(term, "topologyKey");
    if (str_empty(json_text(key)))
        fail_field(v, at, "topologyKey", FIELD_REQUIRED, NULL, "can not be empty");
    else if (label_key_fault(json_text(key)))
        fail_field(v, at, "topologyKey", FIELD_INVALID, key, label_key_fault(json_text(key)));
}

static void validate_pod_affinity(struct field_errors *v, const struct place *at,
                                  const struct json *affinity)
{
    struct place required = place_in(at, "requiredDuringSchedulingIgnoredDuringExecution"),
                 preferred = place_in(at, "preferredDuringSchedulingIgnoredDuringExecution");
    size_t i = 0;
    json_each_item (json_get(affinity, required.name), term) {
        struct place p = place_item(&required, i++);
        validate_pod_term(v, &p, term);
    }
    i = 0;
    json_each_item (json_get(affinity, preferred.name), weighted) {
        struct place p = place_item(&preferred, i++), term = place_in(&p, "podAffinityTerm");
        check_weight(v, &p, weighted);
        validate_pod_term(v, &term, json_get(weighted, "podAffinityTerm"));
    }
}

void validate_affinity(struct field_errors *v, const struct place *at, const struct json *affinity)
{
    const struct json *node = json_get(affinity, "nodeAffinity");
    struct place node_at = place_in(at, "nodeAffinity"), pod_at = place_in(at, "podAffinity"),
                 anti_at = place_in(at, "podAntiAffinity");
    struct place required = place_in(&node_at, "requiredDuringSchedulingIgnoredDuringExecution"),
                 preferred = place_in(&node_at, "preferredDuringSchedulingIgnoredDuringExecution");
    validate_node_selector(v, &required, json_get(node, required.name));
    size_t i = 0;
    json_each_item (json_get(node, preferred.name), weighted) {
        struct place p = place_item(&preferred, i++), term = place_in(&p, "preference");
        check_weight(v, &p, weighted);
        validate_node_term(v, &term, json_get(weighted, "preference"));
    }
    validate_pod_affinity(v, &pod_at, json_get(affinity, "podAffinity"));
    validate_pod_affinity(v, &anti_at, json_get(affinity, "podAntiAffinity"));
}

void validate_int_or_percent(struct field_errors *v, const struct place *at,
                             const struct json *value)
{
    if (json_is(value, JSON_INT) && value->integer < 0)
        fail(v, at, FIELD_INVALID, value, "must be greater than or equal to 0");
    else if (json_is(value, JSON_STRING) && percent_fault(value->string))
        fail(v, at, FIELD_INVALID, value, "must be an integer or percentage (e.g '5%')");
}
