/* SPDX-License-Identifier: Apache-2.0 */
/* image_puller.c - makes a container's image present: policy, credentials, back-off. */
#include <inttypes.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "kubelet/object_cache.h"
#include "kubelet/pod_sync.h"

#define PULL_BACKOFF_FIRST_MS 10000
#define PULL_BACKOFF_MAX_MS   300000
/* How long ErrImagePull is shown before it becomes ImagePullBackOff: upstream's next turn. */
#define PULL_ERROR_SHOWN_MS  2000
#define IMAGE_NAME_BYTES_MAX 1024

struct pull {
    char *container, *image;
    struct object *pod;
    struct arena *arena; /* of the credentials */
    struct cri_auth *auths;
    size_t auths_n;
};

/* The registry of an image's name: what comes before the first slash if it looks like a host. */
static const char *registry_of(const char *image, struct arena *a)
{
    size_t len = strcspn(image, "/");
    const char *first = arena_strndup(a, image, len);
    bool is_host = image[len] == '/' &&
                   (strchr(first, '.') || strchr(first, ':') || str_equal(first, "localhost"));
    return is_host ? first : "docker.io";
}

/* "https://index.docker.io/v1/" and "docker.io" are the same registry. */
static bool is_registry(const char *server, const char *registry)
{
    const char *host = str_has_prefix(server, "https://")  ? server + 8
                       : str_has_prefix(server, "http://") ? server + 7
                                                           : server;
    size_t len = strcspn(host, "/");
    if (strncmp(host, registry, len) == 0 && registry[len] == '\0')
        return true;
    return str_equal(registry, "docker.io") && str_has_suffix(server, "index.docker.io/v1/");
}

static void add_auth(struct pull *p, const char *server, const struct json *entry)
{
    struct arena *a = p->arena;
    struct cri_auth auth = {
        .username = arena_strdup(a, json_str(entry, "username", "")),
        .password = arena_strdup(a, json_str(entry, "password", "")),
        .identity_token = arena_strdup(a, json_str(entry, "identitytoken", "")),
        .server_address = arena_strdup(a, server),
    };
    struct bytes decoded;
    const char *packed = json_str(entry, "auth", "");
    if (str_empty(auth.username) && base64_decode(bytes_of(packed), a, &decoded) == 0) {
        char *pair = arena_strndup(a, decoded.data, decoded.len);
        char *colon = strchr(pair, ':');
        if (colon) {
            *colon = '\0';
            auth.username = pair;
            auth.password = colon + 1;
        }
    }
    struct cri_auth *grown = arena_alloc(a, (p->auths_n + 1) * sizeof(*grown));
    if (p->auths_n)
        memcpy(grown, p->auths, p->auths_n * sizeof(*grown));
    grown[p->auths_n++] = auth;
    p->auths = grown;
}

/* Credentials for the image from the pod's imagePullSecrets; what is missing or malformed is
 * skipped, as the image may need none. */
static void collect_auths(struct pod_sync *s, struct pull *p)
{
    const char *registry = registry_of(p->image, p->arena);
    json_each_item (json_at(s->pod->doc, "spec.imagePullSecrets"), ref) {
        struct error err = { 0 };
        scoped(object) struct object *secret = NULL;
        struct object_key key = { s->pod->key.ns, json_str(ref, "name", "") };
        if (object_cache_get(s->k->objects, &resources[RESOURCE_SECRETS], &key, &secret, &err) < 0)
            continue;
        const struct json *data = json_get(secret->doc, "data");
        const char *text = json_text(json_get(data, ".dockerconfigjson"));
        struct bytes config;
        if (!text || base64_decode(bytes_of(text), p->arena, &config) < 0)
            continue;
        const struct json *parsed = json_parse(config, p->arena, NULL, &err);
        json_each_member (json_get(parsed, "auths"), m)
            if (is_registry(m->name, registry))
                add_auth(p, m->name, &m->value);
    }
}

static int pull_with_auths(struct kubelet_context *k, const struct pull *p, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct cri_sandbox_config sandbox = {
        .name = p->pod->key.name,
        .ns = p->pod->key.ns,
        .uid = p->pod->uid,
        .hostname = "",
        .log_directory = "",
        .cgroup_parent = "",
    };
    const char *ref;
    if (p->auths_n == 0)
        return cri_pull_image(k->cri, p->image, NULL, &sandbox, a, &ref, err);
    int rc = -1;
    for (size_t i = 0; i < p->auths_n && rc < 0; i++)
        rc = cri_pull_image(k->cri, p->image, &p->auths[i], &sandbox, a, &ref, err);
    return rc;
}

