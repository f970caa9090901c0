/* SPDX-License-Identifier: Apache-2.0 */
/* validate_admission.c - webhooks and admission policies.  Expressions are not compiled here. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define URL_FORM "; desired format: https://host[/path]"

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

static bool is_blank(const struct json *value)
{
    const char *text = json_text(value) ? json_text(value) : "";
    return !text[strspn(text, " \t\r\n\v\f")];
}

/* ---- rules of what is sent to a webhook or policy ---- */

static void check_wildcard(struct field_errors *v, const struct place *at, const struct json *rule,
                           const char *field, const char *detail)
{
    const struct json *list = json_get(rule, field);
    if (json_has_text(list, "*") && list->len > 1)
        fail_field(v, at, field, FIELD_INVALID, list, detail);
}

static void check_resource_names(struct field_errors *v, const struct place *at,
                                 const struct json *list)
{
    size_t i = 0;
    bool has_bare_star = json_has_text(list, "*");
    if (json_has_text(list, "*/*") && list->len > 1)
        fail(v, at, FIELD_INVALID, list, "if '*/*' is present, must not specify other resources");
    json_each_item (list, item) {
        const char *text = json_text(item) ? json_text(item) : "", *slash = strchr(text, '/');
        struct place p = place_item(at, i++);
        if (!*text)
            fail(v, &p, FIELD_REQUIRED, NULL, "");
        if (has_bare_star && !slash && strcmp(text, "*") != 0) {
            fail(v, at, FIELD_INVALID, list,
                 "if '*' is present, must not specify other resources without subresources");
            return;
        }
        char all[256], detail[600];
        if (!slash || strcmp(text, "*/*") == 0)
            continue;
        snprintf(all, sizeof(all), "%.*s/*", (int)(slash - text < 200 ? slash - text : 200), text);
        if (strcmp(all, text) == 0 || !json_has_text(list, all))
            snprintf(all, sizeof(all), "*/%.200s", slash + 1);
        if (strcmp(all, text) == 0 || !json_has_text(list, all))
            continue;
        snprintf(detail, sizeof(detail), "if '%s' is present, must not specify %.200s", all, text);
        fail(v, &p, FIELD_INVALID, item, detail);
    }
}

static void check_wildcards(struct field_errors *v, const struct place *at, const struct json *rule)
{
    check_wildcard(v, at, rule, "operations",
                   "if '*' is present, must not specify other operations");
    check_wildcard(v, at, rule, "apiGroups",
                   "if '*' is present, must not specify other API groups");
    check_wildcard(v, at, rule, "apiVersions",
                   "if '*' is present, must not specify other API versions");
}

static const struct rule operation_rules[] = {
    REQUIRED("operations"),
    EXACTLY_ONE_OF("operations[*]", "*", "CONNECT", "CREATE", "DELETE", "UPDATE"),
    REQUIRED("apiGroups"),
    REQUIRED("apiVersions"),
    REQUIRED("apiVersions[*]"),
    BLOCK("", check_wildcards),
    REQUIRED("resources"),
    BLOCK("resources", check_resource_names),
    ONE_OF("scope", "*", "Cluster", "Namespaced"),
    FORMAT("resourceNames[*]", path_segment_fault),
    UNIQUE("resourceNames", ""),
    RULES_END,
};

static const struct rule match_condition_rules[] = {
    REQUIRED_FORMAT("name", label_key_fault),
    REQUIRED("expression"),
    RULES_END,
};

/* ---- webhooks ---- */

