/* SPDX-License-Identifier: Apache-2.0 */
/* pod_state.c - what the runtime has of one pod. */
#include "kubelet/pod_state.h"

#include "kubelet/pod_labels.h"

static int newest_sandbox_first(const void *x, const void *y)
{
    const struct cri_sandbox *a = x, *b = y;
    return (a->created_ns < b->created_ns) - (a->created_ns > b->created_ns);
}

static int newest_container_first(const void *x, const void *y)
{
    const struct cri_container *a = x, *b = y;
    return (a->created_ns < b->created_ns) - (a->created_ns > b->created_ns);
}

static int read_sandboxes(struct cri_client *cri, const char *uid, struct arena *a,
                          struct pod_state *out, struct error *err)
{
    if (cri_list_sandboxes(cri, uid, a, &out->sandboxes, &out->sandboxes_n, err) < 0)
        return -1;
    if (out->sandboxes_n == 0)
        return 0;
    qsort(out->sandboxes, out->sandboxes_n, sizeof(*out->sandboxes), newest_sandbox_first);
    struct cri_sandbox *newest = arena_zalloc(a, sizeof(*newest));
    struct error failure = { 0 };
    if (cri_sandbox_status(cri, out->sandboxes[0].id, a, newest, &failure) < 0) {
        if (failure.code == ERR_NOT_FOUND)
            return 0; /* removed meanwhile */
        *err = failure;
        return -1;
    }
    out->sandbox = newest;
    return 0;
}

int pod_state_read(struct cri_client *cri, const char *uid, struct arena *a, struct pod_state *out,
                   struct error *err)
{
    *out = (struct pod_state){ 0 };
    if (read_sandboxes(cri, uid, a, out, err) < 0)
        return -1;
    struct cri_container *listed;
    size_t n;
    if (cri_list_containers(cri, uid, a, &listed, &n, err) < 0)
        return -1;
    out->containers = arena_zalloc(a, (n + 1) * sizeof(*listed));
    for (size_t i = 0; i < n; i++) {
        struct error failure = { 0 };
        struct cri_container *c = &out->containers[out->containers_n];
        if (cri_container_status(cri, listed[i].id, a, c, &failure) == 0) {
            c->sandbox_id = listed[i].sandbox_id;
            out->containers_n++;
        } else if (failure.code != ERR_NOT_FOUND) {
            *err = failure;
            return -1;
        }
    }
    qsort(out->containers, out->containers_n, sizeof(*out->containers), newest_container_first);
    return 0;
}

struct cri_container *pod_state_container(const struct pod_state *s, const char *name, size_t index)
{
    for (size_t i = 0; i < s->containers_n; i++)
        if (str_equal(s->containers[i].name, name) && index-- == 0)
            return &s->containers[i];
    return NULL;
}

bool pod_state_is_running(const struct pod_state *s)
{
    for (size_t i = 0; i < s->containers_n; i++)
        if (s->containers[i].state == CRI_CONTAINER_RUNNING)
            return true;
    for (size_t i = 0; i < s->sandboxes_n; i++)
        if (s->sandboxes[i].is_ready)
            return true;
    return false;
}

unsigned container_restart_count(const struct cri_container *c)
{
    const char *text = cri_pairs_get(&c->annotations, ANNOTATION_RESTART_COUNT);
    return text ? (unsigned)strtoul(text, NULL, 10) : c->attempt;
}
