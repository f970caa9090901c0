/* SPDX-License-Identifier: Apache-2.0 */
/* validate_pod.c - pods and pod templates (facts/validation.json: PodSpec, Container, Volumes). */

#include "apiserver/formats.h"
#include "apiserver/validate.h"
#include "base/hashmap.h"

/* What containers are checked against. */
struct pod_context {
    struct field_errors *v;
    const struct json *spec;
    enum pod_use use;
    struct hashmap names;   /* containers so far */
    struct hashmap volumes; /* volume name -> its json */
};

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

/* Whether NAME is in MAP already; adds it. */
static bool is_repeated(struct hashmap *map, const struct json *name)
{
    struct bytes key = { name->string, name->len };
    if (hashmap_get(map, key))
        return true;
    hashmap_put(map, key, (void *)name);
    return false;
}

/* ---- handlers and probes ---- */

static void check_handler_port(struct field_errors *v, const struct place *at,
                               const struct json *action)
{
    const struct json *port = json_get(action, "port");
    static const struct json zero = { .type = JSON_INT };
    const char *wrong;
    if (json_is(port, JSON_STRING))
        wrong = port_name_fault(port->string);
    else
        wrong = port_number_fault(json_is(port, JSON_INT) ? port->integer : 0);
    if (wrong)
        fail_field(v, at, "port", FIELD_INVALID, port ? port : &zero, wrong);
}

static void validate_action(struct field_errors *v, const struct place *at, const char *name,
                            const struct json *action, int64_t grace_s)
{
    static const char *const schemes[] = { "HTTP", "HTTPS", NULL };
    if (str_equal(name, "exec")) {
        if (json_len(action, "command") == 0)
            fail_field(v, at, "command", FIELD_REQUIRED, NULL, "");
    } else if (str_equal(name, "httpGet")) {
        check_required(v, at, action, "path");
        check_handler_port(v, at, action);
        check_one_of(v, at, action, "scheme", schemes, false);
        struct place headers = place_in(at, "httpHeaders");
        json_each_item (json_get(action, "httpHeaders"), header) {
            const char *wrong = http_header_name_fault(json_str(header, "name", ""));
            if (wrong)
                fail(v, &headers, FIELD_INVALID, json_get(header, "name"), wrong);
        }
    } else if (str_equal(name, "sleep")) {
        const struct json *seconds = json_get(action, "seconds");
        if (json_is(seconds, JSON_INT) && (seconds->integer < 0 || seconds->integer > grace_s))
            fail(v, at, FIELD_INVALID, seconds,
                 "must be greater than 0 and less than terminationGracePeriodSeconds");
    } else {
        check_handler_port(v, at, action);
    }
}

/* Exactly one of the handlers; the first in this order counts. */
static void validate_handler(struct field_errors *v, const struct place *at,
                             const struct json *handler, bool is_probe, int64_t grace_s)
{
    static const char *const probe[] = { "exec", "httpGet", "tcpSocket", "grpc" };
    static const char *const hook[] = { "exec", "httpGet", "tcpSocket", "sleep" };
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(probe); i++) {
        const char *name = is_probe ? probe[i] : hook[i];
        const struct json *action = json_get(handler, name);
        struct place p = place_in(at, name);
        if (!action)
            continue;
        if (n++ > 0)
            fail(v, &p, FIELD_FORBIDDEN, NULL, "may not specify more than 1 handler type");
        else
            validate_action(v, &p, name, action, grace_s);
    }
    if (n == 0)
        fail(v, at, FIELD_REQUIRED, NULL, "must specify a handler type");
}

static void validate_probe(struct field_errors *v, const struct place *at, const struct json *probe)
{
    static const char *const counts[] = { "initialDelaySeconds", "timeoutSeconds", "periodSeconds",
                                          "successThreshold", "failureThreshold" };
    if (!probe)
        return;
    validate_handler(v, at, probe, true, 0);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(v, at, probe, counts[i]);
    check_positive(v, at, probe, "terminationGracePeriodSeconds");
    const struct json *successes = json_get(probe, "successThreshold");
    bool is_readiness = str_equal(at->name, "readinessProbe");
    if (!is_readiness && json_is(successes, JSON_INT) && successes->integer != 1 &&
        successes->integer >= 0)
        fail_field(v, at, "successThreshold", FIELD_INVALID, successes, "must be 1");
    if (is_readiness && json_get(probe, "terminationGracePeriodSeconds"))
        fail_field(v, at, "terminationGracePeriodSeconds", FIELD_INVALID,
                   json_get(probe, "terminationGracePeriodSeconds"),
                   "must not be set for readinessProbes");
}

