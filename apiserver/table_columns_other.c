/* SPDX-License-Identifier: Apache-2.0 */
/* table_columns_other.c - printed columns of policy, network, storage, access and server kinds. */
#include <ctype.h>

#include "api/selector.h"
#include "apiserver/table_cells.h"
#include "base/clock.h"

#define SHOWN_MAX 3 /* of a list of hosts, ports or addresses */

static void more(struct buffer *out, size_t n)
{
    if (n > SHOWN_MAX)
        buffer_printf(out, " + %zu more...", n - SHOWN_MAX);
}

/* ---- access ---- */

static void subjects(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    json_each_item (cell_at(c, "subjects"), s) {
        if (!str_equal(json_str(s, "kind", ""), cell->path))
            continue;
        if (strcmp(cell->path, "ServiceAccount") == 0) {
            print_joined(out, ", ", json_str(s, "namespace", ""));
            buffer_printf(out, "/%s", json_str(s, "name", ""));
        } else {
            print_joined(out, ", ", json_str(s, "name", ""));
        }
    }
}

static void csr_duration(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    int64_t s = json_int(c->object->doc, "spec.expirationSeconds", 0);
    if (s)
        print_human_duration(s * NS_PER_S, out);
    else
        buffer_add_str(out, "<none>");
}

static void csr_condition(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    bool is_denied = object_condition(c->object, "Denied") != NULL;
    bool is_approved = object_condition(c->object, "Approved") != NULL;
    buffer_add_str(out, is_denied ? "Denied" : is_approved ? "Approved" : "Pending");
    if (object_condition(c->object, "Failed"))
        buffer_add_str(out, ",Failed");
    if (*json_str(c->object->doc, "status.certificate", ""))
        buffer_add_str(out, ",Issued");
}

static const struct cell binding_cells[] = {
    NAME,
    CELL(cell_kind_and_name, "roleRef", NULL),
    AGE,
    CELL(subjects, "User", NULL),
    CELL(subjects, "Group", NULL),
    CELL(subjects, "ServiceAccount", NULL),
};
static const struct cell csr_cells[] = {
    NAME,
    AGE,
    TEXT("spec.signerName", "<none>"),
    TEXT("spec.username", ""),
    MADE_BY(csr_duration),
    MADE_BY(csr_condition),
};

/* ---- network ---- */

static void slice_ports(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    size_t n = 0;
    json_each_item (cell_at(c, "ports"), port) {
        if (n++ >= SHOWN_MAX)
            continue;
        const struct json *number = json_get(port, "port");
        const char *name = json_str(port, "name", "");
        char text[24];
        snprintf(text, sizeof(text), "%lld",
                 json_is(number, JSON_INT) ? (long long)number->integer : 0);
        print_joined(out, ",", json_is(number, JSON_INT) ? text : *name ? name : "*");
    }
    more(out, n);
    if (!n)
        buffer_add_str(out, "<unset>");
}

static void slice_addresses(const struct cell_context *c, const struct cell *cell,
                            struct buffer *out)
{
    (void)cell;
    size_t n = 0;
    json_each_item (cell_at(c, "endpoints"), endpoint) {
        json_each_item (json_get(endpoint, "addresses"), address) {
            if (n++ < SHOWN_MAX && json_text(address))
                print_joined(out, ",", json_text(address));
        }
    }
    more(out, n);
    if (!n)
        buffer_add_str(out, "<unset>");
}

static void ingress_hosts(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    size_t shown = 0, rules = json_len(c->object->doc, "spec.rules"), seen = 0;
    json_each_item (cell_at(c, "spec.rules"), rule) {
        if (shown == SHOWN_MAX)
            break;
        seen++;
        const char *host = json_str(rule, "host", "");
        if (*host) {
            print_joined(out, ",", host);
            shown++;
        }
    }
    if (!shown)
        buffer_add_char(out, '*');
    if (shown == SHOWN_MAX && seen < rules)
        more(out, rules);
}

