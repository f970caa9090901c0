/* SPDX-License-Identifier: Apache-2.0 */
/* static_pods.c - pods from a folder of manifests. */
#include "kubelet/static_pods.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "api/schema.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/log.h"
#include "base/yaml.h"
#include "kubelet/pod_labels.h"

#define MANIFEST_BYTES_MAX (3 * 1024 * 1024)
#define SETTLE_MS          50 /* an editor writes a file in several steps */
#define MIRROR_RETRY_MS    2000
#define STATIC_PODS_MAX    256

struct static_pods {
    struct pod_worker *worker;
    struct kubelet_context *k;
    char *dir;
    int notify_fd, wake_fd;
    atomic_bool is_stopping;
    pthread_t thread;
    struct object_list pods; /* the thread's */
};

/* 32 hexadecimal digits of a text: the uid of a static pod, as upstream has it. */
static char *uid_of(struct bytes text, const char *node, struct arena *a)
{
    uint8_t sum[SHA256_BYTES];
    const char *all = arena_printf(a, "%.*s%s", (int)text.len, text.data, node);
    crypto_sha256(bytes_of(all), sum);
    char *hex = arena_alloc(a, 33);
    for (size_t i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return hex;
}

static void put_identity(struct static_pods *s, struct arena *a, struct json *doc,
                         struct bytes text)
{
    char now[TIME_TEXT_BYTES];
    time_format_nano(clock_wall_ns(s->k->clock), now);
    const char *uid = uid_of(text, s->k->node_name, a);
    const char *name = json_str(doc, "metadata.name", "");
    json_put_str(a, doc, "metadata.name", arena_printf(a, "%s-%s", name, s->k->node_name));
    if (str_empty(json_str(doc, "metadata.namespace", "")))
        json_put_str(a, doc, "metadata.namespace", "default");
    json_put_str(a, doc, "metadata.uid", uid);
    struct json *annotations = json_make(a, doc, "metadata.annotations");
    if (annotations->type != JSON_OBJECT)
        *annotations = *json_new(a, JSON_OBJECT);
    json_set(a, annotations, ANNOTATION_CONFIG_HASH, json_string_value(a, uid));
    json_set(a, annotations, ANNOTATION_CONFIG_SOURCE, json_string_value(a, "file"));
    json_set(a, annotations, ANNOTATION_CONFIG_SEEN, json_string_value(a, now));
    json_put_str(a, doc, "spec.nodeName", s->k->node_name);
    /* A static pod stays whatever happens to its node. */
    struct json tolerations = *json_new(a, JSON_ARRAY);
    json_put_str(a, json_append(a, &tolerations, *json_new(a, JSON_OBJECT)), "operator", "Exists");
    json_put_str(a, &tolerations.items[0], "effect", "NoExecute");
    if (!json_len(doc, "spec.tolerations"))
        json_put(a, doc, "spec.tolerations", tolerations);
}

static struct object *parse_manifest(struct static_pods *s, const char *path, struct error *err)
{
    struct arena *a = arena_new();
    struct bytes text;
    struct json *doc = NULL;
    const struct resource *r = &resources[RESOURCE_PODS];
    if (files_read(path, MANIFEST_BYTES_MAX, a, &text, err) < 0)
        goto fail;
    struct bytes rest = text;
    int rc = yaml_next(&rest, a, &doc, err);
    if (rc < 0)
        goto fail;
    if (rc == 0 || !doc || !str_equal(json_str(doc, "kind", ""), "Pod")) {
        error_set(err, ERR_BAD_REQUEST, "%s: not a Pod", path);
        goto fail;
    }
    if (schema_shape(r->type, doc, a, NULL, err) < 0)
        goto fail;
    if (str_empty(json_str(doc, "metadata.name", "")) || !json_len(doc, "spec.containers")) {
        error_set(err, ERR_BAD_REQUEST, "%s: a Pod needs metadata.name and spec.containers", path);
        goto fail;
    }
    put_identity(s, a, doc, text);
    schema_default(r, doc, a);
    return draft_publish(draft_from_take(r, a, doc), 0);
fail:
    arena_free(a);
    return NULL;
}

static bool is_manifest(const char *name)
{
    return name[0] != '.' && (str_has_suffix(name, ".yaml") || str_has_suffix(name, ".yml") ||
                              str_has_suffix(name, ".json") || str_has_suffix(name, ".manifest"));
}

static const struct object *find_uid(const struct object_list *list, const char *uid)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_equal(list->items[i]->uid, uid))
            return list->items[i];
    return NULL;
}

/* Reads the folder and tells the worker what came and what went. */
static void read_folder(struct static_pods *s)
{
    DIR *dir = opendir(s->dir);
    if (!dir) {
        log_warn("kubelet", "read the manifests in %s: %m", s->dir);
        return;
    }
    struct object_list found = { 0 };
    struct dirent *entry;
    while ((entry = readdir(dir)) && found.n < STATIC_PODS_MAX) {
        if (!is_manifest(entry->d_name))
            continue;
        struct error err = { 0 };
        scoped(str) char *path = xasprintf("%s/%s", s->dir, entry->d_name);
        struct object *pod = parse_manifest(s, path, &err);
        if (!pod)
            log_error("kubelet", "static pod: %s", err.message);
        else if (find_uid(&found, pod->uid))
            object_unref(pod);
        else
            object_list_add_take(&found, pod);
    }
    closedir(dir);
    for (size_t i = 0; i < s->pods.n; i++)
        if (!find_uid(&found, s->pods.items[i]->uid))
            pod_worker_remove(s->worker, s->pods.items[i]->uid);
    for (size_t i = 0; i < found.n; i++) {
        struct object *known = (struct object *)find_uid(&s->pods, found.items[i]->uid);
        if (known) { /* the same text: keep when it was seen first */
            object_ref(known);
            object_unref(found.items[i]);
            found.items[i] = known;
        } else {
            pod_worker_update(s->worker, found.items[i], true);
        }
    }
    object_list_deinit(&s->pods);
    s->pods = found;
}

