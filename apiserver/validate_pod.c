/* SPDX-License-Identifier: Apache-2.0 */
/* validate_pod.c - pods and pod templates (facts/validation.json: PodSpec, Container, Volumes). */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"
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

/* Whether NAME is in MAP already; adds it with VALUE. */
static bool is_repeated(struct hashmap *map, const struct json *name, const struct json *value)
{
    struct bytes key = { name->string, name->len };
    if (hashmap_get(map, key))
        return true;
    hashmap_put(map, key, (void *)value);
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
                 arena_printf(v->arena,
                              "must be non-negative and less than terminationGracePeriodSeconds "
                              "(%lld)",
                              (long long)grace_s));
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
        if (!str_empty(json_text(name)) && is_repeated(&names, name, name))
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

static void validate_env_source(struct field_errors *v, const struct place *at,
                                const struct json *env)
{
    static const char *const kinds[] = { "fieldRef", "resourceFieldRef", "configMapKeyRef",
                                         "secretKeyRef", "fileKeyRef" };
    static const char *const fields[] = { "metadata.name",
                                          "metadata.namespace",
                                          "metadata.uid",
                                          "spec.nodeName",
                                          "spec.serviceAccountName",
                                          "status.hostIP",
                                          "status.hostIPs",
                                          "status.podIP",
                                          "status.podIPs",
                                          NULL };
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
            validate_field_ref(v, &p, ref, fields);
        } else if (i == 1) {
            validate_resource_ref(v, &p, ref);
        } else if (i < 4) {
            check_format(v, &p, ref, "name", dns_subdomain_fault);
            check_required_format(v, &p, ref, "key", config_key_fault);
        }
    }
    if (n == 0)
        fail(v, &from, FIELD_INVALID, &empty_text,
             "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
             "`secretKeyRef`");
    else if (!str_empty(json_str(env, "value", "")))
        fail(v, &from, FIELD_INVALID, &empty_text,
             "may not be specified when `value` is not empty");
    else if (n > 1)
        fail(v, &from, FIELD_INVALID, &empty_text,
             "may not have more than one field specified at a time");
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

static const struct json *volume_named(const struct pod_context *c, const struct json *name)
{
    return str_empty(json_text(name))
               ? NULL
               : hashmap_get(&c->volumes, (struct bytes){ name->string, name->len });
}

/* Upstream leaves the mount's index out of these paths. */
static void validate_mount_options(struct field_errors *v, const struct place *list,
                                   const struct json *mount, bool is_privileged)
{
    static const char *const propagations[] = { "None", "HostToContainer", "Bidirectional", NULL };
    static const char *const recursions[] = { "Disabled", "Enabled", "IfPossible", NULL };
    const char *propagation = json_str(mount, "mountPropagation", "");
    const char *recursive = json_str(mount, "recursiveReadOnly", "");
    check_format(v, list, mount, "subPath", relative_path_fault);
    check_format(v, list, mount, "subPathExpr", relative_path_fault);
    check_one_of(v, list, mount, "mountPropagation", propagations, false);
    if (str_equal(propagation, "Bidirectional") && !is_privileged)
        fail_field(v, list, "mountPropagation", FIELD_FORBIDDEN, NULL,
                   "Bidirectional mount propagation is available only to privileged containers");
    check_one_of(v, list, mount, "recursiveReadOnly", recursions, false);
    if (!str_equal(recursive, "Enabled") && !str_equal(recursive, "IfPossible"))
        return;
    if (!json_bool(mount, "readOnly", false))
        fail_field(v, list, "recursiveReadOnly", FIELD_FORBIDDEN, NULL,
                   "may only be specified when readOnly is true");
    if (*propagation && !str_equal(propagation, "None"))
        fail_field(v, list, "recursiveReadOnly", FIELD_FORBIDDEN, NULL,
                   "may only be specified when mountPropagation is None or not specified");
}

