/* SPDX-License-Identifier: Apache-2.0 */
/* node_status.c - this machine as a Node. */
#include "kubelet/node_status.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/files.h"
#include "base/log.h"
#include "kubelet/cni_config.h"
#include "kubelet/node_lease.h"
#include "kubelet/pod_masquerade.h"

#define PODS_MAX              110
#define EVICTION_MEMORY_BYTES (INT64_C(100) << 20) /* upstream keeps this much free */
#define EVICTION_DISK_PERCENT 10
#define STATUS_PERIOD_NS      (300 * NS_PER_S)
#define LEASE_PERIOD_MS       10000
#define RUNTIME_START_NS      (30 * NS_PER_S) /* as long as upstream's kubelet is patient with it */
#define RETRY_MS              1000
#define NETWORK_CHECK_MS      20 /* containerd reads a new CNI file within a few of these */
#define NETWORK_CHECKS_MAX    250
#define IMAGES_MAX            50
#define CONFLICT_TRIES_MAX    5
#define KUBELET_VERSION       "v" KUBERNETES_VERSION "+coracle-" CORACLE_VERSION

struct node_status {
    struct node_status_config config;
    struct kubelet_context *k;
    struct node_lease *lease;
    pthread_t thread;
    int64_t begun_ns;   /* monotonic, as the next */
    int64_t written_ns; /* when the status was last written */
    bool is_registered, was_closed;
    char *network; /* the pod range the CNI file was written for */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool is_stopping, is_woken;
    _Atomic bool is_runtime_up; /* read without the lock */
    int port;
};

int64_t node_cpu_milli(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN) * INT64_C(1000);
}

