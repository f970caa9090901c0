/* SPDX-License-Identifier: Apache-2.0 */
/* container_spec.c - a container's configuration from its spec, its image and its pod. */
#include "kubelet/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "kubelet/container_resources.h"
#include "kubelet/pod_labels.h"
#include "kubelet/pod_sandbox.h"
#include "kubelet/volume_subpath.h"

#define HOSTS_BYTES_MAX (256 * 1024)

const char *container_hash(const struct json *container, struct arena *a)
{
    const char *text =
        arena_printf(a, "%s %s", json_str(container, "name", ""), json_str(container, "image", ""));
    uint32_t hash = 2166136261u; /* FNV-1a, as upstream; it is kept in an annotation */
    for (const char *p = text; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return arena_printf(a, "%x", hash);
}

/* ---- /etc/hosts ---- */

static const char *hosts_path(const struct kubelet_context *k, const struct object *pod,
                              struct arena *a)
{
    return arena_printf(a, "%s/%s/etc-hosts", k->pods_dir, pod->uid);
}

int write_hosts_file(const struct kubelet_context *k, const struct object *pod,
                     char *const *pod_ips, size_t pod_ips_n, struct arena *a, struct error *err)
{
    __attribute__((cleanup(buffer_scoped))) struct buffer text = { 0 };
    if (json_bool(pod->doc, "spec.hostNetwork", false)) {
        struct bytes host;
        buffer_add_str(&text, "# Kubernetes-managed hosts file (host network).\n");
        if (files_read("/etc/hosts", HOSTS_BYTES_MAX, a, &host, err) < 0)
            return -1;
        buffer_add_bytes(&text, host);
    } else {
        buffer_add_str(&text, "# Kubernetes-managed hosts file.\n"
                              "127.0.0.1\tlocalhost\n"
                              "::1\tlocalhost ip6-localhost ip6-loopback\n"
                              "fe00::0\tip6-localnet\n"
                              "fe00::0\tip6-mcastprefix\n"
                              "fe00::1\tip6-allnodes\n"
                              "fe00::2\tip6-allrouters\n");
        const char *domain = pod_domain_name(k, pod, a);
        for (size_t i = 0; i < pod_ips_n; i++)
            buffer_printf(&text, "%s\t%s%s%s\n", pod_ips[i], domain ? domain : "",
                          domain ? "\t" : "", pod_hostname(pod, a));
    }
    const struct json *aliases = json_at(pod->doc, "spec.hostAliases");
    if (json_len(aliases, ""))
        buffer_add_str(&text, "\n# Entries added by HostAliases.\n");
    json_each_item (aliases, alias) {
        buffer_add_str(&text, json_str(alias, "ip", ""));
        json_each_item (json_get(alias, "hostnames"), name)
            buffer_printf(&text, "\t%s", json_text(name));
        buffer_add_char(&text, '\n');
    }
    if (files_make_dirs(pod_dir(k, pod->uid, a), 0750, err) < 0)
        return -1;
    return files_write(hosts_path(k, pod, a), buffer_bytes(&text), 0644, err);
}

/* ---- mounts ---- */

static void add_mount(struct cri_container_config *c, struct arena *a, struct cri_mount mount)
{
    c->mounts = arena_grow(a, c->mounts, c->mounts_n, &c->mounts_capacity, sizeof(*c->mounts));
    c->mounts[c->mounts_n++] = mount;
}

static enum cri_propagation propagation(const struct json *mount)
{
    const char *mode = json_str(mount, "mountPropagation", "None");
    return str_equal(mode, "Bidirectional")     ? CRI_PROPAGATION_BIDIRECTIONAL
           : str_equal(mode, "HostToContainer") ? CRI_PROPAGATION_HOST_TO_CONTAINER
                                                : CRI_PROPAGATION_PRIVATE;
}

static int add_volume_mounts(const struct container_spec_input *in, struct arena *a,
                             struct cri_container_config *out, struct error *err)
{
    json_each_item (json_get(in->container, "volumeMounts"), mount) {
        const char *name = json_str(mount, "name", "");
        const struct volume *volume = volume_find(in->volumes, name);
        if (!volume)
            return error_set(err, ERR_NOT_FOUND,
                             "cannot find volume \"%s\" to mount into container \"%s\"", name,
                             out->name);
        const char *host = volume->host_path;
        const char *expression = json_str(mount, "subPathExpr", "");
        const char *below = json_str(mount, "subPath", "");
        if (!str_empty(expression))
            below = env_expand(expression, &out->envs, a);
        struct sub_path sub = { in->k->pods_dir, in->env->downward.pod->uid, out->name, volume,
                                below,           (unsigned)out->mounts_n };
        if (!str_empty(below) && volume_sub_path(&sub, a, &host, err) < 0)
            return -1;
        const char *target = json_str(mount, "mountPath", "");
        if (target[0] != '/')
            target = arena_printf(a, "/%s", target);
        add_mount(out, a,
                  (struct cri_mount){ .container_path = target,
                                      .host_path = host,
                                      .readonly = volume->is_read_only ||
                                                  json_bool(mount, "readOnly", false),
                                      .propagation = propagation(mount) });
    }
    return 0;
}

/* /etc/hosts and the termination message, unless the pod mounts something there itself. */
static int add_own_mounts(const struct container_spec_input *in, struct arena *a,
                          struct cri_container_config *out, struct error *err)
{
    const struct object *pod = in->env->downward.pod;
    bool has_hosts = false;
    for (size_t i = 0; i < out->mounts_n; i++)
        has_hosts |= str_equal(out->mounts[i].container_path, "/etc/hosts");
    if (!has_hosts)
        add_mount(out, a,
                  (struct cri_mount){ .container_path = "/etc/hosts",
                                      .host_path = hosts_path(in->k, pod, a) });

    const char *path = json_str(in->container, "terminationMessagePath", "/dev/termination-log");
    if (str_empty(path))
        return 0;
    const char *file = termination_log_path(in->k, pod->uid, out->name, in->attempt, a);
    const char *dir = arena_strndup(a, file, (size_t)(strrchr(file, '/') - file));
    if (files_make_dirs(dir, 0755, err) < 0)
        return -1;
    scoped(fd) int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666) < 0) /* the container's user is anyone */
        return error_errno(err, "make the termination message file %s", file);
    add_mount(out, a, (struct cri_mount){ .container_path = path, .host_path = file });
    return 0;
}