/* ---- the parts of a container ---- */

static void validate_ports(struct pod_context *c, const struct place *at,
                           const struct json *container)
{
    static const char *const protocols[] = { "TCP", "UDP", "SCTP", NULL };
    struct hashmap names = { 0 };
    struct place list = place_in(at, "ports");
    bool is_host_network = json_bool(c->spec, "hostNetwork", false);
    size_t i = 0;
    json_each_item (json_get(container, "ports"), port) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(port, "name");
        int64_t host = json_int(port, "hostPort", 0);
        check_format(c->v, &p, port, "name", port_name_fault);
        if (!str_empty(json_text(name)) && is_repeated(&names, name))
            fail_field(c->v, &p, "name", FIELD_DUPLICATE, name, "");
        check_port(c->v, &p, port, "containerPort", true);
        check_port(c->v, &p, port, "hostPort", false);
        if (is_host_network && host && host != json_int(port, "containerPort", 0))
            fail_field(c->v, &p, "hostPort", FIELD_INVALID, json_get(port, "hostPort"),
                       "must match `containerPort` when `hostNetwork` is true");
        check_one_of(c->v, &p, port, "protocol", protocols, true);
    }
    hashmap_deinit(&names);
}

static void validate_field_ref(struct field_errors *v, const struct place *at,
                               const struct json *ref)
{
    static const char *const known[] = { "metadata.name",
                                         "metadata.namespace",
                                         "metadata.uid",
                                         "spec.nodeName",
                                         "spec.serviceAccountName",
                                         "status.hostIP",
                                         "status.hostIPs",
                                         "status.podIP",
                                         "status.podIPs",
                                         NULL };
    const char *path = json_str(ref, "fieldPath", "");
    check_required(v, at, ref, "fieldPath");
    if (!*path || str_has_prefix(path, "metadata.labels['") ||
        str_has_prefix(path, "metadata.annotations['"))
        return;
    if (!strchr(path, '.')) {
        char detail[256];
        snprintf(detail, sizeof(detail),
                 "error converting fieldPath: field label not supported: %.200s", path);
        fail_field(v, at, "fieldPath", FIELD_INVALID, json_get(ref, "fieldPath"), detail);
        return;
    }
    check_one_of(v, at, ref, "fieldPath", known, false);
}

static void validate_resource_ref(struct field_errors *v, const struct place *at,
                                  const struct json *ref)
{
    static const char *const known[] = { "limits.cpu",
                                         "limits.ephemeral-storage",
                                         "limits.memory",
                                         "requests.cpu",
                                         "requests.ephemeral-storage",
                                         "requests.memory",
                                         NULL };
    const char *resource = json_str(ref, "resource", "");
    if (str_has_prefix(resource, "limits.hugepages-") ||
        str_has_prefix(resource, "requests.hugepages-"))
        return;
    check_one_of(v, at, ref, "resource", known, true);
}

static void validate_env_source(struct field_errors *v, const struct place *at,
                                const struct json *env)
{
    static const char *const kinds[] = { "fieldRef", "resourceFieldRef", "configMapKeyRef",
                                         "secretKeyRef", "fileKeyRef" };
    const struct json *source = json_get(env, "valueFrom");
    struct place from = place_in(at, "valueFrom");
    size_t n = 0;
    if (!source)
        return;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *ref = json_get(source, kinds[i]);
        struct place p = place_in(&from, kinds[i]);
        if (!ref)
            continue;
        n++;
        if (i == 0) {
            validate_field_ref(v, &p, ref);
        } else if (i == 1) {
            validate_resource_ref(v, &p, ref);
        } else if (i < 4) {
            check_format(v, &p, ref, "name", dns_subdomain_fault);
            check_required_format(v, &p, ref, "key", config_key_fault);
        }
    }
    if (n != 1)
        fail(v, &from, FIELD_INVALID, &empty_text,
             n ? "may not have more than one field specified at a time"
               : "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                 "`secretKeyRef`");
    else if (!str_empty(json_str(env, "value", "")))
        fail(v, &from, FIELD_INVALID, &empty_text,
             "may not be specified when `value` is not empty");
}

