/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap_policy.h - the RBAC roles and bindings that every cluster starts with, as tables.
 *
 * Lists are words with a space between; the group "core" stands for "".
 */
#pragma once

#include "api/object.h"

struct policy_rule { /* one with no VERBS ends a list */
    const char *verbs;
    const char *groups, *resources, *names; /* NULL: none */
    const char *urls;                       /* instead of groups and resources */
};

struct policy_role {
    const char *ns; /* NULL: a ClusterRole */
    const char *name;
    const struct policy_rule *rules;
    const char *aggregate_to; /* "edit": carries the label that adds its rules to that role */
    const char *aggregates;   /* "edit": its rules are those of all roles with that label */
};

struct policy_binding {
    const char *ns; /* NULL: a ClusterRoleBinding */
    const char *name;
    const char *role;
    const char *users, *groups, *service_accounts; /* lists; service accounts of kube-system */
};

extern const struct policy_role policy_roles[];
extern const size_t policy_roles_n;
extern const struct policy_binding policy_bindings[];
extern const size_t policy_bindings_n;

/* Controllers: a ClusterRole system:controller:NAME bound to the service account of that name. */
struct policy_controller {
    const char *name;
    const struct policy_rule *rules;
};
extern const struct policy_controller policy_controllers[];
extern const size_t policy_controllers_n;

/* What a node may do beyond what the node graph decides: also the rules of the role system:node. */
extern const struct policy_rule policy_node_rules[];

/* RULES as the JSON array of a role. */
struct json *policy_rules_json(const struct policy_rule *rules, struct arena *a);

/* Calls FN with each object's resource, key and the document that it has to hold (metadata: name,
 * namespace, labels, annotations; rules, or roleRef and subjects).  DOC lives for the call. */
void policy_each(void (*fn)(const struct resource *r, const struct object_key *key,
                            struct json *doc, struct arena *a, void *arg),
                 void *arg);
