/* SPDX-License-Identifier: Apache-2.0 */
/* validate_core.c - Services, ConfigMaps, Secrets, Nodes. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"
#include "base/crypto.h"

#define DATA_BYTES_MAX (1024 * 1024)
#define AFFINITY_S_MAX 86400

static const struct json empty_text = { .type = JSON_STRING, .string = "" };
static const struct place at_spec = { .name = "spec" };
static const struct place at_metadata = { .name = "metadata" };

/* ---- Service ---- */

static bool is_repeated_port(const struct json *ports, const struct json *port, size_t before,
                             const char *field)
{
    for (size_t i = 0; i < before; i++) {
        const struct json *other = &ports->items[i];
        if (json_int(other, field, 0) == json_int(port, field, 0) && json_int(port, field, 0) &&
            str_equal(json_str(other, "protocol", ""), json_str(port, "protocol", "")))
            return true;
    }
    return false;
}

static void validate_service_port(struct field_errors *v, const struct place *at,
                                  const struct json *ports, size_t index, const char *type)
{
    static const char *const protocols[] = { "TCP", "UDP", "SCTP", NULL };
    const struct json *port = &ports->items[index], *target = json_get(port, "targetPort");
    const struct json *name = json_get(port, "name");
    static const struct json zero = { .type = JSON_INT };
    int64_t number = json_int(port, "port", 0);
    if (ports->len > 1 && str_empty(json_text(name)))
        fail_field(v, at, "name", FIELD_REQUIRED, NULL, "");
    check_format(v, at, port, "name", dns_label_fault);
    for (size_t i = 0; i < index && !str_empty(json_text(name)); i++) {
        if (str_equal(json_str(&ports->items[i], "name", ""), name->string))
            fail_field(v, at, "name", FIELD_DUPLICATE, name, "");
    }
    if (port_number_fault(number))
        fail_field(v, at, "port", FIELD_INVALID,
                   json_get(port, "port") ? json_get(port, "port") : &zero,
                   port_number_fault(number));
    check_one_of(v, at, port, "protocol", protocols, true);
    const char *wrong = json_is(target, JSON_STRING) ? port_name_fault(target->string)
                        : json_is(target, JSON_INT)  ? port_number_fault(target->integer)
                                                     : NULL;
    if (wrong)
        fail_field(v, at, "targetPort", FIELD_INVALID, target, wrong);
    check_format(v, at, port, "appProtocol", label_key_fault);
    if (json_int(port, "nodePort", 0) && str_equal(type, "ClusterIP"))
        fail_field(v, at, "nodePort", FIELD_FORBIDDEN, NULL,
                   "may not be used when `type` is 'ClusterIP'");
    if (is_repeated_port(ports, port, index, "nodePort"))
        fail_field(v, at, "nodePort", FIELD_DUPLICATE, json_get(port, "nodePort"), "");
    if (is_repeated_port(ports, port, index, "port"))
        fail(v, at, FIELD_DUPLICATE, port, "");
}

/* A final dot says that the name is complete. */
static const char *rooted_subdomain_fault(const char *name)
{
    char bare[SUBDOMAIN_BYTES_MAX + 2];
    size_t n = strlen(name);
    if (name[n - 1] != '.' || n > SUBDOMAIN_BYTES_MAX)
        return dns_subdomain_fault(name);
    snprintf(bare, sizeof(bare), "%.*s", (int)n - 1, name);
    return dns_subdomain_fault(bare);
}

static void validate_service_address(struct field_errors *v, const struct json *spec,
                                     const char *type)
{
    const struct json *ip = json_get(spec, "clusterIP"), *ips = json_get(spec, "clusterIPs");
    const struct place list = place_in(&at_spec, "clusterIPs"), first = place_item(&list, 0);
    const char *text = json_text(ip) ? json_text(ip) : "";
    if (str_equal(type, "ExternalName")) {
        const struct json *external = json_get(spec, "externalName");
        static const char refused[] = "may not be set for ExternalName services";
        if (*text || json_len(ips, "") > 0)
            fail(v, &list, FIELD_FORBIDDEN, NULL, refused);
        if (json_len(spec, "ipFamilies") > 0)
            fail_field(v, &at_spec, "ipFamilies", FIELD_FORBIDDEN, NULL, refused);
        if (json_get(spec, "ipFamilyPolicy"))
            fail_field(v, &at_spec, "ipFamilyPolicy", FIELD_FORBIDDEN, NULL, refused);
        if (str_empty(json_text(external)))
            fail_field(v, &at_spec, "externalName", FIELD_REQUIRED, NULL, "");
        else
            check_format(v, &at_spec, spec, "externalName", rooted_subdomain_fault);
        return;
    }
    if (str_equal(text, "None")) {
        if (!str_equal(type, "ClusterIP"))
            fail(v, &first, FIELD_INVALID, ip,
                 str_equal(type, "NodePort")
                     ? "may not be set to 'None' for NodePort services"
                     : "may not be set to 'None' for LoadBalancer services");
        return;
    }
    if (*text && ip_fault(text))
        fail(v, &first, FIELD_INVALID, ip, ip_fault(text));
    const struct json *head = json_items_begin(ips);
    if (*text && head && !json_equal(head, ip))
        fail(v, &list, FIELD_INVALID, ips, "first value must match `clusterIP`");
}