static void validate_env(struct field_errors *v, const struct place *at,
                         const struct json *container)
{
    struct place list = place_in(at, "env"), from = place_in(at, "envFrom");
    size_t i = 0;
    json_each_item (json_get(container, "env"), env) {
        struct place p = place_item(&list, i++);
        check_required_format(v, &p, env, "name", env_name_fault);
        validate_env_source(v, &p, env);
    }
    i = 0;
    json_each_item (json_get(container, "envFrom"), source) {
        struct place p = place_item(&from, i++), map = place_in(&p, "configMapRef"),
                     secret = place_in(&p, "secretRef");
        const struct json *map_ref = json_get(source, "configMapRef");
        const struct json *secret_ref = json_get(source, "secretRef");
        check_format(v, &p, source, "prefix", env_name_fault);
        if (map_ref)
            check_required_format(v, &map, map_ref, "name", dns_subdomain_fault);
        if (secret_ref)
            check_required_format(v, &secret, secret_ref, "name", dns_subdomain_fault);
        if (!map_ref == !secret_ref)
            fail(v, &from, FIELD_INVALID, &empty_text,
                 map_ref ? "may not have more than one field specified at a time"
                         : "must specify one of: `configMapRef` or `secretRef`");
    }
}

static void validate_mounts(struct pod_context *c, const struct place *at,
                            const struct json *container)
{
    static const char *const propagations[] = { "None", "HostToContainer", "Bidirectional", NULL };
    struct hashmap paths = { 0 };
    struct place list = place_in(at, "volumeMounts");
    size_t i = 0;
    json_each_item (json_get(container, "volumeMounts"), mount) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(mount, "name"), *path = json_get(mount, "mountPath");
        check_required(c->v, &p, mount, "name");
        if (!str_empty(json_text(name)) &&
            !hashmap_get(&c->volumes, (struct bytes){ name->string, name->len }))
            fail_field(c->v, &p, "name", FIELD_NOT_FOUND, name, "");
        check_required(c->v, &p, mount, "mountPath");
        if (!str_empty(json_text(path)) && is_repeated(&paths, path))
            fail_field(c->v, &p, "mountPath", FIELD_INVALID, path, "must be unique");
        check_format(c->v, &p, mount, "subPath", relative_path_fault);
        check_format(c->v, &p, mount, "subPathExpr", relative_path_fault);
        if (!str_empty(json_str(mount, "subPath", "")) &&
            !str_empty(json_str(mount, "subPathExpr", "")))
            fail_field(c->v, &p, "subPathExpr", FIELD_INVALID, json_get(mount, "subPathExpr"),
                       "subPathExpr and subPath are mutually exclusive");
        check_one_of(c->v, &p, mount, "mountPropagation", propagations, false);
        if (str_equal(json_str(mount, "mountPropagation", ""), "Bidirectional") &&
            !json_bool(container, "securityContext.privileged", false))
            fail_field(
                c->v, &p, "mountPropagation", FIELD_FORBIDDEN, NULL,
                "Bidirectional mount propagation is available only to privileged containers");
    }
    hashmap_deinit(&paths);
}

static void check_id(struct field_errors *v, const struct place *at, const struct json *object,
                     const char *name)
{
    const struct json *value = json_get(object, name);
    if (json_is(value, JSON_INT) && id_fault(value->integer))
        fail_field(v, at, name, FIELD_INVALID, value, id_fault(value->integer));
}

