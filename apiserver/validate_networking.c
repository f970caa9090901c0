/* SPDX-License-Identifier: Apache-2.0 */
/* validate_networking.c - Ingress, NetworkPolicy, address ranges, endpoints. */

#include <arpa/inet.h>

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

static const struct json empty_text = { .type = JSON_STRING, .string = "" };
static const struct json nothing = { .type = JSON_NULL };

/* ---- Ingress ---- */

static const struct rule backend_resource_rules[] = {
    FORMAT("apiGroup", dns_subdomain_fault), REQUIRED_BECAUSE("kind", "kind is required"),
    FORMAT("kind", path_segment_fault),      REQUIRED_BECAUSE("name", "name is required"),
    FORMAT("name", path_segment_fault),      RULES_END,
};

static const struct rule backend_service_rules[] = {
    REQUIRED_FORMAT("name", dns_label_fault),
    FORMAT("port.name", port_name_fault),
    RULES_END,
};

static void check_backend(struct field_errors *v, const struct place *at,
                          const struct json *backend)
{
    const struct json *resource = json_get(backend, "resource"),
                      *service = json_get(backend, "service");
    struct place resource_at = place_in(at, "resource"), service_at = place_in(at, "service"),
                 port_at = place_in(&service_at, "port");
    if (resource && service) {
        fail(v, at, FIELD_INVALID, &empty_text, "cannot set both resource and service backends");
    } else if (resource) {
        check_rules(v, &resource_at, NULL, resource, backend_resource_rules);
    } else if (service) {
        const struct json *number = json_at(service, "port.number");
        bool has_name = !str_empty(json_str(service, "port.name", ""));
        bool has_number = json_is(number, JSON_INT) && number->integer;
        check_rules(v, &service_at, NULL, service, backend_service_rules);
        if (has_name && has_number)
            fail(v, at, FIELD_INVALID, &empty_text, "cannot set both port name & port number");
        else if (has_number && port_number_fault(number->integer))
            fail_field(v, &port_at, "number", FIELD_INVALID, number,
                       port_number_fault(number->integer));
        else if (!has_name && !has_number)
            fail(v, at, FIELD_REQUIRED, NULL, "port name or number is required");
    } else {
        fail(v, at, FIELD_INVALID, &empty_text, "resource or service backend is required");
    }
}

static void check_default_backend(struct field_errors *v, const struct place *at,
                                  const struct json *backend)
{
    if (backend)
        check_backend(v, at, backend);
}

static void check_ingress_has_rules(struct field_errors *v, const struct place *at,
                                    const struct json *spec)
{
    if (json_len(spec, "rules") == 0 && !json_get(spec, "defaultBackend"))
        fail(v, at, FIELD_INVALID, &nothing,
             "either `defaultBackend` or `rules` must be specified");
}

static const char *host_fault(const char *host)
{
    if (!ip_fault(host))
        return "must be a DNS name, not an IP address";
    return strchr(host, '*') ? wildcard_subdomain_fault(host) : dns_subdomain_fault(host);
}

static const char *tls_host_fault(const char *host)
{
    return strchr(host, '*') ? wildcard_subdomain_fault(host) : dns_subdomain_fault(host);
}

/* What `Exact` and `Prefix` compare must have one form only. */
static void check_http_path(struct field_errors *v, const struct place *at, const struct json *rule)
{
    static const struct {
        const char *text, *detail;
        bool at_end;
    } refused[] = {
        { "//", "must not contain '//'", false },     { "/./", "must not contain '/./'", false },
        { "/../", "must not contain '/../'", false }, { "%2f", "must not contain '%2f'", false },
        { "%2F", "must not contain '%2F'", false },   { "/..", "cannot end with '/..'", true },
        { "/.", "cannot end with '/.'", true },
    };
    const struct json *value = json_get(rule, "path");
    const char *path = json_text(value) ? json_text(value) : "";
    const char *type = json_str(rule, "pathType", "");
    bool is_compared = str_equal(type, "Exact") || str_equal(type, "Prefix");
    if (!is_compared && (!str_equal(type, "ImplementationSpecific") || !*path))
        return;
    if (*path != '/')
        fail_field(v, at, "path", FIELD_INVALID, value ? value : &empty_text,
                   "must be an absolute path");
    for (size_t i = 0; is_compared && i < ARRAY_LEN(refused); i++) {
        if (refused[i].at_end ? str_has_suffix(path, refused[i].text)
                              : strstr(path, refused[i].text) != NULL)
            fail_field(v, at, "path", FIELD_INVALID, value, refused[i].detail);
    }
}