/* scheme://[user@]host[/path][?query][#fragment] */
static void check_url(struct field_errors *v, const struct place *at, const struct json *url)
{
    const char *text = json_text(url) ? json_text(url) : "";
    const char *host = strstr(text, "://");
    struct json scheme = { .type = JSON_STRING,
                           .len = host ? (uint32_t)(host - text) : 0,
                           .string = text };
    host = host ? host + strlen("://") : text;
    size_t host_len = strcspn(host, "/?#");
    if (scheme.len != strlen("https") || strncmp(text, "https", scheme.len) != 0)
        fail(v, at, FIELD_INVALID, &scheme, "'https' is the only allowed URL scheme" URL_FORM);
    if (host_len == 0 || scheme.len == 0)
        fail(v, at, FIELD_INVALID, &empty_text, "host must be specified" URL_FORM);
    if (memchr(host, '@', host_len))
        fail(v, at, FIELD_INVALID, url, "user information is not permitted in the URL" URL_FORM);
    if (strchr(host, '#'))
        fail(v, at, FIELD_INVALID, url, "fragments are not permitted in the URL" URL_FORM);
    if (strchr(host, '?'))
        fail(v, at, FIELD_INVALID, url, "query parameters are not permitted in the URL" URL_FORM);
}

static void check_service_path(struct field_errors *v, const struct place *at,
                               const struct json *path)
{
    const char *text = json_text(path);
    char detail[512];
    if (str_empty(text) || strcmp(text, "/") == 0 || strcmp(text, "//") == 0)
        return;
    if (*text != '/') {
        fail(v, at, FIELD_INVALID, path, "must start with a '/'");
        return;
    }
    size_t i = 0;
    for (const char *s = text + 1; s; i++) {
        size_t n = strcspn(s, "/");
        bool is_last = !s[n];
        if (n == 0 && !is_last) {
            snprintf(detail, sizeof(detail), "segment[%zu] may not be empty", i);
            fail(v, at, FIELD_INVALID, path, detail);
        } else if (n > 0 && !is_dns_subdomain((struct bytes){ s, n })) {
            snprintf(detail, sizeof(detail), "segment[%zu]: %s", i, DNS_SUBDOMAIN_FAULT);
            fail(v, at, FIELD_INVALID, path, detail);
        }
        s = is_last ? NULL : s + n + 1;
    }
}

static const struct rule client_service_rules[] = {
    REQUIRED_BECAUSE("name", "service name is required"),
    REQUIRED_BECAUSE("namespace", "service namespace is required"),
    RANGE("port", 1, 65535, "port is not valid: must be between 1 and 65535, inclusive"),
    BLOCK("path", check_service_path),
    RULES_END,
};

static void check_client(struct field_errors *v, const struct place *at, const struct json *client)
{
    const struct json *url = json_get(client, "url"), *service = json_get(client, "service");
    struct place url_at = place_in(at, "url"), service_at = place_in(at, "service");
    if (!url == !service)
        fail(v, at, FIELD_REQUIRED, NULL, "exactly one of url or service is required");
    else if (url)
        check_url(v, &url_at, url);
    else
        check_rules(v, &service_at, NULL, service, client_service_rules);
}

static void check_review_versions(struct field_errors *v, const struct place *at,
                                  const struct json *versions)
{
    size_t i = 0;
    if (json_len(versions, "") == 0) {
        fail(v, at, FIELD_REQUIRED, NULL, "must specify one of v1, v1beta1");
        return;
    }
    json_each_item (versions, version) {
        struct place p = place_item(at, i);
        for (size_t k = 0; k < i; k++) {
            if (json_equal(&versions->items[k], version)) {
                fail(v, &p, FIELD_INVALID, version, "duplicate version");
                break;
            }
        }
        if (json_text(version) && dns_1035_label_fault(json_text(version)))
            fail(v, &p, FIELD_INVALID, version, dns_1035_label_fault(json_text(version)));
        i++;
    }
    if (!json_has_text(versions, "v1") && !json_has_text(versions, "v1beta1"))
        fail(v, at, FIELD_INVALID, versions, "must include at least one of v1, v1beta1");
}

static const char *webhook_name_fault(const char *name)
{
    const char *dot = strchr(name, '.');
    const char *wrong = dns_subdomain_fault(name);
    if (!wrong && (!dot || !strchr(dot + 1, '.')))
        return "should be a domain with at least three segments separated by dots";
    return wrong;
}