static void validate_security(struct field_errors *v, const struct place *at,
                              const struct json *security)
{
    static const char *const mounts[] = { "Default", "Unmasked", NULL };
    static const char *const profiles[] = { "Localhost", "RuntimeDefault", "Unconfined", NULL };
    const struct json *seccomp = json_get(security, "seccompProfile");
    struct place profile = place_in(at, "seccompProfile");
    check_id(v, at, security, "runAsUser");
    check_id(v, at, security, "runAsGroup");
    check_one_of(v, at, security, "procMount", mounts, false);
    if (seccomp) {
        const char *file = json_str(seccomp, "localhostProfile", "");
        bool is_local = str_equal(json_str(seccomp, "type", ""), "Localhost");
        check_one_of(v, &profile, seccomp, "type", profiles, true);
        if (is_local && !*file)
            fail_field(v, &profile, "localhostProfile", FIELD_REQUIRED, NULL,
                       "must be set when seccomp type is Localhost");
        else if (!is_local && json_get(seccomp, "localhostProfile"))
            fail_field(v, &profile, "localhostProfile", FIELD_INVALID,
                       json_get(seccomp, "localhostProfile"),
                       "can only be set when seccomp type is Localhost");
    }
    const struct json *escalation = json_get(security, "allowPrivilegeEscalation");
    if (json_is(escalation, JSON_BOOL) && !escalation->boolean) {
        if (json_bool(security, "privileged", false))
            fail(v, at, FIELD_INVALID, security,
                 "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        json_each_item (json_at(security, "capabilities.add"), capability) {
            if (str_equal(json_text(capability), "CAP_SYS_ADMIN"))
                fail(v, at, FIELD_INVALID, security,
                     "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                     "CAP_SYS_ADMIN");
        }
    }
}

/* ---- containers ---- */

enum container_kind { REGULAR, INIT, EPHEMERAL };

static void validate_life(struct pod_context *c, const struct place *at,
                          const struct json *container, enum container_kind kind)
{
    static const char *const names[] = { "lifecycle", "livenessProbe", "readinessProbe",
                                         "startupProbe" };
    bool is_sidecar = kind == INIT && str_equal(json_str(container, "restartPolicy", ""), "Always");
    int64_t grace_s = json_int(c->spec, "terminationGracePeriodSeconds", 30);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct json *value = json_get(container, names[i]);
        struct place p = place_in(at, names[i]);
        if (!value)
            continue;
        if (kind == EPHEMERAL) {
            fail(c->v, &p, FIELD_FORBIDDEN, NULL, "cannot be set for an Ephemeral Container");
        } else if (kind == INIT && !is_sidecar) {
            fail(c->v, &p, FIELD_FORBIDDEN, NULL,
                 "may not be set for init containers without restartPolicy=Always");
        } else if (i > 0) {
            validate_probe(c->v, &p, value);
        } else {
            struct place start = place_in(&p, "postStart"), stop = place_in(&p, "preStop");
            if (json_get(value, "postStart"))
                validate_handler(c->v, &start, json_get(value, "postStart"), false, grace_s);
            if (json_get(value, "preStop"))
                validate_handler(c->v, &stop, json_get(value, "preStop"), false, grace_s);
        }
    }
}

static void validate_container(struct pod_context *c, const struct place *at,
                               const struct json *container, enum container_kind kind)
{
    static const char *const pulls[] = { "Always", "IfNotPresent", "Never", NULL };
    static const char *const messages[] = { "File", "FallbackToLogsOnError", NULL };
    static const char *const restarts[] = { "Always", "OnFailure", "Never", NULL };
    const struct json *name = json_get(container, "name"), *image = json_get(container, "image");
    check_required_format(c->v, at, container, "name", dns_label_fault);
    if (!str_empty(json_text(name)) && is_repeated(&c->names, name))
        fail_field(c->v, at, "name", FIELD_DUPLICATE, name, "");
    check_required(c->v, at, container, "image");
    const char *text = json_text(image);
    if (c->use == POD_ITSELF && !str_empty(text) && (*text == ' ' || text[image->len - 1] == ' '))
        fail_field(c->v, at, "image", FIELD_INVALID, image,
                   "must not have leading or trailing whitespace");
    check_one_of(c->v, at, container, "terminationMessagePolicy", messages, true);
    check_one_of(c->v, at, container, "imagePullPolicy", pulls, true);
    check_one_of(c->v, at, container, "restartPolicy", restarts, false);
    validate_ports(c, at, container);
    validate_env(c->v, at, container);
    validate_mounts(c, at, container);
    validate_life(c, at, container, kind);
    struct place resources_at = place_in(at, "resources"),
                 security = place_in(at, "securityContext");
    validate_resources(c->v, &resources_at, json_get(container, "resources"));
    validate_security(c->v, &security, json_get(container, "securityContext"));
}

static void validate_containers(struct pod_context *c, const struct place *at, const char *name,
                                enum container_kind kind)
{
    struct place list = place_in(at, name);
    size_t i = 0;
    json_each_item (json_get(c->spec, name), container) {
        struct place p = place_item(&list, i++);
        validate_container(c, &p, container, kind);
    }
}

/* ---- volumes ---- */