static void ingress_address(const struct cell_context *c, const struct cell *cell,
                            struct buffer *out)
{
    (void)cell;
    print_load_balancer(cell_at(c, "status.loadBalancer"), out);
}

static void ingress_ports(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, json_len(c->object->doc, "spec.tls") ? "80, 443" : "80");
}

/* The name, and whether the object is the default of its kind by an annotation. */
static void name_or_default(const struct cell_context *c, const struct cell *cell,
                            struct buffer *out)
{
    buffer_add_str(out, c->object->key.name);
    char beta[128];
    const char *dot = strchr(cell->path, '.');
    snprintf(beta, sizeof(beta), "%.*s.beta%s", (int)(dot - cell->path), cell->path, dot);
    if (str_equal(object_annotation(c->object, cell->path), "true") ||
        str_equal(object_annotation(c->object, beta), "true"))
        buffer_add_str(out, " (default)");
}

static void class_parameters(const struct cell_context *c, const struct cell *cell,
                             struct buffer *out)
{
    (void)cell;
    const struct json *p = cell_at(c, "spec.parameters");
    if (!p) {
        buffer_add_str(out, "<none>");
        return;
    }
    const char *group = json_str(p, "apiGroup", "");
    buffer_printf(out, "%s%s%s/%s", json_str(p, "kind", ""), *group ? "." : "", group,
                  json_str(p, "name", ""));
}

static void address_parent(const struct cell_context *c, const struct cell *cell,
                           struct buffer *out)
{
    (void)cell;
    const struct json *ref = cell_at(c, "spec.parentRef");
    if (!ref) {
        buffer_add_str(out, "<none>");
        return;
    }
    const char *group = json_str(ref, "group", ""), *ns = json_str(ref, "namespace", "");
    for (const char *k = json_str(ref, "resource", ""); *k; k++)
        buffer_add_char(out, (char)tolower((unsigned char)*k));
    buffer_printf(out, "%s%s%s%s/%s", *group ? "." : "", group, *ns ? "/" : "", ns,
                  json_str(ref, "name", ""));
}

static const struct cell slice_cells[] = {
    NAME, TEXT("addressType", ""), MADE_BY(slice_ports), MADE_BY(slice_addresses), AGE,
};
static const struct cell ingress_cells[] = {
    NAME,
    TEXT("spec.ingressClassName", "<none>"),
    MADE_BY(ingress_hosts),
    MADE_BY(ingress_address),
    MADE_BY(ingress_ports),
    AGE,
};
static const struct cell ingress_class_cells[] = {
    CELL(name_or_default, "ingressclass.kubernetes.io/is-default-class", NULL),
    TEXT("spec.controller", ""),
    MADE_BY(class_parameters),
    AGE,
};
static const struct cell policy_cells[] = { NAME, SELECTOR("spec.podSelector"), AGE };
static const struct cell address_cells[] = { NAME, MADE_BY(address_parent) };
static const struct cell cidr_cells[] = { NAME, LIST("spec.cidrs", ""), AGE };

/* ---- storage ---- */

static void driver_audiences(const struct cell_context *c, const struct cell *cell,
                             struct buffer *out)
{
    const struct json *requests = cell_at(c, "spec.tokenRequests");
    json_each_item (requests, r)
        print_joined(out, ",", json_str(r, "audience", ""));
    if (!requests)
        buffer_add_str(out, cell->fallback);
}

static const struct cell storage_class_cells[] = {
    CELL(name_or_default, "storageclass.kubernetes.io/is-default-class", NULL),
    TEXT("provisioner", ""),
    TEXT("reclaimPolicy", "Delete"),
    TEXT("volumeBindingMode", "Immediate"),
    BOOLEAN("allowVolumeExpansion", "false"),
    AGE,
};
static const struct cell driver_cells[] = {
    NAME,
    BOOLEAN("spec.attachRequired", "true"),
    BOOLEAN("spec.podInfoOnMount", "false"),
    BOOLEAN("spec.storageCapacity", "false"),
    CELL(driver_audiences, "spec.tokenRequests", "<unset>"),
    BOOLEAN("spec.requiresRepublish", "false"),
    LIST("spec.volumeLifecycleModes", "<none>"),
    AGE,
};
static const struct cell csi_node_cells[] = { NAME, COUNT("spec.drivers"), AGE };
static const struct cell capacity_cells[] = { NAME, TEXT("storageClassName", ""),
                                              TEXT("capacity", "<unset>") };
