/* SPDX-License-Identifier: Apache-2.0 */
/* pod_sandbox.c - the sandbox' configuration from a pod's spec. */
#include "kubelet/pod_sandbox.h"

#include "base/files.h"
#include "kubelet/container_resources.h"
#include "kubelet/pod_labels.h"

#define HOSTNAME_BYTES_MAX    63
#define RESOLV_CONF_BYTES_MAX (64 * 1024)

char *pod_dir(const struct kubelet_context *k, const char *uid, struct arena *a)
{
    return arena_printf(a, "%s/%s", k->pods_dir, uid);
}

char *pod_log_dir(const struct object *pod, struct arena *a)
{
    return arena_printf(a, POD_LOGS_DIR "/%s_%s_%s", pod->key.ns, pod->key.name, pod->uid);
}

char *termination_log_path(const struct kubelet_context *k, const char *uid, const char *container,
                           unsigned attempt, struct arena *a)
{
    return arena_printf(a, "%s/%s/containers/%s/%u", k->pods_dir, uid, container, attempt);
}

const char *pod_hostname(const struct object *pod, struct arena *a)
{
    const char *name = json_str(pod->doc, "spec.hostnameOverride", NULL);
    if (name)
        return name;
    name = json_str(pod->doc, "spec.hostname", "");
    if (str_empty(name))
        name = pod->key.name;
    char *cut = arena_strndup(a, name, strnlen(name, HOSTNAME_BYTES_MAX));
    for (size_t len = strlen(cut); len && (cut[len - 1] == '-' || cut[len - 1] == '.'); len--)
        cut[len - 1] = '\0';
    return cut;
}

const char *pod_domain_name(const struct kubelet_context *k, const struct object *pod,
                            struct arena *a)
{
    const char *subdomain = json_str(pod->doc, "spec.subdomain", "");
    if (str_empty(subdomain) || json_str(pod->doc, "spec.hostnameOverride", NULL))
        return NULL;
    return arena_printf(a, "%s.%s.%s.svc.%s", pod_hostname(pod, a), subdomain, pod->key.ns,
                        k->cluster_domain);
}

/* ---- DNS ---- */

/* Adds what the machine's own resolver file says. */
static void add_host_dns(struct cri_sandbox_config *c, struct arena *a)
{
    struct error err = { 0 };
    struct bytes text;
    if (files_read("/etc/resolv.conf", RESOLV_CONF_BYTES_MAX, a, &text, &err) < 0)
        return;
    char *rest = (char *)text.data;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        const char *word = strsep(&line, " \t");
        struct cri_strings *to = str_equal(word, "nameserver") ? &c->dns_servers
                                 : str_equal(word, "search")   ? &c->dns_searches
                                 : str_equal(word, "options")  ? &c->dns_options
                                                               : NULL;
        for (char *value = strsep(&line, " \t"); to && value; value = strsep(&line, " \t"))
            if (!str_empty(value))
                cri_strings_add(to, a, value);
    }
}

static void add_unique(struct cri_strings *list, struct arena *a, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_equal(list->items[i], text))
            return;
    cri_strings_add(list, a, text);
}

static void add_cluster_dns(const struct kubelet_context *k, const struct object *pod,
                            struct cri_sandbox_config *c, struct arena *a)
{
    struct cri_sandbox_config host = { 0 };
    add_host_dns(&host, a);
    cri_strings_add(&c->dns_servers, a, k->cluster_dns);
    add_unique(&c->dns_searches, a, arena_printf(a, "%s.svc.%s", pod->key.ns, k->cluster_domain));
    add_unique(&c->dns_searches, a, arena_printf(a, "svc.%s", k->cluster_domain));
    add_unique(&c->dns_searches, a, k->cluster_domain);
    for (size_t i = 0; i < host.dns_searches.n; i++)
        add_unique(&c->dns_searches, a, host.dns_searches.items[i]);
    cri_strings_add(&c->dns_options, a, "ndots:5");
}