static void validate_affinity_time(struct field_errors *v, const struct json *spec)
{
    static const char *const kinds[] = { "ClientIP", "None", NULL };
    const struct json *seconds = json_at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds");
    const struct place config = place_in(&at_spec, "sessionAffinityConfig"),
                       client = place_in(&config, "clientIP");
    bool has_affinity = str_equal(json_str(spec, "sessionAffinity", ""), "ClientIP");
    check_one_of(v, &at_spec, spec, "sessionAffinity", kinds, true);
    if (has_affinity && json_is(seconds, JSON_INT) &&
        (seconds->integer <= 0 || seconds->integer > AFFINITY_S_MAX))
        fail_field(v, &client, "timeoutSeconds", FIELD_INVALID, seconds,
                   "must be greater than 0 and less than 86400");
    if (str_equal(json_str(spec, "sessionAffinity", ""), "None") &&
        json_get(spec, "sessionAffinityConfig"))
        fail(v, &config, FIELD_FORBIDDEN, NULL, "must not be set when session affinity is None");
}

/* What only load balancers have; upstream spells the ranges' path with a capital. */
static void validate_load_balancer(struct field_errors *v, const struct json *spec,
                                   const char *type)
{
    static const char only[] = "may only be used when `type` is 'LoadBalancer'";
    bool is_balancer = str_equal(type, "LoadBalancer");
    const struct place ranges = place_in(&at_spec, "LoadBalancerSourceRanges");
    size_t i = 0;
    if (!is_balancer && json_len(spec, "loadBalancerSourceRanges") > 0)
        fail(v, &ranges, FIELD_FORBIDDEN, NULL, only);
    json_each_item (json_get(spec, "loadBalancerSourceRanges"), range) {
        struct place p = place_item(&ranges, i++);
        if (is_balancer && json_text(range) && cidr_fault(json_text(range)))
            fail(v, &p, FIELD_INVALID, range, cidr_fault(json_text(range)));
    }
    if (!is_balancer && json_get(spec, "allocateLoadBalancerNodePorts"))
        fail_field(v, &at_spec, "allocateLoadBalancerNodePorts", FIELD_FORBIDDEN, NULL, only);
    if (!is_balancer && json_get(spec, "loadBalancerClass"))
        fail_field(v, &at_spec, "loadBalancerClass", FIELD_FORBIDDEN, NULL, only);
    check_format(v, &at_spec, spec, "loadBalancerClass", label_key_fault);
}

static void validate_traffic(struct field_errors *v, const struct json *spec, const char *type)
{
    static const char *const policies[] = { "Cluster", "Local", NULL };
    const struct json *external = json_get(spec, "externalTrafficPolicy"),
                      *health = json_get(spec, "healthCheckNodePort");
    bool is_balancer = str_equal(type, "LoadBalancer");
    bool is_outside = is_balancer || str_equal(type, "NodePort") ||
                      (str_equal(type, "ClusterIP") && json_len(spec, "externalIPs") > 0);
    if (is_outside)
        check_one_of(v, &at_spec, spec, "externalTrafficPolicy", policies, true);
    else if (!str_empty(json_text(external)))
        fail_field(v, &at_spec, "externalTrafficPolicy", FIELD_INVALID, external,
                   "may only be set for externally-accessible services");
    if (json_is(health, JSON_INT) && health->integer &&
        !(is_balancer && str_equal(json_text(external), "Local")))
        fail_field(v, &at_spec, "healthCheckNodePort", FIELD_INVALID, health,
                   "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
                   "'Local'");
    check_one_of(v, &at_spec, spec, "internalTrafficPolicy", policies,
                 is_balancer || str_equal(type, "NodePort") || str_equal(type, "ClusterIP"));
}

