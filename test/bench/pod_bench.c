/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_bench.c - what a cluster adds to a pod: a rollout beside the CRI calls that it cannot do
 * without.
 *
 *     pod_bench URL TOKEN SOCKET IMAGE [ROUNDS [PODS]]      default 10 rounds of 2 pods
 *
 * In turns, so that a busy machine slows both alike:
 *
 *   rollout   POST of a Deployment until a watch says that all of its pods are available
 *   direct    for each pod, all pods at once: RunPodSandbox, PodSandboxStatus (its address),
 *             ImageStatus, CreateContainer, StartContainer, ContainerStatus (what a status tells),
 *             with the requests that the kubelet makes of these pods
 *   delete    DELETE of the Deployment until a watch has told the end of its pods
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/http_client.h"
#include "kubelet/container_spec.h"
#include "kubelet/pod_sandbox.h"

#define PODS_MAX       64
#define ROUNDS_MAX     1000
#define GIVE_UP_S      60
#define LINE_BYTES_MAX (1024 * 1024)
#define SETTLE_MS      300 /* what one figure leaves behind is not in the next */
#define CLUSTER_DNS    "10.43.0.10"
#define DEPLOYMENTS    "/apis/apps/v1/namespaces/default/deployments"
#define PODS           "/api/v1/namespaces/default/pods"
#define AVAILABLE      "\"availableReplicas\":"
#define DELETED        "{\"type\":\"DELETED\""

static const char *url, *token, *image;
static struct http_client *client;
static struct cri_client *cri;
static int pods_n = 2;
static int over_fd; /* readable once the watches shall end */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what the watches have seen */
static pthread_cond_t seen = PTHREAD_COND_INITIALIZER;
static int available, deleted;

static double now_ms(void)
{
    return (double)clock_monotonic_ns(&system_clock) / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "pod_bench: %s\n", what);
    exit(1);
}

/* ---- the API ---- */

static struct bytes call(const char *method, const char *path, struct bytes body,
                         int (*on_body)(struct bytes piece, void *arg), void *arg, struct arena *a)
{
    struct error err = { 0 };
    const struct http_header headers[] = {
        { "authorization", arena_printf(a, "Bearer %s", token) },
        { "content-type", "application/json" },
    };
    struct http_client_request r = {
        .method = method,
        .url = arena_printf(a, "%s%s", url, path),
        .headers = headers,
        .headers_n = ARRAY_LEN(headers),
        .body = body,
        .cancel_fd = on_body ? over_fd : 0,
    };
    struct http_client_response answer = { 0 };
    if (http_client_do(client, &r, on_body, arg, a, &answer, &err) < 0) {
        if (!on_body || err.code != ERR_CANCELED)
            die(err.message);
    } else if (answer.status >= 300) {
        die(arena_printf(a, "%s %s: %.*s", method, path, (int)answer.body.len, answer.body.data));
    }
    return answer.body;
}

static void on_line(const char *line, size_t len)
{
    const char *mark = memmem(line, len, AVAILABLE, sizeof(AVAILABLE) - 1);
    pthread_mutex_lock(&lock);
    if (mark)
        available = atoi(mark + sizeof(AVAILABLE) - 1);
    else if (memmem(line, len, DELETED, sizeof(DELETED) - 1))
        deleted++;
    pthread_cond_signal(&seen);
    pthread_mutex_unlock(&lock);
}

static int on_body(struct bytes piece, void *arg)
{
    struct buffer *pending = arg;
    buffer_add_bytes(pending, piece);
    char *at = pending->data, *end = pending->data + pending->len, *eol;
    while ((eol = memchr(at, '\n', (size_t)(end - at)))) {
        on_line(at, (size_t)(eol - at));
        at = eol + 1;
    }
    pending->len = (size_t)(end - at);
    memmove(pending->data, at, pending->len);
    return pending->len > LINE_BYTES_MAX ? -1 : 0;
}

static void *watch(void *arg)
{
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer pending = { 0 };
    call("GET", arena_printf(a, "%s?watch=1", (const char *)arg), (struct bytes){ 0 }, on_body,
         &pending, a);
    return NULL;
}

/* Until *COUNT has come to N. */
static void wait_until(const int *count, int n, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GIVE_UP_S;
    pthread_mutex_lock(&lock);
    while (*count < n)
        if (pthread_cond_timedwait(&seen, &lock, &until) != 0)
            die(what);
    pthread_mutex_unlock(&lock);
}

