/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz_rbac.h - role-based access: roles and bindings in memory, found by who is asking.
 *
 *     user "jane"  --by_user-->   [ bindings ] --role_key--> role --> rules
 *     group "dev"  --by_group-->  [ bindings ]
 *
 * A decision looks at the bindings of the user and of each of its groups, never at all of them.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/authz.h"
#include "apiserver/bootstrap_policy.h"

struct rbac;

struct rbac *rbac_new(void);
void rbac_free(struct rbac *b);

/* Observers (watch_cache_observe) for Roles and ClusterRoles, and for their bindings; ARG is the
 * struct rbac. */
void rbac_role_changed(const struct object *old, const struct object *new, void *rbac);
void rbac_binding_changed(const struct object *old, const struct object *new, void *rbac);

bool rbac_allows(struct rbac *b, const struct attributes *at);

/* Whether one rule (a PolicyRule in JSON) allows what is asked. */
bool rbac_rule_allows(const struct json *rule, const struct attributes *at);

/* Calls FN for every rule that USER has in NS ("": cluster-wide bindings only).  FN must not call
 * rbac functions. */
void rbac_each_rule(struct rbac *b, const struct user *user, const char *ns,
                    void (*fn)(const struct json *rule, void *arg), void *arg);

/* A copy of the rules of a Role of NS, or of a ClusterRole (NS ""); NULL if there is no such role.
 */
const struct json *rbac_role_rules(struct rbac *b, const char *ns, const char *name,
                                   struct arena *arena);
