/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_paths.c - the operations on each resource, as OpenAPI paths. */
#include <ctype.h>

#include "apiserver/openapi_document.h"

enum parameter {
    P_NAME,
    P_NAMESPACE,
    P_PRETTY,
    P_DRY_RUN,
    P_FIELD_MANAGER,
    P_FIELD_VALIDATION,
    P_FORCE,
    P_ALLOW_WATCH_BOOKMARKS,
    P_CONTINUE,
    P_FIELD_SELECTOR,
    P_LABEL_SELECTOR,
    P_LIMIT,
    P_RESOURCE_VERSION,
    P_RESOURCE_VERSION_MATCH,
    P_SEND_INITIAL_EVENTS,
    P_TIMEOUT_SECONDS,
    P_WATCH,
    P_GRACE_PERIOD_SECONDS,
    P_ORPHAN_DEPENDENTS,
    P_PROPAGATION_POLICY,
    PARAMETERS
};

static const struct {
    const char *name, *in, *type, *doc;
} parameters[PARAMETERS] = {
    [P_NAME] = { "name", "path", "string", "name of the object" },
    [P_NAMESPACE] = { "namespace", "path", "string", "namespace that the object is in" },
    [P_PRETTY] = { "pretty", "query", "string", "\"true\" for indented output" },
    [P_DRY_RUN] = { "dryRun", "query", "string", "\"All\": do everything but store the result" },
    [P_FIELD_MANAGER] = { "fieldManager", "query", "string",
                          "who makes the change, as noted in metadata.managedFields" },
    [P_FIELD_VALIDATION] = { "fieldValidation", "query", "string",
                             "what unknown and duplicate fields lead to: Ignore, Warn or Strict" },
    [P_FORCE] = { "force", "query", "boolean",
                  "apply: take fields over from other managers instead of failing" },
    [P_ALLOW_WATCH_BOOKMARKS] = { "allowWatchBookmarks", "query", "boolean",
                                  "watch: also send events that only tell the resource version" },
    [P_CONTINUE] = { "continue", "query", "string", "where the page before ended" },
    [P_FIELD_SELECTOR] = { "fieldSelector", "query", "string",
                           "only objects with these field values" },
    [P_LABEL_SELECTOR] = { "labelSelector", "query", "string", "only objects with these labels" },
    [P_LIMIT] = { "limit", "query", "integer", "most objects in one answer" },
    [P_RESOURCE_VERSION] = { "resourceVersion", "query", "string",
                             "the version to read at or after" },
    [P_RESOURCE_VERSION_MATCH] = { "resourceVersionMatch", "query", "string",
                                   "how resourceVersion is meant: Exact or NotOlderThan" },
    [P_SEND_INITIAL_EVENTS] = { "sendInitialEvents", "query", "boolean",
                                "watch: begin with events for what exists" },
    [P_TIMEOUT_SECONDS] = { "timeoutSeconds", "query", "integer", "when to end the request" },
    [P_WATCH] = { "watch", "query", "boolean", "answer with a stream of changes" },
    [P_GRACE_PERIOD_SECONDS] = { "gracePeriodSeconds", "query", "integer",
                                 "seconds until the object is removed" },
    [P_ORPHAN_DEPENDENTS] = { "orphanDependents", "query", "boolean",
                              "deprecated: use propagationPolicy" },
    [P_PROPAGATION_POLICY] = { "propagationPolicy", "query", "string",
                               "what happens to dependents: Orphan, Background or Foreground" },
};

#define BIT(p) (1u << (p))
#define LIST_PARAMETERS                                                                            \
    (BIT(P_ALLOW_WATCH_BOOKMARKS) | BIT(P_CONTINUE) | BIT(P_FIELD_SELECTOR) |                      \
     BIT(P_LABEL_SELECTOR) | BIT(P_LIMIT) | BIT(P_RESOURCE_VERSION) |                              \
     BIT(P_RESOURCE_VERSION_MATCH) | BIT(P_SEND_INITIAL_EVENTS) | BIT(P_TIMEOUT_SECONDS) |         \
     BIT(P_WATCH))
