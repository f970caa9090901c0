/* SPDX-License-Identifier: Apache-2.0 */
/* cri_container.c - containers over CRI. */
#include "kubelet/cri_wire.h"

#include "kubelet/cri.pb-c.h"
#include "kubelet/pod_labels.h"

static Cri__LinuxContainerSecurityContext *security_context(const struct cri_security *s,
                                                            struct arena *a)
{
    Cri__LinuxContainerSecurityContext *wire = arena_alloc(a, sizeof(*wire));
    cri__linux_container_security_context__init(wire);
    Cri__NamespaceOption *namespaces = arena_alloc(a, sizeof(*namespaces));
    cri__namespace_option__init(namespaces);
    namespaces->network = (Cri__NamespaceMode)s->network;
    namespaces->pid = (Cri__NamespaceMode)s->pid;
    namespaces->ipc = (Cri__NamespaceMode)s->ipc;
    if (s->target_id)
        namespaces->target_id = (char *)s->target_id;
    wire->namespace_options = namespaces;

    Cri__Capability *capabilities = arena_alloc(a, sizeof(*capabilities));
    cri__capability__init(capabilities);
    capabilities->add_capabilities = s->add_capabilities.items;
    capabilities->n_add_capabilities = s->add_capabilities.n;
    capabilities->drop_capabilities = s->drop_capabilities.items;
    capabilities->n_drop_capabilities = s->drop_capabilities.n;
    wire->capabilities = capabilities;

    wire->privileged = s->privileged;
    wire->readonly_rootfs = s->readonly_rootfs;
    wire->no_new_privs = s->no_new_privileges;
    if (s->user >= 0)
        wire->run_as_user = cri_int64_value(s->user, a);
    else if (!str_empty(s->user_name))
        wire->run_as_username = (char *)s->user_name;
    if (s->group >= 0)
        wire->run_as_group = cri_int64_value(s->group, a);
    wire->supplemental_groups = s->groups;
    wire->n_supplemental_groups = s->groups_n;
    wire->masked_paths = s->masked_paths.items;
    wire->n_masked_paths = s->masked_paths.n;
    wire->readonly_paths = s->readonly_paths.items;
    wire->n_readonly_paths = s->readonly_paths.n;
    wire->seccomp = cri_profile(s->seccomp, a);
    wire->apparmor = cri_profile(s->apparmor, a);
    return wire;
}

static void add_mounts(Cri__ContainerConfig *wire, const struct cri_container_config *config,
                       struct arena *a)
{
    wire->mounts = arena_alloc(a, (config->mounts_n + 1) * sizeof(*wire->mounts));
    for (size_t i = 0; i < config->mounts_n; i++) {
        Cri__Mount *m = arena_alloc(a, sizeof(*m));
        cri__mount__init(m);
        m->container_path = (char *)config->mounts[i].container_path;
        m->host_path = (char *)config->mounts[i].host_path;
        m->readonly = config->mounts[i].readonly;
        m->propagation = (Cri__MountPropagation)config->mounts[i].propagation;
        wire->mounts[wire->n_mounts++] = m;
    }
    wire->devices = arena_alloc(a, (config->devices_n + 1) * sizeof(*wire->devices));
    for (size_t i = 0; i < config->devices_n; i++) {
        Cri__Device *d = arena_alloc(a, sizeof(*d));
        cri__device__init(d);
        d->container_path = (char *)config->devices[i].container_path;
        d->host_path = (char *)config->devices[i].host_path;
        d->permissions = (char *)config->devices[i].permissions;
        wire->devices[wire->n_devices++] = d;
    }
}