static const struct rule http_path_rules[] = {
    REQUIRED_BECAUSE("pathType", "pathType must be specified"),
    BLOCK("", check_http_path),
    ONE_OF("pathType", "Exact", "ImplementationSpecific", "Prefix"),
    BLOCK("backend", check_backend),
    RULES_END,
};

static void check_class_once(struct field_errors *v, const struct place *at,
                             const struct json *ingress)
{
    static const char key[] = "kubernetes.io/ingress.class";
    const struct json *annotation = json_get(json_at(ingress, "metadata.annotations"), key);
    const char *class = json_str(ingress, "spec.ingressClassName", "");
    struct place annotations = place_in(at, "annotations");
    if (annotation && *class && !str_equal(json_text(annotation), class))
        fail_field(v, &annotations, key, FIELD_INVALID, annotation,
                   "must match `ingressClassName` when both are specified");
}

const struct rule ingress_rules[] = {
    CREATE("", check_class_once),
    BLOCK("spec", check_ingress_has_rules),
    BLOCK("spec.defaultBackend", check_default_backend),
    FORMAT("spec.rules[*].host", host_fault),
    REQUIRED("spec.rules[*].http?.paths"),
    RULES("spec.rules[*].http?.paths[*]", http_path_rules),
    FORMAT("spec.tls[*].hosts[*]", tls_host_fault),
    FORMAT("spec.tls[*].secretName", dns_subdomain_fault),
    FORMAT("spec.ingressClassName", dns_subdomain_fault),
    RULES_END,
};

static const char *load_balancer_host_fault(const char *host)
{
    return ip_fault(host) ? dns_subdomain_fault(host) : "must be a DNS name, not an IP address";
}

const struct rule ingress_status_rules[] = {
    FORMAT("status.loadBalancer.ingress[*].ip", ip_fault),
    FORMAT("status.loadBalancer.ingress[*].hostname", load_balancer_host_fault),
    RULES_END,
};

static void check_parameters_scope(struct field_errors *v, const struct place *at,
                                   const struct json *parameters)
{
    const char *scope = json_str(parameters, "scope", "");
    bool has_namespace = json_get(parameters, "namespace") != NULL;
    if (str_equal(scope, "Namespace") && !has_namespace)
        fail_field(v, at, "namespace", FIELD_REQUIRED, NULL,
                   "`parameters.scope` is set to 'Namespace'");
    if (str_equal(scope, "Cluster") && has_namespace)
        fail_field(v, at, "namespace", FIELD_FORBIDDEN, NULL,
                   "`parameters.scope` is set to 'Cluster'");
}

const struct rule ingress_class_rules[] = {
    REQUIRED("spec.controller"),
    BYTES_MAX("spec.controller", 250),
    FORMAT("spec.controller", domain_prefixed_path_fault),
    RULES("spec.parameters?", backend_resource_rules),
    REQUIRED_ONE_OF("spec.parameters?.scope", "Cluster", "Namespace"),
    BLOCK("spec.parameters", check_parameters_scope),
    IMMUTABLE("spec.controller"),
    RULES_END,
};

/* ---- NetworkPolicy ---- */

static void check_policy_port(struct field_errors *v, const struct place *at,
                              const struct json *rule)
{
    const struct json *port = json_get(rule, "port"), *end = json_get(rule, "endPort");
    const char *wrong = NULL;
    if (json_is(port, JSON_INT))
        wrong = port_number_fault(port->integer);
    else if (json_is(port, JSON_STRING))
        wrong = port_name_fault(port->string);
    if (wrong)
        fail_field(v, at, "port", FIELD_INVALID, port, wrong);
    if (!json_is(end, JSON_INT))
        return;
    if (!port)
        wrong = "may not be specified when `port` is not specified";
    else if (!json_is(port, JSON_INT))
        wrong = "may not be specified when `port` is non-numeric";
    else if (end->integer < port->integer)
        wrong = "must be greater than or equal to `port`";
    else
        wrong = port_number_fault(end->integer);
    if (wrong)
        fail_field(v, at, "endPort", FIELD_INVALID, end, wrong);
}

static const struct rule policy_port_rules[] = {
    ONE_OF("protocol", "SCTP", "TCP", "UDP"),
    BLOCK("", check_policy_port),
    RULES_END,
};

struct range {
    unsigned char ip[16];
    int family, bits;
};

static bool range_parse(const char *text, struct range *r)
{
    char address[INET6_ADDRSTRLEN];
    if (cidr_fault(text))
        return false;
    const char *slash = strchr(text, '/');
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    r->family = strchr(address, ':') ? AF_INET6 : AF_INET;
    r->bits = atoi(slash + 1);
    return inet_pton(r->family, address, r->ip) == 1;
}