int64_t node_memory_bytes(void)
{
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

/* ---- the parts of the object ---- */

static const char *architecture(void)
{
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#else
#error "which name do images have for this architecture?"
#endif
}

static void put_label(struct arena *a, struct json *labels, const char *name, const char *value)
{
    json_set(a, labels, name, json_string_value(a, value));
}

static void put_labels(const struct node_status *n, struct arena *a, struct json *doc)
{
    struct json *labels = json_make(a, doc, "metadata.labels");
    if (labels->type != JSON_OBJECT)
        *labels = *json_new(a, JSON_OBJECT);
    put_label(a, labels, "beta.kubernetes.io/arch", architecture());
    put_label(a, labels, "beta.kubernetes.io/os", "linux");
    put_label(a, labels, "kubernetes.io/arch", architecture());
    put_label(a, labels, "kubernetes.io/hostname", n->k->node_name);
    put_label(a, labels, "kubernetes.io/os", "linux");
    put_label(a, labels, "node.kubernetes.io/instance-type", "coracle");
    for (const char *const *l = n->config.kubelet->node_labels; l && *l; l++) {
        const char *equals = strchr(*l, '=');
        if (equals)
            put_label(a, labels, arena_strndup(a, *l, (size_t)(equals - *l)), equals + 1);
    }
}

/* "key=value:Effect" or "key:Effect" */
static void put_taints(const struct node_status *n, struct arena *a, struct json *doc)
{
    const char *const *t = n->config.kubelet->node_taints;
    if (!t || !*t)
        return;
    struct json list = *json_new(a, JSON_ARRAY);
    for (; *t; t++) {
        const char *colon = strrchr(*t, ':');
        if (!colon)
            continue;
        char *key = arena_strndup(a, *t, (size_t)(colon - *t));
        char *equals = strchr(key, '=');
        if (equals)
            *equals++ = '\0';
        struct json *taint = json_append(a, &list, *json_new(a, JSON_OBJECT));
        json_put_str(a, taint, "key", key);
        if (equals)
            json_put_str(a, taint, "value", equals);
        json_put_str(a, taint, "effect", colon + 1);
    }
    json_put(a, doc, "spec.taints", list);
}

static void put_capacity(const struct node_status *n, struct arena *a, struct json *status)
{
    struct statvfs fs = { 0 };
    if (statvfs(n->k->data_dir, &fs) < 0)
        log_warn("kubelet", "size of the file system of %s: %m", n->k->data_dir);
    int64_t disk = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    int64_t memory = node_memory_bytes();
    for (int allocatable = 0; allocatable < 2; allocatable++) {
        struct json r = *json_new(a, JSON_OBJECT);
        json_put_str(a, &r, "cpu", arena_printf(a, "%" PRId64, node_cpu_milli() / 1000));
        json_put_str(a, &r, "ephemeral-storage",
                     allocatable
                         ? arena_printf(a, "%" PRId64, disk / 100 * (100 - EVICTION_DISK_PERCENT))
                         : arena_printf(a, "%" PRId64 "Ki", disk / 1024));
        json_put_str(a, &r, "hugepages-1Gi", "0");
        json_put_str(a, &r, "hugepages-2Mi", "0");
        json_put_str(a, &r, "memory",
                     arena_printf(a, "%" PRId64 "Ki",
                                  (allocatable ? memory - EVICTION_MEMORY_BYTES : memory) / 1024));
        json_put_str(a, &r, "pods", arena_printf(a, "%d", PODS_MAX));
        json_put(a, status, allocatable ? "allocatable" : "capacity", r);
    }
}

static void put_addresses(const struct node_status *n, struct arena *a, struct json *status)
{
    struct json list = *json_new(a, JSON_ARRAY);
    const char *const rows[][2] = { { "InternalIP", n->k->node_ip },
                                    { "Hostname", n->k->node_name } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *address = json_append(a, &list, *json_new(a, JSON_OBJECT));
        json_put_str(a, address, "type", rows[i][0]);
        json_put_str(a, address, "address", rows[i][1]);
    }
    json_put(a, status, "addresses", list);
}

static const char *os_image(struct arena *a)
{
    struct error err = { 0 };
    struct bytes text;
    if (files_read("/etc/os-release", 65536, a, &text, &err) < 0)
        return "Linux";
    const char *name = strstr(text.data, "PRETTY_NAME=");
    if (!name)
        return "Linux";
    name += strlen("PRETTY_NAME=");
    if (*name == '"')
        return arena_strndup(a, name + 1, strcspn(name + 1, "\"\n"));
    return arena_strndup(a, name, strcspn(name, "\n"));
}

static void put_node_info(const struct node_status *n, struct arena *a, struct json *status)
{
    struct utsname u;
    uname(&u);
    struct error err = { 0 };
    struct cri_version version;
    const char *runtime = "containerd://Unknown";
    if (n->is_runtime_up && cri_version(n->k->cri, a, &version, &err) == 0) {
        const char *number = version.runtime_version;
        size_t len = strcspn(number + (*number == 'v'), "~+");
        runtime =
            arena_printf(a, "%s://%.*s", version.runtime_name, (int)len, number + (*number == 'v'));
    }
    struct json *info = json_make(a, status, "nodeInfo");
    json_put_str(a, info, "architecture", architecture());
    json_put_str(a, info, "bootID", files_line("/proc/sys/kernel/random/boot_id", a));
    json_put_str(a, info, "containerRuntimeVersion", runtime);
    json_put_str(a, info, "kernelVersion", u.release);
    json_put_str(a, info, "kubeProxyVersion", "");
    json_put_str(a, info, "kubeletVersion", KUBELET_VERSION);
    json_put_str(a, info, "machineID", files_line("/etc/machine-id", a));
    json_put_str(a, info, "operatingSystem", "linux");
    json_put_str(a, info, "osImage", os_image(a));
    json_put_str(a, info, "systemUUID", files_line("/sys/class/dmi/id/product_uuid", a));
}

static int largest_first(const void *x, const void *y)
{
    const struct cri_image *a = x, *b = y;
    return (a->size_bytes < b->size_bytes) - (a->size_bytes > b->size_bytes);
}

static void put_images(const struct node_status *n, struct arena *a, struct json *status)
{
    struct error err = { 0 };
    struct cri_image *images;
    size_t count;
    if (!n->is_runtime_up || cri_list_images(n->k->cri, a, &images, &count, &err) < 0)
        return;
    qsort(images, count, sizeof(*images), largest_first);
    struct json list = *json_new(a, JSON_ARRAY);
    for (size_t i = 0; i < count && i < IMAGES_MAX; i++) {
        struct json names = *json_new(a, JSON_ARRAY);
        for (size_t j = 0; j < images[i].digests.n; j++)
            json_append(a, &names, json_string_value(a, images[i].digests.items[j]));
        for (size_t j = 0; j < images[i].tags.n; j++)
            json_append(a, &names, json_string_value(a, images[i].tags.items[j]));
        if (names.len == 0)
            continue;
        struct json *image = json_append(a, &list, *json_new(a, JSON_OBJECT));
        json_put(a, image, "names", names);
        json_put_int(a, image, "sizeBytes", (int64_t)images[i].size_bytes);
    }
    if (list.len)
        json_put(a, status, "images", list);
}

/* ---- conditions ---- */

struct condition {
    const char *type, *status, *reason, *message;
};

static struct condition ready_condition(struct node_status *n, struct arena *a)
{
    struct condition c = { "Ready", "False", "KubeletNotReady", NULL };
    struct error err = { 0 };
    struct cri_status status;
    if (!n->is_runtime_up || cri_status(n->k->cri, a, &status, &err) < 0)
        c.message = "container runtime is down";
    else if (!status.is_runtime_ready)
        c.message = arena_printf(a,
                                 "container runtime not ready: RuntimeReady=false reason:%s "
                                 "message:%s",
                                 status.runtime_reason, status.runtime_message);
    else if (!status.is_network_ready)
        c.message =
            arena_printf(a,
                         "container runtime network not ready: NetworkReady=false reason:%s "
                         "message:%s",
                         status.network_reason, status.network_message);
    else
        return (struct condition){ "Ready", "True", "KubeletReady",
                                   "kubelet is posting ready status" };
    return c;
}

static void put_condition(struct arena *a, struct json *list, const struct condition *c,
                          const char *now)
{
    struct json *to = NULL;
    for (uint32_t i = 0; i < list->len && !to; i++)
        if (str_equal(json_str(&list->items[i], "type", ""), c->type))
            to = &list->items[i];
    if (!to) {
        to = json_append(a, list, *json_new(a, JSON_OBJECT));
        json_put_str(a, to, "type", c->type);
    }
    if (!str_equal(json_str(to, "status", ""), c->status)) {
        json_put_str(a, to, "status", c->status);
        json_put_str(a, to, "lastTransitionTime", now);
    }
    json_put_str(a, to, "reason", c->reason);
    json_put_str(a, to, "message", c->message);
    json_put_str(a, to, "lastHeartbeatTime", now);
}

static void put_conditions(struct node_status *n, struct arena *a, const struct json *old,
                           struct json *status)
{
    char now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(n->k->clock), now);
    const struct json *conditions = json_get(old, "conditions");
    struct json list = conditions ? json_clone_value(conditions, a) : *json_new(a, JSON_ARRAY);
    const struct condition pressures[] = {
        { "MemoryPressure", "False", "KubeletHasSufficientMemory",
          "kubelet has sufficient memory available" },
        { "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure" },
        { "PIDPressure", "False", "KubeletHasSufficientPID",
          "kubelet has sufficient PID available" },
    };
    for (size_t i = 0; i < ARRAY_LEN(pressures); i++)
        put_condition(a, &list, &pressures[i], now);
    struct condition ready = ready_condition(n, a);
    put_condition(a, &list, &ready, now);
    json_put(a, status, "conditions", list);
}