/* ---- security ---- */

/* A field of the container's securityContext, or else of the pod's. */
static const struct json *effective(const struct container_spec_input *in, const char *field)
{
    const struct json *own = json_get(json_get(in->container, "securityContext"), field);
    return own ? own : json_get(json_at(in->env->downward.pod->doc, "spec.securityContext"), field);
}

static int64_t effective_int(const struct container_spec_input *in, const char *field)
{
    const struct json *v = effective(in, field);
    return json_is(v, JSON_INT) ? v->integer : -1;
}

static int check_non_root(const struct container_spec_input *in, const struct cri_security *s,
                          struct error *err)
{
    if (!json_bool(effective(in, "runAsNonRoot"), "", false))
        return 0;
    const char *name = json_str(in->container, "name", "");
    const struct object *pod = in->env->downward.pod;
    if (s->user > 0)
        return 0;
    if (s->user == 0)
        return error_set(err, ERR_INVALID,
                         "container's runAsUser breaks non-root policy (pod: \"%s_%s(%s)\", "
                         "container: %s)",
                         pod->key.name, pod->key.ns, pod->uid, name);
    if (in->image->user > 0)
        return 0;
    if (in->image->user < 0 && !str_empty(in->image->user_name))
        return error_set(err, ERR_INVALID,
                         "container has runAsNonRoot and image has non-numeric user (%s), cannot "
                         "verify user is non-root (pod: \"%s_%s(%s)\", container: %s)",
                         in->image->user_name, pod->key.name, pod->key.ns, pod->uid, name);
    return error_set(err, ERR_INVALID,
                     "container has runAsNonRoot and image will run as root (pod: \"%s_%s(%s)\", "
                     "container: %s)",
                     pod->key.name, pod->key.ns, pod->uid, name);
}