#define DELETE_PARAMETERS                                                                          \
    (BIT(P_DRY_RUN) | BIT(P_GRACE_PERIOD_SECONDS) | BIT(P_ORPHAN_DEPENDENTS) |                     \
     BIT(P_PROPAGATION_POLICY))
#define WRITE_PARAMETERS (BIT(P_DRY_RUN) | BIT(P_FIELD_MANAGER) | BIT(P_FIELD_VALIDATION))

enum body { BODY_NONE, BODY_OBJECT, BODY_PATCH, BODY_DELETE };
enum answer { ANSWER_OBJECT, ANSWER_LIST, ANSWER_STATUS, ANSWER_TEXT };

/* One way of using a path. */
struct operation {
    unsigned verb;
    const char *method, *action;
    const char *id_verb; /* "create" of createCoreV1NamespacedPod */
    const char *codes;   /* of success */
    unsigned parameters;
    enum body body;
    enum answer answer;
};

static const struct operation on_collection[] = {
    { VERB_LIST, "get", "list", "list", "200", LIST_PARAMETERS, BODY_NONE, ANSWER_LIST },
    { VERB_CREATE, "post", "post", "create", "200 201 202", WRITE_PARAMETERS, BODY_OBJECT,
      ANSWER_OBJECT },
    { VERB_DELETECOLLECTION, "delete", "deletecollection", "delete", "200",
      DELETE_PARAMETERS | (LIST_PARAMETERS & ~(BIT(P_ALLOW_WATCH_BOOKMARKS) | BIT(P_WATCH))),
      BODY_DELETE, ANSWER_STATUS },
};
static const struct operation on_object[] = {
    { VERB_GET, "get", "get", "read", "200", 0, BODY_NONE, ANSWER_OBJECT },
    { VERB_UPDATE, "put", "put", "replace", "200 201", WRITE_PARAMETERS, BODY_OBJECT,
      ANSWER_OBJECT },
    { VERB_CREATE, "post", "post", "create", "200 201 202", WRITE_PARAMETERS, BODY_OBJECT,
      ANSWER_OBJECT },
    { VERB_DELETE, "delete", "delete", "delete", "200 202", DELETE_PARAMETERS, BODY_DELETE,
      ANSWER_STATUS },
    { VERB_PATCH, "patch", "patch", "patch", "200 201", WRITE_PARAMETERS | BIT(P_FORCE), BODY_PATCH,
      ANSWER_OBJECT },
};
static const struct operation on_text[] = {
    { VERB_GET, "get", "get", "read", "200", 0, BODY_NONE, ANSWER_TEXT },
};
/* Streams and proxies: nothing is known of what goes through them. */
static const struct operation on_connection[] = {
    { VERB_GET, "get", "connect", "connect", "200", 0, BODY_NONE, ANSWER_TEXT },
    { VERB_CREATE, "post", "connect", "connect", "200", 0, BODY_NONE, ANSWER_TEXT },
    { VERB_UPDATE, "put", "connect", "connect", "200", 0, BODY_NONE, ANSWER_TEXT },
    { VERB_PATCH, "patch", "connect", "connect", "200", 0, BODY_NONE, ANSWER_TEXT },
    { VERB_DELETE, "delete", "connect", "connect", "200", 0, BODY_NONE, ANSWER_TEXT },
};

static const char *const patch_media_types[] = { "application/apply-patch+yaml",
                                                 "application/json-patch+json",
                                                 "application/merge-patch+json",
                                                 "application/strategic-merge-patch+json", NULL };
static const char *const object_media_types[] = { "application/json", "application/yaml",
                                                  "application/vnd.kubernetes.protobuf", NULL };
static const char *const list_media_types[] = { "application/json",
                                                "application/yaml",
                                                "application/vnd.kubernetes.protobuf",
                                                "application/json;stream=watch",
                                                "application/vnd.kubernetes.protobuf;stream=watch",
                                                NULL };
static const char *const any_media_types[] = { "*/*", NULL };

