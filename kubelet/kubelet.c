/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet.c - wiring: who is started when, and in which order all of it ends. */
#include "kubelet/kubelet.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/files.h"
#include "base/http_client.h"
#include "base/log.h"
#include "kubelet/containerd_supervisor.h"
#include "kubelet/image_import.h"
#include "kubelet/kubelet_server.h"
#include "kubelet/node_status.h"
#include "kubelet/object_cache.h"
#include "kubelet/pod_labels.h"
#include "kubelet/pod_worker.h"
#include "kubelet/probe.h"
#include "kubelet/runtime_watch.h"
#include "kubelet/static_pods.h"

/* Before pods read again what a broken watch no longer tells. */
#define LOST_OBJECT_WAIT_MS 1000
#define RUNTIME_RETRY_MS    5000

struct kubelet {
    struct kubelet_config config;
    struct kubelet_context context;
    struct arena *arena;
    const char *cni_conf_dir, *endpoint;
    struct pod_worker *worker;
    struct containerd_supervisor *containerd;
    struct node_status *node;
    struct runtime_watch *watch;
    struct kubelet_server *server;
    _Atomic(struct static_pods *) statics;

    pthread_t runtime_thread;
    bool has_runtime_thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool is_runtime_up, is_running, is_stopping;
};

/* ---- sources ---- */

static bool is_mirror(const struct object *pod)
{
    return object_annotation(pod, ANNOTATION_CONFIG_MIRROR) != NULL;
}

/* Our own status writes come back as events; they need no turn of the pod. */
static bool is_only_status(const struct object *old, const struct object *new)
{
    if (json_len(new->doc, "spec.readinessGates"))
        return false;
    static const char *const fields[] = { "spec", "metadata.deletionTimestamp",
                                          "metadata.deletionGracePeriodSeconds", "metadata.labels",
                                          "metadata.annotations" };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *x = json_at(old->doc, fields[i]), *y = json_at(new->doc, fields[i]);
        if ((x == NULL) != (y == NULL) || (x && !json_equal(x, y)))
            return false;
    }
    return true;
}

static void on_pod(const struct informer_event *e)
{
    struct kubelet *k = e->arg;
    const struct object *any = e->new ? e->new : e->old;
    if (is_mirror(any)) {
        struct static_pods *statics = atomic_load(&k->statics);
        if (statics && (!e->new || !e->old || object_is_deleting(any)))
            static_pods_wake(statics);
        return;
    }
    if (e->old && (!e->new || !str_equal(e->old->uid, e->new->uid)))
        pod_worker_remove(k->worker, e->old->uid);
    if (!e->new)
        return;
    if (e->old && str_equal(e->old->uid, e->new->uid) && is_only_status(e->old, e->new))
        pod_worker_note(k->worker, e->new);
    else
        pod_worker_update(k->worker, e->new, false);
}

static void on_node(const struct informer_event *e)
{
    struct kubelet *k = e->arg;
    pthread_mutex_lock(&k->lock);
    struct node_status *node = k->node;
    pthread_mutex_unlock(&k->lock);
    const char *before = e->old ? json_str(e->old->doc, "spec.podCIDR", "") : "";
    const char *now = e->new ? json_str(e->new->doc, "spec.podCIDR", "") : "";
    bool was_closed = e->old && json_bool(e->old->doc, "spec.unschedulable", false);
    bool is_closed = e->new &&json_bool(e->new->doc, "spec.unschedulable", false);
    if (node && (!e->new || !str_equal(before, now) || was_closed != is_closed))
        node_status_wake(node);
}

/* Pods that refer to an object that changed: all that may, by namespace. */
static void on_object(enum object_change change, const struct object_key *key, void *arg)
{
    struct kubelet *k = arg;
    scoped(object_list) struct object_list pods = { 0 };
    pod_worker_list(k->worker, &pods);
    object_list_each (&pods, pod)
        if (str_equal(pod->key.ns, key->ns))
            pod_worker_wake_after(k->worker, pod->uid,
                                  change == OBJECT_LOST ? LOST_OBJECT_WAIT_MS : 0);
}

