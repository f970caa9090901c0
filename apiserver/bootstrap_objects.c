/* SPDX-License-Identifier: Apache-2.0 */
/* bootstrap_objects.c - the objects of an empty cluster, written through the loopback like any
 * other. */
#include "apiserver/bootstrap_objects.h"

#include <arpa/inet.h>

#include "apiserver/apiserver.h"
#include "apiserver/server.h"

#define BOOTSTRAP_USER "system:apiserver"

static const char *const namespaces[] = { "default", "kube-system", "kube-public",
                                          "kube-node-lease" };

static const struct {
    const char *name;
    int64_t value;
    const char *description;
} priority_classes[] = {
    { "system-node-critical", 2000001000,
      "Used for system critical pods that must not be moved from their current node." },
    { "system-cluster-critical", 2000000000,
      "Used for system critical pods that must run in the cluster, but can be moved to another "
      "node "
      "if necessary." },
};

/* Creates DOC unless it is there. */
static int make_object(struct client *c, enum resource_id id, const char *ns,
                       const struct json *doc, struct error *err)
{
    const struct resource *r = &resources[id];
    struct object_key key = { ns, json_str(doc, "metadata.name", "") };
    scoped(object) struct object *have = NULL;
    struct error miss = { 0 };
    if (client_get(c, r, &key, &have, &miss) == 0)
        return 0;
    if (client_create(c, r, ns, doc, NULL, err) < 0 && err->code != ERR_ALREADY_EXISTS)
        return error_wrap(err, "make %s %s", r->kind, key.name);
    return 0;
}

static struct json *named(struct arena *a, const char *name)
{
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "metadata.name", name);
    return doc;
}

static int make_namespaces(struct client *c, struct arena *a, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
        if (make_object(c, RESOURCE_NAMESPACES, "", named(a, namespaces[i]), err) < 0)
            return -1;
    return 0;
}

static int make_priority_classes(struct client *c, struct arena *a, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(priority_classes); i++) {
        struct json *doc = named(a, priority_classes[i].name);
        json_put_int(a, doc, "value", priority_classes[i].value);
        json_put_str(a, doc, "description", priority_classes[i].description);
        if (make_object(c, RESOURCE_PRIORITYCLASSES, "", doc, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the kubernetes Service ---- */

/* The first address of the Service network is the API's own. */
static const char *first_address(const char *cidr, struct arena *a, struct error *err)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    const char *slash = strchr(cidr, '/');
    snprintf(text, sizeof(text), "%.*s", slash ? (int)(slash - cidr) : (int)strlen(cidr), cidr);
    if (inet_pton(AF_INET, text, &address) != 1) {
        error_set(err, ERR_BAD_REQUEST, "service network \"%s\" is not an IPv4 CIDR", cidr);
        return NULL;
    }
    address.s_addr = htonl(ntohl(address.s_addr) + 1);
    inet_ntop(AF_INET, &address, text, sizeof(text));
    return arena_strdup(a, text);
}

static struct json *port_named_https(struct arena *a, int64_t port)
{
    struct json *p = json_new(a, JSON_OBJECT);
    json_put_str(a, p, "name", "https");
    json_put_str(a, p, "protocol", "TCP");
    json_put_int(a, p, "port", port);
    return p;
}

static struct json *append_object(struct arena *a, struct json *doc, const char *path,
                                  const struct json *item)
{
    return json_append(a, json_make_array(a, doc, path), *item);
}

static int make_service(struct apiserver *s, struct client *c, struct arena *a, struct error *err)
{
    const char *address = first_address(s->config.service_cidr, a, err);
    if (!address)
        return -1;
    struct json *doc = named(a, "kubernetes");
    json_put_str(a, json_make(a, doc, "metadata.labels"), "component", "apiserver");
    json_put_str(a, json_make(a, doc, "metadata.labels"), "provider", "kubernetes");
    json_put_str(a, doc, "spec.clusterIP", address);
    json_put_str(a, doc, "spec.type", "ClusterIP");
    json_put_str(a, doc, "spec.sessionAffinity", "None");
    struct json *port = append_object(a, doc, "spec.ports", port_named_https(a, 443));
    json_put_int(a, port, "targetPort", apiserver_port(s));
    return make_object(c, RESOURCE_SERVICES, "default", doc, err);
}

static struct json *endpoints_doc(struct apiserver *s, struct arena *a)
{
    struct json *doc = named(a, "kubernetes");
    json_set(a, json_make(a, doc, "metadata.labels"), "endpointslice.kubernetes.io/skip-mirror",
             json_string_value(a, "true"));
    struct json *subset = append_object(a, doc, "subsets", json_new(a, JSON_OBJECT));
    struct json *address = append_object(a, subset, "addresses", json_new(a, JSON_OBJECT));
    json_put_str(a, address, "ip", s->config.advertise_address);
    append_object(a, subset, "ports", port_named_https(a, apiserver_port(s)));
    return doc;
}

static struct json *slice_doc(struct apiserver *s, struct arena *a)
{
    struct json *doc = named(a, "kubernetes");
    json_set(a, json_make(a, doc, "metadata.labels"), "kubernetes.io/service-name",
             json_string_value(a, "kubernetes"));
    bool is_v6 = strchr(s->config.advertise_address, ':') != NULL;
    json_put_str(a, doc, "addressType", is_v6 ? "IPv6" : "IPv4");
    struct json *endpoint = append_object(a, doc, "endpoints", json_new(a, JSON_OBJECT));
    json_append(a, json_make_array(a, endpoint, "addresses"),
                json_string_value(a, s->config.advertise_address));
    json_put_bool(a, endpoint, "conditions.ready", true);
    append_object(a, doc, "ports", port_named_https(a, apiserver_port(s)));
    return doc;
}

/* Pods cannot reach a server on the loopback, and its address is not valid in endpoints. */
static bool is_reachable(const char *address)
{
    return !str_empty(address) && !str_has_prefix(address, "127.") && !str_equal(address, "::1");
}

/* Makes DOC or, where another address or port is advertised now, replaces what is there. */
static int make_current(struct client *c, enum resource_id id, struct json *doc,
                        const char *content, struct error *err)
{
    const struct resource *r = &resources[id];
    struct object_key key = { "default", "kubernetes" };
    scoped(object) struct object *have = NULL;
    struct error miss = { 0 };
    if (client_get(c, r, &key, &have, &miss) < 0)
        return make_object(c, id, "default", doc, err);
    const struct json *is = json_get(have->doc, content), *wanted = json_get(doc, content);
    if (is && json_equal(is, wanted))
        return 0;
    return client_update(c, r, &key, doc, NULL, err);
}

int bootstrap_objects(struct apiserver *s, struct error *err)
{
    static const char *const groups[] = { "system:masters", NULL };
    scoped(arena) struct arena *a = arena_new();
    struct client *c = apiserver_loopback(s, BOOTSTRAP_USER, groups);
    int rc = make_namespaces(c, a, err);
    if (rc == 0)
        rc = make_priority_classes(c, a, err);
    if (rc == 0)
        rc = make_service(s, c, a, err);
    if (rc == 0 && is_reachable(s->config.advertise_address)) {
        rc = make_current(c, RESOURCE_ENDPOINTS, endpoints_doc(s, a), "subsets", err);
        if (rc == 0)
            rc = make_current(c, RESOURCE_ENDPOINTSLICES, slice_doc(s, a), "endpoints", err);
    }
    client_close(c);
    return rc;
}