static Cri__LinuxContainerConfig *linux_config(const struct cri_container_config *config,
                                               struct arena *a)
{
    Cri__LinuxContainerConfig *os = arena_alloc(a, sizeof(*os));
    cri__linux_container_config__init(os);
    os->resources = arena_alloc(a, sizeof(*os->resources));
    cri__linux_container_resources__init(os->resources);
    os->resources->cpu_period = config->resources.cpu_period;
    os->resources->cpu_quota = config->resources.cpu_quota;
    os->resources->cpu_shares = config->resources.cpu_shares;
    os->resources->memory_limit_in_bytes = config->resources.memory_limit_bytes;
    os->resources->oom_score_adj = config->resources.oom_score_adj;
    os->security_context = security_context(&config->security, a);
    return os;
}

static Cri__ContainerConfig *config_wire(const struct cri_container_config *config, struct arena *a)
{
    Cri__ContainerConfig *wire = arena_alloc(a, sizeof(*wire));
    cri__container_config__init(wire);
    wire->metadata = arena_alloc(a, sizeof(*wire->metadata));
    cri__container_metadata__init(wire->metadata);
    wire->metadata->name = (char *)config->name;
    wire->metadata->attempt = config->attempt;
    wire->image = arena_alloc(a, sizeof(*wire->image));
    cri__image_spec__init(wire->image);
    wire->image->image = (char *)config->image;
    wire->command = config->command.items;
    wire->n_command = config->command.n;
    wire->args = config->args.items;
    wire->n_args = config->args.n;
    if (config->working_dir)
        wire->working_dir = (char *)config->working_dir;
    wire->envs = arena_alloc(a, (config->envs.n + 1) * sizeof(*wire->envs));
    for (size_t i = 0; i < config->envs.n; i++) {
        Cri__KeyValue *env = arena_alloc(a, sizeof(*env));
        cri__key_value__init(env);
        env->key = (char *)config->envs.items[i].name;
        struct bytes value = bytes_of(config->envs.items[i].value);
        env->value = (ProtobufCBinaryData){ value.len, (uint8_t *)value.data };
        wire->envs[wire->n_envs++] = env;
    }
    add_mounts(wire, config, a);
    wire->labels =
        cri_map_new(&config->labels, &cri__container_config__labels_entry__descriptor, a);
    wire->n_labels = config->labels.n;
    wire->annotations =
        cri_map_new(&config->annotations, &cri__container_config__annotations_entry__descriptor, a);
    wire->n_annotations = config->annotations.n;
    wire->log_path = (char *)config->log_path;
    wire->stdin = config->has_stdin;
    wire->stdin_once = config->stdin_once;
    wire->tty = config->tty;
    wire->linux_ = linux_config(config, a);
    return wire;
}

int cri_create_container(struct cri_client *c, const char *sandbox_id,
                         const struct cri_container_config *config,
                         const struct cri_sandbox_config *sandbox, struct arena *a, const char **id,
                         struct error *err)
{
    Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
    request.pod_sandbox_id = (char *)sandbox_id;
    request.config = config_wire(config, a);
    request.sandbox_config = cri_sandbox_config_wire(sandbox, a);
    Cri__CreateContainerResponse *response;
    if (cri_call(c, "RuntimeService/CreateContainer", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__create_container_response__descriptor, a, &response, err) < 0)
        return -1;
    *id = response->container_id;
    return 0;
}

int cri_start_container(struct cri_client *c, const char *id, struct error *err)
{
    Cri__StartContainerRequest request = CRI__START_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    return cri_call(c, "RuntimeService/StartContainer", &request.base, CRI_CALL_TIMEOUT_MS, NULL,
                    NULL, NULL, err);
}

int cri_stop_container(struct cri_client *c, const char *id, int64_t timeout_s, struct error *err)
{
    Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    request.timeout = timeout_s;
    int64_t timeout_ms = timeout_s * 1000 + CRI_CALL_TIMEOUT_MS;
    return cri_call(c, "RuntimeService/StopContainer", &request.base,
                    timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms, NULL, NULL, NULL, err);
}

int cri_remove_container(struct cri_client *c, const char *id, struct error *err)
{
    Cri__RemoveContainerRequest request = CRI__REMOVE_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    return cri_call(c, "RuntimeService/RemoveContainer", &request.base, CRI_CALL_TIMEOUT_MS, NULL,
                    NULL, NULL, err);
}