static const struct rule webhook_rules[] = {
    REQUIRED_FORMAT("name", webhook_name_fault),
    RULES("rules[*]", operation_rules),
    ONE_OF("failurePolicy", "Fail", "Ignore"),
    ONE_OF("matchPolicy", "Equivalent", "Exact"),
    REQUIRED_BECAUSE("sideEffects", "must specify one of None, NoneOnDryRun"),
    ONE_OF("sideEffects", "None", "NoneOnDryRun"),
    RANGE("timeoutSeconds", 1, 30, "the timeout value must be between 1 and 30 seconds"),
    BLOCK("namespaceSelector", validate_label_selector),
    BLOCK("objectSelector", validate_label_selector),
    BLOCK("clientConfig", check_client),
    BLOCK("admissionReviewVersions", check_review_versions),
    ITEMS_MAX("matchConditions", 64),
    RULES("matchConditions[*]", match_condition_rules),
    UNIQUE("matchConditions", "name"),
    ONE_OF("reinvocationPolicy", "IfNeeded", "Never"),
    RULES_END,
};

const struct rule validating_webhook_rules[] = {
    RULES("webhooks[*]", webhook_rules),
    UNIQUE("webhooks", "name"),
    RULES_END,
};

const struct rule mutating_webhook_rules[] = {
    RULES("webhooks[*]", webhook_rules),
    UNIQUE("webhooks", "name"),
    RULES_END,
};

/* ---- policies ---- */

static const struct rule match_resource_rules[] = {
    ONE_OF("matchPolicy", "Equivalent", "Exact"),
    BLOCK("namespaceSelector", validate_label_selector),
    BLOCK("objectSelector", validate_label_selector),
    RULES("resourceRules[*]", operation_rules),
    RULES("excludeResourceRules[*]", operation_rules),
    RULES_END,
};

static const struct rule policy_rules[] = {
    ONE_OF("failurePolicy", "Fail", "Ignore"),
    REQUIRED("paramKind?.apiVersion"),
    REQUIRED("paramKind?.kind"),
    REQUIRED("matchConstraints"),
    REQUIRED("matchConstraints?.resourceRules"),
    RULES("matchConstraints?", match_resource_rules),
    ITEMS_MAX("matchConditions", 64),
    RULES("matchConditions[*]", match_condition_rules),
    UNIQUE("matchConditions", "name"),
    REQUIRED_BECAUSE("variables[*].name", "name is not specified"),
    REQUIRED_BECAUSE("variables[*].expression", "expression is not specified"),
    UNIQUE("variables", "name"),
    RULES_END,
};

static void check_validation(struct field_errors *v, const struct place *at,
                             const struct json *validation)
{
    const struct json *expression = json_get(validation, "expression"),
                      *message = json_get(validation, "message"),
                      *made = json_get(validation, "messageExpression");
    if (is_blank(expression))
        fail_field(v, at, "expression", FIELD_REQUIRED, NULL, "expression is not specified");
    if (!str_empty(json_text(made)) && is_blank(made))
        fail_field(v, at, "messageExpression", FIELD_INVALID, made,
                   "must be non-empty if specified");
    if (!str_empty(json_text(message)) && is_blank(message))
        fail_field(v, at, "message", FIELD_INVALID, message,
                   "message must be non-empty if specified");
    else if (json_text(message) && strpbrk(message->string, "\r\n"))
        fail_field(v, at, "message", FIELD_INVALID, message,
                   "message must not contain line breaks");
    else if (!message && json_text(expression) && strpbrk(expression->string, "\r\n"))
        fail_field(v, at, "message", FIELD_REQUIRED, NULL,
                   "message must be specified if expression contains line breaks");
}

static void check_something_to_do(struct field_errors *v, const struct place *at,
                                  const struct json *spec)
{
    static const char *const fields[] = { "validations", "auditAnnotations" };
    bool is_empty = !json_len(spec, fields[0]) && !json_len(spec, fields[1]);
    for (size_t i = 0; is_empty && i < ARRAY_LEN(fields); i++)
        fail_field(v, at, fields[i], FIELD_REQUIRED, NULL,
                   "validations or auditAnnotations must be non-empty");
}