static struct json *make_status(struct node_status *n, const struct json *old, struct arena *a)
{
    struct json *status = old ? json_clone(old, a) : json_new(a, JSON_OBJECT);
    put_addresses(n, a, status);
    put_capacity(n, a, status);
    put_conditions(n, a, old, status);
    pthread_mutex_lock(&n->lock);
    int port = n->port;
    pthread_mutex_unlock(&n->lock);
    if (port)
        json_put_int(a, status, "daemonEndpoints.kubeletEndpoint.Port", port);
    put_node_info(n, a, status);
    put_images(n, a, status);
    return status;
}

/* ---- events ---- */

static const char *condition_status(const struct json *status, const char *type)
{
    json_each_item (json_get(status, "conditions"), c)
        if (str_equal(json_str(c, "type", ""), type))
            return json_str(c, "status", "");
    return "";
}

static void tell_node(struct node_status *n, const struct object *node, const char *reason)
{
    event_record(n->k->events, node, "Normal", reason, "Node %s status is now: %s", n->k->node_name,
                 reason);
}

/* What has changed, against what the API said before: a kubelet that begins finds its node as it
 * was. */
static void tell_changes(struct node_status *n, const struct object *node,
                         const struct json *status)
{
    const struct json *old = json_get(node->doc, "status");
    const char *now = condition_status(status, "Ready");
    const char *boot_before = json_str(old, "nodeInfo.bootID", "");
    const char *boot = json_str(status, "nodeInfo.bootID", "");
    if (!str_empty(boot_before) && !str_equal(boot_before, boot))
        event_record(n->k->events, node, "Warning", "Rebooted",
                     "Node %s has been rebooted, boot id: %s", n->k->node_name, boot);
    if (!str_equal(condition_status(old, "Ready"), now)) {
        bool is_ready = str_equal(now, "True");
        tell_node(n, node, is_ready ? "NodeReady" : "NodeNotReady");
        log_info("kubelet", "node %s is %s", n->k->node_name, is_ready ? "ready" : "not ready");
    }
}