/* What all operations of one path share. */
struct path {
    enum openapi_version version;
    const struct resource *resource;
    const struct resource_subresource *sub; /* NULL: the object itself */
    struct openapi_types *types;
    const char *group, *api_version, *kind; /* of the body */
    const struct schema_type *type;         /* of the body; NULL: none is known */
    const struct schema_type *list_type;
    bool in_namespace, is_all_namespaces, is_connection;
    unsigned parameters; /* of the path itself */
    struct buffer *out;
};

/* ---- names ---- */

/* "rbac.authorization.k8s.io" -> "RbacAuthorization"; "" -> "Core". */
static void group_name(const char *group, char *buf, size_t size, bool is_capital)
{
    const char *text = *group ? group : "core";
    const char *end = strstr(text, ".k8s.io");
    size_t n = 0;
    bool next_up = is_capital;
    for (const char *c = text; *c && c != end && n + 1 < size; c++) {
        if (*c == '.') {
            next_up = true;
            continue;
        }
        buf[n++] = next_up ? (char)toupper((unsigned char)*c) : *c;
        next_up = false;
    }
    buf[n] = 0;
}

static void print_capital(struct buffer *out, const char *word)
{
    if (*word)
        buffer_printf(out, "%c%s", toupper((unsigned char)*word), word + 1);
}

/* readAppsV1NamespacedDeploymentScale */
static void print_operation_id(const struct path *p, const struct operation *o)
{
    const struct resource *r = p->resource;
    char group[64];
    group_name(r->group, group, sizeof(group), true);
    openapi_comma(p->out);
    buffer_printf(p->out, "\"operationId\":\"%s%s", o->id_verb, group);
    print_capital(p->out, r->version);
    if (p->is_connection)
        print_capital(p->out, o->method);
    if (o->verb == VERB_DELETECOLLECTION)
        buffer_add_str(p->out, "Collection");
    buffer_printf(p->out, "%s%s", p->in_namespace ? "Namespaced" : "", r->kind);
    if (p->sub)
        print_capital(p->out, p->sub->name);
    buffer_printf(p->out, "%s\"", p->is_all_namespaces ? "ForAllNamespaces" : "");
}

static void print_tag(const struct path *p)
{
    char group[64];
    group_name(p->resource->group, group, sizeof(group), false);
    buffer_printf(p->out, ",\"tags\":[\"%s_%s\"]", group, p->resource->version);
}

/* ---- parameters ---- */

static void print_parameter(const struct path *p, enum parameter i)
{
    openapi_comma(p->out);
    buffer_printf(p->out, "{\"name\":\"%s\",\"in\":\"%s\",\"description\":", parameters[i].name,
                  parameters[i].in);
    json_print_string(bytes_of(parameters[i].doc), p->out);
    if (i <= P_NAMESPACE)
        buffer_add_str(p->out, ",\"required\":true");
    if (p->version == OPENAPI_V2)
        buffer_printf(p->out, ",\"type\":\"%s\",\"uniqueItems\":true}", parameters[i].type);
    else
        buffer_printf(p->out, ",\"schema\":{\"type\":\"%s\",\"uniqueItems\":true}}",
                      parameters[i].type);
}

static void print_ref(const struct path *p, const struct schema_type *type)
{
    buffer_printf(p->out, "{\"$ref\":\"%s%s\"}", openapi_ref_prefix(p->version), type->name);
}

static const struct schema_type *body_type(const struct path *p, const struct operation *o)
{
    switch (o->body) {
    case BODY_OBJECT:
        return p->type;
    case BODY_PATCH:
        return openapi_meta_type("Patch");
    case BODY_DELETE:
        return openapi_meta_type("DeleteOptions");
    case BODY_NONE:
        break;
    }
    return NULL;
}

static void print_body_parameter(const struct path *p, const struct operation *o)
{
    const struct schema_type *type = body_type(p, o);
    if (!type)
        return;
    openapi_comma(p->out);
    buffer_printf(p->out, "{\"name\":\"body\",\"in\":\"body\"%s,\"schema\":",
                  o->body == BODY_DELETE ? "" : ",\"required\":true");
    print_ref(p, type);
    buffer_add_char(p->out, '}');
}