int cri_reopen_log(struct cri_client *c, const char *id, struct error *err)
{
    Cri__ReopenContainerLogRequest request = CRI__REOPEN_CONTAINER_LOG_REQUEST__INIT;
    request.container_id = (char *)id;
    return cri_call(c, "RuntimeService/ReopenContainerLog", &request.base, CRI_CALL_TIMEOUT_MS,
                    NULL, NULL, NULL, err);
}

int cri_container_status(struct cri_client *c, const char *id, struct arena *a,
                         struct cri_container *out, struct error *err)
{
    Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
    request.container_id = (char *)id;
    Cri__ContainerStatusResponse *response;
    if (cri_call(c, "RuntimeService/ContainerStatus", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__container_status_response__descriptor, a, &response, err) < 0)
        return -1;
    const Cri__ContainerStatus *status = response->status;
    if (!status)
        return error_set(err, ERR_INTERNAL, "status of container %s: empty answer", id);
    *out = (struct cri_container){
        .id = status->id,
        .sandbox_id = "",
        .name = status->metadata ? status->metadata->name : "",
        .attempt = status->metadata ? status->metadata->attempt : 0,
        .state = (enum cri_container_state)status->state,
        .created_ns = status->created_at,
        .started_ns = status->started_at,
        .finished_ns = status->finished_at,
        .exit_code = status->exit_code,
        .image = status->image ? status->image->image : "",
        .image_ref = status->image_ref,
        .reason = status->reason,
        .message = status->message,
        .log_path = status->log_path,
    };
    cri_map_read(status->labels, status->n_labels, a, &out->labels);
    cri_map_read(status->annotations, status->n_annotations, a, &out->annotations);
    return 0;
}

int cri_list_containers(struct cri_client *c, const char *pod_uid, struct arena *a,
                        struct cri_container **out, size_t *n, struct error *err)
{
    Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
    Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
    struct cri_pairs labels = { 0 };
    if (pod_uid) {
        cri_pairs_add(&labels, a, LABEL_POD_UID, pod_uid);
        filter.label_selector =
            cri_map_new(&labels, &cri__container_filter__label_selector_entry__descriptor, a);
        filter.n_label_selector = labels.n;
        request.filter = &filter;
    }
    Cri__ListContainersResponse *response;
    if (cri_call(c, "RuntimeService/ListContainers", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__list_containers_response__descriptor, a, &response, err) < 0)
        return -1;
    *n = response->n_containers;
    *out = arena_zalloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        const Cri__Container *item = response->containers[i];
        struct cri_container *container = &(*out)[i];
        container->id = item->id;
        container->sandbox_id = item->pod_sandbox_id;
        container->name = item->metadata ? item->metadata->name : "";
        container->attempt = item->metadata ? item->metadata->attempt : 0;
        container->state = (enum cri_container_state)item->state;
        container->created_ns = item->created_at;
        container->image = item->image ? item->image->image : "";
        container->image_ref = item->image_ref;
        cri_map_read(item->labels, item->n_labels, a, &container->labels);
        cri_map_read(item->annotations, item->n_annotations, a, &container->annotations);
    }
    return 0;
}

int cri_exec_sync(struct cri_client *c, const char *id, const struct cri_strings *command,
                  int64_t timeout_s, struct arena *a, struct cri_exec_result *out,
                  struct error *err)
{
    Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;
    request.container_id = (char *)id;
    request.cmd = command->items;
    request.n_cmd = command->n;
    request.timeout = timeout_s;
    int64_t timeout_ms = timeout_s ? timeout_s * 1000 + 10000 : 0;
    Cri__ExecSyncResponse *response;
    if (cri_call(c, "RuntimeService/ExecSync", &request.base,
                 timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms,
                 &cri__exec_sync_response__descriptor, a, &response, err) < 0)
        return -1;
    size_t len = response->stdout.len + response->stderr.len;
    char *text = arena_alloc(a, len + 1);
    if (response->stdout.len)
        memcpy(text, response->stdout.data, response->stdout.len);
    if (response->stderr.len)
        memcpy(text + response->stdout.len, response->stderr.data, response->stderr.len);
    text[len] = '\0';
    *out = (struct cri_exec_result){ { text, len }, response->exit_code };
    return 0;
}

