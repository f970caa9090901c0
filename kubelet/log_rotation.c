/* SPDX-License-Identifier: Apache-2.0 */
/* log_rotation.c - keeps container logs from filling the disk. */
#include "kubelet/log_rotation.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define ROTATED_MAX 64 /* names that are looked at to find the oldest */

/* The running container that writes PATH; NULL. */
static const char *writer_of(struct kubelet_context *k, const char *uid, const char *path,
                             struct arena *a)
{
    struct error err = { 0 };
    struct cri_container *all;
    size_t n;
    if (cri_list_containers(k->cri, uid, a, &all, &n, &err) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        struct cri_container c;
        if (all[i].state == CRI_CONTAINER_RUNNING &&
            cri_container_status(k->cri, all[i].id, a, &c, &err) == 0 &&
            str_equal(c.log_path, path))
            return c.id;
    }
    return NULL;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Removes the oldest rotated files of NAME ("0.log"); their names sort by time. */
static void remove_oldest(const char *dir, const char *name, struct arena *a)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    const char *rotated[ROTATED_MAX];
    const char *prefix = arena_printf(a, "%s.", name);
    size_t n = 0;
    struct dirent *e;
    while ((e = readdir(d)) && n < ROTATED_MAX)
        if (str_has_prefix(e->d_name, prefix))
            rotated[n++] = arena_printf(a, "%s/%s", dir, e->d_name);
    closedir(d);
    qsort(rotated, n, sizeof(*rotated), by_name);
    for (size_t i = 0; i + LOG_FILES_MAX - 1 < n; i++)
        unlink(rotated[i]);
}

static void rotate(struct kubelet_context *k, const char *uid, const char *dir, const char *name,
                   struct arena *a)
{
    const char *path = arena_printf(a, "%s/%s", dir, name);
    const char *id = writer_of(k, uid, path, a);
    if (!id)
        return; /* nobody writes to it any more: it grows no further */
    char now[32];
    struct tm tm;
    time_t seconds = (time_t)(clock_wall_ns(k->clock) / NS_PER_S);
    gmtime_r(&seconds, &tm);
    strftime(now, sizeof(now), "%Y%m%d-%H%M%S", &tm);
    const char *old = arena_printf(a, "%s.%s", path, now);
    struct error err = { 0 };
    if (rename(path, old) < 0)
        return;
    if (cri_reopen_log(k->cri, id, &err) < 0) {
        log_warn("kubelet", "rotate %s: %s", path, err.message);
        if (rename(old, path) < 0)
            log_warn("kubelet", "put %s back: %m", path);
        return;
    }
    remove_oldest(dir, name, a);
}

static void check_container(struct kubelet_context *k, const char *uid, const char *dir,
                            struct arena *a)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    struct dirent *e;
    while ((e = readdir(d))) {
        struct stat st;
        if (str_has_suffix(e->d_name, ".log") && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            st.st_size > LOG_FILE_BYTES_MAX)
            rotate(k, uid, dir, e->d_name, a);
    }
    closedir(d);
}

void log_rotation_check(struct kubelet_context *k, const struct object_list *pods)
{
    scoped(arena) struct arena *a = arena_new();
    for (size_t i = 0; i < pods->n; i++) {
        static const char *const lists[] = { "spec.containers", "spec.initContainers" };
        const struct object *pod = pods->items[i];
        const char *logs = pod_log_dir(pod, a);
        for (size_t l = 0; l < ARRAY_LEN(lists); l++)
            json_each_item (json_at(pod->doc, lists[l]), c)
                check_container(k, pod->uid,
                                arena_printf(a, "%s/%s", logs, json_str(c, "name", "")), a);
        arena_reset(a);
    }
}