static void on_probe(const char *uid, void *arg)
{
    struct kubelet *k = arg;
    pod_worker_wake(k->worker, uid);
}

/* ---- the runtime ---- */

static int start_runtime(struct kubelet *k, struct error *err)
{
    if (k->config.runtime_endpoint) {
        const char *given = k->config.runtime_endpoint;
        k->endpoint =
            str_has_prefix(given, "unix://") ? arena_printf(k->arena, "unix:%s", given + 7) : given;
        return 0;
    }
    struct containerd_config config = {
        .data_dir = k->config.data_dir,
        .cni_conf_dir = k->cni_conf_dir,
        .sandbox_image = PAUSE_IMAGE,
        .registries_path = k->config.registries_path,
        .cancel_fd = k->context.stop_fd,
    };
    if (files_make_dirs(k->cni_conf_dir, 0755, err) < 0)
        return -1;
    if (!k->containerd && !(k->containerd = containerd_start(&config, err)))
        return -1;
    k->endpoint = containerd_endpoint(k->containerd);
    struct image_import import = {
        .data_dir = k->config.data_dir,
        .socket = containerd_socket(k->containerd),
        .snapshotter = containerd_snapshotter(k->containerd),
    };
    if (image_import_pause(&import, err) < 0)
        return -1;
    return image_import_folder(&import, err);
}

static int connect_runtime(struct kubelet *k, struct error *err)
{
    if (start_runtime(k, err) < 0)
        return -1;
    if (!k->context.cri && !(k->context.cri = cri_client_new(k->endpoint, err)))
        return -1;
    if (!k->watch && !(k->watch = runtime_watch_start(k->worker, k->endpoint, err)))
        return -1;
    return 0;
}

/* Brings up the runtime while informers make their first lists, then lets pods run. */
static void *run_runtime(void *arg)
{
    struct kubelet *k = arg;
    struct error err = { 0 };
    while (connect_runtime(k, &err) < 0) {
        struct pollfd stop = { .fd = k->context.stop_fd, .events = POLLIN };
        log_error("kubelet", "container runtime: %s", err.message);
        if (poll(&stop, 1, RUNTIME_RETRY_MS) > 0)
            return NULL;
    }
    pthread_mutex_lock(&k->lock);
    k->is_runtime_up = true;
    while (!k->is_running && !k->is_stopping)
        pthread_cond_wait(&k->wake, &k->lock);
    bool is_stopping = k->is_stopping;
    struct node_status *node = k->node;
    pthread_mutex_unlock(&k->lock);
    if (is_stopping)
        return NULL;
    node_status_runtime_is_up(node);
    if (pod_worker_start(k->worker, &err) < 0)
        log_error("kubelet", "%s", err.message);
    return NULL;
}

/* ---- life ---- */

static const char *text_or(struct arena *a, const char *text, const char *fallback)
{
    return arena_strdup(a, str_empty(text) ? fallback : text);
}

static void add_informers(struct kubelet *k)
{
    struct kubelet_context *c = &k->context;
    struct informer_set *set = k->config.informers;
    const char *mine = arena_printf(k->arena, "spec.nodeName=%s", c->node_name);
    const char *self = arena_printf(k->arena, "metadata.name=%s", c->node_name);
    c->pods = informer_set_get(set, &resources[RESOURCE_PODS], mine);
    c->services = informer_set_get(set, &resources[RESOURCE_SERVICES], NULL);
    c->nodes = informer_set_get(set, &resources[RESOURCE_NODES], self);
    informer_add_handler(c->pods, on_pod, k);
    informer_add_handler(c->nodes, on_node, k);
}