static int set_security(const struct container_spec_input *in, struct arena *a,
                        struct cri_container_config *out, struct error *err)
{
    struct cri_security *s = &out->security;
    const struct json *own = json_get(in->container, "securityContext");
    pod_namespaces(in->env->downward.pod, s);
    pod_groups(in->env->downward.pod, a, s);
    if (in->target_id && s->pid == CRI_NAMESPACE_CONTAINER) {
        s->pid = CRI_NAMESPACE_TARGET;
        s->target_id = in->target_id;
    }
    s->privileged = json_bool(own, "privileged", false);
    s->readonly_rootfs = json_bool(own, "readOnlyRootFilesystem", false);
    s->no_new_privileges = !json_bool(own, "allowPrivilegeEscalation", true);
    s->user = effective_int(in, "runAsUser");
    s->group = effective_int(in, "runAsGroup");
    if (s->user < 0) {
        if (in->image->user >= 0)
            s->user = in->image->user;
        else
            s->user_name = in->image->user_name;
    }
    json_each_item (json_at(own, "capabilities.add"), c)
        cri_strings_add(&s->add_capabilities, a, json_text(c));
    json_each_item (json_at(own, "capabilities.drop"), c)
        cri_strings_add(&s->drop_capabilities, a, json_text(c));
    static const struct cri_security_profile unconfined = { CRI_PROFILE_UNCONFINED, NULL };
    s->seccomp = security_profile(effective(in, "seccompProfile"), true, a);
    if (!s->seccomp)
        s->seccomp = &unconfined;
    s->apparmor = security_profile(effective(in, "appArmorProfile"), false, a);
    if (!s->privileged && !str_equal(json_str(own, "procMount", "Default"), "Unmasked")) {
        static const char *const masked[] = {
            "/proc/asound",     "/proc/acpi",        "/proc/interrupts",
            "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
            "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap",
        };
        static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                "/proc/sysrq-trigger" };
        for (size_t i = 0; i < ARRAY_LEN(masked); i++)
            cri_strings_add(&s->masked_paths, a, masked[i]);
        for (size_t i = 0; i < ARRAY_LEN(readonly); i++)
            cri_strings_add(&s->readonly_paths, a, readonly[i]);
    }
    return check_non_root(in, s, err);
}

/* ---- the whole ---- */

static void set_labels(const struct container_spec_input *in, struct arena *a,
                       struct cri_container_config *out)
{
    const struct object *pod = in->env->downward.pod;
    cri_pairs_add(&out->labels, a, LABEL_POD_NAME, pod->key.name);
    cri_pairs_add(&out->labels, a, LABEL_POD_NAMESPACE, pod->key.ns);
    cri_pairs_add(&out->labels, a, LABEL_POD_UID, pod->uid);
    cri_pairs_add(&out->labels, a, LABEL_CONTAINER_NAME, out->name);
    cri_pairs_add(&out->annotations, a, ANNOTATION_HASH, container_hash(in->container, a));
    cri_pairs_add(&out->annotations, a, ANNOTATION_RESTART_COUNT,
                  arena_printf(a, "%u", in->attempt));
    cri_pairs_add(&out->annotations, a, ANNOTATION_MESSAGE_PATH,
                  json_str(in->container, "terminationMessagePath", "/dev/termination-log"));
    cri_pairs_add(&out->annotations, a, ANNOTATION_MESSAGE_POLICY,
                  json_str(in->container, "terminationMessagePolicy", "File"));
    cri_pairs_add(
        &out->annotations, a, ANNOTATION_POD_GRACE_PERIOD,
        arena_printf(a, "%" PRId64, json_int(pod->doc, "spec.terminationGracePeriodSeconds", 30)));
}

int container_spec(const struct container_spec_input *in, struct arena *a,
                   struct cri_container_config *out, struct error *err)
{
    *out = (struct cri_container_config){
        .name = json_str(in->container, "name", ""),
        .attempt = in->attempt,
        .image = in->image->id,
        .working_dir = json_str(in->container, "workingDir", NULL),
        .has_stdin = json_bool(in->container, "stdin", false),
        .stdin_once = json_bool(in->container, "stdinOnce", false),
        .tty = json_bool(in->container, "tty", false),
        .resources =
            container_resources(in->env->downward.pod, in->container, in->k->node_memory_bytes),
    };
    out->log_path = arena_printf(a, "%s/%u.log", out->name, in->attempt);
    if (container_env(in->env, in->container, a, &out->envs, err) < 0)
        return -1;
    json_each_item (json_get(in->container, "command"), word)
        cri_strings_add(&out->command, a, env_expand(json_text(word), &out->envs, a));
    json_each_item (json_get(in->container, "args"), word)
        cri_strings_add(&out->args, a, env_expand(json_text(word), &out->envs, a));
    if (set_security(in, a, out, err) < 0 || add_volume_mounts(in, a, out, err) < 0 ||
        add_own_mounts(in, a, out, err) < 0)
        return -1;
    set_labels(in, a, out);
    return 0;
}