static const struct rule service_rules[] = {
    BLOCK("spec.selector", validate_labels),
    EXACTLY_ONE_OF("spec.ipFamilies[*]", "IPv4", "IPv6"),
    UNIQUE("spec.ipFamilies", ""),
    ONE_OF("spec.ipFamilyPolicy", "PreferDualStack", "RequireDualStack", "SingleStack"),
    FORMAT("spec.externalIPs[*]", endpoint_ip_fault),
    REQUIRED_ONE_OF("spec.type", "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
    ONE_OF("spec.trafficDistribution", "PreferClose", "PreferSameNode", "PreferSameZone"),
    RULES_END,
};

void validate_service(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *spec = json_get(doc, "spec"), *ports = json_get(spec, "ports");
    const char *type = json_str(spec, "type", "");
    const struct place list = place_in(&at_spec, "ports");
    bool is_headless = str_equal(json_str(spec, "clusterIP", ""), "None");
    (void)c;
    if (json_len(spec, "ports") == 0 && !is_headless && !str_equal(type, "ExternalName"))
        fail(v, &list, FIELD_REQUIRED, NULL, "");
    validate_service_address(v, spec, type);
    for (size_t i = 0; json_is(ports, JSON_ARRAY) && i < ports->len; i++) {
        struct place p = place_item(&list, i);
        validate_service_port(v, &p, ports, i, type);
    }
    validate_affinity_time(v, spec);
    check_rules(v, NULL, NULL, doc, service_rules);
    validate_load_balancer(v, spec, type);
    validate_traffic(v, spec, type);
}

void validate_service_update(struct strategy_call *c, const struct object *old,
                             const struct json *doc, struct field_errors *v)
{
    const struct place list = place_in(&at_spec, "clusterIPs"), first = place_item(&list, 0);
    const char *had = json_str(old->doc, "spec.clusterIP", "");
    const struct json *has = json_at(doc, "spec.clusterIP");
    const struct json *all = json_at(doc, "spec.clusterIPs");
    bool was_external = str_equal(json_str(old->doc, "spec.type", ""), "ExternalName");
    bool is_external = str_equal(json_str(doc, "spec.type", ""), "ExternalName");
    (void)c;
    if (*had && !was_external && !is_external && !str_equal(had, json_text(has)))
        fail(v, &first, FIELD_INVALID, all ? all : &empty_text, "may not change once set");
}

/* ---- ConfigMap, Secret ---- */

static size_t validate_keys(struct field_errors *v, const char *field, const struct json *data)
{
    struct place at = place_root(field);
    size_t bytes = 0;
    json_each_member (data, m) {
        struct place p = place_key(&at, m->name);
        struct json key = { .type = JSON_STRING,
                            .len = (uint32_t)strlen(m->name),
                            .string = m->name };
        if (config_key_fault(m->name))
            fail(v, &p, FIELD_INVALID, &key, config_key_fault(m->name));
        bytes += m->value.len;
    }
    return bytes;
}

void validate_config_map(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *data = json_get(doc, "data"), *binary = json_get(doc, "binaryData");
    struct place at = place_root("data");
    (void)c;
    json_each_member (data, m) {
        struct place p = place_key(&at, m->name);
        struct json key = { .type = JSON_STRING,
                            .len = (uint32_t)strlen(m->name),
                            .string = m->name };
        if (json_get(binary, m->name))
            fail(v, &p, FIELD_INVALID, &key, "duplicate of key present in binaryData");
    }
    size_t bytes = validate_keys(v, "data", data);
    bytes += validate_keys(v, "binaryData", binary) / 4 * 3;
    if (bytes > DATA_BYTES_MAX)
        field_error_add(v, FIELD_TOO_LONG, "[]", NULL, "may not be more than 1048576 bytes");
}

/* The file a registry's credentials are in; its bytes are a secret, so no error shows them. */
static void check_docker_config(struct field_errors *v, const char *type, const struct json *data)
{
    static const char *const keys[] = { ".dockercfg", ".dockerconfigjson" };
    static const struct json hidden = { .type = JSON_STRING,
                                        .len = 26,
                                        .string = "<secret contents redacted>" };
    struct place at = place_root("data");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = json_text(json_get(data, keys[i]));
        struct place p = place_key(&at, keys[i]);
        struct error err = { 0 };
        struct bytes raw;
        if (!str_has_prefix(type, "kubernetes.io/dockerc") || !text ||
            !str_equal(type + strlen("kubernetes.io/"), keys[i] + 1))
            continue;
        if (base64_decode(bytes_of(text), v->arena, &raw) < 0 ||
            !json_is(json_parse(raw, v->arena, NULL, &err), JSON_OBJECT))
            fail(v, &p, FIELD_INVALID, &hidden, err.message);
    }
}