static void create(int round, struct arena *a)
{
    const char *body = arena_printf(
        a,
        "{\"metadata\":{\"name\":\"bench-%d\"},\"spec\":{\"replicas\":%d,"
        "\"selector\":{\"matchLabels\":{\"app\":\"bench\"}},"
        "\"template\":{\"metadata\":{\"labels\":{\"app\":\"bench\"}},\"spec\":{\"containers\":["
        "{\"name\":\"web\",\"image\":\"%s\",\"imagePullPolicy\":\"IfNotPresent\"}]}}}}",
        round, pods_n, image);
    call("POST", DEPLOYMENTS, bytes_of(body), NULL, NULL, a);
}

static double rollout(int round, struct arena *a)
{
    double begin = now_ms();
    create(round, a);
    wait_until(&available, pods_n, "the rollout does not end");
    return now_ms() - begin;
}

static double delete (int round, struct arena *a)
{
    double begin = now_ms();
    call("DELETE", arena_printf(a, DEPLOYMENTS "/bench-%d", round), (struct bytes){ 0 }, NULL, NULL,
         a);
    wait_until(&deleted, pods_n, "the pods do not end");
    double end = now_ms();
    pthread_mutex_lock(&lock);
    available = deleted = 0;
    pthread_mutex_unlock(&lock);
    return end - begin;
}

/* ---- directly ---- */

struct pod {
    pthread_t thread;
    struct arena *arena;
    struct object *object;
    struct kubelet_context context;
    struct cri_sandbox_config sandbox;
    struct cri_container_config container;
    const char *sandbox_id;
};

/* What containers learn of services: kubernetes is there in every cluster. */
static struct object_list services;

static void read_services(struct arena *a)
{
    struct error err = { 0 };
    struct bytes text = call("GET", "/api/v1/namespaces/default/services/kubernetes",
                             (struct bytes){ 0 }, NULL, NULL, a);
    struct object *service = object_parse(&resources[RESOURCE_SERVICES], text, 0, &err);
    if (!service)
        die(err.message);
    object_list_add_take(&services, service);
}

static const struct json *list_pods(struct arena *a)
{
    struct error err = { 0 };
    struct json *list =
        json_parse(call("GET", PODS, (struct bytes){ 0 }, NULL, NULL, a), a, NULL, &err);
    if (!list || (int)json_len(list, "items") < pods_n)
        die("list the pods of the rollout");
    return json_get(list, "items");
}

/* Another pod like one of the rollout's. */
static struct object *copy_pod(const struct json *like, int number)
{
    struct draft *d = draft_new(&resources[RESOURCE_PODS]);
    d->doc = json_clone(like, d->arena);
    json_put_str(d->arena, d->doc, "metadata.uid", arena_printf(d->arena, "direct-%d", number));
    json_put_str(d->arena, d->doc, "metadata.name", arena_printf(d->arena, "direct-%d", number));
    return draft_publish(d, 0);
}

/* Makes the requests as the kubelet makes them, with one folder as every volume. */
static void prepare(struct pod *p, const struct json *like, const char *dir, int number)
{
    struct error err = { 0 };
    struct arena *a = p->arena = arena_new();
    p->object = copy_pod(like, number);
    p->context = (struct kubelet_context){ .pods_dir = dir,
                                           .node_ip = "127.0.0.1",
                                           .cluster_dns = CLUSTER_DNS,
                                           .cluster_domain = "cluster.local" };
    struct volume_list volumes = { 0 };
    json_each_item (json_at(p->object->doc, "spec.volumes"), v) {
        volumes.items =
            arena_grow(a, volumes.items, volumes.n, &volumes.capacity, sizeof(*volumes.items));
        volumes.items[volumes.n++] =
            (struct volume){ .name = json_str(v, "name", ""), .host_path = dir };
    }
    struct env_context env = { .downward = { .pod = p->object }, .services = &services };
    struct cri_image found;
    struct container_spec_input in = { .k = &p->context,
                                       .env = &env,
                                       .container = json_items_begin(
                                           json_at(p->object->doc, "spec.containers")),
                                       .image = &found,
                                       .volumes = &volumes };
    if (cri_image_status(cri, image, a, &found, &err) <= 0 ||
        pod_sandbox_config(&p->context, p->object, 0, a, &p->sandbox, &err) < 0 ||
        files_make_dirs(p->sandbox.log_directory, 0755, &err) < 0 ||
        write_hosts_file(&p->context, p->object, NULL, 0, a, &err) < 0 ||
        container_spec(&in, a, &p->container, &err) < 0)
        die(err.message);
}