const struct rule validating_policy_rules[] = {
    RULES("spec", policy_rules),
    BLOCK("spec", check_something_to_do),
    BLOCK("spec.validations[*]", check_validation),
    ONE_OF("spec.validations[*].reason", "Forbidden", "Invalid", "RequestEntityTooLarge",
           "Unauthorized"),
    REQUIRED_FORMAT("spec.auditAnnotations[*].key", label_key_fault),
    UNIQUE("spec.auditAnnotations", "key"),
    REQUIRED("spec.auditAnnotations[*].valueExpression"),
    RULES_END,
};

static void check_param_ref(struct field_errors *v, const struct place *at, const struct json *ref)
{
    bool has_name = !str_empty(json_str(ref, "name", "")), has_selector = json_get(ref, "selector");
    if (has_name && has_selector) {
        fail_field(v, at, "name", FIELD_FORBIDDEN, NULL,
                   "name and selector are mutually exclusive");
        fail_field(v, at, "selector", FIELD_FORBIDDEN, NULL,
                   "name and selector are mutually exclusive");
    } else if (!has_name && !has_selector) {
        fail(v, at, FIELD_REQUIRED, NULL, "one of name or selector must be specified");
    }
}

static const struct rule binding_rules[] = {
    REQUIRED_FORMAT("policyName", dns_subdomain_fault),
    FORMAT("paramRef?.name", path_segment_fault),
    BLOCK("paramRef?", check_param_ref),
    BLOCK("paramRef?.selector", validate_label_selector),
    REQUIRED_ONE_OF("paramRef?.parameterNotFoundAction", "Allow", "Deny"),
    RULES("matchResources?", match_resource_rules),
    RULES_END,
};

static void check_actions(struct field_errors *v, const struct place *at,
                          const struct json *actions)
{
    if (json_has_text(actions, "Deny") && json_has_text(actions, "Warn"))
        fail(v, at, FIELD_INVALID, actions,
             "must not contain both Deny and Warn (repeating the same validation failure "
             "information "
             "in the API response and headers serves no purpose)");
}

const struct rule validating_policy_binding_rules[] = {
    RULES("spec", binding_rules),
    REQUIRED_BECAUSE("spec.validationActions", "at least one validation action is required"),
    EXACTLY_ONE_OF("spec.validationActions[*]", "Audit", "Deny", "Warn"),
    UNIQUE("spec.validationActions", ""),
    BLOCK("spec.validationActions", check_actions),
    RULES_END,
};

static void check_mutation(struct field_errors *v, const struct place *at,
                           const struct json *mutation)
{
    static const struct {
        const char *type, *field;
    } kinds[] = { { "JSONPatch", "jsonPatch" }, { "ApplyConfiguration", "applyConfiguration" } };
    const char *type = json_str(mutation, "patchType", "");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *value = json_get(mutation, kinds[i].field);
        struct place p = place_in(at, kinds[i].field);
        bool is_own = str_equal(type, kinds[i].type);
        if (is_own && !value)
            fail(v, &p, FIELD_REQUIRED, NULL, "must be specified");
        else if (is_own && is_blank(json_get(value, "expression")))
            fail_field(v, &p, "expression", FIELD_REQUIRED, NULL, "expression is not specified");
        else if (!is_own && value && *type)
            fail(v, &p, FIELD_INVALID, value, "must not be specified for another patchType");
    }
}

const struct rule mutating_policy_rules[] = {
    RULES("spec", policy_rules),
    REQUIRED_BECAUSE("spec.mutations", "mutations must contain at least one item"),
    REQUIRED_ONE_OF("spec.mutations[*].patchType", "ApplyConfiguration", "JSONPatch"),
    BLOCK("spec.mutations[*]", check_mutation),
    REQUIRED_ONE_OF("spec.reinvocationPolicy", "IfNeeded", "Never"),
    RULES_END,
};

const struct rule mutating_policy_binding_rules[] = {
    RULES("spec", binding_rules),
    RULES_END,
};