/* Of what a pull fails with, upstream shows the code only where it says something. */
static void hide_unknown(struct error *err)
{
    if (!str_has_prefix(err->message, "rpc error: code = Unknown "))
        return;
    const char *text = cri_error_message(err);
    memmove(err->message, text, strlen(text) + 1);
}

static void run_pull(struct pod_entry *e, void *arg)
{
    struct pull *p = arg;
    struct kubelet_context *k = e->worker->k;
    scoped(arena) struct arena *a = arena_new();
    struct pod_sync s = { .entry = e, .worker = e->worker, .k = k, .a = a, .pod = p->pod };
    struct error err = { 0 };
    pod_event(&s, p->container, "Normal", "Pulling", "Pulling image \"%s\"", p->image);
    int64_t began_ns = clock_monotonic_ns(k->clock);
    int rc = pull_with_auths(k, p, &err);
    if (rc == 0) {
        char took[TIME_TEXT_BYTES];
        int64_t ms = (clock_monotonic_ns(k->clock) - began_ns) / NS_PER_MS;
        duration_format(ms * NS_PER_MS, took);
        struct cri_image image = { 0 };
        if (cri_image_status(k->cri, p->image, a, &image, &err) < 0)
            log_debug("kubelet", "%s", err.message);
        pod_event(&s, p->container, "Normal", "Pulled",
                  "Successfully pulled image \"%s\" in %s (%s including waiting). Image size: "
                  "%" PRIu64 " bytes.",
                  p->image, took, took, image.size_bytes);
    } else {
        hide_unknown(&err);
        pod_event(&s, p->container, "Warning", "Failed", "Failed to pull image \"%s\": %s",
                  p->image, err.message);
        pod_event(&s, p->container, "Warning", "Failed", "Error: ErrImagePull");
    }
    pthread_mutex_lock(&e->worker->lock);
    for (struct container_memory *m = e->containers; m; m = m->next) {
        if (!str_equal(m->name, p->container))
            continue;
        m->pull = rc == 0 ? PULL_DONE : PULL_FAILED;
        free(m->pull_error);
        m->pull_error = rc == 0 ? NULL : xstrdup(err.message);
    }
    pthread_mutex_unlock(&e->worker->lock);
    object_unref(p->pod);
    arena_free(p->arena);
    free(p->container);
    free(p->image);
    free(p);
}

static void start_pull(struct pod_sync *s, struct container_memory *m, const char *image)
{
    struct pull *p = xcalloc(1, sizeof(*p));
    p->container = xstrdup(m->name);
    p->image = xstrdup(image);
    p->pod = object_ref(s->pod);
    p->arena = arena_new();
    collect_auths(s, p);
    pthread_mutex_lock(&s->worker->lock);
    m->pull = PULL_RUNNING;
    pthread_mutex_unlock(&s->worker->lock);
    container_set_note(s, m->name, NULL, NULL);
    struct error err = { 0 };
    if (pod_worker_job(s->entry, run_pull, p, &err) < 0)
        run_pull(s->entry, p); /* the pool is full: this sync can as well do it itself */
}

/* After a failure: shows ErrImagePull for a moment, then ImagePullBackOff until the next attempt.
 */
static void note_failure(struct pod_sync *s, struct container_memory *m, const char *image,
                         const char *message, int64_t now_ns)
{
    if (message) {
        m->pull_backoff_ms = !m->pull_backoff_ms                            ? PULL_BACKOFF_FIRST_MS
                             : m->pull_backoff_ms * 2 < PULL_BACKOFF_MAX_MS ? m->pull_backoff_ms * 2
                                                                            : PULL_BACKOFF_MAX_MS;
        m->pull_not_before_ns = now_ns + m->pull_backoff_ms * NS_PER_MS;
        container_set_note(s, m->name, "ErrImagePull", message);
        pod_sync_wake_in(s, PULL_ERROR_SHOWN_MS);
        return;
    }
    if (!str_equal(m->reason, "ImagePullBackOff")) {
        const char *why = m->message ? arena_strdup(s->a, m->message) : "";
        pod_event(s, m->name, "Normal", "BackOff", "Back-off pulling image \"%s\"", image);
        pod_event(s, m->name, "Warning", "Failed", "Error: ImagePullBackOff");
        container_set_note(
            s, m->name, "ImagePullBackOff",
            arena_printf(s->a, "Back-off pulling image \"%s\": ErrImagePull: %s", image, why));
    }
    pod_sync_wake_in(s, (m->pull_not_before_ns - now_ns) / NS_PER_MS + 1);
}