/* ---- mirrors ---- */

static int create_mirror(struct static_pods *s, const struct object *pod, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_clone(pod->doc, a);
    json_drop(doc, "metadata.uid");
    json_drop(doc, "metadata.resourceVersion");
    json_drop(doc, "status");
    struct json *annotations = json_make(a, doc, "metadata.annotations");
    json_set(a, annotations, ANNOTATION_CONFIG_MIRROR,
             json_string_value(a, object_annotation(pod, ANNOTATION_CONFIG_HASH)));
    struct object_key key = { "", s->k->node_name };
    scoped(object) struct object *node = informer_get(s->k->nodes, &key);
    if (node) { /* node restriction asks for it; the pod goes with its node */
        struct json owners = *json_new(a, JSON_ARRAY);
        struct json *owner = json_append(a, &owners, *json_new(a, JSON_OBJECT));
        json_put_str(a, owner, "apiVersion", "v1");
        json_put_str(a, owner, "kind", "Node");
        json_put_str(a, owner, "name", node->key.name);
        json_put_str(a, owner, "uid", node->uid);
        json_put_bool(a, owner, "controller", true);
        json_put(a, doc, "metadata.ownerReferences", owners);
    }
    int rc = client_create(s->k->client, pod->resource, pod->key.ns, doc, NULL, err);
    return rc < 0 && err->code == ERR_ALREADY_EXISTS ? 0 : rc;
}

static int delete_mirror(struct static_pods *s, const struct object *mirror, struct error *err)
{
    struct client_delete_options now = { .grace_period_s = 0, .uid = mirror->uid };
    int rc = client_delete(s->k->client, mirror->resource, &mirror->key, &now, err);
    return rc < 0 && (err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT) ? 0 : rc;
}

/* Makes mirrors that are missing and removes those whose pod is gone or another; false if something
 * has to be tried again. */
static bool put_mirrors_right(struct static_pods *s)
{
    bool is_done = true;
    struct error err = { 0 };
    scoped(object_list) struct object_list known = { 0 };
    informer_list(s->k->pods, &known);
    object_list_each (&known, mirror) {
        const char *hash = object_annotation(mirror, ANNOTATION_CONFIG_MIRROR);
        if (hash && (!find_uid(&s->pods, hash) || object_is_deleting(mirror)) &&
            delete_mirror(s, mirror, &err) < 0) {
            log_warn("kubelet", "mirror %s: %s", mirror->key.name, err.message);
            is_done = false;
        }
    }
    for (size_t i = 0; i < s->pods.n; i++) {
        scoped(object) struct object *mirror = informer_get(s->k->pods, &s->pods.items[i]->key);
        if (!mirror && create_mirror(s, s->pods.items[i], &err) < 0) {
            log_debug("kubelet", "mirror %s: %s", s->pods.items[i]->key.name, err.message);
            is_done = false;
        }
        pod_worker_wake(s->worker, s->pods.items[i]->uid); /* its status has somewhere to go */
    }
    return is_done;
}

/* ---- the thread ---- */

static void drain(int fd)
{
    char events[4096];
    while (read(fd, events, sizeof(events)) > 0)
        ;
}

static void *run(void *arg)
{
    struct static_pods *s = arg;
    int wait_ms = put_mirrors_right(s) ? -1 : MIRROR_RETRY_MS;
    for (;;) {
        struct pollfd p[2] = { { .fd = s->notify_fd, .events = POLLIN },
                               { .fd = s->wake_fd, .events = POLLIN } };
        if (poll(p, 2, wait_ms) < 0 && errno != EINTR)
            log_error("kubelet", "wait for manifests: %m");
        if (atomic_load(&s->is_stopping))
            return NULL;
        if (p[1].revents)
            drain(s->wake_fd);
        if (p[0].revents) {
            poll(NULL, 0, SETTLE_MS);
            drain(s->notify_fd);
            read_folder(s);
        }
        wait_ms = put_mirrors_right(s) ? -1 : MIRROR_RETRY_MS;
    }
}

struct static_pods *static_pods_start(struct pod_worker *w, const char *dir, struct error *err)
{
    if (files_make_dirs(dir, 0700, err) < 0)
        return NULL;
    struct static_pods *s = xcalloc(1, sizeof(*s));
    s->worker = w;
    s->k = w->k;
    s->dir = xstrdup(dir);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->notify_fd < 0 ||
        inotify_add_watch(s->notify_fd, dir,
                          IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
        error_errno(err, "watch the manifests in %s", dir);
    } else {
        read_folder(s);
        if (pthread_create(&s->thread, NULL, run, s) == 0)
            return s;
        error_set(err, ERR_INTERNAL, "start the thread for static pods");
    }
    object_list_deinit(&s->pods);
    close(s->wake_fd);
    if (s->notify_fd >= 0)
        close(s->notify_fd);
    free(s->dir);
    free(s);
    return NULL;
}

void static_pods_wake(struct static_pods *s)
{
    uint64_t one = 1;
    if (write(s->wake_fd, &one, sizeof(one)) < 0)
        log_debug("kubelet", "wake the static pods: %m");
}

void static_pods_stop(struct static_pods *s)
{
    if (!s)
        return;
    atomic_store(&s->is_stopping, true);
    static_pods_wake(s);
    pthread_join(s->thread, NULL);
    close(s->wake_fd);
    close(s->notify_fd);
    object_list_deinit(&s->pods);
    free(s->dir);
    free(s);
}