static void check_mode(struct field_errors *v, const struct place *at, const struct json *object,
                       const char *name)
{
    const struct json *mode = json_get(object, name);
    if (json_is(mode, JSON_INT) && (mode->integer < 0 || mode->integer > 0777))
        fail_field(v, at, name, FIELD_INVALID, mode,
                   "must be a number between 0 and 0777 (octal), both inclusive");
}

static const char *volume_path_fault(const char *s)
{
    if (str_has_prefix(s, ".."))
        return "must not start with '..'";
    return relative_path_fault(s);
}

static void validate_items(struct field_errors *v, const struct place *at,
                           const struct json *source, bool has_keys)
{
    struct place list = place_in(at, "items");
    size_t i = 0;
    json_each_item (json_get(source, "items"), item) {
        struct place p = place_item(&list, i++), field = place_in(&p, "fieldRef");
        if (has_keys)
            check_required(v, &p, item, "key");
        check_required_format(v, &p, item, "path", volume_path_fault);
        check_mode(v, &p, item, "mode");
        if (!has_keys && json_get(item, "fieldRef"))
            check_required(v, &field, json_get(item, "fieldRef"), "fieldPath");
    }
}

static void validate_projected(struct field_errors *v, const struct place *at,
                               const struct json *projected)
{
    struct place list = place_in(at, "sources");
    size_t i = 0;
    check_mode(v, at, projected, "defaultMode");
    json_each_item (json_get(projected, "sources"), source) {
        struct place p = place_item(&list, i++);
        if (json_len(source, "") > 1)
            fail(v, &p, FIELD_FORBIDDEN, NULL, "may not specify more than 1 volume type");
        json_each_member (source, m) {
            struct place kind = place_in(&p, m->name);
            if (str_equal(m->name, "serviceAccountToken")) {
                const struct json *seconds = json_get(&m->value, "expirationSeconds");
                check_required_format(v, &kind, &m->value, "path", volume_path_fault);
                if (json_is(seconds, JSON_INT) && seconds->integer < 600)
                    fail_field(v, &kind, "expirationSeconds", FIELD_INVALID, seconds,
                               "may not specify a duration less than 10 minutes");
            } else if (str_equal(m->name, "downwardAPI")) {
                validate_items(v, &kind, &m->value, false);
            } else {
                validate_items(v, &kind, &m->value, true);
            }
        }
    }
}

static void validate_volume_source(struct field_errors *v, const struct place *at, const char *kind,
                                   const struct json *source)
{
    static const char *const types[] = {
        "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice",
        "BlockDevice",       NULL
    };
    if (str_equal(kind, "hostPath")) {
        check_required(v, at, source, "path");
        if (relative_path_fault(json_str(source, "path", "") +
                                (*json_str(source, "path", "") == '/')))
            fail_field(v, at, "path", FIELD_INVALID, json_get(source, "path"),
                       "must not contain '..'");
        check_one_of(v, at, source, "type", types, false);
    } else if (str_equal(kind, "secret") || str_equal(kind, "configMap")) {
        check_required(v, at, source, *kind == 's' ? "secretName" : "name");
        check_mode(v, at, source, "defaultMode");
        validate_items(v, at, source, true);
    } else if (str_equal(kind, "downwardAPI")) {
        check_mode(v, at, source, "defaultMode");
        validate_items(v, at, source, false);
    } else if (str_equal(kind, "projected")) {
        validate_projected(v, at, source);
    } else if (str_equal(kind, "persistentVolumeClaim")) {
        check_required(v, at, source, "claimName");
    } else if (str_equal(kind, "nfs")) {
        check_required(v, at, source, "server");
        check_required(v, at, source, "path");
    } else if (str_equal(kind, "csi")) {
        check_required(v, at, source, "driver");
    } else if (str_equal(kind, "ephemeral")) {
        if (!json_get(source, "volumeClaimTemplate"))
            fail_field(v, at, "volumeClaimTemplate", FIELD_REQUIRED, NULL, "");
    }
}

static void validate_volumes(struct pod_context *c, const struct place *at)
{
    struct place list = place_in(at, "volumes");
    size_t i = 0;
    json_each_item (json_get(c->spec, "volumes"), volume) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(volume, "name");
        size_t sources = 0;
        check_required_format(c->v, &p, volume, "name", dns_label_fault);
        if (!str_empty(json_text(name)) && is_repeated(&c->volumes, name))
            fail_field(c->v, &p, "name", FIELD_DUPLICATE, name, "");
        json_each_member (volume, m) {
            struct place source = place_in(&p, m->name);
            if (str_equal(m->name, "name"))
                continue;
            if (sources++ > 0)
                fail(c->v, &source, FIELD_FORBIDDEN, NULL,
                     "may not specify more than 1 volume type");
            else
                validate_volume_source(c->v, &source, m->name, &m->value);
        }
        if (sources == 0)
            fail(c->v, &p, FIELD_REQUIRED, NULL, "must specify a volume type");
    }
}

