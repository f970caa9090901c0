/* SPDX-License-Identifier: Apache-2.0 */
/* authz.c - may this user do that: system:masters, the node authorizer, then RBAC. */
#include "apiserver/authz.h"

#include "apiserver/authz_node.h"
#include "apiserver/authz_rbac.h"
#include "apiserver/policy.h"
#include "apiserver/server.h"

void attributes_of(const struct request *r, struct attributes *out)
{
    const struct request_info *info = &r->info;
    *out = (struct attributes){
        .user = &r->user,
        .verb = info->verb_name,
        .is_resource_request = info->is_resource_request,
        .group = info->group,
        .version = info->version,
        .resource = info->plural,
        .subresource = info->subresource,
        .ns = info->ns,
        .name = info->name,
        .path = info->path,
    };
    if (!r->http)
        return;
    const char *selector = query_get(r->query, "fieldSelector", 0, r->arena);
    out->field_selector = selector ? selector : "";
}

static bool is_in_group(const struct user *user, const char *group)
{
    for (const char *const *g = user->groups; *g; g++)
        if (strcmp(*g, group) == 0)
            return true;
    return false;
}

bool authorize(struct apiserver *a, const struct attributes *at, char reason[AUTHZ_REASON_BYTES])
{
    reason[0] = 0;
    return is_in_group(at->user, "system:masters") ||
           node_authorize(a, a->policy->nodes, at, reason) || rbac_allows(a->policy->rbac, at);
}

/* TEXT as Go's %q prints it, for what names and paths may hold. */
static void quote(struct buffer *out, const char *text)
{
    buffer_add_char(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buffer_printf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            buffer_printf(out, "\\x%02x", (unsigned char)*c);
        else
            buffer_add_char(out, *c);
    }
    buffer_add_char(out, '"');
}

static void quote_after(struct buffer *out, const char *before, const char *text)
{
    buffer_add_str(out, before);
    quote(out, text);
}

static void print_resource(const struct attributes *at, struct buffer *out)
{
    scoped(str) char *resource =
        xasprintf("%s%s%s", at->resource, *at->subresource ? "/" : "", at->subresource);
    buffer_add_str(out, at->resource);
    if (*at->group)
        buffer_printf(out, ".%s", at->group);
    if (*at->name)
        quote_after(out, " ", at->name);
    quote_after(out, " is forbidden: User ", at->user->name);
    buffer_printf(out, " cannot %s", at->verb);
    quote_after(out, " resource ", resource);
    quote_after(out, " in API group ", at->group);
    if (*at->ns)
        quote_after(out, " in the namespace ", at->ns);
    else
        buffer_add_str(out, " at the cluster scope");
}

int authz_forbid(const struct attributes *at, const char *reason, struct error *err)
{
    scoped(buffer) struct buffer text = { 0 };
    if (at->is_resource_request) {
        print_resource(at, &text);
    } else {
        quote_after(&text, "forbidden: User ", at->user->name);
        buffer_printf(&text, " cannot %s", at->verb);
        quote_after(&text, " path ", at->path);
    }
    if (!str_empty(reason))
        buffer_printf(&text, ": %s", reason);
    return error_set(err, ERR_FORBIDDEN, "%s", text.data);
}