void validate_secret(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    static const struct {
        const char *type, *key;
    } required[] = {
        { "kubernetes.io/dockercfg", ".dockercfg" },
        { "kubernetes.io/dockerconfigjson", ".dockerconfigjson" },
        { "kubernetes.io/ssh-auth", "ssh-privatekey" },
        { "kubernetes.io/tls", "tls.crt" },
        { "kubernetes.io/tls", "tls.key" },
    };
    const struct json *data = json_get(doc, "data");
    const char *type = json_str(doc, "type", "");
    struct place at = place_root("data");
    (void)c;
    if (validate_keys(v, "data", data) / 4 * 3 > DATA_BYTES_MAX)
        fail(v, &at, FIELD_TOO_LONG, NULL, "may not be more than 1048576 bytes");
    for (size_t i = 0; i < ARRAY_LEN(required); i++) {
        struct place p = place_key(&at, required[i].key);
        if (str_equal(type, required[i].type) && !json_get(data, required[i].key))
            fail(v, &p, FIELD_REQUIRED, NULL, "");
    }
    check_docker_config(v, type, data);
    if (str_equal(type, "kubernetes.io/basic-auth") && !json_get(data, "username") &&
        !json_get(data, "password")) {
        struct place user = place_key(&at, "username"), password = place_key(&at, "password");
        fail(v, &user, FIELD_REQUIRED, NULL, "");
        fail(v, &password, FIELD_REQUIRED, NULL, "");
    }
    const struct json *annotations = json_at(doc, "metadata.annotations");
    struct place list = place_in(&at_metadata, "annotations"),
                 account = place_key(&list, "kubernetes.io/service-account.name");
    if (str_equal(type, "kubernetes.io/service-account-token") &&
        str_empty(json_text(json_get(annotations, account.key))))
        fail(v, &account, FIELD_REQUIRED, NULL, "");
}

static bool is_same(const struct json *a, const struct json *b, const char *field)
{
    const struct json *x = json_get(a, field), *y = json_get(b, field);
    if (json_len(x, "") == 0 && json_len(y, "") == 0)
        return true;
    return x && y && json_equal(x, y);
}

static void validate_frozen(const struct object *old, const struct json *doc,
                            struct field_errors *v)
{
    static const char *const fields[] = { "data", "binaryData" };
    if (!json_bool(old->doc, "immutable", false))
        return;
    if (!json_bool(doc, "immutable", false))
        field_error_add(v, FIELD_FORBIDDEN, "immutable", NULL,
                        "field is immutable when `immutable` is set");
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!is_same(old->doc, doc, fields[i]))
            field_error_add(v, FIELD_FORBIDDEN, fields[i], NULL,
                            "field is immutable when `immutable` is set");
    }
}

void validate_config_map_update(struct strategy_call *c, const struct object *old,
                                const struct json *doc, struct field_errors *v)
{
    (void)c;
    validate_frozen(old, doc, v);
}

void validate_secret_update(struct strategy_call *c, const struct object *old,
                            const struct json *doc, struct field_errors *v)
{
    (void)c;
    if (!str_equal(json_str(old->doc, "type", ""), json_str(doc, "type", "")))
        field_error_add(v, FIELD_INVALID, "type", json_get(doc, "type"), "field is immutable");
    validate_frozen(old, doc, v);
}

/* ---- Node ---- */

void validate_node(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *spec = json_get(doc, "spec");
    const struct place taints = place_in(&at_metadata, "taints"),
                       cidrs = place_in(&at_spec, "podCIDRs");
    size_t i = 0;
    (void)c;
    validate_taints(v, &taints, json_get(spec, "taints"));
    if (json_len(spec, "podCIDRs") > 2)
        fail(v, &cidrs, FIELD_INVALID, json_get(spec, "podCIDRs"),
             "may specify no more than one CIDR for each IP family");
    json_each_item (json_get(spec, "podCIDRs"), cidr) {
        struct place p = place_item(&cidrs, i++);
        if (json_text(cidr) && cidr_fault(json_text(cidr)))
            fail(v, &p, FIELD_INVALID, cidr, cidr_fault(json_text(cidr)));
    }
}

void validate_node_update(struct strategy_call *c, const struct object *old, const struct json *doc,
                          struct field_errors *v)
{
    const struct json *had = json_get(old->doc, "spec"), *has = json_get(doc, "spec");
    (void)c;
    if (json_len(had, "podCIDRs") > 0 && !is_same(had, has, "podCIDRs"))
        fail_field(v, &at_spec, "podCIDRs", FIELD_FORBIDDEN, NULL,
                   "node updates may not change podCIDR except from \"\" to valid");
    if (!str_empty(json_str(had, "providerID", "")) &&
        !str_equal(json_str(had, "providerID", ""), json_str(has, "providerID", "")))
        fail_field(v, &at_spec, "providerID", FIELD_FORBIDDEN, NULL,
                   "node updates may not change providerID except from \"\" to valid");
}
