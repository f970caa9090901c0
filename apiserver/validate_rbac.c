/* SPDX-License-Identifier: Apache-2.0 */
/* validate_rbac.c - roles and bindings. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define RBAC_GROUP "rbac.authorization.k8s.io"

static void check_policy_rule(struct field_errors *v, const struct place *at,
                              const struct json *rule)
{
    bool has_urls = json_len(rule, "nonResourceURLs") > 0;
    bool has_resources = json_len(rule, "apiGroups") || json_len(rule, "resources") ||
                         json_len(rule, "resourceNames");
    if (has_urls) {
        if (has_resources)
            fail_field(v, at, "nonResourceURLs", FIELD_INVALID, json_get(rule, "nonResourceURLs"),
                       "rules cannot apply to both regular resources and non-resource URLs");
        return;
    }
    if (json_len(rule, "apiGroups") == 0)
        fail_field(v, at, "apiGroups", FIELD_REQUIRED, NULL,
                   "resource rules must supply at least one api group");
    if (json_len(rule, "resources") == 0)
        fail_field(v, at, "resources", FIELD_REQUIRED, NULL,
                   "resource rules must supply at least one resource");
}

static void check_role_rule(struct field_errors *v, const struct place *at, const struct json *rule)
{
    if (json_len(rule, "nonResourceURLs") > 0)
        fail_field(v, at, "nonResourceURLs", FIELD_INVALID, json_get(rule, "nonResourceURLs"),
                   "namespaced rules cannot apply to non-resource URLs");
    else
        check_policy_rule(v, at, rule);
}

const struct rule role_rules[] = {
    REQUIRED_BECAUSE("rules[*].verbs", "verbs must contain at least one value"),
    BLOCK("rules[*]", check_role_rule),
    RULES_END,
};

const struct rule cluster_role_rules[] = {
    REQUIRED_BECAUSE("rules[*].verbs", "verbs must contain at least one value"),
    BLOCK("rules[*]", check_policy_rule),
    REQUIRED_BECAUSE("aggregationRule?.clusterRoleSelectors",
                     "at least one clusterRoleSelector required if aggregationRule is non-nil"),
    BLOCK("aggregationRule?.clusterRoleSelectors[*]", validate_label_selector),
    RULES_END,
};

static const struct rule account_rules[] = {
    FORMAT("name", dns_subdomain_fault),
    EXACTLY_ONE_OF("apiGroup", ""),
    RULES_END,
};
static const struct rule user_rules[] = { EXACTLY_ONE_OF("apiGroup", RBAC_GROUP), RULES_END };
static const struct rule other_rules[] = {
    EXACTLY_ONE_OF("kind", "Group", "ServiceAccount", "User"),
    RULES_END,
};

static void check_subject(struct field_errors *v, const struct place *at,
                          const struct json *subject)
{
    const char *kind = json_str(subject, "kind", "");
    if (str_equal(kind, "ServiceAccount"))
        check_rules(v, at, NULL, subject, account_rules);
    else if (str_equal(kind, "User") || str_equal(kind, "Group"))
        check_rules(v, at, NULL, subject, user_rules);
    else
        check_rules(v, at, NULL, subject, other_rules);
}

static void check_cluster_subject(struct field_errors *v, const struct place *at,
                                  const struct json *subject)
{
    check_subject(v, at, subject);
    if (str_equal(json_str(subject, "kind", ""), "ServiceAccount"))
        check_required(v, at, subject, "namespace");
}

static void check_role_kept(struct field_errors *v, const struct place *at, const struct json *old,
                            const struct json *new)
{
    if (old && new && !json_equal(old, new))
        fail(v, at, FIELD_INVALID, new, "cannot change roleRef");
}

const struct rule role_binding_rules[] = {
    EXACTLY_ONE_OF("roleRef.apiGroup", RBAC_GROUP),
    EXACTLY_ONE_OF("roleRef.kind", "ClusterRole", "Role"),
    REQUIRED_FORMAT("roleRef.name", path_segment_fault),
    REQUIRED("subjects[*].name"),
    BLOCK("subjects[*]", check_subject),
    UPDATE("roleRef", check_role_kept),
    RULES_END,
};

const struct rule cluster_role_binding_rules[] = {
    EXACTLY_ONE_OF("roleRef.apiGroup", RBAC_GROUP),
    EXACTLY_ONE_OF("roleRef.kind", "ClusterRole"),
    REQUIRED_FORMAT("roleRef.name", path_segment_fault),
    REQUIRED("subjects[*].name"),
    BLOCK("subjects[*]", check_cluster_subject),
    UPDATE("roleRef", check_role_kept),
    RULES_END,
};
