/* SPDX-License-Identifier: Apache-2.0 */
/* validate_cluster.c - kinds by which the cluster runs itself: namespaces, events, leases,
 * certificates, aggregated APIs, flow control. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define SIGNER_BYTES_MAX 571

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

/* ---- Namespace ---- */

/* Upstream leaves the index out of the path. */
static void check_namespace_finalizers(struct field_errors *v, const struct place *at,
                                       const struct json *finalizers)
{
    json_each_item (finalizers, f) {
        const char *text = json_text(f) ? json_text(f) : "", *wrong = label_key_fault(text);
        if (wrong)
            fail(v, at, FIELD_INVALID, f, wrong);
        else if (!strchr(text, '/') && !str_equal(text, "kubernetes") &&
                 !str_equal(text, "orphan") && !str_equal(text, "foregroundDeletion"))
            fail(v, at, FIELD_INVALID, f,
                 "name is neither a standard finalizer name nor is it fully qualified");
    }
}

const struct rule namespace_rules[] = {
    BLOCK("spec.finalizers", check_namespace_finalizers),
    RULES_END,
};

static void check_phase(struct field_errors *v, const struct place *at, const struct json *ns)
{
    const struct json *phase = json_at(ns, "status.phase");
    bool is_deleting = json_at(ns, "metadata.deletionTimestamp");
    struct place status = place_in(at, "status");
    if (is_deleting && !str_equal(json_text(phase), "Terminating"))
        fail_field(v, &status, "Phase", FIELD_INVALID, phase ? phase : &empty_text,
                   "may only be 'Terminating' if `deletionTimestamp` is not empty");
    else if (!is_deleting && !str_equal(json_text(phase), "Active"))
        fail_field(v, &status, "Phase", FIELD_INVALID, phase ? phase : &empty_text,
                   "may only be 'Active' if `deletionTimestamp` is empty");
}

const struct rule namespace_status_rules[] = { BLOCK("", check_phase), RULES_END };

/* ---- Event ---- */

static void check_event_namespace(struct field_errors *v, const struct place *at,
                                  const struct json *event)
{
    const char *ns = json_str(event, "metadata.namespace", "");
    const struct json *involved = json_at(event, "involvedObject.namespace");
    struct place object = place_in(at, "involvedObject");
    bool is_for_cluster = str_empty(json_text(involved));
    bool is_system = str_equal(ns, "default") || str_equal(ns, "kube-system");
    if (is_for_cluster ? !is_system : !str_equal(involved->string, ns))
        fail_field(v, &object, "namespace", FIELD_INVALID, involved ? involved : &empty_text,
                   "does not match event.namespace");
}

const struct rule event_rules[] = { BLOCK("", check_event_namespace), RULES_END };

/* ---- Lease, ControllerRevision, PodTemplate ---- */

static void check_preferred_holder(struct field_errors *v, const struct place *at,
                                   const struct json *spec)
{
    if (!str_empty(json_str(spec, "preferredHolder", "")) && !json_get(spec, "strategy"))
        fail_field(v, at, "preferredHolder", FIELD_FORBIDDEN, NULL,
                   "may only be specified if `strategy` is defined");
}

const struct rule lease_rules[] = {
    ABOVE_ZERO("spec.leaseDurationSeconds"),
    NOT_NEGATIVE("spec.leaseTransitions"),
    BLOCK("spec", check_preferred_holder),
    RULES_END,
};

static void check_revision_data(struct field_errors *v, const struct place *at,
                                const struct json *data)
{
    if (!json_is(data, JSON_OBJECT))
        fail(v, at, FIELD_REQUIRED, NULL, "data is mandatory");
}

const struct rule controller_revision_rules[] = {
    NOT_NEGATIVE("revision"),
    BLOCK("data", check_revision_data),
    IMMUTABLE("data"),
    RULES_END,
};

const struct rule pod_template_rules[] = {
    BLOCK("template", validate_pod_template),
    RULES_END,
};

/* ---- CertificateSigningRequest ---- */

/* DOMAIN/PATH, the domain with a dot in it. */
static const char *signer_fault(const char *name)
{
    const char *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : 0;
    if (!slash || !slash[1] || strchr(slash + 1, '/'))
        return "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    if (strlen(name) > SIGNER_BYTES_MAX)
        return "must be no more than 571 bytes";
    if (!memchr(name, '.', n))
        return "should be a domain with at least two segments separated by dots";
    if (!is_dns_subdomain((struct bytes){ name, n }) || !is_dns_subdomain(bytes_of(slash + 1)))
        return DNS_SUBDOMAIN_FAULT;
    if (str_equal(name, "kubernetes.io/legacy-unknown"))
        return "the legacy signerName is not allowed via this API version";
    return NULL;
}