static void tell_schedulable(struct node_status *n, const struct object *node)
{
    bool is_closed = json_bool(node->doc, "spec.unschedulable", false);
    if (is_closed != n->was_closed)
        tell_node(n, node, is_closed ? "NodeNotSchedulable" : "NodeSchedulable");
    n->was_closed = is_closed;
}

/* As upstream: the pressures are told at every start, being none. */
static void tell_start(struct node_status *n, const struct object *node)
{
    static const char *const fine[] = { "NodeHasSufficientMemory", "NodeHasNoDiskPressure",
                                        "NodeHasSufficientPID" };
    event_record(n->k->events, node, "Normal", "Starting", "Starting kubelet.");
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        tell_node(n, node, fine[i]);
}

/* ---- writing ---- */

static int register_node(struct node_status *n, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", "v1");
    json_put_str(a, doc, "kind", "Node");
    json_put_str(a, doc, "metadata.name", n->k->node_name);
    struct json *annotations = json_make(a, doc, "metadata.annotations");
    *annotations = *json_new(a, JSON_OBJECT);
    json_set(a, annotations, "volumes.kubernetes.io/controller-managed-attach-detach",
             json_string_value(a, "true"));
    put_labels(n, a, doc);
    put_taints(n, a, doc);
    json_put(a, doc, "status", *make_status(n, NULL, a));
    scoped(object) struct object *made = NULL;
    if (client_create(n->k->client, &resources[RESOURCE_NODES], "", doc, &made, err) == 0) {
        log_info("kubelet", "node %s registered", n->k->node_name);
        tell_start(n, made);
        return 0;
    }
    if (err->code != ERR_ALREADY_EXISTS)
        return -1;
    struct object_key key = { "", n->k->node_name };
    scoped(object) struct object *old = NULL;
    if (client_get(n->k->client, &resources[RESOURCE_NODES], &key, &old, err) < 0)
        return -1;
    struct json *updated = json_clone(old->doc, a);
    put_labels(n, a, updated);
    tell_start(n, old);
    if (json_equal(updated, old->doc))
        return 0;
    return client_update(n->k->client, &resources[RESOURCE_NODES], &key, updated, NULL, err);
}

static void drop_heartbeats(struct json *status)
{
    struct json *list = json_find(status, "conditions");
    for (uint32_t i = 0; list && i < list->len; i++)
        json_remove(&list->items[i], "lastHeartbeatTime");
}

static bool is_same_but_for_time(const struct json *x, const struct json *y, struct arena *a)
{
    struct json *one = json_clone(x, a), *two = json_clone(y, a);
    drop_heartbeats(one);
    drop_heartbeats(two);
    return json_equal(one, two);
}

static int write_status(struct node_status *n, struct error *err)
{
    struct object_key key = { "", n->k->node_name };
    int rc = -1;
    for (int try = 0; rc < 0 && try < CONFLICT_TRIES_MAX; try++) {
        scoped(arena) struct arena *a = arena_new();
        scoped(object) struct object *node = try ? NULL : informer_get(n->k->nodes, &key);
        if (!node && client_get(n->k->client, &resources[RESOURCE_NODES], &key, &node, err) < 0) {
            n->is_registered = err->code != ERR_NOT_FOUND; /* somebody deleted it: again */
            return -1;
        }
        const struct json *old = json_get(node->doc, "status");
        struct json *status = make_status(n, old, a);
        int64_t now_ns = clock_monotonic_ns(n->k->clock);
        bool is_due = !n->written_ns || now_ns - n->written_ns >= STATUS_PERIOD_NS;
        tell_schedulable(n, node);
        if (!is_due && old && is_same_but_for_time(status, old, a))
            return 0;
        struct json *doc = json_clone(node->doc, a);
        json_put(a, doc, "status", *status);
        rc = client_update_status(n->k->client, &resources[RESOURCE_NODES], &key, doc, NULL, err);
        if (rc == 0) {
            n->written_ns = now_ns;
            tell_changes(n, node, status);
        } else if (err->code != ERR_CONFLICT) {
            return -1;
        }
    }
    return rc;
}

/* ---- the pod network ---- */

