/* SPDX-License-Identifier: Apache-2.0 */
/* cri_sandbox.c - pod sandboxes over CRI. */
#include "kubelet/cri_wire.h"

#include "kubelet/cri.pb-c.h"
#include "kubelet/pod_labels.h"

static Cri__DNSConfig *dns_config(const struct cri_sandbox_config *config, struct arena *a)
{
    Cri__DNSConfig *dns = arena_alloc(a, sizeof(*dns));
    cri__dnsconfig__init(dns);
    dns->servers = config->dns_servers.items;
    dns->n_servers = config->dns_servers.n;
    dns->searches = config->dns_searches.items;
    dns->n_searches = config->dns_searches.n;
    dns->options = config->dns_options.items;
    dns->n_options = config->dns_options.n;
    return dns;
}

static void add_ports(Cri__PodSandboxConfig *wire, const struct cri_sandbox_config *config,
                      struct arena *a)
{
    wire->port_mappings = arena_alloc(a, (config->ports_n + 1) * sizeof(*wire->port_mappings));
    for (size_t i = 0; i < config->ports_n; i++) {
        const struct cri_port *port = &config->ports[i];
        Cri__PortMapping *m = arena_alloc(a, sizeof(*m));
        cri__port_mapping__init(m);
        m->protocol = str_equal(port->protocol, "UDP")    ? CRI__PROTOCOL__UDP
                      : str_equal(port->protocol, "SCTP") ? CRI__PROTOCOL__SCTP
                                                          : CRI__PROTOCOL__TCP;
        m->container_port = port->container_port;
        m->host_port = port->host_port;
        if (port->host_ip)
            m->host_ip = (char *)port->host_ip;
        wire->port_mappings[wire->n_port_mappings++] = m;
    }
}

static Cri__LinuxSandboxSecurityContext *security_context(const struct cri_security *s,
                                                          struct arena *a)
{
    Cri__LinuxSandboxSecurityContext *wire = arena_alloc(a, sizeof(*wire));
    cri__linux_sandbox_security_context__init(wire);
    Cri__NamespaceOption *namespaces = arena_alloc(a, sizeof(*namespaces));
    cri__namespace_option__init(namespaces);
    namespaces->network = (Cri__NamespaceMode)s->network;
    namespaces->pid = (Cri__NamespaceMode)s->pid;
    namespaces->ipc = (Cri__NamespaceMode)s->ipc;
    wire->namespace_options = namespaces;
    wire->privileged = s->privileged;
    wire->readonly_rootfs = s->readonly_rootfs;
    if (s->user >= 0)
        wire->run_as_user = cri_int64_value(s->user, a);
    if (s->user >= 0 && s->group >= 0)
        wire->run_as_group = cri_int64_value(s->group, a);
    wire->supplemental_groups = s->groups;
    wire->n_supplemental_groups = s->groups_n;
    wire->seccomp = cri_profile(s->seccomp, a);
    wire->apparmor = cri_profile(s->apparmor, a);
    return wire;
}

void *cri_sandbox_config_wire(const struct cri_sandbox_config *config, struct arena *a)
{
    Cri__PodSandboxConfig *wire = arena_alloc(a, sizeof(*wire));
    cri__pod_sandbox_config__init(wire);
    wire->metadata = arena_alloc(a, sizeof(*wire->metadata));
    cri__pod_sandbox_metadata__init(wire->metadata);
    wire->metadata->name = (char *)config->name;
    wire->metadata->namespace_ = (char *)config->ns;
    wire->metadata->uid = (char *)config->uid;
    wire->metadata->attempt = config->attempt;
    wire->hostname = (char *)config->hostname;
    wire->log_directory = (char *)config->log_directory;
    if (config->has_dns)
        wire->dns_config = dns_config(config, a);
    add_ports(wire, config, a);
    wire->labels =
        cri_map_new(&config->labels, &cri__pod_sandbox_config__labels_entry__descriptor, a);
    wire->n_labels = config->labels.n;
    wire->annotations = cri_map_new(&config->annotations,
                                    &cri__pod_sandbox_config__annotations_entry__descriptor, a);
    wire->n_annotations = config->annotations.n;

    Cri__LinuxPodSandboxConfig *os = arena_alloc(a, sizeof(*os));
    cri__linux_pod_sandbox_config__init(os);
    os->cgroup_parent = (char *)config->cgroup_parent;
    os->security_context = security_context(&config->security, a);
    os->sysctls =
        cri_map_new(&config->sysctls, &cri__linux_pod_sandbox_config__sysctls_entry__descriptor, a);
    os->n_sysctls = config->sysctls.n;
    wire->linux_ = os;
    return wire;
}