static void print_parameters(const struct path *p, const struct operation *o)
{
    openapi_comma(p->out);
    buffer_add_str(p->out, "\"parameters\":[");
    if (p->version == OPENAPI_V2)
        print_body_parameter(p, o);
    for (unsigned i = 0; i < PARAMETERS; i++)
        if (o->parameters & BIT(i))
            print_parameter(p, i);
    buffer_add_char(p->out, ']');
}

/* ---- bodies and answers ---- */

static void print_content(const struct path *p, const struct schema_type *type,
                          const char *const *media_types)
{
    buffer_add_str(p->out, "\"content\":{");
    for (; *media_types; media_types++) {
        openapi_comma(p->out);
        buffer_printf(p->out, "\"%s\":{\"schema\":", *media_types);
        print_ref(p, type);
        buffer_add_char(p->out, '}');
    }
    buffer_add_char(p->out, '}');
}

static void print_media_types(struct buffer *out, const char *name, const char *const *list)
{
    openapi_comma(out);
    buffer_printf(out, "\"%s\":[", name);
    for (; *list; list++) {
        openapi_comma(out);
        buffer_printf(out, "\"%s\"", *list);
    }
    buffer_add_char(out, ']');
}

static const struct schema_type *answer_type(const struct path *p, const struct operation *o)
{
    switch (o->answer) {
    case ANSWER_OBJECT:
        return p->type;
    case ANSWER_LIST:
        return p->list_type;
    case ANSWER_STATUS:
        return openapi_meta_type("Status");
    case ANSWER_TEXT:
        break;
    }
    return NULL;
}

static void print_response(const struct path *p, const struct operation *o, const char *code,
                           size_t n)
{
    static const char *const texts[] = { "OK", "Created", "Accepted" };
    const struct schema_type *type = answer_type(p, o);
    openapi_comma(p->out);
    buffer_printf(p->out, "\"%.*s\":{\"description\":\"%s\"", (int)n, code, texts[code[2] - '0']);
    if (type && p->version == OPENAPI_V2) {
        buffer_add_str(p->out, ",\"schema\":");
        print_ref(p, type);
    } else if (type) {
        buffer_add_char(p->out, ',');
        print_content(p, type, o->answer == ANSWER_LIST ? list_media_types : object_media_types);
    }
    buffer_add_char(p->out, '}');
}

static void print_responses(const struct path *p, const struct operation *o)
{
    openapi_comma(p->out);
    buffer_add_str(p->out, "\"responses\":{");
    for (const char *c = o->codes; *c; c += 3 + (c[3] == ' '))
        print_response(p, o, c, 3);
    buffer_add_str(p->out, ",\"401\":{\"description\":\"Unauthorized\"}}");
}

static void print_request(const struct path *p, const struct operation *o)
{
    const struct schema_type *type = body_type(p, o);
    const char *const *media_types = o->body == BODY_PATCH ? patch_media_types : any_media_types;
    if (p->version == OPENAPI_V2) {
        print_media_types(p->out, "consumes", media_types);
        print_media_types(p->out, "produces",
                          o->answer == ANSWER_LIST   ? list_media_types
                          : o->answer == ANSWER_TEXT ? any_media_types
                                                     : object_media_types);
        buffer_add_str(p->out, ",\"schemes\":[\"https\"]");
        return;
    }
    if (!type)
        return;
    buffer_printf(p->out, ",\"requestBody\":{%s",
                  o->body == BODY_DELETE ? "" : "\"required\":true,");
    print_content(p, type, media_types);
    buffer_add_char(p->out, '}');
}

