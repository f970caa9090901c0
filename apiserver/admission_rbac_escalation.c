/* SPDX-License-Identifier: Apache-2.0 */
/* admission_rbac_escalation.c - nobody gives away rights that they do not have: who writes a role
 * must hold its rules, who binds a role too, unless `escalate` or `bind` is allowed to them. */
#include "apiserver/admission.h"
#include "apiserver/authz_rbac.h"
#include "apiserver/policy.h"
#include "apiserver/server.h"

#define RBAC_GROUP "rbac.authorization.k8s.io"

struct check {
    struct apiserver *server;
    const struct user *user;
    const char *ns;
    struct buffer missing;
};

/* ---- does the user hold a rule? ---- */

/* One verb on one resource and name (or path), as a question to the authorizer's tables.  A
 * wildcard is asked for literally: only a rule with the wildcard itself allows "*". */
static bool holds(const struct check *c, struct attributes at)
{
    at.user = c->user;
    at.version = "";
    at.ns = c->ns;
    at.path = at.path ? at.path : "";
    return rbac_allows(c->server->policy->rbac, &at);
}

static bool holds_resource(const struct check *c, const char *verb, const char *group,
                           const char *resource, const struct json *names)
{
    char plural[128];
    const char *slash = strchr(resource, '/');
    snprintf(plural, sizeof(plural), "%.*s",
             (int)(slash ? slash - resource : (ptrdiff_t)strlen(resource)), resource);
    struct attributes at = { .verb = verb,
                             .is_resource_request = true,
                             .group = group,
                             .resource = plural,
                             .subresource = slash ? slash + 1 : "",
                             .name = "" };
    if (!names || !names->len)
        return holds(c, at);
    json_each_item (names, name) {
        at.name = json_text(name) ? json_text(name) : "";
        if (!holds(c, at))
            return false;
    }
    return true;
}

static bool holds_verb(const struct check *c, const char *verb, const struct json *rule)
{
    json_each_item (json_get(rule, "nonResourceURLs"), url) {
        if (!holds(c, (struct attributes){ .verb = verb,
                                           .path = json_text(url) ? json_text(url) : "" }))
            return false;
    }
    json_each_item (json_get(rule, "apiGroups"), group) {
        json_each_item (json_get(rule, "resources"), resource) {
            if (json_text(group) && json_text(resource) &&
                !holds_resource(c, verb, json_text(group), json_text(resource),
                                json_get(rule, "resourceNames")))
                return false;
        }
    }
    return true;
}

static bool holds_rule(const struct check *c, const struct json *rule)
{
    json_each_item (json_get(rule, "verbs"), verb) {
        if (json_text(verb) && !holds_verb(c, json_text(verb), rule))
            return false;
    }
    return true;
}

/* ---- saying what is missing ---- */

static void print_list(struct buffer *out, const char *name, const struct json *list)
{
    if (!list || !list->len)
        return;
    buffer_printf(out, "%s%s:[", out->data && out->data[out->len - 1] != '{' ? ", " : "", name);
    for (size_t i = 0; i < list->len; i++)
        buffer_printf(out, "%s\"%s\"", i ? " " : "",
                      json_text(&list->items[i]) ? json_text(&list->items[i]) : "");
    buffer_add_char(out, ']');
}

/* {APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]} */
static void print_rule(struct buffer *out, const struct json *rule)
{
    buffer_add_str(out, "\n{");
    print_list(out, "APIGroups", json_get(rule, "apiGroups"));
    print_list(out, "Resources", json_get(rule, "resources"));
    print_list(out, "NonResourceURLs", json_get(rule, "nonResourceURLs"));
    print_list(out, "ResourceNames", json_get(rule, "resourceNames"));
    print_list(out, "Verbs", json_get(rule, "verbs"));
    buffer_add_char(out, '}');
}

static int refuse(struct check *c, const struct admission_attributes *a, struct error *err)
{
    scoped(buffer) struct buffer groups = { 0 };
    for (const char *const *g = c->user->groups; *g; g++)
        buffer_printf(&groups, "%s\"%s\"", groups.len ? " " : "", *g);
    return admission_forbid(err, a,
                            "user \"%s\" (groups=[%s]) is attempting to grant RBAC permissions not "
                            "currently held:%s",
                            c->user->name, groups.data ? groups.data : "", c->missing.data);
}

static int check_rules(struct check *c, const struct admission_attributes *a,
                       const struct json *rules, struct error *err)
{
    json_each_item (rules, rule) {
        if (!holds_rule(c, rule))
            print_rule(&c->missing, rule);
    }
    int rc = c->missing.len ? refuse(c, a, err) : 0;
    buffer_free(&c->missing);
    return rc;
}

/* ---- when it matters ---- */

static bool is_allowed(struct check *c, const char *verb, const char *resource, const char *ns,
                       const char *name)
{
    char reason[AUTHZ_REASON_BYTES];
    struct attributes at = { .user = c->user,
                             .verb = verb,
                             .is_resource_request = true,
                             .group = RBAC_GROUP,
                             .version = "v1",
                             .resource = resource,
                             .subresource = "",
                             .ns = ns,
                             .name = name,
                             .path = "" };
    return authorize(c->server, &at, reason);
}

static bool same(const struct object *old, const struct json *new, const char *member)
{
    const struct json *before = old ? json_get(old->doc, member) : NULL;
    const struct json *after = json_get(new, member);
    return old && (before == after || (before && after && json_equal(before, after)));
}

static int check_role(struct check *c, const struct admission_attributes *a, const struct json *doc,
                      struct error *err)
{
    if (same(a->old, doc, "rules") && same(a->old, doc, "aggregationRule"))
        return 0;
    const char *name = json_str(doc, "metadata.name", "");
    if (is_allowed(c, "escalate", a->resource->plural, c->ns, name))
        return 0;
    return check_rules(c, a, json_get(doc, "rules"), err);
}

static int check_binding(struct check *c, const struct admission_attributes *a,
                         const struct json *doc, struct arena *arena, struct error *err)
{
    if (same(a->old, doc, "roleRef") && same(a->old, doc, "subjects"))
        return 0;
    const char *role = json_str(doc, "roleRef.name", "");
    bool is_role = strcmp(json_str(doc, "roleRef.kind", ""), "Role") == 0;
    if (is_allowed(c, "bind", is_role ? "roles" : "clusterroles", c->ns, role))
        return 0;
    const struct json *rules =
        rbac_role_rules(c->server->policy->rbac, is_role ? c->ns : "", role, arena);
    if (!rules)
        return status_not_found(err, &resources[is_role ? RESOURCE_ROLES : RESOURCE_CLUSTERROLES],
                                role);
    return check_rules(c, a, rules, err);
}

static int admit(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err)
{
    if (!new || (a->verb != REQUEST_CREATE && a->verb != REQUEST_UPDATE))
        return 0;
    struct check check = { .server = c->server, .user = &c->request->user, .ns = a->ns };
    switch (a->resource->id) {
    case RESOURCE_ROLES:
    case RESOURCE_CLUSTERROLES:
        return check_role(&check, a, new->doc, err);
    case RESOURCE_ROLEBINDINGS:
    case RESOURCE_CLUSTERROLEBINDINGS:
        return check_binding(&check, a, new->doc, c->arena, err);
    default:
        return 0;
    }
}

const struct admission_plugin admission_rbac_escalation = { "RBACEscalation", admit };