static void validate_mounts(struct pod_context *c, const struct place *at,
                            const struct json *container)
{
    struct hashmap paths = { 0 };
    struct place list = place_in(at, "volumeMounts");
    bool is_privileged = json_bool(container, "securityContext.privileged", false);
    size_t i = 0;
    json_each_item (json_get(container, "volumeMounts"), mount) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(mount, "name"), *path = json_get(mount, "mountPath");
        check_required(c->v, &p, mount, "name");
        if (!str_empty(json_text(name)) && !volume_named(c, name))
            fail_field(c->v, &p, "name", FIELD_NOT_FOUND, name, "");
        check_required(c->v, &p, mount, "mountPath");
        if (!str_empty(json_text(path)) && is_repeated(&paths, path, path))
            fail_field(c->v, &p, "mountPath", FIELD_INVALID, path, "must be unique");
        if (!str_empty(json_str(mount, "subPath", "")) &&
            !str_empty(json_str(mount, "subPathExpr", "")))
            fail_field(c->v, &p, "subPathExpr", FIELD_INVALID, json_get(mount, "subPathExpr"),
                       "subPathExpr and subPath are mutually exclusive");
        validate_mount_options(c->v, &list, mount, is_privileged);
    }
    hashmap_deinit(&paths);
}

static void validate_devices(struct pod_context *c, const struct place *at,
                             const struct json *container)
{
    struct place list = place_in(at, "volumeDevices");
    size_t i = 0;
    json_each_item (json_get(container, "volumeDevices"), device) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(device, "name");
        const struct json *volume = volume_named(c, name);
        check_required(c->v, &p, device, "name");
        if (!str_empty(json_text(name)) && !volume)
            fail_field(c->v, &p, "name", FIELD_NOT_FOUND, name, "");
        else if (volume && json_get(volume, "name") && !json_get(volume, "ephemeral") &&
                 !json_get(volume, "persistentVolumeClaim"))
            fail_field(c->v, &p, "name", FIELD_INVALID, name,
                       "can only use volume source type of PersistentVolumeClaim or Ephemeral for "
                       "block mode");
        check_required_format(c->v, &p, device, "devicePath", backsteps_fault);
    }
}

static void check_id(struct field_errors *v, const struct place *at, const struct json *object,
                     const char *name)
{
    const struct json *value = json_get(object, name);
    if (json_is(value, JSON_INT) && id_fault(value->integer))
        fail_field(v, at, name, FIELD_INVALID, value, id_fault(value->integer));
}

static void validate_seccomp(struct field_errors *v, const struct place *at,
                             const struct json *security)
{
    static const char *const profiles[] = { "Localhost", "RuntimeDefault", "Unconfined", NULL };
    const struct json *seccomp = json_get(security, "seccompProfile");
    const struct json *file = json_get(seccomp, "localhostProfile");
    struct place profile = place_in(at, "seccompProfile");
    bool is_local = str_equal(json_str(seccomp, "type", ""), "Localhost");
    if (!seccomp)
        return;
    check_one_of(v, &profile, seccomp, "type", profiles, true);
    if (is_local && str_empty(json_text(file)))
        fail_field(v, &profile, "localhostProfile", FIELD_REQUIRED, NULL,
                   "must be set when seccomp type is Localhost");
    else if (is_local)
        check_format(v, &profile, seccomp, "localhostProfile", relative_path_fault);
    else if (file)
        fail_field(v, &profile, "localhostProfile", FIELD_INVALID, file,
                   "can only be set when seccomp type is Localhost");
}

