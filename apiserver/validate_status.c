/* SPDX-License-Identifier: Apache-2.0 */
/* validate_status.c - what updates of the status subresource may not say. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

/* ---- counts of pods ---- */

static int64_t count_of(const struct json *status, const char *name)
{
    return json_int(status, name, 0);
}

/* Parts of the whole; what is available is ready too. */
static void check_parts(struct field_errors *v, const struct place *at, const struct json *status)
{
    static const char *const parts[] = { "updatedReplicas", "fullyLabeledReplicas", "readyReplicas",
                                         "availableReplicas", "currentReplicas" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct json *part = json_get(status, parts[i]);
        if (json_is(part, JSON_INT) && part->integer > count_of(status, "replicas"))
            fail_field(v, at, parts[i], FIELD_INVALID, part,
                       "cannot be greater than status.replicas");
    }
    if (count_of(status, "availableReplicas") > count_of(status, "readyReplicas"))
        fail_field(v, at, "availableReplicas", FIELD_INVALID, json_get(status, "availableReplicas"),
                   "cannot be greater than readyReplicas");
}

static void check_collisions(struct field_errors *v, const struct place *at, const struct json *old,
                             const struct json *new)
{
    const struct json *had = json_get(old, "collisionCount"),
                      *has = json_get(new, "collisionCount");
    static const struct json zero = { .type = JSON_INT };
    if (had && count_of(new, "collisionCount") < had->integer)
        fail_field(v, at, "collisionCount", FIELD_INVALID, has ? has : &zero,
                   "cannot be decremented");
}

const struct rule deployment_status_rules[] = {
    NOT_NEGATIVE("status.observedGeneration"),
    NOT_NEGATIVE("status.replicas"),
    NOT_NEGATIVE("status.updatedReplicas"),
    NOT_NEGATIVE("status.readyReplicas"),
    NOT_NEGATIVE("status.availableReplicas"),
    NOT_NEGATIVE("status.unavailableReplicas"),
    NOT_NEGATIVE("status.terminatingReplicas"),
    NOT_NEGATIVE("status.collisionCount"),
    BLOCK("status", check_parts),
    UPDATE("status", check_collisions),
    RULES_END,
};

const struct rule replicaset_status_rules[] = {
    NOT_NEGATIVE("status.replicas"),
    NOT_NEGATIVE("status.fullyLabeledReplicas"),
    NOT_NEGATIVE("status.readyReplicas"),
    NOT_NEGATIVE("status.availableReplicas"),
    NOT_NEGATIVE("status.observedGeneration"),
    NOT_NEGATIVE("status.terminatingReplicas"),
    BLOCK("status", check_parts),
    RULES_END,
};

const struct rule replication_controller_status_rules[] = {
    NOT_NEGATIVE("status.replicas"),
    NOT_NEGATIVE("status.fullyLabeledReplicas"),
    NOT_NEGATIVE("status.readyReplicas"),
    NOT_NEGATIVE("status.availableReplicas"),
    NOT_NEGATIVE("status.observedGeneration"),
    BLOCK("status", check_parts),
    RULES_END,
};

const struct rule statefulset_status_rules[] = {
    NOT_NEGATIVE("status.replicas"),          NOT_NEGATIVE("status.readyReplicas"),
    NOT_NEGATIVE("status.currentReplicas"),   NOT_NEGATIVE("status.updatedReplicas"),
    NOT_NEGATIVE("status.availableReplicas"), NOT_NEGATIVE("status.observedGeneration"),
    NOT_NEGATIVE("status.collisionCount"),    BLOCK("status", check_parts),
    UPDATE("status", check_collisions),       RULES_END,
};

const struct rule daemonset_status_rules[] = {
    NOT_NEGATIVE("status.currentNumberScheduled"),
    NOT_NEGATIVE("status.numberMisscheduled"),
    NOT_NEGATIVE("status.desiredNumberScheduled"),
    NOT_NEGATIVE("status.numberReady"),
    NOT_NEGATIVE("status.observedGeneration"),
    NOT_NEGATIVE("status.updatedNumberScheduled"),
    NOT_NEGATIVE("status.numberAvailable"),
    NOT_NEGATIVE("status.numberUnavailable"),
    NOT_NEGATIVE("status.collisionCount"),
    UPDATE("status", check_collisions),
    RULES_END,
};

static void check_counts_kept(struct field_errors *v, const struct place *at,
                              const struct json *old, const struct json *new)
{
    static const char *const kept[] = { "failed", "succeeded" };
    static const struct json zero = { .type = JSON_INT };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        char detail[64];
        snprintf(detail, sizeof(detail), "cannot decrease the %s counter", kept[i]);
        const struct json *has = json_get(new, kept[i]);
        if (count_of(new, kept[i]) < count_of(old, kept[i]))
            fail_field(v, at, kept[i], FIELD_INVALID, has ? has : &zero, detail);
    }
}

const struct rule job_status_rules[] = {
    NOT_NEGATIVE("status.active"),
    NOT_NEGATIVE("status.succeeded"),
    NOT_NEGATIVE("status.failed"),
    NOT_NEGATIVE("status.ready"),
    NOT_NEGATIVE("status.terminating"),
    UPDATE("status", check_counts_kept),
    RULES_END,
};

/* ---- Pod, Service ---- */

static void check_qos_kept(struct field_errors *v, const struct place *at, const struct json *old,
                           const struct json *new)
{
    if (!str_empty(json_str(old, "qosClass", "")))
        check_immutable(v, at, old, new, "qosClass");
}

const struct rule pod_status_rules[] = {
    FORMAT("status.nominatedNodeName", dns_subdomain_fault),
    NOT_NEGATIVE("status.observedGeneration"),
    FORMAT("status.podIPs[*].ip", ip_fault),
    FORMAT("status.hostIPs[*].ip", ip_fault),
    UPDATE("status", check_qos_kept),
    RULES_END,
};

static void check_ingress(struct field_errors *v, const struct place *at,
                          const struct json *ingress)
{
    static const char *const modes[] = { "Proxy", "VIP", NULL };
    const struct json *host = json_get(ingress, "hostname");
    bool has_ip = !str_empty(json_str(ingress, "ip", ""));
    check_format(v, at, ingress, "ip", ip_fault);
    if (has_ip)
        check_one_of(v, at, ingress, "ipMode", modes, true);
    else if (json_get(ingress, "ipMode"))
        fail_field(v, at, "ipMode", FIELD_FORBIDDEN, NULL,
                   "may not be specified when `ip` is not set");
    if (str_empty(json_text(host)))
        return;
    check_format(v, at, ingress, "hostname", dns_subdomain_fault);
    if (!ip_fault(host->string))
        fail_field(v, at, "hostname", FIELD_INVALID, host, "must be a DNS name, not an IP address");
}

static void check_ingress_type(struct field_errors *v, const struct place *at,
                               const struct json *service)
{
    struct place status = place_in(at, "status"), balancer = place_in(&status, "loadBalancer");
    if (!str_equal(json_str(service, "spec.type", ""), "LoadBalancer") &&
        json_len(service, "status.loadBalancer.ingress") > 0)
        fail_field(v, &balancer, "ingress", FIELD_FORBIDDEN, NULL,
                   "may only be used when `spec.type` is \"LoadBalancer\"");
}

const struct rule service_status_rules[] = {
    BLOCK("", check_ingress_type),
    BLOCK("status.loadBalancer.ingress[*]", check_ingress),
    RULES_END,
};
