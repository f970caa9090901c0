/* SPDX-License-Identifier: Apache-2.0 */
/* bootstrap_objects.c - the objects of an empty cluster, written through the loopback like any
 * other. */
#include "apiserver/bootstrap_objects.h"

#include <arpa/inet.h>

#include "apiserver/apiserver.h"
#include "apiserver/kubernetes_endpoints.h"
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
    struct error miss = { 0 }, failure = { 0 };
    if (client_get(c, r, &key, &have, &miss) == 0 ||
        client_create(c, r, ns, doc, NULL, &failure) == 0)
        return 0;
    /* Another server that starts now has just made it, or has taken the address for it. */
    if (failure.code == ERR_ALREADY_EXISTS || client_get(c, r, &key, &have, &miss) == 0)
        return 0;
    *err = failure;
    return error_wrap(err, "make %s %s", r->kind, key.name);
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

int bootstrap_kubernetes_service(struct apiserver *s, struct client *c, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    const char *address = first_address(s->config.service_cidr, a, err);
    if (!address)
        return -1;
    struct json *doc = named(a, "kubernetes");
    json_put_str(a, json_make(a, doc, "metadata.labels"), "component", "apiserver");
    json_put_str(a, json_make(a, doc, "metadata.labels"), "provider", "kubernetes");
    json_put_str(a, doc, "spec.clusterIP", address);
    json_put_str(a, doc, "spec.type", "ClusterIP");
    json_put_str(a, doc, "spec.sessionAffinity", "None");
    struct json *port = kubernetes_port(a, doc, "spec.ports", 443);
    json_put_int(a, port, "targetPort", apiserver_port(s));
    return make_object(c, RESOURCE_SERVICES, "default", doc, err);
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
        rc = bootstrap_kubernetes_service(s, c, err);
    client_close(c);
    return rc;
}