static void validate_security(struct field_errors *v, const struct place *at,
                              const struct json *security)
{
    static const char *const mounts[] = { "Default", "Unmasked", NULL };
    check_id(v, at, security, "runAsUser");
    check_id(v, at, security, "runAsGroup");
    check_one_of(v, at, security, "procMount", mounts, false);
    validate_seccomp(v, at, security);
    const struct json *escalation = json_get(security, "allowPrivilegeEscalation");
    if (json_is(escalation, JSON_BOOL) && !escalation->boolean) {
        if (json_bool(security, "privileged", false))
            fail(v, at, FIELD_INVALID, security,
                 "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        if (json_has_text(json_at(security, "capabilities.add"), "CAP_SYS_ADMIN"))
            fail(v, at, FIELD_INVALID, security,
                 "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                 "CAP_SYS_ADMIN");
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
        if (kind == INIT && !is_sidecar) {
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

/* A container for debugging: it is given nothing and is not looked after. */
static void validate_ephemeral(struct pod_context *c, const struct place *at,
                               const struct json *container)
{
    static const char detail[] = "cannot be set for an Ephemeral Container";
    static const char *const refused[] = { "ports",         "resources",     "resizePolicy",
                                           "restartPolicy", "livenessProbe", "readinessProbe",
                                           "startupProbe",  "lifecycle" };
    static const char *const sub_paths[] = { "subPath", "subPathExpr" };
    const struct json *target = json_get(container, "targetContainerName");
    struct place mounts = place_in(at, "volumeMounts");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (json_len(container, refused[i]) > 0 || !str_empty(json_str(container, refused[i], "")))
            fail_field(c->v, at, refused[i], FIELD_FORBIDDEN, NULL, detail);
    }
    size_t i = 0;
    json_each_item (json_get(container, "volumeMounts"), mount) {
        struct place p = place_item(&mounts, i++);
        for (size_t s = 0; s < ARRAY_LEN(sub_paths); s++) {
            if (!str_empty(json_str(mount, sub_paths[s], "")))
                fail_field(c->v, &p, sub_paths[s], FIELD_FORBIDDEN, NULL, detail);
        }
    }
    if (!str_empty(json_text(target)) &&
        !hashmap_get(&c->names, (struct bytes){ target->string, target->len }))
        fail_field(c->v, at, "targetContainerName", FIELD_NOT_FOUND, target, "");
}

static void validate_container(struct pod_context *c, const struct place *at,
                               const struct json *container, enum container_kind kind)
{
    static const char *const pulls[] = { "Always", "IfNotPresent", "Never", NULL };
    static const char *const messages[] = { "File", "FallbackToLogsOnError", NULL };
    static const char *const restarts[] = { "Always", "OnFailure", "Never", NULL };
    const struct json *name = json_get(container, "name"), *image = json_get(container, "image");
    check_required_format(c->v, at, container, "name", dns_label_fault);
    if (!str_empty(json_text(name)) && is_repeated(&c->names, name, container))
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
    validate_devices(c, at, container);
    if (kind == EPHEMERAL)
        validate_ephemeral(c, at, container);
    else
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

static void validate_volumes(struct pod_context *c, const struct place *at)
{
    struct place list = place_in(at, "volumes");
    size_t i = 0;
    json_each_item (json_get(c->spec, "volumes"), volume) {
        struct place p = place_item(&list, i++);
        const struct json *name = json_get(volume, "name");
        size_t sources = 0;
        check_rules(c->v, &p, NULL, volume, volume_rules);
        if (!str_empty(json_text(name)) && is_repeated(&c->volumes, name, volume))
            fail_field(c->v, &p, "name", FIELD_DUPLICATE, name, "");
        json_each_member (volume, m) {
            struct place source = place_in(&p, m->name);
            if (!str_equal(m->name, "name") && sources++ > 0)
                fail(c->v, &source, FIELD_FORBIDDEN, NULL,
                     "may not specify more than 1 volume type");
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
    validate_seccomp(v, &p, security);
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

static void check_min_domains(struct field_errors *v, const struct place *at,
                              const struct json *constraint)
{
    const struct json *domains = json_get(constraint, "minDomains");
    if (!json_is(domains, JSON_INT))
        return;
    if (domains->integer <= 0)
        fail_field(v, at, "minDomains", FIELD_INVALID, domains, "must be greater than zero");
    if (!str_equal(json_str(constraint, "whenUnsatisfiable", ""), "DoNotSchedule"))
        fail_field(v, at, "minDomains", FIELD_INVALID, domains,
                   "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
                   "ScheduleAnyway");
}

static const struct rule spread_rules[] = {
    NUMBER("maxSkew", 1, INT64_MAX, "must be greater than zero"),
    REQUIRED_BECAUSE("topologyKey", "can not be empty"),
    EXACTLY_ONE_OF("whenUnsatisfiable", "DoNotSchedule", "ScheduleAnyway"),
    BLOCK("", check_min_domains),
    ONE_OF("nodeAffinityPolicy", "Honor", "Ignore"),
    ONE_OF("nodeTaintsPolicy", "Honor", "Ignore"),
    FORMAT("matchLabelKeys[*]", label_key_fault),
    RULES_END,
};

static void validate_spread(struct field_errors *v, const struct place *at, const struct json *spec)
{
    struct place list = place_in(at, "topologySpreadConstraints");
    size_t i = 0;
    json_each_item (json_get(spec, "topologySpreadConstraints"), constraint) {
        struct place p = place_item(&list, i++), selector = place_in(&p, "labelSelector");
        check_rules(v, &p, NULL, constraint, spread_rules);
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
        else if (is_repeated(&names, name, name))
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

/* One address and port of the node belongs to one port of the pod. */
static void validate_host_ports(struct field_errors *v, const struct place *at,
                                const struct json *spec)
{
    struct place list = place_in(at, "containers");
    struct hashmap taken = { 0 };
    size_t i = 0;
    json_each_item (json_get(spec, "containers"), container) {
        struct place p = place_item(&list, i++), ports = place_in(&p, "ports");
        size_t k = 0;
        json_each_item (json_get(container, "ports"), port) {
            struct place one = place_item(&ports, k++);
            int64_t number = json_int(port, "hostPort", 0);
            if (number == 0)
                continue;
            const char *key = arena_printf(v->arena, "%s/%s/%lld", json_str(port, "protocol", ""),
                                           json_str(port, "hostIP", ""), (long long)number);
            struct json shown = { .type = JSON_STRING,
                                  .len = (uint32_t)strlen(key),
                                  .string = key };
            if (is_repeated(&taken, &shown, port))
                fail_field(v, &one, "hostPort", FIELD_DUPLICATE, &shown, "");
        }
    }
    hashmap_deinit(&taken);
}

static void check_searches(struct field_errors *v, const struct place *at,
                           const struct json *searches)
{
    size_t bytes = 0;
    if (json_len(searches, "") > 32)
        fail(v, at, FIELD_INVALID, searches, "must not have more than 32 search paths");
    json_each_item (searches, search) {
        bytes += search->len + 1;
    }
    if (bytes > 2048 + 1)
        fail(v, at, FIELD_INVALID, searches,
             "must not have more than 2048 characters (including spaces) in the search list");
}

static const struct rule pod_spec_rules[] = {
    REQUIRED_FORMAT("resourceClaims[*].name", dns_label_fault),
    UNIQUE("resourceClaims", "name"),
    FORMAT("resourceClaims[*].resourceClaimName", dns_subdomain_fault),
    FORMAT("resourceClaims[*].resourceClaimTemplateName", dns_subdomain_fault),
    BLOCK("dnsConfig?.searches", check_searches),
    REQUIRED_BECAUSE("dnsConfig?.options[*].name", "must not be empty"),
    REQUIRED_FORMAT("securityContext?.sysctls[*].name", sysctl_name_fault),
    UNIQUE("securityContext?.sysctls", "name"),
    ONE_OF("securityContext?.supplementalGroupsPolicy", "Merge", "Strict"),
    ONE_OF("securityContext?.seLinuxChangePolicy", "MountOption", "Recursive"),
    FORMAT("hostnameOverride", dns_subdomain_fault),
    RULES_END,
};

void validate_pod_spec(struct field_errors *v, const struct place *at, const struct json *spec,
                       enum pod_use use, const struct json *claims)
{
    static const char *const restarts[] = { "Always", "OnFailure", "Never", NULL };
    static const char *const preemptions[] = { "PreemptLowerPriority", "Never", NULL };
    static const char *const systems[] = { "linux", "windows", NULL };
    struct pod_context c = { .v = v, .spec = spec, .use = use };
    struct place selector = place_in(at, "nodeSelector"), affinity = place_in(at, "affinity"),
                 tolerations = place_in(at, "tolerations"), os = place_in(at, "os");

    json_each_item (claims, claim) {
        const struct json *name = json_at(claim, "metadata.name");
        if (!str_empty(json_text(name)))
            hashmap_put(&c.volumes, (struct bytes){ name->string, name->len }, (void *)claim);
    }
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
    validate_host_ports(v, at, spec);
    check_rules(v, at, NULL, spec, pod_spec_rules);
    check_one_of(v, at, spec, "preemptionPolicy", preemptions, false);
    if (json_get(spec, "os"))
        check_one_of(v, &os, json_get(spec, "os"), "name", systems, true);
    hashmap_deinit(&c.names);
    hashmap_deinit(&c.volumes);
}

void validate_pod_template_with(struct field_errors *v, const struct place *at,
                                const struct json *template, const struct json *claims)
{
    struct place labels = place_in(at, "labels"), annotations = place_in(at, "annotations"),
                 spec = place_in(at, "spec");
    validate_labels(v, &labels, json_at(template, "metadata.labels"));
    validate_annotations(v, &annotations, json_at(template, "metadata.annotations"));
    validate_pod_spec(v, &spec, json_get(template, "spec"), POD_IN_TEMPLATE, claims);
    if (json_len(template, "spec.ephemeralContainers") > 0)
        fail_field(v, &spec, "ephemeralContainers", FIELD_FORBIDDEN, NULL,
                   "ephemeral containers not allowed in pod template");
}

void validate_pod_template(struct field_errors *v, const struct place *at,
                           const struct json *template)
{
    validate_pod_template_with(v, at, template, NULL);
}