static void print_operation(const struct path *p, const struct operation *o)
{
    openapi_comma(p->out);
    buffer_printf(p->out, "\"%s\":{\"description\":\"%s %s\"", o->method, o->action, p->kind);
    print_operation_id(p, o);
    print_parameters(p, o);
    print_request(p, o);
    print_responses(p, o);
    print_tag(p);
    buffer_printf(p->out,
                  ",\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":"
                  "{\"group\":\"%s\",\"kind\":\"%s\",\"version\":\"%s\"}}",
                  o->action, p->group, p->kind, p->api_version);
    openapi_types_use(p->types, body_type(p, o));
    openapi_types_use(p->types, answer_type(p, o));
}

/* ---- paths ---- */

static void print_path(const struct path *p, unsigned verbs, const struct operation *operations,
                       size_t n, const char *end)
{
    const struct resource *r = p->resource;
    openapi_comma(p->out);
    buffer_printf(p->out, "\"%s%s/%s%s/%s%s%s%s\":{", *r->group ? "/apis/" : "/api", r->group,
                  r->version, p->in_namespace ? "/namespaces/{namespace}" : "", r->plural, end,
                  p->sub ? "/" : "", p->sub ? p->sub->name : "");
    for (size_t i = 0; i < n; i++)
        if (verbs & operations[i].verb)
            print_operation(p, &operations[i]);
    openapi_comma(p->out);
    buffer_add_str(p->out, "\"parameters\":[");
    for (unsigned i = 0; i < PARAMETERS; i++)
        if (p->parameters & BIT(i))
            print_parameter(p, i);
    buffer_add_str(p->out, "]}");
}

static void print_subresource(struct path p, const struct resource_subresource *s)
{
    static const char *const connections[] = { "attach", "exec", "portforward", "proxy" };
    p.sub = s;
    p.group = s->group ? s->group : p.resource->group;
    p.api_version = s->group ? s->version : p.resource->version;
    p.kind = s->kind;
    p.type = s->type;
    for (size_t i = 0; i < ARRAY_LEN(connections); i++)
        p.is_connection |= strcmp(s->name, connections[i]) == 0;
    if (p.is_connection)
        print_path(&p, s->verbs, on_connection, ARRAY_LEN(on_connection), "/{name}");
    else if (strcmp(s->name, "log") == 0)
        print_path(&p, s->verbs, on_text, ARRAY_LEN(on_text), "/{name}");
    else
        print_path(&p, s->verbs, on_object, ARRAY_LEN(on_object), "/{name}");
}

static void print_resource(enum openapi_version v, const struct resource *r,
                           struct openapi_types *types, struct buffer *out)
{
    struct path p = { .version = v,
                      .resource = r,
                      .types = types,
                      .group = r->group,
                      .api_version = r->version,
                      .kind = r->kind,
                      .type = r->type,
                      .list_type = openapi_list_type(r),
                      .parameters = BIT(P_PRETTY),
                      .out = out };
    unsigned on_all = r->verbs & (VERB_LIST | VERB_CREATE | VERB_DELETECOLLECTION);
    unsigned on_one = r->verbs & (VERB_GET | VERB_UPDATE | VERB_DELETE | VERB_PATCH);
    if (r->namespaced) {
        p.is_all_namespaces = true;
        if (on_all & VERB_LIST)
            print_path(&p, VERB_LIST, on_collection, ARRAY_LEN(on_collection), "");
        p.is_all_namespaces = false;
        p.in_namespace = true;
        p.parameters |= BIT(P_NAMESPACE);
    }
    if (on_all)
        print_path(&p, on_all, on_collection, ARRAY_LEN(on_collection), "");
    p.parameters |= BIT(P_NAME);
    if (on_one)
        print_path(&p, on_one, on_object, ARRAY_LEN(on_object), "/{name}");
    for (size_t i = 0; i < r->subresources_n; i++)
        print_subresource(p, &r->subresources[i]);
    openapi_types_use(types, openapi_meta_type("WatchEvent"));
}

void openapi_print_paths(enum openapi_version v, const struct api_group_version *gv,
                         struct openapi_types *types, struct buffer *out)
{
    for (size_t i = 0; i < RESOURCES; i++)
        if (strcmp(resources[i].group, gv->group) == 0 &&
            strcmp(resources[i].version, gv->version) == 0)
            print_resource(v, &resources[i], types, out);
}