struct kubelet *kubelet_new(const struct kubelet_config *config, struct error *err)
{
    struct kubelet *k = xcalloc(1, sizeof(*k));
    struct arena *a = k->arena = arena_new();
    k->config = *config;
    k->config.data_dir = arena_strdup(a, config->data_dir);
    k->cni_conf_dir = arena_printf(a, "%s/agent/etc/cni/net.d", config->data_dir);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->wake, NULL);
    k->context = (struct kubelet_context){
        .client = config->client,
        .clock = &system_clock,
        .stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .node_name = arena_strdup(a, config->node_name),
        .node_ip = text_or(a, config->node_ip, "127.0.0.1"),
        .data_dir = k->config.data_dir,
        .pods_dir = arena_printf(a, "%s/agent/kubelet/pods", config->data_dir),
        .cluster_dns = text_or(a, config->cluster_dns, ""),
        .cluster_domain = text_or(a, config->cluster_domain, "cluster.local"),
        .node_cpu_milli = node_cpu_milli(),
        .node_memory_bytes = node_memory_bytes(),
    };
    k->context.events = event_recorder_new(config->client, "kubelet", k->context.node_name);
    k->context.objects = object_cache_new(config->client, on_object, k);
    struct tls_client_config any = { .insecure_skip_verify = true };
    k->context.http = http_client_new(&any, err);
    k->context.probes = k->context.http ? probes_new(&k->context, on_probe, k, err) : NULL;
    k->worker = k->context.probes ? pod_worker_new(&k->context, err) : NULL;
    if (!k->worker || files_make_dirs(k->context.pods_dir, 0750, err) < 0)
        goto fail;
    add_informers(k);
    if (pthread_create(&k->runtime_thread, NULL, run_runtime, k) != 0) {
        error_set(err, ERR_INTERNAL, "start the runtime's thread");
        goto fail;
    }
    k->has_runtime_thread = true;
    return k;
fail:
    kubelet_stop(k);
    return NULL;
}

static int start_server(struct kubelet *k, struct error *err)
{
    const struct kubelet_config *c = &k->config;
    if (!c->serving_tls)
        return 0;
    struct kubelet_server_config config = {
        .k = &k->context,
        .worker = k->worker,
        .port = c->port,
        .tls = c->serving_tls,
    };
    k->server = kubelet_server_start(&config, err);
    return k->server ? 0 : -1;
}

int kubelet_run(struct kubelet *k, struct error *err)
{
    struct node_status_config config = {
        .k = &k->context,
        .kubelet = &k->config,
        .cni_conf_dir = k->config.runtime_endpoint ? NULL : k->cni_conf_dir,
    };
    if (start_server(k, err) < 0)
        return error_wrap(err, "start the kubelet's server");
    /* Before pods are worked on: what runs and is of no source by then, is ended. */
    scoped(str) char *own = xasprintf("%s/agent/pod-manifests", k->config.data_dir);
    const char *dir = k->config.static_pod_dir ? k->config.static_pod_dir : own;
    struct static_pods *statics = static_pods_start(k->worker, dir, err);
    if (!statics)
        return -1;
    atomic_store(&k->statics, statics);

    struct node_status *node = node_status_start(&config, err);
    if (!node)
        return -1;
    if (k->server)
        node_status_set_port(node, kubelet_server_port(k->server));
    pthread_mutex_lock(&k->lock);
    k->node = node;
    k->is_running = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    return 0;
}

void kubelet_stop(struct kubelet *k)
{
    pthread_mutex_lock(&k->lock);
    k->is_stopping = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    uint64_t one = 1;
    if (write(k->context.stop_fd, &one, sizeof(one)) < 0)
        log_warn("kubelet", "wake those who sleep: %m");
    if (k->has_runtime_thread)
        pthread_join(k->runtime_thread, NULL);
    if (k->context.cri)
        cri_client_interrupt(k->context.cri);
    kubelet_server_stop(k->server);
    static_pods_stop(atomic_exchange(&k->statics, NULL));
    runtime_watch_stop(k->watch);
    pod_worker_stop(
        k->worker); /* it asks the probes and the cache, which wake it: so in two steps */
    probes_free(k->context.probes);
    object_cache_free(k->context.objects);
    pod_worker_free(k->worker);
    node_status_stop(k->node);
    event_recorder_free(k->context.events);
    http_client_free(k->context.http);
    cri_client_free(k->context.cri);
    containerd_release(k->containerd);
    close(k->context.stop_fd);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->wake);
    arena_free(k->arena);
    free(k);
}