/* ---- the pod ---- */

static void validate_dns(struct field_errors *v, const struct place *at, const struct json *spec)
{
    static const char *const policies[] = { "ClusterFirstWithHostNet", "ClusterFirst", "Default",
                                            "None", NULL };
    const struct json *config = json_get(spec, "dnsConfig"),
                      *servers = json_get(config, "nameservers");
    struct place dns = place_in(at, "dnsConfig"), list = place_in(&dns, "nameservers");
    check_one_of(v, at, spec, "dnsPolicy", policies, true);
    if (str_equal(json_str(spec, "dnsPolicy", ""), "None")) {
        if (!config)
            fail(v, &dns, FIELD_REQUIRED, NULL,
                 "must provide `dnsConfig` when `dnsPolicy` is None");
        else if (json_len(config, "nameservers") == 0)
            fail(v, &list, FIELD_REQUIRED, NULL,
                 "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if (json_len(config, "nameservers") > 3)
        fail(v, &list, FIELD_INVALID, servers, "must not have more than 3 nameservers");
    size_t i = 0;
    json_each_item (servers, server) {
        struct place p = place_item(&list, i++);
        if (json_text(server) && ip_fault(json_text(server)))
            fail(v, &p, FIELD_INVALID, server, ip_fault(json_text(server)));
    }
}

static void validate_pod_security(struct field_errors *v, const struct place *at,
                                  const struct json *spec)
{
    static const char *const changes[] = { "OnRootMismatch", "Always", NULL };
    const struct json *security = json_get(spec, "securityContext");
    struct place p = place_in(at, "securityContext"), groups = place_in(&p, "supplementalGroups");
    check_id(v, &p, security, "runAsUser");
    check_id(v, &p, security, "runAsGroup");
    check_id(v, &p, security, "fsGroup");
    check_one_of(v, &p, security, "fsGroupChangePolicy", changes, false);
    size_t i = 0;
    json_each_item (json_get(security, "supplementalGroups"), group) {
        struct place one = place_item(&groups, i++);
        if (json_is(group, JSON_INT) && id_fault(group->integer))
            fail(v, &one, FIELD_INVALID, group, id_fault(group->integer));
    }
    if (json_bool(spec, "shareProcessNamespace", false) && json_bool(spec, "hostPID", false))
        fail_field(v, &p, "shareProcessNamespace", FIELD_INVALID,
                   json_get(spec, "shareProcessNamespace"),
                   "ShareProcessNamespace and HostPID cannot both be enabled");
}

static void validate_spread(struct field_errors *v, const struct place *at, const struct json *spec)
{
    static const char *const actions[] = { "DoNotSchedule", "ScheduleAnyway", NULL };
    struct place list = place_in(at, "topologySpreadConstraints");
    size_t i = 0;
    json_each_item (json_get(spec, "topologySpreadConstraints"), constraint) {
        struct place p = place_item(&list, i++), selector = place_in(&p, "labelSelector");
        check_positive(v, &p, constraint, "maxSkew");
        if (str_empty(json_str(constraint, "topologyKey", "")))
            fail_field(v, &p, "topologyKey", FIELD_REQUIRED, NULL, "can not be empty");
        check_one_of(v, &p, constraint, "whenUnsatisfiable", actions, true);
        validate_label_selector(v, &selector, json_get(constraint, "labelSelector"));
    }
}

static void validate_gates(struct field_errors *v, const struct place *at, const struct json *spec)
{
    struct place readiness = place_in(at, "readinessGates"),
                 scheduling = place_in(at, "schedulingGates");
    struct hashmap names = { 0 };
    size_t i = 0;
    json_each_item (json_get(spec, "readinessGates"), gate) {
        struct place p = place_item(&readiness, i++);
        check_format(v, &p, gate, "conditionType", label_key_fault);
    }
    i = 0;
    json_each_item (json_get(spec, "schedulingGates"), gate) {
        struct place p = place_item(&scheduling, i++);
        const struct json *name = json_get(gate, "name");
        const char *wrong = label_key_fault(json_text(name) ? json_text(name) : "");
        if (wrong)
            fail(v, &p, FIELD_INVALID, name ? name : &empty_text, wrong);
        else if (is_repeated(&names, name))
            fail(v, &p, FIELD_DUPLICATE, name, "");
    }
    hashmap_deinit(&names);
}

static void validate_host_aliases(struct field_errors *v, const struct place *at,
                                  const struct json *spec)
{
    struct place list = place_in(at, "hostAliases");
    size_t i = 0;
    json_each_item (json_get(spec, "hostAliases"), alias) {
        struct place p = place_item(&list, i++), names = place_in(&p, "hostnames");
        size_t k = 0;
        check_format(v, &p, alias, "ip", ip_fault);
        json_each_item (json_get(alias, "hostnames"), name) {
            struct place one = place_item(&names, k++);
            if (json_text(name) && dns_subdomain_fault(json_text(name)))
                fail(v, &one, FIELD_INVALID, name, dns_subdomain_fault(json_text(name)));
        }
    }
}

static void validate_names(struct field_errors *v, const struct place *at, const struct json *spec)
{
    static const char *const names[] = { "serviceAccountName", "nodeName", "priorityClassName",
                                         "runtimeClassName" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        check_format(v, at, spec, names[i], dns_subdomain_fault);
    check_format(v, at, spec, "hostname", dns_label_fault);
    check_format(v, at, spec, "subdomain", dns_label_fault);
    const struct json *deadline = json_get(spec, "activeDeadlineSeconds");
    if (json_is(deadline, JSON_INT) && (deadline->integer < 1 || deadline->integer > INT32_MAX))
        fail_field(v, at, "activeDeadlineSeconds", FIELD_INVALID, deadline,
                   "must be between 1 and 2147483647, inclusive");
}

void validate_pod_spec(struct field_errors *v, const struct place *at, const struct json *spec,
                       enum pod_use use)
{
    static const char *const restarts[] = { "Always", "OnFailure", "Never", NULL };
    static const char *const preemptions[] = { "PreemptLowerPriority", "Never", NULL };
    static const char *const systems[] = { "linux", "windows", NULL };
    struct pod_context c = { .v = v, .spec = spec, .use = use };
    struct place selector = place_in(at, "nodeSelector"), affinity = place_in(at, "affinity"),
                 tolerations = place_in(at, "tolerations"), os = place_in(at, "os");

    validate_volumes(&c, at);
    if (json_len(spec, "containers") == 0)
        fail_field(v, at, "containers", FIELD_REQUIRED, NULL, "");
    validate_containers(&c, at, "containers", REGULAR);
    validate_containers(&c, at, "initContainers", INIT);
    validate_containers(&c, at, "ephemeralContainers", EPHEMERAL);
    check_one_of(v, at, spec, "restartPolicy", restarts, true);
    validate_dns(v, at, spec);
    validate_labels(v, &selector, json_get(spec, "nodeSelector"));
    validate_pod_security(v, at, spec);
    validate_affinity(v, &affinity, json_get(spec, "affinity"));
    validate_tolerations(v, &tolerations, json_get(spec, "tolerations"));
    validate_gates(v, at, spec);
    validate_spread(v, at, spec);
    validate_names(v, at, spec);
    validate_host_aliases(v, at, spec);
    check_one_of(v, at, spec, "preemptionPolicy", preemptions, false);
    if (json_get(spec, "os"))
        check_one_of(v, &os, json_get(spec, "os"), "name", systems, true);
    hashmap_deinit(&c.names);
    hashmap_deinit(&c.volumes);
}

void validate_pod_template(struct field_errors *v, const struct place *at,
                           const struct json *template)
{
    struct place labels = place_in(at, "labels"), annotations = place_in(at, "annotations"),
                 spec = place_in(at, "spec");
    validate_labels(v, &labels, json_at(template, "metadata.labels"));
    validate_annotations(v, &annotations, json_at(template, "metadata.annotations"));
    validate_pod_spec(v, &spec, json_get(template, "spec"), POD_IN_TEMPLATE);
    if (json_len(template, "spec.ephemeralContainers") > 0)
        fail_field(v, &spec, "ephemeralContainers", FIELD_FORBIDDEN, NULL,
                   "ephemeral containers not allowed in pod template");
}