static void check_conditions(struct field_errors *v, const struct place *at,
                             const struct json *conditions)
{
    bool is_approved = false, is_denied = false;
    json_each_item (conditions, c) {
        is_approved |= str_equal(json_str(c, "type", ""), "Approved");
        is_denied |= str_equal(json_str(c, "type", ""), "Denied");
    }
    if (is_approved && is_denied)
        fail(v, at, FIELD_INVALID, conditions,
             "Approved and Denied conditions are mutually exclusive");
}

static void check_verdict_kept(struct field_errors *v, const struct place *at,
                               const struct json *old, const struct json *new)
{
    static const char *const types[] = { "Approved", "Denied", "Failed" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        bool had = false, has = false;
        json_each_item (old, c) {
            had |= str_equal(json_str(c, "type", ""), types[i]);
        }
        json_each_item (new, c) {
            has |= str_equal(json_str(c, "type", ""), types[i]);
        }
        char detail[96];
        snprintf(detail, sizeof(detail), "updates may not remove a condition of type \"%s\"",
                 types[i]);
        if (had && !has)
            fail(v, at, FIELD_FORBIDDEN, NULL, detail);
    }
}

const struct rule certificate_request_rules[] = {
    REQUIRED("spec.usages"),
    EXACTLY_ONE_OF("spec.usages[*]", "any", "cert sign", "client auth", "code signing",
                   "content commitment", "crl sign", "data encipherment", "decipher only",
                   "digital signature", "email protection", "encipher only", "ipsec end system",
                   "ipsec tunnel", "ipsec user", "key agreement", "key encipherment",
                   "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth",
                   "signing", "timestamping"),
    UNIQUE("spec.usages", ""),
    REQUIRED_FORMAT("spec.signerName", signer_fault),
    RANGE("spec.expirationSeconds", 600, INT64_MAX,
          "may not specify a duration less than 600 seconds (10 minutes)"),
    REQUIRED("status.conditions[*].type"),
    UNIQUE("status.conditions", "type"),
    REQUIRED_ONE_OF("status.conditions[*].status", "False", "True", "Unknown"),
    BLOCK("status.conditions", check_conditions),
    UPDATE("status.conditions", check_verdict_kept),
    RULES_END,
};

/* ---- APIService ---- */

static void check_api_service(struct field_errors *v, const struct place *at,
                              const struct json *service)
{
    const struct json *spec = json_get(service, "spec");
    const char *group = json_str(spec, "group", ""), *version = json_str(spec, "version", "");
    const struct json *name = json_at(service, "metadata.name");
    struct place at_spec = place_in(at, "spec"), metadata = place_in(at, "metadata");
    char wanted[512], detail[600];
    snprintf(wanted, sizeof(wanted), "%.63s.%.253s", version, group);
    snprintf(detail, sizeof(detail), "must be `spec.version+\".\"+spec.group`: \"%s\"", wanted);
    if (name && !str_equal(json_text(name), wanted))
        fail_field(v, &metadata, "name", FIELD_INVALID, name, detail);
    if (!*group && strcmp(version, "v1") != 0)
        fail_field(v, &at_spec, "group", FIELD_REQUIRED, NULL,
                   "only v1 may have an empty group and it better be legacy kube");
    if (json_bool(spec, "insecureSkipTLSVerify", false) && json_get(spec, "caBundle"))
        fail_field(v, &at_spec, "insecureSkipTLSVerify", FIELD_INVALID,
                   json_get(spec, "insecureSkipTLSVerify"),
                   "may not be true if caBundle is present");
    if (json_get(spec, "service"))
        return;
    if (json_get(spec, "caBundle"))
        fail_field(v, &at_spec, "caBundle", FIELD_INVALID, json_get(spec, "caBundle"),
                   "local APIServices may not have a caBundle");
    if (json_bool(spec, "insecureSkipTLSVerify", false))
        fail_field(v, &at_spec, "insecureSkipTLSVerify", FIELD_INVALID,
                   json_get(spec, "insecureSkipTLSVerify"),
                   "local APIServices may not have insecureSkipTLSVerify");
}