static bool is_inside(const struct range *inner, const struct range *outer)
{
    if (inner->family != outer->family || inner->bits <= outer->bits)
        return false;
    for (int bit = 0; bit < outer->bits; bit++) {
        if ((inner->ip[bit / 8] ^ outer->ip[bit / 8]) & (0x80 >> bit % 8))
            return false;
    }
    return true;
}

static void check_exceptions(struct field_errors *v, const struct place *at,
                             const struct json *block)
{
    struct place list = place_in(at, "except");
    struct range outer, inner;
    if (!range_parse(json_str(block, "cidr", ""), &outer))
        return;
    size_t i = 0;
    json_each_item (json_get(block, "except"), except) {
        struct place p = place_item(&list, i++);
        const char *text = json_text(except) ? json_text(except) : "";
        if (range_parse(text, &inner) && !is_inside(&inner, &outer))
            fail(v, &p, FIELD_INVALID, except, "must be a strict subset of `cidr`");
    }
}

static void check_peer_kind(struct field_errors *v, const struct place *at, const struct json *peer)
{
    bool has_selector = json_get(peer, "podSelector") || json_get(peer, "namespaceSelector");
    if (json_get(peer, "ipBlock") && has_selector)
        fail(v, at, FIELD_FORBIDDEN, NULL, "may not specify both ipBlock and another peer");
    else if (!json_get(peer, "ipBlock") && !has_selector)
        fail(v, at, FIELD_REQUIRED, NULL, "must specify a peer");
}

static const struct rule policy_peer_rules[] = {
    BLOCK("podSelector", validate_label_selector),
    BLOCK("namespaceSelector", validate_label_selector),
    REQUIRED_FORMAT("ipBlock?.cidr", cidr_fault),
    FORMAT("ipBlock?.except[*]", cidr_fault),
    BLOCK("ipBlock?", check_exceptions),
    BLOCK("", check_peer_kind),
    RULES_END,
};

static void check_policy_types(struct field_errors *v, const struct place *at,
                               const struct json *types)
{
    if (json_is(types, JSON_ARRAY) && types->len > 2)
        fail(v, at, FIELD_INVALID, types, "may not specify more than two policyTypes");
}

const struct rule network_policy_rules[] = {
    BLOCK("spec.podSelector", validate_label_selector),
    RULES("spec.ingress[*].ports[*]", policy_port_rules),
    RULES("spec.ingress[*].from[*]", policy_peer_rules),
    RULES("spec.egress[*].ports[*]", policy_port_rules),
    RULES("spec.egress[*].to[*]", policy_peer_rules),
    BLOCK("spec.policyTypes", check_policy_types),
    EXACTLY_ONE_OF("spec.policyTypes[*]", "Egress", "Ingress"),
    RULES_END,
};

/* ---- IPAddress, ServiceCIDR ---- */

static void check_address_name(struct field_errors *v, const struct place *at,
                               const struct json *name)
{
    char canonical[INET6_ADDRSTRLEN];
    unsigned char ip[16];
    const char *text = json_text(name) ? json_text(name) : "";
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (!*text)
        return;
    if (inet_pton(family, text, ip) != 1)
        fail(v, at, FIELD_INVALID, name, ip_fault(""));
    else if (strcmp(inet_ntop(family, ip, canonical, sizeof(canonical)), text) != 0)
        fail(v, at, FIELD_INVALID, name, "must be an IP address in canonical form");
}

const struct rule ip_address_rules[] = {
    BLOCK("metadata.name", check_address_name),
    REQUIRED("spec.parentRef"),
    FORMAT("spec.parentRef?.group", dns_subdomain_fault),
    REQUIRED_FORMAT("spec.parentRef?.resource", path_segment_fault),
    REQUIRED_FORMAT("spec.parentRef?.name", path_segment_fault),
    FORMAT("spec.parentRef?.namespace", path_segment_fault),
    IMMUTABLE("spec.parentRef"),
    RULES_END,
};

static void check_two_families(struct field_errors *v, const struct place *at,
                               const struct json *cidrs)
{
    struct range first, second;
    if (!json_is(cidrs, JSON_ARRAY) || cidrs->len < 2)
        return;
    if (cidrs->len > 2)
        fail(v, at, FIELD_INVALID, cidrs, "may only hold up to 2 values");
    else if (range_parse(json_text(&cidrs->items[0]), &first) &&
             range_parse(json_text(&cidrs->items[1]), &second) && first.family == second.family)
        fail(v, at, FIELD_INVALID, cidrs,
             "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and "
             "2001:db8::/64");
}