int cri_run_sandbox(struct cri_client *c, const struct cri_sandbox_config *config, struct arena *a,
                    const char **id, struct error *err)
{
    Cri__RunPodSandboxRequest request = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
    request.config = cri_sandbox_config_wire(config, a);
    if (config->runtime_handler)
        request.runtime_handler = (char *)config->runtime_handler;
    Cri__RunPodSandboxResponse *response;
    if (cri_call(c, "RuntimeService/RunPodSandbox", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__run_pod_sandbox_response__descriptor, a, &response, err) < 0)
        return -1;
    *id = response->pod_sandbox_id;
    return 0;
}

int cri_stop_sandbox(struct cri_client *c, const char *id, struct error *err)
{
    Cri__StopPodSandboxRequest request = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
    request.pod_sandbox_id = (char *)id;
    return cri_call(c, "RuntimeService/StopPodSandbox", &request.base, CRI_CALL_TIMEOUT_MS, NULL,
                    NULL, NULL, err);
}

int cri_remove_sandbox(struct cri_client *c, const char *id, struct error *err)
{
    Cri__RemovePodSandboxRequest request = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
    request.pod_sandbox_id = (char *)id;
    return cri_call(c, "RuntimeService/RemovePodSandbox", &request.base, CRI_CALL_TIMEOUT_MS, NULL,
                    NULL, NULL, err);
}

static void read_metadata(const Cri__PodSandboxMetadata *m, struct cri_sandbox *out)
{
    if (!m)
        return;
    out->name = m->name;
    out->ns = m->namespace_;
    out->uid = m->uid;
    out->attempt = m->attempt;
}

int cri_sandbox_status(struct cri_client *c, const char *id, struct arena *a,
                       struct cri_sandbox *out, struct error *err)
{
    Cri__PodSandboxStatusRequest request = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
    request.pod_sandbox_id = (char *)id;
    Cri__PodSandboxStatusResponse *response;
    if (cri_call(c, "RuntimeService/PodSandboxStatus", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__pod_sandbox_status_response__descriptor, a, &response, err) < 0)
        return -1;
    const Cri__PodSandboxStatus *status = response->status;
    if (!status)
        return error_set(err, ERR_INTERNAL, "status of sandbox %s: empty answer", id);
    *out = (struct cri_sandbox){ .id = status->id };
    read_metadata(status->metadata, out);
    out->is_ready = status->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY;
    out->created_ns = status->created_at;
    cri_map_read(status->labels, status->n_labels, a, &out->labels);
    cri_map_read(status->annotations, status->n_annotations, a, &out->annotations);
    if (status->network && !str_empty(status->network->ip)) {
        cri_strings_add(&out->ips, a, status->network->ip);
        for (size_t i = 0; i < status->network->n_additional_ips; i++)
            cri_strings_add(&out->ips, a, status->network->additional_ips[i]->ip);
    }
    out->is_host_network =
        status->linux_ && status->linux_->namespaces && status->linux_->namespaces->options &&
        status->linux_->namespaces->options->network == CRI__NAMESPACE_MODE__NODE;
    return 0;
}

int cri_list_sandboxes(struct cri_client *c, const char *pod_uid, struct arena *a,
                       struct cri_sandbox **out, size_t *n, struct error *err)
{
    Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
    Cri__PodSandboxFilter filter = CRI__POD_SANDBOX_FILTER__INIT;
    struct cri_pairs labels = { 0 };
    if (pod_uid) {
        cri_pairs_add(&labels, a, LABEL_POD_UID, pod_uid);
        filter.label_selector =
            cri_map_new(&labels, &cri__pod_sandbox_filter__label_selector_entry__descriptor, a);
        filter.n_label_selector = labels.n;
        request.filter = &filter;
    }
    Cri__ListPodSandboxResponse *response;
    if (cri_call(c, "RuntimeService/ListPodSandbox", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__list_pod_sandbox_response__descriptor, a, &response, err) < 0)
        return -1;
    *n = response->n_items;
    *out = arena_zalloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        const Cri__PodSandbox *item = response->items[i];
        struct cri_sandbox *s = &(*out)[i];
        s->id = item->id;
        read_metadata(item->metadata, s);
        s->is_ready = item->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY;
        s->created_ns = item->created_at;
        cri_map_read(item->labels, item->n_labels, a, &s->labels);
        cri_map_read(item->annotations, item->n_annotations, a, &s->annotations);
    }
    return 0;
}

int cri_port_forward_url(struct cri_client *c, const char *sandbox_id, const int32_t *ports,
                         size_t ports_n, struct arena *a, const char **url, struct error *err)
{
    Cri__PortForwardRequest request = CRI__PORT_FORWARD_REQUEST__INIT;
    request.pod_sandbox_id = (char *)sandbox_id;
    request.port = (int32_t *)ports;
    request.n_port = ports_n;
    Cri__PortForwardResponse *response;
    if (cri_call(c, "RuntimeService/PortForward", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__port_forward_response__descriptor, a, &response, err) < 0)
        return -1;
    *url = response->url;
    return 0;
}