const struct rule api_service_rules[] = {
    BLOCK("", check_api_service),
    FORMAT("spec.group", dns_subdomain_fault),
    REQUIRED_FORMAT("spec.version", dns_1035_label_fault),
    NUMBER("spec.groupPriorityMinimum", 1, 20000, "must be positive and less than 20000"),
    NUMBER("spec.versionPriority", 1, 1000, "must be positive and less than 1000"),
    REQUIRED("spec.service?.namespace"),
    REQUIRED("spec.service?.name"),
    RANGE("spec.service?.port", 1, 65535,
          "port is not valid: must be between 1 and 65535, inclusive"),
    RULES_END,
};

/* ---- flow control ---- */

static void check_flow_subject(struct field_errors *v, const struct place *at,
                               const struct json *subject)
{
    static const struct {
        const char *kind, *field;
    } kinds[] = { { "User", "user" },
                  { "Group", "group" },
                  { "ServiceAccount", "serviceAccount" } };
    char detail[96];
    const char *kind = json_str(subject, "kind", "");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *value = json_get(subject, kinds[i].field);
        struct place p = place_in(at, kinds[i].field);
        if (!str_equal(kind, kinds[i].kind)) {
            snprintf(detail, sizeof(detail), "%s is forbidden when subject kind is not '%s'",
                     kinds[i].field, kinds[i].kind);
            if (value && *kind)
                fail(v, &p, FIELD_FORBIDDEN, NULL, detail);
            continue;
        }
        snprintf(detail, sizeof(detail), "%s is required when subject kind is '%s'", kinds[i].field,
                 kinds[i].kind);
        if (!value)
            fail(v, &p, FIELD_REQUIRED, NULL, detail);
        else
            check_required(v, &p, value, "name");
        if (value && i == 2)
            check_required(v, &p, value, "namespace");
    }
}

static void check_star(struct field_errors *v, const struct place *at, const struct json *list)
{
    if (json_has_text(list, "*") && list->len > 1)
        fail(v, at, FIELD_INVALID, list, "if '*' is present, must not specify other values");
}

static void check_flow_namespaces(struct field_errors *v, const struct place *at,
                                  const struct json *rule)
{
    if (json_len(rule, "namespaces") == 0 && !json_bool(rule, "clusterScope", false))
        fail_field(v, at, "namespaces", FIELD_REQUIRED, NULL,
                   "resource rules that are not cluster scoped must supply at least one namespace");
}

static const struct rule flow_resource_rules[] = {
    REQUIRED_BECAUSE("verbs", "resource rules must supply at least one verb"),
    BLOCK("verbs", check_star),
    REQUIRED_BECAUSE("apiGroups", "resource rules must supply at least one api group"),
    BLOCK("apiGroups", check_star),
    REQUIRED_BECAUSE("resources", "resource rules must supply at least one resource"),
    BLOCK("resources", check_star),
    BLOCK("", check_flow_namespaces),
    BLOCK("namespaces", check_star),
    RULES_END,
};

static const struct rule flow_url_rules[] = {
    REQUIRED_BECAUSE("verbs", "non-resource rules must supply at least one verb"),
    BLOCK("verbs", check_star),
    REQUIRED_BECAUSE("nonResourceURLs",
                     "non-resource rules must supply at least one non-resource url"),
    BLOCK("nonResourceURLs", check_star),
    RULES_END,
};

static void check_flow_rule(struct field_errors *v, const struct place *at, const struct json *rule)
{
    if (json_len(rule, "resourceRules") + json_len(rule, "nonResourceRules") == 0)
        fail(v, at, FIELD_REQUIRED, NULL,
             "at least one of resourceRules and nonResourceRules has to be non-empty");
}

static const struct rule flow_rule_rules[] = {
    REQUIRED_BECAUSE("subjects", "subjects must contain at least one value"),
    EXACTLY_ONE_OF("subjects[*].kind", "Group", "ServiceAccount", "User"),
    BLOCK("subjects[*]", check_flow_subject),
    BLOCK("", check_flow_rule),
    RULES("resourceRules[*]", flow_resource_rules),
    RULES("nonResourceRules[*]", flow_url_rules),
    RULES_END,
};