int cri_exec_url(struct cri_client *c, const struct cri_stream_request *r, struct arena *a,
                 const char **url, struct error *err)
{
    Cri__ExecRequest request = CRI__EXEC_REQUEST__INIT;
    request.container_id = (char *)r->container_id;
    request.cmd = r->command.items;
    request.n_cmd = r->command.n;
    request.tty = r->tty;
    request.stdin = r->has_stdin;
    request.stdout = r->has_stdout;
    request.stderr = r->has_stderr;
    Cri__ExecResponse *response;
    if (cri_call(c, "RuntimeService/Exec", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__exec_response__descriptor, a, &response, err) < 0)
        return -1;
    *url = response->url;
    return 0;
}

int cri_attach_url(struct cri_client *c, const struct cri_stream_request *r, struct arena *a,
                   const char **url, struct error *err)
{
    Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
    request.container_id = (char *)r->container_id;
    request.tty = r->tty;
    request.stdin = r->has_stdin;
    request.stdout = r->has_stdout;
    request.stderr = r->has_stderr;
    Cri__AttachResponse *response;
    if (cri_call(c, "RuntimeService/Attach", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__attach_response__descriptor, a, &response, err) < 0)
        return -1;
    *url = response->url;
    return 0;
}

static uint64_t uint64_of(const Cri__UInt64Value *v)
{
    return v ? v->value : 0;
}

int cri_list_stats(struct cri_client *c, const char *pod_uid, struct arena *a,
                   struct cri_stats **out, size_t *n, struct error *err)
{
    Cri__ListContainerStatsRequest request = CRI__LIST_CONTAINER_STATS_REQUEST__INIT;
    Cri__ContainerStatsFilter filter = CRI__CONTAINER_STATS_FILTER__INIT;
    struct cri_pairs labels = { 0 };
    if (pod_uid) {
        cri_pairs_add(&labels, a, LABEL_POD_UID, pod_uid);
        filter.label_selector =
            cri_map_new(&labels, &cri__container_stats_filter__label_selector_entry__descriptor, a);
        filter.n_label_selector = labels.n;
        request.filter = &filter;
    }
    Cri__ListContainerStatsResponse *response;
    if (cri_call(c, "RuntimeService/ListContainerStats", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__list_container_stats_response__descriptor, a, &response, err) < 0)
        return -1;
    *n = response->n_stats;
    *out = arena_zalloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++) {
        const Cri__ContainerStats *item = response->stats[i];
        struct cri_stats *s = &(*out)[i];
        if (item->attributes) {
            s->id = item->attributes->id;
            s->name = item->attributes->metadata ? item->attributes->metadata->name : "";
            cri_map_read(item->attributes->labels, item->attributes->n_labels, a, &s->labels);
        }
        if (item->cpu) {
            s->timestamp_ns = item->cpu->timestamp;
            s->cpu_core_ns = uint64_of(item->cpu->usage_core_nano_seconds);
        }
        if (item->memory) {
            s->memory_working_set_bytes = uint64_of(item->memory->working_set_bytes);
            s->memory_usage_bytes = uint64_of(item->memory->usage_bytes);
            s->memory_rss_bytes = uint64_of(item->memory->rss_bytes);
        }
        if (item->writable_layer) {
            s->rootfs_used_bytes = uint64_of(item->writable_layer->used_bytes);
            s->rootfs_inodes_used = uint64_of(item->writable_layer->inodes_used);
        }
    }
    return 0;
}