static const struct cell attachment_cells[] = {
    NAME,
    TEXT("spec.attacher", ""),
    TEXT("spec.source.persistentVolumeName", ""),
    TEXT("spec.nodeName", ""),
    BOOLEAN("status.attached", "false"),
    AGE,
};
static const struct cell attributes_class_cells[] = { NAME, TEXT("driverName", ""), AGE };

/* ---- the server's own kinds ---- */

static void service_of(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *service = cell_at(c, "spec.service");
    if (service)
        buffer_printf(out, "%s/%s", json_str(service, "namespace", ""),
                      json_str(service, "name", ""));
    else
        buffer_add_str(out, "Local");
}

static void is_available(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *condition = object_condition(c->object, "Available");
    const char *status = json_str(condition, "status", "Unknown");
    const char *reason = json_str(condition, "reason", "");
    buffer_add_str(out, status);
    if (condition && strcmp(status, "True") != 0 && *reason)
        buffer_printf(out, " (%s)", reason);
}

static void param_kind(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const struct json *kind = cell_at(c, cell->path);
    if (kind)
        buffer_printf(out, "%s/%s", json_str(kind, "apiVersion", ""), json_str(kind, "kind", ""));
    else
        buffer_add_str(out, "<unset>");
}

static void param_ref(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    const struct json *ref = cell_at(c, "spec.paramRef");
    const char *name = json_str(ref, "name", ""), *ns = json_str(ref, "namespace", "");
    if (!ref)
        buffer_add_str(out, "<unset>");
    else if (*name)
        buffer_printf(out, "%s/%s", *ns ? ns : "*", name);
    else
        print_selector(json_get(ref, "selector"), "<none>", out);
}

static void dangling(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, json_str(object_condition(c->object, "Dangling"), "status", "?"));
}

/* A number, or the fallback as text; the quotes are ours because the cell is raw. */
static void number_or_none(const struct cell_context *c, const struct cell *cell,
                           struct buffer *out)
{
    const struct json *v = cell_at(c, cell->path);
    if (json_is(v, JSON_INT))
        buffer_add_int(out, v->integer);
    else
        buffer_add_str(out, "\"<none>\"");
}

static void claim_state(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    bool is_deleting = object_is_deleting(c->object);
    if (is_deleting)
        buffer_add_str(out, "deleted");
    if (cell_at(c, "status.allocation")) {
        print_joined(out, ",", "allocated");
        if (json_len(c->object->doc, "status.reservedFor"))
            print_joined(out, ",", "reserved");
    } else if (!is_deleting) {
        buffer_add_str(out, "pending");
    }
}

#define LIMITED "spec.limited."
#define QUEUING LIMITED "limitResponse.queuing."
#define NUMBER_OR_NONE(p)                                                                          \
    {                                                                                              \
        .print = number_or_none, .path = (p), .is_raw = true                                       \
    }

static const struct cell service_api_cells[] = { NAME, MADE_BY(service_of), MADE_BY(is_available),
                                                 AGE };
static const struct cell admission_cells[] = { NAME, COUNT("spec.validations"),
                                               CELL(param_kind, "spec.paramKind", NULL), AGE };
static const struct cell mutation_cells[] = { NAME, COUNT("spec.mutations"),
                                              CELL(param_kind, "spec.paramKind", NULL), AGE };
static const struct cell admission_binding_cells[] = { NAME, TEXT("spec.policyName", ""),
                                                       MADE_BY(param_ref), AGE };
