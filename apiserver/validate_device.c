/* SPDX-License-Identifier: Apache-2.0 */
/* validate_device.c - dynamic resource allocation: classes, claims, slices. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define LISTS_MAX 32

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

static const struct rule selector_rules[] = {
    REQUIRED("cel"),
    BYTES_MAX("cel?.expression", 10240),
    RULES_END,
};

static const struct rule config_rules[] = {
    REQUIRED("opaque"),
    REQUIRED("opaque?.driver"),
    BYTES_MAX("opaque?.driver", 63),
    FORMAT("opaque?.driver", driver_name_fault),
    REQUIRED("opaque?.parameters"),
    RULES_END,
};

const struct rule device_class_rules[] = {
    ITEMS_MAX("spec.selectors", LISTS_MAX),
    RULES("spec.selectors[*]", selector_rules),
    ITEMS_MAX("spec.config", LISTS_MAX),
    RULES("spec.config[*]", config_rules),
    FORMAT("spec.extendedResourceName", label_key_fault),
    RULES_END,
};

/* ---- claims ---- */

static void check_count(struct field_errors *v, const struct place *at, const struct json *request)
{
    static const struct json zero = { .type = JSON_INT };
    const char *mode = json_str(request, "allocationMode", "");
    const struct json *count = json_get(request, "count");
    int64_t n = json_is(count, JSON_INT) ? count->integer : 0;
    if (str_equal(mode, "All") && n != 0)
        fail_field(v, at, "count", FIELD_INVALID, count,
                   "must not be specified when allocationMode is 'All'");
    if (str_equal(mode, "ExactCount") && n <= 0)
        fail_field(v, at, "count", FIELD_INVALID, count ? count : &zero,
                   "must be greater than zero");
}

static const struct rule request_rules[] = {
    REQUIRED_FORMAT("deviceClassName", dns_subdomain_fault),
    ITEMS_MAX("selectors", LISTS_MAX),
    RULES("selectors[*]", selector_rules),
    ONE_OF("allocationMode", "All", "ExactCount"),
    BLOCK("", check_count),
    FORMAT("tolerations[*].key", label_key_fault),
    REQUIRED_ONE_OF("tolerations[*].operator", "Equal", "Exists"),
    ONE_OF("tolerations[*].effect", "NoExecute", "NoSchedule", "None"),
    RULES_END,
};

static const struct rule named_request_rules[] = {
    REQUIRED_FORMAT("name", dns_label_fault),
    RULES("", request_rules),
    RULES_END,
};

static void check_request_kind(struct field_errors *v, const struct place *at,
                               const struct json *request)
{
    bool has_exact = json_get(request, "exactly");
    bool has_choice = json_len(request, "firstAvailable") > 0;
    if (!has_exact && !has_choice)
        fail(v, at, FIELD_REQUIRED, NULL,
             "exactly one of `exactly` or `firstAvailable` is required");
    else if (has_exact && has_choice)
        fail(v, at, FIELD_INVALID, request,
             "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are "
             "set");
}

static const struct rule claim_request_rules[] = {
    REQUIRED_FORMAT("name", dns_label_fault),
    BLOCK("", check_request_kind),
    RULES("exactly?", request_rules),
    ITEMS_MAX("firstAvailable", 8),
    UNIQUE("firstAvailable", "name"),
    RULES("firstAvailable[*]", named_request_rules),
    RULES_END,
};

static bool is_request(const struct json *requests, const char *name)
{
    const char *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : strlen(name);
    json_each_item (requests, request) {
        const char *own = json_str(request, "name", "");
        if (strlen(own) != n || strncmp(own, name, n) != 0)
            continue;
        if (!slash)
            return true;
        json_each_item (json_get(request, "firstAvailable"), choice) {
            if (str_equal(json_str(choice, "name", ""), slash + 1))
                return true;
        }
    }
    return false;
}

static void check_references(struct field_errors *v, const struct place *at,
                             const struct json *devices)
{
    static const char *const lists[] = { "constraints", "config" };
    const struct json *requests = json_get(devices, "requests");
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        struct place list = place_in(at, lists[l]);
        size_t i = 0;
        json_each_item (json_get(devices, lists[l]), entry) {
            struct place p = place_item(&list, i++), names = place_in(&p, "requests");
            size_t k = 0;
            json_each_item (json_get(entry, "requests"), name) {
                struct place one = place_item(&names, k++);
                if (json_text(name) && !is_request(requests, name->string))
                    fail(v, &one, FIELD_INVALID, name,
                         "must be the name of a request in the claim or the name of a request and "
                         "a subrequest separated by '/'");
            }
        }
    }
}

