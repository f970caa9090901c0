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
#include "kubelet/volume_writer.h"

#define OWNERSHIP_DEPTH_MAX 256
#define MOUNTS_BYTES_MAX    (64 * 1024 * 1024)

static const struct kind {
    const char *field;
    const char *folder; /* upstream's plugin names, which backup tools look for */
    volume_setup_fn *setup;
    bool is_written; /* we write its files, with their owners, and containers only read them */
} kinds[] = {
    { "emptyDir", "kubernetes.io~empty-dir", volume_setup_empty_dir, false },
    { "hostPath", NULL, volume_setup_host_path, false },
    { "configMap", "kubernetes.io~configmap", volume_setup_config_map, true },
    { "secret", "kubernetes.io~secret", volume_setup_secret, true },
    { "downwardAPI", "kubernetes.io~downward-api", volume_setup_downward, true },
    { "projected", "kubernetes.io~projected", volume_setup_projected, true },
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

static int setup_kind(const struct kind *kind, struct volume_setup *v, const char **path,
                      struct error *err)
{
    if (kind->setup(v, path, err) < 0)
        return -1;
    return kind->folder && !kind->is_written ? set_group(v, err) : 0;
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
        struct error failure = { 0 };
        if (setup_kind(&kinds[i], &v, &path, &failure) < 0) {
            error_wrap(&failure, "MountVolume.SetUp failed for volume \"%s\" ", name);
            if (!kinds[i].is_written || !volume_is_written(v.dir)) {
                *err = failure;
                return -1;
            }
            out->stale = arena_strdup(a, failure.message);
        }
        out->items = arena_grow(a, out->items, out->n, &out->capacity, sizeof(*out->items));
        out->items[out->n++] = (struct volume){ name, path, kinds[i].is_written };
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

/* ---- removal ---- */

/* A path of /proc/self/mounts: spaces and the like are \\ooo there. */
static char *unescaped(struct bytes text, struct arena *a)
{
    char *out = arena_alloc(a, text.len + 1), *to = out;
    for (const char *p = text.data, *end = p + text.len; p < end;) {
        if (*p == '\\' && end - p >= 4) {
            *to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 4;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    return out;
}

/* Ends every mount below DIR, the newest first: a tree with a mount in it is never removed, as what
 * is removed would be the host's. */
static int unmount_below(const char *dir, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes mounts;
    if (files_read("/proc/self/mounts", MOUNTS_BYTES_MAX, a, &mounts, err) < 0)
        return -1;
    size_t n = 0, capacity = 0, len = strlen(dir);
    const char **paths = NULL;
    const char *eol;
    for (const char *p = mounts.data, *end = p + mounts.len;
         p < end && (eol = memchr(p, '\n', (size_t)(end - p))); p = eol + 1) {
        const char *from = memchr(p, ' ', (size_t)(eol - p));
        const char *to = from ? memchr(from + 1, ' ', (size_t)(eol - from - 1)) : NULL;
        if (!to)
            continue;
        const char *path = unescaped((struct bytes){ from + 1, (size_t)(to - from - 1) }, a);
        if (!str_has_prefix(path, dir) || path[len] != '/')
            continue;
        paths = arena_grow(a, paths, n, &capacity, sizeof(*paths));
        paths[n++] = path;
    }
    while (n-- > 0)
        if (umount2(paths[n], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
            return error_errno(err, "unmount %s", paths[n]);
    return 0;
}

int volume_teardown(struct kubelet_context *k, const char *uid, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    const char *dir = pod_dir(k, uid, a);
    if (unmount_below(dir, err) < 0 ||
        files_remove_tree(arena_printf(a, "%s/volume-subpaths", dir), err) < 0)
        return -1;
    return files_remove_tree(arena_printf(a, "%s/volumes", dir), err);
}
