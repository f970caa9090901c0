/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c - a pod's volumes: the table of kinds, group ownership, and removal. */
#include "kubelet/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "kubelet/volume_kinds.h"

#define OWNERSHIP_DEPTH_MAX 256

static const struct kind {
    const char *field;
    const char *folder; /* upstream's plugin names, which backup tools look for */
    volume_setup_fn *setup;
    bool is_owned; /* fsGroup is applied here; volumes made of files do it as they write */
} kinds[] = {
    { "emptyDir", "kubernetes.io~empty-dir", volume_setup_empty_dir, true },
    { "hostPath", NULL, volume_setup_host_path, false },
    { "configMap", "kubernetes.io~configmap", volume_setup_config_map, false },
    { "secret", "kubernetes.io~secret", volume_setup_secret, false },
    { "downwardAPI", "kubernetes.io~downward-api", volume_setup_downward, false },
    { "projected", "kubernetes.io~projected", volume_setup_projected, false },
};

const struct volume *volume_find(const struct volume_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_equal(l->items[i].name, name))
            return &l->items[i];
    return NULL;
}

/* ---- fsGroup: the group owns everything, may read and write, and new files inherit it ---- */

static int own_entry(int dir, const char *name, gid_t group, int depth)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    if (fchownat(dir, name, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (S_ISLNK(st.st_mode))
        return 0;
    mode_t mode = (st.st_mode & 07777) | (S_ISDIR(st.st_mode) ? 02770 : 0660);
    if (mode != (st.st_mode & 07777) && fchmodat(dir, name, mode, 0) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return 0;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries || depth >= OWNERSHIP_DEPTH_MAX) {
        if (entries)
            closedir(entries);
        else if (fd >= 0)
            close(fd);
        return -1;
    }
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(entries)))
        if (!str_equal(e->d_name, ".") && !str_equal(e->d_name, ".."))
            rc = own_entry(dirfd(entries), e->d_name, group, depth + 1);
    int saved = errno;
    closedir(entries);
    errno = saved;
    return rc;
}

/* Once per volume, when it is made: what containers do to their files later is theirs. */
static int set_group(struct volume_setup *v, struct error *err)
{
    const struct json *group = json_at(v->pod->pod->doc, "spec.securityContext.fsGroup");
    if (!json_is(group, JSON_INT))
        return 0;
    struct stat st;
    if (stat(v->dir, &st) == 0 && st.st_gid == (gid_t)group->integer && (st.st_mode & S_ISGID))
        return 0;
    if (own_entry(AT_FDCWD, v->dir, (gid_t)group->integer, 0) < 0)
        return error_errno(err, "give %s to group %lld", v->dir, (long long)group->integer);
    return 0;
}

static int setup_one(struct kubelet_context *k, const struct downward_context *pod,
                     const struct json *spec, struct arena *a, struct volume_list *out,
                     struct error *err)
{
    const char *name = json_str(spec, "name", "");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *source = json_get(spec, kinds[i].field);
        if (!source)
            continue;
        struct volume_setup v = { .k = k, .pod = pod, .a = a, .source = source, .name = name };
        v.dir = arena_printf(a, "%s/%s/volumes/%s/%s", k->pods_dir, pod->pod->uid,
                             kinds[i].folder ? kinds[i].folder : "-", name);
        const char *path;
        if (kinds[i].setup(&v, &path, err) < 0 || (kinds[i].is_owned && set_group(&v, err) < 0))
            return error_wrap(err, "MountVolume.SetUp failed for volume \"%s\" ", name);
        out->items = arena_grow(a, out->items, out->n, &out->capacity, sizeof(*out->items));
        out->items[out->n++] = (struct volume){ name, path };
        if (v.refresh_after_ns &&
            (!out->refresh_after_ns || v.refresh_after_ns < out->refresh_after_ns))
            out->refresh_after_ns = v.refresh_after_ns;
        return 0;
    }
    return error_set(err, ERR_INVALID,
                     "MountVolume.SetUp failed for volume \"%s\" : no volume plugin matched", name);
}

int volume_setup(struct kubelet_context *k, const struct downward_context *pod, struct arena *a,
                 struct volume_list *out, struct error *err)
{
    *out = (struct volume_list){ 0 };
    json_each_item (json_at(pod->pod->doc, "spec.volumes"), spec)
        if (setup_one(k, pod, spec, a, out, err) < 0)
            return -1;
    return 0;
}

int volume_teardown(struct kubelet_context *k, const char *uid, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    const char *root = arena_printf(a, "%s/%s/volumes", k->pods_dir, uid);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!kinds[i].folder)
            continue;
        const char *folder = arena_printf(a, "%s/%s", root, kinds[i].folder);
        DIR *dir = opendir(folder);
        if (!dir)
            continue;
        struct dirent *e;
        while ((e = readdir(dir))) {
            const char *path = arena_printf(a, "%s/%s", folder, e->d_name);
            if (e->d_name[0] == '.' || !files_is_mount_point(path))
                continue;
            if (umount2(path, MNT_DETACH) < 0) {
                error_errno(err, "unmount %s", path);
                closedir(dir);
                return -1;
            }
        }
        closedir(dir);
    }
    return files_remove_tree(root, err);
}