static void wait_for_network(struct node_status *n)
{
    for (int i = 0; i < NETWORK_CHECKS_MAX; i++) {
        scoped(arena) struct arena *a = arena_new();
        struct error err = { 0 };
        struct cri_status status;
        if (cri_status(n->k->cri, a, &status, &err) == 0 && status.is_network_ready)
            return;
        struct timespec pause = { 0, NETWORK_CHECK_MS * 1000000L };
        nanosleep(&pause, NULL);
    }
    log_warn("kubelet", "the runtime does not take the pod network's configuration");
}

static void configure_network(struct node_status *n)
{
    if (!n->config.cni_conf_dir)
        return;
    struct object_key key = { "", n->k->node_name };
    scoped(object) struct object *node = informer_get(n->k->nodes, &key);
    const char *cidr = node ? json_str(node->doc, "spec.podCIDR", NULL) : NULL;
    if (!cidr || str_equal(cidr, n->network))
        return;
    struct error err = { 0 };
    if (pod_masquerade_ensure(cidr, &err) < 0 ||
        cni_config_write(n->config.cni_conf_dir, cidr, &err) < 0) {
        log_error("kubelet", "pod network: %s", err.message);
        return;
    }
    log_info("kubelet", "pod network is %s", cidr);
    free(n->network);
    n->network = xstrdup(cidr);
    if (n->is_runtime_up)
        wait_for_network(n);
}

/* ---- the thread ---- */

/* Waits until something happened or MS have passed; false when it is time to end. */
static bool wait_turn(struct node_status *n, int64_t ms)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + ms * NS_PER_MS;
    pthread_mutex_lock(&n->lock);
    while (!n->is_stopping && !n->is_woken && cond_wait_until(&n->wake, &n->lock, until_ns))
        ;
    n->is_woken = false;
    bool goes_on = !n->is_stopping;
    pthread_mutex_unlock(&n->lock);
    return goes_on;
}

/* A kubelet that begins knows nothing yet: to say "not ready" would take the pods that run on out
 * of their Services. */
static bool is_runtime_starting(const struct node_status *n)
{
    return !n->is_runtime_up && clock_monotonic_ns(n->k->clock) - n->begun_ns < RUNTIME_START_NS;
}

/* Everything that is due; how long until the next turn. */
static int64_t turn(struct node_status *n)
{
    struct error err = { 0 };
    if (!n->is_registered) {
        if (register_node(n, &err) < 0) {
            log_warn("kubelet", "register the node: %s", err.message);
            return RETRY_MS;
        }
        n->is_registered = true;
    }
    configure_network(n);
    bool is_well = true;
    if (!is_runtime_starting(n) && write_status(n, &err) < 0) {
        log_warn("kubelet", "status of the node: %s", err.message);
        is_well = false;
    }
    if (node_lease_renew(n->lease, &err) < 0) {
        log_warn("kubelet", "lease of the node: %s", err.message);
        is_well = false;
    }
    return is_well ? LEASE_PERIOD_MS : RETRY_MS;
}

static void *run(void *arg)
{
    struct node_status *n = arg;
    int64_t wait_ms;
    do {
        wait_ms = turn(n);
    } while (wait_turn(n, wait_ms));
    return NULL;
}

struct node_status *node_status_start(const struct node_status_config *config, struct error *err)
{
    struct node_status *n = xcalloc(1, sizeof(*n));
    n->config = *config;
    n->k = config->k;
    n->begun_ns = clock_monotonic_ns(n->k->clock);
    n->lease = node_lease_new(n->k);
    pthread_mutex_init(&n->lock, NULL);
    cond_init(&n->wake);
    if (pthread_create(&n->thread, NULL, run, n) == 0)
        return n;
    error_set(err, ERR_INTERNAL, "start the node status thread");
    node_lease_free(n->lease);
    free(n);
    return NULL;
}

void node_status_wake(struct node_status *n)
{
    pthread_mutex_lock(&n->lock);
    n->is_woken = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
}

void node_status_runtime_is_up(struct node_status *n)
{
    pthread_mutex_lock(&n->lock);
    n->is_runtime_up = true;
    pthread_mutex_unlock(&n->lock);
    node_status_wake(n);
}

void node_status_set_port(struct node_status *n, int port)
{
    pthread_mutex_lock(&n->lock);
    n->port = port;
    pthread_mutex_unlock(&n->lock);
    node_status_wake(n);
}

void node_status_stop(struct node_status *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->is_stopping = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    node_lease_free(n->lease);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->wake);
    free(n->network);
    free(n);
}