static void *start(void *arg)
{
    struct pod *p = arg;
    struct arena *a = p->arena;
    struct error err = { 0 };
    struct cri_sandbox sandbox;
    struct cri_image found;
    struct cri_container container;
    const char *id;
    if (cri_run_sandbox(cri, &p->sandbox, a, &p->sandbox_id, &err) < 0 ||
        cri_sandbox_status(cri, p->sandbox_id, a, &sandbox, &err) < 0 ||
        cri_image_status(cri, image, a, &found, &err) < 0 ||
        cri_create_container(cri, p->sandbox_id, &p->container, &p->sandbox, a, &id, &err) < 0 ||
        cri_start_container(cri, id, &err) < 0 ||
        cri_container_status(cri, id, a, &container, &err) < 0)
        die(err.message);
    return NULL;
}

static void finish(struct pod *p)
{
    struct error err = { 0 };
    if (cri_stop_sandbox(cri, p->sandbox_id, &err) < 0 ||
        cri_remove_sandbox(cri, p->sandbox_id, &err) < 0 ||
        files_remove_tree(p->sandbox.log_directory, &err) < 0)
        die(err.message);
    object_unref(p->object);
    arena_free(p->arena);
}

static double direct(struct pod *pods)
{
    double begin = now_ms();
    for (int i = 0; i < pods_n; i++)
        pthread_create(&pods[i].thread, NULL, start, &pods[i]);
    for (int i = 0; i < pods_n; i++)
        pthread_join(pods[i].thread, NULL);
    return now_ms() - begin;
}

/* ---- figures ---- */

struct figures {
    double rollout[ROUNDS_MAX], direct[ROUNDS_MAX], delete[ROUNDS_MAX];
};

static void one_round(struct figures *f, int round, const char *dir)
{
    scoped(arena) struct arena *a = arena_new();
    struct pod pods[PODS_MAX] = { 0 };
    f->rollout[round] = rollout(round, a);
    int n = 0;
    json_each_item (list_pods(a), like)
        if (n < pods_n)
            prepare(&pods[n], like, dir, n), n++;
    usleep(SETTLE_MS * 1000);
    f->delete[round] = delete (round, a);
    usleep(SETTLE_MS * 1000);
    f->direct[round] = direct(pods);
    for (int i = 0; i < pods_n; i++)
        finish(&pods[i]);
    usleep(SETTLE_MS * 1000);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double print(const char *what, double *ms, int n)
{
    qsort(ms, (size_t)n, sizeof(*ms), by_value);
    double median = ms[(n - 1) / 2];
    printf("%s: median %.0f ms (%.0f to %.0f, the first quarter to %.0f)\n", what, median, ms[0],
           ms[n - 1], ms[(n - 1) / 4]);
    return median;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    static struct figures f;
    int rounds = argc > 5 ? atoi(argv[5]) : 10;
    pods_n = argc > 6 ? atoi(argv[6]) : 2;
    if (argc < 5 || rounds < 1 || rounds > ROUNDS_MAX || pods_n < 1 || pods_n > PODS_MAX) {
        fprintf(stderr, "usage: pod_bench URL TOKEN SOCKET IMAGE [ROUNDS [PODS]]\n");
        return 2;
    }
    url = argv[1], token = argv[2], image = argv[4];
    client = http_client_new(&(struct tls_client_config){ .insecure_skip_verify = true }, &err);
    cri = client ? cri_client_new(argv[3], &err) : NULL;
    char dir[] = "/tmp/pod-bench.XXXXXX";
    if (!cri || !mkdtemp(dir))
        die(err.message);
    scoped(arena) struct arena *a = arena_new();
    read_services(a);
    pthread_t watches[2];
    over_fd = eventfd(0, EFD_CLOEXEC);
    pthread_create(&watches[0], NULL, watch, (void *)DEPLOYMENTS);
    pthread_create(&watches[1], NULL, watch, (void *)PODS);
    sleep(1); /* both are there */

    for (int round = -1; round < rounds; round++) /* the first is for warming up */
        one_round(&f, round < 0 ? 0 : round, dir);
    double ratio = print("rollout", f.rollout, rounds) / print("direct", f.direct, rounds);
    print("delete", f.delete, rounds);
    printf("rollout / direct: %.2f\n", ratio);

    eventfd_write(over_fd, 1);
    for (size_t i = 0; i < ARRAY_LEN(watches); i++)
        pthread_join(watches[i], NULL);
    object_list_deinit(&services);
    http_client_free(client);
    cri_client_free(cri);
    return files_remove_tree(dir, &err) < 0 ? 1 : 0;
}