static void add_dns_config(const struct object *pod, struct cri_sandbox_config *c, struct arena *a)
{
    const struct json *config = json_at(pod->doc, "spec.dnsConfig");
    json_each_item (json_get(config, "nameservers"), s)
        add_unique(&c->dns_servers, a, json_text(s) ? json_text(s) : "");
    json_each_item (json_get(config, "searches"), s)
        add_unique(&c->dns_searches, a, json_text(s) ? json_text(s) : "");
    json_each_item (json_get(config, "options"), o) {
        const char *name = json_str(o, "name", "");
        const char *value = json_str(o, "value", NULL);
        /* An option given here replaces the same one from the policy. */
        size_t len = strlen(name);
        for (size_t i = 0; i < c->dns_options.n; i++) {
            const char *old = c->dns_options.items[i];
            if (strncmp(old, name, len) == 0 && (old[len] == ':' || old[len] == '\0'))
                c->dns_options.items[i--] = c->dns_options.items[--c->dns_options.n];
        }
        cri_strings_add(&c->dns_options, a, value ? arena_printf(a, "%s:%s", name, value) : name);
    }
}

static void set_dns(const struct kubelet_context *k, const struct object *pod,
                    struct cri_sandbox_config *c, struct arena *a)
{
    const char *policy = json_str(pod->doc, "spec.dnsPolicy", "ClusterFirst");
    bool is_host_network = json_bool(pod->doc, "spec.hostNetwork", false);
    bool is_cluster = str_equal(policy, "ClusterFirstWithHostNet") ||
                      (str_equal(policy, "ClusterFirst") && !is_host_network);
    c->has_dns = true;
    if (is_cluster && !str_empty(k->cluster_dns))
        add_cluster_dns(k, pod, c, a);
    else if (!str_equal(policy, "None"))
        add_host_dns(c, a);
    add_dns_config(pod, c, a);
}

/* ---- security ---- */

const struct cri_security_profile *security_profile(const struct json *profile, bool is_seccomp,
                                                    struct arena *a)
{
    const char *type = json_str(profile, "type", NULL);
    if (!type)
        return NULL;
    struct cri_security_profile *p = arena_zalloc(a, sizeof(*p));
    const char *ref = json_str(profile, "localhostProfile", "");
    if (str_equal(type, "RuntimeDefault"))
        p->type = CRI_PROFILE_RUNTIME_DEFAULT;
    else if (str_equal(type, "Unconfined"))
        p->type = CRI_PROFILE_UNCONFINED;
    else {
        p->type = CRI_PROFILE_LOCALHOST;
        p->localhost_ref = is_seccomp ? arena_printf(a, "/var/lib/kubelet/seccomp/%s", ref) : ref;
    }
    return p;
}

void pod_namespaces(const struct object *pod, struct cri_security *out)
{
    const struct json *spec = json_get(pod->doc, "spec");
    out->network = json_bool(spec, "hostNetwork", false) ? CRI_NAMESPACE_NODE : CRI_NAMESPACE_POD;
    out->ipc = json_bool(spec, "hostIPC", false) ? CRI_NAMESPACE_NODE : CRI_NAMESPACE_POD;
    out->pid = json_bool(spec, "hostPID", false)                 ? CRI_NAMESPACE_NODE
               : json_bool(spec, "shareProcessNamespace", false) ? CRI_NAMESPACE_POD
                                                                 : CRI_NAMESPACE_CONTAINER;
}

void pod_groups(const struct object *pod, struct arena *a, struct cri_security *out)
{
    const struct json *context = json_at(pod->doc, "spec.securityContext");
    const struct json *fs_group = json_get(context, "fsGroup");
    const struct json *more = json_get(context, "supplementalGroups");
    out->groups = arena_alloc(a, (json_len(more, "") + 1) * sizeof(*out->groups));
    out->groups_n = 0;
    if (json_is(fs_group, JSON_INT))
        out->groups[out->groups_n++] = fs_group->integer;
    json_each_item (more, g)
        if (json_is(g, JSON_INT))
            out->groups[out->groups_n++] = g->integer;
}