static const struct cell webhook_cells[] = { NAME, COUNT("webhooks"), AGE };
static const struct cell flow_cells[] = {
    NAME,
    TEXT("spec.priorityLevelConfiguration.name", ""),
    NUMBER("spec.matchingPrecedence"),
    TEXT("spec.distinguisherMethod.type", "<none>"),
    AGE,
    MADE_BY(dangling),
};
static const struct cell level_cells[] = {
    NAME,
    TEXT("spec.type", ""),
    NUMBER_OR_NONE(LIMITED "nominalConcurrencyShares"),
    NUMBER_OR_NONE(QUEUING "queues"),
    NUMBER_OR_NONE(QUEUING "handSize"),
    NUMBER_OR_NONE(QUEUING "queueLengthLimit"),
    AGE,
};
static const struct cell lease_cells[] = { NAME, TEXT("spec.holderIdentity", ""), AGE };
static const struct cell runtime_class_cells[] = { NAME, TEXT("handler", ""), AGE };
static const struct cell priority_cells[] = { NAME, NUMBER("value"),
                                              BOOLEAN("globalDefault", "false"), AGE,
                                              TEXT("preemptionPolicy", "") };
static const struct cell budget_cells[] = {
    NAME,
    CELL(cell_int_or_string, "spec.minAvailable", "N/A"),
    CELL(cell_int_or_string, "spec.maxUnavailable", "N/A"),
    NUMBER("status.disruptionsAllowed"),
    AGE,
};
static const struct cell named_cells[] = { NAME, AGE };
static const struct cell claim_cells[] = { NAME, MADE_BY(claim_state), AGE };
static const struct cell resource_slice_cells[] = { NAME, TEXT("spec.nodeName", ""),
                                                    TEXT("spec.driver", ""),
                                                    TEXT("spec.pool.name", ""), AGE };

const struct cell_row other_rows[] = {
    ROW(ROLEBINDINGS, binding_cells),
    ROW(CLUSTERROLEBINDINGS, binding_cells),
    ROW(CERTIFICATESIGNINGREQUESTS, csr_cells),
    ROW(ENDPOINTSLICES, slice_cells),
    ROW(INGRESSES, ingress_cells),
    ROW(INGRESSCLASSES, ingress_class_cells),
    ROW(NETWORKPOLICIES, policy_cells),
    ROW(IPADDRESSES, address_cells),
    ROW(SERVICECIDRS, cidr_cells),
    ROW(STORAGECLASSES, storage_class_cells),
    ROW(CSIDRIVERS, driver_cells),
    ROW(CSINODES, csi_node_cells),
    ROW(CSISTORAGECAPACITIES, capacity_cells),
    ROW(VOLUMEATTACHMENTS, attachment_cells),
    ROW(VOLUMEATTRIBUTESCLASSES, attributes_class_cells),
    ROW(APISERVICES, service_api_cells),
    ROW(VALIDATINGADMISSIONPOLICIES, admission_cells),
    ROW(VALIDATINGADMISSIONPOLICYBINDINGS, admission_binding_cells),
    ROW(MUTATINGADMISSIONPOLICIES, mutation_cells),
    ROW(MUTATINGADMISSIONPOLICYBINDINGS, admission_binding_cells),
    ROW(VALIDATINGWEBHOOKCONFIGURATIONS, webhook_cells),
    ROW(MUTATINGWEBHOOKCONFIGURATIONS, webhook_cells),
    ROW(FLOWSCHEMAS, flow_cells),
    ROW(PRIORITYLEVELCONFIGURATIONS, level_cells),
    ROW(LEASES, lease_cells),
    ROW(RUNTIMECLASSES, runtime_class_cells),
    ROW(PRIORITYCLASSES, priority_cells),
    ROW(PODDISRUPTIONBUDGETS, budget_cells),
    ROW(DEVICECLASSES, named_cells),
    ROW(RESOURCECLAIMS, claim_cells),
    ROW(RESOURCECLAIMTEMPLATES, named_cells),
    ROW(RESOURCESLICES, resource_slice_cells),
};
const size_t other_rows_n = ARRAY_LEN(other_rows);