static const struct rule devices_rules[] = {
    ITEMS_MAX("requests", LISTS_MAX),
    UNIQUE("requests", "name"),
    RULES("requests[*]", claim_request_rules),
    ITEMS_MAX("constraints", LISTS_MAX),
    UNIQUE("constraints[*].requests", ""),
    FORMAT("constraints[*].matchAttribute", label_key_fault),
    ITEMS_MAX("config", LISTS_MAX),
    UNIQUE("config[*].requests", ""),
    BLOCK("", check_references),
    RULES("config[*]", config_rules),
    RULES_END,
};

const struct rule resource_claim_rules[] = {
    RULES("spec.devices", devices_rules),
    IMMUTABLE("spec"),
    RULES_END,
};

const struct rule resource_claim_template_rules[] = {
    BLOCK("spec.metadata.labels", validate_labels),
    BLOCK("spec.metadata.annotations", validate_annotations),
    RULES("spec.spec.devices", devices_rules),
    IMMUTABLE("spec"),
    RULES_END,
};

/* ---- slices ---- */

static const char *pool_name_fault(const char *name)
{
    for (const char *s = name; s;) {
        size_t n = strcspn(s, "/");
        if (!is_dns_subdomain((struct bytes){ s, n }))
            return DNS_SUBDOMAIN_FAULT;
        s = s[n] ? s + n + 1 : NULL;
    }
    return NULL;
}

static void check_slice_nodes(struct field_errors *v, const struct place *at,
                              const struct json *spec)
{
    static const char *const fields[] = { "nodeName", "nodeSelector", "allNodes",
                                          "perDeviceNodeSelection" };
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *value = json_get(spec, fields[i]);
        if (json_is(value, JSON_BOOL) && !value->boolean)
            fail_field(v, at, fields[i], FIELD_INVALID, value,
                       "must be either unset or set to true");
        n += value != NULL;
    }
    const struct json *name = json_get(spec, "nodeName");
    if (name && str_empty(json_text(name)))
        fail_field(v, at, "nodeName", FIELD_INVALID, &empty_text, "must not be empty");
    if (n == 0)
        fail(v, at, FIELD_REQUIRED, NULL,
             "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is "
             "required");
    else if (n > 1)
        fail(v, at, FIELD_INVALID, spec,
             "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is "
             "required, but multiple fields are set");
}

static const struct rule device_rules[] = {
    REQUIRED_FORMAT("name", dns_label_fault),
    ITEMS_MAX("taints", 16),
    FORMAT("taints[*].key", label_key_fault),
    FORMAT("taints[*].value", label_value_fault),
    REQUIRED_ONE_OF("taints[*].effect", "NoExecute", "NoSchedule", "None"),
    ITEMS_MAX("consumesCounters", 2),
    UNIQUE("consumesCounters", "counterSet"),
    REQUIRED_FORMAT("consumesCounters[*].counterSet", dns_label_fault),
    REQUIRED("consumesCounters[*].counters"),
    RULES_END,
};

const struct rule resource_slice_rules[] = {
    REQUIRED("spec.driver"),
    BYTES_MAX("spec.driver", 63),
    FORMAT("spec.driver", driver_name_fault),
    REQUIRED("spec.pool.name"),
    BYTES_MAX("spec.pool.name", 253),
    FORMAT("spec.pool.name", pool_name_fault),
    NUMBER("spec.pool.resourceSliceCount", 1, INT64_MAX, "must be greater than zero"),
    NOT_NEGATIVE("spec.pool.generation"),
    FORMAT("spec.nodeName", dns_subdomain_fault),
    BLOCK("spec.nodeSelector?", validate_node_selector),
    BLOCK("spec", check_slice_nodes),
    ITEMS_MAX("spec.devices", 128),
    UNIQUE("spec.devices", "name"),
    RULES("spec.devices[*]", device_rules),
    ITEMS_MAX("spec.sharedCounters", 8),
    UNIQUE("spec.sharedCounters", "name"),
    REQUIRED_FORMAT("spec.sharedCounters[*].name", dns_label_fault),
    REQUIRED("spec.sharedCounters[*].counters"),
    IMMUTABLE("spec.driver"),
    IMMUTABLE("spec.pool.name"),
    IMMUTABLE("spec.nodeName"),
    RULES_END,
};
