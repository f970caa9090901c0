/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_bench.c - what a pod costs at least: the same CRI calls as the kubelet's, made directly.
 *
 *     cri_bench SOCKET IMAGE [PODS]      starts PODS (default 2) at once, prints the milliseconds
 */
#include <pthread.h>

#include "base/clock.h"
#include "kubelet/cri_client.h"

#define PODS_MAX 64

struct pod {
    pthread_t thread;
    struct cri_client *cri;
    const char *image;
    int number;
    struct arena *arena;
    const char *sandbox;
};

static void die(const struct error *err)
{
    fprintf(stderr, "cri_bench: %s\n", err->message);
    exit(1);
}

static void *start(void *arg)
{
    struct pod *p = arg;
    struct error err = { 0 };
    const char *name = arena_printf(p->arena, "bench-%d", p->number);
    struct cri_sandbox_config sandbox = {
        .name = name,
        .ns = "bench",
        .uid = name,
        .hostname = name,
        .log_directory = arena_printf(p->arena, "/tmp/%s", name),
        .security = { .user = -1, .group = -1 },
    };
    struct cri_container_config container = {
        .name = "main",
        .image = p->image,
        .log_path = "main.log",
        .security = { .user = -1, .group = -1, .pid = CRI_NAMESPACE_CONTAINER },
    };
    const char *id;
    if (cri_run_sandbox(p->cri, &sandbox, p->arena, &p->sandbox, &err) < 0 ||
        cri_create_container(p->cri, p->sandbox, &container, &sandbox, p->arena, &id, &err) < 0 ||
        cri_start_container(p->cri, id, &err) < 0)
        die(&err);
    return NULL;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    struct pod pods[PODS_MAX] = { 0 };
    int n = argc > 3 ? atoi(argv[3]) : 2;
    if (argc < 3 || n < 1 || n > PODS_MAX) {
        fprintf(stderr, "usage: cri_bench SOCKET IMAGE [PODS]\n");
        return 2;
    }
    scoped(cri_client) struct cri_client *cri = cri_client_new(argv[1], &err);
    if (!cri)
        die(&err);
    int64_t begin = clock_monotonic_ns(&system_clock);
    for (int i = 0; i < n; i++) {
        pods[i] = (struct pod){ .cri = cri, .image = argv[2], .number = i, .arena = arena_new() };
        pthread_create(&pods[i].thread, NULL, start, &pods[i]);
    }
    for (int i = 0; i < n; i++)
        pthread_join(pods[i].thread, NULL);
    printf("%d pods by direct CRI calls: %.0f ms\n", n,
           (double)(clock_monotonic_ns(&system_clock) - begin) / 1e6);
    for (int i = 0; i < n; i++) {
        if (cri_stop_sandbox(cri, pods[i].sandbox, &err) < 0 ||
            cri_remove_sandbox(cri, pods[i].sandbox, &err) < 0)
            die(&err);
        arena_free(pods[i].arena);
    }
    return 0;
}