/* A reference that no registry could have: upper case, spaces, empty parts. */
static bool is_image_name(const char *image)
{
    size_t len = strlen(image);
    if (len == 0 || len > IMAGE_NAME_BYTES_MAX || strstr(image, "//"))
        return false;
    const char *slash = strrchr(image, '/');
    const char *tag = strpbrk(slash ? slash : image, ":@");
    for (const char *p = image; *p; p++) {
        bool is_name = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || strchr("._-/:@", *p);
        bool is_tag = tag && p > tag && *p >= 'A' && *p <= 'Z';
        bool is_host = *p >= 'A' && *p <= 'Z' && slash && p < strchr(image, '/');
        if (!is_name && !is_tag && !is_host)
            return false;
    }
    char last = image[len - 1], first = image[0];
    return !strchr("._-/:@", last) && !strchr("._-/:@", first);
}

static const char *policy_of(const struct json *container, const char *image)
{
    const char *policy = json_str(container, "imagePullPolicy", "");
    if (!str_empty(policy))
        return policy;
    const char *slash = strrchr(image, '/');
    const char *tag = strpbrk(slash ? slash : image, ":@");
    return !tag || str_equal(tag, ":latest") ? "Always" : "IfNotPresent";
}

static void fail_once(struct pod_sync *s, struct container_memory *m, const char *reason,
                      const char *message, const char *event)
{
    if (!str_equal(m->reason, reason)) {
        pod_event(s, m->name, "Warning",
                  str_equal(reason, "ErrImageNeverPull") ? reason : "InspectFailed", "%s", event);
        pod_event(s, m->name, "Warning", "Failed", "Error: %s", reason);
    }
    container_set_note(s, m->name, reason, message);
    pod_sync_wake_in(s, PULL_BACKOFF_FIRST_MS);
}

int image_ensure(struct pod_sync *s, const struct json *container, struct cri_image *out)
{
    const char *image = json_str(container, "image", "");
    struct container_memory *m = container_memory(s->entry, json_str(container, "name", ""));
    int64_t now_ns = clock_monotonic_ns(s->k->clock);
    if (!is_image_name(image)) {
        const char *why = arena_printf(s->a,
                                       "Failed to apply default image tag \"%s\": couldn't parse "
                                       "image name \"%s\": invalid reference format",
                                       image, image);
        fail_once(s, m, "InvalidImageName", why, why);
        return 0;
    }
    pthread_mutex_lock(&s->worker->lock);
    enum pull_state pull = m->pull;
    const char *failure = pull == PULL_FAILED ? arena_strdup(s->a, m->pull_error) : NULL;
    if (pull == PULL_DONE || pull == PULL_FAILED)
        m->pull = PULL_IDLE;
    pthread_mutex_unlock(&s->worker->lock);
    if (pull == PULL_RUNNING)
        return 0;
    if (failure) {
        note_failure(s, m, image, failure, now_ns);
        return 0;
    }

    struct error err = { 0 };
    int is_present = cri_image_status(s->k->cri, image, s->a, out, &err);
    if (is_present < 0) {
        const char *why =
            arena_printf(s->a, "Failed to inspect image \"%s\": %s", image, err.message);
        fail_once(s, m, "ImageInspectError", why, why);
        s->needs_retry = true;
        return 0;
    }
    const char *policy = policy_of(container, image);
    if (is_present && (pull == PULL_DONE || !str_equal(policy, "Always"))) {
        if (pull != PULL_DONE)
            pod_event(
                s, m->name, "Normal", "Pulled",
                "Container image \"%s\" already present on machine and can be accessed by the "
                "pod",
                image);
        m->pull_backoff_ms = 0;
        return 1;
    }
    if (str_equal(policy, "Never")) {
        const char *why = arena_printf(
            s->a, "Container image \"%s\" is not present with pull policy of Never", image);
        fail_once(s, m, "ErrImageNeverPull", why, why);
        return 0;
    }
    if (m->pull_backoff_ms && now_ns < m->pull_not_before_ns) {
        note_failure(s, m, image, NULL, now_ns);
        return 0;
    }
    start_pull(s, m, image);
    return 0;
}