/* A cluster may become dual-stack: the first range stays, a second may be added. */
static void check_cidrs_kept(struct field_errors *v, const struct place *at, const struct json *old,
                             const struct json *new)
{
    if (!old || !new)
        return;
    bool is_kept = new->len >= old->len &&new->len <= 2;
    for (uint32_t i = 0; is_kept && i < old->len; i++)
        is_kept = json_equal(&old->items[i], &new->items[i]);
    if (!is_kept)
        fail(v, at, FIELD_INVALID, new, "field is immutable");
}

const struct rule service_cidr_rules[] = {
    REQUIRED_BECAUSE("spec.cidrs", "at least one CIDR required"),
    FORMAT("spec.cidrs[*]", cidr_fault),
    BLOCK("spec.cidrs", check_two_families),
    UPDATE("spec.cidrs", check_cidrs_kept),
    RULES_END,
};

/* ---- Endpoints ---- */

static const struct rule endpoint_address_rules[] = {
    FORMAT("ip", endpoint_ip_fault),
    FORMAT("hostname", dns_label_fault),
    FORMAT("nodeName", dns_subdomain_fault),
    RULES_END,
};

static const struct rule endpoint_port_rules[] = {
    FORMAT("name", dns_label_fault),
    PORT("port"),
    REQUIRED_ONE_OF("protocol", "SCTP", "TCP", "UDP"),
    FORMAT("appProtocol", label_key_fault),
    RULES_END,
};

static void check_subset(struct field_errors *v, const struct place *at, const struct json *subset)
{
    struct place ports = place_in(at, "ports");
    if (json_len(subset, "addresses") + json_len(subset, "notReadyAddresses") == 0)
        fail(v, at, FIELD_REQUIRED, NULL, "must specify `addresses` or `notReadyAddresses`");
    size_t i = 0;
    json_each_item (json_get(subset, "ports"), port) {
        struct place p = place_item(&ports, i++);
        if (json_len(subset, "ports") > 1)
            check_required(v, &p, port, "name");
    }
}

const struct rule endpoints_rules[] = {
    BLOCK("subsets[*]", check_subset),
    RULES("subsets[*].addresses[*]", endpoint_address_rules),
    RULES("subsets[*].notReadyAddresses[*]", endpoint_address_rules),
    RULES("subsets[*].ports[*]", endpoint_port_rules),
    RULES_END,
};

/* ---- EndpointSlice ---- */

static const char *fqdn_fault(const char *s)
{
    if (!strchr(s, '.'))
        return "should be a domain with at least two segments separated by dots";
    return dns_subdomain_fault(s);
}

static void check_slice_addresses(struct field_errors *v, const struct place *at,
                                  const struct json *slice)
{
    const char *type = json_str(slice, "addressType", "");
    const char *(*fault)(const char *) = str_equal(type, "IPv4")   ? ipv4_fault
                                         : str_equal(type, "IPv6") ? ipv6_fault
                                         : str_equal(type, "FQDN") ? fqdn_fault
                                                                   : NULL;
    struct place list = place_in(at, "endpoints");
    size_t i = 0;
    json_each_item (json_get(slice, "endpoints"), endpoint) {
        struct place p = place_item(&list, i++), addresses = place_in(&p, "addresses");
        size_t k = 0;
        json_each_item (json_get(endpoint, "addresses"), address) {
            struct place one = place_item(&addresses, k++);
            const char *text = json_text(address) ? json_text(address) : "";
            const char *wrong = fault ? fault(text) : NULL;
            if (!wrong && fault && fault != fqdn_fault)
                wrong = endpoint_ip_fault(text);
            if (wrong)
                fail(v, &one, FIELD_INVALID, address, wrong);
        }
    }
}

static const struct rule endpoint_rules[] = {
    REQUIRED_BECAUSE("addresses", "must contain at least 1 address"),
    ITEMS_MAX("addresses", 100),
    FORMAT("nodeName", dns_subdomain_fault),
    ITEMS_MAX("deprecatedTopology", 16),
    FORMAT("hostname", dns_label_fault),
    ITEMS_MAX("hints.forZones", 8),
    UNIQUE("hints.forZones", "name"),
    FORMAT("hints.forZones[*].name", label_value_fault),
    ITEMS_MAX("hints.forNodes", 8),
    RULES_END,
};

const struct rule endpoint_slice_rules[] = {
    REQUIRED_ONE_OF("addressType", "FQDN", "IPv4", "IPv6"),
    ITEMS_MAX("endpoints", 1000),
    BLOCK("", check_slice_addresses),
    RULES("endpoints[*]", endpoint_rules),
    ITEMS_MAX("ports", 20000),
    UNIQUE("ports", "name"),
    FORMAT("ports[*].name", dns_label_fault),
    ONE_OF("ports[*].protocol", "SCTP", "TCP", "UDP"),
    FORMAT("ports[*].appProtocol", label_key_fault),
    IMMUTABLE("addressType"),
    RULES_END,
};