static void check_precedence(struct field_errors *v, const struct place *at,
                             const struct json *schema)
{
    const struct json *precedence = json_at(schema, "spec.matchingPrecedence");
    struct place spec = place_in(at, "spec");
    if (json_is(precedence, JSON_INT) && precedence->integer == 1 &&
        !str_equal(json_str(schema, "metadata.name", ""), "exempt"))
        fail_field(v, &spec, "matchingPrecedence", FIELD_INVALID, precedence,
                   "only the schema named 'exempt' may have matchingPrecedence 1");
}

const struct rule flow_schema_rules[] = {
    NUMBER("spec.matchingPrecedence", 1, INT64_MAX, "must be a positive value"),
    NUMBER("spec.matchingPrecedence", INT64_MIN, 10000, "must not be greater than 10000"),
    BLOCK("", check_precedence),
    EXACTLY_ONE_OF("spec.distinguisherMethod?.type", "ByNamespace", "ByUser"),
    REQUIRED_BECAUSE("spec.priorityLevelConfiguration.name", "must reference a priority level"),
    FORMAT("spec.priorityLevelConfiguration.name", dns_subdomain_fault),
    RULES("spec.rules[*]", flow_rule_rules),
    RULES_END,
};

static void check_level_kind(struct field_errors *v, const struct place *at,
                             const struct json *level)
{
    const struct json *spec = json_get(level, "spec"), *type = json_get(spec, "type");
    struct place p = place_in(at, "spec");
    bool is_exempt = str_equal(json_text(type), "Exempt");
    if (is_exempt != str_equal(json_str(level, "metadata.name", ""), "exempt"))
        fail_field(v, &p, "type", FIELD_INVALID, type ? type : &empty_text,
                   "type must be 'Exempt' if and only if `name` is 'exempt'");
    if (is_exempt && json_get(spec, "limited"))
        fail_field(v, &p, "limited", FIELD_FORBIDDEN, NULL,
                   "must be nil if the type is not Limited");
    if (str_equal(json_text(type), "Limited") && !json_get(spec, "limited"))
        fail_field(v, &p, "limited", FIELD_REQUIRED, NULL,
                   "must not be empty when type is Limited");
    if (str_equal(json_text(type), "Limited") && json_get(spec, "exempt"))
        fail_field(v, &p, "exempt", FIELD_FORBIDDEN, NULL, "must be nil if the type is Limited");
}

static void check_queuing(struct field_errors *v, const struct place *at,
                          const struct json *response)
{
    const struct json *queuing = json_get(response, "queuing");
    const char *type = json_str(response, "type", "");
    struct place p = place_in(at, "queuing");
    if (str_equal(type, "Reject") && queuing)
        fail(v, &p, FIELD_FORBIDDEN, NULL,
             "must be nil if limited.limitResponse.type is not Limited");
    if (str_equal(type, "Queue") && !queuing)
        fail(v, &p, FIELD_REQUIRED, NULL,
             "must not be empty if limited.limitResponse.type is Limited");
    if (json_int(queuing, "handSize", 0) > json_int(queuing, "queues", 0))
        fail_field(v, &p, "handSize", FIELD_INVALID, json_get(queuing, "handSize"),
                   "should not be greater than queues");
}

static const struct rule queuing_rules[] = {
    NUMBER("queueLengthLimit", 1, INT64_MAX, "must be positive"),
    NUMBER("queues", 1, INT64_MAX, "must be positive"),
    NUMBER("queues", INT64_MIN, 10000000, "must not be greater than 10000000"),
    NUMBER("handSize", 1, INT64_MAX, "must be positive"),
    RULES_END,
};

const struct rule priority_level_rules[] = {
    BLOCK("", check_level_kind),
    EXACTLY_ONE_OF("spec.type", "Exempt", "Limited"),
    RANGE("spec.limited.nominalConcurrencyShares", 0, INT64_MAX, "must be a non-negative integer"),
    RANGE("spec.limited.borrowingLimitPercent", 0, INT64_MAX,
          "if specified, must be a non-negative integer"),
    RANGE("spec.limited.lendablePercent", 0, 100, "must be between 0 and 100, inclusive"),
    RANGE("spec.exempt.nominalConcurrencyShares", 0, INT64_MAX, "must be a non-negative integer"),
    RANGE("spec.exempt.lendablePercent", 0, 100, "must be between 0 and 100, inclusive"),
    EXACTLY_ONE_OF("spec.limited?.limitResponse.type", "Queue", "Reject"),
    BLOCK("spec.limited?.limitResponse", check_queuing),
    RULES("spec.limited?.limitResponse.queuing?", queuing_rules),
    RULES_END,
};