static void set_security(const struct object *pod, struct cri_sandbox_config *c, struct arena *a)
{
    struct cri_security *s = &c->security;
    const struct json *context = json_at(pod->doc, "spec.securityContext");
    pod_namespaces(pod, s);
    pod_groups(pod, a, s);
    s->user = json_int(context, "runAsUser", -1);
    s->group = json_int(context, "runAsGroup", -1);
    /* The pause process needs nothing; the profile here is what containers inherit in no way. */
    static const struct cri_security_profile standard = { CRI_PROFILE_RUNTIME_DEFAULT, NULL };
    s->seccomp = security_profile(json_get(context, "seccompProfile"), true, a);
    if (!s->seccomp)
        s->seccomp = &standard;
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_each_item (json_at(pod->doc, lists[i]), container)
            s->privileged |= json_bool(container, "securityContext.privileged", false);
    json_each_item (json_get(context, "sysctls"), sysctl)
        cri_pairs_add(&c->sysctls, a, json_str(sysctl, "name", ""), json_str(sysctl, "value", ""));
}

static void set_ports(const struct object *pod, struct cri_sandbox_config *c, struct arena *a)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_each_item (json_at(pod->doc, lists[i]), container)
            n += json_len(container, "ports");
    c->ports = arena_zalloc(a, (n + 1) * sizeof(*c->ports));
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_each_item (json_at(pod->doc, lists[i]), container) {
            json_each_item (json_get(container, "ports"), port) {
                c->ports[c->ports_n++] = (struct cri_port){
                    .protocol = json_str(port, "protocol", "TCP"),
                    .container_port = (int)json_int(port, "containerPort", 0),
                    .host_port = (int)json_int(port, "hostPort", 0),
                    .host_ip = json_str(port, "hostIP", NULL),
                };
            }
        }
    }
}

int pod_sandbox_config(const struct kubelet_context *k, const struct object *pod, unsigned attempt,
                       struct arena *a, struct cri_sandbox_config *out, struct error *err)
{
    *out = (struct cri_sandbox_config){
        .name = pod->key.name,
        .ns = pod->key.ns,
        .uid = pod->uid,
        .attempt = attempt,
        .log_directory = pod_log_dir(pod, a),
        .cgroup_parent = pod_cgroup_parent(pod, a),
    };
    bool is_host_network = json_bool(pod->doc, "spec.hostNetwork", false);
    const char *domain = pod_domain_name(k, pod, a);
    out->hostname = is_host_network ? ""
                    : domain && json_bool(pod->doc, "spec.setHostnameAsFQDN", false)
                        ? domain
                        : pod_hostname(pod, a);
    if (strlen(out->hostname) > HOSTNAME_BYTES_MAX + 1)
        return error_set(
            err, ERR_BAD_REQUEST,
            "failed to construct FQDN from pod hostname and cluster domain, FQDN %s is "
            "too long (64 characters is the max, %zu characters requested)",
            out->hostname, strlen(out->hostname));
    json_each_member (json_at(pod->doc, "metadata.labels"), m)
        cri_pairs_add(&out->labels, a, m->name, json_text(&m->value));
    cri_pairs_add(&out->labels, a, LABEL_POD_NAME, pod->key.name);
    cri_pairs_add(&out->labels, a, LABEL_POD_NAMESPACE, pod->key.ns);
    cri_pairs_add(&out->labels, a, LABEL_POD_UID, pod->uid);
    json_each_member (json_at(pod->doc, "metadata.annotations"), m)
        cri_pairs_add(&out->annotations, a, m->name, json_text(&m->value));
    set_dns(k, pod, out, a);
    set_security(pod, out, a);
    if (!is_host_network)
        set_ports(pod, out, a);
    return 0;
}
